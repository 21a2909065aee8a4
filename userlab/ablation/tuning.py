"""Tunes the settings of each variant of a study, one knob after the other.

A knob starts with three values: a middle one, and those a factor below and above it. While the best value is the lowest
or the highest one tried, one more is tried beyond it; a best value with a worse one on both sides is kept, and the next
knob follows. Tuning uses one seed and the selection split; its state is read from the stored runs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from userlab.ablation.jobs import Job
from userlab.ablation.variants import Changes, Knob, Study, variant_config
from userlib.config import Config, to_json
from userlib.errors import UserError
from userlib.files import read_json


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The state of tuning for one variant. changes: the values chosen; tried: for each knob, rSum on val by value;
    wanted: the runs to be made next; at_bound: knobs whose best value is the last one that is allowed.
    """

    changes: Changes = field(default_factory=dict)
    tried: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    wanted: tuple[Job, ...] = ()
    at_bound: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """The number of values tried."""
        return sum(len(values) for values in self.tried.values())

    def as_json(self) -> dict[str, Any]:
        """What a row stores about the tuning."""
        tried = {
            setting: {f"{value:g}": round(rsum, 2) for value, rsum in sorted(values.items())}
            for setting, values in self.tried.items()
        }
        return {"tried": tried, "at_bound": list(self.at_bound)}


def next_values(tried: Mapping[float, float], knob: Knob) -> list[float]:
    """The values of a knob to try next, given {value: rSum}; none where the best one is inside or at a bound."""
    if not tried:
        return [knob.value(i) for i in (-1, 0, 1) if knob.allows(i)]
    best = max(tried, key=lambda value: tried[value])
    for step, end in ((-1, min(tried)), (1, max(tried))):
        beyond = knob.place(end) + step
        if best == end and knob.allows(beyond):
            return [knob.value(beyond)]
    return []


def tuned(study: Study, name: str, base: Config, *, out: str, threads: int = 1) -> Tuned:
    """The state of a variant's tuning, by the stored runs in `out`."""
    own = study.variant(name)
    if own.kind != "trained":
        return Tuned()
    if own.tuned_as is not None:
        return tuned(study, own.tuned_as, base, out=out, threads=threads)
    changes: dict[str, dict[str, Any]] = {}
    tried: dict[str, dict[float, float]] = {}
    at_bound = []
    for knob in (*study.knobs, *own.knobs):
        results: dict[float, float] = {}
        while values := next_values(results, knob):
            jobs = {
                value: _job(study, name, base, changes, knob, value, out=out, threads=threads)
                for value in values
            }
            missing = tuple(job for job in jobs.values() if not job.finished())
            if missing:
                return Tuned(changes=changes, tried={**tried, knob.setting: results}, wanted=missing)
            for value, job in jobs.items():
                results[value] = float(read_json(job.row(job.variant))["select"]["metrics"]["rsum"])
        best = max(results, key=lambda value: results[value])
        if best in (min(results), max(results)):
            at_bound.append(knob.setting)
        part, _, setting = knob.setting.partition(".")
        changes = {**changes, part: {**changes.get(part, {}), setting: best}}
        tried[knob.setting] = results
    return Tuned(changes=changes, tried=tried, at_bound=tuple(at_bound))


def tune(
    study: Study,
    base: Config,
    names: Iterable[str],
    *,
    out: str,
    run: Callable[[list[Job]], None],
    threads: int = 1,
) -> dict[str, Tuned]:
    """Tunes variants together: `run` makes the runs that all of them need next, until none needs any.

    Raises UserError where a run was requested and is still missing.
    """
    asked: set[str] = set()
    while True:
        state = {name: tuned(study, name, base, out=out, threads=threads) for name in names}
        wanted = {job.variant: job for one in state.values() for job in one.wanted}
        if not wanted:
            return state
        lost = sorted(asked & set(wanted))
        if lost:
            raise UserError(
                f"The tuning run {lost[0]!r} did not end; see its error above, and run the study again."
            )
        asked |= set(wanted)
        run(list(wanted.values()))


def _job(
    study: Study,
    name: str,
    base: Config,
    changes: Changes,
    knob: Knob,
    value: float,
    *,
    out: str,
    threads: int,
) -> Job:
    """One run of a variant with the settings chosen before and one value of a knob; never scored on the test split."""
    part, _, setting = knob.setting.partition(".")
    given = {**changes, part: {**changes.get(part, {}), setting: value}}
    config = variant_config(study, name, base, seed=0, tuned=given)
    if getattr(getattr(config, part), setting, None) != value:
        raise UserError(
            f"The knob {knob.setting} of {study.name} is no setting; choose one of {sorted(to_json(config)[part])}."
        )
    config = replace(config, data=replace(config.data, test_split=None))
    variant = study.variant(name)
    return Job(
        study=f"{study.name}-tuning", variant=f"{name}-{setting}-{value:g}", config=config, guide=variant.guide,
        threads=threads, out=out,
    )  # fmt: skip

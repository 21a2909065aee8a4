"""How each variant of a study gets the settings that suit it: one knob after the other, until the best is inner.

A knob starts with three values, the middle one and a factor on both sides of it. While the best lies at an end, one
more value is tried beyond it; a best value that has a worse one on both sides is kept, and the next knob follows. All
variants have the same knobs and start values, and one seed; what they came to can be read off the stored runs alone.
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
    """What tuning has come to for one variant. changes: the values chosen; tried: of each knob, rSum on val by value;
    wanted: runs that are still to be made; at_bound: knobs whose best value is the last that is allowed.
    """

    changes: Changes = field(default_factory=dict)
    tried: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    wanted: tuple[Job, ...] = ()
    at_bound: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """How many values were tried."""
        return sum(len(values) for values in self.tried.values())

    def as_json(self) -> dict[str, Any]:
        """What a row keeps of it."""
        tried = {
            setting: {f"{value:g}": round(rsum, 2) for value, rsum in sorted(values.items())}
            for setting, values in self.tried.items()
        }
        return {"tried": tried, "at_bound": list(self.at_bound)}


def next_values(tried: Mapping[float, float], knob: Knob) -> list[float]:
    """The values of a knob to try next, given value -> rSum; none where the best is inside or at a bound."""
    if not tried:
        return [knob.value(i) for i in (-1, 0, 1) if knob.allows(i)]
    best = max(tried, key=lambda value: tried[value])
    for step, end in ((-1, min(tried)), (1, max(tried))):
        beyond = knob.place(end) + step
        if best == end and knob.allows(beyond):
            return [knob.value(beyond)]
    return []


def tuned(study: Study, name: str, base: Config, *, out: str, threads: int = 1) -> Tuned:
    """What the stored runs in `out` say of a variant so far."""
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
    """Tunes variants side by side: `run` makes the runs that all of them want next, until none wants any.

    Raises UserError where a run was asked for and did not come.
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
                f"the tuning run {lost[0]!r} did not end; see what it said, and run the study again."
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
    """One run of a variant with what was settled before and one value of a knob; never scored on the test split."""
    part, _, setting = knob.setting.partition(".")
    given = {**changes, part: {**changes.get(part, {}), setting: value}}
    config = variant_config(study, name, base, seed=0, tuned=given)
    if getattr(getattr(config, part), setting, None) != value:
        raise UserError(
            f"the knob {knob.setting} of {study.name} sets nothing in {sorted(to_json(config)[part])}."
        )
    config = replace(config, data=replace(config.data, test_split=None))
    variant = study.variant(name)
    return Job(
        study=f"{study.name}-tuning", variant=f"{name}-{setting}-{value:g}", config=config, guide=variant.guide,
        threads=threads, out=out,
    )  # fmt: skip

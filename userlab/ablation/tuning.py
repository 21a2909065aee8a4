"""Two settings that each variant gets for itself, on the selection split: the learning rate and the gradient clip.

Every variant has the same budget: the study's grid of learning rates at the base's clip, then its grid of clips at the
best learning rate. Where the best value lies at an end of its grid, a further one is tried beyond it, at most
`FURTHER` times, so that the best lies inside; one that still does not is told. One seed; no run of it sees the split
that is reported on.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from userlab.ablation.jobs import Job
from userlab.ablation.variants import Study, variant_config
from userlib.config import Config
from userlib.errors import UserError
from userlib.files import read_json

FURTHER = 2
Chosen = dict[str, float]  # of a variant: lr, and max_grad_norm where the study has a grid of it


@dataclass(frozen=True)
class Tuned:
    """The values chosen for each variant, and which of them lie at an end of all that was tried."""

    values: Mapping[str, Chosen]
    at_an_end: Mapping[str, tuple[str, ...]]


def trial(
    study: Study, base: Config, name: str, chosen: Mapping[str, float], *, out: str, threads: int
) -> Job:
    """One run of a variant with settings of the training, never scored on the split reported on."""
    config = variant_config(study, name, base, seed=0)
    config = replace(
        config,
        training=replace(config.training, **chosen),  # type: ignore[arg-type]
        data=replace(config.data, test_split=None),
    )
    words = {"lr": "lr", "max_grad_norm": "clip"}
    mark = "".join(f"-{words[key]}-{value:g}" for key, value in chosen.items())
    return Job(study=f"{study.name}-tuning", variant=f"{name}{mark}", config=config, threads=threads, out=out)


def rsum_of(job: Job) -> float | None:
    """On the selection split; None where the run did not finish."""
    file = job.row(job.variant)
    return float(read_json(file)["select"]["metrics"]["rsum"]) if file.is_file() else None


def beyond(tried: Mapping[float, float]) -> float | None:
    """The next value beyond the end of a grid at which its best lies; None where the best lies inside."""
    grid = sorted(tried)
    if len(grid) < 2:
        return None
    best = max(grid, key=lambda value: tried[value])
    if best not in (grid[0], grid[-1]):
        return None
    return grid[0] ** 2 / grid[1] if best == grid[0] else grid[-1] ** 2 / grid[-2]


def tune(
    study: Study,
    base: Config,
    names: Iterable[str],
    run: Callable[[list[Job]], object],
    *,
    out: str,
    threads: int = 1,
) -> Tuned:
    """Tunes every trained variant; run(jobs) runs those that are not finished.

    Raises UserError for a variant none of whose runs finished.
    """
    chosen: dict[str, Chosen] = {name: {} for name in names if study.variant(name).kind == "trained"}
    ends: dict[str, list[str]] = {name: [] for name in chosen}
    for setting, grid in (("lr", study.lr_grid), ("max_grad_norm", study.clip_grid)):
        todo = {name: list(grid) for name in chosen} if grid else {}
        tried: dict[str, dict[float, float]] = {name: {} for name in todo}
        for extension in range(FURTHER + 1):
            jobs = {
                (name, value): trial(
                    study, base, name, {**chosen[name], setting: value}, out=out, threads=threads
                )
                for name, values in todo.items()
                for value in values
            }
            run(list(jobs.values()))
            for (name, value), job in jobs.items():
                if (rsum := rsum_of(job)) is not None:
                    tried[name][value] = rsum
            if extension < FURTHER:
                todo = {name: [end] for name in todo if (end := beyond(tried[name])) is not None}
        for name, values in tried.items():
            if not values:
                raise UserError(f"no {setting} of {name!r} led to a finished run; see what its runs said.")
            chosen[name][setting] = max(values, key=lambda value: values[value])
            if beyond(values) is not None:
                ends[name].append(setting)
    return Tuned(chosen, {name: tuple(found) for name, found in ends.items() if found})

"""The size of the notebooks' runs: USERLIB_PROFILE is fast, full (the default) or study.

A profile only changes settings, never the code: the sizes of the drawn world, a limit on the steps of a run, and the
number of seeds of a comparison.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from userlib import legacy
from userlib.config import Config
from userlib.errors import UserError
from userlib.presets import preset

if TYPE_CHECKING:
    from userlib.training import Prepared, Run

WHOLE = MappingProxyType({"train": 4_000, "val": 500, "test": 1_000})


@dataclass(frozen=True, kw_only=True)
class Profile:
    """sizes: images per split. steps: the most of one run. seconds: what these may take on two cores. seeds: the runs
    of each model in a comparison.
    """

    name: str
    sizes: Mapping[str, int]
    steps: int
    seconds: int
    seeds: int

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {split}" for split, count in self.sizes.items())
        return (
            f"profile {self.name}: {counts} images; training at most {self.steps:,} steps, {self.seconds} s"
        )


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "fast": Profile(
            name="fast",
            sizes=MappingProxyType({"train": 1_000, "val": 200, "test": 500}),
            steps=60,
            seconds=20,
            seeds=1,
        ),
        "full": Profile(name="full", sizes=WHOLE, steps=1_000, seconds=360, seeds=3),
        "study": Profile(name="study", sizes=WHOLE, steps=170, seconds=60, seeds=3),
    }
)


def profile() -> Profile:
    """The profile that USERLIB_PROFILE names. Raises UserError, which lists the names, for an unknown one."""
    name = os.environ.get("USERLIB_PROFILE") or "full"
    if name not in PROFILES:
        raise UserError(f"USERLIB_PROFILE is {name!r}; it must be one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def start() -> Profile:
    """Called first in every notebook: enables widgets where that needs a call, and prints the profile."""
    from usercourse.widgets import ready

    ready()
    chosen = profile()
    print(str(chosen)[0].upper() + str(chosen)[1:] + ".")
    if chosen.name != "fast":
        print("Short of time? Start Jupyter with USERLIB_PROFILE=fast: the same code on a smaller world.")
    return chosen


def course_config(**changes: Any) -> Config:
    """The preset `scenes` in the size of the profile, with settings changed by their names, as in
    course_config(enhancement="none", objective="infonce", queue_size=None, seed=1).

    The names are those of the four dataclasses of userlib.config; `objective` is ObjectiveConfig.name. Raises
    UserError for an unknown name.
    """
    chosen = profile()
    return _changed(preset("scenes"), {"sizes": dict(chosen.sizes), "steps": chosen.steps, **changes})


def variant(prepared: "Prepared", **changes: Any) -> "Prepared":
    """The same prepared data, for a run with other settings of the model, the objective or the seed.

    Raises UserError for a setting that needs other data, tokens or numbers of steps.
    """
    config = _changed(prepared.config, changes)
    if config.data != prepared.config.data or {"steps", "epochs", "batch_size"} & set(changes):
        raise UserError(
            f"{', '.join(changes)} cannot be changed on prepared data; call prepare(course_config(...))."
        )
    return replace(prepared, config=config)


def _changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """The configuration with settings changed by their flat names."""
    wanted = dict(changes)
    if "objective" in wanted:
        wanted["name"] = wanted.pop("objective")
    parts = {}
    for part in dataclasses.fields(config):
        old = getattr(config, part.name)
        own = {field.name for field in dataclasses.fields(old)}
        parts[part.name] = replace(old, **{name: wanted.pop(name) for name in own & set(wanted)})
    if wanted:
        name = next(iter(wanted))
        now = next((names[name] for names in legacy.SETTINGS.values() if name in names), None)
        remedy = "userlib.config lists them all" if now is None else f"it is now {now!r}"
        raise UserError(f"There is no setting {name!r}; {remedy}.")
    return Config(**parts)


def expect_trained(run: "Run") -> None:
    """Raises UserError unless the run took all its steps and its t2i R@10 on the selection split is more than twice
    that of chance.

    Notebooks call it after each run, so that a failed run is noticed.
    """
    steps = run.config.training.steps or 0
    done = int(run.rows[-1]["step"]) if run.rows else 0
    if done < max(steps, 1):
        raise UserError(f"The run took {done} of {steps} steps; run its cell again.")
    pictures = dict(run.config.data.sizes or {}).get(run.config.data.val_split, 0)
    best = max(row["t2i_r10"] for row in run.rows)
    if pictures and best <= 2 * 1000 / pictures:
        raise UserError(
            f"After {done} steps t2i R@10 is {best:.1f} %, and chance is {1000 / pictures:.1f} %: nothing "
            "was learned. Look at the loss and the effective rank in run.history."
        )

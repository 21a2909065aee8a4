"""What a study compares: variants, each a change of one base configuration, and pairs of variants.

A variant changes settings by part, such as {"model": {"enhancement": "sge"}}. Headline variants have five seeds, others
fewer. `guide` says which vector CGE gets: the image's own (informed), that of the same network with random weights
(random), or another image's (mismatched). A gain that remains with the last two comes from capacity, not knowledge.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from userlib.config import Config, from_json, to_json
from userlib.errors import UserError

GUIDES = ("informed", "random", "mismatched")
BASELINES = (
    "cca-words",
    "cca-sentences",
    "cca-both",
)  # CCA, by what represents a caption; no network is trained
KINDS = ("trained", "zero-shot", *BASELINES)
HEADLINE, EXPLORATORY = 5, 2  # seeds
Changes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Knob:
    """A setting to tune, such as "training.lr". Its values are start * factor ** i with |i| <= reach, from low to
    high.
    """

    setting: str
    start: float
    factor: float = 2.0
    reach: int = 4
    low: float = 0.0
    high: float = math.inf

    def allows(self, place: int) -> bool:
        """Whether the value with this exponent may be tried."""
        return abs(place) <= self.reach and self.low <= self.value(place) <= self.high

    def value(self, place: int) -> float:
        """start * factor ** place, rounded to four digits."""
        return float(f"{self.start * self.factor**place:.4g}")

    def place(self, value: float) -> int:
        """The exponent that gives the value."""
        return round(math.log(value / self.start) / math.log(self.factor))


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One line of a study's table.

    label: its name in tables. kind: trained, zero-shot (CLIP alone), or a baseline. scores: the name of a second line,
    late score fusion of the same trained model with the guide's network. needs_guide: whether the data have the guide's
    vectors. knobs: those that it tunes in addition to the study's. tuned_as: a variant whose tuned settings it takes.
    """

    label: str
    changes: Changes = field(default_factory=dict)
    guide: str = "informed"
    kind: str = "trained"
    scores: str | None = None
    needs_guide: bool = False
    seeds: int = EXPLORATORY
    knobs: tuple[Knob, ...] = ()
    tuned_as: str | None = None

    @property
    def exploratory(self) -> bool:
        """Whether it is trained with fewer seeds than a headline variant."""
        return self.kind == "trained" and self.seeds < HEADLINE


@dataclass(frozen=True, kw_only=True)
class Study:
    """Variants around one question.

    reference: the variant that the others are compared with. pairs: further differences, (variant, baseline). base:
    changes that all variants share. steps: a run's length where the command line gives none; None leaves the
    preset's epochs. knobs: settings that are tuned for each variant (`userlab.ablation.tuning`). costs: whether
    parameters and times are measured. guide: the guide of variants that need one, where the command line names none;
    fused: the name of its network in tables.
    """

    name: str
    question: str
    variants: Mapping[str, Variant]
    reference: str
    pairs: tuple[tuple[str, str], ...] = ()
    base: Changes = field(default_factory=dict)
    preset: str = "scenes"
    steps: int | None = 170
    knobs: tuple[Knob, ...] = ()
    costs: bool = False
    guide: str = "clip-mini"
    fused: str = "CLIP"

    def variant(self, name: str) -> Variant:
        """The variant of that name. Raises UserError, which lists the names, for an unknown one."""
        if name not in self.variants:
            raise UserError(
                f"The study {self.name!r} has no variant {name!r}; choose one of {', '.join(self.variants)}."
            )
        return self.variants[name]

    def lines(self) -> dict[str, str]:
        """The label of every line of the table by its name; score fusion follows its variant."""
        labels: dict[str, str] = {}
        for name, variant in self.variants.items():
            labels[name] = variant.label
            if variant.scores is not None:
                labels[variant.scores] = f"{variant.label}, late score fusion with {self.fused}"
        return labels


def changed(config: Config, changes: Changes) -> Config:
    """The configuration with settings changed by part. Raises UserError for an unknown setting."""
    values = to_json(config)
    for part, settings in changes.items():
        if part not in values:
            raise UserError(f"A configuration has no part {part!r}; choose one of {', '.join(values)}.")
        values[part] = {**values[part], **settings}
    return from_json(Config, values)  # type: ignore[no-any-return]


def variant_config(
    study: Study,
    name: str,
    base: Config,
    *,
    seed: int,
    tuned: Changes | None = None,
) -> Config:
    """The configuration of one run of a variant; tuned: the settings tuned for it."""
    variant = study.variant(name)
    if variant.needs_guide or variant.kind == "zero-shot" or variant.scores is not None:
        base = replace(base, data=replace(base.data, guide=base.data.guide or study.guide))
    config = changed(changed(changed(base, study.base), variant.changes), tuned or {})
    return replace(config, training=replace(config.training, seed=seed))

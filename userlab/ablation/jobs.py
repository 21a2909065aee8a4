"""One run of a study: what it is, where its rows lie, and how it is passed to a process of its own.

A row is two files, `<out>/<study>/<variant>-<seed>.json` and `.npz` next to it; the JSON is written last, so that a row
is finished when its JSON exists. Its key is a hash of everything that changes it: all settings, the guide, the data,
and the weights that the tokens come from. Runs with equal keys are the same run, in whichever study they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from userlib import legacy
from userlib.config import Config, from_json, to_json
from userlib.errors import UserError
from userlib.files import cache_dir, read_json, sha256_bytes

POSITIONS = "0..n-1"  # GPO's position codes, stored in every row; rows that lack it were made with 1..n


@dataclass(frozen=True, kw_only=True)
class Job:
    """One process: one training run and one row, or two where `scores` names a second (late score fusion).

    out: the folder of all results. threads: those of the process; another number may round differently. keys: the keys
    of its rows, where they are known already. costs: whether these are measured. tuning: how its settings were chosen.
    """

    study: str
    variant: str
    config: Config
    guide: str = "informed"
    kind: str = "trained"
    scores: str | None = None
    threads: int = 1
    out: str = "assets/results"
    keys: Mapping[str, str] = field(default_factory=dict)
    costs: bool = False
    tuning: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return self.config.training.seed

    def names(self) -> tuple[str, ...]:
        """The variants whose rows it writes."""
        return (self.variant,) if self.scores is None else (self.variant, self.scores)

    def row(self, name: str) -> Path:
        """The JSON file of one of its rows."""
        return Path(self.out) / self.study / f"{name}-{self.seed}.json"

    def key(self, name: str) -> str:
        """The key of one of its rows; see the top of this file."""
        if name in self.keys:
            return self.keys[name]
        added = name == self.scores
        parts = {
            "config": to_json(self.config),
            "guide": self.guide,
            "kind": self.kind,
            "scores": added,
            "data": fingerprint(self.config),
            **self.weights(),
            **({"positions": POSITIONS} if self.coded() else {}),
        }
        return sha256_bytes(json.dumps(parts, sort_keys=True))[:24]

    def finished(self) -> bool:
        """Whether all its rows exist. Raises UserError where a file of that name holds another run."""
        there = [self.row(name).is_file() for name in self.names()]
        for name, exists in zip(self.names(), there, strict=True):
            if exists and not self.made(row := read_json(self.row(name)), name):
                earlier = "positions" not in row and self.made({**row, "positions": POSITIONS}, name)
                what = "GPO's earlier position codes, 1..n" if earlier else "other settings or other data"
                raise UserError(
                    f"{self.row(name)} holds a run with {what}; give another --out, or move that folder away."
                )
        return all(there)

    def made(self, row: Mapping[str, Any], name: str) -> bool:
        """Whether a row was made by this run, judged by its key, or else by the settings stored in it.

        The latter is needed because keys change with the code that makes them; for a setting that is newer than the
        row, see `ADDED`.
        """
        if row.get("key") == self.key(name):
            return True
        row = legacy.row(row)
        try:
            config = config_of(row)
            said = row["guide"], row["kind"], row["variant"] != row["of"], row["data_hash"]
            weights = row.get("weights", self.weights())
        except (UserError, KeyError, TypeError):
            return False
        if self.coded() and row.get("positions") != POSITIONS:
            return False
        asked = self.guide, self.kind, name == self.scores, fingerprint(self.config)
        return said == asked and weights == self.weights() and _filled(self.config, config)

    def coded(self) -> bool:
        """Whether GPO's position codes change its rows."""
        model = self.config.model
        return self.kind == "trained" and "gpo" in (model.pooling, model.text_pooling)

    def weights(self) -> dict[str, Any]:
        """The cache keys of the networks that tokens and the guide come from."""
        data = self.config.data
        return {
            "tokens": _weights(data.tokens, data.token_weights),
            "clip": None if data.guide is None else _weights(data.guide, None),
        }

    def place(self) -> Path:
        """The path in the cache, without a suffix, of its training state and its lock: one for each key and `out`."""
        mark = sha256_bytes(self.key(self.variant), str(Path(self.out).resolve()))[:24]
        return cache_dir() / "ablation" / mark

    def as_json(self) -> dict[str, Any]:
        """All fields as JSON, with the keys of its rows."""
        keys = {name: self.key(name) for name in self.names()}
        return {**vars(self), "config": to_json(self.config), "keys": keys}


def job_from_json(values: dict[str, Any]) -> Job:
    """The job whose `as_json` gave `values`."""
    return Job(**{**values, "config": from_json(Config, values["config"])})


def job_of_row(row: dict[str, Any], *, out: str) -> Job:
    """The run that made a row, to be repeated in another folder. Raises UserError for a row that is not a result."""
    try:
        config = config_of(row)
        scores = row["variant"] if row["of"] != row["variant"] else None
        return Job(
            study=row["study"],
            variant=row["of"],
            config=config,
            guide=row["guide"],
            kind=row["kind"],
            scores=scores,
            threads=row["provenance"]["hardware"]["threads"],
            out=out,
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"The row lacks {error}; name a result of `userlab ablate`.") from error


# Settings that stored rows may lack, as "part.name", with the value that such rows were made with, whatever the default
# is now.
ADDED: dict[str, Any] = {
    "model.weight_init": "torch",
    "model.principal_dim": None,
    "data.vocabulary": None,
    "training.region_sample": None,
    "model.num_concepts": 128,
    "model.scorer": "dot",
    "objective.diversity_weight": 0.1,
    "objective.relation_weight": 0.0,
    "objective.soft_weight": 0.0,
    "objective.scorer_weight": 1.0,
    "objective.scorer_loss": "hinge-hardest+infonce",
    "objective.scorer_negatives": 0,
    "data.keep_pixels": False,
    "data.workers": None,
    "model.train_image": "none",
    "model.image_tower": None,
    "model.text_config": None,
    "model.train_text": "all",
    "model.lora_rank": 8,
    "training.image_lr_scale": 1.0,
    "training.random_crop": 0.5,
    "training.interpolate": False,
    "training.micro_batch": None,
}


def config_of(row: Mapping[str, Any]) -> Config:
    """The settings that a row was made with.

    Raises UserError for a setting that is neither in the row nor in `ADDED`: the present default may not be what the
    row was made with.
    """
    stored = legacy.settings(row["config"])
    values: dict[str, dict[str, Any]] = {}
    for part, settings in to_json(Config()).items():
        added = {name: ADDED[f"{part}.{name}"] for name in settings if f"{part}.{name}" in ADDED}
        values[part] = {**added, **stored[part]}
        for name in sorted(set(settings) - set(values[part])):
            raise UserError(
                f"The row lacks the setting {part}.{name}; add the value that it was made with to "
                "userlab.ablation.jobs.ADDED."
            )
    return from_json(Config, values, where="row's configuration")  # type: ignore[no-any-return]


OPEN = {  # settings that a run fills in
    "image_tower",
    "text_config",
    "regions",
    "region_dim",
    "guide_dim",
    "vocab_size",
    "momentum",
    "precision",
}


def _filled(asked: Config, made: Config) -> bool:
    """Whether `made`, the stored configuration of a run, is `asked` with the open settings filled in."""
    ask, have = to_json(asked), to_json(made)
    return all(
        value == have[part][name] or (name in OPEN and value in (None, "auto"))
        for part, settings in ask.items()
        for name, value in settings.items()
    )


def fingerprint(config: Config) -> str:
    """The fingerprint of a run's data."""
    data = config.data
    sizes = None if data.sizes is None else tuple(sorted(data.sizes.items()))
    return _fingerprint(data.data, data.pictures, sizes, data.val_split)


@cache
def _fingerprint(
    data: str, pictures: str | None, sizes: tuple[tuple[str, int], ...] | None, val_split: str
) -> str:
    from userlib.config import DataConfig
    from userlib.training import splits_of

    only = DataConfig(
        data=data, pictures=pictures, sizes=None if sizes is None else dict(sizes), val_split=val_split
    )
    return splits_of(Config(data=only)).fingerprint


@cache
def _weights(spec: str, weights: str | None) -> dict[str, Any] | None:
    """The cache key of the network `spec`; None for features that come with the data."""
    from userlib.data.extractors import make_extractor

    if spec == "precomputed":
        return None
    return make_extractor(spec, weights=None if weights is None else Path(weights)).cache_key()

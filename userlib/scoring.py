"""Loads and checks what `evaluate` scores: models, seeds of one model, the images, and the tokens that a model was
trained on. Anything that does not fit raises UserError here, before it can turn into a wrong number.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from userlib.config import Config, DataConfig, to_json
from userlib.data.captions import CaptionDataset
from userlib.data.extractors import check_made_by, choose_device, made_by
from userlib.data.sources import load_data
from userlib.data.splits import RetrievalData, Split
from userlib.errors import UserError
from userlib.model.user import Loaded, load_model
from userlib.training import pairs_of, val_split_name
from userlib.training.loop import PLACES
from userlib.training.preparing import arranged, cut_note, token_spec, tower_of

DATA_FLAGS = ("data", "pictures", "tokens", "token_weights", "guide", "val_split")


@dataclass(frozen=True)
class Trained:
    """A trained model; its config has the data and token settings of the command line in place of its own."""

    folder: str
    loaded: Loaded
    config: Config
    device: str
    notes: tuple[str, ...]  # sentences about its tokens, to be shown with its scores


def with_flags(config: Config, arguments: argparse.Namespace) -> Config:
    """The configuration with the data and tokens of the command line; other data reset `pictures` and `sizes`."""
    given = {name: getattr(arguments, name, None) for name in DATA_FLAGS}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "data" in changes and changes["data"] != config.data.data:
        changes = {"pictures": None, "sizes": None, **changes}
    return replace(config, data=replace(config.data, **changes))


def trained(folder: str, arguments: argparse.Namespace) -> Trained:
    """The model in a folder, on the device of the command line. Raises UserError where it cannot be loaded, or its
    tokens or guide would differ from those of its training.
    """
    loaded = load_model(folder)
    device = choose_device(arguments.device, loaded.metadata.get("device"))
    loaded.model.to(device)
    config = with_flags(loaded.config, arguments)
    data = config.data
    now = made_by(token_spec(config), token_weights=data.token_weights, guide=data.guide, device=device)
    notes = check_made_by(loaded.metadata.get("made_by", {}), now, where=folder)
    return Trained(folder, loaded, config, device, tuple(notes))


def check_seeds(group: Sequence[Trained]) -> None:
    """Raises UserError unless the models differ only in their seeds, so that their mean is that of one model."""
    first = group[0]
    what = "Several checkpoints must be seeds of one model; score another model by itself, or with --against."
    for n, other in enumerate(group[1:], start=1):
        ours, theirs = to_json(first.loaded.config), to_json(other.loaded.config)
        for part, settings in ours.items():
            for key, value in settings.items():
                if (part, key) not in {*PLACES, ("training", "seed")} and theirs[part][key] != value:
                    raise UserError(
                        f"{other.folder} is not another seed of {first.folder}: its {part}.{key} is "
                        f"{theirs[part][key]!r}, and there it is {value!r}. {what}"
                    )
        for key in ("fingerprint", "made_by"):
            if _same(first, key) != _same(other, key):
                of = "data" if key == "fingerprint" else "tokens"
                raise UserError(f"{other.folder} and {first.folder} were trained on different {of}. {what}")
        twin = next((one for one in group[:n] if _seed(one) == _seed(other)), None)
        if twin is not None:
            raise UserError(
                f"{twin.folder} and {other.folder} have the same seed, {_seed(other)}, so they count as one run. {what}"
            )


def _seed(one: Trained) -> int:
    return one.loaded.config.training.seed


def _same(one: Trained, key: str) -> Any:
    value = one.loaded.metadata.get(key)
    if key != "made_by" or not isinstance(value, dict):
        return value
    return {
        what: {name: part for name, part in (about or {}).items() if name not in ("precision", "spec")}
        for what, about in value.items()
    }


def data_of(
    config: Config, model: Trained | None, *, other: bool, needs_train: bool, notes: list[str]
) -> RetrievalData:
    """The data to score on; from the model's own data, its selection slice is held out as in training.

    other: the command line names the data. Unless they are the model's own, moved or copied, nothing is held out of
    them, so that a data set with only a test split works. needs_train: they must have the splits of a run, for the
    baseline. notes: a list to which notes are appended. Raises UserError where data or splits are missing.
    """
    if other and model is not None and (data := _own_elsewhere(config, model)) is not None:
        return data
    if other and not needs_train:
        return _loaded(config.data)
    try:
        whole = _loaded(config.data)
        data = arranged(whole, config.data, say=notes.append if model is None else None)
    except UserError as error:
        if other or model is None:
            raise
        raise UserError(
            f"{model.folder} was trained on {config.data.data!r}: {error} Or give --data."
        ) from error
    if not other and model is not None and _changed(whole, config.data, model):
        notes.append(
            f"the data {config.data.data!r} have changed since {model.folder} was trained on them; the images scored "
            "may include training images."
        )
    return data


def _changed(data: RetrievalData, settings: DataConfig, model: Trained) -> bool:
    """Whether the model was trained on other data than these, whatever slice --val-split holds out now."""
    known, own = model.loaded.metadata.get("fingerprint"), model.loaded.config.data.val_split
    try:
        return known is not None and known != arranged(data, replace(settings, val_split=own)).fingerprint
    except UserError:
        return True  # the model's own slice cannot be held out of them


def _own_elsewhere(config: Config, model: Trained) -> RetrievalData | None:
    """The data of the command line where they are the model's own, moved or copied: with the sizes of its training, and
    the slice of its training or of --val-split held out. None for other data.
    """
    mine = model.loaded.config.data
    try:
        data = _loaded(replace(config.data, sizes=mine.sizes))
        as_trained = arranged(data, replace(config.data, val_split=mine.val_split))
    except UserError:
        return None  # too small for the sizes, or without a split to train on
    if as_trained.fingerprint != model.loaded.metadata.get("fingerprint"):
        return None
    return arranged(data, config.data)


def _loaded(data: DataConfig) -> RetrievalData:
    pictures = Path(data.pictures) if data.pictures else None
    return load_data(data.data, sizes=data.sizes, pictures=pictures)


def check_captions(split: Split) -> None:
    """Raises UserError for a split without captions."""
    if not split.captions:
        raise UserError(
            f"The split {split.name!r} has no captions to score with. Name one that has some, or add captions."
        )


def pairs_for(model: Trained, split: Split, notes: list[str]) -> CaptionDataset:
    """Tokens and token ids of a split for a model; notes are appended. Raises UserError where they do not fit it."""
    check_captions(split)
    notes += model.notes
    pairs = pairs_of(model.config, split, model.loaded.tokenizer, device=model.device)
    settings, features = model.loaded.config.model, pairs.features
    regions, width = (
        features.tokens.shape[1:] if pairs.pixels() is None else tower_of(model.config)["tokens"]["shape"]
    )
    guide = None if features.guide is None else features.guide.shape[1]
    for what, here, there in (
        ("tokens' width", width, settings.region_dim),
        ("guide's width", guide, settings.guide_dim),
        ("number of regions", regions, settings.regions if settings.norm == "batch" else regions),
    ):
        if there is not None and here != there:
            raise UserError(
                f"the {what} of {split.name!r} is {here}, and the model in {model.folder} was trained with {there}. "
                "Give it the tokens that it was trained with (--tokens, --guide), or other data."
            )
    if note := cut_note(pairs):
        notes.append(note)
    return pairs


def seen_in_training(one: Loaded, config: Config, split: str, data_hash: str) -> str | None:
    """A note where the scores of a checkpoint on this split are too high, since it was used in training; else None."""
    same = config.data.data == one.config.data.data or one.metadata.get("fingerprint") == data_hash
    own, now = one.config.data.val_split, config.data.val_split
    source, selected = split, val_split_name(one.config)
    if now != own:  # another slice is held out here: what counts is the split that images came from
        source, selected = now.partition(":")[0] if split == "select" else split, own.partition(":")[0]
    if not same or source not in ("train", selected):
        return None
    why = "the model was trained on it" if source == "train" else "it chose the epoch of this checkpoint"
    other = one.config.data.test_split or "test"
    return f"scores on {split!r} are too high, since {why}; report another split, such as --split {other}."

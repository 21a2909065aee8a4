"""From a configuration to data for training: splits, tokens, vocabulary, and a configuration without open settings."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from userlib.arguments import checked
from userlib.config import Config, DataConfig, TrainingConfig
from userlib.data.captions import CaptionDataset
from userlib.data.clip import caption_vectors, check_text_tower
from userlib.data.extractors import choose_device, made_by
from userlib.data.pixels import SPEC, Pixels, tower_settings
from userlib.data.sources import load_data
from userlib.data.splits import RetrievalData, Split
from userlib.data.tokenizers import SAMPLE, Tokenizer, make_tokenizer, unknown_share
from userlib.data.tokens import Features, extract
from userlib.errors import UserError
from userlib.model.momentum import momentum_for
from userlib.model.text_transformers import text_settings
from userlib.progress import tell
from userlib.provenance import peak_memory_mb, provenance

FEWEST = 24  # images of a data set without splits, of which at least four are held out for each purpose
SHARE = 6  # a sixth of such a set is held out for selection, and a sixth for the report
MOST = 1000  # images that are held out for one of them, as in Flickr30K
SAMPLE_IMAGES = 512  # images from which the mean of the tokens, and the distance from it, are measured
Say = Callable[[str], object]


@dataclass(frozen=True)
class Prepared:
    """The data of a run with tokens and token ids, and its configuration, in which every open setting is filled in."""

    config: Config
    train: CaptionDataset
    val: CaptionDataset
    test: CaptionDataset | None
    tokenizer: Tokenizer
    fingerprint: str  # of the data
    made_by: dict[str, Any] = field(default_factory=dict)  # descriptions of the networks of tokens and guide
    device: str = "cpu"  # on which these ran


def pairs_of(
    config: Config,
    split: Split,
    tokenizer: Tokenizer,
    *,
    hflip: bool = False,
    progress: bool = True,
    device: str = "cpu",
) -> CaptionDataset:
    """Tokens and token ids of one split, according to the configuration."""
    features = features_of(config, split, hflip=hflip, progress=progress, device=device)
    pairs = CaptionDataset(split, features, tokenizer)
    share = unknown_share(
        tokenizer, (int(i) for row in range(min(len(pairs), SAMPLE)) for i in pairs.ids(row))
    )
    if len(pairs) and share > 0.5:
        tell(
            f"Note: {share:.0%} of the words of the split {split.name!r} are not in the model's vocabulary, and scores "
            "on it mean little. Is it in another language?"
        )
    return pairs


def features_of(
    config: Config, split: Split, *, hflip: bool = False, progress: bool = True, device: str = "cpu"
) -> Features:
    """Tokens and guide of one split, according to the configuration."""
    data = config.data
    return extract(
        split,
        tokens=data.tokens
        if config.model.train_image == "none"
        else pixels_of_split(config, split, progress),
        token_weights=Path(data.token_weights) if data.token_weights else None,
        guide=data.guide,
        hflip=hflip and config.model.train_image == "none",
        progress=progress,
        device=device,
    )


def pixels_of_split(config: Config, split: Split, progress: bool) -> Pixels:
    """The pixels, for a trained tower, of a split or its parent split. Raises UserError where it has no images."""
    whole, settings = split.parent or split, tower_of(config)
    if whole.pictures is None:
        raise UserError(
            f"The split {whole.name!r} has no images to train a tower from: its data set holds features only. Name the "
            "folder of its images (--pictures), or use --train-image none."
        )
    kept = None
    if config.data.keep_pixels:
        kept = extract(whole, tokens=SPEC + json.dumps(settings, sort_keys=True), progress=progress).tokens
    return Pixels(settings, whole.pictures, kept)  # type: ignore[arg-type]


def tower_of(config: Config) -> dict[str, Any]:
    """The settings of the trained image tower: those of the configuration, else those of the network of data.tokens."""
    if config.model.image_tower is not None:
        return json.loads(config.model.image_tower)  # type: ignore[no-any-return]
    data = config.data
    return tower_settings(data.tokens, Path(data.token_weights) if data.token_weights else None)


def token_spec(config: Config) -> str:
    """The network that makes the tokens outside the model; "pixels" where the tower is a part of the model."""
    return config.data.tokens if config.model.train_image == "none" else "pixels"


def splits_of(
    config: Config, *, progress: bool = False, say: Say | None = None, report_if_there: bool = False
) -> RetrievalData:
    """The data of a run, with held-out splits, as in `arranged`.

    Raises UserError, before any token is made, where a split is missing.
    """
    data = load_data(
        config.data.data,
        sizes=config.data.sizes,
        pictures=Path(config.data.pictures) if config.data.pictures else None,
        progress=progress,
    )
    return arranged(data, config.data, say=say, report_if_there=report_if_there)


def arranged(
    data: RetrievalData, settings: DataConfig, *, say: Say | None = None, report_if_there: bool = False
) -> RetrievalData:
    """The data set with the slice that val_split names held out. Where train is its only split, a sixth of the images
    (at most 1,000, chosen by id) is held out for the report if test_split is set, and as much for selection if
    val_split names no slice; say is called with a sentence on this.

    Raises UserError where there are no captions, too few images, or no split to select or to report on;
    report_if_there: a missing split for the report is no error.
    """
    if not any(len(split.captions) for split in data.splits.values()):
        raise UserError(
            f"The data set {data.name!r} has no captions, without which no model can be trained. Put a captions.csv "
            "with the columns filename and caption next to the images, or in a tar file a KEY.txt next to each KEY.jpg."
        )
    name, _, count = settings.val_split.partition(":")
    if "train" not in data.splits:
        raise UserError(
            f"The data set {data.name!r} has no split 'train' to learn from; it has: {', '.join(data.splits)}. Name it "
            "so in a column 'split' of the captions, or by the name of its file or folder."
        )
    whole = data.split(name if count and name in data.splits else "train")
    if list(data.splits) == ["train"]:
        data, count = _held_out(data, settings, say)
    if count:
        data = data.hold_out(name, int(count), seed=0)
    for key, wanted in (("select", "select" if count else name), ("report", settings.test_split)):
        if wanted is not None and wanted not in data.splits and not (key == "report" and report_if_there):
            flag = {"select": "--val-split", "report": "--test-split"}
            remedy = {
                "select": f"give --val-split {whole.name}:{max(1, len(whole) // SHARE)} to hold images out for it",
                "report": "give --test-split none for no report",
            }
            raise UserError(
                f"The data set {data.name!r} has no split {wanted!r} to {key} on; it has: {', '.join(data.splits)}. "
                f"Name one of them by {flag[key]}, or {remedy[key]}."
            )
    return data


def _held_out(data: RetrievalData, settings: DataConfig, say: Say | None) -> tuple[RetrievalData, str]:
    """For a data set whose only split is train: the data with what is held out, and the count still to hold out."""
    name, _, count = settings.val_split.partition(":")
    images = len(data.split("train"))
    report = settings.test_split if settings.test_split not in (None, "train") else None
    if name != "train" and count:
        return data, count  # the caller raises an error that names the split
    if report is None and (name == "train" and not count or count and int(count) < images):
        return data, count
    if images < FEWEST:
        raise UserError(
            f"The data set {data.name!r} has {images} images and no splits; at least {FEWEST} are needed to hold some "
            "out for selection and report. Add images with captions, or a column 'split' with train, val and test to "
            "the captions."
        )
    parts = []
    part = images // SHARE
    if report is not None:
        size = min(part, MOST)
        data = data.hold_out("train", size, seed=None, into=report)
        parts.append(f"{size} are held out as {report!r} to report on")
    if count and int(count) > images // 2 - images // SHARE:
        parts.append(f"{part} (not {count}, of so few) are held out to select the epoch on")
        count = str(part)
    elif not count and name != "train":
        size = min(part, MOST)
        data = data.hold_out("train", size, seed=None, into=name)
        parts.append(f"{size} are held out as {name!r} to select the epoch on")
    elif count:
        parts.append(f"{count} are held out to select the epoch on")
    if say is not None:
        left = len(data.split("train")) - (int(count) if count else 0)
        say(
            f"The data set {data.name!r} has no splits: of its {images} images {', '.join(parts)}, and {left} train."
        )
    return data, count


def val_split_name(config: Config) -> str:
    """The split that selection uses, after the slice is held out."""
    return "select" if ":" in config.data.val_split else config.data.val_split


@checked
def prepare(
    config: Config, *, progress: bool = True, report_if_there: bool = False, say: Say = print
) -> Prepared:
    """Loads the data, makes the tokens or reads them from the cache, builds the vocabulary from train alone, and fills
    in the open settings. say is called with a sentence on each change that fits a setting to the data.

    Raises UserError where data or settings do not fit, for a missing split before any token is made; report_if_there:
    where only the split of the report is missing, there is no report.
    """
    device = choose_device(None)
    data = splits_of(config, progress=progress, say=say, report_if_there=report_if_there)
    train_split, val_split = data.split("train"), data.split(val_split_name(config))
    for flag, name in (("--val-split", val_split_name(config)), ("--test-split", config.data.test_split)):
        if name == "train":
            say(
                f"Note: {flag} names the split 'train', whose scores only show what the model has memorised. Name "
                "another split, or hold images out with --val-split train:COUNT."
            )
    if report_if_there and config.data.test_split not in data.splits:
        config = replace(config, data=replace(config.data, test_split=None))
    test_split = None if config.data.test_split is None else data.split(config.data.test_split)
    training = fitted(config.training, len(train_split.captions), say)
    total_steps(training, len(train_split.captions))  # an early error where train cannot fill a batch
    kind = {"bag": "words", "gru": "words", "hf": "bert"}.get(config.model.text, config.model.text)
    if config.model.text == "hf" and config.model.text_config is None:
        config = replace(config, model=replace(config.model, **text_settings(config.model.text_model or "")))
    tokenizer = make_tokenizer(
        kind,
        train_split.captions,
        min_count=config.data.min_count,
        model=config.model.text_model,
        vocabulary=config.data.vocabulary,
    )
    if kind == "clip":
        check_text_tower(config.model.text_model or "", width=config.model.text_width)
    if config.model.train_image != "none":
        tower = json.dumps(tower_of(config), sort_keys=True)
        config = replace(config, model=replace(config.model, image_tower=tower))
    weights = Path(config.data.token_weights) if config.data.token_weights else None
    about = made_by(token_spec(config), token_weights=weights, guide=config.data.guide, device=device)
    train = pairs_of(
        config, train_split, tokenizer, hflip=config.data.hflip, progress=progress, device=device
    )
    if config.objective.soft_weight > 0:
        train.caption_guide = caption_vectors(config.data.guide or "", train_split.captions, device=device)
    val = pairs_of(config, val_split, tokenizer, progress=progress, device=device)
    test = None
    if test_split is not None:
        test = pairs_of(config, test_split, tokenizer, progress=progress, device=device)
    if note := cut_note(*(pairs for pairs in (train, val, test) if pairs is not None)):
        say(note)
    features = train.features
    steps = total_steps(training, len(train))
    tokens = features.tokens.shape[1:] if train.pixels() is None else tower_of(config)["tokens"]["shape"]
    model = replace(
        config.model,
        regions=tokens[0],
        region_dim=tokens[1],
        guide_dim=None if features.guide is None else features.guide.shape[1],
        vocab_size=tokenizer.vocab_size,
        momentum=momentum_for(steps) if config.model.momentum is None else config.model.momentum,
    )
    training = replace(training, precision=precision_of(training.precision))
    filled = replace(config, model=model, training=training)
    return Prepared(filled, train, val, test, tokenizer, data.fingerprint, about, device)


def cut_note(*parts: CaptionDataset) -> str | None:
    """A sentence on captions that are longer than the text tower can read; None where there are none."""
    longest = parts[0].tokenizer.longest if parts else None
    if longest is None:
        return None
    cut, lost, total = 0, 0, 0
    for pairs in parts:
        rows = [int(row) for row in np.flatnonzero(pairs.lengths >= longest)]
        rows = [row for row in rows if pairs.tokenizer.is_cut(pairs.split.captions[row])]
        cut, total = cut + len(rows), total + len(pairs)
        lost += len(rows) - len({pairs.ids(row).tobytes() for row in rows})
    same = f" This makes {lost} of them equal to another." if lost else ""
    return (
        f"{cut:,} of {total:,} captions have more than the {longest} tokens that the text tower can read, and are cut."
        f"{same}"
        if cut
        else None
    )


def fitted(training: TrainingConfig, captions: int, say: Say) -> TrainingConfig:
    """The settings with a batch of a quarter of the captions where these cannot fill batch_size, else unchanged."""
    if captions >= training.batch_size or captions < 2:
        return training
    batch, part = max(2, captions // 4), training.micro_batch
    if part is not None:  # it must divide the batch, and is of no use if it is not smaller
        batch, part = (batch - batch % part, part) if part < batch else (batch, None)
    parts = "" if part == training.micro_batch else f", and micro_batch {training.micro_batch} is not used"
    say(
        f"batch_size is {batch} in place of {training.batch_size}{parts}: the train split has {captions} captions."
    )
    return replace(training, batch_size=batch, micro_batch=part)


def precision_of(wanted: str) -> str:
    """auto -> bf16 where the hardware supports it, else fp32, since emulated bf16 is slower; others stay unchanged."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def total_steps(training: TrainingConfig, captions: int) -> int:
    """The steps of the whole run. Raises UserError where the captions do not fill one batch."""
    if captions < training.batch_size:
        raise UserError(
            f"the train split has {captions} captions and batch_size is {training.batch_size}; give a smaller "
            "--batch-size."
        )
    return (
        training.steps if training.steps is not None else training.epochs * (captions // training.batch_size)
    )


def metadata_of(prepared: Prepared, row: dict[str, float]) -> dict[str, Any]:
    """The metadata of a run in an inference checkpoint."""
    metadata: dict[str, Any] = {
        "data": prepared.config.data.data,
        "fingerprint": prepared.fingerprint,
        "made_by": prepared.made_by,
        "device": prepared.device,
        "selected": row,
        "provenance": provenance(),
        "peak_memory_mb": peak_memory_mb(),
    }
    # search warns of images whose distance from the mean of the train images is above the limit
    guide = prepared.train.features.guide
    if guide is not None:
        metadata["guide_mean"], metadata["guide_limit"] = _reach(np.asarray(guide))
    elif token_spec(prepared.config) not in ("precomputed", "pixels"):  # tokens that a new image can have
        metadata["token_mean"], metadata["token_limit"] = _reach(_token_means(prepared.train))
    return metadata


def _reach(vectors: np.ndarray) -> tuple[list[float], float]:
    """(N, G) -> the mean of the L2-normalised vectors, and the 99th percentile of their distances from it."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    mean = unit.mean(0)
    return [round(float(v), 6) for v in mean], float(np.quantile(np.linalg.norm(unit - mean, axis=1), 0.99))


def _token_means(pairs: CaptionDataset) -> np.ndarray:
    """(n, D): the mean of the unmasked tokens of each of at most 512 images, evenly spaced in the split."""
    rows = np.unique(np.linspace(0, len(pairs.split) - 1, SAMPLE_IMAGES).astype(np.int64))
    tokens, mask = pairs.features.tokens, pairs.features.mask
    there = [slice(None) if mask is None else np.asarray(mask[int(row)], bool) for row in rows]
    return np.stack(
        [np.asarray(tokens[int(row)], np.float32)[own].mean(0) for row, own in zip(rows, there, strict=True)]
    )

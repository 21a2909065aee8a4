"""From a configuration to data that can be trained on, with nothing left open."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from userlib.config import Config, TrainingConfig
from userlib.data.captions import PairData, Tokenizer, make_tokenizer
from userlib.data.sources import RetrievalData, Split, load_data
from userlib.data.tokenizers import SAMPLE, unknown_share
from userlib.data.tokens import extract
from userlib.errors import UserError
from userlib.model.momentum import momentum_for
from userlib.progress import tell
from userlib.provenance import peak_memory_mb, provenance


@dataclass(frozen=True)
class Prepared:
    """A run's data with tokens made and captions numbered, and its configuration with nothing left open."""

    config: Config
    train: PairData
    select: PairData
    report: PairData | None
    tokenizer: Tokenizer
    fingerprint: str  # of the data


def pairs_of(
    config: Config,
    split: Split,
    tokenizer: Tokenizer,
    *,
    mirrored: bool = False,
    progress: bool = True,
    device: str = "cpu",
) -> PairData:
    """Tokens and numbered captions of one split, made as the configuration says."""
    data = config.data
    features = extract(
        split,
        tokens=data.tokens,
        token_weights=Path(data.token_weights) if data.token_weights else None,
        guide=data.guide,
        mirrored=mirrored,
        progress=progress,
        device=device,
    )
    pairs = PairData(split, features, tokenizer)
    share = unknown_share(tokenizer, (int(i) for row in range(min(len(pairs), SAMPLE)) for i in pairs.ids(row)))
    if len(pairs) and share > 0.5:
        tell(
            f"Note: {share:.0%} of the words of the split {split.name!r} are unknown to the model's vocabulary; "
            "what is measured on it says little. Is it in another language?"
        )
    return pairs


def splits_of(config: Config, *, progress: bool = False) -> RetrievalData:
    """The run's data with the selection slice held out: RetrievalData with train, the split to select on and
    the rest.
    """
    data = load_data(
        config.data.data,
        sizes=config.data.sizes,
        pictures=Path(config.data.pictures) if config.data.pictures else None,
        progress=progress,
    )
    name, _, count = config.data.select.partition(":")
    if count:
        data = data.hold_out(name, int(count), seed=0)
    return data


def select_name(config: Config) -> str:
    """The split that selection uses, after the slice is held out."""
    return "select" if ":" in config.data.select else config.data.select


def prepare(config: Config, *, progress: bool = True, report_if_there: bool = False) -> Prepared:
    """Loads the data, makes or finds the tokens, builds the vocabulary from train alone, and fills in the
    open settings. UserError for a split that is not there, before any token is made; with `report_if_there` a missing
    split for the report leaves the report out.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = splits_of(config, progress=progress)
    train_split, select_split = data.split("train"), data.split(select_name(config))
    if report_if_there and config.data.report not in data.splits:
        config = replace(config, data=replace(config.data, report=None))
    report_split = None if config.data.report is None else data.split(config.data.report)
    total_steps(config.training, len(train_split.captions))  # refuses a batch that train cannot fill
    kind = {"bag": "words", "gru": "words", "bert": "bert", "clip": "clip"}[config.model.text]
    tokenizer = make_tokenizer(
        kind, train_split.captions, min_count=config.data.min_count, model=config.model.text_model
    )
    train = pairs_of(
        config, train_split, tokenizer, mirrored=config.data.mirrored, progress=progress, device=device
    )
    select = pairs_of(config, select_split, tokenizer, progress=progress, device=device)
    report = None
    if report_split is not None:
        report = pairs_of(config, report_split, tokenizer, progress=progress, device=device)
    features = train.features
    steps = total_steps(config.training, len(train))
    model = replace(
        config.model,
        regions=features.tokens.shape[1],
        token_width=features.tokens.shape[2],
        guide_width=None if features.guide is None else features.guide.shape[1],
        vocab_size=tokenizer.vocab_size,
        momentum=momentum_for(steps) if config.model.momentum is None else config.model.momentum,
    )
    training = replace(config.training, precision=precision_of(config.training.precision))
    return Prepared(
        replace(config, model=model, training=training), train, select, report, tokenizer, data.fingerprint
    )


def precision_of(wanted: str) -> str:
    """auto -> bf16 where the chip has it, else fp32; a chip that only emulates it is slower with it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def total_steps(training: TrainingConfig, captions: int) -> int:
    """Steps of the whole run. Raises UserError where the captions do not fill one batch."""
    if captions < training.batch:
        raise UserError(
            f"the train split has {captions} captions and the batch is {training.batch}; give a smaller "
            "--batch."
        )
    return training.steps if training.steps is not None else training.epochs * (captions // training.batch)


def facts_of(prepared: Prepared, row: dict[str, float]) -> dict[str, Any]:
    """What an inference checkpoint remembers of its run."""
    facts: dict[str, Any] = {
        "data": prepared.config.data.data,
        "fingerprint": prepared.fingerprint,
        "selected": row,
        "provenance": provenance(),
        "peak_memory_mb": peak_memory_mb(),
    }
    guide = prepared.train.features.guide
    if guide is not None:
        # How far from the train pictures' mean a picture may lie before it is called foreign.
        guide = np.asarray(guide)
        unit = guide / np.linalg.norm(guide, axis=1, keepdims=True).clip(1e-12)
        mean = unit.mean(0)
        facts["guide_mean"] = [round(float(v), 6) for v in mean]
        facts["guide_limit"] = float(np.quantile(np.linalg.norm(unit - mean, axis=1), 0.99))
    return facts

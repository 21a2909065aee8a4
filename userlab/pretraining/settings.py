"""Settings of the pretraining commands. The weights in assets were made with the defaults."""

from dataclasses import dataclass, field
from typing import Any


def _setting(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, kw_only=True)
class RegionsConfig:
    """All that changes region-mini's weights."""

    pictures: int = _setting(4000, "the first of Scenes train")
    epochs: int = _setting(16, "passes over them")
    batch_size: int = _setting(64, "images per step")
    lr: float = _setting(4e-3, "the highest learning rate")
    weight_decay: float = _setting(0.02, "of matrices and filters")
    seed: int = _setting(0, "of all random draws")


@dataclass(frozen=True, kw_only=True)
class PhotosConfig:
    """All that changes photos-mini's weights, in addition to the preset `photos`."""

    data: str = _setting("path/to/flickr8k", "photos with captions: a folder or a name on the hub")
    text_model: str = _setting(
        "sentence-transformers/all-MiniLM-L6-v2",
        "the text encoder whose vectors of single words are distilled",
    )
    vocabulary: int = _setting(8000, "words that it knows in all")
    val_split: str = _setting("train:500", "what picks the epoch")
    test_split: str = _setting("val", "what is scored once at the end")
    epochs: int = _setting(4, "passes over the captions")
    seed: int = _setting(0, "of all random draws")


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """All that changes clip-mini's weights."""

    pictures: int = _setting(80_000, "the first of the pretrain world")
    steps: int = _setting(2000, "updates")
    batch_size: int = _setting(128, "images per step")
    lr: float = _setting(1e-3, "the highest learning rate")
    weight_decay: float = _setting(0.1, "of matrices")
    seed: int = _setting(0, "of all random draws")

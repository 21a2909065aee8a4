"""The interface of an encoder for an index, and how two encoders are compared; without torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from userlib.data.registry import same_network
from userlib.data.splits import Pictures
from userlib.search.reading import BATCH

Array = NDArray[np.float32]


class Encoder(Protocol):
    """The interface that an index needs. Vectors are float32 and of unit norm.

    Optional: `measured(images) -> (vectors (n, E), distances (n,))`, the distances from the training images in units of
    the limit of usual images, with `warn(distances, drawn=...) -> str | None`, a warning for an index with such
    distances; and `cut_note(text) -> str | None`, a note on a text that is longer than the encoder can read.
    """

    @property
    def warning(self) -> str | None:
        """A warning to all users of its results, whatever the images; None where there is none."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Array:
        """n captions or queries -> (n, E)."""
        ...

    def encode_image(self, images: Sequence[Image.Image]) -> Array:
        """n images -> (n, E)."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The words of a query that are unknown to the encoder."""
        ...

    def cache_key(self) -> dict[str, Any]:
        """All that the vectors depend on, as JSON: an index only opens with an encoder of an equal key. "name" is for
        messages and is not compared.
        """
        ...


def encode_all(
    encode: Callable[[Any], Array], items: "Sequence[Any] | Pictures", *, size: int = BATCH
) -> Array:
    """n texts or images -> (n, E), encoded `size` at a time; images are read batch by batch."""
    parts = (range(i, min(i + size, len(items))) for i in range(0, len(items), size))
    return np.concatenate([encode([items[i] for i in part]) for part in parts])


def measured(encoder: Encoder, images: Sequence[Image.Image]) -> tuple[Array, Array]:
    """n images -> vectors (n, E), and distances (n,) from the training images, NaN where the encoder has none."""
    if hasattr(encoder, "measured"):
        result: tuple[Array, Array] = encoder.measured(images)
        return result
    return encoder.encode_image(images), np.full(len(images), np.nan, np.float32)


def warning_of(encoder: Encoder, distances: Array, *, drawn: bool) -> str | None:
    """The warning to users of an index, or None. drawn: its images are drawn scenes."""
    if not hasattr(encoder, "warn"):
        return encoder.warning
    warning: str | None = encoder.warn(distances, drawn=drawn)
    return warning


def identity(described: Mapping[str, Any]) -> dict[str, Any]:
    """A `cache_key` without its name."""
    return {key: value for key, value in described.items() if key != "name"}


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """How two encoders differ by their `cache_key`, in words; "" where they are equal."""
    if identity(ours) == identity(theirs):
        return ""
    named = [
        f"{description.get('kind')} {description.get('name', '')}".strip() for description in (ours, theirs)
    ]
    flat = [dict(_flat(identity(description))) for description in (ours, theirs)]
    keys = [key for key in flat[0] | flat[1] if flat[0].get(key) != flat[1].get(key)]
    keys = [
        key for key in keys if not (key.endswith(".model") and same_network(*(one.get(key) for one in flat)))
    ][:4]
    if not keys:
        return ""
    parts = [f"{key} {_short(flat[0].get(key))} against {_short(flat[1].get(key))}" for key in keys]
    return f"by {named[0]}, and the one given is {named[1]} ({'; '.join(parts)})"


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """A nested value as names like "tokens.0.precision" and plain values."""
    if not isinstance(value, (dict, list)):
        return [(name, value)]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [pair for key, part in inner for pair in _flat(part, f"{name}.{key}".strip("."))]


def _short(value: Any) -> str:
    return str(value)[:12] if isinstance(value, str) and len(value) == 64 else str(value)[:60]

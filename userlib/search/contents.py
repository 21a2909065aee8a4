"""What an index holds: its images and captions by their vectors, and by what each image is known again."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from userlib.search.ann import Hnsw, Report
from userlib.search.encoders import Encoder
from userlib.search.exact import Array, Ints
from userlib.search.reading import Print


@dataclass
class Contents:
    """N images sorted by id, and where the source has them M captions.

    vectors (N, E); text_vectors (M, E), text_of (M,) the row of each caption's image; skipped: what could not be
    read; warning: what a user should know about the encoder and these images; prints: what identifies each image by
    its content; distances (N,): how far each lies from the encoder's training images, where 1 is the limit of the usual
    and NaN unknown; missing: images and captions still to be encoded after an interrupted update; source: where
    the images are from.
    """

    ids: tuple[str, ...]
    vectors: Array
    encoder: Encoder
    texts: tuple[str, ...] = ()
    text_vectors: Array | None = None
    text_of: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    skipped: tuple[str, ...] = ()
    warning: str | None = None
    nearest: Hnsw | None = None
    report: Report | None = None
    prints: tuple[Print, ...] = ()
    distances: Array = field(default_factory=lambda: np.empty(0, np.float32))
    missing: int = 0
    source: dict[str, str] = field(default_factory=dict)
    folder: Path | None = field(default=None, repr=False)  # where it was loaded from or saved

    def __post_init__(self) -> None:
        if not len(self.distances):
            self.distances = np.full(len(self.ids), np.nan, np.float32)

    def prints_by_id(self) -> dict[str, Print]:
        """The prints by id; empty for an index of an older version, which had none."""
        return dict(zip(self.ids, self.prints, strict=False))

"""Updates an index to its images: encodes new and changed ones, drops missing ones, and keeps the vectors of the rest.

An update that is interrupted keeps the images encoded so far, none of them stale. The next one resumes.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.progress import Progress
from userlib.search.ann import Hnsw, Report
from userlib.search.exact import Array, Ints
from userlib.search.protocol import Encoder, measured
from userlib.search.reading import BATCH, Print, print_of, read

Seen = Callable[[str, Image.Image, int, int], object]  # SHA-256 of the content, image, number encoded, total
KEEP_EVERY_S = 60.0  # seconds after which a long update is saved
Known = tuple[Array, float]  # an image's vector (E,), and its distance from the training images


@dataclass
class Contents:
    """The contents of an index: N images sorted by id, and M captions where the source has any.

    vectors (N, E); text_vectors (M, E), text_of (M,): the row of each caption's image; skipped: messages on images that
    could not be read; warning: a note on the encoder and these images; prints (N): the identity of each image by its
    content; distances (N,): from the encoder's training images, where 1 is the limit of usual images and NaN unknown;
    missing: the number of images and captions still to be encoded after an interrupted update; source: data and split.
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
    folder: Path | None = field(default=None, repr=False)  # where it was loaded from or saved to
    stored: list[object] = field(default_factory=list, repr=False)  # its contents in that folder

    def __post_init__(self) -> None:
        if not len(self.distances):
            self.distances = np.full(len(self.ids), np.nan, np.float32)


@dataclass(frozen=True)
class Changes:
    """The changes of an update, by id. encoded: the images that were encoded, in that order, without renamed and copied
    ones; missing: the number of images still to be encoded; unlinked: whether the HNSW graph was dropped.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()  # from, to
    removed: tuple[str, ...] = ()
    kept: int = 0
    skipped: tuple[str, ...] = ()
    encoded: tuple[str, ...] = ()
    missing: int = 0
    unlinked: bool = False

    def __bool__(self) -> bool:
        """Whether the images of the index have changed."""
        return bool(self.added or self.changed or self.renamed or self.removed)

    def __str__(self) -> str:
        counts = {
            "added": len(self.added),
            "changed": len(self.changed),
            "removed": len(self.removed),
            "renamed": len(self.renamed),
            "kept": self.kept,
            "unreadable": len(self.skipped),
            "still to do": self.missing,
        }
        summary = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "nothing to do"
        return f"{summary}; its HNSW graph is dropped: call approximate again" if self.unlinked else summary


def bring_in_line(
    index: Contents,
    split: Split,
    *,
    progress: bool = True,
    keep: Callable[[], object] | None = None,
    seen: Seen | None = None,
) -> Changes:
    """Updates `index` in place. keep() saves it: every minute, and when the update is interrupted. seen is called for
    each image that was encoded.

    Raises UserError where no image can be read, which leaves the index unchanged, and any error of the encoder.
    """
    update = _Update(index, split, progress)
    try:
        update.encode_images(keep, seen)
        if not update.rows():
            raise UserError(
                f"none of the {len(split)} images of {split.name!r} can be read; the first: {update.faults()[0]}"
            )
        update.encode_captions()
    except BaseException:
        if update.rows():
            update.settle()
            if keep is not None:
                keep()
        raise
    changes = update.settle()
    if changes.skipped:
        warnings.warn(
            f"{len(changes.skipped)} of {len(split)} images were left out; the first: {changes.skipped[0]}",
            stacklevel=4,
        )
    return changes


class _Update:
    """A running update: identities and errors by row of the split, and known vectors by content and by text."""

    def __init__(self, index: Contents, split: Split, progress: bool) -> None:
        self.index, self.split, self.progress = index, split, progress
        self.order = sorted(range(len(split)), key=split.ids.__getitem__)
        self.old = index.ids
        self.before = dict(zip(index.ids, index.prints, strict=False))  # an older version had none
        self.prints: dict[int, Print] = {}
        self.skipped: dict[int, str] = {}
        self.encoded: list[str] = []
        self.unlinked = False  # stays True once a graph is dropped, though a later settle() finds none
        with Progress(len(split), "images compared", show=progress, delay=2.0) as bar:
            for row in range(len(split)):
                try:
                    self.prints[row] = print_of(split, row, self.before.get(split.ids[row]))
                except UserError as error:
                    self.skipped[row] = str(error)
                bar.step()
        vectors = zip(index.prints, index.vectors, index.distances, strict=bool(index.prints))
        self.known: dict[str, Known] = {one.sha256: (vector, float(far)) for one, vector, far in vectors}
        texts = () if index.text_vectors is None else index.text_vectors
        self.text_vectors = dict(zip(index.texts, texts, strict=False))

    def rows(self) -> list[int]:
        """The rows of the images that have vectors, sorted by id."""
        return [row for row in self.order if row in self.prints and self.prints[row].sha256 in self.known]

    def faults(self) -> list[str]:
        """The errors of images that could not be read, sorted by id."""
        return [self.skipped[row] for row in self.order if row in self.skipped]

    def encode_images(self, keep: Callable[[], object] | None, seen: Seen | None) -> None:
        """Encodes each content that has no vector yet; equal images are encoded once."""
        firsts: dict[str, int] = {}
        for row in self.order:
            if row in self.prints and self.prints[row].sha256 not in self.known:
                firsts.setdefault(self.prints[row].sha256, row)
        wanted, kept_at = list(firsts.values()), time.monotonic()
        with Progress(len(wanted), "images", show=self.progress and bool(wanted)) as bar:
            for start in range(0, len(wanted), BATCH):
                batch = [one for row in wanted[start : start + BATCH] if (one := self._read(row))]
                if batch:
                    vectors, distances = measured(self.index.encoder, [image for _, image in batch])
                    for (row, _), vector, far in zip(batch, finite(vectors), distances, strict=True):
                        self.known[self.prints[row].sha256] = vector, float(far)
                for row, image in batch:
                    self.encoded.append(self.split.ids[row])
                    if seen is not None:
                        seen(self.prints[row].sha256, image, len(self.encoded), len(wanted))
                bar.step(len(wanted[start : start + BATCH]))
                if keep is not None and time.monotonic() - kept_at > KEEP_EVERY_S:
                    self.settle()
                    keep()
                    kept_at = time.monotonic()

    def _read(self, row: int) -> tuple[int, Image.Image] | None:
        """The row and its image; None where it cannot be read, and then all images of its content are left out."""
        try:
            image, self.prints[row] = read(self.split, row)
            return row, image
        except UserError:
            digest = self.prints[row].sha256
            self.skipped |= {r: self._fault(r) for r in self.prints if self.prints[r].sha256 == digest}
            return None

    def _fault(self, row: int) -> str:
        """The error of an image that could not be read."""
        try:
            read(self.split, row)
        except UserError as error:
            return str(error)
        return f"the image {self.split.ids[row]} was being written; update again."

    def encode_captions(self) -> None:
        """Encodes the captions that have no vectors yet, each text once."""
        there, split = set(self.rows()), self.split
        texts = [split.captions[j] for j, i in enumerate(split.caption_to_image) if int(i) in there]
        new = [text for text in dict.fromkeys(texts) if text not in self.text_vectors]
        with Progress(len(new), "captions", show=self.progress and bool(new)) as bar:
            for start in range(0, len(new), BATCH):
                batch = new[start : start + BATCH]
                vectors = finite(self.index.encoder.encode_text(batch))
                self.text_vectors.update(zip(batch, vectors, strict=True))
                bar.step(len(batch))

    def settle(self) -> Changes:
        """Puts the images that have vectors into the index, sorted by id, and those captions of theirs that have."""
        index, split, prints = self.index, self.split, self.prints
        rows = [row for row in self.rows() if row not in self.skipped]
        changes = self._changes(rows)
        place = np.full(len(split), -1)
        place[rows] = np.arange(len(rows))
        theirs = np.flatnonzero(place[split.caption_to_image] >= 0)
        captions = [int(j) for j in theirs if split.captions[j] in self.text_vectors]
        images_missing = len(split) - len(rows) - len(self.skipped)
        index.missing = images_missing + len(theirs) - len(captions)
        index.vectors = np.stack([self.known[prints[row].sha256][0] for row in rows])
        index.distances = np.array([self.known[prints[row].sha256][1] for row in rows], np.float32)
        index.ids, index.prints = tuple(split.ids[row] for row in rows), tuple(prints[row] for row in rows)
        index.texts = tuple(split.captions[j] for j in captions)
        index.text_of = place[split.caption_to_image[captions]].astype(np.int64)
        index.text_vectors = np.stack([self.text_vectors[text] for text in index.texts]) if captions else None
        index.skipped = tuple(self.faults())
        unlinked = index.nearest is not None and bool(changes)
        if unlinked:
            index.nearest = index.report = None
        encoded = tuple(self.encoded)
        self.unlinked |= unlinked
        return replace(
            changes, encoded=encoded, skipped=index.skipped, missing=images_missing, unlinked=self.unlinked
        )

    def _changes(self, rows: Sequence[int]) -> Changes:
        """The changes from the previous ids to those of these rows of the split."""
        before, new = self.before, {self.split.ids[row]: self.prints[row].sha256 for row in rows}
        there, here = set(self.old), set(self.split.ids)
        gone: dict[str, list[str]] = {}  # content -> its names that no longer exist
        for name in sorted(there - here, reverse=True):
            if name in before:
                gone.setdefault(before[name].sha256, []).append(name)
        added, changed, renamed = [], [], []
        for name, digest in new.items():
            if name in there:
                if name not in before or before[name].sha256 != digest:
                    changed.append(name)
            elif gone.get(digest):
                renamed.append((gone[digest].pop(), name))
            else:
                added.append(name)
        moved = {name for name, _ in renamed}
        return Changes(
            added=tuple(added),
            changed=tuple(changed),
            renamed=tuple(renamed),
            removed=tuple(name for name in self.old if name not in new and name not in moved),
            kept=len(there & set(new)) - len(changed),
        )


def finite(vectors: Array) -> Array:
    """The vectors as contiguous float32. Raises UserError where one is not finite."""
    if not np.isfinite(vectors).all():
        raise UserError(
            "the encoder returned NaN or infinite values: its weights are damaged or have diverged; use another model."
        )
    return np.ascontiguousarray(vectors, np.float32)

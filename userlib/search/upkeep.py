"""An index brought in line with its images: what is new or changed is encoded, what is gone is dropped, and what
was only renamed or copied keeps its vector.

An update that is stopped keeps the images encoded until then, none of them stale. The next one resumes.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.progress import Progress
from userlib.search.ann import Hnsw, Report
from userlib.search.encoders import Encoder, measured
from userlib.search.exact import Array, Ints
from userlib.search.reading import BATCH, Print, print_of, read

Seen = Callable[[str, Image.Image, int, int], object]  # content, image, how many were encoded, of how many
KEEP_EVERY_S = 60.0  # how often a long update is saved
Known = tuple[Array, float]  # an image's vector (E,), and how far it lies from the training images


@dataclass
class Contents:
    """What an index holds: N images sorted by id, and where the source has them M captions.

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


@dataclass(frozen=True)
class Changes:
    """What an update did, by id. encoded: the images that the encoder saw, in that order (a renamed or copied one
    is not among them); missing: how many are still to be encoded; unlinked: whether a graph for approximate search had
    to be dropped.
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
        """Whether the index is another than before."""
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
    """Update `index` in place. `keep` stores what there is: now and then, and when the update is stopped. `seen` is
    called with each image that was encoded.

    Raises UserError where no image can be read (the index is left as it was), and whatever stopped the encoder.
    """
    order = sorted(range(len(split.ids)), key=split.ids.__getitem__)
    before = dict(zip(index.ids, index.prints, strict=False))  # none in an index of an older version
    prints: dict[int, Print] = {}  # by row of the split
    skipped: dict[int, str] = {}
    with Progress(len(order), "images compared", show=progress, delay=2.0) as bar:
        for row in range(len(order)):  # as they lie there
            try:
                prints[row] = print_of(split, row, before.get(split.ids[row]))
            except UserError as error:
                skipped[row] = str(error)
            bar.step()
    known: dict[str, Known] = {
        one.sha256: (vector, float(far))
        for one, vector, far in zip(index.prints, index.vectors, index.distances, strict=bool(index.prints))
    }
    text_vectors = dict(
        zip(index.texts, () if index.text_vectors is None else index.text_vectors, strict=False)
    )
    firsts: dict[str, int] = {}  # equal images are encoded once
    for row in order:
        if row in prints and prints[row].sha256 not in known:
            firsts.setdefault(prints[row].sha256, row)
    wanted = list(firsts.values())
    old = index.ids
    encoded: list[str] = []
    kept_at = time.monotonic()

    def settle() -> Changes:
        rows = [r for r in order if r in prints and r not in skipped and prints[r].sha256 in known]
        changes = _compare(old, before, split, rows, prints)
        return _settle(index, split, rows, changes, prints, known, text_vectors, encoded, skipped)

    try:
        with Progress(len(wanted), "images", show=progress and bool(wanted)) as bar:
            for start in range(0, len(wanted), BATCH):
                batch: list[tuple[int, Image.Image]] = []
                for row in wanted[start : start + BATCH]:
                    try:
                        image, prints[row] = read(split, row)
                        batch.append((row, image))
                    except UserError:
                        digest = prints[row].sha256
                        skipped |= {r: _fault(split, r) for r in prints if prints[r].sha256 == digest}
                if batch:
                    vectors, far = measured(index.encoder, [image for _, image in batch])
                    for (row, _), vector, one in zip(batch, finite(vectors), far, strict=True):
                        known[prints[row].sha256] = vector, float(one)
                    for row, image in batch:
                        encoded.append(split.ids[row])
                        if seen is not None:
                            seen(prints[row].sha256, image, len(encoded), len(wanted))
                bar.step(len(wanted[start : start + BATCH]))
                if keep is not None and time.monotonic() - kept_at > KEEP_EVERY_S:
                    settle()
                    keep()
                    kept_at = time.monotonic()
        there = {row for row in prints if prints[row].sha256 in known}
        if not there:
            first = skipped[min(skipped, key=order.index)]
            raise UserError(
                f"none of the {len(order)} images of {split.name!r} can be read; the first: {first}"
            )
        texts = [split.captions[j] for j, i in enumerate(split.caption_to_image) if int(i) in there]
        _encode_texts_into(text_vectors, texts, index.encoder, progress)
    except BaseException:
        if any(row in prints and prints[row].sha256 in known for row in order):
            changes = settle()
            if keep is not None and (changes or encoded):
                keep()
        raise
    changes = settle()
    if skipped:
        first = skipped[min(skipped, key=order.index)]
        warnings.warn(
            f"{len(skipped)} of {len(order)} images were left out; the first: {first}", stacklevel=3
        )
    return changes


def _settle(
    index: Contents,
    split: Split,
    rows: Sequence[int],
    changes: Changes,
    prints: Mapping[int, Print],
    known: Mapping[str, Known],
    text_vectors: Mapping[str, Array],
    encoded: Sequence[str],
    skipped: Mapping[int, str],
) -> Changes:
    """Put into the index the images at these rows, sorted by id, and of their captions those that have vectors."""
    place = np.full(len(split.ids), -1)
    place[rows] = np.arange(len(rows))
    theirs = np.flatnonzero(place[split.caption_to_image] >= 0)
    captions = [int(j) for j in theirs if split.captions[j] in text_vectors]
    images_missing = len(split.ids) - len(rows) - len(skipped)
    index.missing = images_missing + len(theirs) - len(captions)
    index.vectors = np.stack([known[prints[row].sha256][0] for row in rows])
    index.distances = np.array([known[prints[row].sha256][1] for row in rows], np.float32)
    index.ids, index.prints = tuple(split.ids[row] for row in rows), tuple(prints[row] for row in rows)
    index.texts = tuple(split.captions[j] for j in captions)
    index.text_of = place[split.caption_to_image[captions]].astype(np.int64)
    index.text_vectors = np.stack([text_vectors[text] for text in index.texts]) if captions else None
    index.skipped = tuple(skipped[row] for row in sorted(skipped, key=split.ids.__getitem__))
    unlinked = index.nearest is not None and bool(changes)
    if unlinked:
        index.nearest = index.report = None
    return replace(
        changes, encoded=tuple(encoded), skipped=index.skipped, missing=images_missing, unlinked=unlinked
    )


def _compare(
    old: Sequence[str],
    before: Mapping[str, Print],
    split: Split,
    rows: Sequence[int],
    prints: Mapping[int, Print],
) -> Changes:
    """What became of the ids `old`, whose prints were `before`, now that these rows of the split are indexed."""
    new = {split.ids[row]: prints[row].sha256 for row in rows}
    there, here = set(old), set(split.ids)
    gone: dict[str, list[str]] = {}  # content -> the names under which it is no more
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
        removed=tuple(name for name in old if name not in new and name not in moved),
        kept=len(there & set(new)) - len(changed),
    )


def _fault(split: Split, row: int) -> str:
    """What is wrong with an image."""
    try:
        read(split, row)
    except UserError as error:
        return str(error)
    return f"the image {split.ids[row]} was being written; update again"


def _encode_texts_into(
    vectors: dict[str, Array], texts: Sequence[str], encoder: Encoder, progress: bool
) -> None:
    """Adds the vectors of the captions that have none yet, each text once."""
    new = [text for text in dict.fromkeys(texts) if text not in vectors]
    with Progress(len(new), "captions", show=progress and bool(new)) as bar:
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            vectors.update(zip(batch, finite(encoder.encode_text(batch)), strict=True))
            bar.step(len(batch))


def finite(vectors: Array) -> Array:
    """The vectors as they are stored. UserError where one is not finite."""
    if not np.isfinite(vectors).all():
        raise UserError(
            "the encoder gave vectors that are not finite; its weights are damaged or have diverged"
        )
    return np.ascontiguousarray(vectors, np.float32)

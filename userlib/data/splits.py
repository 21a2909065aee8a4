"""Data sets: images, captions, and which caption belongs to which image, in named splits."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from userlib.arguments import checked
from userlib.errors import UserError
from userlib.files import sha256_bytes

ODD = re.compile("[\0\ud800-\udfff]")  # a zero byte, or half of a UTF-16 pair, which JSON can spell
LONGEST = 10_000  # characters of a caption or query; a batch is padded to its longest
SPLIT_NAMES = {
    **dict.fromkeys(("training", "restval"), "train"),
    **dict.fromkeys(("validation", "valid", "dev", "development"), "val"),
    "testing": "test",
}
NEAR_SPLIT = tuple("set subset partition splits split_name data_split dataset_split fold phase".split())
NEAR_CAPTION = re.compile(r"(caption|text|comment|sentence)s?([ _-]?\d+)?", re.IGNORECASE)


def split_name(text: str) -> str:
    """The name of a split in lower case, with synonyms of train, val and test replaced by these."""
    name = text.strip().lower()
    return SPLIT_NAMES.get(name, name)


def check_split_column(row: Mapping[str, object], where: str, known: str = "") -> None:
    """Raises UserError where a row without a column `split` has train, val or test in a column of a similar name:
    ignored, it would let a model train on test images. known: the split that is known without it.
    """
    for name in NEAR_SPLIT if "split" not in row else ():
        value = row.get(name)
        if isinstance(value, str) and split_name(value) in {"train", "val", "test"} - {split_name(known)}:
            raise UserError(
                f"{where} has {value!r} in {name!r}, which looks like the image's split, but only the column 'split' "
                f"is read as that. Rename {name!r} to split, or remove it."
            )


def refuse_shared(images: Iterable[tuple[str, str, str]]) -> None:
    """Raises UserError where the same image lies in two splits. images: the split, the id and a hash of each."""
    seen: dict[str, tuple[str, str]] = {}
    for split, id_, total in images:
        other, twin = seen.setdefault(total, (split, id_))
        if other != split:
            raise UserError(
                f"The images {twin!r} in {other!r} and {id_!r} in {split!r} are the same: a model would be scored on "
                "what it was trained on. Keep it in one split."
            )


def near_captions(names: Iterable[str], read: str) -> list[str]:
    """The columns that seem to hold captions too, where those of the column `read` alone are read."""
    return [name for name in names if name != read and NEAR_CAPTION.fullmatch(name)]


class Pictures(Protocol):
    """Images by index, decoded on access: RGB, upright."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Image.Image: ...


class Subset:
    """Some of the images of another `Pictures`, in a given order."""

    def __init__(self, pictures: Pictures, rows: np.ndarray) -> None:
        self.pictures, self.rows = pictures, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Image.Image:
        return self.pictures[int(self.rows[i])]


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """N images and M captions. Raises UserError unless they belong together, each image with a caption or none at all.

    caption_to_image (M,) gives each caption's image as an index into ids. fingerprint is a hash of the content. groups
    names the part of the split that each image belongs to, or is None. caption_ids are the data set's own names of the
    captions, or None. features is the file of SCAN's (N, 36, 2048) array, or None. A split cut from another has that
    one as `parent` and its images' indices there as `rows`, where both share one set of tokens.
    """

    name: str
    ids: tuple[str, ...]
    pictures: Pictures | None
    captions: tuple[str, ...]
    caption_to_image: np.ndarray
    fingerprint: str
    groups: tuple[str, ...] | None = None
    caption_ids: tuple[str, ...] | None = None
    features: Path | None = None
    parent: "Split | None" = None
    rows: np.ndarray | None = None

    def __post_init__(self) -> None:
        where = f"the split {self.name!r}"
        n, m = len(self.ids), len(self.captions)
        if n == 0:
            raise UserError(f"There is no image in {where}. Check the data set's folder and split names.")
        twice, times = Counter(self.ids).most_common(1)[0]
        if times > 1:
            raise UserError(f"The image id {twice!r} occurs twice in {where}. Give each image its own.")
        if self.pictures is not None and len(self.pictures) != n:
            raise UserError(f"There are {len(self.pictures)} images for {n} ids in {where}. Fetch it again.")
        images = self.caption_to_image
        if images.shape != (m,) or (m and not 0 <= images.min() <= images.max() < n):
            raise UserError(f"A caption in {where} points to an image that is not there. Fetch it again.")
        for j, caption in enumerate(self.captions):
            fault = "" if caption.strip() else "is empty. Write it"
            if ODD.search(caption):
                fault = f"has a character that no text has: {caption[:80]!a}. Write it again"
            if len(caption) > LONGEST:
                fault = f"has {len(caption):,} characters; at most {LONGEST:,} are read. Shorten it"
            if fault:
                raise UserError(
                    f"Caption {j} in {where} (of image {self.ids[images[j]]!r}) {fault}, or remove it."
                )
        if m:
            bare = np.flatnonzero(np.bincount(images, minlength=n) == 0)
            if len(bare):
                raise UserError(
                    f"{len(bare)} of {n} images in {where} have no caption, the first is {self.ids[bare[0]]!r}. Give "
                    "each image a caption or remove it; a set without any captions can be searched, not trained on."
                )

    def same_pairs(self, other: "Split") -> bool:
        """Whether both have the same images with the same captions. A fingerprint may leave the captions out."""
        return self.fingerprint == other.fingerprint and self.captions == other.captions

    @classmethod
    def of(
        cls,
        name: str,
        ids: Sequence[str],
        captions: Sequence[Sequence[str]],
        pictures: Pictures | None,
        fingerprint: str,
        **more: Any,
    ) -> "Split":
        """The split whose image i has the captions `captions[i]`."""
        return cls(
            name=name,
            ids=tuple(ids),
            pictures=pictures,
            captions=tuple(caption for own in captions for caption in own),
            caption_to_image=np.repeat(np.arange(len(ids), dtype=np.int64), [len(own) for own in captions]),
            fingerprint=fingerprint,
            **more,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {len(self.ids):,} images, {len(self.captions):,} captions)"

    def select(self, indices: Sequence[int] | np.ndarray, name: str) -> "Split":
        """The images at `indices`, in that order, each with its captions. Raises UserError for an index that is no
        whole number, out of range or given twice.
        """
        given = np.asarray(indices) if len(indices) else np.empty(0, np.int64)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise UserError(
                f"The images of {self.name!r} are chosen by whole numbers, and got {given.dtype} of the shape "
                f"{given.shape}. Of a mask give numpy.flatnonzero(mask)."
            )
        rows = given.astype(np.int64)
        wrong = rows[(rows < 0) | (rows >= len(self.ids))]
        if len(wrong):
            raise UserError(
                f"Image {wrong[0]} was requested of {self.name!r}, which has images 0 to {len(self.ids) - 1}."
            )
        if len(np.unique(rows)) != len(rows):
            raise UserError(f"An image of the split {self.name!r} was requested twice. Give each index once.")
        new_row = np.full(len(self.ids), -1, dtype=np.int64)
        new_row[rows] = np.arange(len(rows))
        caption_to_image = new_row[self.caption_to_image]
        kept = np.flatnonzero(caption_to_image >= 0)
        kept = kept[np.argsort(caption_to_image[kept], kind="stable")]
        parent = self.parent or (self if self.features else None)  # whose tokens the result shares
        return Split(
            name=name,
            ids=tuple(self.ids[i] for i in rows),
            pictures=None if self.pictures is None else Subset(self.pictures, rows),
            captions=tuple(self.captions[j] for j in kept),
            caption_to_image=caption_to_image[kept],
            fingerprint=sha256_bytes("take", self.fingerprint, rows.tobytes()),
            groups=None if self.groups is None else tuple(self.groups[i] for i in rows),
            caption_ids=None if self.caption_ids is None else tuple(self.caption_ids[j] for j in kept),
            features=self.features,
            parent=parent,
            rows=None if parent is None else self.rows_in_parent(rows),
        )

    def rows_in_parent(self, rows: np.ndarray) -> np.ndarray:
        """Rows of this split as rows of its parent; unchanged where it has none."""
        return rows if self.rows is None else self.rows[rows]


@dataclass(frozen=True, kw_only=True, eq=False)
class RetrievalData:
    """A data set: its name and its splits. features_folder is SCAN's folder of features, where it came from one.
    captions_apart: only its own fingerprint covers the captions, not those of its splits.
    """

    name: str
    splits: Mapping[str, Split]
    fingerprint: str
    features_folder: Path | None = None
    captions_apart: bool = False

    def split(self, name: str) -> Split:
        """The split of that name. Raises UserError, which lists the splits, for a name that is none of theirs."""
        if name not in self.splits:
            raise UserError(
                f"{self.name!r} has no split {name!r}; it has: {', '.join(self.splits)}. Name one of them."
            )
        return self.splits[name]

    @checked
    def hold_out(
        self, name: str, count: int, *, seed: int | None = 0, into: str = "select"
    ) -> "RetrievalData":
        """Move `count` images of the split into a new one, to select a model on where the data set has no split for
        that. They are drawn by `seed`; with None they are chosen by a hash of their ids, so that an added image moves
        few others. Raises UserError for a name `into` that is taken, and a count that leaves either split empty.
        """
        split = self.split(name)
        if into in self.splits:
            raise UserError(
                f"{self.name!r} already has a split {into!r}; hold images out under another name."
            )
        if not 0 < count < len(split):
            raise UserError(
                f"Cannot hold {count} images out of {name!r}, which has {len(split)}; choose 1 to {len(split) - 1}."
            )
        if seed is None:
            order = np.array(sorted(range(len(split)), key=lambda i: sha256_bytes("held out", split.ids[i])))
        else:
            order = np.random.default_rng(seed).permutation(len(split))
        parts = {}
        for part, rows in ((name, np.sort(order[count:])), (into, np.sort(order[:count]))):
            own = split.rows_in_parent(rows)
            parts[part] = replace(split.select(rows, part), parent=split.parent or split, rows=own)
        fingerprint = sha256_bytes("hold_out", self.fingerprint, name, into, str(count), str(seed))
        return replace(self, splits={**self.splits, **parts}, fingerprint=fingerprint)

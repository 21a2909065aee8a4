"""What is searched: images, their captions, and for the drawn world which captions are true of which images.

`world_gallery` gives the test images of the embedded world. Their captions and true pairs come from a file, since
sampling a thousand scenes takes seconds; the images are drawn when they are first shown.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from userlib.checkpoints import read_checkpoint
from userlib.data.splits import Pictures, Split
from userlib.errors import UserError
from userlib.shipped import ASSETS

if TYPE_CHECKING:
    from userscenes import Caption, Scenes

Ints = NDArray[np.int64]
MODEL_DIR = ASSETS / "demo"
THUMB = 160  # pixels of the longest side of an image in a list
KEPT = 4_096  # thumbnails kept in memory, some 6 KB each
WORLD_SPLIT, WORLD_SIZE = "test", 1_000
SAMPLE = 8  # scenes that are compared with the file before it is used


@dataclass(eq=False)
class Gallery:
    """N images with ids, and M captions with caption_to_image (M,).

    world: the scenes behind drawn images, else None. pairs (P, 2): caption and image of each true pair, or None where
    these are unknown. thumbs: the images' thumbnails, as by `thumbnail`; if empty, each is made when it is first shown.
    """

    name: str
    ids: tuple[str, ...]
    pictures: Pictures
    captions: tuple[str, ...] = ()
    caption_to_image: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    world: "Scenes | None" = None
    pairs: Ints | None = None
    thumbs: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        self.row = {name: i for i, name in enumerate(self.ids)}
        self.thumb = lru_cache(maxsize=KEPT)(self._thumb)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def captions_by_picture(self) -> dict[int, list[int]]:
        """{row of an image: the indices of its captions}."""
        numbers: dict[int, list[int]] = {}
        for j, i in enumerate(self.caption_to_image):
            numbers.setdefault(int(i), []).append(j)
        return numbers

    @cached_property
    def caption_numbers(self) -> dict[str, int]:
        """{a caption's text: its index}; of equal captions the first."""
        return {text: j for j, text in reversed(list(enumerate(self.captions)))}

    @cached_property
    def true_pictures(self) -> dict[int, frozenset[int]]:
        """{index of a caption: the rows of all images that it is true of}."""
        rows_of: dict[int, set[int]] = {}
        for j, i in () if self.pairs is None else self.pairs.tolist():
            rows_of.setdefault(j, set()).add(i)
        return {j: frozenset(rows) for j, rows in rows_of.items()}

    def caption_of(self, row: int) -> str:
        """The text that stands for the image, also in a screen reader: its first caption, or its id."""
        own = self.captions_by_picture.get(row)
        return self.captions[own[0]] if own else self.ids[row]

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """The place that each image shows; empty for images that are not drawn."""
        return () if self.world is None else tuple(self.world[i].setting for i in range(len(self)))

    def written(self, number: int) -> "Caption | None":
        """A caption with its facts and spans; None for images that are not drawn."""
        if self.world is None:
            return None
        row = int(self.caption_to_image[number])
        return self.world.captions(row)[self.captions_by_picture[row].index(number)]

    def _thumb(self, row: int) -> str:
        """The thumbnail of an image as a data URL; "" where the image can no longer be read."""
        try:
            return as_url(self.thumbs[row] if self.thumbs else thumbnail(self.pictures[row]))
        except UserError:
            return ""

    def small_pictures(self) -> list[Image.Image | None]:
        """All thumbnails decoded, or else the images themselves, with None for those that can no longer be read."""
        if self.thumbs:
            return [Image.open(io.BytesIO(data)) for data in self.thumbs]
        return [self._or_none(row) for row in range(len(self))]

    def _or_none(self, row: int) -> Image.Image | None:
        try:
            return self.pictures[row]
        except UserError:
            return None

    def as_split(self) -> Split:
        """Images and captions as a Split of the library."""
        return Split(
            name=self.name,
            ids=self.ids,
            pictures=self.pictures,
            captions=self.captions,
            caption_to_image=self.caption_to_image,
            fingerprint=self.name,
        )


def thumbnail(picture: Image.Image, longest: int = THUMB) -> bytes:
    """The image as WebP, scaled down to at most `longest` pixels per side."""
    small = picture
    if max(picture.size) > longest:
        small = picture.copy()
        small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=75)
    return buffer.getvalue()


def as_url(data: bytes, kind: str = "webp") -> str:
    """The bytes of an image as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def pack(parts: Sequence[bytes]) -> dict[str, Tensor]:
    """Byte strings as two tensors, for a checkpoint."""
    joined = np.frombuffer(b"".join(parts), np.uint8).copy()
    return {"thumbs": torch.from_numpy(joined), "ends": torch.tensor([len(part) for part in parts]).cumsum(0)}


def unpack(tensors: Mapping[str, Tensor]) -> tuple[bytes, ...]:
    """The byte strings that `pack` joined."""
    data, ends = tensors["thumbs"].numpy().tobytes(), tensors["ends"].tolist()
    return tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False))


def world_gallery(model_dir: Path = MODEL_DIR) -> Gallery:
    """The test images of the embedded world, with captions from the stored file if it describes this world."""
    from userscenes import make_world
    from userscenes.dataset import DrawnPictures

    world = make_world(WORLD_SPLIT, WORLD_SIZE)
    try:
        tensors, documents = read_checkpoint(model_dir / "gallery")
        captions, caption_to_image = (
            tuple(documents["captions"]),
            tensors["image-of"].numpy().astype(np.int64),
        )
        pairs, thumbs = tensors["pairs"].numpy().astype(np.int64), unpack(tensors)
    except UserError:
        captions = ()
    if not captions or not _tells_of(world, captions, caption_to_image):
        (captions, caption_to_image, pairs), thumbs = world_texts(world), ()
    return Gallery(
        "scenes", tuple(world.ids), DrawnPictures(world), captions, caption_to_image, world, pairs, thumbs
    )


def _tells_of(world: "Scenes", captions: tuple[str, ...], caption_to_image: Ints) -> bool:
    """Whether these are the captions of this world, by a sample of scenes."""
    return all(
        [captions[j] for j in np.flatnonzero(caption_to_image == i)]
        == [one.text for one in world.captions(i)]
        for i in range(0, len(world), len(world) // SAMPLE)
    )


def world_texts(world: "Scenes") -> tuple[tuple[str, ...], Ints, Ints]:
    """Captions, caption_to_image (M,) and true pairs (P, 2) of a world; takes seconds for a thousand scenes."""
    from userscenes import TruthTable, closed_facts

    written = [one for i in range(len(world)) for one in world.captions(i)]
    owners = np.repeat(np.arange(len(world)), [len(world.captions(i)) for i in range(len(world))])
    table = TruthTable([one.facts for one in written], [closed_facts(world[i]) for i in range(len(world))])
    return (
        tuple(one.text for one in written),
        owners.astype(np.int64),
        np.argwhere(table.true_matrix()).astype(np.int64),
    )

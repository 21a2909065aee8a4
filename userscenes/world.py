"""The embedded world as a lazy sequence of scenes with images, captions and truth."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator

import numpy as np
from PIL import Image

from userlib import legacy
from userlib.errors import UserError

from . import picture
from .canvas import SIZE
from .captions import write
from .facts import Caption
from .graph import Scene
from .layout import draw_scene
from .splits import SIZES, SPLITS, half_of

SAMPLE = 64  # images whose pixels enter the hash


class Scenes:
    """`count` scenes of a split, made on demand; scene i depends only on (seed, split, i)."""

    def __init__(self, split: str, count: int, seed: int) -> None:
        self.split, self.count, self.seed = split, count, seed
        self._scene = functools.lru_cache(maxsize=8_192)(self._make)

    def __len__(self) -> int:
        return self.count

    def _make(self, i: int) -> Scene:
        return draw_scene(self.split, i, self.seed)

    def __getitem__(self, i: int) -> Scene:
        if not -self.count <= i < self.count:
            raise IndexError(f"scene {i} of {self.count}")
        return self._scene(i % self.count)

    def __iter__(self) -> Iterator[Scene]:
        return (self[i] for i in range(self.count))

    @property
    def ids(self) -> list[str]:
        return [f"scenes-{self.split}-{i:05d}" for i in range(self.count)]

    def picture(self, i: int) -> Image.Image:
        """RGB, 128 x 128."""
        return picture.draw(self[i])

    def captions(self, i: int) -> list[Caption]:
        """Five different captions, each true of the scene."""
        return write(self[i], f"{self.seed} {self.split} {i % self.count}", alt_text=self.split == "pretrain")

    def half(self, i: int) -> str:
        """ "in-distribution" or "novel compositions" in test, "" elsewhere."""
        return half_of(self.split, i % self.count)

    def masks(self, i: int) -> list[np.ndarray]:
        """The visible part of each thing, (128, 128) bool."""
        return picture.masks(self[i])

    def boxes(self, i: int) -> np.ndarray:
        """(things, 4) float32: x0, y0, x1, y1 in pixels."""
        return picture.boxes(self[i])


def make_world(split: str, count: int | None = None, *, seed: int = 0) -> Scenes:
    """The first `count` scenes of a split (its usual size where None).

    Raises UserError for a split that is not one of train, val, test, pretrain, train_more, and for a
    negative count.
    """
    if split not in SPLITS:
        choice = ", ".join(SPLITS)
        raise UserError(f"There is no split {split!r} in the embedded world. Choose one of {choice}.")
    if count is None:
        count = SIZES[split]
    if count < 0:
        raise UserError(f"A world of {count} scenes cannot be made. Give a count of 0 or more.")
    return Scenes(split, count, seed)


def graph_hash(split: str, count: int, seed: int) -> str:
    """A hash of all scene graphs and captions: the same whatever the versions of Pillow and numpy."""
    scenes = make_world(split, count, seed=seed)
    digest = hashlib.sha256()
    for i in range(count):
        digest.update(json.dumps(legacy.scene(scenes[i].as_json()), sort_keys=True).encode())
        digest.update("\n".join(c.text for c in scenes.captions(i)).encode())
    return digest.hexdigest()[:16]


def world_hash(split: str, count: int, seed: int) -> str:
    """A hash of all scene graphs and captions and of the pixels of SAMPLE images.

    Pixels may change with the version of Pillow or numpy, so that a cache key also needs `library_versions`.
    """
    scenes = make_world(split, count, seed=seed)
    digest = hashlib.sha256(graph_hash(split, count, seed).encode())
    for i in range(0, count, max(1, count // SAMPLE)):
        digest.update(scenes.picture(i).tobytes())
    return digest.hexdigest()[:16]


def library_versions() -> dict[str, str]:
    """The versions of the libraries on which pixels depend."""
    from PIL import __version__ as pillow

    return {"pillow": pillow, "numpy": np.__version__}


def contact_sheet(scenes: Scenes, n: int, *, columns: int = 8, scale: int = 1, gap: int = 4) -> Image.Image:
    """The first n images side by side on white."""
    rows = -(-n // columns)
    cell = SIZE * scale
    sheet = Image.new("RGB", (columns * (cell + gap) - gap, rows * (cell + gap) - gap), (255, 255, 255))
    for i in range(min(n, len(scenes))):
        image = scenes.picture(i)
        image = image if scale == 1 else image.resize((cell, cell), Image.Resampling.LANCZOS)
        sheet.paste(image, ((i % columns) * (cell + gap), (i // columns) * (cell + gap)))
    return sheet

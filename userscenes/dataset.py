"""The drawn world as data sets: `scenes` (train, val, test), and the wider `pretrain`, which has one split, train.

A split's fingerprint covers the world's version and a sample of the pixels, so that comments, moved code and
libraries that draw the same pixels leave it unchanged. If you change a scene, a caption or a pixel, raise the
version (tests pin all three by hash).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from userlib.data.splits import RetrievalData, Split
from userlib.errors import UserError
from userlib.files import sha256_bytes
from userlib.progress import Progress

if TYPE_CHECKING:
    from userscenes import Caption, Scene, Scenes

MORE = {"train": "train_more"}  # the world that continues another where more images are requested than it has
WORLDS = {"scenes": {"train": "train", "val": "val", "test": "test"}, "pretrain": {"train": "pretrain"}}
# Version 1 of the world, in the form of the two hashed values that stored results and checkpoints have. The next
# version is a single word, such as ("2",).
WORLD_VERSION: tuple[str, ...] = (
    "8b63b97838d433165112ab3a83e2ec034882596323a12a8248f2480a2e0f8fd5",
    "{'pillow': '13.0.0', 'numpy': '2.4.6'}",
)
SAMPLE = 8  # images drawn for the fingerprint
_DRAWN: dict[tuple[str, str, int], Split] = {}  # the splits that this process has drawn


class ConcatScenes:
    """Two worlds of the same generator as one, the second after the first."""

    def __init__(self, first: "Scenes", second: "Scenes") -> None:
        self.first, self.second = first, second
        self.ids = [*first.ids, *second.ids]

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def at(self, i: int) -> tuple["Scenes", int]:
        """The world that image i belongs to, and its index there."""
        return (self.first, i) if i < len(self.first) else (self.second, i - len(self.first))

    def __getitem__(self, i: int) -> "Scene":
        world, n = self.at(i)
        return world[n]

    def picture(self, i: int) -> Image.Image:
        """RGB, 128 x 128."""
        world, n = self.at(i)
        return world.picture(n)

    def captions(self, i: int) -> "list[Caption]":
        """Five different captions, each true of the scene."""
        world, n = self.at(i)
        return world.captions(n)

    def masks(self, i: int) -> list[np.ndarray]:
        """The visible part of each thing, (128, 128) bool."""
        world, n = self.at(i)
        return world.masks(n)

    def half(self, i: int) -> str:
        """Always "", as test is never continued."""
        world, n = self.at(i)
        return world.half(n)


class DrawnPictures:
    """Images drawn on demand. Satisfies `Pictures`, and also gives their masks' coverage."""

    drawn = True  # a model trained only on drawings can then warn about photos

    def __init__(self, world: "Scenes | ConcatScenes") -> None:
        self.world = world

    def content(self, i: int) -> bytes:
        """What identifies image i: the world's version and its id."""
        return repr((WORLD_VERSION, self.world.ids[i])).encode()

    def places(self, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays (N, R): the share of each grid cell covered by things that captions name, and by any thing."""
        from userscenes.places import places_in

        return places_in(self.world, grid, WORLD_VERSION)

    def __len__(self) -> int:
        return len(self.world)

    def __getitem__(self, i: int) -> Image.Image:
        return self.world.picture(i)


def load_scenes(name: str, sizes: Mapping[str, int], *, progress: bool = False) -> RetrievalData:
    """The first images of each split: as many as `sizes` says, else the split's usual number.

    Beyond its usual 4,000 images, `scenes` train has 12,000 more of the same generator; no scene graph of val or test
    is among them. Raises UserError for an unknown split and for more images than it has.
    """
    from userscenes.splits import SIZES

    wrong = sorted(set(sizes) - set(WORLDS[name]))
    if wrong:
        raise UserError(
            f"The data set {name!r} has no split {wrong[0]!r}; it has: {', '.join(WORLDS[name])}. Name one of them."
        )
    splits = {}
    for split, world in WORLDS[name].items():
        count = sizes.get(split, SIZES[world])
        most = SIZES[world] + SIZES.get(MORE.get(world, ""), 0)
        if count > most:
            raise UserError(
                f"{count} images were requested of {split!r} of {name!r}, which has {most}. Request no more than that."
            )
        splits[split] = _split(split, world, count, progress=progress)
    content = sha256_bytes(name, *(split.fingerprint for split in splits.values()))
    return RetrievalData(name=name, splits=splits, fingerprint=content)


def _split(name: str, world_name: str, count: int, *, progress: bool) -> Split:
    """The split, drawn at the first call in this process and kept for later ones."""
    key = (name, world_name, count)
    if key not in _DRAWN:
        _DRAWN[key] = _draw(name, world_name, count, progress=progress)
    return _DRAWN[key]


def _draw(name: str, world_name: str, count: int, *, progress: bool) -> Split:
    from userscenes import make_world
    from userscenes.splits import SIZES

    first = make_world(world_name, min(count, SIZES[world_name]))
    more = count - len(first)
    world: Scenes | ConcatScenes = ConcatScenes(first, make_world(MORE[world_name], more)) if more else first
    captions: list[list[str]] = []
    with Progress(count, f"scenes of {name}", show=progress, delay=1.0) as bar:
        for i in range(count):
            captions.append([caption.text for caption in world.captions(i)])
            bar.step()
    halves = tuple(world.half(i) for i in range(count))
    sample = [world.picture(i).tobytes() for i in range(0, count, -(-count // SAMPLE))]
    return Split.of(
        name,
        world.ids,
        captions,
        DrawnPictures(world),
        sha256_bytes(world_name, str(count), *WORLD_VERSION, *sample),
        groups=halves if any(halves) else None,
    )

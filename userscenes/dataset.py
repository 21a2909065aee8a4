"""The drawn world as a data set: `scenes` (train, val, test) and the wider `pretrain`, which is one split,
train.

Images are known by the world's version and a sample of the pixels. Comments, moved code and library versions
change neither; whoever changes a scene, a caption or a pixel raises the version (tests pin all three by hash).
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

MORE = {"train": "train_more"}  # what follows a split of scenes where more images are requested than it has
WORLDS = {"scenes": {"train": "train", "val": "val", "test": "test"}, "pretrain": {"train": "pretrain"}}
# Version 1 of the world, by the two names it had when its code and its libraries were hashed: stored results and
# checkpoints know it by them. The next version is a single word, such as ("2",).
WORLD_VERSION: tuple[str, ...] = (
    "8b63b97838d433165112ab3a83e2ec034882596323a12a8248f2480a2e0f8fd5",
    "{'pillow': '13.0.0', 'numpy': '2.4.6'}",
)
SAMPLE = 8  # images drawn for the fingerprint
_DRAWN: dict[tuple[str, str, int], Split] = {}  # what this process has drawn


class ConcatScenes:
    """A world followed by more of the same generator; it answers as one."""

    def __init__(self, first: "Scenes", second: "Scenes") -> None:
        self.first, self.second = first, second
        self.ids = [*first.ids, *second.ids]

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def at(self, i: int) -> tuple["Scenes", int]:
        """The world that image i is of, and its number there."""
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
        """The visible part of each thing."""
        world, n = self.at(i)
        return world.masks(n)

    def half(self, i: int) -> str:
        """ "": no test images are here."""
        world, n = self.at(i)
        return world.half(n)


class DrawnPictures:
    """Images drawn on demand. Satisfies `Pictures`, and knows their masks."""

    drawn = True  # a model that was trained on drawings alone can say so of photos

    def __init__(self, world: "Scenes | ConcatScenes") -> None:
        self.world = world

    def content(self, i: int) -> bytes:
        """What identifies image i: the world's version and its id."""
        return repr((WORLD_VERSION, self.world.ids[i])).encode()

    def places(self, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(N, R) the share of each cell of a grid that named things cover, and that any thing covers."""
        from userscenes.places import places_in

        return places_in(self.world, grid, WORLD_VERSION)

    def __len__(self) -> int:
        return len(self.world)

    def __getitem__(self, i: int) -> Image.Image:
        return self.world.picture(i)


def load_scenes(name: str, sizes: Mapping[str, int], *, progress: bool = False) -> RetrievalData:
    """The first images of each split: as many as `sizes` says, else as many as the world has.

    More of `scenes` train than its 4,000, up to 16,000, are further images of the same generator; no scene graph
    of val or test is among them.
    """
    from userscenes.splits import SIZES

    wrong = sorted(set(sizes) - set(WORLDS[name]))
    if wrong:
        raise UserError(
            f"The data set {name!r} has no split {wrong[0]!r}; it has: {', '.join(WORLDS[name])}."
        )
    splits = {}
    for split, world in WORLDS[name].items():
        count = sizes.get(split, SIZES[world])
        most = SIZES[world] + SIZES.get(MORE.get(world, ""), 0)
        if count > most:
            raise UserError(f"{count} images were requested of {split!r} of {name!r}, which has {most}.")
        splits[split] = _split(split, world, count, progress=progress)
    content = sha256_bytes(name, *(split.fingerprint for split in splits.values()))
    return RetrievalData(name=name, splits=splits, fingerprint=content)


def _split(name: str, world_name: str, count: int, *, progress: bool) -> Split:
    """The split, drawn at the first call of this process and kept: it is the same every time."""
    key = (name, world_name, count)
    if key not in _DRAWN:
        _DRAWN[key] = _draw(name, world_name, count, progress=progress)
    return _DRAWN[key]


def _draw(name: str, world_name: str, count: int, *, progress: bool) -> Split:
    from userscenes import make_world
    from userscenes.splits import SIZES

    own = min(count, SIZES[world_name])
    world: Scenes | ConcatScenes = make_world(world_name, own)
    if count > own:
        world = ConcatScenes(make_world(world_name, own), make_world(MORE[world_name], count - own))
    captions: list[list[str]] = []
    with Progress(count, f"scenes of {name}", show=progress, delay=1.0) as bar:
        for i in range(count):
            captions.append([caption.text for caption in world.captions(i)])
            bar.step()
    halves = tuple(world.half(i) for i in range(count))
    sample = [world.picture(i).tobytes() for i in range(0, count, -(-count // SAMPLE))]
    return Split(
        name=name,
        ids=tuple(world.ids),
        pictures=DrawnPictures(world),
        captions=tuple(text for texts in captions for text in texts),
        caption_to_image=np.repeat(np.arange(count, dtype=np.int64), [len(texts) for texts in captions]),
        fingerprint=sha256_bytes(world_name, str(count), *WORLD_VERSION, *sample),
        groups=halves if any(halves) else None,
    )

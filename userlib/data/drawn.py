"""The drawn world as a data set: `scenes` (train, val, test) and the wider `pretrain`."""

from collections.abc import Mapping

import numpy as np

from userlib.data.splits import RetrievalData, Split
from userlib.errors import UserError
from userlib.files import sha256_bytes

SIZES: dict[str, dict[str, int]] = {
    "scenes": {"train": 4_000, "val": 500, "test": 1_000},
    "pretrain": {"pretrain": 200_000},
}


class DrawnPictures:
    """Pictures drawn when asked for. Satisfies `Pictures`."""

    def __init__(self, world: "object", count: int) -> None:
        self.world, self.count = world, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int):  # type: ignore[no-untyped-def]
        return self.world.picture(i)  # type: ignore[attr-defined]


def load_scenes(name: str, sizes: Mapping[str, int]) -> RetrievalData:
    """The first pictures of each split: as many as `sizes` says, else as many as the world has."""
    wrong = sorted(set(sizes) - set(SIZES[name]))
    if wrong:
        raise UserError(f"The data set {name!r} has no split {wrong[0]!r}; it has: {', '.join(SIZES[name])}.")
    splits = {split: _split(split, sizes.get(split, size)) for split, size in SIZES[name].items()}
    return RetrievalData(
        name=name,
        splits=splits,
        fingerprint=sha256_bytes(name, *(split.fingerprint for split in splits.values())),
    )


def _split(name: str, count: int) -> Split:
    from userlib.data.scenes import make_world, world_hash

    world = make_world(name, count)
    captions = [[caption.text for caption in world.captions(i)] for i in range(count)]
    halves = tuple(world.half(i) for i in range(count))
    return Split(
        name=name,
        ids=tuple(world.ids),
        pictures=DrawnPictures(world, count),
        captions=tuple(text for texts in captions for text in texts),
        image_of=np.repeat(np.arange(count, dtype=np.int64), [len(texts) for texts in captions]),
        fingerprint=sha256_bytes("scenes", name, world_hash(name, count, 0)),
        groups=halves if any(halves) else None,
    )

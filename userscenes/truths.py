"""What only the drawn world can tell of a split: which captions are true of which pictures, and where the things
are that captions name. Counted once and cached.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from userlib.data.splits import Split
from userlib.data.store import cached_array
from userlib.evaluation.attention import mask_coverage
from userlib.files import cache_dir, sha256_bytes
from userscenes.dataset import WORLD_VERSION, DrawnPictures

if TYPE_CHECKING:
    from userscenes import Scenes
    from userscenes.dataset import Together

Floats = NDArray[np.float64]
VERSION = "2"  # of what is cached
MOST = 4_000  # pictures that a share is counted on: the table of all pairs grows with their square


def world_of(split: Split) -> "Scenes | Together | None":
    """The drawn world behind a split; None for pictures that were not drawn here."""
    return split.pictures.world if isinstance(split.pictures, DrawnPictures) else None


def truth_of(split: Split) -> NDArray[np.bool_] | None:
    """(captions, pictures) whether each caption is true of each picture; None where nobody knows."""
    world = world_of(split)
    if world is None:
        return None
    packed = _cached(f"truth {split.fingerprint}", lambda: np.packbits(_truth(world), axis=1))
    return np.unpackbits(packed, axis=1, count=len(split)).astype(bool)


def _truth(world: "Scenes | Together", most: int | None = None) -> NDArray[np.bool_]:
    """(captions, pictures) of all pictures or of the first `most`, from the facts of both."""
    from userscenes import TruthTable, closed_facts

    pictures = range(len(world))[:most]
    said = [caption.facts for i in pictures for caption in world.captions(i)]
    return TruthTable(said, [closed_facts(world[i]) for i in pictures]).true_matrix()


def true_elsewhere(truth: NDArray[np.bool_], caption_to_image: NDArray[np.int64]) -> float:
    """The share of other pictures of which a caption is also true: truth (M, N), caption_to_image (M,).

    It is the share of a queue's unmasked keys that are no negatives in truth, whichever way the query goes, since
    a queue is a sample of all pairs.
    """
    own = truth[np.arange(len(truth)), caption_to_image].sum()
    return float((truth.sum() - own) / (truth.shape[0] * (truth.shape[1] - 1)))


def true_elsewhere_in(split: Split) -> float | None:
    """`true_elsewhere` of a split's captions, counted once; None where nobody knows."""
    world = world_of(split)
    if world is None or len(world) < 2:
        return None

    def count() -> NDArray[Any]:
        first = split.caption_to_image < MOST
        return np.array(true_elsewhere(_truth(world, MOST), split.caption_to_image[first]))

    return float(_cached(f"elsewhere {split.fingerprint}", count))


def places_of(split: Split, grid: tuple[int, int]) -> tuple[Floats, Floats] | None:
    """`places_in` of the world behind a split; None for pictures that were not drawn here."""
    world = world_of(split)
    return None if world is None else places_in(world, grid)


def places_in(world: "Scenes | Together", grid: tuple[int, int]) -> tuple[Floats, Floats]:
    """(N, R) the share of each cell that things cover which a caption names, and that any thing covers."""

    def count() -> NDArray[Any]:
        found = np.zeros((2, len(world), grid[0] * grid[1]), np.float32)
        for i in range(len(world)):
            named = {thing for caption in world.captions(i) for _, _, thing in caption.spans}
            masks = world.masks(i)
            for row, chosen in enumerate((named, range(len(masks)))):
                if chosen:
                    found[row, i] = mask_coverage(np.any([masks[n] for n in chosen], axis=0), grid)
        return found

    named, things = _cached(f"places {WORLD_VERSION} {list(world.ids)} {grid}", count).astype(np.float64)
    return named, things


def _cached(what: str, count: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """An array counted once."""
    return cached_array(cache_dir() / "truth" / f"{sha256_bytes(VERSION, what)[:32]}.npy", count)

"""Ground truth that only drawn images have: which captions are true of which images, and where the objects are that
captions name. Computed once and cached.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from userlib.data.splits import Split
from userscenes.dataset import DrawnPictures
from userscenes.places import Floats, counted

if TYPE_CHECKING:
    from userscenes import Scenes
    from userscenes.dataset import ConcatScenes

MOST = 4_000  # images on which a share is computed: the matrix of all pairs grows with their square


def world_of(split: Split) -> "Scenes | ConcatScenes | None":
    """The drawn world behind a split; None for images that were not drawn here, and for a split cut from another."""
    return split.pictures.world if isinstance(split.pictures, DrawnPictures) else None


def truth_of(split: Split) -> NDArray[np.bool_] | None:
    """(M, N) bool, whether each of M captions is true of each of N images; None as in `world_of`."""
    world = world_of(split)
    if world is None:
        return None
    packed = counted(f"truth {split.fingerprint}", lambda: np.packbits(_truth(world), axis=1))
    return np.unpackbits(packed, axis=1, count=len(split)).astype(bool)


def _truth(world: "Scenes | ConcatScenes", most: int | None = None) -> NDArray[np.bool_]:
    """(M, N) bool for all images or the first `most`, from the facts of both."""
    from userscenes import TruthTable, closed_facts

    images = range(len(world))[:most]
    facts = [caption.facts for i in images for caption in world.captions(i)]
    return TruthTable(facts, [closed_facts(world[i]) for i in images]).true_matrix()


def true_elsewhere(truth: NDArray[np.bool_], caption_to_image: NDArray[np.int64]) -> float:
    """The share of other images of which a caption is also true: truth (M, N), caption_to_image (M,).

    This is also the share of false negatives among a queue's unmasked keys, in both directions, since a queue is a
    sample of all pairs.
    """
    own = truth[np.arange(len(truth)), caption_to_image].sum()
    return float((truth.sum() - own) / (truth.shape[0] * (truth.shape[1] - 1)))


def true_elsewhere_in(split: Split) -> float | None:
    """`true_elsewhere` of a split's captions, on at most MOST images; None where it is unknown."""
    world = world_of(split)
    if world is None or len(world) < 2:
        return None

    def count() -> NDArray[Any]:
        first = split.caption_to_image < MOST
        return np.array(true_elsewhere(_truth(world, MOST), split.caption_to_image[first]))

    return float(counted(f"elsewhere {split.fingerprint}", count))


def places_of(split: Split, grid: tuple[int, int]) -> tuple[Floats, Floats] | None:
    """`places_in` for the world behind a split; None as in `world_of`."""
    return split.pictures.places(grid) if isinstance(split.pictures, DrawnPictures) else None

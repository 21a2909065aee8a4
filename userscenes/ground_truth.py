"""Ground truth that only drawn images have: which captions are true of which images, and where the objects are
that captions name. Counted once and cached.
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

MOST = 4_000  # images that a share is counted on: the matrix of all pairs grows with their square


def world_of(split: Split) -> "Scenes | ConcatScenes | None":
    """The drawn world behind a split; None for images that were not drawn here."""
    return split.pictures.world if isinstance(split.pictures, DrawnPictures) else None


def truth_of(split: Split) -> NDArray[np.bool_] | None:
    """(captions, images) whether each caption is true of each image; None where it is unknown."""
    world = world_of(split)
    if world is None:
        return None
    packed = counted(f"truth {split.fingerprint}", lambda: np.packbits(_truth(world), axis=1))
    return np.unpackbits(packed, axis=1, count=len(split)).astype(bool)


def _truth(world: "Scenes | ConcatScenes", most: int | None = None) -> NDArray[np.bool_]:
    """(captions, images) of all images or of the first `most`, from the facts of both."""
    from userscenes import TruthTable, closed_facts

    images = range(len(world))[:most]
    facts = [caption.facts for i in images for caption in world.captions(i)]
    return TruthTable(facts, [closed_facts(world[i]) for i in images]).true_matrix()


def true_elsewhere(truth: NDArray[np.bool_], caption_to_image: NDArray[np.int64]) -> float:
    """The share of other images of which a caption is also true: truth (M, N), caption_to_image (M,).

    It is the share of a queue's unmasked keys that are no negatives in truth, whichever way the query goes, since
    a queue is a sample of all pairs.
    """
    own = truth[np.arange(len(truth)), caption_to_image].sum()
    return float((truth.sum() - own) / (truth.shape[0] * (truth.shape[1] - 1)))


def true_elsewhere_in(split: Split) -> float | None:
    """`true_elsewhere` of a split's captions, counted once; None where it is unknown."""
    world = world_of(split)
    if world is None or len(world) < 2:
        return None

    def count() -> NDArray[Any]:
        first = split.caption_to_image < MOST
        return np.array(true_elsewhere(_truth(world, MOST), split.caption_to_image[first]))

    return float(counted(f"elsewhere {split.fingerprint}", count))


def places_of(split: Split, grid: tuple[int, int]) -> tuple[Floats, Floats] | None:
    """`places_in` of the world behind a split; None for images that were not drawn here."""
    return split.pictures.places(grid) if isinstance(split.pictures, DrawnPictures) else None

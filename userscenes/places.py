"""Where the objects are that captions name: computed once for each world and grid, and cached."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from userlib.data.store import cached_array
from userlib.evaluation.attention import mask_coverage
from userlib.files import cache_dir, sha256_bytes

if TYPE_CHECKING:
    from userscenes import Caption

Floats = NDArray[np.float64]
VERSION = "2"  # of the cached arrays


class World(Protocol):
    """Drawn images with their captions and masks."""

    @property
    def ids(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def captions(self, i: int) -> "list[Caption]": ...

    def masks(self, i: int) -> list[NDArray[Any]]: ...


def places_in(world: World, grid: tuple[int, int], version: Sequence[str]) -> tuple[Floats, Floats]:
    """Two arrays (N, R): the share of each grid cell covered by objects that captions name, and by any object.

    version is the world's, as a part of the cache's key.
    """

    def count() -> NDArray[Any]:
        coverage = np.zeros((2, len(world), grid[0] * grid[1]), np.float32)
        for i in range(len(world)):
            named = {thing for caption in world.captions(i) for _, _, thing in caption.spans}
            masks = world.masks(i)
            for row, chosen in enumerate((named, range(len(masks)))):
                if chosen:
                    coverage[row, i] = mask_coverage(np.any([masks[n] for n in chosen], axis=0), grid)
        return coverage

    named, things = counted(f"places {version} {list(world.ids)} {grid}", count).astype(np.float64)
    return named, things


def counted(what: str, count: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array that `count` returns, cached under the key `what`."""
    return cached_array(cache_dir() / "truth" / f"{sha256_bytes(VERSION, what)[:32]}.npy", count)

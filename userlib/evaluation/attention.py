"""Whether attention lies on what the captions name: pointing game and attention mass on the masks of drawn objects.

Attention (N, R) lies on the R cells of a grid of tokens; `inside` (N, R) is the share of each cell, 0 to 1, that the
masks of the named objects cover. Mass: the mean of that share, weighted by attention. Pointing game (Zhang et al., ECCV
2016): the share in the cell of highest attention. Uninformed attention already scores the area of the masks, so uniform
and centre-Gaussian attention are the baselines; attention proportional to the area of all objects, which knows where
they are, is the upper control.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from userlib.errors import UserError
from userlib.inference import scoring

if TYPE_CHECKING:
    from userlib.data.captions import CaptionDataset
    from userlib.model.user import DualEncoder

Floats = NDArray[np.float64]


def mask_coverage(mask: ArrayLike, grid: tuple[int, int]) -> Floats:
    """mask (H, W) bool -> (h * w,), the share of each cell of the grid (h, w) that it covers, row by row.

    Raises UserError where H and W are not multiples of h and w.
    """
    pixels = np.asarray(mask, dtype=np.float64)
    (height, width), (rows, columns) = pixels.shape, grid
    if height % rows or width % columns:
        raise UserError(
            f"a mask of {height} x {width} pixels cannot be divided into a grid of {rows} x {columns}; give multiples."
        )
    cells: Floats = pixels.reshape(rows, height // rows, columns, width // columns).mean((1, 3)).ravel()
    return cells


def attention_mass(attention: ArrayLike, inside: ArrayLike) -> Floats:
    """attention (N, R) of any positive sum, inside (N, R) -> (N,), the share of attention that lies in the masks.

    Raises UserError for other shapes, and for attention that is negative, not finite or zero everywhere.
    """
    weights, shares = _both(attention, inside)
    mass: Floats = (weights * shares).sum(1) / weights.sum(1)
    return mass


def pointing_game(attention: ArrayLike, inside: ArrayLike) -> Floats:
    """attention (N, R), inside (N, R) -> (N,), the share of the cell of highest attention that lies in the masks; the
    mean over cells that tie. Raises UserError as `attention_mass` does.
    """
    weights, shares = _both(attention, inside)
    first = weights == weights.max(1, keepdims=True)
    hits: Floats = (first * shares).sum(1) / first.sum(1)
    return hits


def uniform(count: int, grid: tuple[int, int]) -> Floats:
    """(count, R), equal on all cells: its mass and its pointing game are the area of the masks."""
    return np.full((count, grid[0] * grid[1]), 1 / (grid[0] * grid[1]))


def by_area(objects: ArrayLike) -> Floats:
    """objects (N, R), the share of each cell that any object covers, named or not -> attention (N, R) proportional to
    it; uniform for an image without objects.
    """
    shares = np.asarray(objects, dtype=np.float64)
    total = shares.sum(1, keepdims=True)
    attention: Floats = np.where(total > 0, shares, 1.0) / np.where(total > 0, total, shares.shape[1])
    return attention


def centre(count: int, grid: tuple[int, int], *, spread: float = 0.25) -> Floats:
    """(count, R), a Gaussian around the centre of the image; spread: its standard deviation in image widths."""
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in grid)
    bell = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * spread**2)).ravel()
    return np.tile(bell / bell.sum(), (count, 1))


def _both(attention: ArrayLike, inside: ArrayLike) -> tuple[Floats, Floats]:
    weights, shares = np.asarray(attention, np.float64), np.asarray(inside, np.float64)
    if weights.shape != shares.shape or weights.ndim != 2:
        raise UserError(
            f"attention has the shape {weights.shape} and inside {shares.shape}; both must be (images, tokens)."
        )
    wrong = ~((np.isfinite(weights) & (weights >= 0)).all(1) & (weights.sum(1) > 0))
    if wrong.any():
        raise UserError(
            f"the attention of image {int(wrong.argmax())} is negative, not finite or zero everywhere; give weights "
            "from 0 up with a positive sum."
        )
    return weights, shares


def attention_of(encoders: "DualEncoder", pairs: "CaptionDataset") -> dict[str, dict[str, Floats]] | None:
    """The scores of a model's attention and of the baselines: name -> {"pointing", "mass"}, each (N,).

    None where the model has no guide, its tokens form no grid, or the images have no masks (as those of a split that
    was cut from another). Names: self (SGE's a), self weights (SGE's w), clip (CGE's a), uniform, area, centre. It
    computes in evaluation mode and restores the mode.
    """
    grid = pairs.features.grid
    places = getattr(pairs.split.pictures, "places", None)  # only a data set with masks has it
    if grid is None or places is None or not encoders.image_encoder.enhancement.residual_scales():
        return None
    named, objects = places(grid)
    batches: dict[str, list[NDArray[Any]]] = {}
    with scoring(encoders) as place:
        for tokens, *extra in pairs.image_batches(256):
            mask, guide = (None if part is None else part.to(place) for part in extra)
            for name, a in encoders.attention(tokens.to(place), mask, guide).items():
                batches.setdefault(name, []).append(a.float().cpu().numpy())
    attention: dict[str, Floats] = {name: np.concatenate(a).astype(np.float64) for name, a in batches.items()}
    count = len(pairs.split)
    attention |= {"uniform": uniform(count, grid), "area": by_area(objects), "centre": centre(count, grid)}
    return {
        name: {"pointing": pointing_game(a, named), "mass": attention_mass(a, named)}
        for name, a in attention.items()
    }

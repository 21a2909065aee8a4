"""Does attention look at what the captions name? Pointing game and attention mass, against the masks of drawn objects.

Attention lies on the R cells of a grid of tokens; `inside` says how much of each cell the masks of the named
objects cover, 0 to 1. Mass: the attention times that share. Pointing game (Zhang et al., ECCV 2016): a point drawn
in the cell of highest attention hits with that share. Attention that knows nothing already scores the masks' area,
so uniform and centre-Gaussian attention are the baselines, and attention by covered area, which knows where the
objects are, is the upper control. All functions: (N, R) -> (N,).
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
    """mask (H, W) bool -> (h * w,) the share of each cell of the grid that it covers, row by row.

    Raises UserError where the image does not divide into the grid.
    """
    pixels = np.asarray(mask, dtype=np.float64)
    (height, width), (rows, columns) = pixels.shape, grid
    if height % rows or width % columns:
        raise UserError(f"a mask of {height} x {width} does not divide into a grid of {rows} x {columns}.")
    cells: Floats = pixels.reshape(rows, height // rows, columns, width // columns).mean((1, 3)).ravel()
    return cells


def attention_mass(attention: ArrayLike, inside: ArrayLike) -> Floats:
    """The share of each image's attention that lies in the masks; attention (N, R) of any positive sum."""
    weights, shares = _both(attention, inside)
    mass: Floats = (weights * shares).sum(1) / weights.sum(1)
    return mass


def pointing_game(attention: ArrayLike, inside: ArrayLike) -> Floats:
    """The chance that a point of the cell with most attention lies in the masks; equal cells share it."""
    weights, shares = _both(attention, inside)
    first = weights == weights.max(1, keepdims=True)
    hits: Floats = (first * shares).sum(1) / first.sum(1)
    return hits


def uniform(count: int, grid: tuple[int, int]) -> Floats:
    """(count, R) the same on every cell: its mass and its pointing are the masks' area."""
    return np.full((count, grid[0] * grid[1]), 1 / (grid[0] * grid[1]))


def by_area(objects: ArrayLike) -> Floats:
    """(N, R) how much of each cell any object covers, named or not -> attention proportional to area alone.

    An image without objects gets uniform attention.
    """
    shares = np.asarray(objects, dtype=np.float64)
    total = shares.sum(1, keepdims=True)
    attention: Floats = np.where(total > 0, shares, 1.0) / np.where(total > 0, total, shares.shape[1])
    return attention


def centre(count: int, grid: tuple[int, int], *, spread: float = 0.25) -> Floats:
    """(count, R) a Gaussian around the middle of the image; spread: its standard deviation in image widths."""
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in grid)
    bell = np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * spread**2)).ravel()
    return np.tile(bell / bell.sum(), (count, 1))


def _both(attention: ArrayLike, inside: ArrayLike) -> tuple[Floats, Floats]:
    weights, shares = np.asarray(attention, np.float64), np.asarray(inside, np.float64)
    if weights.shape != shares.shape or weights.ndim != 2:
        raise UserError(
            f"attention is {weights.shape} and the masks' share {shares.shape}; both must be (images, tokens)"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(1) > 0).all()):
        raise UserError("attention must be finite, nowhere negative, and not zero everywhere in an image")
    return weights, shares


def attention_of(encoders: "DualEncoder", pairs: "CaptionDataset") -> dict[str, dict[str, Floats]] | None:
    """The attention of a model's guides and of the baselines: name -> {"pointing", "mass"}, each (N,).

    None where the model has no guide, its tokens form no grid, or the images were not drawn here. Names: self
    (SGE's a), self weights (SGE's w), clip (CGE's a), uniform, area, centre. The model is put into evaluation mode and
    back.
    """
    grid = pairs.features.grid
    places = getattr(pairs.split.pictures, "places", None)  # a data set that knows its masks offers them
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

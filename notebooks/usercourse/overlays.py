"""Attention over an image: the image, next to the same image dimmed where the attention is low.

Unattended parts stay visible, and the image keeps its colours, which a coloured overlay would hide.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from usercourse.plots import COLOURS, Shown, new_figure

FLOOR = 0.2  # brightness of an image where the attention is 0


def panel(
    axis: Axes,
    pixels: Image.Image | NDArray[np.uint8],
    *,
    title: str = "",
    truth: ArrayLike | None = None,
    size: float = 9,
) -> None:
    """Draw an image on an axis, without ticks; truth (H, W) bool is outlined."""
    axis.imshow(np.asarray(pixels))
    if truth is not None and np.asarray(truth, dtype=bool).any():
        mask = np.asarray(truth, dtype=float)
        for colour, width in (("black", 2.2), ("sky", 1.3)):  # visible on light and on dark
            axis.contour(mask, levels=[0.5], colors=[COLOURS[colour]], linewidths=width)
    axis.axis("off")
    axis.set_title(title, fontsize=size)


def dimmed(
    picture: Image.Image,
    weights: ArrayLike,
    grid: tuple[int, int],
    *,
    top: float | None = None,
    floor: float = FLOOR,
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the image at full brightness where the weights (R,) >= 0 on a grid (h, w) are `top`, by default
    their largest, down to `floor` times its brightness where they are 0.
    """
    a = np.asarray(weights, dtype=float).clip(0).reshape(grid)
    most = max(float(a.max()) if top is None else top, 1e-12)
    light = floor + (1 - floor) * (a / most).clip(max=1)
    pixels = np.asarray(picture.convert("RGB"))
    return np.asarray(pixels * _spread(light, pixels.shape)[..., None], np.uint8)


def _spread(cells: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The values of cells (h, w) at each pixel of an image of this shape (H, W, ...) -> (H, W)."""
    rows, columns = (np.arange(to) * of // to for of, to in zip(cells.shape, shape, strict=False))
    return cells[np.ix_(rows, columns)]


def brightness_bar(axes: Sequence[Axes], top: float, label: str, *, floor: float = FLOOR) -> None:
    """Add a colour bar for images dimmed by weights from 0 to `top`."""
    greys = ListedColormap(np.repeat(np.linspace(floor, 1, 256)[:, None], 3, 1))
    figure = axes[0].get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(ScalarMappable(Normalize(0, max(top, 1e-6)), greys), ax=list(axes), pad=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=9)


def attention(
    picture: Image.Image,
    weights: ArrayLike,
    grid: tuple[int, int],
    *,
    truth: ArrayLike | None = None,
    title: str = "",
    size: float = 9,
    top: float | None = None,
    axis: Axes | None = None,
) -> Shown:
    """An image dimmed where the attention weights (R,) >= 0 on a grid (h, w), h * w = R, are low; truth (H, W) bool is
    outlined. Without `axis` a new figure also has the undimmed image.

    The sentence gives the share of the attention inside the truth, and the share of the image that the truth covers.
    """
    a = np.asarray(weights, dtype=float).clip(0).reshape(grid)
    a = a / max(float(a.sum()), 1e-12)
    if axis is None:
        figure, axes = new_figure(4.8, 2.6, columns=2)
        panel(axes[0, 0], picture, title="image", truth=truth, size=size)
        axis = axes[0, 1]
    else:
        figure = axis.get_figure(root=True)  # type: ignore[assignment]
    panel(axis, dimmed(picture, weights, grid, top=top), title=title, truth=truth, size=size)
    brightest = float(a.max() * a.size)
    if truth is None:
        return (
            figure,
            f"Brighter cells get more attention; the brightest gets {brightest:.1f} times the mean.",
        )
    mask = np.asarray(truth, dtype=bool)
    fine = _spread(a, mask.shape)
    share = float(fine[mask].sum() / max(float(fine.sum()), 1e-12))
    return figure, (
        f"{100 * share:.0f} % of the attention lies on the outlined objects, which cover "
        f"{100 * mask.mean():.0f} % of the image."
    )

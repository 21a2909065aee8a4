"""Figures of notebook 01: vectors in the plane, a toy retriever of known quality, and R@K over all K."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from usercourse.plots import COLOURS, CYCLE, WIDEST, Shown, legend_below, new_figure
from userlib.evaluation import Ranks, ranks, recalls

Floats = NDArray[np.float32]


def toy_embeddings(
    pictures: int, *, noise: float, captions: int = 5, width: int = 32, seed: int = 0
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Random images (N, E) and captions (M, E) near their image, M = N * captions, all of unit norm, and
    caption_to_image (M,). noise 0 gives a perfect retriever, large noise one at chance.
    """
    rng = np.random.default_rng(seed)
    images = _unit(rng.normal(size=(pictures, width)))
    caption_to_image = np.repeat(np.arange(pictures), captions)
    error = rng.normal(size=(len(caption_to_image), width)) / np.sqrt(width)
    return images, _unit(images[caption_to_image] + noise * error), caption_to_image


def unit_circle(
    images: ArrayLike, captions: ArrayLike, caption_to_image: ArrayLike, names: Sequence[str]
) -> Shown:
    """Unit vectors in the plane, E = 2: images as arrows, captions as markers in the colour of their image."""
    v, t, owner = np.asarray(images), np.asarray(captions), np.asarray(caption_to_image)
    figure, axes = new_figure(4.8, 5.2)
    axis = axes[0, 0]
    angle = np.linspace(-0.3 * np.pi, 0.8 * np.pi, 200)
    axis.plot(np.cos(angle), np.sin(angle), color="0.8", lw=1)
    for i, (name, colour, mark) in enumerate(zip(names, CYCLE, "osD", strict=False)):
        axis.annotate("", v[i], (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2.5})
        axis.plot([], [], color=colour, lw=2.5, marker=mark, label=name)
        for j in np.flatnonzero(owner == i):
            shift = (
                0.06 + 0.11 * ((t[:j] @ t[j]) > 0.999).sum()
            )  # equal captions are shown one behind the other
            axis.plot(*(t[j] * (1 + shift)), mark, color=colour, ms=8)
            axis.annotate(f"t{j}", t[j] * (1.1 + shift), ha="center", va="center", fontsize=9, xytext=(0, 0),
                          textcoords="offset points")  # fmt: skip
    axis.set_aspect("equal")
    axis.set_xlim(-0.95, 1.3)
    axis.set_ylim(-0.95, 1.3)
    axis.set_xticks([-0.5, 0, 0.5, 1])
    axis.set_yticks([-0.5, 0, 0.5, 1])
    axis.set_xlabel("more dog", fontsize=9)
    axis.set_ylabel("more sofa", fontsize=9)
    legend_below(figure, axis=axis)
    stray = [f"t{j}" for j in range(len(t)) if np.argmax(v @ t[j]) != owner[j]]
    return figure, (
        "Arrows are images, marks are captions in the colour and shape of their image. Nearer to "
        f"another arrow than to their own: {', '.join(stray)}."
    )


def hit_curve(ranks: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """ranks (Q,) -> R@K in percent for K = 1..size."""
    counts = np.bincount(ranks, minlength=size + 1)[1 : size + 1]
    return 100.0 * np.cumsum(counts) / len(ranks)


def recall_curves(ranks: Ranks) -> Shown:
    """R@K for every K in both directions, and by chance."""
    size = len(ranks.i2t)
    across = np.arange(1, size + 1)
    figure, axes = new_figure(WIDEST, 3.4)
    axis = axes[0, 0]
    for name, one, colour, dash in (
        ("i2t: image to caption", ranks.i2t, COLOURS["blue"], "-"),
        ("t2i: caption to image", ranks.t2i, COLOURS["vermillion"], "--"),
    ):
        curve = hit_curve(one, size)
        axis.plot(across, curve, color=colour, ls=dash, lw=2, label=name)
        marks = [k for k in (1, 5, 10) if k <= size]
        axis.plot(marks, curve[np.array(marks) - 1], "o", color=colour, ms=6)
    axis.plot(across, 100 * across / size, color="black", ls=":", lw=1.5, label="t2i by chance")
    axis.set_xscale("log")
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= size]
    axis.set_xticks(ticks, [str(k) for k in ticks])
    axis.minorticks_off()
    axis.set_xlabel("K, on a logarithmic scale; dots at 1, 5 and 10", fontsize=9)
    axis.set_ylabel("R@K in percent", fontsize=9)
    axis.set_ylim(-3, 103)
    legend_below(figure, axis=axis, columns=2)
    m = recalls(ranks)
    return figure, (
        f"{size:,} images, {len(ranks.t2i):,} captions: R@1 is {m.i2t_r1:.1f} % from image to caption "
        f"and {m.t2i_r1:.1f} % from caption to image, the median ranks are {m.i2t_median:.0f} and "
        f"{m.t2i_median:.0f}. By chance a caption would rank its image first in {100 / size:.1f} % of "
        "cases."
    )


def toy_demo(images: int, captions: int, noise: float) -> Shown:
    """The demo of notebook 01: a toy retriever with these settings."""
    return recall_curves(ranks(*toy_embeddings(images, noise=noise, captions=captions)))


def _unit(rows: NDArray[np.float64]) -> Floats:
    unit: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit

"""Figures and helpers of notebook 04: patches compared with a caption, CGE's attention and shift at several residual
scales, guides of other images, and late score fusion.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from usercourse.overlays import attention, brightness_bar, panel
from usercourse.plots import COLOURS, WIDEST, Shown, listed, new_figure, two_above_one, wrapped
from usercourse.verdicts import TELL, outcome
from userlib.data.captions import CaptionDataset
from userlib.evaluation import Interval
from userlib.evaluation.attention import mask_coverage
from userlib.model.enhancement import Enhancement, region_attention
from userlib.model.user import DualEncoder
from userlib.training import Prepared

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def others(count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """(count,): for each image another one, each used once, along a random ring through all images."""
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty(count, np.int64)
    other[order] = np.roll(order, -1)
    return other


def guides_of_others(prepared: Prepared, *, seed: int = 0) -> Prepared:
    """The same data, but every image has the guide of another image of its split, which contains no information about
    it.
    """

    def swapped(pairs: CaptionDataset) -> CaptionDataset:
        guide = np.asarray(pairs.features.guide)[others(len(pairs.split), seed=seed)]
        changed = copy.copy(pairs)
        changed.features = replace(pairs.features, guide=guide)
        return changed

    test = None if prepared.test is None else swapped(prepared.test)
    return replace(prepared, train=swapped(prepared.train), val=swapped(prepared.val), test=test)


def choose_weight(
    own: NDArray[np.float32],
    guide: NDArray[np.float32],
    value: Callable[[NDArray[np.float32]], float],
    weights: Sequence[float],
) -> float:
    """The w of `weights` for which value(own + w * guide) is highest; own, guide (N, M) are scores of two models."""
    values = [value((own + np.float32(w) * guide).astype(np.float32)) for w in weights]
    return float(weights[int(np.argmax(values))])


@torch.no_grad()
def regions_and_guides(encoders: DualEncoder, tokens: Tensor, guide: Tensor) -> tuple[Tensor, Tensor, float]:
    """tokens (N,R,D), guide (N,G) -> regions V (N,R,D), guide g (N,D) and residual scale s of a model with CGE."""
    image = encoders.image_encoder
    enhancement = cast(Enhancement, image.enhancement)
    scale = enhancement.residual_scales()["clip"]
    return image.to_regions(tokens), enhancement.clip_guide(guide), float(scale())


def shift(V: Tensor, g: Tensor, residual_scale: float, inverse_temperature: float = 1.0) -> Floats:
    """V (R,D), g (D,) -> (R,): how far each region moves relative to its norm, s a_r / ||V_r||."""
    a = region_attention(V.unsqueeze(0), g.unsqueeze(0), inverse_temperature=inverse_temperature)[0]
    moved: Floats = (residual_scale * a / V.norm(dim=1).clamp(min=1e-9)).double().numpy()
    return moved


def patch_maps(
    pictures: Sequence[Image.Image],
    similarity: NDArray[np.float32],
    grid: tuple[int, int],
    masks: Sequence[Bools],
    captions: Sequence[str],
) -> Shown:
    """similarity (n, R): the cosine of each patch with its image's caption, shown below the image as brightness from
    the least to the largest; masks outline the objects.
    """
    width = min(2.2, WIDEST / len(pictures))
    titles = [wrapped(caption, int(12.5 * width)) for caption in captions]
    height = 2 * width + 0.16 * max(title.count("\n") + 1 for title in titles)
    figure, axes = new_figure(width * len(pictures), height, rows=2, columns=len(pictures))
    shares, areas = [], []
    for (above, below), picture, row, truth, title in zip(
        axes.T, pictures, similarity, masks, titles, strict=True
    ):
        weights = row - row.min() + 1e-9
        panel(above, picture, truth=truth, title=title)
        attention(picture, weights, grid, truth=truth, axis=below)
        inside = mask_coverage(truth, grid)
        shares.append(f"{100 * float((weights * inside).sum() / weights.sum()):.0f}")
        areas.append(f"{100 * float(truth.mean()):.0f}")
    return figure, (
        "Above the images, below the same images with the patches brighter that are more similar to the caption; "
        "objects are outlined. They get "
        f"{listed(shares)} % of the brightness and cover {listed(areas)} % of their images."
    )


def residuals(size: float, *, learned: float) -> Shown:
    """The norm of the residual relative to that of the regions, ||s a g|| / ||V|| = s / size, over s, with marks at the
    paper's s = 1 and at the start of a learned s.
    """
    s = np.logspace(-1, 3, 200)
    figure, axes = new_figure(WIDEST, 3.0)
    axis = axes[0, 0]
    axis.plot(s, 100 * s / size, color=COLOURS["blue"], lw=2)
    for name, at, colour, mark in (
        ("s = 1, the paper", 1.0, "vermillion", "o"),
        (f"s = {learned:.1f}, where ours starts", learned, "green", "s"),
    ):
        axis.plot(at, 100 * at / size, mark, color=COLOURS[colour], ms=8, ls="", label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    ticks = [t for t in (0.1, 1.0, 10.0, 100.0) if 10 / size <= t <= 1e5 / size]
    axis.set_yticks(ticks, [f"{t:g} %" for t in ticks])
    axis.set_xlabel("residual scale s", fontsize=9)
    axis.set_ylabel("norm added, relative to V", fontsize=9)
    axis.legend(fontsize=9, frameon=False)
    return figure, (
        f"For an image with ||V|| = {size:.0f} the paper's s = 1 adds {100 / size:.2f} %, and s = "
        f"{learned:.1f} adds {100 * learned / size:.1f} %."
    )


def shift_panels(
    picture: Image.Image,
    V: Tensor,
    g: Tensor,
    scales: Mapping[str, float],
    grid: tuple[int, int],
    truth: Bools,
) -> Shown:
    """How far CGE moves each region at several residual scales, with one scale of brightness. V (R,D), g (D,); truth
    (H, W) outlines the objects.
    """
    moved = {name: 100 * shift(V, g, s) for name, s in scales.items()}
    top = max(float(values.max()) for values in moved.values())
    count = 1 + len(moved)
    across = count if count <= 3 else 2
    down, width = -(-count // across), 1.6 if across == 3 else 2.0
    figure, axes = new_figure(width * across + 0.8, (width + 0.2) * down, rows=down, columns=across)
    for axis in axes.flat[count:]:
        axis.remove()
    panel(axes[0, 0], picture, truth=truth, title="image")
    for axis, (name, values) in zip(axes.flat[1:count], moved.items(), strict=True):
        attention(picture, values, grid, truth=truth, title=name, top=top, axis=axis)
    brightness_bar(list(axes.flat[:count]), top, "moved, % of its norm")
    inside = mask_coverage(truth, grid)
    first = next(iter(moved.values()))
    share = 100 * float((first * inside).sum() / max(first.sum(), 1e-12))
    ends = ", ".join(f"{float(values.max()):.1f} % at {name}" for name, values in moved.items())
    return figure, (
        "The image, then the same image, brighter where a region is moved more. The region that is moved most is "
        f"moved by {ends} of its norm. Whatever s is, {share:.0f} % of the shift lies on the outlined objects, which "
        f"cover {100 * truth.mean():.0f} % of the image."
    )


def guided_view(
    picture: Image.Image,
    V: Tensor,
    g: Tensor,
    *,
    residual_scale: float,
    inverse_temperature: float,
    grid: tuple[int, int],
    truth: Bools,
    whose: str,
) -> Shown:
    """An image, CGE's attention a on it, and below them the shift s a / ||V||, for one guide g (D,), residual scale and
    inverse temperature.
    """
    a = (
        region_attention(V.unsqueeze(0), g.unsqueeze(0), inverse_temperature=inverse_temperature)[0]
        .double()
        .numpy()
    )
    moved = 100 * shift(V, g, residual_scale, inverse_temperature)
    figure, (left, right, below) = two_above_one(5.4, 5.0)
    panel(left, picture, truth=truth, title="image, objects outlined")
    _, said = attention(
        picture, a, grid, truth=truth, title=f"attention a, λ = {inverse_temperature:g}", axis=right
    )
    order = np.sort(moved)[::-1]
    below.plot(np.arange(1, len(order) + 1), order, color=COLOURS["vermillion"], lw=2)
    below.set_xlabel("regions, most moved first", fontsize=9)
    below.set_ylabel("moved, % of its norm", fontsize=9)
    below.set_ylim(0, max(1.05 * float(order[0]), 1e-3))
    below.set_title(f"s = {residual_scale:.3g}", fontsize=9)
    half = int(np.searchsorted(np.cumsum(order), order.sum() / 2)) + 1
    return figure, (
        f"{said} With the guide of {whose}, half of the shift goes to {half} of {len(order)} regions; the most "
        f"moved is moved by {order[0]:.1f} % of its norm."
    )


VERDICTS = {
    ("plain", "higher"): "CGE is better than the same model without it.",
    ("plain", "lower"): "CGE is worse than the same model without it.",
    ("plain", TELL): "CGE against the same model without it: inconclusive.",
    ("CGE, other's", "higher"): "It beats the guides of other images, so knowledge of the image itself helps.",
    ("CGE, other's", "lower"): "With the guides of other images it is better still, so the guide misleads.",
    ("CGE, other's", TELL): "Against the guides of other images: inconclusive, so no use of knowledge of the "
    "image is shown.",
    ("plain + scores", "higher"): "It beats late score fusion of the plain model and clip-mini, so by the rule of this "
    "notebook it counts as helping.",
    ("plain + scores", "lower"): "Late score fusion of the plain model and clip-mini beats it, so by the rule of this "
    "notebook it does not count as helping: using both models is better.",
    ("plain + scores", TELL): "Against late score fusion of the plain model and clip-mini: inconclusive, so by the "
    "rule of this notebook it does not count as helping.",
    ("zero-shot", "higher"): "It is better than clip-mini alone.",
    ("zero-shot", "lower"): "It is worse than clip-mini alone, which never saw our training images.",
    ("zero-shot", TELL): "Against clip-mini alone: inconclusive.",
}  # fmt: skip
ON_NOVEL = {
    "higher": "On novel compositions it is better than the plain model",
    "lower": "On novel compositions it is worse than the plain model",
    TELL: "On novel compositions, against the plain model: inconclusive",
}


def verdict(overall: Mapping[str, Interval], halves: Mapping[str, Interval]) -> str:
    """The verdict on CGE from its differences in rSum. overall: by the baseline, as in the keys of VERDICTS; halves:
    with at least "CGE - plain, novel" and "CGE - plain, in-distribution".
    """
    told = [
        VERDICTS[base, outcome(overall[base])]
        for base in ("plain", "CGE, other's", "plain + scores", "zero-shot")
    ]
    novel, known = halves["CGE - plain, novel"], halves["CGE - plain, in-distribution"]
    told.append(
        f"{ON_NOVEL[outcome(novel)]} ({novel.value:+.1f} in rSum there, {known.value:+.1f} in-distribution)."
    )
    return "\n".join(told)

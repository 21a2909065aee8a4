"""What notebook 03 draws: where self-guided enhancement looks, how far it moves the regions, and what that
does to an image's vector.
"""

import copy
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from usercourse.overlays import attention, panel
from usercourse.plots import COLOURS, Shown, new_figure
from userlib.evaluation.attention import attention_mass, mask_coverage
from userlib.model.encoders import ImageEncoder
from userlib.model.enhancement import Enhancement, ResidualScale
from userscenes import Scenes

Floats = NDArray[np.float64]


def with_scale(
    encoder: ImageEncoder, residual_scale: float, *, inverse_temperature: float = 1.0
) -> ImageEncoder:
    """A copy of an encoder with SGE, in evaluation mode, whose s and lambda are these."""
    changed = copy.deepcopy(encoder).eval()
    enhancement = cast(Enhancement, changed.enhancement)
    enhancement.self_scale = ResidualScale(float(residual_scale))
    enhancement.inverse_temperature = inverse_temperature
    return changed


@torch.no_grad()
def leave_one_out(encoder: ImageEncoder, tokens: Tensor) -> Floats:
    """tokens (R, D) of an image -> (R,): how far its vector turns when a region is left out, as 1 - the
    cosine: its leave-one-out importance, after enhancement, projection and pooling.
    """
    count = len(tokens)
    whole = encoder(tokens.unsqueeze(0))  # (1, E)
    without = encoder(tokens.expand(count, -1, -1), ~torch.eye(count, dtype=torch.bool))  # (R, E)
    turns: Floats = (1.0 - without @ whole[0]).clamp(min=0.0).double().numpy()
    return turns


@torch.no_grad()
def turned(encoder: ImageEncoder, tokens: Tensor) -> float:
    """tokens (R, D): the angle in degrees between the image's vector and what it would be without SGE."""
    pair = torch.cat([one(tokens.unsqueeze(0)) for one in (encoder, with_scale(encoder, 0.0))])  # (2, E)
    return float(torch.rad2deg(torch.arccos((pair[0] @ pair[1]).clamp(-1.0, 1.0))))


@torch.no_grad()
def parts(encoder: ImageEncoder, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """tokens (R, D) -> the regions V (R, D), the guide g (D,) and the attention weights a (R,)."""
    regions = encoder.to_regions(tokens.unsqueeze(0))
    g, a = encoder.enhancement.guides(regions)["self"]
    return regions[0], g[0], a[0]


def named(world: Scenes, picture: int) -> NDArray[np.bool_]:
    """(H, W): the pixels of the objects that any of the image's captions names."""
    spoken = {thing for caption in world.captions(picture) for _, _, thing in caption.spans}
    masks = world.masks(picture)
    return np.asarray(np.any([masks[i] for i in sorted(spoken)], axis=0))


def plane(regions: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """Two orthogonal directions (D,) of unit norm: the guide, and across it the one along which the regions
    (R, D) spread most.
    """
    across = regions - regions.mean(0)
    across = across - (across @ guide).unsqueeze(1) * guide
    second = torch.linalg.svd(across, full_matrices=False).Vh[0]
    return guide, F.normalize(second - (second @ guide) * guide, dim=0)


def moves(encoder: ImageEncoder, tokens: Tensor, inside: Floats, axis: Axes) -> None:
    """The regions before the enhancement in the plane of `plane`, those of which a named object covers a quarter
    (inside (R,), share covered) as diamonds, and arrows for those that move by a tenth of the longest move.
    """
    regions, g, a = parts(encoder, tokens)
    x, y = (regions @ direction for direction in plane(regions, g))
    s = float(cast(Enhancement, encoder.enhancement).self_scale().detach())
    things = torch.from_numpy(inside >= 0.25)
    drawn = ((~things, "blue", "o", "background"), (things, "vermillion", "D", "on an object"))
    for chosen, colour, mark, name in drawn:
        axis.plot(
            x[chosen], y[chosen], mark, color=COLOURS[colour], ms=3.5, alpha=0.75, ls="", label=name, zorder=3
        )
    for r in (a >= 0.1 * a.max()).nonzero()[:, 0].tolist():
        axis.annotate(
            "",
            (float(x[r] + s * a[r]), float(y[r])),
            (float(x[r]), float(y[r])),
            arrowprops={"arrowstyle": "->", "color": "black", "lw": 1, "shrinkA": 0, "shrinkB": 0},
        )
    axis.update_datalim(np.column_stack([x + s * a, y]))
    axis.autoscale_view()
    axis.set_title("regions, and where they move", fontsize=9)
    axis.set_xlabel("along the guide g", fontsize=8)
    axis.set_ylabel("across it", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=7.5, frameon=False, loc="best")


def attention_view(
    encoder: ImageEncoder,
    world: Scenes,
    tokens: Tensor,
    grid: tuple[int, int],
    *,
    picture: int,
    residual_scale: float,
    inverse_temperature: float = 1.0,
) -> Shown:
    """The demo of notebook 03: one image at one residual scale s and inverse temperature lambda; tokens
    (N, R, D) of the world's first images.
    """
    changed = with_scale(encoder, residual_scale, inverse_temperature=inverse_temperature)
    own, truth, image = tokens[picture], named(world, picture), world.picture(picture)
    inside = mask_coverage(truth, grid)
    regions, _, a = parts(changed, own)
    figure, axes = new_figure(8.4, 2.7, columns=4)
    axes[0, 0].get_gridspec().set_width_ratios((1, 1, 1, 1.35))
    panel(axes[0, 0], image, truth=truth, title="image")
    attention(image, a.numpy(), grid, truth=truth, title="attention weights a", axis=axes[0, 1])
    importance = leave_one_out(changed, own)
    attention(image, importance, grid, truth=truth, title="leave-one-out\nimportance", axis=axes[0, 2])
    moves(changed, own, inside, axes[0, 3])
    shares = [100 * float(attention_mass(one[None], inside[None])[0]) for one in (a.numpy(), importance)]
    length = 100 * residual_scale / float(regions.norm())
    return figure, (
        "The image, then the same image, dark where attention and importance are low. The outlined objects cover "
        f"{100 * inside.mean():.0f} % of the image and get {shares[0]:.0f} % of the attention "
        f"and {shares[1]:.0f} % of the leave-one-out importance. What SGE adds has {length:.3g} % of the regions' "
        f"norm and turns the image's vector by {turned(changed, own):.1f} degrees."
    )


def at_scales(
    encoder: ImageEncoder,
    world: Scenes,
    tokens: Tensor,
    grid: tuple[int, int],
    *,
    pictures: Sequence[int],
    scales: Sequence[float],
) -> Shown:
    """A row per image: the image, then dimmed by SGE's attention weights, then by each region's leave-one-out
    importance at each residual scale; the named objects are outlined.
    """
    across = 2 + len(scales)
    figure, axes = new_figure(1.4 * across, 1.5 * len(pictures), rows=len(pictures), columns=across)
    on_things = np.zeros((len(pictures), 1 + len(scales)))
    area = []
    for row, picture, shares in zip(axes, pictures, on_things, strict=True):
        truth, image, own = named(world, picture), world.picture(picture), tokens[picture]
        inside = mask_coverage(truth, grid)
        area.append(100 * inside.mean())
        shown = [parts(encoder, own)[2].double().numpy()]
        shown += [leave_one_out(with_scale(encoder, s), own) for s in scales]
        titles = ["image", "attention\nweights a", *(f"importance\nat s = {_short(s)}" for s in scales)]
        if picture != pictures[0]:
            titles = [""] * across
        panel(row[0], image, truth=truth, title=titles[0])
        for k, (axis, weights, title) in enumerate(zip(row[1:], shown, titles[1:], strict=True)):
            attention(image, weights, grid, truth=truth, title=title, axis=axis)
            shares[k] = 100 * float(attention_mass(weights[None], inside[None])[0])
    mean = on_things.mean(0)
    told = ", ".join(f"{share:.0f} % at s = {_short(s)}" for share, s in zip(mean[1:], scales, strict=True))
    return figure, (
        "Each image, then the same image, dark where the attention or the importance is low. "
        f"The outlined objects cover {np.mean(area):.0f} % of these images. They get {mean[0]:.0f} % of the attention, "
        f"which does not depend on s, and of the leave-one-out importance {told}."
    )


def _short(value: float) -> str:
    """Three digits, and no power of ten: 0.5, 198, 1,580."""
    return f"{float(f'{value:.3g}'):,g}"

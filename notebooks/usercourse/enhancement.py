"""Figures of notebook 03: where self-guided enhancement looks, how far it moves the regions, and how this changes an
image's vector.
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
from usercourse.plots import COLOURS, WIDEST, Shown, new_figure
from userlib.evaluation.attention import attention_mass, mask_coverage
from userlib.model.encoders import ImageEncoder
from userlib.model.enhancement import Enhancement, ResidualScale
from userscenes import Scenes

Floats = NDArray[np.float64]


def with_scale(
    encoder: ImageEncoder, residual_scale: float, *, inverse_temperature: float = 1.0
) -> ImageEncoder:
    """A copy of an encoder with SGE, in evaluation mode, with this residual scale s and inverse temperature lambda."""
    changed = copy.deepcopy(encoder).eval()
    enhancement = cast(Enhancement, changed.enhancement)
    enhancement.self_scale = ResidualScale(float(residual_scale))
    enhancement.inverse_temperature = inverse_temperature
    return changed


@torch.no_grad()
def leave_one_out(encoder: ImageEncoder, tokens: Tensor) -> Floats:
    """tokens (R, D) of an image -> (R,): each region's leave-one-out importance, 1 - the cosine of the image's vector
    with the one without this region.
    """
    count = len(tokens)
    whole = encoder(tokens.unsqueeze(0))  # (1, E)
    without = encoder(tokens.expand(count, -1, -1), ~torch.eye(count, dtype=torch.bool))  # (R, E)
    turns: Floats = (1.0 - without @ whole[0]).clamp(min=0.0).double().numpy()
    return turns


@torch.no_grad()
def turned(encoder: ImageEncoder, tokens: Tensor) -> float:
    """tokens (R, D) -> the angle in degrees between the image's vector and the one without SGE."""
    pair = torch.cat([one(tokens.unsqueeze(0)) for one in (encoder, with_scale(encoder, 0.0))])  # (2, E)
    return float(torch.rad2deg(torch.arccos((pair[0] @ pair[1]).clamp(-1.0, 1.0))))


@torch.no_grad()
def parts(encoder: ImageEncoder, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """tokens (R, D) -> the regions V (R, D), the guide g (D,) and the attention weights a (R,)."""
    regions = encoder.to_regions(tokens.unsqueeze(0))
    g, a = encoder.enhancement.guides(regions)["self"]
    return regions[0], g[0], a[0]


def named(world: Scenes, picture: int) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels of the objects that any of the image's captions names."""
    spoken = {thing for caption in world.captions(picture) for _, _, thing in caption.spans}
    masks = world.masks(picture)
    return np.asarray(np.any([masks[i] for i in sorted(spoken)], axis=0))


def plane(regions: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """Two orthogonal directions (D,) of unit norm: the guide, and the direction orthogonal to it along which the
    regions (R, D) vary most.
    """
    across = regions - regions.mean(0)
    across = across - (across @ guide).unsqueeze(1) * guide
    second = torch.linalg.svd(across, full_matrices=False).Vh[0]
    return guide, F.normalize(second - (second @ guide) * guide, dim=0)


def moves(encoder: ImageEncoder, tokens: Tensor, inside: Floats, axis: Axes) -> None:
    """Draw the regions before the enhancement in the plane of `plane`, as diamonds where named objects cover at least a
    quarter (inside (R,), the share), with arrows for those that move by at least a tenth of the longest move.
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
    axis.set_xlabel("along the guide g", fontsize=9)
    axis.set_ylabel("across it", fontsize=9)
    axis.locator_params(nbins=5)
    axis.legend(fontsize=9, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2,
                handletextpad=0.1, columnspacing=1.0)  # fmt: skip


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
    """The demo of notebook 03: one image at one residual scale s and inverse temperature lambda. tokens (N, R, D) are
    those of the world's first N images.
    """
    changed = with_scale(encoder, residual_scale, inverse_temperature=inverse_temperature)
    own, truth, image = tokens[picture], named(world, picture), world.picture(picture)
    inside = mask_coverage(truth, grid)
    regions, _, a = parts(changed, own)
    figure, axes = new_figure(5.4, 5.4, rows=2, columns=2)
    panel(axes[0, 0], image, truth=truth, title="image")
    attention(image, a.numpy(), grid, truth=truth, title="attention weights a", axis=axes[0, 1])
    importance = leave_one_out(changed, own)
    attention(image, importance, grid, truth=truth, title="leave-one-out importance", axis=axes[1, 0])
    moves(changed, own, inside, axes[1, 1])
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
    """A column per image: the image, then dimmed by SGE's attention weights, then by each region's leave-one-out
    importance at each residual scale; the named objects are outlined.
    """
    down, across = 2 + len(scales), len(pictures)
    width = min(1.3, (WIDEST - 0.5) / across)
    figure, axes = new_figure(0.5 + width * across, width * down, rows=down, columns=across)
    on_things = np.zeros((len(pictures), 1 + len(scales)))
    area = []
    titles = ["image", "attention\nweights a", *(f"importance\nat s = {_short(s)}" for s in scales)]
    for axis, title in zip(axes[:, 0], titles, strict=True):
        axis.text(
            -0.08, 0.5, title, transform=axis.transAxes, rotation=90, ha="right", va="center", fontsize=9
        )
    for column, picture, shares in zip(axes.T, pictures, on_things, strict=True):
        truth, image, own = named(world, picture), world.picture(picture), tokens[picture]
        inside = mask_coverage(truth, grid)
        area.append(100 * inside.mean())
        shown = [parts(encoder, own)[2].double().numpy()]
        shown += [leave_one_out(with_scale(encoder, s), own) for s in scales]
        panel(column[0], image, truth=truth)
        for k, (axis, weights) in enumerate(zip(column[1:], shown, strict=True)):
            attention(image, weights, grid, truth=truth, axis=axis)
            shares[k] = 100 * float(attention_mass(weights[None], inside[None])[0])
    mean = on_things.mean(0)
    told = ", ".join(f"{share:.0f} % at s = {_short(s)}" for share, s in zip(mean[1:], scales, strict=True))
    return figure, (
        "Each image, below it the same image, dark where the attention or the importance is low. "
        f"The outlined objects cover {np.mean(area):.0f} % of these images. They get {mean[0]:.0f} % of the attention, "
        f"which does not depend on s, and of the leave-one-out importance {told}."
    )


def _short(value: float) -> str:
    """A number with three digits and without a power of ten: 0.5, 198, 1,580."""
    return f"{float(f'{value:.3g}'):,g}"

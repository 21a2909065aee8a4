"""Figures of notebook 06: UTO compared with hinge and InfoNCE, its overflow, its vanishing gradient at initialisation,
and the batch loss as a score matrix, to which notebook 07 adds the queue loss.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from torch import Tensor

from usercourse.plots import COLOURS, WIDEST, Shown, lines, new_figure
from userlib.config import ObjectiveConfig
from userlib.model.objective import query_loss, uto_negative, uto_positive

NAMES = {"uto": "UTO", "hinge-sum": "hinge, sum", "hinge-hardest": "hinge, hardest", "infonce": "InfoNCE"}
ROLES = ListedColormap(["0.85", "#F5C77E", COLOURS["blue"]])  # masked, negative, positive
LARGEST = {"float16": float(np.finfo(np.float16).max), "float32": float(np.finfo(np.float32).max)}


def value_and_gradient(of: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """The values (P,) of a function of P rows at `at` (P, ...), and their gradient with respect to `at`."""
    x = at.detach().clone().requires_grad_(True)
    value = of(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def objective_curves(mu: float, gamma: float, positive: float) -> Shown:
    """Loss and gradient over the score s of one negative, for UTO, hinge and InfoNCE; positive: the score s+ of the
    positive pair.
    """
    s = torch.linspace(-1, 1, 401)
    plus = torch.full_like(s, positive)
    losses, slopes = {}, {}
    for name in ("uto", "hinge-sum", "infonce"):
        config = ObjectiveConfig(name=name, mu=mu, gamma=gamma)
        value, slope = value_and_gradient(lambda x, c=config: query_loss(c, plus, x, None), s[:, None])  # type: ignore[misc]
        label = "hinge" if name == "hinge-sum" else NAMES[name]
        losses[label] = value - value[0]
        slopes[label] = slope[:, 0] / slope.max()
    figure, axes = new_figure(WIDEST, 5.4, rows=2)
    above, below = axes[:, 0]
    lines(s, losses, x_label="score s of the negative", y_label="rise over s = -1", title="loss", axis=above)
    lines(
        s,
        slopes,
        x_label="score s of the negative",
        y_label="share of its largest",
        title="gradient",
        axis=below,
    )
    above.set_ylim(-0.05, 1.25)
    for axis in (above, below):
        axis.axvline(positive, color="0.6", lw=1)
        axis.annotate("s+", (positive, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=9)
        axis.axvline(gamma, color="0.6", lw=1, ls=":")
        axis.annotate("γ", (gamma, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=9)
    below.get_legend().remove()
    band = float(np.log(9.0)) / mu  # from 10 % to 90 % of the gradient is twice this
    return figure, (
        f"UTO's gradient sets in at γ = {gamma:g}, whatever the positive scores, and rises from 10 % to 90 % "
        f"of its maximum within {2 * band:.2f}; the hinge's sets in at s+ minus the margin, {positive - 0.2:.2f}, "
        f"and InfoNCE's is half way at s+ = {positive:g}."
    )


def gradient_shares(positive: float, negatives: Sequence[float], *, mu: float, gamma: float) -> Shown:
    """The share of the gradient that each negative of a query receives, for four objectives."""
    row, plus = torch.tensor([list(negatives)]), torch.tensor([positive])
    figure, axes = new_figure(WIDEST, 4.6, rows=2, columns=2)
    said = []
    for axis, (name, label) in zip(axes.flat, NAMES.items(), strict=True):
        config = ObjectiveConfig(name=name, mu=mu, gamma=gamma)
        _, gradient = value_and_gradient(lambda x, c=config: query_loss(c, plus, x, None), row)  # type: ignore[misc]
        whole = float(gradient.sum())
        share = (gradient[0] / whole if whole > 0 else gradient[0]).numpy()
        axis.bar(range(len(negatives)), share, color=COLOURS["blue"])
        axis.set_xticks(range(len(negatives)), [f"{value:g}" for value in negatives], fontsize=9)
        axis.set_title(label, fontsize=10, loc="left")
        axis.set_ylim(0, 1.08)
        if axis in axes[1]:
            axis.set_xlabel("score of the negative", fontsize=9)
        count = int((share > 0.01).sum())
        said.append(f"{label} {count}")
    for axis in axes[:, 0]:
        axis.set_ylabel("share of the gradient", fontsize=9)
    return figure, (
        f"The positive scores {positive:g}. Negatives that receive more than 1 % of the gradient, of "
        f"{len(negatives)}: {', '.join(said)}."
    )


def overflow(gamma: float = 0.5) -> Shown:
    """exp(mu (s - gamma)) at s = 1 over mu, compared with the largest values of two number formats."""
    mu = np.linspace(1, 250, 250)
    figure, axes = new_figure(WIDEST, 3.0)
    axis = axes[0, 0]
    lines(
        mu,
        {"e^(mu (s - gamma)) at s = 1": mu * (1 - gamma) / np.log(10)},
        x_label="mu",
        y_label="power of ten",
        axis=axis,
    )
    for (name, most), colour in zip(LARGEST.items(), ("vermillion", "green"), strict=True):
        axis.axhline(np.log10(most), color=COLOURS[colour], ls="--", lw=1.5)
        axis.annotate(
            f"largest {name}", (250, np.log10(most)), xytext=(0, -11), textcoords="offset points", fontsize=9,
            ha="right",
        )  # fmt: skip
    ends = {name: np.log(most) / (1 - gamma) for name, most in LARGEST.items()}
    return figure, (
        f"At s = 1 the exponential leaves half precision at mu = {ends['float16']:.0f} and single precision "
        f"at mu = {ends['float32']:.0f}. Its logarithm, the slanted line itself, is a harmless number "
        "everywhere."
    )


def positive_curves() -> Shown:
    """UTO's positive term and its gradient over s+, original and leaky."""
    s = torch.linspace(-1, 1, 401)
    parts = {"original": False, "leaky": True}
    both = {
        name: value_and_gradient(lambda x, on=leaky: uto_positive(x, leaky_positive=on), s)  # type: ignore[misc]
        for name, leaky in parts.items()
    }
    figure, axes = new_figure(WIDEST, 5.0, rows=2)
    names = list(parts)
    lines(s, {n: both[n][0] for n in names[::-1]}, x_label="score s+ of the matching pair", y_label="",
          title="positive term", axis=axes[0, 0])  # fmt: skip
    lines(s, {n: -both[n][1] for n in names[::-1]}, x_label="score s+ of the matching pair", y_label="",
          title="minus its gradient", axis=axes[1, 0])  # fmt: skip
    axes[1, 0].set_ylim(-0.08, 1.15)
    original, leaky = (abs(float(both[name][1][(s + 0.5).abs().argmin()])) for name in parts)
    return figure, (
        f"Above zero the two are one. At s+ = -0.5 the original form has gradient {original:g}: nothing draws the "
        f"pair together. The leaky form has gradient {leaky:g}."
    )


def starts(curves: Mapping[str, np.ndarray], *, alive: float) -> Shown:
    """Curves of R@1 (seeds, steps) with the original and the leaky form; a run that ends below `alive` percent is
    dashed.
    """
    figure, axes = new_figure(WIDEST, 2.6 * len(curves), rows=len(curves))
    said = []
    for axis, (name, runs) in zip(axes[:, 0], curves.items(), strict=True):
        dead = [run for run in runs if run[-1] < alive]
        for run in runs:
            lost = run[-1] < alive
            colour = COLOURS["vermillion" if lost else "blue"]
            axis.plot(run, color=colour, ls="--" if lost else "-", lw=1.6, alpha=0.85)
        axis.set_title(f"{name} form: {len(dead)} of {len(runs)} never learn", fontsize=10, loc="left")
        axis.set_ylim(-3, 103)
        axis.set_ylabel("R@1 on the training\npairs, %", fontsize=9)
        said.append(f"{len(dead)} of {len(runs)} with the {name} form")
    axes[-1, 0].set_xlabel("step", fontsize=9)
    return figure, (
        f"One line per seed; dashed lines end below {alive:g} % and have learned nothing: {' and '.join(said)}."
    )


def loss_matrices(
    batch: Tensor,
    same: Tensor,
    *,
    own: Tensor | None = None,
    keys: Tensor | None = None,
    ignore_mask: Tensor | None = None,
) -> Shown:
    """The part of each score in L_b: batch (B,B) scores, same (B,B) True where two pairs have one image. With own (B,),
    the scores with the queries' own keys, keys (B,K), those with the queue, and ignore_mask (B,K), below it those in
    L_q, for image queries.
    """
    B = len(batch)
    diagonal = torch.eye(B, dtype=torch.bool)
    parts = [("L_b", batch, diagonal, same & ~diagonal, [f"caption {j}" for j in range(B)])]
    if own is not None and keys is not None and ignore_mask is not None:
        first = torch.ones(B, 1, dtype=torch.bool)
        names = ["own key", *(f"slot {k}" for k in range(keys.shape[1]))]
        parts.append(("L_q", torch.cat([own[:, None], keys], 1), torch.cat([first, torch.zeros_like(ignore_mask)], 1),
                      torch.cat([~first, ignore_mask], 1), names))  # fmt: skip
    widths = [scores.shape[1] for _, scores, *_ in parts]
    width = min(WIDEST, 1.2 + 0.66 * max(widths))
    figure, axes = new_figure(width, (0.9 + 0.4 * B) * len(parts), rows=len(parts))
    said = []
    for axis, (name, scores, positive, ignored, columns) in zip(axes[:, 0], parts, strict=True):
        role = torch.where(positive, 2, torch.where(ignored, 0, 1))
        axis.imshow(role.numpy(), cmap=ROLES, vmin=0, vmax=2, aspect="auto")
        for i, j in np.ndindex(*scores.shape):
            words = "masked" if ignored[i, j] else f"{round(float(scores[i, j]), 2) + 0.0:.2f}"
            look = {"color": "white", "weight": "bold"} if positive[i, j] else {"color": "black"}
            axis.text(j, i, words, ha="center", va="center", fontsize=9, **look)
        axis.set_xticks(range(len(columns)), columns, fontsize=9, rotation=30 if len(columns) > 5 else 0)
        axis.set_yticks(range(B), [f"image {i}" for i in range(B)], fontsize=9)
        axis.tick_params(length=0)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.set_title(
            name.replace("_b", "$_b$").replace("_q", "$_q$, image queries"), fontsize=10, loc="left"
        )
        negatives = int((~positive & ~ignored).sum())
        said.append(
            f"{name}: {int(positive.sum())} positives, {negatives} negatives, {int(ignored.sum())} masked"
        )
    return figure, (
        "Scores and what they count as: blue with bold numbers is the positive of its row, orange a negative, grey is "
        f"masked. {'; '.join(said)}."
    )


def mask_effect(mu: float = 90.0, gamma: float = 0.5) -> float:
    """UTO's negative term for another matching caption that scores 0.9 and counts as a negative."""
    return float(uto_negative(torch.tensor([[0.9]]), None, mu=mu, gamma=gamma))

"""Exercises of notebook 03: attention weights, the enhancement, a guide that skips padding, the scale of a
residual, attention on a mask.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from usercourse.checks import Exercise
from usercourse.gradients import value_and_gradient
from userlib.evaluation.attention import attention_mass, mask_coverage
from userlib.model.enhancement import region_attention as library_attention

RNG = torch.Generator().manual_seed(0)
HAND = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
EAST = torch.tensor([1.0, 0.0])
V = torch.randn(5, 3, generator=RNG)
G = F.normalize(torch.tensor([1.0, -2.0, 0.5]), dim=0)
SETS = torch.randn(3, 4, 2, generator=RNG) + torch.tensor([0.8, 0.3])
ALL_THERE = torch.ones(3, 4, dtype=torch.bool)
LONGEST = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, False, False]])
WITH_GAPS = torch.tensor([[False, True, True, False], [True, False, False, True], [True, True, False, True]])
SHARES = np.array([[0.1, 0.2], [0.4, 0.3], [0.5, 0.5]])
STRIP = np.array([[0.1, 0.2, 0.4, 0.3]])  # cells of 6 by 1 pixels
MASK = np.zeros((6, 4), dtype=bool)
MASK[2:5, 1:4] = True
HALF = np.zeros((6, 4), dtype=bool)
HALF[:3, 2:] = True


def region_attention(V: Any, g: Any, lam: float) -> Any:
    return library_attention(V[None], g[None], inverse_temperature=lam)[0]


def _sums_to_one(V: Any, g: Any, lam: float) -> Any:
    return torch.softmax(lam * (V @ g), 0)


def _lambda_outside(V: Any, g: Any, lam: float) -> Any:
    return lam * F.normalize(torch.softmax(V @ g, 0), dim=0)


def _lambda_lost(V: Any, g: Any, lam: float) -> Any:
    return F.normalize(torch.softmax(V @ g, 0), dim=0)


def _cosines(V: Any, g: Any, lam: float) -> Any:
    return F.normalize(torch.softmax(lam * (F.normalize(V, dim=1) @ g), 0), dim=0)


def _no_softmax(V: Any, g: Any, lam: float) -> Any:
    return F.normalize(lam * (V @ g), dim=0)


def enhance(V: Any, g: Any, a: Any, s: float) -> Any:
    return V + s * a[:, None] * g[None, :]


def _reweighed(V: Any, g: Any, a: Any, s: float) -> Any:
    return s * a[:, None] * V


def _without_strength(V: Any, g: Any, a: Any, s: float) -> Any:
    return V + a[:, None] * g[None, :]


def _without_regions(V: Any, g: Any, a: Any, s: float) -> Any:
    return s * a[:, None] * g[None, :]


def _own_direction(V: Any, g: Any, a: Any, s: float) -> Any:
    return V + s * a[:, None] * V


def _alike_everywhere(V: Any, g: Any, a: Any, s: float) -> Any:
    return V + s * g[None, :]


# --- padded_guide: the guide that reads padding --------------------------------------------------------------
def padded_guide(V: Any, mask: Any, *, mean: Any = None, fill: float = -math.inf, unit: bool = True) -> Any:
    """What is correct; the keywords spoil it."""
    G = (V * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True) if mean is None else mean
    scores = torch.einsum("brd,bd->br", V, G)
    w = torch.softmax(scores.masked_fill(~mask, fill), dim=1)
    g = torch.einsum("br,brd->bd", w, V)
    return F.normalize(g, dim=1) if unit else g


def _everything_read(V: Any, mask: Any) -> Any:
    return padded_guide(V, torch.ones_like(mask))


def _mean_of_all(V: Any, mask: Any) -> Any:
    return padded_guide(V, mask, mean=V.mean(1))


def _softmax_of_all(V: Any, mask: Any) -> Any:
    G = (V * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return padded_guide(V, torch.ones_like(mask), mean=G)


def _wrong_count(V: Any, mask: Any) -> Any:
    return padded_guide(V, mask, mean=(V * mask[:, :, None]).mean(1))


def _padding_summed(V: Any, mask: Any) -> Any:
    return padded_guide(V, mask, mean=V.sum(1) / mask.sum(1, keepdim=True))


def _filled_with_zero(V: Any, mask: Any) -> Any:
    return padded_guide(V, mask, fill=0.0)


def _guide_of_any_norm(V: Any, mask: Any) -> Any:
    return padded_guide(V, mask, unit=False)


def _over_the_batch(V: Any, mask: Any) -> Any:
    return F.normalize(padded_guide(V, mask, unit=False), dim=0)


def _the_mean_alone(V: Any, mask: Any) -> Any:
    return F.normalize((V * mask[:, :, None]).sum(1), dim=1)


def _in_regions(answer: Any, *case: Any) -> Any:
    return value_and_gradient(answer, case, ("V",))


def scale_for(V: Any, share: float) -> Any:
    return share * V.norm()


def _mean_length(V: Any, share: float) -> Any:
    return share * V.norm(dim=1).mean()


def _squared(V: Any, share: float) -> Any:
    return share * V.square().sum()


def _length_alone(V: Any, share: float) -> Any:
    return V.norm()


def _upside_down(V: Any, share: float) -> Any:
    return share / V.norm()


def share_on_mask(a: Any, mask: Any) -> Any:
    return attention_mass(a.reshape(1, -1), mask_coverage(mask, a.shape)[None])[0]


def _cells(a: Any, mask: Any) -> Any:
    return mask_coverage(mask, a.shape).reshape(a.shape)


def _not_normalised(a: Any, mask: Any) -> Any:
    return (a * _cells(a, mask)).sum()


def _counted_whole(a: Any, mask: Any) -> Any:
    return (a * (_cells(a, mask) > 0)).sum() / a.sum()


def _of_the_mask(a: Any, mask: Any) -> Any:
    cells = _cells(a, mask)
    return (a * cells).sum() / cells.sum()


def _brightest(a: Any, mask: Any) -> Any:
    return _cells(a, mask).flat[a.argmax()]


EXERCISES = [
    Exercise(
        name="region_attention",
        right=region_attention,
        cases=[(HAND, EAST, 1.0), (HAND, EAST, 3.0), (V, G, 0.5), (V, G, 2.0)],
        mistakes={
            "These weights sum to 1. In the paper the vector a has unit *norm*: l2norm after the "
            "softmax.": _sums_to_one,
            "lambda belongs inside the softmax, where it sharpens; outside it would only scale "
            "a.": _lambda_outside,
            "lambda is not used.": _lambda_lost,
            "The regions go in as they are, not L2-normalised: a region of large norm gets more attention "
            "than one of small "
            "norm in the same direction.": _cosines,
            "The softmax is missing: attention weights are never negative, and the regions compete for "
            "them.": _no_softmax,
        },
        praise="One weight per region, never negative, and the vector of all has unit norm.",
    ),
    Exercise(
        name="enhance",
        right=enhance,
        cases=[(HAND, EAST, torch.tensor([0.9, 0.3, 0.1]), 2.0), (V, G, torch.softmax(V @ G, 0), 0.5)],
        mistakes={
            "That multiplies the regions by their weights, as attention usually does. The enhancement *adds* the "
            "guide to them.": _reweighed,
            "The residual scale s is not used.": _without_strength,
            "The regions themselves are gone: the residual is added to V, it does not replace "
            "it.": _without_regions,
            "Every region is moved towards the guide g, not further along its own direction.": _own_direction,
            "Every region moves alike; a says how far each of them goes.": _alike_everywhere,
        },
        praise="That is the whole enhancement.",
    ),
    Exercise(
        name="padded_guide",
        right=padded_guide,
        cases=[(SETS, ALL_THERE), (SETS, LONGEST), (2 * SETS.flip(0), WITH_GAPS)],
        probe=_in_regions,
        mistakes={
            "That is the function as it stood: padding is in the mean, and the softmax gives it "
            "weight.": _everything_read,
            "One of the two is found, the softmax. The other: the mean G is over the real regions alone.": _mean_of_all,
            "One of the two is found, the mean. The other: the softmax gives weight to padding; its scores need minus "
            "infinity before.": _softmax_of_all,
            "Padding is out of the sum, and still in the number that it is divided by.": _wrong_count,
            "The number is right, and padding is still in the sum; behind a linear layer it is not 0.": _padding_summed,
            "A score of 0 still gets weight, e^0 = 1. Minus infinity gets none.": _filled_with_zero,
            "The guide needs unit norm, or s does not say how much is added.": _guide_of_any_norm,
            "The norm is wanted of each image's guide, over its D dimensions; yours is over the images of the "
            "batch.": _over_the_batch,
            "That is the direction of the mean. The guide is a sum weighed by w, which comes from the match of each "
            "region with the mean.": _the_mean_alone,
        },
        praise="An image alone, and the same image in a padded batch: that test finds both faults.",
    ),
    Exercise(
        name="scale_for",
        right=scale_for,
        cases=[(HAND, 0.1), (V, 0.5), (2 * V, 0.1)],
        mistakes={
            "That is right for one region. The residual of *all* regions together has norm s, so it is compared with "
            "the norm of all regions together.": _mean_length,
            "Norms, not their squares.": _squared,
            "That would give the residual the norm of the regions; the share is missing.": _length_alone,
            "The other way round: the larger the norm of the regions, the larger s must be.": _upside_down,
        },
        praise="Regions of twice the norm need twice the scale; the paper's s = 1 does not know that.",
    ),
    Exercise(
        name="share_on_mask",
        right=share_on_mask,
        cases=[
            (SHARES, MASK),
            (SHARES, HALF),
            (3 * SHARES, MASK),
            (SHARES.T, MASK.T),
            (STRIP, MASK),
            (STRIP, HALF),
        ],
        mistakes={
            "The weights need not sum to 1 (a has unit norm): divide by their sum.": _not_normalised,
            "A cell of which the mask covers a corner counts by that corner alone, not as a "
            "whole.": _counted_whole,
            "That is the mean attention on the mask. The question is which share of all attention lies on "
            "it.": _of_the_mask,
            "That is the pointing game, which looks at the brightest cell alone. The question is the share of all "
            "attention.": _brightest,
        },
        praise="Report it together with its baseline, what uniform attention gets: the share of the image "
        "that the mask covers.",
    ),
]

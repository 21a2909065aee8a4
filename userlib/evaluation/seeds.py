"""The difference of two models, each trained with several seeds: an interval whose coverage is right from three on.

A bootstrap that draws three seeds from three underestimates how far seeds differ. Here the variance of a difference is
estimated term by term, from D[s, i], the contribution of image i to the difference with seed s:

    Var = (variance of the seeds' differences) / S  +  (variance between images that all seeds share) / n

The first term has S - 1 degrees of freedom and Student's quantile t, the second has many and the normal quantile z:
half the interval is sqrt(t^2 first + z^2 second) (after Howe, JASA 1974). Runs of equal seed are subtracted from each
other: they share the order of their data, and what is hard for both cancels.

`python -m userlab coverage` simulates how often such intervals contain the true difference.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from userlib.arguments import checked
from userlib.errors import UserError
from userlib.evaluation.metrics import KS, chosen_images
from userlib.evaluation.ranking import Ranks

Floats = NDArray[np.float64]
NAMES = (*(f"{way}_r{k}" for way in ("i2t", "t2i") for k in KS), "rsum", "r1")
POWER = 0.8  # of `SeedDifference.smallest`


class SeedDifference(NamedTuple):
    """The mean over seeds of a minus b, the bounds of its confidence interval, and its test."""

    value: float
    low: float
    high: float
    error: float  # standard error
    p: float  # two-sided p value of the null hypothesis of no difference
    smallest: float  # the smallest true difference that such runs detect with a power of about 80 %


@checked
def seed_difference(
    a: Mapping[int, Ranks],
    b: Mapping[int, Ranks],
    *,
    images: ArrayLike | None = None,
    level: float = 0.95,
) -> dict[str, SeedDifference]:
    """a - b for every R@K, rSum and mean R@1, in points, over the seeds that both have.

    a and b: seed -> the ranks of its run; for a model without seeds (CLIP alone), the same ranks for each. images
    restricts the queries as in `recalls`. Raises UserError for fewer than two shared seeds, for ranks on different
    images, and for a level that does not lie between 0 and 1.
    """
    if not 0 < level < 1:
        raise UserError(f"level is {level}; it must lie between 0 and 1, such as 0.95.")
    seeds = sorted(set(a) & set(b))
    if len(seeds) < 2:
        raise UserError(
            f"the two models share {len(seeds)} seeds, and the variance of a difference needs two or more; train both "
            "with more seeds."
        )
    first = a[seeds[0]]
    if any(
        not np.array_equal(run.caption_to_image, first.caption_to_image)
        for s in seeds
        for run in (a[s], b[s])
    ):
        raise UserError(
            "these ranks are of different images or captions; rank both models on the same split."
        )
    chosen = chosen_images(images, len(first.i2t))
    added = np.stack([_added(a[s], chosen) - _added(b[s], chosen) for s in seeds])  # (S, n, 6)
    rsum, r1 = added.sum(2, keepdims=True), added[..., [0, len(KS)]].mean(2, keepdims=True)
    each = np.concatenate([added, rsum, r1], axis=2)
    return {name: of_seeds_and_images(each[..., i], level=level) for i, name in enumerate(NAMES)}


def of_seeds_and_images(added: Floats, *, level: float = 0.95) -> SeedDifference:
    """added (S, n): the contribution of each image with each seed -> the interval of the mean over both."""
    seeds, images = added.shape
    by_seed, by_image = added.mean(1), added.mean(0)
    value = float(added.mean())
    of_seeds = float(by_seed.var(ddof=1)) / seeds
    rest = added - by_seed[:, None] - by_image + value
    unshared = float((rest**2).sum()) / ((seeds - 1) * max(images - 1, 1))
    shared = max(0.0, float(by_image.var(ddof=1)) - unshared / seeds) / images if images > 1 else 0.0
    error = math.sqrt(of_seeds + shared)
    if error == 0:  # every image agrees with every seed
        return SeedDifference(value, value, value, 0.0, float(value == 0), 0.0)

    def half(level: float) -> float:
        t, z = float(stdtrit(seeds - 1, (1 + level) / 2)), float(ndtri((1 + level) / 2))
        return math.sqrt(t**2 * of_seeds + z**2 * shared)

    reach = half(level)
    low, high = 0.0, 1.0  # the level at which the interval just contains 0, by halving
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if half(middle) < abs(value) else (low, middle)
    smallest = reach + float(ndtri(POWER)) * error
    return SeedDifference(value, value - reach, value + reach, error, 1 - high, smallest)


def holm(p: Sequence[float]) -> list[float]:
    """p values of a family of claims -> adjusted p values, in the same order. Claims with an adjusted value below 0.05
    contain a false one in at most 5 % of such families (Holm, Scandinavian Journal of Statistics 1979).
    """
    adjusted, running = [0.0] * len(p), 0.0
    for place, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = running
    return adjusted


def _added(run: Ranks, images: NDArray[np.int64]) -> Floats:
    """(n, 6): the contribution of each chosen image to the six R@K; its mean over images is the R@K in percent.

    For t2i an image with more or fewer captions than the mean contributes by its hits beyond the overall share.
    """
    count = len(run.i2t)
    i2t = np.stack([100.0 * (run.i2t <= k) for k in KS], axis=1)[images]
    captions = np.bincount(run.caption_to_image, minlength=count).astype(np.float64)[images]
    columns = []
    for k in KS:
        hits = np.bincount(run.caption_to_image, 100.0 * (run.t2i <= k), count)[images]
        share = hits.sum() / captions.sum()
        columns.append(share + (hits - share * captions) / captions.mean())
    return np.concatenate([i2t, np.stack(columns, axis=1)], axis=1)

"""The difference of two models, each trained with several seeds: an interval that covers what it says with three seeds.

A bootstrap that draws three seeds from three has too few to see how far seeds differ. Here the variance of a
difference is estimated term by term, from D[s, i], what image i adds to the difference with seed s:

    Var = (variance of the seeds' differences) / S  +  (variance between images that all seeds share) / n

The first term has S - 1 degrees of freedom, so that it counts with Student's quantile, the second has many and counts
with the normal one: half the interval is sqrt(t^2 first + z^2 second) (after Howe, JASA 1974). Runs of equal seed are
subtracted from each other: they share the order of their data, and what is hard for both cancels.

`python -m userlab coverage` simulates how often such intervals contain the true difference.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from userlib.errors import UserError
from userlib.evaluation.metrics import KS, chosen_images
from userlib.evaluation.ranking import Ranks

Floats = NDArray[np.float64]
NAMES = (*(f"{way}_r{k}" for way in ("i2t", "t2i") for k in KS), "rsum", "r1")
POWER = 0.8  # of `SeedDifference.smallest`


class SeedDifference(NamedTuple):
    """The mean over seeds of a minus b, the bounds of its confidence interval, and what they are made of."""

    value: float
    low: float
    high: float
    error: float  # standard error
    p: float  # two-sided, of no difference
    smallest: float  # the true difference that such runs would find in some 80 % of all cases


def seed_difference(
    a: Mapping[int, Ranks],
    b: Mapping[int, Ranks],
    *,
    images: ArrayLike | None = None,
    level: float = 0.95,
) -> dict[str, SeedDifference]:
    """Of every R@K, rSum and mean R@1, in points: a - b, by the seeds that both have; needs two or more.

    a and b: a seed -> the ranks of its run; of a model that no seed changes (CLIP alone) the same ranks for each.
    images restricts the queries as in `recalls`. Raises UserError for fewer than two shared seeds, other images, and a
    level that is none.
    """
    if not 0 < level < 1:
        raise UserError(f"the level of an interval lies between 0 and 1, and got {level}; 0.95 is usual.")
    seeds = sorted(set(a) & set(b))
    if len(seeds) < 2:
        raise UserError(
            f"the two models share {len(seeds)} seeds; the variance of a difference needs two or more. Train more."
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
    """added (S, n): what each image adds with each seed, of which the mean over both counts."""
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
    """p values of many claims -> adjusted ones, in the same order: at most 5 % of such families have a single false
    finding below 0.05 (Holm, Scandinavian Journal of Statistics 1979).
    """
    adjusted, running = [0.0] * len(p), 0.0
    for place, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = running
    return adjusted


def _added(run: Ranks, images: NDArray[np.int64]) -> Floats:
    """Of each chosen image, what it adds to the six R@K: (n, 6), whose mean over images is the R@K in percent.

    An image whose captions are more or fewer than the mean moves the share by its hits beyond that share.
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

"""Confidence intervals: a bootstrap over images, and paired differences between two models.

At 1,000 images the standard error of R@1 is 1.3 to 1.6 points, more than many published gains. The five captions of an
image are not five independent samples, so images are drawn with replacement and captions follow their images. Two
models are compared on the same draws: what is hard for both cancels, and the interval of the difference is narrower
than the two intervals would suggest. With several seeds of a model, seeds are drawn too.

Where every resample gives the same R@K (all queries hit, or none, or there is one image) a bootstrap would claim
certainty. There R@K gets Wilson's interval, and a difference of two R@K the one of Agresti and Min (half an image
added to each outcome of a pair; Statistics in Medicine 2005), with the images as samples; the intervals of rSum and
mean R@1 combine those of their terms. Ranks have no upper bound: for them, as for any other quantity, such an
interval is a point, which says nothing of other images. The difference of a model and itself is 0.

A resample is stored as the counts of its images, so that a metric of all resamples is one matrix product.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from userlib.arguments import at_least, checked
from userlib.errors import UserError
from userlib.evaluation.checks import Ints, numbers
from userlib.evaluation.metrics import KS, METRICS, chosen_images, recalls
from userlib.evaluation.ranking import Ranks

Floats = NDArray[np.float64]
Edge = Callable[[Floats, int, float], tuple[Floats, Floats]]  # shares, number of samples, z -> both bounds
STILL = 1e-9  # points: a range below this is the rounding error of a constant R@K
BLOCK = 250  # resamples at a time, to bound the memory of the medians
SUMS = {  # the R@K of each sum with their weights
    "rsum": {f"{way}_r{k}": 1.0 for way in ("i2t", "t2i") for k in KS},
    "r1": {"i2t_r1": 0.5, "t2i_r1": 0.5},
}


class Interval(NamedTuple):
    """A value and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


class Difference(Interval):
    """The interval of a difference, which tables print with a sign."""


def bootstrap(
    ranks: Ranks | Sequence[Ranks],
    *,
    images: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Every metric with its percentile interval, by name, of one model or of the mean over several of its seeds.

    images restricts the queries as in `recalls`; only those images are resampled. Raises UserError for runs of
    different images, an empty list of runs, and a level that does not lie between 0 and 1.
    """
    runs = _runs(ranks)
    draw = _Draw(runs, images, resamples, seed)
    return _intervals(draw.value(runs), draw.sample(runs), level, edge=_wilson)


def paired_bootstrap(
    a: Ranks | Sequence[Ranks],
    b: Ranks | Sequence[Ranks],
    *,
    images: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Difference]:
    """Every metric of a minus that of b, with its interval, both on the same draws of images.

    a and b are ranks on the same split, of one run or of several seeds each, over which the mean is taken; the seeds of
    a and b are drawn independently. An interval that contains 0 is inconclusive. Raises UserError as `bootstrap` does.
    """
    left, right = _runs(a), _runs(b)
    draw = _Draw([*left, *right], images, resamples, seed)
    one = draw.value(left), draw.sample(left)
    if _same(left, right):
        return _difference(one, one, level, METRICS, edge=None)
    return _difference(one, (draw.value(right), draw.sample(right)), level, METRICS, edge=_agresti_min)


def compare(
    runs: Mapping[str, Ranks | Sequence[Ranks]],
    differences: Sequence[tuple[str, str]] = (),
    *,
    images: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[dict[str, dict[str, Interval]], dict[tuple[str, str], dict[str, Difference]]]:
    """A whole study at once: `bootstrap` of each model and `paired_bootstrap` of each (a, b), all on the same draws.

    runs: name -> the runs of a model. Each run is resampled once, however many differences it is part of, and median
    ranks, which take most of the time, are left out. Raises UserError for no models, for a difference with a name that
    is not in runs, and as `bootstrap` does.
    """
    _check_study(runs, differences)
    by_name = {name: _runs(ranks) for name, ranks in runs.items()}
    draw = _Draw([run for group in by_name.values() for run in group], images, resamples, seed, medians=False)
    drawn = {name: (draw.value(part), draw.sample(part)) for name, part in by_name.items()}
    itself = {(a, b) for a, b in differences if _same(by_name[a], by_name[b])}
    return _all_intervals(drawn, differences, level, METRICS, edges=True, itself=itself)


@checked
def means(
    runs: Mapping[str, Sequence[ArrayLike]],
    differences: Sequence[tuple[str, str]] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[dict[str, Interval], dict[tuple[str, str], Difference]]:
    """`compare` for the mean of one number per image: runs is name -> runs, each (N,).

    Runs of the same numbers are the same. Raises UserError where two runs differ in the number of images, or have none,
    for what is no finite number, and as `compare` does.
    """
    _check_study(runs, differences)
    by_name = {name: _numbers(name, part) for name, part in runs.items()}
    draw = _Means([run for group in by_name.values() for run in group], resamples, seed)
    drawn = {
        name: (np.mean([run.mean(keepdims=True) for run in part], axis=0), draw.sample(part))
        for name, part in by_name.items()
    }
    drawn_from = {name: sorted(run.tobytes() for run in part) for name, part in by_name.items()}
    itself = {(a, b) for a, b in differences if drawn_from[a] == drawn_from[b]}
    values, apart = _all_intervals(drawn, differences, level, ("mean",), itself=itself)
    return {k: v["mean"] for k, v in values.items()}, {k: v["mean"] for k, v in apart.items()}


@checked
def _numbers(name: str, runs: Sequence[ArrayLike]) -> list[Floats]:
    """The runs of one model as arrays."""
    if not len(runs):
        raise UserError(
            f"{name!r} has no run whose numbers could be resampled. Give at least one, or leave it out."
        )
    return [numbers(f"the numbers of {name!r}", run, "fiub").astype(np.float64) for run in runs]


def _check_study(runs: Mapping[str, object], differences: Sequence[tuple[str, str]]) -> None:
    if not runs:
        raise UserError("there are no models to compare: runs is empty. Give the runs of at least one model.")
    if missing := [name for pair in differences for name in pair if name not in runs]:
        raise UserError(
            f"a difference names {missing[0]!r}, which is not among the models: {', '.join(runs)}. Give its runs, or "
            "leave the difference out."
        )


def _all_intervals(
    drawn: Mapping[str, tuple[Floats, "_Sample"]],
    differences: Sequence[tuple[str, str]],
    level: float,
    names: Sequence[str],
    *,
    edges: bool = False,
    itself: Collection[tuple[str, str]] = (),
) -> tuple[dict[str, dict[str, Interval]], dict[tuple[str, str], dict[str, Difference]]]:
    """drawn: for each model its value (metrics,) and its sample; itself: the differences of a model and itself."""
    one, two = (_wilson, _agresti_min) if edges else (None, None)
    values = {
        name: _intervals(value, sample, level, names, edge=one) for name, (value, sample) in drawn.items()
    }
    apart = {
        (a, b): _difference(drawn[a], drawn[a], level, names, edge=None)
        if (a, b) in itself
        else _difference(drawn[a], drawn[b], level, names, edge=two)
        for a, b in differences
    }
    return values, apart


class _Sample(NamedTuple):
    """The metrics of S resamples of n images: drawn (S, metrics) of images and seeds, still (S, metrics) of images."""

    drawn: Floats
    still: Floats
    n: int


class _Draw:
    """One set of draws: weights (S, n), how often each of n images is in each of S resamples."""

    @checked
    def __init__(
        self,
        runs: Sequence[Ranks],
        images: ArrayLike | None,
        resamples: int,
        seed: int,
        *,
        medians: bool = True,
    ) -> None:
        first = runs[0]
        if any(not np.array_equal(run.caption_to_image, first.caption_to_image) for run in runs):
            raise UserError(
                "these ranks are of different images or captions; rank both models on the same split."
            )
        at_least("resamples", resamples, 1)
        at_least("seed", seed, 0)
        self.images = chosen_images(images, len(first.i2t))
        self.rows = np.flatnonzero(np.isin(first.caption_to_image, self.images))
        place = np.zeros(len(first.i2t), np.int64)
        place[self.images] = np.arange(len(self.images))
        self.owner = place[first.caption_to_image[self.rows]]  # the column of each chosen caption's image
        self.rng = np.random.default_rng(seed)
        self.n, self.medians = len(self.images), medians
        drawn = self.rng.integers(self.n, size=(resamples, self.n)) + self.n * np.arange(resamples)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=resamples * self.n)
        self.weights = counts.reshape(resamples, self.n).astype(np.float64)  # once, not at each product

    def value(self, runs: Sequence[Ranks]) -> Floats:
        """The metrics without resampling, mean over runs -> (metrics,)."""
        metrics = [recalls(run, images=self.images) for run in runs]
        mean: Floats = np.asarray([[getattr(one, name) for name in METRICS] for one in metrics]).mean(0)
        return mean

    def sample(self, runs: Sequence[Any]) -> _Sample:
        """The metrics of every resample, mean over resampled runs."""
        each = np.stack([self._one(run) for run in runs])  # (runs, S, metrics)
        mean: Floats = each.mean(0)
        if len(runs) == 1:
            return _Sample(mean, mean, self.n)
        drawn = self.rng.integers(len(runs), size=(len(runs), len(self.weights), 1))
        offset = np.take_along_axis(each, drawn, 0).mean(0) - mean
        # the mean of n draws from n values has (n - 1) / n of the right variance, two thirds at n = 3
        return _Sample(mean + offset * np.sqrt(len(runs) / (len(runs) - 1)), mean, self.n)

    def _one(self, run: Ranks) -> Floats:
        """The metrics of one run in every resample -> (S, metrics), in the order of METRICS."""
        i2t = self._direction(run.i2t[self.images], np.arange(self.n))
        t2i = self._direction(run.t2i[self.rows], self.owner)
        rsum = i2t[:, :3].sum(1) + t2i[:, :3].sum(1)
        return np.column_stack([i2t, t2i, rsum, (i2t[:, 0] + t2i[:, 0]) / 2])

    def _direction(self, ranks: Ints, owner: Ints) -> Floats:
        """ranks (q,), owner (q,) the image of each query -> (S, 5): R@K, median and mean rank."""
        per_image = [np.ones(len(ranks)), *(100.0 * (ranks <= k) for k in KS), ranks]
        totals = np.stack([np.bincount(owner, value, self.n) for value in per_image], 1)  # (n, 5)
        sums = self.weights @ totals  # (S, 5)
        means = sums[:, 1:] / sums[:, :1]
        if not self.medians:
            return np.column_stack([means[:, :3], np.full(len(means), np.nan), means[:, 3]])
        order = np.argsort(ranks, kind="stable")
        medians = [self._medians(ranks[order], owner[order], s) for s in range(0, len(self.weights), BLOCK)]
        return np.column_stack([means[:, :3], np.concatenate(medians), means[:, 3]])

    def _medians(self, ranks: Ints, owner: Ints, start: int) -> Floats:
        """ranks (q,) ascending -> the median of each resample of a block (block,), each query weighted as its image."""
        below = self.weights[start : start + BLOCK, owner].cumsum(1)  # (block, q)
        last = below[:, -1:] - 1
        low, high = ((below <= np.floor(place)).sum(1) for place in (last / 2, (last + 1) / 2))
        middle: Floats = (ranks[low] + ranks[high]) / 2
        return middle


class _Means(_Draw):
    """The same draws for one number per image in place of ranks; runs are (n,)."""

    def __init__(self, runs: Sequence[Floats], resamples: int, seed: int) -> None:
        shapes = {run.shape for run in runs}
        if len(shapes) != 1 or runs[0].ndim != 1 or len(runs[0]) == 0:
            raise UserError(
                f"the runs have the shapes {sorted(shapes)}; give (N,) of the same N images for each."
            )
        if not all(np.isfinite(run).all() for run in runs):
            raise UserError(
                "a run holds NaN or an infinite number, which has no mean; leave that image out of all."
            )
        count = len(runs[0])
        one = np.ones(count, np.int64)
        nothing = Ranks(one, one, np.arange(count))  # every image, one caption each
        super().__init__([nothing], None, resamples, seed, medians=False)

    def _one(self, run: Any) -> Floats:
        return (self.weights @ run / self.n)[:, None]  # type: ignore[no-any-return]


@checked
def _runs(ranks: Ranks | Sequence[Ranks]) -> list[Ranks]:
    runs = [ranks] if isinstance(ranks, Ranks) else list(ranks)
    if not runs:
        raise UserError("there are no ranks to resample: the list of runs is empty. Give at least one run.")
    return runs


def _same(a: Sequence[object], b: Sequence[object]) -> bool:
    """Whether these are the same objects in any order, whose difference is exactly 0."""
    return sorted(map(id, a)) == sorted(map(id, b))


def _wilson(share: Floats, n: int, z: float) -> tuple[Floats, Floats]:
    """The bounds of Wilson's interval of a share of n."""
    middle = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def _agresti_min(gap: Floats, n: int, z: float) -> tuple[Floats, Floats]:
    """The bounds of a difference of two shares of the same n samples, all of whose discordant pairs favour one side."""
    half = z * np.sqrt(n * np.abs(gap) + 1 - (n * gap) ** 2 / (n + 2)) / (n + 2)
    middle = n * gap / (n + 2)
    return (middle - half).clip(-1, 1), (middle + half).clip(-1, 1)


def _difference(
    a: tuple[Floats, _Sample],
    b: tuple[Floats, _Sample],
    level: float,
    names: Sequence[str],
    *,
    edge: Edge | None,
) -> dict[str, Difference]:
    """The intervals of a - b; a and b: the value and the sample of a model, on the same draws."""
    (x, left), (y, right) = a, b
    sample = _Sample(left.drawn - right.drawn, left.still - right.still, left.n)
    return {
        name: Difference(*one) for name, one in _intervals(x - y, sample, level, names, edge=edge).items()
    }


@checked
def _intervals(
    value: Floats, sample: _Sample, level: float, names: Sequence[str] = METRICS, *, edge: Edge | None = None
) -> dict[str, Interval]:
    """value (metrics,) -> the intervals by name, without metrics that were not drawn (NaN). edge: the interval of an
    R@K that is equal in all resamples of the images.
    """
    if not 0 < level < 1:
        raise UserError(f"level is {level}; it must lie between 0 and 1, such as 0.95.")
    low, high = np.quantile(sample.drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    if edge is not None:
        low, high = _widened(value, low, high, sample, level, edge)
    return {
        name: Interval(float(value[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(names)
        if not np.isnan(low[i])
    }


def _widened(
    value: Floats, low: Floats, high: Floats, sample: _Sample, level: float, edge: Edge
) -> tuple[Floats, Floats]:
    """The bounds (metrics,) where some R@K do not vary: an R@K takes the bounds of `edge`; in a sum the bounds of such
    terms add up, and combine with the bootstrap of seeds and other terms as the root of the sum of squares.
    """
    place = {name: i for i, name in enumerate(METRICS)}
    still = np.ptp(sample.still, axis=0) < STILL
    z = NormalDist().inv_cdf((1 + level) / 2)
    hits = np.isin(METRICS, list(SUMS["rsum"]))
    bounds = edge(np.where(hits, value, 0.0) / 100, sample.n, z)
    down, up = (np.abs(100 * end - value) for end in bounds)  # distance of the bounds from an R@K
    terms = {name: {name: 1.0} for name in SUMS["rsum"]} | SUMS
    low, high = low.copy(), high.copy()
    for name, weights in terms.items():
        moved = [(place[part], weight) for part, weight in weights.items() if still[place[part]]]
        if moved:
            i = place[name]
            below, above = (sum(weight * reach[part] for part, weight in moved) for reach in (down, up))
            low[i] = value[i] - np.hypot(max(value[i] - low[i], 0.0), below)
            high[i] = value[i] + np.hypot(max(high[i] - value[i], 0.0), above)
            most = 100 * sum(weights.values())
            low[i], high[i] = max(low[i], 0.0 if edge is _wilson else -most), min(high[i], most)
    return low, high

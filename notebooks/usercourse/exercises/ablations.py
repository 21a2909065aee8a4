"""Exercises of notebook 11: a paired interval, one with seeds, a verdict, how many seeds, chance findings among many
claims, a gain out of nothing.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from usercourse.checks import Exercise

LEVEL = 0.95


def _means(hits: Any, draws: Any) -> Any:
    return np.asarray(hits)[draws].mean(1)


def _ends(sample: Any) -> tuple[float, float]:
    low, high = np.quantile(sample, [0.025, 0.975])
    return float(low), float(high)


def paired_gain(a: Any, b: Any, draws: Any) -> Any:
    return _ends(_means(a, draws) - _means(b, draws))


def _other_draws(a: Any, b: Any, draws: Any) -> Any:
    return _ends(_means(a, draws) - _means(b, draws[::-1]))


def _ends_subtracted(a: Any, b: Any, draws: Any) -> Any:
    (low_a, high_a), (low_b, high_b) = _ends(_means(a, draws)), _ends(_means(b, draws))
    return low_a - low_b, high_a - high_b


def _worst_and_best(a: Any, b: Any, draws: Any) -> Any:
    (low_a, high_a), (low_b, high_b) = _ends(_means(a, draws)), _ends(_means(b, draws))
    return low_a - high_b, high_a - low_b


def _ninety(a: Any, b: Any, draws: Any) -> Any:
    low, high = np.quantile(_means(a, draws) - _means(b, draws), [0.05, 0.95])
    return float(low), float(high)


def _turned(a: Any, b: Any, draws: Any) -> Any:
    return paired_gain(b, a, draws)


# --- paired_seeds: images and seeds drawn --------------------------------------------------------------------
def paired_seeds(a: Any, b: Any, images: Any, runs_a: Any, runs_b: Any) -> Any:
    return _ends(_resampled(a, images, runs_a) - _resampled(b, images, runs_b))


def _resampled(
    hits: Any, images: Any, runs: Any, factor: Callable[[int], float] = lambda n: math.sqrt(n / (n - 1))
) -> Any:
    """hits (n, N), images (S, N), runs (S, n) -> (S,): the mean of each resample."""
    n = len(hits)
    means = np.asarray(hits)[:, images].mean(-1).T  # (S, n)
    drawn = np.take_along_axis(means, np.asarray(runs), 1).mean(1)
    return means.mean(1) + (factor(n) if n > 1 else 1.0) * (drawn - means.mean(1))


def _with_factor(factor: Callable[[int], float]) -> Any:
    return lambda a, b, images, runs_a, runs_b: _ends(
        _resampled(a, images, runs_a, factor) - _resampled(b, images, runs_b, factor)
    )


def _seeds_left_out(a: Any, b: Any, images: Any, runs_a: Any, runs_b: Any) -> Any:
    return paired_gain(np.mean(a, 0), np.mean(b, 0), images)


def _images_left_out(a: Any, b: Any, images: Any, runs_a: Any, runs_b: Any) -> Any:
    return paired_seeds(a, b, np.broadcast_to(np.arange(a.shape[1]), images.shape), runs_a, runs_b)


def _seeds_of_one_draw(a: Any, b: Any, images: Any, runs_a: Any, runs_b: Any) -> Any:
    first = (np.broadcast_to(runs[:1], runs.shape) for runs in (runs_a, runs_b))
    return paired_seeds(a, b, images, *first)


def _images_of_one_model(a: Any, b: Any, images: Any, runs_a: Any, runs_b: Any) -> Any:
    return _ends(_resampled(a, images, runs_a) - _resampled(b, images[::-1], runs_b))


def _widened_about_zero(a: Any, b: Any, images: Any, runs_a: Any, runs_b: Any) -> Any:
    def wide(hits: Any, runs: Any) -> Any:
        n = len(hits)
        return _resampled(hits, images, runs, lambda _: 1.0) * (math.sqrt(n / (n - 1)) if n > 1 else 1.0)

    return _ends(wide(a, runs_a) - wide(b, runs_b))


def _seeds_of_each_image(a: Any, b: Any, images: Any, runs_a: Any, runs_b: Any) -> Any:
    """A run of its own for each image drawn, as though the runs of one image were n further images."""

    def pooled(hits: Any, runs: Any) -> Any:
        turned = np.resize(runs, images.shape)
        return hits[turned, images].mean(1)

    return _ends(pooled(a, runs_a) - pooled(b, runs_b))


def _turned_with_seeds(a: Any, b: Any, images: Any, runs_a: Any, runs_b: Any) -> Any:
    return paired_seeds(b, a, images, runs_b, runs_a)


def claim_verdict(low: float, high: float) -> str:
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "inconclusive"


def _by_sign(low: float, high: float) -> str:
    return "supported" if low + high > 0 else "contradicted"


def _unshown_is_false(low: float, high: float) -> str:
    return "supported" if low > 0 else "contradicted"


def _possible_is_true(low: float, high: float) -> str:
    return "supported" if high > 0 else "contradicted"


def _never_false(low: float, high: float) -> str:
    return "supported" if low > 0 else "inconclusive"


def _bounds_decide(low: float, high: float) -> str:
    if low >= 0:
        return "supported"
    return "contradicted" if high <= 0 else "inconclusive"


def chance_findings(n: int, level: float) -> float:
    return float(1 - level**n)


def _number(n: int, level: float) -> float:
    return n * (1 - level)


def _none(n: int, level: float) -> float:
    return float(level**n)


def _all(n: int, level: float) -> float:
    return float((1 - level) ** n)


def _one(n: int, level: float) -> float:
    return 1 - level


def seeds_needed(spread: float, wanted: float) -> int:
    return math.ceil(2 * (1.96 * spread / wanted) ** 2)


def _one_side(spread: float, wanted: float) -> int:
    return math.ceil((1.96 * spread / wanted) ** 2)


def _no_square(spread: float, wanted: float) -> int:
    return math.ceil(1.96 * math.sqrt(2) * spread / wanted)


def _rounded_down(spread: float, wanted: float) -> int:
    return math.floor(2 * (1.96 * spread / wanted) ** 2)


def _standard_error(spread: float, wanted: float) -> int:
    return math.ceil(2 * (spread / wanted) ** 2)


# --- study_gain: a gain out of nothing -----------------------------------------------------------------------
def _gain(of: Callable[[Any, Any, int], Any]) -> Any:
    """The best on val, and what `of` (val, test, best) gives for its gain."""

    def answer(val: Any, test: Any) -> tuple[int, float]:
        best = int(val.mean(1).argmax())
        return best, float(of(val, test, best))

    return answer


study_gain = _gain(lambda val, test, best: test[best].mean() - test[0].mean())
_best_seed = _gain(lambda val, test, best: test[best].max() - test[0].mean())
_best_seeds = _gain(lambda val, test, best: test[best].max() - test[0].max())
_seed_chosen_on_val = _gain(lambda val, test, best: test[best, val[best].argmax()] - test[0].mean())
_value_itself = _gain(lambda val, test, best: test[best].mean())


def _gain_as_it_stood(val: Any, test: Any) -> Any:
    best = int(test.mean(1).argmax())
    return best, float(test[best].max() - test[0].mean())


def _chosen_on_test(val: Any, test: Any) -> Any:
    return study_gain(test, test)


def _chosen_by_one_seed(val: Any, test: Any) -> Any:
    best = int(val.max(1).argmax())
    return best, float(test[best].mean() - test[0].mean())


def _gain_on_val(val: Any, test: Any) -> Any:
    return study_gain(val, val)


def _never_the_baseline(val: Any, test: Any) -> Any:
    best = 1 + int(val[1:].mean(1).argmax())
    return best, float(test[best].mean() - test[0].mean())


def _seeds_and_draws(seed: int, n_a: int, n_b: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    shift = 0.3 * rng.standard_normal((n_a + n_b, 1))  # a run is better or worse on all images
    hard = rng.random(12) + shift
    hits = 100.0 * (rng.random((n_a + n_b, 5, 12)) > hard[:, None]).mean(1)
    draws = (rng.integers(high, size=(301, width)) for high, width in ((12, 12), (n_a, n_a), (n_b, n_b)))
    return hits[:n_a], hits[n_a:], *draws


# in the first the best on val is neither the best on test nor that of the best seed; in the last it is the baseline
VAL = np.array([[50.0, 51.0, 49.0], [53.0, 54.0, 52.0], [56.0, 48.0, 49.0], [51.0, 50.0, 52.0]])
TEST = np.array([[50.5, 49.0, 52.0], [51.0, 50.0, 54.5], [52.0, 47.0, 50.0], [55.0, 54.0, 53.0]])
NONE_BETTER = np.array([[60.0, 62.0], [58.0, 61.5], [59.0, 57.0]])
NONE_BETTER_TEST = np.array([[59.0, 58.5], [57.0, 58.0], [60.5, 60.0]])


def _case(seed: int, pictures: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    hard = rng.random(pictures)
    a = 100.0 * (rng.random((5, pictures)) > hard).mean(0)
    b = 100.0 * (rng.random((5, pictures)) > 0.2 + 0.8 * hard).mean(0)
    return a, b, rng.integers(pictures, size=(301, pictures))


EXERCISES = [
    Exercise(
        name="paired_gain",
        right=paired_gain,
        cases=[_case(0, 40), _case(1, 25)],
        mistakes={
            "Each model has images of its own in yours. Draw once and score both on the same images: only "
            "then does what is hard for both cancel.": _other_draws,
            "The bounds of two intervals do not subtract to the bounds of the difference: a low draw for a need "
            "not be a low draw for b. Subtract first, draw by draw, then take the quantiles.": _ends_subtracted,
            "Worst against best is far too wide: both happen on different draws. Subtract draw by draw, then take "
            "the quantiles.": _worst_and_best,
            "Between the quantiles 0.05 and 0.95 lie 90 %; a 95 % confidence interval leaves 0.025 on either "
            "side.": _ninety,
            "The gain is a - b; yours is b - a.": _turned,
        },
        praise="The library does this for all metrics at once.",
    ),
    Exercise(
        name="paired_seeds",
        right=paired_seeds,
        cases=[_seeds_and_draws(0, 3, 3), _seeds_and_draws(1, 2, 4), _seeds_and_draws(2, 1, 3)],
        mistakes={
            "The square root is missing: resamples of n runs vary too little, by the factor (n - 1) / n in the "
            "variance.": _with_factor(lambda n: 1.0),
            "That makes the interval narrower; the factor before the deviation is sqrt(n / (n - 1)), above "
            "1.": _with_factor(lambda n: math.sqrt((n - 1) / n)),
            "n / (n - 1) is the factor of the variance; a deviation takes its square root.": _with_factor(
                lambda n: n / (n - 1)
            ),
            "No seed is drawn here: every resample takes the mean of all runs.": _seeds_left_out,
            "No image is drawn here: take the mean over the images of the resample.": _images_left_out,
            "Row s of runs_a and runs_b belongs to resample s; here all take the runs of the first.": (
                _seeds_of_one_draw
            ),
            "Each model has images of its own in yours. Row s of images is the draw of both.": _images_of_one_model,
            "The factor widens the deviation from the mean of the runs, not the value itself: m + factor (drawn - "
            "m).": _widened_about_zero,
            "A run is drawn whole, with all its images. A run of its own for each image treats n runs on N images "
            "as n N independent trials, and the seed variance averages out.": _seeds_of_each_image,
            "The gain is a - b; yours is b - a.": _turned_with_seeds,
        },
        praise="This is the interval of every study below.",
    ),
    Exercise(
        name="claim_verdict",
        right=claim_verdict,
        cases=[
            (0.3, 2.1),
            (-1.0, 2.0),
            (-2.5, -0.4),
            (-2.0, 1.0),
            (0.0, 1.5),
            (-1.5, 0.0),
            (0.0, 0.0),
            (1e-9, 3.0),
        ],
        mistakes={
            "The sign of the estimate decides nothing where the interval contains 0: other images or seeds "
            "could reverse "
            "it.": _by_sign,
            "Inconclusive is not the same as contradicted: an interval that contains 0 allows a gain "
            "too.": _unshown_is_false,
            "That part of the interval is above 0 makes a gain possible. The claim is supported where all of it "
            "is.": _possible_is_true,
            "An interval that begins or ends at 0 contains 0, so it is inconclusive: compare with > and "
            "<.": _bounds_decide,
            "Where the whole interval lies below 0 the claim is not inconclusive: it is "
            "contradicted.": _never_false,
        },
        praise="Three verdicts, and none of them needs an opinion.",
    ),
    Exercise(
        name="chance_findings",
        right=chance_findings,
        cases=[(1, 0.95), (8, 0.95), (20, 0.95), (5, 0.9)],
        mistakes={
            "n (1 - level) is the expected number of chance findings; it can exceed 1, so it is not a "
            "probability. First find "
            "the probability that there is none.": _number,
            "That is the probability of no chance finding; you want its complement.": _none,
            "That is the probability that all are chance findings; one is enough.": _all,
            "That is the probability for one claim. With more claims there are more chances.": _one,
        },
        praise="With 20 claims and nothing behind them, two readers in three would find something.",
    ),
    Exercise(
        name="seeds_needed",
        right=seeds_needed,
        cases=[(1.0, 1.0), (0.8, 1.0), (1.0, 0.5), (2.0, 1.5)],
        mistakes={
            "The other model has seeds too, and its seed variance adds to the first one's: the variance of "
            "the difference is 2 "
            "s^2 / n.": _one_side,
            "The standard error of a mean falls with the square root of n, so n grows with the square.": _no_square,
            "One seed fewer than needed is too few: round up.": _rounded_down,
            "A 95 % confidence interval reaches 1.96 standard errors to either side, not one.": _standard_error,
        },
        praise="Half the width takes four times the seeds.",
    ),
    Exercise(
        name="study_gain",
        right=study_gain,
        cases=[(VAL, TEST), (VAL[:, :2], TEST[:, :2]), (NONE_BETTER, NONE_BETTER_TEST)],
        mistakes={
            "That is the function as it stood: the variant is chosen on the images that report it, and its best seed "
            "is compared with the mean seed of the baseline.": _gain_as_it_stood,
            "One of the two is found, the best seed. The other: what selects must not report. The variant is chosen on "
            "test here; choose it on val.": _chosen_on_test,
            "One of the two is found, the selection. The other: the best seed of the choice is compared with the mean "
            "seed of the baseline.": _best_seed,
            "The best seed of each is no fair comparison either: a maximum grows with the number of seeds, and it "
            "says nothing about the next run. Compare means.": _best_seeds,
            "One seed decides here, the one that is best on val by chance. A variant is chosen by the mean of its "
            "seeds.": _chosen_by_one_seed,
            "The gain on val is that of the split that selected: it is too large. Report test.": _gain_on_val,
            "To choose one run on val is no leak, but a single run is compared with a mean then. Take the mean of the "
            "chosen variant's seeds.": _seed_chosen_on_val,
            "The baseline is one of the variants. Where it is the best on val, the choice is 0 and so is the "
            "gain.": _never_the_baseline,
            "That is the R@1 of the choice. The gain is its difference from variant 0.": _value_itself,
        },
        praise="With nothing behind the variants, what it reports is 0 on average.",
    ),
]

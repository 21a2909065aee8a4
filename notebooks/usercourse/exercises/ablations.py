"""Exercises of notebook 11: a paired interval, a verdict, chance findings among many claims, how many seeds."""

import math
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
]

"""Sentences on differences, whatever the sign."""

import pytest

from usercourse.verdicts import describe, outcome
from userlib.evaluation import Interval


@pytest.mark.parametrize(
    "interval, said, word",
    [
        (
            Interval(3.0, 1.0, 5.0),
            "A - B: rSum is 3.0 higher [+1.0, +5.0]; the 95 % confidence interval excludes 0.",
            "higher",
        ),
        (
            Interval(-3.0, -5.0, -1.0),
            "A - B: rSum is 3.0 lower [-5.0, -1.0]; the 95 % confidence interval excludes 0.",
            "lower",
        ),
        (Interval(1.0, -1.0, 3.0), "contains 0, so this is inconclusive.", "inconclusive"),
        (Interval(0.0, 0.0, 0.0), "contains 0, so this is inconclusive.", "inconclusive"),
    ],
)
def test_verdicts_hold_for_every_sign(interval, said, word):
    assert describe("A", "B", interval).endswith(said)
    assert outcome(interval) == word


@pytest.mark.parametrize(
    "name, begins",
    [("the bag", "The bag "), ("m = 0.8", "m = 0.8 "), ("a", "a "), ("GRU", "GRU "), ("mu = 9", "mu = 9 ")],
)
@pytest.mark.parametrize("interval", [Interval(3.0, 1.0, 5.0), Interval(1.0, -1.0, 3.0)])
def test_a_sentence_begins_with_a_capital_or_with_a_letter_of_an_equation(name, begins, interval):
    assert describe(name, "B", interval).startswith(begins)

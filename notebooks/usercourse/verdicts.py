"""Sentences about differences that are right for either sign: higher, lower, or inconclusive."""

import re

from userlib.evaluation import Interval

TELL = "inconclusive"


def describe(name: str, base: str, difference: Interval, *, what: str = "rSum") -> str:
    """A sentence on `difference` = name - base in `what`, with its 95 % confidence interval; inconclusive where that
    contains 0. A name of several words is capitalised, but not one like m = 0.
    """
    value, low, high = difference
    if re.match(r"[a-z]{2,} \w", name):
        name = name[0].upper() + name[1:]
    if low <= 0 <= high:
        return (
            f"{name} - {base}: {value:+.1f} [{low:+.1f}, {high:+.1f}] in {what}; the 95 % confidence interval "
            f"contains 0, so this is {TELL}."
        )
    return (
        f"{name} - {base}: {what} is {abs(value):.1f} {outcome(difference)} [{low:+.1f}, {high:+.1f}]; "
        "the 95 % confidence interval excludes 0."
    )


def outcome(difference: Interval) -> str:
    """One of "higher" and "lower" where the interval excludes 0, else TELL."""
    if difference.low <= 0 <= difference.high:
        return TELL
    return "higher" if difference.value > 0 else "lower"

"""Sentences about differences that stay right whatever sign came out: higher, lower, or inconclusive."""

import re

from userlib.evaluation import Interval

TELL = "inconclusive"


def describe(name: str, base: str, difference: Interval, *, what: str = "rSum") -> str:
    """One sentence on `difference` = name - base in `what`, with its 95 % confidence interval; one that contains 0
    decides nothing. A name of several words gets a capital; m = 0 stays as it is.
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
    """higher, lower, or TELL."""
    if difference.low <= 0 <= difference.high:
        return TELL
    return "higher" if difference.value > 0 else "lower"

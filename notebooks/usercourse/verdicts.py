"""Sentences about differences that hold whatever sign came out: more, less, or cannot tell."""

import re

from userlib.evaluation import Interval

TELL = "these data cannot tell"


def describe(name: str, base: str, difference: Interval, *, what: str = "rSum") -> str:
    """One sentence on `difference` = name less base in `what`, with its interval; an interval that holds zero
    decides nothing. A name of several words gets a capital; m = 0 stays as it is.
    """
    value, low, high = difference
    if re.match(r"[a-z]{2,} \w", name):
        name = name[0].upper() + name[1:]
    if low <= 0 <= high:
        return (
            f"{name} less {base}: {value:+.1f} [{low:+.1f}, {high:+.1f}] in {what}; the interval holds zero, "
            f"so {TELL}."
        )
    more = "more" if value > 0 else "less"
    return f"{name} has {abs(value):.1f} {more} {what} than {base} [{low:+.1f}, {high:+.1f}], clear of zero."


def outcome(difference: Interval) -> str:
    """higher, lower, or TELL."""
    if difference.low <= 0 <= difference.high:
        return TELL
    return "higher" if difference.value > 0 else "lower"

"""Which runs may carry a verdict: those that were long enough, and whose settings were tuned to an inner best."""

from collections.abc import Mapping, Sequence
from typing import Any

GROWTH = 1.0  # percent of rSum on val, over the last quarter of a run
MIN_STEPS = 1500


def growth(curve: Sequence[Mapping[str, float]]) -> float:
    """By how many percent the best rSum on val grew over the last quarter of a run; infinite where nothing was measured
    before it.
    """
    last = max(point["step"] for point in curve)
    before = [point["rsum"] for point in curve if point["step"] <= 0.75 * last]
    if not before or max(before) <= 0:
        return float("inf")
    return 100 * (max(point["rsum"] for point in curve) / max(before) - 1)


def provisional(row: Mapping[str, Any]) -> str | None:
    """Why a stored run carries no verdict yet, as a phrase; None where it may."""
    if row.get("kind") != "trained":
        return None
    curve = row.get("curve") or []
    if not curve or curve[-1]["step"] < MIN_STEPS or growth(curve) >= GROWTH:
        return "runs too short"
    tuning = row.get("tuning")
    if not tuning:
        return "settings not tuned"
    return "settings at a bound of their grid" if tuning["at_bound"] else None

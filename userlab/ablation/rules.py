"""Which runs give a final verdict: those that were long enough, with settings tuned to a value inside their grid."""

from collections.abc import Mapping, Sequence
from typing import Any

GROWTH = 1.0  # percent of rSum on val, over the last quarter of a run
MIN_STEPS = 1500


def growth(curve: Sequence[Mapping[str, float]]) -> float:
    """Growth in percent of the best rSum on val over the last quarter of a run; infinite where there was no evaluation
    before it.
    """
    last = max(point["step"] for point in curve)
    before = [point["rsum"] for point in curve if point["step"] <= 0.75 * last]
    if not before or max(before) <= 0:
        return float("inf")
    return 100 * (max(point["rsum"] for point in curve) / max(before) - 1)


def provisional(row: Mapping[str, Any]) -> str | None:
    """Why a stored run gives no final verdict, as a phrase; None where it does."""
    if row.get("kind") != "trained":
        return None
    curve = row.get("curve") or []
    if not curve or curve[-1]["step"] < MIN_STEPS or growth(curve) >= GROWTH:
        return "runs too short"
    tuning = row.get("tuning")
    if not tuning:
        return "settings not tuned"
    return "settings at a bound of their grid" if tuning["at_bound"] else None

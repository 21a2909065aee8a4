"""One timed case: the library, a reference implementation, and a lower bound."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from userlab.bench.roofline import Machine
from userlab.bench.timing import Side, Times, clock_of, interleaved, ratio, spread


@dataclass(frozen=True)
class Goal:
    """The ratio ours / side should be at most `at_most`; side is "reference" or "limit"."""

    side: str
    at_most: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """The call `ours`, with `reference` and `limit` where given; all three can be called repeatedly.

    reference_is, limit_is: their names for the table. flops, moved: the floating-point operations and bytes that cannot
    be avoided; half: whether the operations are in bf16. scale, reference_scale: factors from the time of the measured
    piece to that of the whole. differs: the largest difference between the results of ours and reference. notes:
    further values, computed after the timing.
    """

    group: str
    name: str
    shapes: str
    ours: Side
    reference: Side | None = None
    reference_is: str = ""
    limit: Side | None = None
    limit_is: str = ""
    flops: float = 0.0
    moved: float = 0.0
    half: bool = False
    scale: float = 1.0
    reference_scale: float = 1.0
    goals: tuple[Goal, ...] = ()
    differs: Callable[[], float] | None = None
    notes: Callable[[], dict[str, Any]] = field(default=dict)


def measured(case: Case, machine: Machine, *, runs: int, device: str = "cpu") -> dict[str, Any]:
    """The row of a case: milliseconds (medians on both clocks, and the spread), ratios, and whether goals are met."""
    sides: dict[str, Side] = {"ours": case.ours}
    if case.reference is not None:
        sides["reference"] = case.reference
    if case.limit is not None:
        sides["limit"] = case.limit
    clock, scales = clock_of(device), {"reference": case.reference_scale}
    times = {
        name: _scaled(readings, scales.get(name, case.scale))
        for name, readings in interleaved(sides, runs=runs, device=device).items()
    }
    row: dict[str, Any] = {
        "group": case.group,
        "case": case.name,
        "shapes": case.shapes,
        "runs": runs,
        "clock": clock,
        "reference_is": case.reference_is,
        "limit_is": case.limit_is,
    }
    for name, readings in times.items():
        low, high = spread(readings.of(clock))
        row[name] = {
            "ms": 1e3 * statistics.median(readings.of(clock)),
            "low": 1e3 * low,
            "high": 1e3 * high,
            "wall_ms": 1e3 * statistics.median(readings.wall),
            "cpu_ms": 1e3 * statistics.median(readings.cpu),
        }
    for other in ("reference", "limit"):
        if other in times:
            row[f"over_{other}"] = ratio(times["ours"], times[other], clock)
    if case.flops or case.moved:
        least = machine.seconds(flops=case.flops, moved=case.moved, half=case.half)
        row["physical_ms"] = 1e3 * least
        row["over_physical"] = row["ours"]["ms"] / (1e3 * least)
    if case.differs is not None:
        row["differs"] = case.differs()
    row["goals"] = [
        {
            "side": goal.side,
            "at_most": goal.at_most,
            "met": bool(row[f"over_{goal.side}"]["median"] <= goal.at_most),
        }
        for goal in case.goals
    ]
    return row | {"notes": case.notes()}


def _scaled(times: Times, factor: float) -> Times:
    return Times(tuple(factor * t for t in times.wall), tuple(factor * t for t in times.cpu))

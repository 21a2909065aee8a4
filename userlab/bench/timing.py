"""Times that can be compared: sides run interleaved, after warm-up, and ratios are taken run by run.

As the sides alternate, other work on the machine slows all of them alike. Both the wall clock and the processor time of
this process, which excludes waiting, are read. With one thread on a CPU the ratios are those of processor time; else
they are those of the wall clock, because threads that wait for each other spin, and because a GPU works while the
processor waits. A GPU is synchronised before a clock is read.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

SHORTEST = 0.02  # seconds of one reading: shorter calls are repeated within it
Side = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds of one call, by the wall clock and of processor time, one value per run."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def of(self, clock: str) -> tuple[float, ...]:
        return self.wall if clock == "wall" else self.cpu


def clock_of(device: str) -> str:
    """The clock that ratios are taken from: "cpu" (processor time) with one thread on a CPU, else "wall"."""
    return "cpu" if device == "cpu" and torch.get_num_threads() == 1 else "wall"


def interleaved(sides: Mapping[str, Side], *, runs: int, device: str = "cpu") -> dict[str, Times]:
    """Calls every side to warm up and to find how often a reading must repeat it, then reads all sides in turn."""
    repeats = {}
    for name, side in sides.items():
        wall, cpu = _read(side, 1, device)
        if wall < 1:  # a longer call has warmed up by then
            wall, cpu = _read(side, 1, device)
        repeats[name] = max(1, math.ceil(SHORTEST / max(cpu if clock_of(device) == "cpu" else wall, 1e-6)))
    readings: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            readings[name].append(_read(side, repeats[name], device))
    return {name: Times(*zip(*each, strict=True)) for name, each in readings.items()}


def _read(side: Side, repeats: int, device: str) -> tuple[float, float]:
    _wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        side()
    _wait(device)
    return (time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def ratio(one: Times, other: Times, clock: str) -> dict[str, float]:
    """The ratio one / other, run by run: its median, and its tenth and ninetieth percentile."""
    each = [a / max(b, 1e-12) for a, b in zip(one.of(clock), other.of(clock), strict=True)]
    low, high = spread(each)
    return {"median": statistics.median(each), "low": low, "high": high}


def spread(values: list[float] | tuple[float, ...]) -> tuple[float, float]:
    """The tenth and the ninetieth percentile."""
    if len(values) < 2:
        return values[0], values[0]
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return tenths[0], tenths[-1]

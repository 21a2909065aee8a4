"""The machine's roofline: bytes copied and floating-point operations per second, as measured now."""

import statistics
from dataclasses import asdict, dataclass

import torch

from userlab.bench.timing import Side, clock_of, interleaved
from userlib.training.preparing import precision_of

COPIED = 2**26  # float32 values, far beyond any cache
SIDE = 2048  # rows and columns of the matrices


@dataclass(frozen=True)
class Machine:
    """bytes_per_s: read plus written. flops_fp32, flops_bf16: operations per second in a matrix product; None where the
    chip has no bf16.
    """

    bytes_per_s: float
    flops_fp32: float
    flops_bf16: float | None

    def seconds(self, *, flops: float = 0.0, moved: float = 0.0, half: bool = False) -> float:
        """The least time of a program with `flops` operations (in bf16 if half) and `moved` bytes."""
        return max(flops / ((half and self.flops_bf16) or self.flops_fp32), moved / self.bytes_per_s)

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


def has_bf16() -> bool:
    """Whether the chip multiplies bf16 itself; without it a product of 2,048 x 2,048 takes a minute."""
    return precision_of("auto") == "bf16"


def measure(device: str = "cpu", *, runs: int = 10, tiny: bool = False) -> Machine:
    """The rates of this machine with torch's present number of threads."""
    count, side = (2**12, 32) if tiny else (COPIED, SIDE)
    source, target = torch.ones(count, device=device), torch.empty(count, device=device)
    square = torch.randn(side, side, device=device)
    half, out = square.bfloat16(), torch.empty_like(square)
    sides: dict[str, Side] = {
        "copy": lambda: target.copy_(source),
        "fp32": lambda: torch.mm(square, square, out=out),
    }
    if has_bf16():
        sides["bf16"] = lambda: half @ half
    clock = clock_of(device)
    times = interleaved(sides, runs=runs, device=device)
    took = {name: statistics.median(readings.of(clock)) for name, readings in times.items()}
    products = 2.0 * side**3
    return Machine(
        8 * count / took["copy"], products / took["fp32"], products / took["bf16"] if "bf16" in took else None
    )

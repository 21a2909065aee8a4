"""What the machine can do at most: bytes copied and multiplications done in a second, measured on the spot."""

import statistics
from dataclasses import asdict, dataclass

import torch

from userlib.bench.timing import clock_of, in_turn

COPIED = 2**26  # float32 numbers: far beyond any cache
SIDE = 2048  # of the matrices


@dataclass(frozen=True)
class Machine:
    """bytes_per_s: read plus written. flops_fp32, flops_bf16: of a matrix product."""

    bytes_per_s: float
    flops_fp32: float
    flops_bf16: float

    def seconds(self, *, flops: float = 0.0, moved: float = 0.0, half: bool = False) -> float:
        """No program that multiplies and moves so much takes less."""
        return max(flops / (self.flops_bf16 if half else self.flops_fp32), moved / self.bytes_per_s)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def measure(device: str = "cpu", *, runs: int = 10, tiny: bool = False) -> Machine:
    """The rates of this machine with the threads that torch has now."""
    count, side = (2**12, 32) if tiny else (COPIED, SIDE)
    source, target = torch.ones(count, device=device), torch.empty(count, device=device)
    square = torch.randn(side, side, device=device)
    half, out = square.bfloat16(), torch.empty_like(square)
    times = in_turn(
        {
            "copy": lambda: target.copy_(source),
            "fp32": lambda: torch.mm(square, square, out=out),
            "bf16": lambda: half @ half,
        },
        runs=runs,
        device=device,
    )
    clock = clock_of(device)
    best = {name: statistics.median(found.of(clock)) for name, found in times.items()}
    return Machine(8 * count / best["copy"], 2 * side**3 / best["fp32"], 2 * side**3 / best["bf16"])

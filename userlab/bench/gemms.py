"""The matrix products of a piece of code, recorded while it runs, and then run alone at the same shapes.

A better program could save no more than the time of a step beyond them.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# the index of the first factor among the arguments
OPERANDS = {"mm": 0, "bmm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1, "addmv": 1, "mv": 0}
Shape = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


class Gemms(TorchDispatchMode):
    """Records the factors (shape, strides, dtype) of every product inside, including backward passes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[tuple[Shape, Shape]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in OPERANDS:
            a, b = args[OPERANDS[name] :][:2]
            self.seen[_shape(a), _shape(b)] += 1
        return func(*args, **(kwargs or {}))


def _shape(x: Tensor) -> Shape:
    return tuple(x.shape), tuple(x.stride()), x.dtype


def gemms_of(fn: Callable[[], object]) -> Gemms:
    """The products of one call of `fn`."""
    noted = Gemms()
    with noted:
        fn()
    return noted


def flops(noted: Gemms) -> int:
    """The floating-point operations of all products: two per multiplication and addition."""
    return sum(
        2 * math.prod(left) * (right[-1] if len(right) > 1 else 1) * count
        for ((left, _, _), (right, _, _)), count in noted.seen.items()
    )


def alone(noted: Gemms, device: str = "cpu") -> Callable[[], None]:
    """A function that computes the same products of random numbers, into preallocated memory."""
    gemms = []
    for (left, right), count in noted.seen.items():
        a, b = _filled(left, device), _filled(right, device)
        gemms.append((a, b, torch.empty_like(torch.matmul(a, b)), count))

    def call() -> None:
        for a, b, out, count in gemms:
            for _ in range(count):
                torch.matmul(a, b, out=out)

    return call


def _filled(shape: Shape, device: str) -> Tensor:
    size, strides, dtype = shape
    reach = 1 + sum((n - 1) * s for n, s in zip(size, strides, strict=True))
    return torch.randn(reach, device=device).to(dtype).as_strided(size, strides)

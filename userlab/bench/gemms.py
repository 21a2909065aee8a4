"""The matrix products of a piece of code, noted while it runs and then run alone at the same shapes.

The time of a step beyond them is what a better program could save.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

OPERANDS = {
    "mm": 0,
    "bmm": 0,
    "addmm": 1,
    "addmm_": 1,
    "baddbmm": 1,
    "addmv": 1,
    "mv": 0,
}  # where the factors begin
Shape = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


class Gemms(TorchDispatchMode):
    """Notes the factors (shape, strides, type) of every product inside, backward passes included."""

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
    """The products of one call of `work`."""
    noted = Gemms()
    with noted:
        fn()
    return noted


def flops(noted: Gemms) -> int:
    """Multiplications and additions of all of them."""
    total = 0
    for ((left, _, _), (right, _, _)), count in noted.seen.items():
        columns = right[-1] if len(right) > 1 else 1
        rows = 1
        for size in left:
            rows *= size
        total += 2 * rows * columns * count
    return total


def alone(noted: Gemms, device: str = "cpu") -> Callable[[], None]:
    """A call that does the same products on random numbers, results into memory that is there already."""
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

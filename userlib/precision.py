"""Float32 for what must not be computed in half precision: similarities, losses, norms and pooling weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor


def to_fp32(x: Tensor) -> Tensor:
    """x as float32, or unchanged where its type is wider."""
    return x.to(fp32_type(x))


def fp32_type(x: Tensor) -> torch.dtype:
    """The type of `to_fp32(x)`."""
    return torch.promote_types(x.dtype, torch.float32)


def autocast_disabled(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off within it."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def full_float32() -> Iterator[None]:
    """Within it matrix products, convolutions and recurrent networks are in true float32: without TF32, which torch
    allows in cuDNN by default, and without bf16 on the CPU. The settings are restored; autocast is not changed.
    """
    known: Any = torch.backends  # their type annotations depend on the version of torch
    backends = [known.cuda.matmul, known.cudnn.conv, known.cudnn.rnn]
    backends += [known.mkldnn.matmul, known.mkldnn.conv, known.mkldnn.rnn]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value

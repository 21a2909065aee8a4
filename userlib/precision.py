"""What must not run in half precision: similarities, losses, unit lengths and pooling weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor


def to_fp32(x: Tensor) -> Tensor:
    """x in fp32, or as it is where it is wider."""
    return x.to(fp32_type(x))


def fp32_type(x: Tensor) -> torch.dtype:
    """The type of `wide`."""
    return torch.promote_types(x.dtype, torch.float32)


def autocast_disabled(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off for what is inside."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def full_float32() -> Iterator[None]:
    """Products, convolutions and recurrent networks in true float32 inside: no TF32, which torch allows cuDNN by
    default, and no bf16 shortcut of the CPU. Restored on leaving. Autocast is left as it is.
    """
    known: Any = torch.backends  # what torch tells of them depends on its version
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

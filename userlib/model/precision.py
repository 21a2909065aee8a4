"""What must not run in half precision: similarities, losses, unit lengths and pooling weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """x in fp32, or as it is where it is wider."""
    return x.to(wide_type(x))


def wide_type(x: Tensor) -> torch.dtype:
    """The type of `wide`."""
    return torch.promote_types(x.dtype, torch.float32)


def unmixed(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off for what is inside. The meta device, which has no numbers, has no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@contextmanager
def full_float32() -> Iterator[None]:
    """Products, convolutions and recurrent networks in true float32 inside: no TF32, which torch allows cuDNN by
    default, and no bf16 shortcut of the CPU. Restored on leaving. Autocast is left as it is.
    """
    of_gpu = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    cpu = torch.backends.mkldnn
    backends = (*of_gpu, cpu.matmul, cpu.conv, cpu.rnn)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value

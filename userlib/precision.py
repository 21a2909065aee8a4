"""Float32 for what must not be computed in half precision: similarities, losses, norms and pooling weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def to_fp32(x: Tensor) -> Tensor:
    """x as float32, or unchanged where its type is wider."""
    return x.to(fp32_type(x))


def fp32_type(x: Tensor) -> torch.dtype:
    """The type of `to_fp32(x)`."""
    return torch.promote_types(x.dtype, torch.float32)


def autocast_disabled(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off within it."""
    return torch.autocast(device.type, enabled=False)


def training_attention(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Forward and backward pass of a training step, in the same way where gradient caching encodes a part again.

    In bf16 on a CPU attention is computed as matrix products, since the backward pass of torch's fused attention takes
    longer than all of theirs there for the tokens of a small image or a caption.
    """
    by_products = precision == "bf16" and device.type == "cpu"
    return sdpa_kernel(SDPBackend.MATH) if by_products else nullcontext()


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

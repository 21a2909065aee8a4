"""What must not run in half precision: similarities, losses, unit lengths and pooling weights."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """x in fp32, or as it is where it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unmixed(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off for what is inside. The meta device, which has no numbers, has no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)

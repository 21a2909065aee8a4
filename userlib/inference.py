"""Forward passes for scores: in evaluation mode, without gradient, in float32, on the device of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from userlib.precision import autocast_disabled, full_float32


def device_of(module: nn.Module) -> torch.device:
    """Where the weights of a module lie; a module without any is on the CPU."""
    parameter = next(iter(module.parameters()), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Within it no dropout, and stored statistics; afterwards each part is in the mode that it had."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    if any(mode for _, mode in modes):
        for module in modules:
            module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def scoring(module: nn.Module) -> Iterator[torch.device]:
    """What a score is computed in, and the device that the inputs go to: evaluation mode, no gradient, true float32
    without autocast around it.
    """
    device = device_of(module)
    with evaluation_mode(module), torch.inference_mode(), full_float32(), autocast_disabled(device):
        yield device

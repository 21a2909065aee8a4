"""Forward passes for scoring: in evaluation mode, without gradient, in float32, on the device of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from userlib.precision import autocast_disabled, full_float32


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's weights; the CPU for a module without any."""
    parameter = next(iter(module.parameters()), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Within it the modules are in evaluation mode; afterwards each of their parts has its previous mode."""
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
    """Within it: evaluation mode, no gradient, true float32 and no autocast. Yields the device for the inputs."""
    device = device_of(module)
    with evaluation_mode(module), torch.inference_mode(), full_float32(), autocast_disabled(device):
        yield device

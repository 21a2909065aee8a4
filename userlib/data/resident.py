"""Keeping training data on the GPU where they fit: they are read from the disk once, and indexed there at each step.

The limit is half of the GPU's free memory, because the model, its optimizer and the activations need the rest. On a
CPU nothing is copied: the system's cache of the mapped file does the same.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from userlib.data.tokens import Features, Rows

SHARE = 0.5  # of the free memory
CHUNK = 512  # images copied at a time: 150 MB of 36 x 2048 float32
ARRAYS = ("tokens", "hflip", "guide")


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU; 0 for a CPU, to which nothing is copied."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def size_of(features: "Features") -> int:
    """Bytes of the arrays that a training batch is read from."""
    return sum(int(np.prod(array.shape)) * array.dtype.itemsize for _, array in arrays_of(features))


def arrays_of(features: "Features") -> Iterator[tuple[str, "np.ndarray | Rows"]]:
    """The arrays that are not None, with their names."""
    for name in ARRAYS:
        if (array := getattr(features, name)) is not None:
            yield name, array


def copied(array: "np.ndarray | Rows", device: torch.device) -> Tensor:
    """The array as a tensor of its own dtype on the device, copied in chunks."""
    first = torch.from_numpy(np.array(array[:1]))
    held = torch.empty(array.shape, dtype=first.dtype, device=device)
    for start in range(0, len(array), CHUNK):
        held[start : start + CHUNK] = torch.from_numpy(np.array(array[start : start + CHUNK])).to(device)
    return held

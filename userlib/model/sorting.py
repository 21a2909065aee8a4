"""Sorts each channel of a set of vectors in descending order, with gradient: what generalised pooling weights."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from userlib.precision import to_fp32

LARGE = 10**5  # values; fewer are sorted before a second thread has started
BLOCK = 2**15  # values at a time: few enough to stay in the processor's cache while they are sorted
BEHIND = 2.0**128  # above every float32, with zeros in the bits that `_sort` writes places into
FAST_ARGSORT = torch.backends.cpu.get_cpu_capability().startswith("AVX512")  # numpy's argsort uses it


def descending(vectors: Tensor, mask: Tensor | None = None) -> Tensor:
    """vectors (B,N,E), mask (B,N) True where there is a vector -> (B,E,N), float32 or wider, with gradient: the values
    of each channel in descending order, followed by zeros for the vectors that the mask leaves out.

    On a CPU numpy sorts float32, in as many threads as torch uses; torch's own sort takes several times as long.
    """
    vectors = to_fp32(vectors)
    if vectors.device.type == "cpu" and vectors.dtype == torch.float32:
        return _Sorted.apply(vectors, mask)  # type: ignore[no-any-return]
    channels = vectors.transpose(1, 2).contiguous()  # the sort runs over contiguous values
    if mask is None:
        return channels.sort(dim=-1, descending=True).values
    ordered = channels.masked_fill(~mask.unsqueeze(1), -math.inf).sort(dim=-1, descending=True).values
    return ordered.masked_fill(behind(mask).unsqueeze(1), 0.0)


def behind(mask: Tensor) -> Tensor:
    """mask (B,N) -> (B,N), True at the ranks beyond the size of each set."""
    return torch.arange(mask.shape[1], device=mask.device) >= mask.sum(1, keepdim=True)


def _sort(numbers: NDArray[Any], places: NDArray[np.int64] | None) -> None:
    """Sorts the last axis in place, ascending; places (int64, same shape) receive the previous position of each value.

    Without AVX-512, numpy's argsort takes several times as long as its sort. A float32 converted to float64 has 29
    unused bits: its position is written into them, and a single sort moves both. Rounding to float32 removes it again.
    """
    if places is None:
        numbers.sort(axis=-1)
    elif numbers.dtype == np.float32:
        places[:] = numbers.argsort(axis=-1)
        numbers.sort(axis=-1)
    else:
        size = numbers.shape[-1]
        bits, low = numbers.view(np.int64), np.int64((1 << (size - 1).bit_length()) - 1)
        bits |= np.arange(size)
        numbers.sort(axis=-1)
        np.bitwise_and(bits, low, out=places)


class _Sorted(torch.autograd.Function):
    """`descending` of finite float32 on a CPU, in blocks that stay in the cache."""

    @staticmethod
    def forward(ctx, vectors: Tensor, mask: Tensor | None) -> Tensor:  # type: ignore[no-untyped-def]
        count, size, width = vectors.shape
        ordered = torch.empty(count, width, size)
        order = torch.empty(count, width, size, dtype=torch.int64) if ctx.needs_input_grad[0] else None
        given, target, places = vectors.numpy(), ordered.numpy(), None if order is None else order.numpy()
        absent, beyond = (None, None) if mask is None else ((~mask).numpy(), behind(mask).numpy())
        packed = order is not None and not FAST_ARGSORT
        largest, step = BEHIND if packed else np.inf, max(1, BLOCK // max(1, size * width))

        def sort(first: int, last: int) -> None:
            memory = np.empty((step, width, size), np.float64 if packed else np.float32)
            for begin in range(first, last, step):
                part = slice(begin, min(begin + step, last))
                rising = memory[: part.stop - begin]
                np.copyto(rising, given[part].transpose(0, 2, 1))
                np.negative(rising, out=rising)
                if absent is not None:
                    np.copyto(rising, largest, where=absent[part, None])
                _sort(rising, None if places is None else places[part])
                if beyond is not None:
                    np.copyto(rising, -0.0, where=beyond[part, None])
                np.negative(rising, out=target[part], casting="same_kind")

        threads = min(count, torch.get_num_threads()) if vectors.numel() > LARGE else 1
        cuts = [count * i // threads for i in range(threads + 1)]
        if threads == 1:
            sort(0, count)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(sort, cuts[:-1], cuts[1:]))
        if order is not None:
            ctx.save_for_backward(order, mask)
        return ordered

    @staticmethod
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        order, mask = ctx.saved_tensors
        of_channels = torch.empty(order.shape, dtype=grad_output.dtype).scatter_(-1, order, grad_output)
        of_vectors = of_channels.transpose(1, 2).contiguous()
        return of_vectors if mask is None else of_vectors.masked_fill_(~mask.unsqueeze(-1), 0.0), None

"""The numbers of a set, channel by channel, from large to small: what the generalised pooling operator weighs."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from userlib.precision import to_fp32

LARGE = 10**5  # numbers; fewer are sorted before a second thread has begun
BLOCK = 2**15  # numbers at once: few enough to stay in the cache until they are sorted
BEHIND = 2.0**128  # above every float32, and its last bits are zero
FAST_ARGSORT = torch.backends.cpu.get_cpu_capability().startswith("AVX512")  # numpy's


def descending(vectors: Tensor, mask: Tensor | None = None) -> Tensor:
    """vectors (B,N,E), mask (B,N) True where there is a vector -> (B,E,N), float32 or wider, with gradient: each
    channel's numbers from large to small, then zeros in place of what the mask leaves out.

    On a CPU numpy sorts, which takes a fraction of the time of torch's sort, in as many threads as torch has.
    """
    vectors = to_fp32(vectors)
    if vectors.device.type == "cpu" and vectors.dtype == torch.float32:
        return _Sorted.apply(vectors, mask)  # type: ignore[no-any-return]
    channels = vectors.transpose(1, 2).contiguous()  # the sort runs over contiguous numbers
    if mask is None:
        return channels.sort(dim=-1, descending=True).values
    ordered = channels.masked_fill(~mask.unsqueeze(1), -math.inf).sort(dim=-1, descending=True).values
    return ordered.masked_fill(behind(mask).unsqueeze(1), 0.0)


def behind(mask: Tensor) -> Tensor:
    """mask (B,N) -> (B,N), True for the ranks that its sets, sorted, do not reach."""
    return torch.arange(mask.shape[1], device=mask.device) >= mask.sum(1, keepdim=True)


def _sort(numbers: NDArray[Any], places: NDArray[np.int64] | None) -> None:
    """Sorts the last axis in place; places (int64, the same shape) take where each number stood.

    Without AVX-512, to find their order costs numpy several times what sorting them does. A float32 that was made a
    float64 has 29 bits to spare: its place is written there, and one sort moves both. Rounding takes it off again.
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
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        order, mask = ctx.saved_tensors
        of_channels = torch.empty(order.shape, dtype=slope.dtype).scatter_(-1, order, slope)
        of_vectors = of_channels.transpose(1, 2).contiguous()
        return of_vectors if mask is None else of_vectors.masked_fill_(~mask.unsqueeze(-1), 0.0), None

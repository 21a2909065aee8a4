"""Pools a set of vectors into one: mean, max, the generalised pooling operator (GPO), and others by name.

GPO: Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding", CVPR 2021.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from userlib.arguments import checked, one_of, positive
from userlib.errors import UserError
from userlib.model.bigru import bigru, padded_bigru
from userlib.model.layers import check_set
from userlib.model.neighbours.esa import ESAPool
from userlib.model.neighbours.views import ViewPool
from userlib.model.sorting import descending
from userlib.precision import autocast_disabled, fp32_type


def mean_pool(vectors: Tensor, mask: Tensor | None = None) -> Tensor:
    """vectors (B,N,E), mask (B,N) True where there is a vector -> (B,E), float32 or wider; zero for an empty set."""
    check_set(vectors, mask)
    if mask is None:
        return vectors.mean(1, dtype=fp32_type(vectors))
    there = vectors.masked_fill(~mask.unsqueeze(-1), 0.0)
    return there.sum(1, dtype=fp32_type(vectors)) / mask.sum(1, keepdim=True).clamp(min=1)


def max_pool(vectors: Tensor, mask: Tensor | None = None) -> Tensor:
    """vectors (B,N,E), mask (B,N) -> (B,E), the largest value of each channel; zero for an empty set."""
    check_set(vectors, mask)
    if mask is None:
        return vectors.amax(1)
    vectors = vectors.masked_fill(~mask.unsqueeze(-1), -math.inf)
    return vectors.amax(1).masked_fill(~mask.any(1, keepdim=True), 0.0)


class MeanPool(nn.Module):
    """`mean_pool` as a module."""

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        return mean_pool(vectors, mask)


class MaxPool(nn.Module):
    """`max_pool` as a module."""

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        return max_pool(vectors, mask)


def position_codes(
    count: int, width: int, *, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Sinusoidal codes of the positions 0..count-1 -> (count, width): sines in the even columns, cosines in the
    odd. Raises UserError for an odd width.
    """
    if width % 2:
        raise UserError(f"the width of position codes is {width}; it must be even: a sine and a cosine each.")
    positions = torch.arange(count, device=device, dtype=dtype).unsqueeze(1)
    even = torch.arange(0, width, 2, device=device, dtype=dtype)
    angles = positions * torch.exp(even * (-math.log(10000.0) / width))  # (count, width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _run(codes: Tensor) -> Callable[[nn.GRU, Tensor, Tensor], Tensor]:
    """The implementation of the BiGRU for the device of the codes."""
    return bigru if codes.device.type == "cpu" else padded_bigru


class GPO(nn.Module):
    """Sorts each channel over the set in descending order and takes the sum over ranks with learned weights.

    The weights come from a BiGRU over position codes and depend on the size of the set alone. With a mask they are
    computed for every size up to N, so that the host need not wait for the sizes of a batch. Where N is above `MANY`
    and the batch has fewer than N sets, they are computed for the size of each set: for every size, a query of 2,500
    words would take gigabytes. Raises UserError for a temperature that is not above 0.
    """

    MANY = 256

    @checked
    def __init__(self, *, code_width: int = 32, hidden: int = 32, temperature: float = 0.1) -> None:
        super().__init__()
        positive("GPO's temperature", temperature)
        self.code_width, self.temperature = code_width, temperature
        self.gru = nn.GRU(code_width, hidden, batch_first=True, bidirectional=True)
        self.score = nn.Linear(hidden, 1, bias=False)

    def full(self, count: int) -> Tensor:
        """Weights of the ranks of a set of `count` vectors -> (count,)."""
        codes = self._codes(count).unsqueeze(0)
        with autocast_disabled(codes.device):
            states = _run(codes)(self.gru, codes, torch.full((1,), count, device=codes.device))
            return self._scores(states)[0].softmax(-1)

    def weights(self, longest: int, sizes: Tensor | None = None) -> Tensor:
        """Weights of the ranks for sizes (U,), by default 1..longest -> (U, longest), zero beyond the size."""
        ranks = torch.arange(longest, device=self.score.weight.device)
        sizes = ranks + 1 if sizes is None else sizes
        codes = self._codes(longest).expand(len(sizes), -1, -1)
        with autocast_disabled(codes.device):
            scores = self._scores(_run(codes)(self.gru, codes, sizes))
            return scores.masked_fill(ranks >= sizes.unsqueeze(1), -math.inf).softmax(-1)

    def _codes(self, count: int) -> Tensor:
        weight = self.score.weight
        return position_codes(count, self.code_width, device=weight.device, dtype=weight.dtype)

    def _scores(self, states: Tensor) -> Tensor:
        """states (U, N, 2H) of both directions -> (U, N), before the softmax."""
        forward, backward = states.chunk(2, dim=-1)
        scores: Tensor = self.score((forward + backward) / 2).squeeze(-1) / self.temperature
        return scores

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """vectors (B,N,E), mask (B,N) True where there is a vector -> (B,E), float32 or wider."""
        check_set(vectors, mask)
        count, ordered = vectors.shape[1], descending(vectors, mask)  # (B, E, N)
        with autocast_disabled(vectors.device):
            if mask is None:
                return ordered @ self.full(count).to(ordered.dtype)
            sizes = mask.sum(1).clamp(min=1)
            if count > self.MANY and len(sizes) < count:
                own = self.weights(count, sizes)  # (B, N)
            else:
                own = self.weights(count)[sizes - 1]  # of (N, N)
            return torch.einsum("ben,bn->be", ordered, own.to(ordered.dtype))


KINDS: Mapping[str, Callable[[int], nn.Module]] = {
    "mean": lambda width: MeanPool(),
    "max": lambda width: MaxPool(),
    "gpo": lambda width: GPO(),
    "esa": ESAPool,
    "views": ViewPool,
}


def make_pooling(name: str, width: int = 0) -> nn.Module:
    """mean | max | gpo | esa | views; the last two need the vectors' width. Raises UserError for an unknown name."""
    one_of("pooling", name, tuple(KINDS))
    return KINDS[name](width)

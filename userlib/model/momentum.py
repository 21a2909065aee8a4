"""Momentum copies: key encoders that follow the query encoders slowly (He et al., MoCo, CVPR 2020)."""

import copy
import math
from itertools import zip_longest
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from userlib.arguments import between, checked
from userlib.errors import UserError

M_co = TypeVar("M_co", bound=nn.Module, covariant=True)


def momentum_for(steps: int) -> float:
    """m = max(0, min(0.999, 1 - 20 / steps)) for a run of that many steps: an average over a twentieth of it."""
    return max(0.0, min(0.999, 1.0 - 20.0 / max(steps, 1)))


def half_life(m: float) -> float:
    """Steps after which the share of a query weight in the copy has halved: log(1/2) / log(m)."""
    return math.inf if m >= 1 else 0.0 if m <= 0 else math.log(0.5) / math.log(m)


@torch.no_grad()
@checked
def update(copied: nn.Module, source: nn.Module, m: float) -> None:
    """theta_k <- m theta_k + (1 - m) theta_q in the type of the copy, for all weights that learn; buffers (BatchNorm
    statistics) are copied, frozen weights left alone.

    A copy in bf16 or fp16 would fall behind: moving from 0 towards a constant 0.5 with m = 0.999 for 3000 steps
    reaches 0.475 in fp32, 0.366 in fp16 and 0.250 in bf16. Raises UserError where m does not lie between 0 and 1, and
    where the shapes of the two differ.
    """
    between("the momentum", m, 0, 1)
    _check_shapes(copied, source)
    pairs = zip(copied.parameters(), source.parameters(), strict=True)
    learning = [(key, query.detach()) for key, query in pairs if query.requires_grad]
    keys: list[Tensor] = [key for key, _ in learning]
    if keys:
        torch._foreach_lerp_(keys, [query.to(key.dtype) for key, query in learning], 1.0 - m)
    for kept, now in zip(copied.buffers(), source.buffers(), strict=True):
        kept.copy_(now)


def _check_shapes(copied: nn.Module, source: nn.Module) -> None:
    """Raises UserError where the weights and buffers of the two differ in number or shape."""
    ours, theirs = ([one.shape for one in (*m.parameters(), *m.buffers())] for m in (copied, source))
    if ours != theirs:
        a, b = next(pair for pair in zip_longest(ours, theirs) if pair[0] != pair[1])
        said = " and ".join(
            "no further one" if one is None else f"one of the shape {tuple(one)}" for one in (a, b)
        )
        raise UserError(
            f"the momentum encoder has {len(ours)} weights and buffers and the encoder {len(theirs)}; the first that "
            f"differ are {said}. Give the encoder that it is a copy of."
        )


class MomentumEncoder(nn.Module, Generic[M_co]):
    """A copy of an encoder in fp32 that has no gradient and is always in evaluation mode.

    In evaluation mode there is no dropout and BatchNorm uses its stored statistics, so that the same input always
    gives the same key. (The authors' release runs one key encoder with dropout and the other without.)
    """

    def __init__(self, encoder: M_co) -> None:
        super().__init__()
        self.encoder: M_co = copy.deepcopy(encoder).float().requires_grad_(False).eval()
        self._copied: dict[int, tuple[int, int]] = {}

    def train(self, mode: bool = True) -> "MomentumEncoder[M_co]":
        """Stays in evaluation mode, whatever the model around it does."""
        return super().train(False)

    def copy_from(self, encoder: nn.Module) -> None:
        """Copies all parameters and buffers of the encoder, frozen ones included. Raises UserError for other shapes."""
        _check_shapes(self.encoder, encoder)
        self.encoder.load_state_dict(encoder.state_dict())

    def update_momentum(self, encoder: nn.Module, m: float) -> None:
        """One momentum step towards the encoder. Frozen weights are copied where they changed since the last step.
        Raises UserError as `update` does.
        """
        update(self.encoder, encoder, m)
        for i, (key, query) in enumerate(zip(self.encoder.parameters(), encoder.parameters(), strict=True)):
            state = query.data_ptr(), query._version
            if not query.requires_grad and self._copied.get(i) != state:
                key.copy_(query.detach())
                self._copied[i] = state

    @torch.no_grad()
    def forward(self, *inputs: Tensor | None) -> Tensor:
        return self.encoder(*inputs)  # type: ignore[no-any-return]

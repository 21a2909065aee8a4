"""Multi-view pooling: each of k learned codes attends to the set; the k pooled vectors are concatenated and projected.

    A = softmax_r(V c_m / sqrt(E)),  m = 1..k;   v = W [sum_r A_r1 V_r, ..., sum_r A_rk V_r]
    diversity = mean over the batch of || A^T A - I ||^2_F

Source: multi-view attention with learned view codes (CAMERA, Qu et al., ACM MM 2020; MVAM). The penalty that keeps the
views apart is that of structured self-attention (Lin et al., ICLR 2017). The division by sqrt(E) is ours.
"""

import math

import torch
from torch import Tensor, nn

from userlib.arguments import at_least
from userlib.model.layers import check_set
from userlib.precision import autocast_disabled, to_fp32

VIEWS = 4  # k


def view_weights(vectors: Tensor, codes: Tensor, mask: Tensor | None = None) -> Tensor:
    """A: vectors (B,N,E), codes (k,E), mask (B,N) True for vectors -> (B,N,k), where each view sums to 1."""
    scores = vectors @ codes.t() / math.sqrt(codes.shape[1])
    if mask is not None:
        lowest = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~mask.unsqueeze(-1), lowest)
    weights = scores.softmax(1)
    return weights if mask is None else weights.masked_fill(~mask.unsqueeze(-1), 0.0)


def diversity(weights: Tensor) -> Tensor:
    """weights (B,N,k) -> scalar: 0 where each view attends to a single vector, and no two to the same."""
    overlap = weights.transpose(1, 2) @ weights  # (B, k, k)
    identity = torch.eye(overlap.shape[1], device=overlap.device, dtype=overlap.dtype)
    return (overlap - identity).square().sum((1, 2)).mean()


class ViewPool(nn.Module):
    """k views of a set, concatenated and projected to one vector.

    In training mode `penalty` is the diversity of the last batch (else None); `MomentumContrast` adds it to the loss,
    times `ObjectiveConfig.diversity_weight`. Raises UserError for a width or a number of views below 1.
    """

    def __init__(self, width: int, *, views: int = VIEWS) -> None:
        super().__init__()
        at_least("width", width, 1)
        at_least("views", views, 1)
        self.codes = nn.Parameter(torch.randn(views, width))
        self.out = nn.Linear(views * width, width)
        self.penalty: Tensor | None = None

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """vectors (B,N,E), mask (B,N) -> (B,E), float32 or wider."""
        check_set(vectors, mask)
        with autocast_disabled(vectors.device):
            vectors = to_fp32(vectors)
            if mask is not None:
                vectors = vectors.masked_fill(~mask.unsqueeze(-1), 0.0)
            weights = view_weights(vectors, self.codes, mask)
            self.penalty = diversity(weights) if self.training else None
            seen = torch.einsum("bnk,bne->bke", weights, vectors)  # (B, k, E)
            return self.out(seen.flatten(1))  # type: ignore[no-any-return]


def take_penalties(model: nn.Module) -> list[Tensor]:
    """Returns the penalties of the model's last batch, and clears them."""
    taken = []
    for module in model.modules():
        if isinstance(module, ViewPool) and module.penalty is not None:
            taken.append(module.penalty)
            module.penalty = None
    return taken

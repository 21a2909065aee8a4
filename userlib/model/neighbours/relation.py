"""A relation graph in training only: the images and captions of a batch attend to one another in one layer.

    X  = [v_1..v_B, t_1..t_B]
    r  = sigmoid(w_k cos(x_i, x_j) + b_k)      k: among images, among captions, across
    X' = l2norm(Transformer layer of X, with log r added to its attention)
    L  = L_b(v', t) + L_b(v, t') + L_b(v', t')   next to L_b(v, t)

The layer starts as the identity, so that all four losses start equal. Search and evaluation use v and t, a dot product
as without it. Source: HREM (Fu et al., CVPR 2023), whose relevance is a network of its own and whose loss is a hinge;
here the relevance is linear in the cosine before the sigmoid, and L_b is the objective that is set.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.model.neighbours.attention import TransformerLayer
from userlib.precision import autocast_disabled, to_fp32

STEEPNESS = 5.0  # w at the start; b is 0


def log_relevance(vectors: Tensor, count: int, weight: Tensor, bias: Tensor) -> Tensor:
    """log r: vectors (N,E), of which the first `count` are images, weight and bias (3,) -> (N,N)."""
    cosines = F.normalize(vectors, dim=-1)
    cosines = cosines @ cosines.t()
    is_text = (torch.arange(len(vectors), device=vectors.device) >= count).long()
    # 0: two images, 1: two captions, 2: one of each
    kind = torch.where(is_text.unsqueeze(0) == is_text.unsqueeze(1), is_text.unsqueeze(1), 2)
    return F.logsigmoid(weight[kind] * cosines + bias[kind])


class RelationGraph(nn.Module):
    """The layer and its relevance. Raises UserError for a width below 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = TransformerLayer(width, start_as_identity=True)
        self.weight = nn.Parameter(torch.full((3,), STEEPNESS))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """v (B,E), t (C,E) -> v', t' of unit norm, float32 or wider."""
        with autocast_disabled(images.device):
            x = torch.cat([to_fp32(images), to_fp32(texts)])
            bias = log_relevance(x, len(images), self.weight, self.bias)
            related: Tensor = F.normalize(self.layer(x.unsqueeze(0), bias.unsqueeze(0))[0], dim=-1)
        return related[: len(images)], related[len(images) :]

    def loss(
        self, loss: Callable[[Tensor, Tensor], Tensor], images: Tensor, texts: Tensor, ids: Tensor
    ) -> Tensor:
        """The sum of the three further losses; loss(scores (B,B), ids (B,)) -> scalar is L_b."""
        v, t = self(images, texts)
        pairs = ((v, texts), (images, t), (v, t))
        return torch.stack([loss(left @ right.t(), ids) for left, right in pairs]).sum()

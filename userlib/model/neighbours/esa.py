"""ESA pooling: every channel has its own attention over the set.

    A = softmax_r(V W^T + b),   v = sum_r A_r * V_r      (* by channel)

Source: ESA (Zhu et al., "External Space Attention Aggregation for Image-Text Retrieval", IEEE TCSVT 2023). Its training
with two randomly masked views of each image is not part of the pooling and is left out.
"""

import torch
from torch import Tensor, nn

from userlib.arguments import at_least
from userlib.model.layers import check_set
from userlib.precision import autocast_disabled, to_fp32


def esa_pool(vectors: Tensor, scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """vectors (B,N,E), scores (B,N,E) of each channel, mask (B,N) True where there is a vector -> (B,E), float32 or
    wider. An empty set gives zero.
    """
    scores, vectors = to_fp32(scores), to_fp32(vectors)
    if mask is None:
        return (scores.softmax(1) * vectors).sum(1)
    lowest = torch.finfo(scores.dtype).min  # not -inf: an empty set would give nan
    weights = scores.masked_fill(~mask.unsqueeze(-1), lowest).softmax(1)
    return (weights * vectors.masked_fill(~mask.unsqueeze(-1), 0.0)).sum(1)


class ESAPool(nn.Module):
    """`esa_pool` with learned scores, Linear(E,E). The weights start at zero, so that it starts as mean pooling.

    Raises UserError for a width below 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        at_least("width", width, 1)
        self.score = nn.Linear(width, width)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """vectors (B,N,E), mask (B,N) -> (B,E)."""
        check_set(vectors, mask)
        with autocast_disabled(vectors.device):
            vectors = vectors.to(torch.promote_types(vectors.dtype, self.score.weight.dtype))
            return esa_pool(vectors, self.score(vectors), mask)

"""One Transformer layer over a set, with an optional bias on its attention scores, for `route` and `relation`.

    X <- X + W_o attend(LN(X)),   X <- X + FFN(LN(X)),   attend = softmax(Q K^T / sqrt(d) + bias) V  per head

Source: Vaswani et al., NeurIPS 2017, with LayerNorm before each part (Xiong et al., ICML 2020).
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from userlib.arguments import at_least
from userlib.precision import autocast_disabled, to_fp32

HEADS = 8


class TransformerLayer(nn.Module):
    """start_as_identity: the output layers of both parts start at zero. It has gcd(width, 8) heads.

    Raises UserError for a width below 1.
    """

    def __init__(self, width: int, *, start_as_identity: bool = False) -> None:
        super().__init__()
        at_least("width", width, 1)
        self.heads = math.gcd(width, HEADS)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inputs, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden, self.last = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        if start_as_identity:
            for layer in (self.out, self.last):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (B,N,E), bias (B,N,N) or (B,1,N) added to the scores of queries (rows) with keys (columns) -> (B,N,E)."""
        q, k, v = self.inputs(self.first_norm(x)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        with autocast_disabled(x.device):
            q, k, v = (to_fp32(part).transpose(1, 2) for part in (q, k, v))  # (B, heads, N, d)
            added = None if bias is None else bias.to(q.dtype).unsqueeze(1)
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=added)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.last(self.hidden(self.second_norm(x)).relu())  # type: ignore[no-any-return]

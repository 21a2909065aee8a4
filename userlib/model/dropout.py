"""Dropout whose mask is cheap on a CPU: uniform numbers compared in place, in place of torch's Bernoulli draws.

x / (1 - p) with probability 1 - p, else 0 (Srivastava et al., JMLR 2014). Draws from torch's own generator.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """As nn.Dropout, from other draws; where torch has a fused kernel (a GPU) it is torch's."""

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape -> the same shape and type."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        drawn = torch.rand(x.shape, dtype=torch.promote_types(x.dtype, torch.float32))
        return x * drawn.ge_(self.p).div_(1 - self.p or 1.0).to(x.dtype)

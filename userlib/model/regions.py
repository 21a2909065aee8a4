"""How a picture's tokens become the regions V that the enhancement reads: raw, unit or standard."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.config import SCALINGS, one_of
from userlib.errors import UserError
from userlib.precision import wide


class Regions(nn.Module):
    """raw: as they came (the paper). unit: each region of unit length. standard: each channel less its mean
    and over its spread, both measured once on training pictures.

    Features behind a ReLU are non-negative and share a large mean, which makes all pictures look alike at the
    start; standard takes that mean away.
    """

    def __init__(self, scaling: str, width: int) -> None:
        super().__init__()
        one_of("region_scaling", scaling, SCALINGS)
        self.scaling = scaling
        if scaling == "standard":
            self.register_buffer("center", torch.zeros(width))
            self.register_buffer("spread", torch.ones(width))
        self.center: Tensor
        self.spread: Tensor

    @torch.no_grad()
    def start(self, tokens: Tensor, mask: Tensor | None = None) -> None:
        """Measures mean and spread of each channel over tokens (B,R,D) of training pictures."""
        if self.scaling != "standard":
            return
        there = tokens.flatten(0, 1) if mask is None else tokens[mask]  # (n, D)
        self.center.copy_(there.float().mean(0))
        self.spread.copy_(there.float().std(0).clamp(min=1e-3))

    def of_tokens(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A linear map of tokens, weight (E,D) and bias (E,), as the map of V that gives the same.

        Raises UserError for unit, which is not linear.
        """
        if self.scaling == "unit":
            raise UserError(
                "regions of unit length are no linear function of the tokens; use raw or standard."
            )
        if self.scaling == "standard":
            return weight * self.spread, bias + weight @ self.center
        return weight, bias

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B,R,D) -> V (B,R,D)."""
        if self.scaling == "unit":
            return F.normalize(wide(tokens), dim=-1)
        if self.scaling == "standard":
            return (tokens - self.center) / self.spread
        return tokens

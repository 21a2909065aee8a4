"""Small layers that the encoders share: normalisation, dropout, initialisation, the projection."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.arguments import checked, one_of
from userlib.errors import UserError
from userlib.precision import to_fp32
from userlib.rules import NORMS, SCALINGS, WEIGHT_INITS


class Dropout(nn.Dropout):
    """nn.Dropout (Srivastava et al., JMLR 2014) whose mask is cheap on a CPU: uniform numbers from torch's generator,
    compared in place. On a GPU it is torch's fused kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape -> the same shape and type."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        drawn = torch.rand(x.shape, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        return x * drawn.ge_(self.p).div_(1 - self.p or 1.0).to(x.dtype)


class Norm(nn.Module):
    """layer: LayerNorm over the last axis; batch: BatchNorm over axis 1, the regions of a (B,R,D) or the channels of a
    (B,D). Raises UserError for an unknown kind.
    """

    def __init__(self, kind: str, channels: int, width: int) -> None:
        super().__init__()
        one_of("norm", kind, NORMS)
        self.norm: nn.Module = nn.BatchNorm1d(channels) if kind == "batch" else nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


@checked
def check_set(vectors: Tensor, mask: Tensor | None, width: int | None = None) -> None:
    """Raises UserError unless the vectors are (B,N,width) with N from 1 up, and the mask bool (B,N)."""
    if vectors.ndim != 3 or width not in (None, vectors.shape[2]):
        raise UserError(
            f"the vectors have the shape {tuple(vectors.shape)}; it must be (B, N, {width or 'E'}): of each set of a "
            "batch N vectors."
        )
    if vectors.shape[1] == 0:
        raise UserError(
            f"the vectors have the shape {tuple(vectors.shape)}, so that no set has one; give each set one."
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != vectors.shape[:2]):
        raise UserError(
            f"the mask is {mask.dtype} of the shape {tuple(mask.shape)}, and the vectors are {tuple(vectors.shape)}; "
            "it must be bool (B, N), True where there is a vector, as mask.bool() makes it."
        )


def refuse_missing(mask: Tensor | None) -> None:
    """Raises UserError where the mask (B,R) leaves regions out: BatchNorm's statistics would include their padding."""
    if mask is not None and not bool(mask.all()):
        raise UserError(
            f"norm is 'batch' and {int((~mask).sum())} of {mask.numel()} regions are masked; they would enter "
            "BatchNorm's statistics. Use norm layer, or region_mask_prob 0 and images that all have their R regions."
        )


def init_weights(how: str, *layers: nn.Linear) -> None:
    """torch: torch's defaults stay. xavier: uniform weights (Glorot and Bengio, AISTATS 2010) and zero biases, with
    which the authors' release initialises SGE and the projection. Raises UserError for anything else.
    """
    one_of("weight_init", how, WEIGHT_INITS)
    if how == "xavier":
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class RegionEnhancement(nn.Module):
    """The interface of all enhancements, by default without a guide and without a step on the pooled vector."""

    def residual_scales(self) -> Mapping[str, Any]:
        """The residual scales in use, by guide."""
        return {}

    def guides(
        self, regions: Tensor, mask: Tensor | None = None, guide: Tensor | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """For each guide in use its g (B,D) and its attention weights a (B,R)."""
        return {}

    def on_vector(self, vectors: Tensor) -> Tensor:
        """The step on the pooled vectors: (B,E) -> (B,E)."""
        return vectors


class RegionNorm(nn.Module):
    """Tokens -> regions V, by scaling:

    raw        unchanged (the paper) unit       each region L2-normalised standard   each channel minus its mean,
    divided by its standard deviation principal  the first `principal` principal components (at most D), divided by the
    root of their mean variance root       principal components of sign(x) sqrt|x|

    Mean, deviation and components are measured once, by `init_from_data`. Features after a ReLU are non-negative and
    share a large mean, so that all images look alike at first; standard and principal remove that mean. Most of these
    values are zero and a few are very large and dominate; the root reduces them (Perronnin, Sanchez and Mensink, ECCV
    2010). Raises UserError for an unknown scaling.
    """

    def __init__(self, scaling: str, width: int, principal: int | None = None) -> None:
        super().__init__()
        one_of("region_scaling", scaling, SCALINGS)
        self.scaling = scaling
        self.width = width  # of V
        if self.principal:
            self.width = min(principal or width, width)
            self.register_buffer("components", torch.eye(self.width, width))
        if self.measured:
            self.register_buffer("center", torch.zeros(width))
            self.register_buffer("spread", torch.ones(width if scaling == "standard" else 1))
        self.center: Tensor
        self.spread: Tensor
        self.components: Tensor

    @property
    def principal(self) -> bool:
        """Whether V are principal components."""
        return self.scaling in ("principal", "root")

    @property
    def measured(self) -> bool:
        """Whether something is measured on training images."""
        return self.principal or self.scaling == "standard"

    def pointwise(self, tokens: Tensor) -> Tensor:
        """The elementwise first step on tokens of any shape: the signed root for root, else the identity."""
        return tokens.sign() * tokens.abs().sqrt() if self.scaling == "root" else tokens

    @torch.no_grad()
    def init_from_data(self, tokens: Tensor, mask: Tensor | None = None) -> None:
        """Measures mean and spread, and the principal components, over tokens (B,R,D) of training images."""
        if not self.measured:
            return
        tokens = self.pointwise(tokens)
        there = (tokens.flatten(0, 1) if mask is None else tokens[mask]).float()  # (n, D)
        self.center.copy_(there.mean(0))
        if self.scaling == "standard":
            unbiased = int(len(there) > 1)  # of a single region the deviation is 0, not NaN
            self.spread.copy_(there.std(0, correction=unbiased).clamp(min=1e-3))
            return
        away = (there - there.mean(0)).double()
        values, vectors = torch.linalg.eigh(away.T @ away / len(away))  # ascending
        signs = torch.where(vectors.sum(0) < 0, -1.0, 1.0)  # an eigenvector's sign is arbitrary, but never 0
        self.components.copy_((vectors * signs).flip(1).T[: self.width])
        self.spread.fill_(float(values.flip(0)[: self.width].mean().sqrt().clamp(min=1e-3)))

    def of_tokens(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The linear map of V that equals a linear map of the tokens (for root: of their signed roots) with weight
        (E,D) and bias (E,) -> its weight (E,width) and bias (E,), equal up to principal components left out.

        Raises UserError for unit, which is not linear.
        """
        if self.scaling == "unit":
            raise UserError("regions of unit norm are no linear function of the tokens; use raw or standard.")
        if self.scaling == "raw":
            return weight, bias
        across = weight if self.scaling == "standard" else weight @ self.components.T
        return across * self.spread, bias + weight @ self.center

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B,R,D) -> V (B,R,D), or (B,R,principal)."""
        if self.scaling == "unit":
            return F.normalize(to_fp32(tokens), dim=-1)
        if self.scaling == "standard":
            return (tokens - self.center) / self.spread
        if self.principal:
            tokens = self.pointwise(tokens)
            bias = -(self.components @ self.center) / self.spread
            return F.linear(tokens, self.components / self.spread, bias)
        return tokens


class Projection(nn.Module):
    """Linear(D,E)(x) + MLP(D -> E/2 -> E)(x), with norm and ReLU between the MLP's two layers.

    weight_init: torch | xavier, of Linear(D,E). Raises UserError for an unknown weight_init or norm.
    """

    def __init__(self, width: int, embed: int, *, norm: str, weight_init: str = "torch") -> None:
        super().__init__()
        one_of("norm", norm, NORMS)
        self.linear = nn.Linear(width, embed)
        self.hidden, self.out = nn.Linear(width, embed // 2), nn.Linear(embed // 2, embed)
        self.norm: nn.Module = nn.BatchNorm1d(embed // 2) if norm == "batch" else nn.LayerNorm(embed // 2)
        init_weights(weight_init, self.linear)

    def forward(self, x: Tensor) -> Tensor:
        """x (B,R,D) -> (B,R,E)."""
        hidden = self.norm(self.hidden(x).flatten(0, 1)).relu().unflatten(0, x.shape[:2])  # (B, R, E/2)
        return self.linear(x) + self.out(hidden)  # type: ignore[no-any-return]

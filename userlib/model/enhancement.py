"""Global-representation based semantic enhancement: regions weighed by a global guide (USER: GSE in its two
forms, SGE and CGE).

A guide g (B,D) of unit length comes from the picture itself (SGE) or from CLIP (CGE). The regions are then
moved towards it, each as far as it agrees:  a = l2norm(softmax_r(lambda g . V_r)),  V'_r = V_r + s a_r g.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.config import ENHANCEMENTS, NORMS, WEIGHT_INITS, not_negative, one_of
from userlib.errors import UserError
from userlib.model.dropout import Dropout
from userlib.model.pooling import mean_pool
from userlib.precision import unmixed, wide


def agreement(
    regions: Tensor, guide: Tensor, mask: Tensor | None = None, *, sharpness: float = 1.0
) -> Tensor:
    """a: how far each region agrees with the guide; regions (B,R,D), guide (B,D) -> (B,R) of unit length."""
    scores = sharpness * _Dots.apply(guide, regions)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return F.normalize(scores.softmax(-1), dim=-1)


class _Dots(torch.autograd.Function):
    """g . V_r for guides (B,D) and regions (B,R,D) -> (B,R), float32 or wider: a softmax over them turns the
    rounding of a half into percents.

    Its slope lies in memory as the regions do; einsum's lies across, and each pass over it takes several times as long.
    """

    @staticmethod
    def forward(ctx, guide: Tensor, regions: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(guide, regions)
        with unmixed(regions.device):
            return torch.bmm(wide(guide).unsqueeze(1), wide(regions).transpose(1, 2)).squeeze(1)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[no-untyped-def]
        guide, regions = ctx.saved_tensors
        with unmixed(regions.device):
            of_guide = torch.bmm(slope.unsqueeze(1), wide(regions)).squeeze(1).to(guide.dtype)
        if not ctx.needs_input_grad[1]:  # tokens that came from the disk
            return of_guide, None
        of_regions = slope.unsqueeze(-1) * guide.to(slope.dtype).unsqueeze(1)
        return of_guide, of_regions.to(regions.dtype)


class _Moved(torch.autograd.Function):
    """V + a g^T in one pass, and its slopes as products that make nothing of V's size but V's own."""

    @staticmethod
    def forward(ctx, regions: Tensor, share: Tensor, guide: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(share, guide)
        ctx.kind = regions.dtype
        return torch.addcmul(regions, share.unsqueeze(-1), guide.unsqueeze(1))

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[no-untyped-def]
        share, guide = ctx.saved_tensors
        of_share = torch.bmm(slope, guide.to(slope.dtype).unsqueeze(-1)).squeeze(-1)
        of_guide = torch.bmm(share.to(slope.dtype).unsqueeze(1), slope).squeeze(1)
        return slope.to(ctx.kind), of_share.to(share.dtype), of_guide.to(guide.dtype)


def start_weights(how: str, *layers: nn.Linear) -> None:
    """torch: as they were made. xavier: uniform weights (Glorot and Bengio, AISTATS 2010) and biases of zero, as the
    authors' release starts SGE and the projection.
    """
    one_of("weight_init", how, WEIGHT_INITS)
    if how == "xavier":
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def refuse_missing(mask: Tensor | None) -> None:
    """Raises UserError where regions are missing, mask (B,R): BatchNorm would count what stands in their place."""
    if mask is not None and not mask.is_meta and not bool(mask.all()):
        raise UserError(
            f"norm is 'batch' and {int((~mask).sum())} of {mask.numel()} regions are masked; they would enter "
            "BatchNorm's statistics. Use norm layer, or images that have all their regions and region_drop 0."
        )


class Norm(nn.Module):
    """LayerNorm over the last axis, or BatchNorm over axis 1 (regions of a (B,R,D), numbers of a (B,D))."""

    def __init__(self, kind: str, channels: int, width: int) -> None:
        super().__init__()
        one_of("norm", kind, NORMS)
        self.norm: nn.Module = nn.BatchNorm1d(channels) if kind == "batch" else nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


class SelfGuide(nn.Module):
    """SGE's guide: a weighted sum of the regions, weighed by how each one answers to their mean.

    L = dropout(tanh(norm(W_l V))), G = dropout(tanh(norm(W_g mean_r V))), w = softmax_r(w_c . (L * G)),
    g = l2norm(sum_r w_r V_r). With norm="batch" L is normalised over the R positions as in the paper, which
    ties the module to one R; with "layer" any R and any mask will do. weight_init: torch | xavier.

    Raises UserError for another norm or weight_init, and for "batch" without a number of regions.
    """

    def __init__(
        self,
        width: int,
        *,
        regions: int | None = None,
        norm: str = "layer",
        dropout: float = 0.4,
        weight_init: str = "torch",
    ) -> None:
        super().__init__()
        if norm == "batch" and not regions:
            raise UserError("norm is 'batch' and the number of regions is not set; give regions.")
        self.norm = norm
        self.local_linear, self.global_linear = nn.Linear(width, width), nn.Linear(width, width)
        self.local_norm = Norm(norm, regions or 0, width)
        self.global_norm = Norm(norm, width, width)
        self.dropout = Dropout(dropout)
        self.weigh = nn.Linear(width, 1)
        start_weights(weight_init, self.local_linear, self.global_linear, self.weigh)

    def forward(self, regions: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """regions (B,R,D), mask (B,R) -> guide (B,D) of unit length, weights w (B,R), float32 or wider."""
        if self.training and self.norm == "batch":
            refuse_missing(mask)
        local = self.dropout(torch.tanh(self.local_norm(self.local_linear(regions))))  # (B, R, D)
        whole = self.dropout(
            torch.tanh(self.global_norm(self.global_linear(mean_pool(regions, mask))))
        )  # (B, D)
        seen = whole * self.weigh.weight  # w_c . (L * G) = (w_c * G) . L
        scores = wide(_Dots.apply(seen, local) + self.weigh.bias)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        weights = scores.softmax(-1)
        with unmixed(regions.device):
            return F.normalize(torch.einsum("br,brd->bd", weights, wide(regions)), dim=-1), weights


class ClipGuide(nn.Module):
    """CGE's guide: CLIP's picture vector (B,G), frozen, brought to the width of the regions.

    norm -> Linear(G,D) -> norm -> ReLU -> Linear(D,D) -> l2norm, as the authors describe the module in their
    answers; no released code has it. norm is BatchNorm in the paper presets, LayerNorm elsewhere.
    """

    def __init__(self, guide_width: int, width: int, *, norm: str = "layer") -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Norm(norm, guide_width, guide_width),
            nn.Linear(guide_width, width),
            Norm(norm, width, width),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def forward(self, guide: Tensor) -> Tensor:
        """guide (B,G) -> (B,D) of unit length, float32 or wider."""
        return F.normalize(wide(self.layers(guide)), dim=-1)


def check_strength(strength: float | str) -> None:
    """Raises UserError for a strength that is neither "learned" nor a number from 0 up."""
    if isinstance(strength, str):
        one_of("strength", strength, ("learned",))
    else:
        not_negative("strength", strength)


class Strength(nn.Module):
    """s, the factor in front of a_r g: fixed, or exp(sigma) with sigma learned and kept within sigma_0 +- 4.

    The whole residual has Frobenius norm s whatever the picture, so s = 1 (the paper) all but vanishes beside
    regions of large norm. `start` puts a learned s where s / sqrt(R) is a tenth of the median region norm.

    Raises UserError for a strength that is neither "learned" nor a number from 0 up.
    """

    REACH = 4.0

    def __init__(self, strength: float | str) -> None:
        super().__init__()
        check_strength(strength)
        self.learned = isinstance(strength, str)
        value = 0.0 if isinstance(strength, str) else float(strength)
        if self.learned:
            self.sigma = nn.Parameter(torch.zeros(()))
        self.register_buffer("origin", torch.tensor(value))
        self.origin: Tensor

    @torch.no_grad()
    def start(self, regions: Tensor, mask: Tensor | None = None) -> None:
        """Sets sigma_0 from regions (B,R,D) of the first training pictures; does nothing where s is fixed."""
        if not self.learned:
            return
        norms = regions.float().norm(dim=-1)  # (B, R)
        median = (norms if mask is None else norms[mask]).median()
        count = torch.tensor(float(regions.shape[1])) if mask is None else mask.sum(1).float().mean()
        self.origin.copy_((0.1 * count.sqrt() * median).clamp(min=1e-6).log())
        self.sigma.copy_(self.origin)

    def at_end(self) -> bool:
        """True where sigma has reached an end of its range."""
        return self.learned and bool((self.sigma - self.origin).abs() >= self.REACH - 1e-3)

    @torch.no_grad()
    def keep(self) -> None:
        """Brings sigma back into its range after an optimizer's step: outside it would have no gradient."""
        if self.learned:
            self.sigma.clamp_(self.origin - self.REACH, self.origin + self.REACH)

    def forward(self) -> Tensor:
        if not self.learned:
            return self.origin
        return (self.sigma.clamp(self.origin - self.REACH, self.origin + self.REACH)).exp()


class Enhancement(nn.Module):
    """none | sge | cge | sge+cge: V' = V + sum over guides of s a(g,V) g, every a read from the raw V.

    Raises UserError for another kind, norm, strength or weight_init, and for a width that the kind needs.
    """

    def __init__(
        self,
        kind: str,
        width: int,
        *,
        guide_width: int | None = None,
        regions: int | None = None,
        norm: str = "layer",
        dropout: float = 0.4,
        strength: float | str = "learned",
        sharpness: float = 1.0,
        weight_init: str = "torch",
    ) -> None:
        super().__init__()
        one_of("enhancement", kind, ENHANCEMENTS)
        one_of("norm", norm, NORMS)
        one_of("weight_init", weight_init, WEIGHT_INITS)
        not_negative("sharpness", sharpness)
        check_strength(strength)
        if "cge" in kind and not guide_width:
            raise UserError(
                f"enhancement is {kind!r} and guide_width is not set; give the width of CLIP's vectors."
            )
        self.kind, self.sharpness = kind, sharpness
        if "sge" in kind:
            self.self_guide = SelfGuide(
                width, regions=regions, norm=norm, dropout=dropout, weight_init=weight_init
            )
            self.self_strength = Strength(strength)
        if "cge" in kind:
            self.clip_guide = ClipGuide(guide_width or 0, width, norm=norm)
            self.clip_strength = Strength(strength)

    def strengths(self) -> dict[str, Strength]:
        """The strengths in use, by guide: self, clip."""
        return {
            name: getattr(self, f"{name}_strength")
            for name in ("self", "clip")
            if hasattr(self, f"{name}_strength")
        }

    def guides(
        self, regions: Tensor, mask: Tensor | None = None, guide: Tensor | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """For each guide in use its g (B,D) and its agreement a (B,R)."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        if "sge" in self.kind:
            g, _ = self.self_guide(regions, mask)
            found["self"] = g, agreement(regions, g, mask, sharpness=self.sharpness)
        if "cge" in self.kind:
            g = self.clip_guide(guide)
            found["clip"] = g, agreement(regions, g, mask, sharpness=self.sharpness)
        return found

    def forward(self, regions: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """regions (B,R,D), mask (B,R), guide (B,G) -> (B,R,D)."""
        enhanced = regions
        for name, (g, a) in self.guides(regions, mask, guide).items():
            s = getattr(self, f"{name}_strength")()
            enhanced = _Moved.apply(enhanced, s * a, g)  # (B, R, D) + (B, R, 1) x (B, 1, D)
        return enhanced

"""Global-representation based semantic enhancement (GSE): regions weighted by a global guide (USER: SGE and CGE).

A guide g (B,D) of unit norm comes from the image itself (SGE) or from CLIP (CGE). Each region is then moved
towards it in proportion to its attention weight:  a = l2norm(softmax_r(lambda g . V_r)),  V'_r = V_r + s a_r g.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.arguments import at_least, checked, not_negative, one_of
from userlib.errors import UserError
from userlib.model.layers import Dropout, Norm, RegionEnhancement, check_set, init_weights, refuse_missing
from userlib.model.pooling import mean_pool
from userlib.precision import autocast_disabled, to_fp32
from userlib.rules import NORMS, WEIGHT_INITS

GUIDED = ("none", "sge", "cge", "sge+cge")


def region_attention(
    regions: Tensor, guide: Tensor, mask: Tensor | None = None, *, inverse_temperature: float = 1.0
) -> Tensor:
    """a = l2norm(softmax_r(lambda g . V_r)): regions V (B,R,D), guide g (B,D), mask (B,R) -> (B,R) of unit norm."""
    scores = inverse_temperature * dot_products(guide, regions)
    if mask is not None:
        # not -inf, by which a set of nothing would be NaN
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return F.normalize(scores.softmax(-1), dim=-1)


def dot_products(guide: Tensor, regions: Tensor) -> Tensor:
    """g . V_r: guide (B,D), regions (B,R,D) -> (B,R), at least float32: half precision would distort a softmax."""
    with autocast_disabled(regions.device):
        return torch.einsum("bd,brd->br", to_fp32(guide), to_fp32(regions))


class SelfGuide(nn.Module):
    """SGE's guide: a weighted sum of the regions, each weighted by comparing it with their mean.

    L = dropout(tanh(norm(W_l V))), G = dropout(tanh(norm(W_g mean_r V))), w = softmax_r(w_c . (L * G)),
    g = l2norm(sum_r w_r V_r). With norm="batch" L is normalised over the R positions as in the paper, which
    fixes R; with "layer" R may vary and regions may be masked. weight_init: torch | xavier.

    Raises UserError for an unknown norm or weight_init, for "batch" without the number of regions, and for
    "batch" in training where regions are masked.
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
            raise UserError("norm is 'batch' and the number of regions is not set; give it, as regions=36.")
        self.norm = norm
        self.local_linear, self.global_linear = nn.Linear(width, width), nn.Linear(width, width)
        self.local_norm = Norm(norm, regions or 0, width)
        self.global_norm = Norm(norm, width, width)
        self.dropout = Dropout(dropout)
        self.weigh = nn.Linear(width, 1)
        init_weights(weight_init, self.local_linear, self.global_linear, self.weigh)

    def forward(self, regions: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """regions (B,R,D), mask (B,R) -> guide (B,D) of unit norm, weights w (B,R), float32 or wider."""
        if self.training and self.norm == "batch":
            refuse_missing(mask)
        local = self.dropout(torch.tanh(self.local_norm(self.local_linear(regions))))  # (B, R, D)
        whole = self.dropout(
            torch.tanh(self.global_norm(self.global_linear(mean_pool(regions, mask))))
        )  # (B, D)
        query = whole * self.weigh.weight  # w_c . (L * G) = (w_c * G) . L
        scores = dot_products(query, local) + to_fp32(self.weigh.bias)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        with autocast_disabled(regions.device):
            return F.normalize(torch.einsum("br,brd->bd", weights, to_fp32(regions)), dim=-1), weights


class ClipGuide(nn.Module):
    """CGE's guide: the image vector (B,G) of a frozen CLIP, projected to the width of the regions.

    norm -> Linear(G,D) -> norm -> ReLU -> Linear(D,D) -> l2norm, after the authors' description, since their code
    does not include the module. They only say that activation functions have to be added: the ReLU and its place
    are our choice. Raises UserError for an unknown norm.
    """

    def __init__(self, guide_dim: int, width: int, *, norm: str = "layer") -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Norm(norm, guide_dim, guide_dim),
            nn.Linear(guide_dim, width),
            Norm(norm, width, width),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def forward(self, guide: Tensor) -> Tensor:
        """guide (B,G) -> (B,D) of unit norm, float32 or wider."""
        return F.normalize(to_fp32(self.layers(guide)), dim=-1)


def check_residual_scale(residual_scale: float | str) -> None:
    """Raises UserError for a residual scale that is neither "learned" nor a number from 0 up."""
    if isinstance(residual_scale, str):
        one_of("residual_scale", residual_scale, ("learned",))
    else:
        not_negative("residual_scale", residual_scale)


class ResidualScale(nn.Module):
    """s, the factor in front of a_r g: fixed, or exp(log_scale), learned, with log_scale at most 4 from its start.

    The whole residual has Frobenius norm s whatever the image, so s = 1 (the paper) all but vanishes next to
    regions of large norm. `init_from_data` starts a learned s where s / sqrt(R) is a tenth of the median region norm.

    Raises UserError for a residual scale that is neither "learned" nor a number from 0 up.
    """

    REACH = 4.0

    def __init__(self, residual_scale: float | str) -> None:
        super().__init__()
        check_residual_scale(residual_scale)
        self.learned = isinstance(residual_scale, str)
        value = 0.0 if isinstance(residual_scale, str) else float(residual_scale)
        if self.learned:
            self.log_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("init_log_scale", torch.tensor(value))
        self.init_log_scale: Tensor

    @torch.no_grad()
    def init_from_data(self, regions: Tensor, mask: Tensor | None = None) -> None:
        """Sets log_scale from regions (B,R,D) of the first training images; a fixed s stays as it is."""
        if not self.learned:
            return
        norms = regions.float().norm(dim=-1)  # (B, R)
        median = (norms if mask is None else norms[mask]).median()
        count = torch.tensor(float(regions.shape[1])) if mask is None else mask.sum(1).float().mean()
        self.init_log_scale.copy_((0.1 * count.sqrt() * median).clamp(min=1e-6).log())
        self.log_scale.copy_(self.init_log_scale)

    def is_clamped(self) -> bool:
        """True where log_scale has reached a bound."""
        return self.learned and bool((self.log_scale - self.init_log_scale).abs() >= self.REACH - 1e-3)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Brings log_scale back into its range after an optimizer's step: outside it would have no gradient."""
        if self.learned:
            self.log_scale.clamp_(self.init_log_scale - self.REACH, self.init_log_scale + self.REACH)

    def forward(self) -> Tensor:
        if not self.learned:
            return self.init_log_scale
        return (
            self.log_scale.clamp(self.init_log_scale - self.REACH, self.init_log_scale + self.REACH)
        ).exp()


class Enhancement(RegionEnhancement):
    """none | sge | cge | sge+cge: V' = V + sum over guides of s a(g,V) g, every a computed from the raw V.

    Raises UserError for an invalid argument, and for "cge" without guide_dim or, in the forward pass, without guide.
    """

    def __init__(
        self,
        kind: str,
        width: int,
        *,
        guide_dim: int | None = None,
        regions: int | None = None,
        norm: str = "layer",
        dropout: float = 0.4,
        residual_scale: float | str = "learned",
        inverse_temperature: float = 1.0,
        weight_init: str = "torch",
    ) -> None:
        super().__init__()
        one_of("enhancement", kind, GUIDED)
        one_of("norm", norm, NORMS)
        one_of("weight_init", weight_init, WEIGHT_INITS)
        not_negative("inverse_temperature", inverse_temperature)
        check_residual_scale(residual_scale)
        at_least("the regions' width", width, 1)
        self.dim, self.guide_dim = width, guide_dim
        if not 0 <= dropout < 1:
            raise UserError(f"dropout is {dropout}; it must be at least 0 and below 1.")
        if "cge" in kind and not guide_dim:
            raise UserError(
                f"enhancement is {kind!r} and guide_dim is not set; give the width of CLIP's vectors."
            )
        self.kind, self.inverse_temperature = kind, inverse_temperature
        if "sge" in kind:
            self.self_guide = SelfGuide(
                width, regions=regions, norm=norm, dropout=dropout, weight_init=weight_init
            )
            self.self_scale = ResidualScale(residual_scale)
        if "cge" in kind:
            self.clip_guide = ClipGuide(guide_dim or 0, width, norm=norm)
            self.clip_scale = ResidualScale(residual_scale)

    def residual_scales(self) -> dict[str, ResidualScale]:
        """The residual scales in use, by guide: self, clip."""
        scales = {name: getattr(self, f"{name}_scale", None) for name in ("self", "clip")}
        return {name: scale for name, scale in scales.items() if scale is not None}

    def guides(
        self, regions: Tensor, mask: Tensor | None = None, guide: Tensor | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """For each guide in use its g (B,D) and its attention weights a (B,R)."""
        guides: dict[str, Tensor] = {}
        if "sge" in self.kind:
            guides["self"], _ = self.self_guide(regions, mask)
        if "cge" in self.kind:
            if guide is None:
                raise UserError(
                    f"enhancement is {self.kind!r} and no guide was given; give CLIP's vectors (B,G)."
                )
            if guide.shape != (len(regions), self.guide_dim):
                raise UserError(
                    f"the guide has the shape {tuple(guide.shape)}; it must be ({len(regions)}, {self.guide_dim}), a "
                    "vector of each image."
                )
            guides["clip"] = self.clip_guide(guide)
        return {
            name: (g, region_attention(regions, g, mask, inverse_temperature=self.inverse_temperature))
            for name, g in guides.items()
        }

    def forward(self, regions: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """regions (B,R,D), mask (B,R), guide (B,G) -> (B,R,D). Raises UserError for another shape."""
        check_set(regions, mask, self.dim)
        enhanced = regions
        for name, (g, a) in self.guides(regions, mask, guide).items():
            s = getattr(self, f"{name}_scale")()
            enhanced = enhanced + (s * a).unsqueeze(-1) * g.unsqueeze(1)  # (B, R, D) + (B, R, 1) x (B, 1, D)
        return enhanced


class SGE(Enhancement):
    """Self-guided enhancement by itself (SGE of USER): `SGE(256)(regions)`, regions (B,R,256) -> (B,R,256).

    residual_scale: "learned" or a number from 0 up (the paper: 1). norm: "layer", or "batch" (the paper), which needs
    the number of regions R. Raises UserError for an invalid argument.
    """

    @checked
    def __init__(
        self,
        dim: int,
        *,
        residual_scale: float | str = "learned",
        inverse_temperature: float = 1.0,
        dropout: float = 0.4,
        norm: str = "layer",
        regions: int | None = None,
    ) -> None:
        super().__init__(
            "sge",
            dim,
            regions=regions,
            norm=norm,
            dropout=dropout,
            residual_scale=residual_scale,
            inverse_temperature=inverse_temperature,
        )


class CGE(Enhancement):
    """CLIP-guided enhancement by itself (CGE of USER, as its authors describe it): regions (B,R,256) and CLIP's image
    vectors (B,512) -> (B,R,256), as `CGE(256, guide_dim=512)(regions, guide=vectors)`.

    Raises UserError for an invalid argument, and for a forward pass without a guide.
    """

    @checked
    def __init__(
        self,
        dim: int,
        *,
        guide_dim: int,
        residual_scale: float | str = "learned",
        inverse_temperature: float = 1.0,
        norm: str = "layer",
    ) -> None:
        super().__init__(
            "cge",
            dim,
            guide_dim=guide_dim,
            norm=norm,
            residual_scale=residual_scale,
            inverse_temperature=inverse_temperature,
        )

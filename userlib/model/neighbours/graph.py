"""A graph over regions: each region is updated by all others, in proportion to how it relates to them.

    R_ij = theta(v_i) . phi(v_j) / n          (n regions; no softmax)
    V  <- V + norm(W_r (R g(V)))              four layers

The norm's gain and bias start at zero, so that each layer starts as the identity. Source: VSRN (Li et al., ICCV 2019).
There a GRU reads the enhanced regions, here the pooling that is set. norm "batch" is as in the source.
"""

from torch import Tensor, nn

from userlib.arguments import at_least, one_of
from userlib.model.layers import RegionEnhancement
from userlib.precision import autocast_disabled, to_fp32
from userlib.rules import NORMS

LAYERS = 4


def relate(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """(R g(V))_i = sum_j (theta_i . phi_j) g_j / n: queries theta, keys phi and values g (B,R,H), mask (B,R) True where
    there is a region -> (B,R,H), float32 or wider.
    """
    with autocast_disabled(queries.device):
        queries, keys, values = to_fp32(queries), to_fp32(keys), to_fp32(values)
        relations = queries @ keys.transpose(1, 2)  # (B, R, R)
        if mask is None:
            return relations @ values / relations.shape[2]
        counted = relations.masked_fill(~mask.unsqueeze(1), 0.0) @ values.masked_fill(
            ~mask.unsqueeze(-1), 0.0
        )
        return counted / mask.sum(1).clamp(min=1).view(-1, 1, 1)


class GraphLayer(nn.Module):
    """One residual layer; the inner width is half of the regions'."""

    def __init__(self, width: int, *, norm: str) -> None:
        super().__init__()
        inner = max(1, width // 2)
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)
        self.norm: nn.Module = nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width)
        nn.init.zeros_(self.norm.weight)

    def forward(self, regions: Tensor, mask: Tensor | None = None) -> Tensor:
        """regions (B,R,D), mask (B,R) -> (B,R,D)."""
        related = relate(self.query(regions), self.key(regions), self.value(regions), mask)
        added: Tensor = self.norm(self.out(related).flatten(0, 1)).unflatten(0, regions.shape[:2])
        return regions + added


class RegionGraph(RegionEnhancement):
    """The layers, one after the other. Raises UserError for a width below 1 or an unknown norm."""

    def __init__(self, width: int, *, norm: str = "layer", layers: int = LAYERS) -> None:
        super().__init__()
        one_of("norm", norm, NORMS)
        at_least("width", width, 1)
        self.layers = nn.ModuleList(GraphLayer(width, norm=norm) for _ in range(layers))

    def forward(self, regions: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """regions (B,R,D), mask (B,R) -> (B,R,D); it takes no guide."""
        for layer in self.layers:
            regions = layer(regions, mask)
        return regions

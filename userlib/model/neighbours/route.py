"""Routed interaction: three kinds of cells in three densely connected layers, and routers that weight the paths.

    rectified   relu(X)
    reasoning   one Transformer layer over the set
    gate        (1 + l2norm_r(fc(X) * g)) * X,   g = mean_r X
    path        p = relu(tanh(MLP(mean_r X))), one number for each cell of the next layer
    next input  sum over cells of p_c X_c / sum over cells of p_c

Each cell of a layer reads its own mixture of all cells of the layer before; the last layer's mixture is the result.
Source: DIME (Qu et al., SIGIR 2021), without its fourth cell, which reads the other modality and would need a pass for
each pair. The last bias of each router starts at 1.5, so that all paths start open.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.arguments import at_least
from userlib.model.layers import RegionEnhancement
from userlib.model.neighbours.attention import TransformerLayer
from userlib.model.pooling import mean_pool

DEPTH, OPEN = 3, 1.5


def gate(vectors: Tensor, keys: Tensor, whole: Tensor, mask: Tensor | None = None) -> Tensor:
    """(1 + l2norm_r(keys * whole)) * vectors: vectors and keys (B,N,D), whole (B,D), mask (B,N) -> (B,N,D)."""
    product = keys * whole.unsqueeze(1)
    if mask is not None:
        product = product.masked_fill(~mask.unsqueeze(-1), 0.0)
    return (1 + F.normalize(product, dim=1)) * vectors


def mixture(outputs: Tensor, paths: Tensor) -> Tensor:
    """outputs (C,B,N,D) of C cells, path weights (C,B) from 0 up -> (B,N,D), the mean where all weights are 0."""
    total = paths.sum(0)
    closed = (total <= 0).unsqueeze(0)
    shares = (paths / total.masked_fill(closed[0], 1.0)).masked_fill(closed, 1.0 / len(paths))
    return (shares.unsqueeze(-1).unsqueeze(-1) * outputs).sum(0)


class Rectified(nn.Module):
    """relu(X)."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B,N,D) -> (B,N,D)."""
        return x.relu()


class Reasoning(nn.Module):
    """A Transformer layer, in which no vector attends to masked ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = TransformerLayer(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B,N,D), mask (B,N) -> (B,N,D)."""
        absent = None if mask is None else x.new_zeros(mask.shape).masked_fill(~mask, -1e9).unsqueeze(1)
        return self.layer(x, absent)  # type: ignore[no-any-return]


class Gate(nn.Module):
    """`gate` with the mean of the set as `whole`, and keys from a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B,N,D), mask (B,N) -> (B,N,D)."""
        return gate(x, self.linear(x), mean_pool(x, mask), mask)


class Cell(nn.Module):
    """A cell with its router, which weights the paths to the `targets` cells of the next layer."""

    def __init__(self, width: int, inside: nn.Module, targets: int) -> None:
        super().__init__()
        self.inside = inside
        self.hidden, self.paths = nn.Linear(width, max(1, width // 2)), nn.Linear(max(1, width // 2), targets)
        nn.init.constant_(self.paths.bias, OPEN)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B,N,D), mask (B,N) -> (B,N,D), and the path weights (B, targets)."""
        paths = self.paths(self.hidden(mean_pool(x, mask)).relu()).tanh().relu()
        return self.inside(x, mask), paths


class Route(RegionEnhancement):
    """The layers of cells. Raises UserError for a width below 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        at_least("width", width, 1)
        self.layers = nn.ModuleList()
        for depth in range(DEPTH):
            inside = (Rectified(), Reasoning(width), Gate(width))
            targets = 1 if depth == DEPTH - 1 else len(inside)
            self.layers.append(nn.ModuleList(Cell(width, cell, targets) for cell in inside))

    def forward(self, regions: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """regions (B,R,D), mask (B,R) -> (B,R,D); it takes no guide."""
        inputs = [regions] * 3
        for cells in self.layers:
            made = [cell(x, mask) for cell, x in zip(cells, inputs, strict=True)]  # type: ignore[call-overload]
            outputs = torch.stack([x for x, _ in made])
            paths = torch.stack([p for _, p in made])  # (cells, B, targets)
            inputs = [mixture(outputs, paths[..., i]) for i in range(paths.shape[-1])]
        return inputs[0]

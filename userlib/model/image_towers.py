"""An image tower as a part of the model, so that it can be trained: a timm network, or the image side of open_clip.

BatchNorm inside it keeps its pretrained statistics: with those of a batch, the vector of an image would depend on the
other images of the batch, and a key would differ from the vector of the same image alone.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from userlib.data.backbones import _tokens
from userlib.errors import UserError
from userlib.model.trainable import load_start, set_trainable


class ImageTower(nn.Module):
    """settings: JSON, as `userlib.data.pixels.tower_settings` writes it; how: none | last:N | lora | all; rank: LoRA's.

    regions and width are R and D of its tokens, vector_width is G of its vector. Raises UserError if it cannot be made.
    """

    def __init__(self, settings: str, how: str, *, rank: int = 8) -> None:
        super().__init__()
        self.settings: dict[str, Any] = json.loads(settings)
        self.network = _timm(self.settings) if self.settings["kind"] == "timm" else _open_clip(self.settings)
        set_trainable(self.network, how, setting="model.train_image", rank=rank)
        self.regions, self.width = self.settings["tokens"]["shape"]
        for name in ("mean", "std"):
            value = torch.tensor(self.settings[name], dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @property
    def vector_width(self) -> int:
        """G: dimensions of `vector`."""
        own = self.settings.get("embed_dim")
        return int(own if own is not None else self.network.num_features)

    def train(self, mode: bool = True) -> "ImageTower":
        """As for any module, except that BatchNorm stays in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (B,3,H,W) from 0 to 255 -> tokens (B,R,D)."""
        return self._both(pixels)[0]

    def vector(self, pixels: Tensor) -> Tensor:
        """pixels (B,3,H,W) from 0 to 255 -> the tower's vector (B,G): CLIP's in its joint space, else pooled."""
        return self._both(pixels, vector=True)[1]

    def _both(self, pixels: Tensor, *, vector: bool = False) -> tuple[Tensor, Tensor]:
        x = (pixels.float() - self.mean) / self.std
        if self.settings["kind"] == "open_clip":
            outputs = self.network.forward_intermediates(
                x, indices=1, normalize_intermediates=True, output_fmt="NLC"
            )
            return outputs["image_intermediates"][-1], outputs["image_features"]
        features = self.network.forward_features(x)
        pooled = self.network.forward_head(features, pre_logits=True) if vector else features
        return _tokens(self.network, features), pooled

    def load(self, spec: str, weights: Path | None) -> None:
        """Loads the pretrained weights of the backbone `spec` (data.tokens) in float32; weights: data.token_weights.
        Raises UserError where they cannot be loaded or do not fit.
        """
        from userlib.data.extractors import make_extractor

        source: Any = make_extractor(spec, weights=weights).network
        network = source if self.settings["kind"] == "timm" else source[0].visual
        try:
            load_start(self.network, {name: value.float() if value.is_floating_point() else value
                                      for name, value in network.state_dict().items()})  # fmt: skip
        except RuntimeError as error:
            raise UserError(
                f"the weights of {spec!r} do not fit model.image_tower ({str(error).splitlines()[0]}). Set "
                "model.image_tower to null; it is then taken from data.tokens."
            ) from error


def _timm(settings: dict[str, Any]) -> Any:
    import timm

    try:
        return timm.create_model(settings["model"], pretrained=False, **settings["kwargs"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"timm cannot build the image tower {settings['model']!r}: {error}. Name another network in data.tokens, "
            "or install the version of timm that it was trained with."
        ) from error


def _open_clip(settings: dict[str, Any]) -> Any:
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    config = CLIPVisionCfg(**settings["vision_cfg"])
    return _build_vision_tower(settings["embed_dim"], config, settings["quick_gelu"])

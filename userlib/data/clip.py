"""Tokens, guides and tokenizers of open_clip models, by name.

`open_clip:NAME/WEIGHTS`, `open_clip:NAME` (weights as in USUAL), `open_clip:local-dir:FOLDER`
(open_clip_config.json and open_clip_model.safetensors). Tokens are the last layer's patches after the final norm,
before the projection; the guide is the unit image vector.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from userlib.data.base import Extractor, refuse_weights, unknown
from userlib.data.network import hub_access
from userlib.errors import UserError
from userlib.files import read_json, sha256_known, sha256_text
from userlib.inference import scoring
from userlib.logs import quiet
from userlib.precision import full_float32
from userlib.shipped import ASSETS, REMEDY, check_shipped
from userlib.verify import check

LOCAL = "local-dir:"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
USUAL = {
    "ViT-B-32": "laion2b_s34b_b79k",
    "ViT-B-32-quickgelu": "openai",
    "ViT-B-16": "laion2b_s34b_b88k",
    "ViT-B-16-quickgelu": "openai",
    "ViT-B-16-SigLIP": "webli",
    "ViT-L-14": "laion2b_s32b_b82k",
}


def split_name(name: str) -> tuple[str, str | None]:
    """`NAME/WEIGHTS` as (name, weights), both known to open_clip; a local folder as (`local-dir:FOLDER`, None).

    Raises UserError for an unknown name, and for weights trained with another activation than the name builds.
    """
    import open_clip

    name = name.removeprefix("open_clip:")
    name = f"{LOCAL}{ASSETS / name}" if name == "clip-mini" else name
    if name.startswith(LOCAL):
        _check_folder(Path(name.removeprefix(LOCAL)))
        return name, None
    model, _, weights = name.partition("/")
    known = open_clip.list_models()
    if model not in known:
        near = [other for other in known if other.lower().startswith(model.lower()[:6])][:6]
        raise UserError(
            f"open_clip has no model {model!r}. Similar names: {', '.join(near) or 'none'}. Names look like "
            "ViT-B-32/laion2b_s34b_b79k or local-dir:FOLDER."
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    weights = weights or USUAL.get(model, tags[0] if len(tags) == 1 else "")
    if weights not in tags:
        remedy = "It has none for this model: choose another one."
        if tags:
            remedy = f"Choose one of {', '.join(tags)}, such as open_clip:{model}/{tags[-1]}."
        raise UserError(f"open_clip has no weights {weights!r} for {model!r}. {remedy}")
    _check_activation(model, weights)
    return model, weights


def _check_folder(folder: Path) -> None:
    shipped = folder.is_relative_to(ASSETS)
    if shipped:
        check_shipped(folder / WEIGHTS)
    if missing := [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]:
        raise UserError(
            f"{folder} has no {missing[0]}; a local open_clip model is a folder with {CONFIG} and {WEIGHTS}. Check the "
            "path."
        )
    if shipped:
        check(folder, REMEDY)
    config = read_json(folder / CONFIG, limit=2**24)
    if not isinstance(config, dict) or not {"vision_cfg", "text_cfg"} <= set(config.get("model_cfg", {})):
        raise UserError(
            f"{folder / CONFIG} has no model_cfg of vision_cfg and text_cfg. Save the model again."
        )


def _check_activation(model: str, weights: str) -> None:
    """Raises UserError for weights trained with QuickGELU in a network of GELU, or the reverse: these run without an
    error and give worse vectors.
    """
    import open_clip

    trained = bool(open_clip.get_pretrained_cfg(model, weights).get("quick_gelu", False))
    built = bool((open_clip.get_model_config(model) or {}).get("quick_gelu", False))
    if trained != built:
        right = f"{model}-quickgelu" if trained else model.removesuffix("-quickgelu")
        names = ("QuickGELU", "GELU") if trained else ("GELU", "QuickGELU")
        raise UserError(
            f"The weights {weights!r} were trained with {names[0]}, but {model!r} builds a network with {names[1]}. "
            f"Use open_clip:{right}/{weights}."
        )


def load_clip(name: str, *, device: str = "cpu") -> tuple[nn.Module, Any]:
    """The model called `name` in evaluation mode, frozen, and its own preprocessing (PIL -> (3, H, W))."""
    import open_clip
    from safetensors import SafetensorError

    model_name, weights = split_name(name)
    fetched = nullcontext() if weights is None else hub_access(f"the weights of {name}", also=(RuntimeError,))
    try:
        with fetched, quiet():
            model, _, preprocess = open_clip.create_model_and_transforms(
                model_name, pretrained=weights, device=device, pretrained_text=False
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"open_clip cannot build {name!r}: {' '.join(str(error).split())[:300]}. Check its folder, or save the "
            "model again."
        ) from error
    return model.eval().requires_grad_(False), preprocess


def caption_vectors(name: str, captions: Sequence[str], *, device: str = "cpu") -> NDArray[np.float32]:
    """M captions by the text tower of the model called `name` -> (M, G) of unit norm."""
    model, _ = load_clip(name, device=device)
    tokenizer, parts = tokenizer_of(name), []
    with scoring(model):
        for first in range(0, len(captions), 256):
            inputs = tokenizer(list(captions[first : first + 256])).to(device)
            parts.append(model.encode_text(inputs, normalize=True).float().cpu().numpy())  # type: ignore[operator]
    return np.concatenate(parts)


def bare_clip(name: str) -> nn.Module:
    """The model called `name` with random weights, on torch's default device: to be filled from a checkpoint."""
    return _built(split_name(name)[0], torch.get_default_device())


def _built(model_name: str, device: torch.device | str) -> nn.Module:
    import open_clip

    with quiet():
        model: nn.Module = open_clip.create_model(
            model_name, load_weights=False, pretrained_text=False, device=device
        )
    return model


def tokenizer_of(name: str) -> Any:
    """The tokenizer of the model called `name`. Raises UserError where it has more pieces than the model's text tower
    has embeddings.
    """
    import open_clip

    model_name, _ = split_name(name)
    with hub_access(f"the tokenizer of open_clip:{name}", also=(OSError,)), quiet():
        tokenizer = open_clip.get_tokenizer(model_name)
    has = vocab_size_of(tokenizer)
    wants = _text_config(model_name).get("vocab_size", has)
    if has > wants:
        raise UserError(
            f"The tokenizer of {name!r} has {has} pieces, but the text tower has {wants}: they belong to different "
            "models. Give the folder the model's own tokenizer."
        )
    return tokenizer


def vocab_size_of(tokenizer: Any) -> int:
    """The number of pieces of an open_clip tokenizer."""
    return int(tokenizer.vocab_size) if hasattr(tokenizer, "vocab_size") else len(tokenizer.tokenizer)


def check_text_tower(name: str, *, width: int | None = None) -> None:
    """Raises UserError for a text tower that also attends to padding (a caption's vector would depend on its batch),
    and for one whose width is not `width`.
    """
    text = _text_config(split_name(name)[0])
    if text.get("no_causal_mask") or "hf_model_name" in text:
        raise UserError(
            f"The text tower of {name!r} does not read from left to right as CLIP's do, so that it cannot be used as "
            "text 'clip'. Use its tokens and guide with text 'bert', or with the text tower of ViT-B-32."
        )
    has = text.get("width", 512)  # open_clip's default
    if width not in (None, has):
        raise UserError(
            f"text_width is {width}; the text tower of {name!r} has {has}. Set model.text_width {has}."
        )


def text_width_of(name: str) -> int:
    """The width of an open_clip model's text tower. Raises UserError for an unknown name."""
    return int(_text_config(split_name(name)[0]).get("width", 512))


def _text_config(model_name: str) -> dict[str, Any]:
    import open_clip

    if model_name.startswith(LOCAL):
        config = read_json(Path(model_name.removeprefix(LOCAL)) / CONFIG)["model_cfg"]
    else:
        config = open_clip.get_model_config(model_name)
    text: dict[str, Any] = config["text_cfg"]
    return text


def clip_settings(model_name: str, weights: str | None) -> dict[str, Any]:
    """How the image tower of an open_clip model is built and how its input is made, for userlib.data.pixels. Raises
    UserError where images are padded, or scaled with a filter other than bicubic and bilinear.
    """
    import open_clip
    from open_clip.transform import PreprocessCfg

    if model_name.startswith(LOCAL):
        stored = read_json(Path(model_name.removeprefix(LOCAL)) / CONFIG)
        config, given = stored["model_cfg"], stored.get("preprocess_cfg", {})
    else:
        config = open_clip.get_model_config(model_name)
        given = open_clip.get_pretrained_cfg(model_name, weights)
    size = config["vision_cfg"].get("image_size", 224)
    kinds = ("mean", "std", "interpolation", "resize_mode")
    inputs = {**vars(PreprocessCfg()), **{key: given[key] for key in kinds if given.get(key) is not None}}
    resize, interpolation = inputs["resize_mode"], inputs["interpolation"]
    if resize not in ("shortest", "squash") or interpolation not in ("bicubic", "bilinear"):
        raise UserError(
            f"open_clip:{model_name} prepares its images in a way ({resize}, {interpolation}) that is not supported "
            "for a tower that is trained. Use one such as ViT-B-32, or --train-image none."
        )
    return {
        "embed_dim": config["embed_dim"],
        "vision_cfg": config["vision_cfg"],
        "quick_gelu": bool(config.get("quick_gelu", False)),
        "input_size": [3, *((size, size) if isinstance(size, int) else size)],
        "mean": [255.0 * value for value in inputs["mean"]],
        "std": [255.0 * value for value in inputs["std"]],
        "resize": resize,
        "interpolation": interpolation,
    }


class ClipExtractor(Extractor):
    """Patch tokens and the L2-normalised image vector of an open_clip model; in bf16 on GPUs that have it."""

    def __init__(self, spec: str, *, device: str) -> None:
        super().__init__(spec, device)
        self.name = spec.removeprefix("open_clip:")
        self.model_name, self.weights = split_name(self.name)
        self.local = self.weights is None
        self.token_shape, self.guide_dim = _shapes(self.model_name)
        side = round(self.token_shape[0] ** 0.5)
        self.grid = (side, side) if side * side == self.token_shape[0] else None
        self.bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)

    def cache_key(self) -> dict[str, Any]:
        about = {
            "kind": "open_clip",
            "from": "patches after the last norm",
            "precision": "bf16" if self.bf16 else "fp32",
        }
        if self.weights is not None:
            return {**about, "model": self.model_name, "weights": self.weights}
        folder = Path(self.model_name.removeprefix(LOCAL))
        return {**about, CONFIG: sha256_text(folder / CONFIG), WEIGHTS: sha256_known(folder / WEIGHTS)}

    @cached_property
    def network(self) -> tuple[nn.Module, Any]:
        """The model and its preprocessing, loaded at first use."""
        return load_clip(self.name, device=self.device)

    def meta_model(self) -> tuple[nn.Module, Callable[[Tensor], Any], Tensor]:
        model, inputs = _meta_model(self.model_name)
        return model, lambda x: _forward(model, x), inputs

    def prepare(self, picture: Image.Image) -> Tensor:
        x: Tensor = self.network[1](picture)
        return x

    @torch.inference_mode()
    @full_float32()
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        device = self.device.partition(":")[0]
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bf16):
            tokens, guide = _forward(self.network[0], inputs.to(self.device))
        return tokens.float(), nn.functional.normalize(guide.float(), dim=-1)


def make_clip(spec: str, *, weights: str | Path | None, device: str) -> ClipExtractor:
    """`open_clip:NAME/PRETRAINED`, `open_clip:local-dir:FOLDER` or `clip-mini`, the project's own network."""
    refuse_weights(spec, weights)
    if spec != "clip-mini" and not spec.startswith("open_clip:"):
        raise unknown(spec)
    return ClipExtractor(spec, device=device)


def _forward(model: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) -> patches (B, R, D), image vector (B, G)."""
    outputs = model.forward_intermediates(
        image=inputs, image_indices=1, normalize_intermediates=True, image_output_fmt="NLC"
    )
    return outputs["image_intermediates"][-1], outputs["image_features"]


def _meta_model(model_name: str) -> tuple[nn.Module, Tensor]:
    """The model on the meta device, and one input. Initialising a ViT-B for nothing would take 2 s."""
    with torch.device("meta"):
        model: Any = _built(model_name, "meta").eval()
    size = model.visual.image_size
    return model, torch.empty(1, 3, *((size, size) if isinstance(size, int) else size), device="meta")


def _shapes(model_name: str) -> tuple[tuple[int, int], int]:
    """(R, D) and G, found with the model on the meta device."""
    try:
        model, inputs = _meta_model(model_name)
        with torch.inference_mode():
            tokens, guide = _forward(model, inputs)
    except (AssertionError, NotImplementedError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"open_clip:{model_name} gives no patch tokens ({str(error).strip()[:200]}). Use a vision transformer, "
            "such as ViT-B-32."
        ) from error
    return (tokens.shape[1], tokens.shape[2]), guide.shape[1]

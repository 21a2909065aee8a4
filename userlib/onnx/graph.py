"""Exports the two encoders as ONNX graphs for any batch and any length, each compared with torch before it is kept.

Two parts are exported in an equivalent form: the weights of GPO, which depend on the size of a set alone, as a table of
all sizes; the BiGRU as ONNX's own, with the lengths as an input.
"""

import copy
import json
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from userlib.data.backbones import TimmExtractor
from userlib.data.base import Extractor
from userlib.data.clip import ClipExtractor
from userlib.errors import UserError
from userlib.files import atomic_write_folder, write_json
from userlib.logs import quiet
from userlib.model.pooling import GPO
from userlib.model.text_networks import BiGRU
from userlib.model.user import DualEncoder, Loaded
from userlib.onnx.runtime import INTERPOLATIONS, resized, session
from userlib.precision import full_float32
from userlib.verify import write_manifest

OPSET = 17
LONGEST = 256  # tokens of a text, or regions of an image where the model does not fix them
CLOSE = 1e-4  # the largest difference allowed in a dimension of a unit vector


class RankTable(nn.Module):
    """`GPO` with the weights of every size up to `longest` in a table (longest + 1, longest)."""

    def __init__(self, gpo: GPO, longest: int) -> None:
        super().__init__()
        with torch.no_grad():
            weights = gpo.weights(longest)
        self.register_buffer("table", torch.cat([weights.new_zeros(1, longest), weights]))
        self.table: Tensor

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """vectors (B,N,E), mask (B,N) -> (B,E)."""
        count = vectors.shape[1]
        there = torch.ones_like(vectors[..., 0], dtype=torch.bool) if mask is None else mask
        channels = vectors.masked_fill(~there.unsqueeze(-1), -1e30).transpose(1, 2)
        ordered = channels.sort(dim=-1, descending=True).values
        weights = self.table[there.sum(1)][:, :count].unsqueeze(1)  # zero behind a set's end
        return (ordered.masked_fill(ordered < -1e29, 0.0) * weights).sum(-1)


class PackedBiGRU(nn.Module):
    """`BiGRU` by torch's packed sequences, which can be exported."""

    def __init__(self, states: BiGRU) -> None:
        super().__init__()
        self.embedding, self.gru, self.skip, self.width = (
            states.embedding,
            states.gru,
            states.skip,
            states.width,
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W), attention_mask (B,W) -> (B,W,width)."""
        vectors = self.embedding(input_ids)
        packed = pack_padded_sequence(vectors, attention_mask.sum(1), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=input_ids.shape[1]
        )
        forward, backward = states.chunk(2, dim=-1)
        averaged: Tensor = (forward + backward) / 2
        return torch.cat([averaged, vectors], dim=-1) if self.skip else averaged


def on_cpu(module: nn.Module) -> Any:
    """A copy in evaluation mode and float32 on the CPU, frozen."""
    return copy.deepcopy(module).float().cpu().eval().requires_grad_(False)


def exportable(module: nn.Module, longest: int) -> Any:
    """A copy as of `on_cpu` in which GPO and BiGRU are replaced; longest: the largest set for GPO."""
    module = on_cpu(module)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, GPO):
                setattr(parent, name, RankTable(child, longest))
            elif isinstance(child, BiGRU):
                setattr(parent, name, PackedBiGRU(child))
            elif hasattr(child, "config") and hasattr(child.config, "_attn_implementation"):
                child.config._attn_implementation = "eager"
    return module


class FromPixels(nn.Module):
    """Images (B,3,H,W) uint8, as `resized` returns them -> tokens and guide -> vectors (B,E) of the image encoder."""

    def __init__(self, encoder: nn.Module, tokens: Extractor, guide: Extractor | None) -> None:
        super().__init__()
        self.encoder, self.tokens = encoder, _Network(tokens)
        self.guide = _Network(guide) if guide is not None and guide is not tokens else None
        self.shares = guide is tokens

    def forward(self, pixels: Tensor, guide_pixels: Tensor | None = None) -> Tensor:
        tokens, guide = self.tokens(pixels)
        if self.guide is not None:
            guide = self.guide(guide_pixels)[1]
        vectors: Tensor = self.encoder(tokens, None, guide if self.shares or self.guide is not None else None)
        return vectors


class _Network(nn.Module):
    """The network of an extractor, from uint8 pixels -> tokens, guide. how: the argument of `resized` for it. Raises
    UserError for an extractor that is neither of timm nor of open_clip, or whose preprocessing has no such form.
    """

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        if isinstance(extractor, TimmExtractor):
            self.network = on_cpu(extractor.network).to(memory_format=torch.contiguous_format)
            settings = extractor.settings
            scale, size = 1.0 if settings["range"] == "0-255" else 255.0, settings["input_size"][1:]
            mean, std = ([scale * v for v in settings[key]] for key in ("mean", "std"))
            self.how = {"mode": "squash", "interpolation": "bicubic", "size": list(size)}
        elif isinstance(extractor, ClipExtractor):
            self.network = on_cpu(extractor.network[0])
            visual: Any = self.network.visual
            mean, std = ([255.0 * v for v in values] for values in (visual.image_mean, visual.image_std))
            size = extractor.prepare(Image.new("RGB", (8, 8))).shape[1:]
            self.how = _how(extractor, list(size), mean, std)
        else:
            raise UserError(
                f"{extractor.spec} is no network of timm or open_clip, so it cannot be exported with pixels as input."
            )
        self.kind = type(extractor)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        from userlib.data import backbones, clip

        inputs = (pixels.float() - self.mean) / self.std
        if self.kind is TimmExtractor:
            features = self.network.forward_features(inputs)
            pooled = self.network.forward_head(features, pre_logits=True)
            tokens = backbones._tokens(self.network, features)
            return tokens, nn.functional.normalize(pooled.flatten(1), dim=-1)
        tokens, guide = clip._forward(self.network, inputs)
        return tokens, nn.functional.normalize(guide, dim=-1)


def _how(extractor: Extractor, size: list[int], mean: list[float], std: list[float]) -> dict[str, Any]:
    """The argument of `resized` that equals the extractor's own preprocessing on an image of odd sizes.

    Raises UserError where there is none.
    """
    noise = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    wanted = extractor.prepare(image).numpy()
    for mode in ("shortest", "squash"):
        for interpolation in INTERPOLATIONS:
            how = {"mode": mode, "interpolation": interpolation, "size": size}
            values = (resized(image, how) - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
            if values.shape == wanted.shape and np.abs(values - wanted).max() < 1e-5:
                return how
    raise UserError(f"the preprocessing of {extractor.spec} has no form without torch; export from tokens.")


@contextmanager
def _quiet() -> Any:
    """Hides the exporter's warnings about lengths, since the result is compared with torch."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # torch's fused attention, which ONNX lacks
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def write_graph(
    module: nn.Module, inputs: Mapping[str, Tensor], file: Path, lengths: Mapping[str, str]
) -> None:
    """Exports a module that maps the named inputs to (B,E). lengths: name of an input whose second axis has any length
    -> name of that length. Raises UserError where it cannot be exported.
    """
    axes = {name: {0: "batch", **({1: lengths[name]} if name in lengths else {})} for name in inputs}
    try:
        with torch.no_grad(), full_float32(), _quiet():
            torch.onnx.export(
                module, tuple(inputs.values()), str(file), input_names=list(inputs), output_names=["vectors"],
                dynamic_axes={**axes, "vectors": {0: "batch"}}, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
    except (RuntimeError, TypeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        what = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"{file.name} cannot be exported, since ONNX lacks a part of it ({what}). Export another model."
        ) from error


def compare(module: nn.Module, batches: list[dict[str, Tensor]], file: Path) -> float:
    """The largest difference between the vectors of onnxruntime and of torch. Raises UserError above CLOSE."""
    ort, largest = session(file), np.float32(0)
    for inputs in batches:
        feeds: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in inputs.items()}
        with torch.inference_mode(), full_float32():
            wanted = module(*inputs.values()).float().numpy()
        largest = np.maximum(largest, np.abs(ort.run(None, feeds)[0] - wanted).max())  # NaN stays NaN
    if not largest <= CLOSE:
        raise UserError(
            f"{file.name} differs from torch by {largest:.1e}, more than {CLOSE:.0e}, and was not kept; try another "
            "version of onnxruntime."
        )
    return float(largest)


def quantize(file: Path) -> None:
    """Writes NAME.int8.onnx next to NAME.onnx: weights of matrix products in eight bits, activations at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            str(file), str(file.with_name(f"{file.stem}.int8.onnx")), weight_type=QuantType.QInt8
        )


def export(
    loaded: Loaded,
    out: Path,
    *,
    key: Mapping[str, Any],
    extractors: tuple[Extractor, Extractor | None] | None = None,
    why: str = "",
    int8: bool = False,
) -> dict[str, float]:
    """Writes the folder of an `OnnxEncoder`, whole or not at all; returns the largest difference of each graph.

    key: the cache_key of the checkpoint's encoder; extractors: of tokens and guide, to export a graph that reads
    images; why: the reason for an export that cannot. Raises UserError where the packages are missing, and as
    `write_graph` and `compare` do.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f'export needs the package {error.name}, which is not installed: pip install -e ".[onnx]"'
        ) from error
    model: DualEncoder = loaded.model
    config, differences = loaded.config.model, {}
    longest = loaded.tokenizer.longest or LONGEST
    regions = config.regions or LONGEST
    text = exportable(model.text_encoder, longest)
    image = exportable(model.image_encoder, max(regions, LONGEST))
    own_text, own_image = on_cpu(model.text_encoder), on_cpu(model.image_encoder)
    uses_guide = bool(model.image_encoder.uses_guide)
    fixed = model.image_encoder.regions is not None

    def words(count: int, length: int) -> dict[str, Tensor]:
        lengths = torch.randint(1, length + 1, (count, 1))
        lengths[0] = length
        mask = torch.arange(length) < lengths
        ids = torch.randint(0, loaded.tokenizer.vocab_size, (count, length))
        return {"input_ids": ids.masked_fill(~mask, loaded.tokenizer.pad_id), "attention_mask": mask}

    def tokens(count: int, size: int) -> dict[str, Tensor]:
        mask = torch.ones(count, size, dtype=torch.bool)
        if not fixed:
            mask = torch.arange(size) < torch.randint(1, size + 1, (count, 1))
        guide = {"guide": torch.randn(count, config.guide_dim or 0)} if uses_guide else {}
        return {"tokens": torch.randn(count, size, config.region_dim or 0), "token_mask": mask, **guide}

    def write(part: Path) -> None:
        words_axes = {"input_ids": "words", "attention_mask": "words"}
        write_graph(text, words(3, min(9, longest)), part / "text.onnx", words_axes)
        lengths = [(3, min(9, longest)), (1, 2), (5, min(40, longest))]
        differences["text"] = compare(own_text, [words(*size) for size in lengths], part / "text.onnx")
        regions_axes = {} if fixed else {"tokens": "regions", "token_mask": "regions"}
        sizes = [(3, regions), (1, regions), (4, regions if fixed else 1), (2, regions if fixed else 7)]
        write_graph(image, tokens(3, regions), part / "image.onnx", regions_axes)
        differences["image"] = compare(own_image, [tokens(*size) for size in sizes], part / "image.onnx")
        pixels: dict[str, Any] = {}
        if extractors is not None:
            whole = FromPixels(image, *extractors).eval()
            pixels["pixels"] = whole.tokens.how
            if whole.guide is not None:
                pixels["guide_pixels"] = whole.guide.how

            def drawn(count: int) -> dict[str, Tensor]:
                return {
                    name: torch.randint(0, 256, (count, 3, *how["size"]), dtype=torch.uint8)
                    for name, how in pixels.items()
                }

            write_graph(whole, drawn(2), part / "pixels.onnx", {})
            differences["pixels"] = compare(
                FromPixels(own_image, *extractors).eval(),
                [drawn(1), drawn(3)],
                part / "pixels.onnx",
            )
        if int8:
            for file in sorted(part.glob("*.onnx")):
                quantize(file)
        about = {
            "format": "onnx", "encoder": dict(key), "longest": longest, "guide": uses_guide, "pixels": pixels or None,
            "why": why, "int8": int8, "opset": OPSET, "differences": differences,
        }  # fmt: skip
        write_json(part / "pair.json", json.loads(json.dumps(about)))
        write_json(part / "tokenizer.json", loaded.tokenizer.to_json())
        write_manifest(part)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        atomic_write_folder(out, write)
    return differences

"""`python -m userlib export`: exports a model, compares its rSum with that of torch, and times both."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from userlib.config import Config
from userlib.data.captions import CaptionDataset
from userlib.errors import UserError
from userlib.evaluation import embed, ranks, recalls
from userlib.files import shown
from userlib.model.user import Loaded, load_model
from userlib.onnx.graph import export
from userlib.onnx.runtime import OnnxEncoder, padded
from userlib.precision import full_float32
from userlib.provenance import provenance
from userlib.scoring import data_of, pairs_for, trained
from userlib.search.encoders import CheckpointEncoder

CAPTIONS = 256  # at a time
IMAGES = 32  # of the timed batch
REPEATS = 15


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Exports, prints the results as lines or as JSON, and returns the exit status."""
    loaded = load_model(arguments.checkpoint)
    encoder, why = None, "it was trained on precomputed features"
    if loaded.config.data.tokens != "precomputed":
        encoder = CheckpointEncoder(
            arguments.checkpoint, device="cpu", token_weights=arguments.token_weights, tokens=arguments.tokens,
            guide=arguments.guide,
        )  # fmt: skip
    result: dict[str, Any] = {}
    if encoder is not None:
        try:
            result["differences"] = export(
                loaded, Path(arguments.out), key=encoder.cache_key(), extractors=(encoder.tokens, encoder.guide),
                int8=arguments.int8,
            )  # fmt: skip
            why = ""
        except UserError as error:
            if "pixels" not in str(error) and "preprocessing" not in str(error):
                raise
            why = str(error)
            print(f"This export reads tokens, not images: {why}", file=sys.stderr)
    if why:
        key = {"kind": "checkpoint"} if encoder is None else encoder.cache_key()
        result["differences"] = export(loaded, Path(arguments.out), key=key, why=why, int8=arguments.int8)
    kinds = [False, True] if arguments.int8 else [False]
    threads = torch.get_num_threads()
    pairs = {
        "int8" if int8 else "onnx": OnnxEncoder(arguments.out, int8=int8, threads=threads) for int8 in kinds
    }
    if arguments.split != "none":
        result["rsum"] = _rsums(arguments, loaded, pairs)
    if arguments.latency:
        result["latency_ms"] = _latency(loaded, pairs)
        result["threads"] = threads
    result["provenance"] = provenance()
    if arguments.json:
        print(json.dumps(result))
        return 0
    for line in _lines(result, arguments.out):
        print(line)
    return 0


def _lines(result: dict[str, Any], out: str) -> list[str]:
    """The result as lines of text."""
    most = ", ".join(f"{name} {value:.1e}" for name, value in result["differences"].items())
    lines = [f"{shown(out)}: the largest difference from torch in a unit vector's dimension: {most}"]
    if "rsum" in result:
        own = result["rsum"]["torch"]
        for name, value in result["rsum"].items():
            lines.append(
                f"rSum {name:5s} {value:7.2f}" + (f"  ({value - own:+.2f})" if name != "torch" else "")
            )
    for what, times in result.get("latency_ms", {}).items():
        for name, value in times.items():
            ratio = "" if name == "torch" else f"  {times['torch'] / value:.2f} times as fast as torch"
            lines.append(f"{what:26s} {name:5s} {value:8.2f} ms{ratio}")
    return lines


def embedded(encoder: OnnxEncoder, pairs: CaptionDataset) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of images (N, E) and captions (M, E) of a split by an exported model, as of `evaluation.embed`."""
    images = [
        encoder.encode_tokens(
            tokens.numpy(), None if mask is None else mask.numpy(), None if guide is None else guide.numpy()
        )
        for tokens, mask, guide in pairs.image_batches(CAPTIONS)
    ]
    rows, captions = [], []
    for numbers, input_ids, there in pairs.caption_batches(CAPTIONS):
        rows.append(np.asarray(numbers))
        feeds = {"input_ids": input_ids.numpy(), "attention_mask": there.numpy()}
        captions.append(encoder._text.run(None, feeds)[0])
    return np.concatenate(images), np.concatenate(captions)[np.argsort(np.concatenate(rows))]


def _rsums(arguments: argparse.Namespace, loaded: Loaded, pairs: dict[str, OnnxEncoder]) -> dict[str, float]:
    """rSum of torch and of each export on one split."""
    arguments.device = "cpu"
    model = trained(arguments.checkpoint, arguments)
    name = arguments.split or model.config.data.test_split
    if name is None:
        raise UserError(
            "no split is named to compare rSum on; give --split, or --split none for no comparison."
        )
    data = data_of(model.config, model, other=False, needs_train=False, notes=[])
    split = pairs_for(model, data.split(name), [])
    owner = split.caption_to_image
    rsums = {"torch": recalls(ranks(*embed(model.loaded.model, split), owner)).rsum}
    return rsums | {key: recalls(ranks(*embedded(pair, split), owner)).rsum for key, pair in pairs.items()}


def _timed(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median time of each in ms, measured in turn, so that other load on the machine affects all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(REPEATS):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in times.items()}


def _latency(loaded: Loaded, pairs: dict[str, OnnxEncoder]) -> dict[str, dict[str, float]]:
    """The time of one text query, and of the tokens of 32 images, by torch and by each export, in ms."""
    ids = padded([loaded.tokenizer.encode("two dogs play on a sunny beach")], loaded.tokenizer.pad_id)
    config, draw = loaded.config.model, np.random.default_rng(0)
    tokens = draw.standard_normal((IMAGES, config.regions or 49, config.region_dim or 1)).astype(np.float32)
    uses_guide = loaded.model.image_encoder.uses_guide
    guide = draw.standard_normal((IMAGES, config.guide_dim or 1)).astype(np.float32) if uses_guide else None

    def by_torch(image: bool) -> Any:
        with torch.inference_mode(), full_float32():
            if image:
                mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
                given = None if guide is None else torch.from_numpy(guide)
                return loaded.model.encode_image(torch.from_numpy(tokens), mask, given)
            return loaded.model.encode_text(*(torch.from_numpy(part) for part in ids.values()))

    text = {name: (lambda pair=pair: pair._text.run(None, ids)) for name, pair in pairs.items()}
    image = {
        name: (lambda pair=pair: pair.encode_tokens(tokens, None, guide)) for name, pair in pairs.items()
    }
    return {
        "one text query": _timed({"torch": lambda: by_torch(False), **text}),
        f"tokens of {IMAGES} images": _timed({"torch": lambda: by_torch(True), **image}),
    }

"""An estimate of what a run costs before it starts: bytes, steps, seconds and GPU memory.

One step of the configured model runs on a few rows of random numbers, and its cost is scaled to the batch. Operations
are counted by torch (matrix products only); activations are the tensors that the backward pass needs.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from userlib.config import Config, ModelConfig
from userlib.data.captions import Batch
from userlib.data.estimate import DECODED, FLOPS, estimate
from userlib.data.extractors import make_extractor
from userlib.data.hub import HUB_SETS
from userlib.data.scan import open_features
from userlib.model.text_transformers import Bert, config_of_json, text_settings
from userlib.model.user import USER
from userlib.training.preparing import fitted, splits_of, total_steps, tower_of

ROWS = 4  # pairs in the step that is counted
WORDS = 32  # tokens of the longest caption of a batch; Flickr30K's batches of 128 have 25 to 40
VOCABULARY = {"bert": 30_522, "clip": 49_408, "gru": 8_000, "bag": 8_000}


DECODERS = {"cpu": 2, "cuda": 8}  # worker processes
PLACES = {"cpu": "two CPU cores", "cuda": "one data-centre GPU"}


def run_cost(config: Config) -> dict[str, Any]:
    """The cost of data, tokens and training, from `estimate` and `training_cost`, with seconds on "cpu" and "cuda"."""
    text = text_bytes(config.model)
    parts = {device: estimate(config.data.data, config, device=device, text_bytes=text) for device in FLOPS}
    training = training_cost(config)
    seconds = {}
    for device, part in parts.items():
        own = {**part.pop("seconds"), "training": training["seconds"][device]}
        seconds[device] = {**own, "total": own["total"] + own["training"]}
    data = parts["cpu"]
    return {
        **{key: data[key] for key in ("data", "pictures", "download_bytes", "store_bytes")},
        "steps": training["steps"],
        "seconds": seconds,
        "extraction_memory_bytes": data["memory_bytes"],
        "gpu_memory_bytes": training["gpu_memory_bytes"],
        "terms": data["terms"],
    }


def text_bytes(model: ModelConfig) -> int | None:
    """The size of a transformers encoder on the hub, from its configuration; 0 without one, and None where this needs
    the network: of an encoder that only initialises a bag or a GRU.
    """
    if model.text_model is None or model.text == "clip" or Path(model.text_model).expanduser().exists():
        return 0
    if model.text in ("bag", "gru"):
        return None
    with torch.device("meta"):
        return 4 * sum(p.numel() for p in Bert(model).parameters())


def summary(cost: dict[str, Any]) -> str:
    """The cost as text, one line per part. Times are an order of magnitude, for data that are not cached yet."""
    lines = [f"data: {cost['data']}, {cost['pictures']:,} images"]
    for word in ("download", "store"):
        lines += _lines(word, cost[f"{word}_bytes"], lambda number: f"{number / 1e9:.2f} GB")
    lines.append(f"training: {cost['steps']:,} steps")
    for device, place in PLACES.items():
        lines += _lines(f"time, {place}", cost["seconds"][device], _duration)
    lines += _lines("GPU memory", cost["gpu_memory_bytes"], lambda number: f"{number / 1e9:.2f} GB")
    lines.append(f"terms: {cost['terms']}")
    lines.append(
        "Nothing was downloaded. Times are an order of magnitude, evaluations left out; GPU memory is counted in "
        "float32."
    )
    return "\n".join(lines)


def _lines(word: str, parts: dict[str, float | None], shown: Callable[[float], str]) -> list[str]:
    """The sum, then its parts."""
    told = {
        name: "unknown" if number is None else shown(number) for name, number in parts.items() if number != 0
    }
    total = told.pop("total", shown(0))
    return [f"{word}: {total}", *(f"    {name}: {number}" for name, number in told.items())]


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def training_cost(config: Config) -> dict[str, Any]:
    """steps, operations_a_step, seconds on "cpu" and "cuda" (an order of magnitude, without evaluations), and
    gpu_memory_bytes by part: weights, gradients, optimizer, momentum copies and queues, activations (in float32; bf16
    takes about half), training data.
    """
    captions, shape, guide_dim, data_bytes = _data(config)
    config = replace(config, training=fitted(config.training, captions, lambda _: None))
    steps = total_steps(config.training, captions)
    model, tokens = config.model, shape
    if model.text == "hf" and model.text_config is None:
        model = replace(model, **text_settings(model.text_model or ""))
    vocabulary = VOCABULARY.get(model.text)
    if model.text == "hf" and model.text_config is not None:
        vocabulary = config_of_json(model.text_config).vocab_size
    if model.train_image != "none":
        tower = tower_of(config)
        model, tokens = replace(model, image_tower=json.dumps(tower)), tower["tokens"]["shape"]
    model_config = replace(
        model,
        regions=tokens[0],
        region_dim=tokens[1],
        guide_dim=guide_dim,
        vocab_size=config.model.vocab_size or vocabulary,
        momentum=config.model.momentum or 0.0,
    )
    rows = min(ROWS, config.training.batch_size)
    with torch.random.fork_rng(devices=[]):
        user = USER(model_config, config.objective)
        clip = getattr(user.text_encoder.states, "clip", None)
        words = min(WORDS, int(getattr(clip, "context_length", WORDS)))
        counted = one_step(user, _batch(rows, shape, guide_dim, words))
    batch, part = config.training.batch_size, config.training.micro_batch
    operations = counted[0] * batch // rows
    if part is not None:  # a fifth pass: next to forward of queries and keys, and a backward of two
        operations = operations * 5 // 4
    activations = counted[1] * (part or batch) // rows
    learnt = sum(4 * p.numel() for p in user.parameters() if p.requires_grad)
    encoders = (user.image_encoder, user.text_encoder)
    weights = sum(4 * p.numel() for encoder in encoders for p in encoder.parameters())
    copies = sum(4 * p.numel() for p in user.parameters()) - weights
    buffers = sum(b.numel() * b.element_size() for b in user.buffers())
    seconds = {device: steps * operations / rate for device, rate in FLOPS.items()}
    if model.train_image != "none" and not config.data.keep_pixels:
        for device, workers in DECODERS.items():
            seconds[device] = max(seconds[device], steps * batch / (DECODED * workers))
    memory = {
        "weights": weights,
        "gradients": learnt,
        "optimizer": 2 * learnt,
        "momentum copies and queues": copies + buffers,
        "activations": activations,
        "training data": data_bytes,
    }
    return {
        "steps": steps,
        "operations_a_step": operations,
        "seconds": {device: round(value) for device, value in seconds.items()},
        "gpu_memory_bytes": {**memory, "total": sum(memory.values())},
    }


def _data(config: Config) -> tuple[int, tuple[int, ...], int | None, int]:
    """Number of train captions, (R, D) of tokens or (3, H, W) of pixels, width of the guide, and bytes of the data."""
    data, known = config.data, HUB_SETS.get(config.data.data)
    features: Path | None = None
    if known is not None and known.counts is not None and known.captions_each is not None:
        pictures = (data.sizes or {}).get("train", known.counts["train"])
        name, _, held_out = data.val_split.partition(":")
        pictures -= int(held_out) if held_out and name == "train" else 0
        captions = pictures * known.captions_each
    else:
        split = splits_of(config).split("train")
        pictures, captions, features = len(split), len(split.captions), split.features
    passes = 2 if data.hflip else 1
    if config.model.train_image != "none":
        shape, bytes_each = tuple(tower_of(config)["input_size"]), 0  # each batch is decoded as it is needed
    elif data.tokens == "precomputed" and features is not None:
        array = open_features(features)
        shape, bytes_each = (array.shape[1], array.shape[2]), array.dtype.itemsize
    else:
        shape, bytes_each = make_extractor(data.tokens, weights=data.token_weights).token_shape, 2
    guide = None if data.guide is None else make_extractor(data.guide).guide_dim
    return captions, shape, guide, pictures * (passes * prod(shape) * bytes_each + 4 * (guide or 0))


def _batch(size: int, shape: tuple[int, ...], guide: int | None, words: int) -> Batch:
    """A batch of random numbers."""
    vectors = None if guide is None else torch.rand(size, guide)
    return Batch(
        tokens=torch.rand(size, *shape),
        token_mask=None,
        guide=vectors,
        input_ids=torch.ones(size, words, dtype=torch.long),
        attention_mask=torch.ones(size, words, dtype=torch.bool),
        image_ids=torch.arange(size),
        caption_guide=vectors,
    )


def one_step(model: USER, batch: Batch) -> tuple[int, int]:
    """The operations of forward and backward pass, and the bytes of the activations kept between them."""
    own = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = model(batch)
        activations = sum(storage.nbytes() for storage in kept.values())
        output.loss.backward()
    return counter.get_total_flops(), activations

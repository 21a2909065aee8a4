"""Estimates of what a run downloads, stores, computes and holds in memory, made without using the network."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from userlib.config import Config, DataConfig
from userlib.data.base import Extractor
from userlib.data.extractors import make_extractor
from userlib.data.hub import HUB_SETS
from userlib.data.pixels import tower_settings
from userlib.errors import UserError

# Orders of magnitude: two cores of a server CPU, one data-centre GPU, JPEGs of 500 x 375, a usual line.
FLOPS = {"cpu": 6.5e10, "cuda": 2e13}  # operations per second
DECODED = 150.0  # images per second and worker
LINE = 20e6  # bytes per second over the network


def estimate(
    name: str,
    config: Config,
    *,
    device: str | None = None,
    workers: int = 2,
    text_bytes: float | None = 0,
) -> dict[str, Any]:
    """What it takes to prepare the data set `name` for `config`: `pictures` (the number of images); download_bytes,
    store_bytes and seconds, each a dict of parts and their "total"; memory_bytes; and the terms of use.

    Nothing is downloaded. Seconds are an order of magnitude, with an empty cache and without the training itself.
    device is "cpu" or "cuda", by default the GPU where there is one. text_bytes is the size of a text encoder that is
    downloaded, None for an unknown one, which is not in the total. Raises UserError for a data set of the hub whose
    size is not known.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    data = config.data
    tokens, guide = data.tokens, data.guide
    pictures, download, terms = _data(name, data)
    parts: dict[str, dict[str, float]] = {"download_bytes": {}, "store_bytes": {}, "seconds": {}}
    if download:
        parts["download_bytes"]["images and captions"] = download
        parts["store_bytes"]["images and captions"] = download
    wanted: dict[str, list[str]] = {}
    if tokens != "precomputed":
        wanted[tokens] = ["tokens", "tokens of the flipped images"] if data.hflip else ["tokens"]
    if config.model.train_image != "none":  # no tokens are made, but the network is downloaded
        wanted[tokens] = []
    if guide is not None and not guide.startswith("vectors:"):
        wanted.setdefault(guide, []).append("guide")
    if config.model.train_image != "none" and data.keep_pixels:
        parts["store_bytes"]["pixels"] = pictures * _pixels(config) * 2
        parts["seconds"]["pixels"] = pictures / (DECODED * workers)
    memory = 0.0
    for spec, arrays in wanted.items():
        weights = data.token_weights if spec == tokens else None
        extractor = make_extractor(spec, weights=weights, device=device)
        flops, size = _costs(extractor)
        if not extractor.local:
            parts["download_bytes"][f"weights of {spec}"] = size
        for array in arrays:
            numbers = (extractor.guide_dim or 0) if array == "guide" else math.prod(extractor.token_shape)
            parts["store_bytes"][array] = pictures * numbers * (4 if array == "guide" else 2)
        if not arrays:
            continue
        passes = 2 if "tokens of the flipped images" in arrays else 1
        rate = min(FLOPS[device.partition(":")[0]] / flops, DECODED * workers)
        parts["seconds"][f"{' and '.join(arrays)} by {spec}"] = passes * pictures / rate
        memory = max(memory, size + 1e9)
    text = config.model.text_model
    if text_bytes:
        parts["download_bytes"][f"weights of {text}"] = text_bytes
    if config.model.text == "clip" and text and text != "clip-mini":
        extractor = make_extractor("open_clip:" + text.removeprefix("open_clip:"))
        if not extractor.local and f"weights of {extractor.spec}" not in parts["download_bytes"]:
            parts["download_bytes"][f"weights of {extractor.spec}"] = _costs(extractor)[1]
    if parts["download_bytes"]:
        parts["seconds"]["download"] = sum(parts["download_bytes"].values()) / LINE
    whole: dict[str, dict[str, int | None]] = {
        part: {**{k: round(v) for k, v in values.items()}, "total": round(sum(values.values()))}
        for part, values in parts.items()
    }
    if text_bytes is None:
        whole["download_bytes"][f"weights of {text}"] = None
    return {"data": name, "pictures": pictures, **whole, "memory_bytes": round(memory), "terms": terms}


def _data(name: str, data: DataConfig) -> tuple[int, int | None, str]:
    """Number of images, bytes to download or None, terms."""
    known = HUB_SETS.get(name)
    if known is not None and known.counts is not None:
        pictures = sum((data.sizes or {}).get(split, count) for split, count in known.counts.items())
        return pictures, known.download, known.terms
    if not Path(name).expanduser().exists() and name.count("/") == 1:
        raise UserError(
            f"The cost of the hub's data set {name!r} cannot be estimated without asking the hub. Name one of "
            f"{', '.join(HUB_SETS)}, or a local copy."
        )
    from userlib.data.sources import load_data

    elsewhere = Path(data.pictures) if data.pictures and name == data.data else None
    splits = load_data(name, sizes=data.sizes, pictures=elsewhere).splits
    terms = "The terms under which you got the images apply."
    return sum(len(split) for split in splits.values()), None, terms


def _pixels(config: Config) -> int:
    """Pixel values stored per image for a tower that is trained."""
    if config.model.image_tower is not None:
        return math.prod(map(int, json.loads(config.model.image_tower)["input_size"]))
    weights = config.data.token_weights
    tower = tower_settings(config.data.tokens, Path(weights) if weights else None)
    return math.prod(map(int, tower["input_size"]))


def _costs(extractor: Extractor) -> tuple[float, float]:
    """Floating-point operations per image and bytes of weights, counted with the network on the meta device."""
    network, forward, inputs = extractor.meta_model()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        forward(inputs)
    return counter.get_total_flops(), 4.0 * sum(p.numel() for p in network.parameters())

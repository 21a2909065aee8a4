"""From images to region tokens (B, R, D) and a guide vector (B, G), by name.

- `timm:NAME` with weights: a .safetensors file and, next to it under the same stem, the JSON that says how the network
  is built and how its input is scaled; without weights: timm's own, from the hub
- `efficientnet-lite2`, `efficientnet-lite2-wide`: an ImageNet network from an installed package, for photos
  (efficientnet.py)
- `open_clip:NAME/PRETRAINED`, `open_clip:local-dir:FOLDER`: patch tokens and the unit image vector (clip.py)
- `region-mini`, `clip-mini`: the two small networks that come with this project
- `precomputed`: no network; SCAN's features as they are (userlib.data.tokens)

An extractor is cheap to make: its network is built when the first image comes, so that a filled cache opens at once.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from userlib.data.base import Extractor, refuse_weights, unknown
from userlib.data.registry import BACKBONES, same_network
from userlib.errors import UserError


def choose_device(wanted: str | None, trained: str | None = None) -> str:
    """`wanted`; else `trained`, the device of the training run, where this machine has it; else the GPU where there is
    one (of several processes of a launcher each has its own), else the CPU. Raises UserError where this machine does
    not have the wanted device.
    """
    if wanted is None:
        own = f"cuda:{os.environ.get('LOCAL_RANK', '')}".removesuffix(":")
        best = own if _is_here(own) else "cuda" if torch.cuda.is_available() else "cpu"
        return trained if trained is not None and _is_here(trained) else best
    if not _is_here(wanted):
        count = torch.cuda.device_count()
        here = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
        raise UserError(
            f"There is no device {wanted!r} here. Choose one of {', '.join(here)}, or leave the device out."
        )
    return wanted


def _is_here(name: str) -> bool:
    kind, _, number = name.partition(":")
    if kind == "cuda" and (not number or number.isdecimal()):
        return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
    return name == "cpu" or name == "mps" and torch.backends.mps.is_available()


def made_by(
    tokens: str, *, token_weights: str | Path | None = None, guide: str | None = None, device: str = "cpu"
) -> dict[str, Any]:
    """How tokens and guide are made, as JSON: everything that changes a value, with the weights' checksum. tokens is
    "pixels" where the image tower is a part of the model.
    """
    about: dict[str, Any] = {"tokens": {"kind": tokens}, "guide": None}
    for what, spec in (("tokens", tokens), ("guide", guide)):
        if spec not in (None, "precomputed", "pixels"):
            weights = token_weights if spec == tokens else None
            about[what] = {"spec": spec, **make_extractor(spec, weights=weights, device=device).cache_key()}
    return about


def check_made_by(trained: Mapping[str, Any], now: Mapping[str, Any], *, where: str) -> list[str]:
    """Raises UserError where tokens or guide are not those that the model in `where` was trained on.

    Only their precision may differ, as it does between devices; a note for the user is then returned.
    """
    notes: list[str] = []
    if not trained or not now:  # a checkpoint of an earlier version
        return notes
    for what, flag in (("tokens", "--tokens"), ("guide", "--guide")):
        one, other = dict(trained.get(what) or {}), dict(now.get(what) or {})
        specs = one.pop("spec", one.get("kind", "none")), other.pop("spec", other.get("kind", "none"))
        precisions = one.pop("precision", None), other.pop("precision", None)
        differ = [key for key in one | other if one.get(key) != other.get(key)]
        if "model" in differ and same_network(one.get("model"), other.get("model")):
            differ.remove("model")
        if not differ:
            if precisions[0] != precisions[1]:
                notes.append(
                    f"The {what} are computed in {precisions[1]} here, but {where} was trained on {what} in "
                    f"{precisions[0]}: values may differ slightly."
                )
        elif differ[0] in ("kind", "model") or specs[0] != specs[1]:
            if (
                differ[0] == "model" and specs[0] == specs[1]
            ):  # timm's bare name, which means other weights now
                specs = f"timm:{one.get('model')}", f"timm:{other.get('model')}"
            raise UserError(
                f"The model in {where} was trained with the {what} {specs[0]!r}, and those given are {specs[1]!r}. Use "
                f"the {what} that it was trained with ({flag}), or train again."
            )
        else:
            sums = [str(about.get(differ[0]))[:12] for about in (one, other)]
            raise UserError(
                f"The {what} of {where} were made by {specs[0]!r} with other {differ[0]} ({sums[0]}, and now "
                f"{sums[1]}): the file has changed since. Restore it, name the right one (--token-weights for timm), "
                "or train again."
            )
    return notes


def make_extractor(spec: str, *, weights: str | Path | None = None, device: str = "cpu") -> Extractor:
    """The extractor called `spec` (see the top of this file), from the backbone registered under the part before its
    colon. Raises UserError for an unknown name, and for weights where the backbone takes none.
    """
    kind, _, name = spec.partition(":")
    if (registered := kind if name else spec) in BACKBONES:
        return BACKBONES[registered](spec, weights=weights, device=device)  # type: ignore[no-any-return]
    refuse_weights(spec, weights)
    raise unknown(spec)

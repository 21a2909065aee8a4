"""Names that earlier versions wrote, old -> new: what they left stays readable, and everything is written with the new.

Nothing else in the packages knows an old name.
"""

import types
from collections.abc import Mapping
from typing import Any

DOCUMENTS: Mapping[str, str] = types.MappingProxyType(
    {"facts": "metadata"}
)  # of a checkpoint: NAME.json each
FILES: Mapping[str, str] = types.MappingProxyType(
    {f"{old}.json": f"{new}.json" for old, new in DOCUMENTS.items()}
)

SETTINGS: Mapping[str, Mapping[str, str]] = types.MappingProxyType(
    {
        "model": {"strength": "residual_scale", "sharpness": "inverse_temperature"},
        "objective": {"live": "leaky_positive"},
    }
)  # of a configuration, by its parts
WEIGHTS: Mapping[str, str] = types.MappingProxyType(
    {
        "scaled": "region_norm",
        "self_strength": "self_scale",
        "clip_strength": "clip_scale",
        "sigma": "log_scale",
        "origin": "init_log_scale",
        "image_keys": "image_momentum_encoder",
        "text_keys": "text_momentum_encoder",
        "born": "enqueued_at",
        "written": "num_enqueued",
        "clock": "step",
    }
)  # of a tensor's name, the parts between its dots


ROWS: Mapping[str, str] = types.MappingProxyType({"cell": "variant"})  # of a stored run of a study: ROW.json

SCENE: Mapping[str, str] = types.MappingProxyType(
    {"look": "appearance_seed"}
)  # of a scene graph, whose hash has the old


def documents(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's documents by their names of today, its configuration with those of its settings."""
    named = {DOCUMENTS.get(name, name): document for name, document in stored.items()}
    if isinstance(named.get("config"), Mapping):
        named["config"] = settings(named["config"])
    return named


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, {"model": {"strength": 1.0}}, by its names of today."""
    return {
        part: {SETTINGS.get(part, {}).get(key, key): value for key, value in values.items()}
        if isinstance(values, Mapping)
        else values
        for part, values in config.items()
    }


def row(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored run of a study by its names of today."""
    return {ROWS.get(name, name): value for name, value in stored.items()}


def scene(graph: Any) -> Any:
    """A scene graph by the names that it was first hashed with, new -> old."""
    if isinstance(graph, Mapping):
        old = {new: name for name, new in SCENE.items()}
        return {old.get(name, name): scene(value) for name, value in graph.items()}
    return [scene(value) for value in graph] if isinstance(graph, list | tuple) else graph


def weight(name: str) -> str:
    """A stored tensor's name, "image_encoder.scaled.center", as it is today."""
    return ".".join(WEIGHTS.get(part, part) for part in name.split("."))

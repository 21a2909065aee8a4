"""Names of earlier versions, old -> new: their files can still be read, and only the new names are written.

No other module knows an old name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from userlib.errors import UserError

# DOCUMENTS: NAME.json of a checkpoint; SETTINGS: by the part of a configuration; VALUES: of a setting, by its old name;
# FLAGS: of the command line; WEIGHTS: parts of a tensor's name, between dots; ROWS: keys of a stored run of a study;
# GROUPS: halves of the drawn test images; SCENE: keys of a scene graph, which is hashed with the old names.
DOCUMENTS: Mapping[str, str] = {"facts": "metadata"}
FILES: Mapping[str, str] = {f"{old}.json": f"{new}.json" for old, new in DOCUMENTS.items()}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "data": {"mirrored": "hflip", "select": "val_split", "report": "test_split"},
    "model": {
        "strength": "residual_scale",
        "sharpness": "inverse_temperature",
        "token_width": "region_dim",
        "guide_width": "guide_dim",
        "embed": "embed_dim",
        "region_dropout": "region_channel_dropout",
        "word_skip": "word_residual",
        "word_vectors": "init",
        "freeze_text": "train_text",
    },
    "objective": {"live": "leaky_positive"},
    "training": {
        "batch": "batch_size",
        "clip": "max_grad_norm",
        "text_lr": "text_lr_scale",
        "word_drop": "caption_augment_prob",
        "region_drop": "region_mask_prob",
        "averaged": "use_ema",
    },
}
VALUES: Mapping[str, Mapping[str | bool, str]] = {
    "word_vectors": {"grounded": "cca"},
    "freeze_text": {False: "all", True: "none"},
}
FLAGS: Mapping[str, str] = {"--select": "--val-split", "--report": "--test-split", "--batch": "--batch-size"}
WEIGHTS: Mapping[str, str] = {
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
ROWS: Mapping[str, str] = {"cell": "variant"}
GROUPS: Mapping[str, str] = {"seen": "in-distribution", "new pairs": "novel compositions"}
SCENE: Mapping[str, str] = {"look": "appearance_seed"}


def documents(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The documents of a checkpoint with today's names, also within its configuration and history."""
    named = {DOCUMENTS.get(name, name): document for name, document in stored.items()}
    if isinstance(named.get("config"), Mapping):
        named["config"] = settings(named["config"])
    if isinstance(named.get("state"), Mapping):
        rows = named["state"].get("rows", [])
        named["state"] = {**named["state"], "rows": [{column(k): v for k, v in row.items()} for row in rows]}
    return named


def column(name: str) -> str:
    """Today's name of a column of a run's history, such as "strength_self_at_end"."""
    if not name.startswith("strength_"):
        return name
    return f"scale_{name.removeprefix('strength_')}".replace("_at_end", "_is_clamped")


def settings(config: Any) -> Any:
    """A stored configuration, {"model": {"strength": 1.0}}, with today's names; anything else is returned unchanged."""
    if not isinstance(config, Mapping):
        return config
    return {
        part: _settings(SETTINGS.get(part, {}), values) if isinstance(values, Mapping) else values
        for part, values in config.items()
    }


def _settings(names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """An old name next to its new one is kept, so that reading it raises an error."""
    return {
        key if names.get(key) in values else names.get(key, key): VALUES[key].get(value, value)
        if key in VALUES and isinstance(value, str | bool)
        else value
        for key, value in values.items()
    }


def check_flags(words: Sequence[str]) -> None:
    """Raises UserError, with the new name, for a command line with an old flag."""
    for word in words:
        flag = word.partition("=")[0]
        if flag in FLAGS:
            raise UserError(f"{flag} is now {FLAGS[flag]}; use that name.")


def row(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored run of a study with today's names."""
    named = {ROWS.get(name, name): value for name, value in stored.items()}
    if "groups" in named:
        named["groups"] = [GROUPS.get(name, name) for name in named["groups"]]
    return named


def scene(graph: Any) -> Any:
    """A scene graph with the old names, with which it is hashed."""
    if isinstance(graph, Mapping):
        old = {new: name for name, new in SCENE.items()}
        return {old.get(name, name): scene(value) for name, value in graph.items()}
    return [scene(value) for value in graph] if isinstance(graph, list | tuple) else graph


def weight(name: str) -> str:
    """Today's name of a stored tensor, such as "image_encoder.scaled.center"."""
    return ".".join(WEIGHTS.get(part, part) for part in name.split("."))

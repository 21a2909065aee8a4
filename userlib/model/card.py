"""The model card of a saved model: what it is, how it was trained, its results and its limits, all of it from the
configuration and metadata of the checkpoint.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from userlib.config import Config, to_json
from userlib.errors import UserError
from userlib.version import __version__

PREFIXES = ("timm:", "vectors:", "open_clip:", "local-dir:")  # before a name or a path
DRAWN = ("scenes", "pretrain")  # data that this project draws itself
NAMES = {
    f"{way}_r{k}": f"{said} R@{k}"
    for way, said in (("i2t", "image to text"), ("t2i", "text to image"))
    for k in (1, 5, 10)
}


def card_of(title: str, about: str, header: Mapping[str, Any], *, results: Any = None) -> str:
    """The text of a README.md: the header as YAML, then the title and the text `about`. Raises UserError for a header
    that the hub does not accept.
    """
    from huggingface_hub import ModelCardData

    try:
        data = ModelCardData(eval_results=results, model_name=title if results else None, **header)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the hub does not accept the model card's header {dict(header)}: {error}. Correct model_card_kwargs."
        ) from error
    return f"---\n{data.to_yaml()}\n---\n\n# {title}\n\n{about}\n"


def place(name: str | None) -> str:
    """A data set's name, or the last part of a folder's: a card shows no paths of the machine that wrote it."""
    if name is None:
        return "none"
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return prefix + place(name.removeprefix(prefix))
    path = os.path.expanduser(name)
    return os.path.basename(os.path.abspath(path)) if os.path.isabs(path) or os.path.exists(path) else name


def model_card(title: str, config: Config, metadata: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The card of a trained model. given: fields that replace those of the header."""
    data, drawn = place(metadata.get("data", config.data.data)), config.data.data in DRAWN
    terms = (
        {"license": "mit"} if drawn else {"license": "other", "license_name": "terms-of-the-training-images"}
    )
    header = {
        "library_name": "userlib",
        "tags": ["image-text-retrieval", "image-retrieval", "userlib"],
        **({} if "license" in given else terms),
        **given,
    }
    about = metadata.get("provenance", {})
    results = _results(metadata, data)
    settings = {part: _changed(part, values) for part, values in to_json(config).items()}
    hardware = ", ".join(str(part) for part in about.get("hardware", {}).values())
    sections = {
        "": f"An image and a text encoder into one space of {config.model.embed_dim} dimensions, for image-text "
        "retrieval: USER (unified semantic enhancement with momentum contrast; Zhang, Ji, Wang, Pang and Li, "
        f"doi:10.1109/TIP.2023.3348297), enhancement `{config.model.enhancement}`, text network "
        f"`{config.model.text}`, trained by userlib {__version__}.",
        "How to use it": "```python\nfrom userlib import Index, USER\n\n"
        f'model = USER.from_pretrained("{title}")\nindex = Index.build("my/photos", model)\n'
        'for hit in index.search("two dogs on a beach", 5):\n    print(hit.rank, hit.id, hit.score)\n```',
        "Data": f"Trained on `{data}`, fingerprint `{metadata.get('fingerprint', 'unknown')}`; tokens "
        f"`{place(config.data.tokens)}`, guide `{place(config.data.guide)}`.",
        "Training": f"Seed {config.training.seed}. Settings other than the defaults:\n\n```json\n"
        f"{json.dumps(settings, indent=1, default=str)}\n```",
        "Results": _table(metadata),
        "Limits": _limits(data, drawn),
        "Licence": f"Of these weights: {header['license']}"
        + ("." if drawn or "license" in given else ", see below. ")
        + ("" if drawn else f"The images of `{data}` have their own terms, which may apply to these weights: read "
           "them before you use or pass on the weights. ")
        + " The library has the MIT licence.",
        "Where it was made": f"Code {about.get('code', 'unknown')}, torch {about.get('torch', 'unknown')}, Python "
        f"{about.get('python', 'unknown')}, {hardware or 'hardware unknown'}, {about.get('date', 'date unknown')}.",
    }  # fmt: skip
    text = "\n\n".join(f"## {name}\n\n{body}" if name else body for name, body in sections.items())
    return card_of(title, text, header, results=results)


def _changed(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a part that differ from the defaults; of folders only the last part."""
    default = to_json(Config())[part]
    paths = ("data", "pictures", "token_weights", "tokens", "guide", "text_model")
    return {
        key: place(value) if key in paths and value is not None else value
        for key, value in values.items()
        if value != default[key]
    }


def _table(metadata: Mapping[str, Any]) -> str:
    """The metrics of the report with their confidence intervals, else the rSum that selected the epoch."""
    report, selected = metadata.get("report"), metadata.get("selected") or {}
    if report:
        rows = [
            f"| {NAMES.get(name, 'rSum')} | {value:.1f} | {low:.1f} | {high:.1f} |"
            for name, (value, low, high) in report["metrics"].items()
            if name in {*NAMES, "rsum"}
        ]
        return (
            f"On the split `{report['split']}`, which no choice was made on, with 95 % confidence intervals over images"
            ", in percent (rSum: their sum):\n\n| | value | low | high |\n|---|--:|--:|--:|\n"
            + "\n".join(rows)
        )
    if selected:
        return (
            f"There is no report. rSum is {selected.get('rsum', float('nan')):.1f} on the split that selected the "
            "epoch, and too high for that reason."
        )
    return "None is stored with it."


def _results(metadata: Mapping[str, Any], data: str) -> Any:
    """The report in the form of the hub's table of results; None where there is none."""
    from huggingface_hub import EvalResult

    report = metadata.get("report")
    if not report:
        return None
    return [
        EvalResult(
            task_type="image-text-retrieval",
            dataset_type=data,
            dataset_name=data,
            dataset_split=report["split"],
            metric_type=name,
            metric_name=f"{NAMES.get(name, 'rSum')} (95 % confidence interval {low:.1f} to {high:.1f})",
            metric_value=round(value, 2),
        )
        for name, (value, low, high) in report["metrics"].items()
        if name in {*NAMES, "rsum"}
    ]


def _limits(data: str, drawn: bool) -> str:
    """What the model cannot be used for."""
    world = (
        "It was trained on images that code draws, and is of no use on photos. "
        if drawn
        else f"It knows images and words like those of `{data}`; on others its hits mean little, and `search` says so. "
    )
    return world + (
        "It ranks images by likeness to a text; it neither counts, reads nor recognises people reliably, repeats the "
        "biases of its captions, and must not be used to identify or judge anyone. A similarity is no probability."
    )

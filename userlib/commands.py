"""What the commands of `python -m userlib` do: train, evaluate, search."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from userlib.checkpoints import Loaded, load_model
from userlib.config import Config, to_json
from userlib.errors import UserError
from userlib.evaluation import Interval, Ranks, bootstrap, embed, folds, paired, ranks, table
from userlib.files import write_sealed
from userlib.provenance import peak_memory_mb, provenance
from userlib.training import fit, pairs_of, prepare, select_name, splits_of


def train(arguments: argparse.Namespace, config: Config) -> int:
    """Trains, then scores the report split once."""
    if arguments.dry_run:
        return dry_run(arguments, config)
    out = Path(arguments.out or f"runs/{arguments.preset}-seed{config.training.seed}")
    prepared = prepare(config, progress=not arguments.json, report_if_there=not _names_report(arguments))
    resolved = prepared.config
    if config.data.report is not None and resolved.data.report is None:
        _say(
            arguments,
            f"The data have no split {config.data.report!r}, so that none is scored at the end; --report names one.",
        )
    if not resolved.objective.live:
        _say(
            arguments,
            "The positive term is the paper's exact one, which has no gradient at or below zero similarity; "
            "--set objective.live=true has.",
        )
    size = resolved.model.queue_size
    if size is not None and size > len(prepared.train):
        _say(
            arguments,
            f"The queue holds {size} keys and an epoch has {len(prepared.train)} pairs: the oldest keys are "
            "of the epoch before, and pictures stand in it twice.",
        )
    run = fit(prepared, out=out, resume=arguments.resume, progress=not arguments.json)
    if not _main_process():
        return 0
    result: dict[str, Any] = {
        "config": to_json(resolved),
        "data_hash": prepared.fingerprint,
        "history": run.rows,
        "steps": int(run.rows[-1]["step"]) if run.rows else 0,
        "finished": run.finished,
        "seconds": run.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "provenance": provenance(),
    }
    if not run.finished:
        _say(arguments, f"Interrupted; the same command with --resume goes on from {out}.")
        return 130
    _say(
        arguments,
        f"Trained in {run.seconds:.0f} s; the best of {len(run.rows)} evaluations on "
        f"{prepared.select.split.name!r} has rSum {max(row['rsum'] for row in run.rows):.1f}.",
    )
    if prepared.report is not None:
        seed = resolved.training.seed
        images, captions = embed(run.encoders, prepared.report)
        found = ranks(images, captions, prepared.report.image_of)
        split = prepared.report.split
        result["report"] = {"split": split.name, "metrics": bootstrap(found, seed=seed)}
        result["ranks"] = {
            "i2t": found.i2t.tolist(),
            "t2i": found.t2i.tolist(),
            "image_of": found.image_of.tolist(),
        }
        if split.groups is not None:
            labels = np.asarray(split.groups)
            result["report"]["groups"] = {
                g: bootstrap(found, pictures=labels == g, seed=seed) for g in dict.fromkeys(split.groups)
            }
        _show(
            arguments,
            f"{split.name}, 95 % intervals over pictures",
            {"model": result["report"]["metrics"], **result["report"].get("groups", {})},
        )
    write_sealed(out / "result.json", result)
    if arguments.json:
        print(json.dumps({key: value for key, value in result.items() if key not in ("ranks", "history")}))
    return 0


def _names_report(arguments: argparse.Namespace) -> bool:
    """Whether the split for the report was asked for; else it is the preset's, which other data may not have."""
    asked = arguments.report is not None or arguments.config is not None
    return asked or any(setting.startswith("data.report") for setting in arguments.settings)


def dry_run(arguments: argparse.Namespace, config: Config) -> int:
    """Says what a run would download, store and compute, and how long it should take; touches no network."""
    from userlib.training.cost import run_cost, told

    found = run_cost(config)
    print(json.dumps(found) if arguments.json else told(found))
    return 0


def evaluate(arguments: argparse.Namespace, config: Config) -> int:
    """Scores checkpoints (several are seeds of one model), an open_clip model or the baseline alone."""
    if arguments.attention and not arguments.checkpoint:
        raise UserError("--attention looks at a trained model; give --checkpoint DIR.")
    if not (arguments.checkpoint or arguments.model or arguments.baseline):
        raise UserError(
            "nothing to evaluate: give --checkpoint DIR, --model OPEN_CLIP_NAME or --baseline cca."
        )
    loaded = [load_model(folder) for folder in arguments.checkpoint]
    if (arguments.folds is not None or arguments.eccv) and not loaded:
        raise UserError("--folds and --eccv need the embeddings of a model; give --checkpoint DIR.")
    if loaded:
        config = _with_flags(loaded[0].config, arguments)
    name = arguments.split or config.data.report
    if name is None:
        raise UserError("no split is named for the report; give --split, such as --split test.")
    scored: dict[str, list[Ranks]] = {}
    if loaded:
        scored["model"] = [_ranks_of(one, replace(one.config, data=config.data), name) for one in loaded]
    others: list[Loaded] = []
    if arguments.against:
        others = [load_model(folder) for folder in arguments.against]
        scored["against"] = [
            _ranks_of(one, replace(one.config, data=replace(one.config.data, data=config.data.data)), name)
            for one in others
        ]
    if arguments.model:
        scored[arguments.model] = [_zero_shot(arguments.model, config, name)]
    facts: dict[str, Any] = {}
    if arguments.folds is not None or arguments.eccv:
        facts |= _coco_facts(arguments, loaded[0], replace(loaded[0].config, data=config.data), name)
    if arguments.baseline:
        found, facts["cca"] = _cca(config, name)
        scored["cca"] = [found]
    seed = arguments.seed or 0
    tables: dict[str, dict[str, Interval]] = {
        key: bootstrap(value, seed=seed) for key, value in scored.items()
    }
    first, *beside = scored
    for key in beside:
        tables[f"{first} - {key}"] = dict(paired(scored[first], scored[key], seed=seed))
    if arguments.attention:
        facts["attention"] = [_attention_of(one, config, name) for one in loaded]
    data_hash = splits_of(config).fingerprint
    notes = sorted({note for one in [*loaded, *others] if (note := seen_in_training(one, config, name, data_hash))})
    result = {
        "split": name,
        "data": config.data.data,
        "data_hash": data_hash,
        "tables": tables,
        "notes": notes,
        **facts,
        "checkpoints": arguments.checkpoint,
        "against": arguments.against,
        "provenance": provenance(),
    }
    if arguments.out:
        write_sealed(Path(arguments.out), result)
    if arguments.json:
        print(json.dumps(result))
    else:
        _show(
            arguments,
            f"{name} of {config.data.data}, 95 % intervals over pictures"
            + (f" and {len(loaded)} seeds" if len(loaded) > 1 else ""),
            tables,
        )
        for note in notes:
            print(f"note: {note}")
        for key, value in facts.items():
            print(f"{key}: {value}")
    return 0


def seen_in_training(one: Loaded, config: Config, split: str, data_hash: str) -> str | None:
    """What makes the scores of a checkpoint on this split of these data too high; None where nothing does."""
    same = config.data.data == one.config.data.data or one.facts.get("fingerprint") == data_hash
    if not same or split not in ("train", select_name(one.config)):
        return None
    why = "the model was trained on it" if split == "train" else "it chose the epoch of this checkpoint"
    other = one.config.data.report or "test"
    return f"scores on {split!r} are too high, since {why}; report another split, such as --split {other}."


def search(arguments: argparse.Namespace, config: Config) -> int:
    """Finds the images for a query."""
    from userlib.search.command import run

    return run(arguments, config)


def _with_flags(config: Config, arguments: argparse.Namespace) -> Config:
    """A checkpoint's configuration with the data that the command line names."""
    flags = {
        "data": arguments.data,
        "tokens": arguments.tokens,
        "token_weights": arguments.token_weights,
        "select": arguments.select,
    }
    data = replace(config.data, **{key: value for key, value in flags.items() if value is not None})
    return replace(config, data=data)


def _coco_facts(arguments: argparse.Namespace, loaded: Loaded, config: Config, split: str) -> dict[str, Any]:
    """What COCO's tables show beside the whole split, for the first checkpoint."""
    from userlib.evaluation.eccv import eccv_caption

    pairs = pairs_of(config, splits_of(config).split(split), loaded.tokenizer)
    images, captions = embed(loaded.model, pairs)
    found: dict[str, Any] = {}
    if arguments.folds is not None:
        mean = folds(images, captions, pairs.image_of, size=arguments.folds).as_dict()
        found[f"mean of {len(images) // arguments.folds} folds of {arguments.folds}"] = {
            key: round(value, 2) for key, value in mean.items()
        }
    if arguments.eccv:
        found["ECCV Caption and CxC"] = eccv_caption(images, captions, pairs.split)
    return found


def _ranks_of(loaded: Loaded, config: Config, split: str) -> Ranks:
    pairs = pairs_of(config, splits_of(config).split(split), loaded.tokenizer)
    images, captions = embed(loaded.model, pairs)
    return ranks(images, captions, pairs.image_of)


def _attention_of(loaded: Loaded, config: Config, split: str) -> dict[str, dict[str, float]]:
    """How much of each guide's attention lies on what captions name, beside attention that knows nothing."""
    from userlib.ablation.truths import attention_of

    config = replace(loaded.config, data=config.data)
    found = attention_of(loaded.model, pairs_of(config, splits_of(config).split(split), loaded.tokenizer))
    if found is None:
        raise UserError(
            f"attention cannot be compared with masks: enhancement {config.model.enhancement!r}, data "
            f"{config.data.data!r}. It takes SGE or CGE, tokens on a grid, and drawn scenes."
        )
    return {
        guide: {what: round(100 * float(values.mean()), 2) for what, values in numbers.items()}
        for guide, numbers in found.items()
    }


def _zero_shot(name: str, config: Config, split: str) -> Ranks:
    from userlib.search import open_clip_encoder

    encoder, part = open_clip_encoder(name), splits_of(config).split(split)
    if part.pictures is None:
        raise UserError(f"the split {split!r} has no pictures, only features; {name} needs the pictures.")
    size, pictures = 64, part.pictures
    images = np.concatenate(
        [
            encoder.encode_pictures([pictures[i] for i in range(start, min(start + size, len(part)))])
            for start in range(0, len(part), size)
        ]
    )
    captions = np.concatenate(
        [
            encoder.encode_text(list(part.captions[start : start + 256]))
            for start in range(0, len(part.captions), 256)
        ]
    )
    return ranks(images, captions, part.image_of)


def _cca(config: Config, split: str) -> tuple[Ranks, dict[str, Any]]:
    """The baseline on the same tokens, tuned on the selection split."""
    from userlib.baselines import cca, mean_tokens
    from userlib.data.captions import WordTokenizer

    data = splits_of(config)
    words = WordTokenizer.fit(data.split("train").captions[:1])  # the baseline reads captions as text
    parts = {
        name: pairs_of(config, data.split(where), words)
        for name, where in (("train", "train"), ("select", select_name(config)), ("test", split))
    }
    inputs = {
        name: (mean_tokens(part.features), part.split.captions, part.image_of) for name, part in parts.items()
    }
    found = cca(inputs["train"], inputs["select"], inputs["test"])
    return found.ranks, found.facts


def _main_process() -> bool:
    import torch.distributed as dist

    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def _say(arguments: argparse.Namespace, words: str) -> None:
    if _main_process():
        print(words, file=sys.stderr if arguments.json else sys.stdout, flush=True)


def _show(arguments: argparse.Namespace, title: str, tables: dict[str, dict[str, Interval]]) -> None:
    if not arguments.json:
        print(title)
        print(table(tables))

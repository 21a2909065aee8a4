"""The commands of `python -m userlib`: train, evaluate, export, and search, which is in userlib/search/command.py."""

import argparse
import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist

from userlib import legacy
from userlib.baselines import cca, mean_tokens
from userlib.checkpoints import check_run, writing
from userlib.config import Config, to_json
from userlib.data.captions import CaptionDataset
from userlib.data.extractors import choose_device
from userlib.data.splits import RetrievalData, Split
from userlib.ensembles import members, score_ensemble
from userlib.errors import UserError
from userlib.evaluation import Interval, Ranks, bootstrap, embed, fold_average, paired_bootstrap, ranks, table
from userlib.evaluation.attention import attention_of
from userlib.evaluation.cross_scores import cross_scores, reranked
from userlib.evaluation.eccv import eccv_caption
from userlib.evaluation.ranking import ranks_from_scores
from userlib.files import check_file, read_json, write_checksummed
from userlib.model.user import DualEncoder
from userlib.provenance import peak_memory_mb, provenance
from userlib.rules import check_used
from userlib.scoring import (
    Trained,
    check_captions,
    check_seeds,
    data_of,
    pairs_for,
    seen_in_training,
    trained,
)
from userlib.search.command import run as search
from userlib.search.encoders import OpenClipEncoder
from userlib.search.protocol import encode_all
from userlib.training import fit, prepare, val_split_name
from userlib.training.cost import run_cost, summary
from userlib.training.interpolation import check_interpolation
from userlib.training.preparing import features_of
from userlib.training.tracking import check_trackers

__all__ = ["evaluate", "export", "search", "train"]  # the commands, by their names


def train(arguments: argparse.Namespace, config: Config) -> int:
    """Trains, then scores the test split once; returns the exit status."""
    if not arguments.resume:
        check_used(config)
    check_interpolation(config)
    if arguments.dry_run:
        return dry_run(arguments, config)
    out = Path(arguments.out or f"runs/{arguments.preset}-seed{config.training.seed}")
    check_run(out, resume=arguments.resume)
    check_trackers(_trackers(arguments), out)
    with writing(out) if _main_process() else nullcontext():
        return _train(arguments, config, out)


def _train(arguments: argparse.Namespace, config: Config, out: Path) -> int:
    """`train`, in a folder that no other process writes to."""
    say = partial(_say, arguments)
    report_if_there = not _names_report(arguments)
    prepared = prepare(config, progress=not arguments.json, report_if_there=report_if_there, say=say)
    resolved = prepared.config
    if config.data.test_split is not None and resolved.data.test_split is None:
        say(
            f"The data have no split {config.data.test_split!r}, so none is scored at the end; --test-split names one."
        )
    if not resolved.objective.leaky_positive:
        say(
            "The positive term is the paper's exact one, which has no gradient at or below zero similarity; "
            "--set objective.leaky_positive=true has."
        )
    size = resolved.model.queue_size
    if size is not None and size > len(prepared.train):
        say(
            f"The queue holds {size} keys and an epoch has {len(prepared.train)} pairs, so the oldest keys are from "
            "the epoch before, and images are in it twice."
        )
    run = fit(
        prepared, out=out, resume=arguments.resume, progress=not arguments.json, track=_trackers(arguments)
    )
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
        say(f"Interrupted; the same command with --resume continues in {out}.")
        return 130
    say(
        f"Trained in {run.seconds:.0f} s; the best of {len(run.rows)} evaluations on "
        f"{prepared.val.split.name!r} has rSum {max(row['rsum'] for row in run.rows):.1f}."
    )
    kept = run.encoders.loaded.metadata if run.encoders.loaded else {}
    if "interpolation" in kept:
        say(
            f"Kept are the weights at alpha {kept['interpolation']['alpha']:g} between the pretrained ones and these, "
            f"with rSum {kept['selected']['rsum']:.1f}."
        )
    if prepared.test is not None:
        seed = resolved.training.seed
        test_ranks, split = _ranks_of(run.encoders, prepared.test), prepared.test.split
        report: dict[str, Any] = {"split": split.name, "metrics": bootstrap(test_ranks, seed=seed)}
        if split.groups is not None:
            labels = np.asarray(split.groups)
            report["groups"] = {
                g: bootstrap(test_ranks, images=labels == g, seed=seed) for g in dict.fromkeys(split.groups)
            }
        result |= {"report": report, "ranks": {k: v.tolist() for k, v in vars(test_ranks).items()}}
        tables = {"model": report["metrics"], **report.get("groups", {})}
        _show(arguments, f"{split.name}, 95 % confidence intervals over images", tables)
    write_checksummed(out / "result.json", result, like=("history",))
    if arguments.json:
        print(json.dumps({key: value for key, value in result.items() if key not in ("ranks", "history")}))
    return 0


def _trackers(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The names of the trackers in --track."""
    return tuple(filter(None, (arguments.track or "").split(",")))


def _names_report(arguments: argparse.Namespace) -> bool:
    """Whether the user named the split of the report; else it is the preset's, which other data may not have."""
    # the file was read without error before
    given = legacy.settings(read_json(Path(arguments.config))) if arguments.config else {}
    named = arguments.test_split is not None or "test_split" in given.get("data", {})
    return named or any(setting.startswith("data.test_split") for setting in arguments.settings)


def dry_run(arguments: argparse.Namespace, config: Config) -> int:
    """Prints what a run would download, store and compute, and how long it should take, without using the network."""
    cost = run_cost(config)
    print(json.dumps(cost) if arguments.json else summary(cost))
    return 0


def evaluate(arguments: argparse.Namespace, config: Config) -> int:
    """Scores checkpoints, an ensemble, an open_clip model or the baseline; returns the exit status."""
    if arguments.out:
        check_file(Path(arguments.out), ("tables",))
    if arguments.attention and not arguments.checkpoint:
        raise UserError("--attention needs a trained model; give --checkpoint DIR.")
    if not (arguments.checkpoint or arguments.ensemble or arguments.model or arguments.baseline):
        raise UserError(
            "nothing to evaluate: give --checkpoint DIR, --ensemble DIR DIR, --model OPEN_CLIP_NAME or --baseline cca."
        )
    if (arguments.folds is not None or arguments.eccv) and not arguments.checkpoint:
        raise UserError("--folds and --eccv need the embeddings of a model; give --checkpoint DIR.")
    given = {"model": arguments.checkpoint, "against": arguments.against}
    models = {key: [trained(one, arguments) for one in folders] for key, folders in given.items() if folders}
    for group in models.values():
        check_seeds(group)
    if arguments.ensemble:
        models = {"ensemble": members(arguments), **models}
    main = next((group[0] for group in models.values()), None)
    config = config if main is None else main.config
    name = arguments.split or config.data.test_split
    if name is None:
        raise UserError("no split is named for the report; give --split, such as --split test.")
    notes: list[str] = []
    other, learns = arguments.data is not None, bool(arguments.baseline or arguments.val_split)
    own = data_of(config, main, other=other, needs_train=learns, notes=notes)
    parts: dict[str, Split] = {}
    for key, (one, *_) in models.items():
        data = own if one is main else data_of(one.config, one, other=other, needs_train=False, notes=notes)
        parts[key] = data.split(name)
    if not all(part.same_pairs(next(iter(parts.values()))) for part in parts.values()):
        first, second = (group[0].folder for group in models.values())
        raise UserError(
            f"the split {name!r} of {first} and that of {second} have different images or captions, so their results "
            "cannot be compared. Name the same data for both by --data, and a split from which neither --val-split "
            "took images."
        )
    scored: dict[str, list[Ranks]] = {}
    for key, group in models.items():
        if key == "ensemble":
            scored |= score_ensemble(group, parts[key], notes, other=other)
        else:
            scored[key] = [_ranks_of(one.loaded.model, pairs_for(one, parts[key], notes)) for one in group]
            scored |= _by_scorer(key, group, parts[key], notes, arguments.rerank)
        seen = (seen_in_training(one.loaded, config, name, own.fingerprint) for one in group)
        notes += [note for note in seen if note]
    if arguments.model:
        scored[arguments.model] = [_zero_shot(arguments.model, own.split(name), arguments.device)]
    facts: dict[str, Any] = {}
    if arguments.folds is not None or arguments.eccv:
        one = models["model"][0]
        facts |= _coco_facts(arguments, one, pairs_for(one, parts["model"], notes))
    if arguments.baseline:
        cca_ranks, facts["cca"] = _cca(config, own, name, notes)
        scored["cca"] = [cca_ranks]
    seed = arguments.seed or 0
    tables = {key: bootstrap(value, seed=seed) for key, value in scored.items()}
    first, *others = scored
    for key in others:
        tables[f"{first} - {key}"] = dict(paired_bootstrap(scored[first], scored[key], seed=seed))
    if arguments.attention:
        facts["attention"] = [
            _attention_of(one, pairs_for(one, parts["model"], notes)) for one in models["model"]
        ]
    notes = list(dict.fromkeys(notes))
    result = {
        "split": name,
        "data": config.data.data,
        "data_hash": own.fingerprint,
        "tables": tables,
        **facts,
        "checkpoints": arguments.checkpoint,
        **({"ensemble": arguments.ensemble} if arguments.ensemble else {}),
        "against": arguments.against,
        "notes": notes,
        "provenance": provenance(),
    }
    if arguments.out:
        write_checksummed(Path(arguments.out), result, like=("tables",))
    if arguments.json:
        print(json.dumps(result))
    else:
        seeds = len(next(iter(models.values()), []))
        over = f"images and {seeds} seeds" if seeds > 1 else "images"
        if arguments.ensemble:
            over = f"images, the mean of {len(arguments.ensemble)} models' scores (an ensemble, no seeds)"
        _show(arguments, f"{name} of {config.data.data}, 95 % confidence intervals over {over}", tables)
        for key, value in facts.items():
            print(f"{key}: {value}")
        for note in notes:
            print(f"Note: {note}")
    return 0


def export(arguments: argparse.Namespace, config: Config) -> int:
    """Exports a trained model as ONNX; returns the exit status."""
    from userlib.onnx.command import run

    return run(arguments, config)


def _coco_facts(arguments: argparse.Namespace, model: Trained, pairs: CaptionDataset) -> dict[str, Any]:
    """Further metrics of COCO, the mean over folds and ECCV Caption with CxC, of the first checkpoint."""
    images, captions = embed(model.loaded.model, pairs)
    metrics: dict[str, Any] = {}
    if arguments.folds is not None:
        mean = fold_average(images, captions, pairs.caption_to_image, size=arguments.folds).as_dict()
        metrics[f"mean of {len(images) // arguments.folds} folds of {arguments.folds}"] = {
            key: round(value, 2) for key, value in mean.items()
        }
    if arguments.eccv:
        metrics["ECCV Caption and CxC"] = eccv_caption(images, captions, pairs.split)
    return metrics


def _ranks_of(model: DualEncoder, pairs: CaptionDataset) -> Ranks:
    """The ranks by the model's scorer over all pairs where it has one, else by its embeddings."""
    if model.scorer is not None:
        return ranks_from_scores(cross_scores(model, pairs), pairs.caption_to_image)
    images, captions = embed(model, pairs)
    return ranks(images, captions, pairs.caption_to_image)


def _by_scorer(
    key: str, group: list[Trained], split: Split, notes: list[str], rerank: int | None
) -> dict[str, list[Ranks]]:
    """For models with a scorer, the ranks by embeddings alone, and those where it re-ranks the first `rerank` hits."""
    kind = group[0].config.model.scorer
    if kind == "dot":
        if rerank is not None:
            raise UserError(
                f"--rerank {rerank} needs a model with a scorer, and {group[0].folder} has only embeddings; train one "
                "with --scorer chan, scan-t2i, scan-i2t or naaf."
            )
        return {}
    lines: dict[str, list[Ranks]] = {}
    for one in group:
        model, pairs = one.loaded.model, pairs_for(one, split, notes)
        images, captions = embed(model, pairs)
        alone = ranks(images, captions, pairs.caption_to_image)
        lines.setdefault(f"{key}, embeddings alone", []).append(alone)
        if rerank is not None:
            again = reranked(model, pairs, images, captions, k=rerank)
            lines.setdefault(f"{key}, first {rerank} by {kind}", []).append(again)
    return lines


def _attention_of(model: Trained, pairs: CaptionDataset) -> dict[str, dict[str, float]]:
    """The share of each guide's attention, and of the baselines, that lies on what captions name, in percent."""
    attention = attention_of(model.loaded.model, pairs)
    if attention is None:
        raise UserError(
            f"--attention cannot be measured for enhancement {model.config.model.enhancement!r} on the data "
            f"{model.config.data.data!r}; it needs SGE or CGE, tokens on a grid, and drawn scenes."
        )
    return {
        guide: {what: round(100 * float(values.mean()), 2) for what, values in numbers.items()}
        for guide, numbers in attention.items()
    }


def _zero_shot(name: str, split: Split, device: str | None) -> Ranks:
    if split.pictures is None:
        raise UserError(
            f"the split {split.name!r} has only features, and {name} needs the images; name their folder by --pictures."
        )
    check_captions(split)
    encoder = OpenClipEncoder(name, device=choose_device(device))
    images = encode_all(encoder.encode_image, split.pictures)
    return ranks(images, encode_all(encoder.encode_text, split.captions, size=256), split.caption_to_image)


def _cca(config: Config, data: RetrievalData, split: str, notes: list[str]) -> tuple[Ranks, dict[str, Any]]:
    """The baseline on the same tokens, tuned on the selection split. For a trained tower it reads tokens of the network
    from before the training, and notes say so.
    """
    if config.model.train_image != "none":
        pooling = "gpo" if config.model.pooling == "tower" else config.model.pooling
        config = replace(config, model=replace(config.model, train_image="none", pooling=pooling))
        notes.append(f"the baseline reads tokens of {config.data.tokens} as it was before the training.")
    parts = [data.split(name) for name in ("train", val_split_name(config), split)]
    inputs = [
        (mean_tokens(features_of(config, part)), part.captions, part.caption_to_image) for part in parts
    ]
    baseline = cca(*inputs)
    return baseline.ranks, baseline.facts


def _main_process() -> bool:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return int(os.environ.get("RANK", "0")) == 0  # a launcher's, before the processes have found each other


def _say(arguments: argparse.Namespace, words: str) -> None:
    if _main_process():
        print(words, file=sys.stderr if arguments.json else sys.stdout, flush=True)


def _show(arguments: argparse.Namespace, title: str, tables: dict[str, dict[str, Interval]]) -> None:
    if not arguments.json:
        print(title)
        print(table(tables))

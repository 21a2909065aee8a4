"""One run of a study, in a process of its own: python -m userlab.ablation.worker, which reads a job as JSON from the
first line of its input.

It trains (or resumes a run that was killed), scores the split reported on once, writes the rows and ends with 0; exit
code 75 means that another process is making the same run, 130 that it was stopped. When its input closes, because the
process that started it ends, it stops too, after its present step and with a checkpoint.
"""

import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from userlab.ablation.costs import costs_of
from userlab.ablation.guides import Embedded, add_scores, guide_embeddings, with_guide
from userlab.ablation.jobs import POSITIONS, Job, job_from_json
from userlab.ablation.rows import pack, write_row
from userlab.ablation.variants import BASELINES
from userlib.baselines import cca, mean_tokens
from userlib.config import to_json
from userlib.data.captions import CaptionDataset
from userlib.data.sentences import sentence_vectors
from userlib.errors import UserError
from userlib.evaluation import (
    MultiPositive,
    Ranks,
    embed,
    multi_positive_recalls,
    multi_positive_recalls_from_scores,
    ranks,
    ranks_from_scores,
    recalls,
)
from userlib.evaluation.attention import attention_of
from userlib.evaluation.cross_scores import cross_scores
from userlib.files import remove_folder
from userlib.model.user import DualEncoder
from userlib.provenance import code_version, peak_memory_mb, provenance
from userlib.training import CollapseError, Prepared, fit, prepare
from userscenes.ground_truth import true_elsewhere_in, truth_of

BUSY, STOPPED = 75, 130
CURVE = ("step", "loss", "rsum", "i2t_r1", "t2i_r1", "unpaired_cosine", "effective_rank", "masked_keys")


@dataclass
class Scored:
    """The contents of one row: ranks on both splits, `many` with every true item, further metadata and arrays."""

    select: Ranks
    report: Ranks | None
    many: MultiPositive | None
    metadata: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def run_job(job: Job) -> int:
    """Makes the rows of a job unless they exist; returns the exit code."""
    from filelock import FileLock, Timeout

    place = job.place()
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.with_suffix(".lock"), timeout=0):
            if job.finished():
                return 0
            return _run(job, place.with_name(f"{place.name}-{code_version().partition('+')[2]}"))
    except Timeout:
        return BUSY


def _run(job: Job, scratch: Path) -> int:
    prepared = with_guide(prepare(job.config, progress=False), job.guide)
    config = prepared.config
    metadata: dict[str, Any] = {"best_step": None, "collapsed": None, "curve": [], "scales": {}}
    encoders: DualEncoder | None = None
    seconds = 0.0
    if job.kind == "trained":
        trained = _train(prepared, scratch)
        if trained is None:
            return STOPPED
        encoders, seconds, metadata = trained
        if config.model.queue_size and (share := true_elsewhere_in(prepared.train.split)) is not None:
            metadata["true_elsewhere"] = share
    scored = baseline_scores(job, prepared) if job.kind in BASELINES else _score(job, prepared, encoders)
    if job.costs and encoders is not None:
        metadata["costs"] = costs_of(prepared, encoders, prepared.test or prepared.val)
    for name, scores in scored.items():
        row = {
            "study": job.study,
            "variant": name,
            "of": job.variant,
            "seed": job.seed,
            "key": job.key(name),
            "command": f"python -m userlab ablate --repeat {job.row(name).as_posix()}",
            "kind": job.kind,
            "guide": job.guide,
            "config": to_json(config),
            "data_hash": prepared.fingerprint,
            "weights": job.weights(),
            "positions": POSITIONS,
            **({"tuning": dict(job.tuning)} if job.tuning else {}),
            "seconds": round(seconds, 1),
            "peak_memory_mb": round(peak_memory_mb() or 0),
            "provenance": provenance(),
            **metadata,
            **scores.metadata,
            "select": {"split": prepared.val.split.name, "metrics": _rounded(scores.select)},
            **_reported(prepared, scores),
        }
        write_row(job.row(name), row, {**pack(scores.select, "select"), **scores.arrays})
    remove_folder(scratch)
    return 0


def baseline_scores(job: Job, prepared: Prepared) -> dict[str, Scored]:
    """The row of a CCA of the images' mean tokens with the captions' TF-IDF, with sentence vectors of `text_model`, or
    with both. Raises UserError without a split to report on, or without a text_model where it is needed.
    """
    if prepared.test is None:
        raise UserError("A baseline needs a split to report on; give --test-split.")
    name, parts = job.config.model.text_model, (prepared.train, prepared.val, prepared.test)
    if job.kind != "cca-words" and name is None:
        raise UserError(
            f"The baseline {job.kind!r} needs a sentence encoder; give --set model.text_model=NAME."
        )
    made = cca(
        *((mean_tokens(pairs.features), pairs.split.captions, pairs.caption_to_image) for pairs in parts),
        words=job.kind != "cca-sentences",
        sentences=None
        if job.kind == "cca-words"
        else [sentence_vectors(str(name), pairs.split.captions) for pairs in parts],
    )
    return {job.variant: Scored(made.select_ranks, made.ranks, None, {"baseline": made.facts}, {})}


def _train(prepared: Prepared, scratch: Path) -> tuple[DualEncoder, float, dict[str, Any]] | None:
    """The best encoders, the seconds, and the run's history for its row; None when it was stopped. A collapse is a
    result, not an error.
    """
    from userlib.checkpoints import checkpoint_path, read_checkpoint
    from userlib.model.user import load_model

    collapsed = None
    try:
        run = fit(prepared, out=scratch, resume=(scratch / "run.json").is_file(), progress=False)
        if not run.finished:
            return None
        encoders, rows, seconds = run.encoders, run.rows, run.seconds
    except CollapseError as error:
        state = read_checkpoint(checkpoint_path(scratch, "last"))[1]["state"]
        encoders, rows, seconds = load_model(scratch).model, state["rows"], state["seconds"]
        collapsed = str(error)
    best = max(rows, key=lambda row: row["rsum"])
    story = {
        "best_step": int(best["step"]),
        "collapsed": collapsed,
        "curve": [{name: round(row[name], 4) for name in CURVE if name in row} for row in rows],
        "scales": {k: round(v, 4) for k, v in rows[-1].items() if k.startswith(("scale_", "residual_"))},
    }
    return encoders, seconds, story


def _score(job: Job, prepared: Prepared, encoders: DualEncoder | None) -> dict[str, Scored]:
    """The rows of a job by variant: the model's (or the guide's, where none was trained), and late score fusion's."""
    splits = [pairs for pairs in (prepared.val, prepared.test) if pairs is not None]
    guides: list[Embedded] = []
    chosen: dict[str, Any] = {}
    if job.kind == "zero-shot" or job.scores is not None:
        guides, chosen = guide_embeddings(prepared)
    own = guides if encoders is None else [embed(encoders, pairs) for pairs in splits]
    both = [ranks(*vectors, pairs.caption_to_image) for vectors, pairs in zip(own, splits, strict=True)]
    tables: list[torch.Tensor] = []
    if encoders is not None and encoders.scorer is not None:  # then the scorer's scores are the model's
        tables = [cross_scores(encoders, pairs) for pairs in splits]
        both = [
            ranks_from_scores(table, pairs.caption_to_image)
            for table, pairs in zip(tables, splits, strict=True)
        ]
    report = prepared.test
    truth = None if report is None else truth_of(report.split)
    scored = Scored(both[0], both[1] if report is not None else None, None, {}, {})
    if report is not None and truth is not None:
        scored.many = (
            multi_positive_recalls_from_scores(tables[1], report.caption_to_image, truth)
            if tables
            else multi_positive_recalls(*own[1], report.caption_to_image, truth)
        )
    if report is not None and encoders is not None:
        for name, numbers in (attention_of(encoders, report) or {}).items():
            for what, values in numbers.items():
                scored.arrays[f"attention_{name}_{what}"] = values.astype(np.float16)
    rows = {job.variant: scored}
    if job.scores is not None and report is not None:
        rows[job.scores] = _added(own, guides, prepared.val, report, truth)
        if chosen:
            rows[job.scores].metadata["baseline"] = chosen
    return rows


def _added(
    own: list[Embedded],
    guides: list[Embedded],
    select: CaptionDataset,
    report: CaptionDataset,
    truth: NDArray[np.bool_] | None,
) -> Scored:
    added = add_scores(
        (own[0], own[1]), (guides[0], guides[1]), (select.caption_to_image, report.caption_to_image)
    )
    many = None
    if truth is not None:
        (images, captions), (guide_images, guide_captions) = own[1], guides[1]
        table = images @ captions.T + np.float32(added.weight) * (guide_images @ guide_captions.T)
        many = multi_positive_recalls_from_scores(table, report.caption_to_image, truth)
    return Scored(added.select, added.report, many, {"weight": added.weight}, {})


def _reported(prepared: Prepared, scored: Scored) -> dict[str, Any]:
    """The row's entries on the split reported on; puts its ranks into `scored.arrays`."""
    if scored.report is None or prepared.test is None:
        return {}
    split = prepared.test.split
    scored.arrays |= pack(scored.report, "report")
    said: dict[str, Any] = {
        "report": {"split": split.name, "metrics": _rounded(scored.report), "hash": split.fingerprint}
    }
    if split.groups is not None:
        said["groups"] = list(dict.fromkeys(split.groups))
        scored.arrays["report_group"] = np.array([said["groups"].index(g) for g in split.groups], np.uint8)
    if scored.many is not None:
        many, count = scored.many, len(split)
        scored.arrays |= pack(many.ranks, "many")
        per_image = np.bincount(split.caption_to_image, many.t2i_ap, count) / np.bincount(
            split.caption_to_image
        )
        scored.arrays |= {
            "many_i2t_ap": many.i2t_ap.astype(np.float16),
            "many_t2i_ap": per_image.astype(np.float16),
        }
        said["many"] = {
            "i2t_map": round(many.i2t_map, 4), "t2i_map": round(many.t2i_map, 4), **_rounded(many.ranks),
        }  # fmt: skip
    return said


def _rounded(ranks: Ranks) -> dict[str, float]:
    return {name: round(value, 4) for name, value in recalls(ranks).as_dict().items()}


def _stop_with_parent() -> None:
    """Raises SIGINT, as Ctrl-C does, when the input closes.

    It does not read sys.stdin, whose lock it would hold: a forked process closes sys.stdin, and would wait for ever.
    """
    while os.read(0, 1024):
        pass
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    job = job_from_json(json.loads(sys.stdin.readline()))
    torch.set_num_threads(job.threads)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        return run_job(job)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())

"""The stored study `neighbours` of notebook 12: its table, which kind of model is best, and accuracy against time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from usercourse.ablations import STORED, Rows, label_of, measure
from usercourse.neighbours import Point, speed_and_accuracy
from usercourse.plots import Shown, listed, wrapped
from userlab.ablation.claims import ALL
from userlab.ablation.studies import STUDIES
from userlab.ablation.summary import load_study
from userlib.evaluation import Interval

STUDY = STUDIES["neighbours"]
COMMAND = "python -m userlab ablate --study neighbours --processes 2"
KINDS = {
    "a pooling": ("gpo", "esa", "views"),
    "an enhancement": ("sge", "graph", "route", "concepts"),
    "in training only": ("relation", "soft"),
    "a score by cross-attention": ("chan", "scan-t2i", "scan-i2t", "naaf", "chan-mined"),
    "the plain model": ("mean",),
}


def stored(folder: Path = STORED) -> Rows:
    """The stored runs of the study; {} where there are none."""
    return load_study(STUDY, folder)


def summary(rows: Rows) -> str:
    """What is stored, in one line."""
    if not rows:
        return f"The study is not stored yet; to make it, run: {COMMAND}"
    runs = [row for of in rows.values() for row in of]
    steps = listed(
        [f"{s:,}" for s in sorted({int(row.metadata["config"]["training"]["steps"]) for row in runs})]
    )
    return f"Stored: {len(runs)} runs of {len(rows)} models, {steps} steps each."


def table(rows: Rows, *, resamples: int = 1000) -> str:
    """Each model's rSum, its difference from the plain model, parameters and times, as a table in markdown."""
    measured = measure(STUDY, rows, ALL, resamples=resamples)
    lines = [
        "| model | rSum [95 % CI] | difference | parameters | step, ms | query, ms |",
        "|---|---|---|--:|--:|--:|",
    ]
    for name, of in rows.items():
        cells = [label_of(STUDY, name, of), _interval(measured.values[name]["rsum"], "")]
        cells.append(_interval(measured.apart[name]["rsum"], "+") if name in measured.apart else "")
        costs = [row.metadata["costs"] for row in of if "costs" in row.metadata]
        if costs:
            numbers = {
                key: float(np.mean([one[key] for one in costs]))
                for key in ("parameters", "step_ms", "query_ms")
            }
            cells += [
                f"{numbers['parameters']:,.0f}",
                f"{numbers['step_ms']:.0f}",
                f"{numbers['query_ms']:.2f}",
            ]
        lines.append(f"| {' | '.join(cells + [''] * (6 - len(cells)))} |")
    return "\n".join(lines)


def _interval(one: Interval, sign: str) -> str:
    return f"{one.value:{sign}.1f} [{one.low:{sign}.1f}, {one.high:{sign}.1f}]"


def best(rows: Rows) -> str:
    """Of which kind the model with the highest rSum is."""
    values = measure(STUDY, rows, ALL, resamples=10).values
    best = max(rows, key=lambda name: values[name]["rsum"].value)
    return next(kind for kind, names in KINDS.items() if best in names)


def speed(rows: Rows) -> Shown | None:
    """Accuracy against time per query of every scorer whose re-ranking was measured; None where none was."""
    models: dict[str, dict[str, Point]] = {}
    for name in rows:
        costs = [row.metadata.get("costs", {}) for row in rows[name]]
        if not all("rerank" in one for one in costs):
            continue
        whole = [row.metadata["report"]["metrics"]["rsum"] for row in rows[name]]
        points: dict[str, Point] = {}
        if all("rsum_of_embeddings" in one for one in costs):
            points["embeddings"] = _point(costs, "query_ms_of_embeddings", "rsum_of_embeddings")
        for k in costs[0]["rerank"]:
            points[f"first {k}"] = _point([one["rerank"][k] for one in costs], "query_ms", "rsum")
        points["every image"] = (
            _mean(costs, "query_ms"),
            Interval(float(np.mean(whole)), min(whole), max(whole)),
        )
        models[wrapped(STUDY.lines()[name], 60)] = points
    return speed_and_accuracy(models, bounds="the extremes over seeds") if models else None


def _mean(costs: Sequence[Mapping[str, float]], key: str) -> float:
    return float(np.mean([one[key] for one in costs]))


def _point(costs: Sequence[Mapping[str, float]], ms: str, rsum: str) -> Point:
    values = [one[rsum] for one in costs]
    return _mean(costs, ms), Interval(float(np.mean(values)), min(values), max(values))

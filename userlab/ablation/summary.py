"""The results of a study as tables with confidence intervals over images and seeds, made from the stored rows.

They have each variant's metrics and its difference from the study's reference, on all images reported on and on each
half of them (in-distribution, novel compositions). A variant with fewer than five seeds is marked exploratory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from userlab.ablation.rows import EARLIER, Row, read_rows
from userlab.ablation.rules import provisional
from userlab.ablation.variants import HEADLINE, Study
from userlib.errors import UserError
from userlib.evaluation import Interval, Ranks, compare, means, table

COLUMNS = {"i2t_r1": "i2t R@1", "t2i_r1": "t2i R@1", "rsum": "rSum"}
APART = {"apart_r1": "mean R@1, difference", "apart_rsum": "rSum, difference"}
PAIRS = {"r1": "mean R@1", "rsum": "rSum"}
COSTS = {
    "parameters": "parameters, thousands", "step_ms": "training step, ms", "query_ms": "text query, ms",
}  # fmt: skip
RERANKED = {"rsum": "rSum", "query_ms": "text query, ms"}
MANY = {"i2t_r1": "i2t R@1", "t2i_r1": "t2i R@1", "i2t_map": "i2t mAP@R", "t2i_map": "t2i mAP@R"}
LOOKS = {"pointing": "pointing game, %", "mass": "mass inside, %"}
GUIDES = {
    "self": "SGE's a", "self weights": "SGE's w", "clip": "CGE's a",
    "uniform": "uniform", "area": "by covered area (knows the masks)", "centre": "centre Gaussian",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table: a title, its column headings, and intervals by line and column."""

    title: str
    columns: Mapping[str, str]
    lines: Mapping[str, Mapping[str, Interval]]

    def text(self, *, markdown: bool = False) -> str:
        """The table as plain text, or in Markdown."""
        shown = table(self.lines, markdown=markdown, columns=self.columns)
        return f"**{self.title}**\n\n{shown}" if markdown else f"{self.title}\n{shown}"

    def as_json(self) -> dict[str, Any]:
        return {"title": self.title, "lines": {k: dict(v) for k, v in self.lines.items()}}


def load_study(study: Study, out: str | Path) -> dict[str, list[Row]]:
    """The finished rows of a study, by line of its table, in the study's order, sorted by seed.

    Raises UserError where rows were scored on different images, so that they cannot be compared.
    """
    by_variant: dict[str, list[Row]] = {}
    for row in read_rows(Path(out) / study.name):
        by_variant.setdefault(row.variant, []).append(row)
    hashes = {str(row.metadata["report"]["hash"]) for rows in by_variant.values() for row in rows}
    if len(hashes) > 1:
        raise UserError(
            f"The rows in {Path(out) / study.name} were scored on {len(hashes)} different sets of images; "
            "move the older ones away and run the study again."
        )
    order = [*study.lines(), *sorted(set(by_variant) - set(study.lines()))]
    return {name: sorted(by_variant[name], key=lambda row: row.seed) for name in order if name in by_variant}


def tables(study: Study, by_variant: Mapping[str, list[Row]], *, resamples: int = 2000) -> list[Table]:
    """All tables of a study: values and differences for each subset of the images, further differences; then, where
    stored, results with every true item, attention, and costs.
    """
    if not by_variant:
        return []
    labels = {name: _label(study, name, rows) for name, rows in by_variant.items()}
    there = study.reference in by_variant
    against = [(name, study.reference) for name in by_variant if there and name != study.reference]
    pairs = [(a, b) for a, b in study.pairs if a in by_variant and b in by_variant]
    made: list[Table] = []
    further: dict[str, Mapping[str, Interval]] = {}
    for part, chosen in _parts(by_variant).items():
        variants = {name: [row.ranks() for row in rows] for name, rows in by_variant.items()}
        values, apart = compare(variants, [*against, *pairs], images=chosen, resamples=resamples)
        lines = {labels[name]: dict(values[name]) for name in by_variant}
        for name, reference in against:
            difference = apart[name, reference]
            lines[labels[name]] |= {key: difference[key.removeprefix("apart_")] for key in APART}
        less = f", differences from: {_plain(labels[study.reference])}" if against else ""
        title = f"{study.name}, {part}, 95 % confidence intervals over images and seeds{less}"
        made.append(Table(title, {**COLUMNS, **(APART if against else {})}, lines))
        further |= {f"{_plain(labels[a])} - {_plain(labels[b])}; {part}": apart[a, b] for a, b in pairs}
    if further:
        made.append(Table(f"{study.name}, further differences", PAIRS, further))
    return [
        *made,
        *_many(study, by_variant, labels, resamples),
        *_attention(study, by_variant, resamples),
        *_costs(study, by_variant, labels),
    ]


def notes(study: Study, by_variant: Mapping[str, list[Row]]) -> list[str]:
    """Notes on the tables: collapsed runs, several versions of the code, wide intervals, weights of fused scores."""
    said = [EARLIER] if any(row.earlier for rows in by_variant.values() for row in rows) else []
    for name, rows in by_variant.items():
        collapsed = [row.seed for row in rows if row.metadata.get("collapsed")]
        if collapsed:
            said.append(
                f"{name}: collapsed with seed {', '.join(map(str, collapsed))}; its best weights count."
            )
        weights = [row.metadata["weight"] for row in rows if "weight" in row.metadata]
        if weights:
            split = rows[0].metadata.get("select", {}).get("split", "val")
            said.append(
                f"{name}: {study.fused}'s scores have the weight {', '.join(f'{w:g}' for w in weights)}, chosen on "
                f"{split}."
            )
    said += _tuning(by_variant)
    short = [name for name, rows in by_variant.items() if any(provisional(row.metadata) for row in rows)]
    if short:
        reasons = {provisional(row.metadata) for name in short for row in by_variant[name]} - {None}
        said.append(
            f"No verdict rests on these runs yet ({', '.join(sorted(map(str, reasons)))}): {', '.join(short)}."
        )
    codes = {row.metadata["provenance"]["code"] for rows in by_variant.values() for row in rows}
    if len(codes) > 1:
        said.append(f"The rows come from {len(codes)} versions of the code: {', '.join(sorted(codes))}.")
    made_on = {
        row.metadata["provenance"].get("hardware", {}).get("processor")
        for rows in by_variant.values()
        for row in rows
    }
    if len(made_on) > 1:
        said.append(f"They were made on {len(made_on)} processors: {', '.join(sorted(map(str, made_on)))}.")
    for name, interval in _headline(study, by_variant).items():
        if interval.high - interval.low > 4:
            said.append(
                f"{name}: the interval of the mean R@1 is {interval.high - interval.low:.1f} points wide; add seeds."
            )
    shares = {round(row.metadata["true_elsewhere"], 5) for rows in by_variant.values() for row in rows
              if "true_elsewhere" in row.metadata}  # fmt: skip
    if shares:
        said.append(
            f"Of the keys of other images, {100 * max(shares):.2f} % are true of the query's: "
            f"{2048 * max(shares):.1f} of 2,048."
        )
    seconds = [
        row.metadata["seconds"]
        for rows in by_variant.values()
        for row in rows
        if row.variant == row.metadata["of"]
    ]
    if seconds:
        said.append(
            f"{len(seconds)} runs, {sum(seconds) / 60:.0f} minutes of training, "
            f"at most {max(seconds):.0f} s each and {_peak(by_variant):.0f} MB."
        )
    return said


def _tuning(by_variant: Mapping[str, list[Row]]) -> list[str]:
    """From which values each variant's settings were chosen, and where the best one is a bound of what is allowed."""
    said, at_bound = [], []
    for name, rows in by_variant.items():
        tuning = rows[0].metadata.get("tuning")
        if tuning is None:
            continue
        settings = [
            f"{setting.rpartition('.')[2]} {max(tried, key=tried.get)} of {', '.join(sorted(tried, key=float))}"
            for setting, tried in tuning["tried"].items()
        ]
        said.append(f"{name}: {'; '.join(settings)}")
        at_bound += [name] * bool(tuning["at_bound"])
    if said:
        said = [f"Settings chosen on val with one seed. {'. '.join(said)}."]
    if at_bound:
        said.append(
            f"At a bound of what is allowed, so that a better one may lie beyond: {', '.join(at_bound)}."
        )
    return said


def _costs(study: Study, by_variant: Mapping[str, list[Row]], labels: Mapping[str, str]) -> list[Table]:
    """Parameters, times and the results of re-ranking, where measured: means and extremes over seeds."""
    known = {name: [row.metadata["costs"] for row in rows if "costs" in row.metadata] for name, rows in
             by_variant.items()}  # fmt: skip
    lines: dict[str, dict[str, Interval]] = {}
    again: dict[str, dict[str, Interval]] = {}
    for name, costs in known.items():
        if not costs:
            continue
        thousands = [cost["parameters"] / 1000 for cost in costs]
        lines[labels[name]] = {"parameters": _over_seeds(thousands)} | {
            column: _over_seeds([cost[column] for cost in costs]) for column in ("step_ms", "query_ms")
        }
        for k in costs[0].get("rerank", {}):
            parts = [cost["rerank"][k] for cost in costs]
            again[f"{_plain(labels[name])}, first {k}"] = {
                column: _over_seeds([part[column] for part in parts]) for column in ("rsum", "query_ms")
            }
    titles = (
        f"{study.name}, costs, means and extremes over seeds",
        f"{study.name}, re-ranking, means and extremes",
    )
    made = [Table(titles[0], COSTS, lines)] if lines else []
    return [*made, Table(titles[1], RERANKED, again)] if again else made


def _over_seeds(values: Sequence[float]) -> Interval:
    return Interval(float(np.mean(values)), min(values), max(values))


def _headline(study: Study, by_variant: Mapping[str, list[Row]]) -> dict[str, Interval]:
    variants = {
        name: [row.ranks() for row in rows] for name, rows in by_variant.items() if len(rows) >= HEADLINE
    }
    if not variants:
        return {}
    return {name: values["r1"] for name, values in compare(variants)[0].items()}


def _peak(by_variant: Mapping[str, list[Row]]) -> float:
    return max(float(row.metadata["peak_memory_mb"]) for rows in by_variant.values() for row in rows)


def _label(study: Study, name: str, rows: Sequence[Row]) -> str:
    words = study.lines().get(name, name)
    if rows[0].metadata["kind"] != "trained":
        return words
    mark = ", exploratory" if len(rows) < HEADLINE else ""
    return f"{words} ({len(rows)} seed{'s' if len(rows) > 1 else ''}{mark})"


def _plain(label: str) -> str:
    return label.rpartition(" (")[0] or label


def _parts(by_variant: Mapping[str, list[Row]]) -> dict[str, np.ndarray[Any, Any] | None]:
    """Masks of all images (None), then of each half, by name."""
    row = next(iter(by_variant.values()))[0]
    count = f"{len(row.ranks().i2t):,}"
    return {f"all {count} images": None, **row.groups()}


def _many(
    study: Study, by_variant: Mapping[str, list[Row]], labels: Mapping[str, str], resamples: int
) -> list[Table]:
    """R@1 and mAP@R where every true item counts."""
    known = {name: rows for name, rows in by_variant.items() if all("many" in row.metadata for row in rows)}
    if not known:
        return []
    variants = {name: [row.ranks("many") for row in rows] for name, rows in known.items()}
    hits = compare(variants, resamples=resamples)[0]
    lines = {labels[name]: dict(hits[name]) for name in known}
    for column in ("i2t_map", "t2i_map"):
        runs = {
            name: [100 * row.arrays[f"many_{column[:3]}_ap"].astype(np.float64) for row in rows]
            for name, rows in known.items()
        }
        for name, interval in means(runs, resamples=resamples)[0].items():
            lines[labels[name]][column] = interval
    return [Table(f"{study.name}, every true item counts", MANY, lines)]


def _attention(study: Study, by_variant: Mapping[str, list[Row]], resamples: int) -> list[Table]:
    """Attention against the masks of named objects: each guide of each variant, and the baselines."""
    runs: dict[str, dict[str, list[Any]]] = {what: {} for what in LOOKS}
    for name, rows in by_variant.items():
        for guide, words in GUIDES.items():
            if all(f"attention_{guide}_mass" in row.arrays for row in rows):
                blind = guide in ("uniform", "area", "centre")  # the same for every model
                line = words if blind else f"{words}, {_plain(_label(study, name, rows))}"
                for what in LOOKS:
                    values = [
                        100 * row.arrays[f"attention_{guide}_{what}"].astype(np.float64) for row in rows
                    ]
                    runs[what].setdefault(line, values[:1] if blind else values)
    if not runs["mass"]:
        return []
    each = {what: means(variants, resamples=resamples)[0] for what, variants in runs.items()}
    lines = {
        line: {what: each[what][line] for what in LOOKS} for line in sorted(runs["mass"], key=_looks_order)
    }
    return [Table(f"{study.name}, attention against the masks of named objects", LOOKS, lines)]


def _looks_order(line: str) -> int:
    return next(i for i, words in enumerate(GUIDES.values()) if line.startswith(words))


def ranks_by_variant(
    by_variant: Mapping[str, Iterable[Row]], split: str = "report"
) -> dict[str, list[Ranks]]:
    """The ranks of every run by line, to plot them or compare other runs with them."""
    return {name: [row.ranks(split) for row in rows] for name, rows in by_variant.items()}

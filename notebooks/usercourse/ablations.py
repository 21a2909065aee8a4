"""Figures of notebook 11: hits by hand, a study's variants and differences, curves of its runs, and the ledger.

Stored runs are read from assets/results; where none is stored, the figures say so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from usercourse.plots import (
    COLOURS,
    CYCLE,
    DASHES,
    WIDEST,
    Shown,
    difference,
    legend_below,
    new_figure,
    verdict_legend,
    wrapped,
)
from userlab.ablation.claims import ALL, NEW
from userlab.ablation.ledger import (
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    TOO_FEW,
    UNMEASURED,
    Entry,
    verdict_of,
)
from userlab.ablation.rows import EARLIER, Row
from userlab.ablation.studies import STUDIES
from userlab.ablation.summary import load_study
from userlab.ablation.variants import HEADLINE, Study
from userlib.errors import UserError
from userlib.evaluation import Difference, Interval, Ranks, compare
from userlib.evaluation.seeds import SeedDifference

STORED = Path(__file__).resolve().parents[2] / "assets" / "results"
NOTHING = "none is stored"
NO_BREAK = "\u00a0"
METRICS = {
    "mean R@1": "r1", "i2t R@1": "i2t_r1", "t2i R@1": "t2i_r1", "t2i R@10": "t2i_r10", "rSum": "rsum",
}  # fmt: skip
CHANCE = 3.0  # a run counts as having learned if its R@10 is more than this many times that of chance
VERDICTS = {
    SUPPORTED: ("green", "o"),
    INCONCLUSIVE: ("black", "s"),
    CONTRADICTED: ("vermillion", "D"),
    TOO_FEW: ("black", "x"),
}
Rows = dict[str, list[Row]]
Floats = NDArray[np.float64]


def stored(folder: Path = STORED) -> dict[str, Rows]:
    """The rows of every study that has finished runs: by its name, then by the line of its table."""
    studies = {name: load_study(study, folder) for name, study in STUDIES.items()}
    return {name: rows for name, rows in studies.items() if rows}


def summary(studies: Mapping[str, Rows]) -> str:
    """What is stored, in one line per study."""
    if not studies:
        return "No study is stored. The notebook goes on with your own runs alone."
    lines = []
    for name, rows in studies.items():
        runs = [row for of in rows.values() for row in of if row.variant == row.metadata["of"]]
        seconds = sum(row.metadata["seconds"] for row in runs)
        lines.append(
            f"{name:12} {len(runs):3} runs of {len(rows):2} models, {seconds / 60:3.0f} minutes of training"
        )
    return "\n".join(lines)


def hits_by_hand(a: ArrayLike, b: ArrayLike, names: tuple[str, str] = ("A", "B")) -> Shown:
    """Figure of a, b (seeds, images), 1 where a model found the image with that seed, else 0."""
    tables = [np.asarray(one) for one in (a, b)]
    runs, pictures = sum(len(one) for one in tables), tables[0].shape[1]
    figure, axes = new_figure(4.6, 0.9 + 0.34 * runs)
    axis = axes[0, 0]
    y, labels = 0.0, []
    for table, name, colour in zip(tables, names, ("blue", "vermillion"), strict=True):
        for seed, hits in enumerate(table):
            x = np.arange(1, pictures + 1)
            axis.plot(x, np.full(pictures, y), "o", ms=11, mfc="white", mec=COLOURS[colour], mew=1.5)
            axis.plot(x[hits > 0], np.full(int(hits.sum()), y), "o", ms=11, color=COLOURS[colour])
            labels.append((y, f"{name}, seed {seed}"))
            y += 1
        y += 0.4
    axis.set_yticks([place for place, _ in labels], [label for _, label in labels], fontsize=9)
    axis.set_xticks(range(1, pictures + 1))
    axis.set_xlabel("image", fontsize=9)
    axis.set_ylim(y - 0.7, -0.7)
    axis.set_xlim(0.4, pictures + 0.6)
    alike = sum(
        bool((tables[0][:, i].mean() > 0.5) == (tables[1][:, i].mean() > 0.5)) for i in range(pictures)
    )
    means = [100 * one.mean() for one in tables]
    return figure, (
        f"Filled: the image was found. R@1 over all seeds is {means[0]:.0f} % for {names[0]} and {means[1]:.0f} % "
        f"for {names[1]}; on {alike} of {pictures} images the two models agree in most of their seeds."
    )


def parts_of(rows: Rows) -> list[str]:
    """The name "all", and those of the halves of the images, where the rows have them."""
    first = next(iter(rows.values()))[0]
    return [ALL, *first.groups()]


def explorer(studies: Mapping[str, Rows], *, resamples: int = 2000) -> Callable[[str, str, str], Shown]:
    """render(study, part, metric) for a demo; each study and part is resampled once."""

    @cache
    def drawn(study: str, part: str) -> "Measured":
        return measure(STUDIES[study], studies[study], part, resamples=resamples)

    def render(study: str, part: str, metric: str) -> Shown:
        if study not in studies:
            return nothing()
        if part not in parts_of(studies[study]):
            part = ALL
        return study_figure(STUDIES[study], studies[study], drawn(study, part), part, metric)

    return render


@dataclass(frozen=True)
class Measured:
    """A study on one part of its images, by line: every metric, its difference from the reference, and each run's."""

    values: Mapping[str, Mapping[str, Interval]]
    apart: Mapping[str, Mapping[str, Difference]]
    runs: Mapping[str, list[Mapping[str, float]]]


def measure(study: Study, rows: Rows, part: str, *, resamples: int = 2000) -> Measured:
    """`compare` on a part of the images, each line with the study's reference."""
    from userlib.evaluation import recalls

    chosen = None if part == ALL else next(iter(rows.values()))[0].groups()[part]
    runs_of = {name: [row.ranks() for row in of] for name, of in rows.items()}
    there = study.reference in rows
    pairs = [(name, study.reference) for name in rows if there and name != study.reference]
    values, apart = compare(runs_of, pairs, images=chosen, resamples=resamples)
    runs: dict[str, list[Mapping[str, float]]] = {
        name: [recalls(run, images=chosen).as_dict() for run in of] for name, of in runs_of.items()
    }
    return Measured(values, {name: one for (name, _), one in apart.items()}, runs)


def study_figure(study: Study, rows: Rows, measured: Measured, part: str, metric: str) -> Shown:
    """Left: each model with its confidence interval and its runs as dots. Right: its difference from the reference."""
    key = METRICS[metric]
    names = list(rows)
    labels = {name: label_of(study, name, rows[name]) for name in names}
    words = [wrapped(labels[name], 24) for name in names]
    height = max(0.46, 0.06 + 0.15 * max(one.count("\n") + 1 for one in words))
    figure, axes = new_figure(WIDEST, 1.5 + height * len(names), columns=2)
    left, right = axes[0]
    for y, name in enumerate(names):
        value, low, high = measured.values[name][key]
        each = [run[key] for run in measured.runs[name]]
        shade = COLOURS["black" if name == study.reference else "blue"]
        left.plot([low, high], [y, y], color=shade, lw=3, solid_capstyle="butt", alpha=0.55)
        left.plot(each, np.full(len(each), y), "|", color=shade, ms=9, mew=1.2)
        left.plot(value, y, "o", color=shade, ms=6)
        if name in measured.apart:
            _difference(right, y, measured.apart[name][key])
    right.axvline(0, color="black", lw=1, ls=":")
    left.set_yticks(range(len(names)), words, fontsize=9)
    right.set_yticks([])
    for axis in (left, right):
        axis.set_ylim(len(names) - 0.5, -0.6)
        axis.locator_params(axis="x", nbins=4)
    right.margins(x=0.15)  # room for a number at either end
    left.set_xlabel(wrapped(f"{metric}, {_pictures(part)}", 24), fontsize=9)
    right.set_xlabel("difference from\nthe reference (black)", fontsize=9)
    verdict_legend(figure)
    return figure, _study_sentence(study, rows, measured, part, metric)


def _difference(
    axis: Axes,
    place: float,
    interval: Interval | SeedDifference,
    *,
    verdict: str | None = None,
    upright: bool = False,
) -> None:
    """Draw a difference in the style of its verdict, hollow if inconclusive; place: its y, or its x if upright."""
    verdict = verdict or verdict_of(interval)
    difference(axis, place, interval, *VERDICTS[verdict], hollow=verdict == INCONCLUSIVE, upright=upright)


def _study_sentence(study: Study, rows: Rows, measured: Measured, part: str, metric: str) -> str:
    key = METRICS[metric]
    best = max(rows, key=lambda name: measured.values[name][key].value)
    value, low, high = measured.values[best][key]
    said = (
        f"{metric} on {_pictures(part)}: the highest is {short_label(study, best)} with {value:.1f} "
        f"[{low:.1f}, {high:.1f}]. "
    )
    groups: dict[str, list[str]] = {
        "above": [],
        "below": [],
        "inconclusive against": [],
    }
    for name, apart in measured.apart.items():
        difference = apart[key]
        word = list(groups)[0 if difference.low > 0 else 1 if difference.high < 0 else 2]
        groups[word].append(f"{short_label(study, name)} ({difference.value:+.1f})")
    reference = short_label(study, study.reference)
    said += " ".join(
        f"{word.capitalize()} {reference}: {'; '.join(of)}." for word, of in groups.items() if of
    )
    if any(row.earlier for of in rows.values() for row in of):
        said += f" {EARLIER.strip('*')}"
    few = sum(0 < len(of) < HEADLINE and of[0].metadata["kind"] == "trained" for of in rows.values())
    return said + (
        f" {few} of {len(rows)} models have fewer than five seeds and are exploratory." if few else ""
    )


def short_label(study: Study, name: str) -> str:
    """The label of a line of the table, without what follows a colon."""
    words = study.lines().get(name, name)
    head, _, tail = words.partition(": ")
    _, _, added = tail.partition(", late score")
    return f"{head}, late score{added}" if added else head


def label_of(study: Study, name: str, rows: Sequence[Row]) -> str:
    words = study.lines().get(name, name)
    count = len(rows)
    trained = rows[0].metadata["kind"] == "trained"
    return f"{words} ({count}{NO_BREAK}seed{'s' if count > 1 else ''})" if trained else words


def _pictures(part: str) -> str:
    return "all test images" if part == ALL else f"the half '{part}'"


def nothing(words: str = "No study is stored yet.") -> Shown:
    """An empty figure that says so."""
    figure, axes = new_figure(WIDEST, 1.2)
    axes[0, 0].axis("off")
    axes[0, 0].text(0.5, 0.5, words, ha="center", va="center", fontsize=11)
    return figure, f"{words} Run one with: python -m userlab ablate --study world --processes 2."


def curves(study: Study, rows: Rows, *, most: int = 7) -> Shown:
    """rSum on val over the steps, for the variants with most seeds: a thin line per run, a thick one for their mean."""
    with_curve = [
        name
        for name, of in rows.items()
        if all(row.metadata.get("curve") for row in of) and of[0].variant == of[0].metadata["of"]
    ]
    if not with_curve:
        return nothing("No run with a curve is stored yet.")
    chosen = sorted(with_curve, key=lambda name: -len(rows[name]))[:most]
    chosen = [name for name in with_curve if name in chosen]
    figure, axes = new_figure(WIDEST, 3.2 + 0.2 * len(chosen))
    axis = axes[0, 0]
    ends: dict[str, float] = {}
    for name, colour, dash in zip(chosen, CYCLE, DASHES, strict=False):
        lines_ = [
            (
                [point["step"] for point in row.metadata["curve"]],
                [point["rsum"] for point in row.metadata["curve"]],
            )
            for row in rows[name]
        ]
        for steps, rsum in lines_:
            axis.plot(steps, rsum, color=colour, lw=0.7, alpha=0.5)
        shared = sorted(set.intersection(*(set(steps) for steps, _ in lines_)))
        mean = [float(np.mean([rsum[steps.index(step)] for steps, rsum in lines_])) for step in shared]
        axis.plot(
            shared, mean, color=colour, ls=dash, lw=2.4, marker="o", ms=4,
            label=wrapped(study.lines().get(name, name), 64),
        )  # fmt: skip
        ends[short_label(study, name)] = mean[-1]
    axis.set_xlabel("step", fontsize=9)
    axis.set_ylabel("rSum on val", fontsize=9)
    legend_below(figure, axis=axis)
    order = sorted(ends, key=lambda name: -ends[name])
    left_out = f" Further models left out: {len(with_curve) - len(chosen)}." if len(with_curve) > most else ""
    return figure, (
        "rSum on val, thin lines are runs and thick ones their means. At the end: "
        + "; ".join(f"{name} {ends[name]:.0f}" for name in order)
        + f".{left_out}"
    )


def expect_learned(rows: Sequence[Row], steps: int) -> None:
    """Raises UserError unless each run took all its steps and is far better than chance on val."""
    for row in rows:
        last = row.metadata["curve"][-1]["step"] if row.metadata["curve"] else 0
        pictures = len(row.ranks("select").i2t)
        r10 = row.metadata["select"]["metrics"]["t2i_r10"]
        if last < steps or r10 <= CHANCE * 1000 / pictures:
            raise UserError(
                f"{row.variant}, seed {row.seed}: {last:.0f} of {steps} steps, t2i R@10 {r10:.1f} % where chance is "
                f"{1000 / pictures:.1f} %: it has not learned. Run its cell again."
            )


def same_pictures(one: Rows, other: Rows) -> bool:
    """Whether two sets of runs were scored on the same images, so that they can be combined."""
    hashes = {row.metadata["report"]["hash"] for rows in (one, other) for of in rows.values() for row in of}
    return len(hashes) == 1


def gain(a: Sequence[Ranks], b: Sequence[Ranks], *, key: str = "r1") -> Difference:
    """a - b in one metric, as by `paired_bootstrap`, without the median ranks, which take most of its time."""
    return compare({"a": a, "b": b}, [("a", "b")])[1]["a", "b"][key]


def ranks_of(rows: Rows, name: str) -> list[Ranks]:
    """The ranks of a line's runs; empty where it has none."""
    return [row.ranks() for row in rows.get(name, [])]


def seed_widths(a: Sequence[Ranks], b: Sequence[Ranks], *, key: str = "r1") -> Shown:
    """The width of the 95 % confidence interval of a - b with the first 1, 2, ... runs of each."""
    counts = range(1, min(len(a), len(b)) + 1)
    if len(counts) < 2:
        return nothing("Fewer than two seeds of these two are stored.")
    gains = [gain(a[:n], b[:n], key=key) for n in counts]
    figure, axes = new_figure(WIDEST, 3.3)
    axis = axes[0, 0]
    for n, one in zip(counts, gains, strict=True):
        _difference(axis, n, one, upright=True)
    axis.axhline(0, color="black", lw=1, ls=":")
    axis.set_xticks(list(counts))
    axis.set_xlim(0.5, counts[-1] + 0.7)
    axis.set_xlabel("seeds of each model", fontsize=9)
    axis.set_ylabel("difference in mean R@1", fontsize=9)
    verdict_legend(figure)
    widths = [one.high - one.low for one in gains]
    return figure, (
        f"With one seed per model the interval is {widths[0]:.1f} points wide and leaves seed variance out. Then "
        + ", ".join(f"{width:.1f} with {n}" for n, width in zip(counts[1:], widths[1:], strict=True))
        + f". The differences themselves go from {min(one.value for one in gains):+.1f} to "
        f"{max(one.value for one in gains):+.1f}."
    )


def spread(rows: Rows, *, key: str = "r1") -> float:
    """The standard deviation between seeds of one model, pooled over a study's lines; NaN where all have one."""
    sets = [[row.metadata["report"]["metrics"][key] for row in of] for of in rows.values() if len(of) > 1]
    return float(np.sqrt(np.mean([np.var(one, ddof=1) for one in sets]))) if sets else float("nan")


def ledger_figure(entries: Sequence[Entry]) -> Shown:
    """The measured claims as differences: large the one that decides, below it small novel compositions, and photos as
    triangles.
    """
    shown = [e for e in entries if e.verdict != UNMEASURED or e.photos is not None]
    if not shown:
        return nothing("No claim is measured yet.")
    words = [wrapped(e.claim.text, 30) for e in shown]
    height = max(0.5, 0.08 + 0.15 * max(one.count("\n") + 1 for one in words))
    figure, axes = new_figure(WIDEST, 1.6 + height * len(shown))
    axis = axes[0, 0]
    for y, entry in enumerate(shown):
        judged, new, photos = entry.part(entry.claim.judged), entry.part(NEW), entry.photos
        if judged is not None:
            _difference(axis, y - 0.12, judged, verdict=entry.verdict)
        if new is not None:
            axis.plot(new[1:3], [y + 0.16] * 2, color=COLOURS["sky"], lw=1.6)
            axis.plot(new.value, y + 0.16, "o", color=COLOURS["sky"], ms=4)
        if photos is not None:
            axis.plot(photos[1:3], [y + 0.34] * 2, color=COLOURS["orange"], lw=1.6)
            axis.plot(photos.value, y + 0.34, "^", color=COLOURS["orange"], ms=6)
    axis.axvline(0, color="black", lw=1, ls=":")
    axis.set_yticks(range(len(shown)), words, fontsize=9)
    axis.set_ylim(len(shown) - 0.4, -0.7)
    axis.set_xlabel("difference in mean R@1, points", fontsize=9)
    _legend(figure)
    by = {word: [e.claim.text for e in shown if e.verdict == word] for word in VERDICTS}
    parts = [f"{word.capitalize()}: {'; '.join(of)}" for word, of in by.items() if of]
    return (
        figure,
        f"Claims as differences from 0, by verdict. {'. '.join(parts) or 'Photos alone are measured'}.",
    )


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=COLOURS[colour], marker=marker, lw=3, alpha=0.9, ms=7,
               mfc="white" if word == INCONCLUSIVE else COLOURS[colour], label=word)
        for word, (colour, marker) in VERDICTS.items()
    ]  # fmt: skip
    marks += [
        Line2D([], [], color=COLOURS["sky"], marker="o", ms=4, lw=1.6, label="novel compositions alone"),
        Line2D([], [], color=COLOURS["orange"], marker="^", ms=6, lw=1.6, label="photos"),
    ]
    legend_below(figure, *marks, columns=2)

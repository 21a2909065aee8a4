"""Stored results on photos for notebook 10: learning curves, a table, differences, and provenance.

Everything is read from assets/results and from the metadata of photos-mini. No model is run, and these files contain no
photo.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from usercourse.ablations import STORED, Rows, label_of
from usercourse.plots import CYCLE, DASHES, Shown, intervals, new_figure
from userlab.ablation.rules import provisional
from userlab.ablation.studies import STUDIES
from userlab.ablation.summary import load_study, ranks_by_variant
from userlib.errors import UserError
from userlib.evaluation import Interval, compare
from userlib.files import read_json
from userlib.shipped import ASSETS

MINI = ASSETS / "photos-mini" / "metadata.json"
STUDY = "photo-recipes"
# difference in rSum: its label
APART = {
    ("words", "cca-words"): "USER - CCA of TF-IDF",
    ("words", "words-no-sge"): "SGE on - off",
    ("words", "words-no-queue"): "queue and EMA weights, on - off",
    ("text", "words"): "text encoder - BiGRU",
    ("text", "cca-both"): "text encoder - CCA of both",
}


def measured(folder: Path = STORED) -> Rows:
    """The stored runs of the study on Flickr8K by variant. Raises UserError where one that is compared is missing."""
    rows = load_study(STUDIES[STUDY], folder)
    missing = sorted({name for pair in APART for name in pair} - set(rows))
    if missing:
        raise UserError(
            f"{missing[0]} is not in {folder.name}/{STUDY}. Restore the assets folder: git checkout -- assets."
        )
    return rows


def table(folder: Path = STORED, mini: Path = MINI) -> dict[str, dict[str, Interval]]:
    """Rows for `show_table`: each variant over its seeds, and photos-mini, all on Flickr8K's 1,000 photos of val."""
    rows, study = measured(folder), STUDIES[STUDY]
    values = compare(ranks_by_variant(rows))[0]
    shown = {label_of(study, name, rows[name]): dict(values[name]) for name in rows}
    stored = read_json(mini)["provenance"]["result"]
    return {**shown, "photos-mini, 1 seed": {name: Interval(*numbers) for name, numbers in stored.items()}}


def differences(folder: Path = STORED) -> Shown:
    """The differences in rSum that training, SGE, the queue and the pretrained text encoder make, with intervals over
    images and seeds.
    """
    apart = compare(ranks_by_variant(measured(folder)), list(APART))[1]
    lines = {label: apart[pair]["rsum"] for pair, label in APART.items()}
    return intervals(lines, x_label="difference in rSum on 1,000 photos", differences=True)


def curves(mini: Path = MINI) -> Shown:
    """rSum on the 500 photos held out of train over the epochs of photos-mini."""
    history = read_json(mini)["provenance"]["history"]
    steps, values = [one["step"] for one in history], [one["rsum"] for one in history]
    figure, axes = new_figure(5.4, 3.0)
    axis = axes[0, 0]
    axis.plot(steps, values, "o", ms=4, lw=2, color=CYCLE[0], ls=DASHES[0])
    axis.set_xlabel("step", fontsize=9)
    axis.set_ylabel("rSum on the 500 held-out photos", fontsize=9)
    return (
        figure,
        f"photos-mini: rSum {values[0]:.0f} after the first epoch and {values[-1]:.0f} after the last.",
    )


def growth(folder: Path = STORED) -> str:
    """A sentence on rSum on the held-out photos after the first and the last epoch, as means over seeds."""
    told = []
    for name, rows in measured(folder).items():
        curves = [row.metadata["curve"] for row in rows if row.metadata["kind"] == "trained"]
        if curves:
            first, last = (float(np.mean([curve[i]["rsum"] for curve in curves])) for i in (0, -1))
            told.append(f"{label_of(STUDIES[STUDY], name, rows)} {first:.1f} to {last:.1f}")
    return f"rSum on the held-out photos after the first and after the last epoch: {'; '.join(told)}."


def provenance(folder: Path = STORED, mini: Path = MINI) -> str:
    """The provenance of the results, and why those of the study give no verdict yet, as Markdown."""
    made = read_json(mini)["provenance"]
    rows = [row for of in measured(folder).values() for row in of]
    reasons = sorted({reason for row in rows if (reason := provisional(row.metadata))})
    trained = [row for row in rows if row.metadata["kind"] == "trained"]
    lines = [
        _line("photos-mini, one seed", made, made["data_hash"]),
        _line(
            f"study `{STUDY}`, {len(trained)} trained runs",
            trained[0].metadata["provenance"], trained[0].metadata["data_hash"],
        ),
    ]  # fmt: skip
    mark = (
        f"\n\n**Provisional**: {', '.join(reasons)}. No verdict rests on these runs yet." if reasons else ""
    )
    return "\n".join(["| what | code | processor | date | data |", "|---|---|---|---|---|", *lines]) + mark


def _line(what: str, made: Mapping[str, Any], data: str) -> str:
    return f"| {what} | `{made['code']}` | {made['hardware']['processor']} | {made['date']} | `{data[:12]}` |"

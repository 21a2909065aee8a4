"""What is stored of photos, for notebook 10: learning curves, a table, what SGE and the queue bring, and provenance.

Everything is read from assets/results and from the metadata of photos-mini; nothing is computed again, and no photo is
in these files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from usercourse.ablations import STORED, label_of
from usercourse.plots import COLOURS, CYCLE, DASHES, Shown, intervals, new_figure
from userlab.ablation.rules import provisional
from userlab.ablation.studies import STUDIES
from userlab.ablation.summary import load_study
from userlib.errors import UserError
from userlib.evaluation import Interval
from userlib.files import read_json
from userlib.shipped import ASSETS

MINI = ASSETS / "photos-mini" / "metadata.json"
RUNS = ("seed-0", "seed-1", "seed-2")
PARTS = {"sge-off": "SGE on - off", "queue-off": "queue and EMA weights, on - off"}
STUDY = "photos"


def evaluated(folder: Path = STORED) -> dict[str, dict[str, Any]]:
    """The stored evaluations on Flickr8K by name. UserError where one is missing."""
    files = {name: folder / "flickr8k" / f"{name}.json" for name in (*RUNS, *PARTS)}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise UserError(
            f"{missing[0]} is not in {folder.name}/flickr8k. Restore the assets folder: git checkout -- assets."
        )
    return {name: read_json(file) for name, file in files.items()}


def _intervals(table: Mapping[str, Any]) -> dict[str, Interval]:
    return {name: Interval(*values) for name, values in table.items()}


def table(folder: Path = STORED, mini: Path = MINI) -> dict[str, dict[str, Interval]]:
    """Rows for `show_table`: CCA, each seed, and photos-mini, all on Flickr8K's 1,000 photos of val."""
    stored = evaluated(folder)
    rows = {"CCA, same tokens as the seeds": _intervals(stored["seed-0"]["tables"]["cca"])}
    rows |= {f"SGE, queue, UTO: {name}": _intervals(stored[name]["tables"]["model"]) for name in RUNS}
    rows["photos-mini, other tokens"] = _intervals(read_json(mini)["provenance"]["result"])
    return rows


def differences(folder: Path = STORED) -> Shown:
    """Each seed - CCA, and the mean of the seeds - a run without one part, in rSum."""
    stored = evaluated(folder)
    apart = {f"{name} - CCA": Interval(*stored[name]["tables"]["model - cca"]["rsum"]) for name in RUNS}
    for name, label in PARTS.items():
        apart[label] = Interval(*stored[name]["tables"]["model - against"]["rsum"])
    return intervals(apart, x_label="difference in rSum on 1,000 photos", differences=True)


def curves(folder: Path = STORED, mini: Path = MINI) -> Shown:
    """rSum on the 500 photos held out of train over the steps: photos-mini, and each model of the study as the mean of
    its seeds.
    """
    study = STUDIES[STUDY]
    history = read_json(mini)["provenance"]["history"]
    series = {"photos-mini": ([one["step"] for one in history], [one["rsum"] for one in history])}
    for name, rows in load_study(study, folder).items():
        drawn = [row.metadata["curve"] for row in rows]
        steps = [point["step"] for point in drawn[0]]
        values = [float(np.mean([curve[i]["rsum"] for curve in drawn])) for i in range(len(steps))]
        series[label_of(study, name, rows)] = (steps, values)
    figure, axes = new_figure(7.4, 3.2)
    axis, told = axes[0, 0], []
    for i, (name, (steps, values)) in enumerate(series.items()):
        style = {"color": CYCLE[i % len(CYCLE)], "ls": DASHES[i % len(DASHES)]}
        axis.plot(steps, values, "o", ms=4, lw=2, label=name, **style)
        told.append(f"{name} {values[0]:.0f} to {values[-1]:.0f}")
    axis.set_xlabel("step", fontsize=9)
    axis.set_ylabel("rSum on the 500 held-out photos", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.axvline(300, color=COLOURS["black"], lw=0.8, ls=":")
    return (
        figure,
        f"rSum at the first and at the last evaluation: {'; '.join(told)}. "
        "The dotted line is step 300, where the study's runs end.",
    )


def provenance(folder: Path = STORED, mini: Path = MINI) -> str:
    """Where the numbers are from, and why those of the study carry no verdict yet, as Markdown."""
    made = read_json(mini)["provenance"]
    first = evaluated(folder)["seed-0"]
    rows = [row for of in load_study(STUDIES[STUDY], folder).values() for row in of]
    reasons = sorted({reason for row in rows if (reason := provisional(row.metadata))})
    lines = [_line("the three seeds, CCA, SGE off, queue off", first["provenance"], first["data_hash"])]
    lines.append(_line("photos-mini, one seed", made, made["data_hash"]))
    if rows:
        lines.append(
            _line(
                f"study `{STUDY}`, {len(rows)} runs of {rows[0].metadata['config']['training']['steps']} steps",
                rows[0].metadata["provenance"], rows[0].metadata["data_hash"],
            )
        )  # fmt: skip
    mark = (
        f"\n\n**Provisional**: {', '.join(reasons)}. No verdict rests on these runs yet." if reasons else ""
    )
    return "\n".join(["| what | code | processor | date | data |", "|---|---|---|---|---|", *lines]) + mark


def _line(what: str, made: Mapping[str, Any], data: str) -> str:
    return f"| {what} | `{made['code']}` | {made['hardware']['processor']} | {made['date']} | `{data[:12]}` |"

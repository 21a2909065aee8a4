"""The command line of studies: python -m userlab ablate."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from userlib.config import Config
from userlib.errors import UserError
from userlib.files import check_folder

if TYPE_CHECKING:
    from userlab.ablation.study import Done

RESULTS = "assets/results"
TEXT = "docs/results.md"


def add_command(commands: Any) -> None:
    """Adds ablate to the other commands."""
    command = commands.add_parser(
        "ablate",
        help="compare models that differ in one thing, over several seeds",
        description="Run a study (a grid of runs that differ in one thing), or show its results. A study "
        "that was stopped is resumed by the same command; finished runs are kept.",
        epilog="example: python -m userlab ablate --study queue --seeds 2 --processes 2 --out runs/studies",
    )
    command.add_argument(
        "--study",
        help="enhancement | guide | queue | masking | momentum | objective | batch | pooling | all of these | "
        "world (each part on its own) | photos | photo-recipes | photo-guide | "
        "neighbours (alternatives from related work) | towers (image towers trained from pixels) | "
        "long-objective | long-queue | long-enhancement | long-guide | long-momentum | long-images",
    )
    command.add_argument("--variant", nargs="+", metavar="NAME", help="only these variants of the study")
    command.add_argument(
        "--seeds", type=int, metavar="N", help="seeds of every variant (default: 5 or 2, set by the study)"
    )
    command.add_argument(
        "--processes", type=int, default=1, metavar="P", help="how many runs at a time (default: 1)"
    )
    command.add_argument(
        "--threads", type=int, metavar="T", help="threads of each run (default: an equal share of the cores)"
    )
    command.add_argument("--data", help="the data of all runs (default: the study's own)")
    command.add_argument(
        "--tokens",
        help="region-mini | clip-mini | efficientnet-lite2[-wide] | timm:NAME | open_clip:NAME/WEIGHTS | precomputed",
    )
    command.add_argument("--token-weights", metavar="FILE", help="weights of timm tokens")
    command.add_argument("--guide", help="the vector for CGE (default: the study's own)")
    command.add_argument("--val-split", help="the split that picks the epoch: a name, or train:500")
    command.add_argument("--test-split", help="the split that each run is scored on once, at its end")
    command.add_argument("--preset", help="the base of all variants (default: the study's own)")
    command.add_argument(
        "--config", metavar="FILE", help="a JSON file of settings, which override the preset's"
    )
    command.add_argument("--steps", type=int, help="steps of each run (default: the study's own)")
    command.add_argument("--epochs", type=int, help="epochs of each run, in place of steps")
    command.add_argument(
        "--set", action="append", default=[], metavar="PART.KEY=VALUE", dest="settings",
        help="any other setting of the base, such as training.lr=0.001",
    )  # fmt: skip
    command.add_argument(
        "--out", default=RESULTS, metavar="DIR", help="the folder of all results (default: %(default)s)"
    )
    command.add_argument(
        "--summary", action="store_true", help="run nothing; show the results of the finished runs"
    )
    command.add_argument(
        "--markdown", nargs="*", metavar="FILE",
        help="run nothing; write tables and the ledger of claims between their markers in these files "
        f"(default: {TEXT})",
    )  # fmt: skip
    command.add_argument(
        "--repeat", metavar="ROW.json", help="repeat one finished run and say whether it is equal bit by bit"
    )
    command.add_argument("--list", action="store_true", help="run nothing; list the runs of the study")
    command.add_argument("--json", action="store_true", help="print JSON for machines in place of tables")


def run(arguments: argparse.Namespace, config_of: Callable[[argparse.Namespace], Config]) -> int:
    """Runs the command. `config_of` makes a configuration from preset, file and flags. Raises UserError where no study
    is named, and for numbers below 1.
    """
    from userlab.ablation.studies import LEDGER, STUDIES, study_named

    if arguments.repeat:
        return repeat(Path(arguments.repeat))
    if arguments.markdown is not None:
        return _markdown(arguments)
    if not arguments.study:
        raise UserError(f"No study is named; give --study with one of {', '.join(STUDIES)}, or all.")
    names = LEDGER if arguments.study == "all" else (study_named(arguments.study).name,)
    if arguments.summary:
        return _summary(arguments, list(names))
    for name in ("seeds", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; it must be a whole number from 1 up.")
    check_folder(Path(arguments.out), shared=True)
    codes = [_study(arguments, config_of, name) for name in names]
    return max(codes)


def base_config(
    arguments: argparse.Namespace, config_of: Callable[[argparse.Namespace], Config], name: str
) -> Config:
    """The base of a study's variants: its preset and number of steps, unless the command line gives others."""
    from userlab.ablation.studies import study_named

    study = study_named(name)
    given = argparse.Namespace(**vars(arguments))
    given.preset = arguments.preset or study.preset
    config = config_of(given)
    if arguments.steps is None and arguments.epochs is None and config.training.steps is None:
        config = replace(config, training=replace(config.training, steps=study.steps))
    return config


def _study(
    arguments: argparse.Namespace, config_of: Callable[[argparse.Namespace], Config], name: str
) -> int:
    from userlab.ablation.studies import study_named
    from userlab.ablation.study import jobs_of, run_jobs
    from userlab.ablation.tuning import tune

    study, base = study_named(name), base_config(arguments, config_of, name)
    threads = arguments.threads or max(1, (os.cpu_count() or 1) // max(1, arguments.processes))
    shared: dict[str, Any] = {"out": arguments.out, "threads": threads}
    chosen = list(study.variants) if arguments.variant is None else arguments.variant
    progress = not arguments.json
    if arguments.list:
        for job in jobs_of(study, base, seeds=arguments.seeds, variants=chosen, **shared):
            print(f"{study.name}  {job.variant}  seed {job.seed}")
        return 0
    title = f"{name}: settings of each variant"
    settled = tune(
        study, base, chosen, **shared,
        run=lambda jobs: _ended(run_jobs(jobs, processes=arguments.processes, title=title, progress=progress)),
    )  # fmt: skip
    jobs = jobs_of(study, base, seeds=arguments.seeds, variants=chosen, tuned=settled, **shared)
    done = run_jobs(jobs, processes=arguments.processes, title=f"study {name}", progress=progress)
    said = {
        "study": name,
        "made": done.made,
        "reused": done.reused,
        "failed": done.failed,
        "tuned": {variant: one.changes for variant, one in settled.items()},
    }
    if arguments.json:
        print(json.dumps(said))
    else:
        print(f"study {name}: {done.made} rows made, {done.reused} were there, {len(done.failed)} failed")
        for run_name, words in done.failed.items():
            print(f"  {run_name}: {words}")
    return 1 if done.failed else 0


def _ended(done: "Done") -> None:
    """Raises UserError where a tuning run failed, as nothing can be chosen without it."""
    if done.failed:
        run_name, words = next(iter(done.failed.items()))
        raise UserError(f"The tuning run {run_name} failed: {words}. Correct this, and run the study again.")


def _summary(arguments: argparse.Namespace, names: list[str]) -> int:
    from userlab.ablation.studies import study_named
    from userlab.ablation.summary import load_study, notes, tables

    whole: dict[str, Any] = {}
    for name in names:
        study = study_named(name)
        by_variant = load_study(study, arguments.out)
        made, said = tables(study, by_variant), notes(study, by_variant)
        whole[name] = {"tables": [one.as_json() for one in made], "notes": said}
        if not arguments.json:
            shown = [one.text() for one in made] or [f"No run of it is finished in {arguments.out}."]
            print("\n\n".join(filter(None, [study.question, *shown, "\n".join(said)])) + "\n")
    if arguments.json:
        print(json.dumps(whole))
    return 0


def tables_as_markdown(name: str, out: str = RESULTS) -> str:
    """The tables and notes of a study in Markdown, for a document or a notebook; "ledger" stands for the table of
    claims.
    """
    from userlab.ablation.ledger import ledger, markdown
    from userlab.ablation.studies import study_named
    from userlab.ablation.summary import load_study, notes, tables

    if name == "ledger":
        return markdown(ledger(out))
    study = study_named(name)
    by_variant = load_study(study, out)
    if not by_variant:
        return "*No run of this study is stored.*"
    first, *more = tables(study, by_variant)
    parts = [first.text(markdown=True)]
    if more:
        about = "; ".join(one.title.partition(", ")[2].partition(", 95 %")[0] for one in more)
        parts += [f"<details><summary>More tables: {about}</summary>"]
        parts += [one.text(markdown=True) for one in more]
        parts += ["</details>"]
    return "\n\n".join([*parts, " ".join(notes(study, by_variant))])


def _markdown(arguments: argparse.Namespace) -> int:
    from userlab.ablation.markers import fill

    for name in arguments.markdown or [TEXT]:
        changed = fill(Path(name), lambda study: tables_as_markdown(study, arguments.out))
        print(f"{name}: {'written' if changed else 'as it was'}", file=sys.stderr)
    return 0


def repeat(file: Path) -> int:
    """Repeats a row's run in a temporary folder; returns 0 where ranks and metrics are bit-equal, else 1."""
    import numpy as np

    from userlab.ablation.jobs import job_of_row
    from userlab.ablation.rows import read_row
    from userlab.ablation.study import run_jobs

    row = read_row(file)
    with tempfile.TemporaryDirectory(prefix="userlib-repeat-") as folder:
        job = job_of_row(dict(row.metadata), out=folder)
        done = run_jobs([job], processes=1, title=f"{file.name} again", progress=False)
        if done.failed:
            raise UserError(f"The repeated run failed: {'; '.join(done.failed.values())}")
        again = read_row(job.row(row.variant))
    wrong = sorted(set(row.arrays) ^ set(again.arrays))
    wrong += [
        name
        for name in row.arrays
        if name not in wrong and not np.array_equal(row.arrays[name], again.arrays[name])
    ]
    wrong += [
        name for name in ("curve", "select", "report") if row.metadata.get(name) != again.metadata.get(name)
    ]
    if wrong:
        print(f"{file}: differs in {', '.join(wrong)}")
        for what in ("data_hash", "provenance"):
            if row.metadata[what] != again.metadata[what]:
                print(f"  {what}: {row.metadata[what]} then, {again.metadata[what]} now")
        return 1
    print(f"{file}: bit-equal, {again.metadata['seconds']:.0f} s")
    return 0

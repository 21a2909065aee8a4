"""The command line of the measurements: python -m userlab bench."""

import argparse
import importlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

from userlib.errors import UserError
from userlib.files import check_file

GROUPS = {
    "train": "train",
    "encode": "encode",
    "rank": "rank",
    "search": "search",
    "crossattention": "crossattention",
    "load": "load",
    "import": "imports",
}
RESULTS = "assets/results/bench.json"
TEXT = "docs/speed.md"


def add_command(commands: Any) -> None:
    """Adds bench to the other commands."""
    command = commands.add_parser(
        "bench",
        help="time each part on this machine, compared with a reference implementation and the machine's roofline",
        description="Time each part of the library, interleaved with a reference implementation, and compare it "
        "with the least time that this machine could take. Every number is a median after warm-up. Every group runs in "
        "a separate process, as earlier work changes the speed of what follows. All groups take half an hour. With "
        "--threads 1 processor time is counted, so other work on the machine hardly changes the ratios; with more "
        "threads the wall clock is read, so the machine should be idle.",
        epilog="example: python -m userlab bench --group train --out assets/results/bench.json",
    )
    command.add_argument("--group", action="append", choices=list(GROUPS), help="only this group; repeatable")
    command.add_argument("--case", metavar="WORDS", help="only cases whose name contains these words")
    command.add_argument("--runs", type=int, default=10, help="readings per side (default: %(default)s)")
    command.add_argument("--threads", type=int, help="threads of torch (default: torch's own number)")
    command.add_argument(
        "--tiny", action="store_true", help="tiny sizes, to test that it runs; the times mean nothing"
    )
    command.add_argument(
        "--out",
        metavar="FILE.json",
        help=f"write the rows into this file, such as {RESULTS}; rows of other cases are kept",
    )
    command.add_argument(
        "--markdown", nargs="?", const=TEXT, metavar="FILE",
        help=f"measure nothing; write the table of {RESULTS} between its markers in this file (default: {TEXT})",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print JSON for machines in place of a table")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command. Raises UserError for numbers below 1, missing results, and a file of another machine's rows."""
    from userlab.bench import report

    if arguments.markdown is not None:
        report.fill(Path(arguments.markdown), stored(Path(arguments.out or RESULTS)))
        return 0
    for name in ("runs", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; it must be a whole number from 1 up.")
    out = Path(arguments.out) if arguments.out else None
    if out is not None:
        check_file(out, ("rows", "machine"))
    if out is not None and out.is_file() and out.stat().st_size:
        _check_kind(out, stored(out), threads=arguments.threads, tiny=arguments.tiny)
    document: dict[str, Any] = {}
    for part in _apart(
        arguments.group or list(GROUPS),
        only=arguments.case or "",
        runs=arguments.runs,
        threads=arguments.threads,
        tiny=arguments.tiny,
        say=not arguments.json,
    ):
        if out is not None:
            _keep(out, part)  # at once: a later group may fail
        document = {**part, "rows": document.get("rows", []) + part["rows"]}
    if arguments.json:
        print(json.dumps(document))
    return 0


def _apart(groups: list[str], **settings: Any) -> Iterator[dict[str, Any]]:
    """`measure` of each group in a new process. Raises UserError where one ends without a result."""
    for group in groups:
        try:
            with ProcessPoolExecutor(1, get_context("spawn"), initializer=_end_with_parent) as pool:
                yield pool.submit(measure, [group], **settings).result()
        except BrokenProcessPool as error:
            raise UserError(
                f"The process of the group {group} was ended from outside, perhaps for lack of memory; its rows are "
                f"missing. Measure it with: python -m userlab bench --group {group}"
            ) from error


def _end_with_parent() -> None:
    """Ends this process when its parent ends, as it would else go on for up to half an hour."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def measure(
    groups: list[str], *, runs: int, threads: int | None, tiny: bool, say: bool, only: str = ""
) -> dict[str, Any]:
    """The rows of the groups, with the machine's rates and their provenance."""
    import torch

    from userlab.bench import report, roofline
    from userlab.bench.case import Case, measured
    from userlib.provenance import provenance

    if threads is not None:
        torch.set_num_threads(threads)
    device = _device()
    machine = roofline.measure(device, runs=runs, tiny=tiny)
    rows: list[dict[str, Any]] = []
    for group in groups:
        module = importlib.import_module(f"userlab.bench.{GROUPS[group]}")
        for item in module.cases(tiny=tiny, device=device):
            if only not in (item.name if isinstance(item, Case) else item["case"]):
                continue
            row = measured(item, machine, runs=runs, device=device) if isinstance(item, Case) else item
            rows.append(row)
            if say:
                print(report.summary([row]), flush=True)
    return {
        "threads": torch.get_num_threads(),
        "device": device,
        "tiny": tiny,
        "machine": machine.as_dict(),
        "rows": rows,
        "provenance": provenance(),
    }


def stored(file: Path) -> dict[str, Any]:
    """The document that a measurement wrote. Raises UserError for a file that is missing or damaged."""
    from userlib.files import read_checksummed

    if not file.is_file():
        raise UserError(
            f"There are no measurements in {file}; make them with: python -m userlab bench --out {file}"
        )
    return read_checksummed(file, "Measure again with: python -m userlab bench --out FILE.json")


def _check_kind(file: Path, former: dict[str, Any], *, threads: int | None, tiny: bool) -> None:
    """Raises UserError, before any measurement, where the file's rows are of another machine, number of threads or
    size.
    """
    import torch

    from userlib.provenance import processor

    kinds = {
        "processor": (former["provenance"]["hardware"]["processor"], processor()),
        "threads": (former["threads"], threads or torch.get_num_threads()),
        "device": (former["device"], _device()),
        "tiny": (former["tiny"], tiny),
    }
    for name, (one, other) in kinds.items():
        if one != other:
            raise UserError(
                f"{file} holds rows with {name} {one}, and these would be with {name} {other}; the rows of one table "
                "must be measured alike. Name another file by --out, or move this one away."
            )


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _keep(file: Path, document: dict[str, Any]) -> None:
    """Writes the rows, replacing those of the same cases; groups are in the order of GROUPS."""
    from userlib.files import write_checksummed

    fresh = {(row["group"], row["case"]) for row in document["rows"]}
    older = stored(file)["rows"] if file.is_file() and file.stat().st_size else []
    rows = [row for row in older if (row["group"], row["case"]) not in fresh] + document["rows"]
    order = list(GROUPS)
    whole = {**document, "rows": sorted(rows, key=lambda row: order.index(row["group"]))}
    write_checksummed(file, whole, like=("rows", "machine"))

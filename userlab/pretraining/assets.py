"""What is stored with the weights: settings, log, provenance and checksums, written atomically as one folder."""

import csv
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from userlab.pretraining.loop import Log
from userlib.files import atomic_write_folder, check_folder, sha256_file, write_json
from userlib.provenance import code_version, provenance
from userlib.verify import write_manifest
from userscenes import library_versions, world_hash

HASHED = 1000  # scenes whose hash identifies the world


def check_out(out: Path, names: Collection[str]) -> None:
    """Raises UserError where `out` holds files other than an earlier result (`names`, log and provenance), which
    writing would delete.

    Also computes the hash of the code, so that the provenance names the code at the start of the run.
    """
    code_version()
    check_folder(out, [*names, "log.csv", "provenance.json"])


def command_of(name: str, out: Path, config: Any) -> str:
    """The command line that makes the same weights, with every setting."""
    flags = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in asdict(config).items())
    return f"python -m userlab {name} --out {out.as_posix()} {flags}"


def write_asset(
    out: Path,
    writer: Callable[[Path], object],
    log: Log,
    *,
    command: str,
    config: Mapping[str, Any],
    split: str,
) -> dict[str, Any]:
    """Writes the folder `out`: the files of `writer`, log.csv, provenance.json and manifest.json.

    Returns the provenance: command, configuration, world, seconds, last evaluation, code, machine and checksums.
    """
    facts: dict[str, Any] = {
        "command": command,
        "config": dict(config),
        "world": {
            "split": split,
            f"hash of the first {HASHED:,}": world_hash(split, HASHED, 0),
            **library_versions(),
        },
        "seconds": round(log.seconds),
        "result": log.rows[-1],
        **provenance(),
    }

    def write(target: Path) -> None:
        writer(target)
        facts["sha256"] = {path.name: sha256_file(path) for path in sorted(target.iterdir())}
        with open(target / "log.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(log.rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows([{key: f"{value:.6g}" for key, value in row.items()} for row in log.rows])
        write_json(target / "provenance.json", facts)
        write_manifest(target)

    atomic_write_folder(out, write)
    return facts

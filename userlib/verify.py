"""Compares stored folders and files with their checksums, and finds what a killed process left.

A stored folder (a checkpoint, cached array, index or asset) has a checksummed manifest.json, whose `sha256` has the
checksum of each file: a mapping from file names, or one checksum for array.npy. Results and notes are single files,
each with its own checksum; one with the key `arrays` has an .npz of that checksum next to it.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from userlib.errors import UserError
from userlib.files import MANIFEST as MANIFEST
from userlib.files import looks_checksummed, read_checksummed, sha256_file, sum_fault, write_checksummed

RUN_REMEDY = (
    'The checkpoints in its folder are complete. Write the names of the newest into it, {"last": "step-...", "best": '
    '"best-..."}, and resume.'
)
PLAIN_NAME = re.compile(r"\w[\w.-]*")
LEFT_OVER = re.compile(r"\..+\.(part|old)")
UNFINISHED = re.compile(r".+\.partial")


def write_manifest(folder: Path, **metadata: Any) -> None:
    """Writes the manifest of `folder`, with the checksum of every file and the given metadata."""
    sums = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    write_checksummed(folder / MANIFEST, {**metadata, "sha256": sums})


def read_manifest(folder: Path, remedy: str) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The manifest, and the checksum of each file by its name.

    Raises UserError, which ends with remedy, for a manifest that is missing, changed, newer or without checksums, and
    for one that names a file outside the folder.
    """
    manifest = read_checksummed(folder / MANIFEST, remedy)
    sums = manifest.get("sha256")
    if isinstance(sums, str):
        sums = {"array.npy": sums}
    if not isinstance(sums, dict) or not sums:
        raise UserError(f"{folder / MANIFEST} is damaged: it lists no checksums. {remedy}")
    for name in sums:
        if not PLAIN_NAME.fullmatch(name):
            raise UserError(f"{folder / MANIFEST} names {name!r}, which is no plain file name. {remedy}")
    return manifest, sums


def folders(root: Path) -> Iterator[Path]:
    """Folders below `root` that have a manifest, are unfinished or are left over; links are not followed."""
    for parent, names, files in os.walk(root):
        names.sort()
        here = Path(parent)
        if here != root and (UNFINISHED.fullmatch(here.name) or LEFT_OVER.fullmatch(here.name)):
            names.clear()
            yield here
        elif MANIFEST in files:
            yield here


def lone_files(root: Path) -> Iterator[Path]:
    """Checksummed files below `root` outside of stored folders: run.json, results, notes."""
    for parent, names, files in os.walk(root):
        names[:] = sorted(n for n in names if not (UNFINISHED.fullmatch(n) or LEFT_OVER.fullmatch(n)))
        if MANIFEST in files:
            continue
        for name in sorted(files):
            path = Path(parent) / name
            if path.suffix == ".json" and not path.is_symlink() and looks_checksummed(path):
                yield path


def lone_damage(path: Path) -> list[str]:
    """What is wrong with a checksummed file, or with its arrays."""
    try:
        value = read_checksummed(path, "")
        arrays = path.with_suffix(".npz")
        if "arrays" in value and (fault := sum_fault(arrays, value["arrays"])):
            return [f"{arrays.name} is damaged: {fault}"]
    except (UserError, OSError) as error:
        return [str(error).strip()]
    return []


def unfinished(folder: Path) -> tuple[str, str] | None:
    """What an incomplete folder is, and what to do with it; None for a complete one."""
    if UNFINISHED.fullmatch(folder.name):
        return (
            "half filled",
            "run the command that was filling it again, which resumes, or delete the folder",
        )
    if LEFT_OVER.fullmatch(folder.name):
        return "left by a process that was killed", "delete it, unless a run is writing there now"
    return None


def check(folder: Path, remedy: str) -> None:
    """Raises UserError, which ends with remedy, unless every file of a stored folder has its checksum."""
    for fault in damage(folder):
        raise UserError(f"{folder} is not as it was written: {fault}. {remedy}")


def damage(folder: Path) -> list[str]:
    """What is wrong with a stored folder, one entry per file; empty where every file has its checksum."""
    try:
        _, sums = read_manifest(folder, "")
    except UserError as error:
        return [str(error).strip()]
    faults = []
    for name, expected in sums.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            faults.append(f"{name} is missing")
        elif fault := sum_fault(path, expected):
            faults.append(f"{name} is damaged: {fault}")
    return faults

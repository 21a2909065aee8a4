"""Stored folders against the checksums in their manifests, and what a dead process left half written.

A stored folder (a checkpoint, cached array, index or asset) has a manifest.json whose `sha256` holds each
file's checksum: a mapping from file names, or one checksum for array.npy.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from userlib.errors import UserError
from userlib.files import read_json, sha256_file

MANIFEST = "manifest.json"
PLAIN_NAME = re.compile(r"\w[\w.-]*")
LEFT_OVER = re.compile(r"\..+\.(part|old)")
UNFINISHED = re.compile(r".+\.partial")


def folders(root: Path) -> Iterator[Path]:
    """Folders below `root` that hold a manifest, are unfinished or are left over; links are not followed."""
    for parent, names, files in os.walk(root):
        names.sort()
        here = Path(parent)
        if here != root and (UNFINISHED.fullmatch(here.name) or LEFT_OVER.fullmatch(here.name)):
            names.clear()
            yield here
        elif MANIFEST in files:
            yield here


def unfinished(folder: Path) -> tuple[str, str] | None:
    """What a folder that was never completed is, and what to do with it; None for a complete one."""
    if UNFINISHED.fullmatch(folder.name):
        return (
            "half filled",
            "run the command that was filling it again and it carries on, or delete the folder",
        )
    if LEFT_OVER.fullmatch(folder.name):
        return "left by a process that died", "delete it, unless a run is writing there now"
    return None


def damage(folder: Path) -> list[str]:
    """What is wrong with a stored folder, one entry a file; empty when every checksum holds."""
    try:
        manifest = read_json(folder / MANIFEST)
    except UserError as error:
        return [str(error)]
    sums = manifest.get("sha256") if isinstance(manifest, dict) else None
    if isinstance(sums, str):
        sums = {"array.npy": sums}
    if not isinstance(sums, dict) or not sums:
        return [f"{MANIFEST} lists no checksums"]
    found = []
    for name, expected in sums.items():
        path = folder / str(name)
        if not PLAIN_NAME.fullmatch(str(name)):
            found.append(f"{MANIFEST} names {name!r}, which is not a plain file name")
        elif path.is_symlink() or not path.is_file():
            found.append(f"{name} is missing")
        elif sha256_file(path) != expected:
            found.append(f"{name} is damaged: its checksum is not the stored one")
    return found

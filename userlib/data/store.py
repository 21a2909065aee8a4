"""One array on the disk: filled beside in a `.partial` folder that can be continued, checksummed, renamed
when complete.

folder/array.npy, folder/manifest.json (what it is made of, shape, dtype, size, sha256). Rows are appended
with plain writes, never through a memory map, because a full disk is then an error and not a crash. Raises
`UserError` for a full disk, a damaged array, or numbers that are not finite.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from userlib.errors import UserError
from userlib.files import disk_errors, read_json, sha256_file, sync, write_json


def stored(folder: Path) -> bool:
    """Whether the array is there, complete."""
    return (folder / "manifest.json").exists()


def open_array(folder: Path) -> np.ndarray:
    """The array, mapped into memory. Its checksum is compared the first time; later its size and time of
    change are.
    """
    file, manifest = folder / "array.npy", read_json(folder / "manifest.json")
    checked = folder / "checked.json"
    try:
        stat = file.stat()
        seen = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        whole = stat.st_size == manifest["size"] and (
            _same(checked, seen) or sha256_file(file) == manifest["sha256"]
        )
        array: np.ndarray | None = np.load(file, mmap_mode="r", allow_pickle=False) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        array = None
    if array is None:
        raise UserError(
            f"The cached array {file} is damaged: it is not what its checksum says. Delete the folder "
            f"{folder} and run the same command again; only this array is made anew."
        )
    if not _same(checked, seen):
        with suppress(UserError):  # a cache that cannot be written is checked in full each time
            write_json(checked, seen)
    return array


def _same(note: Path, seen: dict[str, int]) -> bool:
    try:
        return bool(read_json(note, limit=2**12) == seen)
    except UserError:
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock ends with its process, however that ends."""
    from filelock import FileLock, Timeout

    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another process that is filling {folder}", file=sys.stderr)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


class ArrayWriter:
    """Appends rows to an array of known shape. `done` rows are on the disk; it starts where an earlier writer
    stopped.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], about: Mapping[str, Any]
    ) -> None:
        self.folder, self.shape, self.dtype, self.about = folder, shape, dtype, dict(about)
        self.part = folder.with_name(f"{folder.name}.partial")
        self.file = self.part / "array.npy"
        self.row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        with disk_errors(self.file):
            self.part.mkdir(parents=True, exist_ok=True)
            self.done = self._earlier()
            if not self.done:
                with open(self.file, "wb") as file:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(dtype),
                        "fortran_order": False,
                        "shape": shape,
                    }
                    np.lib.format.write_array_header_1_0(file, header)
            self._open = open(self.file, "r+b", buffering=0)  # noqa: SIM115 - closed by close()
            self._open.seek(0)
            np.lib.format.read_magic(self._open)
            np.lib.format.read_array_header_1_0(self._open)
            self.start = self._open.tell()
            self.rewind(self.done)

    def _earlier(self) -> int:
        """How many rows an interrupted writer of the same array has left."""
        try:
            done = int(read_json(self.part / "progress.json", limit=2**12)["done"])
            with open(self.file, "rb") as file:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                held = (self.file.stat().st_size - file.tell()) // self.row_bytes
        except (UserError, OSError, ValueError, KeyError, TypeError):
            return 0
        return done if (shape, dtype) == (self.shape, self.dtype) and 0 <= done <= held else 0

    def rewind(self, row: int) -> None:
        """Go on after `row` rows."""
        self.done = row
        self._open.truncate(self.start + row * self.row_bytes)
        self._open.seek(0, os.SEEK_END)

    def write(self, rows: np.ndarray) -> None:
        """Append rows of the array's shape."""
        with np.errstate(over="ignore"):
            kept = np.ascontiguousarray(rows, dtype=self.dtype)
        if not np.isfinite(kept).all():
            bad = int(np.flatnonzero(~np.isfinite(kept).reshape(len(kept), -1).all(1))[0])
            raise UserError(
                f"The features of picture {self.done + bad} are not finite in {self.dtype} (NaN, infinite or "
                "beyond its range). Check the weights and the JSON beside them: mean, std and range above "
                "all."
            )
        data = memoryview(kept.reshape(-1).view(np.uint8).data)
        with disk_errors(self.file):
            while data:
                data = data[self._open.write(data) :]
        self.done += len(kept)

    def flush(self) -> None:
        """Put the rows on the disk, then their number: what a later writer can count on."""
        with disk_errors(self.file):
            os.fsync(self._open.fileno())
        write_json(self.part / "progress.json", {"done": self.done})

    def finish(self) -> None:
        """Checksum, manifest, rename. Only a full array may be finished."""
        if self.done != self.shape[0]:
            raise UserError(
                f"{self.file} holds {self.done} of {self.shape[0]} rows and cannot be finished. Run the "
                "command again."
            )
        self.flush()
        self._open.close()
        size = self.file.stat().st_size
        manifest = {
            "about": self.about,
            "shape": self.shape,
            "dtype": str(self.dtype),
            "size": size,
            "sha256": sha256_file(self.file),
        }
        write_json(self.part / "manifest.json", manifest)
        (self.part / "progress.json").unlink(missing_ok=True)
        with disk_errors(self.folder):
            os.replace(self.part, self.folder)
            sync(self.folder.parent)

    def close(self) -> None:
        """Keep what was written so far; an error on the way out must not hide the one that led here."""
        if not self._open.closed:
            with suppress(UserError):
                self.flush()
            self._open.close()

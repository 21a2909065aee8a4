"""Arrays on the disk, each in a folder: array.npy, and manifest.json with what it is made of, shape, dtype, size and
checksum.

An array is filled in a folder NAME.partial next to it, which a later writer can continue, and which is renamed when it
is complete. Rows are appended with plain writes, never through a memory map, because a full disk is then an error and
not a crash. Raises `UserError` for a full disk, a damaged array, or values that are not finite.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from userlib.errors import UserError
from userlib.files import (
    LEFT_OVER,
    atomic_write,
    check_folder,
    disk_errors,
    looks_checksummed,
    read_checksummed,
    sha256_file,
    sync,
    write_checksummed,
)
from userlib.progress import wait_for
from userlib.verify import MANIFEST


def is_complete(folder: Path) -> bool:
    """Whether the array exists and is complete."""
    return (folder / MANIFEST).exists()


def open_array(folder: Path) -> np.ndarray:
    """The array, mapped into memory after its checksum was verified (about a second per gigabyte)."""
    file = folder / "array.npy"
    remedy = f"Delete the folder {folder} and run the same command again; only this array is made again."
    manifest = read_checksummed(folder / MANIFEST, remedy)
    try:
        whole = file.stat().st_size == manifest["size"] and sha256_file(file) == manifest["sha256"]
        array: np.ndarray | None = np.load(file, mmap_mode="r", allow_pickle=False) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        array = None
    if array is None:
        raise UserError(f"The cached array {file} is damaged: it is not what its checksum says. {remedy}")
    return array


def cached_array(file: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A small array from `file`; made by `make` and written there if it is absent or its checksum is wrong."""
    try:
        content = file.read_bytes()
        if hashlib.sha256(content[:-32]).digest() == content[-32:]:
            return np.asarray(np.load(io.BytesIO(content[:-32]), allow_pickle=False))
    except (OSError, ValueError):
        pass  # absent or damaged
    array, stream = make(), io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    whole = stream.getvalue() + hashlib.sha256(stream.getvalue()).digest()
    with suppress(UserError, OSError):  # where it cannot be written, it is made each time
        atomic_write(file, lambda part: part.write_bytes(whole), over=True)
    return array


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock ends with its process, however that ends."""
    from filelock import FileLock, Timeout

    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))

        def take(seconds: float) -> bool:
            try:
                lock.acquire(timeout=seconds)
            except Timeout:
                return False
            return True

        wait_for(take, f"waiting for another process that is filling {folder}")
    try:
        yield
    finally:
        lock.release()


class ArrayWriter:
    """Appends rows to an array of known shape. It starts where an earlier writer stopped, after `done` rows."""

    def __init__(
        self, folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], about: Mapping[str, Any]
    ) -> None:
        self.folder, self.shape, self.dtype, self.about = folder, shape, dtype, dict(about)
        self.part = folder.with_name(f"{folder.name}.partial")
        self.file, self.note = self.part / "array.npy", self.part / "progress.json"
        self.row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        header = io.BytesIO()
        about_rows = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, about_rows)
        self.header = header.getvalue()
        self._check_places()
        with disk_errors(self.file):
            self.part.mkdir(parents=True, exist_ok=True)
            self.file.touch()
            self._open = open(self.file, "r+b", buffering=0)  # noqa: SIM115 - closed by close()
            done, total = self._noted()
            self.rewind(done)
            if done and self.sum.hexdigest() != total:  # cut short, changed, or of another shape
                self.rewind(0)

    def _check_places(self) -> None:
        """Raises UserError where the array's folder, or the unfinished one, holds files of another origin."""
        check_folder(self.folder, ())
        check_folder(self.part / "array", ())  # the unfinished folder itself is a folder, or absent
        for path in sorted(self.part.iterdir()) if self.part.is_dir() else ():
            if path == self.file and not looks_checksummed(self.note):
                with open(path, "rb") as file:
                    own = file.read(len(self.header)) in (b"", self.header)
            elif path == self.part / MANIFEST:  # killed before the renaming
                own = looks_checksummed(path)
            else:
                own = path in (self.file, self.note) or LEFT_OVER.fullmatch(path.name) is not None
            if not own:
                raise UserError(f"{path} was left by no earlier extraction, and would be lost. Move it away.")

    def _noted(self) -> tuple[int, str]:
        """The number of rows that an interrupted writer left, and the checksum of the file up to there."""
        try:
            note = read_checksummed(self.note, "", limit=2**12)
            done, total = int(note["done"]), str(note["sha256"])
        except (UserError, ValueError, KeyError, TypeError):
            return 0, ""
        return (done, total) if 0 <= done <= self.shape[0] else (0, "")

    def rewind(self, row: int) -> None:
        """Continue after `row` rows."""
        self.done = row
        self._open.truncate(len(self.header) + row * self.row_bytes)
        self._open.seek(0)
        if not row:
            self._open.write(self.header)
            self._open.seek(0)
        self.sum: Any = hashlib.file_digest(self._open, "sha256")  # reads to the end

    def write(self, rows: np.ndarray) -> None:
        """Append rows (n, ...). Raises UserError for values that are not finite in the array's dtype."""
        with np.errstate(over="ignore"):
            kept = np.ascontiguousarray(rows, dtype=self.dtype)
        if not np.isfinite(kept).all():
            bad = int(np.flatnonzero(~np.isfinite(kept).reshape(len(kept), -1).all(1))[0])
            raise UserError(
                f"The features of image {self.done + bad} are not finite in {self.dtype} (NaN, infinite or beyond "
                "its range). Check the weights and the JSON next to them: mean, std and range above all."
            )
        data = memoryview(kept.reshape(-1).view(np.uint8).data)
        left = data
        with disk_errors(self.file):
            while left:
                left = left[self._open.write(left) :]
        self.sum.update(data)
        self.done += len(kept)

    def flush(self) -> None:
        """Write the rows to the disk, then their number, from which a later writer can continue."""
        with disk_errors(self.file):
            os.fsync(self._open.fileno())
        write_checksummed(self.note, {"done": self.done, "sha256": self.sum.hexdigest()}, over=True)

    def finish(self) -> None:
        """Write the manifest and rename the folder. Raises UserError unless all rows are written."""
        if self.done != self.shape[0]:
            raise UserError(
                f"{self.file} holds {self.done} of {self.shape[0]} rows and cannot be finished. Run the command again."
            )
        self.flush()
        self._open.close()
        manifest: dict[str, Any] = {"about": self.about, "shape": self.shape, "dtype": str(self.dtype)}
        manifest["size"] = self.file.stat().st_size
        manifest["sha256"] = self.sum.hexdigest()  # of what was written, whatever the disk stored
        write_checksummed(self.part / MANIFEST, manifest, over=True)
        self.note.unlink(missing_ok=True)
        with disk_errors(self.folder):
            os.replace(self.part, self.folder)
            sync(self.folder.parent)

    def close(self) -> None:
        """Keep what was written so far. An error while doing so is suppressed, as it would hide an earlier one."""
        if not self._open.closed:
            with suppress(UserError):
                self.flush()
            self._open.close()

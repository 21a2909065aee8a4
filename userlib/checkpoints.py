"""Checkpoints on disk: a folder of tensors and JSON, written atomically, with checksums, read without unpickling.

The folder of a run has `step-00001200` (everything that a bit-equal resume needs), `best-00001000` (only the
encoders, for search and evaluation) and `run.json`, which names these two.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from userlib import legacy
from userlib.errors import UserError
from userlib.files import (
    LEFT_OVER,
    LOCK,
    atomic_write_folder,
    check_file,
    check_folder,
    disk_errors,
    read_checksummed,
    read_json,
    remove_folder,
    sum_fault,
    write_json,
)
from userlib.verify import MANIFEST, RUN_REMEDY, read_manifest, write_manifest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TENSORS = "tensors.safetensors"
CARD = "README.md"


def write_checkpoint(
    folder: Path, tensors: "Mapping[str, Tensor]", documents: Mapping[str, Any], *, card: str | None = None
) -> None:
    """Writes a checkpoint under a temporary name and renames it to `folder`, replacing an older one. card: the text of
    a README.md, which is not read again.

    Raises UserError where the folder holds anything else, and where no space is left; an older checkpoint is kept then.
    """
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _write(folder, lambda file: save_file(whole, file), documents, card)


def write_arrays(
    folder: Path, arrays: Mapping[str, NDArray[Any]], documents: Mapping[str, Any], *, card: str | None = None
) -> None:
    """`write_checkpoint` for numpy arrays, without torch."""
    import numpy as np
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    _write(folder, lambda file: save_file(whole, file), documents, card)


def _write(
    folder: Path, save: Callable[[Path], object], documents: Mapping[str, Any], card: str | None
) -> None:
    def write(part: Path) -> None:
        save(part / TENSORS)
        for name, document in documents.items():
            write_json(part / f"{name}.json", document)
        if card is not None:
            (part / CARD).write_text(card, encoding="utf-8", newline="\n")
        write_manifest(part)

    atomic_write_folder(folder, write)


def read_checkpoint(folder: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """The tensors and documents of a checkpoint, with today's names (legacy.py), compared with their checksums.

    Raises UserError for a missing, changed or newer checkpoint.
    """
    from safetensors.torch import load

    return _read(folder, load)


def read_arrays(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """`read_checkpoint` as numpy arrays, without torch."""
    from safetensors.numpy import load

    return _read(folder, load)


def _read(folder: Path, load: Callable[[bytes], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError

    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder} is no checkpoint, since it has no {MANIFEST}. Give the folder of a run or of one of its "
            "checkpoints."
        )
    fetched = folder.parent.name == "snapshots"  # in the hub's cache, whose files are links to ../../blobs
    remedy = f"Delete {folder} and " + (
        "the files that its links point to, and download it again."
        if fetched
        else "resume from an older checkpoint, or train again."
    )
    _, sums = read_manifest(folder, remedy)
    check_names(folder, sums, remedy)
    tensors: dict[str, Any] = {}
    documents: dict[str, Any] = {}
    for name, expected in sums.items():
        path = folder / name
        if name == CARD:
            continue
        linked = path.is_symlink() and not (fetched and path.resolve().parent == _blobs(folder))
        if linked or not path.is_file():
            raise UserError(f"{path} is missing. {remedy}")
        content = path.read_bytes()
        if fault := sum_fault(path, expected, content):
            raise UserError(f"{path} is damaged: {fault}. {remedy}")
        if name == TENSORS:
            try:
                tensors = load(content)
            except SafetensorError as error:
                raise UserError(f"{path} is no .safetensors file: {error}. {remedy}") from error
        else:
            documents[name.removesuffix(".json")] = read_json(path)
    # a MomentumContrast never had earlier names, and its encoders may use them for parts of their own
    if "contrast" not in documents:
        tensors = {legacy.weight(name): tensor for name, tensor in tensors.items()}
    return tensors, legacy.documents(documents)


def check_names(folder: Path, names: Iterable[str], remedy: str) -> None:
    """Raises UserError where a manifest names a file of a kind that checkpoints do not have."""
    for name in names:
        if name != CARD and Path(name).suffix not in (".json", ".safetensors"):
            raise UserError(f"{folder / MANIFEST} names {name!r}, which is no file of a checkpoint. {remedy}")


def _blobs(folder: Path) -> Path:
    """The folder of the hub's cache with the files that the links of a snapshot point to."""
    return folder.parent.parent.resolve() / "blobs"


def checkpoint_path(run: Path, which: str) -> Path:
    """The "best" or "last" checkpoint of a run, by its `run.json`. Raises UserError where there is none."""
    name = _run(run).get(which)
    if not isinstance(name, str) or not re.fullmatch(r"(best|step)-\d{8}", name):
        raise UserError(
            f"{run / 'run.json'} names no {which} checkpoint. Resume the run until its first evaluation."
        )
    return run / name


def _run(run: Path) -> dict[str, Any]:
    """The content of `run.json`."""
    return read_checksummed(run / "run.json", RUN_REMEDY, limit=2**16)


def load_state_strict(model: "torch.nn.Module", tensors: "Mapping[str, Tensor]", *, where: str) -> None:
    """Loads the state. Raises UserError, with the first name, for a missing or unexpected tensor, or another shape."""
    own = model.state_dict()
    for name in sorted(set(own) ^ set(tensors)):
        raise UserError(
            f"the checkpoint {where} does not fit the model: {name!r} is only in the "
            f"{'model' if name in own else 'checkpoint'}. Use the configuration that it was trained with."
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise UserError(
                f"the checkpoint {where} does not fit the model: {name!r} is {tuple(tensor.shape)} there and "
                f"{tuple(own[name].shape)} here. Use the configuration that it was trained with."
            )
    model.load_state_dict(dict(tensors))


def check_run(run: Path, *, resume: bool) -> None:
    """Raises UserError, before any work, where a run cannot be written to the folder `run`: it already has one, has
    none to resume, or has other files.
    """
    there = os.path.isfile(run / "run.json")  # raises no error for an impossible name
    if there and not resume:
        raise UserError(f"{run} already holds a run; add --resume to continue it, or give another --out.")
    if resume and not there:
        raise UserError(
            f"{run} holds no run to resume, since it has no run.json. Leave --resume out to start one, or give the "
            "--out of the run."
        )
    check_folder(run, shared=resume)
    check_file(run / "result.json", ("history",))


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """Within it, only this process writes to the run's folder. Raises UserError where another one does."""
    from filelock import FileLock, Timeout

    run = Path(os.path.realpath(run))
    with disk_errors(run / LOCK):
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / LOCK, timeout=0, is_singleton=True)  # `fit` within `train` acquires it again
        try:
            lock.acquire()
        except Timeout as error:
            raise UserError(
                f"another process is writing to {run}; wait until it has ended, or give another --out."
            ) from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:  # the outermost: removes the lock, and a folder without files
            (run / LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                run.rmdir()
        lock.release()


def prune(run: Path) -> None:
    """Removes checkpoints that `run.json` does not name, and incomplete ones; keeps folders with other files."""
    kept = set(_run(run).values())
    for path in run.iterdir():
        if (
            path.is_dir()
            and path.name not in kept
            and (re.fullmatch(r"(best|step)-\d{8}", path.name) or LEFT_OVER.fullmatch(path.name))
        ):
            remove_folder(path)

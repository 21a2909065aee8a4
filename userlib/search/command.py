"""`python -m userlib search`: brings the index in line with the images, says what it did, and finds."""

import argparse
import json
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from userlib.config import Config
from userlib.errors import UserError
from userlib.files import shown
from userlib.search.encoders import CheckpointEncoder, OpenClipEncoder
from userlib.search.index import Index, check_query


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Prints the hits; with --index the index is kept, and of a stopped one the part that there is."""
    if bool(arguments.checkpoint) == bool(arguments.model):
        raise UserError("give one of --checkpoint DIR and --model OPEN_CLIP_NAME.")
    if arguments.model and arguments.token_weights:
        raise UserError("--token-weights belong to the tokens of a --checkpoint; leave them out.")
    check_query(arguments.query)
    if arguments.top < 1:
        raise UserError(f"--top {arguments.top} asks for no image; give 1 or more.")
    folder = Path(arguments.index) if arguments.index else None
    there = folder is not None and _holds_something(folder)
    device = checked_device(arguments.device)
    encoder = (
        CheckpointEncoder(arguments.checkpoint, device=device, token_weights=arguments.token_weights)
        if arguments.checkpoint
        else OpenClipEncoder(arguments.model, device=device)
    )
    index = Index.load(folder, encoder) if folder is not None and there else Index.empty(encoder)
    if isinstance(encoder, CheckpointEncoder):
        config = encoder.loaded.config
    try:
        with terminated_as_interrupted():
            told = bring_in_line(index, arguments, config, folder)
    except KeyboardInterrupt:
        kept = folder is not None and index.folder == folder and len(index)
        say = f"{len(index):,} images are kept in {shown(str(folder))}; the same command carries on from there"
        print(
            f"interrupted; {say if kept else 'nothing was encoded yet, or there is no --index to keep it in'}",
            file=sys.stderr,
        )
        return 130
    hits = index.search(arguments.query, arguments.top)
    for line in (*told, *index.notes(arguments.query)):
        print(line, file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps([{"id": hit.id, "score": hit.score, "rank": hit.rank} for hit in hits]))
        return 0
    far = dict(zip(index.ids, index.distances > 1, strict=True)) if index.warning else {}
    for hit in hits:
        mark = "  (unlike what the model has seen)" if far.get(hit.id) else ""
        print(f"{hit.rank:3d}  {hit.score:.3f}  {shown(hit.id)}{mark}")
    return 0


def bring_in_line(
    index: Index, arguments: argparse.Namespace, config: Config, folder: Path | None
) -> list[str]:
    """Updates the index from the images that are asked for, else from those that it was made of; what it did."""
    from userlib.data.sources import load_data

    name = arguments.data or index.source.get("data") or (None if len(index) else config.data.data)
    if name is None:
        raise UserError(
            f"the index {folder} was written by an older version and does not say what it was made of; give --data."
        )
    name = str(Path(name).expanduser().absolute()) if Path(name).expanduser().exists() else name
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            data = load_data(name)
    except UserError as error:
        if arguments.data or not index.source:
            raise
        raise UserError(f"the index {folder} was made of {name}: {error} Or give --data.") from error
    usual = "test" if "test" in data.splits else next(iter(data.splits))
    if index.source.get("data") == name and index.source.get("split") in data.splits:
        usual = index.source["split"]
    split = data.split(arguments.split or usual)
    older = bool(len(index)) and not index.prints
    index.source = {"data": name, "split": split.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out is told here
        changes = index.update(split, keep_in=folder, progress=not arguments.json)
    told = [shown(str(one.message)) for one in heard if one.category is UserWarning]  # what the folder also holds
    told += [] if folder is None else [f"{shown(folder)}: {changes}"]
    if older:
        told.append("It was written by an older version, which kept no checksums of images: all were encoded again.")
    if changes.skipped:
        count = len(changes.skipped)
        are = "is" if count == 1 else "are"
        told.append(f"{count:,} of {len(split):,} images {are} left out; the first: {changes.skipped[0]}")
    return told


def _holds_something(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--index {folder} is a file; an index is a folder. Name another place.")
    return folder.is_dir() and any(folder.iterdir())


def checked_device(name: str) -> str:
    """The name of a device that is here. UserError for any other."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name!r} is no device; give cpu, cuda, cuda:0 or mps.") from error
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= counts.get(device.type, 0):
        raise UserError(f"--device {name!r} is not on this machine, which has {_devices(counts)}.")
    return name


def _devices(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts.items() if count)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Within it, SIGTERM is as Ctrl-C, so that what was done is kept. Elsewhere than in the main thread: nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

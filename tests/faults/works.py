"""The pieces of work that the faults interrupt, each small, each with its result and with what it has promised so far.

A work writes below its folder alone. It announces what it has put on the disk for good (an evaluation, rows of an
array, a chunk, a row of a study), one line each in announced.txt: what was announced must outlive any fault.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.reference.runs import run_config, write_learnable
from userlib.verify import damage, folders, unfinished

PICTURES = 16


@dataclass(frozen=True)
class Work:
    """do fills the folder; result says bit by bit what is there at the end; kept how much is there now of what was
    promised.
    """

    do: Callable[[Path], None]
    result: Callable[[Path], dict[str, str]]
    kept: Callable[[Path], int]


def announce(folder: Path, count: int) -> None:
    handle = os.open(folder / "announced.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{count}\n".encode())
    os.close(handle)


def announced(folder: Path) -> int:
    """The most that the work has promised; 0 before its first promise."""
    file = folder / "announced.txt"
    return max(map(int, file.read_text().split()), default=0) if file.exists() else 0


def unsound(folder: Path) -> list[str]:
    """Stored folders below that look finished and are not: what would mislead a later reader."""
    return [
        f"{place}: {fault}" for place in folders(folder) if not unfinished(place) for fault in damage(place)
    ]


def digest(*arrays: Any) -> str:
    whole = hashlib.sha256()
    for array in arrays:
        kept = np.ascontiguousarray(array)
        whole.update(f"{kept.dtype} {kept.shape}".encode() + kept.tobytes())
    return whole.hexdigest()[:16]


# --- training ---------------------------------------------------------------------------------------------------


def train(folder: Path) -> None:
    from userlib.training import fit, prepare
    from userlib.training.loop import Trainer

    plain = Trainer.write_last

    def write_last(self: Any, named: dict[str, str], *content: Any) -> None:
        plain(self, named, *content)
        announce(folder, int(named["last"].removeprefix("step-")))

    Trainer.write_last = write_last  # type: ignore[method-assign]
    data = folder / "data"
    if not (data / "whole").exists():
        write_learnable(data)
        (data / "whole").touch()
    out = folder / "run"
    fit(
        prepare(run_config(data), progress=False),
        out=out,
        resume=(out / "run.json").is_file(),
        progress=False,
    )


def trained(folder: Path) -> dict[str, str]:
    """Weights, momentum weights, queues, optimizer; history; the best encoders."""
    from userlib.checkpoints import checkpoint_path, read_checkpoint

    result = {}
    for which in ("last", "best"):
        tensors, documents = read_checkpoint(checkpoint_path(folder / "run", which))
        assert which == "best" or {"queue", "text_momentum_encoder"} <= {
            n.split(".")[1] for n in tensors if "." in n
        }
        result |= {f"{which} {name}": digest(tensor.numpy()) for name, tensor in tensors.items()}
        if which == "last":
            result["history"] = json.dumps({k: v for k, v in documents["state"].items() if k != "seconds"})
    return result


def steps_kept(folder: Path) -> int:
    from userlib.checkpoints import checkpoint_path, read_checkpoint

    if not (folder / "run" / "run.json").exists():
        return 0
    return int(read_checkpoint(checkpoint_path(folder / "run", "last"))[1]["state"]["step"])


# --- caching ----------------------------------------------------------------------------------------------------


class Asked:
    """Pictures of the drawn world that note how often they are asked for."""

    def __init__(self, folder: Path) -> None:
        from userscenes import make_world

        self.world, self.file = make_world("train", PICTURES), folder / "asked.txt"

    def __len__(self) -> int:
        return PICTURES

    def __getitem__(self, i: int) -> Any:
        with open(self.file, "a") as file:
            file.write(f"{i}\n")
        return self.world.picture(i)


def split_of(folder: Path) -> Any:
    from userlib.data.splits import Split

    return Split(
        name="train",
        ids=tuple(f"p{i:02d}" for i in range(PICTURES)),
        pictures=Asked(folder),
        captions=("a dog",) * PICTURES,
        caption_to_image=np.arange(PICTURES),
        fingerprint="faults",
    )


def tokens(folder: Path) -> None:
    from userlib.data import tokens as module
    from userlib.data.store import ArrayWriter

    module.BATCH, module.FLUSH = 2, 2
    plain = ArrayWriter.flush

    def flush(self: ArrayWriter) -> None:
        plain(self)
        announce(folder, self.done)

    ArrayWriter.flush = flush  # type: ignore[method-assign]
    module.extract(split_of(folder), tokens="region-mini", progress=False, cache=folder / "cache", workers=1)


def cached(folder: Path) -> dict[str, str]:
    from userlib.data.store import open_array

    places = [place for place in folders(folder / "cache") if not unfinished(place)]
    return {place.name: digest(open_array(place)) for place in places}


def rows_kept(folder: Path) -> int:
    from userlib.files import read_checksummed

    if cached(folder):
        return PICTURES
    notes = list((folder / "cache").glob("tokens/*.partial/progress.json"))
    return int(read_checksummed(notes[0], "")["done"]) if notes else 0


def draw(folder: Path) -> None:
    """Scenes as pictures, labels and captions, in chunks of four."""
    from userlab.pretraining import drawing

    drawing.CHUNK = 4
    plain = drawing._draw

    def one(job: Any) -> None:
        plain(job)
        announce(folder, job[1] // drawing.CHUNK + 1)

    drawing._draw = one
    wanted = drawing.Wanted(split="train", count=PICTURES, side=64, labels=True, captions=True)
    drawing._key = lambda wanted: "drawn"  # the key draws 64 scenes, longer than all of the rest
    drawing.drawn(wanted, show=False)


def drawn(folder: Path) -> dict[str, str]:
    result = {}
    for place in folders(folder / "cache"):
        if not unfinished(place):
            result |= {f"{place.name} {file.name}": digest(np.load(file)) for file in place.glob("*.npy")}
            result[f"{place.name} captions"] = (place / "captions.json").read_text()
    return result


def chunks_kept(folder: Path) -> int:
    return len({name.split()[0] for name in drawn(folder)})


# --- indexes ----------------------------------------------------------------------------------------------------


class Colours:
    """A picture is its mean colour, a sentence a vector by its letters: an encoder that costs nothing."""

    warning = None

    def encode_text(self, texts: Any) -> Any:
        rows = np.array([[1 + sum(map(ord, text)) % k for k in (7, 11, 13)] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_image(self, pictures: Any) -> Any:
        rows = np.array([1 + np.asarray(picture, np.float32).mean((0, 1)) for picture in pictures])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def unknown(self, text: str) -> list[str]:
        return []

    def cache_key(self) -> dict[str, Any]:
        return {"kind": "colours"}


def index(folder: Path) -> None:
    from userlib.search import Index

    place = folder / "index"
    if not place.exists():
        Index.build(split_of(folder), Colours(), progress=False).save(place)
    announce(folder, 1)
    Index.load(place, Colours()).search("a dog", 3)


def indexed(folder: Path) -> dict[str, str]:
    from userlib.search import Index

    result = Index.load(folder / "index", Colours())
    return {
        "ids": " ".join(result.ids),
        "vectors": digest(result.vectors),
        "captions": " ".join(result.texts),
    }


# --- studies ----------------------------------------------------------------------------------------------------


def study(folder: Path) -> None:
    """Two runs of a study in this process."""
    from dataclasses import replace

    from userlab.ablation.jobs import Job
    from userlab.ablation.worker import run_job

    data = folder / "data"
    if not (data / "whole").exists():
        write_learnable(data)
        (data / "whole").touch()
    config = run_config(data, steps=6)
    for count, enhancement in enumerate(("none", "sge"), start=1):
        changed = replace(config, model=replace(config.model, enhancement=enhancement))
        job = Job(study="small", variant=enhancement, config=changed, out=str(folder / "results"))
        if not job.row(job.variant).is_file():
            run_job(job)
        announce(folder, count)


def studied(folder: Path) -> dict[str, str]:
    from userlab.ablation.rows import read_rows

    return {
        row.file.name: digest(*(row.arrays[name] for name in sorted(row.arrays)))
        for row in read_rows(folder / "results" / "small")
    }


WORKS = {
    "training": Work(train, trained, steps_kept),
    "caching tokens": Work(tokens, cached, rows_kept),
    "drawing scenes": Work(draw, drawn, chunks_kept),
    "building an index": Work(index, indexed, lambda folder: int((folder / "index").exists())),
    "a study": Work(
        study, studied, lambda folder: len(studied(folder)) if (folder / "results" / "small").exists() else 0
    ),
}

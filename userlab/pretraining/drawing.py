"""The drawn world on the disk as arrays: drawn once, in chunks, by several processes. Finished chunks of an interrupted
run are kept.

A chunk is a folder of 1,000 scenes: `pictures.npy` (n, side, side, 3) uint8, and labels and captions where `Wanted`
says so.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from userlib.errors import UserError
from userlib.files import atomic_write_folder, cache_dir, read_json, sha256_bytes, write_json
from userlib.progress import Progress
from userlib.verify import MANIFEST, check, write_manifest
from userscenes import library_versions, make_world
from userscenes.catalog import TRAIN_COLOURS, TRAIN_KINDS, TRAIN_PATTERNS
from userscenes.graph import Scene

CHUNK = 1000
NOTHING = 255  # the label of a pixel that shows no thing, and the pattern of a thing without one
NAMES = (TRAIN_KINDS, TRAIN_COLOURS, TRAIN_PATTERNS)  # the names that the three labels of a pixel index


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which scenes are drawn, and what is stored of them."""

    split: str
    count: int
    seed: int = 0
    side: int = 128  # pixels
    labels: bool = False  # `labels.npy` (n, 128, 128, 3) uint8: kind, colour and pattern of each pixel
    captions: bool = False  # `captions.json`: five per scene


class Drawn:
    """The scenes as arrays; `captions` holds five for each."""

    def __init__(self, wanted: Wanted, chunks: list[Path]) -> None:
        self.wanted, self.chunks = wanted, chunks

    def __len__(self) -> int:
        return self.wanted.count

    def gather(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The array `pictures` or `labels`, by its name, of the scenes at `rows`: (n, ...)."""
        arrays = self._maps(name)
        return np.stack([arrays[row // CHUNK][row % CHUNK] for row in rows.tolist()])

    def _maps(self, name: str) -> list[np.ndarray]:
        arrays: list[np.ndarray] | None = self.__dict__.get(f"_{name}")
        if arrays is None:
            arrays = [
                np.load(chunk / f"{name}.npy", mmap_mode="r", allow_pickle=False) for chunk in self.chunks
            ]
            self.__dict__[f"_{name}"] = arrays
        return arrays

    @cached_property
    def captions(self) -> list[list[str]]:
        return [five for chunk in self.chunks for five in read_json(chunk / "captions.json")]


def drawn(wanted: Wanted, *, processes: int = 1, show: bool = True) -> Drawn:
    """The scenes that are wanted, drawn now unless they are on the disk already.

    Raises UserError where the disk is full, a chunk is damaged or a drawing process is killed; finished chunks are
    kept.
    """
    folder = cache_dir() / "pretraining" / f"{wanted.split}-{_key(wanted)}"
    starts = range(0, wanted.count, CHUNK)
    jobs = [
        (wanted, start, folder / f"{start:07d}-{min(start + CHUNK, wanted.count):07d}") for start in starts
    ]
    todo = [job for job in jobs if not (job[2] / MANIFEST).is_file()]
    with Progress(
        len(jobs), f"drawing {wanted.count:,} images, {CHUNK:,} at a time", show=show and bool(todo)
    ) as shown:
        shown.step(len(jobs) - len(todo))
        for _ in _run(todo, processes):
            shown.step()
    for _, _, chunk in jobs:
        check(chunk, f"Delete {chunk} and run the same command again; only this chunk is drawn again.")
    return Drawn(wanted, [job[2] for job in jobs])


def _key(wanted: Wanted) -> str:
    """The key of the folder: everything that changes a pixel or a word, but not the number of scenes.

    The hash of some scenes stands for the world's code.
    """
    from userscenes import world_hash

    settings = {**asdict(wanted), "count": None}
    return sha256_bytes(
        json.dumps([settings, library_versions(), world_hash(wanted.split, 64, wanted.seed)])
    )[:16]


def _run(jobs: list[tuple[Wanted, int, Path]], processes: int) -> Iterator[None]:
    if processes == 1 or len(jobs) < 2:
        yield from map(_draw, jobs)
        return
    try:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            yield from pool.map(_draw, jobs)
    except BrokenProcessPool as error:
        raise UserError(
            "A process that was drawing images has been killed, perhaps for lack of memory. Run the same "
            "command again: what was drawn is kept. --processes 1 needs the least memory."
        ) from error


def _draw(job: tuple[Wanted, int, Path]) -> None:
    """Draws and writes one chunk."""
    wanted, start, folder = job
    world = make_world(wanted.split, wanted.count, seed=wanted.seed)
    rows = range(start, min(start + CHUNK, wanted.count))
    arrays = {"pictures": np.stack([_small(world.picture(i), wanted.side) for i in rows])}
    if wanted.labels:
        arrays["labels"] = np.stack([_labels(world[i], world.masks(i)) for i in rows])

    def write(target: Path) -> None:
        for name, array in arrays.items():
            np.save(target / f"{name}.npy", array, allow_pickle=False)
        if wanted.captions:
            write_json(
                target / "captions.json", [[caption.text for caption in world.captions(i)] for i in rows]
            )
        write_manifest(target)

    atomic_write_folder(folder, write, once=True)


def _small(picture: Image.Image, side: int) -> np.ndarray:
    """(side, side, 3) uint8, squashed as in `Extractor.prepare`."""
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _labels(scene: Scene, masks: list[np.ndarray]) -> np.ndarray:
    """(128, 128, 3) uint8: kind, colour and pattern of the thing that each pixel shows, by NAMES."""
    labels = np.full((*masks[0].shape, len(NAMES)), NOTHING, np.uint8)
    for thing, mask in zip(scene.things, masks, strict=True):
        words = (thing.kind, thing.colour, thing.pattern)
        labels[mask] = [
            names.index(word) if word else NOTHING for names, word in zip(NAMES, words, strict=True)
        ]
    return labels


def shifted(array: np.ndarray, most: int, y: int, x: int) -> np.ndarray:
    """(side, side, C) moved by y - most pixels up and x - most left, 0 <= y, x <= 2 * most; edges repeat."""
    height, width = array.shape[:2]
    return np.pad(array, ((most, most), (most, most), (0, 0)), mode="edge")[y : y + height, x : x + width]

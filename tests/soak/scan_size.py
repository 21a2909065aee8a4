"""A SCAN folder of Flickr30K's true size trains with BiGRU text, in little memory and without waiting for the disk.

    python tests/soak/scan_size.py              50 steps of 128 pairs: 6,400 rows are touched
    python tests/soak/scan_size.py --steps 5 --batch-size 16 --dev 64

train_ims.npy has 29,000 x 36 x 2048 float32, 8.6 GB, sparse: the rows that the run will touch hold random numbers, the
others are holes. The written rows are dropped from the system's cache of files before the run, so that they are
read from the disk. Prints JSON; ends with 1 where a limit is passed. Linux alone: it reads /proc/self/status.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from userlib.config import Config
from userlib.presets import preset
from userlib.training import fit, loop, prepare
from userlib.training.schedule import batch_indices

PICTURES, DEV, REGIONS, WIDTH, EACH = 29_000, 1_014, 36, 2048, 5
VOCABULARY = 8_000  # about as many words as Flickr30K's train captions hold four times or more
ANONYMOUS_GB, WAITING = 3.0, 0.10  # the limits


def memory_gb(what: str) -> float:
    """One figure of this process's account of memory: VmHWM, RssAnon (10^9 bytes)."""
    match = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) * 1024 / 1e9 if match else float("nan")


@contextmanager
def anonymous_peak(every: float = 0.02) -> Iterator[list[float]]:
    """The largest RssAnon seen within, looked at every 20 ms: memory that is no file's page."""
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            peak[0] = max(peak[0], memory_gb("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def write_sparse(file: Path, count: int, rows: np.ndarray) -> None:
    """An .npy file of `count` pictures in which only `rows` are written."""
    draw = np.random.default_rng(count)
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, REGIONS, WIDTH)}
    with open(file, "wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        start, size = out.tell(), REGIONS * WIDTH * 4
        for row in np.sort(rows):
            out.seek(start + int(row) * size)
            out.write(draw.random((REGIONS, WIDTH), dtype=np.float32).data)
        out.truncate(start + count * size)
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_folder(folder: Path, config: Config, steps: int, dev: int) -> int:
    """SCAN's files; returns how many train pictures hold numbers: those of the run's batches, and the first 256,
    which are looked at before the first step.
    """
    draw = np.random.default_rng(1)
    words = [f"word{i}" for i in range(VOCABULARY)]
    chances = 1 / np.arange(1, VOCABULARY + 1)
    chances /= chances.sum()
    for part, count in (("train", PICTURES), ("dev", dev)):
        lengths = draw.integers(6, 20, EACH * count)  # 12.5 words a caption; Flickr30K has 12.4
        drawn = draw.choice(words, size=int(lengths.sum()), p=chances)
        lines = (" ".join(line) for line in np.split(drawn, np.cumsum(lengths)[:-1]))
        (folder / f"{part}_caps.txt").write_text("\n".join(lines) + "\n")
        (folder / f"{part}_ids.txt").write_text("\n".join(map(str, range(count))) + "\n")
    captions = [batch_indices(step, EACH * PICTURES, config.training) for step in range(steps)]
    touched = np.union1d(np.concatenate(captions) // EACH, np.arange(256))
    write_sparse(folder / "train_ims.npy", PICTURES, touched)
    write_sparse(folder / "dev_ims.npy", dev, np.arange(dev))
    return len(touched)


def config_of(folder: Path, *, steps: int, batch: int) -> Config:
    """The preset of the paper with BiGRU text in place of BERT."""
    paper = preset("paper-flickr30k")
    model = replace(paper.model, text="gru", text_model=None, text_width=1024, text_layers=1)
    data = replace(paper.data, data=str(folder), test_split=None, min_count=1)
    return replace(
        paper, data=data, model=model, training=replace(paper.training, steps=steps, batch_size=batch)
    )


def measure(folder: Path, *, steps: int, batch: int, dev: int) -> dict[str, Any]:
    """Trains and says what it took."""
    config = config_of(folder, steps=steps, batch=batch)
    written = write_folder(folder, config, steps, dev)
    waited, spent, taken = 0.0, 0.0, 0
    plain_batches, plain_step = loop.batches, loop.Trainer.step

    def batches(*arguments: Any) -> Iterator[Any]:
        nonlocal waited
        source = plain_batches(*arguments)
        while True:
            start = time.perf_counter()
            batch = next(source, None)
            waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def step(self: Any, batch: Any) -> Any:
        nonlocal spent, taken
        start = time.perf_counter()
        output = plain_step(self, batch)
        spent, taken = spent + time.perf_counter() - start, taken + 1
        return output

    loop.batches, loop.Trainer.step = batches, step  # type: ignore[assignment,method-assign]
    with anonymous_peak() as peak:
        run = fit(prepare(config, progress=False), progress=False)
    file = (folder / "train_ims.npy").stat()
    return {
        "file_gb": file.st_size / 1e9,
        "on_disk_gb": file.st_blocks * 512 / 1e9,
        "rows_written": written,
        "steps": taken,
        "batch": batch,
        "parameters": sum(p.numel() for p in run.encoders.parameters()),
        "vocabulary": run.tokenizer.vocab_size,
        "seconds_a_step": (spent + waited) / taken,
        "waiting_share": waited / (spent + waited),
        "anonymous_peak_gb": peak[0],
        "resident_peak_gb": memory_gb(
            "VmHWM"
        ),  # with the pages of mapped files, which the system may take back
        "loss": run.rows[-1]["loss"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--dev", type=int, default=DEV, help="pictures of the split that is evaluated at the end"
    )
    parser.add_argument(
        "--folder", type=Path, help="where the files are made (2 GB for 50 steps); default: /tmp"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        result = measure(Path(folder), steps=chosen.steps, batch=chosen.batch_size, dev=chosen.dev)
    kept = result["anonymous_peak_gb"] < ANONYMOUS_GB and result["waiting_share"] < WAITING
    print(json.dumps(result | {"kept": kept}, indent=1))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

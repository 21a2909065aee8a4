"""Tokens and guides of a split: made once, cached on the disk, mapped into memory.

The cache has a folder for each array (store.py), named after a hash of the images and of everything that changes a
token. A lock allows one writer at a time, and an interrupted one is continued by a later call.
"""

import json
import math
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from userlib.data.base import Extractor
from userlib.data.contents import content_sums
from userlib.data.extractors import make_extractor
from userlib.data.pictures import PictureFiles
from userlib.data.scan import open_features
from userlib.data.splits import Pictures, Split, Subset
from userlib.data.store import ArrayWriter, is_complete, locked, open_array
from userlib.data.vectors import GivenVectors
from userlib.errors import UserError
from userlib.files import cache_dir, sha256_bytes
from userlib.progress import Progress

if TYPE_CHECKING:
    from userlib.data.pixels import Pixels

BATCH = 64  # images through the network at once
WORKERS = min(8, max(2, os.cpu_count() or 2))  # threads that decode
AHEAD = 3  # batches decoded ahead: 40 MB at 224 x 224
FLUSH = 512  # images between two flushes: at most so many are computed again after an interruption


class Rows:
    """Some rows of an array on the disk, as an array (N, ...) that reads them only when it is indexed."""

    def __init__(self, base: np.ndarray, rows: np.ndarray) -> None:
        self.base, self.rows = base, rows
        self.shape, self.dtype, self.ndim = (len(rows), *base.shape[1:]), base.dtype, base.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        part = np.asarray(self.base[self.rows[first]])
        if not rest:
            return part
        return part[rest] if np.ndim(self.rows[first]) == 0 else part[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.base[self.rows], dtype=dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What is known of N images: tokens (N, R, D) float16 or float32, or their pixels; guide (N, G) float32 or None;
    mask (N, R) bool, true where there is a region, or None; hflip (N, R, D), the tokens of the flipped images, or None;
    grid (h, w) with h * w = R, or None. Arrays may lie on the disk.
    """

    tokens: "np.ndarray | Rows | Pixels"
    guide: np.ndarray | Rows | None = None
    mask: np.ndarray | Rows | None = None
    hflip: np.ndarray | Rows | None = None
    grid: tuple[int, int] | None = None

    def select(self, rows: np.ndarray) -> "Features":
        """The features of the images `rows`; nothing is read yet."""
        parts: dict[str, Any] = {}
        for name in ("tokens", "guide", "mask", "hflip"):
            if (array := getattr(self, name)) is not None:
                own = isinstance(array, Rows)
                parts[name] = Rows(array.base, array.rows[rows]) if own else Rows(array, rows)
        return replace(self, **parts)


def extract(
    split: Split,
    *,
    tokens: "str | Pixels",
    token_weights: Path | None = None,
    guide: str | None = None,
    hflip: bool = False,
    device: str = "cpu",
    cache: Path | None = None,
    progress: bool = True,
    workers: int = WORKERS,
) -> Features:
    """Tokens, and optionally a guide and tokens of the flipped images, from the cache or made now.

    A split that was held out of another shares its tokens. tokens given as pixels (of the parent, where there is one)
    are returned as they are. `workers` threads decode images while the network runs.

    Raises UserError for a split without images or precomputed features, a network that gives no guide, and a full disk.
    """
    root = (cache or cache_dir()) / "tokens"
    whole = split.parent or split
    arrays: dict[str, Any] = {}
    grid = None
    passes: dict[tuple[str, Path | None, bool], list[str]] = {}  # spec, weights, hflip: the arrays it gives
    if not isinstance(tokens, str):
        arrays["tokens"] = tokens
    elif tokens == "precomputed":
        if whole.features is None:
            raise UserError(
                f"The split {whole.name!r} has no precomputed features, as SCAN's folders have. Choose other tokens."
            )
        if hflip:
            raise UserError("Precomputed features have no flipped images. Leave hflip off.")
        arrays["tokens"] = open_features(whole.features)
    else:
        passes[tokens, token_weights, False] = ["tokens"]
        if hflip:
            passes[tokens, token_weights, True] = ["hflip"]
    if guide is not None:
        passes.setdefault((guide, token_weights if guide == tokens else None, False), []).append("guide")
    for (spec, weights, mirror), names in passes.items():
        extractor = make_extractor(spec, weights=weights, device=device)
        if "guide" in names and extractor.guide_dim is None:
            raise UserError(
                f"{spec!r} gives no guide vector. Choose clip-mini, efficientnet-lite2, open_clip:NAME/PRETRAINED or "
                "timm:NAME."
            )
        if isinstance(extractor, GivenVectors):
            arrays["guide"] = extractor.of(whole.ids)
            continue
        if "tokens" in names:
            grid = extractor.grid
        about = {"pictures": _images_of(whole), "extractor": extractor.cache_key(), "mirrored": mirror}
        key = json.dumps(about, sort_keys=True)
        folders = {n: root / sha256_bytes(key, "guide" if n == "guide" else "tokens")[:32] for n in names}
        with ExitStack() as stack:
            if not all(map(is_complete, folders.values())):
                for folder in sorted(folders.values()):
                    stack.enter_context(locked(folder))
                todo = {n: folder for n, folder in folders.items() if not is_complete(folder)}
                if todo:  # another process may have filled them meanwhile
                    _fill(whole, extractor, todo, about, progress, workers)
        arrays |= {name: open_array(folder) for name, folder in folders.items()}
    features = Features(grid=grid, **arrays)
    return features if split.rows is None else features.select(split.rows)


def _images_of(split: Split) -> str:
    """The identity of a split's images in the cache: its fingerprint, or the files' content where that is not in it."""
    source, rows = split.pictures, np.arange(len(split))
    while isinstance(source, Subset):
        rows, source = source.rows[rows], source.pictures
    if not isinstance(source, PictureFiles) or source.below is None:
        return split.fingerprint
    names = [str(source.paths[row].relative_to(source.below)) for row in rows]
    return sha256_bytes("images", *content_sums(source.below, names, whole=False))


def _fill(
    split: Split,
    extractor: Extractor,
    folders: dict[str, Path],
    about: dict[str, Any],
    progress: bool,
    workers: int,
) -> None:
    """Run every image through the network once, and append its outputs to the arrays."""
    if split.pictures is None:
        raise UserError(
            f"The split {split.name!r} has no images to make {', '.join(folders)} from: its data set holds features "
            "only. Name the folder of its images, or use precomputed tokens without a guide."
        )
    count = len(split)
    shapes: dict[str, tuple[int, ...]] = {name: (count, *extractor.token_shape) for name in folders}
    kinds = {name: np.dtype(np.float32 if name == "guide" else np.float16) for name in folders}
    if "guide" in folders:
        shapes["guide"] = (count, extractor.guide_dim or 0)
    needed = sum(math.prod(shapes[name]) * kinds[name].itemsize for name in folders)
    place = next(iter(folders.values())).parent
    if needed > (free := shutil.disk_usage(place).free):  # said before the first image
        raise UserError(
            f"No space left for the tokens: {needed / 1e9:.1f} GB are needed in {place}, {free / 1e9:.1f} GB are free. "
            "Free some, or set USERLIB_CACHE to a folder on a larger disk."
        )
    writers = {
        name: ArrayWriter(folder, shapes[name], kinds[name], about) for name, folder in folders.items()
    }
    done = min(writer.done for writer in writers.values())
    backbone = extractor.spec.partition(":{")[0]  # the settings of pixels would fill the line
    what = f"{' and '.join(folders)} of {split.name} ({backbone})"
    try:
        extractor.load()
        for writer in writers.values():
            if writer.done > done:
                writer.rewind(done)
        rows = range(done, count)
        with Progress(count, what, show=progress) as bar:
            bar.step(done)
            for inputs in _prepared(
                split.pictures, extractor, rows, mirror=bool(about["mirrored"]), workers=workers
            ):
                outputs = dict(zip(("tokens", "guide"), extractor.forward(inputs), strict=True))
                for name, writer in writers.items():
                    output = outputs["guide" if name == "guide" else "tokens"]
                    assert output is not None  # guide_dim says so
                    writer.write(output.cpu().numpy())
                    if writer.done // FLUSH != (writer.done - len(inputs)) // FLUSH:
                        writer.flush()
                bar.step(len(inputs))
        for writer in writers.values():
            writer.finish()
    finally:
        for writer in writers.values():
            writer.close()


def _prepared(
    pictures: Pictures, extractor: Extractor, rows: range, *, mirror: bool, workers: int
) -> Iterator[torch.Tensor]:
    """Batches of prepared images (B, 3, H, W), decoded a few batches ahead by threads."""

    def one(i: int) -> torch.Tensor:
        x = extractor.prepare(pictures[i])
        return x.flip(-1) if mirror else x

    pool = ThreadPoolExecutor(workers)
    ahead: deque[list[Future[torch.Tensor]]] = deque()
    try:
        for first in range(rows.start, rows.stop, BATCH):
            ahead.append([pool.submit(one, i) for i in range(first, min(first + BATCH, rows.stop))])
            if len(ahead) > AHEAD:
                yield torch.stack([future.result() for future in ahead.popleft()])
        while ahead:
            yield torch.stack([future.result() for future in ahead.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)

"""Writes hits as a table, as JSON or as copies of their images, and the vectors of an index for other programs."""

import csv
import io
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from userlib.data.pictures import PictureFiles
from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.files import atomic_write, check_file, check_folder, disk_errors
from userlib.search.query import Found
from userlib.search.reading import _source

if TYPE_CHECKING:
    from userlib.search.index import Index


TABLES = (".json", ".csv")  # hits are written as one of these, or else as copies


def check_targets(hits: Path | None, vectors: Path | None) -> None:
    """Raises UserError, before any work, for hits or vectors that cannot be written there without a loss."""
    if hits is not None and hits.suffix.lower() in TABLES:
        _check_new(hits)
    elif hits is not None:
        check_folder(hits, ())
        if hits.is_dir() and any(hits.iterdir()):
            raise UserError(f"the folder {hits} is not empty; name one that does not exist yet.")
    if vectors is not None:
        if vectors.suffix.lower() not in (".npz", ".parquet"):
            raise UserError(
                f"vectors cannot be written to {vectors}; name a file that ends in .npz or .parquet."
            )
        _check_new(vectors)


def _check_new(path: Path) -> None:
    """Raises UserError for a place where no file can be written, and for one that has a file."""
    if os.path.isfile(path) and os.path.getsize(path):
        raise UserError(f"{path} exists already, and is not replaced. Name another file, or move that away.")
    check_file(path)


def check_apart(hits: Path, split: Split, *folders: Path) -> None:
    """Raises UserError for copies of hits next to or below the files of a folder of photos, where they would be photos
    too. folders: others that are searched.
    """
    source = _source(split, 0)[0]
    if hits.suffix.lower() in TABLES or not isinstance(source, PictureFiles) or source.below is not None:
        return
    place = Path(os.path.realpath(hits))
    around = {*folders, *(path.parent for path in source.paths)}
    if within := [one for one in around if place.is_relative_to(os.path.realpath(one))]:
        raise UserError(
            f"{hits} lies within {min(within)}, whose images are searched: the next search would find the copies too. "
            "Name a folder outside, or a file, such as hits.csv."
        )


def write_hits(hits: Sequence[Found], target: Path, split: Split) -> str:
    """Writes NAME.csv or NAME.json; any other target is a new folder with copies of the images, 001_NAME and so on, as
    PNG where they are not files. Returns a sentence on it. Raises UserError where other data would be overwritten, and
    for copies next to or below the images.
    """
    check_targets(target, None)
    if target.suffix.lower() == ".json":
        text = json.dumps([asdict(hit) for hit in hits], indent=1, ensure_ascii=False) + "\n"
        atomic_write(target, lambda part: part.write_text(text, encoding="utf-8"))
    elif target.suffix.lower() == ".csv":
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["rank", "id", "score", "calibrated", "duplicates"])
        rows.writerows(
            [hit.rank, hit.id, f"{hit.score:.6f}", f"{hit.calibrated:.3f}", " | ".join(hit.duplicates)]
            for hit in hits
        )
        atomic_write(target, lambda part: part.write_text(table.getvalue(), encoding="utf-8", newline=""))
    else:
        _copy(hits, target, split)
        return f"{len(hits)} images are copied to {target}"
    return f"{len(hits)} hits are in {target}"


def _copy(hits: Sequence[Found], target: Path, split: Split) -> None:
    row_of = {name: row for row, name in enumerate(split.ids)}
    check_apart(target, split)
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        for hit in hits:
            source, at = _source(split, row_of[hit.id])
            name = f"{hit.rank:03d}_{PurePosixPath(hit.id).name}"
            if isinstance(source, PictureFiles):
                shutil.copyfile(source.paths[at], target / name)
            else:
                source[at].save(target / f"{name}.png")


def write_vectors(index: "Index", target: Path) -> str:
    """Writes NAME.npz (ids (N,) text, vectors (N, E) float32) or NAME.parquet (columns id and vector). Returns a
    sentence on what was written. Raises UserError for another suffix, and where other data would be overwritten.
    """
    check_targets(None, target)
    if target.suffix.lower() == ".npz":

        def write(part: Path) -> None:
            with open(part, "wb") as file:
                np.savez(file, ids=np.array(index.ids, dtype=np.str_), vectors=index.vectors)

    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(index.vectors.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, index.vectors.shape[1])
        table = pa.table({"id": pa.array(index.ids, pa.string()), "vector": column})

        def write(part: Path) -> None:
            pq.write_table(table, part)

    atomic_write(target, write)
    return f"the vectors of {len(index.ids):,} images are in {target}"

"""Hits as a table, as JSON or as copies of their images, and an index's vectors for other stores."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from userlib.data.pictures import PictureFiles
from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.files import atomic_write, check_folder, disk_errors
from userlib.search.query import Found
from userlib.search.reading import _source

if TYPE_CHECKING:
    from userlib.search.index import Index


def write_hits(hits: Sequence[Found], target: Path, split: Split) -> str:
    """NAME.csv or NAME.json holds the hits; any other name is a new folder of copies, 001_NAME and so on, as the files
    lie there, or as PNG where they are no files. What was done, in words. UserError where something lies there already.
    """
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
    check_folder(target, ())
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"{target} is not empty; name a folder that does not exist yet.")
    row_of = {name: row for row, name in enumerate(split.ids)}
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
    """NAME.npz (ids (N,) text, vectors (N, E) float32) or NAME.parquet (columns id and vector) of the images. What was
    done, in words. Raises UserError for another suffix, and where another file lies there.
    """
    if target.suffix.lower() == ".npz":

        def write(part: Path) -> None:
            with open(part, "wb") as file:
                np.savez(file, ids=np.array(index.ids, dtype=np.str_), vectors=index.vectors)

    elif target.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(index.vectors.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, index.vectors.shape[1])
        table = pa.table({"id": pa.array(index.ids, pa.string()), "vector": column})

        def write(part: Path) -> None:
            pq.write_table(table, part)

    else:
        raise UserError(f"{target} has no form for vectors; name a file that ends in .npz or .parquet.")
    atomic_write(target, write)
    return f"the vectors of {len(index.ids):,} images are in {target}"

"""Parquet files in the schema that Flickr30K has on the hub: image, caption (one or a list), and where
present split, filename, img_id and sentids.

Captions and names are read at once, pictures by row group when asked for, so that memory holds a few
megabytes of a 4 GB set. Raises `UserError` naming file and row for a file that is cut short, another schema,
or text that is not UTF-8.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from userlib.data.pictures import open_picture
from userlib.data.splits import RetrievalData, Split, split_name
from userlib.errors import UserError
from userlib.files import sha256_bytes, sha256_known

TEXT_COLUMNS = ("split", "filename", "img_id", "sentids")


@dataclass(frozen=True)
class Row:
    """Where one picture lies, and what is said of it."""

    place: tuple[int, int, int]  # file, row group, row of the group
    id: str
    split: str
    captions: tuple[str, ...]


class ParquetPictures:
    """Pictures in Parquet files. The last row groups read stay in memory, because neighbours are asked for
    together.
    """

    def __init__(self, files: Sequence[Path], places: np.ndarray, *, keep: int = 2) -> None:
        self.files, self.places, self.keep = tuple(files), places, keep
        self._groups: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Image.Image:
        file, group, row = (int(x) for x in self.places[i])
        name = f"in row {row} of row group {group} of {self.files[file]}"
        cell = self._group(file, group)[row].as_py()
        if not cell or not cell.get("bytes"):
            raise UserError(
                f"The picture {name} is missing: its cell is empty. Fetch the file again, or remove the row."
            )
        return open_picture(cell["bytes"], name)

    def _group(self, file: int, group: int) -> Any:
        with self._lock:
            if (file, group) not in self._groups:
                while len(self._groups) >= self.keep:
                    self._groups.pop(next(iter(self._groups)))
                table = _read(self.files[file], group, ["image"])
                self._groups[file, group] = table.column("image").combine_chunks()
            return self._groups[file, group]

    def __getstate__(self) -> dict[str, Any]:  # what a worker process is sent: no lock, no bytes
        return {"files": self.files, "places": self.places, "keep": self.keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["files"], state["places"], keep=state["keep"])  # type: ignore[misc]


def load_parquet(
    files: Sequence[Path],
    name: str,
    *,
    rows: Mapping[str, int] | None = None,
    captions_each: int | None = None,
) -> RetrievalData:
    """The data set in `files`.

    rows gives the number of pictures that each split must have; captions_each the number of captions that
    each picture must have (files with a sentids column are Flickr's and must have five).
    """
    found: list[Row] = []
    for number, file in enumerate(files):
        found += _rows_of(file, number, captions_each)
    names = list(dict.fromkeys(row.split for row in found))
    if rows is not None:
        check_counts(name, rows, {split: sum(row.split == split for row in found) for split in names})
    content = sha256_bytes("parquet", *(sha256_known(file) for file in files))
    splits = {}
    for split in names:
        own = [row for row in found if row.split == split]
        splits[split] = Split(
            name=split,
            ids=tuple(row.id for row in own),
            pictures=ParquetPictures(files, np.array([row.place for row in own], dtype=np.int64)),
            captions=tuple(caption for row in own for caption in row.captions),
            image_of=np.repeat(np.arange(len(own), dtype=np.int64), [len(row.captions) for row in own]),
            fingerprint=sha256_bytes(content, split),
        )
    return RetrievalData(name=name, splits=splits, fingerprint=content)


def check_counts(name: str, wanted: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Raise `UserError` unless the splits have the numbers of pictures that the data set is known to have."""
    if dict(wanted) != dict(found):
        tell = [
            ", ".join(f"{split} {count:,}" for split, count in counts.items()) for counts in (wanted, found)
        ]
        raise UserError(
            f"{name} should have these pictures: {tell[0]}; but these were found: {tell[1]}. Files are "
            "missing or of another version: delete the copy and fetch it again."
        )


def _read(file: Path, group: int, columns: list[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file).read_row_group(group, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{file} cannot be read: {str(error).strip()}. It is cut short or damaged (it has "
            f"{_size(file)}): fetch it again."
        ) from error


def _size(file: Path) -> str:
    return f"{file.stat().st_size:,} bytes" if file.exists() else "gone"


def _rows_of(file: Path, number: int, captions_each: int | None) -> list[Row]:
    """The rows of one file, without its pictures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(file)
        columns, groups = opened.schema_arrow.names, opened.num_row_groups
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{file} cannot be read: {str(error).strip()}. It is cut short or damaged (it has "
            f"{_size(file)}): fetch it again."
        ) from error
    if not {"image", "caption"} <= set(columns):
        raise UserError(
            f"{file} has the columns {', '.join(columns)}; a data set of pictures and captions needs 'image' "
            "and 'caption'. Rename them, or use another copy of the data set."
        )
    each = 5 if captions_each is None and "sentids" in columns else captions_each
    wanted = ["caption", *(c for c in TEXT_COLUMNS if c in columns)]
    rows: list[Row] = []
    for group in range(groups):
        try:
            cells = _read(file, group, wanted).to_pylist()
        except UnicodeDecodeError as error:
            raise UserError(
                f"A caption or name in row group {group} of {file} is not UTF-8 text ({error.reason}). Write "
                "the file again as UTF-8."
            ) from error
        for place, cell in enumerate(cells):
            rows.append(
                _row(cell, (number, group, place), f"row {len(rows)} of {file}", each, _file_split(file))
            )
    return rows


def _row(
    cell: dict[str, Any], place: tuple[int, int, int], where: str, each: int | None, file_split: str
) -> Row:
    captions = cell["caption"]
    captions = [captions] if isinstance(captions, str) else captions
    if not captions or not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise UserError(
            f"The captions in {where} are {captions!r}: one is empty or none is there. Write it, or remove "
            "the row."
        )
    if each is not None and len(captions) != each:
        raise UserError(
            f"{where} has {len(captions)} captions; this data set has {each} for each picture. The file is "
            "not the published one: fetch it again."
        )
    split = split_name(cell.get("split") or file_split)
    if "sentids" in cell and split not in ("train", "val", "test"):
        raise UserError(
            f"{where} is of the split {split!r}; the splits of this schema are train, val, test. Correct the "
            "column 'split'."
        )
    label = cell.get("filename") or cell.get("img_id") or f"{file_split}-{place[0]}-{place[1]}-{place[2]}"
    return Row(place, str(label), split, tuple(captions))


def _file_split(file: Path) -> str:
    """The split that a file's name or folder tells: train-00000-of-00001.parquet, or train/0000.parquet."""
    stem = re.split(r"[-.]", file.name)[0]
    return file.parent.name if stem.isdigit() else stem

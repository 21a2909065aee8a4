"""Parquet files in the schema that Flickr30K has on the hub: image, caption (one or a list), and where
present split, filename, img_id and sentids.

image is a struct {bytes, path}, the encoded bytes alone, or the path of a file below the Parquet file's folder;
caption a text, a list of texts, or a list of Karpathy's sentences ({raw}). Rows whose images are the same bytes are
one image with the captions of them all; across splits they are refused.

Captions and names are read at once, images by row group when asked for, in small batches, because Arrow cannot hold
two gigabytes in one. Raises `UserError` naming file, row, column and type for a file that is cut short, another
schema, a cell of another kind, or text that is not UTF-8.
"""

import base64
import binascii
import hashlib
import re
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from userlib.data.pictures import open_picture
from userlib.data.scan import inside
from userlib.data.splits import NEAR_SPLIT, SPLIT_NAMES, RetrievalData, Split, check_split_column, split_name
from userlib.data.store import cached_array
from userlib.errors import UserError
from userlib.files import cache_dir, sha256_bytes, sha256_known
from userlib.progress import tell

TEXT_COLUMNS = ("split", "filename", "img_id", "sentids")
KNOWN = {*SPLIT_NAMES, *SPLIT_NAMES.values(), "train", "val", "test"}
SENTENCE = ("raw", "caption", "text")  # the text of a caption that is a struct
BATCH = 128  # images read at once
LARGE = 2**30  # bytes of a row group of which no second one is kept beside it


@dataclass(frozen=True)
class Row:
    """Where one image lies, and what is said of it."""

    place: tuple[int, int, int]  # file, row group, row of the group
    where: str
    id: str
    named: bool  # whether the id is the data set's own
    split: str
    captions: tuple[str, ...]


class Group:
    """One row group's images, in batches."""

    def __init__(self, file: Path, group: int) -> None:
        self.batches = [batch.column(0) for batch in _batches(file, group, ["image"])]
        self.starts = list(np.cumsum([0, *(len(batch) for batch in self.batches)])[:-1])
        self.size = sum(batch.nbytes for batch in self.batches)

    def __getitem__(self, row: int) -> Any:
        batch = bisect_right(self.starts, row) - 1
        return self.batches[batch][row - self.starts[batch]].as_py()


class ParquetPictures:
    """Images in Parquet files. The last row groups read stay in memory, because neighbours are asked for
    together.
    """

    def __init__(self, files: Sequence[Path], places: np.ndarray, *, keep: int = 2) -> None:
        self.files, self.places, self.keep = tuple(files), places, keep
        self._groups: dict[tuple[int, int], Group] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Image.Image:
        return open_picture(self.content(i), self._name(i))

    def content(self, i: int) -> bytes:
        """The encoded image."""
        file, group, row = (int(x) for x in self.places[i])
        encoded = image_bytes(self._group(file, group)[row], self.files[file], self._name(i))
        if encoded is None:
            raise UserError(
                f"The picture {self._name(i)} is missing: its cell is empty. Fetch the file again, or remove the row."
            )
        return encoded

    def _name(self, i: int) -> str:
        file, group, row = (int(x) for x in self.places[i])
        return f"in row {row} of row group {group} of {self.files[file]}"

    def _group(self, file: int, group: int) -> Group:
        with self._lock:
            if (file, group) not in self._groups:
                large = any(known.size > LARGE for known in self._groups.values())
                while len(self._groups) >= (1 if large else self.keep):
                    self._groups.pop(next(iter(self._groups)))
                self._groups[file, group] = Group(self.files[file], group)
            return self._groups[file, group]

    def __getstate__(self) -> dict[str, Any]:  # what a worker process is sent: no lock, no bytes
        return {"files": self.files, "places": self.places, "keep": self.keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["files"], state["places"], keep=state["keep"])  # type: ignore[misc]


def image_bytes(cell: Any, file: Path, name: str) -> bytes | None:
    """The encoded image of a cell: its bytes, the file that its path names, or the bytes that it spells in base64;
    None for an empty cell. `name` is for the error.
    """
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, list):
        if None in cell:
            raise UserError(f"The picture {name} lacks a byte. Write the image's bytes again.")
        cell = bytes(cell)
    if isinstance(cell, str):
        return _named_bytes(cell, file, name)
    return cell or None


def _named_bytes(text: str, file: Path, name: str) -> bytes | None:
    if not text.strip():
        return None
    if re.match(r"https?://", text):
        raise UserError(
            f"The picture {name} is an address ({text[:80]!r}), and none is fetched. Download the images, and put "
            "their bytes or their paths in the column 'image'."
        )
    if len(text) > 200 or text.startswith("data:"):  # longer than names are
        spelled = text.partition(",")[2] if text.startswith("data:") else text
        try:
            return base64.b64decode("".join(spelled.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise UserError(
                f"The picture {name} is a text of {len(text):,} characters that is neither a path nor base64 "
                f"({error}). Put the image's bytes there."
            ) from error
    path = inside(file.parent, text, file)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The picture {name} is missing: it should be the file {path} ({error.strerror}). Put it there, or "
            "embed the images' bytes in the Parquet file."
        ) from error


def load_parquet(
    files: Sequence[Path],
    name: str,
    *,
    rows: Mapping[str, int] | None = None,
    captions_each: int | None = None,
    splits: Sequence[str] | None = None,
) -> RetrievalData:
    """The data set in `files`.

    rows gives the number of images that each split must have, as published: equal images are then left as they
    are. captions_each is the number of captions that each image must have (files with a sentids column are Flickr's
    and must have five). splits names each file's split, where its own name does not.
    """
    records: list[Row] = []
    flickr = False
    for number, file in enumerate(files):
        own, sentids = _rows_of(file, number, splits[number] if splits else _file_split(file))
        records += own
        flickr |= sentids
    if not records:
        raise UserError(f"{', '.join(map(str, files))}: no rows are there. Write or fetch the file again.")
    if rows is None:
        records = _grouped(records, files, published=flickr)
    each = 5 if captions_each is None and flickr else captions_each
    for row in records:
        if each is not None and len(row.captions) != each:
            raise UserError(
                f"{row.where} has {len(row.captions)} captions; this data set has {each} for each picture. The file is "
                "not the published one: fetch it again."
            )
    names = list(dict.fromkeys(row.split for row in records))
    if rows is not None:
        check_counts(name, rows, {split: sum(row.split == split for row in records) for split in names})
    content = sha256_bytes("parquet", *(sha256_known(file) for file in files))
    return RetrievalData(
        name=name,
        splits={split: _split(split, records, files, content) for split in names},
        fingerprint=content,
    )


def _split(name: str, rows: Sequence[Row], files: Sequence[Path], content: str) -> Split:
    own = [row for row in rows if row.split == name]
    return Split(
        name=name,
        ids=tuple(row.id for row in own),
        pictures=ParquetPictures(files, np.array([row.place for row in own], dtype=np.int64)),
        captions=tuple(caption for row in own for caption in row.captions),
        caption_to_image=np.repeat(np.arange(len(own), dtype=np.int64), [len(row.captions) for row in own]),
        fingerprint=sha256_bytes(content, name),
    )


def _grouped(rows: Sequence[Row], files: Sequence[Path], *, published: bool) -> list[Row]:
    """One row for each image: rows of the same bytes are put together, or refused where their splits differ.

    published: Flickr's schema, where each row is an image with all its captions. A publisher's twins under two names
    (Flickr8k's train split has a pair) then stay two images within a split, so that counts are those published.
    """
    sums = [bytes(total) for number, file in enumerate(files) for total in _image_sums(file)]
    first: dict[bytes, int] = {}
    by_number: dict[int, Row] = {}
    renamed = 0
    for number, (row, total) in enumerate(zip(rows, sums, strict=True)):
        at = first.setdefault(total, number) if any(total) else number
        if at == number:
            by_number[number] = row
            continue
        known = by_number[at]
        if known.split != row.split:
            raise UserError(
                f"{known.where} (split {known.split!r}) and {row.where} (split {row.split!r}) hold the same image: "
                "what is measured on one split would have been learned on the other. Keep it in one split."
            )
        twins = known.named and row.named and known.id != row.id
        renamed += twins
        if twins and published:
            by_number[number] = row
            continue
        by_number[at] = replace(known, captions=known.captions + row.captions)
    if renamed:
        tell(
            f"Note: images that another row holds under another name: {renamed:,}. "
            + ("They stay apart, as published." if published else "Each is one image with all its captions.")
        )
    return list(by_number.values())


def _image_sums(file: Path) -> np.ndarray:
    """(n, 16) uint8: a hash of each row's image, in order, zero for an empty cell; remembered with the file's own."""

    def count() -> np.ndarray:
        sums: list[bytes] = []
        for group in range(_opened(file).num_row_groups):
            for batch in _batches(file, group, ["image"]):
                for cell in batch.column(0):
                    sums.append(_image_sum(cell.as_py(), file, f"in row {len(sums)} of {file}"))
        return np.frombuffer(b"".join(sums), np.uint8).reshape(-1, 16)

    if not _embedded(_opened(file).schema_arrow.field("image").type):
        return count()  # files beside it may have changed
    return cached_array(
        cache_dir() / "images" / f"{sha256_bytes('images 1', sha256_known(file))[:32]}.npy", count
    )


def _image_sum(cell: Any, file: Path, name: str) -> bytes:
    if isinstance(cell, dict) and not cell.get("bytes") and cell.get("path"):
        path = file.parent / str(cell["path"])
        if not path.is_file():  # told where it is asked for
            return hashlib.blake2b(f"path {cell['path']}".encode(), digest_size=16).digest()
    content = image_bytes(cell, file, name)
    return bytes(16) if content is None else hashlib.blake2b(content, digest_size=16).digest()


def check_counts(name: str, wanted: Mapping[str, int], counted: Mapping[str, int]) -> None:
    """Raise `UserError` unless the splits have the numbers of pictures that the data set is known to have."""
    if dict(wanted) != dict(counted):
        tell = [
            ", ".join(f"{split} {count:,}" for split, count in counts.items()) for counts in (wanted, counted)
        ]
        raise UserError(
            f"{name} should have these pictures: {tell[0]}; but these were found: {tell[1]}. Files are "
            "missing or of another version: delete the copy and fetch it again."
        )


def _opened(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _batches(file: Path, group: int, columns: list[str]) -> Iterator[Any]:
    """The columns of a row group, a few rows at a time."""
    import pyarrow as pa

    try:
        yield from _opened(file).iter_batches(BATCH, row_groups=[group], columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> UserError:
    """What is known of a file that Arrow does not read: damage, or a limit of Arrow's own."""
    import pyarrow as pa

    said = str(error).strip()
    size = f"{file.stat().st_size:,} bytes" if file.exists() else "gone"
    if isinstance(error, (MemoryError, pa.ArrowMemoryError)):
        why = "This machine's memory does not hold it: write it again with smaller row groups (row_group_size=100)."
    elif isinstance(error, NotImplementedError) or re.search(r"overflow|capacity|cannot contain more", said):
        why = "It is whole, and pyarrow cannot hold it: write it again with smaller row groups (row_group_size=100)."
    elif isinstance(error, PermissionError):
        why = "Its permissions do not allow it: make it readable."
    else:
        why = f"It is cut short or damaged (it has {size}): fetch it again."
    return UserError(f"{file} cannot be read: {said}. {why}")


def _rows_of(file: Path, number: int, file_split: str) -> tuple[list[Row], bool]:
    """The rows of one file, without its images, and whether it has Flickr's column sentids."""
    opened = _opened(file)
    schema = opened.schema_arrow
    columns = schema.names
    if not {"image", "caption"} <= set(columns):
        raise UserError(
            f"{file} has the columns {', '.join(columns)}; a data set of pictures and captions needs 'image' "
            "and 'caption'. Rename them, or use another copy of the data set."
        )
    _check_types(file, schema)
    wanted = ["caption", *(c for c in (*TEXT_COLUMNS, *NEAR_SPLIT) if c in columns)]
    rows: list[Row] = []
    for group in range(opened.num_row_groups):
        try:
            cells = [cell for batch in _batches(file, group, wanted) for cell in batch.to_pylist()]
        except UnicodeDecodeError as error:
            raise UserError(
                f"A caption or name in row group {group} of {file} is not UTF-8 text ({error.reason}). Write "
                "the file again as UTF-8."
            ) from error
        for place, cell in enumerate(cells):
            check_split_column(cell, f"row {len(rows)} of {file}", file_split)
            rows.append(_row(cell, (number, group, place), f"row {len(rows)} of {file}", file_split))
    return rows, "sentids" in columns


def _check_types(file: Path, schema: Any) -> None:
    """Raises UserError for a column of a type that is not read."""
    import pyarrow.types as t

    image, caption = _plain(schema.field("image").type), _plain(schema.field("caption").type)
    parts = (
        [_plain(part.type) for part in image if part.name in ("bytes", "path")]
        if t.is_struct(image)
        else [image]
    )
    if not parts or not all(_is_encoded(part) or t.is_null(part) for part in parts):
        raise UserError(
            f"The column 'image' of {file} has the type {image}; it must hold encoded images (JPEG, PNG, WebP): "
            "binary, a struct of bytes and path, or paths of files beside it. Write the images as PNG bytes, such as "
            "by datasets' cast_column('image', datasets.Image())."
        )
    one = _plain(caption.value_type) if _is_list(caption) else caption
    told = t.is_struct(one) and any(part.name in SENTENCE and _is_text(_plain(part.type)) for part in one)
    if not (_is_text(one) or told or t.is_null(one)):
        raise UserError(
            f"The column 'caption' of {file} has the type {caption}; it must hold text, a list of texts, or a list of "
            f"sentences with {SENTENCE[0]!r}. Write the captions as strings."
        )
    for name in ("split", "filename"):
        if name in schema.names and not (
            _is_text(kind := _plain(schema.field(name).type)) or t.is_null(kind)
        ):
            raise UserError(
                f"The column {name!r} of {file} has the type {kind}; it must hold text. Write names in place of numbers"
                " (of a ClassLabel: its int2str)."
            )


def _plain(kind: Any) -> Any:
    """The type of the values that a dictionary or an extension stands for."""
    while hasattr(kind, "storage_type") or hasattr(kind, "index_type"):
        kind = kind.storage_type if hasattr(kind, "storage_type") else kind.value_type
    return kind


def _is_list(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind) or _is_binary(kind))


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(
        t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind) or t.is_fixed_size_binary(kind)
    )


def _is_encoded(kind: Any) -> bool:
    import pyarrow.types as t

    return _is_text(kind) or (_is_list(kind) and bool(t.is_uint8(kind.value_type)))


def _embedded(kind: Any) -> bool:
    """Whether every image of the column lies in the Parquet file itself, as far as its type tells."""
    import pyarrow.types as t

    kind = _plain(kind)
    if t.is_struct(kind):
        return any(part.name == "bytes" and _is_binary(_plain(part.type)) for part in kind)
    return _is_binary(kind) or _is_list(kind)


def _row(cell: dict[str, Any], place: tuple[int, int, int], where: str, file_split: str) -> Row:
    said = cell["caption"] if isinstance(cell["caption"], list) else [cell["caption"]]
    captions = [_caption(one, where) for one in said]
    if not captions or not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise UserError(
            f"The captions in {where} are {cell['caption']!r}: one is empty or none is there. Write it, or remove "
            "the row."
        )
    split = split_name(_text(cell.get("split", file_split), "split", where))
    if not split:
        raise UserError(f"{where} has no split, though the file has a column 'split'. Fill it in.")
    if "sentids" in cell and split not in ("train", "val", "test"):
        raise UserError(
            f"{where} is of the split {split!r}; the splits of this schema are train, val, test. Correct the "
            "column 'split'."
        )
    own = cell.get("filename") or cell.get("img_id")
    label = f"{file_split}-{place[0]}-{place[1]}-{place[2]}" if own is None else _text(own, "filename", where)
    return Row(place, where, label, own is not None, split, tuple(str(caption) for caption in captions))


def _caption(one: Any, where: str) -> str | None:
    """The text of one caption; None where there is none."""
    if isinstance(one, dict):
        one = next((one[part] for part in SENTENCE if one.get(part) is not None), None)
    text = None if one is None else _text(one, "caption", where)
    if text is not None and re.fullmatch(r"\s*\[\s*(['\"]).*\1\s*\]\s*", text, re.DOTALL):
        raise UserError(
            f"The caption in {where} is a list written as one text: {text[:80]!r}. Write it as a list of texts."
        )
    return text


def _text(value: Any, column: str, where: str) -> str:
    """A cell as text; bytes are UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"The {column} in {where} is not UTF-8 text ({error.reason}). Write it as text."
            ) from error
    return "" if value is None else str(value)


def _file_split(file: Path) -> str:
    """The split that a file's name or folder tells: train-00000-of-00001.parquet, coco_val.parquet or
    train/0000.parquet.
    """
    told = {split_name(part) for part in re.split(r"[-._ ]+", file.stem) if part.lower() in KNOWN}
    if len(told) == 1:
        return told.pop()
    if split_name(file.parent.name) in KNOWN:
        return file.parent.name
    stem = re.split(r"[-.]", file.name)[0]
    return file.parent.name if stem.isdigit() else stem

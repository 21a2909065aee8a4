"""Parquet files in the schema that Flickr30K has on the hub: image, caption, and where present split, filename, img_id
and sentids.

image is a struct {bytes, path}, the encoded bytes alone, or the path of a file below the Parquet file's folder; caption
is a text, a list of texts, or a list of Karpathy's sentences ({raw}). Captions and names are read at once, images when
they are used, by row group. Raises `UserError` naming file, row, column and type for whatever cannot be read.
"""

import base64
import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from userlib.data.pictures import open_picture
from userlib.data.scan import inside
from userlib.data.splits import (
    NEAR_SPLIT,
    SPLIT_NAMES,
    RetrievalData,
    Split,
    check_split_column,
    near_captions,
    split_name,
)
from userlib.data.store import cached_array
from userlib.errors import UserError
from userlib.files import cache_dir, sha256_bytes, sha256_known
from userlib.progress import tell

TEXT_COLUMNS = ("split", "filename", "img_id", "sentids")
KNOWN = {*SPLIT_NAMES, *SPLIT_NAMES.values(), "train", "val", "test"}
SENTENCE = ("raw", "caption", "text")  # the text of a caption that is a struct
PARTIAL = "partial-"  # before the name of a split of which the hub converted only the first gigabytes
BATCH = 128  # images read at once: Arrow cannot hold two gigabytes in one array
KEEP = 2  # row groups in memory, because neighbouring rows are read together
APART = b"\xff" * 16  # in place of the hash of an image that lies in a file of its own
LARGE = 2**30  # bytes of a row group that is kept in memory alone
# Arrow's types, as they are written
TEXT = re.compile(r"(large_)?(string|binary)(_view)?|fixed_size_binary\[\d+\]|null")
UINT8_LIST = re.compile(r"\w*list<.*: uint8( not null)?>(\[\d+\])?")


@dataclass(frozen=True)
class Row:
    """One image: where it lies, its id, its split and its captions."""

    place: tuple[int, int, int]  # file, row group, row of the group
    where: str
    id: str
    named: bool  # whether the id is the data set's own
    split: str
    captions: tuple[str, ...]


class ParquetPictures:
    """Images in Parquet files; the last row groups read stay in memory."""

    def __init__(self, files: Sequence[Path], positions: np.ndarray) -> None:
        self.files, self.positions = tuple(files), positions
        self._groups: dict[tuple[int, int], Any] = {}
        self._lock, self._process = threading.Lock(), os.getpid()

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: int) -> Image.Image:
        return open_picture(self.content(i), self._name(i))

    def content(self, i: int) -> bytes:
        """The encoded image."""
        file, group, row = (int(x) for x in self.positions[i])
        content = image_bytes(self._group(file, group)[row].as_py(), self.files[file], self._name(i))
        if content is None:
            raise UserError(
                f"The image {self._name(i)} is missing: its cell is empty. Fetch the file again, or remove the row."
            )
        return content

    def _name(self, i: int) -> str:
        file, group, row = (int(x) for x in self.positions[i])
        return f"in row {row} of row group {group} of {self.files[file]}"

    def _group(self, file: int, group: int) -> Any:
        """The images of a row group, as an Arrow array in chunks."""
        import pyarrow as pa

        if self._process != os.getpid():  # forked, perhaps while another thread held the lock
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            if (file, group) not in self._groups:
                large = any(known.nbytes > LARGE for known in self._groups.values())
                while len(self._groups) >= (1 if large else KEEP):
                    self._groups.pop(next(iter(self._groups)))
                batches = _batches(self.files[file], group, ["image"])
                self._groups[file, group] = pa.chunked_array([batch.column(0) for batch in batches])
            return self._groups[file, group]

    def __reduce__(self) -> tuple[Any, ...]:  # what a worker process is sent: no lock, no bytes
        return ParquetPictures, (self.files, self.positions)


def image_bytes(cell: Any, file: Path, name: str) -> bytes | None:
    """The encoded image of a cell, given as bytes, as the path of a file, or in base64; None for an empty cell.

    Raises UserError, which calls the image `name`, for an address, invalid base64 and a file that cannot be read.
    """
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, list):
        if None in cell:
            raise UserError(f"The image {name} lacks a byte. Write the image's bytes again.")
        cell = bytes(cell)
    if not isinstance(cell, str):
        return cell or None
    if not cell.strip():
        return None
    if re.match(r"https?://", cell):
        raise UserError(
            f"The image {name} is a web address ({cell[:80]!r}); these are not downloaded. Download the images, and "
            "put their bytes or their paths in the column 'image'."
        )
    if _is_spelled(cell):
        spelled = cell.partition(",")[2] if cell.startswith("data:") else cell
        try:
            return base64.b64decode("".join(spelled.split()), validate=True)
        except ValueError as error:
            raise UserError(
                f"The image {name} is a text of {len(cell):,} characters that is neither a path nor base64 ({error}). "
                "Put the image's bytes there."
            ) from error
    path = inside(file.parent, cell, file)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The image {name} is missing: it should be the file {path} ({error.strerror}). Put it there, or embed "
            "the images' bytes in the Parquet file."
        ) from error


def load_parquet(
    files: Sequence[Path],
    name: str,
    *,
    rows: Mapping[str, int] | None = None,
    captions_each: int | None = None,
    splits: Sequence[str] | None = None,
) -> RetrievalData:
    """The data set in `files`. Rows whose images are byte for byte equal become one image with all their captions; in
    different splits they are an error.

    rows gives the number of images that each split must have, as published; equal images are then left as they are.
    captions_each is the number of captions that each image must have (five where there is a column sentids, which is
    Flickr's). splits gives each file's split, where its own name does not. Raises UserError for whatever differs.
    """
    records: list[Row] = []
    flickr, named = False, []  # splits that no column gives
    unread: list[str] = []  # columns of captions
    for number, file in enumerate(files):
        split = splits[number] if splits else _file_split(file)
        own, columns = _rows_of(file, number, split)
        records += own
        flickr |= "sentids" in columns
        unread += near_captions(columns, "caption")
        named += [] if "split" in columns else [split_name(split)]
    if not records:
        raise UserError(f"There are no rows in {', '.join(map(str, files))}. Write or fetch the file again.")
    if cut := {file.parent.name for file in files if file.parent.name == f"{PARTIAL}{_folder_split(file)}"}:
        tell(
            f"Note: {name} is cut short, as the hub's conversions of large splits are: {', '.join(sorted(cut))}."
        )
    if unread:
        none = ", ".join(map(repr, dict.fromkeys(unread)))
        tell(
            f"Note: of {name}, only the captions in 'caption' are read, and none in {none}. To "
            "read these too, make 'caption' a list of all captions of an image."
        )
    beside: list[
        bytes
    ] = []  # hashes of images in files of their own, which no Parquet file's checksum covers
    if rows is None:
        sums = [_image_sums(file) for file in files]
        records = _grouped(records, [bytes(one) for own, _ in sums for one in own], published=flickr)
        beside = [bytes(one) for own, apart in sums if apart for one in own]
    each = 5 if captions_each is None and flickr else captions_each
    for row in records:
        if each is not None and len(row.captions) != each:
            raise UserError(
                f"{row.where} has {len(row.captions)} captions; this data set has {each} for each image. The file is "
                "not the published one: fetch it again."
            )
    if rows is not None:
        check_counts(name, rows, Counter(row.split for row in records))
    content = sha256_bytes("parquet", *(sha256_known(file) for file in files), *beside, *named)
    parts = {}
    for split in dict.fromkeys(row.split for row in records):
        own = [row for row in records if row.split == split]
        parts[split] = Split.of(
            split,
            [row.id for row in own],
            [row.captions for row in own],
            ParquetPictures(files, np.array([row.place for row in own], dtype=np.int64)),
            sha256_bytes(content, split),
        )
    return RetrievalData(name=name, splits=parts, fingerprint=content)


def _grouped(rows: Sequence[Row], sums: Sequence[bytes], *, published: bool) -> list[Row]:
    """One row for each image: rows with the same image are merged. sums: a hash of each row's image.

    published: Flickr's schema, where each row is an image with all its captions. Equal images under two names
    (Flickr8k's train split has such a pair) then stay two images, so that counts are those published. Raises UserError
    for equal images in different splits.
    """
    first: dict[bytes, int] = {}
    kept: dict[int, Row] = {}
    renamed = 0
    for number, (row, total) in enumerate(zip(rows, sums, strict=True)):
        at = first.setdefault(total, number) if any(total) else number
        if at == number:
            kept[number] = row
            continue
        known = kept[at]
        if known.split != row.split:
            raise UserError(
                f"{known.where} (split {known.split!r}) and {row.where} (split {row.split!r}) hold the same image: "
                "what is measured on one split would have been learned on the other. Keep it in one split."
            )
        twins = known.named and row.named and known.id != row.id
        renamed += twins
        if twins and published:
            kept[number] = row
        else:
            kept[at] = replace(known, captions=known.captions + row.captions)
    if renamed:
        treated = "They stay apart, as published" if published else "Each is one image with all its captions"
        tell(f"Note: rows that repeat another row's image under another name: {renamed:,}. {treated}.")
    return list(kept.values())


def _image_sums(file: Path) -> tuple[np.ndarray, bool]:
    """(n, 16) uint8, a hash of each row's image, in order, zero for an empty cell; and whether some images lie in files
    of their own.

    Hashes are cached by the checksum of the Parquet file, except those of such files, which may have changed.
    """

    def count(apart: bytes | None) -> np.ndarray:
        sums: list[bytes] = []
        for group in range(_opened(file).num_row_groups):
            for batch in _batches(file, group, ["image"]):
                for cell in batch.column(0):
                    image, name = cell.as_py(), f"in row {len(sums)} of {file}"
                    sums.append(apart if apart and _is_path(image) else _image_sum(image, file, name))
        return np.frombuffer(b"".join(sums), np.uint8).reshape(-1, 16)

    kept = cache_dir() / "images" / f"{sha256_bytes('images 2', sha256_known(file))[:32]}.npy"
    sums = cached_array(kept, partial(count, APART))
    apart = bool((sums == APART[0]).all(1).any())
    return (count(None) if apart else sums), apart


def _is_path(cell: Any) -> bool:
    """Whether `image_bytes` reads this cell's image from a file."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    return isinstance(cell, str) and bool(cell.strip()) and not _is_spelled(cell)


def _is_spelled(cell: str) -> bool:
    return len(cell) > 200 or cell.startswith("data:")  # longer than names are


def _image_sum(cell: Any, file: Path, name: str) -> bytes:
    content: bytes | None
    path = cell.get("path") if isinstance(cell, dict) and not cell.get("bytes") and _is_path(cell) else None
    if path and not (file.parent / path).is_file():  # an error only when the image is read
        content = f"path {path}".encode()
    else:
        content = image_bytes(cell, file, name)
    return bytes(16) if content is None else hashlib.blake2b(content, digest_size=16).digest()


def check_counts(name: str, wanted: Mapping[str, int], counted: Mapping[str, int]) -> None:
    """Raise `UserError` unless the splits have the number of images that the data set is known to have."""
    if dict(wanted) != dict(counted):
        should, are = (", ".join(f"{k} {n:,}" for k, n in counts.items()) for counts in (wanted, counted))
        raise UserError(
            f"{name} should have these images: {should}; but these were found: {are}. Files are missing or of "
            "another version: delete the copy and fetch it again."
        )


def holds_images(file: Path) -> bool:
    """Whether a Parquet file has a column of images, as other tables have not."""
    return "image" in _opened(file).schema_arrow.names


def check_folders(name: str, files: Sequence[str], revision: str) -> None:
    """Raises UserError where files of one split lie in several folders, as in a data set of several configurations on
    the hub: in each, the same image may have other captions.
    """
    places: dict[str, set[str]] = {}
    for file in map(Path, files):
        folder = file.parent.parent if _folder_split(file) else file.parent
        places.setdefault(split_name(_file_split(file)), set()).add(folder.as_posix())
    for split, several in places.items():
        if len(several) > 1:
            raise UserError(
                f"{name} has the split {split!r} in each of the folders {', '.join(sorted(several))}, which are its "
                f"configurations as a rule. Fetch one, such as by `hf download {name} --repo-type dataset --revision "
                f'{revision} --include "{max(several)}/*" --local-dir FOLDER`, and give FOLDER, all of which is read.'
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
    """The error for a file that Arrow cannot read: it is damaged, or beyond a limit of Arrow or of this machine."""
    said = str(error).strip()
    smaller = "write it again with smaller row groups (row_group_size=100)."
    if isinstance(error, MemoryError):  # Arrow's own is one
        why = f"It does not fit this machine's memory: {smaller}"
    elif isinstance(error, NotImplementedError) or re.search(r"overflow|capacity|cannot contain more", said):
        why = f"It is not damaged, but pyarrow cannot hold it: {smaller}"
    elif isinstance(error, PermissionError):
        why = "Its permissions do not allow it: make it readable."
    else:
        size = f"{file.stat().st_size:,} bytes" if file.exists() else "gone"
        why = f"It is cut short or damaged (it has {size}): fetch it again."
    return UserError(f"{file} cannot be read: {said}. {why}")


def _rows_of(file: Path, number: int, file_split: str) -> tuple[list[Row], list[str]]:
    """The rows of one file, without its images, and the names of its columns."""
    opened = _opened(file)
    columns = opened.schema_arrow.names
    if not {"image", "caption"} <= set(columns):
        raise UserError(
            f"{file} has the columns {', '.join(columns)}; a data set of images and captions needs 'image' and "
            "'caption'. Rename them, move a file that is none of the data set, or use another copy."
        )
    for name, times in Counter(columns).items():
        if times > 1:
            raise UserError(f"{file} has the column {name!r} {times} times. Rename or remove one of them.")
    _check_types(file, opened.schema_arrow)
    wanted = ["caption", *(c for c in (*TEXT_COLUMNS, *NEAR_SPLIT) if c in columns)]
    rows: list[Row] = []
    for group in range(opened.num_row_groups):
        try:
            cells = [cell for batch in _batches(file, group, wanted) for cell in batch.to_pylist()]
        except UnicodeDecodeError as error:
            raise UserError(
                f"A caption or name in row group {group} of {file} is not UTF-8 text ({error.reason}). Write the file "
                "again as UTF-8."
            ) from error
        for place, cell in enumerate(cells):
            check_split_column(cell, f"row {len(rows)} of {file}", file_split)
            rows.append(_row(cell, (number, group, place), f"row {len(rows)} of {file}", file_split))
    return rows, columns


def _check_types(file: Path, schema: Any) -> None:
    """Raises UserError for a column of a type that is not read."""
    image, caption = (_plain(schema.field(name).type) for name in ("image", "caption"))
    encoded = [
        TEXT.fullmatch(kind) or UINT8_LIST.fullmatch(kind) for kind in _parts(image, ("bytes", "path"))
    ]
    if not encoded or not all(encoded):
        raise UserError(
            f"The column 'image' of {file} has the type {image}; it must hold encoded images (JPEG, PNG, WebP): "
            "binary, a struct of bytes and path, or paths of files next to it. Write the images as PNG bytes, such as "
            "by datasets' cast_column('image', datasets.Image())."
        )
    one = _plain(getattr(caption, "value_type", caption))  # of a list
    if not any(map(TEXT.fullmatch, _parts(one, SENTENCE))):
        raise UserError(
            f"The column 'caption' of {file} has the type {caption}; it must hold text, a list of texts, or a list of "
            f"sentences with {SENTENCE[0]!r}. Write the captions as strings."
        )
    for name in {"split", "filename"} & set(schema.names):
        if not TEXT.fullmatch(kind := str(_plain(schema.field(name).type))):
            raise UserError(
                f"The column {name!r} of {file} has the type {kind}; it must hold text. Write names in place of "
                "numbers (of a ClassLabel: its int2str)."
            )


def _plain(kind: Any) -> Any:
    """The type of the values behind a dictionary or extension type."""
    while hasattr(kind, "storage_type") or hasattr(kind, "index_type"):
        kind = kind.storage_type if hasattr(kind, "storage_type") else kind.value_type
    return kind


def _parts(kind: Any, names: Sequence[str]) -> list[str]:
    """The types of a struct's fields that have one of the names; for any other type, the type itself."""
    types = [part.type for part in kind if part.name in names] if str(kind).startswith("struct<") else [kind]
    return [str(_plain(one)) for one in types]


def _row(cell: dict[str, Any], place: tuple[int, int, int], where: str, file_split: str) -> Row:
    said = cell["caption"] if isinstance(cell["caption"], list) else [cell["caption"]]
    captions = tuple(_caption(one, where) for one in said)
    if not captions or not all(caption.strip() for caption in captions):
        raise UserError(
            f"The captions in {where} are {cell['caption']!r}: one is empty, or there is none. Write it, or remove the "
            "row."
        )
    split = split_name(_text(cell.get("split", file_split), "split", where))
    if not split:
        raise UserError(f"{where} has no split, though the file has a column 'split'. Fill it in.")
    if "sentids" in cell and split not in ("train", "val", "test"):
        raise UserError(
            f"{where} is in the split {split!r}; the splits of this schema are train, val, test. Correct the column "
            "'split'."
        )
    own = cell.get("filename") or cell.get("img_id")
    label = f"{file_split}-{place[0]}-{place[1]}-{place[2]}" if own is None else _text(own, "filename", where)
    return Row(place, where, label, own is not None, split, captions)


def _caption(one: Any, where: str) -> str:
    """The text of one caption; "" where there is none."""
    if isinstance(one, dict):
        one = next((one[part] for part in SENTENCE if one.get(part) is not None), None)
    text = _text(one, "caption", where)
    if re.fullmatch(r"\s*\[\s*(['\"]).*\1\s*\]\s*", text, re.DOTALL):
        raise UserError(
            f"The caption in {where} is a list written as one text: {text[:80]!r}. Write it as a list."
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
    """The split in a file's name or folder: train-00000-of-00001.parquet, coco_val.parquet, train/0000.parquet or
    partial-train/0000.parquet.
    """
    told = {split_name(part) for part in re.split(r"[-._ ]+", file.stem) if part.lower() in KNOWN}
    if len(told) == 1:
        return told.pop()
    if split := _folder_split(file):
        return split
    stem = re.split(r"[-.]", file.name)[0]
    return file.parent.name if stem.isdigit() else stem


def _folder_split(file: Path) -> str:
    """The split in the name of a file's folder, else ""."""
    # as other programs write them: train.parquet/ and split=train/
    folder = file.parent.name.removesuffix(".parquet").rpartition("=")[2].removeprefix(PARTIAL)
    return folder if split_name(folder) in KNOWN else ""

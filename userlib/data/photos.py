"""One's own photos: a folder with captions.csv (filename, caption[, split]), captions.jsonl, or no captions
at all.

With captions and no split column all of it is the split "train"; without captions it is the split "all",
which can be searched. Also data sets kept by `datasets.save_to_disk`. Raises `UserError` for a caption
without its picture, a picture without a caption, text that is not UTF-8, and names or links that lead out of
the folder.
"""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from userlib.data.parquet import load_parquet
from userlib.data.pictures import SUFFIXES, PictureFiles
from userlib.data.scan import inside
from userlib.data.splits import RetrievalData, Split, split_name
from userlib.errors import UserError
from userlib.files import cache_dir, sha256_bytes, sha256_known, write_folder_beside

Caption = tuple[str, str, str]  # file name, caption, split or ""


def load_photos(folder: Path) -> RetrievalData:
    """The photos below `folder`, in the order of their names, each known by its path from there."""
    names = sorted(_photos_in(folder))
    if not names:
        raise UserError(
            f"{folder} holds no data set: no Parquet file, no features, no annotations, and no picture "
            f"({', '.join(sorted(SUFFIXES))}). Check the path."
        )
    source = next(
        (folder / name for name in ("captions.csv", "captions.jsonl") if (folder / name).is_file()), None
    )
    said: dict[str, list[str]] = {name: [] for name in names}
    split_of = dict.fromkeys(names, "all" if source is None else "train")
    for file, caption, split in () if source is None else _captions(source):
        if file not in said:
            inside(folder, file, source or folder)
            raise UserError(
                f"{source} has a caption for {file!r}, but there is no such picture in {folder}. Put it "
                "there, or remove the line."
            )
        said[file].append(caption)
        if split:
            split_of[file] = split_name(split)
    splits = {}
    for split in dict.fromkeys(split_of.values()):
        own = [name for name in names if split_of[name] == split]
        stats = [(folder / name).stat() for name in own]
        splits[split] = Split(
            name=split,
            ids=tuple(own),
            pictures=PictureFiles([folder / name for name in own]),
            captions=tuple(caption for name in own for caption in said[name]),
            image_of=np.repeat(np.arange(len(own), dtype=np.int64), [len(said[name]) for name in own]),
            fingerprint=sha256_bytes(
                "photos", *own, *(f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats)
            ),
        )
    whole = sha256_bytes(
        "photos",
        *(split.fingerprint for split in splits.values()),
        "" if source is None else sha256_known(source),
    )
    return RetrievalData(name=folder.resolve().name, splits=splits, fingerprint=whole)


def _photos_in(folder: Path) -> Iterator[str]:
    for place, _, files in os.walk(folder):
        for file in files:
            path = Path(place) / file
            name = path.relative_to(folder)
            if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in name.parts):
                inside(folder, name.as_posix(), folder)
                yield name.as_posix()


def _captions(source: Path) -> Iterator[Caption]:
    """The lines of captions.csv or captions.jsonl; an error names the line."""
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    found = _csv(source, text) if source.suffix == ".csv" else _jsonl(source, text)
    for number, (file, caption, split) in enumerate(found, start=1):
        if not file or not caption.strip():
            raise UserError(
                f"Entry {number} of {source} has an empty {'caption' if file else 'filename'}. Fill it in, "
                "or remove it."
            )
        yield Path(file).as_posix(), caption.strip(), split


def _csv(source: Path, text: str) -> Iterator[Caption]:
    rows = csv.DictReader(text.splitlines(), strict=True)
    try:
        if not {"filename", "caption"} <= set(rows.fieldnames or ()):
            raise UserError(
                f"{source} has the columns {', '.join(rows.fieldnames or ())}; it needs filename and caption, "
                "and may have split."
            )
        for row in rows:
            yield row["filename"] or "", row["caption"] or "", row.get("split") or ""
    except csv.Error as error:
        raise UserError(
            f"{source} is no valid CSV: {error} in line {rows.line_num}. Put captions with commas in quotes."
        ) from error


def _jsonl(source: Path, text: str) -> Iterator[Caption]:
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row: Any = json.loads(line)
            captions = row["captions"] if "captions" in row else [row["caption"]]
            for caption in captions:
                yield str(row["filename"]), str(caption), str(row.get("split", ""))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f'Line {number} of {source} is not {{"filename": ..., "caption": ...}} or '
                f'{{..., "captions": [...]}}: {error}. Correct it.'
            ) from error


def load_saved(folder: Path) -> RetrievalData:
    """A data set written by `datasets.save_to_disk`, rewritten once as Parquet in the cache so that one
    reader serves all.
    """
    import datasets

    files = sorted(folder.rglob("*.arrow"))
    key = sha256_bytes(*(f"{file.relative_to(folder)} {sha256_known(file)}" for file in files))[:32]
    copy = cache_dir() / "parquet" / key

    def write(part: Path) -> None:
        try:
            found = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{folder} is no whole data set of save_to_disk: {error}. Save it again."
            ) from error
        for name, split in (found if isinstance(found, dict) else {"train": found}).items():
            split.to_parquet(str(part / f"{name}-00000-of-00001.parquet"))

    if not copy.exists():
        write_folder_beside(copy, write)
    return load_parquet(sorted(copy.glob("*.parquet")), folder.resolve().name)

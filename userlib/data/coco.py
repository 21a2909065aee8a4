"""Karpathy's annotations (dataset_coco.json, dataset_flickr30k.json) with a folder of pictures.

Where most pictures have five captions the first five of each are kept, as the field does (COCO's test split has
25,010), and in the published files fewer are an error; other files keep all of theirs. Pictures stay in the file's
order, on which the five 1K folds rest. restval counts as train.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from userlib.data.parquet import check_counts
from userlib.data.pictures import PictureFiles
from userlib.data.scan import inside
from userlib.data.splits import RetrievalData, Split, split_name
from userlib.errors import UserError
from userlib.files import read_json, sha256_bytes, sha256_known

CAPTIONS_EACH = 5
SAVED = ("dataset_dict.json", "dataset_info.json")  # beside data sets of `datasets.save_to_disk`
COUNTS: dict[str, Mapping[str, int]] = {
    "dataset_coco.json": {"train": 113_287, "val": 5_000, "test": 5_000},
    "dataset_flickr30k.json": {"train": 29_000, "val": 1_014, "test": 1_000},
}


def annotations_in(path: Path) -> Path | None:
    """The annotations that `path` is, or that lie in the folder `path`; None where there are none."""
    if path.is_file():
        return path if path.suffix == ".json" else None
    files = sorted(file for file in path.glob("dataset_*.json") if file.name not in SAVED)
    return next(iter(files), None)


def load_karpathy(
    annotations: Path, pictures: Path, *, counts: Mapping[str, int] | None = None, present: bool = True
) -> RetrievalData:
    """The data set; its pictures are `pictures`/[filepath/]filename.

    counts gives the number of pictures of each split; the published files have theirs. present checks that
    every picture is there before anything is computed.
    """
    document = read_json(annotations, limit=2**30)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise UserError(
            f"{annotations} has no list 'images', as Karpathy's annotations do. Is it another file of COCO's?"
        )
    counts = counts or COUNTS.get(annotations.name)
    parts: dict[str, list[Row]] = {}
    for number, image in enumerate(images):
        split, row = _row(image, f"picture {number} of {annotations}", pictures, annotations)
        parts.setdefault(split, []).append(row)
    _check_apart(parts, annotations)
    published = annotations.name in COUNTS
    each = Counter(len(row[2]) for rows in parts.values() for row in rows)
    if published or (each and each.most_common(1)[0][0] == CAPTIONS_EACH):
        parts = {name: [_first_five(row, published) for row in rows] for name, rows in parts.items()}
    if counts is not None:
        check_counts(str(annotations), counts, {name: len(rows) for name, rows in parts.items()})
    if present:
        _check_present(pictures, [row[1] for rows in parts.values() for row in rows])
    content = sha256_bytes("karpathy", sha256_known(annotations))
    return RetrievalData(
        name=annotations.stem.removeprefix("dataset_"),
        splits={name: _split(name, rows, content) for name, rows in parts.items()},
        fingerprint=content,
    )


Row = tuple[str, Path, list[str], list[str]]  # file name, picture, captions and their ids


def _row(image: dict[str, Any], where: str, pictures: Path, source: Path) -> tuple[str, Row]:
    try:
        name = str(image["filename"])
        captions = [str(sentence["raw"]).strip() for sentence in image["sentences"]]
        ids = [str(sentence.get("sentid", "")) for sentence in image["sentences"]]
        split = str(image["split"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{where} lacks {error}; Karpathy's annotations have filename, split and sentences. Fetch them "
            "again."
        ) from error
    if not captions:
        raise UserError(f"{where} ({name}) has no captions. Write one, or remove the picture.")
    path = inside(pictures, str(Path(str(image.get("filepath", ""))) / name), source)
    return split_name(split), (name, path, captions, ids)


def _first_five(row: Row, published: bool) -> Row:
    name, path, captions, ids = row
    if published and len(captions) < CAPTIONS_EACH:
        raise UserError(
            f"The picture {name} has {len(captions)} captions; the published annotations have five or more of each. "
            "Fetch them again."
        )
    return name, path, captions[:CAPTIONS_EACH], ids[:CAPTIONS_EACH]


def _check_apart(parts: Mapping[str, list[Row]], annotations: Path) -> None:
    """Raises UserError for a picture that stands in two splits."""
    split_of: dict[Path, str] = {}
    for split, rows in parts.items():
        for name, path, *_ in rows:
            if split_of.setdefault(path, split) != split:
                raise UserError(
                    f"The picture {name} of {annotations} is of the splits {split_of[path]!r} and {split!r}: what is "
                    "measured on one would have been learned on the other. Keep it in one."
                )


def _check_present(pictures: Path, paths: list[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(paths):,} pictures are not below {pictures}; the first is "
            f"{missing[0]}. Put them there (COCO: the folders train2014 and val2014), or name the right "
            "folder."
        )


def _split(name: str, rows: list[Row], content: str) -> Split:
    paths = [path for _, path, _, _ in rows]
    ids = tuple(label for *_, own in rows for label in own)
    sizes = [str(path.stat().st_size) if path.exists() else "-" for path in paths]
    return Split(
        name=name,
        ids=tuple(row[0] for row in rows),
        pictures=PictureFiles(paths),
        captions=tuple(caption for row in rows for caption in row[2]),
        caption_ids=ids if all(ids) else None,
        caption_to_image=np.repeat(np.arange(len(rows), dtype=np.int64), [len(row[2]) for row in rows]),
        fingerprint=sha256_bytes(content, name, *sizes),
    )

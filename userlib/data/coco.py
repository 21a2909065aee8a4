"""Karpathy's annotations (dataset_coco.json, dataset_flickr30k.json, dataset_flickr8k.json) with a folder of images.

Where most images have five captions, the first five of each are kept, as is common practice (COCO's test split has
25,010); in the published files, fewer are an error. Images keep the file's order, which defines the five 1K folds.
restval counts as train.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from userlib.data.contents import content_sums
from userlib.data.parquet import check_counts
from userlib.data.pictures import PictureFiles
from userlib.data.scan import check_present, inside
from userlib.data.splits import RetrievalData, Split, refuse_shared, split_name
from userlib.errors import UserError
from userlib.files import read_json, sha256_bytes, sha256_known

CAPTIONS_EACH = 5
# next to data sets of `datasets.save_to_disk`, and in repositories of the hub
SAVED = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json")
COUNTS: dict[str, Mapping[str, int]] = {
    "dataset_coco.json": {"train": 113_287, "val": 5_000, "test": 5_000},
    "dataset_flickr30k.json": {"train": 29_000, "val": 1_014, "test": 1_000},
    "dataset_flickr8k.json": {"train": 6_000, "val": 1_000, "test": 1_000},
}


@dataclass(frozen=True)
class Row:
    """One image, and its captions with their ids."""

    name: str
    path: Path
    captions: list[str]
    caption_ids: list[str]


def annotations_in(path: Path) -> Path | None:
    """The annotations that `path` is, or that lie in the folder `path`; None where there are none. Raises UserError for
    several.
    """
    if path.is_file():
        return path if path.suffix == ".json" else None
    named = (file for file in path.glob("dataset_*.json") if file.name not in SAVED)
    files = sorted(file for file in named if _lists_images(file))
    if len(files) > 1:
        raise UserError(
            f"{path} holds {' and '.join(file.name for file in files[:3])}, and one file of annotations is read. Give "
            f"the file itself, such as --data {files[0]}, or move the others away."
        )
    return files[0] if files else None


def _lists_images(file: Path) -> bool:
    try:
        return re.search(rb'"images"\s*:\s*\[', file.read_bytes()) is not None
    except OSError:  # told where it is read
        return True


def _label(sentid: object) -> str:
    return "" if sentid is None else str(sentid)


def load_karpathy(
    annotations: Path, pictures: Path, *, counts: Mapping[str, int] | None = None
) -> RetrievalData:
    """The data set; its images are `pictures`/[filepath/]filename.

    counts: the number of images that each split must have; known for the published files, whose equal images are left
    as they are. Raises UserError for JSON of another form, other counts, and an image without captions, that is not
    there, or that lies in two splits, be it as a copy of its file.
    """
    value = read_json(annotations, limit=2**30)
    images = value.get("images") if isinstance(value, dict) else None
    if not isinstance(images, list) or not images or not all(isinstance(image, dict) for image in images):
        raise UserError(
            f"{annotations} has no list of objects 'images', as Karpathy's annotations have. Name his file, not "
            "another one of COCO's."
        )
    parts: dict[str, list[Row]] = {}
    split_of: dict[Path, str] = {}
    for number, image in enumerate(images):
        where = f"image {number} of {annotations}"
        try:
            name, split = str(image["filename"]), split_name(str(image["split"]))
            captions = [sentence["raw"] for sentence in image["sentences"]]
            ids = [_label(sentence.get("sentid")) for sentence in image["sentences"]]
        except (KeyError, TypeError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else f"has another form ({error})"
            raise UserError(
                f"{where} {what}; Karpathy's annotations have filename, split and sentences. Fetch them again."
            ) from error
        if not captions:
            raise UserError(f"{where} ({name}) has no captions. Write one, or remove the image.")
        if wrong := [
            one for one in (image["filename"], image["split"], *captions) if not isinstance(one, str)
        ]:
            raise UserError(
                f"{where} ({name}) has {wrong[0]!r:.80} where a text must stand. Write it as text."
            )
        path = inside(pictures, str(Path(str(image.get("filepath") or "")) / name), annotations)
        if split_of.setdefault(path, split) != split:
            raise UserError(
                f"The image {name} of {annotations} is in the splits {split_of[path]!r} and {split!r}: what is "
                "measured on one would have been learned on the other. Keep it in one."
            )
        parts.setdefault(split, []).append(Row(name, path, [caption.strip() for caption in captions], ids))
    every = [row for rows in parts.values() for row in rows]
    published = annotations.name in COUNTS
    each = Counter(len(row.captions) for row in every)
    if published or (each and each.most_common(1)[0][0] == CAPTIONS_EACH):
        for row in every:
            if published and len(row.captions) < CAPTIONS_EACH:
                raise UserError(
                    f"The image {row.name} has {len(row.captions)} captions; the published annotations have five or "
                    "more of each. Fetch them again."
                )
            del row.captions[CAPTIONS_EACH:], row.caption_ids[CAPTIONS_EACH:]
    if counts := counts or COUNTS.get(annotations.name):
        check_counts(str(annotations), counts, {name: len(rows) for name, rows in parts.items()})
    remedy = "Put them there (COCO: the folders train2014 and val2014), or name the right folder."
    check_present([row.path for row in every], pictures, remedy)
    if not counts:
        _refuse_copies(parts, pictures)
    content = sha256_bytes("karpathy", sha256_known(annotations))
    splits = {name: _split(name, rows, content, pictures) for name, rows in parts.items()}
    return RetrievalData(name=annotations.stem.removeprefix("dataset_"), splits=splits, fingerprint=content)


def _refuse_copies(parts: Mapping[str, list[Row]], pictures: Path) -> None:
    """Raises UserError where files of two splits are equal; only those of one size are read."""
    sizes: dict[int, list[tuple[str, Row]]] = {}
    for name, rows in parts.items():
        for row in rows:
            sizes.setdefault(row.path.stat().st_size, []).append((name, row))
    alike = [one for same in sizes.values() if len({name for name, _ in same}) > 1 for one in same]
    sums = content_sums(pictures, [str(row.path.relative_to(pictures)) for _, row in alike], whole=False)
    refuse_shared((name, row.name, total) for (name, row), total in zip(alike, sums, strict=True))


def _split(name: str, rows: list[Row], content: str, pictures: Path) -> Split:
    ids = tuple(label for row in rows for label in row.caption_ids)
    return Split.of(
        name,
        [row.name for row in rows],
        [row.captions for row in rows],
        PictureFiles([row.path for row in rows], below=pictures),
        sha256_bytes(content, name, *(str(row.path.stat().st_size) for row in rows)),
        caption_ids=ids if all(ids) else None,
    )

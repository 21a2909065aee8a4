"""Folders of photos with captions.csv (filename, caption[, split]), captions.tsv, captions.jsonl, captions.txt, the
hub's metadata.csv or metadata.jsonl, or no captions at all; and data sets written by `datasets.save_to_disk`.

Where captions name no split, all photos are the split "train", or the splits are the folders train, val and test if
all images lie in these. Without captions there is one split "all", which can be searched. A warning says which files
were left out and why.
"""

import shutil
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from userlib.data.caption_files import NoCaptions, read_captions
from userlib.data.contents import content_sums
from userlib.data.folder import Folder, suffixes
from userlib.data.names import Names
from userlib.data.parquet import load_parquet
from userlib.data.pictures import PictureFiles
from userlib.data.splits import RetrievalData, Split, split_name
from userlib.errors import UserError
from userlib.files import (
    MANIFEST,
    atomic_write_folder,
    cache_dir,
    read_checksummed,
    sha256_bytes,
    sha256_known,
    shown,
)
from userlib.verify import write_manifest

SHARD = "-00000-of-00001.parquet"
SPLITS = ("train", "val", "test")


@dataclass
class Photo:
    """One image: the name and checksum of its file, its captions, and its split or ""."""

    name: str
    sum: str
    captions: list[str] = field(default_factory=list)
    split: str = ""
    told: str = ""  # which line or folder gave its split


def load_photos(folder: Path) -> RetrievalData:
    """The photos below `folder`, in the order of their names, each known by its path from there.

    Raises UserError for a caption without its image, an image without a caption, one image in two splits, text that is
    not UTF-8, and names or links that lead out of the folder.
    """
    contents = Folder(folder)
    if not contents.images:
        raise UserError(
            f"{shown(folder)} holds no data set: no Parquet file, no features, no annotations, and no image "
            f"({', '.join(sorted(suffixes()))}). {contents.said()} Check the path.".replace("  ", " ")
        )
    sums = content_sums(folder, contents.images)
    photos = {name: Photo(name, sum_) for name, sum_ in zip(contents.images, sums, strict=True)}
    sources = _say_captions(contents, photos)
    notes = [contents.said()]
    if sources:
        read = " and ".join(shown(source.relative_to(folder)) for source in sources[:3])
        notes += [_passed_over(contents, sources, read), _place(photos, read)]
        photos, note = _grouped(photos)
        notes.append(note)
        if bare := [name for name, photo in photos.items() if not photo.captions]:
            raise UserError(
                f"{len(bare):,} of {len(photos):,} images in {shown(folder)} have no caption, the first is "
                f"{shown(bare[0])!r}. Give each image a caption in {read} or remove it; a set without any captions "
                "can be searched, not trained on."
            )
    else:
        notes.append(_near(contents))
        for photo in photos.values():
            photo.split = "all"
    if told := " ".join(note for note in notes if note):
        warnings.warn(f"{shown(folder)}: {told}", stacklevel=2)
    splits = {}
    for split in dict.fromkeys(photo.split for photo in photos.values()):
        own = [photo for photo in photos.values() if photo.split == split]
        ids = [shown(photo.name) for photo in own]
        pictures = PictureFiles([folder / photo.name for photo in own])
        content = sha256_bytes("photos", *ids, *(photo.sum for photo in own))
        splits[split] = Split.of(split, ids, [photo.captions for photo in own], pictures, content)
    said = (
        f"{split}\0{i}\0{text}"
        for split in splits.values()
        for i, text in zip(split.caption_to_image.tolist(), split.captions, strict=True)
    )
    whole = sha256_bytes("photos", *(split.name + split.fingerprint for split in splits.values()), *said)
    name = shown(folder.resolve().name)
    return RetrievalData(name=name, splits=splits, fingerprint=whole, captions_apart=True)


def _say_captions(contents: Folder, photos: dict[str, Photo]) -> list[Path]:
    """Give each photo its captions and its split from the folder's caption files; returns these files."""
    names, sources = Names(contents), []
    for place, source in contents.caption_tables():
        try:
            entries = read_captions(source)
        except NoCaptions:
            if source.name.lower().startswith("captions."):
                raise
            contents.near.append(f"{source.name}, which has no columns for an image and its caption")
            continue
        if not entries:
            raise UserError(
                f"{shown(source)} holds no caption. Write one per line, or remove it to search only."
            )
        sources.append(source)
        outer = split_name(place.split("/")[0])
        for entry in entries:
            photo = photos[names.find(entry.file, place, source, entry.line)]
            photo.captions.append(entry.caption)
            split = split_name(entry.split) or (outer if outer in SPLITS else "")
            where = f"line {entry.line} of {shown(source)}"
            if split and photo.split and photo.split != split:
                raise UserError(
                    f"{entry.file!r} is in the split {photo.split!r} ({photo.told}) and in {split!r} ({where}). An "
                    "image belongs to one split: a model must not be tested on what it has learned. Correct one of the "
                    "lines."
                )
            if split:
                photo.split, photo.told = split, where
    return sources


def _passed_over(contents: Folder, sources: list[Path], read: str) -> str:
    """A sentence on files of captions that were passed over for those called `read`, or ""."""
    others = []
    for file in sorted(file for files in contents.tables.values() for file in files if file not in sources):
        try:
            read_captions(file)
        except NoCaptions:  # a table of something else
            continue
        except UserError:
            pass
        others.append(shown(file.relative_to(contents.root)))
    if not others:
        return ""
    more = " and others" if others[3:] else ""
    return f"Captions are read from {read}, and not from {', '.join(others[:3])}{more}."


def _grouped(photos: dict[str, Photo]) -> tuple[dict[str, Photo], str]:
    """The photos, with copies (equal bytes) merged into one that has all their captions; a sentence on them, or ""."""
    by_sum: dict[str, list[Photo]] = {}
    for photo in photos.values():
        by_sum.setdefault(photo.sum, []).append(photo)
    kept: dict[str, Photo] = {}
    copies = []
    for same in by_sum.values():
        first = next((photo for photo in same if photo.captions), same[0])
        told = next((photo for photo in same if photo.split), first)
        captions = list(first.captions)
        for photo in same:
            if photo.split and photo.split != told.split:
                raise UserError(
                    f"{shown(told.name)!r} ({told.told}, split {told.split!r}) and {shown(photo.name)!r} "
                    f"({photo.told}, split {photo.split!r}) are the same image, byte for byte: a model would be tested "
                    "on what it has learned. Give both the same split, or remove one of them."
                )
            if photo is not first:
                captions += [text for text in dict.fromkeys(photo.captions) if text not in captions]
                copies.append((photo.name, first.name))
        kept[first.name] = replace(first, captions=captions, split=told.split, told=told.told)
    if not copies:
        return kept, ""
    copy, original = (shown(name) for name in min(copies))
    count = f"{len(copies):,} photos are copies of others" if copies[1:] else "1 photo is a copy of another"
    note = f"{count}; such photos count as one image with all their captions: {copy} is {original}."
    return dict(sorted(kept.items())), note


def _place(photos: dict[str, Photo], read: str) -> str:
    """Give each photo of a captioned folder its split; returns a sentence on how it was found, or "". `read` names the
    caption files.
    """
    captioned = [name for name, photo in photos.items() if photo.captions]
    without = [name for name in captioned if not photos[name].split]
    if not without:
        return ""
    if len(without) < len(captioned):
        raise UserError(
            f"{read} has a split for {len(captioned) - len(without):,} of {len(captioned):,} images and none for "
            f"{shown(without[0])!r}. Write train, val or test for each, or for none."
        )
    folders = {name: split_name(name.split("/")[0]) if "/" in name else "" for name in photos}
    parts = sorted({part for part in folders.values() if part in SPLITS})
    if "train" in parts and len(parts) > 1 and set(folders.values()) == set(parts):
        for name, photo in photos.items():
            photo.split, photo.told = folders[name], f"the folder {shown(name.split('/')[0])}"
        return f"The folders {', '.join(parts)} are taken as splits, as {read} names none."
    for photo in photos.values():
        photo.split, photo.told = "train", ""
    if parts in ([], ["train"]):
        return ""
    return (
        f"All images are the split 'train', those in the folders {', '.join(parts)} too, because others lie outside "
        f"such folders. Add a column split to {read} to separate them."
    )


def _near(contents: Folder) -> str:
    """A sentence on files that may be meant to hold captions where none were read, or ""."""
    below = (f"{place}/{file.name}" for place, files in contents.tables.items() for file in files if place)
    near = sorted(contents.near) + sorted(below)
    if not near:
        return ""
    return (
        "No captions were read: they are expected in captions.csv (filename,caption), captions.jsonl, captions.txt, "
        f"metadata.csv or metadata.jsonl, and the folder has {shown(', '.join(near[:3]))} instead."
    )


def load_saved(folder: Path) -> RetrievalData:
    """A data set written by `datasets.save_to_disk`, converted once to Parquet in the cache, so that one reader serves
    both. Raises UserError where it cannot be loaded, and where it has no split but the union of several.
    """
    import datasets

    # the names of splits, and the order of their files
    told = ("state.json", "dataset_info.json", "dataset_dict.json")
    files = sorted(file for file in folder.rglob("*.*") if file.suffix == ".arrow" or file.name in told)
    parts = (f"{file.relative_to(folder)} {sha256_known(file)}" for file in files)
    copy = cache_dir() / "parquet" / sha256_bytes("saved 2", *parts)[:32]

    def write(part: Path) -> None:
        try:
            saved: Any = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{folder} is not a complete data set of save_to_disk: {error}. Save it again."
            ) from error
        if not isinstance(saved, dict):  # one split, which may have a name
            told = str(saved.split or "train")
            # load_dataset names a part of a split test[:50%], and a union train+test
            names = {part.partition("[")[0] for part in told.split("+")}
            if len(names) > 1:
                raise UserError(
                    f"{folder} holds the split {told!r}, which joins several. Name it, such as by "
                    "datasets.DatasetDict(train=...), and save that."
                )
            saved = {names.pop(): saved}
        for name, split in saved.items():
            split.to_parquet(str(part / f"{name}{SHARD}"))
        write_manifest(part)

    shards = _complete(copy)
    if shards is None:  # or no longer, since some programs remove old files from caches
        shutil.rmtree(copy, ignore_errors=True)
        atomic_write_folder(copy, write, once=True)
        shards = _complete(copy)
    if shards is None:
        raise UserError(f"{copy} is damaged, and is not replaced. Delete it, and run the same command again.")
    splits = [file.name.removesuffix(SHARD) for file in shards]
    try:
        return load_parquet(shards, folder.resolve().name, splits=splits)
    except UserError as error:
        said = str(error)
        for file, name in zip(shards, splits, strict=True):
            said = said.replace(str(file), f"the split {name!r} of {folder}")
        raise UserError(
            f"{said[:1].upper()}{said[1:]} To change {folder}, load it by datasets.load_from_disk, use rename_column, "
            "cast_column or the like, and save the result."
        ) from error


def _complete(copy: Path) -> list[Path] | None:
    """The Parquet files of a converted data set; None unless all are as they were written."""
    try:
        sums = read_checksummed(copy / MANIFEST, "")["sha256"]
        whole = all(sha256_known(copy / name) == checksum for name, checksum in sums.items())
    except (UserError, OSError, KeyError):
        return None
    return [copy / name for name in sorted(sums)] if whole else None

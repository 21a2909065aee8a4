"""Shards in webdataset's form, as img2dataset and CLIP_benchmark write them: tar files whose members KEY.jpg, KEY.txt
and KEY.json are one sample; and img2dataset's `files` form, which is the same in folders. Nothing is unpacked: an image
is read from its place in the tar.

A caption is a line of KEY.txt, else `captions` or `caption` of KEY.json. The split is given by the shard's name without
its number (train-00012.tar), else by its folder, else by a part of its name (train_a-00012.tar). Where none says train,
val or test, the shard is a split of its own name if others are one of these (eval-00012.tar); all other shards are
train, or all if there are no captions.
"""

import json
import re
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from userlib.data.folder import loose_images, visible
from userlib.data.pictures import SUFFIXES, open_picture
from userlib.data.splits import RetrievalData, Split, refuse_shared, split_name
from userlib.errors import UserError
from userlib.files import sha256_bytes, sha256_known, shown

SPLITS = {"train", "val", "test"}
TEXT_LIMIT = 2**20  # bytes of a caption or JSON member


@dataclass
class Sample:
    """The image and captions of one key. place: the number of the image's file, its first byte there, its bytes."""

    key: str
    split: str
    shard: Path
    place: tuple[int, int, int] | None = None
    texts: list[str] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)  # captions in its JSON, and what stands in their place
    instead: str = ""  # a member that is neither its image nor its text

    @property
    def captions(self) -> list[str]:
        """The captions in its text, else those in its JSON."""
        return self.texts or [one for one in self.said if isinstance(one, str)]


class ShardPictures:
    """Images at positions (N, 3) in files: number of the file, first byte, number of bytes."""

    def __init__(self, files: Sequence[Path], positions: np.ndarray, names: Sequence[str]) -> None:
        self.files, self.positions, self.names = tuple(files), positions, tuple(names)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: int) -> Image.Image:
        return open_picture(self.content(i), self.names[i])

    def content(self, i: int) -> bytes:
        """The encoded image."""
        number, first, size = (int(value) for value in self.positions[i])
        try:
            with open(self.files[number], "rb") as file:
                file.seek(first)
                content = file.read(size)
        except OSError as error:
            raise UserError(
                f"{shown(self.files[number])} cannot be read: {error.strerror}. Put it back."
            ) from error
        if len(content) != size:
            raise UserError(
                f"{shown(self.files[number])} is cut short within {self.names[i]}. Fetch it again."
            )
        return content


def shards_in(folder: Path) -> list[Path]:
    """The tar files below a folder, or img2dataset's folders of files, in order; none where it is another data set, as
    loose images are with tars in which no image has a caption.
    """
    tars = visible(folder, "*.tar")
    images = loose_images(folder) if tars else []
    if tars and (not images or any(_is_captioned(folder, tar) for tar in tars)):
        if images:
            warnings.warn(
                f"{shown(folder)}: images outside of its tar files are left out: {len(images):,}, such as "
                f"{shown(images[0].relative_to(folder))}. Keep them in a folder of their own to read them",
                stacklevel=2,
            )
        return tars
    told = sorted(folder.rglob("*_stats.json"))
    return [
        place for path in told if (place := path.with_name(path.name.removesuffix("_stats.json"))).is_dir()
    ]


def _is_captioned(folder: Path, tar: Path) -> bool:
    try:
        return any(sample.place and sample.captions for sample in _of_tar(folder, tar, []))
    except UserError:  # told where it is read
        return False


def load_shards(folder: Path, shards: Sequence[Path]) -> RetrievalData:
    """The data set in these shards. Samples without an image, as failed downloads leave them, are left out with one
    warning; another says where captions may be meant that are not read.

    Raises UserError for a damaged shard, a caption that is not UTF-8 or no text, an image without a caption among
    images with captions, and an image in two splits.
    """
    files: list[Path] = []
    samples: list[Sample] = []
    loose: list[Sample] = []  # those whose texts lie in none of `files`
    for shard in shards:
        if shard.is_file():
            samples += _of_tar(folder, shard, files)
        else:
            loose += (own := _of_folder(folder, shard, files))
            samples += own
    whole = [sample for sample in samples if sample.place is not None]
    if not whole:
        raise UserError(f"{shown(folder)} has {len(shards)} shards and no image in them. Fetch them again.")
    if len(whole) < len(samples):
        warnings.warn(
            f"{shown(folder)}: {len(samples) - len(whole):,} of {len(samples):,} samples have no image, "
            "and are left out.",
            stacklevel=2,
        )
    if any(sample.split for sample in whole):
        for sample in whole:
            sample.split = sample.split or split_name(shown(_unnumbered(sample.shard)))
    for sample in whole:
        odd = [] if sample.texts else [one for one in sample.said if not isinstance(one, str)]
        if odd:
            raise UserError(
                f"The JSON of {sample.key} in {shown(sample.shard)} has {odd[0]!r:.80} where a caption must stand. "
                "Write it as text."
            )
    captioned = any(sample.captions for sample in whole)
    instead = "" if captioned else next((sample.instead for sample in whole if sample.instead), "")
    if instead:
        warnings.warn(
            f"{shown(folder)}: No captions were read: they are expected in KEY.txt, or as 'caption' or 'captions' in "
            f"KEY.json, and the shards have {instead} instead.",
            stacklevel=2,
        )
    unnamed = "train" if captioned else "all"
    _tell_apart(folder, whole, unnamed)
    said = (sha256_bytes(one.split, one.key, *one.captions) for one in loose if one.place is not None)
    content = sha256_bytes("shards", *(sha256_known(file) for file in files), *said)
    splits: dict[str, Split] = {}
    pictures: dict[str, ShardPictures] = {}
    for name in dict.fromkeys(sample.split or unnamed for sample in whole):
        own = [sample for sample in whole if (sample.split or unnamed) == name]
        told = name if any(sample.split for sample in own) else ""
        pictures[name] = ShardPictures(
            files, np.array([sample.place for sample in own], np.int64), [s.key for s in own]
        )
        splits[name] = Split.of(
            name, [sample.key for sample in own], [sample.captions for sample in own], pictures[name],
            sha256_bytes(content, told, *(sample.key for sample in own)),
        )  # fmt: skip
    if len(pictures) > 1:
        refuse_shared(
            (name, key, sha256_bytes(own.content(row)))
            for name, own in pictures.items()
            for row, key in enumerate(own.names)
        )
    return RetrievalData(name=shown(folder.resolve().name), splits=splits, fingerprint=content)


def _tell_apart(folder: Path, samples: Sequence[Sample], unnamed: str) -> None:
    """Put the shards' paths before their keys where shards of one name in two folders share a key within a split."""
    named = Counter((one.split or unnamed, one.key) for one in samples)
    shared = {one.shard for one in samples if named[one.split or unnamed, one.key] > 1}
    for one in samples:
        if one.shard in shared:
            path = one.shard.relative_to(folder).with_suffix("").as_posix()
            one.key = f"{path}/{one.key.partition('/')[2]}"


def _unnumbered(shard: Path) -> str:
    """The name of a shard without its number."""
    return re.sub(r"[-_.]?\d+$", "", shard.stem)


def _split_of(folder: Path, shard: Path) -> str:
    """The split in the name of a shard, of a folder above it, or in a part of its name: train, val or test, else ""."""
    stem = _unnumbered(shard)
    above = shard.relative_to(folder).parts[:-1][::-1]
    known = [split_name(part) for part in (stem, stem.rpartition("_")[2], stem.rpartition("-")[2], *above)]
    within = {split_name(part) for part in re.split(r"[\W\d_]+", stem)} & SPLITS
    return next((name for name in known if name in SPLITS), within.pop() if len(within) == 1 else "")


def _of_tar(folder: Path, shard: Path, files: list[Path]) -> list[Sample]:
    number, samples = len(files), dict[str, Sample]()
    files.append(shard)
    try:
        with tarfile.open(shard, "r:") as tar:
            # of members of one name the last stands, as when they are unpacked
            for member in {PurePosixPath(member.name): member for member in tar}.values():
                if not member.isreg() or member.issparse() or PurePosixPath(member.name).name.startswith("."):
                    continue
                place = (number, member.offset_data, member.size)

                def read(member: tarfile.TarInfo = member) -> bytes:
                    file = tar.extractfile(member)
                    return b"" if file is None else file.read(TEXT_LIMIT + 1)

                _add(samples, folder, shard, member.name, place, read)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(
            f"{shown(shard)} is not a complete tar file ({error}). Fetch it again; if it is compressed, unpack it to "
            ".tar."
        ) from error
    return list(samples.values())


def _of_folder(folder: Path, shard: Path, files: list[Path]) -> list[Sample]:
    samples = dict[str, Sample]()
    for path in sorted(shard.iterdir()):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            place = (len(files), 0, path.stat().st_size)
            if path.suffix.lower() in SUFFIXES:
                files.append(path)
            _add(samples, folder, shard, path.name, place, path.read_bytes)
    return list(samples.values())


def _add(
    samples: dict[str, Sample], folder: Path, shard: Path, name: str, place: tuple[int, int, int], read: Any
) -> None:
    """Adds a member to the sample of its key: what stands before the first dot of its name."""
    at = PurePosixPath(name)
    stem, _, kind = at.name.partition(".")
    key = shown(f"{shard.stem}/{(at.parent / stem).as_posix()}")
    sample = samples.setdefault(key, Sample(key, _split_of(folder, shard), shard))
    where = f"{shown(name)} in {shown(shard)}"
    if f".{kind.lower().rpartition('.')[2]}" in SUFFIXES:
        if sample.place is not None:
            raise UserError(f"{where} is a second image of one sample. Keep one.")
        sample.place = place
    elif kind.lower() in ("txt", "caption"):
        sample.texts += [line.strip() for line in _text(read(), where).splitlines() if line.strip()]
    else:
        sample.instead = shown(at.name)
        if kind.lower() == "json":
            sample.said += _captions(_text(read(), where), where)


def _text(content: bytes, where: str) -> str:
    if len(content) > TEXT_LIMIT:
        raise UserError(
            f"{where} has more than {TEXT_LIMIT:,} bytes, too many for captions. Remove it, or shorten it."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is not UTF-8 text (byte {error.start}). Write it again as UTF-8."
        ) from error


def _captions(text: str, where: str) -> Iterator[Any]:
    """The captions in a JSON, and whatever else stands where one must; without blank ones, null and NaN, which some
    write for a missing caption.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON. Write it again.") from error
    if not isinstance(value, dict):
        return
    said = value.get("captions") or value.get("caption")
    for one in said if isinstance(said, list) else [said]:
        found = one.strip() if isinstance(one, str) else one
        if found not in ("", None) and found == found:
            yield found

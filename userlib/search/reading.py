"""What an index reads: the images of a folder or split, each known by its content, so that one encoded before is
found again under another name, and one that was replaced under the old name is not.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from userlib.data.pictures import PictureFiles, open_picture, read_picture
from userlib.data.splits import Pictures, Split, Subset
from userlib.errors import UserError
from userlib.files import SETTLED_NS, sha256_bytes

BATCH = 64  # images or captions at a time

State = tuple[int, ...]  # of a file: bytes, times of change, inode


@dataclass(frozen=True)
class Print:
    """What an image is known by: the SHA-256 of its content and, where they vouch for it, its file's size and
    times: a file with the same is not read again.
    """

    sha256: str
    state: State | None = None


def only_split(folder: str | Path) -> Split:
    """The images of a folder, where they are one split."""
    from userlib.data.sources import load_data

    data = load_data(str(folder))
    if len(data.splits) > 1:
        raise UserError(
            f"{folder} has the splits {', '.join(data.splits)}; index one of them: "
            "Index.build(load_data(FOLDER).split(NAME), encoder)"
        )
    return next(iter(data.splits.values()))


def print_of(split: Split, row: int, before: Print | None = None) -> Print:
    """The print of an image of the split; `before` is the one that stood under its id. UserError where it cannot be
    read.

    Files are known by their bytes, what has a `content` by that, others by their pixels.
    """
    source, at = _source(split, row)
    if isinstance(source, PictureFiles):
        state = _state(source.paths[at])
        if before is not None and before.state is not None and before.state == state:
            return before
        settled = state is not None and time.time_ns() - max(state[1:3]) > SETTLED_NS
        return Print(sha256_bytes(_file_bytes(source.paths[at])), state if settled else None)
    if hasattr(source, "content"):
        return Print(sha256_bytes(source.content(at)))
    image = source[at]
    return Print(sha256_bytes("pixels", repr(image.size), image.convert("RGB").tobytes()))


def read(split: Split, row: int) -> tuple[Image.Image, Print]:
    """An image and its print, of the same bytes even where the file is being replaced."""
    source, at = _source(split, row)
    if not isinstance(source, PictureFiles):
        return source[at], print_of(split, row)
    expected = print_of(split, row)
    data = _file_bytes(source.paths[at])
    digest = sha256_bytes(data)
    return open_picture(data, str(source.paths[at])), expected if digest == expected.sha256 else Print(digest)


def is_drawn(split: Split) -> bool:
    """Whether these are images of the embedded world."""
    return getattr(_source(split, 0)[0], "drawn", False)


def _source(split: Split, row: int) -> tuple[Pictures, int]:
    """Where an image comes from, behind all cuts, and its number there."""
    source = split.pictures
    if source is None:
        raise UserError(f"the split {split.name!r} has features but no images; an index encodes images")
    while isinstance(source, Subset):
        row, source = int(source.rows[row]), source.pictures
    return source, row


def _state(path: Path) -> State | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        read_picture(path)  # says what is wrong
        raise

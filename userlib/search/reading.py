"""The images that an index reads, identified by their content: an image that was encoded before is recognised under a
new name, and one that was replaced under its old name is encoded again.
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
    """The identity of an image: the SHA-256 of its content and, where it is safe to rely on, the state of its file, so
    that an unchanged file is not read again.
    """

    sha256: str
    state: State | None = None


def only_split(folder: str | Path) -> Split:
    """The images of a folder. Raises UserError where it has several splits."""
    from userlib.data.sources import load_data

    data = load_data(str(folder))
    if len(data.splits) > 1:
        raise UserError(
            f"{folder} has the splits {', '.join(data.splits)}; index one of them: "
            "Index.build(load_data(FOLDER).split(NAME), encoder)."
        )
    return next(iter(data.splits.values()))


def absolute(name: str) -> str:
    """The name of data, or where it lies."""
    return str(Path(name).expanduser().absolute()) if Path(name).expanduser().exists() else name


def print_of(split: Split, row: int, before: Print | None = None) -> Print:
    """The identity of an image of the split; before: the previous one of its id. Files are identified by their bytes,
    images with a `content` by that, others by their pixels. Raises UserError where an image cannot be read.
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
    """An image and its identity, from the same bytes even while its file is being replaced."""
    source, at = _source(split, row)
    if not isinstance(source, PictureFiles):
        return source[at], print_of(split, row)
    expected = print_of(split, row)
    data = _file_bytes(source.paths[at])
    digest = sha256_bytes(data)
    return open_picture(data, str(source.paths[at])), expected if digest == expected.sha256 else Print(digest)


def is_drawn(split: Split) -> bool:
    """Whether the images of a split are drawn scenes."""
    return getattr(_source(split, 0)[0], "drawn", False)


def _source(split: Split, row: int) -> tuple[Pictures, int]:
    """The images that a split, or a subset of a subset, selects from, and the row of an image there."""
    source = split.pictures
    if source is None:
        raise UserError(
            f"the split {split.name!r} has features but no images, which an index needs; give the folder of its images."
        )
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
        read_picture(path)  # raises a UserError that says what is wrong
        raise

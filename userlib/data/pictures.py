"""Opening a picture from bytes: RGB, upright, and of a bearable size.

Raises `UserError` naming the picture where the bytes are no picture, are cut short, or would unpack to too
many pixels.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from userlib.errors import UserError

MAX_PIXELS = 89_478_485  # Pillow's own warning level; here it is an error
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "MPO",
)  # nothing that starts another program, as EPS would
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def open_picture(data: bytes, name: str) -> Image.Image:
    """The picture in `data` as RGB, turned as its EXIF orientation says, transparency on white. `name` is for
    the error.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            pixels = picture.width * picture.height
            if pixels > MAX_PIXELS:
                raise UserError(
                    f"The picture {name} would unpack to {pixels:,} pixels, more than the {MAX_PIXELS:,} "
                    "allowed. Scale it down or remove it."
                )
            upright = ImageOps.exif_transpose(picture)
            if upright.has_transparency_data:
                layered = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
            return upright.convert("RGB")
    except UserError:
        raise
    except (
        Exception
    ) as error:  # Pillow raises a dozen kinds on damaged files; all mean the same to the reader
        raise UserError(
            f"The picture {name} ({len(data):,} bytes) cannot be read: {error}. Replace it by a whole JPEG, "
            "PNG or WebP, or remove it together with its captions."
        ) from error


def read_picture(path: Path) -> Image.Image:
    """`open_picture` of a file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The picture {path} cannot be opened: {error.strerror}. Put it back, or remove its captions."
        ) from error
    return open_picture(data, str(path))


class PictureFiles:
    """Pictures in files, read when asked for. Satisfies `Pictures`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Image.Image:
        return read_picture(self.paths[i])

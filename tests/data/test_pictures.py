"""A picture comes upright and RGB, or as a sentence that names it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.copies import jpeg, picture
from userlib.data.pictures import PictureFiles, open_picture, read_picture
from userlib.errors import UserError


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert open_picture(encoded(picture(0).convert(mode), kind), "a").mode == "RGB"


def test_transparency_is_white():
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert open_picture(encoded(clear), "a").getpixel((0, 0)) == (255, 255, 255)


def test_a_photo_taken_sideways_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its right side
    upright = open_picture(encoded(picture(0, (40, 20)), "JPEG", exif=exif), "a")
    assert upright.size == (20, 40)
    np.testing.assert_allclose(
        np.asarray(upright, float), np.asarray(picture(0, (40, 20)).rotate(-90, expand=True), float), atol=40
    )


def bomb(width=60_000, height=60_000):
    """A PNG of a few bytes that says it holds 3.6 thousand million pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"no picture", jpeg(0)[:300], jpeg(0)[:-200], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    ids=["empty", "text", "header", "cut", "eps"],
)
def test_what_is_no_picture_is_named(data):
    with pytest.raises(UserError, match=r"The picture dog\.jpg .*cannot be read.*Replace it"):
        open_picture(data, "dog.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000)])
def test_a_decompression_bomb_is_not_unpacked(size):
    with pytest.raises(UserError, match="The picture bomb.png"):
        open_picture(bomb(*size), "bomb.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.jpg cannot be opened"):
        read_picture(tmp_path / "gone.jpg")


def test_files_are_read_when_asked_for(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    files = PictureFiles([tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert len(files) == 2
    assert files[0].size == (48, 36)
    with pytest.raises(UserError, match=r"b\.jpg"):
        files[1]

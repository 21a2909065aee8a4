"""An image comes upright and RGB, or as a sentence that names it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.copies import jpeg, picture
from userlib.data import pictures
from userlib.data.pictures import MAX_RATIO, PictureFiles, open_picture, read_picture, to_rgb
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


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
GREY = Image.fromarray(RAMP)
DEEP = RAMP.astype(np.uint16) * 257  # the same greys with 16 bits


def lab():
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(GREY.convert("RGB"), *profiles, outputMode="LAB")


def twelve_bits():
    """A TIFF of 12 bits a pixel, packed, which Pillow reads and does not write."""
    values = (RAMP.astype(int) * 4095 + 127) // 255
    first, second = values.reshape(-1, 2).T
    packed = (
        np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()
    )
    tags = [
        (256, 16),
        (257, 16),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 122),
        (277, 1),
        (278, 16),
        (279, len(packed)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + b"\0\0\0\0" + packed


def white_is_zero():
    """The 16-bit TIFF with its greys turned round, and the tag that says so."""
    data = encoded(Image.fromarray(65_535 - DEEP), "TIFF")
    entry = struct.pack("<HHIH", 262, 3, 1, 1)
    assert data.count(entry) == 1
    return data.replace(entry, struct.pack("<HHIH", 262, 3, 1, 0))


@pytest.mark.parametrize(
    "data",
    [
        lambda: encoded(Image.fromarray(DEEP)),
        lambda: encoded(Image.fromarray(DEEP), "TIFF"),
        lambda: encoded(Image.fromarray(DEEP), "JPEG2000"),
        lambda: encoded(Image.fromarray(DEEP), "PPM"),
        lambda: encoded(Image.fromarray(DEEP.astype(">u2")), "TIFF"),
        lambda: encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        lambda: encoded(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
        lambda: encoded(Image.fromarray(RAMP.astype(np.int32) * 1_000_000 - 5_000), "TIFF"),
        lambda: encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
        lambda: encoded(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"),
        lambda: encoded(Image.fromarray(DEEP.astype(np.float32)), "TIFF"),
        lambda: encoded(Image.fromarray(RAMP.astype(np.float32) / 10 - 3), "TIFF"),
        lambda: encoded(Image.fromarray((RAMP / 255).astype(np.float32)), "PPM"),
        lambda: encoded(lab(), "TIFF"),
        lambda: encoded(GREY.convert("RGB").convert("YCbCr"), "TIFF"),
        lambda: encoded(GREY.convert("RGB").convert("CMYK"), "TIFF"),
        lambda: encoded(GREY.convert("LA"), "PNG"),
        lambda: encoded(GREY.convert("RGB").quantize(256, dither=Image.Dither.NONE), "PNG"),
        lambda: encoded(GREY, "BMP"),
        lambda: encoded(GREY, "PPM"),
        lambda: encoded(GREY, "AVIF", quality=100),
        lambda: encoded(GREY, "WEBP", lossless=True),
        lambda: encoded(GREY, "GIF"),
        twelve_bits,
        white_is_zero,
    ],
)
def test_every_depth_and_colour_space_keeps_its_greys(data):
    image = np.asarray(open_picture(data(), "a"), int)
    assert image.shape == (16, 16, 3)
    assert np.abs(image - RAMP[..., None]).max() <= 3


@pytest.mark.parametrize("mode", ["HSV", "RGBX", "RGBa", "La", "PA", "I;16B"])
def test_modes_that_no_file_here_has(mode):
    if mode == "I;16B":
        image = Image.frombytes("I;16B", (16, 16), DEEP.astype(">u2").tobytes())
    elif mode == "PA":
        image = GREY.convert("RGB").quantize(256, dither=Image.Dither.NONE).convert("PA")
    else:
        image = GREY.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")).convert(mode)
    assert np.abs(np.asarray(to_rgb(image), int) - RAMP[..., None]).max() <= 2


def test_black_of_sixteen_bits_stays_black():
    dim = np.full((4, 4), 2_000, np.uint16)
    assert open_picture(encoded(Image.fromarray(dim)), "a").getpixel((0, 0)) == (8, 8, 8)


def test_sixteen_bits_of_ppm_stay_black_too():
    dim = encoded(Image.fromarray(np.full((4, 4), 200, np.uint16)), "PPM")
    assert open_picture(dim, "a").getpixel((0, 0)) == (1, 1, 1)


def test_a_palette_keeps_its_colours():
    red = Image.new("P", (2, 2))
    red.putpalette([255, 0, 0])
    assert open_picture(encoded(red), "a").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_a_narrow_range_of_a_wide_type_is_spread(kind):
    """As a thermal camera has, in kelvin."""
    values = np.linspace(273, 300, 256).reshape(16, 16).astype(kind)
    greys = np.asarray(open_picture(encoded(Image.fromarray(values), "TIFF"), "a"))[..., 0]
    assert (greys[0, 0], greys[-1, -1]) == (0, 255)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_float_image_of_one_value(value):
    flat = Image.fromarray(np.full((4, 4), value, np.float32))
    expected = 255 if value else 0
    assert open_picture(encoded(flat, "TIFF"), "a").getpixel((0, 0)) == (expected,) * 3


def test_nan_is_named():
    holes = Image.fromarray(np.full((4, 4), np.nan, np.float32))
    with pytest.raises(UserError, match=r"a\.tif .*NaN"):
        open_picture(encoded(holes, "TIFF"), "a.tif")


def clear_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return encoded(image, transparency=0)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size, bits, colour, *chunks):
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*one) for one in [(b"IHDR", header), *chunks, (b"IEND", b"")]
    )


def clear(bits, colour, value, row):
    """A PNG of 4 x 1 pixels with a transparent value, as optimisers write it and Pillow does not."""
    return png((4, 1), bits, colour, (b"tRNS", value), (b"IDAT", zlib.compress(b"\0" + row)))


@pytest.mark.parametrize(
    "data",
    [
        clear_palette,
        lambda: clear(2, 0, b"\0\1", b"\x5a"),
        lambda: clear(4, 0, b"\0\5", b"\x55\x22"),
        lambda: clear(16, 2, b"\x12\x34\x56\x78\x9a\xbc", b"\x12\x34\x56\x78\x9a\xbc" * 3 + bytes(6)),
        lambda: encoded(Image.fromarray(np.array([[7, 65_535]], np.uint16)), transparency=7),
        lambda: encoded(Image.fromarray(np.array([[7, 9]], np.uint8)), transparency=7),
        lambda: encoded(Image.fromarray(np.array([[[9, 0], [9, 255]]], np.uint8), "LA")),
        lambda: encoded(
            Image.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8)), "WEBP", lossless=True
        ),
    ],
    ids=["P", "2 bits", "4 bits", "RGB;16", "I;16", "L", "LA", "RGBA"],
)
def test_what_is_transparent_is_white_in_every_mode(data):
    image = open_picture(data(), "a")
    assert image.getpixel((0, 0)) == (255, 255, 255)
    if image.width == 4:
        assert image.getpixel((3, 0)) != (255, 255, 255)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_all_eight_orientations(kind, turn):
    corner = Image.new("RGB", (64, 32), "white")
    corner.paste((0, 0, 0), (0, 0, 16, 16))  # black where the camera's top left was
    exif = Image.Exif()
    exif[0x0112] = turn
    image = open_picture(encoded(corner, kind, exif=exif), "a")
    assert image.size == ((32, 64) if turn > 4 else (64, 32))
    where = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[turn]
    x = 4 if where[1] == "l" else image.width - 5
    y = 4 if where[0] == "t" else image.height - 5
    assert max(image.getpixel((x, y))) < 60
    assert min(image.getpixel((image.width - 1 - x, image.height - 1 - y))) > 200


def test_damaged_exif_beside_whole_pixels():
    data = encoded(picture(0), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert open_picture(data, "a").size == (48, 36)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_of_several_frames_the_first(kind):
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    image = open_picture(encoded(red, kind, save_all=True, append_images=[blue]), "a").getpixel((9, 9))
    assert image[0] > 240 and image[2] < 15


@pytest.mark.parametrize(
    "data, words",
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pip install pillow-heif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "pip install pillow-heif"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video"),
        (b"\xff\x0a" + b"x" * 20, "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"PK\3\4", "ZIP"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "SVG"),
        (b"\n<!DOCTYPE html><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0" * 900, "zeros only"),
        (b"", r"empty \(0 bytes\)"),
        (b"words", "no image of a format"),
    ],
)
def test_what_it_is_in_place_of_an_image(data, words):
    pictures.formats.cache_clear()
    with pytest.raises(UserError, match=rf"The image dog\.jpg .*cannot be read: .*{words}"):
        open_picture(data, "dog.jpg")


def test_heic_is_read_where_its_package_is(monkeypatch):
    import sys
    from types import SimpleNamespace

    from PIL import ImageFile

    class Heif(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._mode, self._size = "RGB", (1, 1)
            self.tile = [("raw", (0, 0, 1, 1), 24, "RGB")]

    def register():
        Image.register_open("HEIF", Heif, lambda head: head[4:12] == b"ftypheic")

    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\1\2\3"
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    pictures.formats.cache_clear()
    try:
        assert open_picture(data, "a.heic").getpixel((0, 0)) == (1, 2, 3)
    finally:
        pictures.formats.cache_clear()


def test_a_thread_of_pixels_is_refused():
    assert open_picture(encoded(Image.new("L", (MAX_RATIO, 1))), "a").size == (MAX_RATIO, 1)
    with pytest.raises(UserError, match=rf"line\.png has 1 x {MAX_RATIO + 1} pixels"):
        open_picture(encoded(Image.new("L", (1, MAX_RATIO + 1))), "line.png")


def test_the_most_pixels_are_taken_and_one_more_is_not(monkeypatch):
    monkeypatch.setattr("userlib.data.pictures.MAX_PIXELS", 12)
    assert open_picture(encoded(Image.new("L", (4, 3))), "a").size == (4, 3)
    with pytest.raises(UserError, match=r"many\.png would unpack to 13 pixels, more than the 12"):
        open_picture(encoded(Image.new("L", (13, 1))), "many.png")


def test_a_name_that_is_no_text_is_shown_escaped():
    with pytest.raises(UserError, match=r"caf\\xe9\.jpg") as error:
        open_picture(b"", b"caf\xe9.jpg".decode("utf-8", "surrogateescape"))
    str(error.value).encode("utf-8")


def bomb(width=60_000, height=60_000):
    """A PNG of a few bytes that says it holds 3.6 thousand million pixels."""
    return png((width, height), 8, 0, (b"IDAT", zlib.compress(b"\0" * 100)))


@pytest.mark.parametrize(
    "data",
    [b"", b"no picture", jpeg(0)[:300], jpeg(0)[:-200], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    ids=["empty", "text", "header", "cut", "eps"],
)
def test_what_is_no_picture_is_named(data):
    with pytest.raises(UserError, match=r"The image dog\.jpg .*cannot be read.*Replace it"):
        open_picture(data, "dog.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000)])
def test_a_decompression_bomb_is_not_unpacked(size):
    with pytest.raises(UserError, match="The image bomb.png"):
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

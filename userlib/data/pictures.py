"""Opening an image from bytes: RGB with 8 bits per channel, upright, and of limited size. Every reader of image bytes
uses `open_picture`, so that all see the same pixels.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from userlib.errors import UserError
from userlib.files import shown

MAX_PIXELS = 89_478_485  # Pillow's own warning level; here it is an error
MAX_RATIO = 250  # long to short side: networks scale the short one up, and the long one with it
# Nothing that starts another program, as EPS would. JPEG also opens MPO, the format of stereo and phone cameras.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .avif .gif .bmp .dib .tif .tiff .jp2 .j2k .j2c .jpf .jpx .jpc .ppm "
    ".pgm .pbm .pnm .pfm".split()
)
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
HEIF = "HEIC needs one more package: `pip install pillow-heif`, or save it as JPEG"
AVIF = "AVIF needs Pillow 11.3 or newer: `pip install --upgrade pillow`, or save it as JPEG"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read on this machine: HEIC where pillow-heif is installed, AVIF where Pillow has it."""
    Image.init()
    with suppress(Exception):  # absent, or a build for another machine: HEIC is then refused by name
        import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in (*FORMATS, "HEIF") if name in Image.OPEN)


def open_picture(data: bytes, name: str) -> Image.Image:
    """The image in `data` as RGB, turned as its EXIF orientation says, transparency on white; of an animation the first
    frame. `name` is for the error.

    Raises UserError where the bytes are no image or are cut short, and for more than MAX_PIXELS pixels or a long side
    of more than MAX_RATIO times the short one.
    """
    name = shown(name)
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as picture:
            pixels = picture.width * picture.height
            if pixels > MAX_PIXELS:
                raise UserError(
                    f"The image {name} would unpack to {pixels:,} pixels, more than the {MAX_PIXELS:,} allowed. "
                    "Scale it down or remove it."
                )
            if max(picture.size) > MAX_RATIO * min(picture.size):
                raise UserError(
                    f"The image {name} has {picture.width} x {picture.height} pixels; its long side may be "
                    f"{MAX_RATIO} times the short one at most. Crop it or remove it."
                )
            return upright(picture)
    except UserError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds on damaged files
        why = str(error) or type(error).__name__
        if isinstance(error, (UnidentifiedImageError, SyntaxError)):
            why = (
                named(data[:512]) or f"it is no image of a format that is read here ({', '.join(formats())})"
            )
        if not data:
            why = "it is empty (0 bytes)"
        raise UserError(
            f"The image {name} ({len(data):,} bytes) cannot be read: {why}. Replace it by a whole JPEG, PNG or WebP, "
            "or remove it together with its captions."
        ) from error


def upright(picture: Image.Image) -> Image.Image:
    """An image as RGB (`to_rgb`), turned as its EXIF orientation says, and without it."""
    image, turn = to_rgb(picture), None
    with suppress(Exception):  # damaged EXIF with whole pixels
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    image = image if turn is None else image.transpose(turn)
    image.info = {}  # else what is turned here would be turned again
    return image


def to_rgb(picture: Image.Image) -> Image.Image:
    """An image of any pixel mode as RGB with 8 bits per channel; what is transparent becomes white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _deep(picture)
    if picture.mode == "LAB":
        from PIL import ImageCms

        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, lab, rgb, outputMode="RGB")
        assert converted is not None  # None is for inPlace alone
        return converted
    if picture.has_transparency_data:
        if picture.mode == "La":
            picture = picture.convert("LA")
        raw = next((tile[3] for tile in getattr(picture, "tile", ())), None)  # the file's own pixels
        if raw in ("L;2", "L;4", "RGB;16B"):  # in whose scale Pillow leaves the clear colour
            clear, picture = picture.info["transparency"], picture.copy()
            deep = raw == "RGB;16B"
            picture.info["transparency"] = (
                tuple(value >> 8 for value in clear) if deep else clear * (85 if raw == "L;2" else 17)
            )
        layered = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    return picture.convert("RGB")


def _deep(picture: Image.Image) -> Image.Image:
    """Grey values of more than 8 bits, scaled to 0..255; Pillow's own conversion clips them at 255.

    16 bits have the range of 16 bits. For 32 bits and floats no file gives the range: it is taken to be the smallest of
    0 to 1 (floats), 0 to 255 and 0 to 65,535 (32 bits, where a value has more than 12) that holds all values, else from
    their minimum to their maximum.
    """
    values = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite pixel values; write finite values in their place")
    low, high = 0.0, 65_535.0
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(258, (16,))  # TIFF's BitsPerSample
    if picture.mode.startswith("I;16") and bits[0] < 16:
        high = 2.0 ** bits[0] - 1
    elif not picture.mode.startswith("I;16") and picture.format not in ("PNG", "PPM", "JPEG2000"):
        tops = (1.0, 255.0) if picture.mode == "F" else (255.0, high) if values.max() > 4_095 else (255.0,)
        fits = [top for top in tops if values.min() >= 0 and values.max() <= top]
        low, high = (0.0, fits[0]) if fits else (float(values.min()), float(values.max()))
    elif picture.mode == "F":
        high = max(1.0, float(values.max()))  # PFM
    grey = np.clip((values - low) / max(high - low, 1e-30) * 255, 0, 255)
    if tags.get(262) == 0:  # TIFF's PhotometricInterpretation: white is zero
        grey = 255 - grey
    if isinstance(clear := picture.info.get("transparency"), int):
        grey[values == clear] = 255
    return Image.fromarray(np.round(grey).astype(np.uint8)).convert("RGB")


SIGNS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\x0a", "it is JPEG XL, which is not read"),
    (b"\0\0\0\x0cJXL ", "it is JPEG XL, which is not read"),
    (b"%PDF", "it is a PDF document"),
    (b"%!PS", "it is PostScript, which is not read"),
    (b"8BPS", "it is a Photoshop document"),
    (b"PK\x03\x04", "it is a ZIP archive"),
    (b"\x1f\x8b", "it is a gzip archive"),
    (b"version https://git-lfs", "it is a Git LFS pointer in place of the image; run `git lfs pull`"),
)


def named(head: bytes) -> str:
    """A clause on what the file is that begins with `head` and could not be opened as an image; "" where unknown."""
    for sign, what in SIGNS:
        if head.startswith(sign):
            return what
    if head[4:8] == b"ftyp":
        brands = head[8 : max(12, int.from_bytes(head[:4], "big"))]
        if any(brand in brands for brand in (b"avif", b"avis")):
            return "its AVIF data are damaged" if "AVIF" in formats() else AVIF
        if any(brand in brands for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")):
            return "its HEIC data are damaged" if "HEIF" in formats() else HEIF
        return "it is a video"
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if b"<svg" in text:
        return "it is SVG, a drawing without pixels"
    if text.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, such as a failed download leaves"
    return "it holds zeros only" if not head.strip(b"\0") else ""


def read_picture(path: Path) -> Image.Image:
    """`open_picture` of a file. Raises UserError also for a file that cannot be opened."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The image {shown(path)} cannot be opened: {error.strerror}. Put it back, or remove its captions."
        ) from error
    return open_picture(data, str(path))


class PictureFiles:
    """Images in files, read on access. Satisfies `Pictures`. below: the folder that they all lie in, given where the
    split's fingerprint does not cover their content.
    """

    def __init__(self, paths: Sequence[Path], *, below: Path | None = None) -> None:
        self.paths, self.below = tuple(paths), below

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Image.Image:
        return read_picture(self.paths[i])

"""Images that people bring: what is taken, and the sentence where it is not."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.usercourse.demo.vast import vast_png
from usercourse.demo.uploads import LONGEST, MAX_BYTES, open_upload
from userlib.errors import UserError

RED = Image.new("RGB", (40, 20), (220, 30, 30))


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def near(picture, colour):
    return np.abs(np.asarray(picture, float).mean((0, 1)) - colour).max() < 12


def test_cmyk_and_animated():
    assert near(open_upload(encoded(RED.convert("CMYK"), "JPEG"), "a.jpg"), (220, 30, 30))
    moving = encoded(RED, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 20), "blue")])
    assert near(open_upload(moving, "a.gif"), (220, 30, 30))


def test_sixteen_bits_are_scaled_not_cut_off():
    ramp = np.linspace(0, 65_535, 256 * 4).reshape(4, 256).astype(np.uint16)
    image = np.asarray(open_upload(encoded(Image.fromarray(ramp)), "deep.png"))
    assert image.shape == (4, 256, 3)
    assert image[0, 0, 0] == 0
    assert image[-1, -1, 0] == 255
    assert 100 < image.mean() < 155


def test_a_photo_taken_sideways_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_upload(encoded(RED, "JPEG", exif=exif), "a.jpg").size == (20, 40)


def test_a_large_picture_is_scaled_down():
    assert open_upload(encoded(Image.new("RGB", (3000, 1500))), "a.png").size == (LONGEST, LONGEST // 2)


def test_six_megabytes_are_taken_and_one_byte_more_is_not():
    picture = encoded(RED)
    assert open_upload(picture + b"\0" * (MAX_BYTES - len(picture)), "a.png").size == (40, 20)
    with pytest.raises(UserError, match="at most 6 MB"):
        open_upload(b"\0" * (MAX_BYTES + 1), "a.png")


@pytest.mark.parametrize(
    "data", [b"", b"words in a file", encoded(RED, "JPEG")[:-200]], ids=["empty", "text", "cut"]
)
def test_what_is_no_picture(data):
    with pytest.raises(UserError, match=r"The image my <b>dog</b>\.jpg .*cannot be read"):
        open_upload(data, "my <b>dog</b>.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_400_million_pixels():
    with pytest.raises(UserError, match="vast.png .*400000000 pixels"):
        open_upload(vast_png(), "vast.png")

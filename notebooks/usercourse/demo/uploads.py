"""Opening an image that a user uploads, within limits on its size."""

import re

from PIL import Image

from userlib.data.pictures import open_picture
from userlib.errors import UserError

MAX_BYTES = 6 * 2**20  # a notebook's connection reliably transmits this; the page refuses more
LONGEST = 1_024  # pixels per side that are kept; the models need far fewer


def open_upload(data: bytes, name: str) -> Image.Image:
    """The image in an upload: RGB, upright, its first frame, at most LONGEST pixels per side.

    `name` is for errors. Raises UserError where the file is too large, not an image, truncated, or would unpack to too
    many pixels.
    """
    called = re.sub(r"\s+", " ", name)[:80] or "without a name"
    if len(data) > MAX_BYTES:
        raise UserError(
            f"The file {called} has {len(data) / 2**20:.1f} MB; at most {MAX_BYTES // 2**20} MB can be sent. "
            "Scale the image down."
        )
    picture = open_picture(data, called)
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return picture

"""A picture that somebody brings: how large it may be, and what is done with depths that screens do not have."""

import io
import re

import numpy as np
from PIL import Image

from userlib.data.pictures import open_picture
from userlib.errors import UserError

MAX_BYTES = 6 * 2**20  # what a notebook's connection passes on for certain; the page refuses more
LONGEST = 1_024  # pixels a side that are kept; the models look at far fewer


def open_upload(data: bytes, name: str) -> Image.Image:
    """The picture in an upload: RGB, upright, its first frame, at most LONGEST pixels a side.

    `name` is told in errors, shortened. Raises UserError where the data are too many, no picture, cut short,
    or would unpack to too many pixels.
    """
    called = re.sub(r"\s+", " ", name)[:80] or "without a name"
    if len(data) > MAX_BYTES:
        raise UserError(
            f"The file {called} has {len(data) / 2**20:.1f} MB; at most {MAX_BYTES // 2**20} MB can be sent. "
            "Scale the picture down."
        )
    picture = open_picture(data, called)
    with Image.open(io.BytesIO(data)) as raw:
        if raw.mode.startswith("I"):  # 16 bits a pixel, which a plain conversion cuts off at 255
            raw.seek(0)
            deep = np.asarray(raw).astype(np.float64)
            picture = Image.fromarray((deep / max(deep.max(), 1.0) * 255).astype(np.uint8)).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return picture

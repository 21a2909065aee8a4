"""A folder of photos with captions as people have them, made from the sample photos where the reader names none.

Each image is a crop of a sample photo, so that a model learns little from them; the folder shows how to use one of your
own.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ImageEnhance

from usercourse.photos import Photo
from userlib.data.sources import load_data
from userlib.errors import UserError

WHAT = {
    "astronaut": "a woman in an orange suit in front of a flag",
    "brick": "a wall of bricks",
    "camera": "a man with a camera on a tripod",
    "chelsea": "a brown cat",
    "clock_motion": "a blurred clock on a wall",
    "coffee": "a cup of coffee on a wooden table",
    "coins": "rows of old coins",
    "grass": "long grass",
    "gravel": "small grey stones",
    "hubble_deep_field": "stars and galaxies in the dark sky",
    "moon": "craters on the moon",
    "motorcycle_left": "a motorcycle in a garage",
    "retina": "the inside of an eye",
    "rocket": "a rocket with fire and smoke at night",
    "china": "a temple with a curved roof",
    "flower": "a pink flower with green leaves",
}
SIDES = ("left", "right")
LIGHTS = {"dark": 0.55, "bright": 1.35}


def first_captions(folder: Path, count: int = 5) -> str:
    """The first captions of a folder, each with its image's name, whatever the format of its captions file. Raises
    UserError for a folder without captions, on which nothing can be trained.
    """
    split = next(iter(load_data(str(folder)).splits.values()))
    if not split.captions:
        raise UserError(
            f"The folder {folder} has photos but no captions, so that it can be searched, but no model can be trained "
            "on it. Add a captions.csv with the columns filename,caption."
        )
    pairs = zip(split.caption_to_image[:count], split.captions[:count], strict=True)
    return "\n".join(f"{split.ids[int(i)]}: {caption}" for i, caption in pairs)


def licences(album: Sequence[Photo], count: int = 60) -> dict[str, str]:
    """The licence of each file of `write_folder`, which is that of the cropped photo: {file: licence}."""
    return {f"{i:03d}.jpg": album[i % len(album)].licence for i in range(count)}


def write_folder(folder: Path, album: Sequence[Photo], count: int = 60, seed: int = 0) -> Path:
    """Writes `count` crops as JPEG files, and a captions.csv with two captions each and no splits; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lines = ["filename,caption"]
    for i in range(count):
        photo = album[i % len(album)]
        side, light = SIDES[int(rng.integers(2))], list(LIGHTS)[int(rng.integers(2))]
        width, height = photo.image.size
        wide = int(width * rng.uniform(0.6, 0.8))
        left = int(rng.uniform(0, 0.1) * width) if side == "left" else width - wide
        crop = photo.image.crop((left, 0, left + wide, height)).resize((240, 240))
        file = f"{i:03d}.jpg"
        ImageEnhance.Brightness(crop).enhance(LIGHTS[light]).save(folder / file, quality=85)
        what = WHAT[photo.name]
        lines += [f"{file},{what}", f"{file},a {light} photo of the {side} part of {what}"]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder

"""The settings by name, which of them are only in pretrain, and the background of an image."""

from __future__ import annotations

from collections.abc import Callable

from PIL.Image import Transpose

from .canvas import Canvas
from .landscapes import beach, desert, farm, forest, garden, lake, mountains, park
from .rng import Rng
from .rooms import ROOMS
from .sky import sky
from .townscapes import castle, city, moon, playground, street

# Kinds that belong to a setting: no caption counts or describes them, but facts include that they are there.
SCENERY = {"forest": ("tree",), "park": ("tree",), "garden": ("flower",)}

Painter = Callable[[Canvas, Rng, str, str], None]
OUTDOOR: dict[str, Painter] = {
    "beach": beach, "park": park, "street": street, "forest": forest, "farm": farm, "mountains": mountains,
    "desert": desert, "lake": lake, "garden": garden, "playground": playground, "city": city, "moon": moon,
    "castle": castle,
}  # fmt: skip
EXTRA_SETTINGS = ("moon", "castle", "circus")  # only in pretrain
TRAIN_SETTINGS = tuple(s for s in (*OUTDOOR, *ROOMS) if s not in EXTRA_SETTINGS)
WATER = ("beach", "lake")


def background(setting: str, time: str, weather: str, appearance_seed: int, *, mirror: bool) -> Canvas:
    """A canvas with the setting painted on it, ready for things."""
    rng = Rng(f"background {appearance_seed}")
    if setting in ROOMS:
        canvas = ROOMS[setting](rng, time)
    else:
        canvas = sky(time, weather or "sunny", rng)  # the moon has no weather
        OUTDOOR[setting](canvas, rng, time, weather)
    return Canvas(canvas.image.transpose(Transpose.FLIP_LEFT_RIGHT)) if mirror else canvas

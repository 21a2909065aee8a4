"""Sky, light and weather: the background of every outdoor image, and what is drawn over it at the end."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from .canvas import CANVAS, SIZE, Canvas, Rgb, mix
from .rng import Rng

TIMES = ("day", "sunset", "night")
WEATHERS = ("sunny", "cloudy", "rainy", "snowy", "foggy")

# The colours at the top and at the horizon of the sky, before the light of the time of day is applied.
_SKIES: dict[tuple[str, str], tuple[Rgb, Rgb]] = {
    ("day", "sunny"): ((96, 176, 240), (206, 234, 250)),
    ("day", "cloudy"): ((150, 178, 204), (214, 224, 232)),
    ("day", "rainy"): ((112, 130, 152), (176, 190, 202)),
    ("day", "snowy"): ((168, 184, 204), (226, 232, 240)),
    ("day", "foggy"): ((186, 198, 208), (226, 230, 234)),
    ("sunset", "sunny"): ((112, 104, 190), (255, 176, 110)),
    ("sunset", "cloudy"): ((126, 108, 160), (246, 170, 130)),
    ("sunset", "rainy"): ((104, 96, 132), (206, 150, 136)),
    ("sunset", "snowy"): ((146, 132, 176), (250, 196, 170)),
    ("sunset", "foggy"): ((178, 156, 176), (248, 206, 176)),
    ("night", "sunny"): ((24, 30, 78), (84, 96, 160)),
    ("night", "cloudy"): ((36, 42, 80), (92, 100, 146)),
    ("night", "rainy"): ((30, 36, 64), (78, 86, 120)),
    ("night", "snowy"): ((52, 60, 104), (120, 130, 172)),
    ("night", "foggy"): ((66, 72, 104), (124, 130, 156)),
}
_LIGHT = {
    "day": (1.0, 1.0, 1.0),
    "sunset": (1.04, 0.92, 0.82),
    "night": (0.66, 0.70, 0.92),
    "lamplight": (0.82, 0.76, 0.72),
}


@functools.lru_cache(maxsize=64)
def gradient(top: Rgb, low: Rgb, until: int = 150) -> Image.Image:
    """A canvas that runs from `top` to `low` at row `until`; copy it before drawing on it."""
    rows = np.clip(np.arange(CANVAS) / until, 0, 1)[:, None] ** 0.9
    strip = np.array(top) + (np.array(low) - np.array(top)) * rows
    return Image.fromarray(strip.astype(np.uint8)[:, None, :]).resize((CANVAS, CANVAS))


def sky(time: str, weather: str, rng: Rng) -> Canvas:
    """A new canvas with sky, sun or moon, stars and clouds."""
    top, low = _SKIES[(time, weather)]
    canvas = Canvas(gradient(top, low).copy())
    d, blend = canvas.opaque, canvas.blend
    x = rng.between(30, 226)
    if time == "night":
        if weather in ("sunny", "snowy"):
            for _ in range(22):
                sx, sy, r = rng.between(0, 256), rng.between(0, 118), rng.pick((0.6, 1.0, 1.5))
                d.ellipse((sx - r, sy - r, sx + r, sy + r), fill=(252, 250, 226))
        if weather in ("sunny", "cloudy"):
            y = rng.between(20, 46)
            blend.ellipse((x - 26, y - 26, x + 26, y + 26), fill=(240, 240, 220, 34))
            d.ellipse((x - 14, y - 14, x + 14, y + 14), fill=(250, 246, 214))
            if rng.chance(0.5):
                d.ellipse((x - 6, y - 17, x + 20, y + 11), fill=mix(top, low, y / 150))
            else:
                d.ellipse((x - 7, y - 5, x - 2, y), fill=(228, 222, 190))
                d.ellipse((x + 2, y + 3, x + 6, y + 7), fill=(228, 222, 190))
    elif weather == "sunny" or (weather == "cloudy" and time == "sunset"):
        y = rng.between(22, 50) if time == "day" else rng.between(96, 122)
        r = 15 if time == "day" else 22
        glow = (255, 244, 170) if time == "day" else (255, 190, 110)
        for k in (2.4, 1.7):
            blend.ellipse((x - r * k, y - r * k, x + r * k, y + r * k), fill=(*glow, 60))
        d.ellipse((x - r, y - r, x + r, y + r), fill=(255, 236, 120) if time == "day" else (255, 150, 80))
    if weather != "foggy":
        number = {"sunny": 2, "cloudy": 6, "rainy": 6, "snowy": 4}[weather]
        if time == "night":
            number //= 2
        white: Rgb = {
            "sunny": (255, 255, 255),
            "cloudy": (232, 238, 244),
            "rainy": (138, 148, 164),
            "snowy": (222, 228, 238),
        }[weather]
        tone = mix(low, white, 0.75 if time == "day" else 0.3)
        for _ in range(number):
            _cloud(canvas, rng.between(0, 256), rng.between(14, 88), rng.between(9, 17), tone)
    return canvas


def _cloud(canvas: Canvas, x: float, y: float, r: float, tone: Rgb) -> None:
    under = mix(tone, (110, 120, 150), 0.18)
    d = canvas.opaque
    d.ellipse((x - 2.2 * r, y - 0.5 * r, x + 2.2 * r, y + 0.75 * r), fill=under)
    for dx, dy, k in ((-1.1, -0.1, 0.75), (0.0, -0.45, 1.0), (1.1, -0.1, 0.8)):
        d.ellipse((x + (dx - k) * r, y + (dy - k) * r, x + (dx + k) * r, y + (dy + k * 0.8) * r), fill=tone)


def weather_over(canvas: Canvas, weather: str, rng: Rng) -> None:
    """Rain, snow or fog in front of everything; thin enough to leave things recognisable."""
    if weather == "rainy":
        slant = rng.between(-7, 7)
        for _ in range(46):
            x, y = rng.between(-8, 264), rng.between(-8, 250)
            length = rng.between(0.7, 1.3)
            canvas.blend.line((x, y, x + slant * length, y + 15 * length), fill=(226, 236, 250, 140), width=2)
    elif weather == "snowy":
        for _ in range(64):
            x, y, r = rng.between(0, 256), rng.between(0, 256), rng.pick((1.2, 1.7, 2.5))
            canvas.opaque.ellipse((x - r, y - r, x + r, y + r), fill=(254, 254, 255))
    elif weather == "foggy":
        for y0, y1, a in ((96, 132, 46), (118, 164, 46), (150, 214, 30)):
            shift = rng.between(-60, 60)
            canvas.blend.ellipse((-90 + shift, y0, 346 + shift, y1), fill=(232, 236, 240, a))
        canvas.blend.rectangle((0, 0, CANVAS, CANVAS), fill=(226, 230, 234, 44))


@functools.lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """16 tiles of faint noise, (16, SIZE, SIZE, 1) int16."""
    noise = np.random.Generator(np.random.PCG64(20)).normal(0, 1.8, (16, SIZE, SIZE, 1))
    return np.round(noise).astype(np.int16)


@functools.lru_cache(maxsize=256)
def _table(time: str, level: int) -> list[int]:
    """The table for Image.point: the light of the time of day at a brightness of `level` percent."""
    return [min(255, int(v * k * level / 100)) for k in _LIGHT[time] for v in range(256)]


def develop(canvas: Canvas, time: str, light: float, rng: Rng) -> Image.Image:
    """The finished image: halved in size, in the light of the time of day (or "lamplight", indoors at night),
    with grain."""
    small = canvas.image.reduce(CANVAS // SIZE).point(_table(time, round(light * 100)))
    pixels = np.asarray(small, dtype=np.int16) + _grain()[rng.below(16)]
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))

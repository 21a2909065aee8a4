"""The ground of outdoor settings: fields, hills, grass, and how snow changes their colour."""

from __future__ import annotations

from .canvas import CANVAS, Canvas, Rgb, mix, shade
from .rng import Rng
from .sky import gradient

SNOW: Rgb = (240, 245, 250)


def ground(weather: str, rgb: Rgb) -> Rgb:
    return mix(rgb, SNOW, 0.72) if weather == "snowy" else rgb


def field_from(canvas: Canvas, y: int, top: Rgb, low: Rgb) -> None:
    """Ground from row y down to the lower edge, whose colour runs from `top` to `low`."""
    strip = gradient(top, low, 110).crop((0, 0, CANVAS, CANVAS - y))
    canvas.image.paste(strip, (0, y))


def hills(canvas: Canvas, rng: Rng, y: float, rgb: Rgb, *, number: int = 3, tall: float = 34) -> None:
    for i in range(number):
        x = (i + rng.between(0.2, 0.8)) * CANVAS / number
        w, h = rng.between(70, 110), rng.between(tall * 0.6, tall)
        tone = shade(rgb, rng.between(0.92, 1.08))
        canvas.opaque.ellipse((x - w, y - h, x + w, y + h), fill=tone)


def tufts(canvas: Canvas, rng: Rng, rgb: Rgb, *, top: int = 170, number: int = 9) -> None:
    for _ in range(number):
        x, y = rng.between(0, 256), rng.between(top, 252)
        for dx in (-3, 0, 3):
            canvas.opaque.line((x, y, x + dx, y - 7), fill=rgb, width=2)

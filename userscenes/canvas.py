"""A pen that draws outlined flat shapes in a thing's own coordinates, and the paints it uses.

A thing is drawn in units of its own height: x to the right, y upwards, the ground at y = 0, the thing
facing right. The pen places those units on a square canvas of `CANVAS` pixels (y downwards) and mirrors them
where the thing faces left. With `ink` set, every shape has that value instead of its colour, and shading is
left out, so that the same code draws the masks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

CANVAS = 256  # pixels per side while drawing; an image is half of it
SIZE = 128  # pixels per side of a finished image

Rgb = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Rgb] = {
    "red": (219, 56, 52), "orange": (242, 142, 38), "yellow": (250, 212, 62), "green": (78, 166, 82),
    "blue": (58, 116, 212), "purple": (136, 82, 184), "pink": (246, 146, 184), "brown": (142, 94, 58),
    "black": (54, 53, 62), "white": (247, 245, 240), "grey": (148, 153, 163),
    "turquoise": (56, 194, 188), "lime": (180, 222, 60), "maroon": (126, 30, 54),
}  # fmt: skip
PATTERNS = ("striped", "spotted", "checked", "zigzag")


def shade(rgb: Rgb, k: float) -> Rgb:
    """`rgb` darkened (k < 1, black at 0) or lightened (k > 1, white at 2)."""
    if k <= 1:
        return int(rgb[0] * k), int(rgb[1] * k), int(rgb[2] * k)
    k -= 1
    r, g, b = rgb
    return int(r + (255 - r) * k), int(g + (255 - g) * k), int(b + (255 - b) * k)


def mix(a: Rgb, b: Rgb, k: float) -> Rgb:
    """`a` at k = 0, `b` at k = 1, linear between."""
    return int(a[0] + (b[0] - a[0]) * k), int(a[1] + (b[1] - a[1]) * k), int(a[2] + (b[2] - a[2]) * k)


@functools.lru_cache(maxsize=128)
def tile(pattern: str, colour: str) -> Image.Image:
    """A canvas filled with the pattern in the colour and white (for the colour white, in white and grey)."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    if pattern == "striped":
        second = (x // 6) % 2 == 1
    elif pattern == "checked":
        second = ((x // 7) + (y // 7)) % 2 == 1
    elif pattern == "zigzag":
        second = ((y + np.abs(x % 16 - 8)) // 6) % 2 == 1
    else:  # spotted: dots, every second row moved by half a step
        row = y // 12
        second = ((x + 6 * (row % 2)) % 12 - 6) ** 2 + (y % 12 - 6) ** 2 < 14
    base = COLOURS[colour]
    other = (140, 146, 160) if colour == "white" else (250, 248, 244)
    return Image.fromarray(np.where(second[:, :, None], np.array(other, np.uint8), np.array(base, np.uint8)))


@dataclass(frozen=True)
class Paint:
    """The colour of a thing's main part: one rgb, and a tile where it is patterned."""

    rgb: Rgb
    tile: Image.Image | None = None

    def shade(self, k: float) -> Rgb:
        return shade(self.rgb, k)


Fill = Rgb | Paint


class Canvas:
    """An image with two ways to draw on it: opaque, and with an alpha that blends."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.opaque = ImageDraw.Draw(image)
        self.blend = ImageDraw.Draw(image, "RGBA") if image.mode == "RGB" else self.opaque


class Pen:
    """Draws one thing with its ground point at (x, y) in canvas pixels and `scale` pixels per unit."""

    def __init__(self, canvas: Canvas, x: float, y: float, scale: float, *, flip: bool = False,
                 ink: int | None = None) -> None:  # fmt: skip
        self.canvas = canvas
        self.d = canvas.opaque
        self.x, self.y, self.s = x, y, scale
        self.sx = -scale if flip else scale
        self.ink = ink
        self.edge = 2 if scale > 34 else 1

    def at(self, points: Sequence[Point]) -> list[Point]:
        x, y, sx, s = self.x, self.y, self.sx, self.s
        return [(x + sx * px, y - s * py) for px, py in points]

    def _tiled(self, shape: str, where: Sequence[Point] | tuple[float, ...], box: tuple[float, ...],
               paint: Paint, radius: float = 0) -> None:  # fmt: skip
        """Pastes the paint's tile into the shape; `where` and `box` are in canvas pixels."""
        left, top = int(box[0]) - 1, int(box[1]) - 1
        right, low = int(box[2]) + 2, int(box[3]) + 2
        mask = Image.new("1", (right - left, low - top))
        draw = ImageDraw.Draw(mask)
        if shape == "poly":
            draw.polygon([(px - left, py - top) for px, py in where], fill=1)  # type: ignore[misc]
        elif shape == "ell":
            draw.ellipse((box[0] - left, box[1] - top, box[2] - left, box[3] - top), fill=1)
        else:
            draw.rounded_rectangle((box[0] - left, box[1] - top, box[2] - left, box[3] - top), radius, fill=1)
        if paint.tile is not None:
            self.canvas.image.paste(paint.tile.crop((0, 0, right - left, low - top)), (left, top), mask)

    def ell(self, x: float, y: float, rx: float, ry: float, fill: Fill, *, edge: bool = True) -> None:
        cx, cy = self.x + self.sx * x, self.y - self.s * y
        rx, ry = rx * self.s, ry * self.s
        box = (cx - rx, cy - ry, cx + rx, cy + ry)
        if self.ink is not None:
            self.d.ellipse(box, fill=self.ink)
            return
        rgb: Rgb | None
        if isinstance(fill, Paint):
            rgb = fill.rgb
            line = shade(rgb, 0.62)
            if fill.tile is not None:
                self._tiled("ell", (), box, fill)
                rgb = None
        else:
            rgb, line = fill, shade(fill, 0.62)
        if edge:
            self.d.ellipse(box, fill=rgb, outline=line, width=self.edge)
        elif rgb is not None:
            self.d.ellipse(box, fill=rgb)

    def poly(self, points: Sequence[Point], fill: Fill, *, edge: bool = True) -> None:
        xy = self.at(points)
        if self.ink is not None:
            self.d.polygon(xy, fill=self.ink)
            return
        if isinstance(fill, Paint):
            line = shade(fill.rgb, 0.62)
            if fill.tile is not None:
                xs, ys = [p[0] for p in xy], [p[1] for p in xy]
                self._tiled("poly", xy, (min(xs), min(ys), max(xs), max(ys)), fill)
            else:
                self.d.polygon(xy, fill=fill.rgb)
        else:
            line = shade(fill, 0.62)
            self.d.polygon(xy, fill=fill)
        if edge:
            xy.append(xy[0])
            self.d.line(xy, fill=line, width=self.edge)

    def blob(self, x: float, y: float, rx: float, ry: float, turn: float, fill: Fill) -> None:
        """An ellipse turned by `turn` degrees anticlockwise."""
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        self.poly([(x + rx * a * c - ry * b * s, y + rx * a * s + ry * b * c) for a, b in _CIRCLE], fill)

    def rect(
        self, x0: float, y0: float, x1: float, y1: float, fill: Fill, *, r: float = 0.0, edge: bool = True
    ) -> None:
        """A rectangle with corners (x0, y0), (x1, y1) and corner radius r."""
        ax, bx = self.x + self.sx * x0, self.x + self.sx * x1
        ay, by = self.y - self.s * y0, self.y - self.s * y1
        box = (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))
        radius = r * self.s
        if self.ink is not None:
            self.d.rounded_rectangle(box, radius, fill=self.ink)
            return
        rgb: Rgb | None
        if isinstance(fill, Paint):
            rgb, line = fill.rgb, shade(fill.rgb, 0.62)
            if fill.tile is not None:
                self._tiled("rect", (), box, fill, radius)
                rgb = None
        else:
            rgb, line = fill, shade(fill, 0.62)
        outline = line if edge else None
        if radius < 1.5:
            self.d.rectangle(box, fill=rgb, outline=outline, width=self.edge)
        else:
            self.d.rounded_rectangle(box, radius, fill=rgb, outline=outline, width=self.edge)

    def limb(self, points: Sequence[Point], width: float, fill: Fill, *, edge: bool = True) -> None:
        """A thick line with round ends through the points."""
        xy = self.at(points)
        rgb = fill.rgb if isinstance(fill, Paint) else fill
        w = max(1.0, width * self.s)
        passes: list[tuple[float, Rgb | int]]
        if self.ink is not None:
            passes = [(w, self.ink)]
        elif edge and w > 3:
            passes = [(w, shade(rgb, 0.62)), (w - 2 * self.edge, rgb)]
        else:
            passes = [(w, rgb)]
        for thick, colour in passes:
            if thick < 1:
                continue
            self.d.line(xy, fill=colour, width=round(thick), joint="curve" if len(xy) > 2 else None)
            if thick > 3:
                h = thick / 2 - 0.5
                for px, py in (xy[0], xy[-1]):
                    self.d.ellipse((px - h, py - h, px + h, py + h), fill=colour)

    def line(self, points: Sequence[Point], fill: Rgb, width: int = 1) -> None:
        """A line of `width` canvas pixels, whatever the scale."""
        colour = fill if self.ink is None else self.ink
        self.d.line(self.at(points), fill=colour, width=width)

    def arc(self, x: float, y: float, r: float, start: float, end: float, fill: Rgb, width: int = 2) -> None:
        """Part of a circle, in degrees clockwise from the right; for symmetrical shapes only, as it is not
        mirrored."""
        cx, cy, r = self.x + self.sx * x, self.y - self.s * y, r * self.s
        colour = fill if self.ink is None else self.ink
        self.d.arc((cx - r, cy - r, cx + r, cy + r), start, end, fill=colour, width=width)

    def glaze(self, x: float, y: float, rx: float, ry: float, rgba: tuple[int, int, int, int]) -> None:
        """A translucent ellipse: light or shade on what is drawn already; not a part of the mask."""
        if self.ink is None:
            cx, cy = self.x + self.sx * x, self.y - self.s * y
            rx, ry = rx * self.s, ry * self.s
            self.canvas.blend.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=rgba)

    def shine(self, x: float, y: float, rx: float, ry: float) -> None:
        self.glaze(x, y, rx, ry, (255, 255, 255, 70))

    def eye(self, x: float, y: float, r: float, *, closed: bool = False) -> None:
        if self.ink is not None:
            return
        if closed:
            self.arc(x, y + r * 0.6, r * 1.3, 20, 160, (40, 36, 40))
            return
        self.ell(x, y, r, r, (34, 30, 36), edge=False)
        if r * self.s > 2.2:
            self.ell(x + r * 0.25, y + r * 0.35, r * 0.35, r * 0.35, (255, 255, 255), edge=False)


_CIRCLE = [(math.cos(2 * math.pi * i / 22), math.sin(2 * math.pi * i / 22)) for i in range(22)]

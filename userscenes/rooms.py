"""The indoor settings: each returns a new canvas with walls, floor and what hangs or stands along the wall.

Coordinates are canvas pixels (256 per side, y downwards). The floor begins at row FLOOR.
"""

from __future__ import annotations

from collections.abc import Callable

from .canvas import CANVAS, Canvas, Rgb, shade
from .rng import Rng
from .sky import gradient

FLOOR = 160


def _room(wall: Rgb, floor: Rgb) -> Canvas:
    canvas = Canvas(gradient(shade(wall, 1.12), shade(wall, 0.94)).copy())
    canvas.image.paste(
        gradient(shade(floor, 0.86), shade(floor, 1.08), 100).crop((0, 0, CANVAS, CANVAS - FLOOR)), (0, FLOOR)
    )
    return canvas


def _skirting(c: Canvas, rgb: Rgb) -> None:
    c.opaque.rectangle((0, FLOOR - 7, CANVAS, FLOOR), fill=rgb, outline=shade(rgb, 0.82))


def _boards(c: Canvas, floor: Rgb) -> None:
    line = shade(floor, 0.8)
    for y in (170, 184, 204, 230):
        c.opaque.line((0, y, CANVAS, y), fill=line, width=1)
    for i, y0, y1 in ((-3, 160, 170), (0, 160, 170), (3, 160, 170), (-2, 170, 184), (1.5, 170, 184),
                      (-1, 184, 204), (2, 184, 204),
                      (-2, 204, 230), (0.5, 204, 230), (1.6, 230, 256), (-0.6, 230, 256)):  # fmt: skip
        c.opaque.line((128 + i * 40, y0, 128 + i * 40 * 1.1, y1), fill=line, width=1)


def _window(c: Canvas, x: float, y: float, w: float, h: float, time: str, curtain: Rgb | None = None) -> None:
    d = c.opaque
    glass: Rgb = {"day": (166, 216, 244), "sunset": (252, 186, 130), "night": (38, 46, 92)}[time]
    d.rectangle((x - 5, y - 5, x + w + 5, y + h + 5), fill=(250, 248, 242), outline=(190, 182, 172))
    d.rectangle((x, y, x + w, y + h), fill=glass)
    if time == "night":
        d.ellipse((x + w * 0.6, y + 6, x + w * 0.6 + 11, y + 17), fill=(250, 244, 206))
        for k in (0.15, 0.35, 0.8):
            d.point((x + w * k, y + h * (0.2 + k / 2)), fill=(255, 255, 230))
    else:
        d.ellipse((x + 6, y + h * 0.3, x + w * 0.55, y + h * 0.55), fill=shade(glass, 1.6))
    d.line((x + w / 2, y, x + w / 2, y + h), fill=(250, 248, 242), width=4)
    d.line((x, y + h / 2, x + w, y + h / 2), fill=(250, 248, 242), width=4)
    if curtain is not None:
        for side in (-1, 1):
            edge = x - 12 if side < 0 else x + w + 12
            d.polygon([(edge, y - 10), (edge - side * 26, y - 10), (edge - side * 12, y + h + 10),
                       (edge, y + h + 10)], fill=curtain,
                      outline=shade(curtain, 0.75))  # fmt: skip
        d.line((x - 18, y - 11, x + w + 18, y - 11), fill=(120, 92, 70), width=3)


def _frame(c: Canvas, rng: Rng, x: float, y: float, w: float, h: float) -> None:
    d = c.opaque
    d.rectangle((x, y, x + w, y + h), fill=(150, 110, 74), outline=(104, 76, 52))
    tint = rng.pick(((206, 226, 214), (236, 214, 190), (204, 212, 236)))
    d.rectangle((x + 4, y + 4, x + w - 4, y + h - 4), fill=tint)
    d.polygon(
        [(x + 5, y + h - 5), (x + w * 0.4, y + h * 0.4), (x + w - 5, y + h - 5)], fill=shade(tint, 0.75)
    )


def _rug(c: Canvas, rng: Rng) -> None:
    rgb = rng.pick(((206, 120, 110), (120, 150, 190), (190, 170, 120), (150, 180, 140), (180, 140, 180)))
    x = rng.between(104, 152)
    c.opaque.ellipse((x - 104, 190, x + 104, 250), fill=rgb, outline=shade(rgb, 0.8), width=3)
    c.opaque.ellipse((x - 80, 198, x + 80, 242), outline=shade(rgb, 1.35), width=3)


def living_room(rng: Rng, time: str) -> Canvas:
    wall = rng.pick(((232, 214, 182), (194, 214, 204), (226, 200, 192), (200, 208, 226)))
    floor: Rgb = (186, 138, 94)
    c = _room(wall, floor)
    for i in range(13):
        c.opaque.line((i * 21, 0, i * 21, FLOOR), fill=shade(wall, 0.96), width=5)
    _boards(c, floor)
    _skirting(c, (246, 240, 230))
    _window(
        c,
        98 + rng.between(-12, 12),
        38,
        62,
        62,
        time,
        rng.pick(((190, 100, 96), (104, 134, 170), (180, 160, 100))),
    )
    _frame(c, rng, 22, 48, 40, 32)
    _frame(c, rng, 204, 40, 32, 42)
    d = c.opaque
    x = rng.pick((6, 200))
    d.rectangle((x, 104, x + 50, FLOOR), fill=(142, 100, 68), outline=(100, 70, 48))
    for y in (108, 134):
        d.rectangle((x + 4, y, x + 46, y + 22), fill=(98, 68, 48))
        bx = x + 6.0
        while bx < x + 40:
            w = rng.between(4, 8)
            d.rectangle(
                (bx, y + rng.between(3, 8), bx + w, y + 22),
                fill=rng.pick(((196, 90, 84), (90, 130, 170), (210, 180, 110), (110, 150, 110))),
            )
            bx += w + 1
    _rug(c, rng)
    return c


def kitchen(rng: Rng, time: str) -> Canvas:
    wall = rng.pick(((240, 232, 206), (212, 230, 226), (244, 222, 206)))
    c = _room(wall, (222, 222, 222))
    d = c.opaque
    for i in range(-6, 7):
        for j, (y0, y1) in enumerate(((160, 172), (172, 190), (190, 216), (216, 256))):
            if (i + j) % 2 == 0:
                a, b = 22 + (y0 - 160) * 0.28, 22 + (y1 - 160) * 0.28
                d.polygon(
                    [(128 + i * a, y0), (128 + (i + 1) * a, y0), (128 + (i + 1) * b, y1), (128 + i * b, y1)],
                    fill=(188, 200, 206),
                )
    for y in range(84, 118, 11):
        d.line((0, y, 256, y), fill=shade(wall, 0.86), width=1)
    for x in range(0, 256, 14):
        d.line((x, 84, x, 118), fill=shade(wall, 0.86), width=1)
    front = rng.pick(((122, 164, 156), (216, 160, 110), (138, 152, 190), (206, 140, 132)))
    for x in (6, 50, 172):
        d.rectangle((x, 22, x + 40, 62), fill=front, outline=shade(front, 0.7))
        d.ellipse((x + 31, 50, x + 35, 54), fill=(246, 236, 200))
    _window(c, 104, 28, 48, 44, time)
    d.rectangle((0, 116, 208, 124), fill=(232, 220, 200), outline=(176, 164, 146))
    for x in (0, 42, 166):
        d.rectangle((x, 124, x + 42, FLOOR), fill=front, outline=shade(front, 0.7))
        d.line((x + 14, 131, x + 28, 131), fill=(246, 236, 200), width=3)
    d.rectangle((84, 120, 166, FLOOR), fill=front, outline=shade(front, 0.7))
    d.rectangle((92, 122, 142, FLOOR), fill=(236, 238, 240), outline=(150, 152, 158))
    d.rectangle((99, 134, 135, 154), fill=(70, 74, 84))
    for x in (98, 110, 122, 134):
        d.ellipse((x - 2, 126, x + 2, 130), fill=(90, 90, 98))
    d.rectangle((210, 54, 252, 166), fill=(238, 242, 246), outline=(160, 168, 178))
    d.line((210, 92, 252, 92), fill=(160, 168, 178), width=2)
    d.line((216, 76, 216, 88), fill=(130, 138, 148), width=3)
    d.line((216, 96, 216, 116), fill=(130, 138, 148), width=3)
    return c


def bedroom(rng: Rng, time: str) -> Canvas:
    x: float
    wall = rng.pick(((206, 200, 232), (244, 214, 222), (196, 222, 240), (214, 234, 206)))
    floor: Rgb = (206, 166, 124)
    c = _room(wall, floor)
    d = c.opaque
    for i in range(9):
        for j in range(5):
            x, y = i * 32 + 16 * (j % 2), j * 32 + 12
            d.polygon([(x, y - 5), (x + 2, y - 1), (x + 6, y), (x + 2, y + 1), (x, y + 5), (x - 2, y + 1),
                       (x - 6, y), (x - 2, y - 1)],
                      fill=shade(wall, 1.45))  # fmt: skip
    _boards(c, floor)
    _skirting(c, (250, 248, 244))
    _window(
        c,
        34 + rng.between(-8, 8),
        36,
        54,
        60,
        time,
        rng.pick(((150, 130, 190), (230, 150, 160), (110, 160, 190))),
    )
    x = rng.between(160, 184)
    d.rectangle((x, 50, x + 66, FLOOR), fill=(246, 238, 226), outline=(176, 160, 142))
    d.line((x + 33, 54, x + 33, 156), fill=(176, 160, 142), width=2)
    d.ellipse((x + 26, 100, x + 30, 106), fill=(196, 160, 90))
    d.ellipse((x + 36, 100, x + 40, 106), fill=(196, 160, 90))
    for i in range(9):
        px = 106 + i * 6
        d.polygon(
            [(px - 3, 18), (px + 3, 18), (px, 26)],
            fill=rng.pick(((230, 120, 120), (120, 170, 220), (240, 200, 110))),
        )
    _rug(c, rng)
    return c


def classroom(rng: Rng, time: str) -> Canvas:
    wall = rng.pick(((240, 228, 196), (214, 228, 214), (224, 220, 236)))
    floor: Rgb = (196, 176, 148)
    c = _room(wall, floor)
    d = c.opaque
    _boards(c, floor)
    _skirting(c, (170, 140, 110))
    d.rectangle((62, 40, 194, 118), fill=(166, 118, 76), outline=(116, 82, 54))
    d.rectangle((67, 45, 189, 113), fill=(54, 98, 80))
    for i in range(5):
        x, y = rng.between(74, 120), 54 + i * 11
        d.line((x, y, x + rng.between(16, 44), y), fill=(226, 236, 230), width=2)
    x = rng.between(140, 156)
    d.ellipse((x, 56, x + 26, 82), outline=(240, 220, 150), width=2)
    d.line((x - 4, 98, x + 13, 86, x + 30, 98), fill=(240, 190, 190), width=2)
    d.rectangle((84, 117, 172, 121), fill=(140, 100, 66))
    for x, tint in ((14, (236, 150, 130)), (210, (140, 180, 220))):
        d.rectangle((x, 42, x + 34, 86), fill=(252, 250, 244), outline=(190, 184, 176))
        d.ellipse((x + 7, 50, x + 27, 70), fill=tint)
        for y in (75, 80):
            d.line((x + 6, y, x + 28, y), fill=(150, 150, 156), width=1)
    _window(c, 8, 100, 34, 34, time)
    d.rectangle((204, 120, 252, FLOOR), fill=(176, 130, 90), outline=(124, 90, 62))
    d.ellipse((216, 92, 240, 116), fill=(96, 160, 210), outline=(60, 110, 160))
    d.ellipse((220, 96, 230, 106), fill=(120, 180, 110))
    d.line((228, 116, 228, 121), fill=(120, 90, 60), width=4)
    return c


def circus(rng: Rng, time: str) -> Canvas:
    x: float
    y: float
    c = _room((250, 236, 206), (226, 186, 130))
    d = c.opaque
    tint = rng.pick(((206, 66, 70), (70, 110, 190), (150, 90, 170)))
    for i in range(-8, 8, 2):
        d.polygon(
            [(128 + i * 4, 0), (128 + (i + 1) * 4, 0), (128 + (i + 1) * 36, FLOOR), (128 + i * 36, FLOOR)],
            fill=tint,
        )
    for i in range(14):
        x = i * 20
        d.pieslice(
            (x, 26 + abs(i - 6.5) * 2, x + 20, 46 + abs(i - 6.5) * 2),
            0,
            180,
            fill=rng.pick(((250, 210, 90), (110, 190, 150), (240, 130, 110))),
        )
    d.ellipse((-30, 156, 286, 252), fill=(206, 60, 66), outline=(150, 40, 46), width=2)
    d.ellipse((-14, 164, 270, 250), fill=(238, 204, 150))
    for _ in range(14):
        x, y = rng.between(10, 246), rng.between(180, 246)
        d.ellipse((x - 2, y - 1, x + 2, y + 1), fill=(214, 176, 122))
    return c


ROOMS: dict[str, Callable[[Rng, str], Canvas]] = {
    "living room": living_room, "kitchen": kitchen, "bedroom": bedroom, "classroom": classroom,
    "circus": circus,
}  # fmt: skip

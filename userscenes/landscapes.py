"""The outdoor settings in the country: each paints its scenery on a canvas that already has its sky.

Coordinates are canvas pixels (256 per side, y downwards). Nothing here is of a kind that captions mention, except
what settings.SCENERY lists.
"""

from __future__ import annotations

from .canvas import Canvas, Rgb, mix, shade
from .ground import SNOW, field_from, ground, hills, tufts
from .rng import Rng


def _round_tree(canvas: Canvas, x: float, y: float, h: float, crown: Rgb) -> None:
    d = canvas.opaque
    d.rectangle((x - h * 0.05, y - h * 0.5, x + h * 0.05, y), fill=(112, 80, 58))
    line = shade(crown, 0.75)
    for dx, dy, r in ((-0.16, 0.55, 0.2), (0.16, 0.55, 0.2), (0.0, 0.74, 0.24)):
        d.ellipse(
            (x + (dx - r) * h, y - (dy + r) * h, x + (dx + r) * h, y - (dy - r) * h), fill=crown, outline=line
        )
    d.ellipse((x - 0.14 * h, y - 0.86 * h, x + 0.02 * h, y - 0.72 * h), fill=shade(crown, 1.2))


def _fir(canvas: Canvas, x: float, y: float, h: float, rgb: Rgb, *, snowy: bool) -> None:
    d = canvas.opaque
    d.rectangle((x - h * 0.04, y - h * 0.2, x + h * 0.04, y), fill=(100, 72, 54))
    for k0, k1, w in ((0.12, 0.52, 0.24), (0.36, 0.76, 0.19), (0.6, 1.0, 0.13)):
        d.polygon(
            [(x - w * h, y - k0 * h), (x + w * h, y - k0 * h), (x, y - k1 * h)],
            fill=rgb,
            outline=shade(rgb, 0.78),
        )
        if snowy:
            d.polygon(
                [
                    (x - w * h * 0.4, y - (k1 - 0.16) * h),
                    (x + w * h * 0.4, y - (k1 - 0.16) * h),
                    (x, y - k1 * h),
                ],
                fill=SNOW,
            )


def beach(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    x: float
    y: float
    d = c.opaque
    if rng.chance(0.6):
        x = rng.between(20, 236)
        d.ellipse((x - 46, 106, x + 46, 140), fill=(112, 156, 132))
    sea: Rgb = (58, 142, 190) if weather != "rainy" else (86, 124, 150)
    d.rectangle((0, 122, 256, 170), fill=sea)
    for y in (128, 136, 146, 156):
        x = rng.between(-30, 20)
        while x < 256:
            d.arc((x, y - 3, x + 18, y + 4), 200, 340, fill=mix(sea, (255, 255, 255), 0.45), width=2)
            x += rng.between(28, 60)
    sand = ground(weather, (240, 214, 154))
    d.ellipse((-70, 156, 326, 250), fill=(236, 246, 250))
    d.ellipse((-70, 160, 326, 254), fill=shade(sand, 0.93))
    field_from(c, 180, shade(sand, 0.97), shade(sand, 1.1))
    d.ellipse((-70, 164, 326, 250), fill=sand)
    for _ in range(12):
        x, y = rng.between(4, 252), rng.between(186, 250)
        d.ellipse((x - 2, y - 1, x + 2, y + 1), fill=shade(sand, 0.82))
    for _ in range(2):
        x, y = rng.between(8, 248), rng.between(196, 248)
        d.pieslice((x - 6, y - 5, x + 6, y + 7), 200, 340, fill=(246, 190, 180), outline=(200, 130, 120))


def park(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    grass = ground(weather, (124, 190, 96))
    hills(c, rng, 150, shade(grass, 0.9))
    field_from(c, 146, grass, shade(grass, 1.15))
    path: Rgb = (226, 206, 168)
    x = rng.between(60, 196)
    c.opaque.polygon([(x - 6, 148), (x + 6, 148), (x + 70, 256), (x - 40, 256)], fill=path)
    for x in rng.shuffled((16, 66, 122, 180, 238))[:4]:
        _round_tree(c, x + rng.between(-10, 10), rng.between(150, 160), rng.between(52, 82),
                    mix((76, 150, 76), ground(weather, (76, 150, 76)), 0.6))  # fmt: skip
    tufts(c, rng, shade(grass, 0.8))


def forest(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    x: float
    y: float
    snowy = weather == "snowy"
    leaf = rng.pick(((52, 112, 74), (66, 124, 62), (44, 104, 84)))
    c.blend.rectangle((0, 60, 256, 156), fill=(*shade(leaf, 1.25), 120))
    c.opaque.rectangle((0, 134, 256, 158), fill=shade(leaf, 0.9))
    for row, (y, n, tall) in enumerate(((150, 9, 84), (158, 6, 120))):
        for i in range(n):
            x = (i + rng.between(0.1, 0.9)) * 256 / n
            _fir(c, x, y, rng.between(tall * 0.75, tall), shade(leaf, 1.12 - 0.16 * row), snowy=snowy)
    floor = ground(weather, (138, 150, 88))
    field_from(c, 154, shade(floor, 0.85), floor)
    for x in (rng.between(-4, 30), rng.between(226, 260)):
        bark = shade((110, 82, 62), rng.between(0.9, 1.1))
        c.opaque.polygon(
            [(x - 9, 0), (x + 9, 0), (x + 10, 170), (x + 18, 184), (x - 18, 184), (x - 10, 170)], fill=bark
        )
        c.opaque.line((x - 4, 0, x - 5, 170), fill=shade(bark, 0.8), width=3)
    for _ in range(7):
        x, y = rng.between(0, 256), rng.between(176, 252)
        c.opaque.ellipse(
            (x - 5, y - 2, x + 5, y + 2), fill=rng.pick(((176, 120, 60), (150, 100, 56), (120, 132, 70)))
        )
    tufts(c, rng, shade(floor, 0.72), number=7)


def farm(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    d = c.opaque
    hills(c, rng, 150, ground(weather, (150, 196, 104)), tall=26)
    field = ground(weather, (188, 200, 104))
    x = rng.pick((58, 196)) + rng.between(-14, 14)
    d.rectangle((x - 56, 84, x - 40, 152), fill=(206, 208, 214), outline=(140, 144, 152))
    d.pieslice((x - 56, 74, x - 40, 94), 180, 360, fill=(150, 156, 168))
    d.rectangle((x - 34, 110, x + 34, 154), fill=(186, 70, 60), outline=(120, 44, 40))
    d.polygon(
        [(x - 40, 112), (x - 26, 86), (x, 74), (x + 26, 86), (x + 40, 112)],
        fill=ground(weather, (120, 92, 88)),
        outline=(84, 64, 62),
    )
    d.rectangle((x - 12, 122, x + 12, 154), fill=(236, 226, 210))
    d.line((x - 12, 122, x + 12, 154), fill=(186, 70, 60), width=2)
    d.line((x + 12, 122, x - 12, 154), fill=(186, 70, 60), width=2)
    field_from(c, 152, shade(field, 0.92), shade(field, 1.12))
    for i in range(7):
        d.line((128 + (i - 3) * 16, 158, 128 + (i - 3) * 80, 256), fill=shade(field, 0.84), width=3)
    for i in range(12):
        d.rectangle((i * 23 + 2, 150, i * 23 + 6, 172), fill=(214, 190, 152))
    for y in (155, 163):
        d.line((0, y, 256, y), fill=(214, 190, 152), width=3)


def mountains(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    d = c.opaque
    for base, tone, n in ((152, (150, 162, 190), 3), (156, (118, 130, 160), 3)):
        for i in range(n):
            x = (i + rng.between(0.1, 0.9)) * 256 / n
            w, h = rng.between(56, 88), rng.between(62, 112)
            d.polygon([(x - w, base), (x, base - h), (x + w, base)], fill=tone, outline=shade(tone, 0.82))
            d.polygon([(x, base - h), (x + w, base), (x + w * 0.25, base)], fill=shade(tone, 0.88))
            k = 0.32
            d.polygon([(x, base - h), (x - w * k, base - h * (1 - k)), (x - w * k * 0.4, base - h * 0.74),
                       (x, base - h * 0.62),
                       (x + w * k * 0.45, base - h * 0.74), (x + w * k, base - h * (1 - k))],
                       fill=(248, 250, 253))  # fmt: skip
    meadow = ground(weather, (136, 178, 104))
    d.ellipse((-60, 144, 170, 200), fill=shade(meadow, 0.9))
    d.ellipse((100, 148, 330, 204), fill=shade(meadow, 0.95))
    field_from(c, 164, meadow, shade(meadow, 1.12))
    for _ in range(5):
        x, y, r = rng.between(0, 256), rng.between(172, 246), rng.between(4, 9)
        d.ellipse((x - r, y - r * 0.6, x + r, y + r * 0.4), fill=(158, 158, 166), outline=(118, 118, 128))
    tufts(c, rng, shade(meadow, 0.8), number=5)


def desert(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    x: float
    y: float
    d = c.opaque
    sand = ground(weather, (236, 192, 124))
    rock: Rgb = (198, 122, 86)
    for _ in range(2):
        x, w, h = rng.between(10, 246), rng.between(24, 46), rng.between(34, 64)
        d.polygon(
            [(x - w, 154), (x - w * 0.72, 154 - h), (x + w * 0.72, 154 - h), (x + w, 154)],
            fill=rock,
            outline=shade(rock, 0.75),
        )
        for k in (0.3, 0.6):
            d.line(
                (x - w * (1 - 0.28 * k), 154 - h * k, x + w * (1 - 0.28 * k), 154 - h * k),
                fill=shade(rock, 0.84),
                width=3,
            )
    for x, y, w, h, k in ((50, 150, 130, 26, 0.92), (210, 156, 120, 26, 0.97)):
        x += rng.between(-30, 30)
        d.ellipse((x - w, y - h, x + w, y + h), fill=shade(sand, k))
    field_from(c, 160, sand, shade(sand, 1.14))
    for _ in range(5):
        x, y = rng.between(0, 230), rng.between(176, 248)
        d.arc((x, y, x + 44, y + 12), 200, 330, fill=shade(sand, 0.86), width=2)
    x, y = rng.between(20, 236), rng.between(200, 246)
    d.ellipse((x - 7, y - 4, x + 7, y + 3), fill=(178, 138, 104), outline=(138, 102, 78))


def lake(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    d = c.opaque
    hills(c, rng, 128, ground(weather, (108, 154, 118)), tall=40)
    water: Rgb = (84, 156, 186) if weather != "rainy" else (96, 128, 150)
    d.rectangle((0, 122, 256, 186), fill=water)
    c.blend.rectangle((0, 122, 256, 134), fill=(60, 110, 100, 90))
    for _ in range(12):
        x, y = rng.between(-10, 240), rng.between(132, 168)
        d.line((x, y, x + rng.between(10, 30), y), fill=mix(water, (255, 255, 255), 0.4), width=2)
    grass = ground(weather, (128, 184, 100))
    d.ellipse((-60, 166, 316, 230), fill=shade(grass, 0.85))
    field_from(c, 180, grass, shade(grass, 1.12))
    d.ellipse((-60, 170, 316, 236), fill=grass)
    for x in (rng.between(2, 26), rng.between(230, 254)):
        for dx in (-7, -2, 3, 8):
            d.line((x + dx * 0.5, 186, x + dx, 150 + abs(dx)), fill=(86, 128, 70), width=2)
            d.ellipse((x + dx - 2, 142 + abs(dx), x + dx + 2, 154 + abs(dx)), fill=(126, 84, 56))
    tufts(c, rng, shade(grass, 0.8), top=190)


def garden(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    x: float
    y: float
    d = c.opaque
    lawn = ground(weather, (140, 204, 108))
    hedge = ground(weather, (72, 138, 78))
    for i in range(10):
        x = i * 28 + rng.between(-4, 4)
        d.ellipse((x - 24, 104, x + 24, 150), fill=shade(hedge, rng.between(0.92, 1.08)))
    for i in range(17):
        x = i * 16
        d.polygon(
            [(x + 1, 162), (x + 1, 128), (x + 7, 119), (x + 13, 128), (x + 13, 162)],
            fill=(250, 248, 242),
            outline=(196, 190, 186),
        )
    for y in (134, 150):
        d.rectangle((0, y, 256, y + 4), fill=(240, 238, 232))
    field_from(c, 160, lawn, shade(lawn, 1.1))
    d.rectangle((0, 158, 256, 168), fill=(150, 112, 84))
    for i in range(15):
        x, y = i * 18 + rng.between(0, 10), rng.between(154, 162)
        d.line((x, y, x, 166), fill=(72, 140, 70), width=2)
        tint = rng.pick(((244, 120, 150), (250, 214, 90), (250, 250, 250), (226, 80, 76), (160, 110, 210)))
        d.ellipse((x - 4, y - 4, x + 4, y + 4), fill=tint)
        d.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=(255, 236, 130))
    for _ in range(3):
        x, y = rng.between(10, 246), rng.between(190, 250)
        d.ellipse((x - 12, y - 4, x + 12, y + 4), fill=(200, 196, 188), outline=(160, 156, 150))

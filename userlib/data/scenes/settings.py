"""The outdoor settings: each paints structure and clutter on a canvas that has its sky; and the list of all
settings.

Coordinates are canvas pixels (256 a side, y downwards). Nothing here is of a kind that captions count,
except what SCENERY says: a forest has trees, and truth knows it.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL.Image import Transpose

from .dice import Dice
from .pen import CANVAS, Canvas, Rgb, mix, shade
from .rooms import ROOMS
from .sky import gradient, sky

SNOW: Rgb = (240, 245, 250)
SCENERY = {"forest": ("tree",), "park": ("tree",), "garden": ("flower",)}


def _ground(weather: str, rgb: Rgb) -> Rgb:
    return mix(rgb, SNOW, 0.72) if weather == "snowy" else rgb


def _field(canvas: Canvas, y: int, top: Rgb, low: Rgb) -> None:
    """Ground from row y down, shaded towards the viewer."""
    strip = gradient(top, low, 110).crop((0, 0, CANVAS, CANVAS - y))
    canvas.image.paste(strip, (0, y))


def _hills(canvas: Canvas, dice: Dice, y: float, rgb: Rgb, *, number: int = 3, tall: float = 34) -> None:
    for i in range(number):
        x = (i + dice.between(0.2, 0.8)) * CANVAS / number
        w, h = dice.between(70, 110), dice.between(tall * 0.6, tall)
        tone = shade(rgb, dice.between(0.92, 1.08))
        canvas.opaque.ellipse((x - w, y - h, x + w, y + h), fill=tone)


def _tufts(canvas: Canvas, dice: Dice, rgb: Rgb, *, top: int = 170, number: int = 9) -> None:
    for _ in range(number):
        x, y = dice.between(0, 256), dice.between(top, 252)
        for dx in (-3, 0, 3):
            canvas.opaque.line((x, y, x + dx, y - 7), fill=rgb, width=2)


def _round_tree(canvas: Canvas, x: float, y: float, h: float, crown: Rgb) -> None:
    d = canvas.opaque
    d.rectangle((x - h * 0.05, y - h * 0.5, x + h * 0.05, y), fill=(112, 80, 58))
    line = shade(crown, 0.75)
    for dx, dy, r in ((-0.16, 0.55, 0.2), (0.16, 0.55, 0.2), (0.0, 0.74, 0.24)):
        d.ellipse((x + (dx - r) * h, y - (dy + r) * h, x + (dx + r) * h, y - (dy - r) * h), fill=crown,
                  outline=line)
    d.ellipse((x - 0.14 * h, y - 0.86 * h, x + 0.02 * h, y - 0.72 * h), fill=shade(crown, 1.2))


def _fir(canvas: Canvas, x: float, y: float, h: float, rgb: Rgb, *, snowy: bool) -> None:
    d = canvas.opaque
    d.rectangle((x - h * 0.04, y - h * 0.2, x + h * 0.04, y), fill=(100, 72, 54))
    for k0, k1, w in ((0.12, 0.52, 0.24), (0.36, 0.76, 0.19), (0.6, 1.0, 0.13)):
        d.polygon([(x - w * h, y - k0 * h), (x + w * h, y - k0 * h), (x, y - k1 * h)], fill=rgb,
                  outline=shade(rgb, 0.78))
        if snowy:
            d.polygon([(x - w * h * 0.4, y - (k1 - 0.16) * h), (x + w * h * 0.4, y - (k1 - 0.16) * h),
                       (x, y - k1 * h)], fill=SNOW)


def beach(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    x: float
    y: float
    d = c.opaque
    if dice.chance(0.6):
        x = dice.between(20, 236)
        d.ellipse((x - 46, 106, x + 46, 140), fill=(112, 156, 132))
    sea: Rgb = (58, 142, 190) if weather != "rainy" else (86, 124, 150)
    d.rectangle((0, 122, 256, 170), fill=sea)
    for y in (128, 136, 146, 156):
        x = dice.between(-30, 20)
        while x < 256:
            d.arc((x, y - 3, x + 18, y + 4), 200, 340, fill=mix(sea, (255, 255, 255), 0.45), width=2)
            x += dice.between(28, 60)
    sand = _ground(weather, (240, 214, 154))
    d.ellipse((-70, 156, 326, 250), fill=(236, 246, 250))
    d.ellipse((-70, 160, 326, 254), fill=shade(sand, 0.93))
    _field(c, 180, shade(sand, 0.97), shade(sand, 1.1))
    d.ellipse((-70, 164, 326, 250), fill=sand)
    for _ in range(12):
        x, y = dice.between(4, 252), dice.between(186, 250)
        d.ellipse((x - 2, y - 1, x + 2, y + 1), fill=shade(sand, 0.82))
    for _ in range(2):
        x, y = dice.between(8, 248), dice.between(196, 248)
        d.pieslice((x - 6, y - 5, x + 6, y + 7), 200, 340, fill=(246, 190, 180), outline=(200, 130, 120))


def park(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    grass = _ground(weather, (124, 190, 96))
    _hills(c, dice, 150, shade(grass, 0.9))
    _field(c, 146, grass, shade(grass, 1.15))
    path: Rgb = (226, 206, 168)
    x = dice.between(60, 196)
    c.opaque.polygon([(x - 6, 148), (x + 6, 148), (x + 70, 256), (x - 40, 256)], fill=path)
    for x in dice.shuffled((16, 66, 122, 180, 238))[:4]:
        _round_tree(c, x + dice.between(-10, 10), dice.between(150, 160), dice.between(52, 82),
                    mix((76, 150, 76), _ground(weather, (76, 150, 76)), 0.6))  # fmt: skip
    _tufts(c, dice, shade(grass, 0.8))


def street(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    d = c.opaque
    x = dice.between(-40, -8)
    lit: Rgb = (255, 232, 140) if time == "night" else (190, 222, 240)
    while x < 256:
        w, h = dice.between(44, 66), dice.between(52, 92)
        wall = dice.pick(((226, 178, 146), (206, 196, 216), (236, 220, 178), (176, 204, 210),
                          (222, 160, 150), (198, 212, 178)))
        top = 158 - h
        d.polygon([(x - 3, top), (x + w / 2, top - dice.between(16, 28)), (x + w + 3, top)],
                  fill=_ground(weather, dice.pick(((168, 92, 76), (120, 104, 120), (150, 112, 84)))),
                  outline=(92, 74, 74))  # fmt: skip
        d.rectangle((x, top, x + w, 160), fill=wall, outline=shade(wall, 0.7))
        for wy in range(int(top) + 8, 128, 24):
            for wx in (x + w * 0.16, x + w * 0.6):
                d.rectangle((wx, wy, wx + w * 0.24, wy + 14), fill=lit, outline=shade(wall, 0.6))
        d.rectangle((x + w * 0.4, 138, x + w * 0.6, 160), fill=dice.pick(((120, 84, 62), (86, 110, 96),
                (150, 76, 70))))
        x += w + dice.between(-1, 3)
    d.rectangle((0, 160, 256, 176), fill=_ground(weather, (196, 192, 186)))
    _field(c, 176, _ground(weather, (120, 122, 130)), _ground(weather, (140, 142, 150)))
    d.rectangle((0, 174, 256, 178), fill=(160, 158, 156))
    for i in range(-1, 6):
        d.polygon([(i * 52 + 10, 214), (i * 52 + 38, 214), (i * 52 + 36, 219), (i * 52 + 6, 219)],
                  fill=(244, 238, 208))
    x = dice.pick((22, 234))
    d.rectangle((x - 2, 96, x + 2, 172), fill=(70, 72, 80))
    d.ellipse((x - 7, 86, x + 7, 100), fill=(255, 240, 170) if time != "day" else (236, 236, 226),
              outline=(70, 72, 80))


def forest(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    x: float
    y: float
    snowy = weather == "snowy"
    leaf = dice.pick(((52, 112, 74), (66, 124, 62), (44, 104, 84)))
    c.blend.rectangle((0, 60, 256, 156), fill=(*shade(leaf, 1.25), 120))
    c.opaque.rectangle((0, 134, 256, 158), fill=shade(leaf, 0.9))
    for row, (y, n, tall) in enumerate(((150, 9, 84), (158, 6, 120))):
        for i in range(n):
            x = (i + dice.between(0.1, 0.9)) * 256 / n
            _fir(c, x, y, dice.between(tall * 0.75, tall), shade(leaf, 1.12 - 0.16 * row), snowy=snowy)
    floor = _ground(weather, (138, 150, 88))
    _field(c, 154, shade(floor, 0.85), floor)
    for x in (dice.between(-4, 30), dice.between(226, 260)):
        bark = shade((110, 82, 62), dice.between(0.9, 1.1))
        c.opaque.polygon([(x - 9, 0), (x + 9, 0), (x + 10, 170), (x + 18, 184), (x - 18, 184),
                          (x - 10, 170)], fill=bark)
        c.opaque.line((x - 4, 0, x - 5, 170), fill=shade(bark, 0.8), width=3)
    for _ in range(7):
        x, y = dice.between(0, 256), dice.between(176, 252)
        c.opaque.ellipse((x - 5, y - 2, x + 5, y + 2), fill=dice.pick(((176, 120, 60), (150, 100, 56),
                (120, 132, 70))))
    _tufts(c, dice, shade(floor, 0.72), number=7)


def farm(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    d = c.opaque
    _hills(c, dice, 150, _ground(weather, (150, 196, 104)), tall=26)
    field = _ground(weather, (188, 200, 104))
    x = dice.pick((58, 196)) + dice.between(-14, 14)
    d.rectangle((x - 56, 84, x - 40, 152), fill=(206, 208, 214), outline=(140, 144, 152))
    d.pieslice((x - 56, 74, x - 40, 94), 180, 360, fill=(150, 156, 168))
    d.rectangle((x - 34, 110, x + 34, 154), fill=(186, 70, 60), outline=(120, 44, 40))
    d.polygon([(x - 40, 112), (x - 26, 86), (x, 74), (x + 26, 86), (x + 40, 112)],
              fill=_ground(weather, (120, 92, 88)), outline=(84, 64, 62))
    d.rectangle((x - 12, 122, x + 12, 154), fill=(236, 226, 210))
    d.line((x - 12, 122, x + 12, 154), fill=(186, 70, 60), width=2)
    d.line((x + 12, 122, x - 12, 154), fill=(186, 70, 60), width=2)
    _field(c, 152, shade(field, 0.92), shade(field, 1.12))
    for i in range(7):
        d.line((128 + (i - 3) * 16, 158, 128 + (i - 3) * 80, 256), fill=shade(field, 0.84), width=3)
    for i in range(12):
        d.rectangle((i * 23 + 2, 150, i * 23 + 6, 172), fill=(214, 190, 152))
    for y in (155, 163):
        d.line((0, y, 256, y), fill=(214, 190, 152), width=3)


def mountains(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    d = c.opaque
    for base, tone, n in ((152, (150, 162, 190), 3), (156, (118, 130, 160), 3)):
        for i in range(n):
            x = (i + dice.between(0.1, 0.9)) * 256 / n
            w, h = dice.between(56, 88), dice.between(62, 112)
            d.polygon([(x - w, base), (x, base - h), (x + w, base)], fill=tone, outline=shade(tone, 0.82))
            d.polygon([(x, base - h), (x + w, base), (x + w * 0.25, base)], fill=shade(tone, 0.88))
            k = 0.32
            d.polygon([(x, base - h), (x - w * k, base - h * (1 - k)), (x - w * k * 0.4, base - h * 0.74),
                       (x, base - h * 0.62),
                       (x + w * k * 0.45, base - h * 0.74), (x + w * k, base - h * (1 - k))],
                       fill=(248, 250, 253))  # fmt: skip
    meadow = _ground(weather, (136, 178, 104))
    d.ellipse((-60, 144, 170, 200), fill=shade(meadow, 0.9))
    d.ellipse((100, 148, 330, 204), fill=shade(meadow, 0.95))
    _field(c, 164, meadow, shade(meadow, 1.12))
    for _ in range(5):
        x, y, r = dice.between(0, 256), dice.between(172, 246), dice.between(4, 9)
        d.ellipse((x - r, y - r * 0.6, x + r, y + r * 0.4), fill=(158, 158, 166), outline=(118, 118, 128))
    _tufts(c, dice, shade(meadow, 0.8), number=5)


def desert(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    x: float
    y: float
    d = c.opaque
    sand = _ground(weather, (236, 192, 124))
    rock: Rgb = (198, 122, 86)
    for _ in range(2):
        x, w, h = dice.between(10, 246), dice.between(24, 46), dice.between(34, 64)
        d.polygon([(x - w, 154), (x - w * 0.72, 154 - h), (x + w * 0.72, 154 - h), (x + w, 154)], fill=rock,
                  outline=shade(rock, 0.75))
        for k in (0.3, 0.6):
            d.line((x - w * (1 - 0.28 * k), 154 - h * k, x + w * (1 - 0.28 * k), 154 - h * k),
                   fill=shade(rock, 0.84), width=3)
    for x, y, w, h, k in ((50, 150, 130, 26, 0.92), (210, 156, 120, 26, 0.97)):
        x += dice.between(-30, 30)
        d.ellipse((x - w, y - h, x + w, y + h), fill=shade(sand, k))
    _field(c, 160, sand, shade(sand, 1.14))
    for _ in range(5):
        x, y = dice.between(0, 230), dice.between(176, 248)
        d.arc((x, y, x + 44, y + 12), 200, 330, fill=shade(sand, 0.86), width=2)
    x, y = dice.between(20, 236), dice.between(200, 246)
    d.ellipse((x - 7, y - 4, x + 7, y + 3), fill=(178, 138, 104), outline=(138, 102, 78))


def lake(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    d = c.opaque
    _hills(c, dice, 128, _ground(weather, (108, 154, 118)), tall=40)
    water: Rgb = (84, 156, 186) if weather != "rainy" else (96, 128, 150)
    d.rectangle((0, 122, 256, 186), fill=water)
    c.blend.rectangle((0, 122, 256, 134), fill=(60, 110, 100, 90))
    for _ in range(12):
        x, y = dice.between(-10, 240), dice.between(132, 168)
        d.line((x, y, x + dice.between(10, 30), y), fill=mix(water, (255, 255, 255), 0.4), width=2)
    grass = _ground(weather, (128, 184, 100))
    d.ellipse((-60, 166, 316, 230), fill=shade(grass, 0.85))
    _field(c, 180, grass, shade(grass, 1.12))
    d.ellipse((-60, 170, 316, 236), fill=grass)
    for x in (dice.between(2, 26), dice.between(230, 254)):
        for dx in (-7, -2, 3, 8):
            d.line((x + dx * 0.5, 186, x + dx, 150 + abs(dx)), fill=(86, 128, 70), width=2)
            d.ellipse((x + dx - 2, 142 + abs(dx), x + dx + 2, 154 + abs(dx)), fill=(126, 84, 56))
    _tufts(c, dice, shade(grass, 0.8), top=190)


def garden(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    x: float
    y: float
    d = c.opaque
    lawn = _ground(weather, (140, 204, 108))
    hedge = _ground(weather, (72, 138, 78))
    for i in range(10):
        x = i * 28 + dice.between(-4, 4)
        d.ellipse((x - 24, 104, x + 24, 150), fill=shade(hedge, dice.between(0.92, 1.08)))
    for i in range(17):
        x = i * 16
        d.polygon([(x + 1, 162), (x + 1, 128), (x + 7, 119), (x + 13, 128), (x + 13, 162)],
                  fill=(250, 248, 242), outline=(196, 190, 186))
    for y in (134, 150):
        d.rectangle((0, y, 256, y + 4), fill=(240, 238, 232))
    _field(c, 160, lawn, shade(lawn, 1.1))
    d.rectangle((0, 158, 256, 168), fill=(150, 112, 84))
    for i in range(15):
        x, y = i * 18 + dice.between(0, 10), dice.between(154, 162)
        d.line((x, y, x, 166), fill=(72, 140, 70), width=2)
        tint = dice.pick(((244, 120, 150), (250, 214, 90), (250, 250, 250), (226, 80, 76), (160, 110, 210)))
        d.ellipse((x - 4, y - 4, x + 4, y + 4), fill=tint)
        d.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=(255, 236, 130))
    for _ in range(3):
        x, y = dice.between(10, 246), dice.between(190, 250)
        d.ellipse((x - 12, y - 4, x + 12, y + 4), fill=(200, 196, 188), outline=(160, 156, 150))


def playground(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    d = c.opaque
    grass = _ground(weather, (140, 194, 112))
    _hills(c, dice, 146, shade(grass, 0.86), tall=22)
    _field(c, 142, grass, shade(grass, 1.1))
    rubber = _ground(weather, (232, 196, 146))
    d.ellipse((-40, 166, 296, 280), fill=rubber, outline=shade(rubber, 0.85), width=3)
    left = dice.chance(0.5)
    a = dice.between(20, 40) if left else dice.between(150, 166)
    b = dice.between(150, 170) if left else dice.between(20, 40)
    pole: Rgb = dice.pick(((96, 120, 190), (200, 90, 80), (90, 150, 110)))
    d.line((a, 168, a + 12, 78), fill=pole, width=4)
    d.line((a + 62, 168, a + 50, 78), fill=pole, width=4)
    d.line((a + 8, 80, a + 54, 80), fill=pole, width=5)
    for x in (a + 20, a + 40):
        d.line((x - 5, 82, x - 5, 142), fill=(120, 120, 128), width=1)
        d.line((x + 5, 82, x + 5, 142), fill=(120, 120, 128), width=1)
        d.rectangle((x - 7, 141, x + 7, 145), fill=(110, 84, 66))
    slide: Rgb = dice.pick(((240, 176, 70), (224, 110, 110), (110, 170, 220)))
    d.line((b, 172, b, 96), fill=pole, width=4)
    d.line((b + 12, 172, b + 12, 96), fill=pole, width=4)
    for y in range(106, 172, 12):
        d.line((b, y, b + 12, y), fill=pole, width=3)
    d.polygon([(b + 8, 92), (b + 18, 92), (b + 70, 162), (b + 82, 164), (b + 82, 170), (b + 64, 170)],
              fill=slide, outline=shade(slide, 0.7))


def city(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    d = c.opaque
    lit: Rgb = (255, 230, 130) if time == "night" else (206, 228, 240)
    for row, (tone, low, high) in enumerate((((168, 180, 200), 70, 128), ((126, 138, 164), 40, 100))):
        x = dice.between(-20, 0)
        while x < 256:
            w, h = dice.between(22, 40), dice.between(low, high)
            wall = shade(tone, dice.between(0.9, 1.12))
            d.rectangle((x, 158 - h, x + w, 160), fill=wall, outline=shade(wall, 0.8))
            if dice.chance(0.25):
                d.line((x + w / 2, 158 - h, x + w / 2, 146 - h), fill=shade(wall, 0.7), width=2)
            if row:
                for wy in range(int(164 - h), 150, 11):
                    for wx in range(int(x) + 4, int(x + w) - 5, 9):
                        if dice.chance(0.7):
                            d.rectangle((wx, wy, wx + 4, wy + 5), fill=lit)
            x += w + dice.between(0, 8)
    stone = _ground(weather, (206, 200, 194))
    _field(c, 158, shade(stone, 0.9), shade(stone, 1.06))
    for y in (166, 178, 196, 222):
        d.line((0, y, 256, y), fill=shade(stone, 0.86), width=1)
    for i in range(-5, 6):
        d.line((128 + i * 26, 158, 128 + i * 74, 256), fill=shade(stone, 0.86), width=1)


def moon(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    d = c.opaque
    c.image.paste(gradient((14, 14, 34), (46, 44, 84)), (0, 0))
    for _ in range(46):
        x, y, r = dice.between(0, 256), dice.between(0, 150), dice.pick((0.7, 1.2, 1.8))
        d.ellipse((x - r, y - r, x + r, y + r), fill=(255, 252, 232))
    x, y = dice.between(40, 216), dice.between(36, 66)
    d.ellipse((x - 22, y - 22, x + 22, y + 22), fill=(84, 150, 226), outline=(60, 110, 180))
    d.ellipse((x - 14, y - 12, x + 2, y + 4), fill=(110, 186, 118))
    d.ellipse((x + 2, y + 2, x + 16, y + 14), fill=(110, 186, 118))
    d.ellipse((-60, 130, 316, 260), fill=(186, 186, 198))
    _field(c, 168, (190, 190, 202), (214, 214, 224))
    for _ in range(8):
        x, y, r = dice.between(0, 256), dice.between(160, 248), dice.between(6, 17)
        d.ellipse((x - r, y - r * 0.4, x + r, y + r * 0.4), fill=(158, 158, 172), outline=(134, 134, 150))


def castle(c: Canvas, dice: Dice, time: str, weather: str) -> None:
    d = c.opaque
    _hills(c, dice, 150, _ground(weather, (120, 176, 104)))
    x = dice.between(96, 160)
    stone: Rgb = (190, 184, 186)
    d.rectangle((x - 70, 92, x + 70, 160), fill=stone, outline=shade(stone, 0.7))
    for tx, top, w in ((-78, 62, 17), (78, 62, 17), (-30, 44, 14), (32, 50, 14)):
        d.rectangle((x + tx - w, top, x + tx + w, 160), fill=shade(stone, 0.95), outline=shade(stone, 0.66))
        d.polygon([(x + tx - w - 5, top), (x + tx, top - 32), (x + tx + w + 5, top)], fill=(96, 90, 160),
                  outline=(64, 60, 112))
        d.rectangle((x + tx - 4, top + 14, x + tx + 4, top + 26),
                    fill=(255, 232, 140) if time == "night" else (92, 86, 98))
    for i in range(9):
        d.rectangle((x - 68 + i * 16, 84, x - 60 + i * 16, 94), fill=stone)
    d.pieslice((x - 18, 116, x + 18, 170), 180, 360, fill=(112, 78, 56), outline=(76, 54, 42))
    d.rectangle((x - 18, 142, x + 18, 160), fill=(112, 78, 56))
    grass = _ground(weather, (132, 186, 100))
    _field(c, 158, grass, shade(grass, 1.12))
    d.polygon([(x - 18, 158), (x + 18, 158), (x + 60, 256), (x - 60, 256)], fill=(224, 204, 166))


Painter = Callable[[Canvas, Dice, str, str], None]
OUTDOOR: dict[str, Painter] = {
    "beach": beach, "park": park, "street": street, "forest": forest, "farm": farm, "mountains": mountains,
    "desert": desert, "lake": lake, "garden": garden, "playground": playground, "city": city, "moon": moon,
    "castle": castle,
}  # fmt: skip
EXTRA_SETTINGS = ("moon", "castle", "circus")  # in pretrain alone
TRAIN_SETTINGS = tuple(s for s in (*OUTDOOR, *ROOMS) if s not in EXTRA_SETTINGS)
WATER = ("beach", "lake")


def background(setting: str, time: str, weather: str, look: int, *, mirror: bool) -> Canvas:
    """A canvas with the setting painted on it, ready for things."""
    dice = Dice(f"background {look}")
    if setting in ROOMS:
        canvas = ROOMS[setting](dice, time)
    else:
        canvas = sky(time, weather or "sunny", dice)  # the moon has no weather
        OUTDOOR[setting](canvas, dice, time, weather)
    return Canvas(canvas.image.transpose(Transpose.FLIP_LEFT_RIGHT)) if mirror else canvas


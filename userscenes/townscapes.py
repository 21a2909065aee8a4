"""The outdoor settings in towns, and those of fantasy, in the same form as landscapes.py."""

from __future__ import annotations

from .canvas import Canvas, Rgb, shade
from .ground import field_from, ground, hills
from .rng import Rng
from .sky import gradient


def street(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    d = c.opaque
    x = rng.between(-40, -8)
    lit: Rgb = (255, 232, 140) if time == "night" else (190, 222, 240)
    while x < 256:
        w, h = rng.between(44, 66), rng.between(52, 92)
        wall = rng.pick(
            (
                (226, 178, 146),
                (206, 196, 216),
                (236, 220, 178),
                (176, 204, 210),
                (222, 160, 150),
                (198, 212, 178),
            )
        )
        top = 158 - h
        d.polygon([(x - 3, top), (x + w / 2, top - rng.between(16, 28)), (x + w + 3, top)],
                  fill=ground(weather, rng.pick(((168, 92, 76), (120, 104, 120), (150, 112, 84)))),
                  outline=(92, 74, 74))  # fmt: skip
        d.rectangle((x, top, x + w, 160), fill=wall, outline=shade(wall, 0.7))
        for wy in range(int(top) + 8, 128, 24):
            for wx in (x + w * 0.16, x + w * 0.6):
                d.rectangle((wx, wy, wx + w * 0.24, wy + 14), fill=lit, outline=shade(wall, 0.6))
        d.rectangle(
            (x + w * 0.4, 138, x + w * 0.6, 160),
            fill=rng.pick(((120, 84, 62), (86, 110, 96), (150, 76, 70))),
        )
        x += w + rng.between(-1, 3)
    d.rectangle((0, 160, 256, 176), fill=ground(weather, (196, 192, 186)))
    field_from(c, 176, ground(weather, (120, 122, 130)), ground(weather, (140, 142, 150)))
    d.rectangle((0, 174, 256, 178), fill=(160, 158, 156))
    for i in range(-1, 6):
        d.polygon(
            [(i * 52 + 10, 214), (i * 52 + 38, 214), (i * 52 + 36, 219), (i * 52 + 6, 219)],
            fill=(244, 238, 208),
        )
    x = rng.pick((22, 234))
    d.rectangle((x - 2, 96, x + 2, 172), fill=(70, 72, 80))
    d.ellipse(
        (x - 7, 86, x + 7, 100),
        fill=(255, 240, 170) if time != "day" else (236, 236, 226),
        outline=(70, 72, 80),
    )


def playground(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    d = c.opaque
    grass = ground(weather, (140, 194, 112))
    hills(c, rng, 146, shade(grass, 0.86), tall=22)
    field_from(c, 142, grass, shade(grass, 1.1))
    rubber = ground(weather, (232, 196, 146))
    d.ellipse((-40, 166, 296, 280), fill=rubber, outline=shade(rubber, 0.85), width=3)
    left = rng.chance(0.5)
    a = rng.between(20, 40) if left else rng.between(150, 166)
    b = rng.between(150, 170) if left else rng.between(20, 40)
    pole: Rgb = rng.pick(((96, 120, 190), (200, 90, 80), (90, 150, 110)))
    d.line((a, 168, a + 12, 78), fill=pole, width=4)
    d.line((a + 62, 168, a + 50, 78), fill=pole, width=4)
    d.line((a + 8, 80, a + 54, 80), fill=pole, width=5)
    for x in (a + 20, a + 40):
        d.line((x - 5, 82, x - 5, 142), fill=(120, 120, 128), width=1)
        d.line((x + 5, 82, x + 5, 142), fill=(120, 120, 128), width=1)
        d.rectangle((x - 7, 141, x + 7, 145), fill=(110, 84, 66))
    slide: Rgb = rng.pick(((240, 176, 70), (224, 110, 110), (110, 170, 220)))
    d.line((b, 172, b, 96), fill=pole, width=4)
    d.line((b + 12, 172, b + 12, 96), fill=pole, width=4)
    for y in range(106, 172, 12):
        d.line((b, y, b + 12, y), fill=pole, width=3)
    d.polygon(
        [(b + 8, 92), (b + 18, 92), (b + 70, 162), (b + 82, 164), (b + 82, 170), (b + 64, 170)],
        fill=slide,
        outline=shade(slide, 0.7),
    )


def city(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    d = c.opaque
    lit: Rgb = (255, 230, 130) if time == "night" else (206, 228, 240)
    for row, (tone, low, high) in enumerate((((168, 180, 200), 70, 128), ((126, 138, 164), 40, 100))):
        x = rng.between(-20, 0)
        while x < 256:
            w, h = rng.between(22, 40), rng.between(low, high)
            wall = shade(tone, rng.between(0.9, 1.12))
            d.rectangle((x, 158 - h, x + w, 160), fill=wall, outline=shade(wall, 0.8))
            if rng.chance(0.25):
                d.line((x + w / 2, 158 - h, x + w / 2, 146 - h), fill=shade(wall, 0.7), width=2)
            if row:
                for wy in range(int(164 - h), 150, 11):
                    for wx in range(int(x) + 4, int(x + w) - 5, 9):
                        if rng.chance(0.7):
                            d.rectangle((wx, wy, wx + 4, wy + 5), fill=lit)
            x += w + rng.between(0, 8)
    stone = ground(weather, (206, 200, 194))
    field_from(c, 158, shade(stone, 0.9), shade(stone, 1.06))
    for y in (166, 178, 196, 222):
        d.line((0, y, 256, y), fill=shade(stone, 0.86), width=1)
    for i in range(-5, 6):
        d.line((128 + i * 26, 158, 128 + i * 74, 256), fill=shade(stone, 0.86), width=1)


def moon(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    d = c.opaque
    c.image.paste(gradient((14, 14, 34), (46, 44, 84)), (0, 0))
    for _ in range(46):
        x, y, r = rng.between(0, 256), rng.between(0, 150), rng.pick((0.7, 1.2, 1.8))
        d.ellipse((x - r, y - r, x + r, y + r), fill=(255, 252, 232))
    x, y = rng.between(40, 216), rng.between(36, 66)
    d.ellipse((x - 22, y - 22, x + 22, y + 22), fill=(84, 150, 226), outline=(60, 110, 180))
    d.ellipse((x - 14, y - 12, x + 2, y + 4), fill=(110, 186, 118))
    d.ellipse((x + 2, y + 2, x + 16, y + 14), fill=(110, 186, 118))
    d.ellipse((-60, 130, 316, 260), fill=(186, 186, 198))
    field_from(c, 168, (190, 190, 202), (214, 214, 224))
    for _ in range(8):
        x, y, r = rng.between(0, 256), rng.between(160, 248), rng.between(6, 17)
        d.ellipse((x - r, y - r * 0.4, x + r, y + r * 0.4), fill=(158, 158, 172), outline=(134, 134, 150))


def castle(c: Canvas, rng: Rng, time: str, weather: str) -> None:
    d = c.opaque
    hills(c, rng, 150, ground(weather, (120, 176, 104)))
    x = rng.between(96, 160)
    stone: Rgb = (190, 184, 186)
    d.rectangle((x - 70, 92, x + 70, 160), fill=stone, outline=shade(stone, 0.7))
    for tx, top, w in ((-78, 62, 17), (78, 62, 17), (-30, 44, 14), (32, 50, 14)):
        d.rectangle((x + tx - w, top, x + tx + w, 160), fill=shade(stone, 0.95), outline=shade(stone, 0.66))
        d.polygon(
            [(x + tx - w - 5, top), (x + tx, top - 32), (x + tx + w + 5, top)],
            fill=(96, 90, 160),
            outline=(64, 60, 112),
        )
        d.rectangle(
            (x + tx - 4, top + 14, x + tx + 4, top + 26),
            fill=(255, 232, 140) if time == "night" else (92, 86, 98),
        )
    for i in range(9):
        d.rectangle((x - 68 + i * 16, 84, x - 60 + i * 16, 94), fill=stone)
    d.pieslice((x - 18, 116, x + 18, 170), 180, 360, fill=(112, 78, 56), outline=(76, 54, 42))
    d.rectangle((x - 18, 142, x + 18, 160), fill=(112, 78, 56))
    grass = ground(weather, (132, 186, 100))
    field_from(c, 158, grass, shade(grass, 1.12))
    d.polygon([(x - 18, 158), (x + 18, 158), (x + 60, 256), (x - 60, 256)], fill=(224, 204, 166))

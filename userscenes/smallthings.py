"""How food, toys and plants are drawn: one unit tall, standing on y = 0. Some are held at (0, 0)."""

from __future__ import annotations

from .animals import Draw
from .canvas import Paint, Pen, Rgb

LEAF: Rgb = (84, 156, 78)
STEM: Rgb = (110, 78, 52)


def apple(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.ell(-0.17, 0.42, 0.34, 0.42, c.rgb)
    p.ell(0.17, 0.42, 0.34, 0.42, c.rgb)
    p.ell(0, 0.42, 0.42, 0.39, c, edge=False)
    p.limb([(0, 0.76), (0.05, 0.97)], 0.08, STEM)
    p.blob(0.22, 0.9, 0.2, 0.09, 20, LEAF)
    p.shine(-0.22, 0.58, 0.1, 0.12)


def banana(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.86, 0.86), (-0.72, 0.42), (-0.3, 0.08), (0.24, 0.02), (0.74, 0.3), (0.98, 0.82),
            (0.86, 0.88), (0.6, 0.58),
            (0.2, 0.44), (-0.2, 0.5), (-0.52, 0.68), (-0.7, 0.98)], c)  # fmt: skip
    p.poly([(-0.86, 0.86), (-0.7, 0.98), (-0.76, 1.06), (-0.92, 0.96)], STEM)
    p.line([(-0.6, 0.56), (-0.1, 0.26), (0.4, 0.26), (0.8, 0.6)], c.shade(0.75), 2)


def pizza(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    """A slice, point downwards; the colour is that of the topping."""
    p.poly([(-0.5, 0.84), (0.5, 0.84), (0.0, 0.0)], c)
    p.rect(-0.58, 0.78, 0.58, 1.0, (212, 150, 84), r=0.1)
    spot: Rgb = (206, 66, 50) if c.rgb != (219, 56, 52) else (250, 220, 120)
    if c.tile is None and p.ink is None:
        for x, y, r in ((-0.18, 0.62, 0.1), (0.2, 0.58, 0.1), (0.0, 0.34, 0.08)):
            p.ell(x, y, r, r, spot)


def cake(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.3, 0.0, 0.3):
        p.rect(x - 0.04, 0.66, x + 0.04, 0.88, (244, 240, 236))
        p.ell(x, 0.94, 0.045, 0.06, (255, 196, 60), edge=False)
    p.ell(0, 0.06, 0.78, 0.07, (232, 232, 238))
    p.rect(-0.6, 0.08, 0.6, 0.68, c, r=0.05)
    p.rect(-0.62, 0.5, 0.62, 0.7, (255, 246, 240), r=0.05)
    for x in (-0.48, -0.2, 0.1, 0.4):
        p.ell(x, 0.5, 0.1, 0.1, (255, 246, 240), edge=False)


def ice_cream(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.22, 0.5), (0.22, 0.5), (0.0, 0.0)], (222, 166, 96))
    p.line([(-0.12, 0.46), (0.06, 0.16)], (180, 122, 66))
    p.line([(0.12, 0.46), (-0.06, 0.16)], (180, 122, 66))
    p.ell(0, 0.56, 0.28, 0.2, c)
    p.ell(0, 0.78, 0.23, 0.2, c)
    p.ell(0.04, 0.97, 0.07, 0.07, (220, 40, 60))
    p.shine(-0.08, 0.84, 0.06, 0.06)


def pumpkin(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.limb([(0, 0.78), (0.08, 0.96)], 0.12, LEAF)
    for x in (-0.4, 0.4):
        p.ell(x, 0.42, 0.3, 0.4, c.rgb)
    for x in (-0.2, 0.2):
        p.ell(x, 0.42, 0.28, 0.42, c.rgb)
    p.ell(0, 0.42, 0.22, 0.42, c.rgb)
    if c.tile is not None:
        p.ell(0, 0.42, 0.62, 0.36, c)


def ball(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.ell(0, 0.5, 0.5, 0.5, c)
    if c.tile is None:
        p.blob(0, 0.5, 0.49, 0.16, 24, (252, 250, 244) if sum(c.rgb) < 640 else (160, 170, 190))
    p.shine(-0.18, 0.74, 0.14, 0.1)


def balloon(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.line([(0, 0.0), (0.04, 0.16), (-0.02, 0.3), (0, 0.44)], (90, 86, 92), 2 if p.ink is None else 3)
    p.poly([(-0.06, 0.4), (0.06, 0.4), (0, 0.48)], c.rgb)
    p.ell(0, 0.72, 0.25, 0.28, c)
    p.shine(-0.09, 0.82, 0.06, 0.08)


def kite(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.line([(0, 0.0), (0.06, 0.2), (0.02, 0.4)], (90, 86, 92), 2 if p.ink is None else 3)
    for y in (0.12, 0.26):
        p.poly([(-0.02, y), (0.12, y + 0.05), (0.12, y - 0.04)], c.shade(0.75))
        p.poly([(0.06, y), (-0.08, y + 0.05), (-0.08, y - 0.04)], c.shade(0.75))
    p.poly([(0.02, 0.36), (-0.3, 0.72), (0.02, 1.0), (0.34, 0.72)], c)
    p.line([(0.02, 0.36), (0.02, 1.0)], c.shade(0.6), 2)
    p.line([(-0.3, 0.72), (0.34, 0.72)], c.shade(0.6), 2)


def teddy_bear(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    pale = c.shade(1.45) if sum(c.rgb) < 640 else (226, 214, 200)
    for x in (-0.26, 0.26):
        p.ell(x, 0.92, 0.13, 0.12, c.rgb)
        p.ell(x * 1.45, 0.42, 0.13, 0.17, c.rgb)
    p.ell(0, 0.32, 0.34, 0.3, c)
    p.ell(0, 0.28, 0.2, 0.2, pale, edge=False)
    for x in (-0.34, 0.34):
        p.ell(x, 0.12, 0.19, 0.14, c.rgb)
        p.ell(x, 0.12, 0.1, 0.08, pale, edge=False)
    p.ell(0, 0.72, 0.33, 0.27, c.rgb)
    p.ell(0, 0.64, 0.15, 0.11, pale, edge=False)
    p.ell(0, 0.68, 0.055, 0.04, (50, 40, 40), edge=False)
    for x in (-0.13, 0.13):
        p.eye(x, 0.78, 0.04)
    p.poly([(-0.16, 0.5), (-0.16, 0.4), (0, 0.45), (0.16, 0.4), (0.16, 0.5), (0, 0.46)], (214, 60, 70))


def blocks(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-0.54, 0.0, -0.02, 0.5, c)
    p.rect(0.02, 0.0, 0.54, 0.5, c.shade(0.82))
    p.rect(-0.27, 0.5, 0.25, 1.0, c.shade(1.2))
    p.ell(-0.28, 0.25, 0.13, 0.13, c.shade(0.6), edge=False)
    p.poly([(0.14, 0.12), (0.42, 0.12), (0.28, 0.38)], c.shade(1.5), edge=False)
    p.rect(-0.12, 0.64, 0.1, 0.86, c.shade(0.65), edge=False)


def tree(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.07, 0.0), (0.07, 0.0), (0.05, 0.5), (-0.05, 0.5)], STEM)
    p.limb([(0.02, 0.34), (0.14, 0.48)], 0.04, STEM)
    for x, y, r in (
        (-0.21, 0.56, 0.17),
        (0.21, 0.56, 0.17),
        (-0.14, 0.74, 0.18),
        (0.15, 0.75, 0.17),
        (0.0, 0.84, 0.16),
    ):
        p.ell(x, y, r, r, c.rgb)
    p.ell(0, 0.66, 0.25, 0.23, c, edge=False)
    p.shine(-0.1, 0.8, 0.1, 0.06)
    p.glaze(0.05, 0.5, 0.24, 0.08, (0, 0, 0, 30))


def palm_tree(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.limb([(0, 0.02), (0.04, 0.36), (0.0, 0.72)], 0.08, (160, 120, 78))
    for turn in (0, 40, 140, 180, 205, -25):
        p.blob(
            0.17 * (1 if -90 < turn < 90 else -1),
            0.75 + (0.1 if 20 < turn < 160 else -0.02),
            0.22,
            0.06,
            turn,
            c,
        )
    for x in (-0.05, 0.05):
        p.ell(x, 0.68, 0.045, 0.045, STEM)


def flower(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.limb([(0, 0.02), (0, 0.6)], 0.05, LEAF)
    p.blob(-0.14, 0.24, 0.16, 0.06, 140, LEAF)
    p.blob(0.14, 0.3, 0.16, 0.06, 40, LEAF)
    for x, y in ((0, 0.22), (0.2, 0.08), (0.13, -0.16), (-0.13, -0.16), (-0.2, 0.08)):
        p.ell(x * 0.9, 0.74 + y * 0.85, 0.13, 0.13, c.rgb)
    p.ell(0, 0.74, 0.09, 0.09, (252, 206, 70) if c.rgb != (250, 212, 62) else (150, 92, 48))


def cactus(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.limb([(-0.04, 0.44), (-0.26, 0.44), (-0.26, 0.68)], 0.13, c.rgb)
    p.limb([(0.04, 0.34), (0.26, 0.34), (0.26, 0.56)], 0.13, c.rgb)
    p.rect(-0.13, 0.0, 0.13, 0.96, c, r=0.12)
    if p.ink is None:
        for x in (-0.05, 0.05):
            p.line([(x, 0.06), (x, 0.88)], c.shade(0.75))
    p.ell(0.0, 0.96, 0.06, 0.045, (244, 110, 160))


def mushroom(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-0.18, 0.0, 0.18, 0.56, (250, 240, 222), r=0.1)
    p.poly(
        [
            (-0.58, 0.46),
            (-0.54, 0.68),
            (-0.36, 0.9),
            (-0.12, 0.99),
            (0.12, 0.99),
            (0.36, 0.9),
            (0.54, 0.68),
            (0.58, 0.46),
        ],
        c,
    )
    if c.tile is None and p.ink is None:
        dot: Rgb = (254, 252, 246) if sum(c.rgb) < 640 else (190, 170, 160)
        for x, y, r in ((-0.28, 0.68, 0.09), (0.06, 0.8, 0.1), (0.32, 0.62, 0.08)):
            p.ell(x, y, r, r * 0.9, dot, edge=False)


def potted_plant(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    """The colour is that of the pot."""
    for turn, k in ((150, 0.8), (125, 1.0), (90, 1.1), (55, 1.0), (30, 0.8)):
        x = {150: -0.26, 125: -0.16, 90: 0.0, 55: 0.16, 30: 0.26}[turn]
        p.blob(x, 0.66 if turn != 90 else 0.74, 0.24 * k, 0.085, turn, LEAF)
    p.poly([(-0.28, 0.4), (0.28, 0.4), (0.2, 0.0), (-0.2, 0.0)], c)
    p.rect(-0.32, 0.36, 0.32, 0.48, c.shade(0.85), r=0.02)


def donut(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.ell(0, 0.48, 0.52, 0.48, (218, 164, 100))
    p.ell(0, 0.52, 0.47, 0.42, c)
    p.ell(0, 0.5, 0.15, 0.13, (250, 240, 226))
    for x, y in ((-0.3, 0.56), (-0.16, 0.78), (0.14, 0.8), (0.32, 0.5), (0.2, 0.24), (-0.18, 0.22)):
        p.ell(x, y, 0.04, 0.04, (250, 250, 200), edge=False)


def watermelon(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    """A slice; the colour is that of its flesh."""
    p.poly(
        [(-0.9, 0.94), (0.9, 0.94), (0.72, 0.46), (0.34, 0.1), (0, 0.0), (-0.34, 0.1), (-0.72, 0.46)],
        (70, 140, 74),
    )
    p.poly([(-0.76, 0.94), (0.76, 0.94), (0.6, 0.5), (0.28, 0.22), (0, 0.14), (-0.28, 0.22), (-0.6, 0.5)], c)
    for x, y in ((-0.4, 0.74), (0.0, 0.78), (0.4, 0.74), (-0.2, 0.48), (0.2, 0.48)):
        p.ell(x, y, 0.04, 0.06, (44, 32, 34), edge=False)


def carrot(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for turn in (60, 90, 120):
        p.blob(0.3 + (turn - 90) * -0.004, 0.82, 0.18, 0.06, turn - 30, LEAF)
    p.poly([(-0.56, 0.02), (-0.1, 0.5), (0.12, 0.72), (0.28, 0.68), (0.34, 0.52), (0.16, 0.32)], c)
    p.line([(0.0, 0.5), (0.1, 0.42)], c.shade(0.7), 2)


DRAWS: dict[str, Draw] = {
    "apple": apple, "banana": banana, "pizza": pizza, "cake": cake, "ice cream": ice_cream,
    "pumpkin": pumpkin,
    "ball": ball, "balloon": balloon, "kite": kite, "teddy bear": teddy_bear, "blocks": blocks, "tree": tree,
    "palm tree": palm_tree, "flower": flower, "cactus": cactus, "mushroom": mushroom,
    "potted plant": potted_plant,
    "donut": donut, "watermelon": watermelon, "carrot": carrot,
}  # fmt: skip

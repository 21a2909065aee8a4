"""How furniture and household objects are drawn: one unit tall, standing on y = 0. Some are held at (0, 0)."""

from __future__ import annotations

from .animals import Draw
from .canvas import Paint, Pen, Rgb

WOOD: Rgb = (176, 124, 78)


def chair(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.2, 0.16):
        p.limb([(x, 0.42), (x, 0.03)], 0.065, c.shade(0.75))
    p.rect(-0.32, 0.42, -0.2, 1.0, c.shade(0.85), r=0.04)
    for x in (-0.29, 0.29):
        p.limb([(x, 0.42), (x, 0.03)], 0.075, c.rgb)
    p.rect(-0.34, 0.4, 0.34, 0.5, c, r=0.03)
    p.rect(-0.33, 0.62, -0.21, 0.98, c, r=0.04)


def table(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.66, 0.66):
        p.limb([(x * 0.9, 0.8), (x * 0.9, 0.12)], 0.1, c.shade(0.65))
    for x in (-0.78, 0.78):
        p.limb([(x, 0.86), (x, 0.06)], 0.12, c.rgb)
    p.rect(-0.98, 0.82, 0.98, 1.0, c, r=0.05)


def sofa(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.8, 0.8):
        p.rect(x - 0.06, 0.0, x + 0.06, 0.14, WOOD)
    p.rect(-0.9, 0.3, 0.9, 1.0, c, r=0.16)
    p.line([(0, 0.95), (0, 0.5)], c.shade(0.62), 2)
    p.rect(-0.84, 0.1, 0.84, 0.46, c.shade(1.12), r=0.08)
    p.line([(0, 0.44), (0, 0.14)], c.shade(0.62), 2)
    for x in (-0.92, 0.92):
        p.rect(x - 0.16, 0.08, x + 0.16, 0.66, c.shade(0.88), r=0.13)


def bed(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-1.06, 0.0, -0.92, 1.0, WOOD, r=0.04)
    p.rect(0.94, 0.0, 1.06, 0.62, WOOD, r=0.04)
    p.rect(-0.94, 0.12, 0.96, 0.3, WOOD)
    p.rect(-0.94, 0.26, 0.96, 0.5, (250, 248, 244), r=0.06)
    p.blob(-0.68, 0.58, 0.25, 0.12, 8, (250, 250, 252))
    p.rect(-0.42, 0.2, 0.97, 0.56, c, r=0.07)
    p.rect(-0.42, 0.2, -0.28, 0.56, c.shade(1.4) if sum(c.rgb) < 640 else (206, 212, 224), r=0.03)


def bench(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.76, 0.76):
        p.limb([(x, 1.0), (x, 0.5)], 0.08, (70, 70, 78))
        p.limb([(x - 0.06, 0.46), (x - 0.08, 0.04)], 0.09, (70, 70, 78))
        p.limb([(x + 0.06, 0.46), (x + 0.08, 0.04)], 0.09, (70, 70, 78))
    for y in (0.62, 0.82):
        p.rect(-0.98, y, 0.98, y + 0.15, c, r=0.03)
    p.rect(-1.02, 0.42, 1.02, 0.55, c, r=0.03)


def lamp(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.ell(0, 0.05, 0.2, 0.05, (110, 96, 90))
    p.rect(-0.03, 0.06, 0.03, 0.66, (130, 112, 100), edge=False)
    p.glaze(0, 0.66, 0.42, 0.34, (255, 240, 170, 60))
    p.poly([(-0.3, 0.6), (0.3, 0.6), (0.18, 1.0), (-0.18, 1.0)], c)


def box(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly(
        [(-0.56, 0.82), (-0.78, 0.98), (-0.42, 1.0), (-0.3, 0.82)],
        c.shade(1.2) if sum(c.rgb) < 640 else (226, 222, 214),
    )
    p.poly(
        [(0.56, 0.82), (0.78, 0.98), (0.42, 1.0), (0.3, 0.82)],
        c.shade(1.2) if sum(c.rgb) < 640 else (226, 222, 214),
    )
    box_front(p, c)


def box_front(p: Pen, c: Paint) -> None:
    p.rect(-0.58, 0.0, 0.58, 0.84, c)
    p.rect(-0.1, 0.4, 0.1, 0.84, (226, 196, 140), edge=False)
    p.glaze(0, 0.06, 0.55, 0.05, (0, 0, 0, 30))


def umbrella(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-0.02, 0.02, 0.02, 0.96, (104, 80, 66), edge=False)
    if p.ink is None:
        p.arc(0.06, 0.05, 0.07, 0, 180, (104, 80, 66), 3)
    p.poly([(-0.56, 0.54), (-0.52, 0.7), (-0.38, 0.85), (-0.18, 0.94), (0, 0.97), (0.18, 0.94), (0.38, 0.85),
            (0.52, 0.7),
            (0.56, 0.54), (0.47, 0.6), (0.37, 0.6), (0.28, 0.54), (0.19, 0.6), (0.09, 0.6), (0, 0.54),
            (-0.09, 0.6),
            (-0.19, 0.6), (-0.28, 0.54), (-0.37, 0.6), (-0.47, 0.6)], c)  # fmt: skip
    for x in (-0.28, 0.28):
        p.line([(x, 0.56), (x * 0.55, 0.82), (0, 0.96)], c.shade(0.62))


def book(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.7, 0.14), (0, 0.0), (0.7, 0.14), (0.7, 1.0), (0, 0.86), (-0.7, 1.0)], c)
    p.poly([(-0.6, 0.28), (0, 0.14), (0.6, 0.28), (0.6, 0.94), (0, 0.8), (-0.6, 0.94)], (252, 248, 236))
    p.line([(0, 0.16), (0, 0.8)], (180, 170, 150), 2)
    for y in (0.5, 0.66):
        p.line([(-0.5, y + 0.1), (-0.1, y)], (176, 170, 160))
        p.line([(0.5, y + 0.1), (0.1, y)], (176, 170, 160))


def guitar(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.limb([(0.1, 0.5), (0.52, 0.88)], 0.09, (110, 76, 52))
    p.blob(0.57, 0.93, 0.1, 0.07, 42, (80, 56, 42))
    p.ell(-0.2, 0.24, 0.27, 0.24, c)
    p.ell(0.03, 0.43, 0.19, 0.18, c)
    p.ell(-0.1, 0.33, 0.2, 0.19, c, edge=False)
    p.ell(-0.08, 0.35, 0.085, 0.085, (62, 44, 38))
    p.line([(-0.22, 0.22), (0.54, 0.9)], (244, 236, 220))


def drum(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-0.6, 0.14, 0.6, 0.74, c)
    p.ell(0, 0.16, 0.6, 0.14, c.shade(0.75))
    p.rect(-0.6, 0.2, 0.6, 0.7, c, edge=False)
    for x in (-0.5, -0.17, 0.17):
        p.line([(x, 0.2), (x + 0.17, 0.68), (x + 0.34, 0.2)], (250, 230, 160), 2)
    p.ell(0, 0.74, 0.62, 0.15, (250, 244, 230))
    p.limb([(-0.46, 1.0), (-0.06, 0.8)], 0.06, WOOD)
    p.limb([(0.46, 1.0), (0.08, 0.8)], 0.06, WOOD)


def tent(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.9, 0.0), (0.0, 1.0), (0.9, 0.0)], c)
    p.poly([(0.0, 1.0), (0.9, 0.0), (0.56, 0.0)], c.shade(0.72))
    p.poly([(-0.3, 0.0), (0.0, 0.72), (0.24, 0.0)], c.shade(0.38))
    p.poly([(-0.3, 0.0), (0.0, 0.72), (-0.06, 0.0)], c.shade(1.3) if sum(c.rgb) < 640 else (214, 212, 206))
    p.line([(-0.9, 0.0), (-1.0, 0.0)], (90, 70, 60), 3)


def suitcase(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.arc(0, 0.8, 0.2, 180, 360, (84, 66, 58), 4)
    p.rect(-0.6, 0.0, 0.6, 0.82, c, r=0.1)
    for x in (-0.34, 0.34):
        p.rect(x - 0.05, 0.0, x + 0.05, 0.82, c.shade(0.65), edge=False)
    p.rect(-0.07, 0.58, 0.07, 0.72, (240, 206, 100))


def hat(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly(
        [(-0.54, 0.14), (-0.46, 0.72), (-0.26, 0.84), (0.0, 0.8), (0.26, 0.84), (0.46, 0.72), (0.54, 0.14)], c
    )
    p.rect(-0.53, 0.18, 0.53, 0.36, c.shade(0.5) if sum(c.rgb) > 300 else (236, 200, 90), edge=False)
    p.ell(0, 0.14, 0.98, 0.15, c.rgb)


def clock(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.26, 0.26):
        p.limb([(x, 0.14), (x * 1.3, 0.03)], 0.1, c.shade(0.7))
        p.ell(x, 0.86, 0.17, 0.13, (240, 200, 90))
    p.ell(0, 0.46, 0.44, 0.43, c)
    p.ell(0, 0.46, 0.31, 0.31, (254, 252, 244))
    p.line([(0, 0.46), (0, 0.7)], (50, 46, 52), 2)
    p.line([(0, 0.46), (0.16, 0.4)], (50, 46, 52), 2)


def cup(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    if p.ink is None:
        p.line([(-0.12, 0.84), (-0.06, 0.92), (-0.12, 1.0)], (240, 240, 244), 2)
        p.line([(0.1, 0.84), (0.16, 0.92), (0.1, 1.0)], (240, 240, 244), 2)
    p.arc(0.42, 0.4, 0.2, 0, 360, c.shade(0.75), 4)
    p.poly([(-0.44, 0.76), (0.44, 0.76), (0.34, 0.0), (-0.34, 0.0)], c)
    p.ell(0, 0.76, 0.44, 0.09, (112, 74, 52))


DRAWS: dict[str, Draw] = {
    "chair": chair, "table": table, "sofa": sofa, "bed": bed, "bench": bench, "lamp": lamp, "box": box,
    "umbrella": umbrella, "book": book, "guitar": guitar, "drum": drum, "tent": tent, "suitcase": suitcase,
    "hat": hat,
    "clock": clock, "cup": cup,
}  # fmt: skip

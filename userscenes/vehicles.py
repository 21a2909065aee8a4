"""How vehicles are drawn: one unit tall, wheels or keel at y = 0, facing right."""

from __future__ import annotations

from .animals import Draw
from .canvas import Paint, Pen, Rgb

GLASS: Rgb = (176, 218, 240)
TYRE: Rgb = (52, 50, 58)
STEEL: Rgb = (178, 184, 194)


def wheel(p: Pen, x: float, r: float, *, y: float | None = None) -> None:
    y = r if y is None else y
    p.ell(x, y, r, r, TYRE)
    p.ell(x, y, r * 0.5, r * 0.5, (200, 204, 212))


def car(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.62, 0.52), (-0.42, 0.98), (0.3, 0.98), (0.62, 0.52)], c.rgb)
    p.poly([(-0.5, 0.56), (-0.36, 0.9), (-0.1, 0.9), (-0.1, 0.56)], GLASS)
    p.poly([(0.0, 0.56), (0.0, 0.9), (0.25, 0.9), (0.48, 0.56)], GLASS)
    p.rect(-1.0, 0.18, 1.0, 0.6, c, r=0.14)
    p.glaze(0, 0.24, 0.9, 0.06, (0, 0, 0, 40))
    p.ell(0.92, 0.44, 0.08, 0.09, (255, 244, 180))
    p.rect(-1.0, 0.38, -0.92, 0.5, (226, 60, 60), edge=False)
    p.line([(-0.05, 0.52), (-0.05, 0.24)], c.shade(0.65), 2)
    for x in (-0.56, 0.58):
        wheel(p, x, 0.21)


def bus(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-1.0, 0.13, 1.0, 1.0, c, r=0.1)
    for x in (-0.88, -0.5, -0.12, 0.26):
        p.rect(x, 0.55, x + 0.31, 0.87, GLASS, r=0.03)
    p.rect(0.66, 0.2, 0.92, 0.87, GLASS, r=0.03)
    p.rect(-1.0, 0.32, 0.6, 0.39, c.shade(1.6) if sum(c.rgb) < 640 else (120, 130, 150), edge=False)
    p.ell(0.95, 0.27, 0.05, 0.06, (255, 244, 180))
    for x in (-0.6, 0.44):
        wheel(p, x, 0.15)


def truck(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-1.0, 0.22, 0.36, 1.0, (238, 232, 220), r=0.04)
    p.rect(-0.92, 0.5, 0.28, 0.62, c.rgb, edge=False)
    p.poly([(0.42, 0.2), (0.42, 0.86), (0.74, 0.86), (0.98, 0.54), (1.02, 0.2)], c)
    p.poly([(0.56, 0.54), (0.56, 0.78), (0.72, 0.78), (0.88, 0.54)], GLASS)
    p.rect(-1.0, 0.16, 1.02, 0.25, (80, 80, 88), edge=False)
    p.ell(0.98, 0.34, 0.05, 0.06, (255, 244, 180))
    for x in (-0.66, -0.24, 0.68):
        wheel(p, x, 0.16)


def train(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-1.22, 0.02, 1.2, 0.06, (120, 100, 84), edge=False)
    if p.ink is None:
        for x, y, r in ((0.5, 1.12, 0.1), (0.34, 1.26, 0.13), (0.1, 1.36, 0.15)):
            p.glaze(x, y, r, r * 0.8, (240, 240, 244, 170))
    p.rect(0.5, 0.7, 0.68, 0.98, (70, 66, 76))
    p.rect(0.46, 0.94, 0.72, 1.02, (70, 66, 76))
    p.rect(-1.16, 0.24, -0.3, 1.0, c, r=0.04)
    p.rect(-1.24, 0.94, -0.22, 1.04, c.shade(0.65), r=0.03)
    p.rect(-1.02, 0.58, -0.72, 0.84, GLASS)
    p.rect(-0.62, 0.58, -0.4, 0.84, GLASS)
    p.rect(-0.34, 0.3, 0.96, 0.74, c, r=0.16)
    p.ell(0.12, 0.78, 0.12, 0.09, (246, 204, 80))
    p.ell(0.96, 0.54, 0.08, 0.1, (255, 244, 180))
    p.poly([(0.9, 0.24), (1.2, 0.06), (0.9, 0.06)], (90, 84, 92))
    p.rect(-1.16, 0.2, 0.96, 0.3, (80, 76, 84), edge=False)
    for x, r in ((-0.98, 0.14), (-0.66, 0.14), (-0.08, 0.19), (0.34, 0.19), (0.72, 0.14)):
        wheel(p, x, r, y=r + 0.05)


def bicycle(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.5, 0.5):
        if p.ink is None:
            p.arc(x, 0.32, 0.32, 0, 360, TYRE, 3)
            for a, b in ((0, 0.28), (0.28, 0), (0.2, 0.2), (0.2, -0.2)):
                p.line([(x - a, 0.32 - b), (x + a, 0.32 + b)], (186, 190, 198))
        else:
            p.arc(x, 0.32, 0.33, 0, 360, TYRE, 4)
        p.ell(x, 0.32, 0.05, 0.05, STEEL, edge=False)
    hub, pedals, saddle, head = (-0.5, 0.32), (0.0, 0.3), (-0.2, 0.74), (0.36, 0.74)
    for tube in ((hub, saddle), (hub, pedals), (pedals, saddle), (saddle, head), (pedals, head),
                 ((0.5, 0.32), (0.32, 0.94))):  # fmt: skip
        p.limb(tube, 0.075, c.rgb)
    p.limb([(-0.22, 0.74), (-0.26, 0.86)], 0.05, c.rgb, edge=False)
    p.limb([(-0.4, 0.88), (-0.14, 0.87)], 0.09, (60, 50, 52))
    p.limb([(0.22, 0.98), (0.32, 0.94), (0.42, 0.97)], 0.06, (60, 50, 52))
    p.ell(0.0, 0.3, 0.09, 0.09, STEEL)


def scooter(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.limb([(0.44, 0.2), (0.3, 0.92)], 0.07, c.rgb)
    p.limb([(0.14, 0.94), (0.42, 0.9)], 0.065, (60, 56, 62))
    p.limb([(-0.4, 0.2), (0.28, 0.2), (0.44, 0.26)], 0.09, c.rgb)
    for x in (-0.46, 0.48):
        wheel(p, x, 0.13)


def skateboard(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-1.0, 1.0):
        p.ell(x, 0.28, 0.28, 0.28, (250, 240, 220))
        p.ell(x, 0.28, 0.1, 0.1, TYRE, edge=False)
    p.poly(
        [
            (-1.85, 1.0),
            (-1.5, 0.58),
            (1.5, 0.58),
            (1.85, 1.0),
            (1.6, 0.98),
            (1.38, 0.84),
            (-1.38, 0.84),
            (-1.6, 0.98),
        ],
        c,
    )


def boat(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-0.03, 0.3, 0.03, 1.0, (134, 96, 66), edge=False)
    p.poly([(0.06, 0.4), (0.06, 0.97), (0.5, 0.4)], (252, 250, 242))
    p.poly([(-0.06, 0.4), (-0.06, 0.86), (-0.4, 0.4)], (240, 234, 222))
    hull(p, c)


def hull(p: Pen, c: Paint) -> None:
    p.poly([(-0.62, 0.32), (0.7, 0.32), (0.5, 0.0), (-0.46, 0.0)], c)
    p.rect(-0.64, 0.28, 0.72, 0.35, c.shade(1.35) if sum(c.rgb) < 640 else (190, 196, 206), edge=True)


def plane(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.86, 0.5), (-1.06, 1.0), (-0.82, 1.0), (-0.5, 0.56)], c.shade(0.8))
    p.poly([(0.1, 0.5), (-0.28, 0.94), (-0.08, 0.94), (0.4, 0.52)], c.shade(0.8))
    p.poly([(-1.0, 0.52), (-0.8, 0.66), (0.7, 0.68), (0.98, 0.54), (1.04, 0.42), (0.8, 0.3), (-0.5, 0.28)], c)
    p.poly([(0.62, 0.66), (0.94, 0.56), (0.66, 0.52)], GLASS)
    for x in (-0.5, -0.28, -0.06, 0.16, 0.38):
        p.ell(x, 0.54, 0.06, 0.06, GLASS)
    p.poly([(0.16, 0.38), (-0.42, 0.0), (-0.2, 0.0), (0.52, 0.36)], c.shade(0.88))


def hot_air_balloon(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.09, 0.09):
        p.line([(x, 0.16), (x * 2.4, 0.36)], (110, 84, 66), 2)
    p.poly([(-0.24, 0.46), (-0.1, 0.3), (0.1, 0.3), (0.24, 0.46)], c.shade(0.8))
    p.ell(0, 0.66, 0.35, 0.34, c)
    if c.tile is None:
        p.ell(0, 0.66, 0.17, 0.34, c.shade(1.3) if sum(c.rgb) < 640 else (214, 220, 230))
    p.shine(-0.14, 0.82, 0.1, 0.08)
    p.rect(-0.11, 0.0, 0.11, 0.17, (178, 122, 72), r=0.02)
    p.line([(-0.1, 0.09), (0.1, 0.09)], (120, 78, 46), 2)


def tractor(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(0.4, 0.6, 0.48, 0.96, (80, 78, 86))
    p.rect(-0.1, 0.28, 0.86, 0.64, c, r=0.05)
    p.rect(0.7, 0.34, 0.82, 0.56, c.shade(0.6), edge=False)
    p.ell(0.86, 0.5, 0.05, 0.06, (255, 244, 180))
    p.rect(-0.78, 0.3, -0.06, 0.62, c, r=0.05)
    p.rect(-0.8, 0.5, -0.68, 0.94, (70, 66, 74), r=0.04)
    p.limb([(-0.08, 0.62), (-0.2, 0.8)], 0.05, (70, 66, 74), edge=False)
    wheel(p, -0.46, 0.34)
    wheel(p, 0.62, 0.2)


def rocket(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.08, 0.16), (0.0, 0.0), (0.08, 0.16)], (252, 180, 50))
    for s in (-1, 1):
        p.poly([(s * 0.14, 0.42), (s * 0.3, 0.1), (s * 0.1, 0.2)], c.shade(0.7))
    p.ell(0, 0.52, 0.17, 0.36, (240, 240, 244))
    p.poly([(-0.135, 0.74), (0.135, 0.74), (0.07, 0.9), (0, 1.0), (-0.07, 0.9)], c)
    p.rect(-0.15, 0.26, 0.15, 0.36, c)
    p.ell(0, 0.58, 0.08, 0.08, GLASS)


def helicopter(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.limb([(-0.3, 0.56), (-1.0, 0.66)], 0.12, c.rgb)
    p.ell(-1.0, 0.68, 0.16, 0.16, STEEL)
    p.rect(0.08, 0.8, 0.14, 0.96, (80, 80, 88), edge=False)
    p.limb([(-0.7, 0.96), (0.94, 0.96)], 0.06, (90, 92, 100))
    p.ell(0.1, 0.52, 0.5, 0.32, c)
    p.poly([(0.24, 0.76), (0.56, 0.6), (0.58, 0.46), (0.24, 0.46)], GLASS)
    p.limb([(-0.3, 0.06), (0.56, 0.06)], 0.07, (80, 80, 88))
    for x in (-0.08, 0.3):
        p.line([(x, 0.1), (x, 0.24)], (80, 80, 88), 2)


DRAWS: dict[str, Draw] = {
    "car": car, "bus": bus, "truck": truck, "train": train, "bicycle": bicycle, "scooter": scooter,
    "skateboard": skateboard, "boat": boat, "plane": plane, "hot-air balloon": hot_air_balloon,
    "tractor": tractor,
    "rocket": rocket, "helicopter": helicopter,
}  # fmt: skip

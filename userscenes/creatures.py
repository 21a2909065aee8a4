"""How birds and other small animals are drawn: one unit tall, facing right."""

from __future__ import annotations

from .animals import Draw, dozing
from .canvas import Paint, Pen, Rgb

BEAK: Rgb = (244, 158, 42)


def rabbit(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    pink: Rgb = (244, 178, 186)
    pale = c.shade(1.5) if sum(c.rgb) < 660 else (232, 222, 216)
    asleep = pose == "sleep"
    lift = 0.16 if pose in ("jump", "run") else 0.0
    if asleep:
        p.ell(-0.34, 0.16, 0.09, 0.09, pale)
        p.ell(-0.02, 0.2, 0.36, 0.2, c)
        hx, hy = 0.24, 0.26
        p.blob(hx - 0.2, hy + 0.16, 0.24, 0.07, 160, c.rgb)
    else:
        p.ell(-0.3, 0.2 + lift, 0.09, 0.09, pale)
        if pose in ("jump", "run"):
            p.limb([(-0.16, 0.18 + lift), (-0.38, 0.06 + lift * 0.6)], 0.12, c.rgb)
            p.limb([(0.14, 0.2 + lift), (0.3, 0.1 + lift * 0.6)], 0.09, c.rgb)
            p.blob(-0.02, 0.26 + lift, 0.29, 0.19, 18, c)
        else:
            p.ell(-0.06, 0.22, 0.25, 0.22, c)
            p.ell(-0.12, 0.06, 0.15, 0.06, c.rgb)
            p.limb([(0.12, 0.24), (0.13, 0.05)], 0.08, c.rgb)
        hx, hy = 0.14, 0.5 + lift
        for dx, turn in ((-0.1, 100), (0.05, 82)):
            p.blob(hx + dx, hy + 0.28, 0.22, 0.065, turn, c.rgb)
            p.blob(hx + dx, hy + 0.28, 0.15, 0.03, turn, pink)
    p.ell(hx, hy, 0.19, 0.165, c.rgb)
    p.ell(hx + 0.11, hy - 0.05, 0.09, 0.07, pale, edge=False)
    p.ell(hx + 0.17, hy - 0.02, 0.03, 0.025, (226, 110, 126), edge=False)
    p.eye(hx + 0.06, hy + 0.04, 0.034, closed=asleep)
    if asleep:
        dozing(p, hx + 0.14, hy + 0.3)


def bird(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    pale = c.shade(1.5) if sum(c.rgb) < 660 else (226, 220, 214)
    fly = pose == "fly"
    up = 0.16 if fly else 0.0
    if not fly:
        for x in (-0.04, 0.08):
            p.line([(x, 0.2), (x + 0.02, 0.02)], (200, 120, 40), 2)
    p.poly([(-0.3, 0.42 + up), (-0.66, 0.5 + up), (-0.64, 0.34 + up), (-0.28, 0.3 + up)], c.shade(0.8))
    if fly:
        p.poly([(-0.14, 0.5 + up), (0.14, 0.52 + up), (-0.1, 1.0)], c.shade(0.7))
    p.ell(0, 0.42 + up, 0.37, 0.28, c)
    p.ell(0.1, 0.34 + up, 0.22, 0.17, pale, edge=False)
    p.poly([(0.48, 0.68 + up), (0.48, 0.54 + up), (0.66, 0.6 + up)], BEAK)
    p.ell(0.3, 0.62 + up, 0.22, 0.2, c.rgb)
    p.eye(0.37, 0.66 + up, 0.045)
    if fly:
        p.poly([(-0.24, 0.48 + up), (0.12, 0.5 + up), (0.0, 0.3 + up), (-0.44, 0.94)], c.shade(0.85))
    else:
        p.blob(-0.1, 0.44, 0.24, 0.13, 12, c.shade(0.8))
        p.poly([(0.2, 0.78), (0.26, 0.94), (0.36, 0.8)], c.shade(0.8))


def duck(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.1, 0.08):
        p.limb([(x, 0.2), (x + 0.03, 0.04)], 0.05, BEAK, edge=False)
        p.ell(x + 0.07, 0.03, 0.09, 0.035, BEAK)
    p.poly([(-0.34, 0.42), (-0.66, 0.6), (-0.52, 0.28)], c.rgb)
    p.ell(-0.06, 0.36, 0.46, 0.24, c)
    p.poly([(0.1, 0.44), (0.34, 0.4), (0.4, 0.7), (0.16, 0.74)], c.rgb, edge=False)
    p.blob(0.5, 0.7, 0.16, 0.06, -6, BEAK)
    p.ell(0.26, 0.77, 0.22, 0.21, c.rgb)
    p.eye(0.34, 0.82, 0.045)
    if pose == "fly":
        p.poly([(-0.3, 0.44), (0.14, 0.46), (-0.32, 0.98)], c.shade(0.85))
    else:
        p.blob(-0.16, 0.4, 0.27, 0.13, 10, c.shade(0.82))


def chicken(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.1, 0.1):
        p.line([(x, 0.2), (x, 0.03)], (222, 140, 40), 2)
        p.line([(x - 0.02, 0.02), (x + 0.09, 0.02)], (222, 140, 40), 2)
    for turn, k in ((130, 0.8), (112, 0.9), (96, 1.0)):
        p.blob(-0.34, 0.6, 0.26 * k, 0.09, turn, c.shade(0.72))
    p.ell(-0.04, 0.42, 0.37, 0.27, c)
    p.poly([(0.04, 0.5), (0.32, 0.42), (0.36, 0.8), (0.16, 0.8)], c.rgb, edge=False)
    for x in (0.16, 0.25, 0.34):
        p.ell(x, 0.94, 0.055, 0.065, (222, 48, 48))
    p.poly([(0.4, 0.82), (0.4, 0.72), (0.56, 0.76)], BEAK)
    p.ell(0.36, 0.65, 0.05, 0.07, (222, 48, 48))
    p.ell(0.26, 0.79, 0.16, 0.15, c.rgb)
    p.eye(0.32, 0.82, 0.034)
    p.blob(-0.1, 0.42, 0.22, 0.13, 10, c.shade(0.82))


def penguin(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    lift = 0.1 if pose == "jump" else 0.0
    for x in (-0.12, 0.14):
        p.ell(x, 0.04 + lift, 0.13, 0.045, BEAK)
    arms = 50 if pose in ("jump", "dance", "wave") else -62
    p.blob(-0.3, 0.5 + lift + (0.08 if arms > 0 else 0), 0.2, 0.07, 180 - arms, c.shade(0.8))
    p.ell(0, 0.46 + lift, 0.3, 0.43, c)
    p.ell(0.05, 0.38 + lift, 0.21, 0.32, (250, 250, 248), edge=False)
    p.ell(0.02, 0.8 + lift, 0.22, 0.2, c.rgb)
    p.ell(0.08, 0.77 + lift, 0.14, 0.12, (250, 250, 248), edge=False)
    p.poly([(0.15, 0.8 + lift), (0.15, 0.7 + lift), (0.34, 0.74 + lift)], BEAK)
    p.eye(0.02, 0.83 + lift, 0.03)
    p.eye(0.13, 0.83 + lift, 0.03)
    p.blob(0.28, 0.5 + lift + (0.08 if arms > 0 else 0), 0.2, 0.07, arms, c.shade(0.8))


def frog(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    lift = 0.2 if pose == "jump" else 0.0
    if pose == "jump":
        p.limb([(-0.3, 0.3 + lift), (-0.62, 0.12 + lift * 0.5), (-0.44, 0.06)], 0.13, c.rgb)
        p.limb([(0.26, 0.3 + lift), (0.46, 0.2)], 0.12, c.rgb)
    else:
        p.ell(-0.44, 0.22, 0.2, 0.2, c.rgb)
        p.ell(0.44, 0.22, 0.2, 0.2, c.rgb)
        p.ell(-0.48, 0.05, 0.2, 0.055, c.shade(0.8))
        p.ell(0.48, 0.05, 0.2, 0.055, c.shade(0.8))
    p.ell(0, 0.34 + lift, 0.46, 0.32, c)
    p.ell(0.02, 0.24 + lift, 0.28, 0.18, c.shade(1.5) if sum(c.rgb) < 660 else (226, 220, 210), edge=False)
    for x in (-0.24, 0.26):
        p.ell(x, 0.72 + lift, 0.18, 0.18, c.rgb)
        p.ell(x + 0.02, 0.73 + lift, 0.11, 0.11, (252, 252, 244), edge=False)
        p.ell(x + 0.04, 0.73 + lift, 0.055, 0.065, (30, 28, 32), edge=False)
    p.arc(0.02, 0.6 + lift, 0.26, 30, 150, c.shade(0.4), 2)
    if pose != "jump":
        for x in (-0.16, 0.18):
            p.ell(x, 0.05, 0.12, 0.05, c.shade(0.8))


def turtle(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    skin: Rgb = (140, 186, 104) if c.rgb != (78, 166, 82) else (210, 190, 120)
    for x in (-0.4, 0.36):
        p.ell(x, 0.12, 0.15, 0.12, skin)
    p.poly([(-0.6, 0.26), (-0.84, 0.18), (-0.58, 0.14)], skin)
    p.limb([(0.5, 0.3), (0.76, 0.42)], 0.2, skin)
    p.ell(0.84, 0.52, 0.2, 0.18, skin)
    p.eye(0.9, 0.57, 0.04)
    p.arc(0.88, 0.5, 0.08, 30, 130, (70, 90, 50), 1)
    p.poly(
        [
            (-0.64, 0.2),
            (-0.6, 0.48),
            (-0.4, 0.78),
            (-0.1, 0.96),
            (0.14, 0.94),
            (0.42, 0.74),
            (0.6, 0.46),
            (0.62, 0.2),
        ],
        c,
    )
    if c.tile is None and p.ink is None:
        for x, y, r in ((-0.32, 0.5, 0.13), (0.02, 0.62, 0.16), (0.34, 0.48, 0.12)):
            p.ell(x, y, r, r, c.shade(0.78), edge=False)
    p.rect(-0.68, 0.14, 0.66, 0.26, c.shade(1.3), r=0.05)


def butterfly(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for s in (-1, 1):
        p.blob(s * 0.36, 0.66, 0.36, 0.27, 90 - s * 48, c)
        p.blob(s * 0.28, 0.3, 0.25, 0.19, 90 + s * 40, c.shade(0.85))
        p.ell(s * 0.42, 0.7, 0.1, 0.11, c.shade(1.6) if sum(c.rgb) < 640 else (170, 180, 214), edge=False)
        p.line([(0, 0.76), (s * 0.14, 0.98)], (50, 40, 44), 2)
    p.limb([(0, 0.2), (0, 0.74)], 0.1, (60, 48, 50))


def snail(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    body: Rgb = (222, 190, 140)
    p.limb([(-0.6, 0.1), (0.5, 0.1), (0.66, 0.46)], 0.2, body)
    p.line([(0.62, 0.5), (0.58, 0.78)], body, 2)
    p.line([(0.7, 0.5), (0.8, 0.76)], body, 2)
    p.eye(0.58, 0.8, 0.05)
    p.eye(0.8, 0.78, 0.05)
    p.ell(-0.08, 0.52, 0.46, 0.44, c)
    for r in (0.3, 0.16):
        p.ell(-0.04, 0.48, r, r * 0.95, c.shade(0.8 if r > 0.2 else 1.2))


def owl(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x in (-0.24, 0.24):
        p.poly([(x - 0.12, 0.84), (x + 0.12, 0.84), (x * 1.25, 1.0)], c.rgb)
    p.ell(0, 0.46, 0.38, 0.45, c)
    p.ell(0, 0.32, 0.24, 0.26, c.shade(1.4), edge=False)
    p.blob(-0.34, 0.42, 0.26, 0.1, 80, c.shade(0.75))
    p.blob(0.34, 0.42, 0.26, 0.1, 100, c.shade(0.75))
    for x in (-0.16, 0.16):
        p.ell(x, 0.68, 0.16, 0.16, (252, 250, 240))
        p.ell(x + 0.02, 0.68, 0.08, 0.08, (30, 26, 30), edge=False)
    p.poly([(-0.06, 0.6), (0.06, 0.6), (0.0, 0.48)], BEAK)
    for x in (-0.12, 0.12):
        p.ell(x, 0.03, 0.09, 0.04, BEAK)


def octopus(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    for x, bend in ((-0.32, -0.24), (-0.16, -0.1), (0.0, 0.04), (0.16, 0.1), (0.32, 0.24)):
        p.limb([(x, 0.4), (x + bend * 0.4, 0.2), (x + bend, 0.06)], 0.14, c.rgb)
    p.ell(0, 0.66, 0.38, 0.34, c)
    p.shine(-0.12, 0.84, 0.14, 0.08)
    for x in (-0.1, 0.16):
        p.ell(x, 0.62, 0.09, 0.1, (252, 252, 248))
        p.ell(x + 0.02, 0.61, 0.045, 0.055, (30, 26, 30), edge=False)
    p.arc(0.03, 0.5, 0.1, 20, 160, c.shade(0.4), 2)


def dinosaur(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.poly([(-0.1, 0.5), (-0.72, 0.12), (-0.16, 0.18)], c.rgb)
    for x in (-0.14, 0.12):
        p.limb([(x, 0.3), (x + 0.02, 0.07)], 0.17, c.rgb)
        p.ell(x + 0.06, 0.045, 0.12, 0.045, c.shade(0.75))
    p.blob(0.02, 0.42, 0.34, 0.24, 52, c)
    p.ell(0.1, 0.36, 0.14, 0.2, c.shade(1.4), edge=False)
    for x, y in ((-0.28, 0.42), (-0.2, 0.58), (-0.1, 0.74), (0.0, 0.9)):
        p.poly([(x - 0.08, y - 0.06), (x - 0.07, y + 0.1), (x + 0.07, y + 0.04)], c.shade(0.6))
    p.limb([(0.22, 0.52), (0.36, 0.44)], 0.08, c.rgb)
    p.ell(0.2, 0.82, 0.2, 0.17, c.rgb)
    p.rect(0.14, 0.68, 0.5, 0.86, c.rgb, r=0.08)
    p.line([(0.24, 0.74), (0.48, 0.74)], c.shade(0.4), 2)
    p.eye(0.2, 0.88, 0.04)


DRAWS: dict[str, Draw] = {
    "rabbit": rabbit, "bird": bird, "duck": duck, "chicken": chicken, "penguin": penguin, "frog": frog,
    "turtle": turtle,
    "butterfly": butterfly, "snail": snail, "owl": owl, "octopus": octopus, "dinosaur": dinosaur,
}  # fmt: skip

"""How the larger animals are drawn: one unit tall, in side view, facing right."""

from __future__ import annotations

from .animals import Draw, dozing, legs
from .canvas import Fill, Paint, Pen, Point, Rgb


def _eye_and_sleep(p: Pen, pose: str, x: float, y: float, r: float) -> None:
    p.eye(x, y, r, closed=pose == "sleep")
    if pose == "sleep":
        dozing(p, x + 0.12, y + 0.22)


def _stand(
    p: Pen,
    c: Fill,
    pose: str,
    *,
    back: float,
    front: float,
    top: float,
    width: float,
    hoof: Rgb | None = None,
) -> float:
    """Draws the legs, folded under a sleeper; returns how far the body is lifted, negative for a sleeper."""
    if pose == "sleep":
        for x in (back, front):
            p.limb([(x, width * 0.6), (x + 0.22, width * 0.5)], width, c.rgb if isinstance(c, Paint) else c)
        return -(top - 0.14)
    return legs(p, c, back=back, front=front, top=top, width=width, pose=pose, hoof=hoof)


def horse(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    hair: Rgb = ((66, 44, 34), (240, 226, 190), (40, 36, 40))[appearance_seed % 3]
    u = _stand(p, c, pose, back=-0.3, front=0.2, top=0.42, width=0.085, hoof=(60, 48, 44))
    p.limb([(-0.4, 0.56 + u), (-0.52, 0.44 + u), (-0.53, 0.26 + u)], 0.09, hair)
    p.poly(
        [
            (0.1, 0.5 + u),
            (0.24, 0.4 + u),
            (0.38, 0.74 + u),
            (0.36, 0.92 + u),
            (0.24, 0.86 + u),
            (0.02, 0.62 + u),
        ],
        c.rgb,
    )
    p.ell(-0.07, 0.5 + u, 0.37, 0.165, c)
    p.poly([(0.06, 0.62 + u), (0.16, 0.66 + u), (0.30, 0.9 + u), (0.27, 0.97 + u), (0.18, 0.9 + u)], hair)
    p.poly([(0.27, 0.86 + u), (0.3, 1.0 + u), (0.36, 0.9 + u)], c.rgb)
    p.blob(0.42, 0.8 + u, 0.17, 0.085, -38, c.rgb)
    p.ell(0.53, 0.715 + u, 0.055, 0.055, c.shade(0.75), edge=False)
    _eye_and_sleep(p, pose, 0.37, 0.85 + u, 0.026)


def cow(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    u = _stand(p, c, pose, back=-0.42, front=0.26, top=0.4, width=0.12, hoof=(66, 56, 54))
    p.line([(-0.58, 0.7 + u), (-0.66, 0.42 + u)], c.shade(0.6), 2)
    p.ell(-0.66, 0.4 + u, 0.045, 0.06, (60, 50, 50), edge=False)
    p.rect(-0.6, 0.36 + u, 0.42, 0.84 + u, c, r=0.2)
    patch: Rgb = (250, 248, 244) if sum(c.rgb) < 560 else (86, 76, 78)
    if c.tile is None:
        p.ell(-0.3, 0.68 + u, 0.15, 0.11, patch, edge=False)
        p.ell(0.1, 0.56 + u, 0.12, 0.1, patch, edge=False)
    p.ell(-0.2, 0.35 + u, 0.1, 0.06, (246, 176, 184))
    for x in (0.42, 0.62):
        p.poly(
            [(x - 0.03, 0.93 + u), (x + 0.04, 0.93 + u), (x + (0.0 if x < 0.5 else 0.05), 1.04 + u)],
            (238, 226, 200),
        )
    p.blob(0.34, 0.86 + u, 0.12, 0.06, 15, c.rgb)
    p.rect(0.36, 0.56 + u, 0.68, 0.96 + u, c.rgb, r=0.13)
    p.ell(0.55, 0.6 + u, 0.16, 0.11, (248, 192, 192))
    p.ell(0.51, 0.61 + u, 0.02, 0.025, (120, 70, 76), edge=False)
    p.ell(0.6, 0.61 + u, 0.02, 0.025, (120, 70, 76), edge=False)
    _eye_and_sleep(p, pose, 0.5, 0.81 + u, 0.035)


def sheep(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    u = _stand(p, (70, 64, 68), pose, back=-0.28, front=0.2, top=0.3, width=0.1)
    for x, y in (
        (-0.42, 0.5),
        (-0.3, 0.7),
        (-0.05, 0.78),
        (0.2, 0.7),
        (0.3, 0.48),
        (0.1, 0.33),
        (-0.15, 0.3),
        (-0.36, 0.36),
    ):
        p.ell(x, y + u, 0.18, 0.17, c)
    p.ell(-0.05, 0.53 + u, 0.4, 0.25, c, edge=False)
    p.blob(0.34, 0.78 + u, 0.11, 0.05, 200, (70, 64, 68))
    p.ell(0.46, 0.7 + u, 0.16, 0.19, (84, 76, 80))
    p.ell(0.42, 0.9 + u, 0.14, 0.09, c.rgb)
    if p.ink is None:
        p.ell(0.49, 0.75 + u, 0.05, 0.05, (250, 250, 250), edge=False)
    _eye_and_sleep(p, pose, 0.5, 0.75 + u, 0.03)


def pig(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    u = _stand(p, c, pose, back=-0.36, front=0.24, top=0.32, width=0.14, hoof=c.shade(0.55))
    p.arc(-0.66, 0.56 + u, 0.09, 0, 300, c.shade(0.7), 3)
    p.ell(-0.06, 0.5 + u, 0.56, 0.34, c)
    p.shine(-0.16, 0.68 + u, 0.26, 0.09)
    for x in (0.28, 0.54):
        p.poly([(x - 0.09, 0.8 + u), (x + 0.09, 0.82 + u), (x + 0.08, 1.0 + u)], c.shade(0.85))
    p.ell(0.42, 0.62 + u, 0.29, 0.27, c.rgb)
    p.ell(0.6, 0.56 + u, 0.12, 0.1, c.shade(0.82))
    p.ell(0.57, 0.56 + u, 0.022, 0.03, c.shade(0.4), edge=False)
    p.ell(0.64, 0.56 + u, 0.022, 0.03, c.shade(0.4), edge=False)
    _eye_and_sleep(p, pose, 0.46, 0.72 + u, 0.04)


def elephant(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    u = _stand(p, c, pose, back=-0.36, front=0.16, top=0.34, width=0.18, hoof=c.shade(0.7))
    p.line([(-0.56, 0.62 + u), (-0.64, 0.38 + u)], c.shade(0.6), 2)
    p.ell(-0.12, 0.56 + u, 0.47, 0.33, c)
    p.limb(
        [(0.5, 0.7 + u), (0.66, 0.46 + u), (0.66, 0.2 + max(u, -0.1)), (0.76, 0.14 + max(u, -0.1))],
        0.13,
        c.rgb,
    )
    p.poly([(0.5, 0.5 + u), (0.58, 0.5 + u), (0.72, 0.38 + u)], (252, 248, 232))
    p.ell(0.4, 0.72 + u, 0.27, 0.27, c.rgb)
    p.ell(0.22, 0.7 + u, 0.2, 0.26, c.shade(0.85))
    p.ell(0.22, 0.68 + u, 0.13, 0.18, (236, 176, 180), edge=False)
    _eye_and_sleep(p, pose, 0.5, 0.8 + u, 0.03)


def giraffe(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    dark = c.shade(0.68)
    u = _stand(p, c, pose, back=-0.18, front=0.12, top=0.34, width=0.06, hoof=(70, 54, 48))
    p.line([(-0.26, 0.44 + u), (-0.32, 0.26 + u)], dark, 2)
    p.poly([(0.06, 0.5 + u), (0.2, 0.36 + u), (0.27, 0.9 + u), (0.17, 0.92 + u)], c.rgb)
    p.ell(-0.04, 0.42 + u, 0.25, 0.12, c)
    if c.tile is None and p.ink is None:
        for x, y in (
            (-0.16, 0.45),
            (-0.04, 0.4),
            (0.06, 0.46),
            (-0.08, 0.49),
            (0.13, 0.55),
            (0.18, 0.65),
            (0.19, 0.76),
            (0.22, 0.85),
        ):
            p.ell(x, y + u, 0.034, 0.032, dark, edge=False)
    for x in (0.2, 0.26):
        p.line([(x, 0.93 + u), (x - 0.01, 1.0 + u)], dark, 2)
        p.ell(x - 0.01, 1.0 + u, 0.015, 0.015, (80, 54, 40), edge=False)
    p.blob(0.13, 0.93 + u, 0.06, 0.03, 150, c.rgb)
    p.blob(0.28, 0.89 + u, 0.12, 0.058, -22, c.rgb)
    _eye_and_sleep(p, pose, 0.25, 0.92 + u, 0.02)


def bear(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    pale = c.shade(1.4) if sum(c.rgb) < 640 else (222, 214, 206)
    if pose == "sleep":
        p.ell(0.0, 0.28, 0.56, 0.28, c)
        p.limb([(0.2, 0.08), (0.52, 0.08)], 0.14, c.rgb)
        hx, hy = 0.4, 0.3
    else:  # bears of stories stand on two legs
        seated, lift = pose == "sit", 0.12 if pose == "jump" else 0.0
        step = {"walk": 0.06, "run": 0.12}.get(pose, 0.0)
        for x in (-0.13, 0.13):
            dx = step * (1 if x > 0 else -1)
            if seated:
                p.ell(x * 1.6, 0.09, 0.13, 0.09, c.rgb)
            else:
                p.limb([(x, 0.28 + lift), (x + dx, 0.08 + lift)], 0.17, c.rgb)
                p.ell(x + dx + 0.04, 0.05 + lift, 0.11, 0.055, c.shade(0.75))
        p.limb([(-0.18, 0.5 + lift), (-0.3, 0.34 + lift + step)], 0.13, c.rgb)
        p.ell(0, 0.37 + lift, 0.25, 0.28, c)
        p.ell(0.03, 0.34 + lift, 0.15, 0.18, pale, edge=False)
        p.limb([(0.18, 0.5 + lift), (0.3, 0.36 + lift + step)], 0.13, c.rgb)
        hx, hy = 0.02, 0.77 + lift
    for dx in (-0.16, 0.16):
        p.ell(hx + dx, hy + 0.15, 0.085, 0.085, c.rgb)
        p.ell(hx + dx, hy + 0.15, 0.045, 0.045, pale, edge=False)
    p.ell(hx, hy, 0.22, 0.2, c.rgb)
    p.ell(hx + 0.07, hy - 0.07, 0.11, 0.085, pale)
    p.ell(hx + 0.09, hy - 0.04, 0.042, 0.03, (44, 36, 40), edge=False)
    for dx in (-0.02, 0.14):
        p.eye(hx + dx, hy + 0.05, 0.028, closed=pose == "sleep")
    if pose == "sleep":
        dozing(p, hx + 0.16, hy + 0.36)


def lion(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    u = _stand(p, c, pose, back=-0.38, front=0.18, top=0.34, width=0.12)
    mane: Rgb = (150, 82, 36)
    p.limb([(-0.5, 0.5 + u), (-0.66, 0.6 + u), (-0.68, 0.76 + u)], 0.06, c.rgb)
    p.ell(-0.68, 0.78 + u, 0.07, 0.08, mane)
    p.ell(-0.12, 0.44 + u, 0.46, 0.19, c)
    for i in range(9):
        dx, dy = _RING[i]
        p.ell(0.34 + 0.22 * dx, 0.66 + u + 0.22 * dy, 0.14, 0.14, mane)
    p.ell(0.36, 0.66 + u, 0.21, 0.2, c.rgb)
    p.ell(0.42, 0.59 + u, 0.11, 0.08, c.shade(1.5), edge=False)
    p.ell(0.46, 0.63 + u, 0.045, 0.03, (60, 40, 40), edge=False)
    p.eye(0.3, 0.71 + u, 0.03, closed=pose == "sleep")
    _eye_and_sleep(p, pose, 0.44, 0.71 + u, 0.03)


_RING: tuple[Point, ...] = ((1, 0), (0.77, 0.64), (0.17, 0.98), (-0.5, 0.87), (-0.94, 0.34), (-0.94, -0.34),
                            (-0.5, -0.87),
                            (0.17, -0.98), (0.77, -0.64))  # fmt: skip

DRAWS: dict[str, Draw] = {
    "horse": horse, "cow": cow, "sheep": sheep, "pig": pig, "elephant": elephant, "giraffe": giraffe,
    "bear": bear,
    "lion": lion,
}  # fmt: skip

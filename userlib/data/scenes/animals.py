"""How four-legged animals are drawn: one body with legs, a head and a tail, and what makes each kind itself.

All are one unit tall, side view, facing right. Poses: stand, walk, run, jump, sit, sleep; a kind that does
not sit stands.
"""

from __future__ import annotations

from collections.abc import Callable

from .pen import Fill, Paint, Pen, Point, Rgb

Draw = Callable[[Pen, Paint, str, int], None]

_SWING = {"stand": (0.0, 0.0, 0.0, 0.0), "walk": (-0.08, 0.05, -0.05, 0.08),
          "run": (-0.22, -0.12, 0.14, 0.24),
          "jump": (-0.2, -0.14, 0.18, 0.24)}  # fmt: skip


def legs(p: Pen, c: Fill, *, back: float, front: float, top: float, width: float, pose: str,
         hoof: Rgb | None = None) -> float:
    """Four legs of length `top`; returns how far the body is lifted off the ground."""
    lift = {"jump": 0.16, "run": 0.03}.get(pose, 0.0)
    swing = _SWING.get(pose, _SWING["stand"])
    rgb = c.rgb if isinstance(c, Paint) else c
    far = (int(rgb[0] * 0.8), int(rgb[1] * 0.8), int(rgb[2] * 0.8))
    bend = 0.06 if pose in ("run", "jump") else 0.0
    for x, s, fill in ((back - 0.05, swing[1], far), (front - 0.05, swing[2], far),
                       (back + 0.03, swing[0], rgb),
                       (front + 0.03, swing[3], rgb)):  # fmt: skip
        foot = (x + s, lift * 0.7 + width / 2 + bend)
        p.limb([(x, top + lift), foot], width, fill)
        if hoof is not None:
            p.limb([(foot[0], foot[1] + 0.01), foot], width, hoof)
    return lift


def dozing(p: Pen, x: float, y: float) -> None:
    """Two small Zs over a sleeper; no part of the mask."""
    if p.ink is None:
        for dx, dy, k in ((0.0, 0.0, 0.07), (0.12, 0.13, 0.1)):
            a, b = x + dx * (1 if p.sx > 0 else -1) * (1 if p.sx > 0 else -1), y + dy
            flip = 1 if p.sx > 0 else -1  # letters never turn round
            p.line([(a - k / 2 * flip, b + k / 2), (a + k / 2 * flip, b + k / 2),
                    (a - k / 2 * flip, b - k / 2),
                    (a + k / 2 * flip, b - k / 2)], (250, 250, 255), 2)  # fmt: skip


def _pet(p: Pen, c: Paint, pose: str, ears: str, tail: str, snout: float, belly: bool,
         mask: Rgb | None = None) -> None:
    """A dog, cat, fox or mouse: the small ones, who sit and curl up."""
    pale = c.shade(1.45) if c.rgb != (247, 245, 240) else (224, 214, 206)
    nose: Rgb = (44, 36, 40)
    if pose == "sleep":
        _tail(p, c, tail, -0.48, 0.16, low=True)
        p.ell(0.0, 0.26, 0.56, 0.26, c)
        p.limb([(0.2, 0.06), (0.52, 0.06)], 0.12, c.rgb)
        hx, hy = 0.42, 0.24
    elif pose == "sit":
        _tail(p, c, tail, -0.3, 0.08, low=True)
        p.ell(-0.16, 0.2, 0.26, 0.2, c)
        p.blob(-0.02, 0.36, 0.34, 0.19, 62, c)
        p.limb([(0.14, 0.42), (0.16, 0.06)], 0.12, c.rgb)
        p.limb([(-0.18, 0.07), (0.02, 0.05)], 0.11, c.rgb)
        hx, hy = 0.2, 0.76
    else:
        lift = legs(p, c, back=-0.34, front=0.24, top=0.36, width=0.13, pose=pose)
        _tail(p, c, tail, -0.5, 0.46 + lift, low=False)
        p.ell(-0.04, 0.42 + lift, 0.5, 0.2, c)
        if belly:
            p.glaze(0.02, 0.34 + lift, 0.34, 0.09, (255, 255, 255, 60))
        hx, hy = 0.5, 0.7 + lift
        p.blob(0.34, 0.55 + lift, 0.22, 0.14, 50, c)
    _pet_ears(p, c, ears, hx, hy, behind=True)
    p.ell(hx, hy, 0.25, 0.22, c.rgb if c.tile is not None else c)
    p.ell(hx + 0.15 + snout * 0.4, hy - 0.07, 0.1 + snout * 0.5, 0.1, mask or pale, edge=False)
    p.ell(hx + 0.2 + snout, hy - 0.03, 0.045, 0.04, nose, edge=False)
    p.eye(hx + 0.06, hy + 0.05, 0.045, closed=pose == "sleep")
    _pet_ears(p, c, ears, hx, hy, behind=False)
    if pose == "sleep":
        dozing(p, hx + 0.1, hy + 0.42)


def _tail(p: Pen, c: Paint, tail: str, x: float, y: float, *, low: bool) -> None:
    up = 0.02 if low else 0.3
    if tail == "brush":  # the fox: thick with a white tip
        p.blob(x - 0.2, y + up * 0.4, 0.3, 0.12, -20 if not low else 10, c)
        p.ell(x - 0.42, y + up * 0.4 + (0.1 if not low else -0.04), 0.09, 0.08, (250, 246, 240), edge=False)
    elif tail == "thin":
        p.limb([(x, y), (x - 0.2, y + up * 0.4), (x - 0.34, y + up * 1.2)], 0.06, c.shade(0.9))
    elif tail == "long":
        p.limb([(x, y), (x - 0.18, y + up * 0.5), (x - 0.2, y + up * 1.3), (x - 0.1, y + up * 1.7)], 0.09,
               c.rgb)
    else:
        p.limb([(x + 0.05, y), (x - 0.12, y + up * 0.7), (x - 0.14, y + up * 1.15)], 0.11, c.rgb)


def _pet_ears(p: Pen, c: Paint, ears: str, x: float, y: float, *, behind: bool) -> None:
    pink: Rgb = (240, 170, 176)
    if ears == "floppy" and not behind:
        p.blob(x - 0.14, y + 0.0, 0.18, 0.09, 75, c.shade(0.72))
    elif ears == "pointed" and behind:
        for dx in (-0.14, 0.1):
            p.poly([(x + dx - 0.1, y + 0.12), (x + dx - 0.02, y + 0.37), (x + dx + 0.11, y + 0.14)], c.rgb)
            p.poly([(x + dx - 0.05, y + 0.15), (x + dx - 0.01, y + 0.28), (x + dx + 0.05, y + 0.16)], pink,
                   edge=False)
    elif ears == "round" and behind:
        for dx in (-0.2, 0.12):
            p.ell(x + dx, y + 0.22, 0.15, 0.15, c.rgb)
            p.ell(x + dx, y + 0.22, 0.09, 0.09, pink, edge=False)


def dog(p: Pen, c: Paint, pose: str, look: int) -> None:
    _pet(p, c, pose, "floppy", "up", 0.12, True)
    if look % 2:
        x, y = {"sleep": (0.30, 0.1), "sit": (0.1, 0.56)}.get(pose,
                                                              (0.36,
                                                               0.56 + {"jump": 0.16, "run": 0.03}.get(pose,
                                                                       0)))
        p.limb([(x - 0.06, y + 0.04), (x + 0.14, y - 0.06)], 0.06, (222, 60, 60), edge=False)


def cat(p: Pen, c: Paint, pose: str, look: int) -> None:
    _pet(p, c, pose, "pointed", "long", 0.0, False)
    x, y = {"sleep": (0.42, 0.24), "sit": (0.2, 0.76)}.get(pose,
                                                           (0.5,
                                                            0.7 + {"jump": 0.16, "run": 0.03}.get(pose, 0)))
    for dy in (0.02, -0.03):
        p.line([(x + 0.18, y - 0.06), (x + 0.36, y - 0.06 + dy)], (90, 84, 88))


def fox(p: Pen, c: Paint, pose: str, look: int) -> None:
    _pet(p, c, pose, "pointed", "brush", 0.16, True, (252, 248, 242))


def mouse(p: Pen, c: Paint, pose: str, look: int) -> None:
    _pet(p, c, pose, "round", "thin", 0.06, False)


def _eye_and_sleep(p: Pen, pose: str, x: float, y: float, r: float) -> None:
    p.eye(x, y, r, closed=pose == "sleep")
    if pose == "sleep":
        dozing(p, x + 0.12, y + 0.22)


def _stand(p: Pen, c: Fill, pose: str, *, back: float, front: float, top: float, width: float,
           hoof: Rgb | None = None) -> float:
    """Legs, or for a sleeper none: the body then lies on the ground."""
    if pose == "sleep":
        for x in (back, front):
            p.limb([(x, width * 0.6), (x + 0.22, width * 0.5)], width, c.rgb if isinstance(c, Paint) else c)
        return -(top - 0.14)
    return legs(p, c, back=back, front=front, top=top, width=width, pose=pose, hoof=hoof)


def horse(p: Pen, c: Paint, pose: str, look: int) -> None:
    hair: Rgb = ((66, 44, 34), (240, 226, 190), (40, 36, 40))[look % 3]
    u = _stand(p, c, pose, back=-0.3, front=0.2, top=0.42, width=0.085, hoof=(60, 48, 44))
    p.limb([(-0.4, 0.56 + u), (-0.52, 0.44 + u), (-0.53, 0.26 + u)], 0.09, hair)
    p.poly([(0.1, 0.5 + u), (0.24, 0.4 + u), (0.38, 0.74 + u), (0.36, 0.92 + u), (0.24, 0.86 + u),
            (0.02, 0.62 + u)], c.rgb)
    p.ell(-0.07, 0.5 + u, 0.37, 0.165, c)
    p.poly([(0.06, 0.62 + u), (0.16, 0.66 + u), (0.30, 0.9 + u), (0.27, 0.97 + u), (0.18, 0.9 + u)], hair)
    p.poly([(0.27, 0.86 + u), (0.3, 1.0 + u), (0.36, 0.9 + u)], c.rgb)
    p.blob(0.42, 0.8 + u, 0.17, 0.085, -38, c.rgb)
    p.ell(0.53, 0.715 + u, 0.055, 0.055, c.shade(0.75), edge=False)
    _eye_and_sleep(p, pose, 0.37, 0.85 + u, 0.026)


def cow(p: Pen, c: Paint, pose: str, look: int) -> None:
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
        p.poly([(x - 0.03, 0.93 + u), (x + 0.04, 0.93 + u), (x + (0.0 if x < 0.5 else 0.05), 1.04 + u)],
               (238, 226, 200))
    p.blob(0.34, 0.86 + u, 0.12, 0.06, 15, c.rgb)
    p.rect(0.36, 0.56 + u, 0.68, 0.96 + u, c.rgb, r=0.13)
    p.ell(0.55, 0.6 + u, 0.16, 0.11, (248, 192, 192))
    p.ell(0.51, 0.61 + u, 0.02, 0.025, (120, 70, 76), edge=False)
    p.ell(0.6, 0.61 + u, 0.02, 0.025, (120, 70, 76), edge=False)
    _eye_and_sleep(p, pose, 0.5, 0.81 + u, 0.035)


def sheep(p: Pen, c: Paint, pose: str, look: int) -> None:
    u = _stand(p, (70, 64, 68), pose, back=-0.28, front=0.2, top=0.3, width=0.1)
    for x, y in ((-0.42, 0.5), (-0.3, 0.7), (-0.05, 0.78), (0.2, 0.7), (0.3, 0.48), (0.1, 0.33),
                 (-0.15, 0.3), (-0.36, 0.36)):
        p.ell(x, y + u, 0.18, 0.17, c)
    p.ell(-0.05, 0.53 + u, 0.4, 0.25, c, edge=False)
    p.blob(0.34, 0.78 + u, 0.11, 0.05, 200, (70, 64, 68))
    p.ell(0.46, 0.7 + u, 0.16, 0.19, (84, 76, 80))
    p.ell(0.42, 0.9 + u, 0.14, 0.09, c.rgb)
    if p.ink is None:
        p.ell(0.49, 0.75 + u, 0.05, 0.05, (250, 250, 250), edge=False)
    _eye_and_sleep(p, pose, 0.5, 0.75 + u, 0.03)


def pig(p: Pen, c: Paint, pose: str, look: int) -> None:
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


def elephant(p: Pen, c: Paint, pose: str, look: int) -> None:
    u = _stand(p, c, pose, back=-0.36, front=0.16, top=0.34, width=0.18, hoof=c.shade(0.7))
    p.line([(-0.56, 0.62 + u), (-0.64, 0.38 + u)], c.shade(0.6), 2)
    p.ell(-0.12, 0.56 + u, 0.47, 0.33, c)
    p.limb([(0.5, 0.7 + u), (0.66, 0.46 + u), (0.66, 0.2 + max(u, -0.1)), (0.76, 0.14 + max(u, -0.1))], 0.13,
           c.rgb)
    p.poly([(0.5, 0.5 + u), (0.58, 0.5 + u), (0.72, 0.38 + u)], (252, 248, 232))
    p.ell(0.4, 0.72 + u, 0.27, 0.27, c.rgb)
    p.ell(0.22, 0.7 + u, 0.2, 0.26, c.shade(0.85))
    p.ell(0.22, 0.68 + u, 0.13, 0.18, (236, 176, 180), edge=False)
    _eye_and_sleep(p, pose, 0.5, 0.8 + u, 0.03)


def giraffe(p: Pen, c: Paint, pose: str, look: int) -> None:
    dark = c.shade(0.68)
    u = _stand(p, c, pose, back=-0.18, front=0.12, top=0.34, width=0.06, hoof=(70, 54, 48))
    p.line([(-0.26, 0.44 + u), (-0.32, 0.26 + u)], dark, 2)
    p.poly([(0.06, 0.5 + u), (0.2, 0.36 + u), (0.27, 0.9 + u), (0.17, 0.92 + u)], c.rgb)
    p.ell(-0.04, 0.42 + u, 0.25, 0.12, c)
    if c.tile is None and p.ink is None:
        for x, y in ((-0.16, 0.45), (-0.04, 0.4), (0.06, 0.46), (-0.08, 0.49), (0.13, 0.55), (0.18, 0.65),
                     (0.19, 0.76), (0.22, 0.85)):
            p.ell(x, y + u, 0.034, 0.032, dark, edge=False)
    for x in (0.2, 0.26):
        p.line([(x, 0.93 + u), (x - 0.01, 1.0 + u)], dark, 2)
        p.ell(x - 0.01, 1.0 + u, 0.015, 0.015, (80, 54, 40), edge=False)
    p.blob(0.13, 0.93 + u, 0.06, 0.03, 150, c.rgb)
    p.blob(0.28, 0.89 + u, 0.12, 0.058, -22, c.rgb)
    _eye_and_sleep(p, pose, 0.25, 0.92 + u, 0.02)


def bear(p: Pen, c: Paint, pose: str, look: int) -> None:
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


def lion(p: Pen, c: Paint, pose: str, look: int) -> None:
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
    "dog": dog, "cat": cat, "fox": fox, "mouse": mouse, "horse": horse, "cow": cow, "sheep": sheep,
    "pig": pig,
    "elephant": elephant, "giraffe": giraffe, "bear": bear, "lion": lion,
}  # fmt: skip

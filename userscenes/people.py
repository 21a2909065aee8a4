"""How people and robots are drawn: one jointed figure with poses, and what each kind adds to it.

A figure is one unit tall, feet at y = 0, facing right. A pose is a word for the legs, and optionally
"+hold" for an arm stretched out to `HAND`, where something held is drawn.
"""

from __future__ import annotations

from collections.abc import Callable

from .canvas import Fill, Paint, Pen, Point, Rgb, shade

Draw = Callable[[Pen, Paint, str, int], None]

SKIN: tuple[Rgb, ...] = (
    (252, 216, 186),
    (236, 188, 148),
    (196, 138, 98),
    (140, 92, 62),
    (248, 204, 172),
    (110, 72, 50),
)
HAIR: tuple[Rgb, ...] = ((70, 46, 34), (34, 30, 34), (214, 164, 72), (178, 84, 40), (120, 78, 46))
TROUSERS: tuple[Rgb, ...] = ((62, 76, 112), (96, 84, 76), (70, 70, 80), (110, 120, 140))
HIP, SHOULDER = 0.34, 0.585
HAND = (0.31, 0.60)  # where the "+hold" arm ends
SEAT = (0.0, 0.33)  # the point of the figure that rests on a seat

# Legs: (knee, foot) of the far and the near leg from the hip; arms: (elbow, hand) of both from the shoulder.
_LEGS: dict[str, tuple[tuple[Point, Point], tuple[Point, Point]]] = {
    "stand": (((-0.07, -0.17), (-0.075, -0.32)), ((0.07, -0.17), (0.075, -0.32))),
    "walk": (((-0.08, -0.16), (-0.17, -0.30)), ((0.09, -0.15), (0.14, -0.32))),
    "run": (((-0.06, -0.17), (-0.26, -0.19)), ((0.15, -0.08), (0.19, -0.27))),
    "jump": (((-0.14, -0.08), (-0.17, -0.22)), ((0.15, -0.07), (0.11, -0.22))),
    "dance": (((-0.07, -0.17), (-0.05, -0.32)), ((0.15, -0.10), (0.24, -0.22))),
    "kick": (((-0.06, -0.17), (-0.09, -0.32)), ((0.13, -0.09), (0.27, -0.19))),
    "sit": (((0.12, -0.01), (0.13, -0.19)), ((0.17, -0.03), (0.19, -0.21))),
    "ride": (((0.08, -0.07), (0.02, -0.20)), ((0.13, -0.08), (0.10, -0.23))),
}
_ARMS: dict[str, tuple[tuple[Point, Point], tuple[Point, Point]]] = {
    "stand": (((-0.14, -0.10), (-0.15, -0.22)), ((0.14, -0.10), (0.15, -0.22))),
    "walk": (((-0.13, -0.10), (-0.17, -0.20)), ((0.12, -0.11), (0.19, -0.17))),
    "run": (((-0.15, -0.09), (-0.22, 0.00)), ((0.13, -0.10), (0.23, -0.03))),
    "jump": (((-0.16, 0.05), (-0.22, 0.18)), ((0.16, 0.05), (0.22, 0.18))),
    "dance": (((-0.16, 0.04), (-0.19, 0.18)), ((0.16, -0.04), (0.25, 0.04))),
    "wave": (((-0.14, -0.10), (-0.15, -0.22)), ((0.18, 0.00), (0.24, 0.17))),
    "kick": (((-0.15, -0.04), (-0.23, -0.10)), ((0.15, -0.05), (0.20, 0.05))),
    "sit": (((-0.12, -0.11), (-0.07, -0.20)), ((0.12, -0.12), (0.18, -0.19))),
    "ride": (((-0.03, -0.12), (0.12, -0.15)), ((0.12, -0.11), (0.23, -0.12))),
}


def figure(p: Pen, c: Paint, pose: str, appearance_seed: int, *, child: bool = False, dress: bool = False,
           hair: str = "short",
           trousers: Rgb | None = None, metal: bool = False) -> Point:  # fmt: skip
    """Draws the body and the plain head; returns the centre of the head."""
    stance, _, hold = pose.partition("+")
    skin = SKIN[appearance_seed % len(SKIN)]
    mane = HAIR[(appearance_seed // 7) % len(HAIR)]
    legs_of = _LEGS.get(stance, _LEGS["stand"])
    far_arm, near_arm = _ARMS.get(stance, _ARMS["stand"])
    if hold:
        near_arm = ((0.13, -0.07), (HAND[0] - 0.09, HAND[1] - SHOULDER))
    lift = 0.10 if stance == "jump" else 0.0
    lean = 0.04 if stance == "run" else 0.0
    hip, shoulder = HIP + lift, SHOULDER + lift
    pants = trousers or (skin if dress else TROUSERS[(appearance_seed // 5) % len(TROUSERS)])
    shoe: Rgb = (60, 44, 44) if not metal else c.shade(0.55)
    limb_skin = c.shade(0.8) if metal else skin

    def arm(side: float, joints: tuple[Point, Point]) -> None:
        sx = side + lean
        (ex, ey), (hx, hy) = joints
        p.limb([(sx, shoulder), (sx + ex * 0.75, shoulder + ey)], 0.085, c.rgb if not metal else c.shade(0.8))
        p.limb([(sx + ex * 0.75, shoulder + ey), (sx + hx, shoulder + hy)], 0.07, limb_skin)

    arm(-0.09, far_arm)
    for side, (knee, foot) in zip((-0.055, 0.055), legs_of, strict=True):
        fx, fy = side + foot[0], hip + foot[1]
        p.limb([(side, hip), (side + knee[0], hip + knee[1]), (fx, fy + 0.03)], 0.09, pants)
        p.ell(fx + 0.03, fy + 0.015 + 0.01, 0.062, 0.036, shoe)
    if dress:
        hem = hip - (0.05 if stance in ("sit", "ride") else 0.14)
        wide = 0.22 if stance not in ("sit", "ride") else 0.19
        p.poly([(-0.10 + lean, shoulder + 0.045), (0.10 + lean, shoulder + 0.045), (0.11, hip + 0.08),
                (wide, hem),
                (0.0, hem - 0.02), (-wide, hem), (-0.11, hip + 0.08)], c)  # fmt: skip
    else:
        p.poly([(-0.115 + lean, shoulder + 0.03), (-0.07 + lean, shoulder + 0.06),
                (0.07 + lean, shoulder + 0.06),
                (0.115 + lean, shoulder + 0.03), (0.125, hip - 0.03), (-0.125, hip - 0.03)], c)  # fmt: skip
    p.glaze(-0.05, hip + 0.1, 0.05, 0.13, (0, 0, 0, 22))

    r = 0.175 if child else 0.15
    hx, hy = lean * 1.6, shoulder + 0.04 + r
    if not metal:
        if hair == "long":
            p.ell(hx - 0.02, hy - 0.03, r + 0.045, r + 0.05, mane)
            p.rect(hx - r - 0.05, hy - 0.19, hx + r * 0.6, hy, mane, r=0.05)
        elif hair == "tails":
            p.ell(hx - r - 0.05, hy - 0.05, 0.06, 0.09, mane)
            p.ell(hx + r + 0.05, hy - 0.05, 0.06, 0.09, mane)
        p.ell(hx, hy, r, r, skin)
        if hair in ("short", "long", "tails", "spiky"):
            top = [(hx + r * a, hy + r * b) for a, b in _HAIRLINE]
            p.poly(top, mane)
            if hair == "spiky":
                p.poly([(hx - r * 0.7, hy + r * 0.7), (hx - r * 0.4, hy + r * 1.35), (hx, hy + r * 0.95),
                        (hx + r * 0.35, hy + r * 1.4), (hx + r * 0.75, hy + r * 0.75)], mane)  # fmt: skip
        p.eye(hx + 0.02, hy, 0.024)
        p.eye(hx + 0.095, hy, 0.024)
        p.ell(hx - 0.03, hy - 0.055, 0.026, 0.018, _blush(skin), edge=False)
        p.arc(hx + 0.045, hy - 0.03, 0.05, 25, 155, (150, 60, 60))
    arm(0.09, near_arm)
    return hx, hy


_HAIRLINE = ((-1.04, -0.1), (-1.04, 0.35), (-0.75, 0.82), (-0.25, 1.08), (0.35, 1.05), (0.85, 0.7),
             (1.02, 0.3),
             (0.55, 0.5), (-0.1, 0.48), (-0.62, 0.35), (-0.78, -0.05))  # fmt: skip


def _blush(skin: Rgb) -> Rgb:
    return min(255, skin[0] + 6), int(skin[1] * 0.82), int(skin[2] * 0.80)


def man(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    x, y = figure(p, c, pose, appearance_seed)
    if appearance_seed % 3 == 0:  # a beard
        beard = HAIR[(appearance_seed // 7) % len(HAIR)]
        p.poly([(x - 0.11, y - 0.06), (x - 0.03, y - 0.075), (x + 0.06, y - 0.06), (x + 0.145, y - 0.04),
                (x + 0.12, y - 0.13),
                (x + 0.03, y - 0.18), (x - 0.07, y - 0.14)], beard)  # fmt: skip


def woman(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    figure(p, c, pose, appearance_seed, dress=True, hair="long")


def boy(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    figure(p, c, pose, appearance_seed, child=True, hair="spiky")


def girl(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    figure(p, c, pose, appearance_seed, child=True, dress=True, hair="tails")


def chef(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    x, y = figure(p, c, pose, appearance_seed, trousers=(74, 74, 84))
    white: Rgb = (250, 250, 248)
    for dx, dy in ((-0.11, 0.24), (0.11, 0.24), (0.0, 0.28)):
        p.ell(x + dx, y + dy, 0.10, 0.085, white)
    p.rect(x - 0.125, y + 0.09, x + 0.125, y + 0.22, white, r=0.02)
    p.poly(
        [(x + 0.0, y - 0.05), (x + 0.06, y - 0.03), (x + 0.12, y - 0.05), (x + 0.06, y - 0.075)], (60, 42, 36)
    )


def clown(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    x, y = figure(p, c, pose, appearance_seed, hair="none", trousers=c.shade(0.75))
    frizz: Rgb = ((236, 96, 60), (70, 190, 120), (250, 190, 60))[appearance_seed % 3]
    for dx, dy in ((-0.15, 0.03), (-0.13, 0.11), (0.15, 0.05), (0.13, 0.12), (-0.16, -0.05), (0.17, -0.03)):
        p.ell(x + dx, y + dy, 0.065, 0.065, frizz)
    p.ell(x + 0.06, y - 0.03, 0.042, 0.042, (224, 40, 40))
    p.poly([(x - 0.07, y + 0.12), (x + 0.07, y + 0.12), (x + 0.02, y + 0.31)], c.shade(1.25))
    p.ell(x + 0.02, y + 0.31, 0.03, 0.03, (255, 255, 255))
    for dy in (0.0, -0.09):
        p.ell(0.0, SHOULDER - 0.04 + dy, 0.024, 0.024, (255, 244, 200))


def king(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    low = 0.06 if pose.partition("+")[0] not in ("sit", "ride") else 0.3
    p.poly(
        [(-0.13, SHOULDER + 0.06), (0.1, SHOULDER + 0.06), (0.10, low + 0.02), (-0.27, low)], c.shade(0.78)
    )
    x, y = figure(p, c, pose, appearance_seed)
    gold: Rgb = (248, 202, 62)
    p.poly([(x - 0.13, y + 0.08), (x + 0.13, y + 0.08), (x + 0.16, y + 0.27), (x + 0.07, y + 0.17),
            (x, y + 0.29),
            (x - 0.07, y + 0.17), (x - 0.16, y + 0.27)], gold)  # fmt: skip
    p.ell(x, y + 0.13, 0.025, 0.025, (214, 50, 70), edge=False)
    p.poly([(x - 0.09, y - 0.05), (x + 0.15, y - 0.05), (x + 0.1, y - 0.15), (x + 0.03, y - 0.19),
            (x - 0.05, y - 0.15)],
           (236, 232, 226))  # fmt: skip


def robot(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    x, y = figure(p, c, pose, appearance_seed, metal=True, trousers=c.shade(0.8))
    p.rect(-0.15, HIP - 0.03, 0.15, SHOULDER + 0.07, c, r=0.02)
    p.rect(-0.07, HIP + 0.08, 0.07, HIP + 0.19, (226, 232, 238), r=0.01)
    p.ell(-0.03, HIP + 0.135, 0.022, 0.022, (226, 70, 60), edge=False)
    p.ell(0.03, HIP + 0.135, 0.022, 0.022, (80, 190, 90), edge=False)
    p.line([(x, y + 0.12), (x, y + 0.23)], (80, 84, 92), 2)
    p.ell(x, y + 0.24, 0.032, 0.032, (250, 90, 70))
    p.rect(x - 0.17, y - 0.11, x + 0.17, y + 0.14, c, r=0.03)
    for dx in (-0.05, 0.08):
        p.ell(x + dx, y + 0.03, 0.05, 0.05, (250, 250, 220))
        p.ell(x + dx + 0.01, y + 0.03, 0.02, 0.02, (40, 40, 50), edge=False)
    p.rect(x - 0.07, y - 0.075, x + 0.1, y - 0.045, (70, 70, 80), edge=False)


def astronaut(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    p.rect(-0.19, HIP + 0.03, -0.02, SHOULDER + 0.09, (190, 194, 202), r=0.03)
    x, y = figure(p, c, pose, appearance_seed, hair="none", trousers=c.rgb)
    p.ell(x, y, 0.195, 0.195, (236, 240, 246))
    p.ell(x + 0.03, y, 0.15, 0.13, (60, 84, 128))
    p.glaze(x + 0.07, y + 0.05, 0.05, 0.035, (255, 255, 255, 150))


def pirate(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    x, y = figure(p, c, pose, appearance_seed, trousers=(84, 70, 62))
    p.poly(
        [
            (x - 0.24, y + 0.07),
            (x + 0.24, y + 0.07),
            (x + 0.13, y + 0.17),
            (x, y + 0.26),
            (x - 0.13, y + 0.17),
        ],
        (44, 42, 50),
    )
    p.ell(x, y + 0.14, 0.035, 0.035, (245, 245, 240), edge=False)
    p.ell(x + 0.095, y, 0.045, 0.04, (30, 28, 32), edge=False)
    p.line([(x - 0.14, y + 0.06), (x + 0.12, y + 0.0)], (30, 28, 32), 2)


def snowman(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    snow: Rgb = (246, 249, 253)
    p.line([(-0.15, 0.5), (-0.33, 0.66)], (96, 66, 44), 3)
    p.line([(0.15, 0.5), (0.33, 0.64)], (96, 66, 44), 3)
    p.ell(0, 0.2, 0.24, 0.2, snow)
    p.ell(0, 0.5, 0.18, 0.16, snow)
    p.ell(0, 0.74, 0.13, 0.13, snow)
    p.rect(0.02, 0.34, 0.14, 0.6, c, r=0.01)
    p.rect(-0.17, 0.57, 0.17, 0.67, c, r=0.04)
    p.eye(0.0, 0.77, 0.02)
    p.eye(0.08, 0.77, 0.02)
    p.poly([(0.03, 0.745), (0.03, 0.71), (0.2, 0.72)], (242, 140, 40))
    p.rect(-0.15, 0.83, 0.15, 0.86, (74, 62, 58), edge=False)
    p.rect(-0.09, 0.85, 0.09, 1.0, (74, 62, 58))


DRAWS: dict[str, Draw] = {
    "man": man, "woman": woman, "boy": boy, "girl": girl, "chef": chef, "clown": clown, "king": king,
    "robot": robot,
    "astronaut": astronaut, "pirate": pirate, "snowman": snowman,
}  # fmt: skip

__all__ = ["DRAWS", "HAND", "SEAT", "Draw", "Fill", "shade"]

"""How small four-legged animals are drawn: one body with legs, head and tail, and the features of each kind.

All are one unit tall, in side view, facing right. Poses: stand, walk, run, jump, sit, sleep; any other is drawn
as stand.
"""

from __future__ import annotations

from collections.abc import Callable

from .canvas import Fill, Paint, Pen, Rgb

Draw = Callable[[Pen, Paint, str, int], None]

_SWING = {"stand": (0.0, 0.0, 0.0, 0.0), "walk": (-0.08, 0.05, -0.05, 0.08),
          "run": (-0.22, -0.12, 0.14, 0.24),
          "jump": (-0.2, -0.14, 0.18, 0.24)}  # fmt: skip


def legs(
    p: Pen,
    c: Fill,
    *,
    back: float,
    front: float,
    top: float,
    width: float,
    pose: str,
    hoof: Rgb | None = None,
) -> float:
    """Draws four legs of length `top`; returns how far the body is lifted off the ground."""
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
    """Two small Zs over a sleeper; not a part of the mask."""
    if p.ink is None:
        for dx, dy, k in ((0.0, 0.0, 0.07), (0.12, 0.13, 0.1)):
            a, b = x + dx, y + dy
            flip = 1 if p.sx > 0 else -1  # letters are never mirrored
            p.line([(a - k / 2 * flip, b + k / 2), (a + k / 2 * flip, b + k / 2),
                    (a - k / 2 * flip, b - k / 2),
                    (a + k / 2 * flip, b - k / 2)], (250, 250, 255), 2)  # fmt: skip


def _pet(
    p: Pen, c: Paint, pose: str, ears: str, tail: str, snout: float, belly: bool, mask: Rgb | None = None
) -> None:
    """A dog, cat, fox or mouse, which can sit and sleep curled up."""
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
        p.limb(
            [(x, y), (x - 0.18, y + up * 0.5), (x - 0.2, y + up * 1.3), (x - 0.1, y + up * 1.7)], 0.09, c.rgb
        )
    else:
        p.limb([(x + 0.05, y), (x - 0.12, y + up * 0.7), (x - 0.14, y + up * 1.15)], 0.11, c.rgb)


def _pet_ears(p: Pen, c: Paint, ears: str, x: float, y: float, *, behind: bool) -> None:
    pink: Rgb = (240, 170, 176)
    if ears == "floppy" and not behind:
        p.blob(x - 0.14, y + 0.0, 0.18, 0.09, 75, c.shade(0.72))
    elif ears == "pointed" and behind:
        for dx in (-0.14, 0.1):
            p.poly([(x + dx - 0.1, y + 0.12), (x + dx - 0.02, y + 0.37), (x + dx + 0.11, y + 0.14)], c.rgb)
            p.poly(
                [(x + dx - 0.05, y + 0.15), (x + dx - 0.01, y + 0.28), (x + dx + 0.05, y + 0.16)],
                pink,
                edge=False,
            )
    elif ears == "round" and behind:
        for dx in (-0.2, 0.12):
            p.ell(x + dx, y + 0.22, 0.15, 0.15, c.rgb)
            p.ell(x + dx, y + 0.22, 0.09, 0.09, pink, edge=False)


def dog(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    _pet(p, c, pose, "floppy", "up", 0.12, True)
    if appearance_seed % 2:
        x, y = {"sleep": (0.30, 0.1), "sit": (0.1, 0.56)}.get(
            pose, (0.36, 0.56 + {"jump": 0.16, "run": 0.03}.get(pose, 0))
        )
        p.limb([(x - 0.06, y + 0.04), (x + 0.14, y - 0.06)], 0.06, (222, 60, 60), edge=False)


def cat(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    _pet(p, c, pose, "pointed", "long", 0.0, False)
    x, y = {"sleep": (0.42, 0.24), "sit": (0.2, 0.76)}.get(
        pose, (0.5, 0.7 + {"jump": 0.16, "run": 0.03}.get(pose, 0))
    )
    for dy in (0.02, -0.03):
        p.line([(x + 0.18, y - 0.06), (x + 0.36, y - 0.06 + dy)], (90, 84, 88))


def fox(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    _pet(p, c, pose, "pointed", "brush", 0.16, True, (252, 248, 242))


def mouse(p: Pen, c: Paint, pose: str, appearance_seed: int) -> None:
    _pet(p, c, pose, "round", "thin", 0.06, False)


DRAWS: dict[str, Draw] = {"dog": dog, "cat": cat, "fox": fox, "mouse": mouse}

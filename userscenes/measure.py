"""Measures the extent of each drawing and writes extents.py: run it after a drawing has changed.

python -m userscenes.measure
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from .canvas import Canvas, Paint, Pen
from .catalog import DRAWS, KINDS, POSES

SCALE = 100  # canvas pixels per unit while measuring
_BODY = ("stand", "walk", "run", "jump", "dance", "wave", "kick", "sit", "ride")


def poses_of(kind: str) -> list[str]:
    """Every pose in which the sampler may draw the kind."""
    k = KINDS[kind]
    if k.family == "person" and k.hand is not None:
        return [p + h for p in _BODY for h in ("", "+hold")]
    if k.family == "animal":
        return sorted({"stand", "sit", "sleep", *(POSES[a] for a in k.actions)})
    return ["stand"]


def extent(kind: str, pose: str) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) of the drawing in the kind's own units, y upwards, over several appearance seeds."""
    x0 = y0 = 1e9
    x1 = y1 = -1e9
    for appearance_seed in range(6):
        image = Image.new("L", (800, 400))
        DRAWS[kind](Pen(Canvas(image), 400, 250, SCALE, ink=255), Paint((200, 60, 60)), pose, appearance_seed)
        box = image.getbbox()
        if box is not None:
            x0, x1 = min(x0, (box[0] - 400) / SCALE), max(x1, (box[2] - 400) / SCALE)
            y0, y1 = min(y0, (250 - box[3]) / SCALE), max(y1, (250 - box[1]) / SCALE)
    return round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2)


def main() -> None:
    title = "The extent of each drawing, (x0, y0, x1, y1) in its own units, y upwards; written by measure.py."
    lines = [f'"""{title}"""', "", "EXTENTS: dict[tuple[str, str], tuple[float, float, float, float]] = {"]
    for kind in KINDS:
        lines += [f'    ("{kind}", "{pose}"): {extent(kind, pose)},' for pose in poses_of(kind)]
    Path(__file__).with_name("extents.py").write_text("\n".join([*lines, "}", ""]))


if __name__ == "__main__":
    main()

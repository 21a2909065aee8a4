"""The scene graph: what is in an image, where, and in which relations.

Places are fractions of the image, x to the right and y downwards. A thing may be a group of `count` equal
members, each with a spot. Everything that captions and facts mention is in these dataclasses; drawing adds
nothing to them.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from typing import Any

from .extents import EXTENTS


@dataclass(frozen=True)
class Spot:
    """One member of a thing: its ground point, its height (of one unit), and whether it faces left."""

    x: float
    y: float
    height: float
    flip: bool


@dataclass(frozen=True)
class Thing:
    kind: str
    colour: str
    pattern: str  # "" for none
    count: int
    size: str  # "" | "small" | "big"
    action: str  # "" for none
    pose: str  # how it is drawn; follows from action and relations
    appearance_seed: int  # varies what no caption mentions: skin, hair, trousers
    layer: int  # drawn from low to high
    spots: tuple[Spot, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) around all members, in fractions of the image; may extend beyond its edge."""
        boxes = [spot_box(self.kind, self.pose, spot) for spot in self.spots]
        return (
            min(b[0] for b in boxes),
            min(b[1] for b in boxes),
            max(b[2] for b in boxes),
            max(b[3] for b in boxes),
        )


@dataclass(frozen=True)
class Scene:
    setting: str
    time: str  # day | sunset | night
    weather: str  # sunny | cloudy | rainy | snowy | foggy; "" indoors
    things: tuple[Thing, ...]
    relations: tuple[tuple[int, str, int], ...]  # (subject, relation, object), indices into things
    appearance_seed: int  # varies the background
    mirror: bool  # whether the background is mirrored
    light: float  # factor on the brightness

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def key(self) -> tuple[Any, ...]:
        """The scene graph without places and appearance; scenes with equal keys count as the same."""
        names = [(t.kind, t.colour, t.pattern, t.count, t.size, t.action) for t in self.things]
        acts = sorted((names[i], r, names[j]) for i, r, j in self.relations if r not in PLACED)
        return (self.setting, self.time, self.weather, tuple(sorted(names)), tuple(acts))

    def bucket(self) -> int:
        """A number from 0 to 7 that depends only on the key. Each bucket belongs to test, to val or to the other
        splits, so that no key of test or val is elsewhere."""
        return zlib.crc32(repr(self.key()).encode()) % 8


# Relations that follow from the places of things.
PLACED = ("left of", "right of", "next to", "above", "below")


def spot_box(kind: str, pose: str, spot: Spot) -> tuple[float, float, float, float]:
    """The box of one member, from the measured extent of its drawing, or that of "stand"."""
    x0, y0, x1, y1 = EXTENTS.get((kind, pose)) or EXTENTS[kind, "stand"]
    if spot.flip:
        x0, x1 = -x1, -x0
    return (
        spot.x + x0 * spot.height,
        spot.y - y1 * spot.height,
        spot.x + x1 * spot.height,
        spot.y - y0 * spot.height,
    )

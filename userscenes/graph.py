"""The scene graph: what is in an image, where, and how its things stand to one another.

Places are fractions of the image, x to the right and y downwards, as seen. A thing may be a group of
`count` alike; each member has a spot. Everything that captions and truth speak of is in these dataclasses;
drawing adds nothing to them.
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
    pattern: str  # "" is plain
    count: int
    size: str  # "" | "small" | "big"
    action: str  # "" is none in particular
    pose: str  # how it is drawn; follows from action and relations
    appearance_seed: int  # varies what no caption mentions: skin, hair, trousers
    layer: int  # drawn from low to high
    spots: tuple[Spot, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) around all members, fractions of the image; may reach over its edge."""
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
    mirror: bool  # the background turned round
    light: float  # brightness, 1 is plain

    @property
    def thing(self) -> tuple[Thing, ...]:
        return self.things

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def key(self) -> tuple[Any, ...]:
        """What the scene is, without places and looks: two scenes with one key are the same scene graph."""
        names = [(t.kind, t.colour, t.pattern, t.count, t.size, t.action) for t in self.things]
        acts = sorted((names[i], r, names[j]) for i, r, j in self.relations if r not in PLACED)
        return (self.setting, self.time, self.weather, tuple(sorted(names)), tuple(acts))

    def bucket(self) -> int:
        """A number below 8 that depends on the key alone; the splits share the buckets out, so no key is in
        two."""
        return zlib.crc32(repr(self.key()).encode()) % 8


PLACED = ("left of", "right of", "next to", "above", "below")  # follow from where things stand
PADDED_POSE = "stand"


def spot_box(kind: str, pose: str, spot: Spot) -> tuple[float, float, float, float]:
    """The box of one member, from the measured extent of its drawing."""
    x0, y0, x1, y1 = EXTENTS.get((kind, pose)) or EXTENTS[(kind, PADDED_POSE)]
    if spot.flip:
        x0, x1 = -x1, -x0
    return (
        spot.x + x0 * spot.height,
        spot.y - y1 * spot.height,
        spot.x + x1 * spot.height,
        spot.y - y0 * spot.height,
    )

"""From units to a scene: where everything stands, what covers what, and which spatial relations hold.

Units stand side by side on the ground, the nearer ones lower and larger; what flies gets a free place in the
sky. Neighbours overlap only slightly, so that everything stays visible. Where the units do not fit, the scene
is sampled again.
"""

from __future__ import annotations

from .catalog import KINDS
from .composition import Composer, Unit
from .graph import Scene, Spot, Thing
from .rng import Rng
from .rooms import ROOMS
from .settings import EXTRA_SETTINGS, TRAIN_SETTINGS
from .sky import WEATHERS
from .splits import BUCKETS, OTHER_BUCKETS, SEEN, half_of

Box = tuple[float, float, float, float]
MIN_SCALE = 0.64


def draw_scene(split: str, index: int, seed: int) -> Scene:
    """The scene graph of one image; depends only on the three arguments."""
    wide = split == "pretrain"
    half = "" if wide else half_of(split, index) or SEEN
    buckets = BUCKETS.get(split, OTHER_BUCKETS)
    rng = Rng(f"{seed} {split} {index}")
    while True:
        scene = _attempt(rng, half=half, wide=wide)
        if scene is not None and scene.bucket() in buckets:
            return scene


def _attempt(rng: Rng, *, half: str, wide: bool) -> Scene | None:
    setting = rng.pick((*TRAIN_SETTINGS, *EXTRA_SETTINGS) if wide else TRAIN_SETTINGS)
    indoor = setting in ROOMS
    if indoor:
        time, weather = rng.weighted(("day", "sunset", "night"), (0.6, 0.1, 0.3)), ""
    elif setting == "moon":
        time, weather = "night", ""
    else:
        time = rng.weighted(("day", "sunset", "night"), (0.56, 0.2, 0.24))
        weather = rng.weighted(WEATHERS, (0.4, 0.2, 0.14, 0.14, 0.12))
    composer = Composer(rng, setting, half=half, wide=wide)
    units: list[Unit] = []
    room = rng.weighted((1, 2, 3, 4, 5), (0.05, 0.28, 0.33, 0.22, 0.12))
    while room > 0 and len(units) < 4:
        unit = composer.unit(room)
        room -= len(unit.parts)
        units.append(unit)
    placed = _place(rng, units)
    if placed is None:
        return None
    return _scene(rng, units, placed, setting, time, weather)


def _place(rng: Rng, units: list[Unit]) -> list[tuple[float, float, float]] | None:
    """(x, y, scale) of each unit's ground point, y downwards; None where they do not fit."""
    placed: list[tuple[float, float, float] | None] = [None] * len(units)
    boxes: list[Box] = []
    standing = rng.shuffled([i for i, u in enumerate(units) if u.where != "sky"])
    if standing:
        raw = {i: units[i].box() for i in standing}
        wanted = {1: 1.4, 2: 1.15, 3: 1.0, 4: 0.9}[len(standing)] * rng.between(0.88, 1.08)
        scales, lines = {}, {}
        for i in standing:
            y = rng.between(0.585, 0.635) if units[i].where == "water" else rng.between(0.76, 0.95)
            near = 0.8 if units[i].where == "water" else 0.86 + 0.28 * (y - 0.76) / 0.19
            lines[i] = y
            scales[i] = min(wanted * near, (y - 0.03) / max(raw[i][3], 0.01))
        width = sum(scales[i] * (raw[i][2] - raw[i][0]) for i in standing)
        room = rng.between(0.97, 1.02) if len(standing) > 1 else 0.97
        if width > room:
            squeeze = room / width
            scales = {i: s * squeeze for i, s in scales.items()}
            width = room
        if min(scales.values()) < MIN_SCALE:
            return None
        gaps = [rng.between(0.02, 1.0) for _ in range(len(standing) + 1)]
        free = max(0.98 - width, 0.0)
        share = free / sum(gaps)
        x = 0.01 + gaps[0] * share - max(width - 0.98, 0.0) / 2
        for n, i in enumerate(standing):
            s, (x0, low, x1, high) = scales[i], raw[i]
            placed[i] = (x - s * x0, lines[i], s)
            boxes.append((x, lines[i] - s * high, x + s * (x1 - x0), lines[i] - s * low))
            x += s * (x1 - x0) + gaps[n + 1] * share
            if n + 1 < len(standing) and gaps[n + 1] * share < 0.05 and rng.chance(0.5):
                x -= min(0.03, 0.1 * s * (x1 - x0))  # neighbours overlap a little
    for i, unit in enumerate(units):
        if unit.where == "sky":
            spot = _in_the_sky(rng, unit, boxes, alone=len(units) == 1)
            if spot is None:
                return None
            placed[i] = spot
    return [p for p in placed if p is not None]


def _in_the_sky(rng: Rng, unit: Unit, boxes: list[Box], *, alone: bool) -> tuple[float, float, float] | None:
    x0, low, x1, high = unit.box()
    for attempt in range(14):
        s = rng.between(1.2, 1.5) if alone else rng.between(0.95, 1.3) - 0.02 * attempt
        w, h = s * (x1 - x0), s * (high - low)
        if w > 0.94 or h > 0.6 or s < MIN_SCALE:
            continue
        left, top = rng.between(0.02, 0.98 - w), rng.between(0.03, max(0.04, 0.5 - h))
        box = (left, top, left + w, top + h)
        if all(box[2] < b[0] + 0.01 or box[0] > b[2] - 0.01 or box[3] < b[1] - 0.005 or box[1] > b[3]
               for b in boxes):  # fmt: skip
            boxes.append(box)
            return left - s * x0, top + s * high, s
    return None


def _scene(rng: Rng, units: list[Unit], placed: list[tuple[float, float, float]], setting: str, time: str,
           weather: str) -> Scene:  # fmt: skip
    things: list[Thing] = []
    owner: list[int] = []
    relations: list[tuple[int, str, int]] = []
    order = sorted(range(len(units)), key=lambda i: (units[i].where != "sky", placed[i][1]))
    for depth, u in enumerate(order):
        unit, (x, y, s) = units[u], placed[u]
        base = len(things)
        first = {1 for i, verb, _ in unit.relations if i == 0 and verb in _OBJECT_FIRST}
        for n, part in enumerate(unit.parts):
            spots = tuple(_rounded(x + s * sp.x, y - s * sp.y, s * sp.height, sp.flip) for sp in part.spots)
            things.append(Thing(part.kind, part.colour, part.pattern, part.count, part.size, part.action,
                                part.pose,
                                rng.below(10_000), depth * 8 + (0 if n in first else n + 1),
                                spots))  # fmt: skip
            owner.append(u)
        relations += [(base + i, verb, base + j) for i, verb, j in unit.relations]
    lifted = {i for i, verb, _ in relations if verb in _LIFTS}
    lifted |= {j for _, verb, j in relations if verb in ("holding", "wearing", "playing")}
    relations += _spatial(things, owner, lifted)
    return Scene(setting, time, weather, tuple(things), tuple(relations), rng.below(1_000_000),
                 rng.chance(0.5),
                 round(rng.between(0.93, 1.06), 2))  # fmt: skip


_LIFTS = ("riding", "sitting on", "sleeping on", "standing on", "on", "in")
_OBJECT_FIRST = (*_LIFTS, "under")  # the object is drawn before the subject


def _rounded(x: float, y: float, h: float, flip: bool) -> Spot:
    return Spot(round(x, 4), round(y, 4), round(h, 4), flip)


def _spatial(things: list[Thing], owner: list[int], lifted: set[int]) -> list[tuple[int, str, int]]:
    """The relations left of, right of, next to, above and below between things of different units, where they
    are unambiguous."""
    out: list[tuple[int, str, int]] = []
    boxes = [t.box for t in things]
    flying = [KINDS[t.kind].where == "sky" or t.pose == "fly" for t in things]
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes):
            if i == j or owner[i] == owner[j]:
                continue
            if a[2] <= b[0] + 0.03:
                out += [(i, "left of", j), (j, "right of", i)]
            if i < j and not (flying[i] or flying[j] or i in lifted or j in lifted):
                gap = max(a[0], b[0]) - min(a[2], b[2])
                if -0.05 <= gap <= 0.10 and abs(a[3] - b[3]) <= 0.17:
                    out += [(i, "next to", j), (j, "next to", i)]
            if (
                flying[i]
                and not flying[j]
                and i not in lifted
                and a[3] <= b[1] + 0.02
                and min(a[2], b[2]) - max(a[0], b[0]) > 0.02
            ):
                out += [(i, "above", j), (j, "below", i)]
    return out

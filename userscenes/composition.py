"""The content of a scene before it is placed: units of one to three things that belong together, such as a boy
on a bicycle with a balloon.

A part's spot is relative to its unit's ground point, x to the right, y upwards, in fractions of the image
at scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .canvas import COLOURS, PATTERNS
from .catalog import KINDS, POSES, TRAIN_COLOURS, TRAIN_KINDS, TRAIN_PATTERNS, VERBS, Kind
from .graph import Spot, spot_box
from .people import SEAT
from .rng import Rng
from .rooms import ROOMS
from .settings import SCENERY, WATER
from .splits import allowed


@dataclass
class Part:
    kind: str
    colour: str
    pattern: str
    pose: str = "stand"
    action: str = ""
    count: int = 1
    size: str = ""
    spots: list[Spot] = field(default_factory=list)  # y upwards here


@dataclass
class Unit:
    parts: list[Part]
    relations: list[tuple[int, str, int]]
    where: str = "ground"  # ground | sky | water

    def box(self) -> tuple[float, float, float, float]:
        """(x0, low, x1, high) around all parts, y upwards."""
        boxes = [
            spot_box(p.kind, p.pose, Spot(s.x, -s.y, s.height, s.flip)) for p in self.parts for s in p.spots
        ]
        return (
            min(b[0] for b in boxes),
            -max(b[3] for b in boxes),
            max(b[2] for b in boxes),
            -min(b[1] for b in boxes),
        )


class Composer:
    """Samples the units of one scene. `half` says which pairs are allowed (see splits.py); `wide` adds what only
    pretrain has."""

    def __init__(self, rng: Rng, setting: str, *, half: str, wide: bool) -> None:
        self.rng, self.half = rng, half
        indoor = setting in ROOMS
        places = (
            ("in", "any")
            if indoor
            else (("out", "any", "sky", "water") if setting in WATER else ("out", "any", "sky"))
        )
        names = tuple(KINDS) if wide else TRAIN_KINDS
        barred = SCENERY.get(setting, ())
        self.kinds = [k for k in names if KINDS[k].where in places and k not in barred]
        self.indoor = indoor
        self.carried = [k for k in names if KINDS[k].where in ("any", "sky", "in", "out") and k not in barred]
        self.colours = tuple(COLOURS) if wide else TRAIN_COLOURS
        self.patterns = PATTERNS if wide else TRAIN_PATTERNS
        self.used: set[str] = set()

    def paint(self, kind: str) -> tuple[str, str]:
        """A colour and a pattern (mostly "") that the kind may have here."""
        colour = self.rng.pick([c for c in self.colours if allowed(kind, c, self.half)])
        patterns = [p for p in self.patterns if KINDS[kind].patterned and allowed(kind, p, self.half)]
        pattern = self.rng.pick(patterns) if patterns and self.rng.chance(0.16) else ""
        return colour, pattern

    def part(self, kind: str, pose: str = "stand", action: str = "") -> Part:
        self.used.add(kind)
        colour, pattern = self.paint(kind)
        return Part(kind, colour, pattern, pose, action)

    def choose(self, kinds: list[str]) -> str:
        """One of the kinds, rarely one that the scene already has."""
        kind = self.rng.pick(kinds)
        if kind in self.used and not self.rng.chance(0.15):
            fresh = [k for k in kinds if k not in self.used]
            if fresh:
                return self.rng.pick(fresh)
        return kind

    def unit(self, room: int) -> Unit:
        """One unit of at most `room` things."""
        if room >= 2 and self.rng.chance(0.58):
            unit = self.acting(room)
            if unit is not None:
                return unit
        return self.alone()

    def alone(self) -> Unit:
        """One thing, or a group of one kind."""
        rng = self.rng
        kind = self.choose(self.kinds)
        k = KINDS[kind]
        sky = k.where == "sky"
        action = rng.pick(k.actions) if k.actions and (sky or rng.chance(0.6)) else ""
        if kind == "duck" and action == "flying":
            sky = True
        part = self.part(kind, POSES[action], action)
        if k.group > 1 and rng.chance(0.34):
            part.count = 2 + rng.below(k.group - 1)
        elif rng.chance(0.14):
            part.size = rng.pick(("small", "big"))
        h = k.height * {"small": 0.66, "": 1.0, "big": 1.36}[part.size] * rng.between(0.94, 1.06)
        part.spots = self.row(part, h)
        return Unit([part], [], "sky" if sky else "water" if k.where == "water" else "ground")

    def row(self, part: Part, h: float) -> list[Spot]:
        """The spots of a group's members, side by side, most of them facing the same way."""
        rng = self.rng
        flip = rng.chance(0.5)
        x0, _, x1, _ = spot_box(part.kind, part.pose, Spot(0, 0, h, False))
        step = (x1 - x0) * rng.between(1.0, 1.12)
        airy = KINDS[part.kind].where == "sky"
        return [Spot((i - (part.count - 1) / 2) * step, rng.between(0,
                0.09 if airy else 0.025) if part.count > 1 else 0.0,
                     h * rng.between(0.95, 1.0), flip != (part.count > 1 and rng.chance(0.15)))
                for i in range(part.count)]  # fmt: skip

    def acting(self, room: int) -> Unit | None:
        """Two things in a relation, sometimes with a third one held or worn; None where no pair fits."""
        rng = self.rng
        verb = rng.weighted(tuple(VERBS), _VERB_WEIGHTS)
        subjects = [k for k in VERBS[verb][0] if k in self.carried and allowed(k, verb, self.half)
                    and (not self.indoor or KINDS[k].where != "out")]  # fmt: skip
        objects = [
            k for k in VERBS[verb][1] if k in (self.carried if verb in ("holding", "wearing") else self.kinds)
        ]
        if self.indoor:
            objects = [k for k in objects if k != "kite"]
        if not subjects or not objects:
            return None
        s = self.choose(subjects)
        choice = [o for o in objects if o != s and fits(verb, KINDS[s], KINDS[o])]
        if not choice:
            return None
        o = self.choose(choice)
        unit = self.arrange(verb, s, o)
        first = unit.parts[0]
        if room >= 3 and verb not in ("holding", "wearing", "behind", "under", "sleeping on", "chasing"):
            self.add_held_or_worn(unit, first, verb)
        return unit

    def arrange(self, verb: str, s: str, o: str) -> Unit:
        """Subject and object with their spots, the subject first."""
        rng = self.rng
        ks, ko = KINDS[s], KINDS[o]
        flip = rng.chance(0.5)
        sign = -1.0 if flip else 1.0
        person = ks.family == "person"
        hs, ho = ks.height, ko.height * _STRETCH.get((verb, o), 1.0)
        subject, thing = self.part(s), self.part(o)
        sx = sy = ox = oy = 0.0
        o_flip = flip
        if verb in ("riding", "sitting on") and (ko.seat or ko.top):
            stands = verb == "riding" and ko.seat is None
            ax, ay = ko.seat if ko.seat is not None else (0.0, (ko.top or (0.0, 0.0))[0])
            sx, sy = sign * ax * ho, ay * ho
            if person and not stands:
                subject.pose = "ride" if verb == "riding" else "sit"
                sx, sy = sx - sign * SEAT[0] * hs, sy - SEAT[1] * hs
            elif not person and "sitting" in ks.actions:
                subject.pose = "sit"
        elif verb in ("sleeping on", "standing on", "on"):
            ay, half = ko.top or (1.0, 0.5)
            sy = ay * ho
            if verb == "sleeping on":
                subject.pose = "sleep"
            else:
                sx = rng.between(-0.5, 0.5) * half * ho
        elif verb == "holding":
            hand = ks.hand or (0.0, 0.0)
            ox, oy = sign * hand[0] * hs, hand[1] * hs
            if person:
                subject.pose = "stand+hold"
        elif verb == "playing":
            subject.pose = "stand+hold"
            ho *= hs / 0.42
            ox, oy = (0.0, 0.27 * hs) if o == "guitar" else (sign * 0.4 * hs, 0.0)
        elif verb == "wearing":
            x, y, w = ks.head or (0.0, 1.0, 0.2)
            ho, ox, oy = w * hs, sign * x * hs, y * hs
        elif verb == "kicking":
            subject.pose = "kick"
            ox, oy = sign * (0.42 * hs + 0.5 * ho), 0.08 * hs
        elif verb == "under":
            half, high = ko.room or (0.5, 0.5)
            hs = min(hs, 0.94 * high * ho)
            sx = rng.between(-0.25, 0.25) * half * ho
        elif verb == "in":
            hs *= 0.84
            # at most a quarter of the subject is hidden by the container's front
            sy = max((ko.rim or 0.0) * ho, _FRONT[o] * ho - 0.24 * hs)
            sx = sign * (0.12 * ho if o == "boat" else 0.0)
        elif verb == "chasing":
            subject.pose, subject.action = "run", "running"
            thing.pose, thing.action = ("run", "running") if "running" in ko.actions else ("jump", "jumping")
            a = spot_box(s, subject.pose, Spot(0, 0, hs, False))
            b = spot_box(o, thing.pose, Spot(0, 0, ho, False))
            ox = sign * (a[2] - b[0] + 0.03)
        elif verb == "behind":
            a = spot_box(s, "stand", Spot(0, 0, hs, False))
            b = spot_box(o, "stand", Spot(0, 0, ho, False))
            side = rng.pick((-1.0, 1.0))
            tall = -a[1] > -b[1] * 1.9
            reach = (b[2] - b[0]) / 2 + (a[2] - a[0]) * (0.0 if tall else 0.22)
            sx, sy = side * reach, 0.035
            o_flip = rng.chance(0.5)
        subject.spots = [Spot(sx, sy, hs, flip)]
        thing.spots = [Spot(ox, oy, ho, o_flip)]
        relations = [(0, verb, 1)]
        if verb == "behind":
            relations.append((1, "in front of", 0))
        where = "water" if ko.where == "water" else "ground"
        return Unit([subject, thing], relations, where)

    def add_held_or_worn(self, unit: Unit, part: Part, verb: str) -> None:
        """Sometimes puts something into the hand of a rider or sitter, or else a hat on a person."""
        rng = self.rng
        k, spot = KINDS[part.kind], part.spots[0]
        sign = -1.0 if spot.flip else 1.0
        if (
            k.hand is not None
            and part.pose in ("ride", "sit")
            and allowed(part.kind, "holding", self.half)
            and rng.chance(0.3)
        ):
            held = [o for o in VERBS["holding"][1] if o in self.carried and not (self.indoor and o == "kite")]
            o = self.choose(held)
            if k.family == "person":
                part.pose += "+hold"
            thing = self.part(o)
            thing.spots = [
                Spot(
                    spot.x + sign * k.hand[0] * spot.height,
                    spot.y + k.hand[1] * spot.height,
                    KINDS[o].height,
                    spot.flip,
                )
            ]
            unit.parts.append(thing)
            unit.relations.append((0, "holding", len(unit.parts) - 1))
        elif (
            k.head is not None
            and k.family == "person"
            and allowed(part.kind, "wearing", self.half)
            and rng.chance(0.12)
        ):
            x, y, w = k.head
            thing = self.part("hat")
            thing.spots = [
                Spot(spot.x + sign * x * spot.height, spot.y + y * spot.height, w * spot.height, spot.flip)
            ]
            unit.parts.append(thing)
            unit.relations.append((0, "wearing", len(unit.parts) - 1))


_VERB_WEIGHTS = tuple({"riding": 1.6, "holding": 1.6, "wearing": 0.9, "playing": 0.5, "kicking": 0.5,
                       "sitting on": 1.2,
                       "sleeping on": 0.5, "standing on": 0.6, "on": 1.0, "under": 0.9, "in": 0.8,
                       "chasing": 0.7,
                       "behind": 1.1}[verb] for verb in VERBS)  # fmt: skip
_STRETCH = {("under", "table"): 1.35, ("under", "tree"): 1.15, ("in", "box"): 1.35, ("on", "chair"): 0.9,
            ("in", "boat"): 1.15,
            ("sitting on", "chair"): 1.2, ("sitting on", "box"): 1.3, ("sitting on", "bench"): 1.15,
            ("sleeping on", "bench"): 1.3,
            ("sleeping on", "sofa"): 1.1}  # fmt: skip
_FRONT = {"box": 0.84, "boat": 0.35}  # how high the front reaches
_BIG = ("horse", "elephant", "cow", "tractor", "bicycle", "scooter", "skateboard")


def fits(verb: str, s: Kind, o: Kind) -> bool:
    """Whether the sizes of the two kinds allow the pair to be drawn."""
    if verb == "riding":
        if s.family == "person":
            return o.name in (*_BIG, "pig")
        return o.name != "tractor" and s.height < o.height * (1.3 if o.seat else 9)
    if verb in ("sitting on", "on", "standing on") and s.family != "person":
        return o.top is not None and s.height < 1.35 * o.height
    if verb == "sitting on":
        return o.name != "table" or s.name in ("boy", "girl")
    if verb == "sleeping on":
        return s.height < o.height * 1.2
    if verb == "under":
        return o.room is not None and s.height * 0.62 < 0.94 * o.room[1] * o.height * 1.15
    if verb == "in":
        return s.height < 1.7 * o.height if o.name == "box" else True
    if verb == "behind":
        return s.height > o.height * 0.9
    return True

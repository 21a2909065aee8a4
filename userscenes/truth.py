"""What is true of an image: atomic facts, their closure, and a matrix for all pairs.

A caption states facts, and is true of an image when all of them are. `true` is a slow interpreter that reads
the scene graph without the closure; the tests compare both. The conventions:

- ("thing", level, colour, pattern, size, action, side): there is a thing to which all given words apply (""
  where nothing is said). `level` is its kind or a class that this belongs to (person, animal, bird, ...). "a
  dog" means at least one dog. A group is one thing, and a word for it applies to all its members.
- ("count", level, colour, pattern, n): there are exactly n such, over all groups. "two dogs" is false where
  there are three; "two brown dogs" is true where there is a white one too. ("many", level, colour, pattern):
  there are two or more.
- ("rel", level, colour, pattern, relation, level, colour, pattern): some thing of the first description
  is in the relation to some thing of the second. Directions are those of the image. Implied relations hold
  too (IMPLIES).
- ("setting", s), ("place", "indoors" or "outdoors"), ("time", t), ("weather", w).
- The world is closed: what the scene graph does not say is false. Things that a caption does not mention may
  be there. Scenery is not a thing, but a forest has trees (SCENERY), without a colour, a number or a place.
- A colour is that of the thing by daylight: a red car is red at night. For people it is that of their
  clothes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from .catalog import KINDS
from .facts import Caption, Fact, side_of
from .graph import Scene, Thing
from .rooms import ROOMS
from .settings import SCENERY

IMPLIES = {"riding": ("on",), "sitting on": ("on",), "sleeping on": ("on",), "standing on": ("on",),
           "holding": ("with",),
           "wearing": ("with",), "playing": ("with",)}  # fmt: skip


def _options(word: str) -> tuple[str, ...]:
    return ("", word) if word else ("",)


def closed_facts(scene: Scene) -> frozenset[Fact]:
    """Every atomic fact that is true of the scene."""
    facts: set[Fact] = {("setting", scene.setting),
                        ("place", "indoors" if scene.setting in ROOMS else "outdoors"),
                        ("time", scene.time)}  # fmt: skip
    if scene.weather:
        facts.add(("weather", scene.weather))
    for kind in SCENERY.get(scene.setting, ()):
        facts.update(("thing", level, "", "", "", "", "") for level in KINDS[kind].levels)
    totals: dict[tuple[str, str, str], int] = {}
    ends: list[list[tuple[str, str, str]]] = []
    for t in scene.things:
        named = list(itertools.product(KINDS[t.kind].levels, _options(t.colour), _options(t.pattern)))
        ends.append(named)
        more = list(itertools.product(_options(t.size), _options(t.action), _options(side_of(t))))
        facts.update([("thing", *n, *m) for n in named for m in more])
        for n in named:
            totals[n] = totals.get(n, 0) + t.count
    for n, total in totals.items():
        facts.add(("count", *n, total))
        if total >= 2:
            facts.add(("many", *n))
    for i, relation, j in scene.relations:
        for word in (relation, *IMPLIES.get(relation, ())):
            facts.update([("rel", *a, word, *b) for a in ends[i] for b in ends[j]])
    return frozenset(facts)


class TruthTable:
    """Which captions are true of which images, from the facts of both, as bits packed along the images."""

    def __init__(
        self, captions_facts: Sequence[Iterable[Fact]], image_facts: Sequence[Iterable[Fact]]
    ) -> None:
        self.n_images = len(image_facts)
        index: dict[Fact, int] = {}
        self._needs = [[index.setdefault(f, len(index)) for f in facts] for facts in captions_facts]
        holds = np.zeros((len(index), self.n_images), dtype=bool)
        for p, facts in enumerate(image_facts):
            holds[[index[f] for f in facts if f in index], p] = True
        self._bits = np.packbits(holds, axis=1)  # (facts, images / 8)

    def true_matrix(self) -> np.ndarray:
        """(n_captions, n_images) bool. A caption without facts is true of everything."""
        out = np.full((len(self._needs), self._bits.shape[1]), 255, dtype=np.uint8)
        for c, needs in enumerate(self._needs):
            if needs:
                np.bitwise_and.reduce(self._bits[needs], axis=0, out=out[c])
        return np.unpackbits(out, axis=1, count=self.n_images).astype(bool)


def true(caption: Caption, scene: Scene) -> bool:
    """Whether the caption is true of the scene, checked on the scene graph fact by fact; slow."""
    return all(_holds(fact, scene) for fact in caption.facts)


def _is(thing: Thing, level: object, colour: object, pattern: object) -> bool:
    return (
        level in KINDS[thing.kind].levels and colour in ("", thing.colour) and pattern in ("", thing.pattern)
    )


def _holds(fact: Fact, scene: Scene) -> bool:
    word, *rest = fact
    if word == "setting":
        return scene.setting == rest[0]
    if word == "place":
        return (scene.setting in ROOMS) == (rest[0] == "indoors")
    if word == "time":
        return scene.time == rest[0]
    if word == "weather":
        return scene.weather == rest[0]
    if word in ("count", "many"):
        number = sum(t.count for t in scene.things if _is(t, *rest[:3]))
        return number >= 2 if word == "many" else number == rest[3]
    if word == "rel":
        first, relation, second = rest[:3], rest[3], rest[4:]
        return any(relation == r or relation in IMPLIES.get(r, ()) for i, r, j in scene.relations
                   if _is(scene.things[i], *first) and _is(scene.things[j], *second))  # fmt: skip
    level, colour, pattern, size, action, side = rest
    for t in scene.things:
        if (
            _is(t, level, colour, pattern)
            and size in ("", t.size)
            and action in ("", t.action)
            and side in ("", side_of(t))
        ):
            return True
    plain = not (colour or pattern or size or action or side)
    return plain and any(level in KINDS[k].levels for k in SCENERY.get(scene.setting, ()))

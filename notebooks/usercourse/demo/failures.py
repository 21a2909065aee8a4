"""Failures found automatically: captions whose ground-truth image is not the first hit, each with its likely cause.

The cause is taken from the scene graph: the most serious fact of the caption that the first hit lacks.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from usercourse.demo.engine import Engine
from usercourse.demo.scene_diff import CAUSES, missing
from userlib.errors import UserError

BOTH = "also true"
UNKNOWN = "unknown word"
EXPLAINED: Mapping[str, str] = {
    BOTH: "not a failure of the model: the caption is true of the first hit as well, but the label names "
    "only one image",
    UNKNOWN: "the caption has a word that no training caption has",
    "thing": "an object that the caption names is missing",
    "binding": "every attribute is there, but of another object",
    "colour": "a colour is wrong",
    "pattern": "a pattern is wrong",
    "number": "the count is wrong",
    "relation": "the objects are there, but not in this relation",
    "action": "the object does something else",
    "size": "the size is wrong",
    "side": "the object is in another part of the image",
    "setting": "the place is wrong",
    "time": "the time of day is wrong",
    "weather": "the weather is wrong",
}


def cause_name(cause: str) -> str:
    """The name of a cause in the page; stored failures call an object a thing, as facts do."""
    return "object" if cause == "thing" else cause


@dataclass(frozen=True)
class Failure:
    """A caption (its index), the ids of its ground-truth image and of the first hit, and the former's rank."""

    caption: int
    own: str
    first: str
    rank: int
    cause: str
    sentence: str


def find_failures(engine: Engine, *, each: int = 3) -> tuple[list[Failure], dict[str, int], int]:
    """The `each` clearest failures of every cause (by the margin of the wrong hit), the number of failures of every
    cause, and the number of captions. Raises UserError for images without scene graphs.
    """
    from userscenes import closed_facts

    gallery, world = engine.gallery, engine.gallery.world
    if world is None:
        raise UserError(
            "Failures are found by the scene graph, which only drawn images have. Choose a model of the drawn scenes."
        )
    ranks, first, margin = engine.caption_ranks()
    failures: list[Failure] = []
    counts: Counter[str] = Counter()
    for j in np.argsort(-margin, kind="stable"):
        number, row = int(j), int(first[j])
        if ranks[j] == 1:
            continue
        written = gallery.written(number)
        misses = missing(written.facts, closed_facts(world[row])) if written else []
        sentence = "; ".join(miss.sentence for miss in misses) or "every word is true of the first hit"
        cause = misses[0].cause if misses else BOTH
        if strange := engine.index.unknown(gallery.captions[number]):
            cause, sentence = UNKNOWN, f"never read: {', '.join(strange)}; {sentence}"
        counts[cause] += 1
        if counts[cause] <= each:
            own = gallery.ids[int(gallery.caption_to_image[j])]
            failures.append(Failure(number, own, gallery.ids[row], int(ranks[j]), cause, sentence))
    order = (BOTH, UNKNOWN, *CAUSES)
    failures.sort(key=lambda failure: order.index(failure.cause))
    return failures, {cause: counts[cause] for cause in order if counts[cause]}, len(gallery.captions)

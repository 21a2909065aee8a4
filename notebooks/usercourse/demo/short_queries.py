"""Short queries as people type them, such as "two dogs on the beach", and how often the first hit is relevant.

    python -m usercourse.demo.short_queries              every model of the demo, 200 queries
    python -m usercourse.demo.short_queries --show       and the queries that the full model gets wrong

Each query is made of the world's own words from a scene of the test images, so that at least one image is relevant; all
relevant images are known from the scenes (`userscenes.truth`). This is no standard protocol, and no model is chosen by
it: results are reported as R@K on the captions of the test images.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from usercourse.demo.engine import Engine
from usercourse.demo.gallery import world_gallery
from userscenes import Caption, Scene, Scenes, Thing, TruthTable, closed_facts
from userscenes.catalog import KINDS
from userscenes.facts import Fact
from userscenes.rng import Rng
from userscenes.words import NUMBERS, SETTING_PHRASES, article

COUNT, SEED = 200, "short queries"


def short_queries(world: Scenes, count: int = COUNT, seed: str = SEED) -> list[Caption]:
    """`count` distinct queries of two to eight words, each true of at least one of the world's scenes."""
    rng = Rng(seed)
    made: dict[str, Caption] = {}
    while len(made) < count:
        scene = world[rng.below(len(world))]
        text, facts = _query(rng, scene, rng.pick(scene.things))
        made.setdefault(text, Caption(text, frozenset(facts), ()))
    return list(made.values())


def _query(rng: Rng, scene: Scene, thing: Thing) -> tuple[str, list[Fact]]:
    """A query about one object, with its number, its colour or neither, and in two of three queries the place."""
    kind = KINDS[thing.kind]
    one, many = kind.nouns[0]
    facts: list[Fact]
    total = sum(other.count for other in scene.things if other.kind == thing.kind)
    if total > 1 and total in NUMBERS and rng.chance(0.7):
        text, facts = f"{NUMBERS[total]} {many}", [("count", thing.kind, "", "", total)]
    elif thing.colour and rng.chance(0.5):
        words = f"{one} in {thing.colour}" if kind.outfit else f"{thing.colour} {one}"
        text, facts = f"{article(words)} {words}", [("thing", thing.kind, thing.colour, "", "", "", "")]
    else:
        text, facts = f"{article(one)} {one}", [("thing", thing.kind, "", "", "", "", "")]
    if rng.chance(2 / 3):
        text += f" {SETTING_PHRASES[scene.setting][0]}"
        facts.append(("setting", scene.setting))
    return text, facts


def truth(queries: Sequence[Caption], world: Scenes) -> NDArray[np.bool_]:
    """(Q, N) bool: whether each query is true of each image."""
    facts = [closed_facts(world[i]) for i in range(len(world))]
    return TruthTable([query.facts for query in queries], facts).true_matrix()


def first_hits(engine: Engine, queries: Sequence[Caption], right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(Q,) bool: whether the first hit of each query is relevant; right (Q, N) is `truth`."""
    rows = [engine.gallery.row[engine.search(query.text, 1).hits[0].id] for query in queries]
    return right[np.arange(len(queries)), rows]


def main(arguments: Sequence[str]) -> int:
    from usercourse.demo.models import RECIPES, available_models, open_engine

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--show", action="store_true", help="also show the queries that the full model gets wrong"
    )
    parser.add_argument("--count", type=int, default=COUNT, help="number of queries (default %(default)s)")
    chosen = parser.parse_args(arguments)
    gallery = world_gallery()
    if gallery.world is None:
        raise AssertionError("the demo's images are drawn")
    queries = short_queries(gallery.world, chosen.count)
    right = truth(queries, gallery.world)
    for name in available_models().values():
        hits = first_hits(open_engine(name, gallery), queries, right)
        print(f"{RECIPES[name].title}: the first hit is right for {hits.sum()} of {len(hits)}", flush=True)
        if chosen.show and name == "full":
            print("\n".join(f"    {query.text}" for query, hit in zip(queries, hits, strict=True) if not hit))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Short queries are true of some image and judged by the scenes; the full model's first hit is right for most."""

import numpy as np
import pytest

from usercourse.demo import open_engine, short_queries, world_gallery
from usercourse.demo.models import available_models
from userscenes import true

GOAL = 0.85


@pytest.fixture(scope="module")
def shipped():
    return world_gallery()


@pytest.fixture(scope="module")
def judged(shipped):
    queries = short_queries.short_queries(shipped.world)
    return queries, short_queries.truth(queries, shipped.world)


def test_each_query_is_short_and_has_a_right_image(judged, shipped):
    queries, right = judged
    assert len({query.text for query in queries}) == len(queries) == short_queries.COUNT
    assert all(2 <= len(query.text.split()) <= 9 for query in queries)
    assert right.any(1).all() and not right.all(1).any()
    for number in range(0, len(queries), 23):
        for row in range(0, len(shipped), 37):
            assert right[number, row] == true(queries[number], shipped.world[row]), queries[number].text
    assert [one.text for one in short_queries.short_queries(shipped.world, 20)] == [
        one.text for one in queries[:20]
    ]


def test_a_hit_counts_by_the_image_that_comes_first(judged, shipped):
    queries, right = judged
    engine = open_engine("mean", shipped)
    hits = short_queries.first_hits(engine, queries[:20], right[:20])
    for query, truth, hit in zip(queries[:20], right[:20], hits, strict=True):
        assert hit == truth[shipped.row[engine.search(query.text, 3).hits[0].id]]
    assert not short_queries.first_hits(engine, queries[:20], np.zeros_like(right[:20])).any()


@pytest.mark.skipif("full" not in available_models().values(), reason="needs the full model of the demo")
def test_the_full_model_finds_a_right_image_first(judged, shipped):
    assert short_queries.first_hits(open_engine("full", shipped), *judged).mean() >= GOAL

"""Short queries are true of some image and judged by the scenes; docs/results.md tells how many hits are right."""

import re
from pathlib import Path

import numpy as np
import pytest

from usercourse.demo import open_engine, short_queries, world_gallery
from usercourse.demo.models import RECIPES, available_models
from userscenes import true

TEXT = " ".join((Path(__file__).parents[3] / "docs/results.md").read_text(encoding="utf-8").split())


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


@pytest.mark.parametrize("name", available_models().values())
def test_the_text_tells_how_often_the_first_hit_is_right(name, judged, shipped):
    """As measured, but for what rounding may turn; and at least five times what a first image by chance would have."""
    queries, right = judged
    count = int(short_queries.first_hits(open_engine(name, shipped), queries, right).sum())
    [told] = re.findall(rf"{re.escape(RECIPES[name].title)} (\d+)\b", TEXT.split("Of 200 short queries")[1])
    assert abs(int(told) - count) <= 2
    assert count > 5 * right.mean() * len(queries)

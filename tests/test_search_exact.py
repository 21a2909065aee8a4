"""The exact search without torch against that with it: the same hits in the same order, ties by row."""

import numpy as np
import pytest

from userlib.search.exact import _by_numpy, _by_torch


@pytest.mark.parametrize("count, k", [(1, 1), (7, 3), (500, 10), (500, 600), (3, 3)])
def test_both_ways_find_the_same(count, k):
    draw = np.random.default_rng(count)
    gallery = draw.standard_normal((count, 24)).astype(np.float32)
    gallery[count // 2 :: 3] = gallery[0]  # equal items
    queries = draw.standard_normal((5, 24)).astype(np.float32)
    queries[0] = gallery[0]
    scores, rows = _by_numpy(queries, gallery, k)
    wanted_scores, wanted_rows = _by_torch(queries, gallery, k)
    assert scores.shape == rows.shape == (5, min(k, count)) and rows.dtype == np.int64
    assert np.array_equal(rows, wanted_rows)
    assert np.allclose(scores, wanted_scores, atol=1e-5)


def test_equal_items_stand_in_the_order_of_rows():
    gallery = np.ones((40, 7), np.float32)
    scores, rows = _by_numpy(np.ones((1, 7), np.float32), gallery, 12)
    assert rows[0].tolist() == list(range(12)) and len(set(scores[0].tolist())) == 1

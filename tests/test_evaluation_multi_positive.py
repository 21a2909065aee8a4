"""Many right answers, against a plain loop, and tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from userlib.errors import UserError
from userlib.evaluation import (
    Difference,
    Ranks,
    bootstrap,
    multi_positive_recalls,
    multi_positive_recalls_from_scores,
    paired_bootstrap,
    ranks,
    table,
)


def slow_query(scores, truth):
    """One query: sort, wrong ones first among equals, and walk down the list."""
    order = sorted(range(len(scores)), key=lambda j: (-scores[j], truth[j]))
    hits = [bool(truth[j]) for j in order]
    answers = sum(hits)
    average = sum(sum(hits[: k + 1]) / (k + 1) for k in range(answers) if hits[k]) / answers
    return hits.index(True) + 1, average


def a_world(seed, counts, share, levels=2):
    """Whole-number embeddings (many exact ties), and a truth that holds each caption's own picture and some
    others."""
    rng = np.random.default_rng(seed)
    caption_to_image = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = rng.integers(-levels, levels + 1, (len(counts), 3)).astype(np.float32)
    captions = rng.integers(-levels, levels + 1, (len(caption_to_image), 3)).astype(np.float32)
    truth = rng.random((len(caption_to_image), len(counts))) < share
    truth[np.arange(len(caption_to_image)), caption_to_image] = True
    return images, captions, caption_to_image, truth


@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=20),
    share=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_many_equals_a_plain_loop(seed, counts, share):
    images, captions, caption_to_image, truth = a_world(seed, counts, share)
    scores = images @ captions.T
    i2t = [slow_query(scores[i], truth[:, i]) for i in range(len(images))]
    t2i = [slow_query(scores[:, j], truth[j]) for j in range(len(captions))]
    for result in (
        multi_positive_recalls(images, captions, caption_to_image, truth),
        multi_positive_recalls_from_scores(scores, caption_to_image, truth),
    ):
        assert result.ranks.i2t.tolist() == [rank for rank, _ in i2t]
        assert result.ranks.t2i.tolist() == [rank for rank, _ in t2i]
        assert result.i2t_ap == pytest.approx([average for _, average in i2t], abs=1e-6)
        assert result.t2i_ap == pytest.approx([average for _, average in t2i], abs=1e-6)
        assert result.t2i_map == pytest.approx(100 * np.mean([average for _, average in t2i]), abs=1e-4)


def test_many_crosses_chunks_and_agrees_with_ranks_when_only_written_pairs_are_true():
    rng = np.random.default_rng(0)
    images, caption_to_image = rng.standard_normal((600, 8)), np.repeat(np.arange(600), 2)
    captions = images[caption_to_image] + rng.standard_normal((1200, 8))
    truth = caption_to_image[:, None] == np.arange(600)
    ranked = multi_positive_recalls(images, captions, caption_to_image, truth)
    plain = ranks(images, captions, caption_to_image)
    assert np.array_equal(ranked.ranks.i2t, plain.i2t)
    assert np.array_equal(ranked.ranks.t2i, plain.t2i)
    assert ranked.t2i_map == pytest.approx(
        100 * (plain.t2i == 1).mean()
    )  # R = 1: only the first place counts


def test_mean_precision_by_hand():
    """Three true answers at places 1, 3 and 4: (1 + 2/3) / 3; the one at place 4 is beyond R = 3."""
    scores = np.array([[5.0, 4.0, 3.0, 2.0]])
    truth = np.array([[True], [False], [True], [True]])
    with pytest.raises(UserError, match=r"no true item \(the first is caption 1\)"):
        multi_positive_recalls_from_scores(scores, [0, 0, 0, 0], truth)
    scores, truth = np.array([[5.0, 4, 3, 2], [0, 9, 0, 0]]), np.column_stack([truth, ~truth])
    ranked = multi_positive_recalls_from_scores(scores, [0, 1, 0, 0], truth)
    assert ranked.i2t_ap[0] == pytest.approx((1 + 2 / 3) / 3)
    assert ranked.ranks.i2t.tolist() == [1, 1]


def test_truth_of_the_wrong_shape_or_kind_is_named():
    images, captions, caption_to_image, truth = a_world(0, [2, 2, 3], 0.2)
    with pytest.raises(UserError, match="7 captions by 3 images"):
        multi_positive_recalls(images, captions, caption_to_image, truth.T)
    with pytest.raises(UserError, match="int64"):
        multi_positive_recalls(images, captions, caption_to_image, truth.astype(int))
    with pytest.raises(UserError, match="truth have masked values"):
        multi_positive_recalls(images, captions, caption_to_image, np.ma.masked_array(truth, mask=truth))


def test_table_shows_values_intervals_and_signs():
    ranked = Ranks(i2t=np.arange(1, 21), t2i=np.arange(1, 21), caption_to_image=np.arange(20))
    better = Ranks(i2t=np.ones(20, int), t2i=np.ones(20, int), caption_to_image=np.arange(20))
    rows = {"model": bootstrap(ranked), "better - model": paired_bootstrap(better, ranked)}
    plain = table(rows)
    lines = plain.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "i2t R@1" in lines[0]
    assert "rSum" in lines[0]
    assert lines[1].split() == ["model", "5.0", "25.0", "50.0", "5.0", "25.0", "50.0", "160.0"]
    assert "+95.0" in lines[3]
    signed = {"i2t_r1": Difference(1.25, -0.5, 3), "rsum": Difference(7, 5, 9)}
    columns = {"i2t_r1": "R@1", "i2t_r5": "R@5", "rsum": "rSum"}
    _, values, ends = table({"x": signed}, columns=columns).splitlines()
    assert values.split() == ["x", "+1.2", "+7.0"]
    assert ends.split() == ["[-0.5,", "+3.0]", "[+5.0,", "+9.0]"]
    assert table({"x": signed}, columns=columns, markdown=True).splitlines()[2].split(" | ") == [
        "| x", "+1.2 [-0.5, +3.0]", "", "+7.0 [+5.0, +9.0] |",
    ]  # fmt: skip
    interval = rows["model"]["i2t_r5"]
    assert f"[{interval.low:.1f}, {interval.high:.1f}]" in lines[2]
    marked = table({"a|b": rows["model"]}, markdown=True).splitlines()
    assert len({line.replace(r"\|", "").count("|") for line in marked}) == 1
    assert r"a\|b" in marked[2]
    assert f"25.0 [{interval.low:.1f}, {interval.high:.1f}]" in marked[2]
    with pytest.raises(UserError, match="no rows"):
        table({})

"""Truth: the table against the slow interpreter and hand-made scenes, its speed, and the oracle's ceiling."""

import time
from dataclasses import replace

import numpy as np
import pytest

from userscenes import Caption, Scene, Spot, Thing, TruthTable, closed_facts, make_world, true

N = 1_000


@pytest.fixture(scope="module")
def test_split():
    """(scenes, captions, picture of each caption, truth) of the usual test split."""
    w = make_world("test", N)
    scenes = list(w)
    captions = [c for i in range(N) for c in w.captions(i)]
    table = TruthTable([c.facts for c in captions], [closed_facts(s) for s in scenes])
    return scenes, captions, np.repeat(np.arange(N), 5), table.true_matrix()


def _thing(kind, colour, x, *, count=1, pattern="", action="", size=""):
    spots = tuple(Spot(x + 0.1 * i, 0.9, 0.2, False) for i in range(count))
    return Thing(kind, colour, pattern, count, size, action, "stand", 0, 1, spots)


@pytest.fixture
def small():
    """Two brown dogs left of a white dog that rides a red striped bicycle, in a forest by night."""
    things = (
        _thing("dog", "brown", 0.1, count=2),
        _thing("dog", "white", 0.8),
        _thing("bicycle", "red", 0.8, pattern="striped"),
    )
    relations = ((1, "riding", 2), (0, "left of", 1), (1, "right of", 0))
    return Scene("forest", "night", "rainy", things, relations, 0, False, 1.0)


@pytest.mark.parametrize("fact, holds", [
    (("thing", "dog", "", "", "", "", ""), True),
    (("thing", "animal", "brown", "", "", "", "left"), True),
    (("thing", "dog", "brown", "", "", "", "right"), False),
    (("thing", "bicycle", "red", "striped", "", "", ""), True),
    (("thing", "bicycle", "red", "spotted", "", "", ""), False),
    (("thing", "dog", "red", "", "", "", ""), False),
    (("thing", "dog", "", "", "", "sleeping", ""), False),
    (("thing", "tree", "", "", "", "", ""), True),  # a forest has trees
    (("thing", "tree", "green", "", "", "", ""), False),  # but none that words may describe
    (("count", "dog", "", "", 3), True),
    (("count", "dog", "", "", 2), False),  # numbers are exact
    (("count", "dog", "brown", "", 2), True),
    (("count", "animal", "white", "", 1), True),
    (("many", "dog", "", ""), True),
    (("many", "dog", "white", ""), False),
    (("rel", "dog", "white", "", "riding", "vehicle", "", "striped"), True),
    (("rel", "dog", "white", "", "on", "bicycle", "", ""), True),  # who rides is on
    (("rel", "dog", "brown", "", "riding", "bicycle", "", ""), False),
    (("rel", "bicycle", "", "", "riding", "dog", "", ""), False),
    (("rel", "dog", "brown", "", "left of", "dog", "white", ""), True),
    (("rel", "dog", "brown", "", "right of", "dog", "white", ""), False),
    (("setting", "forest"), True), (("setting", "park"), False),
    (("place", "outdoors"), True), (("place", "indoors"), False),
    (("time", "night"), True), (("time", "day"), False),
    (("weather", "rainy"), True), (("weather", "sunny"), False),
])  # fmt: skip
def test_facts_of_a_hand_made_scene(small, fact, holds):
    assert (fact in closed_facts(small)) == holds
    caption = Caption("", frozenset({fact}), ())
    assert true(caption, small) == holds
    assert TruthTable([caption.facts], [closed_facts(small)]).true_matrix().tolist() == [[holds]]


def test_a_table_of_nothing_and_of_no_facts(small):
    assert TruthTable([], [closed_facts(small)]).true_matrix().shape == (0, 1)
    assert TruthTable([frozenset()], [closed_facts(small)] * 9).true_matrix().tolist() == [[True] * 9]


def test_every_caption_is_true_of_its_own_picture():
    for split, n in (("train", 700), ("val", 300), ("test", 500), ("pretrain", 500)):
        w = make_world(split, n, seed=0)
        for i in range(n):
            facts = closed_facts(w[i])
            for c in w.captions(i):
                assert c.facts, c.text
                assert c.facts <= facts, (c.text, c.facts - facts)
                assert true(c, w[i]), c.text


def test_table_equals_the_slow_interpreter(test_split):
    scenes, captions, _, truth = test_split
    rng = np.random.default_rng(0)
    yes, no = np.argwhere(truth), np.argwhere(~truth)
    for c, p in np.concatenate([yes[:: len(yes) // 3000 + 1], no[rng.integers(0, len(no), 6000)]]):
        assert true(captions[c], scenes[p]) == truth[c, p], (captions[c].text, scenes[p])


def test_table_equals_the_slow_interpreter_on_near_misses(test_split):
    """One attribute of a true picture is changed: random pairs are false for many reasons, these for one."""
    scenes, captions, own, _ = test_split
    changed, needs = [], []
    for c in range(0, len(captions), 7):
        scene = scenes[own[c]]
        k = c % len(scene.things)
        t = scene.things[k]
        colour, kind = "red" if t.colour != "red" else "blue", "cat" if t.kind != "cat" else "dog"
        other = (replace(t, colour=colour), replace(t, count=t.count + 1), replace(t, action=""),
                 replace(t, kind=kind))[c % 4]  # fmt: skip
        changed.append(replace(scene, things=(*scene.things[:k], other, *scene.things[k + 1 :])))
        needs.append(captions[c])
    table = TruthTable([c.facts for c in needs], [closed_facts(s) for s in changed]).true_matrix()
    slow = [true(c, s) for c, s in zip(needs, changed, strict=True)]
    assert table.diagonal().tolist() == slow
    assert 0.1 < np.mean(slow) < 0.9


def test_a_table_of_all_pairs_takes_a_fraction_of_the_time_of_a_loop(test_split):
    """Five million pairs: half a second to two on one core."""
    scenes, captions, _, _ = test_split
    start = time.process_time()
    TruthTable([c.facts for c in captions], [closed_facts(s) for s in scenes]).true_matrix()
    table = (time.process_time() - start) / (len(captions) * len(scenes))
    some = [(c, s) for c in captions[::50] for s in scenes[::50]]
    start = time.process_time()
    for caption, scene in some:
        true(caption, scene)
    loop = (time.process_time() - start) / len(some)
    print(f"{1e6 * table:.2f} us a pair, {1e6 * loop:.2f} in a loop")
    assert table < loop / 10


def test_captions_are_specific(test_split):
    counts = test_split[3].sum(1)
    assert np.median(counts) == 1
    assert np.percentile(counts, 95) <= 10


def test_oracle_ceiling(test_split):
    """True ones first, the most specific first, ties at random: the share at rank one, in expectation."""
    _, captions, own, truth = test_split
    counts = truth.sum(1)
    t2i = 100 * np.mean(1 / counts)
    hits = []
    for p in range(N):
        right = np.flatnonzero(truth[:, p])
        best = right[counts[right] == counts[right].min()]
        hits.append(np.mean(own[best] == p))
    assert len(captions) == 5 * N
    assert 100 * np.mean(hits) >= 85
    assert t2i >= 70

"""Notebook 02: what is judged wrong, how often, what is shown of it, and its loops beside the library."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usercourse import baseline as draw
from userlib.config import ModelConfig, ObjectiveConfig
from userlib.evaluation import Difference, Interval
from userlib.model.encoders import ImageEncoder, TextEncoder
from userlib.model.objective import batch_loss
from userscenes import closed_facts, make_world
from userscenes.truth import true

N = 30


@pytest.fixture(scope="module")
def world():
    return make_world("test", N)


@pytest.fixture(scope="module")
def facts(world):
    said = [caption.facts for i in range(N) for caption in world.captions(i)]
    return said, [closed_facts(world[i]) for i in range(N)]


DOG = ("thing", "dog", "red", "", "", "", "")
HOLDS = frozenset(
    {
        ("thing", "dog", "", "", "", "", ""),
        ("thing", "dog", "blue", "", "", "", ""),
        ("thing", "dog", "blue", "", "", "running", ""),
        ("thing", "sofa", "", "", "", "", ""),
        ("count", "dog", "", "", 2),
        ("many", "dog", "", ""),
        ("rel", "dog", "", "", "on", "sofa", "", ""),
        ("setting", "park"),
    }
)


@pytest.mark.parametrize(
    "said, result",
    [
        (DOG, {"category": False, "colour": True}),
        (("thing", "dog", "blue", "", "", "", ""), {"category": False, "colour": False}),
        (("thing", "cat", "blue", "", "", "", ""), {"category": True}),
        (
            ("thing", "dog", "blue", "", "", "sleeping", ""),
            {"category": False, "colour": False, "action": True},
        ),
        (("thing", "dog", "red", "", "", "running", ""), {"category": False, "colour": True}),
        (("count", "dog", "", "", 2), {"count": False}),
        (("count", "dog", "", "", 3), {"count": True}),
        (("count", "dog", "red", "", 2), {}),
        (("rel", "dog", "", "", "on", "sofa", "", ""), {"relation": False}),
        (("rel", "sofa", "", "", "on", "dog", "", ""), {"relation": True}),
        (("rel", "cat", "", "", "on", "sofa", "", ""), {}),
        (("setting", "beach"), {"setting": True}),
        (("time", "night"), {"setting": True}),
    ],
)
def test_a_fact_is_judged_where_it_can_be(said, result):
    assert draw.judge([said], HOLDS) == result


def test_one_wrong_fact_of_a_group_makes_the_group_wrong():
    both = [("count", "dog", "", "", 3), ("many", "dog", "", "")]
    assert draw.judge(both, HOLDS) == draw.judge(both[::-1], HOLDS) == {"count": True}


def test_nothing_is_wrong_exactly_where_the_caption_is_true(world, facts):
    said, holds = facts
    captions = [caption for i in range(N) for caption in world.captions(i)]
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(len(said), size=400), rng.integers(N, size=400)
    rows[:150], columns[:150] = np.arange(150), np.repeat(np.arange(N), 5)  # each with its own image too
    judged = draw.judge_pairs(said, holds, rows, columns)
    expected = [not true(captions[j], world[i]) for j, i in zip(rows, columns, strict=True)]
    assert judged.false.tolist() == expected
    assert not judged.false[:150].any()
    for group in draw.GROUPS:
        assert not (judged.wrong[group] & ~judged.could[group]).any()


def hand(could, wrong, captions=None):
    """Judged pairs with kind as given and the rest never judged."""
    no = np.zeros(len(could), bool)
    groups = dict.fromkeys(draw.GROUPS, no)
    rows = np.arange(len(could)) if captions is None else np.asarray(captions)
    return draw.Judged(
        rows,
        np.zeros(len(could), int),
        groups | {"category": np.array(could)},
        groups | {"category": np.array(wrong)},
    )


def test_rates_are_shares_of_what_could_be_judged():
    judged = hand([True] * 6 + [False] * 2, [True] * 3 + [False] * 5)
    rates = draw.error_rates(judged, np.repeat(np.arange(4), 2))
    assert set(rates) == {"category"}
    value, low, high = rates["category"]
    assert value == 50
    assert low < 50 < high
    sure = draw.error_rates(hand([True] * 8, [True] * 8), np.repeat(np.arange(4), 2))
    assert sure["category"] == Interval(100, 100, 100)


def test_a_model_does_not_differ_from_itself_and_differs_from_its_opposite():
    owner = np.arange(40)
    a = hand([True] * 40, [True] * 10 + [False] * 30)
    b = hand([True] * 40, [False] * 10 + [True] * 30)
    assert draw.rate_differences(a, a, owner)["category"] == (0, 0, 0)
    value, low, high = draw.rate_differences(b, a, owner)["category"]
    assert value == 50
    assert 0 < low < 50 < high
    rates, base = {"category": Interval(75, 60, 90)}, {"category": Interval(25, 10, 40)}
    clear = draw.reading("b", rates, base, {"category": Difference(50, low, high)})
    assert clear[0].startswith(
        "category: b is wrong in 75 % of cases and a random image in 25 %; +50.0 points"
    )
    assert "cannot tell" not in clear[0]
    assert "inconclusive" in draw.reading("b", rates, base, {"category": Difference(0, -1, 1)})[0]


def test_the_rates_stand_at_their_values():
    rates = {
        "a": {"category": Interval(40, 30, 50)},
        "b": {"category": Interval(80, 70, 90), "count": Interval(5, 0, 9)},
    }
    figure, sentence = draw.rates_figure(rates)
    points = [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert points == [40, 80, 5]
    assert "category 40 (a), 80 (b); count 5 (b)" in sentence


def test_the_worst_come_first_and_have_one_fault(world, facts):
    said, holds = facts
    owner = np.repeat(np.arange(N), 5)
    judged = draw.judge_pairs(said, holds, np.arange(150), (owner + 1) % N)
    ranks = np.random.default_rng(0).integers(1, N, 150)
    order = draw.worst_first(judged, ranks, "category")
    assert len(order) > 1
    assert (np.diff(ranks[order]) <= 0).all()
    for p in order:
        assert [group for group in draw.GROUPS if judged.wrong[group][p]] == ["category"]
    texts = [caption.text for i in range(N) for caption in world.captions(i)]
    figure, sentence = draw.worst(world, texts, said, holds, judged, ranks=ranks, caption_to_image=owner)
    assert f"category {len(order)}" in sentence
    assert f"Of {judged.false.sum()} captions" in sentence
    titles = " ".join(axis.get_title() for axis in figure.axes).replace("\n", " ")
    assert f"written for this one, which ranks {draw.ordinal(ranks[order[0]])}" in titles


def test_facts_in_words():
    assert draw.in_words(DOG) == "red dog"
    assert draw.in_words(("thing", "dog", "", "", "big", "running", "left")) == "big dog running on the left"
    assert draw.in_words(("thing", "dog", "", "", "", "", "middle")) == "dog in the middle"
    assert draw.in_words(("count", "dog", "red", "", 2)) == "exactly 2 red dogs"
    assert draw.in_words(("many", "dog", "", "spotted")) == "two or more spotted dogs"
    assert draw.in_words(("count", "child", "", "", 1)) == "exactly 1 child"
    assert draw.in_words(("count", "child", "", "", 3)) == "exactly 3 children"
    assert draw.in_words(("rel", "man", "", "", "riding", "bicycle", "red", "")) == "man riding red bicycle"
    assert draw.in_words(("setting", "living_room")) == "living room"
    assert draw.absent([DOG, ("thing", "cat", "red", "", "", "", "")], HOLDS, "category") == ["cat"]
    assert draw.absent([DOG], HOLDS, "colour") == ["red dog"]
    assert [draw.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 21, 113)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "113th",
    ]  # fmt: skip


def test_a_cell_is_named_by_what_covers_it(world):
    thing = max(range(len(world[0].things)), key=lambda k: world.masks(0)[k].sum())
    mask = world.masks(0)[thing]
    cells = [(i, j) for i in range(8) for j in range(8) if draw.part(mask, (i, j), (8, 8)).all()]
    empty = ~np.any(world.masks(0), axis=0)
    free = [(i, j) for i in range(8) for j in range(8) if draw.part(empty, (i, j), (8, 8)).all()]
    assert free
    assert all(draw.thing_at(world, 0, cell, (8, 8)) == thing for cell in cells)
    assert all(draw.thing_at(world, 0, cell, (8, 8)) is None for cell in free)


def test_the_region_demo_finds_the_same_region_elsewhere(world):
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(10, 64, 16))
    tokens /= np.linalg.norm(tokens, axis=2, keepdims=True)
    tokens[1:7, 5] = tokens[0, 9]  # six images hold the region of row 1, column 1 in row 0, column 5
    figure, sentence = draw.resembling(world, tokens.astype(np.float32), (8, 8), 0, (1, 1))
    kinds = [draw.thing_at(world, i, (0, 5), (8, 8)) for i in range(1, 7)]
    mine = draw.thing_at(world, 0, (1, 1), (8, 8))
    if mine is None:
        assert f"{sum(kind is None for kind in kinds)} show the same category (background)" in sentence
    shown = [np.asarray(axis.images[0].get_array()) for axis in figure.axes[2:]]
    expected = [np.asarray(world.picture(i))[:32, 64:112] for i in range(1, 7)]
    assert sorted(one.tobytes() for one in shown) == sorted(one.tobytes() for one in expected)


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_the_hinge_of_notebook_02(lift, seed, pairs):
    generator = torch.Generator().manual_seed(seed)
    s = 2 * torch.rand(pairs, pairs, generator=generator) - 1
    ids = torch.randint(3, (pairs,), generator=generator)
    by_hand = lift("02_baseline").hinge_batch_loop(s, ids, 0.2)
    expected = batch_loss(ObjectiveConfig(name="hinge-sum", margin=0.2), s, ids)
    assert np.isclose(float(by_hand), float(expected), atol=1e-5)


def test_the_encoders_of_notebook_02(lift):
    config = ModelConfig(
        region_dim=12,
        embed_dim=16,
        pooling="mean",
        text="bag",
        text_pooling="mean",
        word_width=8,
        vocab_size=20,
    )
    torch.manual_seed(0)
    pictures, captions = ImageEncoder(config).eval(), TextEncoder(config).eval()
    nb = lift("02_baseline")
    mine, yours = nb.ImageEncoder(12, 16), nb.CaptionEncoder(20, 8, 16)
    mine.load_state_dict(pictures.projection.state_dict())
    yours.embedding.load_state_dict(captions.states.embedding.state_dict())
    yours.linear.load_state_dict(captions.linear.state_dict())
    V, words = torch.randn(3, 5, 12), torch.randint(5, 20, (3, 4))
    there = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    assert torch.allclose(mine(V), pictures(V), atol=1e-6)
    assert torch.allclose(yours(words, there), captions(words, there), atol=1e-6)

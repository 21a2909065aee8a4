"""Figures of notebook 04 and what its learner builds: guides of other images, weights, shifts, verdicts."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from usercourse import guided
from usercourse.overlays import dimmed
from usercourse.verdicts import TELL
from userlib.data.tokens import Features
from userlib.evaluation import Interval
from userlib.model.enhancement import ClipGuide, Enhancement, region_attention

NAME = "04_clip_guided_enhancement"
UP, DOWN, OPEN = Interval(2.0, 1.0, 3.0), Interval(-2.0, -3.0, -1.0), Interval(0.5, -1.0, 2.0)


@given(st.integers(0, 10_000), st.floats(0.0, 5.0), st.sampled_from([0.5, 1.0, 3.0]))
def test_the_learner_s_loops_are_the_library_s(lift, seed, s, sharpness):
    torch.manual_seed(seed)
    library = Enhancement("cge", width=5, guide_dim=4, residual_scale=s, inverse_temperature=sharpness).eval()
    V, G = torch.randn(1, 3, 5), torch.randn(1, 4)
    first, second = library.clip_guide.layers[1], library.clip_guide.layers[4]
    given_ = [part.tolist() for part in (first.weight, first.bias, second.weight, second.bias)]
    g = lift(NAME).guide_loop(G[0].tolist(), *given_)
    a, moved = lift(NAME).enhance_loop(V[0].tolist(), g, s, sharpness)
    (expected_g, expected_a) = library.guides(V, None, G)["clip"]
    assert np.allclose(g, expected_g[0].tolist(), atol=1e-4)
    assert np.allclose(a, expected_a[0].tolist(), atol=1e-4)
    assert np.allclose(moved, library(V, None, G)[0].tolist(), atol=1e-3)


def test_the_notebook_s_guide_is_the_library_s(notebooks):
    torch.manual_seed(0)
    library = ClipGuide(4, 5).eval()
    G = torch.randn(3, 4)
    weights = [library.layers[i].state_dict()[part] for i in (1, 4) for part in ("weight", "bias")]
    assert torch.allclose(notebooks.solve(NAME, "guide_from_clip")(G, *weights), library(G), atol=1e-5)


def test_the_notebook_s_weight_is_the_library_s(notebooks):
    own, guide = (np.random.default_rng(seed).normal(size=(3, 6)).astype(np.float32) for seed in (0, 1))
    grid = (0.0, 0.5, 1.0, 2.0)
    for target in (0.0, 3.0, -5.0, 9.0):
        value = lambda scores, at=target: -abs(float(scores.sum()) - at)
        by_hand = notebooks.solve(NAME, "choose_weight")(own, guide, value, grid)
        assert guided.choose_weight(own, guide, value, grid) == by_hand


def test_a_weight_of_nothing_is_chosen_where_the_teacher_only_harms():
    own, guide = np.eye(3, dtype=np.float32), 1 - np.eye(3, dtype=np.float32)
    assert (
        guided.choose_weight(own, guide, lambda scores: float(np.trace(scores) - scores.sum()), (0.0, 1.0))
        == 0
    )


@given(st.integers(2, 200), st.integers(0, 50))
def test_every_picture_gets_another_s_guide_and_each_is_used_once(count, seed):
    result = guided.others(count, seed=seed)
    assert (result != np.arange(count)).all()
    assert sorted(result) == list(range(count))


def test_guides_of_others_change_nothing_else():
    def pairs(count):
        tokens, guide = np.zeros((count, 4, 2), np.float32), np.arange(count, dtype=np.float32)[:, None]
        return SimpleNamespace(
            split=[None] * count, features=Features(tokens=tokens, guide=guide), words="kept"
        )

    from userlib.presets import preset
    from userlib.training import Prepared

    prepared = Prepared(preset("scenes"), pairs(5), pairs(3), None, None, "x")
    changed = guided.guides_of_others(prepared)
    for before, after in ((prepared.train, changed.train), (prepared.val, changed.val)):
        assert after.words == "kept"
        assert after.features.tokens is before.features.tokens
        assert (after.features.guide != before.features.guide).all()
        assert sorted(after.features.guide) == sorted(before.features.guide)
    assert changed.test is None
    assert prepared.train.features.guide.tolist() == [[0], [1], [2], [3], [4]]  # as it was


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    truth = np.zeros((8, 8), bool)
    truth[:4, :4] = True
    V = 3 * torch.randn(4, 6, generator=generator)
    g = F.normalize(torch.randn(6, generator=generator), dim=0)
    return Image.new("RGB", (8, 8), "green"), V, g, truth


def test_the_shift_is_what_the_library_adds_beside_the_region(scene):
    _, V, g, _ = scene
    library = Enhancement("cge", width=6, guide_dim=6, residual_scale=5.0, inverse_temperature=2.0)
    library.clip_guide = torch.nn.Identity()
    added = library(V[None], None, g[None])[0] - V
    assert np.allclose(guided.shift(V, g, 5.0, 2.0), (added.norm(dim=1) / V.norm(dim=1)).numpy(), atol=1e-6)


def test_shift_panels_say_how_far_and_where(scene):
    picture, V, g, truth = scene
    figure, sentence = guided.shift_panels(picture, V, g, {"s = 1": 1.0, "s = 4": 4.0}, (2, 2), truth)
    one = guided.shift(V, g, 1.0)
    assert f"{100 * one.max():.1f} % at s = 1" in sentence
    assert f"{400 * one.max():.1f} % at s = 4" in sentence
    assert f"{100 * one[0] / one.sum():.0f} % of the shift" in sentence
    assert "cover 25 %" in sentence
    assert [axis.get_title() for axis in figure.axes] == ["image", "s = 1", "s = 4", ""]
    top = 400 * one.max()  # one scale for all, that of the bar
    shown = [np.asarray(axis.images[0].get_array()) for axis in figure.axes[1:3]]
    for s, image in zip((1, 4), shown, strict=True):
        assert (image == dimmed(picture, 100 * s * one, (2, 2), top=top)).all()
    assert figure.axes[3].get_ylabel() == "moved, % of its norm"
    assert np.isclose(figure.axes[3].get_ylim()[1], top)


def test_the_view_of_a_guide_gives_the_share_of_its_attention(scene):
    picture, V, g, truth = scene
    figure, sentence = guided.guided_view(
        picture, V, g, residual_scale=2.0, inverse_temperature=0.0, grid=(2, 2), truth=truth, whose="another"
    )
    assert sentence.startswith("25 % of the attention")  # inverse temperature 0 is uniform
    assert "guide of another" in sentence
    a = region_attention(V[None], g[None], inverse_temperature=3.0)[0].numpy()
    _, sentence = guided.guided_view(
        picture, V, g, residual_scale=2.0, inverse_temperature=3.0, grid=(2, 2), truth=truth, whose="another"
    )
    assert sentence.startswith(f"{100 * a[0] / a.sum():.0f} % of the attention")


def test_patches_are_bright_where_they_are_near():
    truth = np.zeros((8, 8), bool)
    truth[:4, :4] = True
    near = np.array([[0.5, -0.5, -0.5, 0.5]], np.float32)
    _, sentence = guided.patch_maps([Image.new("RGB", (8, 8))], near, (2, 2), [truth], ["a caption"])
    assert "They get 50 % of the brightness and cover 25 %" in sentence


def test_residuals_mark_the_paper_s_strength():
    figure, sentence = guided.residuals(50.0, learned=5.0)
    assert [line.get_ydata()[0] for line in figure.axes[0].lines[1:]] == pytest.approx([2.0, 10.0])
    assert "s = 1 adds 2.00 %" in sentence
    assert "s = 5.0 adds 10.0 %" in sentence


@pytest.mark.parametrize("signs", list(itertools.product([UP, DOWN, OPEN], repeat=3)))
def test_the_verdict_holds_for_every_sign(signs):
    plain, other, scores = signs
    overall = {"plain": plain, "CGE, other's": other, "plain + scores": scores, "zero-shot": OPEN}
    text = guided.verdict(overall, {"CGE - plain, novel": plain, "CGE - plain, in-distribution": other})
    assert ("CGE is better than the same model" in text) == (plain is UP)
    assert ("CGE is worse than the same model" in text) == (plain is DOWN)
    assert ("knowledge of the image itself helps" in text) == (other is UP)
    assert (" it counts as helping" in text) == (scores is UP)
    assert ("does not count as helping" in text) == (scores is not UP)
    assert f"({plain.value:+.1f} in rSum there, {other.value:+.1f} in-distribution)" in text
    assert text.count(TELL) == 1 + 2 * (plain is OPEN) + (other is OPEN) + (scores is OPEN)

"""Notebook 03: what is drawn of SGE's attention and strength, and the loops beside the library."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usercourse import enhancement as draw
from usercourse.overlays import dimmed
from usercourse.plots import new_figure
from userlib.config import ModelConfig
from userlib.evaluation.attention import mask_coverage
from userlib.model.encoders import ImageEncoder
from userlib.model.enhancement import Enhancement
from userscenes import make_world

GRID = (8, 8)


@pytest.fixture(scope="module")
def world():
    return make_world("test", 4)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return ImageEncoder(
        ModelConfig(region_dim=12, embed_dim=16, enhancement="sge", pooling="mean", residual_scale=2.0)
    ).eval()


@pytest.fixture(scope="module")
def tokens():
    return torch.randn(4, 64, 12, generator=torch.Generator().manual_seed(1))


def test_a_strength_is_set_in_a_copy(encoder, tokens):
    changed = draw.with_scale(encoder, 0.0, inverse_temperature=0.5)
    assert float(encoder.enhancement.self_scale()) == 2.0
    assert encoder.enhancement.inverse_temperature == 1.0
    V = changed.to_regions(tokens)
    assert torch.equal(changed.enhancement(V), V)  # at strength 0 nothing is added
    again = draw.with_scale(encoder, 2.0)
    assert torch.allclose(again(tokens), encoder(tokens))


def test_a_region_that_is_like_all_others_has_no_importance(encoder, tokens):
    alike = tokens[0, :1].expand(64, -1).clone()
    assert (draw.leave_one_out(encoder, alike) < 1e-5).all()
    alike[7] = -5 * alike[7]
    importance = draw.leave_one_out(encoder, alike)
    assert importance.argmax() == 7
    assert importance.shape == (64,)


def test_say_is_what_leaving_out_does(encoder, tokens):
    mask = torch.ones(1, 64, dtype=torch.bool)
    mask[0, 3] = False
    with torch.no_grad():
        expected = 1 - (encoder(tokens[:1]) @ encoder(tokens[:1], mask).T).item()
    assert np.isclose(draw.leave_one_out(encoder, tokens[0])[3], expected, atol=1e-6)


def test_the_turn_is_none_at_strength_zero_and_grows(encoder, tokens):
    angles = [draw.turned(draw.with_scale(encoder, s), tokens[0]) for s in (0.0, 1.0, 8.0)]
    assert angles[0] < 0.1
    assert angles[0] < angles[1] < angles[2]


def test_the_parts_are_those_of_the_formula(encoder, tokens):
    V, g, a = draw.parts(encoder, tokens[0])
    expected = encoder.enhancement(V.unsqueeze(0))[0]
    assert torch.allclose(V + 2.0 * a.unsqueeze(1) * g, expected, atol=1e-6)


def test_the_plane_holds_the_guide_and_the_widest_direction_across(encoder, tokens):
    V, g, _ = draw.parts(encoder, tokens[0])
    first, second = draw.plane(V, g)
    assert torch.equal(first, g)
    assert abs(float(first @ second)) < 1e-5
    assert torch.isclose(second.norm(), torch.tensor(1.0))
    centred = V - V.mean(0)
    for direction in torch.eye(12):
        across = torch.nn.functional.normalize(direction - (direction @ g) * g, dim=0)
        assert (centred @ second).var() >= (centred @ across).var() - 1e-5


def test_named_things_are_those_of_the_captions(world):
    for i in range(4):
        spoken = {k for caption in world.captions(i) for _, _, k in caption.spans}
        mask = draw.named(world, i)
        for k, one in enumerate(world.masks(i)):
            if k in spoken:
                assert mask[one].all()
            else:
                assert not mask[one].any()


def test_arrows_lead_from_the_regions_to_where_they_move(encoder, tokens, world):
    figure, axes = new_figure(3, 3)
    draw.moves(encoder, tokens[0], mask_coverage(draw.named(world, 0), GRID), axes[0, 0])
    V, g, a = draw.parts(encoder, tokens[0])
    arrows = [text for text in axes[0, 0].texts if hasattr(text, "arrow_patch")]
    assert len(arrows) == int((a >= 0.1 * a.max()).sum())
    lengths = [one.xy[0] - one.xyann[0] for one in arrows]
    assert np.isclose(max(lengths), 2.0 * float(a.max()), atol=1e-5)
    assert all(one.xy[1] == one.xyann[1] for one in arrows)
    drawn = sum(len(line.get_xdata()) for line in axes[0, 0].lines)
    assert drawn == 64


def test_the_demo_states_shares_length_and_turn(encoder, tokens, world):
    figure, sentence = draw.attention_view(encoder, world, tokens, GRID, picture=1, residual_scale=0.0)
    area = 100 * mask_coverage(draw.named(world, 1), GRID).mean()
    assert f"cover {area:.0f} % of the image" in sentence
    assert "adds has 0 % of the regions' norm" in sentence
    assert "by 0.0 degrees" in sentence
    _, strong = draw.attention_view(encoder, world, tokens, GRID, picture=1, residual_scale=50.0)
    share = 100 * 50 / float(tokens[1].norm())
    assert f"adds has {share:.3g} % of" in strong
    _, blunt = draw.attention_view(
        encoder, world, tokens, GRID, picture=1, residual_scale=1.0, inverse_temperature=0.0
    )
    assert f"get {area:.0f} % of the attention" in blunt  # uniform attention
    assert [axis.get_title() for axis in figure.axes[:2]] == ["image", "attention weights a"]


def test_a_column_a_picture_and_a_row_a_strength(encoder, tokens, world):
    figure, sentence = draw.at_scales(encoder, world, tokens, GRID, pictures=[0, 2], scales=[0.0, 3.0])
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == [
        "image", "attention\nweights a", "importance\nat s = 0", "importance\nat s = 3",
    ]  # fmt: skip
    assert "at s = 0," in sentence
    expected = draw.leave_one_out(draw.with_scale(encoder, 3.0), tokens[2])
    image = world.picture(2)
    assert (np.asarray(figure.axes[1].images[0].get_array()) == np.asarray(image)).all()
    assert (np.asarray(figure.axes[7].images[0].get_array()) == dimmed(image, expected, GRID)).all()


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([0.5, 1.0, 3.0]))
def test_sge_of_notebook_03(lift, seed, regions, sharpness):
    generator = torch.Generator().manual_seed(seed)
    V = torch.randn(2, regions, 6, generator=generator)
    torch.manual_seed(seed)
    library = Enhancement("sge", 6, residual_scale=1.5, inverse_temperature=sharpness).eval()
    nb = lift("03_self_guided_enhancement")
    mine = nb.SelfGuided(6)
    weights = library.self_guide.state_dict()
    mine.load_state_dict({name.replace("norm.norm", "norm"): value for name, value in weights.items()})
    expected = library(V)
    assert torch.allclose(mine(V, s=1.5, lam=sharpness), expected, atol=1e-5)
    g, w = library.self_guide(V)
    for i in range(2):
        own, weigh = nb.self_guide_loop(V[i], library.self_guide)
        assert torch.allclose(own, g[i], atol=1e-5)
        assert torch.allclose(weigh, w[i], atol=1e-5)
        moved, a = nb.enhance_loop(V[i], own, 1.5, sharpness)
        assert torch.allclose(moved, expected[i], atol=1e-5)
        assert torch.isclose(a.norm(), torch.tensor(1.0), atol=1e-5)


def test_the_hand_example_of_notebook_03(lift):
    V, g = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), torch.tensor([1.0, 0.0])
    moved, a = lift("03_self_guided_enhancement").enhance_loop(V, g, 1, 1)
    assert [round(float(one), 3) for one in a] == [0.931, 0.343, 0.126]
    assert np.isclose(float((moved - V).norm()), 1.0)

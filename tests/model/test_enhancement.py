"""Enhancement: what the residual's size depends on, masks, and the learned strength."""

import math

import pytest
import torch

from tests.reference.small import shake
from userlib.model.enhancement import (
    CGE,
    SGE,
    ClipGuide,
    Enhancement,
    ResidualScale,
    SelfGuide,
    region_attention,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_residual_has_norm_s_whatever_the_picture_and_lambda():
    for sharpness in (0.5, 1.0, 20.0):
        module = Enhancement("sge", 8, residual_scale=1.7, inverse_temperature=sharpness).eval()
        V = 30 * draw(4, 5, 8)
        residual = module(V) - V
        torch.testing.assert_close(residual.flatten(1).norm(dim=1), torch.full((4,), 1.7), atol=1e-4, rtol=0)


def test_guides_and_agreement_have_unit_length():
    V, c = draw(4, 5, 8), draw(4, 6)
    module = shake(Enhancement("sge+cge", 8, guide_dim=6)).eval()
    for g, a in module.guides(V, None, c).values():
        torch.testing.assert_close(g.norm(dim=1), torch.ones(4))
        torch.testing.assert_close(a.norm(dim=1), torch.ones(4))


def test_both_guides_read_the_raw_regions():
    V, c = draw(3, 5, 8), draw(3, 6, seed=1)
    module = shake(Enhancement("sge+cge", 8, guide_dim=6, residual_scale=50.0)).eval()
    g_s, _ = module.self_guide(V)
    g_c = module.clip_guide(c)
    parts = [50 * region_attention(V, g).unsqueeze(-1) * g.unsqueeze(1) for g in (g_s, g_c)]
    torch.testing.assert_close(module(V, None, c), V + parts[0] + parts[1])


def test_none_changes_nothing():
    V = draw(2, 5, 8)
    assert Enhancement("none", 8)(V) is V


@pytest.mark.parametrize("kind", ["sge", "cge", "sge+cge"])
def test_a_masked_region_has_no_say(kind):
    module = shake(Enhancement(kind, 8, guide_dim=6)).eval()
    V, c = draw(3, 5, 8), draw(3, 6, seed=1)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]).bool()
    noise = V.masked_fill(~mask.unsqueeze(-1), 99.0)
    result, other = module(V, mask, c), module(noise, mask, c)
    torch.testing.assert_close(result[mask], other[mask])
    torch.testing.assert_close(result[0:1, :3], module(V[0:1, :3], None, c[0:1]))
    for _, a in module.guides(V, mask, c).values():
        assert (a[~mask] == 0).all()


def test_sge_weighs_by_agreement_with_the_mean():
    module = SelfGuide(8).eval()
    g, w = module(draw(3, 5, 8))
    torch.testing.assert_close(w.sum(1), torch.ones(3))
    assert g.shape == (3, 8)


def test_sge_with_batch_norm_normalises_over_positions():
    module = SelfGuide(8, regions=5, norm="batch", dropout=0.0)
    assert module.local_norm.norm.num_features == 5 and module.global_norm.norm.num_features == 8
    module(3 + draw(4, 5, 8))
    assert module.local_norm.norm.running_mean.shape == (5,)


def test_cge_is_norm_linear_norm_relu_linear():
    module = ClipGuide(6, 8, norm="batch")
    kinds = [type(getattr(layer, "norm", layer)).__name__ for layer in module.layers]
    assert kinds == ["BatchNorm1d", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [layer.out_features for layer in module.layers if hasattr(layer, "out_features")] == [8, 8]


def test_a_learned_strength_starts_at_a_tenth_of_the_median_region_norm():
    V = draw(6, 9, 8) * torch.linspace(0.1, 20, 6).view(6, 1, 1)
    strength = ResidualScale("learned")
    strength.init_from_data(V)
    median = V.norm(dim=-1).flatten().sort().values[(6 * 9 - 1) // 2]
    assert float(strength()) / math.sqrt(9) == pytest.approx(0.1 * float(median), rel=1e-5)
    mask = torch.zeros(6, 9, dtype=torch.bool)
    mask[:, :4] = True
    strength.init_from_data(V.masked_fill(~mask.unsqueeze(-1), 1000.0), mask)
    median = V[:, :4].norm(dim=-1).flatten().sort().values[(6 * 4 - 1) // 2]
    assert float(strength()) / math.sqrt(4) == pytest.approx(0.1 * float(median), rel=1e-5)


def test_a_fixed_strength_stays_as_it_is():
    strength = ResidualScale(1.0)
    strength.init_from_data(draw(6, 9, 8) * 100)
    assert float(strength()) == 1.0 and not list(strength.parameters()) and not strength.is_clamped()


@pytest.mark.parametrize("way", [1, -1])
def test_a_strength_is_kept_within_four_of_its_start_and_can_come_back(way):
    strength = ResidualScale("learned")
    strength.init_from_data(draw(6, 9, 8))
    first = float(strength())
    assert not strength.is_clamped()
    with torch.no_grad():
        strength.log_scale += way * 9
    assert math.log(float(strength()) / first) == pytest.approx(way * 4, abs=1e-4)
    strength.clamp_()
    assert strength.is_clamped()
    strength().backward()
    assert strength.log_scale.grad != 0  # no dead end
    with torch.no_grad():
        strength.log_scale -= way * 0.5
    assert not strength.is_clamped()


@pytest.mark.parametrize("kind, module, guide_dim", [("sge", SGE, None), ("cge", CGE, 6)])
def test_each_enhancement_by_itself_has_all_its_settings(kind, module, guide_dim):
    settings = {"residual_scale": 1.5, "inverse_temperature": 3.0, "norm": "batch"}
    more = {"dropout": 0.1, "regions": 5} if kind == "sge" else {"guide_dim": guide_dim}
    alone, wanted = module(8, **settings, **more), shake(Enhancement(kind, 8, **settings, **more)).eval()
    (scale,) = alone.residual_scales().values()
    assert float(scale()) == 1.5
    assert kind == "cge" or alone.self_guide.dropout.p == 0.1
    alone.load_state_dict(wanted.state_dict())
    V, c = draw(3, 5, 8), None if guide_dim is None else draw(3, guide_dim, seed=1)
    assert torch.equal(alone.eval()(V, guide=c), wanted(V, None, c))


def test_strengths_are_named_by_guide():
    assert list(Enhancement("sge+cge", 8, guide_dim=6).residual_scales()) == ["self", "clip"]
    assert list(Enhancement("cge", 8, guide_dim=6).residual_scales()) == ["clip"]
    assert Enhancement("none", 8).residual_scales() == {}

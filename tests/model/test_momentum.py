"""Momentum copies: their arithmetic, precision, statistics and mode."""

import pytest
import torch
from torch import nn

from tests.reference.small import make_batch, shake, small, small_paper
from userlib.errors import UserError
from userlib.model.encoders import TextEncoder
from userlib.model.momentum import MomentumEncoder, half_life, momentum_for, update
from userlib.model.user import USER


class Number(nn.Module):
    def __init__(self, value, dtype=torch.float32):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=dtype))


@pytest.mark.parametrize(
    "dtype, wanted", [(torch.float32, 0.475), (torch.float16, 0.366), (torch.bfloat16, 0.250)], ids=str
)
def test_the_trap_of_low_precision(dtype, wanted):
    """m theta_k + (1 - m) theta_q from 0 towards a constant .5 with m = .999 for 3000 steps."""
    copied, source = torch.zeros((), dtype=dtype), torch.tensor(0.5, dtype=dtype)
    for _ in range(3000):
        copied = 0.999 * copied + (1 - 0.999) * source
    assert float(copied) == pytest.approx(wanted, abs=1e-3)


def test_momentum_in_low_precision():
    """The copy of a bf16 encoder is fp32 and gets where fp32 gets."""
    source = Number(0.5, torch.bfloat16)
    copied = MomentumEncoder(Number(0.0, torch.bfloat16))
    assert copied.encoder.value.dtype == torch.float32 and not copied.encoder.value.requires_grad
    for _ in range(3000):
        copied.update_momentum(source, 0.999)
    assert float(copied.encoder.value) == pytest.approx(0.475, abs=1e-3)


def test_a_copy_moves_by_one_minus_m():
    copied, source = Number(1.0), Number(3.0)
    update(copied, source, 0.75)
    assert float(copied.value.detach()) == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert float(source.value) == 3.0
    update(copied, source, 1.0)
    assert float(copied.value) == 1.5
    update(copied, source, 0.0)
    assert float(copied.value) == 3.0


def test_batch_norm_statistics_of_keys_are_those_of_the_query_encoder():
    config = small_paper(momentum=0.5)
    model = USER(config)
    for step in range(2):
        model(make_batch(config, [0, 1, 2], seed=step))
    moved = 0
    for (name, query), key in zip(
        model.image_encoder.named_buffers(), model.image_momentum_encoder.encoder.buffers(), strict=True
    ):
        if name.endswith("running_var"):
            assert (query != 1).any()
            moved += 1
        assert torch.equal(query, key), name
    assert moved == 3


def test_key_encoder_mode():
    """Evaluation mode for both keys: no submodule trains, and two passes give the same key."""
    config = small_paper(region_channel_dropout=0.5, embed_dropout=0.5)
    model, batch = USER(config), make_batch(config, [0, 1])
    for how in (model.train, model.train, model.eval):
        how()
        assert model.image_encoder.training is model.training
        for keys in (model.image_momentum_encoder, model.text_momentum_encoder):
            assert not any(module.training for module in keys.modules())
        assert torch.equal(
            model.image_momentum_encoder(batch.tokens), model.image_momentum_encoder(batch.tokens)
        )
        assert torch.equal(
            *(model.text_momentum_encoder(batch.input_ids, batch.attention_mask) for _ in range(2))
        )
    model.train()
    assert not torch.equal(model.encode_image(batch.tokens), model.encode_image(batch.tokens))
    # An evaluation of the averaged encoders puts them back as they were.
    averaged = model.ema_model()
    assert not averaged.training
    averaged.train(averaged.training)
    assert not any(module.training for module in model.image_momentum_encoder.modules())


def test_keys_carry_no_gradient():
    config = small()
    model = USER(config)
    model(make_batch(config, [0, 1])).loss.backward()
    keys = [p for k in (model.image_momentum_encoder, model.text_momentum_encoder) for p in k.parameters()]
    assert keys and not any(p.requires_grad for p in keys) and all(p.grad is None for p in keys)
    assert all(p.grad is not None for p in model.image_encoder.parameters())


def test_keys_follow_before_they_are_made():
    config = small(guide_dropout=0.0, momentum=0.3)
    model, batch = USER(config), make_batch(config, [0, 1])
    shake(model.image_encoder)
    before = {n: p.clone() for n, p in model.image_momentum_encoder.encoder.named_parameters()}
    model(batch)
    for name, query in model.image_encoder.named_parameters():
        now = dict(model.image_momentum_encoder.encoder.named_parameters())[name]
        torch.testing.assert_close(now, 0.3 * before[name] + 0.7 * query)
    torch.testing.assert_close(model.queue.images[:2], model.image_momentum_encoder(batch.tokens))


def test_a_frozen_network_is_copied_at_the_start():
    """Weights that are loaded after the model was made reach the key encoder, though they never learn."""
    config = small_paper(train_text="none")
    model = USER(config)
    shake(model.text_encoder, seed=5)
    model.init_from_data(make_batch(config, [0, 1]).tokens)
    for a, b in zip(
        model.text_encoder.parameters(), model.text_momentum_encoder.encoder.parameters(), strict=True
    ):
        assert torch.equal(a, b)
    shake(model.text_encoder.linear, seed=6)
    model.update_momentum()
    assert not torch.equal(
        model.text_encoder.linear.weight, model.text_momentum_encoder.encoder.linear.weight
    )


def test_frozen_weights_are_copied_when_they_change():
    """Those loaded into a frozen encoder, and those that are frozen in the middle of a run."""
    encoder = nn.Linear(3, 2).requires_grad_(False)
    copied = MomentumEncoder(encoder)
    encoder.load_state_dict(nn.Linear(3, 2).state_dict())
    copied.update_momentum(encoder, 0.999)
    assert torch.equal(copied.encoder.weight, encoder.weight)
    encoder.requires_grad_()
    with torch.no_grad():
        encoder.weight += 1
    copied.update_momentum(encoder, 0.5)
    torch.testing.assert_close(copied.encoder.weight, encoder.weight - 0.5)
    encoder.requires_grad_(False)
    copied.update_momentum(encoder, 0.5)
    assert torch.equal(copied.encoder.weight, encoder.weight)


def test_a_frozen_network_does_not_learn():
    encoder = TextEncoder(small_paper(train_text="none"))
    assert not any(p.requires_grad for p in encoder.states.parameters())
    assert all(p.requires_grad for p in encoder.linear.parameters())


@pytest.mark.parametrize(
    "steps, m", [(10, 0.0), (20, 0.0), (40, 0.5), (200, 0.9), (20_000, 0.999), (10**6, 0.999)]
)
def test_momentum_belongs_to_a_run_length(steps, m):
    assert momentum_for(steps) == pytest.approx(m)


def test_half_life():
    assert half_life(0.999) == pytest.approx(692.8, abs=0.5)
    assert half_life(0.5) == pytest.approx(1.0)
    assert half_life(0.99999999) == pytest.approx(69314718, rel=1e-6)
    assert half_life(1.0) == float("inf") and half_life(0.0) == 0.0


@pytest.mark.parametrize(
    "other, said",
    [
        (nn.Linear(4, 2), r"one of the shape \(2, 3\) and one of the shape \(2, 4\)"),
        (nn.Linear(3, 2, bias=False), r"one of the shape \(2,\) and no further one"),
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), r"no further one and one of the shape \(2,\)"),
    ],
)
def test_an_encoder_of_another_shape_is_named_before_anything_moves(other, said):
    copied = MomentumEncoder(nn.Linear(3, 2))
    before = [one.clone() for one in copied.parameters()]
    for follow in (lambda: copied.update_momentum(other, 0.9), lambda: copied.copy_from(other)):
        with pytest.raises(UserError, match=said):
            follow()
    assert all(torch.equal(a, b) for a, b in zip(before, copied.parameters(), strict=True))

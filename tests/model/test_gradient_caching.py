"""Gradient caching: the gradients of the whole batch, with the draws that it had, in the memory of a part."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.reference.small import make_batch, small
from tests.reference.watch import Memory
from userlib.config import Config, ModelConfig, TrainingConfig
from userlib.errors import UserError
from userlib.model import contrast
from userlib.model.contrast import MomentumContrast, encode_in_parts
from userlib.model.objective import UTOLoss
from userlib.model.user import USER


def gradients(model, batch, seed=0):
    torch.manual_seed(seed)
    model.zero_grad()
    output = model(batch)
    output.loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return output.loss.detach(), grads


def plain_parts(encoder, *part, **_):
    """The same parts with the graph of each kept: what caching must equal."""
    return encoder(*part)


def relative(one, other):
    """The largest distance of two sets of gradients, relative to the norm of each tensor."""
    assert set(one) == set(other)
    floor = 1e-3 * max(float(g.norm()) for g in other.values())
    return max(float((one[n] - other[n]).norm()) / max(float(other[n].norm()), floor) for n in other)


DROPOUT = {"region_channel_dropout": 0.2, "word_dropout": 0.2, "text_dropout": 0.2, "embed_dropout": 0.2}


@pytest.mark.parametrize("text", ["gru", "bert"])
def test_gradients_of_256_in_parts_of_32(text, monkeypatch):
    """Dropout on: the draws of each part are replayed. Loss, gradients, keys."""
    more = {"text": "bert", "text_heads": 2, "word_dropout": 0.0} if text == "bert" else {}
    config = small(enhancement="sge+cge", queue_size=300, **{**DROPOUT, **more})
    batch = make_batch(config, range(256), mask=True)
    torch.manual_seed(1)
    cached, plain = USER(config), USER(config)
    plain.load_state_dict(cached.state_dict())
    cached.micro_batch = plain.micro_batch = 32
    loss, grads = gradients(cached, batch)
    monkeypatch.setattr(contrast, "checkpoint", plain_parts)
    wanted, expected = gradients(plain, batch)
    assert torch.equal(loss, wanted)
    assert relative(grads, expected) <= 1e-6
    assert torch.equal(cached.queue.images, plain.queue.images)
    assert relative(gradients(plain, batch, seed=5)[1], expected) > 1e-2  # other draws are seen


def test_without_dropout_parts_equal_the_batch():
    config = small(enhancement="sge+cge", guide_dropout=0.0, queue_size=300)
    batch = make_batch(config, range(256))
    cached, plain = USER(config), USER(config)
    plain.load_state_dict(cached.state_dict())
    cached.micro_batch = 32
    (loss, grads), (wanted, expected) = gradients(cached, batch), gradients(plain, batch)
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-6)
    assert relative(grads, expected) <= 2e-5  # other sums of float32
    double = [model.double() for model in (cached, plain)]
    batch = replace(batch, tokens=batch.tokens.double(), guide=batch.guide.double())
    assert relative(*(gradients(model, batch)[1] for model in double)) <= 1e-6


def test_the_memory_of_a_part():
    """At most 40 % of a plain step's peak, gradients included."""
    peaks = {}
    for size in (None, 32):
        torch.manual_seed(0)
        images, texts = (deep(64) for _ in range(2))
        model = MomentumContrast(images, texts, dim=64, queue_size=64, momentum=0.9, loss=UTOLoss())
        model.micro_batch = size
        inputs = torch.randn(256, 20, 64), torch.randn(256, 20, 64)
        with Memory() as memory:
            model(*inputs, torch.arange(256)).backward()
        peaks[size] = memory.peak
    assert peaks[32] <= 0.4 * peaks[None], peaks


def deep(width):
    """Layers that keep much of each row for their gradients."""
    layers = [nn.Linear(width, width * 2), nn.GELU(), nn.Dropout(0.1), nn.Linear(width * 2, width)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(20 * width, width))


def test_parts_that_do_not_divide_and_batch_norm_are_refused():
    with pytest.raises(
        UserError, match="micro_batch is 3 and batch_size 8; micro_batch must divide batch_size, such as 4"
    ):
        TrainingConfig(batch_size=8, micro_batch=3)
    with pytest.raises(UserError, match="norm is 'batch' and micro_batch 4; BatchNorm would compute"):
        Config(model=ModelConfig(norm="batch"), training=TrainingConfig(batch_size=8, micro_batch=4))
    with pytest.raises(
        UserError, match="micro_batch is 3 and the batch has 8 pairs; set micro_batch to a divisor of 8"
    ):
        encode_in_parts(nn.Linear(2, 2), torch.zeros(8, 2), 3)
    assert encode_in_parts(nn.Linear(2, 2), torch.zeros(8, 2), 16).shape == (8, 2)

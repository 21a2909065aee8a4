"""The written-out BiGRU beside torch's packed one: values, gradients, layers, types; and dropout beside torch's."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from userlib.model.bigru import bigru, padded_bigru
from userlib.model.layers import Dropout

LENGTHS = torch.tensor([3, 1, 6, 6, 2])


def packed(gru, vectors, lengths):
    """What torch gives."""
    whole = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(gru(whole)[0], batch_first=True, total_length=vectors.shape[1])[0]


def gru_and_vectors(layers=1, dtype=torch.float64):
    torch.manual_seed(0)
    gru = nn.GRU(5, 4, layers, batch_first=True, bidirectional=True).to(dtype)
    return gru, torch.randn(5, 6, 5, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("run", [bigru, padded_bigru])
@pytest.mark.parametrize("layers", [1, 2])
def test_values_and_gradients_equal_torchs(layers, run):
    gru, vectors = gru_and_vectors(layers)
    result, wanted = run(gru, vectors, LENGTHS), packed(gru, vectors, LENGTHS)
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-12)
    way, asked = torch.randn_like(result), [vectors, *gru.parameters()]
    mine, theirs = (torch.autograd.grad((out * way).sum(), asked) for out in (result, wanted))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_without_gradient_it_gives_the_same():
    gru, vectors = gru_and_vectors()
    wanted = bigru(gru, vectors, LENGTHS).detach()
    with torch.no_grad():
        assert torch.equal(bigru(gru, vectors, LENGTHS), wanted)
    assert torch.equal(bigru(gru.requires_grad_(False), vectors.detach(), LENGTHS), wanted)


def test_frozen_word_vectors_ask_for_no_gradient():
    gru, vectors = gru_and_vectors()
    bigru(gru, vectors.detach(), LENGTHS).sum().backward()
    assert all(p.grad is not None for p in gru.parameters())


def test_a_part_of_the_network_may_be_frozen():
    gru, vectors = gru_and_vectors()
    gru = nn.GRU(gru.input_size, 3, 2, batch_first=True, bidirectional=True).double()
    bigru(gru, vectors.detach(), LENGTHS).sum().backward()
    wanted = {name: p.grad.clone() for name, p in gru.named_parameters() if "l1" in name}
    gru.zero_grad()
    for name, p in gru.named_parameters():
        p.requires_grad_(name in wanted)
    bigru(gru, vectors.detach(), LENGTHS).sum().backward()
    assert all(torch.equal(dict(gru.named_parameters())[name].grad, grad) for name, grad in wanted.items())


def test_the_end_of_a_caption_is_zero_and_what_stands_there_does_not_matter():
    gru, vectors = gru_and_vectors()
    beyond = torch.arange(6) >= LENGTHS.unsqueeze(1)
    result = bigru(gru, vectors, LENGTHS)
    assert (result[beyond] == 0).all()
    assert torch.equal(bigru(gru, vectors.masked_fill(beyond.unsqueeze(-1), 9.0), LENGTHS), result)


def test_bf16_products_stay_near_and_states_are_float32():
    gru, vectors = gru_and_vectors(dtype=torch.float32)
    wanted = bigru(gru, vectors, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        result = bigru(gru, vectors, LENGTHS)
    assert result.dtype == torch.float32
    assert 0 < (result - wanted).abs().max() < 0.02
    way = torch.randn_like(result)
    mine, theirs = (torch.autograd.grad((out * way).sum(), gru.weight_hh_l0)[0] for out in (result, wanted))
    assert (mine - theirs).norm() < 0.03 * theirs.norm()


@pytest.mark.parametrize("p", [0.1, 0.4])
def test_dropout_leaves_the_share_and_the_mean(p):
    torch.manual_seed(0)
    drop, x = Dropout(p), torch.ones(200, 1000, requires_grad=True)
    result = drop(x)
    assert result.unique().tolist() == [0.0, pytest.approx(1 / (1 - p))]
    assert float((result == 0).float().mean()) == pytest.approx(p, abs=0.005)
    result.sum().backward()
    assert torch.equal(x.grad, result)
    assert drop.eval()(x) is x


def test_dropout_follows_the_seed_and_keeps_the_type():
    drop, x = Dropout(0.3), torch.ones(50, 20, dtype=torch.bfloat16)
    torch.manual_seed(3)
    first, second = drop(x), drop(x)
    torch.manual_seed(3)
    assert torch.equal(drop(x), first) and not torch.equal(first, second)
    assert first.dtype == torch.bfloat16

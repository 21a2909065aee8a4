"""Pooling beside plain loops, and what the weights of GPO may and may not depend on."""

import pytest
import torch

from tests.reference.small import shake
from userlib.errors import UserError
from userlib.model import pooling
from userlib.model.pooling import GPO, make_pooling, max_pool, mean_pool, position_codes

SOME = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0]]).bool()


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["mean", "max"])
def test_mean_and_max_equal_a_loop_over_the_vectors_there_are(name):
    x, pool = vectors(3, 4, 5), make_pooling(name)
    one = {"mean": lambda rows: rows.mean(0), "max": lambda rows: rows.max(0).values}[name]
    wanted = torch.stack([one(rows[keep]) for rows, keep in zip(x, SOME, strict=True)])
    torch.testing.assert_close(pool(x, SOME), wanted)
    torch.testing.assert_close(pool(x), torch.stack([one(rows) for rows in x]))


def test_position_codes_by_hand():
    codes = position_codes(3, 4, dtype=torch.float64)
    assert codes.shape == (3, 4)
    assert codes[0].tolist() == [0.0, 1.0, 0.0, 1.0]  # the first position is 0: sin 0, cos 0
    third = torch.tensor([2.0, 2 / 100], dtype=torch.float64)
    torch.testing.assert_close(codes[2, 0::2], third.sin())
    torch.testing.assert_close(codes[2, 1::2], third.cos())


@pytest.mark.parametrize("name", ["mean", "max", "gpo"])
def test_order_and_padding_do_not_matter(name):
    pool, x = shake(make_pooling(name)).eval(), vectors(2, 4, 5)
    wanted = pool(x)
    torch.testing.assert_close(pool(x[:, [2, 0, 3, 1]]), wanted)
    padded = torch.cat([x, torch.full((2, 3, 5), 7.0)], 1)
    mask = torch.tensor([[True] * 4 + [False] * 3] * 2)
    torch.testing.assert_close(pool(padded, mask), wanted)


def test_a_set_alone_equals_the_same_set_in_a_batch():
    pool, x = shake(GPO()), vectors(3, 4, 5)
    together = pool(x, SOME)
    for i in range(3):
        torch.testing.assert_close(pool(x[i : i + 1], SOME[i : i + 1])[0], together[i])


def test_gpo_weights_sum_to_one_and_depend_on_size_alone():
    pool = shake(GPO())
    weights = pool.weights(4)
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
    assert weights[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert weights[2, 3] == 0 and (weights[2, :3] > 0).all()
    for size in range(1, 5):
        torch.testing.assert_close(weights[size - 1, :size], pool.full(size))


def test_gpo_gives_its_first_weight_to_the_largest():
    pool = GPO()
    pool.full = lambda count: torch.eye(count)[0]
    x = vectors(2, 4, 5)
    torch.testing.assert_close(pool(x), max_pool(x))
    torch.testing.assert_close(pool(-x), max_pool(-x))


def test_masked_vectors_get_no_gradient():
    for name in ("mean", "max", "gpo"):
        x = vectors(3, 4, 5).requires_grad_()
        make_pooling(name)(x, SOME).square().sum().backward()
        assert torch.isfinite(x.grad).all()
        assert (x.grad[~SOME] == 0).all() and (x.grad[SOME].abs().sum(-1) > 0).any()


def test_mean_pool_of_nothing_is_zero():
    assert mean_pool(vectors(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("pool", [mean_pool, max_pool, GPO()], ids=["mean", "max", "gpo"])
def test_sets_without_vectors_are_refused(pool):
    with pytest.raises(UserError, match="no set has one"):
        pool(torch.zeros(1, 0, 2))


def test_another_pooling_is_an_error_that_lists_the_names():
    with pytest.raises(UserError, match="'median'.*mean, max, gpo"):
        make_pooling("median")


def test_of_very_large_sets_only_the_batch_s_own_sizes_are_computed(monkeypatch):
    """A query of 2,500 words: one row of weights, and not one for every size up to it."""
    pool, values = shake(GPO()), vectors(3, 40, 4).requires_grad_()
    mask = torch.arange(40) < torch.tensor([40, 7, 25]).unsqueeze(1)
    usual = pool(values, mask)
    (slope,) = torch.autograd.grad(usual.square().sum(), values)
    rows, run = [], pooling.bigru

    def counted(gru, codes, lengths):
        rows.append(len(codes))
        return run(gru, codes, lengths)

    monkeypatch.setattr(pooling, "bigru", counted)
    pool(values, mask)
    monkeypatch.setattr(GPO, "MANY", 30)
    few = pool(values, mask)
    assert rows == [40, 3]
    torch.testing.assert_close(few, usual, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        torch.autograd.grad(few.square().sum(), values)[0], slope, atol=1e-6, rtol=1e-6
    )

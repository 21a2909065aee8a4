"""Sorted sets beside torch's sort: values, gradients, ties, masks, threads, and both of the CPU's ways."""

import pytest
import torch

from userlib.model import sorting
from userlib.model.sorting import behind, descending

MASK = torch.tensor([[1] * 36, [1] * 20 + [0] * 16, [0, 1] * 18]).bool()


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_torch(x, mask=None):
    channels = x.transpose(1, 2)
    if mask is None:
        return channels.sort(-1, descending=True).values
    ordered = channels.masked_fill(~mask.unsqueeze(1), -torch.inf).sort(-1, descending=True).values
    return ordered.masked_fill(behind(mask).unsqueeze(1), 0.0)


@pytest.fixture(params=[True, False], ids=["argsort", "packed"])
def way(request, monkeypatch):
    monkeypatch.setattr(sorting, "FAST_ARGSORT", request.param)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_equals_torchs_sort_and_its_gradient(way, dtype, mask):
    x = vectors(3, 36, 7).to(dtype)
    x[0, 5:9, 0] = x[0, 4, 0]  # a tie
    x[1, 3, 2], x[1, 4, 2] = torch.finfo(torch.float32).max / 2, -torch.finfo(torch.float32).max / 2
    leaf = x.clone().requires_grad_()
    theirs = x.to(torch.promote_types(dtype, torch.float32)).requires_grad_()
    result, wanted = descending(leaf, mask), by_torch(theirs, mask)
    assert result.dtype == wanted.dtype and torch.equal(result, wanted)
    with torch.no_grad():
        assert torch.equal(descending(x, mask), wanted)
    ranks = torch.arange(1, 37.0)  # whole numbers, which bf16 holds
    (result * ranks).sum().backward()
    (wanted * ranks).sum().backward()
    assert leaf.grad.dtype == dtype
    there = torch.ones(3, 36, dtype=torch.bool) if mask is None else mask
    same = (x.unsqueeze(1) == x.unsqueeze(2)) & there[:, None, :, None]  # (B, N, N, E)
    once = (same.sum(2) == 1) & there.unsqueeze(-1)
    assert once.sum() > 300 and (~once).any()
    assert torch.equal(leaf.grad[once].to(theirs.grad.dtype), theirs.grad[once])
    assert torch.equal(
        leaf.grad.to(theirs.grad.dtype).sum(1), theirs.grad.sum(1)
    )  # those that tie share their ranks
    assert (leaf.grad[~there] == 0).all()


def test_a_set_of_one_and_an_empty_batch(way):
    one = vectors(2, 1, 3).requires_grad_()
    assert torch.equal(descending(one), one.transpose(1, 2))
    assert descending(vectors(0, 4, 3).requires_grad_()).shape == (0, 3, 4)


def test_what_the_mask_leaves_out_gets_no_slope_whatever_the_ranks_have(way):
    x = vectors(3, 36, 7).requires_grad_()
    descending(x, MASK).sum().backward()
    assert (x.grad[~MASK] == 0).all() and (x.grad[MASK] == 1).all()


def test_what_the_mask_leaves_out_may_be_anything(way):
    x = vectors(3, 36, 7)
    for junk in (torch.nan, torch.inf, -torch.inf):
        result = descending(x.masked_fill(~MASK.unsqueeze(-1), junk).requires_grad_(), MASK)
        assert torch.equal(result, by_torch(x, MASK))


def test_threads_change_neither_the_order_nor_its_gradient(way):
    x, threads = vectors(5, 3000, 7), torch.get_num_threads()  # more than LARGE; 5 is no multiple of 2
    weights, result = vectors(3000, seed=1), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            leaf = x.clone().requires_grad_()
            ordered = descending(leaf)
            (ordered @ weights).sum().backward()
            result.append((descending(x), ordered.detach(), leaf.grad))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*result, strict=True):
        assert torch.equal(one, two)
    assert torch.equal(result[1][0], by_torch(x))


def test_both_ways_give_the_same(monkeypatch):
    x, result = torch.randperm(8 * 36 * 500).float().view(8, 36, 500), []  # no two tie
    for fast in (True, False):
        monkeypatch.setattr(sorting, "FAST_ARGSORT", fast)
        leaf = x.clone().requires_grad_()
        ordered = descending(leaf)
        (ordered @ torch.arange(36.0)).sum().backward()
        result.append((ordered.detach(), leaf.grad))
    for argsort, packed in zip(*result, strict=True):
        assert torch.equal(argsort, packed)

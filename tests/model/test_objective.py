"""The objectives: hand-computed rows, the traps of half precision and of masks, the dead start."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from userlib.config import ObjectiveConfig
from userlib.errors import UserError
from userlib.model.objective import (
    HingeLoss,
    InfoNCELoss,
    UTOLoss,
    batch_loss,
    hinge,
    infonce,
    query_loss,
    queue_loss,
    same_image,
    uto_negative,
    uto_positive,
)
from userlib.model.queue import DualQueue
from userlib.rules import OBJECTIVES

UTO = ObjectiveConfig()


def test_a_row_by_hand():
    negatives = torch.tensor([[0.5, 0.52]])
    expected = math.log(1 + math.exp(0) + math.exp(90 * 0.02)) / 90
    assert float(uto_negative(negatives, None, mu=90.0, gamma=0.5)) == pytest.approx(expected, rel=1e-5)
    assert float(uto_positive(torch.tensor([0.8]))) == pytest.approx(-math.log(1.8))
    assert float(uto_positive(torch.tensor([-0.3]))) == pytest.approx(0.3)
    assert float(uto_positive(torch.tensor([-0.3]), leaky_positive=False)) == 0.0
    positive = torch.tensor([0.6])
    loss = hinge(positive, torch.tensor([[0.5, 0.1, 0.55]]), None, margin=0.2, hardest=False)
    assert float(loss) == pytest.approx(0.1 + 0.15)
    loss = hinge(positive, torch.tensor([[0.5, 0.1, 0.55]]), None, margin=0.2, hardest=True)
    assert float(loss) == pytest.approx(0.15)
    scores = torch.tensor([[0.6, 0.5, 0.1]])
    wanted = F.cross_entropy(scores / 0.05, torch.tensor([0]))
    assert float(infonce(positive, scores[:, 1:], None, temperature=0.05)) == pytest.approx(
        float(wanted), rel=1e-4
    )


def test_uto_half_precision():
    """fp16 overflows at e^45: the loss runs in fp32 whatever comes in, and even mu = 200 at s = 1 is finite."""
    scores = torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ids = torch.arange(6)
    for kind in (torch.float16, torch.bfloat16):
        low = scores.to(kind)
        loss = batch_loss(UTO, low, ids)
        assert loss.dtype == torch.float32
        part, wanted = (uto_negative(x, None, mu=90.0, gamma=0.5) for x in (low, low.float()))
        assert part.dtype == torch.float32
        assert torch.equal(part, wanted)
        assert float(loss) == pytest.approx(float(batch_loss(UTO, low.float(), ids)), abs=1e-3)
    steep = uto_negative(torch.ones(2, 5), None, mu=200.0, gamma=0.0)
    assert torch.isfinite(steep).all()
    torch.testing.assert_close(steep, torch.full((2,), 1 + math.log(5) / 200))
    assert float(batch_loss(UTO, scores.half(), ids)) == pytest.approx(
        float(batch_loss(UTO, scores, ids)), abs=1e-3
    )


def test_dead_start():
    """With every positive below zero the exact form has no gradient; the live one pulls as hard as at zero."""
    scores = torch.full((4, 4), -0.2).requires_grad_()
    exact = batch_loss(ObjectiveConfig(leaky_positive=False), scores, torch.arange(4))
    exact.backward()
    assert abs(float(exact)) < 1e-15 and float(scores.grad.abs().max()) < 1e-12
    scores.grad = None
    batch_loss(ObjectiveConfig(leaky_positive=True), scores, torch.arange(4)).backward()
    torch.testing.assert_close(scores.grad.diagonal(), torch.full((4,), -0.25))


def test_the_live_form_has_slope_one_at_zero():
    s = torch.tensor([0.0, -1e-6, 1e-6, -0.5]).requires_grad_()
    uto_positive(s).sum().backward()
    torch.testing.assert_close(s.grad, torch.full((4,), -1.0), atol=1e-4, rtol=0)
    assert ObjectiveConfig().leaky_positive  # the default


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_negative_masked(name):
    """Zero negative part; finite gradients of scores and of a learnable mu, zero for that row."""
    negatives = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ignore_mask = torch.zeros(3, 4, dtype=torch.bool)
    ignore_mask[1] = True
    positive = torch.tensor([0.3, 0.4, 0.5]).requires_grad_()
    loss = query_loss(ObjectiveConfig(name=name), positive, negatives, ignore_mask)
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert torch.isfinite(negatives.grad).all() and torch.isfinite(positive.grad).all()
    assert (negatives.grad[1] == 0).all() and (negatives.grad[0] != 0).any()
    mu = torch.tensor(20.0).requires_grad_()
    uto_negative(negatives, torch.ones_like(ignore_mask), mu=mu, gamma=0.5).sum().backward()
    assert float(mu.grad) == 0.0
    uto_negative(negatives, ignore_mask, mu=mu, gamma=0.5).sum().backward()
    assert torch.isfinite(mu.grad) and mu.grad != 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_same_image_in_the_batch_is_no_negative(name):
    """Two captions of one picture: no gradient through their scores; with the mask off there is one."""
    base = torch.full((4, 4), 0.45)
    base.diagonal().fill_(0.5)
    ids = torch.tensor([7, 3, 7, 1])
    for masked in (True, False):
        scores = base.clone().requires_grad_()
        # sum, so that each pair counts and none hides behind the hardest
        config = ObjectiveConfig(name=name, mask_same_image=masked)
        batch_loss(config, scores, ids).backward()
        assert bool(scores.grad[0, 2] == 0 and scores.grad[2, 0] == 0) is masked
        assert scores.grad[0, 1] != 0


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    "kind, name, settings",
    [
        (UTOLoss, "uto", {"mu": 20.0, "gamma": 0.1, "leaky_positive": False}),
        (InfoNCELoss, "infonce", {"temperature": 0.3}),
        (HingeLoss, "hinge-hardest", {"margin": 0.7}),
        (partial(HingeLoss, hardest=False), "hinge-sum", {"margin": 0.7}),
    ],
)
def test_a_loss_is_the_objective_of_its_settings(kind, name, settings, masked):
    """All of them, the one that lets captions of one image be negatives of each other too."""
    loss = kind(**settings, weight=3.0, mask_same_image=masked)
    config = ObjectiveConfig(name=name, **settings, loss_weight=3.0, mask_same_image=masked)
    assert loss.config == config
    scores, ids = torch.linspace(-0.5, 0.5, 9).view(3, 3), torch.tensor([7, 7, 8])
    assert float(loss(scores, ids)) == float(batch_loss(config, scores, ids))
    assert float(loss(scores)) == float(batch_loss(config, scores, torch.arange(3)))


def test_the_mask_is_symmetric_and_holds_the_diagonal():
    assert same_image(torch.tensor([5, 6, 5])).tolist() == [
        [True, False, True],
        [False, True, False],
        [True, False, True],
    ]


def test_uto_counts_the_positive_of_the_batch_once():
    scores = torch.full((2, 2), -1.0)
    scores.diagonal().fill_(0.5)  # negatives so low that they vanish
    assert float(batch_loss(UTO, scores, torch.arange(2))) == pytest.approx(-math.log(1.5), abs=1e-6)
    assert float(
        batch_loss(ObjectiveConfig(name="hinge-sum", margin=2.0), scores, torch.arange(2))
    ) == pytest.approx(1.0)


def test_the_batch_loss_looks_both_ways():
    """Picture 0 near two other captions costs once by its row, and once by the column of each of the two."""
    scores = torch.full((3, 3), -1.0)
    scores.diagonal().fill_(0.5)
    scores[0, 1:] = 0.9
    row, column = (90 * 0.4 + math.log(2)) / 90, 90 * 0.4 / 90
    expected = -math.log(1.5) + (row + 2 * column) / 3
    for table in (scores, scores.t()):
        assert float(batch_loss(UTO, table, torch.arange(3))) == pytest.approx(expected, abs=1e-5)


def test_the_queue_loss_counts_each_positive():
    none = torch.zeros(2, 0)
    loss = queue_loss(UTO, torch.tensor([0.5, 0.5]), torch.tensor([0.2, 0.2]), none, none, none.bool())
    assert float(loss) == pytest.approx(-math.log(1.5) - math.log(1.2), abs=1e-6)


def test_ids_that_are_not_as_many_as_the_pairs_are_named():
    with pytest.raises(UserError, match=r"the image ids have the shape \(2,\) and the scores \(3, 3\)"):
        UTOLoss()(torch.zeros(3, 3), torch.arange(2))


@pytest.mark.parametrize("ids", [[0.0, 0.0, float("nan")], [True, False, True]])
def test_ids_that_are_no_whole_numbers_are_named(ids):
    """NaN differs from itself: the pair would be a negative of its own."""
    with pytest.raises(UserError, match="the image ids have the type torch.*; give whole numbers"):
        UTOLoss()(torch.zeros(3, 3), torch.tensor(ids))
    with pytest.raises(UserError, match="the image ids have the type torch.*; give whole numbers"):
        DualQueue(4, 2).ignore_mask(torch.tensor(ids))
    UTOLoss()(torch.zeros(3, 3), torch.tensor([-1, -1, 2], dtype=torch.int32))


def test_an_unknown_objective_is_an_error():
    with pytest.raises(UserError, match="'triplet'"):
        query_loss(ObjectiveConfig(name="triplet"), torch.zeros(1), torch.zeros(1, 1), None)

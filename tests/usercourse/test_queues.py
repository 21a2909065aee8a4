"""Figures of notebook 07 and what its learner builds: queue, momentum, mask, loss, counts of right answers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from usercourse import queues
from userlib.config import ObjectiveConfig
from userlib.model.momentum import half_life, update
from userlib.model.objective import queue_loss
from userlib.model.queue import DualQueue

NAME = "07_momentum_queues"


@given(st.integers(1, 9), st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_the_learner_s_queue_is_the_library_s(lift, K, batches):
    queue, slots, pointer, number = DualQueue(K, 1), [-1] * K, 0, 0
    for n in batches:
        ids = list(range(number, number + n))
        number += n
        queue.enqueue(torch.zeros(n, 1), torch.zeros(n, 1), torch.tensor(ids))
        pointer = lift(NAME).enqueue_loop(slots, pointer, ids)
    assert slots == queue.ids.tolist()
    assert pointer == int(queue.pointer)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.999, 1.0]))
def test_the_learner_s_copy_follows_as_the_library_s(lift, seed, m):
    torch.manual_seed(seed)
    copied, source = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)
    by_hand = lift(NAME).follow_loop(copied.weight[0].tolist(), source.weight[0].tolist(), m)
    update(copied, source, m)
    assert np.allclose(by_hand, copied.weight[0].tolist(), atol=1e-6)


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6), st.sampled_from([5.0, 90.0]))
def test_the_learner_s_queue_loss_is_the_library_s(lift, seed, B, K, mu):
    generator = torch.Generator().manual_seed(seed)
    unit = [F.normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (B, B, B, B, K, K)]
    v, t, v_keys, t_keys, V, T = unit
    ids = torch.randint(0, 3, (B,), generator=generator)
    held = torch.randint(-1, 3, (K,), generator=generator)
    ignore_mask = (held == -1)[None] | (held[None] == ids[:, None])
    config = ObjectiveConfig(mu=mu, gamma=0.3, leaky_positive=False)
    expected = queue_loss(config, (v * t_keys).sum(1), (t * v_keys).sum(1), v @ T.T, t @ V.T, ignore_mask)
    assert np.isclose(
        lift(NAME).queue_loss_loop(v, t, v_keys, t_keys, V, T, ids, held, mu, 0.3), float(expected), atol=1e-5
    )


def test_the_notebook_s_half_life_is_the_library_s(notebooks):
    assert np.isclose(notebooks.solve(NAME, "half_life")(0.99), half_life(0.99), rtol=1e-5)


def test_the_notebook_s_mask_is_the_library_s(notebooks):
    queue = DualQueue(5, 1)
    queue.enqueue(torch.zeros(3, 1), torch.zeros(3, 1), torch.tensor([4, 7, 4]))
    ids = torch.tensor([7, 1, 4])
    assert (notebooks.solve(NAME, "no_negatives")(ids, queue.ids) == queue.ignore_mask(ids)).all()


def test_kept_bytes_are_those_of_what_backward_needs():
    x = torch.ones(100, requires_grad=True)
    assert queues.kept_bytes(lambda: (x * 2).exp()) == 400  # exp keeps its result, times a constant nothing
    weight = torch.ones(10, 10, requires_grad=True)
    given_ = torch.ones(5, 10)
    assert queues.kept_bytes(lambda y: y @ weight, given_) == 200  # the weight's gradient needs y alone
    assert queues.kept_bytes(lambda y: y @ weight, given_, known=[given_]) == 0
    with torch.no_grad():
        assert queues.kept_bytes(lambda: (x * 2).exp()) == 0


def test_the_memory_figure_adds_copies_and_keys_to_the_smallest_batch():
    figure, sentence = queues.memory({32: 20.0, 128: 80.0}, 3.0, 256, sizes=[512, 2048])
    batch, queue = figure.axes[0].lines
    assert batch.get_ydata() == pytest.approx([20, 80])
    assert queue.get_ydata() == pytest.approx([23 + 2 * 512 * 1024 / 1e6, 23 + 2 * 2048 * 1024 / 1e6])
    assert "128 keeps 80 MB for 127 negatives" in sentence
    assert "27 MB for 2,079" in sentence


def test_the_ring_shows_what_the_queue_holds():
    figure, sentence = queues.ring(5, [[1, 2], [3, 4], [5, 6], [7, 8]])
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells[:5] == ["1", "2", "empty", "empty", "empty"]
    assert cells[-5:] == ["6", "7", "8", "4", "5"]
    assert "slot 3" in sentence
    assert "1, 2, 3 have been overwritten" in sentence


def test_a_copy_that_follows_at_once_or_never():
    figure, sentence = queues.follow_curves([0.0, 1.0], 3)
    at_once, never = (line.get_ydata().tolist() for line in figure.axes[0].lines)
    assert at_once == [0, 1, 1, 1]
    assert never == [0, 0, 0, 0]
    assert "100 % with m = 0, 0 % with m = 1" in sentence


def moment(**changes):
    parts = {
        "step": 8,
        "ids": np.array([3, 1, 2, -1]),
        "ages": np.array([1, 1, 0, 0]),
        "same": np.array([0.5, 0.7, 1.0, 0.0], np.float32),
        "lag": 0.9,
        "loss": -0.5,
        "unpaired": 0.1,
        "r10": 40.0,
    }
    return queues.Moment(**{**parts, **changes})


def test_the_queue_s_picture_marks_right_answers():
    true = np.array([False, True, False, True])  # of images 1 and 3
    figure, sentence = queues.queue_state(moment(), 3, true, columns=2)
    empty, own, false = (
        list(zip(*line.get_data(), strict=True)) for line in figure.axes[0].lines
    )  # (column, row)
    assert empty == [(1, 1)]
    assert own == [(0, 0)]
    assert false == [(1, 0)]
    curve = figure.axes[1].lines[0]
    assert curve.get_xdata().tolist() == [0, 1]
    assert np.allclose(curve.get_ydata(), [1.0, 0.6])
    assert "3 of 4 slots" in sentence
    assert "1 of its own image, masked" in sentence
    assert "1 of other images that it is true of, which count as negatives" in sentence
    assert "current keys of the same images is 0.60" in sentence


def test_an_empty_slot_is_no_right_answer():
    _, sentence = queues.queue_state(moment(ids=np.array([0, -1, -1, -1])), 5, np.ones(6, bool), columns=2)
    assert "1 of 4 slots" in sentence
    assert "1 of other images that it is true of" in sentence


def test_two_pulls_reads_each_momentum():
    result = {0.0: moment(), 1.0: moment(same=np.array([0.9, 0.9, 1.0, 0.0], np.float32), lag=0.2)}
    _, sentence = queues.consistency_and_lag(result)
    assert "from 0.60 to 0.90" in sentence
    assert "from 0.90 to 0.20" in sentence


def test_right_keys_are_counted_as_they_come():
    """Against a queue that was filled with random captions of an epoch, many times over."""
    N, c, K = 40, 5, 60
    true_of = np.full(10, 3)
    figure, _ = queues.relevant_keys(true_of, N, [K], captions=c)
    others, own = (float(line.get_ydata()[0]) for line in figure.axes[0].lines)
    rng = np.random.default_rng(0)
    met = []
    for _ in range(2000):
        order = rng.permutation(N * c) // c
        met.append((order[:K] == order[K]).sum())
    assert np.isclose(own, np.mean(met), rtol=0.06)
    assert np.isclose(others, K * 2 / N)


def test_push_shares_follow_the_gradient_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(3, 6, generator=generator) * 2 - 1).requires_grad_()
    config = ObjectiveConfig(mu=10.0, gamma=0.2)
    zero = torch.zeros(3)
    loss = queue_loss(config, zero, zero, scores, scores, torch.zeros(3, 6, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(loss, scores)
    own = torch.zeros(3, 6, dtype=torch.bool)
    own[:, 0] = True
    true = own.clone()
    true[:, 1] = True
    shares = queues.gradient_shares(scores.detach(), own, true, mu=10.0, gamma=0.2)
    for part, columns in (("own", slice(0, 1)), ("other", slice(1, 2)), ("wrong", slice(2, 6))):
        assert np.isclose(shares[part], 100 * float(gradient[:, columns].sum() / gradient.sum()), atol=1e-3)


def test_masking_the_own_picture_leaves_the_rest_to_share():
    figure, sentence = queues.gradient_bars(
        {"own": 50.0, "other": 10.0, "wrong": 40.0}, {"own": 0.1, "other": 0.4, "wrong": 99.5}
    )
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([0.1, 0.4, 50, 10, 0, 20])
    assert "0.50 % of all keys" in sentence
    assert "60.00 % of the negative term's gradient" in sentence
    assert "it is 20.00 %" in sentence


def test_collapse_curves_end_where_the_runs_do():
    runs = {"a": [moment(), moment(step=12, loss=-1.2)], "b": [moment(), moment(step=12, r10=50.0)]}
    figure, sentence = queues.collapse_curves(runs)
    assert [axis.lines[0].get_xdata().tolist() for axis in figure.axes] == [[8, 12]] * 3
    assert "a: loss -1.20, unpaired cosine 0.10, R@10 40 %" in sentence
    assert "b: loss -0.50, unpaired cosine 0.10, R@10 50 %" in sentence

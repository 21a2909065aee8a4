"""What learners build in the notebooks, lifted from there, equals the library."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from userlib.config import ObjectiveConfig
from userlib.evaluation import ranks_from_scores
from userlib.model.objective import batch_loss, query_loss


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4))
def test_ranks_of_notebook_01(lift, seed, pictures, each):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(pictures, pictures * each)).round(rng.integers(0, 3))  # coarse ones tie
    owner = rng.permutation(np.repeat(np.arange(pictures), each))
    ranked = ranks_from_scores(scores, owner)
    nb = lift("01_recall")
    for by_caption in (nb.caption_ranks_loop, nb.caption_ranks):
        assert (by_caption(scores, owner) == ranked.t2i).all()
    for by_picture in (nb.image_ranks_loop, nb.image_ranks_counted):
        assert (by_picture(scores, owner) == ranked.i2t).all()


@given(st.integers(0, 10_000), st.sampled_from([5.0, 30.0, 90.0]), st.sampled_from([0.0, 0.5]))
def test_objectives_of_notebook_06(lift, seed, mu, gamma):
    generator = torch.Generator().manual_seed(seed)
    plus, rows = (2 * torch.rand(shape, generator=generator) - 1 for shape in ((3,), (3, 4)))
    nb = lift("06_unified_objective")
    loops = {
        ("uto", False): lambda s, row: nb.uto_loop(s, row, mu, gamma),
        ("hinge-sum", True): lambda s, row: nb.hinge_loop(s, row, 0.2, hardest=False),
        ("hinge-hardest", True): lambda s, row: nb.hinge_loop(s, row, 0.2, hardest=True),
        ("infonce", True): lambda s, row: nb.infonce_loop(s, row, 0.05),
    }
    for (name, live), loop in loops.items():
        config = ObjectiveConfig(name=name, mu=mu, gamma=gamma, leaky_positive=live)
        expected = query_loss(config, plus.double(), rows.double(), None)
        by_hand = [loop(s.item(), row.tolist()) for s, row in zip(plus, rows, strict=True)]
        assert np.allclose(by_hand, expected, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([5.0, 90.0]), st.booleans())
def test_the_batch_loss_of_notebook_06(lift, seed, B, mu, masked):
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.rand(B, B, generator=generator, dtype=torch.float64) - 1
    ids = torch.randint(0, 3, (B,), generator=generator) if masked else torch.arange(B)
    config = ObjectiveConfig(mu=mu, gamma=0.3, leaky_positive=False)
    by_hand = lift("06_unified_objective").batch_loss_loop(scores, ids, mu, 0.3)
    assert np.isclose(by_hand, float(batch_loss(config, scores, ids)), atol=1e-6)


def test_the_hand_example_of_notebook_06(lift):
    assert round(lift("06_unified_objective").uto_loop(0.6, [0.5, 0.7, -0.2], mu=10, gamma=0.5), 3) == -0.246

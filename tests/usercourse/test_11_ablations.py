"""What the learner of notebook 11 writes: the bootstrap over images and seeds as loops equals the library's."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from userlab.ablation.ledger import verdict_of
from userlib.evaluation import Difference, Ranks, paired_bootstrap

NAME = "11_ablations"


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4), st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_the_loop_is_the_library_s_bootstrap(lift, seed, n_a, n_b, N):
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(N), 5)
    runs = [
        [
            Ranks(i2t=rng.integers(1, 3, N), t2i=rng.integers(1, 4, 5 * N), caption_to_image=owner)
            for _ in range(n)
        ]
        for n in (n_a, n_b)
    ]  # fmt: skip
    a, b = (
        np.array([100.0 * (run.t2i <= 1).reshape(N, 5).mean(1) for run in of]) for of in runs
    )  # (n, N): the share of an image's captions that found it
    difference = paired_bootstrap(*runs, resamples=40, seed=seed)["t2i_r1"]
    assume(np.ptp(a.mean(0) - b.mean(0)) > 0)  # where no image differs the library has a width of its own
    by_hand = lift(NAME).paired_loop(a, b, S=40, seed=seed)
    assert by_hand == pytest.approx(tuple(difference), abs=1e-3)


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_hits_become_ranks(lift, seed):
    hits = np.random.default_rng(seed).integers(0, 2, 7)
    ranks = lift(NAME).as_ranks(hits)
    assert ((ranks.t2i <= 1) == hits).all() and ((ranks.i2t <= 1) == hits).all()


@pytest.mark.parametrize("low, high", [(0.5, 1), (-1, 1), (-2, -1), (0, 1), (-1, 0)])
def test_the_notebook_s_verdict_is_the_ledger_s(notebooks, low, high):
    solved = notebooks.solve(NAME, "claim_verdict")
    assert solved(low, high) == verdict_of(Difference((low + high) / 2, low, high))


def test_the_solution_with_arrays_is_the_notebook_s_loop(lift, notebooks):
    rng, solved = np.random.default_rng(3), notebooks.solve(NAME, "paired_seeds")
    a, b = 100.0 * rng.integers(0, 2, (3, 8)), 100.0 * rng.integers(0, 2, (2, 8))
    drawn = np.random.default_rng(0)  # as the loop draws: images, then the runs of either model
    images, runs_a, runs_b = (drawn.integers(high, size=size) for high, size in
                              ((8, (60, 8)), (3, (3, 60)), (2, (2, 60))))  # fmt: skip
    loop = lift(NAME).paired_loop(a, b, S=60, seed=0)
    assert solved(a, b, images, runs_a.T, runs_b.T) == pytest.approx(loop[1:], abs=1e-9)


def test_the_faults_of_the_hunt_gain_where_nothing_is_gained(lift, notebooks):
    studies = np.random.default_rng(1).normal(50, 1, size=(1000, 2, 6, 3))
    buggy, solved = lift(NAME).buggy_gain, notebooks.solve(NAME, "study_gain")
    assert np.mean([buggy(*one)[1] for one in studies]) > 1
    assert abs(np.mean([solved(*one)[1] for one in studies])) < 0.1

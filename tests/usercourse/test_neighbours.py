"""Notebook 12: what it builds by hand equals the library, its bug hunt fails where its solution does not, and the
stored study is shown where there is one.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import userlab.ablation.worker as worker
from tests.reference.runs import run_config, write_learnable
from usercourse import neighbour_study as study
from usercourse import neighbours as draw
from usercourse.checks import exercises
from userlab.ablation.study import jobs_of, run_jobs
from userlib.evaluation import Interval, Ranks, ranks_from_scores
from userlib.evaluation.cross_scores import Sets, reranked
from userlib.model.neighbours.cross_attention import Scorer
from userlib.model.neighbours.route import Route
from userlib.model.neighbours.soft_targets import divergence
from userlib.model.neighbours.views import diversity, view_weights

NAME = "12_neighbours"
PIECES = ("see_views", "soft_loss", "chan_scores", "rerank")
CROSS, SCORES = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(0)) * 0.2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_routed_cells_by_hand_are_the_library_s(lift, seed):
    torch.manual_seed(seed)
    route, X = Route(8), torch.randn(5, 8)
    with torch.no_grad():
        result, paths = lift(NAME).route_by_hand(route, X)
        assert torch.allclose(result, route(X[None])[0], atol=1e-5)
    assert [tuple(one.shape) for one in paths] == [(3, 3), (3, 3), (3, 1)]


@pytest.mark.parametrize("kind, values", [("scan-t2i", (9, 6)), ("scan-i2t", (4, 5))])
def test_scan_by_hand_is_the_library_s(lift, kind, values):
    V, W = torch.randn(5, 6), torch.randn(3, 6)
    sides = (W, V) if kind == "scan-t2i" else (V, W)
    score, weights = lift(NAME).attend_by_hand(*sides, *values)
    library = Scorer(kind)(V[None], W[None], None, torch.ones(1, 3, dtype=torch.bool))[0, 0]
    assert torch.isclose(score, library, atol=1e-5)
    assert torch.allclose(weights.sum(0), torch.ones(len(sides[0])))


def test_the_learner_s_views_are_the_library_s(notebooks):
    V, codes = torch.randn(6, 4), torch.randn(3, 4)
    vector, penalty = notebooks.solve(NAME, "see_views")(V, codes)
    A = view_weights(V[None], codes)
    assert torch.allclose(vector, torch.einsum("nk,ne->ke", A[0], V).flatten(), atol=1e-6)
    assert torch.isclose(penalty, diversity(A), atol=1e-6)


def test_the_learner_s_soft_targets_are_the_library_s(notebooks):
    teacher, scores = torch.randn(2, 5, 5)
    mine = notebooks.solve(NAME, "soft_loss")(teacher, scores, 0.3)
    assert torch.isclose(mine, divergence(teacher, scores, temperature=0.3), atol=1e-5)
    assert abs(notebooks.solve(NAME, "soft_loss")(teacher, teacher, 0.3)) < 1e-6


def test_the_learner_s_chan_is_the_library_s(notebooks):
    V, W = torch.randn(3, 5, 6), torch.randn(4, 7, 6)
    there = torch.arange(7) < torch.tensor([[7], [1], [3], [6]])
    mine = notebooks.solve(NAME, "chan_scores")(V, W, there)
    assert torch.allclose(mine, Scorer("chan")(V, W, None, there), atol=1e-5)


class Found(Sets):
    """What the library's re-ranking asks for, with scores that are given."""

    def __init__(self, cross):
        self.cross, self.regions, self.words = cross, cross, cross.t()

    def scores_of(self, caption, images):
        return self.cross[images, caption]

    def scores_for(self, image, captions):
        return self.cross[image, captions]


@pytest.mark.parametrize("k", [1, 4, 9])
def test_ranks_after_re_ranking_are_the_library_s(k):
    found = Found(CROSS)
    pairs = type("Pairs", (), {"caption_to_image": np.arange(9)})
    images, texts = SCORES.numpy(), np.eye(9, dtype=np.float32)
    library = reranked(found, pairs, images, texts, k=k)
    mine = draw.ranks_after(SCORES, CROSS, k)
    assert (mine.i2t == library.i2t).all() and (mine.t2i == library.t2i).all()
    if k == 9:
        every = ranks_from_scores(CROSS, np.arange(9))
        assert (mine.i2t == every.i2t).all() and (mine.t2i == every.t2i).all()


def test_the_re_ranking_of_the_hunt_loses_what_the_solution_finds(lift, notebooks):
    noise = torch.randn(2, 100, 100, generator=torch.Generator().manual_seed(1))
    scores, cross = 0.25 * torch.eye(100) + 0.1 * noise[0], 0.6 * torch.eye(100) + 0.1 * noise[1] - 1
    own = torch.arange(100)
    alone = float((scores.argmax(1) == own).double().mean())
    buggy, solved = lift(NAME).buggy_rerank, notebooks.solve(NAME, "rerank")
    for k in (10, 50, 100):
        assert float((buggy(scores, cross, k)[:, 0] == own).double().mean()) < alone / 2
        order = solved(scores, cross, k)
        assert float((order[:, 0] == own).double().mean()) > alone + 0.2
        assert torch.equal(order.sort(1).values, own.expand(100, -1))
        assert torch.equal(order, draw.reranked(scores, cross, k))


FURTHER = {
    "see_views": lambda V, codes: (V.mean(0).repeat(len(codes)), torch.zeros(())),
    "soft_loss": lambda teacher, scores, T: torch.zeros(()),
    "chan_scores": lambda V, W, there: torch.zeros(len(V), len(W)),
    "rerank": lambda scores, cross, k: torch.zeros_like(scores, dtype=torch.long),
}


@pytest.mark.parametrize("name", PIECES)
def test_nine_wrong_answers_are_told(name):
    assert len(exercises()[name].mistakes) >= 8
    verdict = exercises()[name].judge(FURTHER[name])
    assert verdict.state == "wrong"
    assert "the answer is" in verdict.message


def test_pictures_say_what_they_show():
    relations = np.array([[0.0, 0.1, -0.2], [0.1, 0.0, 0.6], [-0.2, 0.6, 0.0]])
    assert "joins ball and sofa (0.60)" in draw.region_graph(relations, ("dog", "ball", "sofa"))[1]
    paths = [torch.full((3, 3), 0.9), torch.full((3, 3), 0.8), torch.full((3, 1), 0.7)]
    assert "p lies between 0.70 and 0.90" in draw.routes(paths)[1]
    names = draw.names_of([0, 10, 500], 500)
    assert list(names.values()) == ["embeddings", "first 10", "every image"]
    points = {name: (10.0**i, Interval(100.0 + i, 99.0, 103.0)) for i, name in enumerate(names.values())}
    figure, said = draw.speed_and_accuracy({"CHAN": points})
    assert said.endswith(
        "CHAN: embeddings 100.0 in 1 ms; first 10 101.0 in 10 ms; every image 102.0 in 100 ms."
    )
    assert figure.axes[0].get_xscale() == "log"


def test_without_stored_runs_the_study_is_named_with_its_command(tmp_path):
    assert study.stored(tmp_path) == {}
    assert study.summary({}) == f"The study is not stored yet; to make it, run: {study.COMMAND}"
    assert sum(map(len, study.KINDS.values())) == len(study.STUDY.variants)
    assert {name for names in study.KINDS.values() for name in names} == set(study.STUDY.variants)


def test_stored_runs_become_a_table_and_a_figure(tmp_path, cache, monkeypatch):
    config = run_config(write_learnable(tmp_path / "data"))
    base = replace(config, training=replace(config.training, steps=4))
    out = str(tmp_path / "out")
    monkeypatch.setattr("userlab.ablation.study._Running.run", lambda self, job: (worker.run_job(job), ""))
    jobs = jobs_of(study.STUDY, base, out=out, seeds=1, variants=("mean", "esa", "chan"))
    assert run_jobs(jobs, processes=1, title="test", progress=False).failed == {}
    rows = study.stored(tmp_path / "out")
    assert study.summary(rows) == "Stored: 3 runs of 3 models, 4 steps each."
    table = study.table(rows, resamples=20).splitlines()
    assert [line.split(" (")[0] for line in table[2:]] == [
        "| mean pooling",
        "| ESA pooling",
        "| CHAN, all pairs",
    ]
    assert all(line.count("|") == 7 for line in table) and table[2].split("|")[3].strip() == ""
    assert study.best(rows) in study.KINDS
    _, said = study.speed(rows)
    whole = rows["chan"][0].metadata["report"]["metrics"]["rsum"]
    assert "CHAN, all pairs: embeddings " in said and f"every image {whole:.1f}" in said
    assert study.speed({"mean": rows["mean"]}) is None


def test_a_rank_is_a_place():
    mine = draw.ranks_after(torch.eye(3), torch.eye(3), 2)
    assert isinstance(mine, Ranks) and (mine.i2t == 1).all() and (mine.t2i == 1).all()

"""Two processes beside one on the joined batch: queues, gradients, and batches of unequal share."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.reference.ranks import make_model, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks wrote down."""
    folder = tmp_path_factory.mktemp("ranks")
    subprocess.run([sys.executable, "-m", "tests.reference.ranks", str(folder)], cwd=ROOT, check=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def alone():
    model = make_model()
    return train(model, model, 0, 1)


def close(result, wanted):
    """To 2e-5 of the largest number."""
    assert float((result - wanted).abs().max()) <= 2e-5 * float(wanted.abs().max().clamp(min=1e-3))


def test_queues_are_equal_on_every_rank(ranks, alone):
    """Bit-equal on both ranks, and the keys are those of one process in rank order."""
    first, second = (rank["queue"] for rank in ranks)
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert first["ids"].tolist() == alone["queue"]["ids"].tolist()
    assert int(first["num_enqueued"]) == 18
    for name in ("images", "texts"):
        close(first[name], alone["queue"][name])


def test_unequal_last_batch_across_ranks(ranks):
    for rank in ranks:
        assert "the ranks have [3, 2] rows" in rank["unequal"]


def test_gather_gradient_equals_one_process(ranks, alone):
    """Loss and gradients of three steps, to 1e-5 relative."""
    close((ranks[0]["losses"] + ranks[1]["losses"]) / 2, alone["losses"])
    for one, two, joined in zip(ranks[0]["grads"], ranks[1]["grads"], alone["grads"], strict=True):
        for name, wanted in joined.items():
            assert torch.equal(one[name], two[name])
            close(one[name], wanted)
    assert any(float(g.abs().max()) > 1e-2 for g in alone["grads"][0].values())


def test_gathered_rows_are_in_rank_order(ranks):
    for rank in ranks:
        assert rank["gathered"].flatten().tolist() == [0, 0, 1, 1]
    assert ranks[0]["gradient"].tolist() == [2, 4] and ranks[1]["gradient"].tolist() == [
        6,
        8,
    ]  # times 2 ranks

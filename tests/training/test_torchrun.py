"""The command line under torchrun: two processes on this machine's CPU, over gloo."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.data.copies import write_backbone, write_hub
from tests.reference import runs
from tests.reference.runs import run_config, words

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {"train": 10, "val": 6, "test": 5}
EVALUATED = (
    "rsum",
    "i2t_mean",
    "t2i_mean",
    "image_cosine",
    "text_cosine",
    "unpaired_cosine",
    "effective_rank",
)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """A configuration for a small Parquet data set and a small network for its tokens."""
    root = tmp_path_factory.mktemp("parquet")
    config = run_config(write_hub(root / "data", COUNTS), steps=4, evaluate_every=9)
    weights = write_backbone(root / "network")
    return replace(config, data=replace(config.data, tokens="timm:test_resnet", token_weights=str(weights)))


@pytest.fixture(scope="module")
def tower(parquet):
    """The same from pixels, with gradient caching and without a draw that depends on the process."""
    return replace(
        parquet,
        data=replace(parquet.data, workers=0),
        model=replace(parquet.model, train_image="all", guide_dropout=0.0),
        training=replace(
            parquet.training,
            evaluate_every=0.3,
            micro_batch=2,
            random_crop=1.0,
            caption_augment_prob=0.0,
            region_mask_prob=0.0,
        ),
    )


@pytest.fixture(scope="module")
def by_two(parquet, tower, tmp_path_factory) -> list[Path]:
    """The folders of a run of each by one torchrun; of three processes each takes ten seconds to start."""
    root, lines = tmp_path_factory.mktemp("ranks"), []
    for number, config in enumerate((parquet, tower)):
        (root / str(number)).mkdir()
        lines += ["--", "none", "0", *words(config, root / f"{number}.json", root / str(number) / "run")]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    variables = {"OMP_NUM_THREADS": "1", "RANKS_FOLDER": str(root), "USERLIB_CACHE": str(root / "cache")}
    command = [sys.executable, *launch, "-m", "tests.reference.runs", *lines[1:]]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [root / "0", root / "1"]


def test_two_processes_train_and_hold_the_same_queues(by_two):
    folder = by_two[0]
    first, second = (torch.load(folder / f"queue-{rank}.pt", weights_only=True) for rank in range(2))
    assert set(first) >= {"images", "texts", "ids", "pointer"}
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert int(first["num_enqueued"]) == 4 * 8 and (first["ids"] >= 0).all()  # both ranks' keys
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["finished"] and result["report"]["split"] == "test"
    assert json.loads((folder / "said-0.txt").read_text())["steps"] == 4
    assert (folder / "said-1.txt").read_text() == ""  # one rank alone speaks


def test_two_processes_equal_one_with_a_trained_tower_and_cached_gradients(by_two, tower, tmp_path, cache):
    """Tower from pixels, gradient caching, queues: the same keys and the same losses, to 1e-5."""
    assert runs.run(["none", "0", *words(tower, tmp_path / "c.json", tmp_path / "run")], tmp_path) == 0
    result = []
    for folder in (tmp_path, by_two[1]):
        history = json.loads((folder / "run" / "result.json").read_text())["history"]
        result.append((torch.load(folder / "queue-0.pt", weights_only=True), history))
    (alone, rows), (shared, others) = result
    assert torch.equal(alone["ids"], shared["ids"]) and int(alone["num_enqueued"]) == 32
    for name in ("images", "texts"):
        torch.testing.assert_close(alone[name], shared[name], atol=1e-5, rtol=0)
    assert len(rows) == len(others) == 2
    for row, other in zip(rows, others, strict=True):
        assert row["batch_loss"] == pytest.approx(other["batch_loss"], abs=1e-5)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
        for name in EVALUATED:  # of it each process has done a half
            assert row[name] == pytest.approx(other[name], abs=1e-4), name

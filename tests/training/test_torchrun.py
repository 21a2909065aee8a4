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
from tests.reference.runs import run_config, words

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {"train": 10, "val": 6, "test": 5}


@pytest.fixture
def parquet(tmp_path):
    """A configuration for a small Parquet data set and a small network for its tokens."""
    config = run_config(write_hub(tmp_path / "data", COUNTS), steps=4, evaluate_every=9)
    weights = write_backbone(tmp_path / "network")
    return replace(config, data=replace(config.data, tokens="timm:test_resnet", token_weights=str(weights)))


def launched(arguments: list[str], folder: Path, count: int = 2) -> subprocess.CompletedProcess[str]:
    """`tests.reference.runs` in `count` processes by torchrun, or in one without."""
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)] if count > 1 else []
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RANKS_FOLDER": str(folder)}
    command = [sys.executable, *launch, "-m", "tests.reference.runs", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def test_two_processes_train_and_hold_the_same_queues(parquet, tmp_path, cache):
    out = tmp_path / "run"
    arguments = ["none", "0", *words(parquet, tmp_path / "c.json", out)]
    done = launched(arguments, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert set(first) >= {"images", "texts", "ids", "pointer"}
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert int(first["num_enqueued"]) == 4 * 8 and (first["ids"] >= 0).all()  # both ranks' keys
    result = json.loads((out / "result.json").read_text())
    assert result["finished"] and result["report"]["split"] == "test"
    assert json.loads(done.stdout)["steps"] == 4  # one rank alone speaks


def test_two_processes_equal_one_with_a_trained_tower_and_cached_gradients(parquet, tmp_path, cache):
    """Tower from pixels, gradient caching, queues: the same keys and the same losses, to 1e-5."""
    config = replace(
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
    result = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        arguments = ["none", "0", *words(config, tmp_path / "c.json", folder / "run")]
        done = launched(arguments, folder, count)
        assert done.returncode == 0, done.stderr[-3000:]
        history = json.loads((folder / "run" / "result.json").read_text())["history"]
        result[count] = torch.load(folder / "0.pt", weights_only=True), history
    (alone, rows), (shared, others) = result[1], result[2]
    assert torch.equal(alone["ids"], shared["ids"]) and int(alone["num_enqueued"]) == 32
    for name in ("images", "texts"):
        torch.testing.assert_close(alone[name], shared[name], atol=1e-5, rtol=0)
    assert len(rows) == len(others) == 2
    for row, other in zip(rows, others, strict=True):
        assert row["batch_loss"] == pytest.approx(other["batch_loss"], abs=1e-5)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)

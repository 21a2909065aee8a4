"""Between the start and the end of a fine-tuning: the share that is best on val, kept with the checkpoint."""

import json
from dataclasses import replace

import pytest
import torch

from tests.data.copies import write_backbone, write_clip, write_hub
from tests.reference.runs import run_config, words, write_learnable
from userlib.__main__ import main
from userlib.checkpoints import checkpoint_path, read_checkpoint
from userlib.errors import UserError
from userlib.model.user import load_model
from userlib.training import fit, loop, prepare
from userlib.training.interpolation import ALPHAS, interpolate, start_of

COUNTS = {"train": 10, "val": 6, "test": 5}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("interpolation")
    tower = {
        "tokens": "timm:test_resnet",
        "token_weights": str(write_backbone(root / "network")),
        "workers": 0,
    }
    clip = f"local-dir:{write_clip(root / 'clip')}"
    model = {
        "train_image": "last:1",
        "text": "clip",
        "text_model": clip,
        "text_width": 16,
        "train_text": "lora",
    }
    hub = write_hub(root / "hub", COUNTS)
    return run_config(hub, data=tower, model=model, steps=2, evaluate_every=9, interpolate=True)


@pytest.mark.parametrize("best", [0.3, 1.0, 0.0])
def test_the_best_share_is_kept(best, config, cache, monkeypatch):
    """What came pretrained lies there, LoRA's change too; heads stay; a finished run is not interpolated again."""
    prepared, seen = prepare(config, progress=False), []
    real = loop.evaluate_now

    def scored(encoders, *others):
        seen.append({name: value.clone() for name, value in encoders.named_parameters()})
        alpha = len(seen) - 2  # after the run's own evaluation, the shares in order
        return real(encoders, *others) | {"rsum": 50.0 if alpha < 0 else 100 - abs(ALPHAS[alpha] - best)}

    monkeypatch.setattr(loop, "evaluate_now", scored)
    run = fit(prepared, out=cache / "run", progress=False)
    assert len(seen) == 1 + len(ALPHAS)
    metadata = load_model(cache / "run").metadata
    told = metadata["interpolation"]
    row = metadata["selected"]  # of the weights that are kept
    assert (row["rsum"], row["step"]) == (100.0, 2) and run.encoders.loaded.metadata["selected"] == row
    assert told["alpha"] == best and set(told) == {"alpha", *map(str, ALPHAS)}
    start, kept = start_of(prepared.config), dict(load_model(cache / "run").model.named_parameters())
    assert any("lora_B" in name for name in start) and any(
        name.startswith("image_encoder.tower") for name in start
    )
    for name, value in kept.items():
        wanted = seen[0][name] if name not in start else torch.lerp(start[name], seen[0][name], best)
        torch.testing.assert_close(value, wanted, atol=1e-6, rtol=1e-5, msg=name)
        assert torch.equal(value, dict(run.encoders.named_parameters())[name])
    before = read_checkpoint(checkpoint_path(cache / "run", "best"))[0]
    again = fit(prepared, out=cache / "run", resume=True, progress=False)
    assert again.encoders.loaded.metadata["selected"] == row
    assert len(seen) == 1 + len(ALPHAS)
    after = read_checkpoint(checkpoint_path(cache / "run", "best"))[0]
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_of_equal_shares_the_one_nearest_to_the_end_is_kept():
    """What was trained is given up only for something better."""
    linear = torch.nn.Linear(2, 2)
    start, end = {"weight": torch.zeros(2, 2)}, linear.weight.detach().clone()
    assert interpolate(linear, start, lambda now: 100.0)["alpha"] == 1.0
    assert torch.equal(linear.weight, end)
    by_share = iter([1.0, 3.0, 2.0, 3.0, *[0.0] * 7])
    assert interpolate(linear, start, lambda now: next(by_share))["alpha"] == 0.3
    torch.testing.assert_close(linear.weight, 0.3 * end)


def test_a_text_network_that_began_at_random_has_no_start(config):
    prepared = prepare(config, progress=False).config
    model = replace(prepared.model, text="bert", text_model=None, text_heads=4, train_text="all")
    start = start_of(replace(prepared, model=model))
    assert start and all(name.startswith("image_encoder.tower") for name in start)


def test_without_a_start_it_is_refused(tmp_path, cache, capsys):
    plain = run_config(write_learnable(tmp_path / "data"), interpolate=True)
    for given in (plain, prepare(plain, progress=False)):
        with pytest.raises(UserError, match="is trained, so there is nothing to interpolate"):
            fit(given, progress=False)
    assert main(words(plain, tmp_path / "c.json", tmp_path / "out", "--dry-run")) == 2
    assert "no pretrained network is trained" in capsys.readouterr().err


def test_the_cost_of_a_trained_tower(config, tmp_path, cache, capsys):
    """No tokens are made; the tower's weights and activations count, those of a part where gradients are cached."""
    costs = []
    for flags in (
        [],
        ["--set", "training.micro_batch=4"],
        ["--train-image", "none", "--set", "training.interpolate=false"],
    ):
        assert main(words(config, tmp_path / "c.json", tmp_path / "out", "--dry-run", *flags)) == 0
        costs.append(json.loads(capsys.readouterr().out))
    trained, cached, frozen = costs
    assert "tokens" not in trained["store_bytes"] and frozen["store_bytes"]["tokens"] > 0
    memory = [cost["gpu_memory_bytes"] for cost in costs]
    assert memory[1]["activations"] == pytest.approx(memory[0]["activations"] / 2, rel=0.01)
    assert memory[0]["weights"] > memory[2]["weights"] and memory[0]["activations"] > memory[2]["activations"]
    assert memory[2]["training data"] > 0 == memory[0]["training data"]

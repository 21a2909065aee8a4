"""What `python -m userlib train` tells before it trains."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.data.copies import write_scan
from tests.reference.runs import run_config, words, write_learnable
from userlib.__main__ import main
from userlib.config import Config, DataConfig
from userlib.errors import UserError
from userlib.model.user import load_model
from userlib.scoring import seen_in_training
from userlib.training import fit, prepare

PAIRS = 5 * 8


@pytest.mark.parametrize("size, told", [(PAIRS, False), (PAIRS + 1, True)])
def test_a_queue_longer_than_an_epoch_is_told(tmp_path, cache, capsys, size, told):
    folder = write_scan(tmp_path / "precomp", {"train": 8, "val": 2, "test": 2})
    flags = ["--data", str(folder), "--set", "data.tokens=precomputed", "--set", "data.test_split=null"]
    sizes = ["--queue-size", str(size), "--steps", "1", "--batch-size", "8", "--out", str(tmp_path / "run")]
    assert main(["train", *flags, *sizes]) == 0
    said = capsys.readouterr()
    warning = f"The queue holds {size} keys and an epoch has {PAIRS} pairs"
    assert (warning in said.out + said.err) is told


def loaded(**data):
    """A checkpoint trained on `x`, as evaluation sees it."""
    return SimpleNamespace(
        config=Config(data=DataConfig(**{"data": "x", **data})), metadata={"fingerprint": "f"}
    )


@pytest.mark.parametrize(
    "data, split, where, said",
    [
        ({"val_split": "val", "test_split": "test"}, "val", "x", "it chose the epoch.*--split test"),
        (
            {"val_split": "val", "test_split": "test"},
            "val",
            "moved",
            "it chose the epoch",
        ),  # the same by fingerprint
        ({"val_split": "train:9", "test_split": "val"}, "select", "x", "it chose the epoch.*--split val"),
        ({"val_split": "val", "test_split": "test"}, "train", "x", "the model was trained on it"),
        ({"val_split": "val", "test_split": "test"}, "test", "x", None),
        ({"val_split": "train:9", "test_split": "test"}, "val", "x", None),
        ({"val_split": "val", "test_split": "test"}, "val", "other", None),
    ],
)
def test_a_score_on_a_split_that_training_used_is_told(data, split, where, said):
    one = loaded(**data)
    config = replace(one.config, data=replace(one.config.data, data=where))
    note = seen_in_training(one, config, split, "g" if where == "other" else "f")
    assert note is None if said is None else re.search(said, note)


def test_the_note_stands_below_the_table(tmp_path, cache, capsys):
    config = run_config(write_learnable(tmp_path / "data"), steps=1)
    assert main(words(config, tmp_path / "c.json", tmp_path / "run")) == 0
    for split, told in (("val", True), ("test", False)):
        capsys.readouterr()
        assert main(["evaluate", "--checkpoint", str(tmp_path / "run"), "--split", split]) == 0
        assert (
            "Note: scores on 'val' are too high, since it chose the epoch" in capsys.readouterr().out
        ) is told


def test_what_a_training_refuses_a_dry_run_refuses(tmp_path, cache, capsys, monkeypatch):
    """Before any token is made; a run that was stored with it loads and resumes."""
    model = {
        "text": "clip",
        "text_model": "clip-mini",
        "text_width": 128,
        "embed_dim": 128,
        "queue_size": None,
    }
    model |= {"text_pooling": "tower", "text_dropout": 0.1, "word_residual": True}
    config = run_config(write_learnable(tmp_path / "data"), model=model, steps=2, evaluate_every=0.03)
    line = words(config, tmp_path / "c.json", tmp_path / "run")
    for flags in (["--dry-run"], []):
        assert main([*line, *flags]) == 2
        assert "model.text_dropout is 0.1 and text_pooling 'tower'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with monkeypatch.context() as before:
        before.setattr("userlib.training.loop.check_used", lambda config: None)
        fit(prepare(config, progress=False), out=tmp_path / "run", stop_at=1, progress=False)
    assert load_model(tmp_path / "run").config.model.word_residual
    assert main([*line, "--resume", "--dry-run"]) == 0
    capsys.readouterr()
    assert main([*line, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2


def test_a_model_is_scored_and_searched_where_it_is_asked_for_or_was_trained(tmp_path, monkeypatch, capsys):
    from userlib import scoring
    from userlib.search import encoders

    run = str(tmp_path / "run")
    prepared = prepare(run_config(write_learnable(tmp_path / "data")), progress=False)
    fit(replace(prepared, device="cuda:1"), out=run, stop_at=3, progress=False)
    for command in (["evaluate"], ["search", "--data", str(tmp_path), "--query", "a dog"]):
        assert main([*command, "--checkpoint", run, "--device", "toaster"]) == 2
        assert "no device 'toaster' here" in capsys.readouterr().err
    asked = []
    for module in (scoring, encoders):
        monkeypatch.setattr(module, "choose_device", lambda *given: asked.append(given) or "cpu")
    assert scoring.trained(run, SimpleNamespace(device="cuda:0")).device == "cpu"
    with pytest.raises(UserError, match="precomputed"):
        encoders.CheckpointEncoder(run, device="cuda:0")
    assert asked == [("cuda:0", "cuda:1")] * 2

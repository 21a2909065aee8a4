"""A tracked run: the event files of tensorboard hold every number of the history, and nothing else changes."""

import importlib.util
import json
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from userlib import UserError, fit, preset
from userlib.__main__ import main
from userlib.config import Config, ModelConfig
from userlib.training import prepare
from userlib.training.tracking import EVERY, FOUND, SIDE, TRACKERS, retrieved


@pytest.fixture(scope="module")
def prepared():
    scenes = preset("scenes")
    config = replace(
        scenes,
        data=replace(scenes.data, sizes={"train": 64, "val": 20, "test": 20}, test_split=None),
        training=replace(scenes.training, steps=12, batch_size=32, evaluate_every=0.4),
    )
    return prepare(config, progress=False)


def events_in(folder):
    """The scalars {name: {step: value}} and images {name: {step: PNG}} of the event files below a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars, images = {}, {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0, "images": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            scalars.setdefault(name, {}).update({one.step: one.value for one in events.Scalars(name)})
        for name in events.Tags()["images"]:
            images.setdefault(name, {}).update(
                {one.step: one.encoded_image_string for one in events.Images(name)}
            )
    return scalars, images


def test_event_files_hold_the_whole_history(prepared, tmp_path):
    pytest.importorskip("tensorboard")
    plain = fit(prepared, out=tmp_path / "plain", progress=False)
    assert not (tmp_path / "plain" / "tracking").exists()
    fit(prepared, out=tmp_path / "run", progress=False, track=("tensorboard",), stop_at=7)
    run = fit(prepared, out=tmp_path / "run", progress=False, track=("tensorboard",), resume=True)
    assert run.rows == plain.rows and len(run.rows) > 1  # it changes no number
    scalars, images = events_in(tmp_path / "run" / "tracking")
    for row in run.rows:
        for name, value in without_step(row).items():
            assert scalars[name][int(row["step"])] == pytest.approx(value, rel=1e-6), name
    assert set(scalars["step/loss"]) == {EVERY} and scalars["step/lr"][EVERY] > 0
    assert {int(row["step"]) for row in run.rows} <= set(images["retrieved"])
    assert images["retrieved"][int(run.rows[-1]["step"])].startswith(b"\x89PNG")


def test_a_green_frame_marks_the_ground_truth(prepared):
    run = fit(prepared, progress=False)
    strips = retrieved(run.encoders, prepared.val, "cpu")
    assert strips.shape[1:] == (SIDE, FOUND * SIDE, 3) and strips.dtype == np.uint8
    from userlib.evaluation import embed

    images, captions = embed(run.encoders, prepared.val)
    _, first = np.unique(prepared.val.caption_to_image, return_index=True)
    for strip, caption in zip(strips, first, strict=False):
        best = np.argsort(-(images @ captions[caption]), kind="stable")[:FOUND]
        green = [tuple(strip[0, at * SIDE]) == (0, 200, 0) for at in range(FOUND)]
        assert green == (best == prepared.val.caption_to_image[caption]).tolist()
    run.encoders.image_encoder.dropout.p = run.encoders.text_encoder.dropout.p = 0.5
    assert np.array_equal(retrieved(run.encoders.train(), prepared.val, "cpu"), strips)
    assert run.encoders.training and run.encoders.text_encoder.training  # between steps of training, too


def test_an_unknown_or_absent_tracker_is_refused_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "scenes", "--track", "tensorbord", "--out", "run"]) == 2
    assert "--track is 'tensorbord'; it must be one of tensorboard," in capsys.readouterr().err
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in TRACKERS else found(name, *more)
    )
    assert main(["train", "--data", "scenes", "--track", "tensorboard,wandb", "--out", "run"]) == 2
    assert 'pip install -e ".[tensorboard]"' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_fit_refuses_before_it_prepares(prepared, tmp_path, monkeypatch):
    """A tracked run without a folder, a folder with a run, an interpolation without a start, an unused setting."""
    monkeypatch.setattr("userlib.training.loop.prepare", lambda *_, **__: pytest.fail("was prepared"))
    (tmp_path / "run.json").write_text("{}")
    whole = prepared.config
    tower = ModelConfig(text="clip", text_model="clip-mini", text_pooling="tower", text_dropout=0.1)
    for given, named, why in (
        (whole, {"track": ("tensorboard",)}, "no folder to write to"),
        (whole, {"out": tmp_path}, "already holds a run"),
        (replace(whole, training=replace(whole.training, interpolate=True)), {}, "nothing to interpolate"),
        (Config(model=tower), {}, "it has no effect on a tower's own vector"),
    ):
        with pytest.raises(UserError, match=why):
            fit(given, progress=False, **named)


def test_wandb_gets_the_history_offline(prepared, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    import wandb

    logged = []
    start = wandb.init

    def init(*arguments, **named):
        run = start(*arguments, **named)
        monkeypatch.setattr(type(run), "log", lambda self, values, **more: logged.append(dict(values)))
        return run

    monkeypatch.setattr(wandb, "init", init)
    run = fit(prepared, out=tmp_path / "run", progress=False, track=("wandb",))
    assert [one for one in logged if "rsum" in one] == [without_step(row) for row in run.rows]
    assert any("retrieved" in one for one in logged)


def test_trackio_gets_the_history_in_a_file_of_its_own(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip("trackio")
    run = fit(prepared, out=tmp_path / "run", progress=False, track=("trackio",))
    (database,) = (tmp_path / "trackio").rglob("userlib.db")
    with sqlite3.connect(database) as opened:
        kept = dict(opened.execute("select step, metrics from metrics order by step"))
    for row in run.rows:
        said = json.loads(kept[int(row["step"])])
        assert {name: said[name] for name in row if name != "step"} == without_step(row)


def without_step(row):
    """What a tracker is told of a row: its step is where it lies, no number of its own."""
    return {name: value for name, value in row.items() if name != "step"}

"""fit: what an interruption may not change, what is refused, what is kept."""

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.reference.runs import run_config, words, write_learnable
from userlib.checkpoints import checkpoint_path, read_checkpoint
from userlib.errors import UserError
from userlib.evaluation import embed, ranks, recalls
from userlib.model.user import load_model
from userlib.training import CollapseError, fit, loop, prepare
from userlib.training.loop import Trainer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def prepared(folder):
    return prepare(run_config(folder), progress=False)


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert fit(prepared, out=out, progress=False).finished
    return out


def assert_same(one: Path, other: Path, *, last: bool = True) -> None:
    """Bit-equal weights, momentum weights, queues, optimizer and history."""
    for which in ("last", "best") if last else ("best",):
        (a, about_a), (b, about_b) = (read_checkpoint(checkpoint_path(run, which)) for run in (one, other))
        assert set(a) == set(b)
        for name in a:
            assert torch.equal(a[name], b[name]), name
        if which == "last":
            seconds = {"seconds": 0}
            assert about_a["state"] | seconds == about_b["state"] | seconds
            assert any(name.startswith("model.queue.") for name in a)
            assert any(name.startswith("model.text_momentum_encoder.") for name in a)
            assert any(name.startswith("optimizer.") for name in a)


@pytest.fixture(scope="module")
def stopped(prepared, tmp_path_factory) -> dict[str, tuple[Path, int, str]]:
    """By signal: the folder of a run that it met in the middle of step 8, how the process ended, and what it said."""
    root, lines = tmp_path_factory.mktemp("stopped"), []
    for name in ("SIGKILL", "SIGINT"):
        lines += ["--", name, "8", *words(prepared.config, root / f"{name}.json", root / name)]
    command = [sys.executable, "-m", "tests.reference.runs", *lines[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    return {
        name: (root / name, end["status"], end["said"])
        for name, end in zip(("SIGKILL", "SIGINT"), ends, strict=True)
    }


def test_resume_of_queue_and_momentum(prepared, whole, tmp_path):
    """2n steps == n steps, stop, resume, n steps: queues, momentum encoders and all the rest, bit-equal."""
    out = tmp_path / "run"
    first = fit(prepared, out=out, stop_at=5, progress=False)  # between two evaluations
    assert not first.finished
    assert checkpoint_path(out, "last").name == "step-00000005"
    second = fit(prepared, out=out, resume=True, stop_at=9, progress=False)  # at an evaluation
    assert [row["step"] for row in second.rows] == [3, 6, 9]
    last = fit(prepared, out=out, resume=True, progress=False)
    assert last.finished
    assert_same(whole, out)
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())


def test_kill_and_resume(stopped, prepared, whole):
    """kill -9 in the middle of step 8 loses what came after the evaluation at step 6, and nothing else."""
    out, status, said = stopped["SIGKILL"]
    assert status == -signal.SIGKILL, said
    assert checkpoint_path(out, "last").name == "step-00000006"
    assert fit(prepared, out=out, resume=True, progress=False).finished
    assert_same(whole, out)


def test_interrupt_leaves_a_run_that_resumes_bit_equal(stopped, prepared, whole):
    """Ctrl-C in the middle of step 8: that step is finished, kept, and the run says how it goes on."""
    out, status, said = stopped["SIGINT"]
    assert status == 130, said
    assert "--resume" in said
    assert checkpoint_path(out, "last").name == "step-00000008"
    assert fit(prepared, out=out, resume=True, progress=False).finished
    assert_same(whole, out)


def test_a_resumed_run_does_not_rewrite_the_checkpoint_it_stands_on(prepared, tmp_path):
    """Replacing a folder that run.json names has a moment without it; a kill then would lose the run."""
    out = tmp_path / "run"
    fit(prepared, out=out, stop_at=4, progress=False)
    before = file_of(checkpoint_path(out, "last") / "manifest.json")
    fit(prepared, out=out, resume=True, stop_at=4, progress=False)
    fit(prepared, out=out, resume=True, stop_at=2, progress=False)
    assert file_of(checkpoint_path(out, "last") / "manifest.json") == before


def file_of(path):
    """Which file it is: a new one may get the number of the one that it replaces, and not its time."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_a_finished_run_resumes_to_itself(prepared, whole):
    run = fit(prepared, out=whole, resume=True, progress=False)
    assert run.finished and len(run.rows) == 4
    assert list(run.history["step"]) == [3, 6, 9, 12]


def test_a_run_already_there_is_not_touched(prepared, whole):
    before = (whole / "run.json").read_bytes()
    with pytest.raises(UserError, match="already holds a run; add --resume"):
        fit(prepared, out=whole, progress=False)
    assert (whole / "run.json").read_bytes() == before


def test_changed_data_are_told_before_what_follows_from_them(prepared, whole):
    """Another caption may change the size of the vocabulary, which nobody has set."""
    config = replace(prepared.config, model=replace(prepared.config.model, vocab_size=99))
    with pytest.raises(UserError, match="have changed since"):
        fit(replace(prepared, config=config, fingerprint="other"), out=whole, resume=True, progress=False)


def test_changed_settings_on_resume_are_named(prepared, whole):
    config = prepared.config
    changes = {
        "training.lr": replace(config, training=replace(config.training, lr=0.01)),
        "model.queue_size": replace(config, model=replace(config.model, queue_size=21)),
        "objective.mu": replace(config, objective=replace(config.objective, mu=21.0)),
    }
    for name, changed in changes.items():
        with pytest.raises(UserError, match=rf"^{name} is .*resume with the same settings"):
            fit(replace(prepared, config=changed), out=whole, resume=True, progress=False)


def test_changed_data_on_resume_are_refused(prepared, whole):
    with pytest.raises(UserError, match="changed since"):
        fit(replace(prepared, fingerprint="other"), out=whole, resume=True, progress=False)


MADE_BY = {
    "tokens": {"spec": "timm:x", "kind": "timm", "weights": "a" * 64, "precision": "fp32"},
    "guide": {"spec": "open_clip:y", "kind": "open_clip", "weights": "c" * 64, "precision": "fp32"},
}


def test_other_tokens_or_another_guide_on_resume_are_refused(prepared, tmp_path):
    """The same name may stand for another file of weights: half of a run would be trained on other numbers. Another
    precision gives almost the same numbers, and where the file lies says nothing.
    """

    def with_data(**changes):
        return replace(prepared.config, data=replace(prepared.config.data, **changes))

    out, first = tmp_path / "run", with_data(token_weights="here.safetensors")
    fit(replace(prepared, config=first, made_by=MADE_BY), out=out, stop_at=1, progress=False)
    for part in ("tokens", "guide"):
        other = {**MADE_BY, part: {**MADE_BY[part], "weights": "b" * 64}}
        with pytest.raises(UserError, match=f"The {part} of .*run were made by .* with other weights"):
            fit(replace(prepared, config=first, made_by=other), out=out, resume=True, progress=False)
    half = {**MADE_BY, "tokens": {**MADE_BY["tokens"], "precision": "bf16"}}
    moved = replace(prepared, config=with_data(token_weights="there.safetensors"), made_by=half)
    fit(moved, out=out, resume=True, stop_at=2, progress=False)
    assert checkpoint_path(out, "last").name == "step-00000002"


def test_a_run_that_does_not_say_what_made_its_tokens_keeps_the_file_of_their_weights(prepared, tmp_path):
    """An earlier version kept no checksum: the file's name is all that tells whether it is the same."""
    data = prepared.config.data
    here, there = (
        replace(prepared, config=replace(prepared.config, data=replace(data, token_weights=name)), made_by={})
        for name in ("here.safetensors", "there.safetensors")
    )
    fit(here, out=tmp_path / "run", stop_at=1, progress=False)
    with pytest.raises(
        UserError, match=r"^data.token_weights is 'there.safetensors', and in the run to resume it is 'here"
    ):
        fit(there, out=tmp_path / "run", resume=True, progress=False)
    fit(here, out=tmp_path / "run", resume=True, stop_at=2, progress=False)


def test_the_best_encoders_are_kept_and_returned(prepared, whole):
    loaded = load_model(whole)
    run = fit(prepared, out=whole, resume=True, progress=False)
    best = max(run.rows, key=lambda row: row["rsum"])
    for model in (loaded.model, run.encoders):
        assert not model.training
        images, captions = embed(model, prepared.val)
        assert recalls(ranks(images, captions, prepared.val.caption_to_image)).rsum == best["rsum"]
    assert loaded.config == prepared.config
    assert loaded.tokenizer.to_json() == prepared.tokenizer.to_json()
    assert loaded.metadata["fingerprint"] == prepared.fingerprint
    assert not any("queue" in name for name in read_checkpoint(checkpoint_path(whole, "best"))[0])


def test_a_worse_look_replaces_nothing(prepared, tmp_path, monkeypatch):
    """The best encoders are those of the highest rSum, not of the last look."""
    real, looks = loop.evaluate_now, []

    def worse_each_time(*arguments):
        looks.append(1)
        return real(*arguments) | {"rsum": 100.0 / len(looks)}

    monkeypatch.setattr(loop, "evaluate_now", worse_each_time)
    run = fit(prepared, out=tmp_path / "run", progress=False)
    assert len(looks) > 1
    assert checkpoint_path(tmp_path / "run", "best").name == f"best-{int(run.rows[0]['step']):08d}"


def test_a_run_without_a_folder_gives_the_same(prepared, whole):
    run = fit(prepared, progress=False)
    kept = read_checkpoint(checkpoint_path(whole, "best"))[0]
    for name, value in run.encoders.state_dict().items():
        assert torch.equal(value, kept[name]), name
    assert run.rows == read_checkpoint(checkpoint_path(whole, "last"))[1]["state"]["rows"]


def test_a_row_of_the_history(prepared, whole):
    row = read_checkpoint(checkpoint_path(whole, "last"))[1]["state"]["rows"][-1]
    assert row["step"] == 12 and row["epoch"] == 12 / 30
    assert row["loss"] == pytest.approx(row["batch_loss"] + row["queue_loss"], abs=1e-6)
    assert row["residual_self"] > 0 and row["scale_self_is_clamped"] == 0.0
    assert {"i2t_r1", "t2i_r10", "rsum", "unpaired_cosine", "effective_rank", "key_age", "lr"} <= set(row)
    assert row["key_age"] == pytest.approx((8 * 0 + 8 * 1 + 4 * 2) / 20)


def test_evaluations_lie_at_the_nearest_step_and_at_the_end(prepared):
    """0.09 of 30 steps an epoch is 3, not 2; the last step is evaluated though no third one falls there."""
    training = replace(prepared.config.training, steps=4, evaluate_every=0.09)
    run = fit(replace(prepared, config=replace(prepared.config, training=training)), progress=False)
    assert run.finished and [row["step"] for row in run.rows] == [3, 4]


def test_the_queue_counts_after_warm_up(prepared, monkeypatch):
    counted = []
    plain = type(fit(prepared, stop_at=0, progress=False).model).forward

    def forward(self, batch, *, count_queue=True):
        counted.append(count_queue)
        return plain(self, batch, count_queue=count_queue)

    monkeypatch.setattr("userlib.model.user.USER.forward", forward)
    fit(prepared, stop_at=6, progress=False)
    assert counted == [False] * 3 + [True] * 3  # warm-up is a quarter of 12 steps


def test_averaged_evaluates_the_momentum_encoders(folder, tmp_path):
    prepared = prepare(run_config(folder, use_ema=True, model={"momentum": 0.5}), progress=False)
    run = fit(prepared, out=tmp_path / "run", stop_at=3, progress=False)
    keys = run.model.ema_model().state_dict()
    for name, value in run.encoders.state_dict().items():
        assert torch.equal(value, keys[name]), name
    images, captions = embed(run.model.ema_model(), prepared.val)
    assert recalls(ranks(images, captions, prepared.val.caption_to_image)).rsum == run.rows[-1]["rsum"]
    query = run.model.image_encoder.projection.linear.weight
    assert not torch.equal(query, run.encoders.image_encoder.projection.linear.weight)


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(prepared, tmp_path, monkeypatch):
    out = tmp_path / "run"
    fit(prepared, out=out, stop_at=4, progress=False)
    plain = Trainer.step

    def step(self, batch):
        output = plain(self, batch)
        return replace(output, loss=output.loss * math.nan) if self.state.step >= 5 else output

    monkeypatch.setattr(Trainer, "step", step)
    for stop in (5, None):  # between two evaluations, and at one
        with pytest.raises(UserError, match="the loss is nan at step .*lower learning rate"):
            fit(prepared, out=out, resume=True, stop_at=stop, progress=False)
        assert checkpoint_path(out, "last").name == "step-00000004"


def test_one_seed_gives_one_result_and_another_seed_another(folder):
    losses = []
    for seed in (0, 0, 1):
        run = fit(prepare(run_config(folder, seed=seed), progress=False), stop_at=3, progress=False)
        losses.append(run.rows[0]["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_bf16_keeps_loss_momentum_weights_and_keys_in_fp32(folder):
    config = run_config(folder, precision="bf16", steps=3)
    run = fit(prepare(config, progress=False), progress=False)
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert run.model.queue.images.dtype == run.model.queue.texts.dtype == torch.float32
    norms = run.model.queue.images[run.model.queue.ids >= 0].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-6, rtol=0)
    half = run.model.queue.images.bfloat16().float()
    assert not torch.equal(half, run.model.queue.images)  # more than bf16 could tell
    fp32 = fit(prepare(run_config(folder, steps=3), progress=False), progress=False)
    assert run.rows[-1]["loss"] != fp32.rows[-1]["loss"]
    assert run.rows[-1]["loss"] == pytest.approx(fp32.rows[-1]["loss"], abs=0.05)


COLLAPSING = {
    "model": {"queue_size": 0, "momentum": 0.0},
    "objective": {"loss_weight": 0.0},  # positives pull, and nothing pushes
}
LONG = {"steps": 60, "lr": 0.02, "evaluate_every": 0.2, "caption_augment_prob": 0.0, "schedule": "constant"}


def test_collapse_is_found_on_a_collapsed_run(folder, tmp_path):
    with pytest.raises(CollapseError, match="collapsed: effective rank.*leaky positive term"):
        fit(prepare(run_config(folder, **COLLAPSING, **LONG), progress=False), out=tmp_path, progress=False)
    rows = read_checkpoint(checkpoint_path(tmp_path, "last"))[1]["state"]["rows"]
    assert all(row["unpaired_cosine"] > 0.9 or row["effective_rank"] < 4 for row in rows[-3:])
    assert rows[-1]["step"] >= 0.25 * 60 + 3 * 6 - 6  # three evaluations after warm-up


def test_the_alarm_is_told_the_objective_and_the_number_of_images(folder, monkeypatch):
    """What it takes for collapse depends on both: a hinge that is met has no gradient, and 12 images have no rank."""
    asked = []
    monkeypatch.setattr(loop, "check_collapse", lambda *_, **named: asked.append(named))
    config = run_config(folder, objective={"name": "hinge-hardest"})
    fit(prepare(config, progress=False), stop_at=3, progress=False)
    assert asked == [{"pictures": 12, "objective": "hinge-hardest"}]


def test_no_collapse_is_found_on_a_healthy_run(folder):
    run = fit(prepare(run_config(folder, **LONG), progress=False), progress=False)
    assert run.finished
    assert run.rows[-1]["rsum"] > run.rows[0]["rsum"] + 50
    assert run.rows[-1]["unpaired_cosine"] < 0.6


def test_report_on_the_selected_split_is_refused(folder):
    for select, report in (("val", "val"), ("train:10", "select")):
        with pytest.raises(UserError, match=f"test_split is '{report}'"):
            run_config(folder, data={"val_split": select, "test_split": report})
    run_config(folder, data={"val_split": "train:10", "test_split": "val"})


def test_the_result_file_holds_the_report(folder, tmp_path, capsys):
    from userlib.__main__ import main

    config = run_config(folder, data={"val_split": "train:10", "test_split": "val"}, steps=6)
    assert main(words(config, tmp_path / "c.json", tmp_path / "run")) == 0
    printed = json.loads(capsys.readouterr().out)
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert printed["report"]["split"] == kept["report"]["split"] == "val"
    assert kept["finished"] and kept["steps"] == 6 and len(kept["ranks"]["i2t"]) == 12
    assert kept["config"]["model"]["region_dim"] == 12 and kept["data_hash"]


def test_a_folder_in_which_another_process_trains_is_refused(prepared, tmp_path, capsys, monkeypatch):
    """By fit, and by the command before any token is made."""
    from filelock import FileLock

    from userlib.__main__ import main

    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / ".lock"):
        with pytest.raises(UserError, match="another process is writing to .*run"):
            fit(prepared, out=out, stop_at=1, progress=False)
        monkeypatch.setattr("userlib.training.preparing.extract", None)
        assert main(words(prepared.config, tmp_path / "c.json", out)) == 2
        assert "another process is writing to" in capsys.readouterr().err
    assert not (out / "run.json").exists()


def test_a_run_goes_on_with_data_that_were_moved(folder, prepared, tmp_path):
    import shutil

    out, moved = tmp_path / "run", tmp_path / "moved"
    fit(prepared, out=out, stop_at=1, progress=False)
    shutil.copytree(folder, moved, copy_function=shutil.copyfile)  # with new times
    fit(prepare(run_config(moved), progress=False), out=out, resume=True, stop_at=2, progress=False)
    assert checkpoint_path(out, "last").name == "step-00000002"
    captions = moved / "train_caps.txt"
    captions.write_text(captions.read_text().replace("look", "see"))
    with pytest.raises(UserError, match="have changed since"):
        fit(prepare(run_config(moved), progress=False), out=out, resume=True, progress=False)

"""Studies: nothing is run twice, nothing is mixed up, and a row can be made again bit by bit."""

import argparse
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import userlab.ablation.jobs as jobs
import userlab.ablation.study as module
import userlab.ablation.worker as worker
from tests.reference.runs import run_config, write_learnable
from userlab.ablation.jobs import job_from_json
from userlab.ablation.rows import read_row
from userlab.ablation.settings import repeat
from userlab.ablation.study import jobs_of, run_jobs
from userlab.ablation.variants import Study, Variant
from userlib.config import TrainingConfig, to_json
from userlib.errors import UserError
from userlib.evaluation import recalls
from userlib.presets import preset
from userlib.training import CollapseError

ROOT = Path(__file__).resolve().parents[3]
SCENES = "e6a51337491888dba1091d1753583baa86b52435b3e5a3830b66c3d28efe2579"  # the drawn world, version 1
STUDY = Study(
    name="small",
    question="?",
    variants={
        "none": Variant(label="none", changes={"model": {"enhancement": "none"}}),
        "sge": Variant(label="SGE", changes={"model": {"enhancement": "sge"}}, seeds=1),
    },
    reference="none",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    config = run_config(write_learnable(tmp_path_factory.mktemp("data")))
    return replace(config, training=replace(config.training, steps=6))


@pytest.fixture
def calls(monkeypatch):
    """Runs stay in this process; the list says which there were."""
    made = []

    def work(self, job):
        made.append(f"{job.study}/{job.variant}-{job.seed}")
        return worker.run_job(job_from_json(json.loads(json.dumps(job.as_json())))), ""

    monkeypatch.setattr(module._Running, "run", work)
    monkeypatch.setattr(module, "AGAIN_S", 0.1)
    return made


def run(jobs):
    return run_jobs(jobs, processes=1, title="test", progress=False)


def test_a_study_is_run_once(base, calls, tmp_path):
    jobs = jobs_of(STUDY, base, out=str(tmp_path))
    done = run(jobs)
    assert (done.made, done.reused, done.failed) == (3, 0, {})
    assert calls == ["small/none-0", "small/sge-0", "small/none-1"]
    row = read_row(tmp_path / "small" / "sge-0.json")
    assert row.metadata["report"]["metrics"]["rsum"] == pytest.approx(recalls(row.ranks()).rsum, abs=1e-3)
    assert row.metadata["select"]["metrics"]["rsum"] == max(point["rsum"] for point in row.metadata["curve"])
    assert row.metadata["config"]["training"]["steps"] == row.metadata["curve"][-1]["step"] == 6
    assert {"data_hash", "seconds", "peak_memory_mb", "provenance", "command"} <= set(row.metadata)

    (tmp_path / "small" / "sge-0.json").unlink()  # as if it had been killed before its end
    done = run(jobs)
    assert (done.made, done.reused) == (1, 2)
    assert calls[3:] == ["small/sge-0"]
    again = read_row(tmp_path / "small" / "sge-0.json")
    assert all(np.array_equal(row.arrays[name], again.arrays[name]) for name in row.arrays)


def test_a_run_that_another_study_made_is_taken_over(base, calls, tmp_path):
    run(jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"]))
    other = replace(
        STUDY, name="other", variants={"with": replace(STUDY.variant("sge"), label="with")}, reference="with"
    )
    done = run(jobs_of(other, base, out=str(tmp_path)))
    assert (done.reused, calls) == (1, ["small/sge-0"])
    row, copy = (read_row(tmp_path / where) for where in ("small/sge-0.json", "other/with-0.json"))
    assert (copy.metadata["study"], copy.variant, copy.metadata["made_in"]) == ("other", "with", "small")
    assert copy.metadata["command"] == row.metadata["command"]
    assert np.array_equal(copy.ranks().t2i, row.ranks().t2i)


def test_rows_of_other_settings_are_refused(base, calls, tmp_path):
    run(jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"]))
    longer = replace(base, training=replace(base.training, steps=7))
    with pytest.raises(UserError, match=r"sge-0\.json holds a run with other settings"):
        run(jobs_of(STUDY, longer, out=str(tmp_path), variants=["sge"]))
    assert len(calls) == 1


def test_a_key_names_every_setting(base, tmp_path, monkeypatch):
    """A default that changes tomorrow must not take the rows of today's."""
    (job,) = jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"])
    keys = {job.key("sge"), replace(job, guide="random").key("sge")}
    for part, change in (("training", {"weight_decay": 0.5}), ("model", {"inverse_temperature": 2.0})):
        config = replace(base, **{part: replace(getattr(base, part), **change)})
        keys.add(replace(job, config=config).key("sge"))
    assert len(keys) == 4
    monkeypatch.setattr(jobs, "POSITIONS", "1..n")  # GPO's codes are no setting, and change every number
    assert job.key("sge") not in keys


def test_a_changed_default_takes_no_old_row(base, calls, tmp_path, monkeypatch):
    (job,) = jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"])
    run([job])
    usual = TrainingConfig.__init__.__kwdefaults__
    assert base.training.weight_decay == usual["weight_decay"]
    monkeypatch.setitem(usual, "weight_decay", 0.25)
    assert TrainingConfig().weight_decay == 0.25
    later = replace(base, training=replace(base.training, weight_decay=0.25))
    (other,) = jobs_of(STUDY, later, out=str(tmp_path), variants=["sge"])
    with pytest.raises(UserError, match="holds a run with other settings"):
        run([other])
    (elsewhere,) = jobs_of(replace(STUDY, name="elsewhere"), later, out=str(tmp_path), variants=["sge"])
    assert not module._shared(elsewhere)
    assert job.finished()  # the run of then is still itself


def test_a_row_whose_key_is_of_older_code_is_known_by_what_it_says(base, calls, tmp_path, monkeypatch):
    (job,) = jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"])
    run([job])
    facts = dict(read_row(job.row("sge")).metadata)
    facts["key"] = "old"
    assert job.made(facts, "sge")
    del facts["config"]["training"]["use_ema"]  # a setting that did not exist then
    assert not job.made(facts, "sge")  # nobody says what the row was made with
    monkeypatch.setitem(jobs.ADDED, "training.use_ema", False)
    assert job.made(facts, "sge")
    monkeypatch.setitem(jobs.ADDED, "training.use_ema", True)
    assert not job.made(facts, "sge")
    monkeypatch.setitem(jobs.ADDED, "training.use_ema", False)
    for change in (
        {"guide": "random"},
        {"data_hash": "x"},
        {"weights": {"tokens": 1, "clip": None}},
        {"of": "x"},
    ):
        assert not job.made({**facts, **change}, "sge")
    assert not job.made({"key": "old"}, "sge")
    for training in ({"seed": 5}, {"lr": 0.5}, {"steps": 9}):
        other = replace(job, config=replace(base, training=replace(base.training, **training)))
        assert not other.made(facts, "sge")


def test_rows_of_gpos_earlier_position_codes_are_not_taken_for_a_new_run(base, calls, tmp_path):
    (job,) = jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"])
    run([job])
    row = read_row(job.row("sge"))
    earlier = {key: value for key, value in row.metadata.items() if key != "positions"} | {"key": "of then"}
    worker.write_row(job.row("sge"), earlier, row.arrays)
    assert read_row(job.row("sge")).earlier  # and still readable
    with pytest.raises(UserError, match=r"sge-0\.json holds a run with GPO's earlier position codes, 1\.\.n"):
        run([job])
    (other,) = jobs_of(replace(STUDY, name="other"), base, out=str(tmp_path), variants=["sge"])
    assert not module._shared(other)
    mean = replace(base, model=replace(base.model, pooling="mean", text_pooling="mean"))
    without = replace(job, config=mean)
    assert without.made({**earlier, "config": to_json(replace(mean))}, "sge")  # which has no codes


def test_stored_rows_are_those_of_todays_studies(monkeypatch):
    """One row of each study that took no chosen learning rate: told by the jobs of the command line, and read."""
    from userlab.ablation.settings import base_config
    from userlab.ablation.studies import STUDIES

    monkeypatch.setattr(jobs, "fingerprint", lambda config: SCENES)
    seen = 0
    for name in ("masking", "queue", "momentum", "pooling"):
        given = argparse.Namespace(preset=None, steps=None, epochs=None)
        config = base_config(given, lambda arguments: preset(arguments.preset), name)
        for job in jobs_of(STUDIES[name], config, out=str(ROOT / "assets/results"), seeds=1):
            row = {**json.loads(job.row(job.variant).read_text()), "positions": jobs.POSITIONS}
            assert job.made(row, job.variant), f"{name}/{job.variant}"
            seen += 1
            other = replace(job, config=replace(config, training=replace(config.training, lr=0.5)))
            assert not other.made(row, job.variant)
    assert seen >= 10


def test_a_row_is_made_again_bit_equal(base, calls, tmp_path, capsys):
    run(jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"]))
    file = tmp_path / "small" / "sge-0.json"
    assert repeat(file) == 0
    assert "bit-equal" in capsys.readouterr().out
    row = read_row(file)
    arrays = {name: array.copy() for name, array in row.arrays.items()}
    arrays["report_t2i"][3] += 1
    worker.write_row(file, row.metadata, arrays)
    assert repeat(file) == 1
    assert "differs in report_t2i" in capsys.readouterr().out


def test_a_collapse_is_a_result(base, calls, tmp_path, monkeypatch):
    def collapsing(prepared, **options):
        plain(prepared, **options)
        raise CollapseError("the embeddings have collapsed: a test")

    plain = worker.fit
    monkeypatch.setattr(worker, "fit", collapsing)
    assert not run(jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"])).failed
    row = read_row(tmp_path / "small" / "sge-0.json")
    assert row.metadata["collapsed"].startswith("the embeddings have collapsed")
    assert row.ranks().i2t.min() >= 1


def test_a_run_that_is_taken_is_waited_for(base, monkeypatch, tmp_path):
    """Another process holds the lock: `work` says so, and the study comes back until it is free."""
    monkeypatch.setattr(module, "AGAIN_S", 0.1)
    (job,) = jobs_of(STUDY, base, out=str(tmp_path), variants=["sge"])
    lock = job.place().with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    seen = []

    def work(self, job):
        seen.append(module._taken(job))
        return (module.BUSY if seen[-1] else worker.run_job(job)), ""

    monkeypatch.setattr(module._Running, "run", work)
    holder = FileLock(lock, thread_local=False)
    with holder:
        assert worker.run_job(job) == worker.BUSY
        assert not job.finished()
        threading.Timer(0.5, holder.release).start()
        assert run([job]).made == 1
    assert seen[0] is True and seen[-1] is False


def test_what_fails_is_told_and_the_rest_goes_on(base, monkeypatch, tmp_path):
    def work(self, job):
        return (2, "no good") if job.variant == "none" else (worker.run_job(job), "")

    monkeypatch.setattr(module._Running, "run", work)
    done = run(jobs_of(STUDY, base, out=str(tmp_path), seeds=1))
    assert (done.made, done.failed) == (1, {"none-0": "no good"})


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_are_forked_while_the_end_of_the_input_is_waited_for():
    """As those that read images for a tower that is trained: they close the input that a thread reads."""
    program = (
        "import multiprocessing, sys, threading, time, userlab.ablation.worker as worker\n"
        "threading.Thread(target=worker._stop_with_parent, daemon=True).start()\n"
        "time.sleep(0.2)\n"
        "child = multiprocessing.get_context('fork').Process(target=int)\n"
        "child.start(); child.join(20); print(child.exitcode, flush=True); child.kill()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.stdin.close()


def test_a_killed_study_goes_on_where_it_was(base, cache, tmp_path):
    """SIGKILL in the second run: its process stops by itself, and the same command repeats nothing."""
    config = replace(base, training=replace(base.training, steps=160, evaluate_every=1.0))
    (tmp_path / "base.json").write_text(json.dumps(to_json(config)))
    command = [sys.executable, "-m", "userlab", "ablate", "--study", "pooling", "--variant", "mean", "max"]
    command += ["--seeds", "1", "--threads", "1", "--json", "--out", str(tmp_path / "out")]
    command += ["--config", str(tmp_path / "base.json")]
    row, runs = tmp_path / "out" / "pooling" / "mean-0.json", cache / "ablation"

    study = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    first, second = set(), set()  # the folders of the two trainings, once they have a checkpoint
    while not second and study.poll() is None:
        there = row.is_file()
        # a folder that is being removed has another name, which begins with a dot
        result = {path.parent for path in runs.glob("[!.]*/run.json")}
        first |= set() if there else result
        second = result - first if there else set()
        time.sleep(0.02)
    study.kill()
    study.communicate(timeout=300)
    (left,) = second
    before = row.stat().st_mtime_ns
    with FileLock(runs / f"{left.name.partition('-')[0]}.lock", timeout=300):  # held until its next step
        last = json.loads((left / "run.json").read_text())["last"]
    assert 0 < int(last.removeprefix("step-")) < 160

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    said = json.loads(again.stdout)
    assert (said["made"], said["reused"], said["failed"]) == (1, 1, {})
    assert row.stat().st_mtime_ns == before
    assert not list(runs.glob("*/run.json"))

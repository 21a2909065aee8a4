"""What a model costs: the study of related work."""

import json
from dataclasses import replace

import pytest

import userlab.ablation.worker as worker
from tests.reference.runs import run_config, write_learnable
from userlab.ablation.costs import RERANK
from userlab.ablation.jobs import job_from_json
from userlab.ablation.rows import read_row
from userlab.ablation.studies import study_named
from userlab.ablation.study import jobs_of, run_jobs
from userlab.ablation.summary import load_study, notes, tables
from userlab.ablation.tuning import Tuned
from userlab.ablation.variants import Study, Variant, variant_config
from userlib.presets import preset

STUDY = Study(
    name="small",
    question="?",
    variants={
        "mean": Variant(label="mean", changes={"model": {"pooling": "mean"}}, seeds=1),
        "chan": Variant(label="CHAN", changes={"model": {"scorer": "chan"}}, seeds=1),
    },
    reference="mean",
    base={"model": {"queue_size": None}, "objective": {"name": "infonce"}, "training": {"use_ema": False}},
    costs=True,
)


def test_rows_hold_what_a_model_costs_and_tables_show_it(tmp_path, cache, monkeypatch):
    config = run_config(write_learnable(tmp_path / "data"))
    base = replace(config, training=replace(config.training, steps=4))
    out = str(tmp_path / "out")

    def work(self, job):
        return worker.run_job(job_from_json(json.loads(json.dumps(job.as_json())))), ""

    monkeypatch.setattr("userlab.ablation.study._Running.run", work)
    tried = {"training.lr": {1e-3: 100.0, 2e-3: 110.0}}
    told = {"chan": Tuned(changes={"training": {"lr": 2e-3}}, tried=tried, at_bound=("training.lr",))}
    jobs = jobs_of(STUDY, base, out=out, tuned=told)
    done = run_jobs(jobs, processes=1, title="test", progress=False)
    assert (done.made, done.failed) == (2, {})
    mean, chan = (read_row(tmp_path / "out/small" / f"{name}-0.json") for name in ("mean", "chan"))
    for row in (mean, chan):
        costs = row.metadata["costs"]
        assert costs["parameters"] > 1000 and costs["step_ms"] > 0 and costs["query_ms"] > 0
    assert "rerank" not in mean.metadata["costs"]
    alone = chan.metadata["costs"]["rsum_of_embeddings"]
    assert 0 <= alone <= 600 and "rsum_of_embeddings" not in mean.metadata["costs"]
    again = chan.metadata["costs"]["rerank"]
    assert set(again) == {str(k) for k in RERANK}
    most = max(RERANK)  # more than there are images: as the full scorer
    assert again[str(most)]["rsum"] == pytest.approx(chan.metadata["report"]["metrics"]["rsum"], abs=1e-3)
    by_variant = load_study(STUDY, out)
    shown = {table.title: table for table in tables(STUDY, by_variant, resamples=20)}
    assert any("costs" in title for title in shown) and any("re-ranking" in title for title in shown)
    said = " ".join(notes(STUDY, by_variant))
    assert "chan: lr 0.002 of 0.001, 0.002." in said and "better one may lie beyond: chan." in said
    assert run_jobs(jobs, processes=1, title="test", progress=False).made == 0  # nothing is run twice


def test_the_study_of_neighbours_changes_one_thing_under_one_loss():
    study = study_named("neighbours")
    for name in study.variants:
        config = variant_config(study, name, preset(study.preset), seed=0)
        assert config.objective.name == config.objective.scorer_loss == "infonce"
        assert config.model.queue_size is None and config.model.text == "gru"
        assert study.variant(name).seeds == 3
    photos = variant_config(study, "esa", preset("photos"), seed=0)  # the same on photographs
    assert photos.model.pooling == "esa" and not photos.training.use_ema


def test_the_command_tunes_trains_and_goes_on(tmp_path, cache, monkeypatch, capsys):
    from userlab.__main__ import main

    folder = write_learnable(tmp_path / "data")
    calls = []

    def work(self, job):
        calls.append(f"{job.study}/{job.variant}-{job.seed}")
        return worker.run_job(job_from_json(json.loads(json.dumps(job.as_json())))), ""

    monkeypatch.setattr("userlab.ablation.study._Running.run", work)
    small = ("model.embed_dim=16", "model.text_width=16", "model.word_width=8", "training.batch_size=8")
    words = ["ablate", "--study", "neighbours", "--variant", "chan", "--seeds", "1", "--steps", "2"]
    words += ["--data", str(folder), "--tokens", "precomputed", "--out", str(tmp_path / "out"), "--json"]
    words += [part for setting in small for part in ("--set", setting)]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["made"], said["reused"], said["failed"]) == (1, 0, {})
    tuned = [call for call in calls if call.startswith("neighbours-tuning/")]
    assert calls[-1] == "neighbours/chan-0" and len(tuned) == len(calls) - 1
    assert 5 <= len(tuned) <= 2 * 9  # three values of each knob, of which one run is shared; a grid may grow
    row = read_row(tmp_path / "out/neighbours/chan-0.json")
    training = row.metadata["config"]["training"]
    assert said["tuned"]["chan"] == {"training": {name: training[name] for name in ("lr", "max_grad_norm")}}
    assert set(row.metadata["tuning"]["tried"]) == {"training.lr", "training.max_grad_norm"}
    (tmp_path / "out/neighbours/chan-0.json").unlink()  # as if it had been stopped before its end
    before = len(calls)
    assert main(words) == 0
    assert calls[before:] == ["neighbours/chan-0"]

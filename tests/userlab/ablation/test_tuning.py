"""Tuning widens a grid until its best is inner, on val alone, and can be read off the stored runs."""

import json
from dataclasses import replace

import pytest

from userlab.ablation import tuning
from userlab.ablation.jobs import Job
from userlab.ablation.rules import growth, provisional
from userlab.ablation.tuning import next_values, tune, tuned
from userlab.ablation.variants import Knob, Study, Variant
from userlib.config import Config
from userlib.errors import UserError
from userlib.presets import preset

LR = Knob(setting="training.lr", start=1e-3)
CLIP = Knob(setting="training.max_grad_norm", start=0.5, factor=4.0, low=0.1, high=3.0)
STUDY = Study(
    name="small",
    question="?",
    variants={
        "none": Variant(label="none", changes={"model": {"enhancement": "none"}}),
        "hinge": Variant(
            label="hinge", changes={"objective": {"name": "hinge-sum"}},
            knobs=(Knob(setting="objective.margin", start=0.2),),
        ),
        "like": Variant(label="like none", changes={"model": {"enhancement": "sge"}}, tuned_as="none"),
    },
    reference="none",
    knobs=(LR, CLIP),
)  # fmt: skip


@pytest.mark.parametrize(
    ("tried", "wanted"),
    [
        ({}, [5e-4, 1e-3, 2e-3]),
        ({5e-4: 1, 1e-3: 3, 2e-3: 2}, []),
        ({5e-4: 1, 1e-3: 2, 2e-3: 3}, [4e-3]),
        ({5e-4: 3, 1e-3: 2, 2e-3: 1}, [2.5e-4]),
        ({2.5e-4: 4, 5e-4: 3, 1e-3: 2, 2e-3: 1}, [1.25e-4]),
    ],
)
def test_the_grid_widens_on_the_side_of_its_best(tried, wanted):
    assert next_values(tried, LR) == pytest.approx(wanted)


def test_no_value_beyond_what_is_allowed():
    assert next_values({}, CLIP) == [0.125, 0.5, 2.0]
    assert next_values({0.125: 1, 0.5: 2, 2.0: 3}, CLIP) == []
    assert next_values({0.125: 3, 0.5: 2, 2.0: 1}, CLIP) == []


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Runs are not trained: a row's rSum is best at a learning rate of 8e-3, clipping of 2 and a margin of 0.2."""
    monkeypatch.setattr(Job, "finished", lambda self: self.row(self.variant).is_file())

    def rsum(config: Config) -> float:
        t = config.training
        return (
            400 - 1e4 * abs(t.lr - 8e-3) - abs(t.max_grad_norm - 2) - 10 * abs(config.objective.margin - 0.2)
        )

    made = []

    def run(jobs):
        for job in jobs:
            made.append(job)
            file = job.row(job.variant)
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({"select": {"metrics": {"rsum": rsum(job.config)}}}))

    return tmp_path, run, made


def test_one_knob_after_the_other(world):
    folder, run, made = world
    state = tune(STUDY, preset("scenes"), ["none", "hinge", "like"], out=str(folder), run=run)
    assert state["none"].changes == state["like"].changes == {"training": {"lr": 8e-3, "max_grad_norm": 2.0}}
    assert state["hinge"].changes == {
        "training": {"lr": 8e-3, "max_grad_norm": 2.0},
        "objective": {"margin": 0.2},
    }
    assert sorted(state["none"].tried["training.lr"]) == pytest.approx([5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2])
    assert state["none"].at_bound == ("training.max_grad_norm",) and state["none"].runs == 9
    assert [job.variant for job in made[:3]] == ["none-lr-0.0005", "none-lr-0.001", "none-lr-0.002"]
    assert not any(job.variant.startswith("like") for job in made)
    assert all(job.config.data.test_split is None and job.study == "small-tuning" for job in made)
    clip = [job for job in made if job.variant.startswith("none-max_grad_norm")]
    assert len(clip) == 3 and all(job.config.training.lr == 8e-3 for job in clip)

    again = tune(
        STUDY, preset("scenes"), ["none"], out=str(folder), run=lambda jobs: pytest.fail("ran again")
    )
    assert again["none"] == state["none"]
    assert tuned(STUDY, "none", preset("scenes"), out=str(folder)).as_json()["at_bound"] == [
        "training.max_grad_norm"
    ]


def test_a_run_that_does_not_come_ends_the_tuning(world):
    folder, _, _ = world
    with pytest.raises(UserError, match="'none-lr-0.0005' did not end"):
        tune(STUDY, preset("scenes"), ["none"], out=str(folder), run=lambda jobs: None)


def test_a_knob_that_sets_nothing_is_an_error(world):
    folder, run, _ = world
    wrong = replace(STUDY, knobs=(replace(LR, setting="training.rate"),))
    with pytest.raises(UserError, match="rate"):
        tune(wrong, preset("scenes"), ["none"], out=str(folder), run=run)
    assert tuning.Tuned().runs == 0


def curve(*rsums):
    return [{"step": 500 * (i + 1), "rsum": rsum} for i, rsum in enumerate(rsums)]


def test_growth_is_that_of_the_last_quarter():
    assert growth(curve(100, 200, 300, 303)) == pytest.approx(1.0)
    assert growth(curve(100, 310, 300, 303)) == 0  # the best counts, wherever it was
    assert growth(curve(300)) == float("inf")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"kind": "trained", "curve": curve(1, 300, 300, 301), "tuning": {"at_bound": []}}, None),
        ({"kind": "trained", "curve": curve(1, 200, 250, 300), "tuning": {"at_bound": []}}, "runs too short"),
        ({"kind": "trained", "curve": curve(300, 300), "tuning": {"at_bound": []}}, "runs too short"),
        ({"kind": "trained", "curve": curve(1, 300, 300, 301)}, "settings not tuned"),
        (
            {"kind": "trained", "curve": curve(1, 300, 300, 301), "tuning": {"at_bound": ["x"]}},
            "settings at a bound",
        ),
        ({"kind": "zero-shot"}, None),
    ],
)
def test_what_keeps_a_run_from_a_verdict(row, reason):
    found = provisional(row)
    assert found is None if reason is None else found.startswith(reason)

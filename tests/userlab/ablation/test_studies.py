"""The grids: what each study runs, that it changes what it says, and that all of them fit their budget."""

import json
from dataclasses import replace

import pytest

from usercourse.profile import PROFILES
from userlab.ablation.studies import LEDGER, STUDIES, study_named
from userlab.ablation.study import jobs_of, tuning_jobs
from userlab.ablation.variants import HEADLINE, changed, variant_config
from userlib.config import Config, preset, to_json
from userlib.errors import UserError


def base(study):
    config = preset(study.preset)
    return replace(config, training=replace(config.training, steps=study.steps))


def settings(job) -> str:
    """What makes a run: equal settings are one run, whichever study asks for it."""
    return json.dumps([to_json(job.config), job.guide, job.kind], sort_keys=True)


@pytest.mark.parametrize("name", STUDIES)
def test_cells_differ_and_are_valid(name):
    study = study_named(name)
    configs = {variant: variant_config(study, variant, base(study), seed=0) for variant in study.variants}
    told = {
        json.dumps(
            [to_json(config), study.variant(variant).guide, study.variant(variant).kind], sort_keys=True
        )
        for variant, config in configs.items()
    }
    assert len(told) == len(configs)
    assert study.reference in study.lines()
    assert all(a in study.lines() and b in study.lines() for a, b in study.pairs)


def test_headline_cells_take_five_seeds():
    wanted = {
        "enhancement": ("none", "sge", "cge", "sge+cge"),
        "guide": ("cge", "cge-random", "cge-mismatched"),
        "queue": ("absent", "256", "2048", "4096"),
        "objective": ("uto", "uto-exact", "hinge-sum", "hinge-hardest", "infonce"),
    }
    for name, variants in wanted.items():
        for variant in variants:
            assert study_named(name).variant(variant).seeds == HEADLINE


def test_the_ledger_fits_150_runs():
    runs = set()
    for name in LEDGER:
        study = study_named(name)
        jobs = jobs_of(study, base(study), out="x")
        jobs += tuning_jobs(study, base(study), study.variants, out="x")
        runs |= {settings(job) for job in jobs}
    assert 100 < len(runs) <= 150
    assert all(study_named(name).steps == PROFILES["study"].steps for name in LEDGER)


def test_world_changes_one_thing_at_a_time():
    study = study_named("world")
    configs = {
        name: to_json(variant_config(study, name, base(study), seed=3))
        for name in ("baseline", "sge", "queue", "uto")
    }
    assert all(config["training"]["seed"] == 3 for config in configs.values())

    def differs(name):
        return {
            (part, key)
            for part, values in configs[name].items()
            for key, value in values.items()
            if value != configs["baseline"][part][key]
        } - {("data", "guide")}

    assert differs("sge") == {("model", "enhancement")}
    assert differs("queue") == {("model", "queue_size")}
    assert differs("uto") == {("objective", "name")}


def test_seeds_come_in_rounds_and_tuning_never_sees_the_report():
    study = study_named("objective")
    jobs = jobs_of(study, base(study), out="x", seeds=2, variants=["uto", "infonce"], lrs={"uto": 7e-4})
    assert [(job.variant, job.seed) for job in jobs] == [
        ("uto", 0),
        ("infonce", 0),
        ("uto", 1),
        ("infonce", 1),
    ]
    assert jobs[0].config.training.lr == 7e-4
    assert jobs[1].config.training.lr == base(study).training.lr
    tuning = tuning_jobs(study, base(study), ["uto"], out="x")
    assert [job.config.training.lr for job in tuning] == list(study.lr_grid)
    assert all(job.config.data.test_split is None for job in tuning)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="'worlds'.*enhancement"):
        study_named("worlds")
    with pytest.raises(UserError, match="'x'.*none, sge"):
        study_named("enhancement").variant("x")
    with pytest.raises(UserError, match="'modle'"):
        changed(Config(), {"modle": {}})

"""The grids: what each study runs, that it changes what it says, and that all of them fit their budget."""

import json
import re
from dataclasses import replace

import pytest

from usercourse.profile import PROFILES
from userlab.__main__ import parser
from userlab.ablation.length import LONG
from userlab.ablation.rules import MIN_STEPS
from userlab.ablation.studies import LEDGER, STUDIES, study_named
from userlab.ablation.study import jobs_of
from userlab.ablation.tuning import Tuned
from userlab.ablation.variants import HEADLINE, changed, variant_config
from userlib.config import Config, to_json
from userlib.errors import UserError
from userlib.presets import preset


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


def test_the_short_studies_fit_150_runs():
    runs = set()
    for name in LEDGER:
        study = study_named(name)
        runs |= {settings(job) for job in jobs_of(study, base(study), out="x")}
    assert 90 < len(runs) <= 150
    assert all(study_named(name).steps == PROFILES["study"].steps for name in LEDGER)


def test_long_studies_take_three_seeds_and_enough_steps():
    for make in LONG:
        study = make()
        for name, variant in study.variants.items():
            config = variant_config(study, name, base(study), seed=0)
            assert variant.seeds >= 3, name
            if "@" in name:
                assert config.training.steps == int(name.partition("@")[2]) < MIN_STEPS
                assert variant.tuned_as in study.variants
            else:
                batches = config.data.sizes["train"] * 5 / config.training.batch_size
                assert config.training.steps >= MIN_STEPS
                assert config.training.steps / (config.training.evaluate_every * batches) == pytest.approx(
                    16, rel=0.01
                )
            for knob in (*study.knobs, *variant.knobs):
                part, _, setting = knob.setting.partition(".")
                assert getattr(getattr(config, part), setting) is not None


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


def test_seeds_come_in_rounds_with_what_was_tuned():
    study = study_named("objective")
    tuned = {"uto": Tuned(changes={"training": {"lr": 7e-4}}, tried={"training.lr": {7e-4: 200.0}})}
    jobs = jobs_of(study, base(study), out="x", seeds=2, variants=["uto", "infonce"], tuned=tuned)
    assert [(job.variant, job.seed) for job in jobs] == [
        ("uto", 0),
        ("infonce", 0),
        ("uto", 1),
        ("infonce", 1),
    ]
    assert jobs[0].config.training.lr == 7e-4
    assert jobs[0].tuning == {"tried": {"training.lr": {"0.0007": 200.0}}, "at_bound": []}
    assert jobs[1].config.training.lr == base(study).training.lr and jobs[1].tuning == {}


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="'worlds'.*enhancement"):
        study_named("worlds")
    with pytest.raises(UserError, match="'x'.*none, sge"):
        study_named("enhancement").variant("x")
    with pytest.raises(UserError, match="'modle'"):
        changed(Config(), {"modle": {}})


def test_the_recipes_for_photos_are_the_presets():
    """Without a text encoder in the one that needs no download, and with its vectors of words beside it."""
    study, base = STUDIES["photo-recipes"], preset("photos-text")
    made = {name: variant_config(study, name, base, seed=0) for name in study.variants}
    for name, wanted in (("words", preset("photos")), ("text", base)):
        for part in ("model", "objective", "training"):
            assert getattr(made[name], part) == getattr(wanted, part), (name, part)
    assert made["words"].model.text_model is None
    name = base.model.text_model
    assert made["words-prior"].model == replace(made["words"].model, text_model=name)
    assert made["words-no-queue"].model == replace(made["words"].model, queue_size=None)


def test_the_guide_on_photos_differs_in_the_enhancement_alone():
    """The preset of words alone, each control beside it; a guide that the command line names comes first."""
    study, base = study_named("photo-guide"), preset("photos")
    made = {name: variant_config(study, name, base, seed=0) for name in study.variants}
    for name, config in made.items():
        assert config.training == base.training and config.objective == base.objective, name
        own = replace(config.model, enhancement="none", add_guide=False)
        assert own == replace(base.model, enhancement="none"), name
        wanted = None if name == "sge" else "efficientnet-lite2"
        assert config.data == replace(base.data, guide=wanted), name
    assert {name: made[name].model.enhancement for name in made if name.startswith("cge")} == dict.fromkeys(
        ("cge", "cge-random", "cge-mismatched"), "cge"
    )
    assert made["vector-added"].model.add_guide and base.model.init == "cca"
    assert [study.variant(name).guide for name in ("cge", "cge-random", "cge-mismatched")] == [
        "informed",
        "random",
        "mismatched",
    ]
    assert study.reference == "none" and {baseline for _, baseline in study.pairs} == {
        "sge",
        "cge-random",
        "cge-mismatched",
        "vector-added",
        "none+scores",
    }
    assert "late score fusion with EfficientNet" in study.lines()["none+scores"]
    jobs = jobs_of(study, base, out="x")
    assert len(jobs) == 3 * len(made) and {job.seed for job in jobs} == {0, 1, 2}
    other = replace(base, data=replace(base.data, guide="timm:x.safetensors"))
    assert variant_config(study, "cge", other, seed=0).data.guide == "timm:x.safetensors"


def test_the_help_names_every_study(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # no name is divided at its hyphen
    with pytest.raises(SystemExit):
        parser().parse_args(["ablate", "--help"])
    assert set(STUDIES) <= set(re.findall(r"[a-z0-9-]+", capsys.readouterr().out))

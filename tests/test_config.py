"""Configurations: their JSON, the presets, and an error for every setting without a meaning."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userlib.__main__ import config_of, main, merge, parser
from userlib.config import (
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainingConfig,
    from_json,
    to_json,
)
from userlib.errors import UserError
from userlib.presets import PRESETS, preset
from userlib.rules import check_used


@pytest.mark.parametrize("name", PRESETS)
def test_json_brings_a_preset_back(name):
    config = preset(name)
    assert from_json(Config, json.loads(json.dumps(to_json(config)))) == config


@given(
    st.builds(
        ModelConfig,
        embed_dim=st.integers(2, 64),
        residual_scale=st.one_of(st.just("learned"), st.floats(0, 10)),
        queue_size=st.one_of(st.none(), st.integers(0, 9)),
        momentum=st.one_of(st.none(), st.floats(0, 1)),
        pooling=st.sampled_from(["mean", "max", "gpo"]),
    ),
    st.one_of(st.none(), st.dictionaries(st.text(max_size=5), st.integers(1, 9), max_size=2)),
)
def test_json_brings_any_configuration_back(model, sizes):
    config = Config(model=model, data=DataConfig(sizes=sizes))
    assert from_json(Config, json.loads(json.dumps(to_json(config)))) == config


def test_what_is_left_out_has_its_default():
    assert from_json(Config, {"model": {"embed_dim": 8}}) == Config(model=ModelConfig(embed_dim=8))
    assert from_json(Config, {}) == Config()


@pytest.mark.parametrize(
    "values, said",
    [
        ({"modle": {}}, "unknown key 'modle'; known are data, model, objective, training"),
        ({"model": {"embd": 8}}, "model has the unknown key 'embd'"),
        ({"model": {"embed_dim": "8"}}, "'embed_dim' in the model is '8'"),
        ({"model": {"embed_dim": 8.0}}, "'embed_dim' in the model is 8.0"),
        ({"model": {"embed_dim": True}}, "'embed_dim' in the model is True"),
        ({"model": {"embed_dim": None}}, "'embed_dim' in the model is None"),
        ({"model": {"queue_size": "none"}}, "'queue_size' in the model is 'none'"),
        ({"training": {"lr": "fast"}}, "'lr' in the training is 'fast'"),
        ({"training": {"use_ema": 1}}, "'use_ema' in the training is 1"),
        ({"data": {"sizes": {"train": 0}}}, "'sizes' in the data"),
        ({"data": {"sizes": [5]}}, "'sizes' in the data"),
        ({"model": []}, "the model is a list; it must be a JSON object"),
        ([], "the configuration is a list"),
    ],
)
def test_wrong_json_is_an_error_that_names_the_key(values, said):
    with pytest.raises(UserError) as error:
        from_json(Config, values)
    assert said in str(error.value)


WRONG = [
    *(("model", {name: "other"}, f"{name} is 'other'; it must be one of") for name in
      ("enhancement", "norm", "pooling", "text_pooling", "text", "text_enhancement", "residual_scale",
       "region_scaling", "init")),
    ("objective", {"name": "other"}, "objective is 'other'"),
    ("training", {"schedule": "other"}, "schedule is 'other'"),
    ("training", {"precision": "fp16"}, "precision is 'fp16'"),
    ("model", {"queue_size": -1}, "queue_size is -1; it must be none (no queue) or a whole number from 0 up"),
    *(("model", {name: 1.5}, f"{name} is 1.5") for name in
      ("guide_dropout", "region_channel_dropout", "word_dropout", "text_dropout", "embed_dropout", "momentum")),
    ("model", {"momentum": -0.1}, "momentum is -0.1"),
    ("model", {"momentum": float("nan")}, "momentum is nan"),
    *(("model", {name: 1}, f"{name} is 1; it must be a whole number from 2 up") for name in
      ("embed_dim", "text_width", "word_width")),
    *(("model", {name: 0}, f"{name} is 0; it must be a whole number from 1 up") for name in
      ("text_layers", "text_heads", "regions", "region_dim", "principal_dim", "guide_dim", "vocab_size")),
    ("data", {"vocabulary": 9}, "vocabulary is 9, text 'gru' and text_model None"),
    ("model", {"text_model": "x"}, "text_model is 'x', text 'gru' and init 'random'"),
    ("model", {"region_scaling": "principal"}, "region_scaling is 'principal' and principal_dim None"),
    ("model", {"principal_dim": 4}, "region_scaling is 'raw' and principal_dim 4"),
    ("model", {"region_scaling": "root"}, "region_scaling is 'root' and principal_dim None"),
    ("model", {"region_scaling": "root", "principal_dim": 4, "train_image": "lora"},
     "region_scaling is 'root' and train_image 'lora'"),
    ("model", {"inverse_temperature": -1.0}, "inverse_temperature is -1.0"),
    ("model", {"residual_scale": -1.0}, "residual_scale is -1.0"),
    ("model", {"text": "bert", "text_width": 100, "text_heads": 12}, "text_width is 100 and text_heads 12"),
    ("model", {"text": "clip"}, "text is 'clip' and text_model is not set"),
    ("model", {"text": "bert", "text_width": 12, "init": "cca"}, "init is 'cca'"),
    ("model", {"text": "bag", "word_residual": True}, "word_residual is true and text 'bag'"),
    ("model", {"text": "bert", "text_width": 12, "word_dropout": 0.1}, "Use text_dropout"),
    ("model", {"enhancement": "cge"}, "enhancement 'cge' needs a guide vector; give --guide"),
    ("model", {"add_guide": True}, "needs a guide vector"),
    ("data", {"min_count": 0}, "min_count is 0"),
    ("data", {"val_split": "train:x"}, "val_split is 'train:x'"),
    ("data", {"val_split": "train:0"}, "val_split is 'train:0'"),
    ("data", {"val_split": "train:"}, "val_split is 'train:'"),
    ("data", {"val_split": ""}, "val_split is ''"),
    ("data", {"val_split": "val", "test_split": "val"}, "test_split is 'val', on which the epoch is also selected"),
    ("data", {"val_split": "train:5", "test_split": "select"}, "test_split is 'select'"),
    *(("objective", {name: 0.0}, f"{name} is 0.0; it must be above 0") for name in ("mu", "temperature")),
    *(("objective", {name: -1.0}, f"{name} is -1.0") for name in ("gamma", "margin", "loss_weight")),
    *(("training", {name: 0.0}, f"{name} is 0.0") for name in ("lr", "max_grad_norm", "evaluate_every")),
    ("training", {"lr": float("nan")}, "lr is nan"),
    *(("training", {name: -0.1}, f"{name} is -0.1") for name in
      ("caption_augment_prob", "region_mask_prob", "warmup", "step_at", "weight_decay", "text_lr_scale")),
    ("training", {"batch_size": 1}, "batch_size is 1; it must be at least 2"),
    ("training", {"steps": 0}, "steps is 0"),
    ("training", {"region_sample": 0}, "region_sample is 0"),
    ("training", {"epochs": 0}, "epochs is 0"),
    ("training", {"seed": -1}, "seed is -1"),
]  # fmt: skip


@pytest.mark.parametrize("part, changes, said", WRONG, ids=lambda v: str(v) if isinstance(v, dict) else None)
def test_a_setting_without_a_meaning_is_an_error_that_names_it(part, changes, said):
    config = Config()
    with pytest.raises(UserError) as error:
        replace(config, **{part: replace(getattr(config, part), **changes)})
    assert said in str(error.value)


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"text_dropout": 0.1},
            "model.text_dropout is 0.1 and text_pooling 'tower'.* Set model.text_dropout 0,",
        ),
        (
            {"word_residual": True},
            "model.word_residual is true and text_pooling 'tower'.* Set model.word_residual false, or text_pooling gpo",
        ),
    ],
)
def test_a_setting_that_does_nothing_next_to_a_towers_own_vector(changes, said):
    """Such a configuration can be read, as one that was stored, and used with another pooling."""
    model = ModelConfig(text="clip", text_model="clip-mini", text_pooling="tower", **changes)
    check_used(Config(model=replace(model, text_pooling="mean")))
    with pytest.raises(UserError, match=said):
        check_used(Config(model=model))


def test_averaged_needs_momentum_encoders():
    with pytest.raises(UserError, match="use_ema is true and queue_size none"):
        Config(model=ModelConfig(queue_size=None), training=TrainingConfig(use_ema=True))
    Config(model=ModelConfig(queue_size=0), training=TrainingConfig(use_ema=True))


def test_the_paper_presets_are_the_papers():
    flickr, coco = preset("paper-flickr30k"), preset("paper-coco")
    assert (flickr.model.queue_size, coco.model.queue_size) == (2048, 4096)
    assert (flickr.objective.loss_weight, coco.objective.loss_weight) == (20.0, 1.0)
    assert (flickr.training.epochs, coco.training.epochs) == (20, 25)
    assert flickr.training.epochs * flickr.training.step_at == 10
    assert coco.training.epochs * coco.training.step_at == 15
    for config in (flickr, coco):
        model, training, objective = config.model, config.training, config.objective
        assert (model.enhancement, model.norm, model.residual_scale, model.inverse_temperature) == (
            "sge",
            "batch",
            1.0,
            1.0,
        )
        assert (model.embed_dim, model.region_dim, model.regions, model.momentum) == (1024, 2048, 36, 0.999)
        assert (training.batch_size, training.lr, training.lr * training.text_lr_scale) == (128, 5e-4, 5e-5)
        assert (training.max_grad_norm, training.weight_decay, training.warmup) == (2.0, 1e-4, 0.0)
        assert (objective.mu, objective.gamma, objective.leaky_positive) == (90.0, 0.5, False)
    assert ObjectiveConfig().leaky_positive and preset("scenes").objective.leaky_positive
    with pytest.raises(UserError, match="preset is 'paper'.*paper-flickr30k, paper-coco"):
        preset("paper")


DEFAULTS = {
    "data": {
        "data": "scenes", "pictures": None, "sizes": None, "tokens": "region-mini", "token_weights": None,
        "hflip": False, "keep_pixels": False, "workers": None, "guide": None, "min_count": 1,
        "vocabulary": None, "val_split": "val", "test_split": None,
    },
    "model": {
        "regions": None, "region_dim": None, "guide_dim": None, "embed_dim": 1024, "enhancement": "none",
        "norm": "layer", "weight_init": "torch", "region_scaling": "raw", "principal_dim": None,
        "residual_scale": "learned",
        "inverse_temperature": 1.0, "guide_dropout": 0.4, "region_channel_dropout": 0.0, "add_guide": False,
        "pooling": "gpo", "train_image": "none", "image_tower": None, "text": "gru", "text_model": None,
        "text_config": None, "text_width": 1024, "text_layers": 1, "text_heads": 12, "train_text": "all",
        "lora_rank": 8, "num_concepts": 128, "word_width": 300, "word_residual": False, "init": "random",
        "word_dropout": 0.0, "text_dropout": 0.0, "text_enhancement": "none", "text_pooling": "gpo",
        "embed_dropout": 0.0, "vocab_size": None, "queue_size": 2048, "momentum": None, "scorer": "dot",
    },
    "objective": {
        "name": "uto", "mu": 90.0, "gamma": 0.5, "leaky_positive": True, "margin": 0.2, "temperature": 0.05,
        "loss_weight": 1.0, "mask_same_image": True, "diversity_weight": 0.1,
        "relation_weight": 0.0, "soft_weight": 0.0, "scorer_weight": 1.0, "scorer_loss": "hinge-hardest+infonce",
        "scorer_negatives": 0,
    },
    "training": {
        "steps": None, "epochs": 10, "batch_size": 128, "lr": 0.0005, "text_lr_scale": 1.0, "image_lr_scale": 1.0,
        "random_crop": 0.5, "interpolate": False, "micro_batch": None, "weight_decay": 0.0001,
        "max_grad_norm": 2.0, "schedule": "cosine", "step_at": 0.5, "warmup": 0.05, "caption_augment_prob": 0.2,
        "region_mask_prob": 0.0, "region_sample": None, "use_ema": False, "evaluate_every": 1.0, "precision": "auto",
        "seed": 0,
    },
}  # fmt: skip
PHOTOS = {
    "data.data": "path/to/photos", "data.tokens": "efficientnet-lite2-wide",
    "data.min_count": 2, "data.val_split": "train:500", "model.embed_dim": 512, "model.enhancement": "sge",
    "model.region_scaling": "root", "model.principal_dim": 512, "model.region_channel_dropout": 0.3,
    "model.pooling": "mean", "model.text_width": 192, "model.word_width": 256, "model.word_residual": True,
    "model.init": "cca", "model.word_dropout": 0.1, "model.text_dropout": 0.3, "model.text_pooling": "mean",
    "model.embed_dropout": 0.1, "objective.mu": 30.0, "objective.gamma": 0.4, "objective.loss_weight":
    4.0, "training.epochs": 2, "training.lr": 0.0001, "training.warmup": 0.1, "training.caption_augment_prob":
    0.15, "training.region_sample": 27, "training.use_ema": True,
}  # fmt: skip
CHANGED = {
    "paper-flickr30k": {
        "data.data": "path/to/features", "data.tokens": "precomputed", "data.test_split": "test",
        "model.regions": 36, "model.region_dim": 2048, "model.enhancement": "sge", "model.norm": "batch",
        "model.weight_init": "xavier", "model.residual_scale": 1.0, "model.text": "bert", "model.text_model":
        "bert-base-uncased", "model.text_width": 768, "model.text_layers": 12, "model.momentum": 0.999,
        "objective.leaky_positive": False, "objective.loss_weight": 20.0, "training.epochs": 20,
        "training.text_lr_scale": 0.1,
        "training.schedule": "step", "training.warmup": 0.0, "training.precision": "fp32",
    },
    "paper-coco": {
        "data.data": "path/to/features", "data.tokens": "precomputed", "data.test_split": "test",
        "model.regions": 36, "model.region_dim": 2048, "model.enhancement": "sge", "model.norm": "batch",
        "model.weight_init": "xavier", "model.residual_scale": 1.0, "model.text": "bert", "model.text_model":
        "bert-base-uncased", "model.text_width": 768, "model.text_layers": 12, "model.queue_size": 4096,
        "model.momentum": 0.999, "objective.leaky_positive": False, "training.epochs": 25,
        "training.text_lr_scale": 0.1,
        "training.schedule": "step", "training.step_at": 0.6, "training.warmup": 0.0, "training.precision":
        "fp32",
    },
    "clip-patches": {
        "data.data": "umaru97/flickr30k_train_val_test", "data.tokens":
        "open_clip:ViT-B-32/laion2b_s34b_b79k", "data.guide": "open_clip:ViT-B-32/laion2b_s34b_b79k",
        "data.test_split": "test", "model.enhancement": "sge+cge", "model.text": "clip", "model.text_model":
        "ViT-B-32/laion2b_s34b_b79k", "model.text_width": 512, "training.lr": 0.0002, "training.text_lr_scale":
        0.05,
    },
    "photos": PHOTOS,
    "photos-text": {
        **PHOTOS, "model.text": "bert", "model.text_model": "sentence-transformers/all-MiniLM-L6-v2",
        "model.text_width": 384, "model.text_layers": 6, "model.train_text": "none", "model.text_dropout": 0.1,
    },
    "clip-finetune": {
        "data.data": "umaru97/flickr30k_train_val_test", "data.tokens": "open_clip:ViT-B-32/laion2b_s34b_b79k",
        "data.hflip": True, "data.test_split": "test", "model.embed_dim": 512, "model.pooling": "tower",
        "model.train_image": "all", "model.text": "clip", "model.text_model": "ViT-B-32/laion2b_s34b_b79k",
        "model.text_width": 512, "model.text_pooling": "tower", "model.queue_size": None, "objective.name": "infonce",
        "objective.temperature": 0.01, "training.lr": 1e-05, "training.warmup": 0.1,
        "training.caption_augment_prob": 0.0,
    },
    "user-clip": {
        "data.data": "umaru97/flickr30k_train_val_test", "data.tokens": "open_clip:ViT-B-32/laion2b_s34b_b79k",
        "data.hflip": True, "data.guide": "open_clip:ViT-B-32/laion2b_s34b_b79k", "data.test_split": "test",
        "model.enhancement": "sge+cge", "model.train_image": "all", "model.text": "clip",
        "model.text_model": "ViT-B-32/laion2b_s34b_b79k", "model.text_width": 512, "training.lr": 0.0002,
        "training.text_lr_scale": 0.05, "training.image_lr_scale": 0.05, "training.warmup": 0.1,
    },
    "scenes": {
        "data.test_split": "test", "model.embed_dim": 256, "model.enhancement": "sge", "model.region_scaling":
        "standard", "model.text_width": 256, "model.word_width": 128, "objective.mu": 30.0,
        "objective.gamma": 0.3, "training.epochs": 20, "training.lr": 0.001, "training.region_mask_prob": 0.1,
    },
}  # fmt: skip


def test_every_setting_has_the_default_that_stored_commands_count_on():
    """A command line or a file names only what it changes: another default is another result."""
    assert to_json(Config()) == DEFAULTS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_what_it_did(name):
    result = {
        f"{part}.{key}": v for part, values in to_json(preset(name)).items() for key, v in values.items()
    }
    default = {f"{part}.{key}": v for part, values in DEFAULTS.items() for key, v in values.items()}
    assert {key: value for key, value in result.items() if value != default[key]} == CHANGED[name]


RANGES = [  # the first and the last value that a setting may have
    *(("model", name, 0.0, 0.95) for name in
      ("guide_dropout", "region_channel_dropout", "word_dropout", "text_dropout", "embed_dropout")),
    ("model", "momentum", 0.0, 1.0),
    *(("model", name, 2, None) for name in ("embed_dim", "text_width", "word_width")),
    *(("model", name, 1, None) for name in
      ("text_layers", "text_heads", "regions", "region_dim", "guide_dim", "vocab_size")),
    ("model", "queue_size", 0, None),
    *(("model", name, 0.0, 1e30) for name in ("inverse_temperature", "residual_scale")),
    ("data", "min_count", 1, None),
    *(("objective", name, 5e-324, 1e30) for name in ("mu", "temperature")),
    *(("objective", name, 0.0, 1e30) for name in ("gamma", "margin", "loss_weight")),
    *(("training", name, 0.0, 0.95) for name in ("caption_augment_prob", "region_mask_prob")),
    *(("training", name, 0.0, 1.0) for name in ("warmup", "step_at")),
    *(("training", name, 5e-324, 1e30) for name in ("lr", "max_grad_norm", "evaluate_every")),
    *(("training", name, 0.0, 1e30) for name in ("weight_decay", "text_lr_scale", "image_lr_scale")),
    *(("training", name, 1, None) for name in ("steps", "epochs")),
    ("training", "random_crop", 0.01, 1.0),
    ("training", "batch_size", 2, None),
    ("training", "seed", 0, None),
]  # fmt: skip


@pytest.mark.parametrize("part, name, first, last", RANGES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_setting_may_have_what_its_range_holds_and_nothing_beyond(part, name, first, last):
    def given(value):
        return replace(Config(), **{part: replace(getattr(Config(), part), **{name: value})})

    for inside in (first, first if last is None else last):
        assert getattr(getattr(given(inside), part), name) == inside
    below = first - 1 if isinstance(first, int) else math.nextafter(first, -math.inf)
    above = math.inf if last == 1e30 else None if last is None else math.nextafter(last, math.inf)
    for outside in (below, above, math.nan if isinstance(first, float) else None):
        if outside is not None:
            with pytest.raises(UserError, match=f"^{name} is {outside}"):
                given(outside)


def flags(*words):
    return config_of(parser().parse_args(["train", *words]))


def test_flags_over_the_file_over_the_preset(tmp_path):
    file = tmp_path / "c.json"
    file.write_text('{"training": {"lr": 0.5, "batch_size": 4}, "model": {"embed_dim": 8}}')
    config = flags(
        "--config",
        str(file),
        "--batch-size",
        "6",
        "--set",
        "model.pooling=max",
        "--set",
        "training.max_grad_norm=1",
    )
    assert (config.training.lr, config.training.batch_size, config.model.embed_dim) == (0.5, 6, 8)
    assert config.model.pooling == "max" and config.training.max_grad_norm == 1
    assert config.objective == preset("scenes").objective


@pytest.mark.parametrize(
    "words, setting",
    [
        (["--steps", "2"], "training.steps=500"),
        (["--batch-size", "6"], "training.batch_size=6"),
        (["--queue-size", "none"], "model.queue_size=8"),
        (["--text", "gru"], "model.text=bag"),
        (["--test-split", "none"], "data.test_split=test"),
    ],
)
def test_a_setting_is_named_once(words, setting):
    name = setting.partition("=")[0]
    with pytest.raises(UserError, match=f"{words[0]} and --set {setting} both name {name}; give only one"):
        flags(*words, "--set", setting)
    assert flags("--set", setting, "--set", setting) == flags("--set", setting)
    # what --text derives may be changed
    assert flags("--text", "gru", "--set", "model.text_width=8").model.text_width == 8


@pytest.mark.parametrize("word", ["--queue-size", "--queue"])
def test_the_queue_size_of_the_command_line(word):
    assert flags(word, "none").model.queue_size is None
    assert flags(f"{word}=0").model.queue_size == 0
    assert flags(word, "37").model.queue_size == 37
    assert flags().model.queue_size == preset("scenes").model.queue_size
    for wrong in ("-3", "many", "1.5", "", "²"):
        with pytest.raises(SystemExit) as error:
            flags(f"{word}={wrong}")
        assert error.value.code == 2


@pytest.mark.parametrize("setting", ["mu=3", "objective.mu", "objectives.mu=3", "objective.nu=3"])
def test_a_setting_that_is_not_understood(setting, capsys):
    assert main(["train", "--set", setting]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_file_that_is_no_object(tmp_path, capsys):
    for text in ("[1]", '{"model": 3}', '{"other": {}}', "{", '"x"'):
        file = tmp_path / "c.json"
        file.write_text(text)
        assert main(["train", "--config", str(file)]) == 2
        result = capsys.readouterr().err
        assert result.startswith("error: ") and str(file) in result
    with pytest.raises(UserError, match="a list"):
        merge(Config(), [], where="file")


def test_another_text_side_drops_the_weights_of_the_presets():
    from userlib.__main__ import merge

    paper = preset("paper-flickr30k")
    assert merge(paper, {"model": {"text": "gru"}}, where="test").model.text_model is None
    assert merge(paper, {"model": {"text": "hf"}}, where="test").model.text_model == paper.model.text_model
    named = merge(paper, {"model": {"text": "clip", "text_model": "clip-mini"}}, where="test")
    assert named.model.text_model == "clip-mini"

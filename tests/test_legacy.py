"""What earlier versions wrote is read by its names of today, and may be replaced."""

import json
from dataclasses import fields

import pytest
import torch

from tests.reference.small import make_batch, small
from userlab.ablation.jobs import config_of as settings_of_row
from userlib import legacy
from userlib.__main__ import config_of, main, parser
from userlib.checkpoints import read_checkpoint, write_checkpoint
from userlib.config import (
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainingConfig,
    from_json,
    to_json,
)
from userlib.data.tokenizers import WordTokenizer
from userlib.errors import UserError
from userlib.files import check_folder, read_json
from userlib.model.user import USER, DualEncoder, load_model, save_model
from userlib.shipped import ASSETS
from userlib.verify import write_manifest


@pytest.fixture
def old(tmp_path):
    """A checkpoint as an earlier version wrote it: its metadata are called facts."""
    tokenizer = WordTokenizer.fit(["a dog", "two cats"])
    config = Config(model=small(vocab_size=tokenizer.vocab_size))
    folder = tmp_path / "best-00000003"
    save_model(folder, DualEncoder(config.model), tokenizer, config, {"data": "here"})
    for new, name in {new: old for old, new in legacy.FILES.items()}.items():
        (folder / new).rename(folder / name)
    write_manifest(folder)
    return folder


def test_an_old_checkpoint_is_read(old):
    assert (old / "facts.json").is_file() and not (old / "metadata.json").exists()
    assert set(read_checkpoint(old)[1]) == {"config", "tokenizer", "metadata"}
    loaded = load_model(old)
    assert loaded.metadata == {"data": "here"}
    save_model(old, loaded.model, loaded.tokenizer, loaded.config, loaded.metadata)
    assert json.loads((old / "metadata.json").read_text()) == {"data": "here"}
    assert not (old / "facts.json").exists()
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.model.parameters(), load_model(old).model.parameters(), strict=True)
    )


def test_a_folder_of_another_kind_is_still_refused(old):
    (old / "tensors.safetensors").rename(old / "vectors.safetensors")
    write_manifest(old)
    with pytest.raises(UserError, match="a result of another kind"):
        check_folder(old, ["config.json", "metadata.json", "tensors.safetensors", "tokenizer.json"])


PARTS = {"data": DataConfig, "model": ModelConfig, "objective": ObjectiveConfig, "training": TrainingConfig}


def test_each_name_leads_to_one_that_exists():
    for part, names in legacy.SETTINGS.items():
        known = {field.name for field in fields(PARTS[part])}
        assert set(names.values()) <= known and not set(names) & known, part
    model = USER(small(enhancement="sge+cge", region_scaling="standard"))
    parts = {part for name in model.state_dict() for part in name.split(".")}
    assert set(legacy.WEIGHTS.values()) <= parts and not set(legacy.WEIGHTS) & parts


def test_weights_and_settings_of_earlier_names_load(tmp_path):
    config = small(enhancement="sge+cge", region_scaling="standard")
    torch.manual_seed(0)
    model = USER(config)
    model(make_batch(config, [0, 1, 2, 3]))
    before = {new: old for old, new in legacy.WEIGHTS.items()}
    earlier = {
        ".".join(before.get(part, part) for part in k.split(".")): t for k, t in model.state_dict().items()
    }
    assert set(earlier) != set(model.state_dict())
    stored = {}
    for part, values in to_json(Config(model=config, data=DataConfig(guide="clip-mini"))).items():
        old = {new: name for name, new in legacy.SETTINGS.get(part, {}).items()}
        stored[part] = {old.get(name, name): value for name, value in values.items()}
    assert {"strength", "embed"} <= set(stored["model"]) and "live" in stored["objective"]
    assert {"batch", "averaged"} <= set(stored["training"]) and "select" in stored["data"]
    write_checkpoint(tmp_path / "old", earlier, {"config": stored})
    tensors, documents = read_checkpoint(tmp_path / "old")
    again = USER(from_json(Config, documents["config"]).model)
    again.load_state_dict(tensors)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def test_an_old_value_is_read_and_two_names_of_one_setting_are_refused():
    stored = {"model": {"word_vectors": "grounded"}, "training": {"batch": 8, "batch_size": 16}}
    named = legacy.settings(stored)
    assert named["model"] == {"init": "cca"} and named["training"] == {"batch": 8, "batch_size": 16}
    with pytest.raises(UserError, match="the training has the key 'batch', which is now 'batch_size'"):
        from_json(Config, {"training": named["training"]})


@pytest.mark.parametrize(
    "part, old, new", [(part, *pair) for part, names in legacy.SETTINGS.items() for pair in names.items()]
)
def test_an_old_setting_on_the_command_line_is_refused_by_its_new_name(part, old, new, capsys):
    assert main(["train", "--set", f"{part}.{old}=1", "--dry-run"]) == 2
    assert f"the {part} has the key {old!r}, which is now {new!r}" in capsys.readouterr().err


@pytest.mark.parametrize("old, new", legacy.FLAGS.items())
def test_an_old_flag_is_refused_by_its_new_name(old, new, capsys):
    for words in ([old, "8"], [f"{old}=8"]):
        assert main(["train", *words, "--dry-run"]) == 2
        assert f"{old} is now {new}" in capsys.readouterr().err


def test_a_file_of_old_settings_is_read(tmp_path):
    (tmp_path / "c.json").write_text('{"training": {"batch": 8, "clip": 1.0}, "data": {"report": null}}')
    config = config_of(parser().parse_args(["train", "--config", str(tmp_path / "c.json")]))
    assert (config.training.batch_size, config.training.max_grad_norm, config.data.test_split) == (
        8,
        1.0,
        None,
    )


def test_every_stored_row_says_its_settings():
    files = sorted((ASSETS / "results").glob("*/*.json"))
    rows = [row for row in map(read_json, files) if isinstance(row, dict) and {"cell", "of"} <= set(row)]
    assert len(rows) > 100
    for row in rows:
        stored, config = row["config"], settings_of_row(row)
        assert config.training.batch_size == stored["training"]["batch"]
        assert config.model.embed_dim == stored["model"]["embed"]
        assert (config.model.init == "cca") == (stored["model"]["word_vectors"] == "grounded")
        assert config.data.test_split == stored["data"]["report"]


def test_an_old_history_has_the_columns_of_today():
    rows = [{"step": 1.0, "strength_self": 2.0, "strength_self_at_end": 0.0, "residual_self": 0.1}]
    (row,) = legacy.documents({"state": {"step": 1, "rows": rows}})["state"]["rows"]
    assert row == {"step": 1.0, "scale_self": 2.0, "scale_self_is_clamped": 0.0, "residual_self": 0.1}


def test_names_of_today_stay():
    config = to_json(Config())
    assert legacy.settings(config) == config
    for name in USER(small(enhancement="sge+cge", region_scaling="standard")).state_dict():
        assert legacy.weight(name) == name

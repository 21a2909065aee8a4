"""What earlier versions wrote is read by its names of today, and may be replaced."""

import json
from dataclasses import fields

import pytest
import torch

from tests.reference.small import make_batch, small
from userlib import legacy
from userlib.checkpoints import load_model, read_checkpoint, save_model, write_checkpoint
from userlib.config import (
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainingConfig,
    from_json,
    to_json,
)
from userlib.data.captions import WordTokenizer
from userlib.errors import UserError
from userlib.files import check_folder
from userlib.model.user import USER, DualEncoder
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
    with pytest.raises(UserError, match="a save of another kind"):
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
    assert "strength" in stored["model"] and "live" in stored["objective"]
    write_checkpoint(tmp_path / "old", earlier, {"config": stored})
    tensors, documents = read_checkpoint(tmp_path / "old")
    again = USER(from_json(Config, documents["config"]).model)
    again.load_state_dict(tensors)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def test_names_of_today_stay():
    config = to_json(Config())
    assert legacy.settings(config) == config
    for name in USER(small(enhancement="sge+cge", region_scaling="standard")).state_dict():
        assert legacy.weight(name) == name

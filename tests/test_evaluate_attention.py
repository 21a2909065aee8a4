"""evaluate --attention: a checkpoint's guides against the masks, beside attention that knows nothing."""

import json
from dataclasses import replace

import pytest
import torch

from tests.data.copies import write_backbone, write_hub
from userlib.__main__ import main
from userlib.config import Config, DataConfig, ModelConfig, TrainingConfig
from userlib.evaluation.attention import attention_of
from userlib.model.user import DualEncoder, save_model
from userlib.training import prepare


@pytest.fixture(scope="module")
def prepared():
    sizes = {"train": 4, "val": 4, "test": 8}
    return prepare(
        Config(
            data=DataConfig(data="scenes", sizes=sizes, test_split="test"),
            model=ModelConfig(enhancement="sge", embed_dim=8, text_width=8, word_width=4, queue_size=None),
            training=TrainingConfig(steps=1, batch_size=4, precision="fp32"),
        ),
        progress=False,
    )


def saved(folder, prepared, **model):
    config = replace(prepared.config, model=replace(prepared.config.model, **model))
    torch.manual_seed(0)
    encoders = DualEncoder(config.model).eval()
    save_model(folder, encoders, prepared.tokenizer, config, {"data": "scenes"})
    return encoders


def test_attention_of_a_checkpoint(prepared, tmp_path, capsys):
    encoders = saved(tmp_path / "sge", prepared)
    command = ["evaluate", "--checkpoint", str(tmp_path / "sge"), "--attention", "--json"]
    assert main(command) == 0
    (said,) = json.loads(capsys.readouterr().out)["attention"]
    result = attention_of(encoders, prepared.test)
    assert set(said) == {"self", "self weights", "uniform", "area", "centre"}
    for guide, numbers in said.items():
        for what, value in numbers.items():
            assert value == pytest.approx(100 * result[guide][what].mean(), abs=0.01)


def test_a_model_without_a_guide_has_no_attention(prepared, tmp_path, capsys):
    saved(tmp_path / "none", prepared, enhancement="none")
    assert main(["evaluate", "--checkpoint", str(tmp_path / "none"), "--attention"]) == 2
    assert "it needs SGE or CGE" in capsys.readouterr().err
    assert main(["evaluate", "--baseline", "cca", "--attention"]) == 2
    assert "give --checkpoint" in capsys.readouterr().err


def test_photos_in_parquet_have_no_masks_and_no_attention(tmp_path):
    """Whole splits: a selection of images hides what its images are."""
    own = {"tokens": "timm:test_resnet", "token_weights": str(write_backbone(tmp_path / "network"))}
    config = Config(
        data=DataConfig(data=str(write_hub(tmp_path / "hub")), val_split="train:2", test_split="val", **own),
        model=ModelConfig(enhancement="sge", embed_dim=8, text_width=8, word_width=4, queue_size=None),
        training=TrainingConfig(steps=1, batch_size=4, precision="fp32"),
    )
    photos = prepare(config, progress=False)
    encoders = DualEncoder(photos.config.model).eval()
    assert photos.test.features.grid is not None
    assert attention_of(encoders, photos.test) is None

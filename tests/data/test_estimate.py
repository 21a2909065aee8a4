"""The cost of a run is told without the network, and follows from the shapes."""

from dataclasses import replace

import pytest

from tests.data.copies import write_backbone, write_hub
from userlib.config import Config, DataConfig
from userlib.data.estimate import estimate
from userlib.data.sources import load_data
from userlib.data.tokens import extract
from userlib.errors import UserError
from userlib.presets import PRESETS

FLICKR = "umaru97/flickr30k_train_val_test"


def test_flickr30k_with_clip_patches(monkeypatch):
    monkeypatch.setattr("socket.create_connection", lambda *a, **k: pytest.fail("asked the network"))
    result = estimate(FLICKR, PRESETS["clip-patches"], device="cpu")
    pictures = 29_000 + 1_014 + 1_000
    assert result["pictures"] == pictures
    assert result["download_bytes"]["images and captions"] == 4_300_000_000
    assert result["store_bytes"]["tokens"] == pictures * 49 * 768 * 2
    assert result["store_bytes"]["guide"] == pictures * 512 * 4
    assert 600e6 < result["download_bytes"]["total"] - 4_300_000_000 < 610e6 + 440e6
    assert "Flickr owners" in result["terms"]
    for part in ("download_bytes", "store_bytes", "seconds"):
        assert result[part]["total"] == pytest.approx(
            sum(result[part].values()) - result[part]["total"], abs=2
        )


def test_a_local_folder_costs_what_extraction_then_writes(tmp_path, cache):
    weights = write_backbone(tmp_path / "backbone")
    folder = write_hub(tmp_path / "flickr")
    data = DataConfig(data=str(folder), tokens="timm:test_resnet", token_weights=str(weights), hflip=True)
    result = estimate(str(folder), Config(data=data), device="cpu")
    assert result["download_bytes"] == {"total": 0}
    for split in load_data(str(folder)).splits.values():
        extract(split, tokens="timm:test_resnet", token_weights=weights, hflip=True, progress=False)
    written = sum(file.stat().st_size for file in (cache / "tokens").rglob("array.npy"))
    assert result["pictures"] == 11
    assert result["store_bytes"]["total"] <= written < result["store_bytes"]["total"] + 7 * 128


def test_pixels_that_are_kept_are_stored_and_decoded_once():
    plain = PRESETS["clip-finetune"]
    plain = replace(plain, data=replace(plain.data, tokens="clip-mini", guide=None))
    kept = replace(plain, data=replace(plain.data, keep_pixels=True))
    without, result = (estimate(FLICKR, config, device="cpu", workers=2) for config in (plain, kept))
    pictures = 29_000 + 1_014 + 1_000
    assert "pixels" not in without["store_bytes"] and "pixels" not in without["seconds"]
    assert result["store_bytes"]["pixels"] == pictures * 3 * 64 * 64 * 2
    assert result["seconds"]["pixels"] == round(pictures / 300)
    assert result["store_bytes"]["total"] - without["store_bytes"]["total"] == result["store_bytes"]["pixels"]


def test_an_unknown_hub_set_cannot_be_told():
    with pytest.raises(UserError, match="The cost of the hub's data set 'some/set' cannot be estimated"):
        estimate("some/set", PRESETS["clip-patches"])

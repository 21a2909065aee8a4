"""The cost of a run follows from one step on a few rows."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.data.copies import write_scan
from tests.reference.small import make_batch, small
from tests.reference.towers import write_encoder
from userlib.__main__ import main
from userlib.config import DataConfig
from userlib.data.estimate import estimate
from userlib.model.text_transformers import text_settings
from userlib.model.user import USER
from userlib.presets import preset
from userlib.training import cost, prepare

ROOT = Path(__file__).resolve().parents[2]
FLICKR = "umaru97/flickr30k_train_val_test"
PICTURES = 29_000 + 1_014 + 1_000


def test_a_larger_batch_costs_in_proportion():
    config = small(text="bag", pooling="mean", text_pooling="mean", queue_size=None)
    one, two = (cost.one_step(USER(config), make_batch(config, list(range(n)))) for n in (8, 16))
    assert 1.9 < two[0] / one[0] < 2.3  # the scores of a batch grow with its square
    assert 1.9 < two[1] / one[1] < 2.3


def test_operations_by_hand():
    """A bag of words, no enhancement: the projections and the scores, forward once and backward twice (once where
    the input needs no gradient).
    """
    config = small(text="bag", pooling="mean", text_pooling="mean", enhancement="none", queue_size=None)
    B, R, D, E = 4, config.regions, config.region_dim, config.embed_dim
    batch = make_batch(config, [0, 1, 2, 3], full=True)
    W, H = batch.input_ids.shape[1], config.word_width
    image = 2 * B * R * D * (E + E // 2) * 2 + 2 * B * R * (E // 2) * E * 3
    text = 2 * B * W * H * E * 3
    scores = 2 * B * B * E * 3
    operations, activations = cost.one_step(USER(config), batch)
    assert operations == image + text + scores
    assert activations > 4 * B * R * E


def test_the_paper_preset_counts_its_parameters(tmp_path, cache):
    folder = write_scan(tmp_path / "precomp", {"train": 30, "val": 2, "test": 2}, regions=36, width=2048)
    config = preset("paper-flickr30k")
    result = cost.training_cost(replace(config, data=replace(config.data, data=str(folder))))
    memory = result["gpu_memory_bytes"]
    assert memory["weights"] == memory["gradients"] == 4 * (12_085_225 + 109_691_808)
    assert memory["optimizer"] == 2 * memory["weights"]
    assert memory["momentum copies and queues"] > memory["weights"] + 2 * 2048 * 1024 * 4
    assert memory["training data"] == 30 * 36 * 2048 * 4
    assert result["steps"] == 20 * (150 // 128)
    assert memory["total"] == sum(memory.values()) - memory["total"]


def test_a_batch_in_parts_keeps_the_activations_of_one_part(tmp_path, cache):
    """What the smaller memory costs is a second forward pass of the queries: 5 in place of 4 passes. All else is as
    with whole batches.
    """
    folder = write_scan(tmp_path / "small", {"train": 30, "val": 2, "test": 2})
    plain = replace(
        preset("scenes"), data=replace(preset("scenes").data, data=str(folder), tokens="precomputed")
    )
    plain = replace(plain, training=replace(plain.training, batch_size=120))
    parts = replace(plain, training=replace(plain.training, micro_batch=40))
    whole, part = cost.training_cost(plain), cost.training_cost(parts)
    memory, smaller = whole.pop("gpu_memory_bytes"), part.pop("gpu_memory_bytes")
    assert smaller.pop("activations") == pytest.approx(memory.pop("activations") / 3, rel=1e-6)
    assert part["operations_a_step"] == pytest.approx(1.25 * whole["operations_a_step"], rel=1e-6)
    assert memory.pop("total") > smaller.pop("total") and memory == smaller


def test_a_step_with_soft_targets_is_counted(cache):
    """What teaches the captions is there, as it is in a run."""
    scenes = preset("scenes")
    taught = replace(
        scenes,
        data=replace(scenes.data, guide="clip-mini"),
        objective=replace(scenes.objective, soft_weight=0.1),
    )
    assert cost.training_cost(taught)["operations_a_step"] > 0


def test_words_next_to_a_text_network_are_as_many_as_it_knows(tmp_path, cache):
    """Its vocabulary is that of its own configuration, which may leave it at the default of its kind."""
    scenes = preset("scenes")
    counts = {}
    for size in (2_000, 30_522):  # the second is BERT's default
        folder = write_encoder(tmp_path / str(size), vocab_size=size)
        model = replace(
            scenes.model,
            text="hf",
            text_model=str(folder),
            word_residual=True,
            word_width=8,
        )
        counts[size] = cost.training_cost(replace(scenes, model=model))["gpu_memory_bytes"]["weights"]
    width = 8 + json.loads((tmp_path / "2000" / "config.json").read_text())["hidden_size"]
    assert counts[30_522] - counts[2_000] == 4 * (30_522 - 2_000) * width


def test_training_data_are_those_that_a_run_holds(tmp_path, cache):
    from userlib.data import resident

    folder = write_scan(tmp_path / "small", {"train": 30, "val": 2, "test": 2})
    config = replace(
        preset("scenes"), data=replace(preset("scenes").data, data=str(folder), tokens="precomputed")
    )
    scenes = {"sizes": {"train": 30, "val": 2, "test": 2}, "hflip": True, "guide": "clip-mini"}
    drawn = replace(preset("scenes"), data=replace(preset("scenes").data, **scenes, test_split=None))
    for one in (config, drawn):  # tokens of mirrored images and guides are held too
        held = resident.size_of(prepare(one, progress=False).train.features)
        assert cost.training_cost(one)["gpu_memory_bytes"]["training data"] == held


def test_the_dry_run_of_clip_patches_touches_no_network(tmp_path):
    """In a process of its own, with the guard that refuses and writes down every connection and look-up."""
    log = tmp_path / "network.txt"
    command = [sys.executable, "-m", "userlib", "train", "--preset", "clip-patches", "--data", FLICKR]
    environment = os.environ | {"USERLIB_NETWORK_LOG": str(log), "USERLIB_CACHE": str(tmp_path / "cache")}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [*command, "--dry-run"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not log.exists()
    assert not list((tmp_path).rglob("*.parquet")) and not (tmp_path / "cache" / "hub").exists()
    said = done.stdout
    assert f"data: {FLICKR}, 31,014 images" in said
    assert "images and captions: 4.30 GB" in said
    assert "weights of open_clip:ViT-B-32/laion2b_s34b_b79k: 0.61 GB" in said
    assert f"tokens: {PICTURES * 49 * 768 * 2 / 1e9:.2f} GB" in said
    assert "training: 11,320 steps" in said  # 10 epochs of 1,132
    assert "time, two CPU cores" in said and "time, one data-centre GPU" in said and "GPU memory" in said
    assert "Flickr owners" in said


def test_the_dry_run_as_json(tmp_path, cache, capsys):
    folder = write_scan(tmp_path / "small", {"train": 30, "val": 2, "test": 2})
    flags = [
        "--data",
        str(folder),
        "--set",
        "data.tokens=precomputed",
        "--set",
        "data.test_split=null",
        "--json",
    ]
    assert main(["train", "--batch-size", "150", *flags, "--dry-run"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pictures"] == 34 and document["download_bytes"] == {"total": 0}
    assert document["steps"] == 20
    for seconds in document["seconds"].values():
        assert seconds["total"] == sum(seconds.values()) - seconds["total"]


def test_the_total_time_counts_each_part_once(monkeypatch):
    parts = {
        "data": "here",
        "pictures": 3,
        "download_bytes": {},
        "store_bytes": {},
        "memory_bytes": {},
        "terms": "-",
    }
    monkeypatch.setattr(
        cost, "estimate", lambda *_, **__: {**parts, "seconds": {"images": 4, "tokens": 6, "total": 10}}
    )
    trained = {"steps": 2, "seconds": {"cpu": 7, "cuda": 1}, "gpu_memory_bytes": {}}
    monkeypatch.setattr(cost, "training_cost", lambda config: trained)
    seconds = cost.run_cost(preset("scenes"))["seconds"]
    assert seconds["cpu"] == {"images": 4, "tokens": 6, "training": 7, "total": 17}
    assert seconds["cuda"]["total"] == 11


def test_a_preset_without_data_says_so(capsys):
    assert main(["train", "--preset", "paper-flickr30k", "--dry-run"]) == 2
    assert "There is no data set 'path/to/features'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "seconds, words",
    [(0, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (8000, "2 hours"), (2e5, "2 days")],
)
def test_durations(seconds, words):
    assert cost._duration(seconds) == words


def test_a_text_encoder_of_the_hub_is_part_of_the_download(tmp_path):
    """By the sizes of its configuration; one that lends words alone is not asked for, and said to be unknown."""
    paper = preset("paper-flickr30k").model
    assert cost.text_bytes(paper) == 4 * 108_891_648  # BERT base without its pooler
    folder = write_encoder(tmp_path / "roberta", "roberta")
    roberta = replace(small(text="hf", text_model="owner/roberta"), **text_settings(str(folder)))
    size = cost.text_bytes(roberta)
    stored = load_file(folder / "model.safetensors")
    assert size == 4 * sum(value.numel() for name, value in stored.items() if "pooler" not in name)
    for model in (small(), replace(roberta, text_model=str(folder))):
        assert cost.text_bytes(model) == 0
    assert (
        cost.text_bytes(preset("photos-text").model) == 90_261_504
    )  # as its text_config says, without the network
    photos, name = preset("photos"), "owner/encoder"
    words = replace(photos, model=replace(photos.model, text_model=name))
    assert cost.text_bytes(words.model) is None
    words = replace(words, data=DataConfig(data="scenes", sizes={"train": 2, "val": 2, "test": 2}))
    for known, said in ((size, "5 bytes"), (None, "unknown")):
        told = estimate("scenes", words, device="cpu", text_bytes=known)["download_bytes"]
        assert told == {f"weights of {name}": known, "total": known or 0}
        assert cost._lines("download", told, lambda number: "5 bytes" if number else "0")[1:] == [
            f"    weights of {name}: {said}"
        ]

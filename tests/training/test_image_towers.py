"""An image tower trained from pixels: what learns, what a step draws, resume, search, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.copies import picture, write_backbone, write_clip, write_hub
from tests.reference.runs import run_config, words
from userlib.__main__ import main
from userlib.data.extractors import make_extractor
from userlib.data.pixels import Pixels, random_box, to_input, tower_settings
from userlib.errors import UserError
from userlib.model.image_towers import ImageTower
from userlib.model.user import USER, load_model
from userlib.search.encoders import CheckpointEncoder
from userlib.training import fit, prepare
from userlib.training.cost import training_cost
from userlib.training.schedule import batches

COUNTS = {"train": 10, "val": 6, "test": 5}


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    root = tmp_path_factory.mktemp("towers")
    return {
        "timm": {"tokens": "timm:test_resnet", "token_weights": str(write_backbone(root / "timm"))},
        "clip": {"tokens": f"open_clip:local-dir:{write_clip(root / 'clip')}"},
    }


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return write_hub(tmp_path_factory.mktemp("hub"), COUNTS)


def config_for(hub, tower, *, how="all", data=None, model=None, **training):
    """Four steps, an evaluation after every second one."""
    settings = {"steps": 4, "evaluate_every": 0.3, **training}
    return run_config(
        hub,
        data={**tower, "workers": 0, **(data or {})},
        model={"train_image": how, **(model or {})},
        **settings,
    )


@pytest.mark.parametrize("name", ["timm", "clip"])
def test_a_tower_gives_the_tokens_of_its_extractor(name, towers):
    """Also of an image that is not of its size: cut, scaled and normalised as for cached tokens."""
    spec, weights = towers[name]["tokens"], towers[name].get("token_weights")
    settings = tower_settings(spec, weights)
    tower = ImageTower(json.dumps(settings), "all").eval()
    tower.load(spec, weights)
    extractor, images = make_extractor(spec, weights=weights), [picture(1), picture(2, (37, 90))]
    tokens, guide = extractor(images)
    pixels = torch.from_numpy(Pixels(settings, images)[:])
    with torch.no_grad():
        torch.testing.assert_close(tower(pixels), tokens, atol=1e-4, rtol=1e-4)
        if guide is not None:
            own = torch.nn.functional.normalize(tower.vector(pixels), dim=1)
            torch.testing.assert_close(own, guide, atol=1e-5, rtol=1e-4)
    assert (tower.regions, tower.width) == tuple(tokens.shape[1:])


def test_a_tower_learns_in_bf16_from_parts_of_a_batch(towers, hub, cache):
    """The second forward pass of gradient caching computes attention as the first did."""
    config = config_for(hub, towers["clip"], precision="bf16")
    losses = []
    for micro_batch in (None, config.training.batch_size // 2):
        training = replace(config.training, micro_batch=micro_batch)
        run = fit(prepare(replace(config, training=training), progress=False), progress=False)
        losses.append(run.history["loss"].to_numpy())
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name, how", [("timm", "all"), ("clip", "lora"), ("clip", "last:1")])
def test_a_tower_learns_and_its_copy_follows(name, how, towers, hub, cache):
    """Resume is bit-equal, the start is the extractor's weights, what is frozen stays, the key encoder moves."""
    prepared = prepare(config_for(hub, towers[name], how=how, data={"hflip": True}), progress=False)
    out = cache / "parts"
    start = fit(prepared, stop_at=0, progress=False).model
    reference = ImageTower(prepared.config.model.image_tower, how)
    reference.load(prepared.config.data.tokens, prepared.config.data.token_weights)
    for key, value in reference.state_dict().items():
        if ".lora_" not in key:  # drawn at random
            assert torch.equal(start.image_encoder.tower.state_dict()[key], value), key
    whole = fit(prepared, progress=False).model
    fit(prepared, out=out, stop_at=3, progress=False)
    resumed = fit(prepared, out=out, resume=True, progress=False).model
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    copied = dict(whole.image_momentum_encoder.encoder.tower.named_parameters())
    moved = 0
    for key, value in whole.image_encoder.tower.named_parameters():
        same = torch.equal(value, dict(start.image_encoder.tower.named_parameters())[key])
        assert value.requires_grad or same, key
        moved += not same and not torch.equal(
            copied[key], dict(start.image_encoder.tower.named_parameters())[key]
        )
    assert moved > 0
    buffers = dict(start.image_encoder.tower.named_buffers())  # BatchNorm keeps its statistics
    assert all(torch.equal(value, buffers[key]) for key, value in whole.image_encoder.tower.named_buffers())


def test_the_tower_has_a_rate_of_its_own(towers, hub, cache):
    prepared = prepare(config_for(hub, towers["timm"], image_lr_scale=0.0, weight_decay=0.0), progress=False)
    start, run = (fit(prepared, stop_at=steps, progress=False).model for steps in (0, 2))
    for key, value in run.image_encoder.tower.state_dict().items():
        assert torch.equal(value, start.image_encoder.tower.state_dict()[key]), key
    assert not torch.equal(
        run.image_encoder.projection.linear.weight, start.image_encoder.projection.linear.weight
    )


def test_the_time_told_is_that_of_decoding_where_it_takes_longer(towers, hub, cache):
    """Two processes read and decode 150 images a second each on a CPU, and eight next to a GPU; kept pixels are
    decoded once.
    """
    config = config_for(hub, towers["timm"], steps=100_000)
    decoded = training_cost(config)
    kept = training_cost(replace(config, data=replace(config.data, keep_pixels=True)))
    images = 100_000 * config.training.batch_size
    assert decoded["seconds"] == {"cpu": round(images / 300), "cuda": round(images / 1200)}
    assert all(kept["seconds"][device] < decoded["seconds"][device] for device in ("cpu", "cuda"))
    assert decoded["gpu_memory_bytes"]["training data"] == 0  # a batch comes when it is needed


def test_workers_make_the_same_batches(towers, hub, cache):
    """The same pixels, captions and masks whoever makes them; drawn again at each step, and kept pixels likewise."""
    config = config_for(hub, towers["clip"], data={"hflip": True})
    prepared = prepare(config, progress=False)
    alone = list(batches(prepared, 0, 4, 0, 1))
    by_two = replace(prepared, config=replace(config, data=replace(config.data, workers=2)))
    for one, other in zip(alone, batches(by_two, 0, 4, 0, 1), strict=True):
        assert one.tokens.dtype == torch.uint8 and one.tokens.shape == (8, 3, 32, 32)
        for name, value in vars(one).items():
            assert value is None or torch.equal(value, getattr(other, name)), name
        assert one.token_mask.shape == (8, 4)  # region_mask_prob masks tokens, not colours
    assert not torch.equal(alone[0].tokens, alone[1].tokens)
    kept = prepare(replace(config, data=replace(config.data, keep_pixels=True)), progress=False)
    assert torch.equal(kept.val._read(np.arange(3), None)[0], prepared.val._read(np.arange(3), None)[0])
    assert next(iter(batches(kept, 0, 1, 0, 1))).tokens.float().std() > 10
    assert kept.train.pixels().kept is not None and prepared.train.pixels().kept is None


def test_crops_and_mirrors():
    """Every crop keeps its share and stays inside; the parts and directions differ; without both nothing changes."""
    rng = np.random.default_rng(0)
    boxes = np.array([random_box((200, 100), rng, 0.5) for _ in range(300)])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 20_000
    assert areas.min() >= 0.5 - 1e-9 and areas.max() <= 1.0 and np.quantile(areas, 0.9) > 0.8
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 200 and boxes[:, 3].max() <= 100
    wide, high = (boxes[:, 2] - boxes[:, 0]) / 200, (boxes[:, 3] - boxes[:, 1]) / 100
    aspects = wide / high
    assert 0.74 < aspects.min() < 0.85 and 1.2 < aspects.max() < 1.34
    for start, size in (
        (boxes[:, 0] / 200, wide),
        (boxes[:, 1] / 100, high),
    ):  # anywhere, and at no edge more often
        free = size < 0.99
        assert np.quantile(start[free] / (1 - size[free]), [0.1, 0.5, 0.9]) == pytest.approx(
            [0.1, 0.5, 0.9], abs=0.12
        )
    ramp = Image.fromarray(np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))).convert("RGB")
    settings = {
        "input_size": [3, 48, 48],
        "resize": "squash",
        "interpolation": "bicubic",
        "tokens": {"shape": [1, 1]},
    }
    pixels = Pixels(settings, [ramp])
    rows = np.zeros(40, dtype=int)
    plain = pixels.drawn(rows, rng, crop=1.0, hflip=False)
    assert (plain == np.array(ramp).transpose(2, 0, 1)).all()
    rising = [int(one[0, 0, -1]) > int(one[0, 0, 0]) for one in pixels.drawn(rows, rng, crop=1.0, hflip=True)]
    assert 8 < sum(rising) < 32
    cropped = pixels.drawn(rows, rng, crop=0.3, hflip=False)
    assert len({one.tobytes() for one in cropped}) > 30
    assert all(int(one[0, 0, -1]) > int(one[0, 0, 0]) for one in cropped)


def test_the_middle_of_an_image_is_read():
    settings = {"input_size": [3, 10, 10], "resize": "shortest", "interpolation": "bicubic"}
    wide = Image.fromarray(np.tile(np.arange(0, 40, dtype=np.uint8), (20, 1)))
    middle = np.asarray(to_input(wide, settings))
    assert middle.shape == (10, 10) and middle.min() >= 9 and middle.max() <= 30


@pytest.mark.parametrize("side", [(24, 8), (8, 24), (10, 10)])
@pytest.mark.parametrize("size", [(30, 20), (20, 30), (50, 50), (90, 11)])
def test_an_input_of_any_shape_is_covered_as_open_clip_does(side, size):
    from open_clip.transform import image_transform

    image = picture(3, size)
    settings = {"input_size": [3, *side], "resize": "shortest", "interpolation": "bicubic"}
    own = image_transform(side, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode="shortest")
    wanted = (own(image) * 255).round().numpy().astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(to_input(image, settings)).transpose(2, 0, 1), wanted)


def test_from_the_command_to_a_search(towers, hub, tmp_path, cache, capsys):
    """The trained tower is in the checkpoint: evaluate and search read it from there, the weights' file is gone."""
    config = config_for(hub, towers["timm"], steps=2, model={"enhancement": "sge+cge"},
                        data={"guide": towers["clip"]["tokens"], "workers": 1})  # fmt: skip
    out = tmp_path / "run"
    assert main(words(config, tmp_path / "c.json", out, "--train-image", "last:1")) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["config"]["model"]["train_image"] == "last:1"
    assert main(["evaluate", "--checkpoint", str(out), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)["tables"]["model"]["rsum"][0]
    assert scored == pytest.approx(trained["report"]["metrics"]["rsum"][0])
    encoder = CheckpointEncoder(out)
    prepared = prepare(config_for(hub, towers["timm"], model={"enhancement": "sge+cge"},
                                  data={"guide": towers["clip"]["tokens"]}), progress=False)  # fmt: skip
    images = [prepared.val.split.pictures[i] for i in range(3)]
    tokens, mask, guide = prepared.val._read(np.arange(3), None)
    with torch.no_grad():
        wanted = load_model(out).model.encode_image(tokens, mask, guide).numpy()
    np.testing.assert_allclose(encoder.encode_image(images), wanted, atol=1e-5)


def test_the_towers_own_vectors(towers, hub, cache):
    """clip-finetune in small: no regions, no heads; before the first step it is the model zero-shot."""
    from userlib.search.encoders import OpenClipEncoder

    name = towers["clip"]["tokens"]
    model = {"pooling": "tower", "text_pooling": "tower", "text": "clip", "text_model": name, "text_width": 16,
             "enhancement": "none", "embed_dim": 12}  # fmt: skip
    prepared = prepare(config_for(hub, towers["clip"], model=model, region_mask_prob=0.0), progress=False)
    start = fit(prepared, stop_at=0, progress=False).model.eval()
    zero_shot = OpenClipEncoder(name)
    images = [prepared.val.split.pictures[i] for i in range(4)]
    texts = list(prepared.val.split.captions[:4])
    with torch.no_grad():
        got = start.encode_image(prepared.val._read(np.arange(4), None)[0])
        said = start.encode_text(*prepared.val.words(np.arange(4)))
    np.testing.assert_allclose(got, zero_shot.encode_image(images), atol=1e-4)
    np.testing.assert_allclose(said, zero_shot.encode_text(texts), atol=1e-4)
    run = fit(prepared, progress=False)
    assert np.isfinite(run.rows[-1]["loss"])
    for part, setting in (
        ("model", "region_channel_dropout"),
        ("model", "text_dropout"),
        ("model", "embed_dropout"),
        ("training", "region_mask_prob"),
    ):  # such a configuration can still be read, as one that was stored
        changed = replace(getattr(prepared.config, part), **{setting: 0.1})
        unused = replace(prepared, config=replace(prepared.config, **{part: changed}))
        with pytest.raises(
            UserError, match=f"{part}.{setting} is 0.1 and .*pooling 'tower'; it has no effect"
        ):
            fit(unused, progress=False)
    with pytest.raises(
        UserError, match="own vector has 12 dimensions and embed_dim is 16; set model.embed_dim 12"
    ):
        USER(replace(prepared.config.model, embed_dim=16))


@pytest.mark.parametrize("pooling", ["gpo", "tower"])
def test_the_baseline_next_to_a_trained_tower(pooling, towers, hub, tmp_path, cache, capsys):
    """It reads the tokens of the network as it was before, and says so."""
    model = {"pooling": pooling, **({"enhancement": "none", "embed_dim": 12} if pooling == "tower" else {})}
    data = {"test_split": "test"}
    prepared = prepare(
        config_for(hub, towers["clip"], data=data, model=model, region_mask_prob=0.0), progress=False
    )
    fit(prepared, out=tmp_path / "run", progress=False)
    capsys.readouterr()
    words = ["evaluate", "--checkpoint", str(tmp_path / "run"), "--baseline", "cca", "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"model", "cca", "model - cca"} <= set(document["tables"])
    note = f"the baseline reads tokens of {towers['clip']['tokens']} as it was before the training."
    assert note in document["notes"]


def test_what_cannot_be_is_refused(towers, hub, tmp_path, cache):
    with pytest.raises(UserError, match="tokens 'precomputed'; a tower is trained from pixels"):
        config_for(hub, {"tokens": "precomputed"})
    with pytest.raises(UserError, match="train_image is 'some'; it must be none, last:N"):
        config_for(hub, towers["timm"], how="some")
    with pytest.raises(UserError, match="no linear layer. Use last:1"):
        USER(prepare(config_for(hub, towers["timm"], how="lora"), progress=False).config.model)
    with pytest.raises(UserError, match="pooling is 'tower', train_image 'none'"):
        config_for(hub, towers["clip"], how="none", model={"pooling": "tower", "enhancement": "none"})
    with pytest.raises(UserError, match="text_pooling is 'tower', text 'gru'"):
        config_for(hub, towers["clip"], model={"text_pooling": "tower"})
    with pytest.raises(UserError, match="random_crop is 0; it must lie between 0.01 and 1"):
        config_for(hub, towers["timm"], random_crop=0)
    from tests.data.copies import write_scan

    features = config_for(write_scan(tmp_path / "scan", COUNTS), towers["timm"])
    with pytest.raises(UserError, match="has no images to train a tower from"):
        prepare(features, progress=False)


@pytest.mark.parametrize(
    "key, value", [("input_size", [3, 16, 16]), ("resize", "squash"), ("interpolation", "bilinear")]
)
def test_kept_pixels_are_known_by_how_they_are_made(key, value):
    """Else pixels that were scaled otherwise would be read from the cache."""
    settings = {"input_size": [3, 8, 8], "resize": "shortest", "interpolation": "bicubic"}
    one, same, other = (
        make_extractor(f"pixels:{json.dumps(each)}").cache_key()
        for each in (settings, dict(settings), {**settings, key: value})
    )
    assert one == same != other

"""Real photos in the hub's schema, where USERLIB_PHOTOS names them: from file to batch."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.copies import write_backbone, write_clip
from userlib.data.captions import CaptionDataset
from userlib.data.sources import load_data
from userlib.data.tokenizers import make_tokenizer
from userlib.data.tokens import extract
from userlib.evaluation import embed, ranks, recalls
from userlib.presets import preset
from userlib.training import fit, prepare

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(photos):
    return load_data(str(photos))


def test_splits_have_five_captions_a_picture(data):
    for split in data.splits.values():
        assert len(split.captions) == 5 * len(split)
        assert (np.bincount(split.caption_to_image) == 5).all()
        assert split.pictures[len(split) - 1].mode == "RGB"
    assert not set(data.split("train").ids) & set(data.split("val").ids)


def test_tokens_of_the_imagenet_network(data, photos, cache):
    """Mean .77 and 72 % zeros in the whole set; non-negative, because the network ends in ReLU6."""
    weights = next(photos.glob("*.safetensors"), None)
    if weights is None:
        pytest.skip("the folder holds no weights")
    split = data.split("val").select(np.arange(40), "part")
    features = extract(split, tokens="timm:mobilenetv1_100", token_weights=weights, progress=False)
    tokens = features.tokens[:].astype(np.float32)
    assert tokens.shape == (40, 49, 1024)
    assert features.grid == (7, 7)
    assert tokens.min() >= 0
    assert tokens.max() <= 6
    assert abs(tokens.mean() - 0.77) < 0.1
    assert abs((tokens == 0).mean() - 0.72) < 0.04


def test_a_guide_from_an_open_clip_model(data, tmp_path, cache):
    clip = f"open_clip:local-dir:{write_clip(tmp_path / 'clip')}"
    split = data.split("val").select(np.arange(8), "part")
    features = extract(split, tokens=clip, guide=clip, hflip=True, progress=False)
    pairs = CaptionDataset(
        split, features, make_tokenizer("words", data.split("train").captions, min_count=2)
    )
    batch = pairs.batch(np.arange(40), rng=np.random.default_rng(0), caption_augment_prob=0.2)
    assert batch.tokens.shape == (40, 4, 32)
    torch.testing.assert_close(batch.guide.norm(dim=1), torch.ones(40))
    assert batch.image_ids.tolist() == [i for i in range(8) for _ in range(5)]


def test_clip_guided_enhancement_takes_five_steps_on_photos(photos, tmp_path, cache):
    """From pixels: tokens of one network, the guide of an open_clip model, CGE, loss, table."""
    clip = f"open_clip:local-dir:{write_clip(tmp_path / 'clip')}"
    weights = write_backbone(tmp_path / "backbone")
    base = preset("scenes")
    config = replace(
        base,
        data=replace(
            base.data,
            data=str(photos),
            sizes={"train": 40, "val": 20},
            tokens="timm:test_resnet",
            token_weights=str(weights),
            guide=clip,
            val_split="train:10",
            test_split="val",
        ),
        model=replace(
            base.model, enhancement="cge", embed_dim=32, text_width=32, word_width=16, queue_size=64
        ),
        training=replace(base.training, steps=5, batch_size=16, warmup=0.0, precision="fp32"),
    )
    prepared = prepare(config, progress=False)
    norms = np.linalg.norm(np.asarray(prepared.train.features.guide), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-5)
    before = fit(prepared, stop_at=0, progress=False).model.image_encoder.state_dict()
    run = fit(prepared, progress=False)
    assert run.finished and run.rows[-1]["step"] == 5 and np.isfinite(run.rows[-1]["loss"])
    after = run.model.image_encoder.state_dict()
    moved = [name for name in after if "enhancement" in name and not torch.equal(before[name], after[name])]
    assert (
        any("log_scale" in name for name in moved) and len(moved) > 4
    )  # the guide's own layers and its strength
    attention = run.encoders.attention(*next(prepared.test.image_batches(4)))
    assert attention["clip"].shape == (4, 4) and "self" not in attention
    images, captions = embed(run.encoders, prepared.test)
    assert images.shape == (20, 32) and captions.shape == (100, 32)
    assert 0 <= recalls(ranks(images, captions, prepared.test.caption_to_image)).rsum <= 600


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")
def test_extraction_takes_little_memory_beyond_the_model(photos, tmp_path, cache):
    """The same program with ViT-B/32 and more images: python tests/soak/extraction_memory.py."""
    clip = f"open_clip:local-dir:{write_clip(tmp_path / 'clip')}"
    command = [sys.executable, "tests/soak/extraction_memory.py", str(photos), "--pictures", "320"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--tokens", clip, "--workers", "8"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["pictures"] == 320 and document["workers"] == 8
    assert document["beyond_the_model_gb"] < 0.6

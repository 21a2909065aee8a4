"""Every model, loss and queue once on the meta device: a tensor made on the wrong device fails there without a
GPU. Also the parameters that the paper presets count, which meta tensors give for nothing.
"""

from dataclasses import replace

import pytest
import torch

from tests.reference.small import make_batch, small
from userlib.config import OBJECTIVES, ObjectiveConfig, preset
from userlib.data import clip
from userlib.model.encoders import ImageEncoder, TextEncoder
from userlib.model.momentum import MomentumEncoder
from userlib.model.objectives import batch_loss, queue_loss
from userlib.model.queues import DualQueue
from userlib.model.user import USER

TINY_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1},
}
BERT = {"text": "bert", "text_width": 8, "text_heads": 2}
MODELS = {
    **{f"enhancement {kind}": {"enhancement": kind} for kind in ("none", "sge", "cge", "sge+cge")},
    **{f"pooling {kind}": {"pooling": kind, "text_pooling": kind} for kind in ("mean", "max", "gpo")},
    "norm batch": {"norm": "batch", "enhancement": "sge+cge", "strength": 1.0},
    "controls": {"add_guide": True, "region_scaling": "standard", "text_enhancement": "sge"},
    "bag of words": {"text": "bag"},
    "words beside the GRU": {"word_skip": True},
    "bert": BERT,
    "clip": {"text": "clip", "text_model": "tiny", "text_width": 16},
    "no queue": {"queue_size": None},
    "momentum positives": {"queue_size": 0},
    "queue smaller than a batch": {"queue_size": 3},
}


@pytest.fixture
def tiny_clip(monkeypatch):
    """An open_clip model of a few thousand weights under the name "tiny"."""

    def build(name):
        from open_clip.model import CLIP

        return CLIP(**TINY_CLIP)

    monkeypatch.setattr(clip, "bare_clip", build)
    monkeypatch.setattr(clip, "load_clip", lambda name: (build(name), None))


MASKED = ("enhancement sge+cge", "pooling mean", "pooling max", "pooling gpo")


@pytest.mark.parametrize("name, masked", [(m, False) for m in MODELS] + [(m, True) for m in MASKED])
def test_a_model_trains_and_evaluates_on_the_meta_device(name, masked, tiny_clip):
    config = small(**MODELS[name])
    with torch.device("meta"):
        model = USER(config)
    batch = make_batch(config, [0, 1, 2, 3], mask=masked).to("meta")
    for _ in range(2):
        output = model(batch)
    assert output.loss.is_meta and output.loss.shape == ()
    assert output.images.shape == output.texts.shape == (4, config.embed)
    output.loss.backward()
    model.eval()
    assert model.encode_image(batch.tokens, batch.token_mask, batch.guide).is_meta
    attention = model.attention(batch.tokens, batch.token_mask, batch.guide)
    assert all(a.is_meta and a.shape == (4, config.regions) for a in attention.values())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_on_the_meta_device(name):
    config = ObjectiveConfig(name=name)
    scores = torch.randn(4, 4, device="meta", requires_grad=True)
    ids = torch.arange(4, device="meta")
    loss_b = batch_loss(config, scores, ids)
    queue = DualQueue(5, 3).to("meta")
    keys = torch.randn(7, 3, device="meta")
    queue.enqueue(keys, keys, torch.arange(7, device="meta"))
    negatives = keys[:4] @ queue.texts.t()
    loss_q = queue_loss(config, scores[0], scores[1], negatives, negatives, queue.excluded(ids))
    assert loss_b.is_meta and loss_q.is_meta
    (loss_b + loss_q).backward()


def test_a_momentum_copy_on_the_meta_device():
    config = small()
    with torch.device("meta"):
        encoder = ImageEncoder(config)
    copied = MomentumEncoder(encoder)
    copied.follow(encoder, 0.9)
    copied.start(encoder)
    assert copied(make_batch(config, [0, 1]).to("meta").tokens).is_meta


@pytest.mark.parametrize("name", ["paper-flickr30k", "paper-coco"])
def test_live_parameters_of_the_paper_presets(name):
    config = replace(preset(name).model, vocab_size=30522)
    with torch.device("meta"):
        image, text = ImageEncoder(config), TextEncoder(config)
    count = lambda module: sum(p.numel() for p in module.parameters())
    assert count(image.enhancement) == 8_398_921
    assert count(image) == 12_085_225
    assert count(text) == 109_691_808

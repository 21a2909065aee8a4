"""Every model, loss and queue makes its tensors where its inputs are: a call that leaves the device out would fail on a
GPU, and is found here without one. Also the parameters that the paper presets count.
"""

from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.reference.small import make_batch, small
from userlib.config import ObjectiveConfig
from userlib.data import clip
from userlib.model import pooling, text_networks
from userlib.model.bigru import padded_bigru
from userlib.model.encoders import ImageEncoder, TextEncoder
from userlib.model.objective import batch_loss, queue_loss
from userlib.model.queue import DualQueue
from userlib.model.user import USER
from userlib.presets import preset
from userlib.rules import OBJECTIVES

TINY_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1},
}
MODELS = {
    **{f"enhancement {kind}": {"enhancement": kind} for kind in ("none", "sge", "cge", "sge+cge")},
    **{f"pooling {kind}": {"pooling": kind, "text_pooling": kind} for kind in ("mean", "max", "gpo")},
    "norm batch": {"norm": "batch", "enhancement": "sge+cge", "residual_scale": 1.0},
    "controls": {"add_guide": True, "region_scaling": "standard", "text_enhancement": "sge"},
    "bag of words": {"text": "bag"},
    "words beside the GRU": {"word_residual": True},
    "bert": {"text": "bert", "text_width": 8, "text_heads": 2},
    "clip": {"text": "clip", "text_model": "tiny", "text_width": 16},
    "esa and views": {"pooling": "esa", "text_pooling": "views"},
    "graph and route": {"enhancement": "graph", "text_enhancement": "route"},
    "concepts": {"enhancement": "concepts", "text_enhancement": "concepts"},
    **{f"scorer {kind}": {"scorer": kind} for kind in ("chan", "scan-t2i", "scan-i2t", "naaf")},
    "no queue": {"queue_size": None},
    "momentum positives": {"queue_size": 0},
    "queue smaller than a batch": {"queue_size": 3},
}
FACTORIES = {
    getattr(torch, name): name
    for name in "arange empty eye full linspace ones rand randint randn randperm tensor zeros".split()
}


class NamesTheDevice(TorchFunctionMode):
    """Collects calls of userlib that make a tensor without saying where."""

    def __init__(self):
        super().__init__()
        self.silent = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in FACTORIES and kwargs.get("device") is None:
            import traceback

            frames = [f for f in traceback.extract_stack() if "/userlib/" in f.filename.replace("\\", "/")]
            last = traceback.extract_stack()[-2]
            if frames and frames[-1].filename == last.filename:
                self.silent.append(f"{last.filename}:{last.lineno} torch.{FACTORIES[function]}")
        return function(*args, **kwargs)


@pytest.fixture
def tiny_clip(monkeypatch):
    """An open_clip model of a few thousand weights under the name "tiny"."""

    def build(name):
        from open_clip.model import CLIP

        return CLIP(**TINY_CLIP)

    monkeypatch.setattr(clip, "bare_clip", build)
    monkeypatch.setattr(clip, "load_clip", lambda name: (build(name), None))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """The ways that a GPU takes: torch's own recurrent network and sort in place of the kernels for CPUs."""

    for module in (text_networks, pooling):
        monkeypatch.setattr(module, "bigru", padded_bigru)
    monkeypatch.setattr(pooling, "descending", torch_sort)


def torch_sort(vectors, mask):
    from userlib.model.sorting import descending

    return descending(vectors.double(), mask).float()  # float64 goes the way of a GPU


MASKED = (
    "esa and views",
    "graph and route",
    "scorer naaf",
    "enhancement sge+cge",
    "pooling mean",
    "pooling max",
    "pooling gpo",
)


@pytest.mark.parametrize("name, masked", [(m, False) for m in MODELS] + [(m, True) for m in MASKED])
def test_a_model_trains_and_evaluates_where_its_batch_is(name, masked, tiny_clip, as_on_a_gpu):
    config = small(**MODELS[name])
    model = USER(config)
    batch = make_batch(config, [0, 1, 2, 3], mask=masked)
    with NamesTheDevice() as calls:
        for _ in range(2):
            output = model(batch)
        output.loss.backward()
        model.eval()
        encoded = model.encode_image(batch.tokens, batch.token_mask, batch.guide)
        attention = model.attention(batch.tokens, batch.token_mask, batch.guide)
    assert calls.silent == []
    assert output.loss.shape == () and encoded.shape == output.texts.shape == (4, config.embed_dim)
    assert all(a.shape == (4, config.regions) for a in attention.values())


def test_a_call_without_a_device_is_found(monkeypatch):
    """The check itself: a queue that counts its slots without saying where."""
    queue = DualQueue(5, 3)
    source = "def slots(count):\n    import torch\n    return torch.arange(count)\n"
    room = {}
    exec(compile(source, "/somewhere/userlib/model/wrong.py", "exec"), room)
    with NamesTheDevice() as calls:
        room["slots"](3)
        queue.enqueue(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([1, 2]))
    assert calls.silent == ["/somewhere/userlib/model/wrong.py:3 torch.arange"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_make_their_tensors_where_the_scores_are(name):
    config = ObjectiveConfig(name=name)
    scores, ids = torch.randn(4, 4, requires_grad=True), torch.arange(4)
    queue, keys = DualQueue(5, 3), torch.randn(7, 3)
    with NamesTheDevice() as calls:
        loss_b = batch_loss(config, scores, ids)
        queue.enqueue(keys, keys, ids.new_tensor(range(7)))
        negatives = keys[:4] @ queue.texts.t()
        loss_q = queue_loss(config, scores[0], scores[1], negatives, negatives, queue.ignore_mask(ids))
        (loss_b + loss_q).backward()
    assert calls.silent == []


@pytest.mark.parametrize("name", ["paper-flickr30k", "paper-coco"])
def test_live_parameters_of_the_paper_presets(name):
    config = replace(preset(name).model, vocab_size=30522)
    with torch.device("meta"):
        image, text = ImageEncoder(config), TextEncoder(config)
    count = lambda module: sum(p.numel() for p in module.parameters())
    assert count(image.enhancement) == 8_398_921
    assert count(image) == 12_085_225
    assert count(text) == 109_691_808

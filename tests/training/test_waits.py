"""A training step never makes the host wait for the device, except where a number is shown; its memory stays flat."""

import gc
from dataclasses import replace

import psutil
import pytest
import torch

from tests.data.copies import write_clip
from tests.model.test_devices import as_on_a_gpu  # noqa: F401 - a fixture
from tests.reference.runs import run_config, write_learnable
from tests.reference.small import make_batch
from tests.reference.towers import KINDS, OWN_MASKS, write_encoder
from tests.reference.watch import Waits
from userlib.presets import PRESETS, preset
from userlib.training import loop, prepare
from userlib.training.loop import Trainer

SMALL = {"regions": 5, "region_dim": 8, "embed_dim": 12, "text_layers": 1, "queue_size": 16, "word_width": 8}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(
        run_config(write_learnable(tmp_path_factory.mktemp("data"), regions=5, width=8)), progress=False
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(write_clip(tmp_path_factory.mktemp("clip")))


def trainer_of(prepared, config):
    """A trainer at the start of a run of that configuration, and what a step of it takes."""
    config = replace(config, training=replace(config.training, steps=100, precision="fp32", batch_size=8))
    trainer = Trainer(replace(prepared, config=config), None)
    trainer.train(None, 0, False)
    return trainer


def waits_of(trainer, batches):
    """What the host waited for in the second and third of three steps, and what it then looked at."""
    for number, batch in enumerate(batches):
        with Waits() as seen:
            output = trainer.step(batch)
            trainer.note(output.loss.detach())
            trainer.look(output, type("Never", (), {"requested": False})(), now=False)
        if number:
            assert seen.found == [], seen.found


def small_preset(name, clip):
    """The preset at small widths, its towers from what the tests have."""
    config = preset(name)
    model = {**SMALL, "guide_dim": 6, "vocab_size": 30, "momentum": 0.9, "text_width": 12}
    if config.model.text == "bert":
        model |= {"text_model": None, "text_width": 12, "text_heads": 2, "text_layers": 2}
    if config.model.text == "clip":
        model |= {"text_model": f"local-dir:{clip}", "text_width": 16, "vocab_size": 49408}
    if config.model.init == "cca":
        model |= {"init": "random", "text_model": model.get("text_model")}
    if config.model.principal_dim is not None:
        model |= {"principal_dim": 4}
    data = replace(config.data, vocabulary=None)
    return replace(config, data=data, model=replace(config.model, **model))


@pytest.mark.parametrize("name", [name for name in PRESETS if preset(name).model.train_image == "none"])
def test_no_preset_makes_the_host_wait(name, prepared, clip, as_on_a_gpu, monkeypatch):  # noqa: F811
    config = small_preset(name, clip)
    monkeypatch.setattr(loop.USER, "init_from_data", lambda *given: None)
    trainer = trainer_of(prepared, config)
    masked = config.training.region_mask_prob > 0
    batches = [make_batch(config.model, range(i, i + 8), seed=i, mask=masked) for i in range(3)]
    waits_of(trainer, batches)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OWN_MASKS])
def test_no_text_encoder_makes_the_host_wait(kind, prepared, tmp_path, as_on_a_gpu):  # noqa: F811
    folder = str(write_encoder(tmp_path / kind, kind))
    model = replace(prepared.config.model, text="hf", text_model=folder, text_config=None, vocab_size=60)
    trainer = trainer_of(prepared, replace(prepared.config, model=model))
    config = replace(trainer.config.model, guide_dim=6)
    waits_of(trainer, [make_batch(config, range(i, i + 8), seed=i) for i in range(3)])


def test_a_wait_is_found():
    with Waits() as seen:
        x = torch.arange(4.0)
        float(x.sum()), x[x > 1], x.unique()
    assert {one.split()[0] for one in seen.found} >= {"_local_scalar_dense", "index", "_unique2"}


def test_what_a_step_holds_stays_flat(prepared):
    """80 steps: no graph is kept, and no step's megabyte of activations is left behind."""
    model = replace(prepared.config.model, embed_dim=256, text="bag")
    trainer, held = trainer_of(prepared, replace(prepared.config, model=model)), []
    config = replace(trainer.config.model, guide_dim=6, regions=40)
    batches = [make_batch(config, range(8), seed=seed) for seed in range(3)]
    for step in range(80):
        output = trainer.step(batches[step % 3])
        assert output.images.grad_fn is output.texts.grad_fn is output.batch_loss.grad_fn is None
        del output
        if step in (29, 79):
            gc.collect()
            held.append(psutil.Process().memory_info().rss)
    assert held[1] - held[0] < 15e6, held


@pytest.mark.gpu
def test_cuda_itself_reports_no_wait(prepared):
    trainer = trainer_of(prepared, prepared.config)
    config = replace(prepared.config.model, guide_dim=6)
    batches = [make_batch(config, range(i, i + 8), seed=i).pin_memory() for i in range(4)]
    trainer.step(batches[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches[1:]:
            trainer.note(trainer.step(batch).loss.detach())
    finally:
        torch.cuda.set_sync_debug_mode("default")

"""What happens at which step: rates by hand, the order of the data, the optimizer's groups and state."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.reference.runs import run_config, write_learnable
from tests.reference.small import make_batch, small, small_paper
from userlib.config import TrainingConfig
from userlib.data.tokenizers import WordTokenizer
from userlib.errors import UserError
from userlib.model.user import USER
from userlib.training import pairs_of, prepare, schedule, splits_of, val_split_name
from userlib.training.preparing import precision_of, total_steps
from userlib.training.schedule import (
    batch_indices,
    batches,
    lr_factor,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    step_seed,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_learnable(tmp_path_factory.mktemp("data"))


def test_rates_by_hand():
    plain = TrainingConfig(warmup=0.0, schedule="step", step_at=0.5)
    assert [lr_factor(s, 10, plain) for s in (0, 4, 5, 9)] == [1.0, 1.0, 0.1, 0.1]
    cosine = TrainingConfig(warmup=0.2, schedule="cosine")
    assert [lr_factor(s, 10, cosine) for s in (0, 1)] == pytest.approx([1 / 3, 2 / 3])
    assert lr_factor(2, 10, cosine) == 1.0
    assert lr_factor(6, 10, cosine) == pytest.approx(0.5)
    assert lr_factor(9, 10, cosine) == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))
    constant = TrainingConfig(warmup=0.1, schedule="constant")
    assert [lr_factor(s, 10, constant) for s in (0, 1, 9)] == pytest.approx([0.5, 1.0, 1.0])
    flickr = TrainingConfig(warmup=0.0, schedule="step", step_at=0.6, epochs=25)  # x .1 after epoch 15 of 25
    assert [lr_factor(s, 2500, flickr) for s in (1499, 1500)] == [1.0, 0.1]


def test_an_epoch_is_a_permutation_and_drops_the_incomplete_batch():
    training = TrainingConfig(batch_size=4, seed=3)
    first = np.concatenate([batch_indices(s, 14, training) for s in range(3)])
    assert len(first) == len(set(first.tolist())) == 12
    second = np.concatenate([batch_indices(s, 14, training) for s in range(3, 6)])
    assert first.tolist() != second.tolist()
    assert batch_indices(4, 14, training).tolist() == second[4:8].tolist()
    other = batch_indices(0, 14, replace(training, seed=4))
    assert other.tolist() != first[:4].tolist()


def test_ranks_share_a_batch(folder):
    prepared = prepare(run_config(folder), progress=False)
    whole = next(iter(batches(prepared, 5, 6, 0, 1)))
    parts = [next(iter(batches(prepared, 5, 6, rank, 2))) for rank in range(2)]
    assert torch.equal(torch.cat([p.image_ids for p in parts]), whole.image_ids)
    assert [len(p.image_ids) for p in parts] == [4, 4]


def test_a_step_draws_the_same_wherever_one_starts(folder):
    prepared = prepare(run_config(folder), progress=False)
    one, other = list(batches(prepared, 0, 4, 0, 1))[3], next(iter(batches(prepared, 3, 4, 0, 1)))
    for name, value in vars(one).items():
        assert value is None or torch.equal(value, getattr(other, name)), name
    assert one.token_mask is not None and not one.token_mask.all()  # regions are dropped


def test_seeds_differ_by_step_and_rank():
    seeds = {step_seed(s, t, r) for s in range(3) for t in range(3) for r in range(3)}
    assert len(seeds) == 27 and all(0 <= s < 2**63 for s in seeds)


def test_optimizer_groups():
    model = USER(small_paper(residual_scale="learned", text_model="named"))
    training = TrainingConfig(lr=1e-3, text_lr_scale=0.1, weight_decay=0.01)
    optimizer = make_optimizer(model, training)
    groups = {g["factor"]: g for g in optimizer.param_groups}
    assert set(groups) == {1.0, 0.1, 10.0}
    text = {id(p) for p in model.text_encoder.states.parameters()}
    assert {id(p) for p in groups[0.1]["params"]} == text
    sigma = model.image_encoder.enhancement.self_scale.log_scale
    assert [id(p) for p in groups[10.0]["params"]] == [id(sigma)]
    assert groups[10.0]["weight_decay"] == 0.0 and groups[1.0]["weight_decay"] == 0.01
    everything = [id(p) for g in optimizer.param_groups for p in g["params"]]
    learning = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(everything) == sorted(learning)  # each once, and no momentum weight


def test_a_frozen_network_has_no_group():
    model = USER(small_paper(train_text="none"))
    assert [g["factor"] for g in make_optimizer(model, TrainingConfig()).param_groups] == [1.0]


def test_the_optimizers_state_comes_back():
    config = small()
    model = USER(config)
    optimizer = make_optimizer(model, TrainingConfig())
    for step in range(2):
        model(make_batch(config, [0, 1], seed=step)).loss.backward()
        optimizer.step()
    kept = {k: v.clone() for k, v in optimizer_tensors(optimizer).items()}
    fresh = make_optimizer(model, TrainingConfig())
    restore_optimizer(fresh, kept)
    again = optimizer_tensors(fresh)
    assert set(again) == set(kept) and all(torch.equal(again[k], kept[k]) for k in kept)
    assert {k.rsplit(".", 1)[1] for k in kept} == {"exp_avg", "exp_avg_sq", "step"}
    shifted = {f"optimizer.{int(k.split('.')[1]) + 1}.{k.split('.')[2]}": v for k, v in kept.items()}
    with pytest.raises(UserError, match="belongs to other parameters than are trained now"):
        restore_optimizer(fresh, shifted)


def test_steps_of_a_run():
    assert total_steps(TrainingConfig(epochs=3, batch_size=4), 14) == 9
    assert total_steps(TrainingConfig(steps=5, batch_size=4), 14) == 5
    with pytest.raises(UserError, match="has 3 captions and batch_size is 4"):
        total_steps(TrainingConfig(batch_size=4), 3)


def test_prepare_leaves_nothing_open(folder):
    open_ = run_config(folder, data={"val_split": "train:10"}, model={"momentum": None}, steps=40)
    config = prepare(open_, progress=False).config
    assert (config.model.regions, config.model.region_dim, config.model.guide_dim) == (4, 12, None)
    assert config.model.momentum == 0.5  # 40 steps: max(0, 1 - 20 / 40)
    assert config.model.vocab_size and config.training.precision == "fp32"
    for momentum in (0.7, 0.0):  # 0: the copies are the encoders themselves, which is a setting too
        kept = prepare(run_config(folder, model={"momentum": momentum}, steps=40), progress=False).config
        assert kept.model.momentum == momentum


def test_the_slice_to_select_on_is_held_out_of_train(folder):
    config = run_config(folder, data={"val_split": "train:10", "test_split": "val"})
    data = splits_of(config)
    train, select = set(data.split("train").ids), set(data.split(val_split_name(config)).ids)
    assert (len(train), len(select)) == (38, 10) and not train & select
    prepared = prepare(config, progress=False)
    assert prepared.val.split.name == "select" and len(prepared.train.split) == 38


def test_the_vocabulary_is_of_train_alone(folder, tmp_path):
    other = write_learnable(tmp_path / "data")
    captions = other / "test_caps.txt"
    captions.write_text(captions.read_text().replace("dog", "aardvark"))
    prepared = prepare(run_config(other), progress=False)
    assert prepared.tokenizer.unknown("aardvark") == ["aardvark"]
    assert prepared.tokenizer.unknown("dog") == []


@pytest.mark.parametrize(
    "words, told",
    [
        (["xylophone"], "Note: 100% of the words of the split 'val' are not in the model's vocabulary"),
        (None, None),
    ],
)
def test_a_split_whose_words_are_unknown_is_told(folder, capsys, words, told):
    config = run_config(folder)
    split = splits_of(config).split("val")
    tokenizer = WordTokenizer.fit(split.captions) if words is None else WordTokenizer(words)
    assert len(pairs_of(config, split, tokenizer, progress=False)) == len(split.captions)
    said = capsys.readouterr().err
    assert said == "" if told is None else said.startswith(told)


@pytest.mark.parametrize("emulated, expected", [(True, "fp32"), (False, "bf16")])
def test_bf16_that_a_chip_only_emulates_is_not_taken(emulated, expected, monkeypatch):
    """torch counts emulation unless it is told not to: a T4 would train in slow bf16."""
    from userlib.data import clip

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or not emulated
    )
    assert precision_of("auto") == expected
    monkeypatch.setattr(clip, "_shapes", lambda name: ((4, 8), 6))
    monkeypatch.setattr(clip, "split_name", lambda name: (name, None))
    extractor = clip.ClipExtractor("open_clip:local-dir:nowhere", device="cuda")
    assert extractor.bf16 is (expected == "bf16")
    assert clip.ClipExtractor("open_clip:local-dir:nowhere", device="cpu").bf16 is False


def test_precision():
    assert precision_of("fp32") == "fp32" and precision_of("bf16") == "bf16"
    assert precision_of("auto") in ("fp32", "bf16")


def test_the_order_of_an_epoch_is_drawn_once(folder, monkeypatch):
    prepared = prepare(run_config(folder), progress=False)
    drawn, real = [], np.random.default_rng
    schedule._order.cache_clear()
    monkeypatch.setattr(np.random, "default_rng", lambda key=None: drawn.append(key) or real(key))
    list(batches(prepared, 0, 12, 0, 1))
    assert [key for key in drawn if isinstance(key, list) and len(key) == 3] == [[0, 1, 0]]


@pytest.mark.parametrize("gpu", [True, False])
def test_batches_for_a_gpu_are_pinned(gpu, folder, monkeypatch):
    prepared = prepare(run_config(folder), progress=False)
    pinned = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(schedule.Batch, "pin_memory", lambda self: pinned.append(1) or self)
    list(batches(prepared, 0, 3, 0, 1))
    assert len(pinned) == (3 if gpu else 0)

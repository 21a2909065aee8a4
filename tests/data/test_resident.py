"""Data held on a device give the batches that the disk gives, and only data that fit are held."""

import copy
from dataclasses import dataclass, replace
from importlib import import_module

import numpy as np
import pytest
import torch

from tests.reference.runs import run_config, write_learnable
from userlib.data import resident
from userlib.data.captions import CaptionDataset
from userlib.data.splits import Split
from userlib.data.tokenizers import WordTokenizer
from userlib.data.tokens import Features
from userlib.errors import UserError
from userlib.training import fit, prepare

CPU = torch.device("cpu")


@dataclass
class SimplePrepared:
    train: CaptionDataset
    val: CaptionDataset
    test: CaptionDataset | None


COUNT = 700  # more than one chunk


def pairs(*, bad: int | None = None) -> CaptionDataset:
    """Images with tokens, tokens of flipped images and a guide, some of them rows of a larger array."""
    draw = np.random.default_rng(0)
    tokens, flipped = (draw.standard_normal((COUNT + 5, 3, 4)).astype(np.float16) for _ in range(2))
    guide = draw.standard_normal((COUNT + 5, 6)).astype(np.float32)
    if bad is not None:
        flipped[5 + bad, 1, 2] = np.nan
    features = Features(tokens=tokens, hflip=flipped, guide=guide).select(np.arange(5, COUNT + 5))
    split = Split(
        name="train",
        ids=tuple(f"p{i}" for i in range(COUNT)),
        pictures=None,
        captions=("a dog runs over the grass",) * (2 * COUNT),
        caption_to_image=np.repeat(np.arange(COUNT), 2),
        fingerprint="drawn",
    )
    return CaptionDataset(split, features, WordTokenizer.fit(split.captions))


release = CaptionDataset.release


def free(monkeypatch, amount: int) -> None:
    monkeypatch.setattr(resident, "free_memory", lambda device: amount)


def test_held_batches_are_those_of_the_disk(monkeypatch):
    plain, held = pairs(), pairs()
    free(monkeypatch, 10**9)
    assert held.cache_on_device(CPU) and held.cache_on_device(CPU)
    assert {tensor.dtype for tensor in held._cached.values()} == {torch.float16, torch.float32}
    rows = np.random.default_rng(1).integers(2 * COUNT, size=64)
    for drawn, sample in ((None, None), (3, None), (3, 2)):
        one, other = (
            p.batch(
                rows,
                rng=None if drawn is None else np.random.default_rng(drawn),
                caption_augment_prob=0.2,
                region_mask_prob=0.3,
                region_sample=sample,
            )
            for p in (plain, held)
        )
        for name, tensor in vars(one).items():
            assert (tensor is None) == (getattr(other, name) is None)
            assert tensor is None or torch.equal(tensor, getattr(other, name)), name


def test_only_data_that_take_half_of_the_free_memory_are_cached(monkeypatch):
    size = COUNT * (2 * 3 * 4 * 2 + 6 * 4)  # tokens twice in float16, the guide in float32
    assert resident.size_of(pairs().features) == size
    for amount, held in ((2 * size - 1, False), (2 * size, True)):
        free(monkeypatch, amount)
        dataset = pairs()
        assert dataset.cache_on_device(CPU) is held
        assert bool(dataset._cached) is held


def test_a_cpu_holds_nothing():
    assert resident.free_memory(CPU) == 0
    assert not pairs().cache_on_device(CPU)


def test_batches_are_made_where_the_data_are():
    """On the meta device a row that came from elsewhere would be an error."""
    dataset = pairs()
    dataset._cached = {
        n: resident.copied(a, torch.device("meta")) for n, a in resident.arrays_of(dataset.features)
    }
    dataset._cached_of = dataset.features
    batch = dataset.batch(np.arange(40), rng=np.random.default_rng(0), region_mask_prob=0.2)
    assert batch.tokens.is_meta and batch.guide.is_meta
    assert batch.tokens.shape == (40, 3, 4) and batch.tokens.dtype == torch.float32


def test_numbers_that_are_not_finite_are_named_when_they_are_copied(monkeypatch):
    free(monkeypatch, 10**9)
    with pytest.raises(UserError, match="image 'p601' .row 601 of 'train'. contain NaN"):
        pairs(bad=601).cache_on_device(CPU)


def test_a_run_on_held_data_is_bit_equal(tmp_path, monkeypatch):
    config = run_config(write_learnable(tmp_path / "data"), steps=4)
    plain = fit(prepare(config, progress=False), progress=False)
    free(monkeypatch, 10**9)
    prepared = prepare(config, progress=False)
    kept: list[int] = []
    monkeypatch.setattr(
        CaptionDataset, "release", lambda self: kept.append(len(self._cached)) or release(self)
    )
    held = fit(prepared, progress=False)
    assert max(kept) > 0 and not prepared.train._cached  # a GPU's memory is free again after the run
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, held.model.state_dict()[name]), name


@pytest.mark.parametrize("change", ["copy", "in place"])
def test_a_guide_that_takes_anothers_place_counts_whatever_is_cached(change, monkeypatch):
    """As the studies' controls do: the same pairs, with the vectors of other images."""
    free(monkeypatch, 10**9)
    dataset = pairs()
    before = dataset.batch(np.arange(4)).guide
    assert dataset.cache_on_device(CPU)
    other = copy.copy(dataset) if change == "copy" else dataset
    other.features = replace(dataset.features, guide=np.asarray(dataset.features.guide) + 1)
    assert torch.equal(other.batch(np.arange(4)).guide, before + 1)
    assert other.cache_on_device(CPU)
    assert torch.equal(other.batch(np.arange(4)).guide, before + 1)
    if change == "copy":
        assert torch.equal(dataset.batch(np.arange(4)).guide, before)


def test_a_copy_holds_nothing_of_its_own_and_frees_nothing(monkeypatch):
    free(monkeypatch, 10**9)
    dataset = pairs()
    dataset.cache_on_device(CPU)
    other = copy.copy(dataset)
    assert not other._cached and dataset._cached
    other.cache_on_device(CPU)
    other.release()
    assert not other._cached and dataset._cached
    assert torch.equal(other.batch(np.arange(9)).tokens, dataset.batch(np.arange(9)).tokens)


@pytest.mark.parametrize("module, name", [("userlab.ablation.guides", "_given"), ("usercourse.guided", "")])
def test_the_controls_of_a_guide_are_made_that_way(module, name, monkeypatch):
    """Both ways in which the project swaps guides, after a run that held the true ones."""
    free(monkeypatch, 10**9)
    dataset = pairs()
    dataset.cache_on_device(CPU)
    if name:
        swapped = import_module(module)._given(dataset, np.asarray(dataset.features.guide) + 1)
    else:
        prepared = SimplePrepared(dataset, dataset, None)
        swapped = import_module(module).guides_of_others(prepared).train
    rows = np.arange(0, 2 * COUNT, 2)
    assert torch.equal(swapped.batch(rows).guide, torch.from_numpy(np.asarray(swapped.features.guide)))
    assert not torch.equal(swapped.batch(rows).guide, dataset.batch(rows).guide)


def test_held_data_of_a_device_are_not_those_of_another(monkeypatch):
    free(monkeypatch, 10**9)
    dataset = pairs()
    assert dataset.cache_on_device(CPU) and not dataset.cache_on_device(torch.device("meta"))


def test_what_is_held_is_held_in_full(monkeypatch):
    """The views of an image, and its guide; a mask is small and stays."""
    free(monkeypatch, 10**9)
    dataset = pairs()
    dataset.cache_on_device(CPU)
    assert set(dataset._cached) == {"tokens", "hflip", "guide"}
    for name, tensor in dataset._cached.items():
        np.testing.assert_array_equal(tensor.numpy(), np.asarray(getattr(dataset.features, name)))

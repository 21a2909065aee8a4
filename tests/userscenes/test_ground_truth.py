"""What the drawn world tells: against the slow interpreter, and loops over pictures, captions and cells."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from userlib.data.sources import load_data
from userlib.data.tokens import Features
from userlib.evaluation.attention import attention_of
from userscenes import true
from userscenes.ground_truth import (
    places_of,
    true_elsewhere,
    true_elsewhere_in,
    truth_of,
    world_of,
)

COUNT, GRID = 12, (8, 8)


@pytest.fixture(scope="module")
def split():
    return load_data("scenes", sizes={"train": 4, "val": 4, "test": COUNT}).split("test")


def test_truth_is_the_interpreters(split):
    world = world_of(split)
    result = truth_of(split)
    said = [caption for i in range(COUNT) for caption in world.captions(i)]
    slow = np.array([[true(caption, world[i]) for i in range(COUNT)] for caption in said])
    assert np.array_equal(result, slow)
    assert np.array_equal(truth_of(split), result)  # from the cache
    assert result[np.arange(len(said)), split.caption_to_image].all()
    elsewhere = [slow[m, n] for m in range(len(said)) for n in range(COUNT) if n != split.caption_to_image[m]]
    assert true_elsewhere(result, split.caption_to_image) == pytest.approx(np.mean(elsewhere))
    assert true_elsewhere_in(split) == pytest.approx(np.mean(elsewhere))


def test_places_of_what_captions_name(split):
    world = world_of(split)
    named, things = places_of(split, GRID)
    assert named.shape == things.shape == (COUNT, 64)
    assert (named <= things + 1e-6).all()
    for i in range(3):
        masks = world.masks(i)
        spoken = {thing for caption in world.captions(i) for *_, thing in caption.spans}
        for row, column in ((3, 4), (6, 1)):
            cell = np.s_[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            share = np.any([masks[n][cell] for n in spoken], axis=0).mean()
            assert named[i, 8 * row + column] == pytest.approx(share)


def test_pictures_from_elsewhere_have_no_truth(split):
    foreign = replace(split, pictures=[None] * COUNT)
    assert truth_of(foreign) is None
    assert places_of(foreign, GRID) is None
    assert true_elsewhere_in(foreign) is None


class Looking(torch.nn.Module):
    """DualEncoder whose guides look at given cells."""

    def __init__(self, looks):
        super().__init__()
        self.looks, self.at = looks, 0
        self.image_encoder = SimpleNamespace(enhancement=SimpleNamespace(residual_scales=lambda: looks))

    def attention(self, tokens, mask, guide):
        part = {name: torch.tensor(a[self.at : self.at + len(tokens)]) for name, a in self.looks.items()}
        self.at += len(tokens)
        return part


def pairs_of(split, grid=GRID):
    def batches(size):
        for first in range(0, COUNT, 5):
            yield torch.zeros(min(5, COUNT - first), 64, 2), None, None

    features = Features(tokens=np.zeros((COUNT, 64, 2), np.float32), grid=grid)
    return SimpleNamespace(split=split, features=features, image_batches=batches)


def test_attention_on_the_named_things(split):
    named, things = places_of(split, GRID)
    away = np.where(named > 0, 0.0, 1.0)
    result = attention_of(Looking({"self": named, "clip": away}), pairs_of(split))
    assert set(result) == {"self", "clip", "uniform", "area", "centre"}
    assert np.allclose(result["self"]["pointing"], named.max(1), atol=1e-6)
    assert np.allclose(result["clip"]["mass"], 0)
    assert np.allclose(result["uniform"]["mass"], named.mean(1))
    assert np.allclose(result["area"]["mass"], (things * named).sum(1) / things.sum(1))
    assert attention_of(Looking({}), pairs_of(split)) is None
    assert attention_of(Looking({"self": named}), pairs_of(split, grid=None)) is None


def test_the_control_by_area_does_not_know_what_captions_name(split):
    """It lies on all objects alike: only so does a model that looks at the named ones score more than it."""
    _, things = places_of(split, GRID)
    named = np.where(np.arange(64) % 2, things, 0.0)  # half of what is drawn

    class Told(list):
        def places(self, grid):
            return named, things

    told = replace(split, pictures=Told([None] * COUNT))
    result = attention_of(Looking({"self": named}), pairs_of(told))
    assert np.allclose(result["area"]["mass"], (things * named).sum(1) / things.sum(1))
    assert (result["area"]["mass"] < result["self"]["mass"] - 0.1).all()


def test_the_share_of_truth_elsewhere_is_of_the_other_images():
    """By hand, since few captions are true of another of a dozen drawn images."""
    assert true_elsewhere(np.ones((2, 2), bool), np.arange(2)) == 1
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], bool)
    assert true_elsewhere(truth, np.array([0, 1, 2, 2])) == pytest.approx(1 / 8)

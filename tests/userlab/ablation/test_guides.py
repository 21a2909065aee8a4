"""CGE's controls on a small drawn world: whose vector is given, and what is chosen where."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.data.copies import write_clip
from userlab.ablation.guides import WEIGHTS, add_scores, clip_embeddings, random_clip, with_guide
from userlib.config import Config, DataConfig, ModelConfig, TrainingConfig
from userlib.data.clip import load_clip
from userlib.errors import UserError
from userlib.evaluation import ranks, ranks_from_scores, recalls
from userlib.search import OpenClipEncoder
from userlib.training import prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    name = f"open_clip:local-dir:{write_clip(tmp_path_factory.mktemp('guides') / 'clip')}"
    sizes = {"train": 12, "val": 6, "test": 8}
    config = Config(
        data=DataConfig(data="scenes", sizes=sizes, guide=name, test_split="test"),
        model=ModelConfig(enhancement="cge", embed_dim=8, text_width=8, word_width=4),
        training=TrainingConfig(steps=2, batch_size=4, precision="fp32"),
    )
    return prepare(config, progress=False)


def guides(prepared):
    return [np.asarray(pairs.features.guide) for pairs in (prepared.train, prepared.val, prepared.test)]


def test_informed_is_the_pictures_own(prepared):
    assert with_guide(prepared, "informed") is prepared


def test_mismatched_is_another_pictures_vector(prepared):
    moved = with_guide(prepared, "mismatched")
    for before, after in zip(guides(prepared), guides(moved), strict=True):
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))
        assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert moved.train.features.tokens is prepared.train.features.tokens
    batch = moved.train.batch(np.arange(5))
    assert np.array_equal(batch.guide.numpy(), guides(moved)[0][prepared.train.caption_to_image[:5]])
    other = replace(prepared.config, training=replace(prepared.config.training, seed=1))
    again = with_guide(replace(prepared, config=other), "mismatched")
    assert not np.array_equal(guides(again)[0], guides(moved)[0])


def test_random_weights_are_those_before_training(prepared):
    result = with_guide(prepared, "random")
    for before, after in zip(guides(prepared), guides(result), strict=True):
        assert before.shape == after.shape
        assert not np.allclose(before, after)
        assert np.allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    folder = random_clip(prepared.config.data.guide)
    assert folder == random_clip(prepared.config.data.guide)
    model, _ = load_clip(f"local-dir:{folder}")
    trained, _ = load_clip(prepared.config.data.guide.removeprefix("open_clip:"))
    same = [torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters(), strict=True)]
    assert not all(same)
    with pytest.raises(UserError, match="random weights"):
        random_clip("ViT-B-32/laion2b_s34b_b79k")


def test_clip_embeddings_are_the_encoders_own(prepared):
    name = prepared.config.data.guide
    pairs = prepared.val
    images, captions = clip_embeddings(name, pairs)
    encoder = OpenClipEncoder(name)
    assert np.allclose(images, encoder.encode_image([pairs.split.pictures[i] for i in range(6)]), atol=1e-5)
    assert np.allclose(captions[7], encoder.encode_text([pairs.split.captions[7]])[0], atol=1e-5)


def embeddings(seed, pictures, noise):
    """Pictures and captions that belong together, and noise between them."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(pictures), 2)
    images = rng.standard_normal((pictures, 12))
    captions = images[owner] + noise * rng.standard_normal((2 * pictures, 12))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, captions)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32), owner


def test_the_weight_is_chosen_on_the_selection_split_alone():
    (i, c, owner), (ci, cc, _) = embeddings(0, 40, 1.5), embeddings(1, 40, 1.0)
    (ri, rc, r_owner), (rci, rcc, _) = embeddings(2, 30, 1.5), embeddings(3, 30, 1.0)
    result = add_scores(((i, c), (ri, rc)), ((ci, cc), (rci, rcc)), (owner, r_owner))
    tried = {
        w: recalls(ranks_from_scores(i @ c.T + np.float32(w) * (ci @ cc.T), owner)).rsum for w in WEIGHTS
    }
    assert tried[result.weight] == max(tried.values()) > tried[0.0]
    assert recalls(result.select).rsum == pytest.approx(max(tried.values()))
    expected = ranks_from_scores(ri @ rc.T + np.float32(result.weight) * (rci @ rcc.T), r_owner)
    assert np.array_equal(result.report.i2t, expected.i2t)
    useless = add_scores(((i, c), (ri, rc)), ((ci, cc), (-rci, rcc)), (owner, r_owner))
    assert useless.weight == result.weight  # the split reported on does not speak


def test_scores_that_only_harm_get_no_weight():
    i, c, owner = embeddings(0, 40, 0.3)
    result = add_scores(((i, c), (i, c)), ((i, -c), (i, -c)), (owner, owner))
    assert result.weight == 0
    assert np.array_equal(result.report.t2i, ranks(i, c, owner).t2i)

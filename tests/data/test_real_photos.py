"""Real photos in the hub's schema, where USERLIB_PHOTOS names them: from file to batch."""

import numpy as np
import pytest
import torch

from tests.data.copies import write_clip
from userlib.data.captions import PairData, make_tokenizer
from userlib.data.sources import load_data
from userlib.data.tokens import extract


@pytest.fixture(scope="module")
def data(photos):
    return load_data(str(photos))


def test_splits_have_five_captions_a_picture(data):
    for split in data.splits.values():
        assert len(split.captions) == 5 * len(split)
        assert (np.bincount(split.image_of) == 5).all()
        assert split.pictures[len(split) - 1].mode == "RGB"
    assert not set(data.split("train").ids) & set(data.split("val").ids)


def test_tokens_of_the_imagenet_network(data, photos, cache):
    """Mean .77 and 72 % zeros in the whole set; non-negative, because the network ends in ReLU6."""
    weights = next(photos.glob("*.safetensors"), None)
    if weights is None:
        pytest.skip("the folder holds no weights")
    split = data.split("val").take(np.arange(40), "part")
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
    split = data.split("val").take(np.arange(8), "part")
    features = extract(split, tokens=clip, guide=clip, mirrored=True, progress=False)
    pairs = PairData(split, features, make_tokenizer("words", data.split("train").captions, min_count=2))
    batch = pairs.batch(np.arange(40), rng=np.random.default_rng(0), word_drop=0.2)
    assert batch.tokens.shape == (40, 4, 32)
    torch.testing.assert_close(batch.guide.norm(dim=1), torch.ones(40))
    assert batch.image_ids.tolist() == [i for i in range(8) for _ in range(5)]

"""Networks as they are published, where USERLIB_MODELS names them: a small BERT in fp16, an ImageNet network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from userlib.config import ModelConfig
from userlib.data.sources import load_data
from userlib.data.tokenizers import make_tokenizer
from userlib.data.tokens import extract
from userlib.errors import UserError
from userlib.model.encoders import TextEncoder

BERT = ModelConfig(
    text="bert", text_width=384, text_layers=6, text_heads=12, vocab_size=30522, embed_dim=64, region_dim=8
)
CAPTIONS = ["Two dogs play in the snow.", "A pair of puppies running through snow.", "A man cooks dinner."]


@pytest.fixture(scope="module")
def bert(networks):
    folder = networks / "minilm"
    if not folder.is_dir():
        pytest.skip("the folder holds no minilm")
    return str(folder)


def test_a_published_bert_places_like_captions_near_each_other(bert):
    encoder = TextEncoder(replace(BERT, text_model=bert)).eval()
    encoder.load_text(bert)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    tokenizer = make_tokenizer("bert", [], model=bert)
    means = []
    for caption in CAPTIONS:
        ids = torch.as_tensor(np.asarray(tokenizer.encode(caption)))[None]
        with torch.no_grad():
            means.append(encoder.states(ids, torch.ones_like(ids, dtype=torch.bool))[0].mean(0))
    near, far = (float(torch.cosine_similarity(means[0], other, dim=0)) for other in means[1:])
    assert near > far + 0.2


def test_other_sizes_are_refused_by_the_setting(bert):
    with pytest.raises(UserError, match="model.text_layers to 6"):
        TextEncoder(replace(BERT, text_layers=2)).load_text(bert)


def test_tokens_of_a_second_imagenet_network(networks, photos, cache):
    weights = networks / "efficientnet_lite2_imagenet.safetensors"
    if not weights.is_file():
        pytest.skip("the folder holds no efficientnet_lite2")
    split = load_data(str(photos)).split("val").select(np.arange(16), "part")
    features = extract(split, tokens="timm:tf_efficientnet_lite2", token_weights=weights, progress=False)
    tokens = features.tokens[:].astype(np.float32)
    assert tokens.shape[0] == 16 and tokens.shape[1] == features.grid[0] * features.grid[1]
    flat = tokens.mean(1)
    assert np.isfinite(tokens).all() and np.linalg.matrix_rank(flat - flat.mean(0)) == 15

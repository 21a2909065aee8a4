"""Vectors of captions from pretrained text encoders, many at a time, against each caption by itself."""

import numpy as np
import pytest
import torch

from tests.data.copies import write_clip
from tests.reference.towers import write_encoder
from userlib.data import sentences
from userlib.data.clip import caption_vectors, load_clip, tokenizer_of
from userlib.data.sentences import sentence_vectors
from userlib.errors import UserError

TEXTS = ["a dog runs over the grass", "ball", "two people sit on bench near water", "red ball", "a a a a"]


@pytest.mark.parametrize("batch", [2, 256])
def test_a_sentence_s_vector_is_the_mean_of_its_own_pieces(tmp_path, monkeypatch, batch):
    """Whatever it is padded with, in the order in which the captions were given, and cut where it is too long."""
    from transformers import AutoModel, AutoTokenizer

    monkeypatch.setattr(sentences, "BATCH", batch)
    folder = str(write_encoder(tmp_path / "encoder"))
    texts = [*TEXTS, "dog " * 200]
    vectors = sentence_vectors(folder, texts)
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    assert vectors.shape == (6, 16) and vectors.dtype == np.float32
    for text, vector in zip(texts, vectors, strict=True):
        ids = tokenizer(text, truncation=True, max_length=128, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            wanted = network(input_ids=ids).last_hidden_state[0].mean(0)
        assert vector == pytest.approx(wanted.numpy(), abs=1e-5)


def test_a_text_encoder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="The text encoder .*nowhere.* cannot be loaded"):
        sentence_vectors(str(tmp_path / "nowhere"), TEXTS)


def test_more_captions_than_a_batch_get_each_its_own_clip_vector(tmp_path):
    name = f"local-dir:{write_clip(tmp_path / 'clip')}"
    texts = [TEXTS[i % 3] for i in range(256)] + TEXTS
    vectors = caption_vectors(name, texts)
    with torch.no_grad():
        own = load_clip(name)[0].encode_text(tokenizer_of(name)(TEXTS), normalize=True).numpy()
    assert vectors == pytest.approx(own[[TEXTS.index(text) for text in texts]], abs=1e-5)

"""Words beyond the captions': ImageNet's names first, then an encoder's words, those like these names first."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from userlib.data import vocabulary
from userlib.data.tokenizers import make_tokenizer
from userlib.data.vocabulary import more_words
from userlib.errors import UserError

PIECES = ["[PAD]", "##ing", "the", "therefore", "dog", "puppy", "kitten", "ab", "42", "law"]
UNSEEN = {"the", "therefore", "law"}


class Encoder:
    """A vocabulary of ten pieces; its vectors tell what can be seen from the rest."""

    @staticmethod
    def get_vocab():
        return {piece: i for i, piece in enumerate(PIECES)}


@pytest.fixture
def encoder(monkeypatch):
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda name: Encoder)
    monkeypatch.setattr(
        vocabulary, "sentence_vectors",
        lambda name, words: np.array([[0.1, 1.0] if word in UNSEEN else [1.0, 0.1] for word in words], np.float32),
    )  # fmt: skip


def test_categories_come_first_and_known_words_never(encoder):
    words = more_words("x", ["dog", "cat", "bird"], 40)
    assert len(words) == len(set(words)) == 40 and not {"dog", "cat", "bird"} & set(words)
    assert {"tench", "goldfish"} <= set(words)
    everything = more_words("x", ["dog", "cat", "bird", "fish", "cow", "goat"], 100_000)
    own = [word for word in everything if word in PIECES]
    assert own[:1] == ["puppy"] or own[:2] == ["kitten", "puppy"]
    assert not {"ab", "42", "##ing", "[PAD]"} & set(everything)
    assert own.index("puppy") < own.index("therefore")


def test_the_tokenizer_has_them_behind_the_captions_words(encoder):
    captions = ["A dog and a cat.", "A dog sleeps."]
    tokenizer = make_tokenizer("words", captions, model="x", vocabulary=30)
    assert len(tokenizer.words) == 30 and tokenizer.words[:2] == ("a", "dog")
    assert tokenizer.words[:5] == make_tokenizer("words", captions).words
    assert tokenizer.unknown("a goldfish sleeps") == []
    assert make_tokenizer("words", captions, model="x", vocabulary=3).words == tokenizer.words[:5]


def test_an_encoder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="no vocabulary"):
        more_words(str(tmp_path), ["dog"], 5)

"""Words beyond the captions': ImageNet's names first, then an encoder's words, those like these names first."""

from types import SimpleNamespace

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


def test_further_words_come_in_the_order_of_their_five_nearest_names(monkeypatch):
    """Puppies are like dogs, and that they are unlike ships says nothing. One near name alone is no sign."""
    rng, pieces = np.random.default_rng(0), ["although", "kitten", "law", "puppies"]
    dogs, noise = rng.standard_normal((2, 64)).astype(np.float32)
    own = {"puppies": dogs, "law": dogs + noise, "although": rng.standard_normal(64)}

    def vectors(name, words):
        rows = rng.standard_normal((len(words), 64)).astype(np.float32)
        rows[:5], rows[5:10] = dogs, -dogs
        for row, word in enumerate(words):
            rows[row] = rows[10] if word == "kitten" else own.get(word, rows[row])
        return rows

    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained",
        lambda name: SimpleNamespace(get_vocab=lambda: {piece: i for i, piece in enumerate(pieces)}),
    )  # fmt: skip
    monkeypatch.setattr(vocabulary, "sentence_vectors", vectors)
    everything = more_words("x", [], 100_000)
    assert everything[-4:] == ["puppies", "law", "kitten", "although"]
    assert more_words("x", [], len(everything) - 2) == everything[:-2]


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

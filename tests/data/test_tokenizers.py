"""Words, BERT's pieces and CLIP's pieces: numbers come from the right vocabulary, and come back."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.copies import WORDS, write_bert, write_clip
from userlib.config import ModelConfig
from userlib.data.clip import caption_vectors
from userlib.data.tokenizers import (
    BertTokenizer,
    ClipTokenizer,
    WordTokenizer,
    make_tokenizer,
    tokenizer_from_json,
)
from userlib.errors import UserError
from userlib.model.text_networks import ClipText
from userlib.shipped import ASSETS

CAPTIONS = ["A dog runs.", "a DOG, and a cat", "the dog's bowl"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return BertTokenizer(str(write_bert(tmp_path_factory.mktemp("bert"))))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return ClipTokenizer(f"local-dir:{write_clip(tmp_path_factory.mktemp('clip'))}")


def test_words_are_numbered_by_count_after_the_five_special_ones():
    words = WordTokenizer.fit(CAPTIONS)
    assert words.words == ("a", "dog", "and", "bowl", "cat", "dog's", "runs", "the")
    assert words.vocab_size == 13
    assert words.encode("A dog runs fast!") == [3, 5, 6, 11, 1, 4]
    assert words.unknown("A dog runs fast, twice") == ["fast", "twice"]
    assert words.encode("!?") == [3, 1, 4]
    assert WordTokenizer.fit(CAPTIONS, min_count=2).words == ("a", "dog")


def test_a_word_in_quotes_is_that_word():
    words = WordTokenizer.fit(
        ["a sign that says 'stop'", "the dogs' bowl", "stop the dogs", "rock 'n' roll ' "]
    )
    assert words.words[:3] == ("dogs", "stop", "the") and not [
        word for word in words.words if "'" in word[1:]
    ]
    assert words.unknown("'a' 'dogs stop' n ''roll'' 'cat'") == ["'cat'"]
    assert words.encode("'stop'") == words.encode("‘stop’") == words.encode("stop")
    assert words.encode("dogs' the") == words.encode("dogs’ the") == words.encode("dogs the")
    assert words.encode("dog's")[1:-1] == [words.unknown_id]  # a word of its own


def test_a_vocabulary_that_holds_words_with_their_quotes_keeps_their_numbers():
    words = WordTokenizer(["dog", "'s", "'dog'", "'", "cat"])
    assert words.encode("dog 's ' 'dog' 'cat'") == [3, 5, 6, 8, 7, 9, 4]
    assert words.unknown("'dog dog' s") == ["s"]


@given(
    texts=st.lists(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=5
    )
)
def test_known_words_come_back(texts):
    words = WordTokenizer.fit(texts)
    for text in texts:
        assert [words.words[i - 5] for i in words.encode(text)[1:-1]] == text.split()


@given(text=st.text(max_size=30))
def test_any_text_has_numbers_of_the_vocabulary(text):
    words = WordTokenizer.fit(CAPTIONS)
    assert all(0 <= i < words.vocab_size for i in words.encode(text))
    assert len(words.encode(text)) >= 3


def test_bert_has_its_own_ends_pieces_and_mask(bert):
    ids = bert.encode("A dog runs xy")
    assert bert._tokens.convert_ids_to_tokens(ids) == ["[CLS]", "a", "dog", "runs", "x", "##y", "[SEP]"]
    assert bert.pad_id == 0
    assert bert._tokens.convert_ids_to_tokens([bert.mask_id]) == ["[MASK]"]
    assert bert.special_ids == {bert.pad_id, bert.mask_id, ids[0], ids[-1]}
    assert bert.vocab_size == len(bert._tokens)
    assert bert.unknown("dog été") == ["t"] or bert.unknown("dog été") == []
    assert len(bert.encode("dog " * 500)) == 128
    assert bert.encode_all(["a dog", "runs"]) == [bert.encode("a dog"), bert.encode("runs")]


def test_clip_has_its_own_ends_and_no_padding(clip):
    ids = clip.encode("a dog")
    assert ids[0] == 49406
    assert ids[-1] == 49407
    assert clip._tokens.decode(ids[1:-1]).strip() == "a dog"
    assert clip.pad_id == 0
    assert clip._tokens.decode([clip.mask_id]).strip() == "*"
    assert clip.mask_id not in clip.special_ids
    assert len(clip.encode("dog " * 50)) == 16
    assert clip.vocab_size == 49408
    assert clip.encode_all([]) == []


def test_pieces_know_their_words(bert, clip):
    words = WordTokenizer.fit(["a dog"])
    assert words.word_numbers(np.array(words.encode("a dog a"))).tolist() == [0, 1, 2, 3, 4]
    ids = bert.encode("a dog runs xyz, oh")  # x ##y ##z , o ##h between the ends
    assert bert.word_numbers(np.array(ids)).tolist() == [0, 1, 2, 3, 4, 4, 4, 5, 6, 6, 7]
    ids = clip.encode("a dog runs xqzzy")
    numbers = clip.word_numbers(np.array(ids)).tolist()
    assert numbers[:4] == [0, 1, 2, 3] and numbers[-1] == 5 and set(numbers[4:-1]) == {4}
    assert len(numbers) == len(ids) > 6
    for one in (words, bert, clip):
        assert one.word_numbers(np.array([], dtype=int)).tolist() == []


def test_the_pieces_of_the_projects_own_clip_know_their_words():
    mini = ClipTokenizer("clip-mini")
    ids = np.array(mini.encode("a dog runs over the grass"))
    assert mini._tokens.tokenizer.convert_ids_to_tokens(ids.tolist())[3:6] == ["\u0120r", "un", "s"]
    assert mini.word_numbers(ids).tolist() == [0, 1, 2, 3, 3, 3, 4, 5, 6, 6, 6, 6, 7]


def test_a_clip_that_pads_with_its_end_token_keeps_one(tmp_path):
    """Numbers are those of the network with a pad token of its own, and vectors open_clip's, alone as in a batch."""
    shutil.copytree(ASSETS / "clip-mini", tmp_path / "clip")
    settings = tmp_path / "clip/tokenizer_config.json"
    settings.write_text(
        settings.read_text(encoding="utf-8").replace("<pad>", "<end_of_text>"), encoding="utf-8"
    )
    mini, clip = ClipTokenizer("clip-mini"), ClipTokenizer(name := f"local-dir:{tmp_path / 'clip'}")
    texts = ["a dog", "", "dog " * 30, "dog " * 31]
    assert clip.encode_all(texts) == mini.encode_all(texts)
    assert [clip.is_cut(text) for text in texts] == [False, False, False, True]
    states = ClipText(ModelConfig(text="clip", text_model=name, text_width=128))
    states.load_text(name)
    for some in (texts, texts[:1], texts[:2]):
        ids = [torch.tensor(clip.encode(text)) for text in some]
        batch = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=clip.pad_id)
        vectors = torch.nn.functional.normalize(states.vector(batch), dim=1).detach().numpy()
        np.testing.assert_allclose(vectors, caption_vectors(name, some), atol=1e-5)


def same(a, b):
    text = "a dog runs over the unheard-of grass"
    return (
        a.encode(text) == b.encode(text) and a.vocab_size == b.vocab_size and a.special_ids == b.special_ids
    )


def test_each_comes_back_from_its_json(bert, clip):
    for tokenizer in (WordTokenizer.fit(CAPTIONS), bert, clip):
        saved = json.loads(json.dumps(tokenizer.to_json()))
        again = tokenizer_from_json(saved)
        assert type(again) is type(tokenizer)
        assert same(again, tokenizer)
        assert saved["name"] == tokenizer.name


def test_made_by_name(bert, clip):
    assert same(make_tokenizer("words", CAPTIONS, min_count=1), WordTokenizer.fit(CAPTIONS))
    assert same(make_tokenizer("bert", [], model=bert.source), bert)
    assert same(make_tokenizer("clip", [], model=clip.model), clip)


def test_a_vocabulary_that_knows_half_of_the_words_will_do_and_less_will_not():
    half = ["dog dog", "a cat"]
    assert make_tokenizer("words", half, min_count=2).vocab_size == 6
    with pytest.raises(UserError, match="does not know 60% of the words .* such as 'a'.* less than 2"):
        make_tokenizer("words", [*half, "sits"], min_count=2)


def test_another_vocabulary_than_at_training_is_noticed(tmp_path):
    tokenizer = BertTokenizer(str(write_bert(tmp_path)))
    saved = tokenizer.to_json()
    (tmp_path / "tokenizer.json").unlink()
    text = (tmp_path / "vocab.txt").read_text()
    (tmp_path / "vocab.txt").write_text(re.sub("\ndog\n", "\nwolf\n", text))
    with pytest.raises(UserError, match="not the one that the model was trained with"):
        tokenizer_from_json(saved)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: make_tokenizer("letters", []), "no tokenizer 'letters'; choose words, bert or clip"),
        (lambda: make_tokenizer("clip", []), "taken from a model; name it"),
        (lambda: make_tokenizer("clip", [], model="ViT-B-31"), "no model 'ViT-B-31'"),
        (lambda: BertTokenizer("/no/such/folder"), "no vocabulary '/no/such/folder'"),
        (lambda: tokenizer_from_json({"name": "letters"}), "called 'letters'"),
        (lambda: tokenizer_from_json({"name": "words"}), "lacks 'words'"),
        (lambda: tokenizer_from_json({}), "lacks 'name'"),
    ],
)
def test_wrong_names_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()

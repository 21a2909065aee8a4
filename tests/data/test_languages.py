"""Captions in any script: each word is a word, is known again in a query, and is named where it is unknown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.copies import write_bert
from userlib.data.tokenizers import (
    BertTokenizer,
    WordTokenizer,
    make_tokenizer,
    pieces_of,
    words_of,
)
from userlib.data.words import ASCII_WORD
from userlib.errors import UserError
from userscenes.dataset import load_scenes

SENTENCES = {
    "一只狗在草地上。": list("一只狗在草地上"),
    "犬がラーメンを食べる、𠮷": list("犬がラーメンを食べる𠮷"),
    "개가 뛴다.": ["개가", "뛴다"],
    "قِطٌّ على السرير؟": ["قِطٌّ", "على", "السرير"],
    "ســـرير": ["سرير"],
    "می\u200cرود": ["میرود"],
    "כלב רץ, ג׳ירפה": ["כלב", "רץ", "ג'ירפה"],
    "Собака БЕЖИТ ёж": ["собака", "бежит", "ёж"],
    "एक कुत्ता दौड़ रहा है।": [unicodedata.normalize("NFKC", w) for w in ("एक", "कुत्ता", "दौड़", "रहा", "है")],
    "வேகமாக நாய்": ["வேகமாக", "நாய்"],
    "หมาวิ่ง": ["ห", "ม", "า", "วิ่", "ง"],
    "ឆ្កែ\u200bរត់": ["ឆ្", "កែ", "រ", "ត់"],
    "Die Straße, STRASSE; Äpfel": ["die", "strasse", "strasse", "äpfel"],
    "l’homme à l'école": ["l'homme", "à", "l'école"],
    "naïve cafe\u0301 CAFÉ": ["naïve", "café", "café"],
    "İstanbul Istanbul": ["istanbul", "istanbul"],
    "ΣΚΎΛΟΣ σκύλος": ["σκύλοσ", "σκύλοσ"],
    "Chó trắng": ["chó", "trắng"],
    "ＤＯＧ ｶﾞ １２": ["dog", "ガ", "12"],
    "a 🐶 👨\u200d👩\u200d👧 🇫🇷🇩🇪 ❤\ufe0f 👍🏽!": ["a", "🐶", "👨", "👩", "👧", "🇫🇷", "🇩🇪", "❤", "👍"],
    "“quoted” dogs’ — 20°C soft\u00adhyphen": ["quoted", "dogs", "20", "c", "softhyphen"],
    "Eine Katze、犬 и кот": ["eine", "katze", "犬", "и", "кот"],
    "a_b": ["a", "b"],
}


@pytest.mark.parametrize("text, words", SENTENCES.items())
def test_words_of_a_script(text, words):
    assert words_of(text) == words
    for form in ("NFC", "NFD"):
        assert words_of(unicodedata.normalize(form, text)) == words
    assert words_of(" ".join(words)) == words
    known = WordTokenizer.fit([text])
    assert known.unknown(text) == []
    assert 1 not in known.encode(text)
    assert WordTokenizer.fit(["zzz"]).unknown(text) == words


@given(text=st.text(max_size=40))
def test_words_are_found_again_in_what_they_spell(text):
    words = words_of(text)
    assert words_of(" ".join(words)) == words


@given(text=st.text(st.characters(max_codepoint=127), max_size=40))
def test_english_is_read_as_ever(text):
    words = ASCII_WORD.findall(text.lower())
    assert words_of(text) == words
    assert words_of(f"{text} é") == [*words, "é"]


def test_the_numbers_of_the_drawn_captions_stay():
    """The shipped models know these words by these numbers."""
    captions = load_scenes("scenes", {"train": 300, "val": 1, "test": 1}).split("train").captions
    import re
    from collections import Counter

    counts = Counter(word for caption in captions for word in re.findall(r"[a-z0-9']+", caption.lower()))
    words = WordTokenizer.fit(captions)
    assert words.words == tuple(sorted(counts, key=lambda word: (-counts[word], word)))
    number = {word: i for i, word in enumerate(words.words, 5)}
    for caption in captions:
        assert words.encode(caption) == [
            3,
            *(number[w] for w in re.findall(r"[a-z0-9']+", caption.lower())),
            4,
        ]


def test_a_text_without_a_word_is_shown_as_it_is():
    words = WordTokenizer.fit(["a dog"])
    assert words.unknown("?! ...") == ["?!", "..."]
    assert words.unknown("a dog ?!") == []
    assert words.unknown("") == []


def test_pieces_are_the_text_as_written():
    assert pieces_of("A Dog, 一只狗 หมา!") == ["A", "Dog,", "一", "只", "狗", "ห", "ม", "า", "!"]


@pytest.mark.parametrize(
    "captions, min_count, message",
    [
        (["...", "?!"], 1, "hold no word: the first is '...'"),
        (["a dog", "one cat", "two owls"], 2, "does not know 100% .* such as 'a'.*data.min_count"),
        (["a dog", "one cat", "a owl"], 2, "does not know 67%"),
    ],
)
def test_captions_that_teach_nothing_are_refused(captions, min_count, message):
    with pytest.raises(UserError, match=message):
        make_tokenizer("words", captions, min_count=min_count)
    assert make_tokenizer("words", ["一只狗", "a dog", "a cat"], min_count=1).vocab_size == 11


def test_a_bert_of_another_language_is_refused_and_named(tmp_path):
    bert = str(write_bert(tmp_path))
    assert BertTokenizer(bert).unknown("a 犬 Dog 🐶 xy Ж") == ["犬", "🐶", "ж"]
    assert make_tokenizer("bert", ["a dog", "一"], model=bert).name == "bert"
    with pytest.raises(
        UserError, match=r"'bert'.* does not know 88% .* such as '一'.*bert-base-multilingual-cased"
    ):
        make_tokenizer("bert", ["一只狗在草地上", "dog"], model=bert)


def test_unknown_words_of_a_query_are_told_in_any_script():
    from userlib.search.weak import notes_on

    known = WordTokenizer.fit(["一只狗", "एक कुत्ता दौड़ रहा है", "a dog"])
    assert notes_on("एक कुत्ता है", known.unknown) == ()
    assert notes_on("一只猫", known.unknown) == ("Words unknown to the model, which do not count: 猫.",)
    assert "knows no word of the query (🐱, кот)" in notes_on("🐱 кот", known.unknown)[0]
    assert "knows no word of the query (?!)" in notes_on("?!", known.unknown)[0]

"""The words of a text in any script, and a vocabulary of those counted in train captions. Nothing here needs torch."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import regex

ASCII_WORD = re.compile(r"[a-z0-9']+")
# Scripts written without blanks between words: each character, with its marks, stands for a word.
UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Javanese}\p{Balinese}"
    r"\p{Tai_Tham}\p{Tai_Le}\p{New_Tai_Lue}\u30fc"
)
WORD = regex.compile(
    rf"(?V1)[[{UNSPACED}]&&[\p{{L}}\p{{N}}]]\p{{M}}*"  # one character of an unspaced script
    r"|\p{Regional_Indicator}{2}|[\p{So}&&[\u2300-\U0010FFFF]]"  # a flag, an emoji
    rf"|(?:[[\p{{L}}\p{{N}}']--[{UNSPACED}]]\p{{M}}*)+"
)
BETWEEN_WORDS = regex.compile(r"[\u200b\u3000]")  # zero-width and ideographic spaces
# What is not a part of a word: joiners and other format characters, variants of emoji, and the Arabic tatweel.
UNSEEN = regex.compile(r"\p{Cf}|[\ufe00-\ufe0f\U000E0100-\U000E01EF\u20e3\u0640\U0001F3FB-\U0001F3FF]")
PIECE = regex.compile(rf"(?V1)[{UNSPACED}]\p{{M}}*|[\S--[{UNSPACED}]]+")
APOSTROPHE = regex.compile(r"(?<=[\p{L}\p{M}])[\u2019\u02bc\u05f3](?=\p{L})")


def words_of(text: str) -> list[str]:
    """The words of a text in any script, in lower case (case-folded) and normalised (NFKC).

    Apostrophes within words are kept ("dog's"). In a script without blanks each character is a word; so is an emoji.
    """
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    text = APOSTROPHE.sub("'", UNSEEN.sub("", BETWEEN_WORDS.sub(" ", text)))
    for _ in range(2):  # folding may leave what composes, and composing what folds
        text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFKC", text).replace("i\u0307", "i")  # the capital dotted I of Turkish
    words: list[str] = WORD.findall(text)
    return words


def bare(word: str) -> str:
    """A word without apostrophes at its ends, as in 'stop' or dogs'; apostrophes alone are left as they are."""
    return word.strip("'") or word


def pieces_of(text: str) -> list[str]:
    """The parts of the text between blanks, unchanged; in a script without blanks, each character."""
    pieces: list[str] = PIECE.findall(text)
    return pieces


class Tokenizer:
    """The interface of all tokenizers. longest is the number of tokens that are read of a text, or None where there is
    no limit. special_ids are never masked, replaced or deleted by augmentation, nor drawn at random. unknown_id stands
    for a word that the vocabulary cannot spell, and is None where it can spell everything.
    """

    name: str
    longest: int | None
    vocab_size: int
    pad_id: int
    mask_id: int
    special_ids: frozenset[int]
    unknown_id: int | None

    def encode(self, text: str) -> list[int]:
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        raise NotImplementedError

    def is_cut(self, text: str) -> bool:
        """Whether the text has more than `longest` tokens."""
        return False

    def unknown(self, text: str) -> list[str]:
        """The words of the text that the vocabulary cannot spell."""
        return []

    def begins_word(self, ids: np.ndarray) -> np.ndarray:
        """ids (W,) -> (W,) bool: whether each piece begins a word; special tokens count as words."""
        return np.ones(len(ids), dtype=bool)

    def word_numbers(self, ids: np.ndarray) -> np.ndarray:
        """ids (W,) -> (W,) int: the word that each piece belongs to, counted from 0."""
        numbers: np.ndarray = np.maximum(np.cumsum(self.begins_word(ids)) - 1, 0)
        return numbers

    def to_json(self) -> dict[str, Any]:
        raise NotImplementedError


class WordTokenizer(Tokenizer):
    """Lower-case words; 0 pad, 1 unknown, 2 mask, 3 start, 4 end, then the words, the most frequent first.

    A word in single quotes counts as that word, unless the vocabulary has it with its quotes, as one of an earlier
    version may.
    """

    name = "words"
    longest = None
    pad_id, unknown_id, mask_id, start_id, end_id = range(5)
    special_ids = frozenset({0, 2, 3, 4})  # unknown stands for a word, so it can be masked like one

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.ids = {word: i for i, word in enumerate(self.words, start=5)}
        self.vocab_size = len(self.words) + 5

    @classmethod
    def fit(cls, captions: Iterable[str], *, min_count: int = 1) -> "WordTokenizer":
        """The words that occur at least min_count times in the captions, which should be those of the train split."""
        counts = Counter(bare(word) for caption in captions for word in words_of(caption))
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def _number(self, word: str) -> int:
        number = self.ids.get(word)
        return self.ids.get(bare(word), self.unknown_id) if number is None else number

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        ids = [[self._number(word) for word in words_of(text)] for text in texts]
        return [[self.start_id, *(words or [self.unknown_id]), self.end_id] for words in ids]

    def unknown(self, text: str) -> list[str]:
        """The words of the text that no train caption held; the whole text where it holds no word."""
        words = words_of(text)
        return [word for word in words if self._number(word) == self.unknown_id] if words else text.split()

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "words": list(self.words)}

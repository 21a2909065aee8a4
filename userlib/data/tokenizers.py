"""From a caption to a list of token ids, three ways: words counted in the train captions, BERT's pieces, CLIP's pieces.

Raises `UserError` where a vocabulary cannot be fetched, is not the one that a model was trained with, or does not know
the captions that it should be trained on.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import regex

from userlib.data.clip import check_text_tower, tokenizer_of, vocab_size_of
from userlib.data.network import hub_access
from userlib.errors import UserError
from userlib.files import sha256_bytes

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
BETWEEN_WORDS = regex.compile(r"[\u200b\u3000]")  # blanks that are not called so
# What no reader sees: joiners and other format characters, variants of emoji, and the Arabic stretch of a line.
UNSEEN = regex.compile(r"\p{Cf}|[\ufe00-\ufe0f\U000E0100-\U000E01EF\u20e3\u0640\U0001F3FB-\U0001F3FF]")
PIECE = regex.compile(rf"(?V1)[{UNSPACED}]\p{{M}}*|[\S--[{UNSPACED}]]+")
APOSTROPHE = regex.compile(r"(?<=[\p{L}\p{M}])[\u2019\u02bc\u05f3](?=\p{L})")
SAMPLE = 2000  # captions on which it is tried whether a vocabulary knows them


def words_of(text: str) -> list[str]:
    """The words of a text in any script: without case, and in one form of each letter (NFKC).

    English keeps its apostrophes ("dog's"); a script without blanks is read by the character, and an emoji is a word.
    """
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    text = APOSTROPHE.sub("'", UNSEEN.sub("", BETWEEN_WORDS.sub(" ", text)))
    for _ in range(2):  # folding may leave what composes, and composing what folds
        text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFKC", text).replace("i\u0307", "i")  # the capital dotted I of Turkish
    words: list[str] = WORD.findall(text)
    return words


def pieces_of(text: str) -> list[str]:
    """The text between blanks, as it is written; a script without blanks by the character."""
    pieces: list[str] = PIECE.findall(text)
    return pieces


class Tokenizer:
    """longest is the number of tokens that are read of a text, None where it has no end. special_ids are never masked,
    replaced or deleted by augmentation, nor drawn at random. unknown_id stands for what the vocabulary cannot write,
    and is None where it can write everything.
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
        """The words that the vocabulary cannot write."""
        return []

    def begins_word(self, ids: np.ndarray) -> np.ndarray:
        """ids (W,) -> (W,) bool: whether each piece begins a word, as special tokens do."""
        return np.ones(len(ids), dtype=bool)

    def word_numbers(self, ids: np.ndarray) -> np.ndarray:
        """ids (W,) -> (W,), which word each piece is of, counted from 0; the first begins one whatever it is."""
        numbers: np.ndarray = np.maximum(np.cumsum(self.begins_word(ids)) - 1, 0)
        return numbers

    def to_json(self) -> dict[str, Any]:
        raise NotImplementedError


class WordTokenizer(Tokenizer):
    """Lower-case words; 0 pad, 1 unknown, 2 mask, 3 start, 4 end, then words from the most frequent on."""

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
        """The words that occur at least min_count times in the captions: give it those of the train split alone."""
        counts = Counter(word for caption in captions for word in words_of(caption))
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        ids = [[self.ids.get(word, self.unknown_id) for word in words_of(text)] for text in texts]
        return [[self.start_id, *(words or [self.unknown_id]), self.end_id] for words in ids]

    def unknown(self, text: str) -> list[str]:
        """The words of the text that no train caption held; the whole text where it holds no word."""
        words = words_of(text)
        return [word for word in words if word not in self.ids] if words else text.split()

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "words": list(self.words)}


class BertTokenizer(Tokenizer):
    """The WordPiece vocabulary of a BERT on the hub or in a folder; [CLS] and [SEP] included, at most 128 pieces."""

    name = "bert"
    longest = 128

    def __init__(self, name_or_folder: str = "bert-base-uncased", *, sha256: str | None = None) -> None:
        from transformers import AutoTokenizer

        self.source = name_or_folder
        try:
            with hub_access(f"the vocabulary of {self.source!r}"):
                tokens: Any = AutoTokenizer.from_pretrained(self.source, use_fast=True)
        except (OSError, ValueError) as error:
            raise UserError(
                f"There is no vocabulary {self.source!r}: {str(error).strip().splitlines()[0]} Give a folder that "
                "holds a tokenizer.json or vocab.txt, or the hub name of a BERT, and connect to the network the first "
                "time."
            ) from error
        if tokens.mask_token_id is None or tokens.pad_token_id is None:
            raise UserError(
                f"{self.source!r} has no mask or no pad token, as a BERT's vocabulary has. Name a BERT."
            )
        self.sha256 = sha256_bytes(*(f"{word} {i}" for word, i in sorted(tokens.get_vocab().items())))
        if sha256 not in (None, self.sha256):
            raise UserError(
                f"The vocabulary of {self.source!r} is not the one that the model was trained with (sha256 "
                f"{self.sha256[:12]}, expected {str(sha256)[:12]}). Restore the folder or the hub revision of that "
                "time."
            )
        self._tokens, self.vocab_size = tokens, len(tokens)
        self.pad_id, self.mask_id, self.unknown_id = (
            tokens.pad_token_id,
            tokens.mask_token_id,
            tokens.unk_token_id,
        )
        self.special_ids = frozenset(tokens.all_special_ids) - {self.unknown_id}

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return self._cut(texts, self.longest)

    def _cut(self, texts: Sequence[str], longest: int) -> list[list[int]]:
        ids: list[list[int]] = self._tokens(list(texts), truncation=True, max_length=longest)["input_ids"]
        return ids

    def is_cut(self, text: str) -> bool:
        return len(self._cut([text], self.longest + 1)[0]) > self.longest

    def unknown(self, text: str) -> list[str]:
        """The words that the vocabulary cannot even spell."""
        pieces = self._tokens(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = zip(pieces["input_ids"], pieces["offset_mapping"], strict=True)
        strange = [text[first:last] for i, (first, last) in spans if i == self.unknown_id]
        return [word for part in strange for word in words_of(part) or [part]]

    @cached_property
    def _begins(self) -> np.ndarray:
        """(V,) whether a piece begins a word: those with ## go on with the one before them."""
        pieces = self._tokens.convert_ids_to_tokens(list(range(self.vocab_size)))
        return np.array([not piece.startswith("##") for piece in pieces])

    def begins_word(self, ids: np.ndarray) -> np.ndarray:
        begins: np.ndarray = self._begins[ids]
        return begins

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "source": self.source, "sha256": self.sha256}


class ClipTokenizer(Tokenizer):
    """The byte-pair vocabulary of an open_clip model, taken from the model's own name; start and end tokens included.

    Bytes spell everything. CLIP has no mask token: its piece for "*", which captions hardly hold, stands in.
    """

    name = "clip"
    longest: int
    unknown_id = None

    def __init__(self, model: str) -> None:
        self.model = model
        self._tokens = tokenizer_of(model)
        empty = self._tokens("")[0].tolist()
        self.longest, self.pad_id, self.vocab_size = len(empty), empty[-1], vocab_size_of(self._tokens)
        self.special_ids = frozenset(empty)
        self.mask_id = next(i for i in self.encode("*") if i not in self.special_ids)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._unpadded(row) for row in self._tokens(list(texts)).tolist()] if texts else []

    def _unpadded(self, row: list[int]) -> list[int]:
        end = len(row)
        while end > 1 and row[end - 1] == self.pad_id:
            end -= 1
        return row[:end]

    def is_cut(self, text: str) -> bool:
        row = self._tokens([text], context_length=self.longest + 1)[0].tolist()
        return len(self._unpadded(row)) > self.longest

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """(V,) whether a piece begins a word, and whether it ends one: CLIP's own vocabulary marks ends by </w>, a
        byte-level one beginnings by a blank.
        """
        inner, numbers = self._tokens, list(range(self.vocab_size))
        if hasattr(inner, "decoder"):  # open_clip's own
            pieces = [inner.decoder[i] for i in numbers]
        else:
            pieces = inner.tokenizer.convert_ids_to_tokens(numbers)
        begins = np.array([piece.startswith("\u0120") for piece in pieces])
        ends = np.array([piece.endswith("</w>") for piece in pieces])
        begins[sorted(self.special_ids)] = ends[sorted(self.special_ids)] = True
        return begins, ends

    def begins_word(self, ids: np.ndarray) -> np.ndarray:
        begins, ends = self._edges
        first: np.ndarray = begins[ids]
        first[1:] |= ends[ids[:-1]]
        return first

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "model": self.model}


def make_tokenizer(
    name: str,
    captions: Iterable[str],
    *,
    min_count: int = 1,
    model: str | None = None,
    vocabulary: int | None = None,
) -> Tokenizer:
    """`words` fitted to the captions, `bert` or `clip` from `model`. vocabulary: of so many words, those that the
    captions lack taken from the text encoder `model` (userlib.data.vocabulary).

    Raises UserError where more than half of the words of the captions would be unknown: such a model could tell nothing
    by them.
    """
    if name == "words":
        captions = list(captions)
        words = WordTokenizer.fit(captions, min_count=min_count)
        if vocabulary is not None and vocabulary > len(words.words):
            from userlib.data.vocabulary import more_words

            more = more_words(model or "", words.words, vocabulary - len(words.words))
            words = WordTokenizer([*words.words, *more])
        _check_known(words, captions, f"min_count is {min_count}: give a smaller --set data.min_count")
        return words
    if name == "bert":
        bert = BertTokenizer(model or "bert-base-uncased")
        remedy = (
            "name a BERT of this language by --set model.text_model, such as bert-base-multilingual-cased, or count "
            "words with text 'gru'"
        )
        _check_known(bert, list(islice(captions, SAMPLE)), remedy)
        return bert
    if name != "clip":
        raise UserError(f"There is no tokenizer {name!r}; there are words, bert and clip.")
    if not model:
        raise UserError("The CLIP tokenizer is taken from a model; name it, such as ViT-B-32-quickgelu.")
    check_text_tower(model)
    return ClipTokenizer(model)


def unknown_share(tokenizer: Tokenizer, ids: Iterable[int]) -> float:
    """The share of unknown words among the ids that stand for words; 1 where none does."""
    words = [i for i in ids if i not in tokenizer.special_ids]
    return sum(i == tokenizer.unknown_id for i in words) / len(words) if words else 1.0


def _check_known(tokenizer: Tokenizer, captions: Sequence[str], remedy: str) -> None:
    if not captions or tokenizer.unknown_id is None:
        return
    if not any(words_of(caption) for caption in captions):
        raise UserError(
            f"The captions to train on hold no word: the first is {captions[0][:80]!r}. Write captions of letters, or "
            "check that the right column is read."
        )
    share = unknown_share(tokenizer, (i for ids in tokenizer.encode_all(captions) for i in ids))
    if share > 0.5:
        strange = next(word for caption in captions for word in tokenizer.unknown(caption))
        raise UserError(
            f"The vocabulary ({tokenizer.name!r}) does not know {share:.0%} of the words of the captions to train on, "
            f"such as {strange!r}, and nothing could be learned from them. If that is not meant, {remedy}."
        )


def tokenizer_from_json(saved: dict[str, Any]) -> Tokenizer:
    """What `to_json` of a tokenizer gave."""
    try:
        if saved["name"] == "words":
            return WordTokenizer([str(word) for word in saved["words"]])
        if saved["name"] == "bert":
            return BertTokenizer(str(saved["source"]), sha256=str(saved["sha256"]))
        if saved["name"] == "clip":
            return ClipTokenizer(str(saved["model"]))
    except (KeyError, TypeError) as error:
        raise UserError(f"The saved tokenizer lacks {error}. Fetch or train the model again.") from error
    raise UserError(f"The saved tokenizer is called {saved['name']!r}; there are words, bert and clip.")

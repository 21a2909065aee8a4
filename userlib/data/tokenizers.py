"""From captions to token ids, by one of three vocabularies: words counted in the train captions, BERT's pieces, CLIP's
pieces.

Raises `UserError` where a vocabulary cannot be loaded, is not the one that a model was trained with, or lacks most
words of the captions to train on.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from userlib.data.clip import check_text_tower, tokenizer_of, vocab_size_of
from userlib.data.network import hub_access
from userlib.data.words import Tokenizer as Tokenizer
from userlib.data.words import WordTokenizer as WordTokenizer
from userlib.data.words import pieces_of as pieces_of
from userlib.data.words import words_of as words_of
from userlib.errors import UserError, first_line
from userlib.files import sha256_bytes

SAMPLE = 2000  # captions that are checked for unknown words


class BertTokenizer(Tokenizer):
    """The vocabulary of a transformers encoder on the hub or in a folder (BERT's WordPiece, RoBERTa's byte pairs, ...).
    Texts are cut to 128 pieces (fewer, where the encoder reads fewer), which include the start and end tokens.

    sha256: the checksum of the vocabulary that is expected. Raises UserError for another one.
    """

    name = "bert"
    longest = 128

    def __init__(self, name_or_folder: str = "bert-base-uncased", *, sha256: str | None = None) -> None:
        from transformers import AutoTokenizer

        self.source = name_or_folder
        try:
            with hub_access(f"the vocabulary of {self.source!r}"):
                tokens: Any = AutoTokenizer.from_pretrained(self.source, use_fast=True)
        except UserError:
            raise
        except Exception as error:  # OSError, ValueError, and those of the library that reads the file
            raise UserError(
                f"There is no vocabulary {self.source!r}: {first_line(error)} Give a folder that "
                "holds a tokenizer.json or vocab.txt, or the hub name of an encoder, and connect to the network the "
                "first time."
            ) from error
        if tokens.mask_token_id is None or tokens.pad_token_id is None:
            raise UserError(
                f"{self.source!r} has no mask or no pad token, as a BERT's vocabulary has. Name a BERT, or another "
                "encoder that was trained on masked words."
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
        self.longest = min(128, tokens.model_max_length)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return self._cut(texts, self.longest)

    def _cut(self, texts: Sequence[str], longest: int) -> list[list[int]]:
        ids: list[list[int]] = self._tokens(list(texts), truncation=True, max_length=longest)["input_ids"]
        return ids

    def is_cut(self, text: str) -> bool:
        return len(self._cut([text], self.longest + 1)[0]) > self.longest

    def unknown(self, text: str) -> list[str]:
        """The words of the text that the vocabulary cannot spell even in pieces."""
        pieces = self._tokens(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = zip(pieces["input_ids"], pieces["offset_mapping"], strict=True)
        strange = [text[first:last] for i, (first, last) in spans if i == self.unknown_id]
        return [word for part in strange for word in words_of(part) or [part]]

    @cached_property
    def _begins(self) -> np.ndarray:
        """(V,) bool, whether a piece begins a word. WordPiece marks pieces that continue a word by ##; byte pairs and
        SentencePiece mark those that begin one by a letter that stands for the blank.
        """
        pieces = self._tokens.convert_ids_to_tokens(list(range(self.vocab_size)))
        if any(piece.startswith("##") for piece in pieces):
            return np.array([not piece.startswith("##") for piece in pieces])
        begins = np.array([piece.startswith(("\u0120", "\u2581")) for piece in pieces])
        begins[sorted(self.special_ids)] = True
        return begins if begins.sum() > len(self.special_ids) else np.ones_like(begins)

    def begins_word(self, ids: np.ndarray) -> np.ndarray:
        begins: np.ndarray = self._begins[ids]
        return begins

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "source": self.source, "sha256": self.sha256}


class ClipTokenizer(Tokenizer):
    """The byte-pair vocabulary of the open_clip model called `model`; ids include the start and end tokens.

    No word is unknown, as bytes spell everything. CLIP has no mask token: its piece for "*", which is rare in captions,
    is used instead.
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
        # 1 where texts end by what pads them (of HF's CLIPTokenizer both are one token), which then stays once
        self._end = int(self._tokens("* " * self.longest)[0, -1] == self.pad_id)
        self.mask_id = next(i for i in self.encode("*") if i not in self.special_ids)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._unpadded(row) for row in self._tokens(list(texts)).tolist()] if texts else []

    def _unpadded(self, row: list[int]) -> list[int]:
        end = len(row)
        while end > 1 and row[end - 1] == row[end - 1 - self._end] == self.pad_id:
            end -= 1
        return row[:end]

    def is_cut(self, text: str) -> bool:
        row = self._tokens([text], context_length=self.longest + 1)[0].tolist()
        return len(self._unpadded(row)) > self.longest

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """(V,) bool, whether a piece begins a word, and the same for ending one: CLIP's own vocabulary marks ends by
        </w>, a byte-level one beginnings by a letter that stands for the blank.
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
    """The tokenizer `words` fitted to the captions, or `bert` or `clip` from `model`. vocabulary: the number of words
    that `words` should have; those that the captions lack come from the text encoder `model` (vocabulary.py).

    Raises UserError for another name, and where more than half of the captions' words would be unknown, as a model
    could not learn from them.
    """
    if name == "words":
        captions = list(captions)
        words = WordTokenizer.fit(captions, min_count=min_count)
        if vocabulary is not None and vocabulary > len(words.words):
            from userlib.data.vocabulary import more_words

            more = more_words(model or "", words.words, vocabulary - len(words.words))
            words = WordTokenizer([*words.words, *more])
        _check_known(words, captions, f"set data.min_count to less than {min_count}")
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
        raise UserError(f"There is no tokenizer {name!r}; choose words, bert or clip.")
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
            f"such as {strange!r}, so that a model could not learn from them. To change this, {remedy}."
        )


def tokenizer_from_json(saved: dict[str, Any]) -> Tokenizer:
    """The tokenizer whose `to_json` gave `saved`. Raises UserError for anything else."""
    try:
        if saved["name"] == "words":
            return WordTokenizer([str(word) for word in saved["words"]])
        if saved["name"] == "bert":
            return BertTokenizer(str(saved["source"]), sha256=str(saved["sha256"]))
        if saved["name"] == "clip":
            return ClipTokenizer(str(saved["model"]))
    except (KeyError, TypeError) as error:
        raise UserError(f"The saved tokenizer lacks {error}. Fetch or train the model again.") from error
    raise UserError(
        f"The saved tokenizer is called {saved['name']!r}, not words, bert or clip. Fetch or train the model again."
    )

"""From a caption to a list of word numbers, three ways: words counted in the train captions, BERT's pieces,
CLIP's pieces.

Raises `UserError` where a vocabulary cannot be fetched or is not the one that a model was trained with.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol

from userlib.errors import UserError
from userlib.files import sha256_bytes

WORD = re.compile(r"[a-z0-9']+")


class Tokenizer(Protocol):
    """special_ids are never masked, replaced or deleted by augmentation, nor drawn at random."""

    name: str

    @property
    def vocab_size(self) -> int: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def mask_id(self) -> int: ...
    @property
    def special_ids(self) -> frozenset[int]: ...

    def encode(self, text: str) -> list[int]: ...
    def encode_all(self, texts: Sequence[str]) -> list[list[int]]: ...
    def unknown(self, text: str) -> list[str]: ...
    def to_json(self) -> dict[str, Any]: ...


class WordTokenizer:
    """Lower-case words; 0 pad, 1 unknown, 2 mask, 3 start, 4 end, then words from the most frequent on."""

    name = "words"
    pad_id, unknown_id, mask_id, start_id, end_id = range(5)
    special_ids = frozenset({0, 2, 3, 4})  # unknown stands for a word, so it can be masked like one

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.ids = {word: i for i, word in enumerate(self.words, start=5)}

    @classmethod
    def fit(cls, captions: Iterable[str], *, min_count: int = 1) -> "WordTokenizer":
        """The words that occur at least min_count times in the captions: give it those of the train split
        alone.
        """
        counts = Counter(word for caption in captions for word in WORD.findall(caption.lower()))
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    @property
    def vocab_size(self) -> int:
        return len(self.words) + 5

    def encode(self, text: str) -> list[int]:
        ids = [self.ids.get(word, self.unknown_id) for word in WORD.findall(text.lower())]
        return [self.start_id, *(ids or [self.unknown_id]), self.end_id]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def unknown(self, text: str) -> list[str]:
        """The words of the text that no train caption held."""
        return [word for word in WORD.findall(text.lower()) if word not in self.ids]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "words": list(self.words)}


class BertTokenizer:
    """The WordPiece vocabulary of a BERT on the hub or in a folder; [CLS] and [SEP] included, at most 128
    pieces.
    """

    name = "bert"
    longest = 128

    def __init__(self, name_or_folder: str = "bert-base-uncased", *, sha256: str | None = None) -> None:
        self.source = name_or_folder
        self.sha256 = sha256_bytes(*(f"{word} {i}" for word, i in sorted(self._tokens.get_vocab().items())))
        if sha256 not in (None, self.sha256):
            raise UserError(
                f"The vocabulary of {name_or_folder!r} is not the one that the model was trained with "
                f"(sha256 {self.sha256[:12]}, expected {str(sha256)[:12]}). Restore the folder or the hub "
                "revision of that time."
            )

    @cached_property
    def _tokens(self) -> Any:
        from transformers import AutoTokenizer

        from userlib.data.network import hub_access

        try:
            with hub_access(f"the vocabulary of {self.source!r}"):
                tokens = AutoTokenizer.from_pretrained(self.source, use_fast=True)
        except (OSError, ValueError) as error:
            raise UserError(
                f"There is no vocabulary {self.source!r}: {str(error).strip().splitlines()[0]} Give a folder "
                "that holds a tokenizer.json or vocab.txt, or the hub name of a BERT, and connect to the "
                "network the first time."
            ) from error
        if tokens.mask_token_id is None or tokens.pad_token_id is None:
            raise UserError(
                f"The vocabulary {self.source!r} has no mask or no pad token, as a BERT's has. Name a BERT."
            )
        return tokens

    @property
    def vocab_size(self) -> int:
        return len(self._tokens)

    @property
    def pad_id(self) -> int:
        return int(self._tokens.pad_token_id)

    @property
    def mask_id(self) -> int:
        return int(self._tokens.mask_token_id)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(set(self._tokens.all_special_ids) - {self._tokens.unk_token_id})

    def encode(self, text: str) -> list[int]:
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self._tokens(list(texts), truncation=True, max_length=self.longest)[
            "input_ids"
        ]
        return found

    def unknown(self, text: str) -> list[str]:
        """The words that the vocabulary cannot even spell."""
        unk = self._tokens.unk_token_id
        return [
            word
            for word in WORD.findall(text.lower())
            if unk in self._tokens(word, add_special_tokens=False)["input_ids"]
        ]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "source": self.source, "sha256": self.sha256}


class ClipTokenizer:
    """The byte-pair vocabulary of an open_clip model, taken from the model's own name; start and end tokens
    included.

    CLIP has no mask token: its piece for "*", which captions hardly hold, stands in.
    """

    name = "clip"

    def __init__(self, model: str) -> None:
        self.model = model
        self._encoded_mask = self.encode("*")

    @cached_property
    def _tokens(self) -> Any:
        from userlib.data.clip import tokenizer_of

        return tokenizer_of(self.model)

    @cached_property
    def vocab_size(self) -> int:
        inner = self._tokens
        return int(inner.vocab_size) if hasattr(inner, "vocab_size") else len(inner.tokenizer)

    @cached_property
    def pad_id(self) -> int:
        return int(self._tokens("")[0, -1])

    @property
    def mask_id(self) -> int:
        return next(i for i in self._encoded_mask if i not in self.special_ids)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self.encode("")) | {self.pad_id}

    def encode(self, text: str) -> list[int]:
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        rows: list[list[int]] = self._tokens(list(texts)).tolist() if texts else []
        return [_unpadded(row, self.pad_id) for row in rows]

    def unknown(self, text: str) -> list[str]:
        """Bytes spell everything."""
        return []

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "model": self.model}


def _unpadded(row: list[int], pad: int) -> list[int]:
    end = len(row)
    while end > 1 and row[end - 1] == pad:
        end -= 1
    return row[:end]


def make_tokenizer(
    name: str, captions: Iterable[str], *, min_count: int = 1, model: str | None = None
) -> Tokenizer:
    """`words` fitted to the captions, `bert` or `clip` from `model`."""
    if name == "words":
        return WordTokenizer.fit(captions, min_count=min_count)
    if name == "bert":
        return BertTokenizer(model or "bert-base-uncased")
    if name == "clip" and model:
        from userlib.data.clip import check_text_tower

        check_text_tower(model)
        return ClipTokenizer(model)
    if name == "clip":
        raise UserError(
            "The CLIP tokenizer is taken from a model; name it, such as text_model ViT-B-32-quickgelu."
        )
    raise UserError(f"There is no tokenizer {name!r}; there are words, bert and clip.")


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
        raise UserError(
            f"The saved tokenizer lacks {error}; its file is damaged. Train or fetch the model again."
        ) from error
    raise UserError(f"The saved tokenizer is called {saved['name']!r}; there are words, bert and clip.")

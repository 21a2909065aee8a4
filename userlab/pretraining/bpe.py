"""A byte-level byte-pair vocabulary (Sennrich et al., ACL 2016, on bytes as in GPT-2), learned from captions and saved
as the tokenizer files that open_clip reads.

A word is written with a leading space, as bytes; the most frequent pair of neighbouring pieces becomes a new piece,
repeatedly. Bytes spell every text, so no word is unknown. Ids: 0 pad, 1 to 256 the bytes, then pieces in the order in
which they were learned, start, end. The end has the highest id, because CLIP's text tower takes its vector from the
position of the largest id.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from userlib.files import write_json

PAD, START, END = "<pad>", "<start_of_text>", "<end_of_text>"
LETTERS = "bcdfghjklmnpqrstvwxyz", "aeiou"
# English words that say nothing about an image: each has a piece of its own, and training puts some into captions.
FILLERS = (
    "a an the this that these there here is are was were be been being it its they their has have having which "
    "who with while as at by for from of to and also some very just really one can you see we i shows showing "
    "seen picture image photo photograph drawing scene view of where during some sort kind his her my your our "
    "please find look looks like nice lovely during among into through over up down out about"
).split()


def words_of(captions: Iterable[str]) -> Counter[str]:
    """The counts of all words (runs of letters, digits or signs) in lower case, spelled in byte letters with the
    leading space.
    """
    from tokenizers import normalizers, pre_tokenizers

    lower, split = normalizers.Lowercase(), pre_tokenizers.ByteLevel(add_prefix_space=True)
    whole = Counter(captions)
    counts: Counter[str] = Counter()
    for text, times in whole.items():
        for word, _ in split.pre_tokenize_str(lower.normalize_str(text)):
            counts[word] += times
    return counts


def learn_merges(words: Counter[str], most: int) -> list[tuple[str, str]]:
    """Up to `most` pairs in the order in which they are merged; of equally frequent pairs the alphabetically first.
    Fewer where every word has become one piece.
    """
    pieces = {word: list(word) for word in words}
    counts: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[str]] = {}
    for word, parts in pieces.items():
        _count(counts, where, word, parts, words[word])
    merges: list[tuple[str, str]] = []
    while len(merges) < most and counts:
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for word in sorted(where[best]):
            _count(counts, where, word, pieces[word], -words[word])
            pieces[word] = join(pieces[word], best)
            _count(counts, where, word, pieces[word], words[word])
    return merges


def _count(
    counts: Counter[tuple[str, str]],
    where: dict[tuple[str, str], set[str]],
    word: str,
    parts: list[str],
    times: int,
) -> None:
    """Adds a word's pairs `times` times (removes them where negative); a pair that no longer occurs is deleted."""
    for pair in zip(parts, parts[1:], strict=False):
        counts[pair] += times
        where.setdefault(pair, set())
        if counts[pair] == 0:
            del counts[pair]
        (where[pair].add if times > 0 else where[pair].discard)(word)


def join(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """The parts with each occurrence of the pair merged, from left to right."""
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


def save_tokenizer(folder: Path, merges: list[tuple[str, str]], context: int) -> None:
    """Writes tokenizer.json and tokenizer_config.json, as transformers reads them from a model's folder."""
    make_tokenizer(merges).save(str(folder / "tokenizer.json"))
    names = {"bos_token": START, "eos_token": END, "pad_token": PAD}
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context, **names},
    )


def make_tokenizer(merges: list[tuple[str, str]]) -> Any:
    """The `tokenizers.Tokenizer` of the merges, which puts start and end around a text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = [PAD, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges), START, END]
    ids = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in (PAD, START, END)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(name, ids[name]) for name in (START, END)]
    )
    return tokenizer


class Writer:
    """Captions as ids for training, augmented so that the network later copes with unknown words.

    With probability `cut` a word is split in two and each half spelled by itself, so that small pieces get a meaning;
    with probability `noise` fillers or made-up words are inserted, so that the network learns to ignore them.
    """

    def __init__(self, merges: list[tuple[str, str]], *, context: int, cut: float, noise: float) -> None:
        self.tokenizer = make_tokenizer(merges)
        self.context, self.cut, self.noise = context, cut, noise
        self.start, self.end = (self.tokenizer.token_to_id(name) for name in (START, END))
        self.known: dict[str, list[int]] = {}

    def ids(self, word: str) -> list[int]:
        """The ids of one word, without start and end."""
        if word not in self.known:
            self.known[word] = self.tokenizer.encode(word, add_special_tokens=False).ids
        return self.known[word]

    def __call__(self, text: str, rng: np.random.Generator) -> list[int]:
        """`context` ids: cut to that length with the end kept, or padded with 0."""
        words = text.split()
        if rng.random() < self.noise:
            for _ in range(int(rng.integers(1, 4))):
                word = made_up(rng) if rng.random() < 0.2 else FILLERS[int(rng.integers(len(FILLERS)))]
                words.insert(int(rng.integers(len(words) + 1)), word)
        place = int(rng.integers(len(words))) if rng.random() < self.cut else -1
        ids = [self.start]
        for i, word in enumerate(words):
            if i == place and len(word) > 1:
                at = int(rng.integers(1, len(word)))
                ids += self.ids(word[:at]) + self.ids(word[at:])
            else:
                ids += self.ids(word)
        ids = [*ids[: self.context - 1], self.end]
        return ids + [0] * (self.context - len(ids))


def made_up(rng: np.random.Generator) -> str:
    """A random word of one to four syllables."""
    return "".join(
        letters[int(rng.integers(len(letters)))]
        for _ in range(int(rng.integers(1, 5)))
        for letters in LETTERS
    )

"""What each split may contain: held-out combinations, and which scene graphs belong to it.

For each kind three colours and one pattern, and for each relation a quarter of its subjects, are held out by a
hash of the words. Train, val and the in-distribution half of test contain no such pair, the half of novel
compositions contains only such pairs, pretrain contains all.
"""

from __future__ import annotations

import functools
import zlib

from .catalog import KINDS, TRAIN_COLOURS, TRAIN_PATTERNS, VERBS

SPLITS = ("train", "val", "test", "pretrain", "train_more")
SIZES = {"train": 4_000, "val": 500, "test": 1_000, "pretrain": 200_000, "train_more": 12_000}
BUCKETS = {"test": (0,), "val": (1,)}  # of Scene.bucket(); the other splits share the rest
OTHER_BUCKETS = (2, 3, 4, 5, 6, 7)
SEEN, NEW = "in-distribution", "novel compositions"


@functools.cache
def _kept_back(words: tuple[str, ...], salt: str, number: int) -> frozenset[str]:
    """The `number` words whose hash with the salt is lowest."""
    return frozenset(sorted(words, key=lambda w: zlib.crc32(f"{w} {salt}".encode()))[:number])


@functools.cache
def held_out(kind: str, word: str) -> bool:
    """Whether the pair of a kind and a colour, a pattern, or a relation of which it is the subject, is held out."""
    if word in TRAIN_COLOURS:
        return word in _kept_back(TRAIN_COLOURS, kind, 3)
    if word in TRAIN_PATTERNS:
        return word in _kept_back(TRAIN_PATTERNS, kind, 1)
    if word in VERBS:
        subjects = tuple(k for k in VERBS[word][0] if not KINDS[k].extra)
        return kind in _kept_back(subjects, word, max(1, len(subjects) // 4))
    return False


def allowed(kind: str, word: str, half: str) -> bool:
    """Whether a scene of that half (SEEN, NEW, or "" for pretrain, which may hold any pair) may hold the pair."""
    return half == "" or held_out(kind, word) == (half == NEW)


def half_of(split: str, index: int) -> str:
    """SEEN and NEW alternately in test, so that every prefix of even length has equally many of both; else ""."""
    return (SEEN, NEW)[index % 2] if split == "test" else ""

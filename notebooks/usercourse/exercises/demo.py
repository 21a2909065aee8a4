"""Exercises of notebook 13: words against regions, ranks of two models, what a caption is true of."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from usercourse.checks import Exercise, Unusable
from usercourse.values import kind

WORDS = torch.tensor([[1.0, 0.0, 2.0], [0.5, 0.5, 0.0]])
REGIONS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 0.5]])
MORE = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
FIELD = torch.randn(6, 7, generator=torch.Generator().manual_seed(2))


def word_region_similarity(words: Any, regions: Any) -> Any:
    return F.normalize(words, dim=-1) @ F.normalize(regions, dim=-1).T


def rank_changes(first: Any, second: Any) -> Any:
    place = {name: rank for rank, name in enumerate(second)}
    return {name: place[name] - rank if name in place else None for rank, name in enumerate(first)}


def _as_dict(answer: Any, first: Any, second: Any) -> Any:
    """The gains by id. Unusable for what is not a dict or pairs of id and gain."""
    gains = answer(first, second)
    if gains is None or isinstance(gains, Mapping):
        return gains
    if hasattr(gains, "to_dict"):  # a Series of pandas
        return gains.to_dict()
    if isinstance(gains, (list, tuple)) and all(
        isinstance(one, (list, tuple)) and len(one) == 2 for one in gains
    ):
        return dict(gains)
    raise Unusable(
        f"The answer is a dict, {{id: ranks gained, or None}}; yours is {kind(gains)}. Write each gain next to its id."
    )


def _turned(first: Any, second: Any) -> Any:
    return {name: None if gain is None else -gain for name, gain in rank_changes(first, second).items()}


def _by_second(first: Any, second: Any) -> Any:
    return {name: None if gain is None else -gain for name, gain in rank_changes(second, first).items()}


def _absent_is_zero(first: Any, second: Any) -> Any:
    return {name: gain or 0 for name, gain in rank_changes(first, second).items()}


def true_of(caption: Any, pictures: Any) -> Any:
    return [i for i, picture in enumerate(pictures) if caption <= picture]


def _in_order(answer: Any, caption: Any, pictures: Any) -> Any:
    """The indices from small to large: which images they are is asked, not in which order."""
    indices = answer(caption, pictures)
    if isinstance(indices, (set, frozenset)):
        return sorted(indices)
    if isinstance(indices, (list, tuple)) and all(type(one) is int for one in indices):
        return sorted(indices)
    return indices


CAPTION = frozenset({"a dog", "a red ball", "beach"})
PICTURES = [
    frozenset({"a dog", "a red ball", "beach", "a cat"}),
    frozenset({"a dog", "beach"}),
    frozenset({"a dog", "a red ball", "beach"}),
    frozenset({"a horse", "farm"}),
    frozenset({"a dog", "a blue ball", "beach", "a boat"}),
]

EXERCISES = [
    Exercise(
        name="word_region_similarity",
        right=word_region_similarity,
        cases=[(WORDS, REGIONS), (MORE, FIELD)],
        mistakes={
            "A cosine needs both sides L2-normalised: regions of large norm win every word here.": lambda w, r: (
                F.normalize(w, dim=-1) @ r.T
            ),
            "Neither side has unit norm: these are dot products, not cosines.": lambda w, r: w @ r.T,
            "A row for each word and a column for each region: this is the transpose.": lambda w, r: (
                word_region_similarity(w, r).T
            ),
            "Each vector has to have unit norm over its own dimensions: normalise over the last axis, not over "
            "the words.": lambda w, r: F.normalize(w, dim=0) @ F.normalize(r, dim=0).T,
        },
        praise="Rows are words, columns are regions, and every entry lies between -1 and 1.",
    ),
    Exercise(
        name="rank_changes",
        right=rank_changes,
        probe=_as_dict,
        cases=[
            (["a", "b", "c"], ["c", "b", "a"]),
            (["a", "b", "x"], ["b", "a", "c"]),
            (["p", "q", "r", "s"], ["s", "p", "q", "t"]),
        ],
        mistakes={
            "A gain is positive when the first model ranks the image better, that is at a smaller rank: the "
            "sign is reversed.": _turned,
            "The answer is about the images of the first list, each of them once; these are those of the "
            "second.": _by_second,
            "An image that the second list lacks has no known rank there: that is None, while 0 says that "
            "both ranks are equal.": _absent_is_zero,
        },
        praise="Gains are positive, and what is not in both lists has none.",
    ),
    Exercise(
        name="true_of",
        right=true_of,
        probe=_in_order,
        cases=[
            (CAPTION, PICTURES),
            (frozenset({"farm"}), PICTURES),
            (frozenset({"a dog", "beach"}), PICTURES),
            (frozenset({"a zebra"}), PICTURES),
        ],
        mistakes={
            "One fact in common is not enough: every fact of the caption must hold.": lambda c, p: (
                [i for i, one in enumerate(p) if c & one]
            ),
            "The subset goes the other way: an image may show more than the caption says, not "
            "less.": lambda c, p: [i for i, one in enumerate(p) if one <= c],
            "They need not be equal: a caption leaves things unsaid and stays true.": lambda c, p: (
                [i for i, one in enumerate(p) if one == c]
            ),
        },
        praise="A caption is true where all its facts hold, whatever else there is.",
    ),
]

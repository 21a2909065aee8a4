"""Exercises of notebook 13: words against regions, a search among some images, the words that matter, ranks of two
models, what a caption is true of.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
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


# --- search_shown: a search among some of the images ---------------------------------------------------------
def search_shown(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    rows = np.flatnonzero(shown)
    return rows[np.argsort(-(gallery[rows] @ query), kind="stable")[:k]]


def _places_best_last(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    return np.argsort(gallery[shown] @ query)[-k:]


def _places(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    return np.argsort(-(gallery[shown] @ query), kind="stable")[:k]


def _best_last(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    return np.flatnonzero(shown)[_places_best_last(query, gallery, shown, k)]


def _hidden_at(value: float) -> Any:
    return lambda query, gallery, shown, k: np.argsort(
        -np.where(shown, gallery @ query, value), kind="stable"
    )[:k]


def _cut_before_filter(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    rows = np.argsort(-(gallery @ query), kind="stable")[:k]
    return rows[shown[rows]]


def _worst_of_them(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    return search_shown(-query, gallery, shown, k)


def _scores_of_them(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    return (gallery @ query)[search_shown(query, gallery, shown, k)]


def _all_of_them(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    return search_shown(query, gallery, np.ones_like(shown), k)


def _the_hidden(query: Any, gallery: Any, shown: Any, k: int) -> Any:
    return search_shown(query, gallery, ~shown, k)


def _search_case(seed: int, images: int, shown: int, k: int, turned: float = 1.0) -> tuple[Any, ...]:
    """turned: -1 for a query that is unlike every image that is shown."""
    rng = np.random.default_rng(seed)
    gallery = rng.standard_normal((images, 4))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    query, is_shown = gallery[0], np.zeros(images, bool)
    order = np.argsort(turned * -(gallery @ query))
    is_shown[rng.choice(images, shown, replace=False) if turned > 0 else order[:shown]] = True
    return query, gallery, is_shown, k


# --- word_importance: the words that matter ------------------------------------------------------------------
def word_importance(encode: Any, words: Any, image: Any) -> Any:
    return _falls(encode, words, image, lambda i: words[:i] + words[i + 1 :])


def _falls(encode: Any, words: Any, image: Any, left: Callable[[int], Any]) -> Any:
    whole = encode(words) @ image
    return torch.stack([whole - encode(left(i)) @ image for i in range(len(words))])


def _rises(encode: Any, words: Any, image: Any) -> Any:
    return -word_importance(encode, words, image)


def _alone(encode: Any, words: Any, image: Any) -> Any:
    return torch.stack([encode([word]) @ image for word in words])


def _without(encode: Any, words: Any, image: Any) -> Any:
    return encode(words) @ image - word_importance(encode, words, image)


def _equal_words_too(encode: Any, words: Any, image: Any) -> Any:
    return _falls(encode, words, image, lambda i: [word for word in words if word != words[i]])


def _first_equal_word(encode: Any, words: Any, image: Any) -> Any:
    def left(i: int) -> Any:
        first = words.index(words[i])
        return words[:first] + words[first + 1 :]

    return _falls(encode, words, image, left)


def _one_after_the_other(encode: Any, words: Any, image: Any) -> Any:
    return _falls(encode, words, image, lambda i: words[i + 1 :] or words[-1:])


def _as_it_is_typed(encode: Any, words: Any, image: Any) -> Any:
    scores = [0.0] + [encode(words[: i + 1]) @ image for i in range(len(words))]
    return torch.tensor([now - before for before, now in zip(scores, scores[1:], strict=False)])


def _placeholder(encode: Any, words: Any, image: Any) -> Any:
    return _falls(encode, words, image, lambda i: [*words[:i], "", *words[i + 1 :]])


def _sizes_alone(encode: Any, words: Any, image: Any) -> Any:
    return word_importance(encode, words, image).abs()


def _as_shares(encode: Any, words: Any, image: Any) -> Any:
    return torch.softmax(word_importance(encode, words, image), 0)


def small_encoder(words: Any) -> Any:
    """A list of words -> (5,), unit norm. Where a word stands counts, as in a BiGRU."""
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise TypeError("encode takes a list of words")
    if not len(words):
        raise ValueError("encode was given no words")
    total = torch.zeros(5)
    for i, word in enumerate(words):
        draw = torch.Generator().manual_seed(zlib.crc32(word.encode()))
        total += (1 + 0.2 * i) * torch.randn(5, generator=draw)
    return F.normalize(total, dim=0)


def _words_case(seed: int, text: str) -> tuple[Any, ...]:
    image = torch.randn(5, generator=torch.Generator().manual_seed(seed))
    return small_encoder, text.split(), F.normalize(image, dim=0)


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
        name="search_shown",
        right=search_shown,
        cases=[
            _search_case(0, 60, 30, 8),
            _search_case(1, 40, 4, 6),
            _search_case(2, 30, 9, 5, turned=-1.0),
            _search_case(3, 12, 12, 1),
        ],
        mistakes={
            "That is the function as it stood. `gallery[shown]` counts its rows from 0, so that the places are not "
            "those of the gallery; and the last k of a sort are the k best, but the best is last.": _places_best_last,
            "One of the two is found, the order. The other: `gallery[shown]` counts its rows from 0; translate the "
            "places back to rows of the gallery.": _places,
            "One of the two is found, the rows. The other: the last k of a sort are the k best, but the best of them "
            "is last.": _best_last,
            "A hidden image with a score of 0 stands before every image whose cosine is negative.": _hidden_at(
                0.0
            ),
            "Where fewer than k images are shown, hidden ones fill the list.": _hidden_at(-np.inf),
            "The list is cut to k before the filter, so that hits are missing: filter first, then cut.": (
                _cut_before_filter
            ),
            "The best hit has the largest cosine; yours begins with the smallest.": _worst_of_them,
            "Wanted are the rows of the hits, not their scores.": _scores_of_them,
            "The filter is not used: images that are hidden are hits.": _all_of_them,
            "`shown` is True for an image that may be found; yours searches the others.": _the_hidden,
        },
        praise="A test with every image shown and k = 1 sees neither fault.",
    ),
    Exercise(
        name="word_importance",
        right=word_importance,
        cases=[
            _words_case(0, "a penguin rides a scooter"),
            _words_case(1, "two dogs on the beach"),
            _words_case(2, "a red ball and a red car"),
        ],
        mistakes={
            "An important word is one without which the score falls: with it minus without it. The sign is "
            "reversed.": _rises,
            "That is each word as a query of its own. What a word does depends on the others: leave it out.": _alone,
            "These are the scores without each word. Wanted is by how much they are lower than that of the whole "
            "query.": _without,
            "Every word that is equal goes as well: *a* and *red* may stand in a query twice. Leave out a position, "
            "not a value.": _equal_words_too,
            "`words.index` and `words.remove` find the first of two equal words. Leave out the position "
            "itself.": _first_equal_word,
            "The words that were left out before are still missing. Each word is left out of the whole "
            "query.": _one_after_the_other,
            "That is the gain as the query is typed, word by word. Leave each word out of the whole query.": (
                _as_it_is_typed
            ),
            "A placeholder remains in the query as a word of its own; the list has to become shorter.": _placeholder,
            "A negative importance says that the score rises without the word: keep the sign.": _sizes_alone,
            "Shares of a softmax hide the sign and the size; the fall of the score is the answer.": _as_shares,
        },
        praise="It says what this model does with the query, not what the word means.",
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

"""Exercises of notebook 05: position codes, pooling by sorted ranks, attention that skips padding, a text encoder that
reads it.
"""

import math
from typing import Any

import torch
from torch import Tensor

from usercourse.checks import Exercise
from userlib.model.pooling import position_codes


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- rank_codes ------------------------------------------------------------------------------------------------
def rank_codes(n: int, width: int) -> Any:
    return position_codes(n, width)


def _angles(n: int, width: int, *, first: int = 0, base: float = 10_000.0) -> Tensor:
    return (torch.arange(n) + first)[:, None] / base ** (torch.arange(0, width, 2) / width)


def _woven(angles: Tensor) -> Tensor:
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def _from_one(n: int, width: int) -> Any:
    return _woven(_angles(n, width, first=1))


def _in_halves(n: int, width: int) -> Any:
    return torch.cat([_angles(n, width).sin(), _angles(n, width).cos()], 1)


def _cosine_first(n: int, width: int) -> Any:
    return torch.stack([_angles(n, width).cos(), _angles(n, width).sin()], -1).flatten(1)


def _sines_alone(n: int, width: int) -> Any:
    return _angles(n, width).sin().repeat_interleave(2, dim=1)


def _one_frequency(n: int, width: int) -> Any:
    return _woven(_angles(n, width, base=1.0))


def _step_by_step(n: int, width: int) -> Any:
    return _woven(torch.arange(n)[:, None] / 10_000 ** (torch.arange(width // 2) / width))


def _turned(n: int, width: int) -> Any:
    return rank_codes(n, width).T


def _degrees(n: int, width: int) -> Any:
    return _woven(torch.deg2rad(_angles(n, width)))


# --- pool_ranks ------------------------------------------------------------------------------------------------
def pool_ranks(vectors: Any, scores: Any) -> Any:
    weights = (scores / 0.1).softmax(0)
    return weights @ vectors.sort(0, descending=True).values


def _ascending(vectors: Any, scores: Any) -> Any:
    return (scores / 0.1).softmax(0) @ vectors.sort(0).values


def _unsorted(vectors: Any, scores: Any) -> Any:
    return (scores / 0.1).softmax(0) @ vectors


def _no_temperature(vectors: Any, scores: Any) -> Any:
    return scores.softmax(0) @ vectors.sort(0, descending=True).values


def _multiplied(vectors: Any, scores: Any) -> Any:
    return (scores * 0.1).softmax(0) @ vectors.sort(0, descending=True).values


def _no_softmax(vectors: Any, scores: Any) -> Any:
    return (scores / 0.1) @ vectors.sort(0, descending=True).values


def _whole_vectors(vectors: Any, scores: Any) -> Any:
    return (scores / 0.1).softmax(0) @ vectors[vectors.norm(dim=1).argsort(descending=True)]


def _over_channels(vectors: Any, scores: Any) -> Any:
    return (scores / 0.1).softmax(0) @ vectors.sort(1, descending=True).values


def _mean_of_weighted(vectors: Any, scores: Any) -> Any:
    return pool_ranks(vectors, scores) / len(vectors)


# --- attend ----------------------------------------------------------------------------------------------------
def attend(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    scores = Q @ K.transpose(1, 2) / math.sqrt(Q.shape[-1])
    return scores.masked_fill(~mask.unsqueeze(1), -math.inf).softmax(-1) @ V


def _scores(Q: Any, K: Any) -> Any:
    return Q @ K.transpose(1, 2) / math.sqrt(Q.shape[-1])


def _padding_read(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    return _scores(Q, K).softmax(-1) @ V


def _masked_by_zero(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    return _scores(Q, K).masked_fill(~mask.unsqueeze(1), 0.0).softmax(-1) @ V


def _masked_after(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    return _scores(Q, K).softmax(-1).masked_fill(~mask.unsqueeze(1), 0.0) @ V


def _queries_masked(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    return (_scores(Q, K).softmax(-1) @ V).masked_fill(~mask.unsqueeze(-1), 0.0)


def _unscaled(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    return (Q @ K.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), -math.inf).softmax(-1) @ V


def _scaled_by_width(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    return (_scores(Q, K) / math.sqrt(Q.shape[-1])).masked_fill(~mask.unsqueeze(1), -math.inf).softmax(-1) @ V


def _over_queries(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    return _scores(Q, K).masked_fill(~mask.unsqueeze(1), -1e9).softmax(1) @ V


def _mask_inverted(Q: Any, K: Any, V: Any, mask: Any) -> Any:
    return _scores(Q, K).masked_fill(mask.unsqueeze(1), -math.inf).softmax(-1) @ V


# --- turn: the backward direction ------------------------------------------------------------------------------
def turn(x: Any, lengths: Any) -> Any:
    place = torch.arange(x.shape[1])
    index = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    return x.gather(1, index.unsqueeze(-1).expand_as(x))


def _flipped(x: Any, lengths: Any) -> Any:
    return x.flip(1)


def _one_too_far(x: Any, lengths: Any) -> Any:
    place = torch.arange(x.shape[1])
    index = torch.where(place < lengths[:, None], (lengths[:, None] - place).clamp(max=x.shape[1] - 1), place)
    return x.gather(1, index.unsqueeze(-1).expand_as(x))


def _zeros_behind(x: Any, lengths: Any) -> Any:
    return turn(x, lengths) * (torch.arange(x.shape[1]) < lengths[:, None]).unsqueeze(-1)


def _longest_for_all(x: Any, lengths: Any) -> Any:
    return turn(x, lengths.max().expand(len(x)))


def _shortest_for_all(x: Any, lengths: Any) -> Any:
    return turn(x, lengths.min().expand(len(x)))


def _rolled(x: Any, lengths: Any) -> Any:
    return torch.stack([one.flip(0).roll(int(n), 0) for one, n in zip(x, lengths, strict=True)])


def _over_the_batch(x: Any, lengths: Any) -> Any:
    return x.flip(0)


def _channels(x: Any, lengths: Any) -> Any:
    return x.flip(2)


MASK = torch.tensor([[True, True, True, True], [True, True, False, False]])

EXERCISES = [
    Exercise(
        name="rank_codes",
        right=rank_codes,
        cases=[(1, 4), (5, 8), (36, 32)],
        tolerance=1e-4,
        mistakes={
            "The first rank is position 0.": _from_one,
            "Sines stand in the even columns and cosines in the odd ones, not in two halves.": _in_halves,
            "The sine comes first, then the cosine.": _cosine_first,
            "The odd columns are cosines.": _sines_alone,
            "Every pair of columns has a frequency of its own: divide by 10,000 to the power 2k / width.":
                _one_frequency,
            "The exponent is 2k / width for the k-th pair; yours is k / width.": _step_by_step,
            "Ranks are rows and dimensions columns: (n, width).": _turned,
            "The angles are in radians.": _degrees,
        },
        praise="Close ranks have close codes, and no two ranks have the same.",
    ),
    Exercise(
        name="pool_ranks",
        right=pool_ranks,
        cases=[(_draw(4, 3), torch.zeros(4)), (_draw(4, 3), torch.tensor([5.0, 0.0, 0.0, 0.0])),
               (_draw(6, 2, seed=1), 0.1 * _draw(6, seed=2))],
        mistakes={
            "Rank 0 is the largest value: sort in descending order.": _ascending,
            "Each channel has to be sorted over the set first.": _unsorted,
            "The temperature 0.1 divides the scores before the softmax.": _no_temperature,
            "Divide by the temperature; yours multiplies.": _multiplied,
            "Without a softmax the weights do not sum to 1.": _no_softmax,
            "Each channel is sorted by itself; yours moves whole vectors.": _whole_vectors,
            "Sort over the vectors of the set, not over the channels of a vector.": _over_channels,
            "The weights sum to 1 already: no division by n.": _mean_of_weighted,
        },
        praise="Equal scores give the mean, one large first score the maximum.",
    ),
    Exercise(
        name="attend",
        right=attend,
        cases=[(_draw(2, 4, 3), _draw(2, 4, 3, seed=1), _draw(2, 4, 3, seed=2), torch.ones_like(MASK)),
               (_draw(2, 4, 3), _draw(2, 4, 3, seed=1), _draw(2, 4, 3, seed=2), MASK)],
        mistakes={
            "Padding is read: its columns need minus infinity before the softmax.": _padding_read,
            "A score of 0 still gets weight, e^0 = 1. Minus infinity gets none.": _masked_by_zero,
            "Masked after the softmax, the weights no longer sum to 1.": _masked_after,
            "The mask concerns the words that are read, the keys, not the words that read.": _queries_masked,
            "The scores are divided by the square root of the width.": _unscaled,
            "By the square root of the width, not by the width.": _scaled_by_width,
            "Each query distributes its weight over the keys: the softmax runs along the last axis.": _over_queries,
            "mask is True where there is a word; yours leaves the words out.": _mask_inverted,
        },
        praise="One line more than an average, and the heart of every transformer.",
    ),
    Exercise(
        name="turn",
        right=turn,
        cases=[(_draw(2, 4, 3), torch.tensor([4, 4])), (_draw(2, 4, 3), torch.tensor([4, 2])),
               (_draw(3, 5, 2, seed=1), torch.tensor([1, 3, 4]))],
        mistakes={
            "That is the fault: the padding of a short caption comes first, and is read first. Turn each caption "
            "within its own length.": _flipped,
            "The last word of n has number n - 1.": _one_too_far,
            "What lies behind a caption's end stays where it is.": _zeros_behind,
            "Every caption has a length of its own, not that of the longest.": _longest_for_all,
            "Every caption has a length of its own, not that of the shortest.": _shortest_for_all,
            "The words are turned, but padding has moved with them: what lies behind the end stays.": _rolled,
            "The words of a caption are turned, not the captions of the batch.": _over_the_batch,
            "The words are turned, not the dimensions of a word.": _channels,
        },
        praise="Its own inverse: the states of the backward direction are turned back by the same function.",
    ),
]  # fmt: skip

"""Exercises of notebook 12: views of a set and their penalty, soft targets, CHAN with padding, a re-ranking that mixes
two scales.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from usercourse.checks import Exercise, Unusable
from usercourse.neighbours import reranked
from usercourse.values import Parts, kind


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- see_views ---------------------------------------------------------------------------------------------
def see_views(V: Any, codes: Any) -> Any:
    A = _looks(V, codes)
    return (A.T @ V).flatten(), ((A.T @ A - torch.eye(len(codes))) ** 2).sum()


def _looks(V: Any, codes: Any) -> Any:
    return (V @ codes.T / math.sqrt(V.shape[1])).softmax(0)


def _viewed(V: Any, A: Any) -> Any:
    """The answer with other weights."""
    return (A.T @ V).flatten(), ((A.T @ A - torch.eye(A.shape[1])) ** 2).sum()


def _over_views(V: Any, codes: Any) -> Any:
    return _viewed(V, (V @ codes.T / math.sqrt(V.shape[1])).softmax(1))


def _unscaled(V: Any, codes: Any) -> Any:
    return _viewed(V, (V @ codes.T).softmax(0))


def _by_the_width(V: Any, codes: Any) -> Any:
    return _viewed(V, (V @ codes.T / V.shape[1]).softmax(0))


def _views_averaged(V: Any, codes: Any) -> Any:
    return (_looks(V, codes).T @ V).mean(0), see_views(V, codes)[1]


def _channel_by_channel(V: Any, codes: Any) -> Any:
    return (_looks(V, codes).T @ V).T.flatten(), see_views(V, codes)[1]


def _regions_apart(V: Any, codes: Any) -> Any:
    A = _looks(V, codes)
    return (A.T @ V).flatten(), ((A @ A.T - torch.eye(len(V))) ** 2).sum()


def _not_squared(V: Any, codes: Any) -> Any:
    return see_views(V, codes)[0], see_views(V, codes)[1].sqrt()


def _without_identity(V: Any, codes: Any) -> Any:
    A = _looks(V, codes)
    return (A.T @ V).flatten(), ((A.T @ A) ** 2).sum()


def _mean_of_squares(V: Any, codes: Any) -> Any:
    return see_views(V, codes)[0], see_views(V, codes)[1] / len(codes) ** 2


def _both_parts(answer: Any, V: Tensor, codes: Tensor) -> Any:
    both = answer(V, codes)
    if both is None:
        return None
    if not isinstance(both, (tuple, list)) or len(both) != 2:
        raise Unusable(f"The answer is two values, the vector and the penalty; yours is {kind(both)}.")
    return Parts(vector=both[0], penalty=both[1])


# --- soft_loss ---------------------------------------------------------------------------------------------
def soft_loss(teacher: Any, scores: Any, T: float) -> Any:
    p, q = (teacher / T).softmax(1), (scores / T).softmax(1)
    return (p * (p.log() - q.log())).sum(1).mean()


def _reversed(teacher: Any, scores: Any, T: float) -> Any:
    return soft_loss(scores, teacher, T)


def _no_temperature(teacher: Any, scores: Any, T: float) -> Any:
    return soft_loss(teacher, scores, 1.0)


def _hot_teacher(teacher: Any, scores: Any, T: float) -> Any:
    return soft_loss(teacher * T, scores, T)


def _multiplied(teacher: Any, scores: Any, T: float) -> Any:
    return soft_loss(teacher, scores, 1 / T)


def _over_columns(teacher: Any, scores: Any, T: float) -> Any:
    return soft_loss(teacher.T, scores.T, T)


def _summed(teacher: Any, scores: Any, T: float) -> Any:
    return soft_loss(teacher, scores, T) * len(scores)


def _over_all_entries(teacher: Any, scores: Any, T: float) -> Any:
    return soft_loss(teacher, scores, T) / scores.shape[1]


def _cross_entropy(teacher: Any, scores: Any, T: float) -> Any:
    return F.cross_entropy(scores / T, (teacher / T).softmax(1))


def _hard_target(teacher: Any, scores: Any, T: float) -> Any:
    return F.cross_entropy(scores / T, torch.arange(len(scores)))


def _squares(teacher: Any, scores: Any, T: float) -> Any:
    return (((teacher / T).softmax(1) - (scores / T).softmax(1)) ** 2).sum(1).mean()


# --- chan_scores -------------------------------------------------------------------------------------------
def chan_scores(V: Any, W: Any, there: Any) -> Any:
    best = _similar(V, W).amax(1)
    return (best * there).sum(2) / there.sum(1)


def _similar(V: Any, W: Any) -> Any:
    """(A, R, B, L)."""
    return torch.einsum("are,bwe->arbw", F.normalize(V, dim=-1), F.normalize(W, dim=-1))


def _padding_counts(V: Any, W: Any, there: Any) -> Any:
    return _similar(V, W).amax(1).mean(2)


def _divided_by_longest(V: Any, W: Any, there: Any) -> Any:
    return (_similar(V, W).amax(1) * there).sum(2) / W.shape[1]


def _not_divided(V: Any, W: Any, there: Any) -> Any:
    return (_similar(V, W).amax(1) * there).sum(2)


def _dot_products(V: Any, W: Any, there: Any) -> Any:
    best = torch.einsum("are,bwe->arbw", V, W).amax(1)
    return (best * there).sum(2) / there.sum(1)


def _best_word_of_regions(V: Any, W: Any, there: Any) -> Any:
    s = _similar(V, W).masked_fill(~there, -2.0)
    return s.amax(3).mean(1)


def _mean_of_regions(V: Any, W: Any, there: Any) -> Any:
    return (_similar(V, W).mean(1) * there).sum(2) / there.sum(1)


def _best_word(V: Any, W: Any, there: Any) -> Any:
    return _similar(V, W).amax(1).masked_fill(~there, -2.0).amax(2)


def _captions_first(V: Any, W: Any, there: Any) -> Any:
    return chan_scores(V, W, there).T


def _padding_best(V: Any, W: Any, there: Any) -> Any:
    """The mask turned: only padding counts where there is any."""
    best = _similar(V, W).amax(1)
    return (best * ~there).sum(2) / (~there).sum(1)


def _clipped(V: Any, W: Any, there: Any) -> Any:
    return (_similar(V, W).amax(1).relu() * there).sum(2) / there.sum(1)


# --- rerank ------------------------------------------------------------------------------------------------
def rerank(scores: Any, cross: Any, k: int) -> Any:
    return reranked(scores, cross, k)


def _as_it_stood(scores: Any, cross: Any, k: int) -> Any:
    first = scores.topk(k, 1).indices
    return scores.scatter(1, first, cross[:, :k]).argsort(1, descending=True)


def _two_scales(scores: Any, cross: Any, k: int) -> Any:
    first = scores.topk(k, 1).indices
    return scores.scatter(1, first, cross.gather(1, first)).argsort(1, descending=True)


def _others_columns(scores: Any, cross: Any, k: int) -> Any:
    order = scores.argsort(1, descending=True)
    again = cross[:, :k].argsort(1, descending=True)
    return torch.cat([order[:, :k].gather(1, again), order[:, k:]], 1)


def _places(scores: Any, cross: Any, k: int) -> Any:
    order = scores.argsort(1, descending=True)
    again = cross.gather(1, order[:, :k]).argsort(1, descending=True)
    return torch.cat([again, order[:, k:]], 1)


def _worst_first(scores: Any, cross: Any, k: int) -> Any:
    return reranked(scores, -cross, k)


def _rest_lost(scores: Any, cross: Any, k: int) -> Any:
    return reranked(scores, cross, k)[:, :k]


def _by_cross_alone(scores: Any, cross: Any, k: int) -> Any:
    return cross.argsort(1, descending=True)


def _unchanged(scores: Any, cross: Any, k: int) -> Any:
    return scores.argsort(1, descending=True)


def _rest_by_cross(scores: Any, cross: Any, k: int) -> Any:
    first = reranked(scores, cross, k)[:, :k]
    return torch.cat([first, cross.scatter(1, first, -math.inf).argsort(1, descending=True)[:, :-k]], 1)


def _one_too_many(scores: Any, cross: Any, k: int) -> Any:
    return reranked(scores, cross, k + 1)


def _columns_as_queries(scores: Any, cross: Any, k: int) -> Any:
    return reranked(scores.T, cross.T, k)


THERE = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, False, False]])

EXERCISES = [
    Exercise(
        name="see_views",
        right=see_views,
        probe=_both_parts,
        cases=[(_draw(4, 3), _draw(2, 3, seed=1)), (_draw(5, 4, seed=2), _draw(3, 4, seed=3))],
        mistakes={
            "Each view spreads its weight over the regions: the softmax runs over the regions, not over the "
            "views.": _over_views,
            "The scores are divided by the square root of E before the softmax.": _unscaled,
            "By the square root of E, not by E.": _by_the_width,
            "The views are concatenated, k E values in all; an average would forget who saw what.": _views_averaged,
            "First all of view 1, then all of view 2: yours goes channel by channel.": _channel_by_channel,
            "The penalty compares views, k x k, not regions: A^T A, not A A^T.": _regions_apart,
            "The Frobenius norm is squared: a sum of squares, without a root.": _not_squared,
            "The identity is missing: a view that looks at one region alone costs nothing.": _without_identity,
            "The penalty is a sum of squares, not their mean.": _mean_of_squares,
        },
        praise="A linear layer behind it brings the k E values back to E: that is the library's ViewPool.",
    ),
    Exercise(
        name="soft_loss",
        right=soft_loss,
        cases=[(_draw(3, 3), _draw(3, 3, seed=1), 1.0), (_draw(4, 4, seed=2), _draw(4, 4, seed=3), 0.5),
               (_draw(2, 2, seed=4), _draw(2, 2, seed=5), 2.0)],
        mistakes={
            "The teacher comes first: KL(teacher || model) weighs the logarithms by the teacher's "
            "probabilities.": _reversed,
            "Both are divided by T before the softmax.": _no_temperature,
            "The teacher's similarities are divided by T, too.": _hot_teacher,
            "Divide by the temperature; yours multiplies.": _multiplied,
            "A query is a row: the softmax runs along each row.": _over_columns,
            "The loss is the mean over the queries, not their sum.": _summed,
            "The KL divergence of a row is a sum; only the rows are averaged.": _over_all_entries,
            "That is the cross-entropy. It lacks p log p, which has no gradient, but is why the KL divergence is 0 "
            "where the model equals its teacher.": _cross_entropy,
            "That is the usual hard target, which counts the diagonal alone; the teacher says more.": _hard_target,
            "Probabilities are compared by the KL divergence, not by squared differences.": _squares,
        },
        praise="It is 0 where the model's softmax is the teacher's, and above 0 elsewhere.",
    ),
    Exercise(
        name="chan_scores",
        right=chan_scores,
        cases=[(_draw(2, 4, 3), _draw(3, 4, 3, seed=1), torch.ones_like(THERE)),
               (_draw(2, 4, 3), _draw(3, 4, 3, seed=1), THERE),
               (_draw(3, 2, 5, seed=2), -_draw(3, 4, 5, seed=3), THERE)],
        mistakes={
            "Padding counts as words: leave it out of the sum, and divide by the number of words.": _padding_counts,
            "Divide by the number of words of each caption, not by the length of the longest.": _divided_by_longest,
            "The score is the mean over the words; a sum prefers long captions.": _not_divided,
            "Regions and words are compared by their cosine: L2-normalise both, or a region of large norm wins every "
            "word.": _dot_products,
            "Each word chooses its best region; yours lets each region choose its best word.": _best_word_of_regions,
            "Each word takes its best region, not the mean over all of them.": _mean_of_regions,
            "Every word counts, by the mean; yours keeps the best word alone.": _best_word,
            "Rows are images and columns captions: (A, B).": _captions_first,
            "there is True where there is a word; yours counts the padding.": _padding_best,
            "A word whose best cosine is negative counts as it is; nothing is clipped at 0.": _clipped,
        },
        praise="No parameter at all: what is learned are the vectors.",
    ),
    Exercise(
        name="rerank",
        right=rerank,
        cases=[(_draw(3, 6), _draw(3, 6, seed=1) - 3.0, 3), (_draw(4, 4, seed=2), _draw(4, 4, seed=3) - 3.0, 4),
               (_draw(2, 7, seed=4), _draw(2, 7, seed=5) + 3.0, 3)],
        mistakes={
            "That is the function as it stood. Whose scores are in cross[:, :k], and what may be compared with "
            "them?": _as_it_stood,
            "One of the two is found, the columns. The other: scores of two scales stand in one row, so that the "
            "re-ranked items may fall behind the others, or all come first by chance.": _two_scales,
            "One of the two is found, the scales. The other: `cross[:, :k]` are the scores of the first k items of "
            "the gallery, not of the k that were found.": _others_columns,
            "`argsort` of the k scores gives places among the k; use them to pick the items, with `gather`.": _places,
            "The best comes first: sort in descending order.": _worst_first,
            "The items behind the first k are lost; they follow in the order of the embeddings.": _rest_lost,
            "That re-ranks all items, at the full price. Only the first k are given to cross-attention.":
                _by_cross_alone,
            "Nothing is re-ranked: that is the order of the embeddings.": _unchanged,
            "Cross-attention has no scores for the others: they stay in the order of the embeddings.": _rest_by_cross,
            "That re-ranks k + 1 items.": _one_too_many,
            "Queries are rows; yours takes the columns.": _columns_as_queries,
        },
        praise="Orders are joined, scores are not: so the two scales never meet.",
    ),
]  # fmt: skip

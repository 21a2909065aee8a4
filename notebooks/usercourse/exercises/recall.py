"""Exercises of notebook 01: R@K, the best of five captions, ranks by sorting, a confidence interval over images."""

from typing import Any

import numpy as np

from usercourse.checks import Exercise

# Three images, two captions each. Image 1 and caption 4 are tied with a rival.
SCORES = np.array(
    [[0.9, 0.2, 0.1, 0.6, 0.4, 0.3], [0.5, 0.7, 0.5, 0.4, 0.2, 0.1], [0.1, 0.8, 0.0, 0.3, 0.4, 0.6]]
)
IMAGE_OF = np.array([0, 0, 1, 1, 2, 2])
RANDOM = np.random.default_rng(7).normal(size=(8, 24)).round(1)
OWNERS = np.random.default_rng(8).permutation(np.repeat(np.arange(8), 3))
FLAT = np.zeros((4, 8))
FLAT_OF = np.repeat(np.arange(4), 2)
# One caption for the first image, four for the last.
UNEVEN = np.random.default_rng(9).normal(size=(5, 11)).round(1)
UNEVEN_OF = np.array([4, 2, 4, 1, 3, 0, 2, 4, 1, 4, 3])


def _caption_ranks(scores: Any, caption_to_image: Any, *, strict: bool = False) -> Any:
    own = scores[caption_to_image, np.arange(len(caption_to_image))]
    return (scores > own).sum(0) + 1 if strict else (scores >= own).sum(0)


def recall_at_k(scores: Any, caption_to_image: Any, K: int) -> float:
    return 100 * float((_caption_ranks(scores, caption_to_image) <= K).mean())


def _ties_help(scores: Any, caption_to_image: Any, K: int) -> float:
    return 100 * float((_caption_ranks(scores, caption_to_image, strict=True) <= K).mean())


def _one_short(scores: Any, caption_to_image: Any, K: int) -> float:
    return 100 * float((_caption_ranks(scores, caption_to_image) < K).mean())


def _by_picture(scores: Any, caption_to_image: Any, K: int) -> float:
    own = scores[caption_to_image, np.arange(len(caption_to_image))]
    return 100 * float(((scores[caption_to_image] >= own[:, None]).sum(1) <= K).mean())


def image_ranks(scores: Any, caption_to_image: Any) -> Any:
    return np.array([_image_rank(scores[i], caption_to_image == i, max) for i in range(len(scores))])


def _image_rank(row: Any, own: Any, which: Any) -> int:
    return 1 + int((row[~own] >= which(row[own])).sum())


def _first_caption(scores: Any, caption_to_image: Any) -> Any:
    return np.array(
        [_image_rank(scores[i], caption_to_image == i, lambda s: s[0]) for i in range(len(scores))]
    )


def _worst_caption(scores: Any, caption_to_image: Any) -> Any:
    return np.array([_image_rank(scores[i], caption_to_image == i, min) for i in range(len(scores))])


def _strict_images(scores: Any, caption_to_image: Any) -> Any:
    best = [scores[i, caption_to_image == i].max() for i in range(len(scores))]
    return np.array([1 + (scores[i, caption_to_image != i] > best[i]).sum() for i in range(len(scores))])


def _own_are_rivals(scores: Any, caption_to_image: Any) -> Any:
    best = [scores[i, caption_to_image == i].max() for i in range(len(scores))]
    return np.array([1 + (scores[i] >= best[i]).sum() for i in range(len(scores))])


# --- sorted_ranks: ranks by sorting --------------------------------------------------------------------------
def sorted_ranks(scores: Any, caption_to_image: Any) -> Any:
    return _caption_ranks(scores, caption_to_image)


def _order(scores: Any) -> Any:
    return np.argsort(-scores, axis=0, kind="stable")


def _place(order: Any, caption_to_image: Any) -> Any:
    return np.argsort(order, axis=0)[caption_to_image, np.arange(order.shape[1])]


def _image_in_that_place(scores: Any, caption_to_image: Any) -> Any:
    return 1 + _order(scores)[caption_to_image, np.arange(scores.shape[1])]


def _ties_by_index(scores: Any, caption_to_image: Any) -> Any:
    return 1 + _place(_order(scores), caption_to_image)


def _last_of_ties_by_image(scores: Any, caption_to_image: Any) -> Any:
    """Ties against the query, but still the image in that place."""
    own = caption_to_image == np.arange(len(scores))[:, None]
    return 1 + _order(scores - 1e-9 * own)[caption_to_image, np.arange(scores.shape[1])]


def _ties_for_the_query(scores: Any, caption_to_image: Any) -> Any:
    return _caption_ranks(scores, caption_to_image, strict=True)


def _from_zero(scores: Any, caption_to_image: Any) -> Any:
    return sorted_ranks(scores, caption_to_image) - 1


def _worst_first(scores: Any, caption_to_image: Any) -> Any:
    return sorted_ranks(-scores, caption_to_image)


def _along_the_row(scores: Any, caption_to_image: Any) -> Any:
    own = scores[caption_to_image, np.arange(scores.shape[1])]
    return (scores[caption_to_image] >= own[:, None]).sum(1)


def _in_the_middle(scores: Any, caption_to_image: Any) -> Any:
    best = _caption_ranks(scores, caption_to_image, strict=True)
    return (best + sorted_ranks(scores, caption_to_image)) / 2


def interval(ranks: Any, caption_to_image: Any, draws: Any) -> tuple[float, float]:
    values = _draw_values(ranks, caption_to_image, draws)
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def _draw_values(ranks: Any, caption_to_image: Any, draws: Any) -> list[float]:
    hits = ranks == 1
    return [100 * float(np.concatenate([hits[caption_to_image == i] for i in draw]).mean()) for draw in draws]


def _captions_drawn(ranks: Any, caption_to_image: Any, draws: Any) -> tuple[float, float]:
    values = [100 * float((ranks[draw] == 1).mean()) for draw in draws]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def _extremes(ranks: Any, caption_to_image: Any, draws: Any) -> tuple[float, float]:
    values = _draw_values(ranks, caption_to_image, draws)
    return min(values), max(values)


def _ninety(ranks: Any, caption_to_image: Any, draws: Any) -> tuple[float, float]:
    values = _draw_values(ranks, caption_to_image, draws)
    return float(np.quantile(values, 0.05)), float(np.quantile(values, 0.95))


def _each_once(ranks: Any, caption_to_image: Any, draws: Any) -> tuple[float, float]:
    values = [100 * float((ranks[np.isin(caption_to_image, draw)] == 1).mean()) for draw in draws]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def _draws(pictures: int, count: int) -> Any:
    return np.random.default_rng(3).integers(pictures, size=(count, pictures))


RANKS = np.random.default_rng(4).integers(1, 4, size=60)
RANK_OF = np.repeat(np.arange(20), 3)

EXERCISES = [
    Exercise(
        name="recall_at_k",
        right=recall_at_k,
        cases=[
            (SCORES, IMAGE_OF, 1),
            (SCORES, IMAGE_OF, 2),
            (RANDOM, OWNERS, 3),
            (FLAT, FLAT_OF, 1),
            (UNEVEN, UNEVEN_OF, 2),
        ],
        mistakes={
            "A tie counts against the query: compare with >=, or a model that gives every pair the same "
            "score would be perfect.": _ties_help,
            "R@K is in percent here: the share of the captions times 100.": lambda s, o, K: (
                recall_at_k(s, o, K) / 100
            ),
            "The first K include rank K: a rank of K is a hit, so compare with <=.": _one_short,
            "A caption's competitors are the other images: look down its column of scores, not along a "
            "image's row.": _by_picture,
        },
        praise="Ties, rank K itself and the direction are all as they should be.",
    ),
    Exercise(
        name="image_ranks",
        right=image_ranks,
        cases=[(SCORES, IMAGE_OF), (RANDOM, OWNERS), (FLAT, FLAT_OF), (UNEVEN, UNEVEN_OF)],
        mistakes={
            "An image has several ground-truth captions, and the best-ranked of them counts, not the first in the "
            "list.": _first_caption,
            "The best-ranked ground-truth caption counts, not the worst: one relevant item among the first K is a "
            "hit.": _worst_caption,
            "A tie counts against the query: a wrong caption with the same score is ranked before the ground-truth "
            "one.": _strict_images,
            "An image's own captions do not compete: count the wrong captions that reach the score of its "
            "best own one, "
            "and add 1.": _own_are_rivals,
        },
        praise="One best caption per image, and only wrong captions compete with it.",
    ),
    Exercise(
        name="sorted_ranks",
        right=sorted_ranks,
        cases=[(SCORES, IMAGE_OF), (RANDOM, OWNERS), (FLAT, FLAT_OF), (UNEVEN, UNEVEN_OF)],
        mistakes={
            "That is the function as it stood. `order` says which image is in a place, not in which place an image is; "
            "and ties are left in the order of the images.": _image_in_that_place,
            "One of the two is found, the place. The other: where images tie, a stable sort favours the one with the "
            "lower index. A tie has to count against the query.": _ties_by_index,
            "One of the two is found, the ties. The other: `order` says which image is in a place; wanted is the place "
            "of an image.": _last_of_ties_by_image,
            "Ties count in the query's favour here, so that a collapsed model is perfect.": _ties_for_the_query,
            "The first rank is 1.": _from_zero,
            "Rank 1 is the highest score; yours begins with the lowest.": _worst_first,
            "The competitors of a caption's image are the other images, in the caption's column.": _along_the_row,
            "The mean rank of a tie is a convention, too. Here a tie counts against the query in full.": _in_the_middle,
        },
        praise="For two images every order is its own inverse; a test needs at least three, and a tie.",
    ),
    Exercise(
        name="interval",
        right=interval,
        cases=[(RANKS, RANK_OF, _draws(20, 200)), (RANKS[::-1].copy(), RANK_OF, _draws(20, 50))],
        mistakes={
            "Images are drawn, and all captions of a drawn image come along: a draw contains indices of "
            "images, not of captions.": _captions_drawn,
            "A 95 % confidence interval leaves out 2.5 % at each end; the range from the smallest to the "
            "largest value only "
            "grows with the number of draws.": _extremes,
            "That is a 90 % confidence interval: it leaves out 5 % at each end. For 95 %, take the quantiles 0.025 and "
            "0.975.": _ninety,
            "An image that was drawn twice counts twice; checking only whether it was drawn loses "
            "that.": _each_once,
        },
        praise="Captions follow their images, as often as these were drawn.",
    ),
]

"""Exercises of notebook 02: what a mean forgets, regions of unit norm, words as ids, a mean that skips padding, the
hinge of a batch.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from usercourse.checks import Exercise, Unusable
from usercourse.values import kind
from userlib.data.tokenizers import words_of
from userlib.model.pooling import mean_pool

IDS = {"a": 5, "dog": 6, "red": 7, "the": 8, "cat": 9}
RNG = torch.Generator().manual_seed(0)
VECTORS = torch.randn(3, 4, 2, generator=RNG)
THERE = torch.tensor([[True, True, True, False], [True, False, False, False], [False, True, True, False]])
ALL_THERE = torch.ones(3, 4, dtype=torch.bool)
SEEN = torch.tensor([2.0, -1.0, 0.5]) + torch.tensor([3.0, 1.0, 0.3]) * torch.randn(20, 4, 3, generator=RNG)
NEW = torch.tensor([0.0, 1.0, 0.2]) + 2 * torch.randn(3, 4, 3, generator=RNG)
SCORES = torch.rand(4, 4, generator=RNG) * 2 - 1
CLOSE = torch.tensor([[0.5, 0.45, 0.6], [0.2, 0.5, 0.35], [0.1, 0.4, 0.55]])
REGIONS = {  # dog, ball, grass
    "dog": (1.0, 0.0, 0.0),
    "ball": (0.0, 1.0, 0.0),
    "grass": (0.0, 0.0, 1.0),
}


# --- unit_regions: the gallery that changes its images -----------------------------------------------------------
def unit_regions(train: Any, test: Any) -> Any:
    return _unit(test, train.mean((0, 1)), train.std((0, 1)))


def _unit(test: Any, center: Any, spread: Any, axis: int = -1) -> Any:
    return F.normalize((test - center) / spread, dim=axis)


def _gallery_over_regions(train: Any, test: Any) -> Any:
    return _unit(test, test.mean((0, 1)), test.std((0, 1)), 1)


def _of_the_gallery(train: Any, test: Any) -> Any:
    return _unit(test, test.mean((0, 1)), test.std((0, 1)))


def _over_regions(train: Any, test: Any) -> Any:
    return _unit(test, train.mean((0, 1)), train.std((0, 1)), 1)


def _over_images(train: Any, test: Any) -> Any:
    return _unit(test, train.mean((0, 1)), train.std((0, 1)), 0)


def _of_all(train: Any, test: Any) -> Any:
    both = torch.cat([train, test])
    return _unit(test, both.mean((0, 1)), both.std((0, 1)))


def _of_each_image(train: Any, test: Any) -> Any:
    return _unit(test, test.mean(1, keepdim=True), test.std(1, keepdim=True))


def _one_for_all_channels(train: Any, test: Any) -> Any:
    return _unit(test, train.mean(), train.std())


def _of_each_place(train: Any, test: Any) -> Any:
    return _unit(test, train.mean(0), train.std(0))


def _variance(train: Any, test: Any) -> Any:
    return _unit(test, train.mean((0, 1)), train.var((0, 1)))


def _not_centred(train: Any, test: Any) -> Any:
    return _unit(test, 0.0, train.std((0, 1)))


def _norm_alone(train: Any, test: Any) -> Any:
    return F.normalize(test, dim=-1)


def _no_norm(train: Any, test: Any) -> Any:
    return (test - train.mean((0, 1))) / train.std((0, 1))


def word_ids(text: str, ids: dict[str, int]) -> Any:
    return [3, *(ids.get(word, 1) for word in words_of(text)), 4]


def _drops_unknown(text: str, ids: dict[str, int]) -> Any:
    return [3, *(ids[word] for word in words_of(text) if word in ids), 4]


def _keeps_capitals(text: str, ids: dict[str, int]) -> Any:
    return [3, *(ids.get(word, 1) for word in text.replace(".", "").split()), 4]


def _without_ends(text: str, ids: dict[str, int]) -> Any:
    return word_ids(text, ids)[1:-1]


def _keeps_marks(text: str, ids: dict[str, int]) -> Any:
    return [3, *(ids.get(word, 1) for word in text.lower().replace(".", "").split()), 4]


def _each_once(text: str, ids: dict[str, int]) -> Any:
    return [3, *(ids.get(word, 1) for word in dict.fromkeys(words_of(text))), 4]


def _new_numbers(text: str, ids: dict[str, int]) -> Any:
    known = dict(ids)
    return [3, *(known.setdefault(word, len(known) + 5) for word in words_of(text)), 4]


def masked_mean(x: Any, mask: Any) -> Any:
    return mean_pool(x, mask)


def _divided_by_all(x: Any, mask: Any) -> Any:
    return (x * mask[:, :, None]).mean(1)


def _mask_ignored(x: Any, mask: Any) -> Any:
    return x.mean(1)


def _summed(x: Any, mask: Any) -> Any:
    return (x * mask[:, :, None]).sum(1)


def _padding_summed(x: Any, mask: Any) -> Any:
    return x.sum(1) / mask.sum(1)[:, None]


def _one_count_for_all(x: Any, mask: Any) -> Any:
    return (x * mask[:, :, None]).sum(1) / mask.sum() * len(x)


def batch_hinge(s: Any, margin: float) -> Any:
    own = torch.eye(len(s), dtype=torch.bool)
    right = s.diagonal()
    rows = (margin - right[:, None] + s).relu().masked_fill(own, 0.0).sum(1)
    columns = (margin - right[None, :] + s).relu().masked_fill(own, 0.0).sum(0)
    return (rows + columns).mean()


def _own_left_in(s: Any, margin: float) -> Any:
    return batch_hinge(s, margin) + 2 * margin


def _one_way(s: Any, margin: float) -> Any:
    own = torch.eye(len(s), dtype=torch.bool)
    return (margin - s.diagonal()[:, None] + s).relu().masked_fill(own, 0.0).sum(1).mean()


def _rows_twice(s: Any, margin: float) -> Any:
    return 2 * _one_way(s, margin)


def _hardest(s: Any, margin: float) -> Any:
    own = torch.eye(len(s), dtype=torch.bool)
    right = s.diagonal()
    rows = (margin - right[:, None] + s).relu().masked_fill(own, 0.0).amax(1)
    columns = (margin - right[None, :] + s).relu().masked_fill(own, 0.0).amax(0)
    return (rows + columns).mean()


def _mean_of_all(s: Any, margin: float) -> Any:
    return batch_hinge(s, margin) / len(s)


def _unclipped(s: Any, margin: float) -> Any:
    own = torch.eye(len(s), dtype=torch.bool)
    right = s.diagonal()
    rows = (margin - right[:, None] + s).masked_fill(own, 0.0).sum(1)
    columns = (margin - right[None, :] + s).masked_fill(own, 0.0).sum(0)
    return (rows + columns).mean()


def _compared(answer: Any) -> Any:
    """Whether the means are equal, and whether the counts of dogs are. Unusable for what is not two images."""
    first, second = (np.array([REGIONS[word] for word in picture]) for picture in _two_images(answer))
    equal = np.allclose(first.mean(0), second.mean(0))
    return [float(equal), float(first[:, 0].sum() != second[:, 0].sum())]


def _two_images(answer: Any) -> list[list[str]]:
    if isinstance(answer, (str, dict, set, frozenset)) or not hasattr(answer, "__len__"):
        raise Unusable(f"The answer is a tuple of two lists of regions; yours is {kind(answer)}.")
    if len(answer) != 2:
        raise Unusable(f"The answer has two images; yours has {len(answer)}.")
    images = []
    for name, image in zip(("first", "second"), answer, strict=True):
        if isinstance(image, (str, dict, set, frozenset)) or not hasattr(image, "__len__"):
            raise Unusable(f"An image is a list of regions; your {name} one is {kind(image)}.")
        if len(image) == 0:
            raise Unusable(f"Your {name} image has no region, so it has no mean.")
        for region in image:
            if not isinstance(region, str) or region not in REGIONS:
                raise Unusable(f"{region!r} is not a region; the regions are {', '.join(REGIONS)}.")
        images.append([str(region) for region in image])
    return images


EXERCISES = [
    Exercise(
        name="unit_regions",
        right=unit_regions,
        cases=[(SEEN, NEW), (SEEN, NEW[:1]), (2 * SEEN.flip(2), NEW + 1.0)],
        mistakes={
            "That is the function as it stood: mean and spread are those of the gallery, and the norm runs over the "
            "regions.": _gallery_over_regions,
            "One of the two is found, the norm. The other: mean and spread have to be those of training, or an image's "
            "vector depends on the gallery.": _of_the_gallery,
            "One of the two is found, mean and spread. The other: dim=1 runs over the regions of an image, channel by "
            "channel.": _over_regions,
            "The norm is wanted of each region; yours runs over the images.": _over_images,
            "Test images are in the mean and the spread, too, so that a vector still depends on the gallery.": _of_all,
            "Mean and spread of each image by itself remove what makes an image differ from others.": _of_each_image,
            "Each channel has a mean and a spread of its own, (D,).": _one_for_all_channels,
            "Mean and spread are over images and regions; yours differ from place to place.": _of_each_place,
            "Divide by the standard deviation, not by its square.": _variance,
            "The mean has to be subtracted first.": _not_centred,
            "The norm is right; the regions were not standardised before.": _norm_alone,
            "Standardised, but not of unit norm.": _no_norm,
        },
        praise="What an image is must not depend on who else is in the gallery.",
    ),
    Exercise(
        name="word_ids",
        right=word_ids,
        cases=[
            ("A red dog.", IDS),
            ("The cat", IDS),
            ("A purple dog", IDS),
            ("The dog, the CAT: 2 purple, purple things!", IDS | {"2": 10}),
            ("red  dog\n(a cat)", IDS),
            ("", IDS),
        ],
        mistakes={
            "A word that training never saw keeps its place: it gets the id 1, for unknown. Without it the "
            "caption would say something else.": _drops_unknown,
            "The vocabulary is lower-case: 'A' is not 'a' until it is lower-cased.": _keeps_capitals,
            "A caption begins with the id 3 and ends with the id 4.": _without_ends,
            "Words are made of letters and digits alone: a comma, a colon or a bracket belongs to no "
            "word.": _keeps_marks,
            "Every word keeps its place, also one that comes twice.": _each_once,
            "A word that training never saw cannot get an id of its own now: the model has no vector for "
            "it.": _new_numbers,
        },
        praise="Every caption of the course goes through these lines.",
    ),
    Exercise(
        name="masked_mean",
        right=masked_mean,
        cases=[(VECTORS, THERE), (VECTORS, ALL_THERE)],
        mistakes={
            "Padding is taken out of the sum but still counted: divide by the number of real vectors, "
            "not by all positions.": _divided_by_all,
            "The mask is not used: padding shifts the mean.": _mask_ignored,
            "The count is right, but padding is still in the sum; not every padded vector is zero.": _padding_summed,
            "That is the sum: the vector of ten words would have up to ten times the norm of that of one "
            "word.": _summed,
            "Each row has a count of its own; yours divides every row by the mean count of the "
            "batch.": _one_count_for_all,
        },
        praise="So a caption's vector does not depend on how much padding its neighbours need.",
    ),
    Exercise(
        name="same_mean",
        right=(["dog", "grass"], ["dog", "dog", "grass", "grass"]),
        probe=_compared,
        mistakes={
            "The means are equal, but so are the counts of dogs. What can you do to all regions of an image "
            "without moving their mean?": (["dog", "grass"], ["grass", "dog"]),
            "The counts of dogs differ, but so do the means: the share of dogs among the regions must stay the "
            "same.": (["dog", "grass"], ["dog", "dog", "grass"]),
            "Neither holds: the means differ, and the counts of dogs are equal.": (["dog"], ["dog", "grass"]),
        },
        praise="A mean knows proportions, not counts: one dog close by and two far off may look alike to it.",
    ),
    Exercise(
        name="batch_hinge",
        right=batch_hinge,
        cases=[(SCORES, 0.2), (CLOSE, 0.2), (CLOSE, 0.05)],
        mistakes={
            "The diagonal is still in it: a pair is not a negative of itself, and would always cost the "
            "margin.": _own_left_in,
            "That is one direction. An image finds its caption along the row, a caption its image along "
            "the column; both are added.": _one_way,
            "The rows are counted twice. In the columns the positive score is that of the column's own "
            "pair.": _rows_twice,
            "That is the hardest negative alone. Here all negatives within the margin cost.": _hardest,
            "Sum over the negatives, and take the mean over the B pairs alone, not over all B x B "
            "scores.": _mean_of_all,
            "A negative that is further away than the margin costs 0, not less than 0: clip at "
            "zero.": _unclipped,
        },
        praise="The loss of VSE++ in its first form.",
    ),
]

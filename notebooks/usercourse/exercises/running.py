"""Exercises of notebook 09: the batch of a step, the value to report, R@1 over folds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from usercourse.checks import Exercise

PICTURES, EACH = 6, 2
SCORES = np.random.default_rng(7).normal(size=(PICTURES, PICTURES * EACH)).round(2)
OWNER = np.repeat(np.arange(PICTURES), EACH)
SCORES[OWNER, np.arange(PICTURES * EACH)] += 1.0
SHUFFLED = np.random.default_rng(5).permutation(PICTURES * EACH)
TIED = np.where(np.arange(PICTURES)[:, None] == 4, 0.5, SCORES.clip(0.0, 0.5))


def _order(seed: int, epoch: int, captions: int) -> Any:
    return np.random.default_rng([seed, 1, epoch]).permutation(captions)


def rows_of(step: int, captions: int, batch: int, seed: int) -> Any:
    epoch, place = divmod(step, captions // batch)
    return _order(seed, epoch, captions)[place * batch : (place + 1) * batch]


def _same_order(step: int, captions: int, batch: int, seed: int) -> Any:
    place = step % (captions // batch)
    return _order(seed, 0, captions)[place * batch : (place + 1) * batch]


def _rest_kept(step: int, captions: int, batch: int, seed: int) -> Any:
    epoch, place = divmod(step, -(-captions // batch))
    return _order(seed, epoch, captions)[place * batch : (place + 1) * batch]


def _shuffled_each_step(step: int, captions: int, batch: int, seed: int) -> Any:
    return _order(seed, step, captions)[:batch]


def _one_row_on(step: int, captions: int, batch: int, seed: int) -> Any:
    epoch, place = divmod(step, captions // batch)
    return _order(seed, epoch, captions)[place : place + batch]


def _swapped(step: int, captions: int, batch: int, seed: int) -> Any:
    place, epoch = divmod(step, captions // batch)
    return _order(seed, epoch, captions)[place * batch : (place + 1) * batch]


def to_report(val: Sequence[float], test: Sequence[float]) -> float:
    return test[int(np.argmax(val))]


def _best_of_test(val: Sequence[float], test: Sequence[float]) -> float:
    return max(test)


def _last(val: Sequence[float], test: Sequence[float]) -> float:
    return test[-1]


def _val_itself(val: Sequence[float], test: Sequence[float]) -> float:
    return max(val)


def _later_tie(val: Sequence[float], test: Sequence[float]) -> float:
    return max(zip(val, range(len(val)), test, strict=True))[2]


def _r1(scores: Any, owner: Any) -> float:
    right = scores[owner, np.arange(len(owner))]
    return float(100 * ((scores >= right).sum(0) == 1).mean())


def _ties_help(scores: Any, caption_to_image: Any, size: int) -> float:
    return fold_r1(
        scores + 1e-9 * (caption_to_image == np.arange(len(scores))[:, None]), caption_to_image, size
    )


def fold_r1(scores: Any, caption_to_image: Any, size: int) -> float:
    values = []
    for start in range(0, len(scores), size):
        own = (caption_to_image >= start) & (caption_to_image < start + size)
        values.append(_r1(scores[start : start + size, own], caption_to_image[own] - start))
    return float(np.mean(values))


def _gallery_whole(scores: Any, caption_to_image: Any, size: int) -> float:
    folds = [caption_to_image // size == k for k in range(len(scores) // size)]
    return float(np.mean([_r1(scores[:, own], caption_to_image[own]) for own in folds]))


def _old_numbers(scores: Any, caption_to_image: Any, size: int) -> float:
    fold, values = caption_to_image // size, []
    for k in range(len(scores) // size):
        values.append(_r1(scores[k * size : (k + 1) * size, fold == k], caption_to_image[fold == k]))
    return float(np.mean(values))


def _every_nth(scores: Any, caption_to_image: Any, size: int) -> float:
    parts = len(scores) // size
    part, new = caption_to_image % parts, caption_to_image // parts
    return float(np.mean([_r1(scores[k::parts, part == k], new[part == k]) for k in range(parts)]))


def _first_fold(scores: Any, caption_to_image: Any, size: int) -> float:
    own = caption_to_image < size
    return _r1(scores[:size, own], caption_to_image[own])


EXERCISES = [
    Exercise(
        name="rows_of",
        right=rows_of,
        cases=[(0, 10, 3, 0), (2, 10, 3, 0), (3, 10, 3, 0), (7, 10, 3, 1), (5, 12, 4, 2)],
        mistakes={
            "Every epoch has the same order here, so each batch has the same members for ever. The epoch belongs "
            "in the seed.": _same_order,
            "The last, incomplete batch is dropped: an epoch has captions // batch steps, rounded "
            "down.": _rest_kept,
            "A new order at every step forgets what was shown: some captions come twice in an epoch, others never. "
            "The order is drawn once per epoch.": _shuffled_each_step,
            "The window moves on by one caption per step. It has to move on by a whole batch.": _one_row_on,
            "Epoch and position are swapped: the quotient counts epochs, the remainder is the position in "
            "one.": _swapped,
        },
        praise="No generator has to be saved: the index of the step determines it all.",
    ),
    Exercise(
        name="to_report",
        right=to_report,
        cases=[
            ([3, 5, 4], [2, 4, 6]),
            ([1, 9, 5, 2], [7, 3, 8, 1]),
            ([4, 4, 1], [5, 7, 9]),
            ([9.5, 2, 3], [1, 8, 6]),
            ([7], [6.5]),
        ],
        mistakes={
            "That is the best test value. Picking it on the test images selects for them; it "
            "will not hold on other images.": _best_of_test,
            "That is the last evaluation. The best one on val was kept, whenever it came.": _last,
            "That is the value on val, which was used for the selection and so is too high. Report the test "
            "value of the same "
            "evaluation.": _val_itself,
            "Two evaluations tie on val, and you took the later one. The first is kept; looking at test to break the "
            "tie is selection, too.": _later_tie,
        },
        praise="Chosen on val, reported on test, once.",
    ),
    Exercise(
        name="fold_r1",
        right=fold_r1,
        cases=[
            (SCORES, OWNER, 2),
            (SCORES, OWNER, 3),
            (SCORES, OWNER, 6),
            (SCORES[:, SHUFFLED], OWNER[SHUFFLED], 2),
            (TIED, OWNER, 3),
        ],
        mistakes={
            "The captions are cut into folds, and the gallery is still whole. A fold's captions are ranked "
            "over the fold's "
            "images alone.": _gallery_whole,
            "In the second fold the images are numbered from 0 again, and caption_to_image still has the old "
            "indices. Subtract the fold's start.": _old_numbers,
            "Those are every n-th image. The standard folds are consecutive, and published results depend on "
            "it.": _every_nth,
            "A tie counts against the query: a wrong image with the same score is ranked before the ground-truth "
            "one.": _ties_help,
            "That is the first fold alone. The result is the mean over all folds.": _first_fold,
        },
        praise="The 1K results of COCO are this, with folds of 1,000 of 5,000.",
    ),
]

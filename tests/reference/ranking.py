"""Ranking as the field's evaluation scripts do it: a Python loop over queries, sorting the gallery for each.

Written plainly from the protocol of the field. `loop_ranks` is the slow truth that
the library must equal, ties counted against the query; `reference_ranks` is the usual form, which the package times.
"""

import numpy as np

from userlab.bench.reference import reference_ranks

__all__ = ["reference_ranks", "loop_ranks"]


def loop_ranks(scores, caption_to_image):
    """scores (N, M), caption_to_image (M,) -> i2t (N,), t2i (M,): look at every rival of every query."""
    pictures, captions = scores.shape
    i2t, t2i = [], []
    for i in range(pictures):
        own = [scores[i, j] for j in range(captions) if caption_to_image[j] == i]
        rivals = [scores[i, j] for j in range(captions) if caption_to_image[j] != i]
        i2t.append(1 + sum(rival >= max(own) for rival in rivals))
    for j in range(captions):
        right = scores[caption_to_image[j], j]
        t2i.append(1 + sum(scores[i, j] >= right for i in range(pictures) if i != caption_to_image[j]))
    return np.array(i2t), np.array(t2i)

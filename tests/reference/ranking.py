"""Ranking as the field's evaluation scripts do it: a Python loop over queries, sorting the gallery for each.

Written plainly and in our own words from the protocol (paper, section 8). `loop_ranks` is the slow truth that
the library must equal, ties counted against the query; `field_ranks` is the customary form, timed beside it.
"""

import numpy as np


def loop_ranks(scores, image_of):
    """scores (N, M), image_of (M,) -> i2t (N,), t2i (M,): look at every rival of every query."""
    pictures, captions = scores.shape
    i2t, t2i = [], []
    for i in range(pictures):
        own = [scores[i, j] for j in range(captions) if image_of[j] == i]
        rivals = [scores[i, j] for j in range(captions) if image_of[j] != i]
        i2t.append(1 + sum(rival >= max(own) for rival in rivals))
    for j in range(captions):
        right = scores[image_of[j], j]
        t2i.append(1 + sum(scores[i, j] >= right for i in range(pictures) if i != image_of[j]))
    return np.array(i2t), np.array(t2i)


def field_ranks(images, captions, image_of):
    """images (N, E), captions (M, E) -> i2t (N,), t2i (M,): one sorted gallery a query."""
    captions_of = [np.flatnonzero(image_of == i) for i in range(len(images))]
    i2t = np.zeros(len(images), int)
    t2i = np.zeros(len(captions), int)
    for i in range(len(images)):
        order = np.argsort(images[i] @ captions.T)[::-1]
        i2t[i] = 1 + min(np.flatnonzero(order == own)[0] for own in captions_of[i])
    for i in range(len(images)):
        for own in captions_of[i]:
            order = np.argsort(captions[own] @ images.T)[::-1]
            t2i[own] = 1 + np.flatnonzero(order == i)[0]
    return i2t, t2i

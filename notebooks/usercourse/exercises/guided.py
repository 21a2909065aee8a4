"""Exercises of notebook 04: CGE's guide from CLIP's vector, the guides of a batch, the norm of the residual, the weight
of late fusion.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from usercourse.checks import Exercise


def _weights(G: int, D: int, seed: int) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator) for shape in ((3, G), (D, G), (D,), (D, D), (D,)))


def _norm(x: Any) -> Any:
    return F.layer_norm(x, x.shape[-1:])


def guide_from_clip(G: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
    hidden = _norm(_norm(G) @ W1.T + b1).relu()
    return F.normalize(hidden @ W2.T + b2, dim=-1)


def _no_relu(G: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
    return F.normalize(_norm(_norm(G) @ W1.T + b1) @ W2.T + b2, dim=-1)


def _no_unit(G: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
    return _norm(_norm(G) @ W1.T + b1).relu() @ W2.T + b2


def _no_first_norm(G: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
    return F.normalize(_norm(G @ W1.T + b1).relu() @ W2.T + b2, dim=-1)


def _no_second_norm(G: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
    return F.normalize((_norm(G) @ W1.T + b1).relu() @ W2.T + b2, dim=-1)


def _relu_last(G: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
    return F.normalize((_norm(_norm(G) @ W1.T + b1) @ W2.T + b2).relu(), dim=-1)


# --- batch_guides: whose guide is it? ------------------------------------------------------------------------
def batch_guides(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return F.normalize(clip[caption_to_image[rows]], dim=1)


def _rows_over_the_batch(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return F.normalize(clip[rows], dim=0)


def _by_rows(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return F.normalize(clip[rows], dim=1)


def _over_the_images(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return F.normalize(clip[caption_to_image[rows]], dim=0)


def _over_all_images(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return F.normalize(clip, dim=0)[caption_to_image[rows]]


def _as_stored(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return clip[caption_to_image[rows]]


def _two_captions_each(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return F.normalize(clip[rows * len(clip) // len(caption_to_image)], dim=1)


def _in_order_of_images(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return F.normalize(clip[caption_to_image[rows].sort().values], dim=1)


def _each_image_once(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return F.normalize(clip[caption_to_image[rows].unique()], dim=1)


def _whole_matrix(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    chosen = clip[caption_to_image[rows]]
    return chosen / chosen.norm()


def _sum_one(clip: Any, rows: Any, caption_to_image: Any) -> Any:
    return torch.softmax(clip[caption_to_image[rows]], 1)


def residual_ratio(V: Any, a: Any, g: Any, s: float) -> Any:
    return (s * a[:, None] * g[None, :]).norm() / V.norm()


def _ratio_of(R: int, seed: int, s: float) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed)
    V, a, g = (torch.randn(*shape, generator=generator) for shape in ((R, 4), (R,), (4,)))
    return 3 * V, F.normalize(a.abs(), dim=0), F.normalize(g, dim=0), s


def _without_s(V: Any, a: Any, g: Any, s: float) -> Any:
    return residual_ratio(V, a, g, 1.0)


def _mean_of_ratios(V: Any, a: Any, g: Any, s: float) -> Any:
    return ((s * a[:, None] * g[None, :]).norm(dim=1) / V.norm(dim=1)).mean()


def _squared(V: Any, a: Any, g: Any, s: float) -> Any:
    return residual_ratio(V, a, g, s) ** 2


def _beside_the_sum(V: Any, a: Any, g: Any, s: float) -> Any:
    added = s * a[:, None] * g[None, :]
    return added.norm() / (V + added).norm()


def choose_weight(own: Any, guide: Any, value: Any, weights: Any) -> float:
    return float(max(weights, key=lambda w: value(own + w * guide)))


def _mixed(own: Any, guide: Any, value: Any, weights: Any) -> float:
    return float(max(weights, key=lambda w: value((1 - w) * own + w * guide)))


def _on_the_wrong_one(own: Any, guide: Any, value: Any, weights: Any) -> float:
    return float(max(weights, key=lambda w: value(w * own + guide)))


def _the_value(own: Any, guide: Any, value: Any, weights: Any) -> float:
    return float(max(value(own + w * guide) for w in weights))


def _least(own: Any, guide: Any, value: Any, weights: Any) -> float:
    return float(min(weights, key=lambda w: value(own + w * guide)))


def _place(own: Any, guide: Any, value: Any, weights: Any) -> float:
    return float(np.argmax([value(own + w * guide) for w in weights]))


STORED = torch.randn(6, 3, generator=torch.Generator().manual_seed(4))
OWN = np.array([[0.6, 0.1], [-0.1, 0.4]], np.float32)  # sums: 1
GUIDE = np.array([[0.9, 0.5], [0.6, 1.0]], np.float32)  # and 3
WEIGHTS = (0.0, 0.25, 0.5, 2.0, 3.0)


def _near(target: float) -> Any:
    """A value that is highest where the scores sum to the target."""
    return lambda scores: -abs(float(scores.sum()) - target)


EXERCISES = [
    Exercise(
        name="guide_from_clip",
        right=guide_from_clip,
        cases=[_weights(4, 3, 0), _weights(6, 5, 1), _weights(2, 8, 2)],
        mistakes={
            "The activation is missing. Without the ReLU the two matrices are one, and the guide can only be a "
            "rotated and scaled CLIP vector.": _no_relu,
            "The guide must have unit norm, as SGE's has, so that s alone determines how much is "
            "added.": _no_unit,
            "CLIP's vector is normalised before the first matrix too: its values have a scale of their "
            "own.": _no_first_norm,
            "There is a second norm, between the first matrix and the ReLU.": _no_second_norm,
            "The ReLU stands between the matrices. After the last one it would leave the guide without negative "
            "values, and regions have them.": _relu_last,
        },
        praise="That is ClipGuide, weights given.",
    ),
    Exercise(
        name="batch_guides",
        right=batch_guides,
        cases=[
            (STORED, torch.tensor([1, 3, 4]), torch.arange(6).repeat_interleave(2)),
            (STORED, torch.tensor([5, 0, 2, 4]), torch.tensor([4, 1, 1, 5, 0, 2, 3, 4, 2, 0, 5, 3])),
            (STORED, torch.tensor([3, 1, 3, 2]), torch.tensor([2, 2, 0, 1, 5, 4, 3])),
        ],
        mistakes={
            "That is the function as it stood. Its index is that of a caption where an image's is needed, and its norm "
            "runs over the batch.": _rows_over_the_batch,
            "One of the two is found, the norm. The other: `rows` are rows of captions, and clip has one vector per "
            "image.": _by_rows,
            "One of the two is found, the image of each row. The other: dim=0 runs over the images of the batch, so "
            "that a guide depends on its neighbours.": _over_the_images,
            "The norm is wanted over the dimensions of one vector; yours is over all images, channel by "
            "channel.": _over_all_images,
            "The vectors are the right ones, but not of unit norm.": _as_stored,
            "That takes every image to have equally many captions, in order. The table caption_to_image says whose a "
            "caption is.": _two_captions_each,
            "The guides have to be in the order of the batch.": _in_order_of_images,
            "Two captions of one image need two rows: a guide per row of the batch.": _each_image_once,
            "Each vector needs unit norm, not all of them together.": _whole_matrix,
            "Unit norm, not sum 1: no softmax.": _sum_one,
        },
        praise="One line, two faults, and no error: only a small case with known numbers shows them.",
    ),
    Exercise(
        name="residual_ratio",
        right=residual_ratio,
        cases=[_ratio_of(3, 0, 1.0), _ratio_of(5, 1, 8.0), _ratio_of(64, 2, 0.5)],
        mistakes={
            "The residual scale s multiplies what is added; it is missing.": _without_s,
            "One ratio for the image, over all regions together: the root of the sum of all squares, not a "
            "mean over regions.": _mean_of_ratios,
            "That is the ratio of the squares; take the root.": _squared,
            "Relative to V, not to V'.": _beside_the_sum,
        },
        praise="As a and g have unit norm it is s / ||V||, whatever lambda is.",
    ),
    Exercise(
        name="choose_weight",
        right=choose_weight,
        cases=[
            (OWN, GUIDE, _near(1.9), WEIGHTS),
            (OWN, GUIDE, _near(7.0), WEIGHTS),
            (OWN, GUIDE, _near(2.3), WEIGHTS),
        ],
        mistakes={
            "The model's own scores keep weight 1: own + w guide. With (1 - w) own the two scores are mixed in "
            "another way, and w means something else.": _mixed,
            "w belongs to the guide's scores, so that w = 0 is the model alone.": _on_the_wrong_one,
            "That is the best value; the weight that reaches it is wanted.": _the_value,
            "The value is to be highest, not lowest.": _least,
            "That is the index of the best weight in the list, not the weight.": _place,
        },
        praise="Chosen on val, then used once on test.",
    ),
]

"""R@K, median and mean rank, rSum: the standard metrics, from ranks.

R@K here is a *hit rate*, as always in image-text retrieval: the share of queries with at least one relevant item
among the first K. The recall of information retrieval, the share of relevant items that are retrieved, is another
quantity. Source: the standard protocol (Faghri et al., VSE++, BMVC 2018).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from userlib.arguments import at_least, checked
from userlib.errors import UserError
from userlib.evaluation.checks import Array, Ints, check_caption_to_image, check_embeddings, numbers
from userlib.evaluation.ranking import Ranks, ranks

KS = (1, 5, 10)


@dataclass(frozen=True)
class Metrics:
    """i2t: an image is the query and its captions are relevant; t2i: a caption is the query and its image is relevant.
    R@K and rSum are in percent.
    """

    i2t_r1: float
    i2t_r5: float
    i2t_r10: float
    i2t_median: float
    i2t_mean: float
    t2i_r1: float
    t2i_r5: float
    t2i_r10: float
    t2i_median: float
    t2i_mean: float
    rsum: float  # the sum of the six R@K, at most 600
    r1: float  # the mean of both R@1

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


METRICS = tuple(field.name for field in fields(Metrics))


@checked
def recalls(ranks: Ranks, *, images: ArrayLike | None = None) -> Metrics:
    """Ranks -> Metrics. R@K is a hit rate: the share of queries with a relevant item among the first K, in percent.

    images (mask (N,) or indices) restricts the queries to those images and their captions; the gallery, and so
    every rank, stays the same. For a smaller gallery, rank the result of `subset`. Raises UserError where images
    chooses none, or one that does not exist.
    """
    chosen = chosen_images(images, len(ranks.i2t))
    return _metrics(ranks.i2t[chosen], ranks.t2i[np.isin(ranks.caption_to_image, chosen)])


@checked
def recall_at_k(
    images: ArrayLike, texts: ArrayLike, caption_to_image: ArrayLike | None = None, *, k: int = 1
) -> tuple[float, float]:
    """images (N,E), texts (M,E) -> R@k of image-to-text and of text-to-image search in percent, by exact ranks.

    caption_to_image (M,): the image of each text; None: text i belongs to image i. Ties count against the query. Raises
    UserError for shapes that do not fit, values that are not finite, and k below 1.
    """
    at_least("k", k, 1)
    left, right = check_embeddings(images, texts)
    ranked = ranks(left, right, np.arange(len(left)) if caption_to_image is None else caption_to_image)
    return float(100 * np.mean(ranked.i2t <= k)), float(100 * np.mean(ranked.t2i <= k))


@checked
def recalls_by_group(ranks: Ranks, groups: Sequence[str]) -> dict[str, Metrics]:
    """The metrics of each group of images, by the groups (N,) of the images; the gallery stays whole. Raises UserError
    for another number of groups.
    """
    labels = np.asarray(groups)
    if labels.shape != ranks.i2t.shape:
        raise UserError(
            f"there are {len(ranks.i2t)} images and {len(labels)} names of groups; give one for each image."
        )
    return {str(name): recalls(ranks, images=labels == name) for name in dict.fromkeys(labels.tolist())}


@checked
def fold_average(
    images: Array | Tensor, captions: Array | Tensor, caption_to_image: ArrayLike, *, size: int = 1000
) -> Metrics:
    """The mean of the metrics over consecutive folds of `size` images; "COCO 1K" is that of its 5,000 test images.

    Images must be in the fixed order of the split, on which published numbers depend; captions may be in any order.
    Raises UserError where size does not divide the number of images.
    """
    if size < 1 or len(images) % size:
        raise UserError(
            f"{len(images)} images cannot be cut into folds of {size}; choose a size that divides {len(images)}."
        )
    parts = [
        recalls(ranks(*subset(images, captions, caption_to_image, range(start, start + size))))
        for start in range(0, len(images), size)
    ]
    return Metrics(**{name: float(np.mean([getattr(one, name) for one in parts])) for name in METRICS})


@checked
def subset(
    images: Array | Tensor,
    captions: Array | Tensor,
    caption_to_image: ArrayLike,
    chosen: Sequence[int] | ArrayLike,
) -> tuple[Array | Tensor, Array | Tensor, Ints]:
    """The embeddings of the chosen images (mask or indices) and of their captions, with the image of each caption: a
    smaller gallery, such as a fold. Raises UserError where caption_to_image or chosen do not fit the embeddings.
    """
    owner = check_caption_to_image(caption_to_image, images=len(images), captions=len(captions))
    kept = chosen_images(chosen, len(images))
    place = np.full(len(images), -1)
    place[kept] = np.arange(len(kept))
    rows = np.flatnonzero(place[owner] >= 0)
    one, two = images[kept.tolist()], captions[rows.tolist()]  # by lists, which tensors take too
    return one, two, place[owner[rows]]


def chosen_images(images: Sequence[int] | ArrayLike | None, count: int) -> Ints:
    """A mask (count,), indices, or None for all -> indices. Raises UserError unless they are distinct and in range."""
    if images is None:
        return np.arange(count)
    given = numbers("images", images, "fiub")
    if given.dtype == bool and given.shape == (count,):
        given = np.flatnonzero(given)
    if given.ndim != 1 or given.dtype.kind not in "iu" or len(given) == 0:
        raise UserError(
            f"images has the type {given.dtype} and the shape {given.shape}; it must be a mask of {count} images or a "
            "list of indices that chooses at least one."
        )
    if given.min() < 0 or given.max() >= count or len(np.unique(given)) < len(given):
        raise UserError(
            f"images are indices from {given.min()} to {given.max()}; they must be distinct, from 0 to {count - 1}."
        )
    return given.astype(np.int64)


def _metrics(i2t: Ints, t2i: Ints) -> Metrics:
    values: dict[str, float] = {}
    for way, ranked in (("i2t", i2t), ("t2i", t2i)):
        values |= {f"{way}_r{k}": 100.0 * float((ranked <= k).mean()) for k in KS}
        values |= {f"{way}_median": float(np.median(ranked)), f"{way}_mean": float(ranked.mean())}
    rsum = sum(values[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in KS)
    return Metrics(**values, rsum=rsum, r1=(values["i2t_r1"] + values["t2i_r1"]) / 2)

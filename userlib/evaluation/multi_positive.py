"""R@K and mAP@R with more than one relevant item, where a caption is true of more images than the one it describes.

The standard protocol counts one relevant image per caption and five relevant captions per image; others may be just as
relevant. With a full ground truth, R@K is the share of queries with any true item among the first K. For a query with R
true items, mAP@R is the mean over the places k = 1..R of the precision at k if the item at k is true, and 0 otherwise.
Ties count against the query. Source: ECCV Caption (Chun et al., ECCV 2022), after Musgrave et al. (ECCV 2020).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from userlib.errors import UserError
from userlib.evaluation.checks import Ints, check_caption_to_image, check_embeddings, check_scores, numbers
from userlib.evaluation.ranking import Ranks, exact_products

CHUNK = 512  # queries at a time


@dataclass(frozen=True)
class MultiPositive:
    """ranks: of the best true item of each query, for `recalls`, `bootstrap` and `paired_bootstrap`; i2t_ap (N,) and
    t2i_ap (M,): the average precision at R of each query, 0 to 1.
    """

    ranks: Ranks
    i2t_ap: NDArray[np.float64]
    t2i_ap: NDArray[np.float64]

    @property
    def i2t_map(self) -> float:
        """mAP@R of images as queries, in percent."""
        return 100 * float(self.i2t_ap.mean())

    @property
    def t2i_map(self) -> float:
        """mAP@R of captions as queries, in percent."""
        return 100 * float(self.t2i_ap.mean())


def multi_positive_recalls(
    images: ArrayLike | Tensor, captions: ArrayLike | Tensor, caption_to_image: ArrayLike, truth: ArrayLike
) -> MultiPositive:
    """images (N, E), captions (M, E), caption_to_image (M,), truth bool (M, N) -> MultiPositive.

    caption_to_image is only used when images are resampled, and captions with them. Raises UserError as `ranks` does,
    for another truth, and where a query has no true item.
    """
    left, right = check_embeddings(images, captions)
    owner = check_caption_to_image(caption_to_image, images=len(left), captions=len(right))
    with exact_products(left.device):
        return _both(
            lambda rows: left[rows] @ right.T, lambda rows: right[rows] @ left.T, owner, truth, len(left)
        )


def multi_positive_recalls_from_scores(
    scores: ArrayLike | Tensor, caption_to_image: ArrayLike, truth: ArrayLike
) -> MultiPositive:
    """scores (N, M) instead of embeddings, otherwise as `multi_positive_recalls`."""
    matrix = check_scores(scores)
    owner = check_caption_to_image(caption_to_image, images=matrix.shape[0], captions=matrix.shape[1])
    return _both(lambda rows: matrix[rows], lambda rows: matrix[:, rows].T, owner, truth, len(matrix))


def _both(
    image_rows: Callable[[slice], Tensor],
    caption_rows: Callable[[slice], Tensor],
    owner: Ints,
    truth: ArrayLike,
    count: int,
) -> MultiPositive:
    """image_rows, caption_rows: rows of queries -> their scores with the whole gallery."""
    true = torch.as_tensor(numbers("truth", truth, "fiub"))
    if true.dtype != torch.bool or true.shape != (len(owner), count):
        raise UserError(
            f"truth is {true.dtype} of shape {tuple(true.shape)}; it must be a boolean matrix of {len(owner)} captions "
            f"by {count} images."
        )
    for name, axis in (("caption", 1), ("image", 0)):
        bare = (~true.any(axis)).nonzero()[:, 0]
        if len(bare):
            raise UserError(
                f"{len(bare)} queries have no true item (the first is {name} {int(bare[0])}); mark at least the image "
                "that each caption describes."
            )
    i2t, i2t_ap = _queries(image_rows, true.T)
    t2i, t2i_ap = _queries(caption_rows, true)
    return MultiPositive(Ranks(i2t=i2t, t2i=t2i, caption_to_image=owner), i2t_ap, t2i_ap)


def _queries(scores_of: Callable[[slice], Tensor], truth: Tensor) -> tuple[Ints, NDArray[np.float64]]:
    """truth (Q, G) -> the rank of the best true item (Q,) and the average precision at R (Q,)."""
    best, average = [], []
    for start in range(0, len(truth), CHUNK):
        rows = slice(start, start + CHUNK)
        scores, true = scores_of(rows), truth[rows]
        places, there = _places(scores, true.to(scores.device))
        best.append(places[:, 0])
        true_count = there.sum(1, keepdim=True)  # R of each query
        number = torch.arange(1, places.shape[1] + 1, device=places.device)
        precision = torch.where(there & (places <= true_count), number / places, 0.0).double()
        average.append(precision.sum(1) / true_count[:, 0])
    return torch.cat(best).cpu().numpy(), torch.cat(average).cpu().numpy()


def _places(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """scores and truth (Q, G) -> the places (Q, most) of the true items, best first, and a mask of those that exist.

    The k-th true item ranks behind k - 1 true ones and all others that score at least as high.
    """
    most = int(truth.sum(1).max())
    right = scores.masked_fill(~truth, -torch.inf).topk(most, dim=1).values  # (Q, most), descending
    wrong = scores.masked_fill(truth, -torch.inf).sort(1).values  # (Q, G), ascending
    ahead = scores.shape[1] - torch.searchsorted(wrong, right)  # wrong ones >= right, where right is finite
    return ahead + torch.arange(1, most + 1, device=scores.device), right > -torch.inf

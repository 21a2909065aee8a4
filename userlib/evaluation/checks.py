"""What can be ranked: embeddings and scores of the right shape, finite and fine enough, and an owner for each
caption.

Everything else is a UserError here, before it can turn into a wrong number.
"""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from userlib.errors import UserError

Array = NDArray[np.float32]
Ints = NDArray[np.int64]


def check_embeddings(images: ArrayLike | Tensor, captions: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """images (N, E) and captions (M, E) as float32 tensors, whose products are finite."""
    (left, longest), (right, longest_too) = _table("images", images), _table("captions", captions)
    if left.shape[1] != right.shape[1]:
        raise UserError(
            f"images have {left.shape[1]} dimensions and captions {right.shape[1]}; take both from one model"
        )
    if longest * longest_too > 1e38:  # by Cauchy and Schwarz no product, nor any sum on the way, is longer
        raise UserError(
            "the embeddings are so long that their products may exceed float32; normalise them to unit length"
        )
    return left, right


def check_scores(scores: ArrayLike | Tensor) -> Tensor:
    """scores (N, M) of pictures by captions, float32 or float64, finite."""
    table = _tensor("scores", scores)
    if table.ndim != 2:
        raise UserError(
            f"scores must be a table of pictures by captions, and got the shape {tuple(table.shape)}"
        )
    if table.dtype not in (torch.float32, torch.float64):
        raise UserError(f"scores are {table.dtype}, too coarse to rank by; compute them in float32")
    if not torch.isfinite(table).all():
        raise UserError(_not_finite("scores", table))
    return table


def check_caption_to_image(caption_to_image: ArrayLike, *, pictures: int, captions: int) -> Ints:
    """The picture of each caption as (M,) int64; UserError unless it is one of N for each caption, and no
    picture is bare."""
    given = np.asarray(_tensor("caption_to_image", caption_to_image).cpu())
    if pictures == 0 or captions == 0:
        raise UserError(f"there is nothing to rank: {pictures} pictures and {captions} captions")
    if given.shape != (captions,) or given.dtype.kind not in "iu":
        raise UserError(
            f"caption_to_image must hold one whole number for each of the {captions} captions, "
            f"and got {given.dtype} of shape {given.shape}"
        )
    owner = given.astype(np.int64)
    if owner.min() < 0 or owner.max() >= pictures:
        wrong = int(np.flatnonzero((owner < 0) | (owner >= pictures))[0])
        raise UserError(
            f"caption {wrong} belongs to picture {owner[wrong]}, but pictures go from 0 to {pictures - 1}"
        )
    bare = np.flatnonzero(np.bincount(owner, minlength=pictures) == 0)
    if len(bare):
        raise UserError(
            f"{len(bare)} pictures have no caption (the first is number {bare[0]}), so they have no rank; "
            "leave them out"
        )
    return owner


def _table(name: str, given: ArrayLike | Tensor) -> tuple[Tensor, float]:
    """A finite float32 table (n, E) and the length of its longest row; one pass, as a bad number makes a bad
    length."""
    table = _tensor(name, given)
    if table.ndim != 2:
        raise UserError(
            f"{name} must be a table of one embedding a row, and got the shape {tuple(table.shape)}"
        )
    table = table.float()
    longest = float(torch.linalg.vector_norm(table, dim=1).max()) if len(table) else 0.0
    if not math.isfinite(longest) and not torch.isfinite(table).all():
        raise UserError(_not_finite(name, table))
    return table, longest


def _tensor(name: str, given: ArrayLike | Tensor) -> Tensor:
    """An array or tensor of real numbers as a tensor without gradient."""
    if isinstance(given, Tensor) and not given.is_complex():
        return given.detach()
    try:
        array = np.asarray(given)
    except ValueError as error:  # rows of unequal length
        raise UserError(f"{name} are no table of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise UserError(f"{name} must be real numbers, and got {array.dtype}")
    return torch.as_tensor(array)


def _not_finite(name: str, table: Tensor) -> str:
    bad = (~torch.isfinite(table)).any(1).nonzero()[:, 0]
    return (
        f"{name} hold NaN or infinite values in {len(bad)} of {len(table)} rows (first: row {int(bad[0])}), "
        "so they have no order; the model has diverged or its features are damaged: lower the learning rate, "
        "or rebuild the cache"
    )

"""Checks what is to be ranked: embeddings and scores of the right shape, finite and of sufficient precision, and an
image for each caption. Everything else raises UserError here, before it can turn into a wrong number.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from userlib.errors import UserError

Array = NDArray[np.float32]
Ints = NDArray[np.int64]


def check_embeddings(images: ArrayLike | Tensor, captions: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """images (N, E) and captions (M, E) -> the same as float32 tensors whose products are finite, else UserError."""
    (left, longest), (right, longest_too) = _matrix("images", images), _matrix("captions", captions)
    if left.shape[1] != right.shape[1]:
        raise UserError(
            f"images have {left.shape[1]} dimensions and captions {right.shape[1]}; take both from one model."
        )
    if longest * longest_too > 1e38:  # by Cauchy and Schwarz no product, nor any partial sum, is larger
        raise UserError(
            "the embeddings are so large that their products may exceed float32; L2-normalise them."
        )
    return left, right


def check_scores(scores: ArrayLike | Tensor) -> Tensor:
    """scores (N, M) of images by captions, float32 or float64 and finite -> the same as a tensor, else UserError."""
    matrix = _tensor("scores", scores)
    if matrix.ndim != 2:
        raise UserError(
            f"scores have the shape {tuple(matrix.shape)}; they must be a matrix of images by captions."
        )
    if matrix.dtype not in (torch.float32, torch.float64):
        raise UserError(f"scores are {matrix.dtype}, too coarse for ranks; compute them in float32.")
    if not torch.isfinite(matrix).all():
        raise UserError(_not_finite("scores", matrix))
    return matrix


def check_caption_to_image(caption_to_image: ArrayLike, *, images: int, captions: int) -> Ints:
    """The image of each caption as (M,) int64. Raises UserError unless each caption has an image, and vice versa."""
    given = np.asarray(_tensor("caption_to_image", caption_to_image).cpu())
    if images == 0 or captions == 0:
        raise UserError(
            f"there is nothing to rank: {images} images and {captions} captions. Give at least one of each."
        )
    if given.shape != (captions,) or given.dtype.kind not in "iu":
        raise UserError(
            f"caption_to_image is of type {given.dtype} and shape {given.shape}; give one whole number for each of the "
            f"{captions} captions."
        )
    owner = given.astype(np.int64)
    if owner.min() < 0 or owner.max() >= images:
        wrong = int(np.flatnonzero((owner < 0) | (owner >= images))[0])
        raise UserError(
            f"caption {wrong} belongs to image {owner[wrong]}; images have the numbers 0 to {images - 1}."
        )
    bare = np.flatnonzero(np.bincount(owner, minlength=images) == 0)
    if len(bare):
        raise UserError(
            f"{len(bare)} images have no caption (the first is number {bare[0]}) and so no rank; leave them out."
        )
    return owner


def check_ranks(name: str, given: ArrayLike | Tensor) -> Ints:
    """Ranks (n,) as int64. Raises UserError unless they are whole numbers from 1 up."""
    array = np.asarray(_tensor(name, given).cpu())
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UserError(
            f"{name} has the type {array.dtype} and the shape {array.shape}; it must be a list of ranks, whole numbers "
            "from 1 up."
        )
    if len(array) and array.min() < 1:
        raise UserError(
            f"{name} has the rank {array.min()}; ranks count from 1. Add 1 to those counted from 0."
        )
    return array.astype(np.int64)


def _matrix(name: str, given: ArrayLike | Tensor) -> tuple[Tensor, float]:
    """A finite float32 matrix (n, E) and the largest norm of its rows, which any value that is not finite shows in."""
    matrix = _tensor(name, given)
    if matrix.ndim != 2:
        raise UserError(
            f"{name} have the shape {tuple(matrix.shape)}; they must be a matrix of one embedding per row."
        )
    matrix = matrix.float()
    longest = float(torch.linalg.vector_norm(matrix, dim=1).max()) if len(matrix) else 0.0
    if not math.isfinite(longest) and not torch.isfinite(matrix).all():
        raise UserError(_not_finite(name, matrix))
    return matrix, longest


def _tensor(name: str, given: ArrayLike | Tensor) -> Tensor:
    """An array or tensor of real numbers as a tensor without gradient."""
    if isinstance(given, Tensor) and not given.is_complex():
        return given.detach()
    array = numbers(name, given)
    try:
        return torch.as_tensor(array)
    except (TypeError, ValueError):  # a type, an order of bytes or a stride that torch has not
        return torch.as_tensor(
            np.ascontiguousarray(array, np.float64 if array.dtype.kind == "f" else np.int64)
        )


def numbers(name: str, given: ArrayLike | Tensor, kinds: str = "fiu") -> NDArray[Any]:
    """An array of real numbers, or of numpy's other kinds of type. Raises UserError for anything else, for rows of
    unequal length and for masked values.
    """
    try:
        array = np.asarray(given)
    except ValueError as error:  # rows of unequal length
        raise UserError(f"{name} are no matrix of numbers: {error}. Give rows of equal length.") from error
    if array.dtype.kind not in kinds:
        raise UserError(f"{name} are of type {array.dtype}; give real numbers.")
    if np.ma.is_masked(given):  # of which an array would hold what is below the mask
        raise UserError(f"{name} have masked values, which cannot be left out here; fill or remove them.")
    return array


def _not_finite(name: str, matrix: Tensor) -> str:
    bad = (~torch.isfinite(matrix)).any(1).nonzero()[:, 0]
    return (
        f"{name} have NaN or infinite values in {len(bad)} of {len(matrix)} rows (first: row {int(bad[0])}) and so no "
        "order: the model has diverged, or its features are damaged. Lower the learning rate, or rebuild the cache."
    )

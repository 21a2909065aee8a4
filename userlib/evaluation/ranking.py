"""Ranks of the relevant items, counted exactly from one float32 product.

Sorting 125 million scores to get 30,000 ranks is wasted work: a rank is a count. For a caption, it is the number of
images that score at least as high as the matching one (itself included, so the best rank is 1); for an image, one more
than the number of other images' captions that score at least as high as its best own caption. A tie therefore counts
against the query, and a collapsed model, which gives every pair the same score, ranks last instead of first.

The score of the matching pair is read from the same product as all others: computed separately, it would differ by
rounding, and a pair could lose to itself. Source: the standard protocol (Faghri et al., VSE++, BMVC 2018).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from userlib.arguments import at_least, checked
from userlib.evaluation.checks import (
    Ints,
    check_caption_to_image,
    check_embeddings,
    check_ranks,
    check_scores,
)
from userlib.precision import full_float32

STEP = 64  # tiles are padded to multiples of it: equal vectors meet the same kernel, and score bit-equal


@dataclass(frozen=True)
class Ranks:
    """The ranks of the relevant items, counted from 1.

    i2t (N,): for each image, the best rank among its captions. t2i (M,): for each caption, the rank of its image.
    caption_to_image (M,): the image of each caption, so that captions can follow their images when these are resampled.
    Lists become arrays. Raises UserError for ranks that are not whole numbers from 1 up, and for captions without an
    image or images without a caption.
    """

    i2t: Ints
    t2i: Ints
    caption_to_image: Ints

    def __post_init__(self) -> None:
        for name in ("i2t", "t2i"):
            object.__setattr__(self, name, check_ranks(name, getattr(self, name)))
        owner = check_caption_to_image(self.caption_to_image, images=len(self.i2t), captions=len(self.t2i))
        object.__setattr__(self, "caption_to_image", owner)


@checked
def ranks(
    images: ArrayLike | Tensor, captions: ArrayLike | Tensor, caption_to_image: ArrayLike, *, chunk: int = 512
) -> Ranks:
    """images (N, E), captions (M, E), caption_to_image (M,) -> Ranks, by the dot product in float32.

    It works on tiles of `chunk` images by the captions of `chunk` images, so that the memory is that of a few tiles
    whatever N and M are, on the device of the inputs. Captions may come in any order and number, but each image needs
    one. Raises UserError for shapes that do not fit, values that are not finite, and a chunk below 1.
    """
    at_least("chunk", chunk, 1)
    left, right = check_embeddings(images, captions)
    owner = check_caption_to_image(caption_to_image, images=len(left), captions=len(right))
    order = np.argsort(owner, kind="stable")
    tiles = _Tiles(left, right, torch.from_numpy(order), owner[order], step=_round_up(min(chunk, len(left))))
    i2t, t2i = _count(tiles)
    unsorted = np.empty_like(t2i)
    unsorted[order] = t2i
    return Ranks(i2t=i2t, t2i=unsorted, caption_to_image=owner)


def ranks_from_scores(scores: ArrayLike | Tensor, caption_to_image: ArrayLike) -> Ranks:
    """scores (N, M), float32 or float64, of every image with every caption, caption_to_image (M,) -> Ranks.

    For models that score pairs without embeddings (cross-attention, sums of two models). Raises UserError for shapes
    that do not fit, for values that are not finite, and for half precision, in which too many pairs tie.
    """
    matrix = check_scores(scores)
    owner = check_caption_to_image(caption_to_image, images=matrix.shape[0], captions=matrix.shape[1])
    column = torch.from_numpy(owner).to(matrix.device)
    right = matrix.gather(0, column[None])[0]  # (M,)
    best = _best_of(right, column, len(matrix))  # (N,)
    i2t, t2i = torch.zeros(len(matrix), dtype=torch.int64), torch.zeros(len(owner), dtype=torch.int64)
    memory = torch.empty_like(matrix[:512]).flatten()
    for start in range(0, len(matrix), 512):
        rows, columns = _at_least(matrix[start : start + 512], best[start : start + 512], right, memory)
        i2t[start : start + 512] += rows.cpu()
        t2i += columns.cpu()
    i2t -= _own_at_best(right, best, column).cpu() - 1
    return Ranks(i2t=i2t.numpy(), t2i=t2i.numpy(), caption_to_image=owner)


def ranks_among(scores: ArrayLike, rows: ArrayLike) -> Ints:
    """scores (N,) of one query with its gallery, rows (k,) of relevant items -> (k,), the rank of each: how many items
    score at least as high, itself included, so that a tie counts against the query as in `ranks`.
    """
    every = np.asarray(scores)
    ranked: Ints = len(every) - np.searchsorted(np.sort(every), every[np.asarray(rows, np.int64)], "left")
    return ranked


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Matrix products in true float32 inside (`full_float32`), without autocast and gradient."""
    with full_float32(), torch.autocast(device.type, enabled=False), torch.no_grad():
        yield


class _Tiles:
    """The product in tiles of one padded shape: images of block a, captions of the images of block b."""

    def __init__(self, images: Tensor, captions: Tensor, order: Tensor, owner: Ints, *, step: int) -> None:
        self.images, self.captions, self.owner, self.step = images, captions, owner, step
        self.count, self.device = len(images), images.device
        self.order = order.to(captions.device)
        self.starts = range(0, self.count, step)
        self.edges = np.searchsorted(owner, [*self.starts, self.count])  # where each block's captions begin
        self.width = _round_up(int(np.diff(self.edges).max()))
        self.score = torch.empty(step, self.width, device=self.device)
        self.memory = torch.empty(step * self.width, device=self.device)

    def image_block(self, a: int) -> Tensor:
        return _padded(self.images[a * self.step : (a + 1) * self.step], self.step)

    def caption_block(self, b: int) -> Tensor:
        rows = self.order[self.edges[b] : self.edges[b + 1]]
        return _padded(self.captions[rows], self.width).to(self.device)

    def owner_of(self, b: int) -> Tensor:
        """The image of each caption of block b, counted from the first of that block."""
        return torch.from_numpy(self.owner[self.edges[b] : self.edges[b + 1]] - b * self.step).to(self.device)

    def product(self, a: int, images: Tensor, b: int, captions: Tensor) -> Tensor:
        torch.mm(images, captions.T, out=self.score)
        return self.score[: min(self.step, self.count - a * self.step), : self.edges[b + 1] - self.edges[b]]


def _count(tiles: _Tiles) -> tuple[Ints, Ints]:
    """i2t (N,), t2i (M,) with captions sorted by image: first from the blocks on the diagonal, which contain the
    matching pairs, then from the others.
    """
    blocks = range(len(tiles.starts))
    size = [min(tiles.step, tiles.count - start) for start in tiles.starts]
    right: list[Tensor] = []  # for each block, the scores of its captions with their images
    best: list[Tensor] = []  # for each block, the best such score of each image
    i2t, t2i = [], []
    with exact_products(tiles.device):
        images = [tiles.image_block(a) for a in blocks]
        for b in blocks:
            score = tiles.product(b, images[b], b, tiles.caption_block(b))
            local = tiles.owner_of(b)
            right.append(score.gather(0, local[None])[0])
            best.append(_best_of(right[b], local, size[b]))
            rows, columns = _at_least(score, best[b], right[b], tiles.memory)
            i2t.append(rows - _own_at_best(right[b], best[b], local) + 1)
            t2i.append(columns)
        for b in blocks:
            captions = tiles.caption_block(b)
            for a in blocks:
                if a != b:
                    score = tiles.product(a, images[a], b, captions)
                    rows, columns = _at_least(score, best[a], right[b], tiles.memory)
                    i2t[a] += rows
                    t2i[b] += columns
    return torch.cat(i2t).cpu().numpy(), torch.cat(t2i).cpu().numpy()


def _at_least(score: Tensor, best: Tensor, right: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """score (n, m) -> how many in a row are at least best (n,), and how many in a column at least right (m,).

    The comparison is written as 0.0 and 1.0, since sums of floats are vectorised; they are exact below 2^24. It is
    written to memory (n * m or more), since a new allocation per tile takes time.
    """
    reached = memory[: score.numel()].view(score.shape)
    rows = torch.ge(score, best[:, None], out=reached).sum(1)
    columns = torch.ge(score, right[None, :], out=reached).sum(0)
    return rows.long(), columns.long()


def _best_of(right: Tensor, owner: Tensor, num_images: int) -> Tensor:
    """right (m,) the scores of captions with their images, owner (m,) -> (num_images,), the best of each image."""
    return right.new_full((num_images,), -torch.inf).scatter_reduce(0, owner, right, "amax")


def _own_at_best(right: Tensor, best: Tensor, owner: Tensor) -> Tensor:
    """How many of each image's own captions reach its best score (several if they tie), to be left out of its rank."""
    return torch.bincount(owner[right >= best[owner]], minlength=len(best))


def _padded(matrix: Tensor, rows: int) -> Tensor:
    return matrix if len(matrix) == rows else torch.nn.functional.pad(matrix, (0, 0, 0, rows - len(matrix)))


def _round_up(count: int) -> int:
    return -(-count // STEP) * STEP

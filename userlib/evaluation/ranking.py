"""Ranks of the right answers, counted exactly from one float32 product.

Sorting 125 million scores to learn 30,000 ranks is wasted work: a rank is a count. For a caption, it is the
number of pictures that score at least as high as the right one (the right one included, so the best rank is
1); for a picture, one more than the number of wrong captions that score at least as high as its best right
caption. A tie therefore counts against the query, and a collapsed model, which gives every pair the same
score, ranks last instead of first.

The right pair's score is read from the same product as its rivals': computed apart, it would differ from them
by rounding and lose to itself. Source: paper, section 8 (evaluation protocol of the field).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from userlib.errors import UserError
from userlib.evaluation.checks import Ints, check_caption_to_image, check_embeddings, check_scores
from userlib.precision import full_float32

STEP = (
    64  # every tile is padded to a multiple, so that equal vectors meet the same kernel and score bit-equal
)


@dataclass(frozen=True)
class Ranks:
    """Where the right answers stand, counted from 1.

    i2t (N,): for each picture, the best rank among its captions. t2i (M,): for each caption, the rank of its
    picture. caption_to_image (M,): the picture of each caption, so that captions can follow their pictures when these
    are resampled.
    """

    i2t: Ints
    t2i: Ints
    caption_to_image: Ints


def ranks(
    images: ArrayLike | Tensor, captions: ArrayLike | Tensor, caption_to_image: ArrayLike, *, chunk: int = 512
) -> Ranks:
    """images (N, E), captions (M, E), caption_to_image (M,) -> Ranks, by the dot product in float32.

    Works on tiles of `chunk` pictures against the captions of `chunk` pictures, so memory stays at a few
    tiles whatever N and M are, and runs where the inputs live (CPU or GPU). Captions may come in any order
    and number, but each picture needs one. Raises UserError for shapes that do not fit, and for values that
    are not finite.
    """
    if chunk < 1:
        raise UserError(f"a chunk holds one picture or more, and got chunk={chunk}")
    left, right = check_embeddings(images, captions)
    owner = check_caption_to_image(caption_to_image, pictures=len(left), captions=len(right))
    order = np.argsort(owner, kind="stable")
    tiles = _Tiles(left, right, torch.from_numpy(order), owner[order], step=_round_up(min(chunk, len(left))))
    i2t, t2i = _count(tiles)
    unsorted = np.empty_like(t2i)
    unsorted[order] = t2i
    return Ranks(i2t=i2t, t2i=unsorted, caption_to_image=owner)


def ranks_from_scores(scores: ArrayLike | Tensor, caption_to_image: ArrayLike) -> Ranks:
    """scores (N, M), float32 or float64, of every picture with every caption -> Ranks.

    For models that score pairs without embeddings (cross-attention, sums of two models). Half precision is
    refused: it ties so many pairs that R@1 becomes a matter of taste.
    """
    table = check_scores(scores)
    owner = check_caption_to_image(caption_to_image, pictures=table.shape[0], captions=table.shape[1])
    column = torch.from_numpy(owner).to(table.device)
    right = table.gather(0, column[None])[0]  # (M,)
    best = _best_of(right, column, len(table))  # (N,)
    i2t, t2i = torch.zeros(len(table), dtype=torch.int64), torch.zeros(len(owner), dtype=torch.int64)
    memory = torch.empty_like(table[:512]).flatten()
    for start in range(0, len(table), 512):
        rows, columns = _at_least(table[start : start + 512], best[start : start + 512], right, memory)
        i2t[start : start + 512] += rows.cpu()
        t2i += columns.cpu()
    i2t -= _own_at_best(right, best, column).cpu() - 1
    return Ranks(i2t=i2t.numpy(), t2i=t2i.numpy(), caption_to_image=owner)


def ranks_among(scores: ArrayLike, rows: ArrayLike) -> Ints:
    """scores (N,) of one query with its whole gallery, rows (k,) of right answers -> (k,) the rank of each: how many
    items score at least as high, itself included. The rule of `ranks`, so that a tie counts against the query.
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
    """The product in tiles of one padded shape: pictures of block a, captions of the pictures of block b."""

    def __init__(self, images: Tensor, captions: Tensor, order: Tensor, owner: Ints, *, step: int) -> None:
        self.images, self.captions, self.owner, self.step = images, captions, owner, step
        self.count, self.device = len(images), images.device
        self.order = order.to(captions.device)
        self.starts = range(0, self.count, step)
        self.edges = np.searchsorted(owner, [*self.starts, self.count])  # where each block's captions begin
        self.width = _round_up(int(np.diff(self.edges).max()))
        self.score = torch.empty(step, self.width, device=self.device)
        self.memory = torch.empty(step * self.width, device=self.device)

    def pictures(self, a: int) -> Tensor:
        return _padded(self.images[a * self.step : (a + 1) * self.step], self.step)

    def captions_of(self, b: int) -> Tensor:
        rows = self.order[self.edges[b] : self.edges[b + 1]]
        return _padded(self.captions[rows], self.width).to(self.device)

    def owner_of(self, b: int) -> Tensor:
        """The picture of each caption of block b, counted from the first of that block."""
        return torch.from_numpy(self.owner[self.edges[b] : self.edges[b + 1]] - b * self.step).to(self.device)

    def product(self, a: int, pictures: Tensor, b: int, captions: Tensor) -> Tensor:
        torch.mm(pictures, captions.T, out=self.score)
        return self.score[: min(self.step, self.count - a * self.step), : self.edges[b + 1] - self.edges[b]]


def _count(tiles: _Tiles) -> tuple[Ints, Ints]:
    """i2t (N,), t2i (M, captions sorted by picture): first the diagonal, which holds the right pairs, then
    the rest."""
    blocks = range(len(tiles.starts))
    size = [min(tiles.step, tiles.count - start) for start in tiles.starts]
    right: list[Tensor] = []  # of each block, the right score of its captions
    best: list[Tensor] = []  # and the best right score of its pictures
    i2t, t2i = [], []
    with exact_products(tiles.device):
        images = [tiles.pictures(a) for a in blocks]
        for b in blocks:
            score = tiles.product(b, images[b], b, tiles.captions_of(b))
            local = tiles.owner_of(b)
            right.append(score.gather(0, local[None])[0])
            best.append(_best_of(right[b], local, size[b]))
            rows, columns = _at_least(score, best[b], right[b], tiles.memory)
            i2t.append(rows - _own_at_best(right[b], best[b], local) + 1)
            t2i.append(columns)
        for b in blocks:
            captions = tiles.captions_of(b)
            for a in blocks:
                if a != b:
                    score = tiles.product(a, images[a], b, captions)
                    rows, columns = _at_least(score, best[a], right[b], tiles.memory)
                    i2t[a] += rows
                    t2i[b] += columns
    return torch.cat(i2t).cpu().numpy(), torch.cat(t2i).cpu().numpy()


def _at_least(score: Tensor, best: Tensor, right: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """score (n, m) -> how many of a row reach best (n,), and how many of a column reach right (m,).

    The comparison is written as 0. and 1. because sums of floats are vectorised; exact below 2^24 a tile. It goes to
    memory (n * m or more), as a tile's own would have to be asked of the system each time.
    """
    reached = memory[: score.numel()].view(score.shape)
    rows = torch.ge(score, best[:, None], out=reached).sum(1)
    columns = torch.ge(score, right[None, :], out=reached).sum(0)
    return rows.long(), columns.long()


def _best_of(right: Tensor, owner: Tensor, pictures: int) -> Tensor:
    """right (m,) scores of captions with their own picture, owner (m,) -> (pictures,) the best of each
    picture."""
    return right.new_full((pictures,), -torch.inf).scatter_reduce(0, owner, right, "amax")


def _own_at_best(right: Tensor, best: Tensor, owner: Tensor) -> Tensor:
    """How many of each picture's own captions reach its best score (more than one when they tie): they are
    not rivals."""
    return torch.bincount(owner[right >= best[owner]], minlength=len(best))


def _padded(table: Tensor, rows: int) -> Tensor:
    return table if len(table) == rows else torch.nn.functional.pad(table, (0, 0, 0, rows - len(table)))


def _round_up(count: int) -> int:
    return -(-count // STEP) * STEP

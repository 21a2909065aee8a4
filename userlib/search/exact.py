"""Exact nearest neighbours: the k best of a gallery by dot product, in chunks and in a reproducible order.

Up to about 10^5 items it is so fast that approximate search is not worth its loss of recall.
"""

import sys
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from userlib.arguments import at_least
from userlib.errors import UserError

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float32]
Ints = NDArray[np.int64]
CHUNK = 65_536  # gallery rows at a time
QUERIES = 256  # queries at a time: 64 MB of scores
PAD = 8  # queries at least: for fewer rows, kernels give equal vectors unequal scores


def top_k(queries: Array, gallery: Array, k: int) -> tuple[Array, Ints]:
    """queries (Q, E), gallery (N, E) -> scores and rows (Q, min(k, N)), best first; equal scores in the order of rows.

    Raises UserError for k < 1, shapes that do not fit, and queries that are not finite.
    """
    check(queries, gallery.shape, k)
    if not len(queries):
        width = min(k, len(gallery))
        return np.empty((0, width), np.float32), np.empty((0, width), np.int64)
    return _by_torch(queries, gallery, k) if "torch" in sys.modules else _by_numpy(queries, gallery, k)


def check_k(k: int) -> None:
    """Raises UserError for k < 1."""
    at_least("k", k, 1)


def check(queries: Array, gallery: tuple[int, ...], k: int) -> None:
    """Raises UserError for k < 1, for a shape that does not fit the gallery, and for values that are not finite."""
    check_k(k)
    if queries.ndim != 2 or len(gallery) != 2 or queries.shape[1] != gallery[1]:
        raise UserError(
            f"queries have the shape {queries.shape} and the gallery {gallery}; give (Q, E) and (N, E) of one model."
        )
    if not np.isfinite(queries).all():
        raise UserError(
            "a query has NaN or infinite values, so its model is damaged or has diverged; use another."
        )


def _by_numpy(queries: Array, gallery: Array, k: int) -> tuple[Array, Ints]:
    """Without torch. einsum adds the products of each pair in the same order, whatever the rest of the gallery, so that
    equal vectors have equal scores. The hits are those of torch, and the scores to about 1e-7.
    """
    scores, rows = [], []
    items = np.ascontiguousarray(gallery, np.float32)
    for query in np.ascontiguousarray(queries, np.float32):
        values = np.einsum("ne,e->n", items, query)
        place = min(k, len(values)) - 1
        least = np.partition(values, len(values) - 1 - place)[len(values) - 1 - place] if len(values) else 0.0
        near = np.flatnonzero(values >= least)  # in the order of rows, which a stable sort keeps
        best = near[np.argsort(-values[near], kind="stable")][:k]
        scores.append(values[best])
        rows.append(best.astype(np.int64))
    return np.stack(scores), np.stack(rows)


def _by_torch(queries: Array, gallery: Array, k: int) -> tuple[Array, Ints]:
    import torch

    from userlib.evaluation.ranking import exact_products

    scores, rows = [], []
    items = torch.from_numpy(np.ascontiguousarray(gallery, np.float32))
    with exact_products(torch.device("cpu")):
        for start in range(0, len(queries), QUERIES):
            part = torch.from_numpy(np.ascontiguousarray(queries[start : start + QUERIES], np.float32))
            padded = torch.nn.functional.pad(part, (0, 0, 0, max(0, PAD - len(part))))
            best, at = _best(padded, items, k)
            scores.append(best[: len(part)].numpy())
            rows.append(at[: len(part)].numpy())
    return np.concatenate(scores), np.concatenate(rows)


def _best(queries: "torch.Tensor", items: "torch.Tensor", k: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """queries (q, E) -> scores and rows (q, k), over all chunks of the gallery."""
    import torch

    best = queries.new_empty(len(queries), 0)
    at = torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(items), CHUNK):
        values, rows = _first(queries @ items[start : start + CHUNK].T, k)
        best, at = torch.cat([best, values], 1), torch.cat([at, rows + start], 1)
        best, order = best.sort(dim=1, descending=True, stable=True)  # stable: earlier chunks hold lower rows
        best, at = best[:, :k], at.gather(1, order)[:, :k]
    return best, at


def _first(scores: "torch.Tensor", k: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """The k best of each row (q, n), equal scores in the order of columns, unlike topk where they tie for the last."""
    k = min(k, scores.shape[1])
    last = scores.topk(k, dim=1).values[:, -1:]
    tied = int((scores >= last).sum(dim=1).max())
    values, columns = scores.topk(tied, dim=1) if tied > k else scores.topk(k, dim=1)
    columns, order = columns.sort(1)
    values, again = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values[:, :k], columns.gather(1, again)[:, :k]

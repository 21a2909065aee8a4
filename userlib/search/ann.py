"""Approximate search by HNSW (package faiss, extra `ann`), for galleries where exact search is too slow.

It returns most of the nearest items, not all, so it always comes with a report of its recall compared with exact search
on the user's queries. Several threads build the graph, which therefore differs a little from build to build. Source:
Malkov and Yashunin, IEEE TPAMI 2020.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from userlib.arguments import at_least, checked
from userlib.errors import UserError
from userlib.search.exact import Array, Ints, check, top_k


@dataclass(frozen=True)
class Report:
    """HNSW compared with exact search. recall: the share of its k hits that score at least as the k-th exact hit."""

    recall: float
    k: int
    queries: int
    exact_ms: float  # per query, all in one batch
    approximate_ms: float
    build_s: float
    megabytes: float

    def __str__(self) -> str:
        return (
            f"HNSW finds {100 * self.recall:.1f} % of the exact {self.k} nearest on {self.queries} queries, "
            f"in {self.approximate_ms:.3f} ms per query against {self.exact_ms:.3f} ms; built in "
            f"{self.build_s:.1f} s, {self.megabytes:.0f} MB"
        )


class Hnsw:
    """A graph over unit vectors (N, E), searched by inner product."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def search(self, queries: Array, k: int) -> tuple[Array, Ints]:
        """queries (Q, E) -> scores and rows (Q, min(k, N)), best first, equal scores in the order of rows. A query that
        reaches fewer rows in the graph, as among many equal vectors, is answered by exact search.

        Raises UserError as `top_k` does.
        """
        check(queries, (self.graph.ntotal, self.graph.d), k)
        k = min(k, self.graph.ntotal)
        width = max(self.graph.hnsw.efSearch, k)  # for this search only
        wide = _faiss().SearchParametersHNSW(efSearch=width)
        scores, rows = self.graph.search(np.ascontiguousarray(queries, np.float32), k, params=wide)
        order = np.lexsort((rows, -scores), axis=1)
        scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
        short = np.flatnonzero((rows < 0).any(1))  # faiss returns -1 where it reached no row
        if len(short):
            vectors = self.graph.reconstruct_n(0, self.graph.ntotal)
            scores[short], rows[short] = top_k(queries[short], vectors, k)
        return scores, rows

    def to_bytes(self) -> NDArray[np.uint8]:
        """The graph with its vectors, for `from_bytes`."""
        data: NDArray[np.uint8] = _faiss().serialize_index(self.graph)
        return data

    @classmethod
    def from_bytes(cls, data: NDArray[np.uint8]) -> "Hnsw":
        """The graph of `to_bytes`. Its bytes must have been compared with their checksum: faiss trusts them."""
        return cls(_faiss().deserialize_index(np.ascontiguousarray(data)))


@checked
def hnsw(
    vectors: Array,
    queries: Array,
    k: int = 10,
    *,
    M: int = 32,
    ef_construction: int = 200,
    ef_search: int = 128,
) -> tuple[Hnsw, Report]:
    """vectors (N, E), queries (Q, E) -> the graph, and its comparison with exact search on these queries.

    M: neighbours of a node; ef_construction, ef_search: candidates kept while building and searching. Larger values are
    more accurate and slower. Raises UserError where faiss is not installed, and without queries.
    """
    faiss = _faiss()
    if not len(queries):
        raise UserError(
            "HNSW is compared with exact search on queries, and there are none; give at least one."
        )
    at_least("M", M, 2)  # faiss would end the process
    at_least("ef_construction", ef_construction, 1)
    at_least("ef_search", ef_search, 1)
    start = time.perf_counter()
    graph = faiss.IndexHNSWFlat(vectors.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = ef_construction
    graph.hnsw.efSearch = ef_search
    graph.add(np.ascontiguousarray(vectors, np.float32))
    built = time.perf_counter()
    index = Hnsw(graph)
    scores, _ = index.search(queries, k)
    searched = time.perf_counter()
    exact, _ = top_k(queries, vectors, k)
    compared = time.perf_counter()
    return index, Report(
        recall=float((scores >= exact[:, -1:] - 1e-6).mean()),
        k=exact.shape[1],
        queries=len(queries),
        exact_ms=1000 * (compared - searched) / len(queries),
        approximate_ms=1000 * (searched - built) / len(queries),
        build_s=built - start,
        megabytes=len(index.to_bytes()) / 1e6,
    )


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            'approximate search needs the package faiss, which is not installed: pip install -e ".[ann]"'
        ) from error
    return faiss

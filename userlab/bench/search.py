"""Search among many captions: HNSW against exact search, with its recall, build time and size."""

from collections.abc import Iterator
from typing import Any

from userlab.bench.captions import caption_vectors
from userlab.bench.case import Case, Goal
from userlib.search.ann import hnsw
from userlib.search.exact import top_k

K = 10
M = 32


def cases(*, tiny: bool, device: str) -> Iterator[Case]:
    """200,000 captions of the pretrain world, with 1,000 others as queries."""
    size, queries = (300, 20) if tiny else (200_000, 1000)
    vectors = caption_vectors(size, queries, progress=not tiny)
    index, report = hnsw(vectors.gallery, vectors.queries, K, M=M)
    width = vectors.gallery.shape[1]

    def notes() -> dict[str, Any]:
        scores, _ = index.search(vectors.queries, K)
        exact, _ = top_k(vectors.queries, vectors.gallery, K)
        recall = float((scores >= exact[:, -1:] - 1e-6).mean())
        return {
            "recall_at_10": recall,
            "recall_at_least_95_percent": recall >= 0.95,
            "build_s": report.build_s,
            "megabytes": report.megabytes,
            "exact_megabytes": vectors.gallery.nbytes / 1e6,
            **{f"gigabytes_of_{count:.0e}_pictures_e1024": gigabytes(count) for count in (1e6, 1e9)},
        }

    yield Case(
        group="search",
        name="HNSW",
        shapes=f"{queries:,} queries, {len(vectors.gallery):,} captions, E {width}",
        ours=lambda: index.search(vectors.queries, K),
        reference=lambda: top_k(vectors.queries, vectors.gallery, K),
        reference_is="exact",
        goals=(Goal("reference", 1.0),),
        notes=notes,
    )


def gigabytes(num_images: float, width: int = 1024) -> float:
    """The memory of an index of `num_images` images: float32 vectors, and 2 M links of 4 bytes each."""
    return num_images * (4 * width + 4 * 2 * M) / 1e9

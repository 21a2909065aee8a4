"""Re-ranking of the first hits: cross-attention on some hundred candidates retrieved by embeddings.

Cross-attention compares words with regions and costs hundreds of times more per pair; on candidates alone it is
affordable. The vectors of words and regions must lie in one space, as those of a model before its pooling do.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from userlib.errors import UserError
from userlib.model.scorers import scan_t2i


def cross_attention(
    ids: Sequence[str],
    regions: Tensor,
    words_of: Callable[[str], Tensor],
    *,
    region_mask: Tensor | None = None,
) -> Callable[[str, Sequence[str]], Sequence[float]]:
    """ids of N images, regions (N, R, E), words_of(query) -> (W, E): a `rerank` for `Index.search`."""
    if len(ids) != len(regions):
        raise UserError(f"there are {len(ids)} ids but regions of {len(regions)} images; give each its own")
    row = {name: i for i, name in enumerate(ids)}

    def rerank(text: str, candidates: Sequence[str]) -> Sequence[float]:
        missing = [name for name in candidates if name not in row]
        if missing:
            raise UserError(f"the reranker has no regions of the image {missing[0]!r}")
        rows = torch.tensor([row[name] for name in candidates])
        words = words_of(text)[None]  # (1, W, E)
        mask = None if region_mask is None else region_mask[rows]
        there = torch.ones(words.shape[:2], dtype=torch.bool)
        scores: list[float] = scan_t2i(regions[rows], words, there, region_mask=mask)[:, 0].tolist()
        return scores

    return rerank

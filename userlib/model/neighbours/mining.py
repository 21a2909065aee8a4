"""Hard-negative mining for a scorer: it learns from the pairs that the embeddings find hardest.

Cross-attention costs hundreds of times as much per pair as a dot product, so the embeddings choose: for each image the
captions, and for each caption the images, of the highest score. The scorer then reads only those, as in re-ranking.
"""

import torch
from torch import Tensor

from userlib.model.neighbours.cross_attention import Scorer


def hardest(scores: Tensor, ignore_mask: Tensor, count: int) -> Tensor:
    """scores (B,B) of the embeddings, ignore_mask (B,B) True where a pair is no negative -> (B,B), True at the `count`
    negatives of highest score in each row and in each column, and on the diagonal.
    """
    count = min(count, len(scores) - 1)
    negatives = scores.masked_fill(ignore_mask, -torch.inf)
    chosen = torch.zeros_like(ignore_mask)
    for dim in (0, 1):
        chosen = chosen.scatter(dim, negatives.topk(count, dim=dim).indices, True)
    return chosen & ~ignore_mask | torch.eye(len(scores), dtype=torch.bool, device=scores.device)


def chosen_scores(
    scorer: Scorer,
    regions: Tensor,
    words: Tensor,
    region_mask: Tensor | None,
    word_mask: Tensor,
    chosen: Tensor,
) -> Tensor:
    """The scores (B,B) of the chosen pairs (B,B); all others are 0 and have to be ignored. The rest as in `Scorer`."""
    rows, columns = chosen.nonzero(as_tuple=True)
    there = None if region_mask is None else region_mask[rows]
    scores = scorer.pairs(regions[rows], words[columns], there, word_mask[columns])
    whole = scores.new_zeros(chosen.shape)
    return whole.index_put((rows, columns), scores)

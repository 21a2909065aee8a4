"""Which pairs a scorer learns from: all of the batch, or those that the embeddings find hardest.

Cross-attention costs hundreds of times a dot product per pair, so the embeddings choose: of each image the captions,
and of each caption the images, that they take for the most similar. The scorer then sees those pairs alone, which is
also what it is asked in re-ranking.
"""

import torch
from torch import Tensor

from userlib.model.neighbours.cross_attention import Scorer


def hardest(scores: Tensor, ignore_mask: Tensor, count: int) -> Tensor:
    """scores (B,B) of the embeddings, ignore_mask (B,B) True where a pair is no negative -> (B,B), True on the `count`
    negatives of highest score in each row and in each column, and on the diagonal.
    """
    count = min(count, len(scores) - 1)
    lowest = scores.masked_fill(ignore_mask, -torch.inf)
    chosen = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    for way in (0, 1):
        best = lowest.topk(count, dim=way).indices
        chosen = chosen | torch.zeros_like(chosen).scatter(way, best, True)
    return chosen & (~ignore_mask | torch.eye(len(scores), dtype=torch.bool, device=scores.device))


def chosen_scores(
    scorer: Scorer,
    regions: Tensor,
    words: Tensor,
    region_mask: Tensor | None,
    word_mask: Tensor,
    chosen: Tensor,
) -> Tensor:
    """The scorer on the chosen pairs (B,B) alone -> (B,B); the others are 0 and are to be ignored."""
    rows, columns = chosen.nonzero(as_tuple=True)
    there = None if region_mask is None else region_mask[rows]
    scores = scorer.pairs(regions[rows], words[columns], there, word_mask[columns])
    whole = scores.new_zeros(chosen.shape)
    return whole.index_put((rows, columns), scores)

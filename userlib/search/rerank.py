"""Re-ranks the first hits: cross-attention on about a hundred candidates that were retrieved by embeddings.

Cross-attention compares words with regions and costs hundreds of times as much per pair as a dot product, which is
affordable for candidates only. Words and regions must be in one space, as those of a model before its pooling are.
"""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from userlib.errors import UserError
from userlib.inference import scoring
from userlib.model.scorers import scan_t2i
from userlib.search.encoders import CheckpointEncoder


def cross_attention(
    ids: Sequence[str],
    regions: Tensor,
    words_of: Callable[[str], Tensor],
    *,
    region_mask: Tensor | None = None,
) -> Callable[[str, Sequence[str]], Sequence[float]]:
    """A `rerank` for `Index.search` by `scan_t2i`: ids of N images, regions (N, R, E), region_mask (N, R),
    words_of(query) -> (W, E). Raises UserError where the numbers of ids and images differ.
    """
    if len(ids) != len(regions):
        raise UserError(f"there are {len(ids)} ids and regions of {len(regions)} images; give each its id.")
    row = {name: i for i, name in enumerate(ids)}

    def rerank(text: str, candidates: Sequence[str]) -> Sequence[float]:
        missing = [name for name in candidates if name not in row]
        if missing:
            raise UserError(
                f"the reranker has no regions of the image {missing[0]!r}; give it those of all images of the index."
            )
        rows = torch.tensor([row[name] for name in candidates])
        words = words_of(text)[None].to(regions.device)  # (1, W, E)
        mask = None if region_mask is None else region_mask[rows]
        there = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
        scores: list[float] = scan_t2i(regions[rows], words, there, region_mask=mask)[:, 0].tolist()
        return scores

    return rerank


def scorer_reranker(
    encoder: CheckpointEncoder, image_of: Callable[[str], Image.Image]
) -> Callable[[str, Sequence[str]], Sequence[float]]:
    """A `rerank` for `Index.search` by the model's scorer; image_of(id) returns an image, whose regions are computed
    when it is a candidate. Raises UserError for a model without a scorer.
    """
    model = encoder.loaded.model
    scorer = model.scorer
    if scorer is None:
        raise UserError(
            f"the model in {encoder.name} has no scorer to re-rank with; train one with --scorer chan, or leave "
            "--rerank out."
        )

    def rerank(text: str, candidates: Sequence[str]) -> Sequence[float]:
        tokens, guide = encoder.inputs_of([image_of(name) for name in candidates])
        with scoring(model) as place:
            regions, _ = model.encode_regions(tokens, None, guide)
            ids = torch.as_tensor(encoder.loaded.tokenizer.encode(text)).unsqueeze(0).to(place)
            words, mask = model.encode_words(ids, torch.ones_like(ids, dtype=torch.bool))
            scores: list[float] = scorer(regions, words, None, mask)[:, 0].tolist()
        return scores

    return rerank

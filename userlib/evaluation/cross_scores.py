"""The scores of a whole split by a trained scorer: of all pairs, or of the first k hits of each query by embeddings.

Regions and words are encoded once. All pairs take N M scores of R W similarities each, in blocks that bound the memory;
re-ranking takes k (N + M) scores, and hits after the first k stay in the order of the embeddings.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from userlib.arguments import at_least
from userlib.errors import UserError
from userlib.evaluation.checks import Array
from userlib.evaluation.ranking import Ranks, exact_products, ranks_from_scores
from userlib.inference import scoring
from userlib.model.scorers import scan_i2t, scan_t2i
from userlib.precision import full_float32

if TYPE_CHECKING:
    from userlib.data.captions import CaptionDataset
    from userlib.model.neighbours.cross_attention import Scorer
    from userlib.model.user import DualEncoder

BLOCK = 2**24  # similarities at a time: 64 MB
BEHIND = 1e3  # subtracted from the scores of what is not re-ranked


class Sets:
    """The regions (N,R,E) of all images and the words (M,W,E) of all captions of a split, with their masks. Raises
    UserError for a model without a scorer.
    """

    def __init__(self, model: "DualEncoder", pairs: "CaptionDataset", *, batch_size: int = 256) -> None:
        if model.scorer is None:
            raise UserError(
                "the model has no scorer, only embeddings; train one with --scorer chan, scan-t2i, scan-i2t or naaf."
            )
        self.scorer: Scorer = model.scorer
        regions, region_masks, words, rows = [], [], [], []
        longest = int(pairs.lengths.max())
        with scoring(model) as place:
            for tokens, *extra in pairs.image_batches(batch_size):
                mask, guide = (None if part is None else part.to(place) for part in extra)
                vectors, mask = model.encode_regions(tokens.to(place), mask, guide)
                regions.append(vectors.float())
                region_masks.append(mask)
            for numbers, input_ids, word_mask in pairs.caption_batches(batch_size):
                vectors, _ = model.encode_words(input_ids.to(place), word_mask.to(place))
                padded = torch.nn.functional.pad(vectors.float(), (0, 0, 0, longest - vectors.shape[1]))
                words.append(padded)
                rows.append(np.asarray(numbers))
        order = torch.from_numpy(np.argsort(np.concatenate(rows))).to(place)
        self.regions, self.words = torch.cat(regions), torch.cat(words)[order]
        known = [mask for mask in region_masks if mask is not None]
        self.region_mask = torch.cat(known) if known else None
        lengths = torch.from_numpy(pairs.lengths).to(place)
        self.word_mask = torch.arange(longest, device=place) < lengths.unsqueeze(1)

    def masks_of(self, images: Tensor | slice) -> Tensor | None:
        """The region mask of some images."""
        return None if self.region_mask is None else self.region_mask[images]

    @torch.inference_mode()
    @full_float32()
    def all_scores(self, share: tuple[int, int] = (0, 1)) -> Tensor:
        """The scores (N, M) of all pairs, float32. share: (r, n) computes only every n-th caption, from the r-th on; in
        the other columns are zeros.
        """
        fast = {"scan-t2i": scan_t2i, "scan-i2t": scan_i2t}.get(self.scorer.kind)
        scores = self.regions.new_zeros(len(self.regions), len(self.words))
        own = slice(share[0], None, share[1])
        if fast is not None:
            scores[:, own] = fast(
                self.regions, self.words[own], self.word_mask[own], region_mask=self.region_mask
            )
            return scores
        order = self.word_mask.sum(1).argsort(stable=True)[own]  # short captions together: less padding
        step = max(1, BLOCK // (16 * self.regions.shape[1] * self.words.shape[1]))
        for part in order.split(step):
            width = int(self.word_mask[part].sum(1).max())
            words, there = self.words[part, :width], self.word_mask[part, :width]
            for first in range(0, len(self.regions), 16):
                images = slice(first, first + 16)
                scores[images, part] = self.scorer(self.regions[images], words, self.masks_of(images), there)
        return scores

    @torch.inference_mode()
    @full_float32()
    def scores_of(self, caption: int, images: Tensor) -> Tensor:
        """The scores (k,) of one caption with k images."""
        there = self.word_mask[caption]
        words = self.words[caption : caption + 1, : int(there.sum())]
        mask = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
        scores: Tensor = self.scorer(self.regions[images], words, self.masks_of(images), mask)[:, 0]
        return scores

    @torch.inference_mode()
    @full_float32()
    def scores_for(self, image: int, captions: Tensor) -> Tensor:
        """The scores (k,) of one image with k captions."""
        one = slice(image, image + 1)
        there = self.word_mask[captions]
        width = int(there.sum(1).max())
        words = self.words[captions, :width]
        scores: Tensor = self.scorer(self.regions[one], words, self.masks_of(one), there[:, :width])[0]
        return scores


def cross_scores(model: "DualEncoder", pairs: "CaptionDataset", share: tuple[int, int] = (0, 1)) -> Tensor:
    """The scores (N, M) of all pairs of a split by the model's scorer, or of a share, as in `Sets.all_scores`. Raises
    UserError where it has none.
    """
    return Sets(model, pairs).all_scores(share)


def reranked(
    model: "DualEncoder | Sets", pairs: "CaptionDataset", images: Array, texts: Array, *, k: int
) -> Ranks:
    """Ranks where the scorer orders the first k hits of each query by the embeddings images (N,E) and texts (M,E).

    Raises UserError for a model without a scorer, and for a k below 1.
    """
    at_least("k", k, 1)
    sets = model if isinstance(model, Sets) else Sets(model, pairs)
    place = sets.regions.device
    with exact_products(place):
        scores = torch.from_numpy(images).to(place) @ torch.from_numpy(texts).to(place).t()  # (N, M)
    behind = scores.double() - BEHIND  # in float64: ties by rounding would count against the query
    first = scores.topk(min(k, len(scores)), dim=0).indices  # (k, M) images of each caption
    by_caption = behind.clone()
    for caption in range(len(sets.words)):
        by_caption[first[:, caption], caption] = sets.scores_of(caption, first[:, caption]).double()
    first = scores.topk(min(k, scores.shape[1]), dim=1).indices  # (N, k) captions of each image
    by_image = behind
    for image in range(len(sets.regions)):
        by_image[image, first[image]] = sets.scores_for(image, first[image]).double()
    t2i = ranks_from_scores(by_caption, pairs.caption_to_image)
    i2t = ranks_from_scores(by_image, pairs.caption_to_image)
    return Ranks(i2t=i2t.i2t, t2i=t2i.t2i, caption_to_image=i2t.caption_to_image)

"""Scores of pairs by cross-attention, with gradient, as alternatives to the dot product.

All of them compare an image's regions v_r and a caption's words w_j by s_rj = cos(v_r, w_j).

    chan       mean_j max_r s_rj
    scan-t2i   each word attends to the regions: p_r = exp(lambda s'_rj), with s' = leaky_relu(s) of unit norm over the
               words; its relevance is cos(w_j, sum_r p_r v_r); the relevances are pooled by log-sum-exp
    scan-i2t   the same with regions and words exchanged
    naaf       a word whose best region lies below a learned threshold t is mismatched and costs t - max_r s_rj; the
               relevance of the others is as in scan-t2i, with p_r = relu(s_rj - t); the mean over words

The squared norm of a context sum_r p_r v_r is p^T G p, with the Gram matrix G of the regions (or words), so that no
context is computed; since a cosine ignores norms, p need not sum to 1.

Sources: CHAN (Pan et al., CVPR 2023); SCAN (Lee et al., ECCV 2018); NAAF (Zhang et al., CVPR 2022), which computes its
threshold from two distributions, where here it is a parameter. `userlib.model.scorers` computes the scores of SCAN
faster, without gradient.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.arguments import one_of
from userlib.model.scorers import EPSILON, LEAK
from userlib.precision import autocast_disabled, to_fp32
from userlib.rules import SCORERS

I2T, T2I = (4.0, 5.0), (9.0, 6.0)  # lambda, and the temperature of log-sum-exp


def relevance(weights: Tensor, similarities: Tensor, gram: Tensor) -> Tensor:
    """cos(query, sum_c p_c context_c): p and s (..., C, Q), gram (..., C, C) of the contexts -> (..., Q)."""
    along = (weights * similarities).sum(-2)
    squared = (weights * (gram @ weights)).sum(-2)
    return along / squared.clamp(min=EPSILON**2).sqrt()


def attend(
    similarities: Tensor, gram: Tensor, query_mask: Tensor, *, inverse_temperature: float, temperature: float
) -> Tensor:
    """SCAN: s (..., C, Q) of contexts and queries, gram (..., C, C), query_mask (..., Q) -> (...)."""
    leaky = F.leaky_relu(similarities, LEAK)
    leaky = leaky / (torch.linalg.vector_norm(leaky, dim=-1, keepdim=True) + EPSILON)
    relevances = relevance((inverse_temperature * leaky).exp(), similarities, gram)
    return torch.logsumexp((temperature * relevances).masked_fill(~query_mask, -torch.inf), -1) / temperature


class Scorer(nn.Module):
    """kind: chan | scan-t2i | scan-i2t | naaf. Raises UserError for any other."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        one_of("scorer", kind, SCORERS[1:])
        self.kind = kind
        if kind == "naaf":
            self.threshold = nn.Parameter(torch.zeros(()))

    def _chan(self, s: Tensor, grams: tuple[Tensor, Tensor], r: Tensor, w: Tensor) -> Tensor:
        best = s.masked_fill(~r.unsqueeze(-1), torch.finfo(s.dtype).min).amax(-2)  # (..., W)
        return best.masked_fill(~w, 0.0).sum(-1) / w.sum(-1)

    def _t2i(self, s: Tensor, grams: tuple[Tensor, Tensor], r: Tensor, w: Tensor) -> Tensor:
        return attend(s, grams[0], w, inverse_temperature=T2I[0], temperature=T2I[1])

    def _i2t(self, s: Tensor, grams: tuple[Tensor, Tensor], r: Tensor, w: Tensor) -> Tensor:
        s = s.transpose(-1, -2)
        return attend(s, grams[1], r, inverse_temperature=I2T[0], temperature=I2T[1])

    def _naaf(self, s: Tensor, grams: tuple[Tensor, Tensor], r: Tensor, w: Tensor) -> Tensor:
        best = s.masked_fill(~r.unsqueeze(-1), torch.finfo(s.dtype).min).amax(-2)  # (..., W)
        matched = relevance((s - self.threshold).relu(), s, grams[0])
        counted = torch.where(best > self.threshold, matched, best - self.threshold)
        return counted.masked_fill(~w, 0.0).sum(-1) / w.sum(-1)

    def _score(self, s: Tensor, grams: tuple[Tensor, Tensor], r: Tensor, w: Tensor) -> Tensor:
        """s (..., R, W), Gram matrices, masks (..., R) and (..., W) that broadcast -> (...)."""
        kinds: Mapping[str, Callable[..., Tensor]] = {
            "chan": self._chan, "scan-t2i": self._t2i, "scan-i2t": self._i2t, "naaf": self._naaf,
        }  # fmt: skip
        return kinds[self.kind](s, grams, r, w)

    def forward(
        self, regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor
    ) -> Tensor:
        """regions (A,R,E), words (B,W,E), masks (A,R) and (B,W) -> scores (A,B) of all pairs, float32 or wider."""
        with autocast_disabled(regions.device):
            (v, r), (w, there) = unit_vectors(regions, region_mask), unit_vectors(words, word_mask)
            s = (v.flatten(0, 1) @ w.flatten(0, 1).t()).unflatten(0, v.shape[:2]).unflatten(2, w.shape[:2])
            grams = (v @ v.transpose(1, 2)).unsqueeze(1), (w @ w.transpose(1, 2)).unsqueeze(0)
            return self._score(s.transpose(1, 2), grams, r.unsqueeze(1), there.unsqueeze(0))

    def pairs(self, regions: Tensor, words: Tensor, region_mask: Tensor | None, word_mask: Tensor) -> Tensor:
        """regions (P,R,E), words (P,W,E), masks (P,R) and (P,W) -> scores (P,) of the P pairs."""
        with autocast_disabled(regions.device):
            (v, r), (w, there) = unit_vectors(regions, region_mask), unit_vectors(words, word_mask)
            grams = v @ v.transpose(1, 2), w @ w.transpose(1, 2)
            return self._score(v @ w.transpose(1, 2), grams, r, there)


def unit_vectors(vectors: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """vectors (B,N,E), mask (B,N) -> unit vectors, zero where masked, float32 or wider; and the mask, never None."""
    if mask is None:
        mask = torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
    unit = F.normalize(to_fp32(vectors), dim=-1)
    return unit.masked_fill(~mask.unsqueeze(-1), 0.0), mask

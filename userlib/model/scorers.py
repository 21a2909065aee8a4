"""Cross-attention scores in the manner of SCAN: every image and caption are compared word by region.

What the embedding methods are measured against, and a second opinion on the first hits of a search. t2i: each
word w looks at the regions v_r with weights p_r = softmax_r(lambda s_r), where s_r is w . v_r through a
leaky rectifier and normalised over the words; it sees the context c = sum_r p_r v_r and is relevant by
cos(w, c); the relevances are pooled over the words. i2t is the same with words and regions exchanged.

A context is never built: w . c = sum_r p_r (w . v_r) needs the similarities alone, and |c|^2 = p^T G p the
Gram matrix G = V V^T of the image, R x R. A block of pairs is then two matrix products, one of them small,
and no vector of E numbers is made for any pair. As a cosine ignores length, p need not sum to 1, and padding
is a zero vector.

Source: Lee et al., Stacked Cross Attention, ECCV 2018, sections 3.1 and 3.2; the leak is that of their
release, where the text clips at 0.
"""

import math
import typing
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from userlib.config import one_of
from userlib.errors import UserError
from userlib.precision import autocast_disabled

Pooling = Literal["logsumexp", "mean"]
VECTORS = 512  # words or regions on each side of a block: its similarities stay in the processor's cache
EPSILON = 1e-8
LEAK = 0.1  # of negative similarities; a clip at 0 jumps where all words but one disagree with a region


@torch.no_grad()
def scan_t2i(
    regions: Tensor,
    words: Tensor,
    word_mask: Tensor,
    *,
    region_mask: Tensor | None = None,
    inverse_temperature: float = 9.0,
    temperature: float = 6.0,
    pooling: Pooling = "logsumexp",
) -> Tensor:
    """regions (N, R, E), words (M, W, E), word_mask (M, W), region_mask (N, R) -> scores (N, M).

    Words look at regions. inverse_temperature: lambda, up to 40; temperature: of logsumexp pooling. Vectors
    are normalised here. For scoring only: no gradient is kept.
    """
    _check(regions, words, word_mask, region_mask, inverse_temperature, temperature, pooling)
    with autocast_disabled(regions.device):
        return _look(words, word_mask, regions, region_mask, inverse_temperature, temperature, pooling).T


@torch.no_grad()
def scan_i2t(
    regions: Tensor,
    words: Tensor,
    word_mask: Tensor,
    *,
    region_mask: Tensor | None = None,
    inverse_temperature: float = 4.0,
    temperature: float = 5.0,
    pooling: Pooling = "logsumexp",
) -> Tensor:
    """As `scan_t2i`, with regions that look at words."""
    _check(regions, words, word_mask, region_mask, inverse_temperature, temperature, pooling)
    with autocast_disabled(regions.device):
        return _look(regions, region_mask, words, word_mask, inverse_temperature, temperature, pooling)


def _look(
    queries: Tensor,
    query_mask: Tensor | None,
    contexts: Tensor,
    context_mask: Tensor | None,
    inverse_temperature: float,
    temperature: float,
    pooling: Pooling,
) -> Tensor:
    """queries (B, Q, E) look at contexts (A, C, E) -> scores (B, A), block by block."""
    scores = queries.new_empty(len(queries), len(contexts))
    looking, looked_at = _blocks(queries, query_mask), _blocks(contexts, context_mask)
    grams = [seen @ seen.transpose(1, 2) for _, seen, _ in looked_at]  # (a, C, C) each
    order = torch.cat([rows for rows, _, _ in looked_at])
    most = math.prod(max(block.shape[:2].numel() for _, block, _ in side) for side in (looking, looked_at))
    room = torch.empty(3, most, device=queries.device)  # for every block: new memory costs page faults
    for here, vectors, mask in looking:
        along, squared = torch.empty(2, len(contexts), mask.numel(), device=queries.device)
        start = 0
        for (_, seen, _), gram in zip(looked_at, grams, strict=True):
            part = slice(start, start := start + len(seen))
            _attend(vectors, seen, gram, inverse_temperature, room, (along[part], squared[part]))
        relevance = along / squared.clamp_(min=0).sqrt_().clamp_(min=EPSILON)
        scores[here[:, None], order] = _pool(relevance.unflatten(1, mask.shape), mask, temperature, pooling).T
    return scores


def _attend(
    queries: Tensor,
    contexts: Tensor,
    gram: Tensor,
    inverse_temperature: float,
    room: Tensor,
    out: tuple[Tensor, Tensor],
) -> None:
    """queries (b, Q, E) look at contexts (a, C, E) with gram (a, C, C): w . c and |c|^2, (a, b Q) each, go into out.

    room (3, n) is written over; n is at least a C b Q.
    """
    (b, q, _), (a, c, _) = queries.shape, contexts.shape
    s, weights, product = (part[: a * c * b * q].view(a, c, b * q) for part in room)
    torch.mm(contexts.flatten(0, 1), queries.flatten(0, 1).T, out=s.view(a * c, b * q))
    torch.maximum(torch.mul(s, LEAK, out=weights), s, out=weights)  # leaky rectifier
    apart = weights.view(a, c, b, q)
    over_queries = torch.linalg.vector_norm(apart, dim=3, keepdim=True)  # (a, C, b, 1)
    apart.mul_(inverse_temperature / (over_queries + EPSILON)).exp_()  # at most e^inverse_temperature
    torch.sum(s.mul_(weights), 1, out=out[0])
    torch.sum(torch.bmm(gram, weights, out=product).mul_(weights), 1, out=out[1])  # p^T G p


def _pool(relevance: Tensor, mask: Tensor, temperature: float, pooling: Pooling) -> Tensor:
    """relevance (a, b, Q), mask (b, Q) -> (a, b)."""
    if pooling == "mean":
        return relevance.masked_fill(~mask, 0.0).sum(2) / mask.sum(1)
    return torch.logsumexp((temperature * relevance).masked_fill(~mask, -torch.inf), 2) / temperature


def _blocks(vectors: Tensor, mask: Tensor | None) -> list[tuple[Tensor, Tensor, Tensor]]:
    """vectors (B, Q, E) -> blocks of rows, unit vectors (padding zero) and mask, shortest first, trimmed."""
    if mask is None:  # nothing to sort, trim or blank: no copy but the normalised one
        size = max(1, VECTORS // vectors.shape[1])
        there = torch.arange(len(vectors), device=vectors.device)
        whole = torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
        parts = zip(there.split(size), vectors.split(size), whole.split(size), strict=True)
        return [(rows, F.normalize(part.float(), dim=2), used) for rows, part, used in parts]
    mask = mask.bool()
    lengths, order = mask.sum(1).sort(stable=True)
    blocks = []
    for rows in order.split(_sizes(lengths.tolist())):
        used = mask[rows].any(0).nonzero()[:, 0]
        block = F.normalize(vectors[rows][:, used].float(), dim=2)
        blocks.append((rows, block * mask[rows][:, used, None], mask[rows][:, used]))
    return blocks


def _sizes(lengths: list[int]) -> list[int]:
    """Rising lengths -> how many rows in a row make a block of at most VECTORS vectors, one at least."""
    sizes = [0]
    for length in lengths:
        if sizes[-1] and (sizes[-1] + 1) * length > VECTORS:
            sizes.append(0)
        sizes[-1] += 1
    return sizes


def _check(
    regions: Tensor,
    words: Tensor,
    word_mask: Tensor,
    region_mask: Tensor | None,
    inverse_temperature: float,
    temperature: float,
    pooling: str,
) -> None:
    """UserError for shapes that do not fit, settings without a meaning, and an image or caption without a single
    vector.
    """
    one_of("pooling", pooling, typing.get_args(Pooling))
    if not 0 < temperature < math.inf:
        raise UserError(f"the temperature is {temperature}; it must be above 0.")
    if regions.ndim != 3 or words.ndim != 3 or regions.shape[2] != words.shape[2]:
        raise UserError(
            f"regions must be (N, R, E) and words (M, W, E) with one E, and got {tuple(regions.shape)} and "
            f"{tuple(words.shape)}"
        )
    if not 0 <= inverse_temperature <= 40:
        raise UserError(
            f"inverse_temperature is {inverse_temperature}; it must lie between 0 and 40: float32 overflows beyond."
        )
    for name, vectors, mask in (("word", words, word_mask), ("region", regions, region_mask)):
        if not vectors.shape[1]:
            raise UserError(
                f"the {name}s have the shape {tuple(vectors.shape)}: there is none to look at. Give one at least."
            )
        if mask is None:
            continue
        if mask.shape != vectors.shape[:2]:
            raise UserError(
                f"{name}_mask has the shape {tuple(mask.shape)} and must have {tuple(vectors.shape[:2])}"
            )
        if not mask.bool().any(1).all():
            raise UserError(
                f"{name}_mask leaves row {int((~mask.bool().any(1)).nonzero()[0])} nothing to look at"
            )

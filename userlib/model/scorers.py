"""Cross-attention scores as in SCAN: every image and every caption are compared word by region, without gradient.

They are a baseline for embeddings, and re-rank the first hits of a search. t2i: each word w attends to the
regions v_r with weights p_r = softmax_r(lambda s_r), where s_r is leaky_relu(w . v_r), normalised over the
words; with the context c = sum_r p_r v_r its relevance is cos(w, c); the relevances are pooled over the words.
i2t is the same with words and regions exchanged.

A context is never computed: w . c = sum_r p_r (w . v_r) needs only the similarities, and |c|^2 = p^T G p the Gram
matrix G = V V^T of the image, R x R. A block of pairs then takes two matrix products, one of them small, and no vector
of E dimensions for any pair. Since a cosine ignores norms, p need not sum to 1; padding is a zero vector.

Source: Lee et al., Stacked Cross Attention, ECCV 2018, sections 3.1 and 3.2; the leaky rectifier is that of
their release, where the paper clips at 0.
"""

import math
import typing
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from userlib.arguments import one_of, positive
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

    Words attend to regions. inverse_temperature: lambda, up to 40; temperature: of the pooling "logsumexp". Vectors
    are normalised here. Raises UserError for invalid shapes or settings, and for an image or caption without vectors.
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
    """As `scan_t2i`, with regions that attend to words."""
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
    """queries (B, Q, E) attend to contexts (A, C, E) -> scores (B, A), block by block."""
    scores = torch.empty(len(queries), len(contexts), device=queries.device)
    looking, looked_at = _blocks(queries, query_mask), _blocks(contexts, context_mask)
    grams = [seen @ seen.transpose(1, 2) for _, seen, _ in looked_at]  # (a, C, C) each
    order = torch.cat([rows for rows, _, _ in looked_at])
    most = math.prod(max(block.shape[:2].numel() for _, block, _ in side) for side in (looking, looked_at))
    room = torch.empty(3, most, device=queries.device)  # reused by every block: new memory costs page faults
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
    """queries (b, Q, E) attend to contexts (a, C, E) with gram (a, C, C); out: w . c and |c|^2, (a, b Q) each.

    room (3, n) is overwritten; n is at least a C b Q.
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
    """vectors (B, Q, E) -> blocks (rows, unit vectors with zero padding, mask), shortest rows first, trimmed."""
    if mask is None:  # nothing to sort, trim or set to zero: no copy but the normalised one
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
    """Ascending lengths -> the number of rows of each block: as many as have at most VECTORS vectors, at least one."""
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
    """The errors of `scan_t2i`."""
    one_of("pooling", pooling, typing.get_args(Pooling))
    positive("temperature", temperature)
    if regions.ndim != 3 or words.ndim != 3 or regions.shape[2] != words.shape[2]:
        raise UserError(
            f"regions have the shape {tuple(regions.shape)} and words {tuple(words.shape)}; give (N, R, E) and "
            "(M, W, E) with the same E."
        )
    if not 0 <= inverse_temperature <= 40:
        raise UserError(
            f"inverse_temperature is {inverse_temperature}; it must lie between 0 and 40, as float32 overflows above."
        )
    for name, vectors, mask in (("word", words, word_mask), ("region", regions, region_mask)):
        if not vectors.shape[1]:
            raise UserError(f"the {name}s have the shape {tuple(vectors.shape)}; give at least one {name}.")
        if mask is None:
            continue
        if mask.shape != vectors.shape[:2]:
            raise UserError(
                f"{name}_mask has the shape {tuple(mask.shape)}; it must be {tuple(vectors.shape[:2])}, as the {name}s."
            )
        if not mask.bool().any(1).all():
            raise UserError(
                f"{name}_mask is False in all of row {int((~mask.bool().any(1)).nonzero()[0])}; leave at least one "
                f"{name} in each row."
            )

"""Cross-attention as the field computes it: a caption at a time, its contexts built for all pictures.

Written plainly and in our own words from SCAN (Lee et al., ECCV 2018, sections 3.1 and 3.2).
"""

import torch
from torch.nn import functional as F


def attend(queries, contexts, sharpness):
    """queries (N, Q, E), contexts (N, C, E), unit rows -> what each query sees, (N, Q, E)."""
    similarity = F.leaky_relu(torch.bmm(contexts, queries.transpose(1, 2)), 0.1)  # (N, C, Q)
    similarity = similarity / (
        similarity.norm(dim=2, keepdim=True) + 1e-8
    )  # over the queries of each context
    weights = F.softmax(sharpness * similarity, dim=1)
    return torch.bmm(weights.transpose(1, 2), contexts)


def pooled(relevance, pooling, temperature):
    """relevance (N, Q) -> (N,)."""
    if pooling == "mean":
        return relevance.mean(1)
    return torch.logsumexp(temperature * relevance, dim=1) / temperature


def t2i_loop(regions, words, lengths, *, sharpness=9.0, temperature=6.0, pooling="logsumexp"):
    """regions (N, R, E), words (M, W, E), lengths (M,) -> scores (N, M): each word looks at the regions."""
    columns = []
    for j in range(len(words)):
        caption = words[j, : lengths[j]].expand(len(regions), -1, -1)
        seen = attend(caption, regions, sharpness)
        columns.append(pooled(F.cosine_similarity(caption, seen, dim=2), pooling, temperature))
    return torch.stack(columns, 1)


def i2t_loop(regions, words, lengths, *, sharpness=4.0, temperature=5.0, pooling="logsumexp"):
    """regions (N, R, E), words (M, W, E), lengths (M,) -> scores (N, M): each region looks at the words."""
    columns = []
    for j in range(len(words)):
        caption = words[j, : lengths[j]].expand(len(regions), -1, -1)
        seen = attend(regions, caption, sharpness)
        columns.append(pooled(F.cosine_similarity(regions, seen, dim=2), pooling, temperature))
    return torch.stack(columns, 1)

"""Concepts: an embedding is mixed with what it shares with the frequent words of the train captions.

    H   = A relu(A H_0 W_1) W_2                          q concepts, two graph layers, rows of unit norm
    u_c = sum_c softmax_c(lambda H u)_c H_c
    u'  = l2norm(beta u + (1 - beta) u_c)

H_0 has a vector for each concept word; A says how often two of them occur in one caption. Both come from the train
captions (`concept_graph`): the vectors factorise the words' positive pointwise mutual information (Levy and Goldberg,
NeurIPS 2014), where the source uses pretrained word vectors; A_ij is P(word j | word i), rows normalised to sum to 1.

Source: CVSE (Wang et al., ECCV 2020), which shares its layers between images and captions. Here each side has its own,
so that each has a momentum copy.
"""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from userlib.arguments import at_least
from userlib.model.layers import RegionEnhancement
from userlib.precision import autocast_disabled, to_fp32

COMMON = 0.2  # words in a larger share of the captions ("a", "on") carry too little meaning
BETA, INVERSE_TEMPERATURE = 0.75, 10.0


def with_concepts(
    vectors: Tensor, concepts: Tensor, there: Tensor, *, beta: float, inverse_temperature: float
) -> Tensor:
    """u': vectors u (B,E), concepts H (q,E), there (q,) True where a row of H is in use -> (B,E) of unit norm."""
    u, h = F.normalize(vectors, dim=-1), F.normalize(concepts, dim=-1)
    scores = inverse_temperature * u @ h.t()  # (B, q)
    shares = scores.masked_fill(~there, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~there, 0.0)
    return F.normalize(beta * u + (1 - beta) * shares @ h, dim=-1)


def concept_graph(
    captions: Iterable[NDArray[np.int64]], *, count: int, special: Iterable[int] = ()
) -> tuple[Tensor, Tensor]:
    """The token ids of each caption -> H_0 (count, count) and A (count, count), float32.

    The concepts are the `count` most frequent tokens that occur in at most a fifth of the captions; where there are
    fewer, the last rows are zero. special: token ids that are no words.
    """
    sets = [np.unique(ids) for ids in captions]
    size = 1 + max((int(ids.max()) for ids in sets if len(ids)), default=0)
    found_in = np.bincount(np.concatenate([*sets, np.empty(0, np.int64)]).astype(np.int64), minlength=size)
    found_in[[one for one in special if one < size]] = 0
    found_in[found_in > COMMON * len(sets)] = 0
    chosen = np.argsort(-found_in, kind="stable")[:count]
    chosen = chosen[found_in[chosen] > 0]
    row = np.full(size, -1)
    row[chosen] = np.arange(len(chosen))
    together = np.zeros((len(chosen), len(chosen)))
    for ids in sets:
        known = row[ids][row[ids] >= 0]
        together[np.ix_(known, known)] += 1
    vectors, graph = np.zeros((count, count), np.float32), np.zeros((count, count), np.float32)
    if len(chosen):
        alone = together.diagonal()
        ratio = together * len(sets) / np.outer(alone, alone)
        values, basis = np.linalg.eigh(np.log(np.maximum(ratio, 1.0)))
        vectors[: len(chosen), : len(chosen)] = basis * np.sqrt(np.maximum(values, 0.0))
        linked = together / alone[:, None]  # P(j | i); the diagonal is 1
        graph[: len(chosen), : len(chosen)] = linked / linked.sum(1, keepdims=True)
    return torch.from_numpy(vectors), torch.from_numpy(graph)


class Concepts(RegionEnhancement):
    """`with_concepts` on the pooled vector, with two learned graph layers; regions stay unchanged.

    Until `set_graph` is called, it only L2-normalises. Raises UserError for a width or a number of concepts below 1.
    """

    def __init__(self, width: int, *, count: int) -> None:
        super().__init__()
        at_least("width", width, 1)
        at_least("num_concepts", count, 1)
        self.register_buffer("vectors", torch.zeros(count, count))
        self.register_buffer("graph", torch.zeros(count, count))
        self.vectors: Tensor
        self.graph: Tensor
        self.first, self.second = nn.Linear(count, width, bias=False), nn.Linear(width, width, bias=False)

    @torch.no_grad()
    def set_graph(self, vectors: Tensor, graph: Tensor) -> None:
        """Sets H_0 and A, as `concept_graph` returns them."""
        self.vectors.copy_(vectors)
        self.graph.copy_(graph)

    def concepts(self) -> Tensor:
        """H (q,E)."""
        hidden = self.first(self.graph @ self.vectors).relu()
        return self.second(self.graph @ hidden)  # type: ignore[no-any-return]

    def on_vector(self, vectors: Tensor) -> Tensor:
        """vectors (B,E) -> (B,E) of unit norm."""
        with autocast_disabled(vectors.device):
            there = self.graph.diagonal() > 0
            return with_concepts(
                to_fp32(vectors),
                self.concepts(),
                there,
                beta=BETA,
                inverse_temperature=INVERSE_TEMPERATURE,
            )

    def forward(self, regions: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """regions (B,R,D) -> the same."""
        return regions

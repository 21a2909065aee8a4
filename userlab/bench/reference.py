"""Reference implementations: plain programs for the same equations, to compare times with.

They follow the paper's equations and the standard protocol, not a release: one caption at a time in cross-attention,
one query at a time in ranking, a GRU over every set in GPO, a loop over the weights in the momentum update. The
training step is USER with BatchNorm, SGE, a BiGRU as text encoder, UTO and two queues; it does not have the faults of
the authors' release, so that its losses equal those of the library.
"""

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Ints = NDArray[np.int64]

# --- ranking -------------------------------------------------------------------------------------------------


def reference_ranks(images: Any, captions: Any, caption_to_image: Any) -> tuple[Ints, Ints]:
    """images (N, E), captions (M, E), caption_to_image (M,) -> ranks i2t (N,), t2i (M,), by sorting the gallery for
    each query.
    """
    captions_of = [np.flatnonzero(caption_to_image == i) for i in range(len(images))]
    i2t = np.zeros(len(images), int)
    t2i = np.zeros(len(captions), int)
    for i in range(len(images)):
        order = np.argsort(images[i] @ captions.T)[::-1]
        i2t[i] = 1 + min(np.flatnonzero(order == own)[0] for own in captions_of[i])
    for i in range(len(images)):
        for own in captions_of[i]:
            order = np.argsort(captions[own] @ images.T)[::-1]
            t2i[own] = 1 + np.flatnonzero(order == i)[0]
    return i2t, t2i


# --- cross-attention (Lee et al., ECCV 2018, sections 3.1 and 3.2) -------------------------------------------


def attend(queries: Tensor, contexts: Tensor, inverse_temperature: float) -> Tensor:
    """queries (N, Q, E), contexts (N, C, E), both of unit rows -> the attended context of each query, (N, Q, E)."""
    similarity = F.leaky_relu(torch.bmm(contexts, queries.transpose(1, 2)), 0.1)  # (N, C, Q)
    similarity = similarity / (
        similarity.norm(dim=2, keepdim=True) + 1e-8
    )  # over the queries of each context
    weights = F.softmax(inverse_temperature * similarity, dim=1)
    return torch.bmm(weights.transpose(1, 2), contexts)


def pooled(relevance: Tensor, pooling: str, temperature: float) -> Tensor:
    """relevance (N, Q) -> (N,): its mean, or its log-sum-exp."""
    if pooling == "mean":
        return relevance.mean(1)
    return torch.logsumexp(temperature * relevance, dim=1) / temperature


def t2i_loop(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    *,
    inverse_temperature: float = 9.0,
    temperature: float = 6.0,
    pooling: str = "logsumexp",
) -> Tensor:
    """regions (N, R, E), words (M, W, E), lengths (M,) -> scores (N, M): each word attends to the regions."""
    columns = []
    for j in range(len(words)):
        caption = words[j, : lengths[j]].expand(len(regions), -1, -1)
        seen = attend(caption, regions, inverse_temperature)
        columns.append(pooled(F.cosine_similarity(caption, seen, dim=2), pooling, temperature))
    return torch.stack(columns, 1)


def i2t_loop(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    *,
    inverse_temperature: float = 4.0,
    temperature: float = 5.0,
    pooling: str = "logsumexp",
) -> Tensor:
    """regions (N, R, E), words (M, W, E), lengths (M,) -> scores (N, M): each region attends to the words."""
    columns = []
    for j in range(len(words)):
        caption = words[j, : lengths[j]].expand(len(regions), -1, -1)
        seen = attend(regions, caption, inverse_temperature)
        columns.append(pooled(F.cosine_similarity(regions, seen, dim=2), pooling, temperature))
    return torch.stack(columns, 1)


# --- the training step ---------------------------------------------------------------------------------------


class PlainGPO(nn.Module):
    """GPO that computes the weights for each set: its GRU runs over every set of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(32, 32, batch_first=True, bidirectional=True)
        self.score = nn.Linear(32, 1, bias=False)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """vectors (B, N, E), mask (B, N) -> (B, E)."""
        count, longest, _ = vectors.shape
        positions = torch.arange(0.0, longest).unsqueeze(1)
        angles = positions * torch.exp(torch.arange(0.0, 32, 2) * -(math.log(10000.0) / 32))
        codes = torch.zeros(longest, 32)
        codes[:, 0::2], codes[:, 1::2] = angles.sin(), angles.cos()
        codes = codes.repeat(count, 1, 1)  # (B, N, 32)
        packed = pack_padded_sequence(codes, mask.sum(1), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=longest)
        states = (states[:, :, :32] + states[:, :, 32:]) / 2
        scores = self.score(states).masked_fill(~mask.unsqueeze(-1), -10000.0)
        weights = torch.softmax(scores / 0.1, dim=1)  # (B, N, 1)
        ordered = vectors.masked_fill(~mask.unsqueeze(-1), -10000.0).sort(dim=1, descending=True)[0]
        ordered = ordered.masked_fill(~mask.unsqueeze(-1), 0.0)
        return (ordered * weights).sum(1)


class PlainGuide(nn.Module):
    """SGE's guide with BatchNorm over the positions."""

    def __init__(self, width: int, regions: int, dropout: float) -> None:
        super().__init__()
        self.local_linear, self.global_linear = nn.Linear(width, width), nn.Linear(width, width)
        self.local_norm = nn.ModuleDict({"norm": nn.BatchNorm1d(regions)})
        self.global_norm = nn.ModuleDict({"norm": nn.BatchNorm1d(width)})
        self.dropout = nn.Dropout(dropout)
        self.weigh = nn.Linear(width, 1)

    def forward(self, regions: Tensor) -> Tensor:
        """V (B, R, D) -> V' (B, R, D), residual scale 1."""
        local = self.dropout(torch.tanh(self.local_norm["norm"](self.local_linear(regions))))
        whole = self.dropout(torch.tanh(self.global_norm["norm"](self.global_linear(regions.mean(1)))))
        weights = torch.softmax(self.weigh(local * whole.unsqueeze(1)), dim=1)  # (B, R, 1)
        guide = F.normalize((weights * regions).sum(1), dim=-1)  # (B, D)
        agreement = torch.softmax((regions * guide.unsqueeze(1)).sum(-1), dim=-1)
        agreement = F.normalize(agreement, dim=-1)
        return regions + agreement.unsqueeze(-1) * guide.unsqueeze(1)


class PlainImages(nn.Module):
    """Regions to one unit vector."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, embed_dim = config.region_dim, config.embed_dim
        guide = PlainGuide(width, config.regions, config.guide_dropout)
        self.enhancement = nn.ModuleDict({"self_guide": guide})
        self.projection = nn.ModuleDict(
            {
                "linear": nn.Linear(width, embed_dim),
                "hidden": nn.Linear(width, embed_dim // 2),
                "norm": nn.BatchNorm1d(embed_dim // 2),
                "out": nn.Linear(embed_dim // 2, embed_dim),
            }
        )
        self.pooling = PlainGPO()

    def forward(self, tokens: Tensor) -> Tensor:
        regions = self.enhancement["self_guide"](tokens)
        part = self.projection
        hidden = part["norm"](part["hidden"](regions).flatten(0, 1)).unflatten(0, regions.shape[:2])
        projected = part["linear"](regions) + part["out"](torch.relu(hidden))
        there = torch.ones(regions.shape[:2], dtype=torch.bool)
        return F.normalize(self.pooling(projected, there), dim=-1)


class PlainTexts(nn.Module):
    """Words to one unit vector, by torch's packed BiGRU."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        gru = nn.GRU(config.word_width, config.text_width, batch_first=True, bidirectional=True)
        self.states = nn.ModuleDict(
            {"embedding": nn.Embedding(config.vocab_size, config.word_width, padding_idx=0), "gru": gru}
        )
        self.linear = nn.Linear(config.text_width, config.embed_dim)
        self.pooling = PlainGPO()

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        vectors = self.states["embedding"](input_ids)
        packed = pack_padded_sequence(vectors, mask.sum(1), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(
            self.states["gru"](packed)[0], batch_first=True, total_length=input_ids.shape[1]
        )
        half = states.shape[-1] // 2
        states = (states[:, :, :half] + states[:, :, half:]) / 2
        return F.normalize(self.pooling(self.linear(states), mask), dim=-1)


class PlainStep:
    """Training steps that start from a library model's weights and queues: `step(batch)` -> loss."""

    def __init__(self, model: Any, *, lr: float, weight_decay: float, max_grad_norm: float) -> None:
        self.m, self.objective, self.max_grad_norm = model.config.momentum, model.objective, max_grad_norm
        self.images, self.texts = PlainImages(model.config), PlainTexts(model.config)
        for mine, its in ((self.images, model.image_encoder), (self.texts, model.text_encoder)):
            mine.load_state_dict(
                {k: v for k, v in its.state_dict().items() if not k.endswith("init_log_scale")}
            )
        self.image_momentum_encoder, self.text_momentum_encoder = (
            copy.deepcopy(self.images),
            copy.deepcopy(self.texts),
        )
        self.image_queue = model.queue.images.t().clone()  # (E, K)
        self.text_queue = model.queue.texts.t().clone()
        self.pointer = 0
        self.parameters = [*self.images.parameters(), *self.texts.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=lr, weight_decay=weight_decay)

    def step(self, batch: Any) -> float:
        self.images.train(), self.texts.train()
        v, t = self.images(batch.tokens), self.texts(batch.input_ids, batch.attention_mask)
        with torch.no_grad():
            for key, query in (
                (self.image_momentum_encoder, self.images),
                (self.text_momentum_encoder, self.texts),
            ):
                for k, q in zip(key.parameters(), query.parameters(), strict=True):
                    k.data = k.data * self.m + q.data * (1 - self.m)
                for kept, now in zip(key.buffers(), query.buffers(), strict=True):
                    kept.copy_(now)
                key.eval()
            v_key = self.image_momentum_encoder(batch.tokens)
            t_key = self.text_momentum_encoder(batch.input_ids, batch.attention_mask)
        scores = v @ t.t()
        others = 1 - torch.eye(len(v))
        rows = self._negative_term(scores, others) + self._negative_term(scores.t(), others)
        loss_b = (rows + self._positive_term(scores.diagonal())).mean()
        all_keys = torch.ones(len(v), self.image_queue.shape[1])
        loss_q = (
            self._negative_term(v @ self.text_queue.clone(), all_keys)
            + self._positive_term((v * t_key).sum(1))
        ).mean()
        loss_q = (
            loss_q
            + (
                self._negative_term(t @ self.image_queue.clone(), all_keys)
                + self._positive_term((t * v_key).sum(1))
            ).mean()
        )
        loss = self.objective.loss_weight * loss_b + loss_q
        end = self.pointer + len(v)
        self.image_queue[:, self.pointer : end] = v_key.t()
        self.text_queue[:, self.pointer : end] = t_key.t()
        self.pointer = end % self.image_queue.shape[1]
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        return float(loss.detach())

    def _negative_term(self, scores: Tensor, counted: Tensor) -> Tensor:
        mu, gamma = self.objective.mu, self.objective.gamma
        term: Tensor = torch.log(1 + (torch.exp(mu * (scores - gamma)) * counted).sum(1)) / mu
        return term

    def _positive_term(self, positive: Tensor) -> Tensor:
        return -torch.log(1 + torch.relu(positive))

"""What a model costs, in addition to what it scores: parameters, time per training step and time per query.

Times are medians, measured on the CPU after a run, in its process and with its threads. A query is one caption against
every image of the split: encoding it, then scoring. A model with a scorer is timed with the scorer on all images, and
with re-ranking of the first k hits of the embeddings.
"""

import copy
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from userlib.data.captions import CaptionDataset
from userlib.evaluation import embed, ranks, recalls
from userlib.evaluation.cross_scores import Sets, reranked
from userlib.inference import device_of, scoring
from userlib.model.user import USER, DualEncoder
from userlib.training import Prepared

STEPS, QUERIES = 7, 20
RERANK = (10, 50, 200)


def costs_of(prepared: Prepared, encoders: DualEncoder, pairs: CaptionDataset) -> dict[str, Any]:
    """parameters (trained ones), step_ms and query_ms in milliseconds. For a model with a scorer, also
    query_ms_of_embeddings and rsum_of_embeddings, and rerank: {k: rsum and query_ms of re-ranking the first k}.
    """
    model = USER(prepared.config.model, prepared.config.objective)
    learned = sum(value.numel() for value in model.parameters() if value.requires_grad)
    said: dict[str, Any] = {"parameters": learned, "step_ms": _step_ms(model, prepared)}
    if device_of(encoders).type != "cpu":
        encoders = copy.deepcopy(encoders).cpu()
    images, texts = embed(encoders, pairs)
    gallery = torch.from_numpy(images)

    def encoded(row: int) -> torch.Tensor:
        batch = pairs.batch(np.array([row]))
        return encoders.encode_text(batch.input_ids, batch.attention_mask)

    said["query_ms"] = _query_ms(pairs, encoders, lambda row: gallery @ encoded(row)[0])
    if encoders.scorer is None:
        return said
    sets = Sets(encoders, pairs)
    every = torch.arange(len(images))
    said["query_ms_of_embeddings"] = said["query_ms"]
    own = recalls(ranks(images, texts, pairs.caption_to_image)).as_dict()
    said["rsum_of_embeddings"] = round(own["rsum"], 4)
    said["query_ms"] = _query_ms(pairs, encoders, lambda row: (encoded(row), sets.scores_of(row, every)))
    said["rerank"] = {}
    for k in RERANK:

        def first(row: int, k: int = k) -> None:
            scores = gallery @ encoded(row)[0]
            sets.scores_of(row, scores.topk(min(k, len(scores))).indices)

        again = recalls(reranked(sets, pairs, images, texts, k=k)).as_dict()
        said["rerank"][str(k)] = {
            "rsum": round(again["rsum"], 4),
            "query_ms": _query_ms(pairs, encoders, first),
        }
    return said


def _step_ms(model: USER, prepared: Prepared) -> float:
    """Milliseconds of a step (forward, backward, update) at the run's batch size; the median."""
    training, train = prepared.config.training, prepared.train
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=training.lr)
    rows = np.arange(len(train))[: training.batch_size]
    rng = np.random.default_rng(0)
    batch = train.batch(rows, rng=rng, region_mask_prob=training.region_mask_prob)
    model.train()
    model.momentum = 0.9 if model.momentum is None else model.momentum

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bf16"):
            loss = model(batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return _median_ms([step] * STEPS)


def _query_ms(pairs: CaptionDataset, encoders: DualEncoder, query: Callable[[int], object]) -> float:
    rows = np.linspace(0, len(pairs) - 1, QUERIES).astype(int).tolist()
    with scoring(encoders):
        return _median_ms([lambda row=row: query(row) for row in rows])  # type: ignore[misc]


def _median_ms(calls: list[Callable[[], object]]) -> float:
    """The median of the calls' times; the first call warms up and does not count."""
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return round(median(times[1:]), 3)

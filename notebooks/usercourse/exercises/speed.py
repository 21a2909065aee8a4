"""Exercises of notebook 14: the price of a pair, the norm of a context, a clock that waits, a search of a gallery in
parts, recall counted by score.
"""

import statistics
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from usercourse.checks import Exercise, Unusable
from usercourse.speed import SimulatedDevice
from usercourse.values import Parts, kind


def pair_cost(R: int, W: int, d: int) -> float:
    return (2 * R * W * d + 2 * R * W * d) / (2 * d)


def context_cosine(s: Any, p: Any, G: Any) -> Any:
    return (p @ s) / (p @ G @ p).sqrt()


# --- time_of: a clock that waits ----------------------------------------------------------------------------
def time_of(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    run()
    wait()
    return statistics.median(_times(run, wait, clock, runs))


def _times(run: Any, wait: Any, clock: Any, runs: int) -> list[float]:
    """Of each run, waited for."""
    seconds = []
    for _ in range(runs):
        start = clock()
        run()
        wait()
        seconds.append(clock() - start)
    return seconds


def _not_waited(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    start = clock()
    for _ in range(runs):
        run()
    return (clock() - start) / runs


def _launches_after_warm_up(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    run()
    wait()
    return _not_waited(run, wait, clock, runs)


def _warm_up_counts(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    start = clock()
    for _ in range(runs):
        run()
    wait()
    return (clock() - start) / runs


def _first_of_the_runs(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    return statistics.median(_times(run, wait, clock, runs))


def _mean_of_all(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    run()
    wait()
    return _warm_up_counts(run, wait, clock, runs)


def _warm_up_still_runs(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    run()
    return _first_of_the_runs(run, wait, clock, runs)


def _fastest(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    run()
    wait()
    return min(_times(run, wait, clock, runs))


def _all_together(run: Any, wait: Any, clock: Any, runs: int) -> Any:
    run()
    wait()
    return sum(_times(run, wait, clock, runs))


def _on_a_device(answer: Any, first: float, later: Sequence[float]) -> Any:
    device = SimulatedDevice(first, later)
    return answer(device.run, device.wait, device.clock, len(later))


# --- search_parts: a gallery that comes in parts -------------------------------------------------------------
def search_parts(queries: Any, parts: Any, k: int) -> Any:
    return _search_parts(queries, parts, k)


def _search_parts(
    queries: Any, parts: Any, k: int, *, row: Callable[[int, int, int], int] = lambda i, size, start: start
) -> Any:
    """row: the number of the first image of part i, which has that size, from how many came before."""
    scores, rows, start = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long), 0
    for i, part in enumerate(parts):
        numbers = row(i, len(part), start) + torch.arange(len(part))
        scores = torch.cat([scores, queries @ part.T], 1)
        rows = torch.cat([rows, numbers.expand(len(queries), -1)], 1)
        scores, best = scores.topk(min(k, scores.shape[1]), 1)
        rows, start = rows.gather(1, best), start + len(part)
    return scores, rows


def _all_at_once(queries: Any, parts: Any, k: int) -> Any:
    return tuple((queries @ torch.cat(list(parts)).T).topk(k, 1))


def _of_the_last_part(queries: Any, parts: Any, k: int) -> Any:
    for part in parts:
        hits = (queries @ part.T).topk(min(k, len(part)), 1)
    return tuple(hits)


def _of_every_part(queries: Any, parts: Any, k: int) -> Any:
    """The k best of each part, one part after the other."""
    scores, rows, start = [], [], 0
    for part in parts:
        values, places = (queries @ part.T).topk(min(k, len(part)), 1)
        scores.append(values)
        rows.append(places + start)
        start += len(part)
    return torch.cat(scores, 1), torch.cat(rows, 1)


def _first_of_every_part(queries: Any, parts: Any, k: int) -> Any:
    return tuple(values[:, :k] for values in _of_every_part(queries, parts, k))


def _k_from_each(queries: Any, parts: Any, k: int) -> Any:
    """Raises where a part has fewer than k images."""
    scores, rows, start = [], [], 0
    for part in parts:
        values, places = (queries @ part.T).topk(k, 1)
        scores.append(values)
        rows.append(places + start)
        start += len(part)
    best, places = torch.cat(scores, 1).topk(k, 1)
    return best, torch.cat(rows, 1).gather(1, places)


def _places_of_the_merge(queries: Any, parts: Any, k: int) -> Any:
    scores, rows = torch.empty(len(queries), 0), None
    for part in parts:
        scores = torch.cat([scores, queries @ part.T], 1)
        scores, rows = scores.topk(min(k, scores.shape[1]), 1)
    return scores, rows


def _worst_hits(queries: Any, parts: Any, k: int) -> Any:
    scores, rows = _search_parts(-queries, parts, k)
    return -scores, rows


def _best_of_the_batch(queries: Any, parts: Any, k: int) -> Any:
    """The same rows for every query, those of the first."""
    scores, rows = _search_parts(queries, parts, k)
    return scores, rows[:1].expand_as(rows)


def _streamed(answer: Any, queries: Any, parts: Any, k: int) -> Any:
    """What a search returns of a gallery whose parts are read one by one, and whether it kept them. Unusable for what
    is no pair.
    """
    read: list[weakref.ref[Any]] = []
    most = 0

    def reader() -> Iterator[Any]:
        nonlocal most
        for part in parts:
            most = max(most, sum(one() is not None for one in read))
            copy = part.clone()
            read.append(weakref.ref(copy))
            yield copy
            del copy

    hits = answer(queries, reader(), k)
    if hits is None:
        return None
    if isinstance(hits, (str, dict)) or not isinstance(hits, Sequence) or len(hits) != 2:
        raise Unusable(f"The answer is two tensors, scores and rows, both (Q, k); yours is {kind(hits)}.")
    scores, rows = hits
    return Parts(scores=scores, rows=rows, **{"number of parts that are held at once": max(most, 1)})


def score_recall(scores: Any, exact: Any) -> float:
    return float((scores >= exact[:, -1:] - 1e-6).float().mean())


def _vectors(seed: int, regions: int) -> tuple[Any, Any, Any]:
    draw = torch.Generator().manual_seed(seed)
    v = torch.nn.functional.normalize(torch.randn(regions, 6, generator=draw), dim=1)
    w = torch.nn.functional.normalize(torch.randn(6, generator=draw), dim=0)
    return v @ w, torch.softmax(3 * (v @ w), 0), v @ v.T


def _parts(seed: int, queries: int, sizes: Sequence[int], k: int) -> tuple[Any, ...]:
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.randn(queries, 4, generator=draw),
        [torch.randn(size, 4, generator=draw) for size in sizes],
        k,
    )


EXACT = torch.tensor([[0.9, 0.8, 0.7], [0.6, 0.5, 0.5]])
TIED = torch.tensor([[0.9, 0.7, 0.6], [0.6, 0.5, 0.5]])

EXERCISES = [
    Exercise(
        name="pair_cost",
        right=pair_cost,
        mistakes={
            "The contexts are a second product as large as the similarities: each word sums R regions of d "
            "dimensions.": (lambda R, W, d: R * W),
            "Every word attends to every region: R and W multiply.": lambda R, W, d: 2 * (R + W),
            "That is the price itself; divide by that of a dot product, 2 d.": lambda R, W, d: 4 * R * W * d,
            "Similarities and contexts take as many operations as each other, and each counts once: twice R W in "
            "all.": lambda R, W, d: 4 * R * W,
        },
        cases=[(36, 13, 1024), (5, 2, 8), (49, 20, 512)],
    ),
    Exercise(
        name="context_cosine",
        right=context_cosine,
        mistakes={
            "p^T G p is the squared norm of the context; the cosine divides by the norm.": (
                lambda s, p, G: (p @ s) / (p @ G @ p)
            ),
            "The norm of the context is missing: that is the dot product.": lambda s, p, G: p @ s,
            "The norm of the context is not that of the weights: similar regions add up.": (
                lambda s, p, G: (p @ s) / p.norm()
            ),
        },
        cases=[_vectors(0, 4), _vectors(1, 7)],
    ),
    Exercise(
        name="time_of",
        right=time_of,
        probe=_on_a_device,
        # whatever run a window of so many begins with, it has the same times
        cases=[
            (0.5, (0.02,)),
            (0.3, (0.018, 0.022)),
            (0.5, (0.02, 0.018, 0.022, 0.021, 0.19)),
            (0.02, (0.004, 0.005, 0.09, 0.006)),
        ],
        mistakes={
            "That is the function as it stood: the clock stops when the work is queued, not when it is done; and the "
            "first run, which also prepares, is counted.": _not_waited,
            "One of the two is found, the first run. The other: the clock stops when the work is queued. Wait for the "
            "device before you read the clock.": _launches_after_warm_up,
            "One of the two is found, the waiting. The other: the first run also prepares, and is no measure of the "
            "later ones. Run once before you start.": _warm_up_counts,
            "The first run also prepares. With few runs even their median shows it: run once before you "
            "start.": _first_of_the_runs,
            "One run that is disturbed moves the mean. Time each run by itself and take the median.": _mean_of_all,
            "The warm-up is queued and still at work when the clock starts: wait for it.": _warm_up_still_runs,
            "The fastest run is fast by chance, and faster still with more runs. Take the median.": _fastest,
            "That is the time of all runs together; wanted is that of one.": _all_together,
        },
        praise="The library's own timing does the same.",
    ),
    Exercise(
        name="search_parts",
        right=search_parts,
        probe=_streamed,
        cases=[_parts(0, 2, (6, 3, 5), 3), _parts(1, 3, (2, 1, 7, 4, 2), 4), _parts(2, 1, (5, 5, 5), 5)],
        mistakes={
            "Scores and rows are right, but all parts are held at once: a gallery larger than the memory cannot be "
            "searched like this. Keep the k best so far and one part.": _all_at_once,
            "These are the hits of the last part alone. What was best before has to be merged with "
            "it.": _of_the_last_part,
            "These are the k best of every part, one part after the other; the k best of all are among "
            "them.": _of_every_part,
            "The hits of the first part are not better than those of a later one: merge them by "
            "score.": _first_of_every_part,
            "A part may have fewer than k images, and `topk` needs k: take min(k, number of scores).": _k_from_each,
            "Rows count from the first image of the whole gallery; yours begin with 0 in every part.": (
                lambda queries, parts, k: _search_parts(queries, parts, k, row=lambda i, size, start: 0)
            ),
            "Parts may differ in size: add up how many images came before, rather than i times the size.": (
                lambda queries, parts, k: _search_parts(
                    queries, parts, k, row=lambda i, size, start: i * size
                )
            ),
            "`topk` returns places in the merged list of candidates. Use them to pick the row numbers, with "
            "`gather`.": _places_of_the_merge,
            "The best hit has the largest score; yours begins with the smallest.": _worst_hits,
            "Each query has hits of its own; yours all have those of the first.": _best_of_the_batch,
        },
        praise="What is kept does not grow with the gallery.",
    ),
    Exercise(
        name="score_recall",
        right=score_recall,
        mistakes={
            "Rounding may leave a hit a little below the exact score: subtract 1e-6 from the threshold.": (
                lambda scores, exact: float((scores >= exact[:, -1:]).double().mean())
            ),
            "A hit may be at another rank: compare every returned score with the exact k-th, not with its neighbour.": (
                lambda scores, exact: float((scores >= exact - 1e-6).float().mean())
            ),
            "A hit counts by its score, not by whether that very score is in the exact list.": (
                lambda scores, exact: float(torch.isin(scores, exact).double().mean())
            ),
            "The threshold is the k-th exact score, not the best one.": (
                lambda scores, exact: float((scores >= exact[:, :1] - 1e-6).float().mean())
            ),
        },
        cases=[
            (TIED, EXACT),
            (EXACT, EXACT),
            (torch.tensor([[0.8, 0.7, 0.1]]), EXACT[:1]),
            (torch.tensor([[0.75, 0.72, 0.69], [0.65, 0.55, 0.45]]), EXACT),
            (torch.tensor([[0.9, 0.6999995, 0.69999]], dtype=torch.float64), EXACT[:1].double()),
        ],
    ),
]

"""Exercises of notebook 14: the price of a pair, the norm of a context, recall counted by score."""

from typing import Any

import torch

from usercourse.checks import Exercise


def pair_cost(R: int, W: int, d: int) -> float:
    return (2 * R * W * d + 2 * R * W * d) / (2 * d)


def context_cosine(s: Any, p: Any, G: Any) -> Any:
    return (p @ s) / (p @ G @ p).sqrt()


def score_recall(scores: Any, exact: Any) -> float:
    return float((scores >= exact[:, -1:] - 1e-6).float().mean())


def _vectors(seed: int, regions: int) -> tuple[Any, Any, Any]:
    draw = torch.Generator().manual_seed(seed)
    v = torch.nn.functional.normalize(torch.randn(regions, 6, generator=draw), dim=1)
    w = torch.nn.functional.normalize(torch.randn(6, generator=draw), dim=0)
    return v @ w, torch.softmax(3 * (v @ w), 0), v @ v.T


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

"""Evaluation: exact ranks, the field's metrics, and how sure they are."""

from userlib.evaluation.embedding import embed
from userlib.evaluation.intervals import Interval, bootstrap, paired
from userlib.evaluation.metrics import METRICS, Metrics, folds, part, recalls, recalls_by_group
from userlib.evaluation.ranking import Ranks, ranks, ranks_from_scores

__all__ = [
    "METRICS", "Interval", "Metrics", "Ranks", "bootstrap", "embed", "folds", "paired", "part", "ranks",
    "ranks_from_scores", "recalls", "recalls_by_group",
]  # fmt: skip

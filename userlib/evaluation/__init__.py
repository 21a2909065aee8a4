"""Evaluation: exact ranks, the field's metrics, and how sure they are.

images, captions = embed(model, pairs)
found = ranks(images, captions, pairs.image_of)
print(table({"model": bootstrap(found)}))
"""

from userlib.evaluation.embedding import embed
from userlib.evaluation.intervals import Difference, Interval, bootstrap, compare, means, paired
from userlib.evaluation.many import Many, recalls_many, recalls_many_from_scores
from userlib.evaluation.metrics import METRICS, Metrics, folds, part, recalls, recalls_by_group
from userlib.evaluation.ranking import Ranks, ranks, ranks_from_scores
from userlib.evaluation.tables import table

__all__ = [
    "METRICS", "Difference", "Interval", "Many", "Metrics", "Ranks", "bootstrap", "compare", "embed", "folds",
    "means", "paired", "part", "ranks", "ranks_from_scores", "recalls", "recalls_by_group", "recalls_many",
    "recalls_many_from_scores", "table",
]  # fmt: skip

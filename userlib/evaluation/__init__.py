"""Evaluation: exact ranks, the standard metrics, and their confidence intervals.

images, captions = embed(model, pairs)
ranked = ranks(images, captions, pairs.caption_to_image)
print(table({"model": bootstrap(ranked)}))
"""

from userlib.evaluation.embedding import embed, evaluate
from userlib.evaluation.intervals import Difference, Interval, bootstrap, compare, means, paired_bootstrap
from userlib.evaluation.metrics import (
    METRICS,
    Metrics,
    fold_average,
    recall_at_k,
    recalls,
    recalls_by_group,
    subset,
)
from userlib.evaluation.multi_positive import (
    MultiPositive,
    multi_positive_recalls,
    multi_positive_recalls_from_scores,
)
from userlib.evaluation.ranking import Ranks, ranks, ranks_from_scores
from userlib.evaluation.tables import table

__all__ = [
    "METRICS", "Difference", "Interval", "Metrics", "MultiPositive", "Ranks", "bootstrap", "compare", "embed",
    "evaluate", "fold_average", "means", "multi_positive_recalls", "multi_positive_recalls_from_scores",
    "paired_bootstrap", "ranks", "ranks_from_scores", "recall_at_k", "recalls", "recalls_by_group", "subset", "table",
]  # fmt: skip

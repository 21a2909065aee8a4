"""Search: an index of images that is searched with words or with an image."""

from userlib.search.ann import Report
from userlib.search.encoders import CheckpointEncoder, Encoder, OpenClipEncoder
from userlib.search.exact import top_k
from userlib.search.index import Hit, Index, Reranker
from userlib.search.rerank import cross_attention, scorer_reranker
from userlib.search.upkeep import Changes

__all__ = [
    "Changes", "CheckpointEncoder", "Encoder", "Hit", "Index", "OpenClipEncoder", "Report", "Reranker",
    "cross_attention", "scorer_reranker", "top_k",
]  # fmt: skip

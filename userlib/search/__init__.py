"""Search: an index of images that is searched with words or with an image."""

from userlib.search.ann import Report
from userlib.search.encoders import (
    CheckpointEncoder,
    Encoder,
    OpenClipEncoder,
    checkpoint_encoder,
    open_clip_encoder,
)
from userlib.search.exact import top_k
from userlib.search.index import Hit, Index, Reranker
from userlib.search.rerank import cross_attention
from userlib.search.upkeep import Changes

__all__ = [
    "Changes", "CheckpointEncoder", "Encoder", "Hit", "Index", "OpenClipEncoder", "Report", "Reranker",
    "checkpoint_encoder", "cross_attention", "open_clip_encoder", "top_k",
]  # fmt: skip

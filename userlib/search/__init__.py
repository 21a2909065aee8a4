"""Search: an index of pictures that is asked in words or with a picture."""

from userlib.search.ann import Report
from userlib.search.encoders import Encoder, checkpoint_encoder, open_clip_encoder
from userlib.search.exact import top_k
from userlib.search.index import Hit, Index, Reranker
from userlib.search.rerank import cross_attention

__all__ = [
    "Encoder", "Hit", "Index", "Report", "Reranker", "checkpoint_encoder", "cross_attention",
    "open_clip_encoder", "top_k",
]  # fmt: skip

"""Search: an index of images that is searched with text or with an image. Names are imported when they are first used,
so that an exported model can search an index without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from userlib.search.ann import Report
    from userlib.search.encoders import CheckpointEncoder, OpenClipEncoder
    from userlib.search.exact import top_k
    from userlib.search.index import Hit, Index, Reranker
    from userlib.search.protocol import Encoder
    from userlib.search.rerank import cross_attention, scorer_reranker
    from userlib.search.upkeep import Changes

__all__ = [
    "Changes", "CheckpointEncoder", "Encoder", "Hit", "Index", "OpenClipEncoder", "Report", "Reranker",
    "cross_attention", "scorer_reranker", "top_k",
]  # fmt: skip

_EXPORTS = {
    "ann": "Report",
    "encoders": "CheckpointEncoder OpenClipEncoder",
    "exact": "top_k",
    "index": "Hit Index Reranker",
    "protocol": "Encoder",
    "rerank": "cross_attention scorer_reranker",
    "upkeep": "Changes",
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'userlib.search' has no attribute {name!r}")
    return getattr(import_module(f"userlib.search.{_HOMES[name]}"), name)

"""Names that earlier versions wrote, old -> new: what they left stays readable, and everything is written with the new.

Nothing else in the packages knows an old name.
"""

import types
from collections.abc import Mapping
from typing import Any

DOCUMENTS: Mapping[str, str] = types.MappingProxyType(
    {"facts": "metadata"}
)  # of a checkpoint: NAME.json each
FILES: Mapping[str, str] = types.MappingProxyType(
    {f"{old}.json": f"{new}.json" for old, new in DOCUMENTS.items()}
)


def documents(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's documents by their names of today."""
    return {DOCUMENTS.get(name, name): document for name, document in stored.items()}

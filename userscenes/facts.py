"""What a caption says, as data: its text, the atomic facts that it states (truth.py has the conventions), and which
words name which thing.
"""

from __future__ import annotations

from dataclasses import dataclass

from .graph import Thing

Fact = tuple[str | int, ...]


@dataclass(frozen=True)
class Caption:
    text: str
    facts: frozenset[Fact]
    spans: tuple[tuple[int, int, int], ...]  # (start, end, thing): text[start:end] names scene.things[thing]


def side_of(thing: Thing) -> str:
    """Where the centre of the thing's box lies in the image: "left", "middle" or "right", or "" between these."""
    x0, _, x1, _ = thing.box
    x = (max(x0, 0.0) + min(x1, 1.0)) / 2
    if x < 0.36:
        return "left"
    if x > 0.64:
        return "right"
    return "middle" if 0.43 < x < 0.57 else ""

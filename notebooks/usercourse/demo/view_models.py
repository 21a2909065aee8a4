"""From answers to the data of the custom widget: plain dictionaries, so that they are tested without a page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from usercourse.demo.engine import Answer, Engine
from usercourse.demo.explanation import Explanation, share_on
from usercourse.demo.failures import Failure, cause_name
from usercourse.demo.gallery import as_url, thumbnail
from userlib.search import Hit

Card = dict[str, Any]
LARGE = 384  # pixels of the longest side of the image under the regions
WORDS = 24  # words of a query that get a map


def hit_cards(
    engine: Engine, hits: Sequence[Hit], answer: Answer, other: Mapping[str, int] | None = None
) -> list[Card]:
    """Cards of images. other: {id: rank with the other model}, if two models are compared."""
    own = {one.id: one.own for one in answer.right}
    cards = []
    for hit in hits:
        row = engine.gallery.row[hit.id]
        card: Card = {
            "key": hit.id,
            "src": engine.gallery.thumb(row),
            "rank": str(hit.rank),
            "score": two(hit.score),
            "title": hit.id,
            "similar": f"Search with this image: {engine.gallery.caption_of(row)}",
        }
        if hit.id in own:
            card |= (
                {"mark": "own", "badge": "✓ its own"}
                if own[hit.id]
                else {"mark": "also", "badge": "also true"}
            )
        said = ""
        if other is not None:
            card["change"], card["turn"], said = _change(hit.rank, other.get(hit.id))
        parts = (f"Rank {hit.rank}, score {two(hit.score)}", card.get("badge", "").lstrip("✓ "), said)
        card["label"] = f"{', '.join(filter(None, parts))}: {engine.gallery.caption_of(row)}"
        cards.append(card)
    return cards


def two(score: float) -> str:
    """A score with two decimals, without a minus before zero."""
    return f"{round(score, 2) + 0.0:.2f}"


def _change(rank: int, other: int | None) -> tuple[str, str, str]:
    """How a rank differs from that with the other model: a mark, its direction, and words."""
    if other is None:
        return "new", "up", "far behind with the other model"
    if other == rank:
        return "=", "", "the same rank with the other model"
    places = f"{abs(other - rank)} place{'s' if abs(other - rank) > 1 else ''}"
    if rank < other:
        return f"▲{other - rank}", "up", f"{places} better than with the other model"
    return f"▼{rank - other}", "down", f"{places} worse than with the other model"


def caption_cards(engine: Engine, answer: Answer, picture: str | None) -> list[Card]:
    """Rows of captions for an image; its own captions, and others that are true of it, are marked."""
    gallery = engine.gallery
    row = None if picture is None else gallery.row[picture]
    own = set(gallery.captions_by_picture.get(-1 if row is None else row, ()))
    texts = gallery.captions
    cards = []
    for hit in answer.hits:
        text = hit.text or ""
        number = gallery.caption_numbers[text]
        ours = row is not None and (number in own or any(texts[j] == text for j in own))
        true = row is not None and row in gallery.true_pictures.get(number, frozenset())
        mark, badge = ("own", "✓ its own") if ours else ("also", "also true") if true else ("", "")
        cards.append(
            {"key": text, "rank": str(hit.rank), "score": two(hit.score), "text": text, "mark": mark,
             "badge": badge, "title": "Search with this caption", "label": f"Caption {hit.rank}, {badge}: {text}"}
        )  # fmt: skip
    return cards


def own_caption_cards(engine: Engine, picture: str) -> list[Card]:
    """Cards of the captions that were written for an image, to search with."""
    numbers = engine.gallery.captions_by_picture.get(engine.gallery.row[picture], [])
    texts = [engine.gallery.captions[j] for j in numbers]
    return [
        {"key": text, "text": text, "title": "Search with this caption", "label": f"Search: {text}"}
        for text in texts
    ]


def failure_cards(engine: Engine, failures: Sequence[Failure]) -> list[Card]:
    """Rows of failures: the first hit, the caption's ground-truth image, and what was wrong."""
    gallery = engine.gallery
    cards = []
    for failure in failures:
        text = gallery.captions[failure.caption]
        said = f"“{text}” First hit: {failure.sentence}. Its ground-truth image (right) has rank {failure.rank:,}."
        cards.append(
            {"key": text, "src": gallery.thumb(gallery.row[failure.first]),
             "second": gallery.thumb(gallery.row[failure.own]), "badge": cause_name(failure.cause), "text": said,
             "title": "Search with this caption", "label": f"{cause_name(failure.cause)}: {said}"}
        )  # fmt: skip
    return cards


def explanation_data(
    explanation: Explanation | None, picture: Image.Image, label: str, things: Any = None
) -> dict[str, Any]:
    """An image with its maps. things: a mask (H, W) of its objects, or None where they are unknown."""
    if explanation is None:
        return {"src": as_url(thumbnail(picture, LARGE)), "label": label, "grid": [1, 1], "maps": []}
    maps = [
        {"name": name, "kind": "attention", "weights": _rounded(a), "low": 0.0, "high": float(a.max()),
         "sentence": _attended(name, a, explanation.grid, things)}
        for name, a in explanation.attention.items()
    ]  # fmt: skip
    high = float(explanation.similarity.max()) if explanation.similarity.size else 1.0
    for word, row in list(zip(explanation.words, explanation.similarity, strict=True))[:WORDS]:
        best = divmod(int(row.argmax()), explanation.grid[1])
        said = f"“{word}” answers most to row {best[0] + 1}, column {best[1] + 1} (cosine {row.max():.2f})."
        maps.append(
            {
                "name": word,
                "kind": "word",
                "weights": _rounded(row),
                "low": 0.0,
                "high": high,
                "sentence": said,
            }
        )
    return {
        "src": as_url(thumbnail(_square(picture), LARGE)),
        "label": label,
        "grid": list(explanation.grid),
        "maps": maps,
    }


def _square(picture: Image.Image) -> Image.Image:
    """The image squashed to a square, as the networks see it."""
    side = min(max(picture.size), LARGE)
    return picture.resize((max(side, LARGE // 2),) * 2, Image.Resampling.BICUBIC)


def _attended(name: str, weights: Any, grid: tuple[int, int], things: Any) -> str:
    top = float(weights.max() * len(weights))
    if things is None or not things.any():
        return f"{name}: the brightest region gets {top:.1f} times the mean."
    share = share_on(weights, grid, things)
    return (
        f"{name}: {100 * share:.0f} % of its attention lies on the objects of the image, which cover "
        f"{100 * things.mean():.0f} % of it; the brightest region gets {top:.1f} times the mean."
    )


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in np.asarray(values)]

"""Queries of several parts: arithmetic ("two dogs - beach + snow"), an image, an image with a text, and what hits
should not look like. Hits below a threshold are left out, near-duplicates merged.

    hits = find(index, Query(text="two dogs - beach + snow", arithmetic=True, exclude=("old/*",)), 10)
"""

import fnmatch
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from userlib.arguments import between, checked, fits
from userlib.errors import UserError
from userlib.rules import check_types
from userlib.search.exact import check_k
from userlib.search.index import Index, check_query
from userlib.search.protocol import Array

PENALTY = 0.5  # factor on the highest cosine with a text in minus
TERM = re.compile(r"(?:^|(?<=\s))([+-])(?=\s|$)")
STRAY = re.compile(
    r"(?:^|\s)([+\-\u2212\u2013\u2014])"
)  # a sign, or a dash in its place, that is read as text
ROUNDING = 1e-6  # of the cosine of two equal vectors
SPREAD = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query. text, image: one of them, or both, whose vectors are averaged. arithmetic: " + " and " - " in the text
    add and subtract its parts. minus: texts that lower the score of images like them. exclude: patterns of ids to leave
    out, with * and ?. min_score: the lowest score of a hit, a cosine unless minus is given. min_calibrated: its lowest
    score in standard deviations above the median image of the index, a scale that models share. alike: images whose
    cosine is at least this are merged into one hit; None: no images are merged.
    """

    text: str | None = None
    image: str | Image.Image | None = None  # or the id of one in the index
    arithmetic: bool = False
    minus: Sequence[str] = ()
    exclude: Sequence[str] = ()
    min_score: float | None = None
    min_calibrated: float | None = None
    alike: float | None = None

    def __post_init__(self) -> None:
        """Raises UserError for a value of another type, one text in place of several, a threshold that is not finite,
        an `alike` that is no cosine, and arithmetic as `terms` does or with a sign that would be read as text.
        """
        for name in ("minus", "exclude"):
            value = getattr(self, name)
            several = tuple(value) if fits(value, Sequence[str]) else (None,)
            if not all(isinstance(one, str) for one in several):
                raise UserError(
                    f"{name} is {value!r:.80}; it must be several texts, such as ('a beach', 'snow')."
                )
            object.__setattr__(self, name, several)
        check_types(self)
        for name in ("min_score", "min_calibrated", "alike"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UserError(f"{name} is {value!r}; it must be a number that is finite.")
        if self.alike is not None:
            between("alike, a cosine,", self.alike, -1, 1)
        parts = terms(self.text) if self.arithmetic and self.text is not None else []
        if stray := [found[1] for _, part in parts if (found := STRAY.search(part))]:
            raise UserError(
                f"the query {self.text!r:.80} has {stray[0]!r}, which is not read as a sign; arithmetic needs + or - "
                "with a blank on each side, as in: two dogs - beach + snow"
            )


@dataclass(frozen=True)
class Found:
    """A hit; rank counts from 1. calibrated: its score in standard deviations above the median of the index.
    duplicates: ids of near-duplicates, best first.
    """

    id: str
    score: float
    rank: int
    calibrated: float
    duplicates: tuple[str, ...] = ()


def terms(text: str) -> list[tuple[int, str]]:
    """ "two dogs - beach + snow" -> [(1, "two dogs"), (-1, "beach"), (1, "snow")]. A sign needs spaces around it, which
    a hyphen has not. Raises UserError for a sign without a text after it, and where nothing is added.
    """
    first, *rest = TERM.split(text)
    parts = [(1, first.strip())] if first.strip() else []
    parts += [
        (1 if sign == "+" else -1, part.strip()) for sign, part in zip(rest[::2], rest[1::2], strict=True)
    ]
    if any(not part for _, part in parts):
        raise UserError(
            f"the query {text!r} has a sign without a text after it; write it like: two dogs - beach + snow"
        )
    if not any(sign > 0 for sign, _ in parts):
        raise UserError(f"the query {text!r} only subtracts; write first what the image should show.")
    return parts


def vector_of(index: Index, query: Query) -> Array:
    """The query as a unit vector (E,). Raises UserError without text and image, and where its parts cancel out."""
    if query.text is None and query.image is None:
        raise UserError("the query has neither a text nor an image; give one.")
    parts: list[Array] = []
    if query.text is not None:
        signed = terms(query.text) if query.arithmetic else [(1, query.text)]
        vectors = index.encode_text([part for _, part in signed])
        parts.append(_unit(np.sum([sign * v for (sign, _), v in zip(signed, vectors, strict=True)], axis=0)))
    if query.image is not None:
        parts.append(_unit(index._vector_of(query.image)[0]))
    return _unit(np.sum(parts, axis=0))


def _unit(vector: Array) -> Array:
    norm = float(np.linalg.norm(vector))
    if not norm > 1e-6:
        raise UserError(
            "the parts of the query cancel out, so there is nothing to search for; change one of them."
        )
    return np.asarray(vector / norm, np.float32)


@checked
def find(index: Index, query: Query, k: int = 10) -> list[Found]:
    """The k best images, equal scores in the order of ids, by exact search even where the index has an HNSW graph.

    Raises UserError for k < 1, an empty index, an invalid text, and as `vector_of` does.
    """
    check_k(k)
    if not index.ids:
        raise UserError("the index is empty; fill it with update(FOLDER).")
    for text in query.minus:
        check_query(text)
    scores = np.einsum("ne,e->n", index.vectors, vector_of(index, query))
    if query.minus:
        against = np.einsum("ne,me->nm", index.vectors, index.encode_text(query.minus)).max(1)
        scores = scores - np.float32(PENALTY) * np.maximum(against, 0)
    calibrated = calibrate(scores)
    own = query.image if isinstance(query.image, str) else None
    order = [int(row) for row in np.argsort(-scores, kind="stable")]
    excluded = [pattern.replace("[", "[[]") for pattern in query.exclude]  # a bracket is matched literally
    wanted = [
        row
        for row in order
        if index.ids[row] != own
        and not any(fnmatch.fnmatchcase(index.ids[row], pattern) for pattern in excluded)
        and (query.min_score is None or scores[row] >= query.min_score)
        and (query.min_calibrated is None or calibrated[row] >= query.min_calibrated)
    ]
    groups = grouped(index.vectors, wanted, query.alike, k)
    return [
        Found(
            index.ids[head],
            float(scores[head]),
            rank,
            float(calibrated[head]),
            tuple(index.ids[r] for r in others),
        )
        for rank, (head, *others) in enumerate(groups, start=1)
    ]


def calibrate(scores: Array) -> Array:
    """scores (N,) -> (N,) in standard deviations above their median, estimated by the median absolute deviation, which
    a few good hits among many images do not change. 0 where that is 0.
    """
    median = np.median(scores)
    spread = SPREAD * float(np.median(np.abs(scores - median)))
    return np.asarray((scores - median) / spread if spread > 0 else np.zeros_like(scores), np.float32)


def grouped(vectors: Array, rows: Sequence[int], alike: float | None, k: int) -> list[list[int]]:
    """The first k rows, each with the later ones whose cosine with it is at least `alike`."""
    if alike is None:
        return [[row] for row in rows[:k]]
    heads: list[list[int]] = []
    for row in rows:
        cosines = [float(vectors[head] @ vectors[row]) for head, *_ in heads]
        near = [i for i, cosine in enumerate(cosines) if cosine >= alike - ROUNDING]
        if near:
            heads[near[0]].append(row)
        elif len(heads) < k:
            heads.append([row])
    return heads

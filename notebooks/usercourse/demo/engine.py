"""One model over one gallery: all that the page shows, usable without a page.

    engine = open_engine("full")
    answer = engine.search("a truck on a playground", 12)
    answer.hits[0].id, answer.right, answer.runner_up

Raises `UserError` for an empty query, one that is too long, and an image that cannot be read.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from usercourse.demo.explanation import Explanation, explain
from usercourse.demo.gallery import Gallery
from usercourse.demo.scene_diff import difference, missing
from userlib.data.tokenizers import pieces_of, words_of
from userlib.errors import UserError
from userlib.evaluation.ranking import ranks, ranks_among
from userlib.search import Encoder, Hit, Index
from userlib.search.encoders import CheckpointEncoder
from userlib.search.exact import Array, top_k
from userlib.search.index import check_query
from userlib.search.protocol import measured, warning_of
from userlib.search.query import Query, find, terms

BATCH = 256  # captions encoded at a time
Picture = str | Image.Image  # the id of an image in the gallery, or an image of the user's


@dataclass(frozen=True)
class Right:
    """A relevant image: the caption's ground-truth image, or another that it is true of as well."""

    id: str
    rank: int
    score: float
    own: bool


@dataclass(frozen=True)
class Answer:
    """hits: best first. pieces: the query's words, and whether the model knows each. right: the relevant images by
    rank, if the query is a caption of the gallery. runner_up: a sentence on how the second hit differs. note: a warning
    about an image of the user's. terms: sign and text of each part of an arithmetic query.
    """

    hits: tuple[Hit, ...]
    pieces: tuple[tuple[str, bool], ...] = ()
    right: tuple[Right, ...] = ()
    runner_up: str = ""
    note: str = ""
    terms: tuple[tuple[int, str], ...] = ()

    @property
    def nothing_known(self) -> bool:
        """Whether the model knows none of the query's words, so that its hits mean nothing."""
        pieces = [known for piece, known in self.pieces if not self.terms or piece not in ("+", "-")]
        return bool(pieces) and not any(pieces)


def _known(words: list[str], unknown: set[str]) -> bool:
    return not words or any(word not in unknown for word in words)


class Engine:
    """A model with a title, and the images that it searches."""

    def __init__(
        self, name: str, encoder: Encoder, gallery: Gallery, vectors: Array, *, warning: str | None = None
    ) -> None:
        """vectors (N, E): those of the images, in the order of the gallery's ids, which must be sorted. warning: what a
        user should know about the encoder and these images.
        """
        self.name, self.encoder, self.gallery = name, encoder, gallery
        self.warning = warning or encoder.warning
        self.index = Index(
            ids=gallery.ids,
            vectors=np.ascontiguousarray(vectors, np.float32),
            encoder=encoder,
            texts=gallery.captions,
            text_of=gallery.caption_to_image,
        )

    def search(self, text: str, k: int = 12) -> Answer:
        """The k best images for a text query; if this is a caption of the gallery, also its relevant images.

        " + " and " - " add and subtract, as in "two dogs - beach + snow", except in a caption of the gallery.
        """
        number = self.gallery.caption_numbers.get(text.strip())
        if parts := self.terms(text):
            hits = self._hits(Query(text=text, arithmetic=True), k)
            return Answer(hits, self.pieces(text), runner_up=self._runner_up(hits[:2], None), terms=parts)
        every = self.index.search(text, k if number is None else len(self.gallery))
        return Answer(
            hits=tuple(every[:k]),
            pieces=self.pieces(text),
            right=() if number is None else self._right(number, every),
            runner_up=self._runner_up(every[:2], number),
        )

    def captions(self, picture: Picture, k: int = 10) -> Answer:
        """The k captions nearest to an image. Raises UserError where the gallery has no captions."""
        if not self.gallery.captions:
            raise UserError(
                "These images have no captions to retrieve for an image. Search with a text instead."
            )
        self.index.text_vectors = self.text_vectors
        return Answer(tuple(self.index.captions_for(picture, k)))

    def similar(self, picture: Picture, k: int = 12) -> Answer:
        """The k images nearest to an image, without this image itself."""
        hits = tuple(self.index.similar(picture, k))
        if isinstance(picture, str):
            return Answer(hits)
        distances = measured(self.encoder, [picture])[1]
        return Answer(hits, note=warning_of(self.encoder, distances, drawn=False) or "")

    def together(self, picture: Image.Image, text: str, k: int = 12) -> Answer:
        """The k images nearest to the mean of an image and a text query, which may be arithmetic."""
        parts = self.terms(text)
        hits = self._hits(Query(text=text, image=picture, arithmetic=bool(parts)), k)
        note = warning_of(self.encoder, measured(self.encoder, [picture])[1], drawn=False) or ""
        return Answer(hits, self.pieces(text), note=note, terms=parts)

    def terms(self, text: str) -> tuple[tuple[int, str], ...]:
        """Sign and text of each part of an arithmetic query; () for any other. Raises UserError for a sign alone."""
        check_query(text)
        if text.strip() in self.gallery.caption_numbers:
            return ()
        parts = tuple(terms(text))
        return parts if len(parts) > 1 or parts[0][1] != text.strip() else ()

    def shown_words(self, text: str) -> str:
        """The words of a query that an image should show: without the parts that arithmetic subtracts."""
        if not text or not (parts := self.terms(text)):
            return text
        return " ".join(part for sign, part in parts if sign > 0)

    def _hits(self, query: Query, k: int) -> tuple[Hit, ...]:
        return tuple(Hit(one.id, one.score, one.rank) for one in find(self.index, query, k))

    def explain(self, picture: Picture, text: str = "") -> Explanation | None:
        """Attention and word-region similarity of an image; None for models that have neither."""
        if not isinstance(self.encoder, CheckpointEncoder):
            return None
        return explain(self.encoder, self.picture(picture), text)

    def warm(self) -> None:
        """Load the networks that read images, and encode the captions, now rather than at the first query."""
        if self.gallery.captions:
            _ = self.text_vectors
        if isinstance(self.encoder, CheckpointEncoder):
            for extractor in (self.encoder.tokens, self.encoder.guide):
                if extractor is not None:
                    with suppress(UserError):  # reported where they are used
                        extractor.load()

    def picture(self, picture: Picture) -> Image.Image:
        """The image itself. Raises UserError where its file cannot be read."""
        return self.gallery.pictures[self.gallery.row[picture]] if isinstance(picture, str) else picture

    @cached_property
    def text_vectors(self) -> Array:
        """The captions' vectors (M, E), computed at the first image query."""
        texts = self.gallery.captions
        parts = [self.encoder.encode_text(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
        return np.concatenate(parts)

    def pieces(self, text: str) -> tuple[tuple[str, bool], ...]:
        """The parts of the text between blanks, and whether the model knows a word in each."""
        unknown = set(self.index.unknown(text))
        return tuple(
            (piece, piece not in unknown and _known(words_of(piece), unknown)) for piece in pieces_of(text)
        )

    def caption_ranks(self) -> tuple[np.ndarray, np.ndarray, Array]:
        """For each caption the rank of its own image (M,), as in evaluation, the row of the first hit (M,), and the
        margin of its score over that of the own image (M,). Raises UserError where an image has no caption.
        """
        owners, vectors = self.gallery.caption_to_image, self.index.vectors
        own = np.einsum("me,me->m", self.text_vectors, vectors[owners])
        best, rows = top_k(self.text_vectors, vectors, 1)
        return ranks(vectors, self.text_vectors, owners).t2i, rows[:, 0], best[:, 0] - own

    def _right(self, number: int, every: Sequence[Hit]) -> tuple[Right, ...]:
        """The relevant images of a caption among all hits, by rank."""
        own = int(self.gallery.caption_to_image[number])
        rows = self.gallery.true_pictures.get(number, frozenset()) | {own}
        wanted = {self.gallery.ids[row]: row == own for row in rows}
        right = [place for place, hit in enumerate(every) if hit.id in wanted]
        places = ranks_among([hit.score for hit in every], right).tolist()
        ranked = zip(right, places, strict=True)
        return tuple(Right(every[i].id, rank, every[i].score, wanted[every[i].id]) for i, rank in ranked)

    def _runner_up(self, two: Sequence[Hit], number: int | None) -> str:
        """A sentence on how the second hit differs: from the query if its facts are known, else from the first hit."""
        world = self.gallery.world
        if world is None or len(two) < 2:
            return ""
        first, second = (self.gallery.row[hit.id] for hit in two)
        gap = f"The runner-up scores {two[0].score - two[1].score:.2f} lower"
        if number is not None:
            return f"{gap}. {self.verdict(number, second, 'It')}"
        return f"{gap}. Compared with the first hit, {difference(world[first], world[second])}."

    def verdict(self, number: int, row: int, subject: str = "This image") -> str:
        """A sentence on whether a caption is true of an image of the drawn world, and what is wrong if not."""
        from userscenes import closed_facts

        written, world = self.gallery.written(number), self.gallery.world
        if written is None or world is None:
            return ""
        misses = missing(written.facts, closed_facts(world[row]))
        if not misses:
            return f"{subject} is relevant: the whole query is true of it."
        return f"{subject} is not relevant: {'; '.join(miss.sentence for miss in misses)}."

"""An index of images: built from a folder or a split, updated with these, searched by text or image, and stored.

encoder = OpenClipEncoder("ViT-B-32/laion2b_s34b_b79k")
index = Index.build("my/photos", encoder)
index.save("my/index")
for hit in index.search("two dogs on a beach", 5):
    print(hit.rank, hit.id, hit.score)
index = Index.load("my/index", encoder)
print(index.update("my/photos"))  # 12 added, 3 removed, 1 renamed, 984 kept
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from userlib.arguments import checked
from userlib.checkpoints import read_arrays, write_arrays
from userlib.data.pictures import upright
from userlib.data.splits import LONGEST, ODD, Split
from userlib.errors import UserError
from userlib.model.hub import Shared, resolve
from userlib.search.ann import Hnsw, Report, hnsw
from userlib.search.exact import Array, Ints, check_k, top_k
from userlib.search.protocol import Encoder, difference, encode_all, warning_of
from userlib.search.reading import Print, absolute, is_drawn, only_split
from userlib.search.upkeep import Changes, Contents, Seen, bring_in_line, finite
from userlib.search.weak import notes_on
from userlib.verify import MANIFEST

if TYPE_CHECKING:
    from userlib.model.user import DualEncoder

Reranker = Callable[[str, Sequence[str]], Sequence[float]]  # a query and image ids -> their new scores


@dataclass(frozen=True)
class Hit:
    """An image, or with `text` one of its captions; rank counts from 1."""

    id: str
    score: float
    rank: int
    text: str | None = None


@dataclass
class Index(Contents, Shared):
    """The vectors of images, and of captions where the source has any. Equal scores are in the order of ids."""

    @classmethod
    def empty(cls, encoder: "Encoder | DualEncoder") -> "Index":
        """An index without images, to be filled by `update`."""
        return cls(ids=(), vectors=np.empty((0, 0), np.float32), encoder=_encoder_of(encoder))

    @classmethod
    @checked
    def build(
        cls, source: str | Path | Split, encoder: "Encoder | DualEncoder", *, progress: bool = True
    ) -> "Index":
        """Encodes every image of a folder or of a split, and its captions where there are any, with an encoder of
        `userlib.search` or a trained model.

        Unreadable images are listed in `skipped`, with one warning. Raises UserError where no image can be read.
        """
        index = cls.empty(encoder)
        index.update(source, progress=progress)
        return index

    @checked
    def update(
        self,
        source: str | Path | Split,
        *,
        keep_in: str | Path | None = None,
        progress: bool = True,
        seen: Seen | None = None,
    ) -> Changes:
        """Updates the index to a folder of images or a split: new and changed images are encoded, missing ones dropped,
        and renamed or copied ones keep their vectors. Images are compared by content, not by name.

        keep_in: a folder in which the index is saved, at the end, every minute, and where the update is interrupted by
        Ctrl-C or an error; the next update resumes from there. seen: called for each image that was encoded, with the
        SHA-256 of its content, the image, the number encoded and the total. Raises UserError where none can be read.
        """
        split = source if isinstance(source, Split) else only_split(source)
        if split is not source:
            self.source = {"data": absolute(str(source)), "split": split.name}
        drawn = is_drawn(split)

        def keep() -> None:
            self.warning = warning_of(self.encoder, self.distances, drawn=drawn)
            if keep_in is not None and (self._kept() != self.stored or self.folder != Path(keep_in)):
                self.save(keep_in)

        changes = bring_in_line(self, split, progress=progress, keep=keep, seen=seen)
        keep()
        return changes

    def _kept(self) -> list[object]:
        """All that may change, to compare with what is stored."""
        texts, graph = [self.texts, self.text_of.tolist()], [self.nearest, self.report]
        about = [self.skipped, self.missing, self.warning, dict(self.source)]
        return [self.ids, self.prints, *texts, *about, *graph]

    def __len__(self) -> int:
        return len(self.ids)

    @checked
    def search(
        self, text: str, k: int = 10, *, rerank: Reranker | None = None, candidates: int = 100
    ) -> list[Hit]:
        """The k images nearest to a text query; with rerank, the k best of `candidates` images by its scores. Raises
        UserError for k < 1, an invalid query, an empty index and scores that are not finite.
        """
        check_k(k)
        query = self.encode_text([text])
        scores, rows = self._images(query, max(k, candidates) if rerank else k)
        ids = [self.ids[row] for row in rows[0]]
        if rerank is None:
            return _hits(ids, scores[0])
        again = np.asarray(rerank(text, ids), np.float64)
        if again.shape != (len(ids),) or not np.isfinite(again).all():
            raise UserError(
                f"the reranker returned scores of the shape {again.shape}; it must be one finite score for each of "
                f"{len(ids)} images."
            )
        order = sorted(range(len(ids)), key=lambda i: (-again[i], ids[i]))[:k]
        return _hits([ids[i] for i in order], again[order])

    @checked
    def captions_for(self, image: str | Image.Image, k: int = 10) -> list[Hit]:
        """The k captions nearest to an image or its id. Raises UserError for an unknown id, and without captions."""
        if self.text_vectors is None:
            raise UserError("this index has no captions; build it from a split that has some.")
        scores, rows = top_k(self._vector_of(image), self.text_vectors, k)
        ids = [self.ids[self.text_of[row]] for row in rows[0]]
        return _hits(ids, scores[0], [self.texts[row] for row in rows[0]])

    @checked
    def similar(self, image: str | Image.Image, k: int = 10) -> list[Hit]:
        """The k images nearest to an image, without itself where its id is given. Raises UserError as `search`."""
        check_k(k)
        own = isinstance(image, str)
        scores, rows = self._images(self._vector_of(image), k + own)
        others = [i for i, row in enumerate(rows[0]) if self.ids[row] != image][:k]
        return _hits([self.ids[rows[0][i]] for i in others], scores[0][others])

    def unknown(self, text: str) -> list[str]:
        """The words of a query that are unknown to the model."""
        return self.encoder.unknown(text)

    def notes(self, text: str | None) -> tuple[str, ...]:
        """Notes to show with the hits of a query: on an incomplete index, on images unlike those of the training and,
        where it has a text, on one that is too long, and on unknown words.
        """
        part = f"The index is incomplete: {self.missing:,} images and captions are still to be encoded; update it."
        notes = tuple(filter(None, (part if self.missing else None, self.warning)))
        if text is None:
            return notes
        cut = self.encoder.cut_note(text) if hasattr(self.encoder, "cut_note") else None
        return (*notes, *filter(None, [cut]), *notes_on(text, self.encoder.unknown))

    @checked
    def encode_text(self, texts: Sequence[str]) -> Array:
        """n queries -> (n, E). Raises UserError for an invalid one (`check_query`)."""
        for text in texts:
            check_query(text)
        return self.encoder.encode_text(texts)

    @checked
    def approximate(self, queries: Sequence[str], k: int = 10, **settings: int) -> Report:
        """Switches to approximate search by HNSW, and reports its recall compared with exact search on these queries.
        settings: as for `userlib.search.ann.hnsw`. Raises UserError without queries, images or the package faiss.
        """
        if not queries:
            raise UserError("there are no queries to measure the recall on; give at least one.")
        if not self.ids:
            raise UserError("the index is empty; fill it with update(FOLDER).")
        vectors = finite(encode_all(self.encoder.encode_text, queries))
        self.nearest, self.report = hnsw(self.vectors, vectors, k, **settings)
        return self.report

    def _save(self, folder: Path, card: Mapping[str, Any]) -> None:
        from userlib.search.card import index_card

        self.save(folder, card=index_card(self, folder.name, card))

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, encoder: "Encoder | DualEncoder", **fetching: Any
    ) -> "Index":
        """`load` from a folder or the hub's `owner/name`; fetching: arguments of `userlib.model.hub.resolve`."""
        return cls.load(resolve(name, **fetching), encoder)

    @checked
    def save(self, folder: str | Path, *, card: str | None = None) -> None:
        """Writes a folder of safetensors and JSON with checksums, whole or not at all. card: the text of its README.md.
        Raises UserError where the folder holds anything but an earlier index.
        """
        arrays: dict[str, NDArray[Any]] = {
            "vectors": self.vectors,
            "text_of": self.text_of,
            "distances": self.distances,
        }
        if self.text_vectors is not None:
            arrays["text_vectors"] = self.text_vectors
        if self.nearest is not None:
            arrays["hnsw"] = self.nearest.to_bytes()
        contents: dict[str, Any] = {
            "kind": "index",
            "source": self.source,
            "missing": self.missing,
            "prints": [[one.sha256, one.state] for one in self.prints],
            "ids": list(self.ids),
            "texts": list(self.texts),
            "skipped": list(self.skipped),
            "warning": self.warning,
            "encoder": self.encoder.cache_key(),
            "report": None if self.report is None else asdict(self.report),
        }
        write_arrays(Path(folder), arrays, {"contents": contents}, card=card)
        self.folder, self.stored = Path(folder), self._kept()

    @classmethod
    @checked
    def load(cls, folder: str | Path, encoder: "Encoder | DualEncoder") -> "Index":
        """Loads a saved index with the encoder or model that made it; `update` compares it with its images. Raises
        UserError where a file is missing or changed, and where another model made it.
        """
        remedy = f"Delete {folder} and build it again."
        if not (Path(folder) / MANIFEST).is_file():
            raise UserError(
                f"{folder} is no index: it has no {MANIFEST}. Name the folder of an index, or one that does not "
                "exist yet and build it again there."
            )
        try:
            arrays, documents = read_arrays(Path(folder))
        except UserError as error:
            what = str(error).split(". ")[0].rstrip(".")
            raise UserError(f"the index {folder} cannot be used: {what}. {remedy}") from error
        contents = documents.get("contents")
        if not isinstance(contents, dict) or contents.get("kind") != "index" or "vectors" not in arrays:
            raise UserError(f"{folder} holds no index; give a folder that Index.save wrote.")
        encoder = _encoder_of(encoder)
        try:
            if differs := difference(contents["encoder"], encoder.cache_key()):
                raise UserError(
                    f"the index {folder} was made with another model: {differs}. Use that model, name another "
                    "folder for this one, or delete that folder and build it again."
                )
            index = cls._of(contents, arrays, encoder)
            index._check()
            index.folder, index.stored = Path(folder), index._kept()
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"the index {folder} cannot be used: its parts do not fit together ({error}). {remedy}"
            ) from error
        return index

    @classmethod
    def _of(cls, contents: dict[str, Any], arrays: dict[str, NDArray[Any]], encoder: Encoder) -> "Index":
        """The index of stored contents; prints, distances and source are empty where an older version wrote it."""
        return cls(
            ids=tuple(contents["ids"]),
            vectors=arrays["vectors"],
            encoder=encoder,
            texts=tuple(contents["texts"]),
            text_vectors=arrays.get("text_vectors"),
            text_of=arrays["text_of"],
            skipped=tuple(contents["skipped"]),
            warning=contents["warning"],
            nearest=Hnsw.from_bytes(arrays["hnsw"]) if "hnsw" in arrays else None,
            report=None if contents["report"] is None else Report(**contents["report"]),
            prints=tuple(
                Print(sha256, None if state is None else tuple(state))
                for sha256, state in contents.get("prints", [])
            ),
            distances=arrays.get("distances", np.empty(0, np.float32)),
            missing=contents.get("missing", 0),
            source=contents.get("source", {}),
        )

    def _check(self) -> None:
        """Raises ValueError where the parts do not fit together."""
        n, m = len(self.ids), len(self.texts)
        if self.vectors.ndim != 2 or len(self.vectors) != n or not np.isfinite(self.vectors).all():
            raise ValueError(f"{n} ids for vectors {self.vectors.shape}")
        if self.text_of.shape != (m,) or (m and not 0 <= self.text_of.min() <= self.text_of.max() < n):
            raise ValueError(f"{m} captions of {n} images")
        if self.text_vectors is not None and self.text_vectors.shape != (m, self.vectors.shape[1]):
            raise ValueError(f"{m} captions for vectors {self.text_vectors.shape}")
        if len(self.prints) not in (0, n) or self.distances.shape != (n,) or len(set(self.ids)) != n:
            raise ValueError(
                f"{len(set(self.ids))} different ids for {n} images, {len(self.prints)} prints and distances "
                f"{self.distances.shape}"
            )
        if not all(isinstance(text, str) for text in (*self.ids, *self.texts, *self.skipped)):
            raise ValueError("an id, caption or message is no text")
        if not isinstance(self.missing, int) or not isinstance(self.source, dict):
            raise ValueError("its source is not a JSON object")

    def _images(self, queries: Array, k: int) -> tuple[Array, Ints]:
        if not self.ids:
            raise UserError("the index is empty; fill it with update(FOLDER).")
        return top_k(queries, self.vectors, k) if self.nearest is None else self.nearest.search(queries, k)

    def _vector_of(self, image: str | Image.Image) -> Array:
        """An image, or the id of one in the index -> (1, E)."""
        if not isinstance(image, str):
            return self.encoder.encode_image([upright(image)])
        if image not in self.ids:
            raise UserError(
                f"there is no image {image!r} in this index of {len(self.ids)}; give one of its ids, or an image."
            )
        row = self.ids.index(image)
        return self.vectors[row : row + 1]


def _encoder_of(model: "Encoder | DualEncoder") -> Encoder:
    """An encoder as it is, or a trained model as a `CheckpointEncoder`."""
    if hasattr(model, "cache_key"):
        return cast(Encoder, model)
    from userlib.search.encoders import CheckpointEncoder

    return CheckpointEncoder(cast("DualEncoder", model))


def check_query(text: str) -> None:
    """Raises UserError for a query without a word, and for one that is too long."""
    if ODD.search(text):
        raise UserError(f"the query {text[:80]!a} has a character that no text has; write it again in UTF-8")
    if not text.strip():
        raise UserError("the query is empty; write what the image should show.")
    if len(text) > LONGEST:
        raise UserError(f"the query has {len(text):,} characters; write at most {LONGEST:,}.")
    if not any(c.isalnum() or unicodedata.category(c) == "So" for c in text):  # So: emoji and the like
        raise UserError(f"the query {text.strip()[:40]!r} has no word; write what the image should show.")


def _hits(
    ids: Sequence[str], scores: Sequence[float] | NDArray[Any], texts: Sequence[str] | None = None
) -> list[Hit]:
    captions = texts if texts is not None else [None] * len(ids)
    ranked = zip(ids, scores, captions, strict=True)
    return [Hit(name, float(score), rank, text) for rank, (name, score, text) in enumerate(ranked, start=1)]

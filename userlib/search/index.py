"""An index of pictures: built once from a folder or a split, asked in words or with a picture, kept on disk.

encoder = open_clip_encoder("ViT-B-32/laion2b_s34b_b79k")
index = Index.build("my/photos", encoder)
index.save("my/index")
for hit in index.search("two dogs on a beach", 5):
    print(hit.rank, hit.id, hit.score)
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from userlib.checkpoints import read_bundle, write_bundle
from userlib.data.splits import LONGEST, Split
from userlib.errors import UserError
from userlib.progress import Progress
from userlib.search.ann import Hnsw, Report, hnsw
from userlib.search.encoders import Encoder
from userlib.search.exact import Array, Ints, top_k
from userlib.search.reading import BATCH, only_split, readable

Reranker = Callable[[str, Sequence[str]], Sequence[float]]  # a sentence and picture ids -> their new scores


@dataclass(frozen=True)
class Hit:
    """A picture, or with `text` one of its captions; rank counts from 1."""

    id: str
    score: float
    rank: int
    text: str | None = None


@dataclass
class Index:
    """N pictures sorted by id, and where the source has them M captions.

    vectors (N, E); text_vectors (M, E), text_of (M,) the row of each caption's picture; skipped: what could
    not be read; warning: what a user should know about the encoder and these pictures. Equal scores stand in
    the order of ids.
    """

    ids: tuple[str, ...]
    vectors: Array
    encoder: Encoder
    texts: tuple[str, ...] = ()
    text_vectors: Array | None = None
    text_of: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    skipped: tuple[str, ...] = ()
    warning: str | None = None
    nearest: Hnsw | None = None
    report: Report | None = None

    @classmethod
    def build(cls, source: str | Path | Split, encoder: Encoder, *, progress: bool = True) -> "Index":
        """Encode every picture of a folder of photos or of a split, and the captions where there are some.

        Unreadable pictures are listed in `skipped`, with one warning; UserError when none is left.
        """
        split = source if isinstance(source, Split) else only_split(source)
        if split.pictures is None:
            raise UserError(
                f"the split {split.name!r} has features but no pictures; an index encodes pictures"
            )
        order = sorted(range(len(split.ids)), key=split.ids.__getitem__)
        kept, vectors, skipped = [], [], []
        with Progress(len(order), "pictures", show=progress) as bar:
            for rows, pictures, failed in readable(split.pictures, order):
                skipped += failed
                if rows:
                    kept += rows
                    vectors.append(encoder.encode_pictures(pictures))
                bar.step(len(rows) + len(failed))
        if not kept:
            raise UserError(
                f"none of the {len(order)} pictures of {split.name!r} can be read; the first: {skipped[0]}"
            )
        if skipped:
            warnings.warn(
                f"{len(skipped)} of {len(order)} pictures were left out; the first: {skipped[0]}",
                stacklevel=2,
            )
        place = np.full(len(split.ids), -1)
        place[kept] = np.arange(len(kept))
        said = np.flatnonzero(place[split.image_of] >= 0)
        texts = tuple(split.captions[j] for j in said)
        return cls(
            ids=tuple(split.ids[i] for i in kept),
            vectors=_finite(np.concatenate(vectors)),
            encoder=encoder,
            texts=texts,
            text_vectors=_encode_texts(texts, encoder, progress) if texts else None,
            text_of=place[split.image_of[said]],
            skipped=tuple(skipped),
            warning=encoder.warning,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def search(
        self, text: str, k: int = 10, *, rerank: Reranker | None = None, candidates: int = 100
    ) -> list[Hit]:
        """The k pictures nearest to a sentence; with `rerank`, the best of that many candidates by its
        scores."""
        query = self.encode_text([text])
        scores, rows = self._pictures(query, max(k, candidates) if rerank else k)
        ids = [self.ids[row] for row in rows[0]]
        if rerank is None:
            return _hits(ids, scores[0])
        again = np.asarray(rerank(text, ids), np.float64)
        if again.shape != (len(ids),) or not np.isfinite(again).all():
            raise UserError(f"the reranker must give one finite score for each of {len(ids)} pictures")
        order = sorted(range(len(ids)), key=lambda i: (-again[i], ids[i]))[:k]
        return _hits([ids[i] for i in order], again[order])

    def captions_for(self, picture: str | Image.Image, k: int = 10) -> list[Hit]:
        """The k captions nearest to a picture, given itself or by its id."""
        if self.text_vectors is None:
            raise UserError("this index holds no captions; build it from a split that has some")
        scores, rows = top_k(self._vector_of(picture), self.text_vectors, k)
        ids = [self.ids[self.text_of[row]] for row in rows[0]]
        return _hits(ids, scores[0], [self.texts[row] for row in rows[0]])

    def similar(self, picture: str | Image.Image, k: int = 10) -> list[Hit]:
        """The k pictures nearest to a picture; one given by its id is not among them."""
        own = isinstance(picture, str)
        scores, rows = self._pictures(self._vector_of(picture), k + own)
        kept = [
            (row, score) for row, score in zip(rows[0], scores[0], strict=True) if self.ids[row] != picture
        ][:k]
        return _hits([self.ids[row] for row, _ in kept], [score for _, score in kept])

    def unknown(self, text: str) -> list[str]:
        """The words of a query that the model has never met."""
        return self.encoder.unknown(text)

    def encode_text(self, texts: Sequence[str]) -> Array:
        """Sentences -> (n, E), after a look at them."""
        for text in texts:
            if not text.strip():
                raise UserError("the query is empty; write what the picture should show")
            if len(text) > LONGEST:
                raise UserError(f"the query has {len(text):,} characters; write at most {LONGEST:,}")
        return self.encoder.encode_text(texts)

    def approximate(self, queries: Sequence[str], k: int = 10, **settings: int) -> Report:
        """Search by HNSW from here on; its recall against exact search on these queries is in the report."""
        self.nearest, self.report = hnsw(
            self.vectors, _encode_texts(queries, self.encoder, False), k, **settings
        )
        return self.report

    def save(self, folder: str | Path) -> None:
        """A folder of safetensors and JSON with checksums, written beside and renamed."""
        tensors = {"vectors": torch.from_numpy(self.vectors), "text_of": torch.from_numpy(self.text_of)}
        if self.text_vectors is not None:
            tensors["text_vectors"] = torch.from_numpy(self.text_vectors)
        if self.nearest is not None:
            tensors["hnsw"] = torch.from_numpy(self.nearest.to_bytes())
        contents: dict[str, Any] = {
            "kind": "index",
            "ids": list(self.ids),
            "texts": list(self.texts),
            "skipped": list(self.skipped),
            "warning": self.warning,
            "encoder": self.encoder.describe(),
            "report": None if self.report is None else asdict(self.report),
        }
        write_bundle(Path(folder), tensors, {"contents": contents})

    @classmethod
    def load(cls, folder: str | Path, encoder: Encoder) -> "Index":
        """Open a saved index. UserError when a file is missing or changed, or another encoder made it."""
        try:
            tensors, documents = read_bundle(Path(folder))
        except UserError as error:
            what = str(error).split(". ")[0].rstrip(".")
            raise UserError(
                f"the index {folder} cannot be used: {what}. Delete it and build it again."
            ) from error
        contents = documents.get("contents")
        if not isinstance(contents, dict) or contents.get("kind") != "index" or "vectors" not in tensors:
            raise UserError(f"{folder} holds no index; give the folder that `save` wrote")
        try:
            if contents["encoder"] != encoder.describe():
                raise UserError(
                    f"the index {folder} was made with another model ({contents['encoder'].get('kind')}) than "
                    "the one given; use that one, or build the index again"
                )
            index = cls._of(contents, {name: tensor.numpy() for name, tensor in tensors.items()}, encoder)
            index._check()
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"the index {folder} cannot be used: its parts do not fit together ({error}). Delete it and build "
                "it again."
            ) from error
        return index

    @classmethod
    def _of(cls, contents: dict[str, Any], arrays: dict[str, NDArray[Any]], encoder: Encoder) -> "Index":
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
        )

    def _check(self) -> None:
        """Raises ValueError where the parts do not belong to one another."""
        n, m = len(self.ids), len(self.texts)
        if self.vectors.ndim != 2 or len(self.vectors) != n or not np.isfinite(self.vectors).all():
            raise ValueError(f"{n} ids for vectors {self.vectors.shape}")
        if self.text_of.shape != (m,) or (m and not 0 <= self.text_of.min() <= self.text_of.max() < n):
            raise ValueError(f"{m} captions of {n} pictures")
        if self.text_vectors is not None and self.text_vectors.shape != (m, self.vectors.shape[1]):
            raise ValueError(f"{m} captions for vectors {self.text_vectors.shape}")

    def _pictures(self, queries: Array, k: int) -> tuple[Array, Ints]:
        return top_k(queries, self.vectors, k) if self.nearest is None else self.nearest.search(queries, k)

    def _vector_of(self, picture: str | Image.Image) -> Array:
        """A picture, or the id of one in the index -> (1, E)."""
        if not isinstance(picture, str):
            return self.encoder.encode_pictures([picture])
        if picture not in self.ids:
            raise UserError(f"there is no picture {picture!r} in this index of {len(self.ids)}")
        row = self.ids.index(picture)
        return self.vectors[row : row + 1]


def _encode_texts(texts: Sequence[str], encoder: Encoder, progress: bool) -> Array:
    """Sentences -> (n, E)."""
    if not texts:
        raise UserError("there are no sentences to encode; give some")
    found = []
    with Progress(len(texts), "captions", show=progress) as bar:
        for start in range(0, len(texts), BATCH):
            part = texts[start : start + BATCH]
            found.append(encoder.encode_text(part))
            bar.step(len(part))
    return _finite(np.concatenate(found))


def _finite(vectors: Array) -> Array:
    if not np.isfinite(vectors).all():
        raise UserError(
            "the encoder gave vectors that are not finite; its weights are damaged or have diverged"
        )
    return np.ascontiguousarray(vectors, np.float32)


def _hits(
    ids: Sequence[str], scores: Sequence[float] | NDArray[Any], texts: Sequence[str] | None = None
) -> list[Hit]:
    said = texts if texts is not None else [None] * len(ids)
    found = zip(ids, scores, said, strict=True)
    return [Hit(name, float(score), rank, text) for rank, (name, score, text) in enumerate(found, start=1)]

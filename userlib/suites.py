"""A checkpoint or an open_clip model as a model of other evaluation suites: MTEB, CLIP_benchmark, and whatever calls
`encode` as SentenceTransformer does.

    mteb.evaluate(MtebModel(CheckpointEncoder("runs/first")), tasks=mteb.get_tasks(["Flickr30kT2IRetrieval"]))
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from userlib.errors import UserError
from userlib.search.protocol import Array, Encoder, encode_all

Items = str | Image.Image | Sequence[str | Image.Image]


class SentenceModel:
    """An encoder of search with SentenceTransformer's `encode` for texts and images, and its `similarity`."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def encode(
        self, sentences: Items, *, batch_size: int = 32, convert_to_tensor: bool = False, **settings: Any
    ) -> Any:
        """n texts or images, or one -> (n, E) or (E,) of unit norm, float32, as numpy's array or as a tensor. Texts and
        images may be mixed. Raises UserError for another argument than convert_to_numpy and show_progress_bar, which
        change nothing here, and for an item that is neither.
        """
        if unknown := set(settings) - {"convert_to_numpy", "show_progress_bar", "normalize_embeddings"}:
            raise UserError(
                f"encode has no argument {min(unknown)!r} here; vectors are of unit norm and float32."
            )
        single = isinstance(sentences, (str, Image.Image))
        items: Sequence[Any] = [sentences] if single else list(sentences)  # type: ignore[arg-type]
        parts: dict[type, list[int]] = {str: [], Image.Image: []}
        for row, item in enumerate(items):
            kind = next((kind for kind in parts if isinstance(item, kind)), None)
            if kind is None:
                raise UserError(
                    f"encode takes texts and PIL images, and item {row} is a {type(item).__name__}."
                )
            parts[kind].append(row)
        ways: dict[type, Callable[[Any], Array]] = {
            str: self.encoder.encode_text, Image.Image: self.encoder.encode_image
        }  # fmt: skip
        rows = [row for kind in parts for row in parts[kind]]
        encoded = [
            encode_all(ways[kind], [items[row] for row in own], size=batch_size)
            for kind, own in parts.items()
            if own
        ]
        vectors = np.concatenate(encoded)[np.argsort(rows)] if encoded else np.empty((0, 0), np.float32)
        result = vectors[0] if single else vectors
        return torch.from_numpy(result) if convert_to_tensor else result

    def similarity(self, one: Any, other: Any) -> Tensor:
        """(n, E), (m, E) -> the cosines (n, m)."""
        return torch.as_tensor(one) @ torch.as_tensor(other).T

    def similarity_pairwise(self, one: Any, other: Any) -> Tensor:
        """(n, E), (n, E) -> the cosines (n,)."""
        return (torch.as_tensor(one) * torch.as_tensor(other)).sum(-1)


class MtebModel:
    """What MTEB evaluates: its batches of texts, images or both (whose vectors are averaged) in, vectors out. Raises
    UserError where the package mteb (extra `suites`) is not installed.
    """

    def __init__(self, encoder: Encoder, *, name: str = "userlib/model", revision: str = "local") -> None:
        try:
            from mteb.models import ModelMeta
        except ModuleNotFoundError as error:
            raise UserError(
                'MtebModel needs the package mteb, which is not installed: pip install -e ".[suites]"'
            ) from error
        self.model = SentenceModel(encoder)
        self.similarity, self.similarity_pairwise = self.model.similarity, self.model.similarity_pairwise
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": name,
                "revision": revision,
                "modalities": ["text", "image"],
                "framework": ["PyTorch"],
            }
        )

    def encode(self, inputs: Iterable[dict[str, Any]], *, batch_size: int = 32, **task: Any) -> Array:
        """Batches {"text": [...], "image": [...]} -> (n, E). task: what MTEB tells of its task; no prompt is used."""
        vectors = []
        for batch in inputs:
            kinds = [batch[kind] for kind in ("text", "image") if batch.get(kind)]
            if not kinds:
                raise UserError(f"MTEB gave a batch of {', '.join(batch)}; texts and images are read.")
            sides = [self.model.encode(list(items), batch_size=batch_size) for items in kinds]
            mean = np.mean(sides, axis=0)
            vectors.append(mean / np.linalg.norm(mean, axis=1, keepdims=True).clip(1e-12))
        return np.concatenate(vectors).astype(np.float32)


class _Identity:
    """What CLIP_benchmark calls a model: the vectors are made already, by `transform` and the tokenizer."""

    def encode_image(self, vectors: Tensor) -> Tensor:
        return vectors

    def encode_text(self, vectors: Tensor) -> Tensor:
        return vectors

    def eval(self) -> "_Identity":
        return self


def for_clip_benchmark(
    encoder: Encoder,
) -> tuple[_Identity, Callable[[Image.Image], Tensor], Callable[[Sequence[str]], Tensor]]:
    """(model, transform, tokenizer) as CLIP_benchmark takes them: transform makes an image's vector (E,), tokenizer
    those of texts (n, E), so that every encoder fits, whatever its own inputs are.
    """

    def transform(image: Image.Image) -> Tensor:
        return torch.from_numpy(encoder.encode_image([image])[0])

    def tokenizer(texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(encode_all(encoder.encode_text, list(texts)))

    return _Identity(), transform, tokenizer

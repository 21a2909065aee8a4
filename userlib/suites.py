"""Adapts a checkpoint or an open_clip model to other evaluation suites: MTEB, CLIP_benchmark, and all that call
`encode` of a SentenceTransformer.

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
    """An encoder of `userlib.search` with `encode` and `similarity` of SentenceTransformer, for texts and images."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def encode(
        self, sentences: Items, *, batch_size: int = 32, convert_to_tensor: bool = False, **settings: Any
    ) -> Any:
        """n texts or images, also mixed, or a single one -> (n, E) or (E,) of unit norm, float32, as a numpy array or a
        tensor. convert_to_numpy, show_progress_bar and normalize_embeddings are accepted without effect. Raises
        UserError for any other argument, and for an item that is neither text nor image.
        """
        if unknown := set(settings) - {"convert_to_numpy", "show_progress_bar", "normalize_embeddings"}:
            raise UserError(
                f"encode has no argument {min(unknown)!r} here, where vectors are float32 of unit norm; leave it out."
            )
        single = isinstance(sentences, (str, Image.Image))
        items: Sequence[Any] = [sentences] if single else list(sentences)  # type: ignore[arg-type]
        parts: dict[type, list[int]] = {str: [], Image.Image: []}
        for row, item in enumerate(items):
            kind = next((kind for kind in parts if isinstance(item, kind)), None)
            if kind is None:
                raise UserError(f"item {row} is a {type(item).__name__}; encode takes texts and PIL images.")
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
        """(n, E) and (m, E) -> cosines (n, m)."""
        return torch.as_tensor(one) @ torch.as_tensor(other).T

    def similarity_pairwise(self, one: Any, other: Any) -> Tensor:
        """(n, E) and (n, E) -> cosines (n,)."""
        return (torch.as_tensor(one) * torch.as_tensor(other)).sum(-1)


class MtebModel:
    """A model for MTEB, which encodes batches of texts, images, or both, whose vectors are averaged. Raises UserError
    where the package mteb (extra `suites`) is not installed.
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
        """Batches {"text": [...], "image": [...]} -> (n, E). task: MTEB's description of the task, which is not used.
        Raises UserError for a batch without either.
        """
        vectors = []
        for batch in inputs:
            kinds = [batch[kind] for kind in ("text", "image") if batch.get(kind)]
            if not kinds:
                raise UserError(
                    f"MTEB gave a batch of {', '.join(batch)}; choose a task of texts and images."
                )
            sides = [self.model.encode(list(items), batch_size=batch_size) for items in kinds]
            mean = np.mean(sides, axis=0)
            vectors.append(mean / np.linalg.norm(mean, axis=1, keepdims=True).clip(1e-12))
        return np.concatenate(vectors).astype(np.float32)


class _Identity:
    """The model for CLIP_benchmark: transform and tokenizer have computed the vectors already."""

    def encode_image(self, vectors: Tensor) -> Tensor:
        return vectors

    def encode_text(self, vectors: Tensor) -> Tensor:
        return vectors

    def eval(self) -> "_Identity":
        return self


def for_clip_benchmark(
    encoder: Encoder,
) -> tuple[_Identity, Callable[[Image.Image], Tensor], Callable[[Sequence[str]], Tensor]]:
    """(model, transform, tokenizer) for CLIP_benchmark. transform returns the vector (E,) of an image and tokenizer the
    vectors (n, E) of texts, so that it works for every encoder, whatever its inputs.
    """

    def transform(image: Image.Image) -> Tensor:
        return torch.from_numpy(encoder.encode_image([image])[0])

    def tokenizer(texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(encode_all(encoder.encode_text, list(texts)))

    return _Identity(), transform, tokenizer

"""Encoders for search: queries and images into one space, by a trained USER model or by an open_clip model.

An open_clip model was trained on images of the web and is recommended for photos; a checkpoint can tell whether images
are like those that it was trained on.
"""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from userlib.arguments import checked
from userlib.config import to_json
from userlib.data.base import Extractor
from userlib.data.clip import CONFIG, LOCAL, WEIGHTS, load_clip, split_name, tokenizer_of
from userlib.data.extractors import check_made_by, choose_device, made_by, make_extractor
from userlib.data.tokenizers import ClipTokenizer, words_of
from userlib.errors import UserError
from userlib.files import sha256_bytes, sha256_known
from userlib.inference import scoring
from userlib.model.user import DualEncoder, load_model
from userlib.search import drawings
from userlib.search.protocol import Array
from userlib.search.weak import USUAL, cut_query, far_images
from userlib.shipped import ASSETS

PHOTOS = "For photos take an open_clip model, such as ViT-B-32/laion2b_s34b_b79k."


class OpenClipEncoder:
    """An open_clip model, zero-shot. name: as in `userlib.data.clip`. Raises UserError where it cannot be loaded."""

    warning: str | None = None

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        self.name = name.removeprefix("open_clip:")
        self.model_name, self.weights = split_name(self.name)
        self.model, self.preprocess = load_clip(self.name, device=device)
        self.tokenizer = tokenizer_of(self.name)
        self.device = device
        self.folder = Path(self.model_name.removeprefix(LOCAL)) if self.weights is None else None
        clip_mini = (ASSETS / "clip-mini").resolve()
        self.drawings = self.folder is not None and self.folder.resolve() == clip_mini

    def encode_text(self, texts: Sequence[str]) -> Array:
        with scoring(self.model):
            vectors = self.model.encode_text(self.tokenizer(list(texts)).to(self.device), normalize=True)  # type: ignore[operator]
        return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def encode_image(self, images: Sequence[Image.Image]) -> Array:
        inputs = torch.stack([self.preprocess(image) for image in images]).to(self.device)
        with scoring(self.model):
            vectors = self.model.encode_image(inputs, normalize=True)  # type: ignore[operator]
        return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def measured(self, images: Sequence[Image.Image]) -> tuple[Array, Array]:
        """n images -> vectors (n, E), and distances (n,) from drawings if it was trained on these alone, else NaN."""
        far = drawings.distances(images) if self.drawings else np.full(len(images), np.nan, np.float32)
        return self.encode_image(images), far

    def warn(self, distances: Array, *, drawn: bool) -> str | None:
        """A note where the model was trained on drawings alone, and these images are not drawings."""
        return far_images(distances, "drawings", PHOTOS) if self.drawings and not drawn else None

    def cut_note(self, text: str) -> str | None:
        """A note where a query is longer than the text tower can read."""
        return cut_query(text, ClipTokenizer(self.name))

    def unknown(self, text: str) -> list[str]:
        """The words that the tokenizer spells letter by letter or byte by byte, as it knows none of their parts."""
        return [word for word in words_of(text) if _is_spelled(word, self._pieces(word))]

    def _pieces(self, word: str) -> int:
        """The number of pieces of a word, without marks of the beginning or end of a word."""
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is None:
            return len(self.tokenizer.encode(word))
        ids = inner(word, add_special_tokens=False)["input_ids"]
        return sum(piece not in ("▁", "Ġ", "</w>") for piece in inner.convert_ids_to_tokens(ids))

    def cache_key(self) -> dict[str, Any]:
        about = {"kind": "open_clip", "name": self.name}
        if self.folder is None:
            return {**about, "model": self.model_name, "weights": self.weights}
        files = [self.folder / CONFIG, *sorted(self.folder.glob("tokenizer*.json"))]
        sums = {file.name: sha256_known(file) for file in files if file.is_file()}
        return {**about, "weights": sha256_known(self.folder / WEIGHTS), **sums}


def _is_spelled(word: str, pieces: int) -> bool:
    """Whether a word has as many pieces as letters; where a letter may be a word (Chinese), more than letters."""
    if any(c.isdigit() for c in word):
        return False  # numbers are always spelled digit by digit
    if all(unicodedata.category(c) == "Lo" for c in word):
        return pieces > len(word)
    return pieces >= max(2, len(word))


class CheckpointEncoder:
    """A trained model, given itself or by its folder or hub name, with its tokens, guide and vocabulary.

    `measured`: a model that was trained on drawings recognises other images by their pixels. Other checkpoints store
    how far the training images are from their mean guide, or without a guide from their mean token: beyond the 99th
    percentile of these distances (for guides 1.1 times that) an image counts as unlike them. Older checkpoints without
    a guide give no distance. token_weights, tokens, guide: the networks, where they have been moved or renamed.

    Raises UserError where the model cannot be loaded, has no tokenizer or was trained on precomputed features, and
    where its networks differ from those of its training.
    """

    warning: str | None = None

    @checked
    def __init__(
        self,
        model: str | Path | DualEncoder,
        *,
        device: str | None = None,
        token_weights: str | Path | None = None,
        tokens: str | None = None,
        guide: str | None = None,
    ) -> None:
        if isinstance(model, (str, Path)):
            self.loaded, folder = load_model(model), str(model)
        elif model.loaded is None:
            raise UserError("the model has no tokenizer; train it with fit, or load it with from_pretrained.")
        else:
            self.loaded, folder = replace(model.loaded, model=model), "the model given"
        metadata = self.loaded.metadata
        self.device = device = choose_device(device, metadata.get("device"))
        self.loaded.model.to(device)
        kept = self.loaded.config.data
        weights = str(token_weights) if token_weights else kept.token_weights
        data = replace(kept, tokens=tokens or kept.tokens, guide=guide or kept.guide, token_weights=weights)
        if data.tokens == "precomputed":
            raise UserError(
                f"the model in {folder} was trained on precomputed features, which new images do not have; "
                "search with one that was trained on tokens such as region-mini or open_clip:NAME."
            )
        settings = self.loaded.config.model.image_tower  # of a trained tower: the model takes pixels
        own = self.loaded.config.model.train_image != "none" and settings is not None
        spec = f"pixels:{settings}" if own else data.tokens
        now = made_by(
            "pixels" if own else spec, token_weights=data.token_weights, guide=data.guide, device=device
        )
        self.notes = check_made_by(metadata.get("made_by", {}), now, where=str(folder))
        self.tokens = make_extractor(spec, weights=None if own else data.token_weights, device=device)
        self.guide: Extractor | None = None
        if data.guide is not None:
            same = data.guide == spec
            self.guide = self.tokens if same else make_extractor(data.guide, device=device)
        self.name = folder
        self.drawings = self.loaded.metadata.get("data") in ("scenes", "pretrain")

    def encode_text(self, texts: Sequence[str]) -> Array:
        ids = [torch.as_tensor(np.asarray(self.loaded.tokenizer.encode(text))) for text in texts]
        pad = torch.nn.utils.rnn.pad_sequence
        words = pad(ids, batch_first=True, padding_value=self.loaded.tokenizer.pad_id)
        mask = pad([torch.ones(len(one), dtype=torch.bool) for one in ids], batch_first=True)
        with scoring(self.loaded.model):
            vectors = self.loaded.model.encode_text(words.to(self.device), mask.to(self.device))
        return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def encode_image(self, images: Sequence[Image.Image]) -> Array:
        return self._encode(images)[0]

    def measured(self, images: Sequence[Image.Image]) -> tuple[Array, Array]:
        """n images -> vectors (n, E), and distances (n,) from the training images in units of their limit."""
        vectors, guide, token = self._encode(images)
        metadata = self.loaded.metadata
        if self.drawings:
            return vectors, drawings.distances(images)
        by, known = ("guide", guide) if guide is not None else ("token", token)
        if f"{by}_mean" not in metadata:  # an older checkpoint
            return vectors, np.full(len(images), np.nan, np.float32)
        unit = torch.nn.functional.normalize(known.float(), dim=1).cpu()
        away = torch.linalg.vector_norm(unit - torch.tensor(metadata[f"{by}_mean"]), dim=1)
        limit = (1.1 if by == "guide" else 1.0) * max(float(metadata[f"{by}_limit"]), 1e-6)
        return vectors, np.asarray((away / limit).numpy(), np.float32)

    def _encode(self, images: Sequence[Image.Image]) -> tuple[Array, torch.Tensor | None, torch.Tensor]:
        """n images -> vectors (n, E), the guide (n, G) or None, and the mean token (n, D)."""
        tokens, guide = self.inputs_of(images)
        with scoring(self.loaded.model):
            vectors = self.loaded.model.encode_image(tokens, None, guide)
        return np.asarray(vectors.float().cpu().numpy(), np.float32), guide, tokens.float().flatten(2).mean(1)

    def inputs_of(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """n images -> tokens (n, R, D) or pixels, and the guide (n, G) or None, on the device of the encoder."""
        tokens, guide = self.tokens(images)
        if self.guide is not self.tokens:
            guide = None if self.guide is None else self.guide(images)[1]
        return tokens.to(self.device), None if guide is None else guide.to(self.device)

    def warn(self, distances: Array, *, drawn: bool) -> str | None:
        """A note where more images than usual are beyond the limit; for a model of drawings, none on drawings."""
        if self.drawings:
            return None if drawn else far_images(distances, "drawings", PHOTOS)
        known = f"images such as those of {self.loaded.metadata.get('data')}"
        # tokens are less reliable than a guide: 2 % of photos like those of the training are beyond, 67 % of drawings
        usual = USUAL if self.guide is not None else 0.05
        remedy = "Use a model that was trained on such images, or an open_clip model."
        return far_images(distances, known, remedy, usual=usual)

    def cut_note(self, text: str) -> str | None:
        """A note where a query is longer than the text encoder can read."""
        return cut_query(text, self.loaded.tokenizer)

    def unknown(self, text: str) -> list[str]:
        return self.loaded.tokenizer.unknown(text)

    def cache_key(self) -> dict[str, Any]:
        state = self.loaded.model.state_dict()
        names = sorted(name for name in state if name.startswith(("image_encoder.", "text_encoder.")))
        parts = [data for name in names for data in (name, state[name].cpu().numpy().tobytes())]
        built = {**to_json(self.loaded.config.model), **self.loaded.tokenizer.to_json()}
        for place in ("text_model", "model", "source"):  # names and paths, which are not compared
            built.pop(place, None)
        return {
            "kind": "checkpoint",
            "name": self.name,
            "weights": sha256_bytes(*parts),
            "built": sha256_bytes(json.dumps(built, sort_keys=True)),
            "tokens": self.tokens.cache_key(),
            "guide": None if self.guide is None else self.guide.cache_key(),
        }

"""Encoders for search: sentences and photos into one space, by a trained USER model or by an open_clip model.

An open_clip model has seen the web and is the one to recommend for photos; a checkpoint knows what it was
trained on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from userlib.errors import UserError

if TYPE_CHECKING:
    from userlib.data.extractors import Extractor

Array = NDArray[np.float32]


class Encoder(Protocol):
    """What an index needs. Vectors are float32 and of unit length."""

    @property
    def warning(self) -> str | None:
        """What a user of its results should know."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Array:
        """n sentences -> (n, E)."""
        ...

    def encode_pictures(self, pictures: Sequence[Image.Image]) -> Array:
        """n pictures -> (n, E)."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The words of a sentence that the encoder has never met."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the vectors depend on, as JSON: an index opens only with an encoder that says the same."""
        ...


class OpenClipEncoder:
    """Zero-shot: an open_clip model as it is."""

    @property
    def warning(self) -> str | None:
        return None

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        from userlib.data.clip import load_clip, split_name, tokenizer_of

        self.name = name.removeprefix("open_clip:")
        self.model_name, self.weights = split_name(self.name)
        self.model, self.preprocess = load_clip(self.name, device=device)
        self.tokenizer = tokenizer_of(self.name)
        self.device = device

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Array:
        found = self.model.encode_text(self.tokenizer(list(texts)).to(self.device), normalize=True)  # type: ignore[operator]
        return np.asarray(found.float().cpu().numpy(), np.float32)

    @torch.inference_mode()
    def encode_pictures(self, pictures: Sequence[Image.Image]) -> Array:
        inputs = torch.stack([self.preprocess(picture) for picture in pictures]).to(self.device)
        found = self.model.encode_image(inputs, normalize=True)  # type: ignore[operator]
        return np.asarray(found.float().cpu().numpy(), np.float32)

    def unknown(self, text: str) -> list[str]:
        return []  # made of pieces, so that every word is spelled somehow

    def describe(self) -> dict[str, Any]:
        from userlib.data.clip import LOCAL
        from userlib.files import sha256_known

        if self.weights is not None:
            return {"kind": "open_clip", "model": self.model_name, "weights": self.weights}
        file = Path(self.model_name.removeprefix(LOCAL)) / "open_clip_model.safetensors"
        return {"kind": "open_clip", "weights": sha256_known(file)}


class CheckpointEncoder:
    """A trained model with its own tokens, guide and words.

    Where the checkpoint tells how its training pictures lay around their mean guide, pictures beyond the 99th
    percentile of those distances count as unlike them; a fifth of such pictures makes a warning.
    """

    def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
        from userlib.checkpoints import load_model
        from userlib.data.extractors import make_extractor

        self.loaded = load_model(folder, device=device)
        self.device = device
        data = self.loaded.config.data
        if data.tokens == "precomputed":
            raise UserError(
                f"the model in {folder} was trained on precomputed features, which new pictures do not have; "
                "search with one that was trained on tokens such as region-mini or open_clip:NAME"
            )
        weights = None if data.token_weights is None else Path(data.token_weights)
        self.tokens = make_extractor(data.tokens, weights=weights, device=device)
        self.guide: Extractor | None = None
        if data.guide is not None:
            same = data.guide == data.tokens
            self.guide = self.tokens if same else make_extractor(data.guide, device=device)
        self.seen = self.far = 0

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Array:
        ids = [torch.as_tensor(np.asarray(self.loaded.tokenizer.encode(text))) for text in texts]
        pad = torch.nn.utils.rnn.pad_sequence
        words = pad(ids, batch_first=True, padding_value=self.loaded.tokenizer.pad_id)
        mask = pad([torch.ones(len(one), dtype=torch.bool) for one in ids], batch_first=True)
        found = self.loaded.model.encode_captions(words.to(self.device), mask.to(self.device))
        return np.asarray(found.float().cpu().numpy(), np.float32)

    @torch.inference_mode()
    def encode_pictures(self, pictures: Sequence[Image.Image]) -> Array:
        tokens, guide = self.tokens(pictures)
        if self.guide is not self.tokens:
            guide = None if self.guide is None else self.guide(pictures)[1]
        if guide is not None:
            self._look(guide)
        found = self.loaded.model.encode_images(tokens, None, guide)
        return np.asarray(found.float().cpu().numpy(), np.float32)

    def _look(self, guide: torch.Tensor) -> None:
        """Counts the pictures, and those unlike the training pictures."""
        facts = self.loaded.facts
        if "guide_mean" in facts:
            unit = torch.nn.functional.normalize(guide.float(), dim=1).cpu()
            distance = torch.linalg.vector_norm(unit - torch.tensor(facts["guide_mean"]), dim=1)
            self.seen += len(guide)
            self.far += int((distance > facts["guide_limit"]).sum())

    @property
    def warning(self) -> str | None:
        if not self.far * 5 > self.seen:
            return None
        trained_on = self.loaded.facts.get("data")
        known = (
            "drawings" if trained_on in ("scenes", "pretrain") else f"pictures such as those of {trained_on}"
        )
        return (
            f"This model has only seen {known}, and {self.far} of {self.seen} pictures here are unlike them. "
            "For photos take an open_clip model, such as ViT-B-32/laion2b_s34b_b79k."
        )

    def unknown(self, text: str) -> list[str]:
        return self.loaded.tokenizer.unknown(text)

    def describe(self) -> dict[str, Any]:
        from userlib.files import sha256_bytes

        state = self.loaded.model.state_dict()
        parts = [data for name in sorted(state) for data in (name, state[name].cpu().numpy().tobytes())]
        extractors = [self.tokens.describe(), None if self.guide is None else self.guide.describe()]
        return {"kind": "checkpoint", "weights": sha256_bytes(*parts), "tokens": extractors}


def open_clip_encoder(name: str, *, device: str = "cpu") -> OpenClipEncoder:
    """NAME, NAME/WEIGHTS or local-dir:FOLDER, with or without "open_clip:" before it."""
    return OpenClipEncoder(name, device=device)


def checkpoint_encoder(folder: str | Path, *, device: str = "cpu") -> CheckpointEncoder:
    """The folder of a run, or of one of its checkpoints."""
    return CheckpointEncoder(folder, device=device)

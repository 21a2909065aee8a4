"""Token ids to word states: a bag of words, a BiGRU, or CLIP's text tower (others: text_transformers.py). Each has a
`width`, the dimensions of a state.
"""

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.config import ModelConfig
from userlib.errors import UserError
from userlib.model.bigru import bigru, padded_bigru
from userlib.model.layers import Dropout
from userlib.model.trainable import load_start

T = TypeVar("T")


def from_data(name: str, value: T | None) -> T:
    """The value of a setting that a run derives from its data. Raises UserError while it is not set."""
    if value is None:
        raise UserError(
            f"{name} is not set; give it in ModelConfig, or let fit or prepare derive it from the data."
        )
    return value


class BagOfWords(nn.Module):
    """Word vectors alone: the order of the words does not count."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width = config.word_width
        self.embedding = nn.Embedding(
            from_data("vocab_size", config.vocab_size), config.word_width, padding_idx=0
        )
        self.dropout = Dropout(config.word_dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        vectors: Tensor = self.dropout(self.embedding(input_ids))
        return vectors


class BiGRU(BagOfWords):
    """Word vectors through a BiGRU whose two directions are averaged, as in VSE-infinity (Chen et al., CVPR 2021).

    With word_residual each word's own vector is concatenated to its state, so that the GRU adds to a bag of words.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.skip = config.word_residual
        self.width = config.text_width + (config.word_width if self.skip else 0)
        self.gru = nn.GRU(
            config.word_width, config.text_width, config.text_layers, batch_first=True, bidirectional=True
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        vectors = super().forward(input_ids, attention_mask)
        run = bigru if input_ids.device.type == "cpu" else padded_bigru
        states = run(self.gru, vectors, attention_mask.sum(1))
        forward, backward = states.chunk(2, dim=-1)
        averaged: Tensor = (forward + backward) / 2
        return torch.cat([averaged, vectors], dim=-1) if self.skip else averaged


class ClipText(nn.Module):
    """The word states of an open_clip text tower, after its last LayerNorm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        from userlib.data.clip import bare_clip

        self.width = config.text_width
        self.clip: Any = _without_image_tower(bare_clip(config.text_model or ""))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        outputs = self.clip.forward_intermediates(
            text=self._padded(input_ids), text_indices=1, normalize_intermediates=True
        )
        return outputs["text_intermediates"][-1][:, : input_ids.shape[1]]  # type: ignore[no-any-return]

    def vector(self, input_ids: Tensor) -> Tensor:
        """input_ids (B,W) long -> CLIP's own vector of the text (B,G), in its joint space."""
        vectors: Tensor = self.clip.encode_text(self._padded(input_ids))
        return vectors

    def _padded(self, input_ids: Tensor) -> Tensor:
        length = input_ids.shape[1]
        context = int(getattr(self.clip, "context_length", length))
        return F.pad(input_ids, (0, context - length)) if length < context else input_ids

    def load_text(self, name: str) -> None:
        """Loads the weights of an open_clip model by name. Raises UserError where they do not fit."""
        from userlib.data.clip import load_clip

        source: Any = _without_image_tower(load_clip(name)[0])
        theirs, own = (_heads(clip) for clip in (source, self.clip))
        if theirs != own:
            raise UserError(
                f"the CLIP weights {name!r} have {theirs} attention heads and the network of text_model {own}; set "
                f"model.text_model to {name}."
            )
        try:
            load_start(self.clip, source.state_dict())
        except RuntimeError as error:
            raise UserError(
                f"the CLIP weights {name!r} do not fit the network of text_model ({str(error).splitlines()[0]}); set "
                f"model.text_model to {name}."
            ) from error


def _heads(clip: Any) -> list[int]:
    """The attention heads of each block of an open_clip text tower, which do not show in the shapes of its weights."""
    return [module.num_heads for module in clip.modules() if isinstance(module, nn.MultiheadAttention)]


def _without_image_tower(clip: nn.Module) -> nn.Module:
    """An open_clip model without its image tower, which the text side does not use."""
    clip.visual = nn.Identity()
    return clip

"""Token ids to word states: a bag of words, a BiGRU, BERT, or CLIP's text tower. Each says its width."""

import types
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from userlib.config import ModelConfig
from userlib.errors import UserError
from userlib.model.bigru import bigru
from userlib.model.layers import Dropout


def from_data(name: str, value: int | None) -> int:
    """The value of a setting that a run takes from its data. Raises UserError while it is not set."""
    if value is None:
        raise UserError(
            f"{name} is not set; it is taken from the data when a run starts, or given in ModelConfig."
        )
    return value


class BagOfWords(nn.Module):
    """Word vectors as they are: the order of the words does not count."""

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
    """Word vectors through a BiGRU, its two directions averaged (VSE-infinity's GRU text side).

    word_residual keeps each word's own vector next to its state, so that the GRU adds to a bag of words.
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
        if input_ids.device.type == "cpu":
            states = bigru(self.gru, vectors, attention_mask.sum(1))
        else:
            packed = pack_padded_sequence(
                vectors, attention_mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
            )
            states, _ = pad_packed_sequence(
                self.gru(packed)[0], batch_first=True, total_length=input_ids.shape[1]
            )
        forward, backward = states.chunk(2, dim=-1)
        averaged: Tensor = (forward + backward) / 2
        return torch.cat([averaged, vectors], dim=-1) if self.skip else averaged


class Bert(nn.Module):
    """BERT's last hidden states; built from its sizes alone, weights come by `load_text`."""

    # what decides the arithmetic, and the setting that decides it
    ARITHMETIC: Mapping[str, str | None] = types.MappingProxyType(
        {
            "hidden_size": "text_width",
            "num_hidden_layers": "text_layers",
            "num_attention_heads": "text_heads",
            "hidden_act": None,
            "layer_norm_eps": None,
        }
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.width = config.text_width
        self.bert = BertModel(
            BertConfig(
                vocab_size=config.vocab_size or 30522,
                hidden_size=config.text_width,
                num_hidden_layers=config.text_layers,
                num_attention_heads=config.text_heads,
                intermediate_size=4 * config.text_width,
            ),
            add_pooling_layer=False,
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        states: Tensor = self.bert(
            input_ids=input_ids, attention_mask=attention_mask.long()
        ).last_hidden_state
        return states

    def load_text(self, name: str) -> None:
        """The weights of a transformers model by name or folder. Raises UserError where they cannot be had or
        do not fit.
        """
        from transformers import BertModel

        try:
            source = BertModel.from_pretrained(name, add_pooling_layer=False, use_safetensors=True)
            self._compare(name, source.config)
            self.bert.load_state_dict(source.state_dict())
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"the BERT weights {name!r} could not be loaded ({str(error).splitlines()[0]}); give a "
                "folder with config.json and model.safetensors, or connect to the net once."
            ) from error

    def _compare(self, name: str, theirs: Any) -> None:
        """Raises UserError where weights of the same shapes were made for other arithmetic."""
        for key, setting in self.ARITHMETIC.items():
            given, own = getattr(theirs, key), getattr(self.bert.config, key)
            if given != own:
                remedy = f"set model.{setting} to {given}" if setting else "use weights that fit"
                raise UserError(
                    f"the BERT weights {name!r} have {key} {given} and the model has {own}; {remedy}."
                )


class ClipText(nn.Module):
    """The word states of an open_clip text tower, after its last LayerNorm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        from userlib.data.clip import bare_clip

        self.width = config.text_width
        self.clip: Any = _without_image_tower(bare_clip(config.text_model or ""))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        length = input_ids.shape[1]
        context = int(getattr(self.clip, "context_length", length))
        padded = F.pad(input_ids, (0, context - length)) if length < context else input_ids
        outputs = self.clip.forward_intermediates(text=padded, text_indices=1, normalize_intermediates=True)
        return outputs["text_intermediates"][-1][:, :length]  # type: ignore[no-any-return]

    def load_text(self, name: str) -> None:
        """The weights of an open_clip model by name."""
        from userlib.data.clip import load_clip

        source: Any = _without_image_tower(load_clip(name)[0])
        theirs, own = (_heads(clip) for clip in (source, self.clip))
        if theirs != own:
            raise UserError(
                f"the CLIP weights {name!r} have {theirs} attention heads and text_model's network {own}; set "
                f"model.text_model to {name}."
            )
        try:
            self.clip.load_state_dict(source.state_dict())
        except RuntimeError as error:
            raise UserError(
                f"the CLIP weights {name!r} do not fit text_model's network ({str(error).splitlines()[0]}); set "
                f"model.text_model to {name}."
            ) from error


def _heads(clip: Any) -> list[int]:
    """Attention heads of each block of an open_clip text tower; no shape of a weight tells them."""
    return [module.num_heads for module in clip.modules() if isinstance(module, nn.MultiheadAttention)]


def _without_image_tower(clip: nn.Module) -> nn.Module:
    """An open_clip model with its image tower taken out: it stays unused on the text side."""
    clip.visual = nn.Identity()
    return clip

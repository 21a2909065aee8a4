"""Picture and caption to one unit vector each (USER: the two query encoders)."""

import types
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from userlib.config import NORMS, ModelConfig, one_of
from userlib.errors import UserError
from userlib.model.bigru import bigru
from userlib.model.dropout import Dropout
from userlib.model.enhancement import Enhancement, refuse_missing, start_weights
from userlib.model.pooling import make_pooling
from userlib.model.regions import Regions
from userlib.precision import wide


class Projection(nn.Module):
    """Linear(D,E)(x) + MLP(D -> E/2 -> E)(x), with norm and ReLU between the MLP's two layers.

    weight_init: torch | xavier, of Linear(D,E). Raises UserError for another one, or another norm.
    """

    def __init__(self, width: int, embed: int, *, norm: str, weight_init: str = "torch") -> None:
        super().__init__()
        one_of("norm", norm, NORMS)
        self.linear = nn.Linear(width, embed)
        self.hidden, self.out = nn.Linear(width, embed // 2), nn.Linear(embed // 2, embed)
        self.norm: nn.Module = nn.BatchNorm1d(embed // 2) if norm == "batch" else nn.LayerNorm(embed // 2)
        start_weights(weight_init, self.linear)

    def forward(self, x: Tensor) -> Tensor:
        """x (B,R,D) -> (B,R,E)."""
        hidden = self.norm(self.hidden(x).flatten(0, 1)).relu().unflatten(0, x.shape[:2])  # (B, R, E/2)
        return self.linear(x) + self.out(hidden)  # type: ignore[no-any-return]


class ImageEncoder(nn.Module):
    """Region tokens (and a guide) -> enhancement -> projection -> pooling -> unit vector.

    Any number of regions with a mask; where norm is "batch" (the paper) BatchNorm runs over the R positions,
    so R is fixed and no region may be missing in training. LayerNorm is the rule elsewhere: it sees one picture
    at a time, so keys, single queries and ranks agree.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = _filled("token_width", config.token_width)
        if config.norm == "batch":
            _filled("regions", config.regions)
        if "cge" in config.enhancement or config.add_guide:
            _filled("guide_width", config.guide_width)
        self.scaled = Regions(config.region_scaling, width)
        self.regions = config.regions if config.norm == "batch" else None
        self.dropout = Dropout(config.region_dropout)
        self.enhancement = Enhancement(
            config.enhancement,
            width,
            guide_width=config.guide_width,
            regions=config.regions,
            norm=config.norm,
            dropout=config.guide_dropout,
            strength=config.strength,
            sharpness=config.sharpness,
            weight_init=config.weight_init,
        )
        self.projection = Projection(width, config.embed, norm=config.norm, weight_init=config.weight_init)
        self.pooling = make_pooling(config.pooling)
        self.guide_projection = nn.Linear(config.guide_width or 0, config.embed) if config.add_guide else None
        self.embed_dropout = Dropout(config.embed_dropout)
        self.uses_guide = "cge" in config.enhancement or config.add_guide

    def regions_of(self, tokens: Tensor) -> Tensor:
        """V: the tokens as the enhancement reads them. Raises UserError where their number does not fit the
        model.
        """
        if self.regions is not None and tokens.shape[1] != self.regions:
            raise UserError(
                f"the picture has {tokens.shape[1]} regions and the model normalises over {self.regions}; "
                "use norm layer for another number of regions."
            )
        regions: Tensor = self.scaled(tokens)
        return regions

    def forward(self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """tokens (B,R,D), mask (B,R) True where there is a region, guide (B,G) -> (B,E) of unit length."""
        if self.uses_guide and guide is None:
            raise UserError(
                "the model uses a guide and the batch has none; give --guide when the tokens are made."
            )
        if self.training and self.regions is not None:
            refuse_missing(mask)
        regions = self.regions_of(tokens)
        if self.training and self.dropout.p > 0:
            # a channel goes from all regions at once: pooling cannot average it back in
            regions = regions * self.dropout(torch.ones_like(regions[:, :1]))  # (B, 1, D)
        pooled = self.pooling(self.projection(self.enhancement(regions, mask, guide)), mask)
        if self.guide_projection is not None:
            pooled = pooled + self.guide_projection(guide)
        return F.normalize(wide(self.embed_dropout(pooled)), dim=-1)


class BagStates(nn.Module):
    """Word vectors as they are: the order of the words does not count."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width = config.word_width
        self.embedding = nn.Embedding(
            _filled("vocab_size", config.vocab_size), config.word_width, padding_idx=0
        )
        self.dropout = Dropout(config.word_dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        vectors: Tensor = self.dropout(self.embedding(input_ids))
        return vectors


class WordStates(BagStates):
    """Word vectors through a BiGRU, its two directions averaged (VSE-infinity's GRU text side).

    word_skip keeps each word's own vector beside its state, so that the GRU adds to a bag of words.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.skip = config.word_skip
        self.width = config.text_width + (config.word_width if self.skip else 0)
        self.gru = nn.GRU(
            config.word_width, config.text_width, config.text_layers, batch_first=True, bidirectional=True
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        vectors = super().forward(input_ids, attention_mask)
        if input_ids.is_meta:  # lengths have no values there
            states = self.gru(vectors)[0]
        elif input_ids.device.type == "cpu":
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


class BertStates(nn.Module):
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
        attended = None if input_ids.is_meta else attention_mask.long()  # transformers reads its values
        states: Tensor = self.bert(input_ids=input_ids, attention_mask=attended).last_hidden_state
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
            found, own = getattr(theirs, key), getattr(self.bert.config, key)
            if found != own:
                remedy = f"set model.{setting} to {found}" if setting else "use weights that fit"
                raise UserError(
                    f"the BERT weights {name!r} have {key} {found} and the model has {own}; {remedy}."
                )


class ClipStates(nn.Module):
    """The word states of an open_clip text tower, after its last LayerNorm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        from userlib.data.clip import bare_clip

        self.width = config.text_width
        self.clip: Any = _without_pictures(bare_clip(config.text_model or ""))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) -> (B,W,width)."""
        length = input_ids.shape[1]
        context = int(getattr(self.clip, "context_length", length))
        padded = F.pad(input_ids, (0, context - length)) if length < context else input_ids
        found = self.clip.forward_intermediates(text=padded, text_indices=1, normalize_intermediates=True)
        return found["text_intermediates"][-1][:, :length]  # type: ignore[no-any-return]

    def load_text(self, name: str) -> None:
        """The weights of an open_clip model by name."""
        from userlib.data.clip import load_clip

        source: Any = _without_pictures(load_clip(name)[0])
        found, own = (_heads(clip) for clip in (source, self.clip))
        if found != own:
            raise UserError(
                f"the CLIP weights {name!r} have {found} attention heads and text_model's network {own}; set "
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


def _without_pictures(clip: nn.Module) -> nn.Module:
    """An open_clip model with its picture tower taken out: it stays unused on the text side."""
    clip.visual = nn.Identity()
    return clip


class TextEncoder(nn.Module):
    """Words -> bag | BiGRU | BERT | CLIP's text tower -> Linear -> pooling -> unit vector."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        kinds: dict[str, type[BagStates | BertStates | ClipStates]]
        kinds = {"bag": BagStates, "gru": WordStates, "bert": BertStates, "clip": ClipStates}
        self.states = kinds[config.text](config)
        self.frozen = config.freeze_text
        if self.frozen:
            self.states.requires_grad_(False)
        self.dropout = Dropout(config.text_dropout)
        self.linear = nn.Linear(self.states.width, config.embed)
        self.enhancement = Enhancement(
            config.text_enhancement,
            config.embed,
            dropout=config.guide_dropout,
            strength=config.strength,
            sharpness=config.sharpness,
            weight_init=config.weight_init,
        )
        self.pooling = make_pooling(config.text_pooling)
        self.embed_dropout = Dropout(config.embed_dropout)

    def vectors_of(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """V: the words as the enhancement reads them; input_ids (B,W) long, attention_mask (B,W) -> (B,W,E)."""
        vectors: Tensor = self.linear(self.dropout(self.states(input_ids, attention_mask)))
        return vectors

    @torch.no_grad()
    def undropped(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """`vectors_of` in evaluation mode; the mode stays as it was."""
        training = self.training
        self.eval()
        try:
            return self.vectors_of(input_ids, attention_mask)
        finally:
            self.train(training)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) True where there is a word -> (B,E) of unit length."""
        vectors = self.enhancement(self.vectors_of(input_ids, attention_mask), attention_mask)
        return F.normalize(wide(self.embed_dropout(self.pooling(vectors, attention_mask))), dim=-1)

    def load_text(self, name: str) -> None:
        """Weights to start from, for BERT and CLIP; the others start from none."""
        if not isinstance(self.states, BagStates):
            self.states.load_text(name)

    def pretrained(self) -> list[nn.Parameter]:
        """The parameters of a network that came with weights, which learn at a rate of their own."""
        return [] if isinstance(self.states, BagStates) else list(self.states.parameters())


def _filled(name: str, value: int | None) -> int:
    if value is None:
        raise UserError(
            f"{name} is not set; it is taken from the data when a run starts, or given in ModelConfig."
        )
    return value

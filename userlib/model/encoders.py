"""The two query encoders, from an image and from a caption to one unit vector (USER, Zhang et al., IEEE TIP 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.config import ModelConfig
from userlib.errors import UserError
from userlib.inference import evaluation_mode
from userlib.model.choice import make_enhancement
from userlib.model.enhancement import Enhancement
from userlib.model.image_towers import ImageTower
from userlib.model.layers import Dropout, Projection, RegionNorm, refuse_missing
from userlib.model.pooling import make_pooling
from userlib.model.text_networks import BagOfWords, BiGRU, ClipText, from_data
from userlib.model.text_transformers import Bert
from userlib.model.trainable import set_trainable
from userlib.precision import to_fp32


class _Keeping(nn.Module):
    """Keeps the vectors of the last batch from before pooling, in training mode and for a scorer only."""

    keeps: bool
    kept: tuple[Tensor, Tensor | None] | None

    def keep(self, vectors: Tensor, mask: Tensor | None) -> None:
        self.kept = (vectors, mask) if self.keeps and self.training else None

    def take(self) -> tuple[Tensor, Tensor | None]:
        """Returns the vectors (B,N,E) and their mask, and clears them. Raises UserError where none are kept."""
        if self.kept is None:
            raise UserError(
                "the encoder has kept no vectors for a scorer: it does so in training mode alone, and where "
                "ModelConfig.scorer is not dot. Set the scorer, call train(), and encode a batch first."
            )
        kept, self.kept = self.kept, None
        return kept


class ImageEncoder(_Keeping):
    """Region tokens (and a guide) -> enhancement -> projection -> pooling -> unit vector.

    With norm "layer" R may vary and regions may be masked, and since LayerNorm sees one image at a time, keys,
    single queries and ranks agree. With "batch" (the paper) BatchNorm runs over the R positions, so R is fixed and
    no region may be masked in training.

    Raises UserError where the configuration lacks a size that it needs.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = from_data("region_dim", config.region_dim)
        self.tower: ImageTower | None = None
        if config.train_image != "none":
            settings = str(from_data("image_tower", config.image_tower))
            self.tower = ImageTower(settings, config.train_image, rank=config.lora_rank)
        if config.norm == "batch":
            from_data("regions", config.regions)
        if "cge" in config.enhancement or config.add_guide:
            from_data("guide_dim", config.guide_dim)
        self.region_norm = RegionNorm(config.region_scaling, width, config.principal_dim)
        width = self.region_norm.width
        self.regions = config.regions if config.norm == "batch" else None
        self.dropout = Dropout(config.region_channel_dropout)
        self.enhancement = make_enhancement(config.enhancement, config, width)
        self.own_vector = config.pooling == "tower"
        if self.own_vector:
            assert self.tower is not None  # the settings say so
            _check_width("the image tower's own vector", self.tower.vector_width, config.embed_dim)
        else:
            self.projection = Projection(
                width, config.embed_dim, norm=config.norm, weight_init=config.weight_init
            )
            self.pooling = make_pooling(config.pooling, config.embed_dim)
        self.guide_projection = (
            nn.Linear(config.guide_dim or 0, config.embed_dim) if config.add_guide else None
        )
        self.embed_dropout = Dropout(config.embed_dropout)
        self.keeps, self.kept = config.scorer != "dot", None
        self.uses_guide = "cge" in config.enhancement or config.add_guide

    def to_tokens(self, inputs: Tensor) -> Tensor:
        """inputs -> tokens (B,R,D): pixels (B,3,H,W) by the tower where there is one, else the tokens unchanged."""
        if self.tower is None:
            return inputs
        tokens: Tensor = self.tower(inputs)
        return tokens

    @torch.no_grad()
    def whole_tokens(self, inputs: Tensor) -> Tensor:
        """`to_tokens` in evaluation mode, 16 images at a time; the mode is restored."""
        if self.tower is None:
            return inputs
        with evaluation_mode(self):
            return torch.cat([self.to_tokens(part) for part in inputs.split(16)])

    def pretrained(self) -> list[nn.Parameter]:
        """The parameters of the tower, which have a learning rate of their own."""
        return [] if self.tower is None else list(self.tower.parameters())

    def to_regions(self, tokens: Tensor) -> Tensor:
        """tokens (B,R,D) or pixels -> the normalised regions V. Raises UserError for another R than BatchNorm has."""
        tokens = self.to_tokens(tokens)
        if self.regions is not None and tokens.shape[1] != self.regions:
            raise UserError(
                f"the image has {tokens.shape[1]} regions and the model normalises over {self.regions}; "
                "use norm layer for another number of regions."
            )
        regions: Tensor = self.region_norm(tokens)
        return regions

    def vectors_of(self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """The enhanced and projected regions, before pooling: tokens (B,R,D), mask (B,R), guide (B,G) -> (B,R,E).
        Raises UserError for a guide that is missing, and where `to_regions` and `refuse_missing` do.
        """
        if self.uses_guide and guide is None:
            raise UserError(
                "the model uses a guide and the batch has none; name its network by --guide, or pass guide (B,G)."
            )
        if self.training and self.regions is not None:
            refuse_missing(mask)
        regions = self.to_regions(tokens)
        if self.training and self.dropout.p > 0:
            # a channel is dropped in all regions at once, or pooling would average it in again
            regions = regions * self.dropout(torch.ones_like(regions[:, :1]))  # (B, 1, D)
        vectors: Tensor = self.projection(self.enhancement(regions, mask, guide))
        return vectors

    def forward(self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """tokens (B,R,D) or pixels (B,3,H,W), mask (B,R) True for regions, guide (B,G) -> (B,E) of unit norm."""
        if self.own_vector and self.tower is not None:
            return F.normalize(to_fp32(self.tower.vector(tokens)), dim=-1)
        vectors = self.vectors_of(tokens, mask, guide)
        self.keep(vectors, mask)
        pooled = self.pooling(vectors, mask)
        if self.guide_projection is not None:
            pooled = pooled + self.guide_projection(guide)
        pooled = self.enhancement.on_vector(pooled)
        return F.normalize(to_fp32(self.embed_dropout(pooled)), dim=-1)

    @torch.no_grad()
    def attention(
        self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Attention weights by guide: "self" and "clip" -> a (B,R), and "self weights" -> SGE's w (B,R)."""
        regions = self.to_regions(tokens)
        weights = {name: a for name, (_, a) in self.enhancement.guides(regions, mask, guide).items()}
        if isinstance(self.enhancement, Enhancement) and "self" in weights:
            weights["self weights"] = self.enhancement.self_guide(regions, mask)[1]
        return weights


class TextEncoder(_Keeping):
    """Words -> bag | BiGRU | a transformers encoder | CLIP's text tower -> Linear -> enhancement -> pooling -> unit
    vector. Raises UserError where the configuration lacks a size that it needs.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        kinds: dict[str, type[BagOfWords | Bert | ClipText]]
        kinds = {"bag": BagOfWords, "gru": BiGRU, "bert": Bert, "hf": Bert, "clip": ClipText}
        self.states = kinds[config.text](config)
        self.starts_at_random = config.text_model is None or isinstance(self.states, BagOfWords)
        self.embed_dim = config.embed_dim
        set_trainable(self.states, config.train_text, setting="model.train_text", rank=config.lora_rank)
        # with word_residual, each word's own vector next to a pretrained network's states; BiGRU adds it by itself
        beside = config.word_residual and not isinstance(self.states, BagOfWords)
        self.words = BagOfWords(config) if beside else None
        self.dropout = Dropout(config.text_dropout)
        self.own_vector = config.text_pooling == "tower"
        if not self.own_vector:
            width = self.states.width + (config.word_width if beside else 0)
            self.linear = nn.Linear(width, config.embed_dim)
            self.pooling = make_pooling(config.text_pooling, config.embed_dim)
        self.enhancement = make_enhancement(config.text_enhancement, config, config.embed_dim, on_words=True)
        self.embed_dropout = Dropout(config.embed_dropout)
        self.keeps, self.kept = config.scorer != "dot", None

    def vectors_of(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """V, the words as the enhancement reads them: input_ids (B,W) long, attention_mask (B,W) -> (B,W,E)."""
        states = self.states(input_ids, attention_mask)
        if self.words is not None:
            states = torch.cat([states, self.words(input_ids, attention_mask)], dim=-1)
        vectors: Tensor = self.linear(self.dropout(states))
        return vectors

    @torch.no_grad()
    def undropped(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """`vectors_of` in evaluation mode; the mode is restored."""
        with evaluation_mode(self):
            return self.vectors_of(input_ids, attention_mask)

    def enhanced(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The enhanced words, before pooling: input_ids (B,W), attention_mask (B,W) -> (B,W,E)."""
        vectors: Tensor = self.enhancement(self.vectors_of(input_ids, attention_mask), attention_mask)
        return vectors

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W) long, attention_mask (B,W) True where there is a word -> (B,E) of unit norm."""
        if self.own_vector and isinstance(self.states, ClipText):
            own = self.states.vector(input_ids)
            _check_width("the text tower's own vector", own.shape[1], self.embed_dim)
            return F.normalize(to_fp32(own), dim=-1)
        vectors = self.enhanced(input_ids, attention_mask)
        self.keep(vectors, attention_mask)
        pooled = self.enhancement.on_vector(self.pooling(vectors, attention_mask))
        return F.normalize(to_fp32(self.embed_dropout(pooled)), dim=-1)

    def load_text(self, name: str) -> None:
        """Loads pretrained weights, by name or folder, into a transformers encoder or CLIP's text tower only."""
        if not isinstance(self.states, BagOfWords):
            self.states.load_text(name)

    def pretrained(self) -> list[nn.Parameter]:
        """The parameters of a pretrained network, which have a learning rate of their own."""
        return [] if self.starts_at_random else list(self.states.parameters())


def _check_width(what: str, width: int, embed_dim: int) -> None:
    if width != embed_dim:
        raise UserError(
            f"{what} has {width} dimensions and embed_dim is {embed_dim}; set model.embed_dim {width}."
        )

"""USER (Zhang et al., IEEE TIP 2024): MomentumContrast with an image encoder that weighs regions by a global guide."""

import torch
from torch import Tensor, nn

from userlib.config import ModelConfig, ObjectiveConfig
from userlib.data.captions import Batch
from userlib.model.contrast import MomentumContrast, Output
from userlib.model.encoders import ImageEncoder, TextEncoder
from userlib.model.enhancement import ResidualScale
from userlib.model.momentum import MomentumEncoder
from userlib.model.objective import ContrastiveLoss


class DualEncoder(nn.Module):
    """An image and a text encoder into one space: all that search and evaluation need."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        image_encoder: ImageEncoder | None = None,
        text_encoder: TextEncoder | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = image_encoder or ImageEncoder(config)
        self.text_encoder = text_encoder or TextEncoder(config)

    def encode_image(self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """tokens (B,R,D), mask (B,R), guide (B,G) -> (B,E) of unit norm."""
        return self.image_encoder(tokens, mask, guide)  # type: ignore[no-any-return]

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W), attention_mask (B,W) -> (B,E) of unit norm."""
        return self.text_encoder(input_ids, attention_mask)  # type: ignore[no-any-return]

    def attention(
        self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `ImageEncoder.attention`."""
        return self.image_encoder.attention(tokens, mask, guide)


class USER(MomentumContrast, DualEncoder):
    """The full model: `model(batch)` gives the losses of one batch; see `MomentumContrast.step` for their order."""

    image_encoder: ImageEncoder
    text_encoder: TextEncoder
    image_momentum_encoder: MomentumEncoder[ImageEncoder]
    text_momentum_encoder: MomentumEncoder[TextEncoder]

    def __init__(self, model: ModelConfig, objective: ObjectiveConfig | None = None) -> None:
        MomentumContrast.__init__(
            self,
            ImageEncoder(model),
            TextEncoder(model),
            dim=model.embed_dim,
            queue_size=model.queue_size,
            momentum=model.momentum,
            loss=ContrastiveLoss(objective or ObjectiveConfig()),
            normalize=False,
        )
        self.config = model

    @property
    def objective(self) -> ObjectiveConfig:
        """The settings of the loss."""
        return self.loss.config

    def ema_model(self) -> DualEncoder:
        """The momentum encoders as a model of their own: an average over the run's last steps."""
        return DualEncoder(
            self.config,
            image_encoder=self.image_momentum_encoder.encoder,
            text_encoder=self.text_momentum_encoder.encoder,
        ).eval()

    def init_from_data(self, tokens: Tensor, mask: Tensor | None = None) -> None:
        """Before the first step: the region norm and the learned residual scales from the first training
        images, tokens (B,R,D); then the momentum encoders become copies.
        """
        self.image_encoder.region_norm.init_from_data(tokens, mask)
        regions = self.image_encoder.to_regions(tokens)
        for scale in self.image_encoder.enhancement.residual_scales().values():
            scale.init_from_data(regions, mask)
        self.init_momentum_encoders()

    @torch.no_grad()
    def init_from_captions(self, input_ids: Tensor, attention_mask: Tensor) -> None:
        """Before the first step, once the text encoder has the weights that it starts from: the learned residual
        scale of SGE on words from the first captions, input_ids and attention_mask (B,W); then the momentum
        encoders become copies. Does nothing where words are not enhanced.
        """
        scales = self.text_encoder.enhancement.residual_scales()
        if scales:
            vectors = self.text_encoder.undropped(input_ids, attention_mask)
            for scale in scales.values():
                scale.init_from_data(vectors, attention_mask)
            self.init_momentum_encoders()

    def clamp_residual_scales(self) -> None:
        """After an optimizer's step: every learned residual scale back into its range."""
        for module in self.modules():
            if isinstance(module, ResidualScale):
                module.clamp_()

    def forward(self, batch: Batch, *, count_queue: bool = True) -> Output:  # type: ignore[override]
        """One batch -> losses and embeddings."""
        return self.step(
            (batch.tokens, batch.token_mask, batch.guide),
            (batch.input_ids, batch.attention_mask),
            batch.image_ids,
            count_queue=count_queue,
        )

"""USER: two query encoders, their momentum copies, the queues and the objective, in one module."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from userlib.config import ModelConfig, ObjectiveConfig
from userlib.data.captions import Batch
from userlib.errors import UserError
from userlib.model.encoders import ImageEncoder, TextEncoder
from userlib.model.enhancement import Strength
from userlib.model.momentum import MomentumEncoder
from userlib.model.objectives import batch_loss, queue_loss
from userlib.model.queues import DualQueue
from userlib.precision import unmixed

POINT = 1e-3  # unit vectors that lie this near to their mean share one point


@dataclass
class Output:
    """What one forward pass gives; the loss alone carries a gradient."""

    loss: Tensor  # loss_weight * L_b + L_q
    batch_loss: Tensor  # L_b
    queue_loss: Tensor | None  # L_q, None where there is no queue
    images: Tensor  # (B, E)
    texts: Tensor  # (B, E)
    masked_keys: int  # queue keys of a query's own picture, over the batch


class _Gather(torch.autograd.Function):
    """Rows of all ranks in rank order. The gradient of one's own rows comes back times the number of ranks,
    which the averaging of gradients over ranks then takes off again: the sum equals one process on the
    joined batch.
    """

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        count = len(grad) // dist.get_world_size()
        return grad[dist.get_rank() * count :][:count] * dist.get_world_size()


def gather(rows: Tensor) -> Tensor:
    """(B,...) of each rank -> (B * ranks,...) with gradient; the identity where there is one process.

    Raises UserError where ranks hold different numbers of rows: gloo would abort or return garbage.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    if len({int(count) for count in counts}) > 1:
        raise UserError(
            f"the ranks hold {[int(count) for count in counts]} rows of one batch; they must hold equally "
            "many. Drop the last, incomplete batch."
        )
    return _Gather.apply(rows)  # type: ignore[no-any-return]


class Encoders(nn.Module):
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
        """tokens (B,R,D), mask (B,R), guide (B,G) -> (B,E) of unit length."""
        return self.image_encoder(tokens, mask, guide)  # type: ignore[no-any-return]

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B,W), attention_mask (B,W) -> (B,E) of unit length."""
        return self.text_encoder(input_ids, attention_mask)  # type: ignore[no-any-return]

    @torch.no_grad()
    def attention(
        self, tokens: Tensor, mask: Tensor | None = None, guide: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Where each guide looks: {"self", "clip"} -> a (B,R), and "self weights" -> SGE's w (B,R)."""
        encoder = self.image_encoder
        regions = encoder.regions_of(tokens)
        found = {name: a for name, (_, a) in encoder.enhancement.guides(regions, mask, guide).items()}
        if "self" in found:
            found["self weights"] = encoder.enhancement.self_guide(regions, mask)[1]
        return found


class USER(Encoders):
    """The full model (Zhang et al., IEEE TIP 2024).

    `model(batch)` follows the encoders with the momentum copies, computes both losses, then enqueues both
    keys. In evaluation mode it does the losses alone. `queue_size` None means no queue and no momentum copies
    (L_q absent); 0 keeps L_q with the momentum positive and no negative.
    """

    def __init__(self, model: ModelConfig, objective: ObjectiveConfig | None = None) -> None:
        super().__init__(model)
        self.objective = objective or ObjectiveConfig()
        self.queue: DualQueue | None = None
        if model.queue_size is not None:
            self.queue = DualQueue(model.queue_size, model.embed)
            self.image_keys = MomentumEncoder(self.image_encoder)
            self.text_keys = MomentumEncoder(self.text_encoder)

    def averaged(self) -> Encoders:
        """The momentum copies as encoders of their own: an average over the run's last steps."""
        return Encoders(
            self.config, image_encoder=self.image_keys.encoder, text_encoder=self.text_keys.encoder
        ).eval()

    def start(self, tokens: Tensor, mask: Tensor | None = None) -> None:
        """Before the first step: the regions' scaling and the learned strengths from the first training
        pictures, tokens (B,R,D); then the key encoders become copies.
        """
        self.image_encoder.scaled.start(tokens, mask)
        regions = self.image_encoder.regions_of(tokens)
        for strength in self.image_encoder.enhancement.strengths().values():
            strength.start(regions, mask)
        self.start_keys()

    @torch.no_grad()
    def start_words(self, input_ids: Tensor, attention_mask: Tensor) -> None:
        """Before the first step, once the text encoder has the weights that it starts from: the learned strength of
        SGE on words from the first training captions, input_ids (B,W) and attention_mask (B,W); then the key
        encoders become copies. Does nothing where words are not enhanced.
        """
        strengths = self.text_encoder.enhancement.strengths()
        if strengths:
            vectors = self.text_encoder.undropped(input_ids, attention_mask)
            for strength in strengths.values():
                strength.start(vectors, attention_mask)
            self.start_keys()

    def start_keys(self) -> None:
        """The key encoders become copies of the query encoders."""
        if self.queue is not None:
            self.image_keys.start(self.image_encoder)
            self.text_keys.start(self.text_encoder)

    def keep_strengths(self) -> None:
        """After an optimizer's step: every learned strength back into its range."""
        for module in self.modules():
            if isinstance(module, Strength):
                module.keep()

    def follow(self) -> None:
        """theta_k <- m theta_k + (1 - m) theta_q, both encoders; m must be set by then."""
        if self.config.momentum is None:
            raise UserError(
                "momentum is not set; give it in ModelConfig, or let a run fill it in from its length."
            )
        self.image_keys.follow(self.image_encoder, self.config.momentum)
        self.text_keys.follow(self.text_encoder, self.config.momentum)

    def forward(self, batch: Batch, *, count_queue: bool = True) -> Output:
        """One batch -> Output. count_queue False (warm-up): keys are enqueued, L_q is left out of the loss.

        All of it: while the copies hardly move, the momentum positives alone draw everything to one place.
        """
        images = self.encode_image(batch.tokens, batch.token_mask, batch.guide)
        texts = self.encode_text(batch.input_ids, batch.attention_mask)
        with unmixed(images.device):
            all_images, all_texts, all_ids = gather(images), gather(texts), gather(batch.image_ids)
            loss_b = batch_loss(self.objective, all_images @ all_texts.t(), all_ids)
        if self.queue is None:
            return Output(
                self.objective.loss_weight * loss_b, loss_b.detach(), None, images.detach(), texts.detach(), 0
            )
        if self.training:
            self.follow()
        image_keys = self.image_keys(batch.tokens, batch.token_mask, batch.guide)
        text_keys = self.text_keys(batch.input_ids, batch.attention_mask)
        queue = self.queue
        excluded = queue.excluded(batch.image_ids, same_image=self.objective.mask_same_image)
        own = int((excluded & (queue.ids != -1)).sum()) if not excluded.is_meta else 0
        with unmixed(images.device):
            loss_q = queue_loss(
                self.objective,
                (images * text_keys).sum(1),
                (texts * image_keys).sum(1),
                images @ queue.texts.t(),
                texts @ queue.images.t(),
                excluded,
            )
        loss = self.objective.loss_weight * loss_b
        if count_queue:
            loss = loss + loss_q
        if self.training:
            queue.enqueue(gather(image_keys), gather(text_keys), all_ids)
        return Output(loss, loss_b.detach(), loss_q.detach(), images.detach(), texts.detach(), own)


def collapse_signs(images: Tensor, texts: Tensor) -> tuple[float, float]:
    """Mean unpaired cosine and effective rank of embeddings images (B,E) and texts (B,E) of pairs in order.

    The effective rank is that of the picture embeddings; see `effective_rank`.
    """
    scores = images.float() @ texts.float().t()
    count = len(scores)
    unpaired = (scores.sum() - scores.diagonal().sum()) / max(count * (count - 1), 1)
    return float(unpaired), effective_rank(images)


def effective_rank(embeddings: Tensor) -> float:
    """embeddings (B,E) of unit length -> the exponential of the entropy of the normalised singular values of the
    embeddings less their mean: near 1 when they share one line, near B or E when they spread.

    1 where all lie at one point: what is left of them is rounding, which has every direction.
    """
    apart = embeddings.float() - embeddings.float().mean(0)
    if float(apart.square().sum(1).mean()) < POINT**2:
        return 1.0
    values = torch.linalg.svdvals(apart)
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))

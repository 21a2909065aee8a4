"""Momentum contrast for any two encoders: momentum encoders, two queues, batch and queue loss, in the right order.

    contrast = MomentumContrast(my_images, my_texts, dim=256, queue_size=2048, momentum=0.999, loss=UTOLoss())
    contrast(images, texts, image_ids).backward()

Sources: USER (Zhang et al., IEEE TIP 2024); the queues are those of MoCo (He et al., CVPR 2020).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from userlib.arguments import between, checked
from userlib.checkpoints import load_state_strict, read_checkpoint, write_checkpoint
from userlib.config import ObjectiveConfig, from_json, to_json
from userlib.errors import UserError
from userlib.model.hub import Shared, resolve
from userlib.model.momentum import MomentumEncoder
from userlib.model.neighbours.views import take_penalties
from userlib.model.objective import ContrastiveLoss, UTOLoss
from userlib.model.queue import EMPTY, DualQueue, image_numbers
from userlib.precision import autocast_disabled, to_fp32

Inputs = Tensor | tuple[Tensor | None, ...]
Further = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class Output:
    """The result of one step; only the loss carries a gradient."""

    loss: Tensor  # loss_weight * L_b + L_q, and the terms added in training
    batch_loss: Tensor  # L_b
    queue_loss: Tensor | None  # L_q, None where there is no queue
    images: Tensor  # (B, E)
    texts: Tensor  # (B, E)
    masked_keys: Tensor | int  # over the batch, keys in the queue that belong to the query's own image


class _Gather(torch.autograd.Function):
    """Rows of all ranks in rank order. A rank gets the gradient of its own rows times the number of ranks, which
    the averaging of gradients over ranks cancels: the result equals that of one process on the joined batch.
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


def gather(rows: Tensor, *, equal: bool = False) -> Tensor:
    """(B,...) of each rank -> (B * ranks,...) with gradient; the identity for a single process. equal: all ranks are
    known to have the same number of rows; to compare them, the host would have to wait for the device.

    Raises UserError where the numbers of rows differ: gloo would abort or return garbage.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    if equal:
        return _Gather.apply(rows)  # type: ignore[no-any-return]
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    if len({int(count) for count in counts}) > 1:
        raise UserError(
            f"the ranks have {[int(count) for count in counts]} rows of one batch; all must have the same number. "
            "Drop the last, incomplete batch."
        )
    return _Gather.apply(rows)  # type: ignore[no-any-return]


def encode_in_parts(encoder: nn.Module, inputs: Inputs, size: int | None) -> Tensor:
    """inputs of B rows -> vectors (B,E), encoded `size` rows at a time (None: all at once).

    Gradient caching (Gao et al., RepL4NLP 2021): only the vectors of each part are kept. The backward pass computes the
    gradient of the loss at the vectors, then encodes one part after the other again, with the same random draws, to
    backpropagate through it: the loss of the whole batch in the memory of a part, at the cost of a second forward pass.

    Raises UserError where B is not a multiple of size.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    rows = next(len(one) for one in given if one is not None)
    if size is None or size >= rows:
        return encoder(*given)  # type: ignore[no-any-return]
    if rows % size:
        raise UserError(
            f"micro_batch is {size} and the batch has {rows} pairs; set micro_batch to a divisor of {rows}."
        )
    parts = [
        tuple(None if one is None else one[start : start + size] for one in given)
        for start in range(0, rows, size)
    ]
    if not torch.is_grad_enabled():
        return torch.cat([encoder(*part) for part in parts])
    return torch.cat([checkpoint(encoder, *part, use_reentrant=False) for part in parts])


class MomentumContrast(Shared, nn.Module):
    """Two query encoders, their momentum copies, the queues and an objective.

    image_encoder and text_encoder map a batch to vectors (B, dim), which are L2-normalised here (normalize False: they
    already are). queue_size None means no queue and no momentum encoders (L_q absent); 0 keeps L_q, with the
    momentum positive and no negatives. momentum None: to be set before the first step. loss: by default UTOLoss().

    Raises UserError for an invalid argument.
    """

    @checked
    def __init__(
        self,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        *,
        dim: int,
        queue_size: int | None = 2048,
        momentum: float | None = 0.999,
        loss: ContrastiveLoss | None = None,
        normalize: bool = True,
    ) -> None:
        nn.Module.__init__(self)  # by name: a subclass may have a second base
        if momentum is not None:
            between("the momentum", momentum, 0, 1)
        if dim < 1:
            raise UserError(
                f"dim is {dim}; it must be the width of the encoders' vectors, a whole number from 1 up."
            )
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        self.loss = loss or UTOLoss()
        self.momentum, self.normalize, self.dim = momentum, normalize, dim
        self.micro_batch: int | None = None  # rows that are encoded at a time (`encode_in_parts`)
        self.equal_ranks = False  # whether all ranks are known to have equally many rows (`gather`)
        self.queue: DualQueue | None = None
        if queue_size is not None:
            self.queue = DualQueue(queue_size, dim)
            self.image_momentum_encoder = MomentumEncoder(image_encoder)
            self.text_momentum_encoder = MomentumEncoder(text_encoder)

    def _save(self, folder: Path, card: Mapping[str, Any]) -> None:
        """Writes all that a further step needs: both encoders, their momentum copies and the queues."""
        from userlib.model.card import card_of

        header = dict(card)
        title = header.pop("title", folder.name)
        about = {
            "dim": self.dim,
            "queue_size": None if self.queue is None else self.queue.size,
            "momentum": self.momentum,
            "normalize": self.normalize,
            "loss": to_json(self.loss.config),
        }
        text = (
            "Two encoders trained by momentum contrast (`userlib.MomentumContrast`), with their momentum copies and "
            "queues. Give `from_pretrained` encoders of the same shapes:\n\n```python\nmodel = "
            f'MomentumContrast.from_pretrained("{title}", images, texts)\n```\n\n`images` is a '
            f"`{type(self.image_encoder).__name__}`, `texts` a `{type(self.text_encoder).__name__}`. Nothing is "
            f"known of the data that they were trained on. Settings: `{about}`."
        )
        write_checkpoint(
            folder,
            {name: value.clone() for name, value in self.state_dict().items()},
            {"contrast": about},
            card=card_of(title, text, {"library_name": "userlib", **header}),
        )

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, image_encoder: nn.Module, text_encoder: nn.Module, **fetching: Any
    ) -> "MomentumContrast":
        """What `save_pretrained` wrote into a folder or onto the hub. It needs encoders of the same architecture, whose
        weights are replaced. fetching: the keyword arguments of `userlib.model.hub.resolve`, such as revision.

        Raises UserError where it is missing, damaged, of another kind, or does not fit these encoders.
        """
        folder = resolve(name, **fetching)
        tensors, documents = read_checkpoint(folder)
        about = documents.get("contrast")
        if not isinstance(about, dict) or set(about) != {
            "dim",
            "queue_size",
            "momentum",
            "normalize",
            "loss",
        }:
            raise UserError(
                f"{folder} holds no MomentumContrast; give a folder that MomentumContrast.save_pretrained wrote."
            )
        loss = ContrastiveLoss(from_json(ObjectiveConfig, about.pop("loss"), where="objective"))
        model = MomentumContrast(image_encoder, text_encoder, loss=loss, **about)
        load_state_strict(model, tensors, where=str(folder))
        return model

    def init_momentum_encoders(self) -> None:
        """Copies the query encoders into the momentum encoders."""
        if self.queue is not None:
            self.image_momentum_encoder.copy_from(self.image_encoder)
            self.text_momentum_encoder.copy_from(self.text_encoder)

    def update_momentum(self) -> None:
        """theta_k <- m theta_k + (1 - m) theta_q, both encoders. Raises UserError while m is not set."""
        if self.momentum is None:
            raise UserError(
                "momentum is not set; give it, or set it in ModelConfig. fit derives it from the length of the run."
            )
        self.image_momentum_encoder.update_momentum(self.image_encoder, self.momentum)
        self.text_momentum_encoder.update_momentum(self.text_encoder, self.momentum)

    def _encode(self, encoder: nn.Module, inputs: Inputs) -> Tensor:
        vectors = encode_in_parts(encoder, inputs, self.micro_batch)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(
                f"{type(encoder).__name__} returned a tensor of the shape {tuple(vectors.shape)}; it must be (B, dim), "
                f"and dim is {self.dim}."
            )
        vectors = to_fp32(vectors)
        return F.normalize(vectors, dim=-1) if self.normalize else vectors

    def forward(
        self, images: Inputs, texts: Inputs, image_ids: Tensor | None = None, *, count_queue: bool = True
    ) -> Tensor:
        """One batch of pairs -> the loss; `step` also returns its parts and the embeddings."""
        return self.step(images, texts, image_ids, count_queue=count_queue).loss

    def step(
        self,
        images: Inputs,
        texts: Inputs,
        image_ids: Tensor | None = None,
        *,
        count_queue: bool = True,
        further: Further | None = None,
    ) -> Output:
        """One batch of pairs. images and texts: what the encoders take, a tensor or a tuple of their arguments.
        image_ids (B,), whole numbers from 0 up: equal for captions of one image, which are no negatives of each other;
        None: all differ, and the queue masks nothing. further(v, t, ids) -> scalar is added to the loss, for the
        embeddings and ids of this process's pairs.

        In training mode the momentum encoders are updated before the keys are computed, and the keys are enqueued after
        L_q; in evaluation mode only the losses are computed. count_queue False (warm-up): keys are enqueued, but L_q is
        left out of the loss, as the positives of momentum encoders that hardly move draw all embeddings together.

        Raises UserError for ids that `image_numbers` refuses, and for encoders whose vectors are not (B, dim).
        """
        if image_ids is not None:
            image_ids = image_numbers(image_ids)
        v, t = self._encode(self.image_encoder, images), self._encode(self.text_encoder, texts)
        if image_ids is None:
            image_ids = self._fresh_ids(len(v), v.device)
        with autocast_disabled(v.device):
            all_v, all_t, all_ids = (gather(rows, equal=self.equal_ranks) for rows in (v, t, image_ids))
            loss_b = self.loss(all_v @ all_t.t(), all_ids)
        loss = self.loss.config.loss_weight * loss_b
        loss = loss + self.loss.config.diversity_weight * sum(take_penalties(self))
        if further is not None:
            loss = loss + further(v, t, image_ids)
        if self.queue is None:
            return Output(loss, loss_b.detach(), None, v.detach(), t.detach(), 0)
        if self.training:
            self.update_momentum()
        with torch.no_grad():
            v_keys = self._encode(self.image_momentum_encoder, images)
            t_keys = self._encode(self.text_momentum_encoder, texts)
        queue = self.queue
        ignore_mask = queue.ignore_mask(image_ids, same_image=self.loss.config.mask_same_image)
        masked = (ignore_mask & (queue.ids != EMPTY)).sum()
        with autocast_disabled(v.device):
            loss_q = self.loss.queue(
                (v * t_keys).sum(1),
                (t * v_keys).sum(1),
                v @ queue.texts.t(),
                t @ queue.images.t(),
                ignore_mask,
            )
        if count_queue:
            loss = loss + loss_q
        if self.training:
            all_v_keys, all_t_keys = (gather(rows, equal=self.equal_ranks) for rows in (v_keys, t_keys))
            queue.enqueue(all_v_keys, all_t_keys, all_ids)
        return Output(loss, loss_b.detach(), loss_q.detach(), v.detach(), t.detach(), masked)

    def _fresh_ids(self, count: int, device: torch.device) -> Tensor:
        """(B,) ids that no key in the queue has. Raises UserError on several processes, which would draw the same."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise UserError("image_ids is None; on several processes, give the id of each pair's image.")
        fresh = torch.arange(count, device=device)
        if self.queue is None or self.queue.size == 0:
            return fresh
        return fresh + torch.maximum(self.queue.num_enqueued, self.queue.ids.amax() + 1)

"""Two first-in first-out queues of keys, one per modality (USER: negatives beyond the mini-batch)."""

import torch
from torch import Tensor, nn

from userlib.arguments import checked
from userlib.errors import UserError

EMPTY = -1  # the image id of a slot that no key has filled yet


def check_ids(ids: Tensor) -> None:
    """Raises UserError for ids of any type but an integer one: NaN differs from itself, and large floats are equal."""
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise UserError(f"the image ids have the type {ids.dtype}; give whole numbers from 0 up.")


@checked
def image_numbers(ids: Tensor) -> Tensor:
    """ids of any integer type -> int64, as a queue stores them.

    Raises UserError for other types and, on a CPU, for ids below 0; on a GPU the host would have to wait for them.
    """
    check_ids(ids)
    if ids.device.type == "cpu" and (lowest := ids.numpy().min(initial=0)) < 0:
        raise UserError(
            f"an image id is {lowest}, and the queue marks its empty slots by {EMPTY}; give whole numbers from 0 up."
        )
    return ids.long()


class DualQueue(nn.Module):
    """K image keys and K caption keys (K,E), with the id of the image that each belongs to (K,).

    All state is in buffers, so checkpoints contain it and ranks can be compared. Slots start empty (id -1) and are
    masked until they are filled; K need not be a multiple of the batch. Of a larger batch the last K keys stay.

    Raises UserError for a K that is negative or no int, and for a checkpoint with another K.
    """

    @checked
    def __init__(self, size: int, embed_dim: int) -> None:
        super().__init__()
        if size < 0 or embed_dim < 1:
            raise UserError(
                f"the queue size is {size} and the keys' width {embed_dim}; they must be whole numbers from 0 and "
                "from 1 up."
            )
        self.size = size
        self.register_buffer("images", torch.zeros(size, embed_dim))
        self.register_buffer("texts", torch.zeros(size, embed_dim))
        self.register_buffer("ids", torch.full((size,), EMPTY, dtype=torch.long))
        self.register_buffer("enqueued_at", torch.zeros(size, dtype=torch.long))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("num_enqueued", torch.zeros((), dtype=torch.long))  # keys ever enqueued
        self.register_buffer("step", torch.zeros((), dtype=torch.long))  # calls of enqueue
        self.images: Tensor
        self.texts: Tensor
        self.ids: Tensor
        self.enqueued_at: Tensor
        self.pointer: Tensor
        self.num_enqueued: Tensor
        self.step: Tensor

    @property
    def filled(self) -> int:
        """The number of slots that hold a key."""
        return min(int(self.num_enqueued), self.size)

    def ages(self) -> Tensor:
        """(filled,): how many batches ago each key was enqueued."""
        return (self.step - self.enqueued_at)[self.ids != EMPTY]

    def ignore_mask(self, ids: Tensor, *, same_image: bool = True) -> Tensor:
        """ids (B,) of the queries' images -> (B,K), True where a key is no negative: its slot is empty or, with
        same_image, it belongs to the query's image. Raises UserError for ids that are no whole numbers.
        """
        check_ids(ids)
        empty = (self.ids == EMPTY).unsqueeze(0)
        if not same_image:
            return empty.expand(len(ids), -1)
        return empty | (self.ids.unsqueeze(0) == ids.unsqueeze(1))

    @torch.no_grad()
    @checked
    def enqueue(self, images: Tensor, texts: Tensor, ids: Tensor) -> None:
        """Replaces the oldest keys by keys (B,E) of both modalities, with ids (B,) of any integer type, from 0 up. The
        buffers become new tensors, so that a loss computed before can still be backpropagated.

        Raises UserError for ids that `image_numbers` refuses, and for unequal numbers of keys and ids.
        """
        ids = image_numbers(ids)
        for what, keys in (("image", images), ("caption", texts)):
            if keys.ndim != 2 or keys.shape[1] != self.images.shape[1]:
                raise UserError(
                    f"the {what} keys have the shape {tuple(keys.shape)}; it must be (B, {self.images.shape[1]}), as "
                    "the queue was made for."
                )
        if not len(images) == len(texts) == len(ids):
            raise UserError(
                f"{len(images)} image keys, {len(texts)} caption keys and {len(ids)} ids were enqueued together; give "
                "equally many of each."
            )
        self.step += 1
        if self.size == 0:
            return
        skipped = max(0, len(ids) - self.size)
        slots = (self.pointer + torch.arange(skipped, len(ids), device=self.ids.device)) % self.size
        self.images = self.images.index_copy(0, slots, images[skipped:].to(self.images.dtype))
        self.texts = self.texts.index_copy(0, slots, texts[skipped:].to(self.texts.dtype))
        self.ids = self.ids.index_copy(0, slots, ids[skipped:])
        self.enqueued_at = self.enqueued_at.index_copy(0, slots, self.step.expand(len(slots)).contiguous())
        self.pointer.copy_((self.pointer + len(ids)) % self.size)
        self.num_enqueued += len(ids)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        saved = state_dict.get(prefix + "ids")
        if saved is not None and len(saved) != self.size:
            raise UserError(
                f"the checkpoint's queue has {len(saved)} slots and the model's {self.size}; set queue_size to "
                f"{len(saved)}, or load an inference checkpoint, which has no queue."
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

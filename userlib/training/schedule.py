"""The learning rate and the batch of each step, and the groups and state of the optimizer.

The order of the data and all random draws of a step follow from the seed, the step and the rank alone, so a resumed
run needs no saved generator: it draws what an uninterrupted run would have drawn.
"""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from userlib.config import Config, TrainingConfig
from userlib.data.captions import Batch, CaptionDataset
from userlib.errors import UserError
from userlib.model.user import USER
from userlib.training.preparing import Prepared
from userlib.training.workers import batches_by_workers


def lr_factor(step: int, total: int, training: TrainingConfig) -> float:
    """The factor on the learning rate at step 0..total-1: linear warm-up, then cosine, step or constant."""
    warm = training.warmup * total
    if step < warm:
        return (step + 1) / (warm + 1)
    if training.schedule == "step":
        return 0.1 if step >= training.step_at * total else 1.0
    if training.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1)))


def batch_indices(step: int, captions: int, training: TrainingConfig) -> np.ndarray:
    """The captions (batch_size,) of a step: each epoch is a permutation, whose incomplete last batch is dropped."""
    per_epoch = captions // training.batch_size
    epoch, place = divmod(step, per_epoch)
    return _order(training.seed, epoch, captions)[place * training.batch_size :][: training.batch_size]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, captions: int) -> np.ndarray:
    """The order of the captions in an epoch; cached, because drawing it takes 10 ms at COCO's size."""
    order = np.random.default_rng([seed, 1, epoch]).permutation(captions)
    order.flags.writeable = False
    return order


@dataclass(frozen=True)
class Reader:
    """Called with a step, it makes the batch of one rank."""

    train: CaptionDataset
    config: Config
    rank: int
    ranks: int

    def __call__(self, step: int) -> Batch:
        training = self.config.training
        share = training.batch_size // self.ranks
        rows = batch_indices(step, len(self.train), training)[self.rank * share :][:share]
        batch = self.train.batch(
            rows,
            rng=np.random.default_rng([training.seed, 2, step, self.rank]),
            caption_augment_prob=training.caption_augment_prob,
            region_mask_prob=training.region_mask_prob,
            region_sample=training.region_sample,
            random_crop=training.random_crop,
            hflip=self.config.data.hflip,
        )
        return batch.pin_memory() if self.pinned else batch

    @property
    def pinned(self) -> bool:
        """Whether batches are pinned for a GPU here; those of worker processes are pinned by their loader."""
        return self.train.pixels() is None and torch.cuda.is_available()


def batches(prepared: Prepared, start: int, stop: int, rank: int, ranks_: int) -> Iterator[Batch]:
    """The batches of steps start..stop-1 of one rank, made ahead by a thread, or from pixels by worker processes."""
    read = Reader(prepared.train, prepared.config, rank, ranks_)
    if prepared.train.pixels() is not None:
        yield from batches_by_workers(read, start, stop, workers=prepared.config.data.workers)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, start)
        for step in range(start, stop):
            batch = ahead.result()
            if step + 1 < stop:
                ahead = pool.submit(read, step + 1)
            yield batch


def make_optimizer(model: USER, training: TrainingConfig) -> torch.optim.AdamW:
    """AdamW with a learning rate for the residual scales (10 lr, without weight decay), one for a pretrained text
    network (text_lr_scale lr), one for a trained image tower (image_lr_scale lr), and lr for the rest.
    """
    scales = [p for n, p in model.named_parameters() if n.endswith("log_scale") and p.requires_grad]
    text = [p for p in model.text_encoder.pretrained() if p.requires_grad]
    image = [p for p in model.image_encoder.pretrained() if p.requires_grad]
    apart = {id(p) for p in scales + text + image}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in apart]
    groups = [
        {"params": rest, "factor": 1.0},
        {"params": text, "factor": training.text_lr_scale},
        {"params": image, "factor": training.image_lr_scale},
        {"params": scales, "factor": 10.0, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=training.lr, weight_decay=training.weight_decay, fused=True
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by name, "optimizer.<index of the parameter>.<name of the state>"."""
    return {
        f"optimizer.{index}.{what}": value
        for index, state in optimizer.state_dict()["state"].items()
        for what, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Loads what `optimizer_tensors` returned. Raises UserError where it is the state of other parameters."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        _, index, what = name.split(".")
        states.setdefault(int(index), {})[what] = value
    shapes = dict(enumerate(p.shape for group in optimizer.param_groups for p in group["params"]))
    for number, state in states.items():
        if "exp_avg" in state and state["exp_avg"].shape != shapes.get(number):
            raise UserError(
                "the optimizer's state in the checkpoint belongs to other parameters than are trained now: an earlier "
                "version trained others. Resume with that version, or start again with another --out."
            )
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of a step's random draws within the model, such as dropout."""
    return int(np.random.SeedSequence([seed, 3, step, rank]).generate_state(1, np.uint64)[0] >> 1)

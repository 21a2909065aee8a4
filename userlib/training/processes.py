"""One process or many: the device and the share of each, and what all of them decide together."""

import os
from typing import TYPE_CHECKING

import torch

from userlib.config import Config
from userlib.errors import UserError
from userlib.training.memory import keep_freed_memory

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(config: Config) -> "Accelerator":
    """The device and the processes of this run. Raises UserError where they do not go with its settings.

    Precision is the loop's own: bf16 needs no loss scaling, and accelerate fixes its precision once a
    process.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    # Buffers are not broadcast: each rank writes its queues itself, and they agree. CLIP's towers hold
    # parameters that no caption and no token uses.
    ddp = DistributedDataParallelKwargs(
        broadcast_buffers=False,
        find_unused_parameters=config.model.text == "clip" or config.model.train_image != "none",
    )
    # Accelerate joins processes that a launcher started on CPUs only where it is told that they are CPUs.
    on_cpus = "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
    accelerator = Accelerator(cpu=on_cpus, mixed_precision="no", kwargs_handlers=[ddp])
    if accelerator.gradient_accumulation_steps != 1:
        raise UserError(
            f"gradient accumulation over {accelerator.gradient_accumulation_steps} steps is set (by `accelerate "
            "launch`, its configuration or ACCELERATE_GRADIENT_ACCUMULATION_STEPS). Every pair's negatives are "
            "the other pairs of its batch, so accumulated small batches are another loss than one large batch: "
            "set it to 1, and give a smaller --batch-size, more processes, or a longer --queue-size for negatives "
            "that cost no memory."
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise UserError(
            f"{started} processes were started and {accelerator.num_processes} found each other; each would "
            "train alone. Start them with torchrun, or start one process."
        )
    if accelerator.num_processes > 1:
        if config.model.norm == "batch" and accelerator.device.type == "cpu":
            raise UserError(
                f"norm is batch and {accelerator.num_processes} processes run on CPU, where no BatchNorm is "
                "shared; use norm layer, one process, or GPUs."
            )
        if config.training.batch_size % accelerator.num_processes:
            raise UserError(
                f"batch_size is {config.training.batch_size} and {accelerator.num_processes} processes share it; "
                "it must be a multiple of them."
            )
        share = config.training.batch_size // accelerator.num_processes
        if config.training.micro_batch is not None and share % config.training.micro_batch:
            raise UserError(
                f"micro_batch is {config.training.micro_batch} and each of {accelerator.num_processes} processes has "
                f"{share} pairs of a batch; it must divide them."
            )
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    return accelerator


def any_process(accelerator: "Accelerator", *here: bool) -> list[bool]:
    """For each answer whether any process gives it: all of them leave a loop at the same step, or none does."""
    if accelerator.num_processes == 1:
        return list(here)
    said = accelerator.gather(torch.tensor([here], dtype=torch.float32, device=accelerator.device))
    return [bool(answer) for answer in (said > 0).any(0)]

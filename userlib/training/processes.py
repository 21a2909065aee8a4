"""One process or several: their devices, and decisions that all of them share."""

import os
from typing import TYPE_CHECKING

import torch

from userlib.config import Config
from userlib.errors import UserError
from userlib.training.memory import keep_freed_memory

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(config: Config) -> "Accelerator":
    """The device and the processes of this run. Raises UserError where they do not fit its settings.

    Mixed precision is left to the training loop: bf16 needs no loss scaling, and accelerate can set it only once.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    # Buffers are not broadcast: each rank updates its queues itself, and they stay equal. CLIP's towers have
    # parameters that are not used here.
    ddp = DistributedDataParallelKwargs(
        broadcast_buffers=False,
        find_unused_parameters=config.model.text == "clip" or config.model.train_image != "none",
    )
    # Accelerate connects the processes of a launcher on CPUs only with cpu=True.
    on_cpus = "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
    accelerator = Accelerator(cpu=on_cpus, mixed_precision="no", kwargs_handlers=[ddp])
    if accelerator.gradient_accumulation_steps != 1:
        raise UserError(
            f"gradient accumulation over {accelerator.gradient_accumulation_steps} steps is set (by `accelerate "
            "launch`, its configuration or ACCELERATE_GRADIENT_ACCUMULATION_STEPS). The negatives of a pair are the "
            "other pairs of its batch, so the loss of accumulated small batches differs from that of one large batch. "
            "Set it to 1; use --micro-batch, a smaller --batch-size with a larger --queue-size, or more processes."
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise UserError(
            f"{started} processes were started and {accelerator.num_processes} are connected, so each would train by "
            "itself. Start them with torchrun, or start a single process."
        )
    if accelerator.num_processes > 1:
        if config.model.norm == "batch" and accelerator.device.type == "cpu":
            raise UserError(
                f"norm is 'batch' and {accelerator.num_processes} processes run on CPUs, where BatchNorm cannot be "
                "synchronised; use norm layer, one process, or GPUs."
            )
        if config.training.batch_size % accelerator.num_processes:
            raise UserError(
                f"batch_size is {config.training.batch_size}, and {accelerator.num_processes} processes share it; give "
                f"a multiple of {accelerator.num_processes}."
            )
        share = config.training.batch_size // accelerator.num_processes
        if config.training.micro_batch is not None and share % config.training.micro_batch:
            raise UserError(
                f"micro_batch is {config.training.micro_batch} and each of {accelerator.num_processes} processes has "
                f"{share} pairs of a batch; give a divisor of {share}."
            )
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    return accelerator


def any_process(accelerator: "Accelerator", *here: bool) -> list[bool]:
    """For each flag whether it is set in any process, the same list in all of them, so that they can act together."""
    if accelerator.num_processes == 1:
        return list(here)
    said = accelerator.gather(torch.tensor([here], dtype=torch.float32, device=accelerator.device))
    return [bool(answer) for answer in (said > 0).any(0)]


def share_of(accelerator: "Accelerator | None", *counts: int) -> tuple[int, int]:
    """(r, n): which of n shares this process evaluates; (0, 1), the whole, where one of the counts is below n."""
    if accelerator is None or min(counts) < accelerator.num_processes:
        return 0, 1
    return accelerator.process_index, accelerator.num_processes


def total(accelerator: "Accelerator | None", share: tuple[int, int], part: torch.Tensor) -> torch.Tensor:
    """The sum of all processes' parts, each zero outside its share, in all of them; on the device of `part`."""
    if accelerator is None or share[1] == 1:
        return part
    whole: torch.Tensor = accelerator.reduce(part.to(accelerator.device), "sum")
    return whole.to(part.device)

"""The loop that trains region-mini and clip-mini: AdamW, a linear warm-up and a cosine schedule, bf16 where the chip
has it, resumable.

Step t depends only on the seed and t, so that weights and optimizer are all that a resumed run needs. On one machine
with one number of threads it ends with the same bits as an uninterrupted run.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from userlib.checkpoints import load_state_strict, read_checkpoint, write_checkpoint
from userlib.errors import UserError
from userlib.files import remove_folder
from userlib.progress import Progress
from userlib.training.schedule import optimizer_tensors, restore_optimizer

BETAS = (0.9, 0.98)  # a faster second moment, for short runs
KEEP_EVERY = 60.0  # seconds between two states on the disk


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The length of a run, its learning rates and its regularisation."""

    steps: int
    lr: float
    weight_decay: float
    warmup: float = 0.1  # the share of steps with a rising learning rate
    max_grad_norm: float = 1.0

    def lr_at(self, step: int) -> float:
        """The learning rate at a step: a linear warm-up, then a cosine down to 0."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


@dataclass
class Log:
    """The state of a run: its step, a row per evaluation, sum and number of losses since the last one, and the seconds
    of all sessions.
    """

    step: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    total: float = 0.0
    count: int = 0
    seconds: float = 0.0


def optimise(
    network: nn.Module,
    loss_at: Callable[[int], Tensor],
    schedule: Schedule,
    *,
    judge: Callable[[], dict[str, float]],
    judgements: int,
    state: Path,
    what: str,
    show: bool = True,
) -> Log:
    """Minimises loss_at(step), and evaluates with `judge` `judgements` times at equal distances, lastly at the end.

    The state is saved to the folder `state` every minute and at evaluations, and resumed from there if it exists.
    Raises UserError when the loss is no longer finite.
    """
    optimizer = torch.optim.AdamW(
        _groups(network, schedule.weight_decay), lr=schedule.lr, betas=BETAS, fused=True
    )
    log = _take_up(state, network, optimizer)
    looks = {round((i + 1) * schedule.steps / judgements) for i in range(judgements)}
    began = kept = time.monotonic()
    before = log.seconds
    with Progress(schedule.steps, what, show=show) as shown:
        shown.step(log.step)
        while log.step < schedule.steps:
            value = _step(network, optimizer, loss_at, schedule, log.step)
            if not math.isfinite(value):
                raise UserError(f"The loss of {what} is {value} at step {log.step}. Give a lower --lr.")
            log.step, log.total, log.count = log.step + 1, log.total + value, log.count + 1
            shown.step()
            if log.step in looks:
                network.eval()
                row = {"step": float(log.step), "loss": log.total / log.count, **judge()}
                log.rows.append(row)
                log.total, log.count = 0.0, 0
                shown.say(", ".join(f"{key} {number:.3g}" for key, number in row.items() if key != "step"))
            if log.step in looks or time.monotonic() - kept > KEEP_EVERY:
                log.seconds, kept = before + time.monotonic() - began, time.monotonic()
                _keep(state, network, optimizer, log)
    network.eval()
    return log


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_at: Callable[[int], Tensor],
    schedule: Schedule,
    step: int,
) -> float:
    """One update; returns the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = schedule.lr_at(step)
    network.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16()):
        loss = loss_at(step)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), schedule.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def bf16() -> bool:
    """Whether this processor multiplies bf16 fast."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices with weight decay; gains, biases and the temperature without."""
    learned = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _keep(state: Path, network: nn.Module, optimizer: torch.optim.Optimizer, log: Log) -> None:
    """Writes the new state before deleting the old one, so that there is a complete one at any time."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()} | optimizer_tensors(optimizer)
    folder = state / f"step-{log.step:08d}"
    write_checkpoint(folder, tensors, {"log": vars(log)})
    for old in state.iterdir():
        if old != folder:
            remove_folder(old)


def _take_up(state: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> Log:
    """Loads the newest state, if there is one, into network and optimizer; returns its log."""
    kept = sorted(state.glob("step-*/manifest.json"))
    if not kept:
        return Log()
    tensors, documents = read_checkpoint(kept[-1].parent)
    own = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    load_state_strict(network, own, where=str(state))
    restore_optimizer(optimizer, {k: v for k, v in tensors.items() if k.startswith("optimizer.")})
    for parameter, kept_of in optimizer.state.items():  # the fused step needs the parameter's memory layout
        for name, value in kept_of.items():
            if value.shape == parameter.shape:
                kept_of[name] = torch.empty_like(parameter).copy_(value)
    return Log(**documents["log"])

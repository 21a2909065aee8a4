"""What is looked at while a run goes on: its table, its strengths, and whether it has collapsed."""

import math

import numpy as np
import torch
from torch import Tensor

from userlib.config import TrainingConfig
from userlib.data.captions import PairData
from userlib.errors import UserError
from userlib.evaluation import embed, ranks, recalls
from userlib.model.enhancement import Strength
from userlib.model.user import USER, Encoders, Output, collapse_signs


class CollapseError(UserError):
    """The embeddings have collapsed onto a line: raised by the alarm, with advice."""


def check_loss(output: Output, step: int) -> float:
    """The loss. Raises UserError where it is no longer finite, before anything is saved."""
    loss = float(output.loss.detach())
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} at step {step}; use a lower learning rate. The last checkpoint is kept."
        )
    return loss


FEW = 32  # pictures: an effective rank of fewer says nothing, since it cannot exceed their number


@torch.no_grad()
def evaluate_now(encoders: Encoders, pairs: PairData, device: str) -> dict[str, float]:
    """The table of the selection split and the two signs of collapse, on its first 512 pictures and their
    first captions.
    """
    images, texts = embed(encoders, pairs, device=device)
    metrics = recalls(ranks(images, texts, pairs.image_of)).as_dict()
    _, first = np.unique(pairs.image_of, return_index=True)
    first = first[:512]
    unpaired, effective = collapse_signs(
        torch.from_numpy(images[pairs.image_of[first]]), torch.from_numpy(texts[first])
    )
    return {**metrics, "unpaired_cosine": unpaired, "effective_rank": effective}


@torch.no_grad()
def strengths_now(
    model: USER, sample: Tensor, words: tuple[Tensor, Tensor] | None = None
) -> dict[str, float]:
    """s of each guide and the residual's size beside the vectors that it is added to, ||s a g|| / ||V||: of the
    regions of a sample of pictures (self, clip), and of words (B,W) with their mask, where words are enhanced.
    """
    found: dict[str, float] = {}
    regions = model.image_encoder.regions_of(sample)
    for name, strength in model.image_encoder.enhancement.strengths().items():
        found |= _strength(name, strength, regions)
    for strength in model.text_encoder.enhancement.strengths().values():
        if words is not None:
            vectors = model.text_encoder.undropped(*words)
            found |= _strength("words", strength, vectors.masked_fill(~words[1].unsqueeze(-1), 0.0))
    return found


def _strength(name: str, strength: Strength, vectors: Tensor) -> dict[str, float]:
    s = float(strength().detach())
    return {
        f"strength_{name}": s,
        f"residual_{name}": s / float(vectors.float().flatten(1).norm(dim=1).mean()),
        f"strength_{name}_at_end": float(strength.at_end()),
    }


def alarm(rows: list[dict[str, float]], total: int, training: TrainingConfig, *, pictures: int) -> None:
    """Raises CollapseError when three evaluations running, after warm-up and a tenth of the run, show
    collapse; the effective rank counts only where there are pictures enough to have one.
    """
    late = [row for row in rows if row["step"] > max(training.warmup, 0.1) * total]
    if len(late) < 3:
        return
    if all(
        (pictures >= FEW and row["effective_rank"] < 4) or row["unpaired_cosine"] > 0.9 for row in late[-3:]
    ):
        last = late[-1]
        raise CollapseError(
            f"the embeddings have collapsed: effective rank {last['effective_rank']:.1f}, mean unpaired "
            f"cosine {last['unpaired_cosine']:.2f} at step {last['step']:.0f}, three evaluations running. "
            "Use the live positive term (objective.live true), a lower learning rate or a longer warm-up; "
            "the last checkpoint is kept."
        )


def key_age(model: USER) -> float:
    """The mean age of the queue's keys, in steps; nan where there are none."""
    ages = model.queue.ages() if model.queue is not None else torch.empty(0)
    return float(ages.float().mean()) if len(ages) else float("nan")

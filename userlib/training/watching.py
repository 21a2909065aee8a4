"""What is monitored during a run: the metrics of the selection split, the residual scales, and signs of collapse."""

import math

import numpy as np
import torch
from torch import Tensor

from userlib.config import TrainingConfig
from userlib.data.captions import CaptionDataset
from userlib.errors import UserError
from userlib.evaluation import embed, ranks, ranks_from_scores, recalls
from userlib.evaluation.cross_scores import cross_scores
from userlib.evaluation.ranking import exact_products
from userlib.model.contrast import Output
from userlib.model.enhancement import ResidualScale
from userlib.model.user import USER, DualEncoder
from userlib.precision import autocast_disabled

POINT = 1e-3  # unit vectors that lie this near to their mean share one point


class CollapseError(UserError):
    """The embeddings have collapsed, or nothing is learnt any more: raised by `check_collapse`, with advice."""


def check_loss(
    output: Output, step: int, *, elsewhere: bool = False, first: tuple[float, float] | None = None
) -> float:
    """The loss. Raises UserError where it is not finite, was not in another process (elsewhere) or at an earlier step
    (first: that step and its loss); before anything is saved.
    """
    loss = float(output.loss.detach())
    if first is not None:
        step, loss = int(first[0]), first[1]
    if elsewhere or not math.isfinite(loss):
        where = "" if not math.isfinite(loss) else " in another process"
        raise UserError(
            f"the loss is {'not finite' if where else loss}{where} at step {step}; use a lower learning rate. "
            "The last checkpoint is kept."
        )
    return loss


def check_start(output: Output, *, seed: int, dead: bool) -> None:
    """Raises UserError where the first batch can teach nothing: every positive lies at or below zero, where the
    original positive term is flat. dead: whether that holds in every process.
    """
    if dead:
        raise UserError(
            f"objective.leaky_positive is false and training.seed {seed}: all positives of the first batch are at or "
            f"below zero (the highest is {float(positives(output).max()):.2f} here), where the original positive term "
            "has no gradient, so that the run would not leave its start. Use --set objective.leaky_positive=true, or "
            "another --seed."
        )


def positives(output: Output) -> Tensor:
    """(B,) the similarity of each image with its caption."""
    return (output.images.float() * output.texts.float()).sum(1)


FLAT = 1e-7  # a gradient's norm below which nothing is learnt; a healthy one is above 1e-3
ALIKE = 0.95  # mean cosine within one side above which its embeddings are one
CHANCE = 2 * (1 + 5 + 10) * 100.0  # rSum of random order, times the number of images
FEW = 32  # images: an effective rank of fewer says nothing, since it cannot exceed their number


@torch.no_grad()
def evaluate_now(encoders: DualEncoder, pairs: CaptionDataset, device: str) -> dict[str, float]:
    """The metrics of the selection split and the signs of collapse, on its first 512 images and their first
    captions: the mean unpaired cosine, and of each side the effective rank and the mean cosine among its own.
    """
    images, texts = embed(encoders, pairs, device=device)
    metrics = recalls(ranks(images, texts, pairs.caption_to_image)).as_dict()
    if encoders.scorer is not None:  # the model's answer is the scorer's
        own = ranks_from_scores(cross_scores(encoders, pairs), pairs.caption_to_image)
        metrics = {**recalls(own).as_dict(), "embedding_rsum": metrics["rsum"]}
    _, first = np.unique(pairs.caption_to_image, return_index=True)
    first = first[:512]
    left, right = torch.from_numpy(images[pairs.caption_to_image[first]]), torch.from_numpy(texts[first])
    with exact_products(left.device):
        unpaired, effective = collapse_metrics(left, right)
        return {
            **metrics,
            "unpaired_cosine": unpaired,
            "effective_rank": effective,
            "text_effective_rank": effective_rank(right),
            "image_cosine": collapse_metrics(left, left)[0],
            "text_cosine": collapse_metrics(right, right)[0],
        }


@torch.no_grad()
def scale_stats(
    model: USER,
    sample: Tensor,
    words: tuple[Tensor, Tensor] | None = None,
    *,
    mask: Tensor | None = None,
) -> dict[str, float]:
    """s of each guide and the residual's norm relative to the vectors that it is added to, ||s a g|| / ||V||: of the
    regions of a sample of images (self, clip) with their mask (B,R), and of words (B,W) with theirs, where words are
    enhanced.
    """
    stats: dict[str, float] = {}
    with autocast_disabled(sample.device):
        regions = model.image_encoder.region_norm(model.image_encoder.whole_tokens(sample))
        for name, scale in model.image_encoder.enhancement.residual_scales().items():
            stats |= _scale_stats(name, scale, regions, mask)
        for scale in model.text_encoder.enhancement.residual_scales().values():
            if words is not None:
                stats |= _scale_stats("words", scale, model.text_encoder.undropped(*words), words[1])
    return stats


def _scale_stats(name: str, scale: ResidualScale, vectors: Tensor, mask: Tensor | None) -> dict[str, float]:
    s = float(scale().detach())
    if mask is not None:
        vectors = vectors.masked_fill(~mask.unsqueeze(-1), 0.0)
    return {
        f"scale_{name}": s,
        f"residual_{name}": s / float(vectors.float().flatten(1).norm(dim=1).mean()),
        f"scale_{name}_is_clamped": float(scale.is_clamped()),
    }


def check_collapse(
    rows: list[dict[str, float]],
    total: int,
    training: TrainingConfig,
    *,
    pictures: int,
    objective: str = "uto",
) -> None:
    """Raises CollapseError when three evaluations running, after warm-up and a tenth of the run, show collapse.

    Collapse is an effective rank below 4 on either side (where there are images enough to have one), a mean
    unpaired cosine beyond 0.9 in size, or a side whose embeddings are all alike at a chance rSum. A
    gradient that has vanished is one more sign, of UTO alone: the other objectives end there when every margin is
    met.
    """
    late = [row for row in rows if row["step"] > max(training.warmup, 0.1) * total]
    if len(late) < 3:
        return
    last = late[-1]
    if objective == "uto" and all(
        row.get("grad_norm", 1.0) < FLAT or row.get("loss", 1.0) == 0 for row in late[-3:]
    ):
        raise CollapseError(
            f"nothing is learnt any more: the loss is {last.get('loss', 0.0):.1e} and its gradient's norm "
            f"{last.get('grad_norm', 0.0):.1e} at step {last['step']:.0f}, three evaluations running. Use the leaky "
            "positive term (objective.leaky_positive true) or another seed; the last checkpoint is kept."
        )
    if all(_collapsed(row, pictures) for row in late[-3:]):
        raise CollapseError(
            f"the embeddings have collapsed: effective rank {last['effective_rank']:.1f} of the images and "
            f"{last.get('text_effective_rank', math.nan):.1f} of the captions, mean unpaired cosine "
            f"{last['unpaired_cosine']:.2f} at step {last['step']:.0f}, three evaluations running. Use the "
            "leaky positive term (objective.leaky_positive true), a lower learning rate or a longer warm-up; the last "
            "checkpoint is kept."
        )


def _collapsed(row: dict[str, float], pictures: int) -> bool:
    """Whether one evaluation shows it; a row of an older run lacks what was not measured then.

    A side that begins in a narrow cone and is learning there is healthy: alike embeddings count at chance alone.
    """
    if abs(row["unpaired_cosine"]) > 0.9:
        return True
    ranks_ = (row["effective_rank"], row.get("text_effective_rank", math.inf))
    within = (row.get("image_cosine", 0.0), row.get("text_cosine", 0.0))
    at_chance = row.get("rsum", 0.0) < 2 * CHANCE / max(pictures, 1)
    return pictures >= FEW and (min(ranks_) < 4 or (max(within) > ALIKE and at_chance))


def key_age(model: USER) -> float:
    """The mean age of the queue's keys, in steps; nan where there are none."""
    ages = model.queue.ages() if model.queue is not None else torch.empty(0)
    return float(ages.float().mean()) if len(ages) else float("nan")


def collapse_metrics(images: Tensor, texts: Tensor) -> tuple[float, float]:
    """Mean unpaired cosine and effective rank of embeddings images (B,E) and texts (B,E) of pairs in order.

    The effective rank is that of the image embeddings; see `effective_rank`.
    """
    scores = images.float() @ texts.float().t()
    count = len(scores)
    unpaired = (scores.sum() - scores.diagonal().sum()) / max(count * (count - 1), 1)
    return float(unpaired), effective_rank(images)


def effective_rank(embeddings: Tensor) -> float:
    """embeddings (B,E) of unit norm -> the exponential of the entropy of the normalised singular values of the
    embeddings minus their mean: near 1 when they share one line, near B or E when they spread.

    1 where all lie at one point: what is left of them is rounding, which has every direction.
    """
    apart = embeddings.float() - embeddings.float().mean(0)
    if float(apart.square().sum(1).mean()) < POINT**2:
        return 1.0
    values = torch.linalg.svdvals(apart)
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))

"""What is monitored during a run: the metrics of the selection split, the residual scales, and signs of collapse."""

import math
from typing import TYPE_CHECKING

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
from userlib.training.processes import share_of, total

if TYPE_CHECKING:
    from accelerate import Accelerator

POINT = 1e-3  # unit vectors whose root mean square distance from their mean is below this count as one point


class CollapseError(UserError):
    """The embeddings have collapsed, or the gradient has vanished; raised by `check_collapse`."""


def check_loss(
    output: Output, step: int, *, elsewhere: bool = False, first: tuple[float, float] | None = None
) -> float:
    """The loss as a float. Raises UserError where it is not finite: here, in another process (elsewhere) or at an
    earlier step (first: that step and its loss).
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
    """Raises UserError where dead: in no process has the first batch a positive score above zero, so that the original
    positive term has no gradient.
    """
    if dead:
        raise UserError(
            f"objective.leaky_positive is false and training.seed {seed}: all positive scores of the first batch are "
            f"at or below zero (the highest is {float(positives(output).max()):.2f} here), where the original positive "
            "term has no gradient, so that the run would learn nothing. Use --set objective.leaky_positive=true, or "
            "another --seed."
        )


def positives(output: Output) -> Tensor:
    """(B,): the similarity of each image with its caption."""
    return (output.images.float() * output.texts.float()).sum(1)


FLAT = 1e-7  # norm of a gradient below which it has vanished; a healthy one is above 1e-3
ALIKE = 0.95  # mean cosine within a modality above which its embeddings count as one
CHANCE = 2 * (1 + 5 + 10) * 100.0  # rSum of a random order, times the number of images
FEW = 32  # images: with fewer, the effective rank is not judged, since it cannot exceed their number


@torch.no_grad()
def evaluate_now(
    encoders: DualEncoder, pairs: CaptionDataset, device: str, accelerator: "Accelerator | None" = None
) -> dict[str, float]:
    """The metrics of the selection split, by the scorer where there is one, and the signs of collapse on its first 512
    images and their first captions: the mean unpaired cosine, and for each modality the effective rank and the mean
    cosine between its embeddings. Several processes share the encoding and the scores of the pairs.
    """
    share = share_of(accelerator, len(pairs.caption_to_image), len(np.unique(pairs.caption_to_image)))
    images, texts = (
        total(accelerator, share, torch.from_numpy(part)).numpy()
        for part in embed(encoders, pairs, device=device, share=share)
    )
    metrics = recalls(ranks(images, texts, pairs.caption_to_image)).as_dict()
    if encoders.scorer is not None:
        scores = total(accelerator, share, cross_scores(encoders, pairs, share))
        own = ranks_from_scores(scores, pairs.caption_to_image)
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
    """For each guide its residual scale s, the norm of the residual relative to the vectors that it is added to,
    ||s a g|| / ||V||, and whether s is clamped: on sample, tokens or pixels of images (self, clip) with mask (B,R), and
    on words, input_ids and attention_mask (B,W), where words are enhanced.
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
    """Raises CollapseError when the last three evaluations, after the warm-up and a tenth of the run, show collapse.

    Signs of collapse are a mean unpaired cosine above 0.9 in absolute value and, with at least 32 images (`pictures`),
    an effective rank below 4 of images or captions, or embeddings of one modality that are all alike while rSum is at
    chance. For UTO a vanished gradient is one more; the other objectives have none once every margin is met.
    """
    late = [row for row in rows if row["step"] > max(training.warmup, 0.1) * total]
    if len(late) < 3:
        return
    last = late[-1]
    if objective == "uto" and all(
        row.get("grad_norm", 1.0) < FLAT or row.get("loss", 1.0) == 0 for row in late[-3:]
    ):
        raise CollapseError(
            f"the gradient has vanished: the loss is {last.get('loss', 0.0):.1e} and the norm of its gradient "
            f"{last.get('grad_norm', 0.0):.1e} at step {last['step']:.0f}, for the third evaluation in a row. Use the "
            "leaky positive term (objective.leaky_positive true) or another seed; the last checkpoint is kept."
        )
    if all(_collapsed(row, pictures) for row in late[-3:]):
        raise CollapseError(
            f"the embeddings have collapsed: effective rank {last['effective_rank']:.1f} of the images and "
            f"{last.get('text_effective_rank', math.nan):.1f} of the captions, mean unpaired cosine "
            f"{last['unpaired_cosine']:.2f} at step {last['step']:.0f}, for the third evaluation in a row. Use the "
            "leaky positive term (objective.leaky_positive true), a lower learning rate or a longer warm-up; the last "
            "checkpoint is kept."
        )


def _collapsed(row: dict[str, float], pictures: int) -> bool:
    """Whether one evaluation shows collapse. Rows of older runs lack metrics that were added later.

    Embeddings may start in a narrow cone and learn there, so that alike embeddings count only while rSum is at chance.
    """
    if abs(row["unpaired_cosine"]) > 0.9:
        return True
    ranks_ = (row["effective_rank"], row.get("text_effective_rank", math.inf))
    within = (row.get("image_cosine", 0.0), row.get("text_cosine", 0.0))
    at_chance = row.get("rsum", 0.0) < 2 * CHANCE / max(pictures, 1)
    return pictures >= FEW and (min(ranks_) < 4 or (max(within) > ALIKE and at_chance))


def key_age(model: USER) -> float:
    """The mean age of the keys in the queue, in steps; nan where there are none."""
    ages = model.queue.ages() if model.queue is not None else torch.empty(0)
    return float(ages.float().mean()) if len(ages) else float("nan")


def collapse_metrics(images: Tensor, texts: Tensor) -> tuple[float, float]:
    """Pairs of unit vectors (B,E) -> the mean cosine of all unpaired ones, and the `effective_rank` of the images."""
    scores = images.float() @ texts.float().t()
    count = len(scores)
    unpaired = (scores.sum() - scores.diagonal().sum()) / max(count * (count - 1), 1)
    return float(unpaired), effective_rank(images)


def effective_rank(embeddings: Tensor) -> float:
    """embeddings (B,E) of unit norm -> the exponential of the entropy of the normalised singular values of the
    embeddings minus their mean: near 1 where they lie on a line, near min(B, E) where they spread evenly.

    It is 1 where they all lie at one point, since only rounding, in all directions, is left after the mean. Source:
    Roy and Vetterli, EUSIPCO 2007.
    """
    apart = embeddings.float() - embeddings.float().mean(0)
    if float(apart.square().sum(1).mean()) < POINT**2:
        return 1.0
    values = torch.linalg.svdvals(apart)
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))

"""The objectives: the Unified Training Objective (UTO) of USER, the hinge losses of VSE++, and InfoNCE.

Each is written once, for a query's positive score against its negatives; the batch loss and the queue loss share
it. All of it is computed in float32 or wider, whatever the type of the scores.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlib.arguments import checked
from userlib.config import ObjectiveConfig
from userlib.errors import UserError
from userlib.model.queue import check_ids
from userlib.precision import to_fp32


def uto_positive(positive: Tensor, *, leaky_positive: bool = True) -> Tensor:
    """UTO's positive term, -log(1 + relu(s+)): positive (B,) -> (B,).

    It has no gradient at s+ <= 0, so a model whose positive scores all start there learns nothing. The leaky form
    continues it below 0 as -s+, a straight line with its derivative at 0.
    """
    if not leaky_positive:
        return -torch.log1p(positive.relu())
    return -torch.where(positive > 0, torch.log1p(positive.relu()), positive)


def uto_negative(
    negatives: Tensor, ignore_mask: Tensor | None, *, mu: float | Tensor, gamma: float
) -> Tensor:
    """UTO's negative term, (1/mu) log(1 + sum_j exp(mu (s_j - gamma))): negatives (B,K) -> (B,).

    ignore_mask (B,K) is True where a score is no negative. It is applied after the scaling, so that a row without
    negatives is exactly zero, and so is its gradient. softplus(logsumexp) cannot overflow, where the sum of
    exponentials does at mu = 200.
    """
    scaled = mu * (to_fp32(negatives) - gamma)
    if ignore_mask is not None:
        scaled = scaled.masked_fill(ignore_mask, -math.inf)
    if scaled.shape[1] == 0:
        return scaled.sum(1)
    return F.softplus(torch.logsumexp(scaled, dim=1)) / mu


def hinge(
    positive: Tensor, negatives: Tensor, ignore_mask: Tensor | None, *, margin: float, hardest: bool
) -> Tensor:
    """Maximum (hardest) or sum over the negatives of [margin - s+ + s_j]_+: positive (B,), negatives (B,K),
    ignore_mask (B,K) -> (B,)  (VSE++, Faghri et al., BMVC 2018).
    """
    cost = (margin - to_fp32(positive).unsqueeze(1) + to_fp32(negatives)).relu()
    if ignore_mask is not None:
        cost = cost.masked_fill(ignore_mask, 0.0)
    if cost.shape[1] == 0:
        return cost.sum(1)
    return cost.amax(1) if hardest else cost.sum(1)


def infonce(positive: Tensor, negatives: Tensor, ignore_mask: Tensor | None, *, temperature: float) -> Tensor:
    """-log(e^{s+/T} / (e^{s+/T} + sum_j e^{s_j/T})): positive (B,), negatives (B,K), ignore_mask (B,K) -> (B,)
    (van den Oord et al., 2018).
    """
    gap = (to_fp32(negatives) - to_fp32(positive).unsqueeze(1)) / temperature
    if ignore_mask is not None:
        gap = gap.masked_fill(ignore_mask, -math.inf)
    if gap.shape[1] == 0:
        return gap.sum(1)
    return F.softplus(torch.logsumexp(gap, dim=1))


def query_loss(
    config: ObjectiveConfig, positive: Tensor, negatives: Tensor, ignore_mask: Tensor | None
) -> Tensor:
    """l(s+, {s_j}) of each query by the objective that config names: positive (B,), negatives (B,K), ignore_mask (B,K)
    -> (B,). Raises UserError for an unknown name.
    """
    positive = to_fp32(positive)
    if config.name == "uto":
        return uto_positive(positive, leaky_positive=config.leaky_positive) + uto_negative(
            negatives, ignore_mask, mu=config.mu, gamma=config.gamma
        )
    if config.name == "infonce":
        return infonce(positive, negatives, ignore_mask, temperature=config.temperature)
    if config.name in ("hinge-sum", "hinge-hardest"):
        return hinge(
            positive, negatives, ignore_mask, margin=config.margin, hardest=config.name == "hinge-hardest"
        )
    raise UserError(f"the objective is {config.name!r}; it must be uto, hinge-sum, hinge-hardest or infonce.")


def same_image(ids: Tensor) -> Tensor:
    """ids (B,) of the images -> (B,B), True where two pairs have the same image, the diagonal included."""
    return ids.unsqueeze(0) == ids.unsqueeze(1)


def batch_loss(config: ObjectiveConfig, scores: Tensor, ids: Tensor) -> Tensor:
    """L_b over scores (B,B), s_ij = image i with caption j, ids (B,) -> scalar.

    The losses of both directions are summed; UTO's positive term is counted only once, as in the paper's L_b.
    """
    diagonal = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    ignore_mask = same_image(ids) if config.mask_same_image else diagonal
    positive = scores.diagonal()
    rows = query_loss(config, positive, scores, ignore_mask) + query_loss(
        config, positive, scores.t(), ignore_mask
    )
    if config.name == "uto":
        rows = rows - uto_positive(to_fp32(positive), leaky_positive=config.leaky_positive)
    return rows.mean()


def queue_loss(
    config: ObjectiveConfig,
    positive_texts: Tensor,
    positive_images: Tensor,
    text_scores: Tensor,
    image_scores: Tensor,
    ignore_mask: Tensor,
) -> Tensor:
    """L_q -> scalar: image queries v against caption keys, plus caption queries t against image keys.

    positive_texts (B,) = v_i . t~_i, positive_images (B,) = t_i . v~_i (~: momentum keys), text_scores (B,K) =
    v_i . T_k, image_scores (B,K) = t_i . V_k over both queues, ignore_mask (B,K).
    """
    return (
        query_loss(config, positive_texts, text_scores, ignore_mask)
        + query_loss(config, positive_images, image_scores, ignore_mask)
    ).mean()


class ContrastiveLoss(nn.Module):
    """An objective as a module: called with scores it computes the batch loss L_b, and `queue` computes L_q.

    `MomentumContrast` combines them as `loss_weight * L_b + L_q`. The settings raise UserError if they are invalid.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config

    def extra_repr(self) -> str:
        return str(self.config)

    @checked
    def forward(self, scores: Tensor, image_ids: Tensor | None = None) -> Tensor:
        """scores (B,B), s_ij = image i with caption j, image_ids (B,), whole numbers, or None: distinct -> scalar, else
        UserError.
        """
        if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or not len(scores):
            raise UserError(
                f"the scores have the shape {tuple(scores.shape)}; it must be (B, B), with the pairs on the diagonal."
            )
        if image_ids is not None and image_ids.shape != scores.shape[:1]:
            raise UserError(
                f"the image ids have the shape {tuple(image_ids.shape)} and the scores {tuple(scores.shape)}; give one "
                "id for each pair, (B,)."
            )
        if image_ids is not None:
            check_ids(image_ids)
        ids = torch.arange(len(scores), device=scores.device) if image_ids is None else image_ids
        return batch_loss(self.config, scores, ids)

    def queue(
        self,
        positive_texts: Tensor,
        positive_images: Tensor,
        text_scores: Tensor,
        image_scores: Tensor,
        ignore_mask: Tensor,
    ) -> Tensor:
        """L_q, as `queue_loss` computes it."""
        return queue_loss(
            self.config, positive_texts, positive_images, text_scores, image_scores, ignore_mask
        )


class UTOLoss(ContrastiveLoss):
    """The unified training objective of USER. weight: loss_weight of L_b; the paper: 20 (Flickr30K), 1 (COCO)."""

    def __init__(
        self,
        *,
        mu: float = 90.0,
        gamma: float = 0.5,
        leaky_positive: bool = True,
        weight: float = 1.0,
        mask_same_image: bool = True,
    ) -> None:
        super().__init__(
            ObjectiveConfig(
                name="uto",
                mu=mu,
                gamma=gamma,
                leaky_positive=leaky_positive,
                loss_weight=weight,
                mask_same_image=mask_same_image,
            )
        )


class InfoNCELoss(ContrastiveLoss):
    """InfoNCE (van den Oord et al., 2018), summed over both directions."""

    def __init__(
        self, *, temperature: float = 0.05, weight: float = 1.0, mask_same_image: bool = True
    ) -> None:
        super().__init__(
            ObjectiveConfig(
                name="infonce", temperature=temperature, loss_weight=weight, mask_same_image=mask_same_image
            )
        )


class HingeLoss(ContrastiveLoss):
    """Hinge loss of the hardest negative of each query, or of all negatives (VSE++, Faghri et al., BMVC 2018)."""

    @checked
    def __init__(
        self,
        *,
        margin: float = 0.2,
        hardest: bool = True,
        weight: float = 1.0,
        mask_same_image: bool = True,
    ) -> None:
        super().__init__(
            ObjectiveConfig(
                name="hinge-hardest" if hardest else "hinge-sum",
                margin=margin,
                loss_weight=weight,
                mask_same_image=mask_same_image,
            )
        )

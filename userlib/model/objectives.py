"""What is minimised: the Unified Training Objective (UTO), and beside it the hinge of VSE++ and InfoNCE.

Each is written once for a row: a query's positive score against its negatives. The batch part and the queue
part call the same rows. All of it runs in fp32 at least, whatever the embeddings came in.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from userlib.config import ObjectiveConfig
from userlib.errors import UserError
from userlib.precision import wide


def pull(positive: Tensor, *, live: bool = True) -> Tensor:
    """UTO's positive part, -log(1 + relu(s+)): positive (B,) -> (B,).

    It has no gradient at s+ <= 0, so a start with all positives below zero is dead. The live form continues
    it below zero as a straight line of the same slope, -s+.
    """
    if not live:
        return -torch.log1p(positive.relu())
    return -torch.where(positive > 0, torch.log1p(positive.relu()), positive)


def push(negatives: Tensor, excluded: Tensor | None, *, mu: float | Tensor, gamma: float) -> Tensor:
    """UTO's negative part, (1/mu) log(1 + sum_j exp(mu (s_j - gamma))): negatives (B,K) -> (B,).

    excluded (B,K) is True where a score is no negative. It is applied last, after the scaling: a row with
    nothing left is exactly zero and so is its gradient. softplus(logsumexp) never overflows; the sum of
    exponentials does at mu = 200.
    """
    scaled = mu * (wide(negatives) - gamma)
    if excluded is not None:
        scaled = scaled.masked_fill(excluded, -math.inf)
    if scaled.shape[1] == 0:
        return scaled.sum(1)
    return F.softplus(torch.logsumexp(scaled, dim=1)) / mu


def hinge(
    positive: Tensor, negatives: Tensor, excluded: Tensor | None, *, margin: float, hardest: bool
) -> Tensor:
    """VSE++: sum or maximum over negatives of [margin - s+ + s_j]_+; (B,), (B,K) -> (B,)  (Faghri et al.,
    BMVC 2018).
    """
    cost = (margin - wide(positive).unsqueeze(1) + wide(negatives)).relu()
    if excluded is not None:
        cost = cost.masked_fill(excluded, 0.0)
    if cost.shape[1] == 0:
        return cost.sum(1)
    return cost.amax(1) if hardest else cost.sum(1)


def infonce(positive: Tensor, negatives: Tensor, excluded: Tensor | None, *, temperature: float) -> Tensor:
    """-log(e^{s+/T} / (e^{s+/T} + sum_j e^{s_j/T})): (B,), (B,K) -> (B,)  (van den Oord et al., 2018)."""
    gap = (wide(negatives) - wide(positive).unsqueeze(1)) / temperature
    if excluded is not None:
        gap = gap.masked_fill(excluded, -math.inf)
    if gap.shape[1] == 0:
        return gap.sum(1)
    return F.softplus(torch.logsumexp(gap, dim=1))


def row_loss(config: ObjectiveConfig, positive: Tensor, negatives: Tensor, excluded: Tensor | None) -> Tensor:
    """The chosen objective of one row a query: positive (B,), negatives (B,K), excluded (B,K) -> (B,)."""
    positive = wide(positive)
    if config.name == "uto":
        return pull(positive, live=config.live) + push(negatives, excluded, mu=config.mu, gamma=config.gamma)
    if config.name == "infonce":
        return infonce(positive, negatives, excluded, temperature=config.temperature)
    if config.name in ("hinge-sum", "hinge-hardest"):
        return hinge(
            positive, negatives, excluded, margin=config.margin, hardest=config.name == "hinge-hardest"
        )
    raise UserError(f"the objective is {config.name!r}; it must be uto, hinge-sum, hinge-hardest or infonce.")


def same_image(ids: Tensor) -> Tensor:
    """ids (B,) of the pictures -> (B,B) True where two rows are captions of one picture, the diagonal
    included.
    """
    return ids.unsqueeze(0) == ids.unsqueeze(1)


def batch_loss(config: ObjectiveConfig, scores: Tensor, ids: Tensor) -> Tensor:
    """L_b over scores (B,B), s_ij = picture i with caption j, ids (B,) -> scalar.

    Both directions are summed. UTO counts its positive part once (paper: L_b), the others in each direction.
    """
    diagonal = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    excluded = same_image(ids) if config.mask_same_image else diagonal
    positive = scores.diagonal()
    rows = row_loss(config, positive, scores, excluded) + row_loss(config, positive, scores.t(), excluded)
    if config.name == "uto":
        rows = rows - pull(wide(positive), live=config.live)
    return rows.mean()


def queue_loss(
    config: ObjectiveConfig,
    positive_texts: Tensor,
    positive_images: Tensor,
    text_scores: Tensor,
    image_scores: Tensor,
    excluded: Tensor,
) -> Tensor:
    """L_q -> scalar: picture queries against caption keys, and caption queries against picture keys.

    positive_texts (B,) = v_i . t~_i, positive_images (B,) = t_i . v~_i (~ momentum keys), text_scores (B,K) =
    v_i . T_k, image_scores (B,K) = t_i . V_k, excluded (B,K).
    """
    return (
        row_loss(config, positive_texts, text_scores, excluded)
        + row_loss(config, positive_images, image_scores, excluded)
    ).mean()

"""Soft targets: the model's softmax is fitted to how similar a frozen teacher finds two images or two captions.

    across   KL(softmax(V V^T / T) || softmax(v t^T / T)) + KL(softmax(W W^T / T) || softmax(t v^T / T))
    within   KL(softmax'(V V^T / T) || softmax'(v v^T / T)) + KL(softmax'(W W^T / T) || softmax'(t t^T / T))

V, W: the teacher's vectors of images and captions; v, t: the model's; softmax' leaves out the diagonal. The sum is
added to the loss, times `ObjectiveConfig.soft_weight` (in the source 0.1, next to InfoNCE). Source: CUSA (Huang et al.,
AAAI 2024). Its teachers are one network for images and another for text; here both are CLIP's towers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from userlib.arguments import positive
from userlib.precision import to_fp32


def divergence(target: Tensor, scores: Tensor, *, temperature: float, itself: bool = True) -> Tensor:
    """KL(softmax(target / T) || softmax(scores / T)), target and scores (B,B), mean over rows -> scalar. itself False
    leaves the diagonal out; a single pair then gives 0.
    """
    target, scores = to_fp32(target) / temperature, to_fp32(scores) / temperature
    if not itself:
        diagonal = torch.eye(len(target), dtype=torch.bool, device=target.device)
        lowest = -1e9 / temperature  # finite: 0 times infinity is nan
        target, scores = target.masked_fill(diagonal, lowest), scores.masked_fill(diagonal, lowest)
    return F.kl_div(scores.log_softmax(1), target.log_softmax(1), log_target=True, reduction="batchmean")


def soft_target_loss(
    images: Tensor, texts: Tensor, teacher_images: Tensor, teacher_texts: Tensor, *, temperature: float
) -> Tensor:
    """v (B,E), t (B,E), V (B,G), W (B,H), normalised here -> scalar. Raises UserError for a temperature <= 0."""
    positive("temperature", temperature)
    v, t, V, W = (F.normalize(to_fp32(x), dim=-1) for x in (images, texts, teacher_images, teacher_texts))
    like_images, like_texts = V @ V.t(), W @ W.t()
    across = divergence(like_images, v @ t.t(), temperature=temperature)
    across = across + divergence(like_texts, t @ v.t(), temperature=temperature)
    within = divergence(like_images, v @ v.t(), temperature=temperature, itself=False)
    within = within + divergence(like_texts, t @ t.t(), temperature=temperature, itself=False)
    return across + within

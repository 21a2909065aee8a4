"""Ranking all pairs of a test split, against the matrix product that cannot be avoided and against the usual loop."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from userlab.bench.case import Case, Goal
from userlab.bench.reference import reference_ranks
from userlib.evaluation import ranks

CAPTIONS = 5  # of each image


def embeddings(num_images: int, width: int, *, device: str = "cpu") -> tuple[Tensor, Tensor, np.ndarray]:
    """Unit vectors of images (N, E) and of captions near them (M, E), and the image of each caption (M,)."""
    draw = torch.Generator().manual_seed(0)
    images = nn.functional.normalize(torch.randn(num_images, width, generator=draw), dim=1)
    owner = np.repeat(np.arange(num_images), CAPTIONS)
    noise = torch.randn(len(owner), width, generator=draw) / width**0.5
    captions = nn.functional.normalize(images[owner] + 3 * noise, dim=1)
    return images.to(device), captions.to(device), owner


def cases(*, tiny: bool, device: str) -> Iterator[Case]:
    """COCO's 5,000 x 25,000 against the product, and Flickr30K's 1,000 x 5,000 against the loop."""
    width = 8 if tiny else 1024
    images, captions, owner = embeddings(20 if tiny else 5000, width, device=device)
    score = torch.empty(len(images), len(captions), device=device)
    yield Case(
        group="rank",
        name="ranks, COCO 5K",
        shapes=f"{len(images):,} x {len(captions):,} x {width}",
        ours=lambda: ranks(images, captions, owner),
        limit=lambda: torch.mm(images, captions.t(), out=score),
        limit_is="the product alone, with all scores in memory",
        flops=2.0 * len(images) * len(captions) * width,
        goals=(Goal("limit", 1.5),),
        notes=lambda: {"scores_mb": score.numel() * 4 / 1e6},
    )
    some, few, own = embeddings(20 if tiny else 1000, width, device=device)
    left, right = some.cpu().numpy(), few.cpu().numpy()

    def differs() -> float:
        ours, (i2t, t2i) = ranks(some, few, own), reference_ranks(left, right, own)
        return float(max(np.abs(ours.i2t - i2t).max(), np.abs(ours.t2i - t2i).max()))

    yield Case(
        group="rank",
        name="ranks, Flickr30K 1K",
        shapes=f"{len(some):,} x {len(few):,} x {width}",
        ours=lambda: ranks(some, few, own),
        reference=lambda: reference_ranks(left, right, own),
        reference_is="a sorted gallery per query",
        flops=2.0 * len(some) * len(few) * width,
        goals=(Goal("reference", 1 / 5),),
        differs=differs,
    )

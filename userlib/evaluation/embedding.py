"""Embeddings of a whole split: every image encoded once, every caption once.

Common evaluation scripts encode each image five times, once per caption; images are most of the work.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from userlib.config import one_of
from userlib.errors import UserError
from userlib.evaluation.checks import Array
from userlib.evaluation.metrics import Metrics, recalls
from userlib.evaluation.ranking import ranks
from userlib.inference import scoring

if TYPE_CHECKING:
    from userlib.data.captions import CaptionDataset
    from userlib.model.user import DualEncoder


def embed(
    model: "DualEncoder",
    pairs: "CaptionDataset",
    *,
    batch_size: int = 256,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: torch.device | str | None = None,
) -> tuple[Array, Array]:
    """images (N, E) and captions (M, E), float32, in the order of the split.

    precision: what the encoders compute in; the embeddings come back in float32 either way. device: the
    model's own by default. The model is put into evaluation mode and back.
    """
    one_of("precision", precision, ("fp32", "bf16"))
    images, rows, captions = [], [], []
    with scoring(model) as own:
        place = own if device is None else torch.device(device)
        with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"):
            for tokens, *extra in pairs.image_batches(batch_size):
                mask, guide = (None if part is None else part.to(place) for part in extra)
                images.append(model.encode_image(tokens.to(place), mask, guide).float().cpu())
            for numbers, input_ids, there in pairs.caption_batches(batch_size):  # by length, hence numbers
                rows.append(np.asarray(numbers))
                captions.append(model.encode_text(input_ids.to(place), there.to(place)).float().cpu())
    if not images or not captions:
        raise UserError(
            f"there is nothing to embed: {len(images)} batches of images, {len(captions)} of captions"
        )
    order = np.argsort(np.concatenate(rows))
    return torch.cat(images).numpy(), torch.cat(captions).numpy()[order]


def evaluate(model: "DualEncoder", pairs: "CaptionDataset") -> Metrics:
    """R@1, 5, 10, median and mean rank in both directions, and rSum, of a whole split."""
    images, texts = embed(model, pairs)
    return recalls(ranks(images, texts, pairs.caption_to_image))

"""Embeddings of a whole split: every image encoded once, every caption once.

Common evaluation scripts encode each image five times, once per caption; images are most of the work.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from userlib.arguments import one_of
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
    pairs: "CaptionDataset | None",
    *,
    batch_size: int = 256,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: torch.device | str | None = None,
    share: tuple[int, int] = (0, 1),
) -> tuple[Array, Array]:
    """The embeddings of images (N, E) and captions (M, E), float32, in the order of the split.

    precision: of the encoders; the embeddings are float32 in either case. device: of the model by default. share:
    (r, n) encodes only every n-th image and caption, from the r-th on, and gives zeros for the others, so that the sum
    over n processes is the whole. The model computes in evaluation mode, and its mode is restored. Raises UserError for
    another precision, and for a split (or a share of it) without images or captions.
    """
    one_of("precision", precision, ("fp32", "bf16"))
    if pairs is None:
        raise UserError(
            "there are no pairs to embed: the data have no such split; name one, as test_split does."
        )
    images, rows, captions = [], [], []
    with scoring(model) as own:
        place = own if device is None else torch.device(device)
        with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"):
            for tokens, *extra in pairs.image_batches(batch_size, share):
                mask, guide = (None if part is None else part.to(place) for part in extra)
                images.append(model.encode_image(tokens.to(place), mask, guide).float().cpu())
            for numbers, input_ids, there in pairs.caption_batches(batch_size, share):  # by length
                rows.append(np.asarray(numbers))
                captions.append(model.encode_text(input_ids.to(place), there.to(place)).float().cpu())
    if not images or not captions:
        raise UserError(
            f"there is nothing to embed: the split {pairs.split.name!r} has {len(images)} batches of images and "
            f"{len(captions)} of captions. Name a split that has both."
        )
    left, right = torch.cat(images).numpy(), torch.cat(captions).numpy()
    if share[1] == 1:
        return left, right[np.argsort(np.concatenate(rows))]
    whole = [np.zeros((count, left.shape[1]), np.float32) for count in (len(pairs.split), len(pairs))]
    whole[0][share[0] :: share[1]] = left
    whole[1][np.concatenate(rows)] = right
    return whole[0], whole[1]


def evaluate(model: "DualEncoder", pairs: "CaptionDataset | None") -> Metrics:
    """R@1, R@5, R@10, median and mean rank in both directions, and rSum, of a whole split by the embeddings. Raises
    UserError for None, which stands for a split that does not exist.
    """
    images, texts = embed(model, pairs)
    assert pairs is not None  # embed says so
    return recalls(ranks(images, texts, pairs.caption_to_image))

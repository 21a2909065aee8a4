"""Encoding a test split: every image once and captions sorted by length, against every image five times, unsorted."""

from collections.abc import Iterator

import torch

from userlab.bench.case import Case
from userlab.bench.gemms import alone, flops, gemms_of
from userlab.bench.train import PAPER, filled_model, paper_model, random_batch
from userlib.model.user import USER

CAPTIONS = 5


def cases(*, tiny: bool, device: str) -> Iterator[Case]:
    """256 images, as regions, and their captions at the paper's shapes."""
    config, num_images = paper_model(tiny=tiny), 4 if tiny else 256
    model = filled_model(config, PAPER, device=device).eval()
    images = random_batch(config, num_images, device=device)
    captions = random_batch(config, CAPTIONS * num_images, device=device)

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        return _ours(model, images.tokens, captions.input_ids, captions.attention_mask)

    def theirs() -> tuple[torch.Tensor, torch.Tensor]:
        return _reference(model, images.tokens, captions.input_ids, captions.attention_mask)

    noted = gemms_of(ours)
    yield Case(
        group="encode",
        name="images and captions",
        shapes=f"{num_images} images, {CAPTIONS * num_images:,} captions, {config.regions} x {config.region_dim}",
        ours=ours,
        reference=theirs,
        reference_is="an image encoded with each of its captions",
        limit=alone(noted, device),
        limit_is="its matrix products alone",
        flops=flops(noted),
        differs=lambda: max(float((a - b).abs().max()) for a, b in zip(ours(), theirs(), strict=True)),
    )


@torch.inference_mode()
def _ours(
    model: USER, tokens: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.cat([model.encode_image(part) for part in tokens.split(256)])
    order = mask.sum(1).argsort(stable=True)
    texts = images.new_empty(len(input_ids), images.shape[1])
    for rows in order.split(256):
        longest = int(mask[rows].sum(1).max())
        texts[rows] = model.encode_text(input_ids[rows, :longest], mask[rows, :longest])
    return images, texts


@torch.inference_mode()
def _reference(
    model: USER, tokens: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    images, texts = [], []
    for start in range(0, len(input_ids), 128):
        rows = torch.arange(start, min(start + 128, len(input_ids)))
        images.append(model.encode_image(tokens[rows // CAPTIONS]))
        texts.append(model.encode_text(input_ids[rows], mask[rows]))
    return torch.cat(images)[::CAPTIONS], torch.cat(texts)

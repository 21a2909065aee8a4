"""Encoding a test split: every picture once and captions by length, beside five times each and as they come."""

from collections.abc import Iterator

import torch

from userlab.bench.case import Case
from userlab.bench.gemms import alone, flops, gemms_of
from userlab.bench.train import PAPER, filled_model, paper_model, random_batch
from userlib.model.user import USER

CAPTIONS = 5


def cases(*, tiny: bool, device: str) -> Iterator[Case]:
    """256 pictures and their captions at the paper's shapes, on cached regions."""
    config, pictures = paper_model(tiny=tiny), 4 if tiny else 256
    model = filled_model(config, PAPER, device=device).eval()
    images = random_batch(config, pictures, device=device)
    captions = random_batch(config, CAPTIONS * pictures, device=device)

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        return _ours(model, images.tokens, captions.input_ids, captions.attention_mask)

    def theirs() -> tuple[torch.Tensor, torch.Tensor]:
        return _field(model, images.tokens, captions.input_ids, captions.attention_mask)

    noted = gemms_of(ours)
    yield Case(
        group="encode",
        name="pictures and captions",
        shapes=f"{pictures} pictures, {CAPTIONS * pictures:,} captions, {config.regions} x {config.region_dim}",
        ours=ours,
        reference=theirs,
        reference_is="a picture beside each of its captions",
        limit=alone(noted, device),
        limit_is="its matrix products alone",
        flops=flops(noted),
        differs=lambda: max(float((a - b).abs().max()) for a, b in zip(ours(), theirs(), strict=True)),
    )


@torch.inference_mode()
def _ours(
    model: USER, tokens: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    pictures = torch.cat([model.encode_image(part) for part in tokens.split(256)])
    order = mask.sum(1).argsort(stable=True)
    texts = pictures.new_empty(len(input_ids), pictures.shape[1])
    for rows in order.split(256):
        longest = int(mask[rows].sum(1).max())
        texts[rows] = model.encode_text(input_ids[rows, :longest], mask[rows, :longest])
    return pictures, texts


@torch.inference_mode()
def _field(
    model: USER, tokens: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    pictures, texts = [], []
    for start in range(0, len(input_ids), 128):
        rows = torch.arange(start, min(start + 128, len(input_ids)))
        pictures.append(model.encode_image(tokens[rows // CAPTIONS]))
        texts.append(model.encode_text(input_ids[rows], mask[rows]))
    return torch.cat(pictures)[::CAPTIONS], torch.cat(texts)

"""region-mini, which takes the part of the object detector: a small residual network that classifies the cells of a
grid.

It is trained on the split train of scenes and its masks, never on captions, to predict for each of 8 x 8 cells which
kinds, colours and patterns cover at least a sixteenth of it. Its tokens are the features below the three classifiers,
as bottom-up attention takes them from Faster R-CNN. Images of 128 x 128 pixels -> tokens (B, 64, 192).
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from userlab.pretraining.assets import check_out, command_of, write_asset
from userlab.pretraining.drawing import NAMES, Drawn, Wanted, drawn, shifted
from userlab.pretraining.loop import Schedule, optimise
from userlab.pretraining.settings import RegionsConfig
from userlib.files import cache_dir, remove_folder, sha256_bytes, write_json

GRID, SIDE, WIDTH = 8, 128, 192
CELL = SIDE // GRID
SHIFT = 12  # pixels by which images are moved at most
SHARE = 1 / 16  # of a cell that a name must cover to be a label of it
NETWORK: dict[str, Any] = {  # the JSON next to the weights, which userlib.data.extractors reads
    "model": "resnet10t",
    "kwargs": {"channels": [32, 64, 128, WIDTH], "stem_width": 16, "output_stride": 16, "num_classes": 0},
    "input_size": [3, SIDE, SIDE],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "range": "0-1",
    "tokens": {"from": "forward_features", "shape": [GRID * GRID, WIDTH], "grid": [GRID, GRID]},
}


class Regions(nn.Module):
    """The network and its classifiers: uint8 images (B, 128, 128, 3) -> logits of kinds, of colours and of
    patterns, each (B, 64, names).
    """

    def __init__(self) -> None:
        import timm

        super().__init__()
        self.trunk: Any = timm.create_model(NETWORK["model"], pretrained=False, **NETWORK["kwargs"])
        heads = [nn.Linear(WIDTH, len(names)) for names in NAMES]
        for head in heads:
            nn.init.constant_(head.bias, -4.0)  # most cells lack most names
        self.heads = nn.ModuleList(heads)
        self.to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        x = pictures.permute(0, 3, 1, 2).float() / 255
        x = (x - 0.5) / 0.25
        tokens = self.trunk.forward_features(x).flatten(2).transpose(1, 2)  # (B, 64, 192)
        return [head(tokens) for head in self.heads]


def shares(labels: np.ndarray, names: int) -> np.ndarray:
    """Labels (B, 128, 128) of one kind -> the share of each cell that each name covers, (B, 64, names) float32."""
    cells = labels.reshape(len(labels), GRID, CELL, GRID, CELL).swapaxes(2, 3).reshape(-1, CELL * CELL)
    place = np.arange(len(cells))[:, None] * (names + 1) + np.minimum(cells, names)
    counts = np.bincount(place.ravel(), minlength=len(cells) * (names + 1))
    table = counts.reshape(len(labels), GRID * GRID, names + 1)[..., :names]
    return (table / CELL**2).astype(np.float32)


def varied(
    pictures: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Augmented copies: both moved by up to SHIFT pixels (edges repeat) and mirrored alike, images also brightened or
    darkened.
    """
    seen, named = np.empty_like(pictures), np.empty_like(labels)
    for i in range(len(pictures)):
        (y, x), mirror = rng.integers(0, 2 * SHIFT + 1, 2).tolist(), rng.random() < 0.5
        for array, out in ((pictures, seen), (labels, named)):
            moved = shifted(array[i], SHIFT, y, x)
            out[i] = moved[:, ::-1] if mirror else moved
    light = rng.uniform(0.85, 1.15, (len(pictures), 1, 1, 1)).astype(np.float32)
    return np.clip(seen * light, 0, 255).astype(np.uint8), named


def loss_at(step: int, *, network: Regions, train: Drawn, config: RegionsConfig) -> Tensor:
    """The binary cross-entropy on the batch of a step, summed over names and averaged over cells."""
    per_epoch = len(train) // config.batch_size
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([config.seed, 1, epoch]).permutation(len(train))
    rows = order[place * config.batch_size :][: config.batch_size]
    rng = np.random.default_rng([config.seed, 2, step])
    pictures, labels = varied(train.gather("pictures", rows), train.gather("labels", rows), rng)
    logits = network(torch.from_numpy(pictures))
    terms = []
    for channel, channel_logits in enumerate(logits):
        there = torch.from_numpy(shares(labels[..., channel], channel_logits.shape[-1]) >= SHARE).float()
        terms.append(F.binary_cross_entropy_with_logits(channel_logits.float(), there, reduction="sum"))
    return torch.stack(terms).sum() / (len(rows) * GRID * GRID)


@torch.inference_mode()
def accuracy(network: Regions, val: Drawn) -> dict[str, float]:
    """The accuracy in percent for kinds, colours and patterns, over the cells that one name covers by half or more."""
    right, asked = np.zeros(len(NAMES)), np.zeros(len(NAMES))
    for rows in np.array_split(np.arange(len(val)), -(-len(val) // 50)):
        labels = val.gather("labels", rows)
        for channel, logits in enumerate(network(torch.from_numpy(val.gather("pictures", rows)))):
            share = shares(labels[..., channel], logits.shape[-1])
            clear = share.max(-1) >= 0.5
            right[channel] += (logits.argmax(-1).numpy() == share.argmax(-1))[clear].sum()
            asked[channel] += clear.sum()
    names = ("val kinds", "val colours", "val patterns")
    return {name: float(value) for name, value in zip(names, 100 * right / np.maximum(asked, 1), strict=True)}


def pretrain_regions(
    config: RegionsConfig, out: Path, *, processes: int = 1, val: int = 500, show: bool = True
) -> dict[str, Any]:
    """Trains region-mini, or resumes its training, and writes its folder. Returns the provenance."""
    from safetensors.torch import save_file

    check_out(out, ("region-mini.safetensors", "region-mini.json"))
    train = drawn(Wanted(split="train", count=config.pictures, labels=True), processes=processes, show=show)
    held = drawn(Wanted(split="val", count=val, labels=True), processes=processes, show=show)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = Regions()
    steps = config.epochs * (config.pictures // config.batch_size)
    state = (
        cache_dir()
        / "pretraining"
        / f"region-mini-{sha256_bytes(repr(config), train.chunks[0].parent.name)[:16]}"
    )
    log = optimise(
        network,
        partial(loss_at, network=network, train=train, config=config),
        Schedule(steps=steps, lr=config.lr, weight_decay=config.weight_decay),
        judge=partial(accuracy, network, held),
        judgements=min(config.epochs, 8),
        state=state,
        what="region-mini",
        show=show,
    )

    def write(folder: Path) -> None:
        weights = {
            name: tensor.half().contiguous()
            for name, tensor in network.trunk.state_dict().items()
            if tensor.is_floating_point()
        }
        save_file(weights, folder / "region-mini.safetensors")
        write_json(folder / "region-mini.json", NETWORK)

    command = command_of("pretrain-regions", out, config)
    facts = write_asset(out, write, log, command=command, config=asdict(config), split="train")
    remove_folder(state)
    return facts

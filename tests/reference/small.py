"""Small models and batches for the tests of the model and of training."""

import torch

from userlib.config import ModelConfig
from userlib.data.captions import Batch

WIDTHS = {
    "regions": 5,
    "region_dim": 8,
    "guide_dim": 6,
    "embed_dim": 10,
    "vocab_size": 30,
    "text_width": 12,
    "word_width": 7,
    "queue_size": 6,
    "momentum": 0.9,
}
PAPER = {
    "enhancement": "sge",
    "norm": "batch",
    "residual_scale": 1.0,
    "text": "bert",
    "text_width": 8,
    "text_layers": 2,
    "text_heads": 2,
}


def small(**changes) -> ModelConfig:
    """A model of a few hundred parameters: LayerNorm, a GRU."""
    return ModelConfig(**{**WIDTHS, **changes})


def small_paper(**changes) -> ModelConfig:
    """The paper's layout at small widths: BatchNorm, SGE, s = 1, BERT."""
    return ModelConfig(**{**WIDTHS, **PAPER, **changes})


def make_batch(config: ModelConfig, ids, *, seed=0, mask=False, dtype=torch.float32, full=False) -> Batch:
    """A batch of random tokens and captions for pictures `ids`; mask: some regions missing; full: no padding."""
    draw = torch.Generator().manual_seed(seed)
    count, words = len(ids), 6
    tokens = torch.randn(count, config.regions, config.region_dim, generator=draw, dtype=dtype)
    token_mask = None
    if mask:
        token_mask = torch.rand(count, config.regions, generator=draw) < 0.7
        token_mask[:, 0] = True
    lengths = torch.randint(2, words + 1, (count,), generator=draw)
    lengths[0] = words
    attention_mask = torch.arange(words) < lengths.unsqueeze(1)
    if full:
        attention_mask[:] = True
    numbers = torch.randint(5, config.vocab_size, (count, words), generator=draw)
    return Batch(
        tokens=tokens,
        token_mask=token_mask,
        guide=torch.randn(count, config.guide_dim, generator=draw, dtype=dtype),
        input_ids=numbers.masked_fill(~attention_mask, 0),
        attention_mask=attention_mask,
        image_ids=torch.tensor(ids),
    )


def shake(module: torch.nn.Module, *, seed=0) -> torch.nn.Module:
    """Random numbers in every parameter and BatchNorm statistic: a gain of 1 or a bias of 0 hides faults."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            noise = torch.randn(value.shape, generator=draw, dtype=torch.float64).to(value.dtype)
            value.copy_(value + 0.2 * noise if value.ndim < 2 else value + 0.1 * noise)
        for name, value in module.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.3 * torch.randn(value.shape, generator=draw, dtype=torch.float64))
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=draw, dtype=torch.float64))
    return module


def named(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of parameters (that ask for gradients) and buffers by name, for the reference."""
    result = {name: value.detach().clone().requires_grad_() for name, value in module.named_parameters()}
    return result | {name: value.detach().clone() for name, value in module.named_buffers()}

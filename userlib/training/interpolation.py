"""After fine-tuning: pretrained weights between their start and their end, at the share alpha that is best on val.

theta = (1 - alpha) theta_start + alpha theta_end (WiSE-FT, Wortsman et al., CVPR 2022), for pretrained weights only;
weights that started at random keep their end. Of a LoRA adapter the matrix B is scaled by alpha, as it starts at zero.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from userlib.config import Config
from userlib.errors import UserError
from userlib.model.user import DualEncoder

ALPHAS = tuple(i / 10 for i in range(11))


def check_interpolation(config: Config) -> None:
    """Raises UserError where interpolate is set and no pretrained network is trained."""
    model = config.model
    text = (
        model.text in ("bert", "hf", "clip") and model.text_model is not None and model.train_text != "none"
    )
    if config.training.interpolate and not text and model.train_image == "none":
        raise UserError(
            f"interpolate is true, text {model.text!r}, train_text {model.train_text!r} and train_image "
            f"{model.train_image!r}; no pretrained network is trained, so there is nothing to interpolate. Use "
            "--train-image or --text hf:NAME, or interpolate false."
        )


def start_of(config: Config) -> dict[str, Tensor]:
    """The trainable pretrained weights with which a run of that configuration starts, by their names in a
    `DualEncoder`. Raises UserError where they cannot be loaded.
    """
    with torch.random.fork_rng(devices=[]):
        encoders = DualEncoder(config.model)
    encoders.load_start(config.data.tokens, config.data.token_weights)
    names = {id(p): name for name, p in encoders.named_parameters()}
    towers = (*encoders.image_encoder.pretrained(), *encoders.text_encoder.pretrained())
    start = {names[id(p)]: p.detach() for p in towers if p.requires_grad}
    return {
        name: torch.zeros_like(value) if ".lora_B." in name else value
        for name, value in start.items()
        if ".lora_A." not in name
    }


def interpolate(
    encoders: DualEncoder, start: dict[str, Tensor], rsum: Callable[[DualEncoder], float]
) -> dict[str, float]:
    """Sets the encoders to the best share by rsum(encoders), and returns the rSum of each and the best share:
    {"0.0": ..., ..., "1.0": ..., "alpha": ...}. Of equal shares the larger one is taken.
    """
    parameters = dict(encoders.named_parameters())
    end = {name: parameters[name].detach().clone() for name in start}
    scores: dict[str, float] = {}
    for alpha in ALPHAS:
        _set(parameters, start, end, alpha)
        scores[str(alpha)] = rsum(encoders)
    best = max(ALPHAS, key=lambda alpha: (scores[str(alpha)], alpha))
    _set(parameters, start, end, best)
    return {**scores, "alpha": best}


@torch.no_grad()
def _set(
    parameters: dict[str, torch.nn.Parameter], start: dict[str, Tensor], end: dict[str, Tensor], alpha: float
) -> None:
    for name, value in end.items():
        parameters[name].copy_(torch.lerp(start[name].to(value.device), value, alpha))

"""After fine-tuning: weights between the start and the end of a pretrained network, at the share that is best on val.

theta = (1 - alpha) theta_start + alpha theta_end (WiSE-FT, Wortsman et al., CVPR 2022), for what came pretrained; what
began at random stays as it ended. Of a LoRA its change of the weights is scaled, B by alpha.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from userlib.config import Config
from userlib.errors import UserError
from userlib.model.user import DualEncoder

ALPHAS = tuple(i / 10 for i in range(11))


def check_interpolation(config: Config) -> None:
    """Raises UserError where nothing pretrained is trained: there is no start to go back to."""
    model = config.model
    text = (
        model.text in ("bert", "hf", "clip") and model.text_model is not None and model.train_text != "none"
    )
    if config.training.interpolate and not text and model.train_image == "none":
        raise UserError(
            f"interpolate is true, text {model.text!r}, train_text {model.train_text!r} and train_image "
            f"{model.train_image!r}; no pretrained network is trained, so that there is no start to go back to. Use "
            "--train-image or --text hf:NAME, or interpolate false."
        )


def start_of(config: Config) -> dict[str, Tensor]:
    """The pretrained weights that a run of that configuration starts from, by their names in its encoders."""
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
    """Leaves the encoders at the best share, and says the rSum of each: {"0.0": ..., "1.0": ..., "alpha": the best}."""
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

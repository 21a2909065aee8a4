"""Images as pixels for a tower that is trained: at its input size, and for training cropped and flipped at random.

`tower_settings` says, as JSON, how a tower is built and how its input is made; it is stored in the checkpoint. Images
are decoded at each step, in worker processes; or once, where the pixels are cached on the disk in the same way as
tokens (as those of an extractor called `pixels:SETTINGS`).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from userlib.data.base import Extractor, refuse_weights, unknown
from userlib.data.splits import Pictures
from userlib.errors import UserError

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
ASPECT = (3 / 4, 4 / 3)  # of random crops, width to height
SPEC = "pixels:"


def tower_settings(spec: str, weights: Path | None = None) -> dict[str, Any]:
    """The settings of the tower that gives the tokens `spec`: kind, how it is built, input_size, mean and std (of
    values from 0 to 255), resize, interpolation, and the shape of its tokens. Raises UserError for tokens that no
    trainable tower gives.
    """
    from userlib.data.backbones import TimmExtractor
    from userlib.data.clip import ClipExtractor, clip_settings
    from userlib.data.extractors import make_extractor

    extractor = make_extractor(spec, weights=weights) if spec != "precomputed" else None
    if isinstance(extractor, TimmExtractor):
        own = extractor.settings
        factor = 1.0 if own["range"] == "0-255" else 255.0
        scaled = {key: [factor * value for value in own[key]] for key in ("mean", "std")}
        kept = {key: own[key] for key in ("model", "kwargs", "input_size", "tokens")}
        return {"kind": "timm", **kept, **scaled, "resize": "squash", "interpolation": "bicubic"}
    if isinstance(extractor, ClipExtractor):
        tokens = {"shape": list(extractor.token_shape), "grid": extractor.grid}
        return {
            "kind": "open_clip",
            **clip_settings(extractor.model_name, extractor.weights),
            "tokens": tokens,
        }
    raise UserError(
        f"tokens is {spec!r}, for which there is no tower to train from pixels. Use timm:NAME, "
        "open_clip:NAME/WEIGHTS, region-mini or clip-mini, or --train-image none."
    )


def to_input(picture: Image.Image, settings: dict[str, Any]) -> Image.Image:
    """The image at the tower's input size: squashed, or scaled until it covers that, and the centre cropped."""
    _, height, width = settings["input_size"]
    resample = FILTERS[settings["interpolation"]]
    if picture.size == (width, height):
        return picture
    if settings["resize"] == "squash":
        return picture.resize((width, height), resample)
    short, long = sorted(picture.size)
    scaled = [width if side == short else int(width * long / short) for side in picture.size]
    if width != height:  # as open_clip scales for such an input: both sides are covered
        ratio = min(picture.width / width, picture.height / height)
        scaled = [round(side / ratio) for side in picture.size]
    picture = picture.resize((scaled[0], scaled[1]), resample)
    left, top = round((scaled[0] - width) / 2), round((scaled[1] - height) / 2)
    return picture.crop((left, top, left + width, top + height))


def random_box(
    size: tuple[int, int], rng: np.random.Generator, share: float
) -> tuple[float, float, float, float]:
    """left, top, right, bottom in pixels of a random crop (after Szegedy et al., CVPR 2015): its share of the area is
    drawn from share..1, its aspect ratio relative to the image's own from 3/4..4/3, its place uniformly.
    """
    area = rng.uniform(share, 1.0)
    ratio = np.exp(rng.uniform(np.log(ASPECT[0]), np.log(ASPECT[1])))
    wide, high = min(1.0, max(area, (area * ratio) ** 0.5)), min(1.0, max(area, (area / ratio) ** 0.5))
    left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
    return left * size[0], top * size[1], (left + wide) * size[0], (top + high) * size[1]


class Pixels:
    """The images of a split as an array (N, 3, H, W) of uint8, decoded when its rows are read. kept: the same array
    made earlier, on the disk, which is read instead.
    """

    ndim, dtype = 4, np.dtype(np.uint8)

    def __init__(
        self, settings: dict[str, Any], pictures: Pictures | None, kept: np.ndarray | None = None
    ) -> None:
        self.settings, self.pictures, self.kept = settings, pictures, kept
        count = len(kept) if kept is not None else len(pictures or ())
        self.shape: tuple[int, ...] = (count, *settings["input_size"])
        self.regions = int(settings["tokens"]["shape"][0])

    def __len__(self) -> int:
        return self.shape[0]

    def _picture(self, row: int) -> Image.Image:
        if self.kept is not None:
            return Image.fromarray(np.asarray(self.kept[row]).astype(np.uint8).transpose(1, 2, 0))
        assert self.pictures is not None
        return self.pictures[row]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The whole images at the input size, for evaluation and search."""
        chosen = np.arange(len(self))[rows]
        if self.kept is not None:
            return np.asarray(self.kept[chosen]).astype(np.uint8)
        if np.ndim(chosen) == 0:
            return self._array(to_input(self._picture(int(chosen)), self.settings))
        each = [self._array(to_input(self._picture(int(row)), self.settings)) for row in chosen]
        return np.stack(each) if each else np.empty((0, *self.shape[1:]), np.uint8)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def drawn(self, rows: np.ndarray, rng: np.random.Generator, *, crop: float, hflip: bool) -> np.ndarray:
        """(B, 3, H, W) uint8 for a training step: of each image a random crop of at least the share `crop` of its area
        (1: no cropping), flipped with probability 1/2 where hflip is set.
        """
        _, height, width = self.settings["input_size"]
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for i, row in enumerate(rows):
            picture = self._picture(int(row))
            if crop < 1:
                box = random_box(picture.size, rng, crop)
                picture = picture.resize((width, height), FILTERS[self.settings["interpolation"]], box=box)
            picture = to_input(picture, self.settings)
            if hflip and rng.random() < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            out[i] = self._array(picture)
        return out

    @staticmethod
    def _array(picture: Image.Image) -> np.ndarray:
        return np.array(picture.convert("RGB")).transpose(2, 0, 1)


def pixels_of(pictures: Sequence[Image.Image], settings: dict[str, Any]) -> Tensor:
    """Images -> (B, 3, H, W) uint8, the input of a trained tower."""
    return torch.from_numpy(Pixels(settings, pictures)[:])


class PixelExtractor(Extractor):
    """No network: its "tokens" are the pixels, so that they are cached on the disk in the same way."""

    local = True

    def __init__(self, spec: str, device: str) -> None:
        super().__init__(spec, device)
        self.settings = json.loads(spec.removeprefix(SPEC))
        self.token_shape = tuple(self.settings["input_size"])
        self.network = nn.Identity()

    def cache_key(self) -> dict[str, Any]:
        return {
            "kind": "pixels",
            **{key: self.settings[key] for key in ("input_size", "resize", "interpolation")},
        }

    def meta_model(self) -> tuple[nn.Module, Callable[[Tensor], Any], Tensor]:
        return self.network, self.network, torch.empty(1, *self.token_shape, device="meta")

    def prepare(self, picture: Image.Image) -> Tensor:
        return torch.from_numpy(Pixels._array(to_input(picture, self.settings)))

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        return inputs.float(), None  # whole numbers to 255, which float16 holds exactly


def make_pixels(spec: str, *, weights: Path | None, device: str) -> PixelExtractor:
    """`pixels:SETTINGS`, for the library's own use."""
    refuse_weights(spec, weights)
    if not spec.startswith(f"{SPEC}{{"):
        raise unknown(spec)
    return PixelExtractor(spec, device)

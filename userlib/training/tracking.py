"""Logs a run while it is training, by accelerate's trackers: its history, settings and a few retrieved images.

Without --track it is off. tensorboard needs no account and writes to the folder `tracking` of the run.
"""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from userlib.config import Config, to_json
from userlib.data.captions import CaptionDataset
from userlib.errors import UserError
from userlib.inference import scoring
from userlib.model.user import DualEncoder

if TYPE_CHECKING:
    from accelerate import Accelerator

TRACKERS = (
    "tensorboard", "wandb", "trackio", "mlflow", "aim", "swanlab", "dvclive", "comet_ml", "clearml",
)  # fmt: skip
EXTRAS = ("tensorboard", "wandb", "trackio")
EVERY = 10  # steps between two logged losses
QUERIES, FOUND, GALLERY, SIDE = 4, 5, 256, 96  # captions shown, hits of each, images searched, their pixels


def check_trackers(names: Sequence[str], out: Path | None) -> None:
    """Raises UserError, before any work, for a tracker that is unknown or whose package is not installed, and for
    trackers of a run without a folder.
    """
    if names and out is None:
        raise UserError(
            f"track is {', '.join(names)}, and the run has no folder to write to; give out=FOLDER."
        )
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"--track is {name!r}; it must be one of {', '.join(TRACKERS)}.")
        if importlib.util.find_spec(name) is None:
            how = f'pip install -e ".[{name}]"' if name in EXTRAS else f"pip install {name}"
            raise UserError(
                f"--track is {name!r}, and the package {name} is not installed; install it by {how}"
            )


class Tracking:
    """The trackers of one run; without names it does nothing. Of several processes only the main one writes. Raises
    UserError as `check_trackers` does, and for a run without a folder.
    """

    def __init__(
        self, names: Sequence[str], accelerator: "Accelerator", out: Path | None, config: Config
    ) -> None:
        check_trackers(names, out)
        self.names, self.accelerator = tuple(names), accelerator
        if not names or out is None:
            return
        from accelerate.tracking import filter_trackers

        folder = out / "tracking"
        folder.mkdir(parents=True, exist_ok=True)
        accelerator.project_configuration.set_directories(str(folder))
        accelerator.log_with = filter_trackers(list(names), str(folder))
        settings = {
            f"{part}.{key}": value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
            for part, values in to_json(config).items()
            for key, value in values.items()
        }
        named = {name: {"name": out.name} for name in names if name in ("wandb", "trackio")}
        accelerator.init_trackers("userlib", config=settings, init_kwargs=named)

    def step(self, step: int, values: Mapping[str, Any]) -> None:
        """Logs the values of every tenth step, as step/NAME."""
        if self.names and step % EVERY == 0:
            self.accelerator.log({f"step/{name}": float(value) for name, value in values.items()}, step=step)

    def row(
        self, row: Mapping[str, float], encoders: DualEncoder, pairs: CaptionDataset, device: str
    ) -> None:
        """Logs one row of the history, and the images that a few captions retrieve."""
        if not self.names:
            return
        step = int(row["step"])
        self.accelerator.log({name: value for name, value in row.items() if name != "step"}, step=step)
        shown = [name for name in self.names if name in ("tensorboard", "wandb")]
        if shown and pairs.split.pictures is not None and self.accelerator.is_main_process:
            images = retrieved(encoders, pairs, device)
            for name in shown:
                more = {"dataformats": "NHWC"} if name == "tensorboard" else {}
                self.accelerator.get_tracker(name).log_images({"retrieved": images}, step=step, **more)

    def end(self) -> None:
        """Finishes writing."""
        if self.names:
            self.accelerator.end_training()


def retrieved(encoders: DualEncoder, pairs: CaptionDataset, device: str) -> NDArray[np.uint8]:
    """The best hits for a few captions among the first images of a split, (QUERIES, SIDE, FOUND * SIDE, 3); the
    ground-truth image has a green frame.
    """
    _, first = np.unique(pairs.caption_to_image, return_index=True)
    batch = pairs.batch(first[:QUERIES]).to(device)
    tokens, *more = next(pairs.image_batches(GALLERY))
    mask, guide = (None if part is None else part.to(device) for part in more)
    with scoring(encoders):
        images = encoders.encode_image(tokens.to(device), mask, guide)
        captions = encoders.encode_text(batch.input_ids, batch.attention_mask)
        scores = (captions @ images.T).float().cpu().numpy()
    pictures, strips = pairs.split.pictures, []
    assert pictures is not None
    for own, values in zip(batch.image_ids.tolist(), scores, strict=True):
        tiles = []
        for row in np.argsort(-values, kind="stable")[:FOUND].tolist():
            tile = ImageOps.fit(pictures[row].convert("RGB"), (SIDE - 8, SIDE - 8), Image.Resampling.BILINEAR)
            tiles.append(np.asarray(ImageOps.expand(tile, 4, (0, 200, 0) if row == own else (255, 255, 255))))
        tiles += [np.full((SIDE, SIDE, 3), 255, np.uint8)] * (FOUND - len(tiles))
        strips.append(np.concatenate(tiles, 1))
    return np.stack(strips)

"""Loading: the time of a batch compared with a step's, and the share of a run in which the step waits for data."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from userlab.bench.case import Case
from userlab.bench.train import Step
from userlib.config import Config
from userlib.data.captions import Batch
from userlib.model.user import USER
from userlib.presets import preset
from userlib.training import Prepared, prepare
from userlib.training.schedule import batch_indices, batches

MOST = 0.05  # of a step


def cases(*, tiny: bool, device: str) -> Iterator[Case | dict[str, Any]]:
    """The preset scenes, and photos where USERLIB_PHOTOS names a folder of them."""
    train = {"train": 30, "val": 6, "test": 6} if tiny else {"train": 1000, "val": 200, "test": 500}
    yield _case("scenes", _short(preset("scenes"), train, tiny), tiny, device)
    folder = os.environ.get("USERLIB_PHOTOS")
    if not folder or tiny:
        yield {"group": "load", "case": "photos", "skipped": "set USERLIB_PHOTOS to a folder of photos"}
        return
    base = preset("photos")
    weights = sorted(Path(folder).glob("*.safetensors"))
    data = replace(base.data, data=folder, token_weights=str(weights[0]) if weights else None)
    yield _case("photos", replace(base, data=data), tiny, device)


def _short(config: Config, sizes: dict[str, int], tiny: bool) -> Config:
    batch = 8 if tiny else config.training.batch_size
    return replace(
        config,
        data=replace(config.data, sizes=sizes),
        training=replace(config.training, steps=4 if tiny else 30, batch_size=batch, precision="fp32"),
    )


def _case(name: str, config: Config, tiny: bool, device: str) -> Case:
    prepared = prepare(config, progress=not tiny)
    prepared.train.cache_on_device(torch.device(device))
    torch.manual_seed(0)
    model = USER(prepared.config.model, prepared.config.objective).to(device)
    training = prepared.config.training
    rows = batch_indices(0, len(prepared.train), training)

    def read() -> Batch:
        draw = np.random.default_rng(0)
        return prepared.train.batch(
            rows,
            rng=draw,
            caption_augment_prob=training.caption_augment_prob,
            region_mask_prob=training.region_mask_prob,
        )

    step = Step(model, read().to(device))
    shape = prepared.train.features.tokens.shape
    return Case(
        group="load",
        name=f"a batch of {name}",
        shapes=f"batch {len(rows)}, {shape[1]} x {shape[2]}",
        ours=read,
        reference=step,
        reference_is="the step it is read for",
        notes=lambda: _waiting(prepared, step, steps=4 if tiny else 30),
    )


def _waiting(prepared: Prepared, step: Step, *, steps: int) -> dict[str, Any]:
    """The share of the wall-clock time for which a run of `steps` steps waits for its next batch."""
    waited = begun = 0.0
    source = batches(prepared, 0, steps, 0, 1)
    for number in range(steps):
        began = time.perf_counter()
        step.batch = next(source).to(step.batch.tokens.device)
        if number == 0:  # the first is read while nothing else runs
            begun = time.perf_counter()
        else:
            waited += time.perf_counter() - began
        step()
    share = waited / (time.perf_counter() - begun)
    return {"waiting_share": share, "waiting_at_most_5_percent": share <= MOST}

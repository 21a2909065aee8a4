"""Eight steps of the whole model on drawn scenes, in one digest: has a change of form changed a number?

    python -m tests.golden            print the run's losses and the SHA-256 of its weights, to compare by eye or diff

On one machine two versions of the code that mean the same give the same digest, bit for bit. On another machine the
bits may differ in the last place; there the losses agree to 1e-5 (tests/test_golden.py).
"""

import hashlib
import json
from dataclasses import replace

import torch

from userlib.config import Config
from userlib.presets import preset
from userlib.training import fit, prepare

STEPS = 8


def golden_config() -> Config:
    """SGE + CGE, GPO, momentum encoders, both queues and the unified objective, on 200 drawn images."""
    scenes = preset("scenes")
    return replace(
        scenes,
        data=replace(
            scenes.data, sizes={"train": 200, "val": 40, "test": 40}, guide="clip-mini", test_split=None
        ),
        model=replace(scenes.model, enhancement="sge+cge", queue_size=200, embed_dim=64, text_width=64),
        training=replace(
            scenes.training, steps=STEPS, batch_size=64, precision="fp32", warmup=0.25, evaluate_every=1 / 15
        ),
    )


def golden_run() -> dict[str, object]:
    """losses: the total at every step; weights: SHA-256 over every tensor of the model, the queues' among them;
    data: the fingerprint of the images and captions.
    """
    torch.set_num_threads(1)  # the order of sums, and so the last bits, follow the number of threads
    prepared = prepare(golden_config(), progress=False)
    run = fit(prepared, progress=False)
    digest = hashlib.sha256()
    for tensor in run.model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return {
        "losses": [float(row["loss"]) for row in run.rows],
        "rsum": [float(row["rsum"]) for row in run.rows],
        "weights": digest.hexdigest(),
        "data": prepared.fingerprint,
    }


if __name__ == "__main__":
    print(json.dumps(golden_run(), indent=1))

"""Data that can be learnt in seconds, configurations for it, and a way to interrupt a run where it hurts.

As a program it is the command line with one change: `python -m tests.reference.runs SIGNAL STEP train ...` sends
itself SIGNAL (or none) in the middle of the optimizer's step number STEP, when queue and momentum weights of that
step have moved and the weights have not.

A process takes seconds to start, so that one may run several such lines, with `--` between them: each in a fork, and
it prints of each {"status": as subprocess counts it, "said": on stderr}; or, where a launcher has started it, one after
the other, each with a folder in RANKS_FOLDER: queue-0.pt is what rank 0 holds at the end, said-0.txt what it printed.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np

from userlib.config import Config, DataConfig, ModelConfig, ObjectiveConfig, TrainingConfig, to_json

COLOURS = "red blue green black white yellow".split()
THINGS = "dog cat car boat tree house ball kite".split()
COUNTS = {"train": 48, "val": 12, "test": 10}


def write_learnable(folder: Path, counts=COUNTS, *, regions=4, width=12) -> Path:
    """SCAN's feature folder: a picture is a coloured thing, one region shows each, and five captions say so."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    codes = {word: draw.standard_normal(width) for word in COLOURS + THINGS}
    number = 0
    for split, count in counts.items():
        features, captions, ids = [], [], []
        for _ in range(count):
            colour, thing = COLOURS[number % len(COLOURS)], THINGS[(number // 2) % len(THINGS)]
            rows = 0.3 * draw.standard_normal((regions, width))
            rows[0] += codes[colour]
            rows[1] += codes[thing]
            features.append(rows)
            captions += [
                f"a {colour} {thing}",
                f"the {thing} is {colour}",
                f"{colour} {thing} here",
                f"one {thing} that is {colour} today",
                f"look a {colour} {thing}",
            ]
            ids.append(str(number))
            number += 1
        part = "dev" if split == "val" else split
        np.save(folder / f"{part}_ims.npy", np.asarray(features, dtype=np.float32))
        (folder / f"{part}_caps.txt").write_text("\n".join(captions) + "\n")
        (folder / f"{part}_ids.txt").write_text("\n".join(ids) + "\n")
    return folder


def run_config(folder: Path, *, data=None, model=None, objective=None, **training) -> Config:
    """A run of 12 steps on that data, evaluated every 3, all of the model in it."""
    whole = Config(
        data=DataConfig(data=str(folder), tokens="precomputed", test_split="test"),
        model=ModelConfig(
            embed_dim=16, enhancement="sge", text_width=16, word_width=8, queue_size=20, momentum=0.9
        ),
        objective=ObjectiveConfig(mu=20.0, gamma=0.3),
        training=TrainingConfig(
            steps=12,
            batch_size=8,
            lr=3e-3,
            evaluate_every=0.1,
            precision="fp32",
            region_mask_prob=0.1,
            warmup=0.25,
        ),
    )
    return replace(
        whole,
        data=replace(whole.data, **(data or {})),
        model=replace(whole.model, **(model or {})),
        objective=replace(whole.objective, **(objective or {})),
        training=replace(whole.training, **training),
    )


def words(config: Config, file: Path, out: Path, *flags: str) -> list[str]:
    """The command line that trains it."""
    file.write_text(json.dumps(to_json(config)))
    return ["train", "--config", str(file), "--out", str(out), "--json", *flags]


def main() -> int:
    lines: list[list[str]] = [[]]
    for word in sys.argv[1:]:
        if word == "--":
            lines.append([])
        else:
            lines[-1].append(word)
    if "LOCAL_RANK" in os.environ:
        for number, line in enumerate(lines):
            folder = Path(os.environ["RANKS_FOLDER"]) / str(number)
            folder.mkdir(exist_ok=True)
            with (
                open(folder / f"said-{os.environ['RANK']}.txt", "w", encoding="utf-8") as said,
                contextlib.redirect_stdout(said),
            ):
                if code := run(line, folder):
                    return code
        return 0
    if len(lines) == 1:
        return run(lines[0])
    import torch._dynamo  # noqa: F401 - the first optimizer would import it, in each fork

    import userlib.training.loop  # noqa: F401

    print(json.dumps([forked(line) for line in lines]))
    return 0


def forked(line: list[str]) -> dict:
    with tempfile.TemporaryFile("w+") as said, open(os.devnull, "w") as nowhere:
        process = os.fork()
        if not process:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(said.fileno(), 2)
            code = 1
            try:
                code = run(line)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        said.seek(0)
        return {"status": status, "said": said.read()}


def run(line: list[str], folder: Path | None = None) -> int:
    """One line; the queue that each rank holds at the end goes to the folder."""
    import torch

    from userlib.__main__ import main as command
    from userlib.training.loop import Trainer

    name, at = line[0], int(line[1])
    calls, plain, before = 0, torch.optim.AdamW.step, Trainer.finish
    trainers: list[Trainer] = []
    begin = Trainer.train

    def step(self, *arguments, **named):
        nonlocal calls
        calls += 1
        if calls == at and name != "none":
            trainers[0].background.wait()  # until the checkpoint of the last evaluation is there
            os.kill(os.getpid(), getattr(signal, name))
        return plain(self, *arguments, **named)

    def finish(self):
        if folder is not None:
            torch.save(self.model.queue.state_dict(), folder / f"queue-{self.accelerator.process_index}.pt")
        return before(self)

    def train(self, *arguments):
        trainers.append(self)
        return begin(self, *arguments)

    torch.optim.AdamW.step, Trainer.finish, Trainer.train = step, finish, train
    try:
        return command(line[2:])
    finally:
        torch.optim.AdamW.step, Trainer.finish, Trainer.train = plain, before, begin


if __name__ == "__main__":
    sys.exit(main())

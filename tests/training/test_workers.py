"""The processes that read images for a trained tower: they end with their run, and say what is wrong."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children

import pytest
import torch

from tests.data.copies import write_backbone, write_hub
from tests.reference.runs import run_config
from userlib.data.captions import Batch
from userlib.errors import UserError
from userlib.training import fit, prepare
from userlib.training.loop import Trainer
from userlib.training.workers import batches_by_workers, workers_needed

# prints its own processes, then waits
PROGRAM = """
import multiprocessing, time
from tests.training.test_workers import batch
from userlib.training.workers import batches_by_workers
made = batches_by_workers(batch, 0, 1000, workers=2)
next(made)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""


def batch(step):
    if step == 5:
        raise UserError("the image of step 5 is damaged.")
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    one = torch.full((2,), step)
    return Batch(one, None, None, one, one, one)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="asks /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_they_end_with_a_process_that_is_killed(how):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        children = [int(pid) for pid in process.stdout.readline().split()]
        assert len(children) == 2 and all(map(alive, children))
        process.send_signal(how)
    until = time.monotonic() + 20  # torch looks every five seconds
    while any(map(alive, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, children))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_told_in_its_own_words(workers):
    made = batches_by_workers(batch, 3, 7, workers=workers)
    assert [int(next(made).tokens[0]) for _ in range(2)] == [3, 4]
    with pytest.raises(UserError, match="^the image of step 5 is damaged.$"):
        next(made)


def test_one_that_is_ended_from_outside_is_told():
    with pytest.raises(UserError, match="was killed.*data.workers=COUNT"), workers_needed():
        list(batches_by_workers(batch, 6, 9, workers=1))
    with pytest.raises(RuntimeError, match="another"), workers_needed():
        raise RuntimeError("another")


def test_none_is_left_after_an_error_that_is_still_looked_at(tmp_path, cache, monkeypatch):
    """As in a notebook, which keeps the last error and with it all that the run had."""
    tower = {"tokens": "timm:test_resnet", "token_weights": str(write_backbone(tmp_path / "network"))}
    hub = write_hub(tmp_path / "hub", {"train": 10, "val": 6, "test": 5})
    config = run_config(hub, data={**tower, "workers": 2}, model={"train_image": "last:1"}, steps=40)
    prepared = prepare(config, progress=False)

    def look(self, *given, **settings):
        assert len(active_children()) == 2
        raise ValueError("of the test")

    monkeypatch.setattr(Trainer, "look", look)
    with pytest.raises(ValueError, match="of the test") as kept:
        fit(prepared, progress=False)
    assert kept.tb is not None and not active_children()

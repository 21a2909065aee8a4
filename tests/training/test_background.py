"""Checkpoints are written while training goes on: what is written, in which order, and where an error is told."""

import threading

import pytest
import torch

from tests.reference.runs import run_config, write_learnable
from userlib.checkpoints import checkpoint_path, read_checkpoint
from userlib.errors import UserError
from userlib.training import fit, loop, prepare
from userlib.training.background import Background, snapshot

SECONDS = 60  # for what is waited for


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(run_config(write_learnable(tmp_path_factory.mktemp("data"))), progress=False)


def test_jobs_are_done_in_their_order_and_awaited_at_the_end():
    done, go = [], threading.Event()
    with Background() as background:
        background.start(lambda: (go.wait(SECONDS), done.append(1)))
        background.start(lambda: done.append(2))
        background.check()  # does not wait
        assert done == []
        go.set()
        background.wait()
        assert done == [1, 2]
        background.start(lambda: done.append(3))
    assert done == [1, 2, 3]


def full():
    raise UserError("the disk is full")


def test_an_error_of_a_job_is_told_by_the_next_look():
    with Background() as background:
        background.start(full)
        background.thread.submit(int).result(SECONDS)  # the job before it is done then
        with pytest.raises(UserError, match="the disk is full"):
            background.check()
        background.check()
    with pytest.raises(UserError, match="the disk is full"), Background() as background:
        background.start(full)


def test_an_error_that_ends_the_block_stays_the_error_and_the_other_is_its_note():
    def collapsed():
        with Background() as background:
            background.start(full)
            raise UserError("the embeddings have collapsed")

    with pytest.raises(UserError, match="collapsed") as raised:
        collapsed()
    assert raised.value.__notes__ == ["the disk is full"]


def test_a_snapshot_stays_as_it_was():
    weight = torch.nn.Parameter(torch.ones(2))
    kept = snapshot({"weight": weight})
    with torch.no_grad():
        weight += 1
    assert kept["weight"].tolist() == [1.0, 1.0] and not kept["weight"].requires_grad


def test_training_goes_on_while_a_checkpoint_is_written(prepared, tmp_path, monkeypatch):
    """Neither best nor last is finished before a later step has begun, and each last holds its own step's weights."""
    step, write, write_best = loop.Trainer.step, loop.write_checkpoint, loop.write_model
    later, weights = threading.Event(), {}

    def stepped(self, batch):
        if self.state.step == 4:
            later.set()
        output = step(self, batch)
        weights[self.state.step] = {k: v.clone() for k, v in self.model.state_dict().items()}
        return output

    def written(folder, tensors, documents):
        assert later.wait(SECONDS), "training waits for the checkpoint"
        write(folder, tensors, documents)

    def best_written(*content):
        assert later.wait(SECONDS), "training waits for the best checkpoint"
        write_best(*content)

    monkeypatch.setattr(loop.Trainer, "step", stepped)
    monkeypatch.setattr(loop, "write_checkpoint", written)
    monkeypatch.setattr(loop, "write_model", best_written)
    monkeypatch.setattr(loop, "prune", lambda run: None)
    out = tmp_path / "run"
    assert fit(prepared, out=out, progress=False).finished
    assert checkpoint_path(out, "last").name == "step-00000012"
    for number in (3, 6, 12):
        tensors, documents = read_checkpoint(out / f"step-{number:08d}")
        assert documents["state"]["step"] == number
        assert len(documents["state"]["rows"]) == number // 3
        for name, value in weights[number].items():
            assert torch.equal(tensors[f"model.{name}"], value), (number, name)


def test_a_full_disk_ends_the_run_with_its_message(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "write_checkpoint", lambda *_: full())
    with pytest.raises(UserError, match="the disk is full"):
        fit(prepared, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "run.json").exists()

"""What a launcher may set and what it may not: nothing that changes the loss without a word."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from tests.reference.runs import run_config, write_learnable
from userlib.__main__ import main
from userlib.config import Config, ModelConfig, TrainingConfig
from userlib.errors import UserError
from userlib.model.contrast import Output
from userlib.training import loop, prepare
from userlib.training.processes import any_process, make_accelerator, share_of, total
from userlib.training.watching import check_loss


@pytest.mark.parametrize("steps", ["4", "2"])
def test_gradient_accumulation_by_the_launcher_is_refused(steps, monkeypatch):
    """`accelerate launch --use_deepspeed` sets this variable from its option; the loss would be divided by it."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", steps)
    said = f"gradient accumulation over {steps} steps is set .*negatives of a pair are the other"
    with pytest.raises(UserError, match=said):
        make_accelerator(Config())


def test_without_accumulation_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    assert make_accelerator(Config()).gradient_accumulation_steps == 1


def test_there_is_no_setting_for_it(capsys):
    assert main(["train", "--set", "training.gradient_accumulation_steps=4", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "unknown key 'gradient_accumulation_steps'" in said and "batch" in said
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--gradient-accumulation-steps", "4"])


class Several:
    """Another process beside this one, which answers `other`."""

    num_processes, device = 2, torch.device("cpu")

    def __init__(self, *other):
        self.other = torch.tensor([other], dtype=torch.float32)

    process_index = 1

    def gather(self, said):
        return torch.cat([said, self.other])

    def reduce(self, part, how):
        assert how == "sum"
        return part + self.other


def test_what_any_process_says_all_of_them_hear():
    for here in ((False, False), (True, False), (False, True)):
        for other in ((False, False), (True, False), (False, True)):
            expected = [a or b for a, b in zip(here, other, strict=True)]
            assert any_process(Several(*other), *here) == expected
    assert any_process(Accelerator(cpu=True), True, False) == [True, False]


def test_a_loss_that_is_not_finite_in_another_process_ends_this_one():
    output = Output(torch.tensor(0.5), torch.tensor(0.5), None, torch.ones(1, 1), torch.ones(1, 1), 0)
    assert check_loss(output, 7) == 0.5
    with pytest.raises(UserError, match="the loss is not finite in another process at step 7"):
        check_loss(output, 7, elsewhere=True)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(UserError, match=f"the loss is {value} at step 7"):
            check_loss(replace(output, loss=torch.tensor(value)), 7)


@pytest.fixture
def made(monkeypatch):
    """What Accelerator is asked for, and two processes found."""
    import accelerate

    asked = {}

    class Fake:
        gradient_accumulation_steps, num_processes, device = 1, 2, torch.device("cpu")

        def __init__(self, **named):
            asked.update(named)

    monkeypatch.setattr(accelerate, "Accelerator", Fake)
    monkeypatch.setenv("WORLD_SIZE", "2")
    return asked


def test_processes_share_a_batch_evenly_and_no_batch_norm_on_cpus(made):
    even = replace(Config(), training=TrainingConfig(batch_size=8))
    make_accelerator(even)
    assert made["mixed_precision"] == "no"
    (ddp,) = made["kwargs_handlers"]
    assert ddp.broadcast_buffers is False and ddp.find_unused_parameters is False
    with pytest.raises(UserError, match="batch_size is 9, and 2 processes"):
        make_accelerator(replace(Config(), training=TrainingConfig(batch_size=9)))
    with pytest.raises(UserError, match="norm is 'batch' and 2 processes"):
        make_accelerator(replace(even, model=ModelConfig(norm="batch")))
    clip = ModelConfig(text="clip", text_model="clip-mini")
    make_accelerator(replace(even, model=clip))
    assert made["kwargs_handlers"][0].find_unused_parameters is True


def test_processes_that_did_not_find_each_other_are_refused(made, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="4 processes were started and 2 are connected"):
        make_accelerator(Config())


def test_processes_share_an_evaluation_where_there_is_enough_for_each():
    two, part = Several(3.0, 0.0), torch.tensor([[0.0, 4.0]])
    assert share_of(two, 10, 2) == (1, 2) and share_of(two, 10, 1) == share_of(None, 10) == (0, 1)
    assert share_of(Accelerator(cpu=True), 10) == (0, 1)
    assert total(two, (1, 2), part).tolist() == [[3.0, 4.0]]
    for alone in (total(two, (0, 1), part), total(None, (0, 1), part)):
        assert alone is part


def test_a_run_asks_the_other_processes_whether_to_stop(tmp_path):
    from types import SimpleNamespace

    trainer = loop.Trainer(prepare(run_config(write_learnable(tmp_path / "data")), progress=False), None)
    trainer.train(None, 1, False)
    output, never = SimpleNamespace(loss=torch.tensor(0.5)), SimpleNamespace(requested=False)
    for other, stops in (((0, 0), False), ((1, 0), True)):
        trainer.accelerator = Several(*other)
        assert trainer.look(output, never, now=False) is stops
    trainer.accelerator = Several(0, 1)
    with pytest.raises(UserError, match="not finite in another process at step 1"):
        trainer.look(output, never, now=False)

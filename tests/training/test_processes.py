"""What a launcher may set and what it may not: nothing that changes the loss without a word."""

import pytest

from userlib.__main__ import main
from userlib.config import Config
from userlib.errors import UserError
from userlib.training.processes import make_accelerator


@pytest.mark.parametrize("steps", ["4", "2"])
def test_gradient_accumulation_by_the_launcher_is_refused(steps, monkeypatch):
    """`accelerate launch --use_deepspeed` sets this variable from its option; the loss would be divided by it."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", steps)
    with pytest.raises(UserError, match=f"gradient accumulation over {steps} steps.*negatives are the other"):
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

"""The public face: each block of docs/api.md runs and is short; every equation stands where the table says; a setting
without a meaning is refused wherever it is given.
"""

import json
import re
import subprocess
import sys

import pytest
import torch

import userlib
from tests.equations import PAGE, table
from userlib import CGE, GPO, SGE, HingeLoss, InfoNCELoss, MomentumContrast, UserError, UTOLoss
from userlib.__main__ import main

BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def test_every_block_of_the_page_runs_and_is_short(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    room = {}
    for block in BLOCKS:
        lines = [line for line in block.splitlines() if line.strip()]
        assert len(lines) <= 12, block
        exec(compile(block, str(PAGE), "exec"), room)
    assert room["regions"].shape == (4, 49, 768) and room["vectors"].shape == (4, 768)
    assert room["image_to_text"] == room["text_to_image"] == 100.0
    assert (tmp_path / "runs/first-model/tensors.safetensors").is_file()


def test_the_page_shows_every_public_name():
    text = "\n".join(BLOCKS)
    shown = {name for name in userlib.__all__ if re.search(rf"\b{name}\b", text)}
    assert set(userlib.__all__) - shown <= {"Config", "DualEncoder", "UserError"}
    assert all(getattr(userlib, name).__doc__ for name in userlib.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Useless'"):
        userlib.Useless  # noqa: B018


def test_importing_userlib_imports_nothing_heavy():
    code = "import sys, userlib; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_table_of_equations_is_that_of_the_code():
    assert table() in PAGE.read_text(encoding="utf-8"), "run `python -m tests.equations`"


def test_the_walk_passes_through_few_files_once():
    section = PAGE.read_text(encoding="utf-8").split("## From the command to the optimizer")[1].split("##")[0]
    files = re.findall(r"userlib/[\w/]+\.py", section)
    assert len(files) == len(set(files)) <= 8
    assert all((PAGE.parents[1] / file).is_file() for file in files)


def two(**settings):
    return MomentumContrast(torch.nn.Linear(4, 3), torch.nn.Linear(5, 3), dim=3, **settings)


WRONG = [
    (lambda: SGE(8, norm="batchnorm"), "norm is 'batchnorm'"),
    (lambda: SGE(8, residual_scale="auto"), "residual_scale is 'auto'"),
    (lambda: SGE(8, dropout=1.5), "dropout is 1.5"),
    (lambda: SGE(0), "width is 0"),
    (lambda: SGE(8, norm="batch"), "regions"),
    (lambda: CGE(8, guide_dim=0), "guide_dim"),
    (lambda: CGE(8, guide_dim=4)(torch.zeros(1, 2, 8)), "no guide was given"),
    (lambda: GPO(temperature=0.0), "temperature is 0"),
    (lambda: UTOLoss(mu=0.0), "mu is 0"),
    (lambda: InfoNCELoss(temperature=-1.0), "temperature is -1"),
    (lambda: HingeLoss(margin=float("nan")), "margin is nan"),
    (lambda: UTOLoss(leaky_positive="no"), "leaky_positive is 'no'"),
    (lambda: UTOLoss()(torch.zeros(2, 3)), "shape"),
    (lambda: two(queue_size=-1), "queue size is -1"),
    (lambda: two(momentum=1.5), "momentum is 1.5"),
    (lambda: MomentumContrast(torch.nn.Linear(4, 3), torch.nn.Linear(5, 3), dim=4)(
        torch.zeros(2, 4), torch.zeros(2, 5)), "dim is 4"),
    (lambda: two(momentum=None)(torch.zeros(2, 4), torch.zeros(2, 5)), "momentum is not set"),
]  # fmt: skip


@pytest.mark.parametrize("call, said", WRONG, ids=[said for _, said in WRONG])
def test_a_setting_without_a_meaning_is_refused(call, said):
    with pytest.raises(UserError, match=re.escape(said)):
        call()


def test_the_same_from_json_and_the_command_line(tmp_path, capsys):
    (tmp_path / "odd.json").write_text(json.dumps({"model": {"pooling": "gpo "}}))
    assert main(["train", "--config", str(tmp_path / "odd.json"), "--dry-run"]) == 2
    assert "pooling is 'gpo '" in capsys.readouterr().err
    assert main(["train", "--set", "model.norm=batchnorm", "--dry-run"]) == 2
    assert "norm is 'batchnorm'" in capsys.readouterr().err


def test_encoders_of_ones_own_learn_with_the_queue():
    """Two linear maps of one hidden vector, a tuple of arguments on one side: the pairs find each other."""

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(16, 8)

        def forward(self, x, factor):
            return self.linear(x * factor)

    torch.manual_seed(0)
    model = MomentumContrast(Scaled(), torch.nn.Linear(16, 8), dim=8, queue_size=64, momentum=0.9)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    hits = []
    for step in range(150):
        x = torch.randn(32, 16)
        y, factor = x.flip(1) + 0.1 * torch.randn(32, 16), torch.full((32, 1), 2.0)
        output = model.step((x, factor), y, torch.arange(32) + 32 * step)
        hits.append(float((output.images @ output.texts.T).argmax(1).eq(torch.arange(32)).float().mean()))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert hits[0] < 0.3 and sum(hits[-10:]) / 10 > 0.8
    assert model.queue.filled == 64 and output.queue_loss is not None


def test_without_ids_no_key_is_taken_for_ones_own():
    torch.manual_seed(0)
    model = two(queue_size=8)
    for _ in range(3):
        output = model.step(torch.randn(4, 4), torch.randn(4, 5))
        assert output.masked_keys == 0
    assert sorted(model.queue.ids.tolist()) == list(range(4, 12))

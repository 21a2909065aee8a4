"""Each block of docs/ecosystem.md runs, in its order, on a small run and a small hub of this machine."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.reference.hub_server import model_hub
from userlib import fit, preset

PAGE = Path(__file__).resolve().parent.parent / "docs" / "ecosystem.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


@pytest.fixture
def run(tmp_path, monkeypatch, cache):
    """The folder runs/first, a run of two steps, in the working folder."""
    monkeypatch.chdir(tmp_path)
    scenes = preset("scenes")
    config = replace(
        scenes,
        data=replace(scenes.data, sizes={"train": 64, "val": 20, "test": 20}),
        training=replace(scenes.training, steps=2, batch_size=32),
    )
    fit(config, out="runs/first", progress=False)


def test_every_block_runs(run, tmp_path, monkeypatch):
    room = {}
    with model_hub(monkeypatch, tmp_path) as hub:
        for block in BLOCKS:
            assert len([line for line in block.splitlines() if line.strip()]) <= 12, block
            exec(compile(block, str(PAGE), "exec"), room)
    assert "me/first" in hub.repos

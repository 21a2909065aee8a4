"""The networks that come with the project: size and origin, and that region-mini sees."""

import json
import shlex

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from userlab.__main__ import parser
from userlab.pretraining.assets import command_of
from userlab.pretraining.drawing import NAMES, NOTHING, Wanted, drawn
from userlab.pretraining.regions import GRID, shares
from userlab.pretraining.settings import ClipConfig, RegionsConfig
from userlib import legacy
from userlib.data.extractors import make_extractor
from userlib.files import sha256_file
from userlib.shipped import ASSETS
from userlib.verify import damage
from userscenes import library_versions, make_world, world_hash

MADE = {"region-mini": (4, RegionsConfig, "train"), "clip-mini": (8, ClipConfig, "pretrain")}


@pytest.mark.parametrize("name", [name for name in MADE if (ASSETS / name).exists()])
def test_it_is_small_whole_and_says_how_it_was_made(name):
    folder = ASSETS / name
    most, config, split = MADE[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= most * 2**20
    assert damage(folder) == []
    facts = json.loads((folder / "provenance.json").read_text())
    assert {"config", "seconds", "result", "code", "torch", "hardware", "date"} <= set(facts)
    for file, total in facts["sha256"].items():
        assert sha256_file(folder / file) == total
    words = shlex.split(facts["command"])
    assert words[:3] == ["python", "-m", "userlab"]
    arguments = vars(parser().parse_args(words[3:]))
    made = legacy.settings({"training": facts["config"]})["training"]
    assert made.items() <= arguments.items()
    assert made == vars(config()), "the command without flags no longer makes these weights"
    assert (folder / "log.csv").read_text().startswith("step,loss,val ")
    if {key: facts["world"][key] for key in ("pillow", "numpy")} == library_versions():
        assert facts["world"]["hash of the first 1,000"] == world_hash(split, 1000, 0), (
            "made from another world"
        )


def cells(split: str, count: int):
    """Tokens of cells that one thing covers by half or more, and which kind and colour that is."""
    result, world = drawn(Wanted(split=split, count=count, labels=True), show=False), make_world(split)
    extractor = make_extractor("region-mini")
    tokens = torch.cat(
        [extractor([world.picture(i) for i in range(s, min(s + 50, count))])[0] for s in range(0, count, 50)]
    )
    labels = result.gather("labels", np.arange(count))
    assert (labels == NOTHING).any()
    table = [shares(labels[..., channel], len(NAMES[channel])) for channel in (0, 1)]
    clear = (table[0].max(-1) >= 0.5) & (table[1].max(-1) >= 0.5)
    return tokens[torch.from_numpy(clear)], [torch.from_numpy(t.argmax(-1)[clear]) for t in table]


def test_tokens_of_region_mini_know_kinds_and_colours():
    """By a ridge classifier fitted to 400 training pictures, on 100 pictures of val."""
    x, answers = cells("train", 400)
    y, wanted = cells("val", 100)
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, y = (torch.cat([(t - mean) / std, torch.ones(len(t), 1)], 1).double() for t in (x, y))
    gram = x.T @ x + 30 * torch.eye(x.shape[1], dtype=torch.float64)
    rights = []
    for answer, want in zip(answers, wanted, strict=True):
        weights = torch.linalg.solve(gram, x.T @ F.one_hot(answer, 80).double())
        rights.append(float(((y @ weights).argmax(-1) == want).double().mean()))
    assert rights[0] > KINDS_FLOOR
    assert rights[1] > COLOURS_FLOOR
    assert make_extractor("region-mini").grid == (GRID, GRID)


KINDS_FLOOR, COLOURS_FLOOR = 0.5, 0.6


@pytest.mark.parametrize(
    "name, config", [("pretrain-regions", RegionsConfig()), ("pretrain-clip", ClipConfig(steps=3))]
)
def test_the_command_that_is_stored_is_one_that_the_parser_takes(name, config, tmp_path):
    program, words = command_of(name, tmp_path, config).split(" -m userlab ")
    arguments = parser().parse_args(shlex.split(words))
    assert (program, arguments.command) == ("python", name)
    assert vars(config).items() <= vars(arguments).items()

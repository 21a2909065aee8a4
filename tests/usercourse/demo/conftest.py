"""Small untrained models over a small gallery: what the demo does with them does not depend on how good they are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from usercourse.demo.gallery import Gallery, world_texts
from usercourse.demo.models import RECIPES, SMALL, open_engine
from userlib.data.extractors import make_extractor
from userlib.data.tokenizers import make_tokenizer
from userlib.model.user import DualEncoder, save_model
from userlib.presets import preset
from userscenes import make_world
from userscenes.dataset import DrawnPictures

COUNT = 40
UNTRAINED = ("mean", "sge")


def save_untrained(name: str, model_dir: Path, captions: tuple[str, ...]) -> None:
    """A model as its recipe describes it, with the weights it starts from."""
    tokenizer = make_tokenizer("words", captions)
    base = preset("scenes")
    wanted = {**SMALL, "enhancement": "none", **RECIPES[name].model, "vocab_size": tokenizer.vocab_size}
    guide = RECIPES[name].guide
    width = None if guide is None else make_extractor(guide).guide_dim
    model = replace(base.model, **wanted, regions=64, region_dim=192, guide_dim=width)
    config = replace(base, model=model, data=replace(base.data, data="scenes", guide=guide))
    torch.manual_seed(3)
    save_model(model_dir / name, DualEncoder(model).eval(), tokenizer, config, {"data": "scenes"}, half=True)


@pytest.fixture(scope="session")
def gallery():
    world = make_world("test", COUNT)
    captions, caption_to_image, pairs = world_texts(world)
    return Gallery("scenes", tuple(world.ids), DrawnPictures(world), captions, caption_to_image, world, pairs)


@pytest.fixture(scope="session")
def model_dir(gallery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    for name in UNTRAINED:
        save_untrained(name, folder, gallery.captions)
    return folder


@pytest.fixture(scope="session")
def engines(gallery, model_dir):
    return {name: open_engine(name, gallery, model_dir) for name in UNTRAINED}

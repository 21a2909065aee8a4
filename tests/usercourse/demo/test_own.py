"""A checkpoint of one's own in the demo: over the drawn images, over its folder, or with a sentence on what to do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from usercourse.demo import App, own
from userlib.data.tokenizers import make_tokenizer
from userlib.errors import UserError
from userlib.model.user import DualEncoder, save_model
from userlib.presets import preset

COUNT = 5
SMALL = {"embed_dim": 32, "text_width": 32, "word_width": 32, "queue_size": None}


@pytest.fixture
def photos(tmp_path):
    """A folder as people have them."""
    folder = tmp_path / "holiday"
    folder.mkdir()
    lines = ["filename,caption"]
    for i, colour in enumerate(np.random.default_rng(0).integers(0, 256, (COUNT, 3))):
        Image.new("RGB", (40, 30), tuple(int(value) for value in colour)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,a boat number {i}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def run_on(data, folder):
    """An untrained model whose configuration says that it was trained on `data`."""
    tokenizer = make_tokenizer("words", ["a boat number 1 2 3 4 0"])
    base = preset("scenes")
    model = replace(base.model, **SMALL, vocab_size=tokenizer.vocab_size, regions=64, region_dim=192)
    config = replace(base, model=model, data=replace(base.data, data=data, guide=None))
    config = replace(config, model=replace(config.model, enhancement="sge"))
    torch.manual_seed(0)
    metadata = {"data": "scenes" if data == "scenes" else "a folder"}
    save_model(folder, DualEncoder(config.model).eval(), tokenizer, config, metadata, half=True)
    return folder


@pytest.fixture
def page(model_dir, gallery, tmp_path, monkeypatch):
    monkeypatch.setenv("USERLIB_CACHE", str(tmp_path / "cache"))
    return lambda checkpoint: App(
        model_dir=model_dir, gallery=gallery, query="a ball", warm=False, checkpoint=checkpoint
    )


def keys(app):
    return [item["key"] for item in app.left.data["items"]]


def test_a_model_of_drawn_scenes_searches_the_page_s_images(page, gallery, tmp_path):
    app = page(run_on("scenes", tmp_path / "mine"))
    assert app.model.value == "mine" and set(keys(app)) <= set(gallery.ids)
    assert "drawn scenes" in app.message.value
    app.query.value = "two dogs"
    assert keys(app) == [hit.id for hit in app.engine_of("mine").search("two dogs", 12).hits]
    app.tabs.value = "Failures"
    assert app.failures.list.data["items"]  # found, since none are stored for it


def test_a_model_of_a_folder_searches_that_folder_with_its_first_caption(page, photos, tmp_path):
    app = page(run_on(str(photos), tmp_path / "mine"))
    assert app.model.value == "holiday (mine)"
    assert sorted(keys(app)) == [f"{i}.png" for i in range(COUNT)]
    assert app.query.value == "a boat number 0"
    assert f"{COUNT} images of holiday" in app.message.value
    assert (app.photos.folder.value, app.photos.name.value) == (str(photos), str(tmp_path / "mine"))


def test_a_relative_folder_is_looked_for_above_the_run(photos, tmp_path):
    run = run_on("holiday", tmp_path / "runs" / "mine")
    encoder, name = own.encoder_of(run)
    assert name == "mine" and own.folder_of(encoder, run) == tmp_path / "holiday"


def test_a_folder_that_is_gone_or_large_is_left_to_the_reader(page, photos, tmp_path, monkeypatch):
    app = page(run_on(str(tmp_path / "gone"), tmp_path / "first"))
    assert app.tabs.value == "Your photos" and "not a folder here" in app.message.value
    assert app.photos.folder.value == ""
    monkeypatch.setattr(own, "MANY", COUNT - 1)
    app = page(run_on(str(photos), tmp_path / "second"))
    assert app.tabs.value == "Your photos" and "Press Index it" in app.message.value
    app.photos.button.click()
    assert sorted(keys(app)) == [f"{i}.png" for i in range(COUNT)]


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_a_checkpoint_is_said_in_the_page_which_goes_on(page, tmp_path, made):
    if made:
        (tmp_path / "none").mkdir()
    app = page(tmp_path / "none")
    assert "none" in app.message.value and "fault" not in app.message.value
    assert keys(app)
    with pytest.raises(UserError):
        own.encoder_of(tmp_path / "none")

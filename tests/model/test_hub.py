"""Models and indexes on the hub: pushed to and fetched from a small hub on this machine, equal to the bit."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from tests.reference.hub_server import model_hub
from tests.reference.small import make_batch, shake, small
from userlib import USER, Index, MomentumContrast, UserError
from userlib.config import Config, DataConfig
from userlib.data.tokenizers import WordTokenizer
from userlib.files import write_checksummed
from userlib.model.card import model_card, place
from userlib.model.user import DualEncoder, Loaded, load_model, save_model

REPORT = {
    "split": "test",
    "metrics": {"i2t_r1": [41.2, 38.0, 44.5], "rsum": [285.9, 279.1, 292.8], "r1": [1, 2, 3]},
}
PROVENANCE = {
    "code": "0.1.0+abc",
    "torch": "2.9",
    "python": "3.11",
    "hardware": {"processor": "a chip"},
    "date": "d",
}


@pytest.fixture
def hub(monkeypatch, tmp_path, cache):
    with model_hub(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def model(tmp_path):
    """A trained model as `fit` leaves it, on a folder of images whose path is nobody's business."""
    tokenizer = WordTokenizer.fit(["a red dog", "two cats on a long beach"])
    config = Config(
        model=small(vocab_size=tokenizer.vocab_size),
        data=DataConfig(data=str(tmp_path / "private" / "holiday")),
    )
    config = replace(config, training=replace(config.training, seed=7))
    made = shake(DualEncoder(config.model)).eval()
    metadata = {"data": config.data.data, "fingerprint": "f" * 8, "report": REPORT, "provenance": PROVENANCE}
    made.loaded = Loaded(made, tokenizer, config, metadata)
    return made


def vectors(model):
    batch = make_batch(model.config, [0, 1, 2, 3])
    with torch.inference_mode():
        return model.encode_image(batch.tokens), model.encode_text(
            batch.input_ids.clamp(max=model.config.vocab_size - 1), batch.attention_mask
        )


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(vectors(a), vectors(b), strict=True))


def test_pushed_and_fetched_to_the_bit_then_without_the_hub(hub, model, tmp_path, monkeypatch):
    address = model.push_to_hub("me/first", private=True, commit_message="first")
    assert address.startswith(f"{hub.address}/me/first/commit/")
    files = hub.repos["me/first"][-1][2]
    assert set(files) == {
        "README.md", "config.json", "manifest.json", "metadata.json", "tensors.safetensors", "tokenizer.json",
    }  # fmt: skip
    assert any(line.startswith("PUT /lfs/") for line in hub.asked)
    fetched = DualEncoder.from_pretrained("me/first")
    assert equal(model, fetched)
    assert fetched.loaded.tokenizer.to_json() == model.loaded.tokenizer.to_json()
    assert fetched.loaded.config == model.loaded.config
    assert equal(model, USER.from_pretrained("me/first"))
    hub.shutdown()
    hub.server_close()
    assert equal(model, DualEncoder.from_pretrained("me/first"))  # the cache's
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert equal(model, load_model("me/first").model)
    assert equal(model, DualEncoder.from_pretrained("me/first", local_files_only=True))
    with pytest.raises(
        UserError, match=r"There is no folder me/second, .*cache on this machine does not hold it"
    ):
        DualEncoder.from_pretrained("me/second")
    with pytest.raises(UserError, match="Cannot push me/first.*save_pretrained"):
        model.push_to_hub("me/first")


def test_a_model_that_comes_back_goes_on_from_copies_with_empty_queues(model, tmp_path):
    model.save_pretrained(tmp_path / "kept")
    again = USER.from_pretrained(tmp_path / "kept")
    for side in ("image", "text"):
        query = getattr(again, f"{side}_encoder").state_dict()
        key = getattr(again, f"{side}_momentum_encoder").encoder.state_dict()
        assert all(torch.equal(key[name], value) for name, value in query.items())
    assert again.queue.filled == 0


def test_a_revision_is_that_commit(hub, model):
    model.push_to_hub("me/moving")
    first = hub.repos["me/moving"][-1][0]
    later = shake(DualEncoder(model.config), seed=5).eval()
    later.loaded = replace(model.loaded, model=later)
    later.push_to_hub("me/moving")
    later.push_to_hub("me/moving", branch="next")
    assert not equal(model, later)
    assert equal(later, DualEncoder.from_pretrained("me/moving"))
    assert equal(model, DualEncoder.from_pretrained("me/moving", revision=first))
    assert equal(model, load_model(f"me/moving@{first}").model)
    assert equal(later, load_model("me/moving@next").model)
    with pytest.raises(UserError, match="no revision 'gone'"):
        DualEncoder.from_pretrained("me/moving", revision="gone")
    with pytest.raises(UserError, match="leave one out"):
        DualEncoder.from_pretrained("me/moving@next", revision="main")


def test_the_card_says_what_there_is_and_no_path(hub, model, tmp_path):
    from huggingface_hub import ModelCard

    model.push_to_hub("me/first", model_card_kwargs={"license": "cc-by-4.0", "language": "en"})
    text = hub.repos["me/first"][-1][2]["README.md"].decode()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "cc-by-4.0" and head["library_name"] == "userlib" and head["language"] == "en"
    card = ModelCard(text)
    card.validate()
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values == {"i2t_r1": 41.2, "rsum": 285.9}
    assert ModelCard.load("me/first").data.to_dict() == card.data.to_dict()
    for said in ("Seed 7", "| image to text R@1 | 41.2 | 38.0 | 44.5 |", "`holiday`", "f" * 8, "a chip",
                 'USER.from_pretrained("me/first")', "no probability", "Of these weights: cc-by-4.0"):  # fmt: skip
        assert said in text, said
    assert str(tmp_path) not in text and "private" not in text
    model.save_pretrained(tmp_path / "plain")
    assert "license: other" in (tmp_path / "plain" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="header"):
        model.save_pretrained(tmp_path / "odd", model_card_kwargs={"eval_results": "good"})


def test_a_card_names_files_and_folders_without_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path)), monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "secret"
    assert place(f"timm:{folder / 'net.safetensors'}") == "timm:net.safetensors"
    assert place(f"vectors:{folder}") == "vectors:secret" and place("~/secret") == "secret"
    assert place(f"open_clip:local-dir:{folder}") == "open_clip:local-dir:secret"
    assert place(f"local-dir:{folder}") == "local-dir:secret" and place(".") == tmp_path.name
    for name in ("timm:resnet18", "open_clip:ViT-B-32/laion2b_s34b_b79k", "region-mini", "owner/name@main"):
        assert place(name) == name
    data = DataConfig(tokens=f"timm:{folder / 'net.safetensors'}", guide=f"vectors:{folder}")
    assert "secret/" not in (card := model_card("t", Config(data=data), {}, {}))
    assert str(tmp_path) not in card and "`timm:net.safetensors`" in card


def test_a_run_without_a_report_says_so(model, tmp_path):
    metadata = {**model.loaded.metadata, "report": None, "selected": {"rsum": 123.4}}
    model.loaded = replace(model.loaded, metadata=metadata)
    model.save_pretrained(tmp_path / "one")
    text = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert "There is no report. rSum is 123.4" in text and "model-index" not in text


def test_the_report_of_a_run_comes_with_its_model(model, tmp_path):
    """As its result.json has it, and no more of it; a run without one has none."""
    loaded, metadata = model.loaded, {**model.loaded.metadata}
    del metadata["report"]
    save_model(tmp_path / "best-00000003", model, loaded.tokenizer, loaded.config, metadata)
    write_checksummed(tmp_path / "run.json", {"last": "step-00000003", "best": "best-00000003"})
    assert load_model(tmp_path).metadata == metadata
    for report, told in (({**REPORT, "ranks": [1, 2]}, {"report": REPORT}), (None, {})):
        write_checksummed(tmp_path / "result.json", {"report": report}, over=True)
        assert load_model(tmp_path).metadata == metadata | told
        assert load_model(tmp_path / "best-00000003").metadata == metadata


def test_saved_again_over_itself_and_an_edited_card_stays_readable(model, tmp_path):
    model.save_pretrained(tmp_path / "one")
    (tmp_path / "one" / "README.md").write_text("my own words", encoding="utf-8")
    assert equal(model, DualEncoder.from_pretrained(tmp_path / "one"))
    model.save_pretrained(tmp_path / "one")
    loaded = model.loaded
    save_model(tmp_path / "one", model, loaded.tokenizer, loaded.config, loaded.metadata)
    assert not (tmp_path / "one" / "README.md").exists()


def test_save_pretrained_pushes_where_asked(hub, model, tmp_path):
    address = model.save_pretrained(tmp_path / "one", push_to_hub=True, repo_id="me/one", half=True)
    assert "/me/one/commit/" in address
    files = hub.repos["me/one"][-1][2]
    assert files["tensors.safetensors"] == (tmp_path / "one" / "tensors.safetensors").read_bytes()
    assert b'"F16"' in files["tensors.safetensors"] and b"half" not in files["README.md"].split(b"---")[1]
    with pytest.raises(UserError, match="no argument 'privat'"):
        model.save_pretrained(tmp_path / "two", privat=True)
    with pytest.raises(UserError, match="given a config"):
        model.save_pretrained(tmp_path / "two", config={"a": 1})
    hub.refused.add("me/locked")
    with pytest.raises(UserError, match=r"Cannot push me/locked: .*answered"):
        model.push_to_hub("me/locked")


@pytest.mark.parametrize("file", ["tensors.safetensors", "config.json", "metadata.json", "manifest.json"])
def test_a_damaged_file_is_refused_by_its_name(hub, model, file):
    model.push_to_hub("me/first")
    files = hub.repos["me/first"][-1][2]
    changed = bytearray(files[file])
    changed[len(changed) // 2] ^= 1
    files[file] = bytes(changed)
    with pytest.raises(UserError, match=rf"{file} is damaged|{file} is not"):
        DualEncoder.from_pretrained("me/first")


def test_a_foreign_repository_is_refused(hub, model, tmp_path):
    hub.repos["me/pickled"] = [("b" * 40, "main", {"pytorch_model.bin": b"\x80\x04.", "config.json": b"{}"})]
    with pytest.raises(
        UserError, match="me/pickled has no manifest.json at 'main', so it was not saved by this library"
    ):
        DualEncoder.from_pretrained("me/pickled")
    assert not any("pytorch_model" in line for line in hub.asked)
    model.save_pretrained(tmp_path / "one")
    folder = tmp_path / "one"
    (folder / "extra.bin").write_bytes(b"\x80\x04.")
    from userlib.verify import write_manifest

    write_manifest(folder)
    hub.repos["me/extra"] = [("c" * 40, "main", {one.name: one.read_bytes() for one in folder.iterdir()})]
    with pytest.raises(UserError, match="'extra.bin', which is no file of a checkpoint"):
        DualEncoder.from_pretrained("me/extra")
    with pytest.raises(UserError, match="There is no folder me/nothing"):
        DualEncoder.from_pretrained("me/nothing")
    contrast = MomentumContrast(torch.nn.Linear(3, 4), torch.nn.Linear(5, 4), dim=4, queue_size=None)
    contrast.save_pretrained(tmp_path / "contrast")
    with pytest.raises(UserError, match="not a checkpoint for inference"):
        DualEncoder.from_pretrained(tmp_path / "contrast")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="There is no folder"):
        DualEncoder.from_pretrained(folder)


def test_a_link_out_of_a_checkpoint_is_not_followed(model, tmp_path):
    model.save_pretrained(tmp_path / "one")
    (tmp_path / "one" / "config.json").rename(tmp_path / "config.json")
    (tmp_path / "one" / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(UserError, match=r"config\.json is missing"):
        DualEncoder.from_pretrained(tmp_path / "one")


def test_momentum_contrast_with_its_queue(hub, tmp_path):
    def encoders():
        return torch.nn.Linear(6, 4), torch.nn.Linear(5, 4)

    torch.manual_seed(0)
    model = MomentumContrast(*encoders(), dim=4, queue_size=10, momentum=0.5)
    x, y = torch.randn(4, 6), torch.randn(4, 5)
    model(x, y, torch.arange(4))
    model.push_to_hub("me/contrast")
    again = MomentumContrast.from_pretrained("me/contrast", *encoders())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert again.momentum == 0.5 and again.loss.config == model.loss.config and again.queue.filled == 4
    assert torch.equal(model(x, y, torch.arange(4, 8)), again(x, y, torch.arange(4, 8)))
    with pytest.raises(UserError, match="half is True, but a MomentumContrast .*leave half out"):
        model.save_pretrained(tmp_path / "half", half=True)
    with pytest.raises(UserError, match="does not fit the model"):
        MomentumContrast.from_pretrained("me/contrast", torch.nn.Linear(7, 4), torch.nn.Linear(5, 4))


class Colours:
    """An encoder of the tests: an image's mean colour; a text's words red, green and blue."""

    warning = None

    def encode_image(self, images):
        return self._unit(
            np.stack([np.asarray(image, np.float32).reshape(-1, 3).mean(0) for image in images])
        )

    def encode_text(self, texts):
        words = ("red", "green", "blue")
        return self._unit(
            np.array([[text.split().count(word) for word in words] for text in texts], np.float32)
        )

    def _unit(self, vectors):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)

    def unknown(self, text):
        return []

    def cache_key(self):
        return {"kind": "colours", "name": "colours", "weights": "none"}


def test_an_index_goes_there_and_back(hub, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, colour in {"a.png": (255, 0, 0), "b.png": (0, 255, 0), "c.png": (0, 0, 255)}.items():
        Image.new("RGB", (4, 4), colour).save(photos / name)
    index = Index.build(photos, Colours(), progress=False)
    index.push_to_hub("me/photos")
    again = Index.from_pretrained("me/photos", Colours())
    assert again.ids == index.ids and np.array_equal(again.vectors, index.vectors)
    assert again.search("green", 3) == index.search("green", 3)
    text = hub.repos["me/photos"][-1][2]["README.md"].decode()
    assert "3 images" in text and str(tmp_path) not in text
    index.save_pretrained(tmp_path / "kept")
    again = Index.load(tmp_path / "kept", Colours())
    (photos / "c.png").unlink()
    assert again.update(photos, keep_in=tmp_path / "kept", progress=False).removed == ("c.png",)
    contents = json.loads((tmp_path / "kept" / "contents.json").read_text(encoding="utf-8"))
    assert contents["ids"] == ["a.png", "b.png"]


class Named(nn.Module):
    """An encoder whose parts have names that the library's own had in earlier versions."""

    def __init__(self):
        super().__init__()
        self.origin, self.sigma = nn.Linear(4, 3), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.origin(x) * self.sigma


def test_parts_of_ones_own_encoders_keep_their_names(tmp_path):
    MomentumContrast(Named(), Named(), dim=3, queue_size=4).save_pretrained(tmp_path / "one")
    one, other = Named(), Named()
    MomentumContrast.from_pretrained(tmp_path / "one", one, other)
    MomentumContrast.from_pretrained(tmp_path / "one", other, one)

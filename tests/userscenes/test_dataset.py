"""The drawn world as a data set, down to tokens."""

import numpy as np
import pytest
from PIL import Image

from userlib.data.sources import load_data
from userlib.data.tokens import extract
from userlib.errors import UserError
from userscenes import make_world
from userscenes.ground_truth import truth_of

SIZES = {"train": 6, "val": 4, "test": 4}
FINGERPRINT = (
    "4c285aa52a73cb5761edb81d31ad93aca8e7211862794e53f30d9ebf27e1a71f"  # as when stored results were made
)


def test_scenes_have_three_splits_and_test_two_halves():
    data = load_data("scenes", sizes=SIZES)
    assert {name: len(split) for name, split in data.splits.items()} == SIZES
    assert set(data.split("test").groups) == {"in-distribution", "novel compositions"}
    for split in data.splits.values():
        assert len(split.captions) == 5 * len(split)
        assert split.pictures[0].size == (128, 128)
        assert split.pictures[0].mode == "RGB"


def test_sizes_take_the_first_pictures():
    few, more = (load_data("scenes", sizes=SIZES | {"train": n}).split("train") for n in (3, 6))
    assert few.ids == more.ids[:3]
    assert few.captions == more.captions[:15]
    assert few.fingerprint != more.fingerprint
    np.testing.assert_array_equal(np.asarray(few.pictures[2]), np.asarray(more.pictures[2]))


def test_more_training_pictures_than_the_world_has_come_from_the_same_generator():
    data = load_data("scenes", sizes=SIZES | {"train": 4_003})
    train = data.split("train")
    further = make_world("train_more", 3)
    assert len(train) == 4_003 and len(set(train.ids)) == 4_003
    assert train.ids[3_999:4_001] == ("scenes-train-03999", "scenes-train_more-00000")
    assert train.captions[-5:] == tuple(caption.text for caption in further.captions(2))
    np.testing.assert_array_equal(np.asarray(train.pictures[4_002]), np.asarray(further.picture(2)))
    assert train.pictures.world[4_001] == further[1]
    assert train.groups is None
    assert truth_of(train.select(range(3), "few")) is None  # a part is no world of its own
    with pytest.raises(UserError, match="16001 images were requested of 'train'.*has 16000"):
        load_data("scenes", sizes={"train": 16_001})


def test_fingerprints_follow_the_worlds_version_and_its_pixels_alone(monkeypatch):
    """Library versions and comments are no new data: stored results of this fingerprint stay valid."""
    import userscenes.dataset as drawn
    from userscenes import world

    monkeypatch.setattr(drawn, "_DRAWN", {})
    monkeypatch.setattr("PIL.__version__", "99.0.0")
    monkeypatch.setattr(np, "__version__", "99.0.0")
    before = load_data("scenes", sizes=SIZES)
    assert before.fingerprint == FINGERPRINT
    monkeypatch.setattr(drawn, "_DRAWN", {})
    monkeypatch.setattr(drawn, "WORLD_VERSION", ("2",))
    after = load_data("scenes", sizes=SIZES)
    assert all(after.split(name).fingerprint != before.split(name).fingerprint for name in SIZES)
    monkeypatch.undo()
    monkeypatch.setattr(drawn, "_DRAWN", {})
    monkeypatch.setattr(world.Scenes, "picture", lambda self, i: Image.new("RGB", (128, 128), (i, 0, 0)))
    redrawn = load_data("scenes", sizes=SIZES)
    assert all(redrawn.split(name).fingerprint != before.split(name).fingerprint for name in SIZES)


def test_a_split_is_drawn_once_a_process():
    few, same, more = (load_data("scenes", sizes=SIZES | {"train": n}) for n in (6, 6, 5))
    assert same.split("train") is few.split("train")
    assert len(more.split("train")) == 5 and more.split("val") is few.split("val")


def test_the_wider_world_is_one_split_to_train_on():
    data = load_data("pretrain", sizes={"train": 5})
    assert list(data.splits) == ["train"]
    assert data.split("train").ids[0].startswith("scenes-pretrain")


@pytest.mark.parametrize(
    "name, sizes, message",
    [
        ("scenes", {"tarin": 5}, "no split 'tarin'; it has: train, val, test"),
        ("scenes", {"val": 501}, "501 images were requested of 'val'.*has 500"),
        ("pretrain", {"val": 5}, "no split 'val'"),
    ],
)
def test_wrong_sizes_are_named(name, sizes, message):
    with pytest.raises(UserError, match=message):
        load_data(name, sizes=sizes)


@pytest.mark.parametrize("name", ["region-mini", "clip-mini"])
def test_the_projects_own_networks_give_tokens_of_scenes(name, cache):
    split = load_data("scenes", sizes=SIZES).split("val")
    guide = "clip-mini" if name == "clip-mini" else None
    features = extract(split, tokens=name, guide=guide, progress=False)
    assert len(features.tokens) == 4
    assert features.grid[0] * features.grid[1] == features.tokens.shape[1]
    assert len(np.unique(features.tokens.reshape(4, -1), axis=0)) == 4
    if guide:
        np.testing.assert_allclose(np.linalg.norm(features.guide, axis=1), 1, atol=1e-3)

"""Guides for CGE from any network: a timm network's pooled vector, and a folder of one's own vectors."""

import json

import numpy as np
import pytest

from tests.data.copies import write_backbone, write_clip, write_hub
from tests.reference.runs import run_config, words
from userlib.__main__ import main
from userlib.data.extractors import made_by, make_extractor
from userlib.data.sources import load_data
from userlib.data.tokens import extract
from userlib.errors import UserError
from userlib.search.encoders import CheckpointEncoder

COUNTS = {"train": 10, "val": 6, "test": 5}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return write_hub(tmp_path_factory.mktemp("hub"), COUNTS)


def write_vectors(folder, ids, width=5):
    folder.mkdir()
    vectors = np.random.default_rng(0).standard_normal((len(ids), width)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors)
    (folder / "ids.txt").write_text("\n".join(ids) + "\n")
    return vectors


def write_npz(file):
    with open(file, "wb") as opened:
        np.savez(opened, np.zeros((3, 2)))


def test_a_file_of_timm_weights_is_a_guide(hub, tmp_path, cache):
    """timm:FILE names its network by the JSON beside it; tokens may come from elsewhere."""
    weights = write_backbone(tmp_path / "network")
    split = load_data(str(hub)).split("val")
    tokens = f"open_clip:local-dir:{write_clip(tmp_path / 'clip')}"
    features = extract(split, tokens=tokens, guide=f"timm:{weights}", progress=False)
    wanted = make_extractor("timm:test_resnet", weights=weights)([split.pictures[2]])[1]
    np.testing.assert_allclose(features.guide[2], wanted[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features.guide[:], axis=1), 1, atol=1e-5)
    assert made_by(tokens, guide=f"timm:{weights}")["guide"]["model"] == "test_resnet"


def test_vectors_go_to_their_images(hub, tmp_path, cache, capsys):
    """Whatever the order of the rows; held out images too; recorded with the checkpoint; search says what it lacks."""
    data = load_data(str(hub))
    ids = [one for split in ("test", "val", "train") for one in data.split(split).ids][::-1]
    folder = tmp_path / "own"
    vectors = write_vectors(folder, ids)
    weights = write_backbone(tmp_path / "network")
    part = data.hold_out("train", 4, seed=0).split("select")
    guide = extract(
        part, tokens="timm:test_resnet", token_weights=weights, guide=f"vectors:{folder}", progress=False
    ).guide
    np.testing.assert_array_equal(np.asarray(guide[:]), vectors[[ids.index(one) for one in part.ids]])
    settings = {"tokens": "timm:test_resnet", "token_weights": str(weights), "guide": f"vectors:{folder}"}
    config = run_config(hub, data=settings, model={"enhancement": "cge"}, steps=2)
    out = tmp_path / "run"
    assert main(words(config, tmp_path / "c.json", out)) == 0
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", str(out), "--json"]) == 0
    capsys.readouterr()
    with pytest.raises(UserError, match="a folder of vectors, and a new image has none. Search with a model"):
        CheckpointEncoder(out).encode_image([part.pictures[0]])
    np.save(folder / "vectors.npy", vectors + 1)
    assert main(["evaluate", "--checkpoint", str(out)]) == 2
    assert "made by 'vectors:" in capsys.readouterr().err


@pytest.mark.parametrize("end, coding", [("\n", "utf-8-sig"), ("\r\n\r\n", "utf-8"), ("", "utf-16")])
def test_ids_are_the_lines_of_a_text(tmp_path, end, coding):
    """As editors write them, of Windows too; an id may hold another system's end of a line."""
    folder, ids = tmp_path / "own", ["a\u2028b.jpg", "b.jpg"]
    vectors = write_vectors(folder, ids)
    (folder / "ids.txt").write_bytes(("\n".join(ids) + end).encode(coding))
    np.testing.assert_array_equal(make_extractor(f"vectors:{folder}").of(ids[::-1]), vectors[[1, 0]])


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda f: (f / "ids.txt").unlink(), "has no ids.txt; a guide of your own vectors is a folder"),
        (lambda f: (f / "vectors.npy").write_bytes(b"no"), "is not a complete array of numbers"),
        (lambda f: write_npz(f / "vectors.npy"), "is not a complete array of numbers"),
        (lambda f: (f / "ids.txt").write_bytes(b"a\nb\xe9\nc"), "0xE9 in line 2 .* Save it as UTF-8"),
        (lambda f: np.save(f / "vectors.npy", np.zeros((3, 2), int)), "it must be floats"),
        (lambda f: (f / "ids.txt").write_text("a\na\nb\n"), "must name each row once"),
        (lambda f: (f / "ids.txt").write_text("a\nb\nx\n"), "no vector for 1 of 3 images, such as 'c'"),
        (
            lambda f: np.save(f / "vectors.npy", np.full((3, 2), np.nan)),
            "The vector of image 'a' .* is not finite",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_named(tmp_path, change, said):
    folder = tmp_path / "own"
    write_vectors(folder, ["a", "b", "c"])
    change(folder)
    with pytest.raises(UserError, match=said):
        make_extractor(f"vectors:{folder}").of(["a", "b", "c"])


def test_the_cost_of_such_guides_is_told(hub, tmp_path, cache, capsys):
    data = load_data(str(hub))
    write_vectors(tmp_path / "own", [one for split in data.splits.values() for one in split.ids])
    weights = write_backbone(tmp_path / "network")
    for guide in (f"vectors:{tmp_path / 'own'}", f"timm:{weights}"):
        settings = {"tokens": "timm:test_resnet", "token_weights": str(weights), "guide": guide}
        config = run_config(hub, data=settings, model={"enhancement": "cge"}, steps=2)
        assert main(words(config, tmp_path / "c.json", tmp_path / "out", "--dry-run")) == 0
        assert json.loads(capsys.readouterr().out)["steps"] == 2

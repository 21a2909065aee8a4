"""Karpathy's annotations: five captions, the file's order, every fault a sentence."""

import json
import os

import pytest

from tests.data.copies import karpathy, write_coco
from userlib.data.coco import load_karpathy
from userlib.data.sources import load_data
from userlib.errors import UserError

COUNTS = {"test": 3, "train": 4, "restval": 2, "val": 2}


def test_the_first_five_captions_in_the_files_order(tmp_path, cache):
    found = karpathy(COUNTS)
    found["images"] = found["images"][::-1]
    write_coco(tmp_path, found)
    data = load_data(str(tmp_path))
    assert {name: len(split) for name, split in data.splits.items()} == {"val": 2, "train": 6, "test": 3}
    for name, split in data.splits.items():
        own = [i for i in found["images"] if i["split"].replace("restval", "train") == name]
        assert split.ids == tuple(image["filename"] for image in own)
        assert split.captions == tuple(s["raw"] for image in own for s in image["sentences"][:5])
        assert split.image_of.tolist() == [i for i in range(len(own)) for _ in range(5)]
        assert split.pictures[0].size == (48, 36)
    assert any(len(image["sentences"]) == 6 for image in found["images"])


def test_annotations_may_lie_elsewhere(tmp_path, cache):
    found = karpathy(COUNTS)
    write_coco(tmp_path / "pictures", found)
    file = (tmp_path / "pictures" / "dataset_small.json").rename(tmp_path / "dataset_small.json")
    direct = load_data(str(file), pictures=tmp_path / "pictures")
    assert direct.split("val").pictures[1].size == (48, 36)
    with pytest.raises(UserError, match=r"11 of 11 pictures are not below .*train2014 and val2014"):
        load_data(str(file))


def test_the_published_files_must_have_their_counts(tmp_path, cache):
    write_coco(tmp_path, karpathy(COUNTS), name="dataset_coco.json")
    with pytest.raises(UserError, match="train 113,287, val 5,000, test 5,000; but .* train 6"):
        load_data(str(tmp_path))
    own = load_karpathy(tmp_path / "dataset_coco.json", tmp_path, counts={"test": 3, "train": 6, "val": 2})
    assert len(own.split("test")) == 3


def image(change):
    def fault(found):
        change(found["images"][1])
        return found

    return fault


@pytest.mark.parametrize(
    "fault, message",
    [
        (
            image(lambda i: i["sentences"].pop()),
            r"picture 1 of .* \(COCO_.*\) has 4 captions; five are needed",
        ),
        (image(lambda i: i["sentences"][2].update(raw="  ")), "Caption 7 in the split 'test'.*is empty"),
        (image(lambda i: i.pop("sentences")), "picture 1 of .* lacks 'sentences'"),
        (image(lambda i: i.update(filename="../../x.jpg")), "names the file '.*x.jpg', which lies outside"),
        (
            image(lambda i: i.update(filepath="", filename="gone.jpg")),
            "1 of 11 pictures are not below.*gone.jpg",
        ),
        (image(lambda i: i.update(filename="COCO_val2014_000000000000.jpg")), "occurs twice"),
        (lambda found: found["images"], "has no list 'images'"),
        (lambda found: {"images": [1]}, "has no list 'images'"),
    ],
)
def test_faults_are_named(tmp_path, cache, fault, message):
    write_coco(tmp_path, karpathy(COUNTS))
    (tmp_path / "dataset_small.json").write_text(json.dumps(fault(karpathy(COUNTS))))
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path))


def test_annotations_that_are_cut_short_are_named(tmp_path, cache):
    file = write_coco(tmp_path, karpathy(COUNTS))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"dataset_small\.json is not valid JSON.*cut short"):
        load_data(str(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_out_of_the_folder_is_refused(tmp_path, cache):
    found = karpathy(COUNTS)
    write_coco(tmp_path / "coco", found)
    (tmp_path / "secret.jpg").write_bytes(b"x")
    place = tmp_path / "coco" / "val2014" / found["images"][0]["filename"]
    place.unlink()
    place.symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(UserError, match="links must not lead out"):
        load_data(str(tmp_path / "coco"))

"""Karpathy's annotations: five captions, the file's order, every fault a sentence."""

import json
import os

import numpy as np
import pytest

from tests.data.copies import karpathy, picture, write_backbone, write_coco, write_hub, write_pictures
from userlib.data.coco import load_karpathy
from userlib.data.sources import load_data
from userlib.data.tokens import extract
from userlib.errors import UserError

COUNTS = {"test": 3, "train": 4, "restval": 2, "val": 2}


def test_the_first_five_captions_in_the_files_order(tmp_path, cache):
    annotations = karpathy(COUNTS)
    annotations["images"] = annotations["images"][::-1]
    write_coco(tmp_path, annotations)
    data = load_data(str(tmp_path))
    assert {name: len(split) for name, split in data.splits.items()} == {"val": 2, "train": 6, "test": 3}
    for name, split in data.splits.items():
        own = [i for i in annotations["images"] if i["split"].replace("restval", "train") == name]
        assert split.ids == tuple(image["filename"] for image in own)
        assert split.captions == tuple(s["raw"] for image in own for s in image["sentences"][:5])
        assert split.caption_ids == tuple(str(s["sentid"]) for image in own for s in image["sentences"][:5])
        assert split.caption_to_image.tolist() == [i for i in range(len(own)) for _ in range(5)]
        assert split.pictures[0].size == (48, 36)
    assert any(len(image["sentences"]) == 6 for image in annotations["images"])


def test_the_fingerprint_follows_annotations_and_pictures(tmp_path, cache):
    file = write_coco(tmp_path / "a", annotations := karpathy(COUNTS))
    first, same = (
        load_data(str(tmp_path / "a")),
        load_data(str(write_coco(tmp_path / "b", annotations).parent)),
    )
    assert first.fingerprint == same.fingerprint
    assert first.split("val").fingerprint == same.split("val").fingerprint != first.split("test").fingerprint
    picture = first.split("val").pictures.paths[0]
    picture.write_bytes(picture.read_bytes() + b"0")
    assert load_data(str(tmp_path / "a")).split("val").fingerprint != first.split("val").fingerprint
    annotations["images"][0]["sentences"][0]["raw"] += " again"
    file.write_text(json.dumps(annotations))
    assert load_data(str(tmp_path / "a")).fingerprint != first.fingerprint


def test_tokens_are_those_of_the_images_that_are_there(tmp_path, cache):
    """Images without compression have one size, whatever they show."""
    write_coco(tmp_path / "a", karpathy({"train": 3}))
    weights = write_backbone(tmp_path / "network")

    def tokens():
        train = load_data(str(tmp_path / "a")).split("train")
        made = extract(train, tokens="timm:test_resnet", token_weights=weights, progress=False)
        return np.asarray(made.tokens[:]), train.pictures.paths

    paths = tokens()[1]
    for seed, path in enumerate(paths):
        picture(seed).save(path, "BMP")
    before, _ = tokens()
    picture(9).save(paths[1], "BMP")
    after, _ = tokens()
    assert (before == after).all((1, 2)).tolist() == [True, False, True]


def test_annotations_may_lie_elsewhere(tmp_path, cache):
    annotations = karpathy(COUNTS)
    write_coco(tmp_path / "pictures", annotations)
    file = (tmp_path / "pictures" / "dataset_small.json").rename(tmp_path / "dataset_small.json")
    direct = load_data(str(file), pictures=tmp_path / "pictures")
    assert direct.split("val").pictures[1].size == (48, 36)
    with pytest.raises(UserError, match=r"11 of 11 images are not below .*train2014 and val2014"):
        load_data(str(file))


def test_the_published_files_must_have_their_counts(tmp_path, cache):
    write_coco(tmp_path, karpathy(COUNTS), name="dataset_coco.json")
    with pytest.raises(UserError, match="train 113,287, val 5,000, test 5,000; but .* train 6"):
        load_data(str(tmp_path))
    own = load_karpathy(tmp_path / "dataset_coco.json", tmp_path, counts={"test": 3, "train": 6, "val": 2})
    assert len(own.split("test")) == 3


def test_a_copy_in_another_split_is_refused(tmp_path, cache):
    """Within one split, and in the published files, whose images are counted, copies stay as they are."""
    file = write_coco(tmp_path, annotations := karpathy({"train": 3, "test": 2}))
    paths = [tmp_path / image["filepath"] / image["filename"] for image in annotations["images"]]
    paths[1].write_bytes(paths[0].read_bytes())
    assert len(load_data(str(tmp_path)).split("train")) == 3
    paths[4].write_bytes(paths[0].read_bytes())
    with pytest.raises(UserError, match=rf"'{paths[0].name}' in 'train' and '{paths[4].name}' in 'test' are"):
        load_data(str(tmp_path))
    assert len(load_karpathy(file, tmp_path, counts={"train": 3, "test": 2}).split("test")) == 2


def image(change):
    def fault(document):
        change(document["images"][1])
        return document

    return fault


@pytest.mark.parametrize(
    "fault, message",
    [
        (image(lambda i: i["sentences"].clear()), r"image 1 of .* \(COCO_.*\) has no captions"),
        (image(lambda i: i["sentences"][2].update(raw="  ")), "Caption 7 in the split 'test'.*is empty"),
        (image(lambda i: i.pop("sentences")), "image 1 of .* lacks 'sentences'"),
        (image(lambda i: i.update(filename="../../x.jpg")), "names the file '.*x.jpg', which lies outside"),
        (
            image(lambda i: i.update(filepath="", filename="gone.jpg")),
            "1 of 11 images are not below.*gone.jpg",
        ),
        (image(lambda i: i.update(filename="COCO_val2014_000000000000.jpg")), "occurs twice"),
        (
            image(lambda i: i.update(filename="COCO_val2014_000000000000.jpg", split="val")),
            "splits 'test' and 'val'",
        ),
        (lambda document: document["images"], "has no list of objects 'images'"),
        (lambda document: {"images": [1]}, "has no list of objects 'images'"),
        (lambda document: {"images": []}, "has no list of objects 'images'"),
        (
            image(lambda i: i["sentences"][0].update(raw=None)),
            "image 1 of .* has None where a text must stand",
        ),
        (image(lambda i: i["sentences"][0].update(raw=5)), "has 5 where a text must stand"),
        (image(lambda i: i.update(split=None)), "has None where a text must stand"),
        (
            image(lambda i: i["sentences"][0].update(raw="a \ud83d dog")),
            "Caption 5 in the split 'test'.*has a character that no text has: 'a .*ud83d dog'. Write it again",
        ),
        (image(lambda i: i.update(filename="a\ud83d.jpg")), "which no system can hold"),
    ],
)
def test_faults_are_named(tmp_path, cache, fault, message):
    write_coco(tmp_path, karpathy(COUNTS))
    (tmp_path / "dataset_small.json").write_text(json.dumps(fault(karpathy(COUNTS))))
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path / "dataset_small.json"))


def test_only_a_list_of_images_makes_a_json_annotations(tmp_path, cache):
    """What else is called dataset_*.json: notes among photos, and the hub's about its Parquet files."""
    photos, hub = write_pictures(tmp_path / "photos", ["a.jpg", "b.jpg"]), write_hub(tmp_path / "hub")
    (photos / "dataset_notes.json").write_text('{"images": 2, "by": ["me"]}')
    with pytest.warns(UserWarning, match="No captions were read.*dataset_notes.json"):
        assert load_data(str(photos)).split("all").ids == ("a.jpg", "b.jpg")
    (photos / "captions.csv").write_text("filename,caption\na.jpg,A dog\nb.jpg,A cat\n")
    assert load_data(str(photos)).split("train").captions == ("A dog", "A cat")
    (hub / "dataset_infos.json").write_text('{"default": {"features": {"images": [{"_type": "Image"}]}}}')
    assert len(load_data(str(hub)).split("train")) == 6


def test_captions_without_ids_have_none(tmp_path, cache):
    for absent in ({"sentid": None}, {}):
        annotations = karpathy(COUNTS)
        for image in annotations["images"]:
            image["sentences"] = [{"raw": sentence["raw"], **absent} for sentence in image["sentences"]]
        write_coco(tmp_path, annotations)
        assert load_data(str(tmp_path)).split("val").caption_ids is None


def test_of_several_annotations_one_must_be_named(tmp_path, cache):
    file = write_coco(tmp_path, karpathy(COUNTS))
    (tmp_path / "dataset_infos.json").write_text('{"default": {}}')  # as repositories of the hub have
    assert len(load_data(str(tmp_path)).splits) == 3
    (tmp_path / "dataset_zoo.json").write_bytes(file.read_bytes())
    with pytest.raises(
        UserError, match="dataset_small.json and dataset_zoo.json, and one file of annotations"
    ):
        load_data(str(tmp_path))
    assert len(load_data(str(file)).splits) == 3


def test_annotations_that_are_cut_short_are_named(tmp_path, cache):
    file = write_coco(tmp_path, karpathy(COUNTS))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"dataset_small\.json is not valid JSON.*cut short"):
        load_data(str(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_out_of_the_folder_is_refused(tmp_path, cache):
    annotations = karpathy(COUNTS)
    write_coco(tmp_path / "coco", annotations)
    (tmp_path / "secret.jpg").write_bytes(b"x")
    place = tmp_path / "coco" / "val2014" / annotations["images"][0]["filename"]
    place.unlink()
    place.symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(UserError, match="links must not lead out"):
        load_data(str(tmp_path / "coco"))


@pytest.mark.parametrize("counts", [(1, 1, 1), (3, 1, 7), (2, 5, 9), (10, 10, 10), (1, 2, 2)])
def test_other_files_keep_all_their_captions(tmp_path, cache, counts):
    annotations = karpathy({"train": 3})
    for image, count in zip(annotations["images"], counts, strict=True):
        image["sentences"] = [{"raw": f"caption {k}"} for k in range(count)]
    write_coco(tmp_path, annotations)
    train = load_data(str(tmp_path)).split("train")
    assert train.captions == tuple(f"caption {k}" for count in counts for k in range(count))
    assert train.caption_to_image.tolist() == [i for i, count in enumerate(counts) for _ in range(count)]
    assert train.caption_ids is None


def test_a_few_captions_fewer_are_kept_as_they_are(tmp_path, cache):
    annotations = karpathy({"train": 4})  # 5, 5, 5, 6 captions
    annotations["images"][0]["sentences"] = annotations["images"][0]["sentences"][:2]
    write_coco(tmp_path, annotations)
    assert (
        load_data(str(tmp_path)).split("train").caption_to_image.tolist()
        == [0] * 2 + [1] * 5 + [2] * 5 + [3] * 5
    )


def test_the_published_files_have_five(tmp_path, cache):
    annotations = karpathy({"test": 2})
    annotations["images"][0]["sentences"].pop()
    file = write_coco(tmp_path, annotations, name="dataset_flickr30k.json")
    with pytest.raises(UserError, match="COCO_.* has 4 captions; the published annotations have five"):
        load_karpathy(file, tmp_path, counts={"test": 2})

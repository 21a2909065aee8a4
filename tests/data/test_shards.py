"""webdataset's shards and img2dataset's output: what is written is read, unpacked nowhere; hostile ones are refused."""

import io
import json
import tarfile

import numpy as np
import pytest

from tests.data.copies import captions, jpeg
from tests.data.test_hub import SHA, SMALL, flickr, server  # noqa: F401
from userlib import UserError
from userlib.data.hub import load_hub
from userlib.data.sources import load_data


def shard(file, members):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return file


def samples(first, count):
    members = {}
    for i in range(first, first + count):
        members[f"{i:09d}.jpg"] = jpeg(i)
        members[f"{i:09d}.txt"] = "\n".join(captions(i)).encode()
        members[f"{i:09d}.json"] = json.dumps({"caption": "another", "status": "success"}).encode()
    return members


def test_shards_are_splits_by_their_names(tmp_path):
    shard(tmp_path / "set" / "train-00000.tar", samples(0, 3))
    shard(tmp_path / "set" / "train-00001.tar", samples(3, 2))
    shard(tmp_path / "set" / "flickr_test-00000.tar", samples(5, 2))
    shard(tmp_path / "set" / "val" / "00000.tar", samples(7, 2))
    data = load_data(str(tmp_path / "set"))
    assert {name: len(split) for name, split in data.splits.items()} == {"test": 2, "train": 5, "val": 2}
    train = data.split("train")
    assert train.captions[5:10] == tuple(captions(1)) and train.ids[3] == "train-00001/000000003"
    assert train.pictures.content(3) == jpeg(3) and train.pictures[3].size == (48, 36)
    again = load_data(str(tmp_path / "set"))
    assert again.fingerprint == data.fingerprint
    shard(tmp_path / "set" / "val" / "00000.tar", samples(9, 2))
    assert load_data(str(tmp_path / "set")).fingerprint != data.fingerprint


def test_shards_without_a_split_join_those_of_train(tmp_path):
    """No image is lost where some shards of a set are named by their split and others by their number alone."""
    shard(tmp_path / "set" / "train-00000.tar", samples(0, 3))
    shard(tmp_path / "set" / "00001.tar", samples(3, 2))
    train = load_data(str(tmp_path / "set")).split("train")
    assert sorted(train.ids) == [f"00001/{i:09d}" for i in (3, 4)] + [
        f"train-00000/{i:09d}" for i in (0, 1, 2)
    ]
    for i, id in enumerate(train.ids):
        assert train.pictures.content(i) == jpeg(int(id.rpartition("/")[2]))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("eval-00000.tar", "eval"),
        ("flickr_Eval-00000.tar", "flickr_eval"),
        ("test_b-00000.tar", "test"),
        ("val2014-00000.tar", "val"),
        ("train_b-00000.tar", "train"),
        ("train_or_test-00000.tar", "test"),  # the last part of a name comes first
        ("more/eval/00000.tar", "train"),
    ],
)
def test_shards_beside_those_of_train_are_no_part_of_it(tmp_path, name, split):
    shard(tmp_path / "set" / "train-00000.tar", samples(0, 3))
    shard(tmp_path / "set" / name, samples(3, 2))
    splits = load_data(str(tmp_path / "set")).splits
    own = splits[split]
    assert sorted(splits) == sorted({"train", split}) and sum(map(len, splits.values())) == 5
    assert {jpeg(3), jpeg(4)} <= {own.pictures.content(i) for i in range(len(own))}


def test_img2dataset_in_tars_and_in_folders(tmp_path):
    """A failed download leaves its text and JSON without an image; a table and statistics stand beside."""
    members = samples(0, 3)
    del members["000000001.jpg"]
    shard(tmp_path / "tars" / "00000.tar", members)
    (tmp_path / "tars" / "00000.parquet").write_bytes(b"PAR1 of img2dataset")
    (tmp_path / "tars" / "00000_stats.json").write_text("{}")
    for name, content in members.items():
        place = tmp_path / "files" / "00000" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (tmp_path / "files" / "00000" / "._000000000.jpg").write_bytes(b"what macOS keeps of a file")
    (tmp_path / "files" / "00000_stats.json").write_text("{}")
    (tmp_path / "files" / "00000.parquet").write_bytes(b"PAR1 of img2dataset")
    for folder in ("tars", "files"):
        with pytest.warns(UserWarning, match="1 of 3 samples have no image"):
            data = load_data(str(tmp_path / folder))
        train = data.split("train")
        assert train.ids == ("00000/000000000", "00000/000000002") and len(train.captions) == 10
        assert [train.pictures.content(i) for i in range(2)] == [jpeg(0), jpeg(2)]


@pytest.mark.parametrize(
    ("name", "text", "other"),
    [
        ("000000002.txt", b"a new caption", True),
        ("000000001.json", b'{"caption": "a new caption"}', True),  # of a sample without a text
        ("000000002.json", b'{"caption": "another", "width": 256}', False),  # nothing that is read
    ],
)
def test_the_fingerprint_of_loose_files_follows_their_captions(tmp_path, name, text, other):
    members = samples(0, 3)
    del members["000000001.txt"]
    for member, content in members.items():
        place = tmp_path / "set" / "00000" / member
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (tmp_path / "set" / "00000_stats.json").write_text("{}")
    before = load_data(str(tmp_path / "set"))
    assert load_data(str(tmp_path / "set")).fingerprint == before.fingerprint
    (tmp_path / "set" / "00000" / name).write_bytes(text)
    after = load_data(str(tmp_path / "set"))
    assert (after.fingerprint != before.fingerprint) is other
    assert (after.split("train").fingerprint != before.split("train").fingerprint) is other


def test_shards_of_one_name_in_two_folders_keep_their_own_captions(tmp_path):
    """Each split numbers its shards and samples from nought."""
    for first, split in ((0, "train"), (5, "val")):
        members = {f"{i:09d}.txt": "\n".join(captions(first + i)).encode() for i in range(2)}
        members |= {f"{i:09d}.jpg": jpeg(first + i) for i in range(2)}
        shard(tmp_path / "set" / split / "00000.tar", members)
    data = load_data(str(tmp_path / "set"))
    assert data.split("train").captions[:5] == tuple(captions(0))
    assert data.split("val").captions[:5] == tuple(captions(5))


def test_shards_of_one_name_and_one_split_are_told_apart_by_their_folders(tmp_path):
    """Where they share a key; where they share none, the ids are as they were."""
    for first, part in ((0, "a"), (2, "b")):
        shard(tmp_path / "set" / part / "00000.tar", samples(first, 2))
    shard(tmp_path / "set" / "b" / "00001.tar", samples(1, 1))
    train = load_data(str(tmp_path / "set")).split("train")
    assert tuple(train.ids) == (*(f"00000/{i:09d}" for i in range(4)), "00001/000000001")
    shard(tmp_path / "set" / "b" / "00000.tar", samples(1, 2))
    train = load_data(str(tmp_path / "set")).split("train")
    owners = ["a/00000/000000000", "a/00000/000000001", "b/00000/000000001", "b/00000/000000002"]
    assert list(train.ids) == [*owners, "00001/000000001"]
    assert train.captions[10:15] == tuple(captions(1)) and train.pictures.content(3) == jpeg(2)


def test_captions_of_json_and_none_at_all(tmp_path):
    shard(
        tmp_path / "said" / "a.tar",
        {
            "1.jpg": jpeg(1),
            "1.json": b'{"captions": ["one", "two"]}',
            "2.png": jpeg(2),
            "2.json": b'{"caption": "x"}',
            "3.jpg": jpeg(3),
            "3.txt": b"y",
            "3.json": b'{"caption": NaN}',  # as pandas writes one that is missing
        },
    )
    assert load_data(str(tmp_path / "said")).split("train").captions == ("one", "two", "x", "y")
    shard(tmp_path / "bare" / "a.tar", {"1.jpg": jpeg(1), "2.jpg": jpeg(2)})
    assert len(load_data(str(tmp_path / "bare")).split("all")) == 2


@pytest.mark.parametrize(
    ("name", "text"), [("0.text", b"a"), ("0.json", b'{"text": "a"}'), ("0.json", b'{"caption": null}')]
)
def test_captions_under_another_name_are_told(tmp_path, name, text):
    shard(tmp_path / "set" / "0.tar", {"0.jpg": jpeg(0), name: text})
    with pytest.warns(UserWarning, match=rf"No captions were read: .*KEY\.txt, .* have {name} instead"):
        assert load_data(str(tmp_path / "set")).split("all").captions == ()


def test_a_member_that_is_appended_again_takes_the_place_of_the_earlier(tmp_path):
    """As it does where the tar is unpacked."""
    file = shard(tmp_path / "set" / "0.tar", {"./0.txt": b"old", "0.jpg": jpeg(0)})
    with tarfile.open(file, "a") as tar:
        for name, content in (("0.txt", b"new"), ("0.jpg", jpeg(1))):
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    train = load_data(str(tmp_path / "set")).split("train")
    assert train.captions == ("new",) and train.pictures.content(0) == jpeg(1)


@pytest.mark.parametrize("said", ['{"caption": {"en": "x"}}', '{"captions": [5, null]}'])
def test_json_beside_a_text_may_hold_anything(tmp_path, said):
    shard(tmp_path / "set" / "0.tar", {"0.jpg": jpeg(0), "0.txt": b"a", "0.json": said.encode()})
    assert load_data(str(tmp_path / "set")).split("train").captions == ("a",)


@pytest.mark.parametrize("table", [{}, {"metadata.csv": b"file_name,text\n0.jpg,A dog\n1.jpg,A cat\n"}])
@pytest.mark.parametrize("packed", [{"old/2.jpg": jpeg(2)}, {"notes.txt": b"what is planned"}, None])
def test_a_tar_among_photos_does_not_take_their_place(tmp_path, table, packed):
    for name, content in ({f"{i}.jpg": jpeg(i) for i in range(2)} | table).items():
        (tmp_path / name).write_bytes(content)
    shard(tmp_path / "backup.tar", packed or {})
    if packed is None:
        (tmp_path / "backup.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.warns(UserWarning, match=r"Left out: 1 \(backup\.tar is an archive, .* unpack it\)"):
        data = load_data(str(tmp_path))
    assert data.split("train" if table else "all").ids == ("0.jpg", "1.jpg")


def test_an_image_beside_shards_is_told(tmp_path):
    shard(tmp_path / "set" / "train-00000.tar", samples(0, 2))
    (tmp_path / "set" / "teaser.jpg").write_bytes(jpeg(9))
    with pytest.warns(
        UserWarning, match=r"images outside of its tar files are left out: 1, such as teaser\.jpg"
    ):
        assert len(load_data(str(tmp_path / "set")).split("train")) == 2


HOSTILE = {
    "a second image": ({"1.jpg": jpeg(1), "1.png": jpeg(2)}, "second image of one sample"),
    "no UTF-8": ({"1.jpg": jpeg(1), "1.txt": b"\xff\xfe"}, "not UTF-8 text"),
    "no JSON": ({"1.jpg": jpeg(1), "1.json": b"{"}, "not valid JSON"),
    "no text in JSON": ({"1.jpg": jpeg(1), "1.json": b'{"captions": ["a", 5]}'}, "has 5 where a caption"),
    "a long text": ({"1.jpg": jpeg(1), "1.txt": b"a" * (2**20 + 5)}, "too many for captions"),
    "no image": ({"1.txt": b"a dog"}, "no image in them"),
    "one without a caption": ({"1.jpg": jpeg(1), "1.txt": b"a dog", "2.jpg": jpeg(2)}, "have no caption"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_shard_is_refused(tmp_path, kind):
    members, said = HOSTILE[kind]
    shard(tmp_path / "set" / "0.tar", members)
    with pytest.raises(UserError, match=said):
        load_data(str(tmp_path / "set"))


def test_a_damaged_shard_and_an_image_in_two_splits_are_refused(tmp_path):
    file = shard(tmp_path / "cut" / "0.tar", samples(0, 2))
    data = load_data(str(tmp_path / "cut"))
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(UserError, match="cut short"):
        data.split("train").pictures.content(0)
    file.write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(UserError, match="not a complete tar file"):
        load_data(str(tmp_path / "cut"))
    shard(tmp_path / "two" / "train-0.tar", samples(0, 2))
    shard(tmp_path / "two" / "test-0.tar", samples(1, 2))
    with pytest.raises(UserError, match="are the same"):
        load_data(str(tmp_path / "two"))


def test_names_that_lead_out_and_links_are_not_followed(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    file = tmp_path / "set" / "0.tar"
    shard(file, {"../../secret.jpg": jpeg(1), "../../secret.txt": b"inside the tar"})
    with tarfile.open(file, "a") as tar:
        link = tarfile.TarInfo("2.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    train = load_data(str(tmp_path / "set")).split("train")
    assert train.captions == ("inside the tar",) and train.pictures.content(0) == jpeg(1)


def test_a_hub_name_with_a_revision(server, flickr):  # noqa: F811
    server.sets[f"me/flickr@{SHA}"] = (SHA, flickr)
    data = load_data(f"me/flickr@{SHA}")
    assert np.array_equal(
        data.split("test").pictures[0], load_hub(f"me/flickr@{SHA}").split("test").pictures[0]
    )
    with pytest.raises(UserError, match="no revision 'gone'"):
        load_data("me/flickr@gone")
    with pytest.raises(UserError, match="There is no data set"):
        load_data("me/flickr@")
    assert SMALL.revision == "main"

"""Folders of one's own photos, with and without captions."""

import json
import os

import pytest

from tests.data.copies import write_pictures
from userlib.data.sources import load_data
from userlib.errors import UserError

NAMES = ["b.jpg", "a.JPG", "trip/c.jpeg"]


@pytest.fixture
def folder(tmp_path, cache):
    return write_pictures(tmp_path / "album", NAMES)


def test_without_captions_there_is_one_split_to_search(folder):
    (folder / ".hidden").mkdir()
    write_pictures(folder, [".hidden/x.jpg", ".x.jpg"])
    (folder / "notes.txt").write_text("no image")
    data = load_data(str(folder))
    assert list(data.splits) == ["all"]
    assert data.split("all").ids == ("a.JPG", "b.jpg", "trip/c.jpeg")
    assert data.split("all").captions == ()
    assert data.split("all").pictures[2].mode == "RGB"


CSV = 'filename,caption\nb.jpg,"A dog, running"\na.JPG,A lake\nb.jpg,Wet dog\ntrip/c.jpeg,Café\n'


def test_captions_in_csv(folder):
    (folder / "captions.csv").write_text("\ufeff" + CSV, encoding="utf-8")
    train = load_data(str(folder)).split("train")
    assert train.captions == ("A lake", "A dog, running", "Wet dog", "Café")
    assert train.caption_to_image.tolist() == [0, 1, 1, 2]


def test_the_fingerprint_of_the_first_images_follows_their_captions(folder):
    """The split's own, which names its tokens, does not."""
    (folder / "captions.csv").write_text(CSV, encoding="utf-8")
    before = load_data(str(folder), sizes={"train": 2})
    assert load_data(str(folder), sizes={"train": 2}).fingerprint == before.fingerprint
    (folder / "captions.csv").write_text(CSV.replace("Wet dog", "Dry dog"), encoding="utf-8")
    after = load_data(str(folder), sizes={"train": 2})
    assert after.fingerprint != before.fingerprint
    assert after.split("train").fingerprint == before.split("train").fingerprint


def test_captions_in_jsonl_with_splits(folder):
    rows = [
        {"filename": "b.jpg", "captions": ["A dog, running", "Wet dog"], "split": "dev"},
        {"filename": "a.JPG", "caption": "A lake", "split": "train"},
        {"filename": "trip/c.jpeg", "caption": "Café", "split": "train"},
    ]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load_data(str(folder))
    assert data.split("val").captions == ("A dog, running", "Wet dog")
    assert data.split("train").ids == ("a.JPG", "trip/c.jpeg")


@pytest.mark.parametrize(
    "text, message",
    [
        (CSV.replace("a.JPG,A lake\n", ""), "1 of 3 images .*have no caption, the first is 'a.JPG'"),
        (CSV + "gone.jpg,A cat\n", "caption for 'gone.jpg', but there is no such image"),
        (CSV.replace("Wet dog", ""), "Line 4 of .*empty caption"),
        (CSV.replace("b.jpg,Wet", ",Wet"), "Line 4 of .*empty filename"),
        (CSV.replace("filename,", "file,"), "no 'filename' .it has 'file', 'caption'.*filename,caption"),
        (CSV + "../secret.jpg,A cat\n", "'../secret.jpg', which lies outside"),
        (CSV + "/etc/hostname,A cat\n", "lies outside"),
        (CSV + '"b.jpg,open quote\n', "not valid CSV"),
        ("", "no 'filename' .it has nothing.*filename,caption"),
    ],
)
def test_faults_in_csv_are_named(folder, text, message):
    (folder.parent / "secret.jpg").write_bytes(b"x")
    (folder / "captions.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_data(str(folder))


def test_text_that_is_not_utf8_is_named(folder):
    (folder / "captions.csv").write_bytes(CSV.encode("latin-1"))
    with pytest.raises(UserError, match=r"captions\.csv is not UTF-8"):
        load_data(str(folder))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '"b.jpg"',
        "{}",
        '{"filename": "b.jpg"}',
        '{"filename": "b.jpg", "captions": 3}',
        "[" * 10_000,
    ],
)
def test_faults_in_jsonl_are_named(folder, line):
    good = json.dumps({"filename": "b.jpg", "caption": "A dog"})
    (folder / "captions.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(UserError, match=r"Line 2 of .*captions\.jsonl is not"):
        load_data(str(folder))


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_stay_inside(folder):
    (folder / "trip" / "again.jpg").symlink_to(folder / "b.jpg")
    assert len(load_data(str(folder)).split("all")) == 4
    (folder.parent / "secret.jpg").write_bytes(b"x")
    (folder / "trip" / "out.jpg").symlink_to(folder.parent / "secret.jpg")
    with pytest.raises(UserError, match=r"'trip/out\.jpg', which lies outside"):
        load_data(str(folder))


def test_an_empty_folder_says_what_it_could_hold(tmp_path, cache):
    with pytest.raises(UserError, match="holds no data set: no Parquet"):
        load_data(str(tmp_path))
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        load_data(str(tmp_path / "file.txt"))


def test_a_changed_photo_changes_the_fingerprint(folder):
    before = load_data(str(folder)).split("all").fingerprint
    assert load_data(str(folder)).split("all").fingerprint == before
    write_pictures(folder, ["trip/c.jpeg"])
    assert load_data(str(folder)).split("all").fingerprint != before

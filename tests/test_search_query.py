"""Queries of several parts on an index whose vectors are known: each option changes what it says, and nothing else."""

import csv
import json
import re
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.copies import jpeg, write_hub
from tests.model.test_hub import Colours
from userlib import Index, UserError
from userlib.data.sources import load_data
from userlib.files import write_checksummed
from userlib.search.exporting import write_hits, write_vectors
from userlib.search.query import PENALTY, Query, calibrate, find, grouped, terms

COLOURS = {
    "blue.png": (0, 0, 255), "green.png": (0, 255, 0), "old/red.png": (250, 0, 0), "red.png": (255, 0, 0),
    "redder.png": (255, 3, 0), "yellow.png": (255, 255, 0),
}  # fmt: skip


@pytest.fixture
def index(tmp_path):
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), colour).save(tmp_path / "photos" / name)
    index = Index.build(tmp_path / "photos", Colours(), progress=False)
    index.source = {"data": str(tmp_path / "photos"), "split": "all"}
    return index


def test_a_query_of_another_form_is_named(index):
    for settings, said in (
        ({"exclude": "old/*"}, "exclude is 'old/.'; it must be several texts"),  # each letter is no pattern
        ({"minus": "beach"}, "minus is 'beach'; it must be several texts"),
        ({"min_score": float("nan")}, "min_score is nan; it must be a number"),
        ({"alike": "0.9"}, "alike is '0.9'; it must be a number"),
        ({"minus": [None]}, r"minus is \[None\]; it must be several texts"),
        ({"exclude": (Path("a"),)}, "exclude is .*; it must be several texts"),
        ({"exclude": None}, "exclude is None; it must be several texts"),
        ({"text": 5}, "text is 5; it must be a text or none"),
        (
            {"image": np.zeros((4, 4, 3))},
            "image is of the type ndarray; it must be a text or an Image or none",
        ),
        ({"arithmetic": "no"}, "arithmetic is 'no'; it must be true or false"),
        ({"min_score": float("inf")}, "min_score is inf; it must be a number that is finite"),
        ({"alike": 97}, "alike, a cosine, is 97; it must lie between -1 and 1"),
        ({"alike": -2.0}, "alike, a cosine, is -2.0"),
    ):
        with pytest.raises(UserError, match=said):
            Query(**{"text": "red", **settings})
    with pytest.raises(UserError, match="query is 'red'; it must be a Query"):
        find(index, "red")
    with pytest.raises(UserError, match="there is no image .*red.png"):
        find(index, Query(image=Path("red.png").absolute()))
    assert Query(text="red", minus=["a"], exclude=(one for one in "b")) == Query(
        text="red", minus=("a",), exclude=("b",)
    )
    assert Query(text="red", arithmetic=np.True_, alike=np.float32(0.5)) == Query(
        text="red", arithmetic=True, alike=0.5
    )


def ids(hits):
    return [hit.id for hit in hits]


def test_terms():
    assert terms("two dogs - beach + snow") == [(1, "two dogs"), (-1, "beach"), (1, "snow")]
    assert terms("+ snow - sea-side beach") == [(1, "snow"), (-1, "sea-side beach")]
    assert terms("a well-known c++ book") == [(1, "a well-known c++ book")]
    for text in ("- beach", "dogs - ", "dogs + - beach"):
        with pytest.raises(UserError, match="only subtracts|without a text after it"):
            terms(text)


@pytest.mark.parametrize(
    "text, sign",
    [
        ("dog -cat", "-"),
        ("dog +cat", "+"),
        ("-cat dog", "-"),
        ("dog \u2013 cat", "\u2013"),
        ("dog \u2212cat", "\u2212"),
        ("dog - beach \u2014 cat", "\u2014"),
    ],
)
def test_a_sign_that_would_be_read_as_text_is_named(text, sign):
    with pytest.raises(UserError, match=f"has '{re.escape(sign)}', which is not read as a sign"):
        Query(text=text, arithmetic=True)
    Query(text=text)
    for plain in ("a well-known c++ book", "dogs", "1960\u20131970", "+ snow - sea-side beach"):
        Query(text=plain, arithmetic=True)


def test_arithmetic_is_that_of_unit_vectors(index):
    assert ids(find(index, Query(text="red + green", arithmetic=True), 1)) == ["yellow.png"]
    assert ids(find(index, Query(text="red green - green", arithmetic=True), 1)) == ["old/red.png"]
    assert find(index, Query(text="red green - green", arithmetic=True), 1)[0].score == pytest.approx(
        (1 / np.sqrt(2)) / np.sqrt(0.5 + (1 - 1 / np.sqrt(2)) ** 2), abs=1e-5
    )
    with pytest.raises(UserError, match="cancel out"):
        find(index, Query(text="red - red", arithmetic=True))


def test_an_image_alone_and_with_a_text(index):
    assert ids(find(index, Query(image="green.png"), 1)) == ["yellow.png"]  # itself is left out
    assert ids(find(index, Query(image=Image.new("RGB", (2, 2), (0, 255, 0))), 1)) == ["green.png"]
    both = find(index, Query(image="green.png", text="red"), 3)
    assert both[0].id == "yellow.png" and both[0].score == pytest.approx(1)
    # text and image count alike, however many terms a text adds up
    assert find(index, Query(image="green.png", text="red + red + red + red", arithmetic=True), 3) == both
    with pytest.raises(UserError, match="neither a text nor an image"):
        find(index, Query())


def test_what_is_unlike_a_negative_term_gains_nothing_by_it(index):
    """Its cosine is below 0, and a score is never above that of the query alone."""
    index.vectors = -index.vectors
    plain = {hit.id: hit.score for hit in find(index, Query(text="red"), 9)}
    assert min(float(v) for v in index.vectors @ index.encode_text(["green"])[0]) < -0.5
    assert {hit.id: hit.score for hit in find(index, Query(text="red", minus=("green",)), 9)} == plain


def test_a_group_is_what_is_like_its_first_image(index):
    """20 degrees from one to the next: the third is like the second and no longer like the first."""
    angles = np.radians([0, 20, 40, 60])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    assert grouped(vectors, [0, 1, 2, 3], float(np.cos(np.radians(25))), 9) == [[0, 1], [2, 3]]
    assert grouped(vectors, [1, 0, 2, 3], float(np.cos(np.radians(25))), 9) == [[1, 0, 2], [3]]
    assert grouped(vectors, [0, 1, 2, 3], float(np.cos(np.radians(25))), 1) == [[0, 1]]
    # 20 lies as near to 40 as to 0, and goes with the better hit, whichever of them that is
    assert grouped(vectors, [0, 2, 1], float(np.cos(np.radians(25))), 9) == [[0, 1], [2]]
    assert grouped(vectors, [2, 0, 1], float(np.cos(np.radians(25))), 9) == [[2, 1], [0]]


def test_negative_terms_thresholds_and_excluded_ids(index):
    plain = {hit.id: hit.score for hit in find(index, Query(text="red green"), 9)}
    less = {hit.id: hit.score for hit in find(index, Query(text="red green", minus=("green", "blue")), 9)}
    assert less["green.png"] == pytest.approx(plain["green.png"] - PENALTY)
    assert less["red.png"] == pytest.approx(plain["red.png"])
    assert max(plain, key=plain.get) == "yellow.png"
    assert ids(find(index, Query(text="red", exclude=("old/*", "yell?w*")), 9))[0] == "red.png"
    assert len(find(index, Query(text="red", exclude=("old/*", "yell?w*")), 9)) == 4
    assert len(find(index, Query(text="red", exclude=("[r]ed.png",)), 9)) == 6  # no set of letters
    index.ids = ("trip[1].png", *index.ids[1:])
    assert "trip[1].png" not in ids(find(index, Query(text="red", exclude=("trip[1].png",)), 9))
    index.ids = (*COLOURS,)
    assert ids(find(index, Query(text="red", min_score=0.99), 9)) == ["old/red.png", "red.png", "redder.png"]
    hits = find(index, Query(text="red"), 9)
    cut = hits[3].calibrated
    assert ids(find(index, Query(text="red", min_calibrated=cut + 1e-4), 9)) == ids(hits[:3])
    scores = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 9.0], np.float32)
    assert calibrate(scores)[2] == 0 and calibrate(scores)[5] == pytest.approx(1 / 1.4826)
    assert not calibrate(np.ones(4, np.float32)).any()


def test_near_duplicates_are_one_hit(index):
    hits = find(index, Query(text="red", alike=0.999), 2)
    assert hits[0].duplicates == ("red.png", "redder.png") and hits[1].id == "yellow.png"
    assert [hit.rank for hit in hits] == [1, 2]
    assert all(not hit.duplicates for hit in find(index, Query(text="red"), 9))


def test_copies_are_merged_at_a_cosine_of_one():
    vectors = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = grouped(np.concatenate([vectors, vectors]), range(100), 1.0, 100)
    assert groups == [[i, i + 50] for i in range(50)]


def test_hits_as_a_table_as_json_and_as_copies(index, tmp_path):
    split = load_data(index.source["data"]).split("all")
    hits = find(index, Query(text="red", alike=0.999), 2)
    write_hits(hits, tmp_path / "hits.csv", split)
    with open(tmp_path / "hits.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ids(hits) and rows[0]["duplicates"] == "red.png | redder.png"
    write_hits(hits, tmp_path / "hits.json", split)
    read = json.loads((tmp_path / "hits.json").read_text(encoding="utf-8"))
    assert read[0]["id"] == "old/red.png" and read[1]["score"] == pytest.approx(hits[1].score)
    assert "2 images are copied" in write_hits(hits, tmp_path / "copies", split)
    copied = sorted(tmp_path.glob("copies/*"))
    assert [file.name for file in copied] == ["001_red.png", "002_yellow.png"]
    assert copied[0].read_bytes() == (tmp_path / "photos" / "old" / "red.png").read_bytes()
    part = split.select(range(1, len(split)), "part")  # whose rows are others than those of the folder
    assert ids(hits)[1] in part.ids
    write_hits(hits[1:], tmp_path / "of-part", part)
    assert (tmp_path / "of-part" / "002_yellow.png").read_bytes() == copied[1].read_bytes()
    for target, said in (
        ("hits.csv", "hits.csv exists already, and is not replaced"),
        ("hits.json", "hits.json exists already, and is not replaced"),
        ("copies", "copies"),
    ):
        with pytest.raises(UserError, match=said):
            write_hits(hits, tmp_path / target, split)


def test_a_stored_result_is_not_replaced_by_hits(index, tmp_path):
    write_checksummed(tmp_path / "result.json", {"a": 1})
    split = load_data(index.source["data"]).split("all")
    with pytest.raises(UserError, match="exists already"):
        write_hits([], tmp_path / "result.json", split)
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["a"] == 1


def test_copies_among_the_images_would_be_found_by_the_next_search(index, tmp_path):
    photos = tmp_path / "photos"
    split = load_data(index.source["data"]).split("all")
    hits = find(index, Query(text="red"), 2)
    for place in ("found", "old/found", "../photos/found"):
        with pytest.raises(UserError, match="lies within .*photos.* would find the copies too"):
            write_hits(hits, photos / place, split)
    write_hits(hits, photos / "hits.csv", split)  # no image
    assert str(index.update(photos, progress=False)) == "6 kept"


def test_what_is_no_file_is_copied_as_png(tmp_path):
    split = load_data(str(write_hub(tmp_path / "hub"))).split("test")
    index = Index.build(split, Colours(), progress=False)
    write_hits(find(index, Query(text="red"), 1), tmp_path / "copies", split)
    (file,) = (tmp_path / "copies").iterdir()
    assert Image.open(file).size == (48, 36) and file.suffix == ".png"


def test_vectors_for_other_stores(index, tmp_path):
    """Ids come back whole, however deep the folders are in which the images lie."""
    index.ids = tuple(f"{'deep/' * 40}{name}" for name in index.ids)
    write_vectors(index, tmp_path / "vectors.npz")
    with np.load(tmp_path / "vectors.npz", allow_pickle=False) as arrays:
        assert tuple(arrays["ids"]) == index.ids and np.array_equal(arrays["vectors"], index.vectors)
    write_vectors(index, tmp_path / "vectors.parquet")
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert table["id"].to_pylist() == list(index.ids)
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), index.vectors)
    for name in ("vectors.npz", "vectors.parquet"):
        with pytest.raises(UserError, match=f"{name} exists already, and is not replaced"):
            write_vectors(index, tmp_path / name)
    with pytest.raises(UserError, match=r"ends in \.npz or \.parquet"):
        write_vectors(index, tmp_path / "vectors.csv")


def test_a_thousand_images_with_ten_changed_are_soon_up_to_date(tmp_path):
    """At most 2 s of the processor in addition to the encoding of ten; about 0.2 s where it was measured."""

    class Timed(Colours):
        seen, spent = 0, 0.0

        def encode_image(self, images):
            began = time.process_time()
            self.seen += len(images)
            vectors = super().encode_image(images)
            self.spent += time.process_time() - began
            return vectors

    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(1000):
        (photos / f"{i:04d}.jpg").write_bytes(jpeg(i))
    encoder = Timed()
    time.sleep(2.1)  # files are known by their times only when these have settled
    index = Index.empty(encoder)
    index.update(photos, keep_in=tmp_path / "index", progress=False)
    for i in range(0, 1000, 100):
        (photos / f"{i:04d}.jpg").write_bytes(jpeg(5000 + i))
    index = Index.load(tmp_path / "index", encoder)
    encoder.seen, encoder.spent = 0, 0.0
    began = time.process_time()
    changes = index.update(photos, keep_in=tmp_path / "index", progress=False)
    took = time.process_time() - began - encoder.spent
    assert encoder.seen == 10 and len(changes.changed) == 10 and changes.kept == 990
    print(f"1,000 images, 10 changed: {took:.2f} s in addition to encoding")
    assert took <= 2.0


def test_the_suffix_of_a_table_may_be_in_capitals(index, tmp_path):
    split = load_data(index.source["data"]).split("all")
    hits = find(index, Query(text="red"), 2)
    for name in ("hits.CSV", "hits.JSON"):
        write_hits(hits, tmp_path / name, split)
        assert (tmp_path / name).is_file()
    read = json.loads((tmp_path / "hits.JSON").read_text(encoding="utf-8"))
    assert [one["id"] for one in read] == ids(hits)

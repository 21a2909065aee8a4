"""An index follows its images: what is encoded, dropped, followed and kept; no stale answer; the command line."""

import argparse
import io
import json
import os
import shutil
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from tests.data.copies import karpathy, write_coco
from tests.test_search import COLOURS, ColourEncoder, split_with_captions
from userlib.__main__ import main
from userlib.checkpoints import read_checkpoint, write_checkpoint
from userlib.config import Config, DataConfig
from userlib.data.splits import Split
from userlib.ending import terminated_as_interrupted
from userlib.errors import UserError
from userlib.files import sha256_bytes
from userlib.search import Index
from userlib.search import command as search_command
from userlib.search.query import Query
from userlib.search.reading import is_drawn, only_split, print_of, read


class Counting(ColourEncoder):
    """Says what it encoded; `stop_at` images in, it is interrupted."""

    def __init__(self, stop_at=None, error=KeyboardInterrupt):
        self.images, self.texts, self.stop_at, self.error = 0, [], stop_at, error

    def encode_image(self, pictures):
        if self.stop_at is not None and self.images + len(pictures) > self.stop_at:
            raise self.error
        self.images += len(pictures)
        return super().encode_image(pictures)

    def encode_text(self, texts):
        self.texts += texts
        return super().encode_text(texts)


def save(place, name, colour):
    place.mkdir(parents=True, exist_ok=True)
    shade = colour if isinstance(colour, tuple) else COLOURS[colour]
    Image.new("RGB", (6, 6), shade).save(place / name)


@pytest.fixture
def photos(tmp_path):
    place = tmp_path / "photos"
    for i, colour in enumerate(["red", "green", "blue", "grey"]):
        save(place, f"{i}-{colour}.png", colour)
    return place


def built(photos, **options):
    encoder = Counting(**options)
    return Index.build(photos, encoder, progress=False), encoder


def update(index, photos, **options):
    return index.update(photos, progress=False, **options)


def names(index, query="red", k=99):
    return [hit.id for hit in index.search(query, k)]


def test_one_new_image_encodes_one(photos):
    index, encoder = built(photos)
    assert encoder.images == 4
    save(photos, "new.png", (250, 5, 5))
    changes = update(index, photos)
    assert (encoder.images, changes.added, changes.encoded, changes.kept) == (
        5,
        ("new.png",),
        ("new.png",),
        4,
    )
    assert str(changes) == "1 added, 4 kept"
    assert names(index, k=2) == ["0-red.png", "new.png"]
    assert not update(index, photos)
    assert encoder.images == 5


def test_what_is_gone_never_answers(photos):
    index, encoder = built(photos)
    (photos / "0-red.png").unlink()
    changes = update(index, photos)
    assert (changes.removed, changes.kept, encoder.images) == (("0-red.png",), 3, 4)
    assert "0-red.png" not in names(index)
    assert len(index.vectors) == len(index.ids) == len(index.prints) == len(index.distances) == 3


def test_renames_and_copies_are_followed_without_encoding(photos):
    index, encoder = built(photos)
    (photos / "below").mkdir()
    (photos / "0-red.png").rename(photos / "below" / "z.png")
    shutil.copy(photos / "1-green.png", photos / "copy.png")
    changes = update(index, photos)
    assert changes.renamed == (("0-red.png", "below/z.png"),)
    assert (changes.added, changes.removed, changes.kept, changes.encoded) == (("copy.png",), (), 3, ())
    assert str(changes) == "1 added, 1 renamed, 3 kept"
    assert encoder.images == 4
    assert names(index, k=1) == ["below/z.png"]
    assert index.ids == tuple(sorted(index.ids))


def test_names_that_are_exchanged_keep_the_vector_of_their_content(photos):
    index, encoder = built(photos)
    (photos / "0-red.png").rename(photos / "x")
    (photos / "2-blue.png").rename(photos / "0-red.png")
    (photos / "x").rename(photos / "2-blue.png")
    assert update(index, photos).changed == ("0-red.png", "2-blue.png")
    assert encoder.images == 4
    assert names(index, k=1) == ["2-blue.png"]


@pytest.mark.parametrize("settled", [False, True])
def test_an_image_replaced_under_its_name_is_encoded_again_whatever_its_times_say(
    photos, settled, monkeypatch
):
    file = photos / "0-red.png"
    if settled:  # size and times are kept
        later = time.time_ns() + 10**10
        monkeypatch.setattr("userlib.search.reading.time.time_ns", lambda: later)
    size = 500  # zeros behind a PNG are no part of the image
    file.write_bytes(file.read_bytes().ljust(size, b"\0"))
    index, encoder = built(photos)
    before = file.stat()
    other = io.BytesIO()
    Image.new("RGB", (6, 6), (0, 0, 254)).save(other, "PNG")
    file.write_bytes(other.getvalue().ljust(size, b"\0"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_ino) == (before.st_size, before.st_ino)
    changes = update(index, photos)
    assert (changes.changed, encoder.images) == (("0-red.png",), 5)
    assert str(changes) == "1 changed, 3 kept"
    assert "0-red.png" in names(index, "blue", 2)


def test_touched_and_copied_files_are_the_same_images(photos, tmp_path):
    index, encoder = built(photos)
    for file in photos.iterdir():
        os.utime(file)
    assert update(index, photos).kept == 4
    shutil.copytree(photos, tmp_path / "moved")
    assert update(index, tmp_path / "moved").kept == 4
    assert encoder.images == 4


def test_a_file_whose_size_and_times_are_known_is_not_read_again(photos, monkeypatch):
    later = time.time_ns() + 10**10
    monkeypatch.setattr("userlib.search.reading.time.time_ns", lambda: later)
    index, _ = built(photos)
    assert all(one.state is not None for one in index.prints)

    def refuse(path):
        raise AssertionError(path)

    monkeypatch.setattr("userlib.search.reading._file_bytes", refuse)
    assert update(index, photos).kept == 4


def test_a_file_that_changed_a_moment_ago_is_not_vouched_for_by_its_times(photos):
    index, _ = built(photos)
    assert all(one.state is None for one in index.prints)


def test_an_image_replaced_while_it_is_read_is_known_by_the_bytes_that_were_read(photos, monkeypatch):
    split = only_split(photos)
    red, green = ((photos / name).read_bytes() for name in ("0-red.png", "1-green.png"))
    given = iter([red, green])
    monkeypatch.setattr("userlib.search.reading._file_bytes", lambda path: next(given))
    image, one = read(split, 0)
    assert image.getpixel((0, 0)) == COLOURS["green"]
    assert (one.sha256, one.state) == (sha256_bytes(green), None)


def test_another_folder_gives_its_own_images(photos, tmp_path):
    index, _ = built(photos)
    save(tmp_path / "other", "a.png", "blue")
    index.source = {"data": "where the command took it from", "split": "all"}
    assert str(update(index, tmp_path / "other")) == "3 removed, 1 renamed"  # the blue one, by content
    assert names(index) == ["a.png"]
    assert index.source == {"data": str(tmp_path / "other"), "split": "all"}  # search updates it from there


def test_equal_images_are_encoded_once_and_keep_the_order_of_their_names(tmp_path):
    for name in ("b.png", "a.png", "c.png"):
        save(tmp_path, name, "red")
    index, encoder = built(tmp_path)
    assert encoder.images == 1
    assert names(index) == ["a.png", "b.png", "c.png"]


def test_captions_are_encoded_when_they_are_new(tmp_path):
    encoder = Counting()
    split = split_with_captions()
    index = Index.build(split, encoder, progress=False)
    assert sorted(encoder.texts) == ["blue", "blue grey", "green", "red"]
    texts = ("blue", "red grey", "red", "green")
    changed = Split(
        name="test", ids=split.ids, pictures=split.pictures, captions=texts, caption_to_image=split.caption_to_image,
        fingerprint="g",
    )  # fmt: skip
    assert update(index, changed).kept == 3
    assert encoder.texts[4:] == ["red grey"]
    assert {hit.text for hit in index.captions_for("z", 9)} == set(texts)
    assert index.captions_for("z", 1)[0].text == "blue"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("no memory")], ids=["ctrl-c", "error"])
def test_a_stopped_update_keeps_its_part_and_carries_on(tmp_path, error, monkeypatch):
    monkeypatch.setattr("userlib.search.upkeep.BATCH", 4)
    photos, kept = tmp_path / "photos", tmp_path / "index"
    for i in range(10):
        save(photos, f"{i}.png", (10 * i + 5, 200, 9))
    index = Index.empty(Counting(stop_at=8, error=error))
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        update(index, photos, keep_in=kept)
    encoder = Counting()
    part = Index.load(kept, encoder)
    assert (len(part), part.missing) == (8, 2)
    assert "2 images and captions are still to be encoded" in part.notes("red")[0]
    assert str(update(part, photos, keep_in=kept)) == "2 added, 8 kept"
    assert encoder.images == 2
    whole = Index.load(kept, Counting())
    assert (len(whole), whole.missing, whole.notes("red")) == (10, 0, ())
    straight = Index.build(photos, Counting(), progress=False)
    assert whole.vectors.tolist() == straight.vectors.tolist()


def test_images_that_are_missing_no_more_are_saved(tmp_path, monkeypatch):
    """Those left to encode were removed: the next update encodes nothing, and the index on the disk is complete."""
    monkeypatch.setattr("userlib.search.upkeep.BATCH", 4)
    photos, kept = tmp_path / "photos", tmp_path / "index"
    for i in range(10):
        save(photos, f"{i}.png", (10 * i + 5, 200, 9))
    with pytest.raises(KeyboardInterrupt):
        update(Index.empty(Counting(stop_at=8)), photos, keep_in=kept)
    for i in (8, 9):
        (photos / f"{i}.png").unlink()
    index = Index.load(kept, Counting())
    assert index.missing == 2
    assert str(update(index, photos, keep_in=kept)) == "8 kept"
    assert (index.missing, Index.load(kept, Counting()).missing) == (0, 0)
    assert Index.load(kept, Counting()).notes("red") == ()
    written = (kept / "manifest.json").stat().st_mtime_ns
    update(index, photos, keep_in=kept)
    assert (kept / "manifest.json").stat().st_mtime_ns == written


def test_a_stop_before_the_first_image_says_what_is_missing(tmp_path):
    photos, kept = tmp_path / "photos", tmp_path / "index"
    save(photos, "0.png", (5, 200, 9))
    update(Index.empty(Counting()), photos, keep_in=kept)
    save(photos, "1.png", (200, 5, 9))
    with pytest.raises(KeyboardInterrupt):
        update(Index.load(kept, Counting(stop_at=0)), photos, keep_in=kept)
    assert Index.load(kept, Counting()).missing == 1


def test_captions_encoded_before_a_stop_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("userlib.search.upkeep.BATCH", 1)
    kept, split = tmp_path / "index", split_with_captions()
    bare = Split(
        name="test", ids=split.ids, pictures=split.pictures, captions=(), caption_to_image=np.empty(0, np.int64),
        fingerprint="g",
    )  # fmt: skip
    update(Index.empty(Counting()), bare, keep_in=kept)
    encoder = Counting()

    def stopped(texts):
        if encoder.texts:
            raise KeyboardInterrupt
        return Counting.encode_text(encoder, texts)

    index = Index.load(kept, encoder)
    encoder.encode_text = stopped
    with pytest.raises(KeyboardInterrupt):
        update(index, split, keep_in=kept)
    part = Index.load(kept, Counting())
    assert (len(part.texts), part.missing) == (1, 3)


def test_a_stopped_update_of_an_index_has_nothing_stale(photos, tmp_path):
    index, _ = built(photos)
    index.save(tmp_path / "index")
    (photos / "0-red.png").unlink()
    (photos / "1-green.png").rename(photos / "9.png")
    save(photos, "new.png", (250, 5, 5))
    stopped = Index.load(tmp_path / "index", Counting(stop_at=0))
    with pytest.raises(KeyboardInterrupt):
        update(stopped, photos, keep_in=tmp_path / "index")
    part = Index.load(tmp_path / "index", Counting())
    assert (set(part.ids), part.missing) == ({"2-blue.png", "3-grey.png", "9.png"}, 1)


def test_an_update_without_a_readable_image_leaves_the_index_as_it_was(photos, tmp_path):
    index, _ = built(photos)
    index.save(tmp_path / "index")
    for file in photos.iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 4 images"):
        update(index, photos, keep_in=tmp_path / "index")
    assert len(Index.load(tmp_path / "index", ColourEncoder())) == 4


def test_an_unreadable_image_is_looked_at_again(photos):
    (photos / "bad.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 of 5 images"):
        index, encoder = built(photos)
    assert "bad.png" in index.skipped[0]
    save(photos, "bad.png", (9, 9, 9))
    assert update(index, photos).added == ("bad.png",)
    assert (index.skipped, encoder.images) == ((), 5)


def test_an_index_of_an_older_version_opens_and_is_encoded_again(photos, tmp_path):
    index, _ = built(photos)
    index.save(tmp_path / "index")
    tensors, documents = read_checkpoint(tmp_path / "index")
    for key in ("prints", "source", "missing"):
        del documents["contents"][key]
    del tensors["distances"]
    write_checkpoint(tmp_path / "older", tensors, documents)
    encoder = Counting()
    older = Index.load(tmp_path / "older", encoder)
    assert older.search("green", 9) == index.search("green", 9)
    assert (update(older, photos).changed, encoder.images) == (older.ids, 4)


def test_damage_to_prints_and_distances_is_refused(photos, tmp_path):
    index, _ = built(photos)
    index.save(tmp_path / "index")
    tensors, documents = read_checkpoint(tmp_path / "index")
    contents = documents["contents"]
    for changed in (
        {"prints": contents["prints"][:1]}, {"prints": 5}, {"missing": "2"}, {"source": "x"}, {"ids": ["a"] * 4},
        {"ids": [1, 2, 3, 4]},
    ):  # fmt: skip
        write_checkpoint(tmp_path / "bad", tensors, {"contents": {**contents, **changed}})
        with pytest.raises(UserError, match="do not fit together"):
            Index.load(tmp_path / "bad", ColourEncoder())
    write_checkpoint(tmp_path / "bad", {**tensors, "distances": torch.ones(3)}, {"contents": contents})
    with pytest.raises(UserError, match="do not fit together"):
        Index.load(tmp_path / "bad", ColourEncoder())


def test_a_graph_for_approximate_search_is_dropped_when_images_change(photos):
    pytest.importorskip("faiss")
    index, _ = built(photos)
    index.approximate(["red"], 2)
    assert not update(index, photos).unlinked
    assert index.nearest is not None
    (photos / "0-red.png").unlink()
    assert "call approximate again" in str(update(index, photos))
    assert index.nearest is None
    assert "0-red.png" not in names(index)


def test_a_graph_made_after_the_index_was_saved_is_saved_by_an_update(photos, tmp_path):
    """Also by one that finds nothing changed."""
    pytest.importorskip("faiss")
    kept = tmp_path / "index"
    built(photos)[0].save(kept)
    index = Index.load(kept, Counting())
    index.approximate(["red"], 2)
    assert not update(index, photos, keep_in=kept)
    again = Index.load(kept, Counting())
    assert again.nearest is not None and again.report == index.report


def test_a_graph_is_dropped_when_an_image_is_exchanged(photos):
    """As many images as before, and yet the graph has another's vector under that name."""
    pytest.importorskip("faiss")
    index, _ = built(photos)
    index.approximate(["red"], 2)
    save(photos, "0-red.png", "green")
    assert update(index, photos).unlinked
    assert index.nearest is None
    assert names(index, "red", 1) != ["0-red.png"]


def test_a_graph_is_dropped_when_an_image_is_renamed(photos):
    """All vectors are as before, but they stand in the order of the names: the graph's numbers would be others'."""
    pytest.importorskip("faiss")
    index, _ = built(photos)
    index.approximate(["red"], 2)
    (photos / "0-red.png").rename(photos / "9-red.png")
    changes = update(index, photos)
    assert changes.renamed and changes.unlinked and index.nearest is None
    assert names(index, "red", 1) == ["9-red.png"]


def test_a_graph_that_was_dropped_on_the_way_is_told(photos, tmp_path, monkeypatch):
    """Also where a long update drops it when it is kept for the first time."""
    pytest.importorskip("faiss")
    index, _ = built(photos)
    index.approximate(["red"], 2)
    monkeypatch.setattr("userlib.search.upkeep.KEEP_EVERY_S", -1.0)
    save(photos, "new.png", (250, 5, 5))
    assert "call approximate again" in str(update(index, photos, keep_in=tmp_path / "index"))
    assert index.nearest is None


def test_an_image_exchanged_under_its_name_is_saved(photos, tmp_path):
    """Names, number and captions stay as they were: the vectors on the disk do not."""
    index, _ = built(photos)
    index.save(tmp_path / "index")
    save(photos, "0-red.png", "blue")
    index = Index.load(tmp_path / "index", ColourEncoder())
    update(index, photos, keep_in=tmp_path / "index")
    again = Index.load(tmp_path / "index", ColourEncoder())
    assert again.vectors.tolist() == index.vectors.tolist()
    assert again.vectors[0].argmax() == 2
    assert update(again, photos).kept == 4


def test_names_that_are_no_utf8_are_kept(tmp_path):
    photos = tmp_path / "photos"
    name = os.fsdecode(b"caf\xe9.png")
    try:
        save(photos, name, "red")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    save(photos, "a\nb.png", "blue")
    index, _ = built(photos)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index", ColourEncoder())
    assert again.ids == index.ids == (r"a\nb.png", r"caf\xe9.png")
    assert names(again, k=1) == [r"caf\xe9.png"]
    assert update(again, photos).kept == 2


def test_ids_that_are_no_utf8_come_back_from_the_disk(tmp_path):
    split = split_with_captions()
    raw = Split(
        name="raw", ids=("z\udce9", "x", "y\n"), pictures=split.pictures, captions=(), fingerprint="f",
        caption_to_image=np.empty(0, np.int64),
    )  # fmt: skip
    Index.build(raw, ColourEncoder(), progress=False).save(tmp_path / "index")
    assert Index.load(tmp_path / "index", ColourEncoder()).ids == ("x", "y\n", "z\udce9")


def test_an_empty_index_and_a_folder_without_images(tmp_path):
    with pytest.raises(UserError, match="the index is empty"):
        Index.empty(ColourEncoder()).search("red")
    with pytest.raises(UserError, match="the index is empty; fill it"):
        Index.empty(ColourEncoder()).approximate(["red"])
    with pytest.raises(UserError, match="no picture|no image"):
        Index.build(tmp_path, ColourEncoder(), progress=False)
    save(tmp_path, "only.png", "red")
    index, _ = built(tmp_path)
    assert names(index, "blue", 50) == ["only.png"]
    assert index.similar("only.png", 5) == []


def test_equal_images_renamed_together_are_paired_in_order(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path, name, "red")
    index, encoder = built(tmp_path)
    (tmp_path / "a.png").rename(tmp_path / "x.png")
    (tmp_path / "b.png").rename(tmp_path / "y.png")
    assert update(index, tmp_path).renamed == (("a.png", "x.png"), ("b.png", "y.png"))
    assert encoder.images == 1


def test_a_long_update_is_kept_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr("userlib.search.upkeep.BATCH", 4)
    monkeypatch.setattr("userlib.search.upkeep.KEEP_EVERY_S", -1.0)
    for i in range(10):
        save(tmp_path / "photos", f"{i}.png", (10 * i + 5, 200, 9))
    index, kept = Index.empty(Counting()), []
    monkeypatch.setattr(Index, "save", lambda self, folder: kept.append((len(self), self.missing)))
    assert str(update(index, tmp_path / "photos", keep_in=tmp_path / "index")) == "10 added"
    assert kept == [(4, 6), (8, 2), (10, 0), (10, 0)]


def test_an_index_is_saved_where_it_is_asked_for(photos, tmp_path):
    index, _ = built(photos)
    for name in ("one", "two"):
        update(index, photos, keep_in=tmp_path / name)
        assert len(Index.load(tmp_path / name, ColourEncoder())) == 4


def test_a_cut_of_a_split_reads_its_own_files(photos):
    cut = only_split(photos).select([2, 0], "cut")
    index = Index.build(cut, ColourEncoder(), progress=False)
    assert index.ids == ("0-red.png", "2-blue.png")
    assert index.vectors.argmax(1).tolist() == [0, 2]
    again = only_split(photos).select([3, 2, 0], "cut").select([1, 2], "cut")  # a cut of a cut
    assert [print_of(again, row) for row in range(2)] == [print_of(cut, row) for row in range(2)]
    assert not is_drawn(again)


def test_images_without_files_are_known_by_their_pixels_and_size():
    def split_of(*pictures):
        ids = tuple(str(i) for i in range(len(pictures)))
        none = np.empty(0, np.int64)
        return Split(
            name="s", ids=ids, pictures=pictures, captions=(), caption_to_image=none, fingerprint="same"
        )

    wide, high = Image.new("RGB", (4, 2), "red"), Image.new("RGB", (2, 4), "red")
    two = split_of(wide, high)
    assert print_of(two, 0) == print_of(split_of(wide.copy()), 0) != print_of(two, 1)
    encoder = Counting()
    index = Index.build(two, encoder, progress=False)
    update(index, split_of(high, Image.new("RGB", (4, 2), "blue")))
    assert encoder.images == 3
    assert names(index, "blue", 1) == ["1"]


def test_images_in_parquet_are_known_by_their_bytes(tmp_path):
    def write(*colours):
        rows = []
        for colour in colours:
            data = io.BytesIO()
            Image.new("RGB", (6, 6), COLOURS[colour]).save(data, "PNG")
            rows.append(
                {"image": {"bytes": data.getvalue()}, "caption": [colour], "filename": f"{colour}.png"}
            )
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(rows), tmp_path / "train-00000-of-00001.parquet"
        )
        return only_split(tmp_path)

    encoder = Counting()
    index = Index.build(write("red", "green"), encoder, progress=False)
    assert str(update(index, write("blue", "green", "red"))) == "1 added, 2 kept"
    assert (encoder.images, names(index, "blue", 1)) == (3, ["blue.png"])


# --- the command line ------------------------------------------------------------------------------------


@pytest.fixture
def ask(monkeypatch, capsys):
    """Runs `search` with the encoder of colours; what it printed, and how many images it encoded."""

    def run(*words, encoder=None, code=0):
        used = encoder or Counting()
        monkeypatch.setattr(search_command, "OpenClipEncoder", lambda name, device: used)
        assert main(["search", "--model", "colours", *map(str, words)]) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err, used.images

    return run


def test_the_command_follows_the_folder_and_says_what_it_did(ask, photos, tmp_path):
    kept = tmp_path / "index"
    first, count = ask("--data", photos, "--index", kept, "--query", "red", "--top", 1)
    assert count == 4
    assert f"{kept}: 4 added" in first
    assert first.rstrip().endswith("0-red.png")
    (photos / "0-red.png").rename(photos / "was-red.png")
    (photos / "2-blue.png").unlink()
    save(photos, "new.png", (9, 9, 9))
    # the images are those it was made of, where none are named
    said, count = ask("--index", kept, "--query", "red", "--top", 2)
    assert count == 1
    assert "1 added, 1 removed, 1 renamed, 2 kept" in said
    assert "was-red.png" in said
    assert "0-red" not in said
    assert f"{kept}: 4 kept" in ask("--index", kept, "--query", "red")[0]
    save(tmp_path / "other", "other.png", (1, 2, 3))
    said, _ = ask("--data", tmp_path / "other", "--index", kept, "--query", "red")
    assert [line.split()[-1] for line in said.splitlines()[1:]] == ["other.png"]


def test_where_results_go_is_looked_at_before_any_image(ask, photos, tmp_path):
    (tmp_path / "notes.csv").write_text("mine")
    (tmp_path / "notes.npz").write_text("mine")
    for flag, target, why in (
        ("--vectors", "out.txt", "ends in .npz or .parquet"),
        ("--vectors", "notes.npz", "notes.npz exists already, and is not replaced"),
        ("--hits", "notes.csv", "notes.csv exists already, and is not replaced"),
        ("--hits", "photos/deep/found", "would find the copies too"),
        ("--hits", "photos", "only written to folders of their own"),
    ):
        said, count = ask("--data", photos, "--query", "red", flag, tmp_path / target, code=2)
        assert why in said and count == 0


def test_images_that_lie_apart_from_their_annotations_are_searched(ask, tmp_path):
    """By a flag, then as the index knows them, also for copies of the hits; else where the model's were."""
    annotations = write_coco(tmp_path / "images", karpathy({"test": 3})).rename(
        tmp_path / "dataset_small.json"
    )
    words = ["--data", annotations, "--index", tmp_path / "index", "--query", "red"]
    assert "not below" in ask(*words, code=2)[0]
    assert ask(*words, "--pictures", tmp_path / "images")[1] == 3
    for more in (words, words[2:]):
        assert "3 kept" in ask(*more, "--hits", tmp_path / f"hits-{len(more)}")[0]
        assert len(list((tmp_path / f"hits-{len(more)}").iterdir())) == 3
    flags = argparse.Namespace(data=None, pictures=None, split=None, hits=None, json=True)
    config = Config(data=DataConfig(data=str(annotations), pictures=str(tmp_path / "images")))
    index = Index.empty(Counting())
    search_command.bring_in_line(index, flags, config, None)
    assert len(index) == 3


def test_images_that_were_only_moved_are_found_by_the_next_search(ask, photos, tmp_path):
    words = ["--index", tmp_path / "index", "--query", "red"]
    ask("--data", photos, *words)
    photos.rename(tmp_path / "moved")
    assert "4 kept" in ask("--data", tmp_path / "moved", *words)[0]
    assert "4 kept" in ask(*words)[0]


def test_the_command_keeps_its_part_when_it_is_stopped(ask, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("userlib.search.upkeep.BATCH", 1)
    words = ["--data", photos, "--index", tmp_path / "index", "--query", "red"]
    said, _ = ask(*words, encoder=Counting(stop_at=3), code=130)
    assert "3 images are kept" in said
    said, count = ask(*words)
    assert count == 1
    assert "1 added, 3 kept" in said
    said, _ = ask("--data", photos, "--query", "red", encoder=Counting(stop_at=0), code=130)
    assert "no --index" in said


def test_terminate_is_as_ctrl_c():
    import signal

    before = signal.getsignal(signal.SIGTERM)
    with terminated_as_interrupted(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--query", " "], "empty"),
        (["--query", "?!"], "'?!' has no word"),
        (["--query", "dog " * 10_000], "40,000 characters"),
        (["--query", "red", "--top", "0"], "--top is 0"),
        (["--query", "red", "--device", "toaster"], "no device 'toaster' here"),
        (["--query", "red", "--device", "cuda:99"], "Choose one of cpu"),
        (["--query", "red", "--token-weights", "x"], "--token-weights"),
    ],
)
def test_the_command_refuses_before_any_work(ask, photos, words, said):
    err, count = ask("--data", photos, *words, code=2)
    assert said in err
    assert count == 0


def test_an_index_elsewhere_than_in_a_folder_of_its_own_is_refused(ask, photos, tmp_path):
    (tmp_path / "file").write_text("x")
    before = sorted(photos.iterdir())
    for place, said in ((photos, "which is no earlier result"), (tmp_path / "file", "is a file")):
        err, count = ask("--data", photos, "--index", place, "--query", "red", code=2)
        assert said in err
        assert "Delete" not in err
        assert count == 0
    assert sorted(photos.iterdir()) == before
    (tmp_path / "empty").mkdir()
    assert ask("--data", photos, "--index", tmp_path / "empty", "--query", "red")[1] == 4


def test_an_index_of_another_model_is_refused_by_name(ask, photos, tmp_path):
    words = ["--data", photos, "--index", tmp_path / "index", "--query", "red"]
    ask(*words)
    other = Counting()
    other.name = "shapes"
    err, count = ask(*words, encoder=other, code=2)
    assert "made with another model" in err
    assert "colours" in err
    assert "shapes" in err
    assert count == 0


def test_the_command_escapes_names_and_tells_what_it_left_out(ask, tmp_path):
    photos = tmp_path / "photos"
    try:
        save(photos, os.fsdecode(b"caf\xe9.png"), "red")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    save(photos, "two\nlines.png", "grey")
    (photos / "bad.png").write_bytes(b"no image")
    (photos / "empty.png").write_bytes(b"")
    said, _ = ask("--data", photos, "--query", "red")
    assert "empty.png" in said
    assert r"caf\xe9.png" in said
    assert r"two\nlines.png" in said
    assert "1 unreadable" not in said  # of an index that is kept
    assert "1 of 3 images is left out" in said
    hits = json.loads(ask("--data", photos, "--query", "red", "--json")[0])
    assert [hit["id"] for hit in hits] == [r"caf\xe9.png", r"two\nlines.png"]


def test_an_index_of_a_split_stays_with_it(ask, photos, tmp_path):
    rows = [
        f"{file.name},{file.stem},{'train' if file.name < '2' else 'test'}"
        for file in sorted(photos.iterdir())
    ]
    (photos / "captions.csv").write_text("\n".join(["filename,caption,split", *rows]))
    words = ["--index", tmp_path / "index", "--query", "red"]
    said, _ = ask("--data", photos, *words)  # test, where none is named, which is told
    assert "2-blue.png" in said
    assert (
        "Images of the split test (2) are searched, and not those of train (2); --split names another."
        in said
    )
    said, _ = ask("--data", photos, "--split", "train", *words)
    assert "2 added, 2 removed" in said and "are searched, and not" not in said
    for again in (words, ["--data", photos, *words]):
        said, count = ask(*again)
        assert (count, "0-red.png" in said, "2-blue.png" in said) == (0, True, False)


def test_other_data_are_read_as_if_the_index_were_new(ask, tmp_path):
    """From `test`, where they have it: the split that an index was made of belongs to its own data."""
    own, other = tmp_path / "own", tmp_path / "other"
    for place, marks in ((own, "0123"), (other, "56")):
        for mark in marks:
            save(place, f"{mark}.png", (10 * int(mark), 99, 200))
        rows = [f"{mark}.png,word {mark},{'train' if int(mark) % 2 else 'test'}" for mark in marks]
        (place / "captions.csv").write_text("\n".join(["filename,caption,split", *rows]))
    words = ["--index", tmp_path / "index", "--query", "red"]
    assert "1.png" in ask("--data", own, "--split", "train", *words)[0]
    said, _ = ask("--data", other, *words)
    assert ("5.png" in said, "6.png" in said) == (False, True)
    said, _ = ask("--data", other, "--split", "train", *words)
    assert ("5.png" in said, "6.png" in said) == (True, False)


def test_unknown_words_are_told_with_the_hits(ask, photos):
    assert (
        "unknown to the model, which do not count: xylophone"
        in ask("--data", photos, "--query", "red xylophone")[0]
    )
    assert "arbitrary" in ask("--data", photos, "--query", "xylophone 犬")[0]
    assert "arbitrary" not in ask("--data", photos, "--query", "red")[0]


def test_hits_unlike_the_training_images_are_marked(ask, photos, tmp_path):
    """Each by its own distance, also those of an index that was kept."""

    class Strict(Counting):
        def measured(self, images):
            vectors = self.encode_image(images)
            return vectors, 1.5 * vectors[:, 0]  # 1.5 of red, 0.9 of grey

        def warn(self, distances, *, drawn):
            return "some are strange"

    for words in (["--data", photos], []):
        said, _ = ask(*words, "--index", tmp_path / "index", "--query", "red", encoder=Strict())
        assert "some are strange" in said
        marked = [line.split()[2] for line in said.splitlines() if "(unlike the training images)" in line]
        assert marked == ["0-red.png"]
    assert "(unlike the training images)" not in ask("--data", photos, "--query", "red")[0]


def test_a_query_by_image_tells_what_is_strange_too(ask, photos):
    class Strange(Counting):
        def measured(self, images):
            return self.encode_image(images), np.full(len(images), 2.0, np.float32)

        def warn(self, distances, *, drawn):
            return "some are strange"

    said, _ = ask("--data", photos, "--image", photos / "1-green.png", encoder=Strange())
    assert "some are strange" in said and "(unlike the training images)" in said


def test_a_search_without_hits_says_so(ask, photos):
    said, _ = ask("--data", photos, "--query", "red", "--min-score", "2")
    assert "no hit is left; lower --min-score" in said


def test_every_part_of_a_query_is_read_from_the_command_line(ask, photos, monkeypatch):
    asked = []
    monkeypatch.setattr(search_command, "find", lambda index, query, k: asked.append((query, k)) or [])
    words = ["--query", "red + grey", "--image", photos / "1-green.png", "--arithmetic", "--minus", "blue"]
    words += ["--minus", "green", "--exclude", "old/*", "--min-score", "0.25", "--min-calibrated", "-2"]
    ask("--data", photos, *words, "--alike", "0.9", "--top", "3")
    ((query, k),) = asked
    assert query.image.getpixel((0, 0)) == COLOURS["green"] and k == 3
    assert replace(query, image=None) == Query(
        text="red + grey", arithmetic=True, minus=("blue", "green"), exclude=("old/*",), min_score=0.25,
        min_calibrated=-2.0, alike=0.9,
    )  # fmt: skip


def test_as_many_first_hits_as_are_asked_for_are_reranked(photos, monkeypatch, capsys):
    """By their own images, and no hit behind them comes in."""
    asked = []

    class Scored(Counting):
        loaded, notes = SimpleNamespace(config=Config()), ()

        def __init__(self, *_, **__):
            super().__init__()

    def reranker(encoder, image_of):
        def rerank(text, ids):
            asked.append((text, {name: image_of(name).getpixel((0, 0)) for name in ids}))
            return list(range(len(ids)))  # the last is the best

        return rerank

    monkeypatch.setattr(search_command, "CheckpointEncoder", Scored)
    monkeypatch.setattr(search_command, "scorer_reranker", reranker)
    words = [
        "--checkpoint",
        "x",
        "--data",
        str(photos),
        "--query",
        "red",
        "--rerank",
        "2",
        "--top",
        "2",
        "--json",
    ]
    assert main(["search", *words]) == 0
    assert [hit["id"] for hit in json.loads(capsys.readouterr().out)] == ["3-grey.png", "0-red.png"]
    assert asked == [("red", {"0-red.png": COLOURS["red"], "3-grey.png": COLOURS["grey"]})]


def test_near_duplicates_are_told_with_their_hit(ask, photos):
    save(photos, "z.png", "red")
    words = ["--data", photos, "--query", "red", "--alike", "0.999", "--top", "2"]
    lines = ask(*words)[0].splitlines()
    assert lines[0].endswith("0-red.png  and 1 nearly the same") and lines[1].endswith("3-grey.png")
    hits = json.loads(ask(*words, "--json")[0])
    assert [hit["duplicates"] for hit in hits] == [["z.png"], []]
    assert all(set(hit) == {"id", "score", "rank", "calibrated", "duplicates"} for hit in hits)


def test_vectors_are_those_of_the_encoder(photos):
    index, _ = built(photos)
    np.testing.assert_allclose(index.vectors[0], [1, 0, 0])


def test_equal_images_that_cannot_be_read_are_all_listed(photos):
    """Else the index would be incomplete for ever."""
    for name in ("x.png", "y.png"):
        (photos / name).write_bytes(b"no image")
    with pytest.warns(UserWarning, match="2 of 6 images"):
        index, _ = built(photos)
    assert len(index.skipped) == 2 and index.missing == 0
    assert "x.png" in index.skipped[0] and "y.png" in index.skipped[1]

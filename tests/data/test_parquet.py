"""Folders in the hub's schema, whole and with every fault."""

import os
from multiprocessing import get_context

import numpy as np
import pytest

from tests.data.copies import COUNTS, all_rows, captions, hub_rows, jpeg, write_hub, write_rows
from userlib.data.parquet import load_parquet
from userlib.data.pictures import open_picture
from userlib.data.sources import load_data
from userlib.errors import UserError


def test_a_folder_gives_what_was_written(tmp_path, cache):
    data = load_data(str(write_hub(tmp_path / "flickr")))
    assert data.name == "flickr"
    assert {name: len(split) for name, split in data.splits.items()} == COUNTS
    val = data.split("val")
    assert val.ids == ("6.jpg", "7.jpg", "8.jpg")
    assert val.captions == tuple(text for i in (6, 7, 8) for text in captions(i))
    assert val.caption_to_image.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert val.pictures[2].size == (48, 36)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_images_are_read_in_a_process_that_was_forked_while_another_thread_read_one(tmp_path, cache):
    pictures = load_data(str(write_hub(tmp_path / "flickr"))).split("val").pictures
    pictures[0]
    with pictures._lock:  # as that thread holds it
        child = get_context("fork").Process(target=pictures.content, args=(1,))
        child.start()
        child.join(20)
        code = child.exitcode
        child.kill()
    assert code == 0


def test_split_column_and_file_names_agree(tmp_path, cache):
    with_column = load_data(str(write_hub(tmp_path / "a")))
    without = load_data(str(write_hub(tmp_path / "b", split_column=False)))
    assert list(with_column.splits) == list(without.splits)
    for name in COUNTS:
        assert with_column.split(name).ids == without.split(name).ids
        assert with_column.split(name).captions == without.split(name).captions


def test_one_file_is_parted_by_its_split_column(tmp_path, cache):
    write_rows(tmp_path / "TEST" / "test" / "0000.parquet", all_rows(), group=3)
    data = load_data(str(tmp_path))
    assert {name: len(split) for name, split in data.splits.items()} == COUNTS
    for row, split in enumerate(data.splits.values()):
        for i in range(len(split)):
            assert split.ids[i] == f"{sum(list(COUNTS.values())[:row]) + i}.jpg"
            expected = open_picture(jpeg(int(split.ids[i][:-4])), "expected")
            np.testing.assert_array_equal(np.asarray(split.pictures[i]), np.asarray(expected))


def test_a_folder_named_after_the_split_tells_it(tmp_path, cache):
    write_rows(tmp_path / "default" / "validation" / "0000.parquet", hub_rows("val", 2), drop=("split",))
    assert list(load_data(str(tmp_path)).splits) == ["val"]


@pytest.mark.parametrize("place", ["validation/0000.parquet", "Dev/0.parquet", "validation-0.parquet"])
@pytest.mark.parametrize("said", ["val", "valid", "Validation"])
def test_another_column_that_agrees_with_the_file_s_split_is_no_fault(tmp_path, cache, place, said):
    rows = [row | {"fold": said} for row in hub_rows("val", 2)]
    write_rows(tmp_path / place, rows, drop=("split",))
    assert list(load_data(str(tmp_path)).splits) == ["val"]
    write_rows(tmp_path / place, [*rows[:1], rows[1] | {"fold": "test"}], drop=("split",))
    with pytest.raises(UserError, match="row 1 of .* has 'test' in 'fold'"):
        load_data(str(tmp_path))


def test_uneven_captions_are_kept_where_the_schema_is_ones_own(tmp_path, cache):
    rows = hub_rows("train", 2, each=2)
    rows[1]["caption"] = ["one alone"]
    write_rows(tmp_path / "train.parquet", rows, drop=("sentids",))
    train = load_data(str(tmp_path)).split("train")
    assert train.caption_to_image.tolist() == [0, 0, 1]
    rows = [row | {"caption": "one alone"} for row in rows]
    write_rows(tmp_path / "train.parquet", rows, drop=("sentids",))
    assert load_data(str(tmp_path)).split("train").captions == ("one alone", "one alone")


def test_the_first_pictures_of_a_split(tmp_path, cache):
    folder = str(write_hub(tmp_path / "a"))
    small = load_data(folder, sizes={"train": 2})
    assert small.split("train").ids == ("0.jpg", "1.jpg")
    assert len(small.split("val")) == COUNTS["val"]
    assert small.fingerprint != load_data(folder).fingerprint
    with pytest.raises(UserError, match="7 images were requested of 'train', which has 6"):
        load_data(folder, sizes={"train": 7})
    with pytest.raises(UserError, match="sizes is .*from 1 up"):
        load_data(folder, sizes={"train": 0})
    with pytest.raises(UserError, match="no split 'tain'"):
        load_data(folder, sizes={"tain": 1})


def test_the_fingerprint_follows_the_content(tmp_path, cache):
    folder = write_hub(tmp_path / "a")
    first = load_data(str(folder))
    copy = load_data(str(write_hub(tmp_path / "b")))
    assert first.fingerprint == copy.fingerprint
    file = folder / "data" / "train-00000-of-00001.parquet"
    rows = hub_rows("train", COUNTS["train"])
    rows[3]["image"]["bytes"] = jpeg(99)
    write_rows(file, rows)
    assert load_data(str(folder)).split("train").fingerprint != first.split("train").fingerprint


def change(**cells):
    def fault(rows):
        rows[2] |= cells
        return rows

    return fault


@pytest.mark.parametrize(
    "fault, message",
    [
        (change(caption=captions(2, 4)), "row 2 of .*train.* has 4 captions; this data set has 5"),
        (change(caption=["a", "b", "", "c", "d"]), "captions in row 2 of .*one is empty"),
        (change(caption=[]), "captions in row 2 of .*there is none"),
        (change(caption=None), "captions in row 2 of"),
        (change(split="trian"), "row 2 of .* split 'trian'.*train, val, test"),
        (change(filename="0.jpg"), "'0.jpg' occurs twice"),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "caption"} for row in rows],
            "needs 'image' and 'caption'",
        ),
    ],
)
def test_faults_in_rows_are_named(tmp_path, cache, fault, message):
    write_rows(tmp_path / "train-00000-of-00001.parquet", fault(hub_rows("train", 4)))
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path))


def test_missing_rows_are_named(tmp_path, cache):
    files = sorted(write_hub(tmp_path / "a").rglob("*.parquet"))
    assert len(load_parquet(files, "flickr", rows=COUNTS).split("test")) == 2
    with pytest.raises(
        UserError, match="train 6, val 3, test 3; but these were found: .*test 2.*fetch it again"
    ):
        load_parquet(files, "flickr", rows=COUNTS | {"test": 3})
    with pytest.raises(UserError, match="should have these images"):
        load_parquet(files[1:], "flickr", rows=COUNTS)


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -200])
def test_a_file_that_is_cut_short_is_named(tmp_path, cache, keep):
    folder = write_hub(tmp_path / "a")
    file = folder / "data" / "val-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        UserError, match=r"val-00000-of-00001\.parquet cannot be read.*cut short.*fetch it again"
    ):
        load_data(str(folder))


def test_text_that_is_not_utf8_is_named(tmp_path, cache):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "image": pa.array([{"bytes": jpeg(0), "path": "0.jpg"}]),
            "caption": pa.array([b"caf\xe9 at night"]).view(pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"row group 0 of .*train\.parquet is not UTF-8"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    "image, message",
    [({"bytes": None, "path": "x"}, "is missing"), ({"bytes": b"nothing", "path": "x"}, "cannot be read")],
)
def test_a_picture_that_is_missing_or_damaged_is_named(tmp_path, cache, image, message):
    rows = hub_rows("train", 4)
    rows[1]["image"] = image
    write_rows(tmp_path / "train.parquet", rows, group=2)
    pictures = load_data(str(tmp_path)).split("train").pictures
    assert pictures[0].size == (48, 36)
    with pytest.raises(UserError, match=rf"row 1 of row group 0 of .*train\.parquet.*{message}"):
        pictures[1]


@pytest.mark.parametrize("batch", [1, 2, 3, 128])
def test_each_picture_is_that_of_its_row_whatever_the_batch(tmp_path, cache, monkeypatch, batch):
    monkeypatch.setattr("userlib.data.parquet.BATCH", batch)
    files = [
        write_rows(tmp_path / f"{n}.parquet", hub_rows("train", 7, first=7 * n), group=5) for n in (0, 1)
    ]
    pictures = load_parquet(files, "flickr").split("train").pictures
    order = np.random.default_rng(0).permutation(14)
    assert [pictures.content(int(i)) for i in order] == [jpeg(int(i)) for i in order]


def test_pictures_can_be_sent_to_another_process(tmp_path, cache):
    import pickle  # as multiprocessing does; nothing on the disk is unpickled

    pictures = load_data(str(write_hub(tmp_path))).split("val").pictures
    pictures[0]
    np.testing.assert_array_equal(
        np.asarray(pickle.loads(pickle.dumps(pictures))[2]), np.asarray(pictures[2])
    )


def test_saved_by_datasets(tmp_path, cache):
    import datasets

    folder = write_hub(tmp_path / "a")
    files = {name: str(folder / "data" / f"{name}-00000-of-00001.parquet") for name in COUNTS}
    result = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "hf"))
    result.cast_column("image", datasets.Image()).save_to_disk(str(tmp_path / "saved"))
    saved, direct = load_data(str(tmp_path / "saved")), load_data(str(folder))
    for name in COUNTS:
        assert saved.split(name).ids == direct.split(name).ids
        assert saved.split(name).captions == direct.split(name).captions
        np.testing.assert_array_equal(
            np.asarray(saved.split(name).pictures[1]), np.asarray(direct.split(name).pictures[1])
        )
    assert len(os.listdir(cache / "parquet")) == 1
    next((tmp_path / "saved" / "val").glob("*.arrow")).write_bytes(b"cut")
    with pytest.raises(UserError, match="not a complete data set of save_to_disk"):
        load_data(str(tmp_path / "saved"))


@pytest.mark.parametrize("name", ["no-such-folder", "./no/such", "/no/such/folder", "a/b/c"])
def test_a_name_that_is_nothing_is_an_error(name, cache):
    with pytest.raises(UserError, match="There is no data set"):
        load_data(name)


@pytest.mark.parametrize(
    "told, split",
    [
        (None, "train"),
        ("test", "test"),
        ("validation", "val"),
        ("train[:3]", "train"),
        ("test[:50%]", "test"),
        ("test[:1]+test[-1:]", "test"),
        ("test.hard", "test.hard"),
        ("2017", "2017"),
    ],
)
def test_saved_by_datasets_without_splits(tmp_path, cache, told, split):
    import datasets

    rows = [{"image": row["image"], "caption": row["caption"][0]} for row in hub_rows("train", 3)]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    result = datasets.Dataset.from_list(rows, features=features, split=told)
    result.save_to_disk(str(tmp_path / "saved"))
    data = load_data(str(tmp_path / "saved"))
    assert list(data.splits) == [split]
    assert data.split(split).captions == tuple(row["caption"] for row in rows)
    for i, row in enumerate(rows):
        expected = np.asarray(open_picture(row["image"]["bytes"], "x"))
        np.testing.assert_array_equal(np.asarray(data.split(split).pictures[i]), expected)


def test_the_same_rows_saved_as_another_split_are_that_split(tmp_path, cache):
    import datasets

    rows = [{"image": row["image"], "caption": row["caption"][0]} for row in hub_rows("train", 2)]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    for told in ("train", "test"):
        datasets.Dataset.from_list(rows, features=features, split=told).save_to_disk(str(tmp_path / told))
    train, test = (load_data(str(tmp_path / told)) for told in ("train", "test"))
    assert list(train.splits) == ["train"] and list(test.splits) == ["test"]
    assert train.fingerprint != test.fingerprint


def saved(folder, told, **columns):
    """A data set of datasets, as it writes it."""
    import datasets

    images = [{"bytes": jpeg(i), "path": None} for i in range(2)]
    columns = {"image": images} | (columns or {"caption": ["a dog", "a cat"]})
    result = datasets.Dataset.from_dict(columns, split=told).cast_column("image", datasets.Image())
    if told is None:
        result = datasets.DatasetDict(train=result.select([0]), test=result.select([1]))
    result.save_to_disk(str(folder))
    return str(folder)


def test_a_union_of_saved_splits_is_refused(tmp_path, cache):
    with pytest.raises(UserError, match=r"split 'train\+test\[:1\]', which joins several. Name it"):
        load_data(saved(tmp_path / "saved", "train+test[:1]"))


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"text": ["a", "b"]}, "The split 'test' of .*mine has the columns image, text; .*rename_column"),
        ({"caption": ["a", "b"], "split": [0, 1]}, "The column 'split' of the split 'test' of .*mine has"),
        ({"caption": ["a", " "]}, "The captions in row 1 of the split 'test' of .*mine are ' '"),
    ],
)
def test_faults_of_saved_data_are_named_where_they_were_saved(tmp_path, cache, columns, message):
    with pytest.raises(UserError, match=message) as error:
        load_data(saved(tmp_path / "mine", "test", **columns))
    assert str(cache) not in str(error.value)


@pytest.mark.parametrize("fault", ["gone", "cut short", "no manifest", "an empty folder"])
def test_a_converted_copy_that_is_not_whole_is_made_again(tmp_path, cache, fault):
    folder = saved(tmp_path / "saved", None)
    before = load_data(folder)
    copy = next((cache / "parquet").iterdir())
    for file in copy.iterdir():
        if fault == "an empty folder" or file.name.startswith("manifest" if "manifest" in fault else "test"):
            file.write_bytes(file.read_bytes()[:200]) if fault == "cut short" else file.unlink()
    after = load_data(folder)
    assert list(after.splits) == list(before.splits) == ["test", "train"]
    assert after.fingerprint == before.fingerprint
    assert len(os.listdir(cache / "parquet")) == 1


def test_saved_splits_keep_their_names(tmp_path, cache):
    import datasets

    rows = [{"image": row["image"], "caption": row["caption"][0]} for row in hub_rows("train", 2)]
    parts = {"train": rows[:1], "test_train_small": rows[1:]}
    result = {name: datasets.Dataset.from_list(own) for name, own in parts.items()}
    datasets.DatasetDict(result).save_to_disk(str(tmp_path / "saved"))
    assert sorted(load_data(str(tmp_path / "saved")).splits) == ["test_train_small", "train"]


@pytest.mark.parametrize(
    "name",
    [
        "here/flikcr",
        "gone/train.parquet",
        "my photos/all",
        "C:\\photos/x",
        "photos/",
        "../x/y",
        "~/x",
        "é/è",
        "a/.b",
    ],
)
def test_a_path_with_a_slip_is_not_asked_of_the_hub(tmp_path, cache, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "Flickr").mkdir(parents=True)
    monkeypatch.setattr("userlib.data.hub.load_hub", lambda name: pytest.fail(f"{name} was asked of the hub"))
    near = "Did you mean .here/Flickr" if name.startswith("here") else "Check the spelling"
    with pytest.raises(UserError, match=f"There is no data set.*{near}"):
        load_data(name)


@pytest.mark.parametrize("name", ["nlphuji/flickr30k", "owner/data.set-1_2"])
def test_a_hub_name_is_asked_of_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nlphuji").mkdir()
    sizes = {"train": 1, "val": 1, "test": 1}
    monkeypatch.setattr("userlib.data.hub.load_hub", lambda name: load_data("scenes", sizes=sizes))
    assert load_data(name).name == "scenes"

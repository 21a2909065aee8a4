"""Parquet files of other kinds than Flickr's: each is read for what it is, or refused by file, row, column and type."""

import base64
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.copies import captions, hub_rows, jpeg, write_rows
from userlib.data.parquet import ParquetPictures, load_parquet
from userlib.data.pictures import open_picture
from userlib.data.sources import load_data
from userlib.errors import UserError

IMAGES = [jpeg(i) for i in range(3)]
WORDS = ["a dog", "two cats", "one owl"]
FILES = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def write(file, image, caption, **more):
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": image, "caption": caption, **more}), file, row_group_size=2)
    return file


def check(split, texts=WORDS):
    assert split.captions == tuple(texts)
    assert split.caption_to_image.tolist() == [0, 1, 2]
    for i, content in enumerate(IMAGES):
        np.testing.assert_array_equal(np.asarray(split.pictures[i]), np.asarray(open_picture(content, "x")))


def structs(kind=FILES, **cells):
    return pa.array(
        [{"path": f"{i}.jpg", "bytes": content} | cells for i, content in enumerate(IMAGES)], kind
    )


@pytest.mark.parametrize(
    "image",
    [
        structs(),
        structs(pa.struct({"path": pa.string(), "bytes": pa.large_binary()})),
        structs(pa.struct({"bytes": pa.binary()})),
        pa.array(IMAGES),
        pa.array(IMAGES, pa.large_binary()),
        pa.array(IMAGES, pa.binary_view()),
        pa.array(IMAGES).dictionary_encode(),
        pa.array([list(content) for content in IMAGES], pa.list_(pa.uint8())),
        pa.array([base64.b64encode(content).decode() for content in IMAGES]),
        pa.array(["data:image/jpeg;base64," + base64.b64encode(content).decode() for content in IMAGES]),
        pa.array([{"bytes": None, "path": base64.b64encode(content).decode()} for content in IMAGES], FILES),
        pa.array([f"shots/{i}.jpg" for i in range(3)]),
        pa.array([{"path": f"shots/{i}.jpg"} for i in range(3)]),
        pa.array([{"bytes": None, "path": f"shots/{i}.jpg"} for i in range(3)], FILES),
        pa.array(
            [{"bytes": None, "path": "shots/0.jpg"}, *({"bytes": c, "path": None} for c in IMAGES[1:])], FILES
        ),
    ],
    ids=lambda column: str(column.type)[:40],
)
def test_images_of_many_types(tmp_path, cache, image):
    for i, content in enumerate(IMAGES):
        (tmp_path / "shots").mkdir(exist_ok=True)
        (tmp_path / "shots" / f"{i}.jpg").write_bytes(content)
    write(tmp_path / "train.parquet", image, pa.array(WORDS))
    check(load_data(str(tmp_path)).split("train"))


@pytest.mark.parametrize(
    "caption",
    [
        pa.array(WORDS, pa.large_string()),
        pa.array(WORDS, pa.string_view()),
        pa.array(WORDS).dictionary_encode(),
        pa.array([word.encode() for word in WORDS]),
        pa.array([[word] for word in WORDS]),
        pa.array([[word] for word in WORDS], pa.large_list(pa.large_string())),
        pa.array([[word] for word in WORDS], pa.list_(pa.string(), 1)),
        pa.array([[{"raw": word, "sentid": 3}] for word in WORDS]),
        pa.array([{"text": word} for word in WORDS]),
    ],
    ids=lambda column: str(column.type)[:40],
)
def test_captions_of_many_types(tmp_path, cache, caption):
    split = pa.array(["train"] * 3).dictionary_encode()
    check(
        load_parquet([write(tmp_path / "x.parquet", pa.array(IMAGES), caption, split=split)], "x").split(
            "train"
        )
    )


NULLS = [None, None, None]


@pytest.mark.parametrize(
    "image, caption, message",
    [
        (
            pa.array([1, 2, 3]),
            pa.array(WORDS),
            "column 'image' of .*train.parquet has the type int64.*datasets.Image",
        ),
        (
            pa.array([[[[1, 2, 3]]]] * 3),
            pa.array(WORDS),
            "column 'image' of .* has the type list<.*encoded images",
        ),
        (pa.array([[0.5]] * 3), pa.array(WORDS), "column 'image' of .* has the type list<.*: double>"),
        (pa.array([{"url": "x"}] * 3), pa.array(WORDS), "column 'image' .* has the type struct<url: string>"),
        (pa.array(IMAGES), pa.array([1, 2, 3]), "column 'caption' .* has the type int64.*as strings"),
        (pa.array(IMAGES), pa.array([[["a"]]] * 3), "column 'caption' .* has the type list<.*list<"),
        (
            pa.array(IMAGES),
            pa.array([[{"en": "a"}]] * 3),
            "column 'caption' .* has the type list<.*struct<en",
        ),
        (pa.array(IMAGES), pa.array(NULLS), r"captions in row 0 of .* are None: one is empty"),
        (pa.array(IMAGES), pa.array(["a", None, "b"]), r"captions in row 1 of .* are None"),
        (
            pa.array(IMAGES),
            pa.array([["a"], ["b", None], ["c"]]),
            r"captions in row 1 of .* are \['b', None\]",
        ),
        (pa.array(IMAGES), pa.array([["a"], None, ["c"]]), "captions in row 1 of .* are None"),
        (pa.array(IMAGES), pa.array([["a"], [], ["c"]]), r"captions in row 1 of .* are \[\]"),
        (pa.array(IMAGES), pa.array(["a", " ", "b"]), "captions in row 1 of .* are ' '"),
        (
            pa.array(IMAGES),
            pa.array([[{"raw": "a"}], [{"raw": None}], [{"raw": "c"}]]),
            "captions in row 1 of",
        ),
        (pa.array(IMAGES), pa.array(["a", '["a dog", "a cat"]', "b"]), "row 1 of .*list written as one text"),
        (pa.array(IMAGES), pa.array([b"a", b"caf\xe9", b"b"]), "caption in row 1 of .* is not UTF-8"),
        (pa.array(["https://x.y/a.jpg"] * 3), pa.array(WORDS), "is a web address .*Download the images"),
        (pa.array(["../secret.jpg", "b", "c"]), pa.array(WORDS), "'../secret.jpg', which lies outside"),
        (pa.array(["/etc/passwd", "b", "c"]), pa.array(WORDS), "'/etc/passwd', which lies outside"),
        (pa.array(["gone.jpg", "b", "c"]), pa.array(WORDS), "in row 0 .*should be the file .*gone.jpg"),
        (pa.array(["?" * 300, "b", "c"]), pa.array(WORDS), "neither a path nor base64"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, cache, image, caption, message):
    write(tmp_path / "train.parquet", image, caption)
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path)).split("train").pictures[0]


@pytest.mark.parametrize(
    "column, cells, message",
    [
        ("split", [0, 1, 0], "column 'split' .* has the type int64.*int2str"),
        ("split", ["train", None, "train"], "row 1 of .* has no split"),
        ("split", ["train", " ", "train"], "row 1 of .* has no split"),
        ("filename", [["a"], ["b"], ["c"]], "column 'filename' .* has the type list"),
        ("filename", ["a", "b", "a"], "'a' occurs twice"),
    ],
)
def test_names_and_splits_of_other_types_are_named(tmp_path, cache, column, cells, message):
    file = write(tmp_path / "train.parquet", pa.array(IMAGES), pa.array(WORDS), **{column: pa.array(cells)})
    with pytest.raises(UserError, match=message):
        load_parquet([file], "x")


def test_columns_of_another_name_and_files_without_rows_are_named(tmp_path, cache):
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"image": pa.array(IMAGES), "text": pa.array(WORDS)}), file)
    with pytest.raises(UserError, match="has the columns image, text; .* needs 'image' and 'caption'"):
        load_parquet([file], "x")
    write(file, pa.array([], pa.binary()), pa.array([], pa.string()))
    with pytest.raises(UserError, match="no rows in .*train.parquet"):
        load_parquet([file], "x")


@pytest.mark.parametrize("files", [1, 2])
def test_columns_of_captions_that_are_not_read_are_told(tmp_path, cache, capsys, files):
    for number in range(files):
        more = {"caption_1": WORDS, "Texts": WORDS, "caption_id": WORDS, "sentids_1": WORDS}
        image = IMAGES if not number else [jpeg(10 + i) for i in range(3)]
        write(tmp_path / f"train-{number}.parquet", image, WORDS, **more)
    assert load_data(str(tmp_path)).split("train").captions == tuple(WORDS * files)
    told = capsys.readouterr().err
    assert told.count("only the captions in 'caption' are read, and none in 'caption_1', 'Texts'. ") == 1


def rows_of(pattern, **more):
    """A row for each letter: its image and a caption of its own."""
    image = pa.array([jpeg(ord(letter)) for letter in pattern])
    return (
        image,
        pa.array([f"caption {i}" for i in range(len(pattern))]),
        {k: pa.array(v) for k, v in more.items()},
    )


@pytest.mark.parametrize("names", [{}, {"filename": list("abacb")}, {"img_id": [1, 2, 1, 3, 2]}])
def test_a_row_for_each_caption_is_one_image_with_its_captions(tmp_path, cache, names):
    image, caption, more = rows_of("abacb", **names)
    train = load_parquet([write(tmp_path / "train.parquet", image, caption, **more)], "x").split("train")
    assert len(train) == len(train.pictures) == 3
    assert train.captions == ("caption 0", "caption 2", "caption 1", "caption 4", "caption 3")
    assert train.caption_to_image.tolist() == [0, 0, 1, 1, 2]
    for i, letter in enumerate("abc"):
        expected = np.asarray(open_picture(jpeg(ord(letter)), "x"))
        np.testing.assert_array_equal(np.asarray(train.pictures[i]), expected)


@pytest.mark.parametrize("split", [["train"] * 4, ["train", "test", "val", "train"]])
@pytest.mark.parametrize("empty", [None, {"bytes": None, "path": None}, {"bytes": b"", "path": " "}])
def test_rows_whose_image_cells_are_empty_are_not_one_image(tmp_path, cache, empty, split):
    """Each stays an image of its own split, which is named as missing when it is asked for."""
    image = pa.array([empty, empty, empty, {"bytes": IMAGES[0], "path": None}], FILES)
    file = write(tmp_path / "x.parquet", image, pa.array([*WORDS, "a cow"]), split=pa.array(split))
    data = load_parquet([file], "x")
    assert {name: len(part) for name, part in data.splits.items()} == Counter(split)
    texts = zip([*WORDS, "a cow"], split, strict=True)
    assert data.split("train").captions == tuple(text for text, name in texts if name == "train")
    with pytest.raises(UserError, match="is missing: its cell is empty"):
        data.split("train").pictures[0]


@pytest.mark.parametrize("kind", ["path", "struct", "mixed"])
def test_an_image_replaced_in_a_file_of_its_own_makes_other_data(tmp_path, cache, kind):
    """And copies are looked for in what is there now."""
    for i, content in enumerate(IMAGES):
        (tmp_path / f"{i}.jpg").write_bytes(content)
    paths = [{"bytes": None, "path": f"{i}.jpg"} for i in range(3)]
    mixed = [*paths[:2], {"bytes": IMAGES[2], "path": None}]
    names = pa.array([f"{i}.jpg" for i in range(3)])
    image = {"path": names, "struct": pa.array(paths, FILES), "mixed": pa.array(mixed, FILES)}[kind]
    write(tmp_path / "train.parquet", image, pa.array(WORDS))
    before, again = (load_data(str(tmp_path)) for _ in range(2))
    assert before.fingerprint == again.fingerprint
    (tmp_path / "1.jpg").write_bytes(jpeg(77))
    after = load_data(str(tmp_path))
    assert after.fingerprint != before.fingerprint
    assert after.split("train").fingerprint != before.split("train").fingerprint
    (tmp_path / "1.jpg").write_bytes(IMAGES[0])
    assert len(load_data(str(tmp_path)).split("train")) == len(after.split("train")) - 1 == 2


def test_one_image_in_two_files_of_a_split_is_one_image(tmp_path, cache, capsys):
    for shard, (pattern, names) in enumerate([("ab", ["1", "2"]), ("cb", ["3", "4"])]):
        image, caption, more = rows_of(pattern, filename=names)
        write(tmp_path / f"train-{shard:05}-of-00002.parquet", image, caption, **more)
    train = load_data(str(tmp_path)).split("train")
    assert train.ids == ("1", "2", "3")
    assert train.caption_to_image.tolist() == [0, 1, 1, 2]
    assert (
        "rows that repeat another row's image under another name: 1. Each is one image"
        in capsys.readouterr().err
    )


def test_twins_of_a_published_set_stay_two_images(tmp_path, cache, capsys):
    image, caption, more = rows_of("aba", filename=["1.jpg", "2.jpg", "3.jpg"])
    captions = pa.array([[f"{i} {n}" for n in range(5)] for i in range(3)])
    sentids = pa.array([[str(5 * i + n) for n in range(5)] for i in range(3)])
    file = write(tmp_path / "train.parquet", image, captions, sentids=sentids, **more)
    assert len(load_parquet([file], "x").split("train")) == 3
    assert "They stay apart, as published." in capsys.readouterr().err


@pytest.mark.parametrize(
    "split", [["train", "test", "test"], [" Train", "TEST ", "test"], ["train", "val", "dev"]]
)
def test_one_image_in_two_splits_is_refused(tmp_path, cache, split):
    image, caption, more = rows_of("aba", split=split)
    file = write(tmp_path / "x.parquet", image, caption, **more)
    with pytest.raises(UserError, match=r"row 0 of .* \(split 'train'\) and row 2 of .* hold the same image"):
        load_parquet([file], "x")
    known = load_parquet([file], "x", rows={"train": 1, split[1].strip().lower().replace("dev", "val"): 2})
    assert len(known.split("train")) == 1  # a published set is left as it was published


def test_one_image_in_the_files_of_two_splits_is_refused(tmp_path, cache):
    for name, pattern in (("train", "ab"), ("validation", "cb")):
        write(tmp_path / f"{name}.parquet", *rows_of(pattern)[:2])
    with pytest.raises(
        UserError, match=r"row 1 of .*train.parquet .* and row 1 of .*validation.parquet \(split 'val'"
    ):
        load_data(str(tmp_path))


def test_the_hashes_of_a_changed_file_are_not_the_old_ones(tmp_path, cache):
    file = write(tmp_path / "train.parquet", *rows_of("aab")[:2])
    assert len(load_parquet([file], "x").split("train")) == 2
    write(file, *rows_of("abc")[:2])
    assert len(load_parquet([file], "x").split("train")) == 3


@pytest.mark.parametrize(
    "told, expected",
    [
        (["Train", "VALIDATION ", " Test"], ["train", "val", "test"]),
        (["training", "dev", "testing"], ["train", "val", "test"]),
        (["restval", "valid", "train"], ["train", "val"]),
        (["train", "holdout", "Holdout "], ["train", "holdout"]),
    ],
)
def test_split_names(tmp_path, cache, told, expected):
    image, caption, more = rows_of("abc", split=told)
    assert list(load_parquet([write(tmp_path / "x.parquet", image, caption, **more)], "x").splits) == expected


@pytest.mark.parametrize(
    "file, split",
    [
        ("train-00000-of-00001.parquet", "train"),
        ("Train-00000.parquet", "train"),
        ("train_00000.parquet", "train"),
        ("coco_val.parquet", "val"),
        ("flickr30k-test-00000-of-00009.parquet", "test"),
        ("dev/0000.parquet", "val"),
        ("validation/part-0.parquet", "val"),
        ("default/train/0000.parquet", "train"),
        ("train.parquet/part-0000.parquet", "train"),
        ("split=test/0000.parquet", "test"),
        ("holdout-0.parquet", "holdout"),
        ("latest.parquet", "latest"),
    ],
)
def test_the_split_that_a_file_name_tells(tmp_path, cache, file, split):
    write(tmp_path / file, *rows_of("ab")[:2])
    (tmp_path / "._train.parquet").write_bytes(b"a side file of another system")
    assert list(load_data(str(tmp_path)).splits) == [split]


def test_a_column_that_stands_twice_is_named(tmp_path):
    table = pa.table([pa.array(IMAGES), pa.array(WORDS), pa.array(WORDS)], ["image", "caption", "caption"])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UserError, match="has the column 'caption' 2 times"):
        load_data(str(tmp_path))


def test_a_single_file_is_a_data_set(tmp_path, cache):
    write(tmp_path / "train.parquet", *rows_of("ab")[:2])
    assert len(load_data(str(tmp_path / "train.parquet")).split("train")) == 2


def test_a_row_group_beyond_arrows_arrays_is_read_in_batches(tmp_path, cache, monkeypatch):
    """Whole row groups of 2 GB cannot be one array of structs; here none can."""
    rows = hub_rows("train", 6)
    file = write_rows(tmp_path / "train.parquet", rows, group=6)

    def too_large(*_, **__):
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", too_large)
    monkeypatch.setattr("userlib.data.parquet.BATCH", 4)
    pictures = load_parquet([file], "x").split("train").pictures
    for i in (5, 0, 3, 4):
        expected = np.asarray(open_picture(rows[i]["image"]["bytes"], "x"))
        np.testing.assert_array_equal(np.asarray(pictures[i]), expected)


@pytest.mark.parametrize(
    "error, message",
    [
        (
            pa.ArrowNotImplementedError("Nested data conversions"),
            "pyarrow cannot hold it: .*smaller row groups",
        ),
        (pa.ArrowInvalid("offset overflow while concatenating arrays"), "pyarrow cannot hold it"),
        (pa.ArrowCapacityError("array cannot contain more than 2147483646 bytes"), "pyarrow cannot hold it"),
        (
            pa.ArrowMemoryError("malloc of size 9 failed"),
            "does not fit this machine's memory: .*smaller row groups",
        ),
        (OSError("Corrupt snappy compressed data."), "cut short or damaged .*fetch it again"),
    ],
)
def test_why_a_file_is_not_read_is_true(tmp_path, cache, monkeypatch, error, message):
    file = write_rows(tmp_path / "train.parquet", hub_rows("train", 2))

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", refuse)
    with pytest.raises(UserError, match=message):
        load_parquet([file], "x")
    with pytest.raises(UserError, match=message):
        ParquetPictures([file], np.zeros((1, 3), np.int64))[0]


def test_of_large_row_groups_one_is_kept(tmp_path, cache, monkeypatch):
    file = write_rows(tmp_path / "train.parquet", hub_rows("train", 6), group=2)
    pictures = load_parquet([file], "x").split("train").pictures
    [pictures[i] for i in range(6)]
    assert list(pictures._groups) == [(0, 1), (0, 2)]
    monkeypatch.setattr("userlib.data.parquet.LARGE", 10)
    [pictures[i] for i in range(6)]
    assert list(pictures._groups) == [(0, 2)]


def test_captions_each_counts_what_is_said_of_an_image(tmp_path, cache):
    image, caption, more = rows_of("aabb", sentids=["1", "2", "3", "4"])
    file = write(tmp_path / "train.parquet", image, caption, **more)
    assert len(load_parquet([file], "x", captions_each=2).split("train")) == 2
    with pytest.raises(UserError, match="row 0 of .* has 2 captions; this data set has 5"):
        load_parquet([file], "x")


def test_flickrs_captions_stay_five(tmp_path, cache):
    write_rows(
        tmp_path / "train.parquet", [row | {"caption": captions(1, 4)} for row in hub_rows("train", 1)]
    )
    with pytest.raises(UserError, match="has 4 captions; this data set has 5"):
        load_data(str(tmp_path))


def test_a_split_under_another_name_is_not_left_out_silently(tmp_path):
    write(tmp_path / "train.parquet", IMAGES, WORDS, partition=["train", "train", "test"])
    with pytest.raises(UserError, match=r"row 2 of .*'test' in 'partition'.*Rename 'partition' to split"):
        load_data(str(tmp_path))
    write(tmp_path / "train.parquet", IMAGES, WORDS, partition=["train"] * 3)
    check(load_data(str(tmp_path)).split("train"))

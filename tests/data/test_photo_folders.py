"""Folders as people have them: read as they are meant, or refused with the line, the value and the remedy."""

import io
import json
import os
import time
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.copies import jpeg, picture
from userlib.data.caption_files import read_captions
from userlib.data.contents import content_sums
from userlib.data.sources import load_data
from userlib.errors import UserError

H = "filename,caption\n"
S = "filename,caption,split\n"
REST = "b.jpg,A cat\nc.jpg,A cow\n"
CAT_COW = {"b.jpg": ["A cat"], "c.jpg": ["A cow"]}
IMAGES = {name: jpeg(seed) for seed, name in enumerate(["a.jpg", "b.jpg", "c.jpg"])}


def whole(first):
    """What a folder of three says where the first image's captions are `first`."""
    return {"train": {"a.jpg": first, **CAT_COW}}


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def rest(**other):
    return lines(
        {"filename": "b.jpg", "caption": "A cat"} | other, {"filename": "c.jpg", "caption": "A cow"} | other
    )


def write(folder: Path, files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return folder


def parquet(**columns):
    """The bytes of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def read(folder: Path):
    """{split: {image: captions}}, and the warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = load_data(str(folder))
    result = {}
    for split in data.splits.values():
        assert len(split.ids) == len(split.pictures)
        result[split.name] = {
            name: [text for text, i in zip(split.captions, split.caption_to_image, strict=True) if i == place]
            for place, name in enumerate(split.ids)
        }
    return result, " ".join(str(one.message) for one in told)


READ = {
    "quoted comma": ({"captions.csv": H + 'a.jpg,"A dog, a cat"\n' + REST}, ["A dog, a cat"]),
    "blank before a quote": ({"captions.csv": H + 'a.jpg, "A dog, a cat"\n' + REST}, ["A dog, a cat"]),
    "quote in quotes": ({"captions.csv": H + 'a.jpg,"A ""big"" dog"\n' + REST}, ['A "big" dog']),
    "bare quote inside": ({"captions.csv": H + 'a.jpg,A 5" dog\n' + REST}, ['A 5" dog']),
    "line break in quotes": ({"captions.csv": H + 'a.jpg,"A dog\nruns"\n' + REST}, ["A dog runs"]),
    "CRLF in quotes": ({"captions.csv": (H + 'a.jpg,"A dog\n runs"\n' + REST).replace("\n", "\r\n")}, ["A dog runs"]),
    "line separator of Unicode": ({"captions.csv": H + "a.jpg,A dog\u2028runs\n" + REST}, ["A dog runs"]),
    "next line of Unicode": ({"captions.csv": H + "a.jpg,A dog\x85runs\n" + REST}, ["A dog runs"]),
    "CR alone": ({"captions.csv": (H + "a.jpg,A dog\n" + REST).replace("\n", "\r")}, ["A dog"]),
    "BOM": ({"captions.csv": "\ufeff" + H + "a.jpg,A dog\n" + REST}, ["A dog"]),
    "UTF-16": ({"captions.csv": (H + "a.jpg,Café 犬\n" + REST).encode("utf-16")}, ["Café 犬"]),
    "UTF-16 big end": (
        {"captions.csv": b"\xfe\xff" + (H + "a.jpg,Café\n" + REST).encode("utf-16-be")},
        ["Café"],
    ),
    "UTF-32": ({"captions.csv": (H + "a.jpg,Café\n" + REST).encode("utf-32")}, ["Café"]),
    "semicolons": ({"captions.csv": (H + "a.jpg,A dog\n" + REST).replace(",", ";")}, ["A dog"]),
    "comma in semicolons": ({"captions.csv": (H + "a.jpg#A dog, wet\n" + REST).replace(",", ";", 1)
        .replace("#", ";").replace("b.jpg,", "b.jpg;").replace("c.jpg,", "c.jpg;")}, ["A dog, wet"]),
    "tabs": ({"captions.csv": (H + "a.jpg,A dog\n" + REST).replace(",", "\t")}, ["A dog"]),
    "tsv": ({"captions.tsv": (H + "a.jpg,A dog\n" + REST).replace(",", "\t")}, ["A dog"]),
    "bars": ({"captions.csv": (H + "a.jpg,A dog\n" + REST).replace(",", "| ")}, ["A dog"]),
    "Excel's sep line": ({"captions.csv": "sep=;\n" + (H + "a.jpg,A dog\n" + REST).replace(",", ";")}, ["A dog"]),
    "columns turned round": ({"captions.csv": "Caption , Filename\nA dog,a.jpg\nA cat,b.jpg\nA cow,c.jpg\n"},
        ["A dog"]),
    "other columns": ({"captions.csv": "id,filename,caption,\n1,a.jpg,A dog,\n2,b.jpg,A cat,\n3,c.jpg,A cow,\n"},
        ["A dog"]),
    "quoted names": ({"captions.csv": '"filename","caption"\n"a.jpg","A dog"\n' + REST}, ["A dog"]),
    "empty lines": ({"captions.csv": "\n" + H + "\na.jpg,A dog\n\n" + REST + "\n  \n"}, ["A dog"]),
    "rows of commas": ({"captions.csv": H + "a.jpg,A dog\n" + REST + ",\n , \n"}, ["A dog"]),
    "no last line end": ({"captions.csv": H + REST + "a.jpg,A dog"}, ["A dog"]),
    "several rows": ({"captions.csv": H + "a.jpg,A dog\n" + REST + "a.jpg,Wet\n"}, ["A dog", "Wet"]),
    "upper-case table": ({"Captions.CSV": H + "a.jpg,A dog\n" + REST}, ["A dog"]),
    "blanks around": ({"captions.csv": H + " a.jpg ,  A dog \n" + REST}, ["A dog"]),
    "Chinese": ({"captions.csv": H + "a.jpg,一只狗在草地上奔跑\n" + REST}, ["一只狗在草地上奔跑"]),
    "Arabic": ({"captions.csv": H + "a.jpg,كلب يركض\n" + REST}, ["كلب يركض"]),
    "joined emoji": ({"captions.csv": H + "a.jpg,👩‍🚀 🏳️‍🌈\n" + REST}, ["👩‍🚀 🏳️‍🌈"]),
    "Devanagari": ({"captions.jsonl": lines({"filename": "a.jpg", "caption": "कुत्ता"}) + rest()}, ["कुत्ता"]),
    "dot and slash": ({"captions.csv": H + "./a.jpg,A dog\n" + REST}, ["A dog"]),
    "two slashes": ({"captions.csv": H + ".//a.jpg,A dog\n" + REST}, ["A dog"]),
    "case of the name": ({"captions.csv": H + "A.JPG,A dog\n" + REST}, ["A dog"]),
    "header 'image'": ({"captions.txt": "image,caption\na.jpg,A dog\n" + REST}, ["A dog"]),
    "Flickr8k tokens": ({"captions.txt": "a.jpg#0\tA dog , wet\na.jpg#1\tWet\nb.jpg#0\tA cat\nc.jpg#0\tA cow\n"},
        ["A dog , wet", "Wet"]),
    "hub's metadata.csv": ({"metadata.csv": "file_name,text\na.jpg,A dog\n" + REST}, ["A dog"]),
    "hub's metadata.jsonl": ({"metadata.jsonl": lines({"file_name": "a.jpg", "text": "A dog", "n": 1},
        {"file_name": "b.jpg", "text": "A cat"}, {"file_name": "c.jpg", "text": "A cow"})}, ["A dog"]),
    "jsonl, empty last line": ({"captions.jsonl": lines({"filename": "a.jpg", "caption": "A dog"}) + rest() + "\n \n"},
        ["A dog"]),
    "jsonl, captions as a string": ({"captions.jsonl": lines({"filename": "a.jpg", "captions": "dog"}) + rest()},
        ["dog"]),
    "jsonl, caption as a list": ({"captions.jsonl": lines({"filename": "a.jpg", "caption": ["A", "B"]}) + rest()},
        ["A", "B"]),
    "jsonl, split null": ({"captions.jsonl": lines({"filename": "a.jpg", "caption": "A", "split": None}) + rest()},
        ["A"]),
    "jsonl, line separator": ({"captions.jsonl": lines({"filename": "a.jpg", "caption": "A\u2028B"}) + rest()},
        ["A B"]),
    "jsonl, BOM and CRLF": ({"captions.jsonl": ("\ufeff" + lines({"filename": "a.jpg", "caption": "A"}) + rest())
        .replace("\n", "\r\n")}, ["A"]),
    "jsonl, UTF-16": ({"captions.jsonl": (lines({"filename": "a.jpg", "caption": "A"}) + rest()).encode("utf-16")},
        ["A"]),
    "captions before metadata": ({"captions.csv": H + "a.jpg,A dog\n" + REST, "metadata.csv": "camera,iso\nX,100\n"},
        ["A dog"]),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_what_is_meant_is_read(case, tmp_path, cache):
    files, first = READ[case]
    assert read(write(tmp_path, IMAGES | files)) == (whole(first), "")


REFUSED = {
    "comma without quotes": (H + "a.jpg,A dog, a cat\n" + REST, "Line 2 of .*3 fields.*in quotes"),
    "comma before a split": (S + "a.jpg,A dog, running fast,train\n", "Line 2 of .*4 fields.*filename, caption, split"),
    "comma that shifts a split": (S + "a.jpg,A dog\n", "Line 2 of .*2 fields.*missing"),
    "comma at the end": (H + "a.jpg,A dog,\n" + REST, "Line 2 of .*3 fields"),
    "line after a break": (H + 'b.jpg,"A\ncat"\na.jpg,A dog, wet\n', "Line 4 of .*3 fields"),
    "line after Excel's own": ("sep=,\n" + H + "a.jpg,A,B\n", "Line 3 of .*3 fields"),
    "one field": (H + "a.jpg\n" + REST, "Line 2 of .*1 field,"),
    "single quotes": (H + "a.jpg,'A dog, wet'\n" + REST, "Line 2 of .*3 fields"),
    "open quote": (H + REST + 'a.jpg,"A dog\n', "not valid CSV.*begins in line 4"),
    "quote closed early": (H + 'a.jpg,"A dog" runs\n' + REST, "not valid CSV.*line 2"),
    "open quote that swallows a row": (H + 'a.jpg,"A dog\nb.jpg,A cat"\nc.jpg,A cow\n',
        "line 2 .*another row: 'b.jpg,'"),
    "backslash before a quote": (H + 'a.jpg,"A \\"big\\" dog"\n' + REST, "not valid CSV.*twice"),
    "no header": ("a.jpg,A dog\n" + REST, "no 'filename' .it has 'a.jpg', 'a dog'.*filename,caption"),
    "no caption column": ("filename,label\na.jpg,1\n", "no 'caption'.*'filename', 'label'"),
    "colons": ("filename:caption\na.jpg:A dog\n", "no 'filename'.*'filename:caption'"),
    "two columns for the caption": ("filename,caption,text\na.jpg,A,B\n", "both 'caption' and 'text'"),
    "two columns for the image": ("filename,image,caption\na.jpg,A,B\n", "both 'filename' and 'image'"),
    "a second column of captions": ("filename,caption,caption_2\na.jpg,A,B\n",
        "has 'caption' and 'caption_2', of which only 'caption' is read"),
    "more columns of captions": ("filename,Captions,Text1,text,Comment 2\na.jpg,A,B,C,D\n",
        "has 'text' and 'captions' and 'text1' and 'comment 2'"),
    "a column twice": ("filename,caption,caption\na.jpg,A,B\n", "has 'caption' twice"),
    "header alone": (H, "holds no caption"),
    "empty": ("", "no 'filename' .it has nothing.*filename,caption"),
    "empty caption": (H + "a.jpg,\n" + REST, "Line 2 of .*empty caption"),
    "blank caption": (H + REST + 'a.jpg," \u200b\u00a0"\n', "Line 4 of .*empty caption"),
    "empty name": (H + ",A dog\n" + REST, "Line 2 of .*empty filename"),
    "image in two splits": (S + "a.jpg,A,train\nb.jpg,B,val\nc.jpg,C,train\na.jpg,D,test\n",
        r"'a.jpg' is in the split 'train' \(line 2 of .*and in 'test' \(line 5 "),
    "image in two splits, spelled apart": (S + "a.jpg,A,train\nA.JPG,D,test\n", "split 'train' .*and in 'test'"),
    "a split for some": (S + "a.jpg,A,train\nb.jpg,B,\nc.jpg,C,train\n", "for 2 of 3 images and none for 'b.jpg'"),
    "image without caption": (H + REST, "1 of 3 images .*no caption, the first is 'a.jpg'"),
    "no such image": (H + "zebra.png,A\n", "Line 2 of .*'zebra.png', but there is no such image"),
    "another suffix": (H + "a.png,A\n", "Did you mean 'a.jpg'"),
    "no suffix": (H + "a,A\n", "Did you mean 'a.jpg'"),
    "number of Flickr8k": (H + "a.jpg#0,A\n", "Did you mean 'a.jpg'"),
    "folder's own name": (H + "album/a.jpg,A\n", "no such image .*Did you mean 'a.jpg'"),
    "absolute": (H + "/else/me/a.jpg,A\n", "'/else/me/a.jpg', which lies outside .*Did you mean 'a.jpg'"),
    "drive": (H + "C:\\photos\\a.jpg,A\n", "lies outside .*Did you mean 'a.jpg'"),
    "address": (H + "https://x.org/a.jpg,A\n", "lies outside .*Did you mean 'a.jpg'"),
    "above": (H + "../a.jpg,A\n", "'../a.jpg', which lies outside"),
    "above by a backslash": (H + "..\\a.jpg,A\n", "which lies outside"),
    "Latin-1": ((H + "a.jpg,A dog\nb.jpg,Café\n").encode("latin-1"),
        r"is not UTF-8 text: byte 0xE9 in line 3 \(byte 38\)"),
    "UTF-16 without mark": ((H + "a.jpg,A\n").encode("utf-16-le"), "is not UTF-8 text: line 1 .*UTF-16"),
    "UTF-16 cut short": ((H + "a.jpg,A\n").encode("utf-16")[:-1], "is not UTF-16 text"),
    "zero byte": (H + "a.jpg,A\0dog\n", "line 2 holds a zero byte"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_line(case, tmp_path, cache):
    content, message = REFUSED[case]
    with pytest.raises(UserError, match=f"(?s){message}"):
        read(write(tmp_path / "album", IMAGES | {"captions.csv": content}))


@pytest.mark.parametrize(
    "row, message",
    [
        ('{"filename": "a.jpg", "caption": null}', "'caption' that is null; write a string"),
        ('{"filename": "a.jpg", "caption": 3}', "'caption' that is 3, a number"),
        ('{"filename": "a.jpg", "caption": true}', "'caption' that is true, a boolean"),
        ('{"filename": "a.jpg", "caption": {"en": "A"}}', "'caption' that is .*an object"),
        ('{"filename": "a.jpg", "captions": []}', "'captions' that is an empty list"),
        ('{"filename": "a.jpg", "captions": ["A", null]}', "'captions' that is a list that holds null"),
        ('{"filename": "a.jpg", "captions": ["A", 7]}', "'captions' that is a list that holds 7, a number"),
        ('{"filename": "a.jpg", "captions": [["A"]]}', "'captions' that is a list that holds a list"),
        ('{"filename": "a.jpg", "caption": ""}', "empty caption"),
        ('{"filename": "a.jpg", "captions": ["A", " "]}', "empty caption"),
        ('{"filename": "a.jpg", "caption": "A", "captions": ["B"]}', "both 'caption' and 'captions'"),
        ('{"filename": "a.jpg", "caption": "A", "caption": "B"}', "has 'caption' twice"),
        ('{"filename": "a.jpg", "caption": "A", "caption_1": "B"}', "'caption_1', of which only 'caption'"),
        ('{"filename": "a.jpg", "text": ["A"], "Text2": "B"}', "'text' and 'Text2', of which only"),
        ('{"filename": 7, "caption": "A"}', "'filename' that is 7, a number"),
        ('{"filename": null, "caption": "A"}', "'filename' that is null"),
        ('{"filename": "", "caption": "A"}', "empty filename"),
        ('{"caption": "A"}', "no 'filename'"),
        ('{"filename": "a.jpg", "text_en": "A"}', "no 'caption'.*'text_en'"),
        ('{"filename": "a.jpg", "caption": "A", "split": 1}', "'split' that is 1, a number"),
        ('{"filename": "a.jpg", "caption": "A", "split": ["train"]}', "'split' that is a list"),
        ("[\n", "Expecting value"),
        ('["a.jpg", "A"]', "it is .*one object per line"),
        ("{'filename': 'a.jpg', 'caption': 'A'}", "property name enclosed in double quotes"),
        ('{"filename": "a.jpg", "caption": "A"},', "Extra data"),
        ('{"filename": "a.jpg", "caption": "A"', "is not"),
        ('{"filename": "a.jpg", "caption": "\\ud800"}', "invalid character"),
        ('{"filename": "a.jpg", "caption": ' + "9" * 5000 + "}", "is not"),
        ('{"filename": "a.jpg", "caption": NaN}', "'caption' that is NaN, a number"),
    ],
)
def test_types_of_jsonl(row, message, tmp_path, cache):
    write(tmp_path, {"captions.jsonl": '{"filename": "a.jpg", "caption": "A dog"}\n' + row + "\n"})
    with pytest.raises(UserError, match=rf"Line 2 of .*captions\.jsonl .*{message}"):
        read_captions(tmp_path / "captions.jsonl")


def test_a_later_row_without_a_caption_is_no_other_kind_of_file(tmp_path, cache):
    table = lines({"file_name": "a.jpg", "text": "A dog"}, {"file_name": "b.jpg"})
    with pytest.raises(UserError, match="Line 2 of .*no 'caption'"):
        read(write(tmp_path, IMAGES | {"metadata.jsonl": table}))


@pytest.mark.parametrize("place", ["", "trip/"])
@pytest.mark.parametrize("row", ["a.jpg,A cat\n", 'a.jpg,"A\n'])
def test_captions_that_others_win_over_are_told(place, row, tmp_path, cache):
    files = {"captions.csv": H + "a.jpg,A dog\n" + REST, f"{place}metadata.csv": "file_name,text\n" + row}
    splits, told = read(write(tmp_path, IMAGES | files))
    assert splits == whole(["A dog"])
    assert f"Captions are read from captions.csv, and not from {place}metadata.csv." in told


def test_captions_win_over_a_stray_table(tmp_path, cache):
    files = {"captions.csv": H + "a.jpg,A dog\n" + REST, "old/x.parquet": b"PAR1"}
    assert read(write(tmp_path, IMAGES | files))[0] == whole(["A dog"])


def test_a_parquet_file_without_images_is_no_data_set_where_photos_lie(tmp_path, cache):
    """What `search --vectors` writes, beside the hub's table; alone it is refused, and with images it is read."""
    vectors = parquet(id=["a.jpg"], vector=[[0.5]])
    files = {"vectors.parquet": vectors, "metadata.csv": "file_name,text\na.jpg,A dog\n" + REST}
    assert read(write(tmp_path / "photos", IMAGES | files)) == (whole(["A dog"]), "")
    with pytest.raises(UserError, match="columns id, vector; .* needs 'image'.*move a file that is none"):
        read(write(tmp_path / "alone", {"vectors.parquet": vectors}))
    rows = parquet(image=[{"bytes": jpeg(1)}, {"bytes": jpeg(2)}], caption=["A dog", "A cat"])
    assert (
        len(
            load_data(str(write(tmp_path / "set", {"teaser.jpg": jpeg(0), "train.parquet": rows}))).split(
                "train"
            )
        )
        == 2
    )


def test_names_of_splits(tmp_path, cache):
    table = S + "a.jpg,A dog, Train \nb.jpg,A cat,VALIDATION\nc.jpg,A cow,Testing\n"
    splits, told = read(write(tmp_path, IMAGES | {"captions.csv": table}))
    assert splits == {
        "train": {"a.jpg": ["A dog"]},
        "val": {"b.jpg": ["A cat"]},
        "test": {"c.jpg": ["A cow"]},
    }
    assert told == ""


def test_rows_of_an_image_may_name_its_split_once(tmp_path, cache):
    table = S + "a.jpg,A dog,train\nb.jpg,A cat,test\nc.jpg,A cow,train\na.jpg,Wet,\na.jpg,Big,Training\n"
    assert read(write(tmp_path, IMAGES | {"captions.csv": table}))[0]["train"]["a.jpg"] == [
        "A dog",
        "Wet",
        "Big",
    ]


def test_copies_of_an_image_are_one(tmp_path, cache):
    table = H + "a.jpg,A dog\n" + REST + "again.jpg,A dog\nagain.jpg,Wet\n"
    splits, told = read(write(tmp_path, IMAGES | {"again.jpg": IMAGES["a.jpg"], "captions.csv": table}))
    assert splits == whole(["A dog", "Wet"])
    assert "1 photo is a copy of another" in told
    assert "again.jpg is a.jpg" in told


def test_a_copy_without_captions_is_not_missed(tmp_path, cache):
    files = IMAGES | {"0.jpg": IMAGES["a.jpg"], "captions.csv": H + "a.jpg,A dog\n" + REST}
    assert read(write(tmp_path, files))[0] == whole(["A dog"])


def test_images_stay_in_the_order_of_their_names(tmp_path, cache):
    files = {"a.jpg": jpeg(2), "b.jpg": jpeg(1), "c.jpg": jpeg(2), "captions.csv": H + REST}
    assert list(read(write(tmp_path, files))[0]["train"]) == ["b.jpg", "c.jpg"]


def test_another_name_is_another_fingerprint(tmp_path, cache):
    """What is kept for the images knows them by their names."""
    one, two = (write(tmp_path / name, {f"{name}.jpg": jpeg(0)}) for name in "ab")
    assert load_data(str(one)).split("all").fingerprint != load_data(str(two)).split("all").fingerprint


def test_copies_across_splits_are_refused(tmp_path, cache):
    table = S + "a.jpg,A dog,train\nb.jpg,A cat,test\nc.jpg,A cow,train\nagain.jpg,A dog,test\n"
    with pytest.raises(
        UserError, match=r"'a.jpg' .*'train'.* and 'again.jpg' .*'test'.*same image, byte for byte"
    ):
        read(write(tmp_path, IMAGES | {"again.jpg": IMAGES["a.jpg"], "captions.csv": table}))


def test_copies_are_kept_apart_where_nothing_is_said_of_them(tmp_path, cache):
    assert set(read(write(tmp_path, IMAGES | {"again.jpg": IMAGES["a.jpg"]}))[0]["all"]) == {
        *IMAGES,
        "again.jpg",
    }


@pytest.mark.parametrize("made, said", [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_composed_and_apart(made, said, tmp_path, cache):
    name = unicodedata.normalize(made, "café.jpg")
    table = H + f"{unicodedata.normalize(said, 'Café.jpg')},A dog\n" + REST
    splits = read(
        write(tmp_path, {name: jpeg(9), "b.jpg": jpeg(1), "c.jpg": jpeg(2), "captions.csv": table})
    )[0]
    assert splits["train"][name] == ["A dog"]


@pytest.mark.parametrize(
    "file, said",
    [
        ("trip/x.jpg", "trip\\x.jpg"),
        ("trip/x.jpg", ".\\trip\\x.jpg"),
        ("trip/x.jpg", "Trip/X.jpg"),
        ("Images/deep/x.jpg", "x.jpg"),
        ("Images/deep/x.jpg", "deep/x.jpg"),
        ("my dog.jpg", "my%20dog.jpg"),
        ("50%20.jpg", "50%20.jpg"),
        ("trip/50%20.jpg", "trip\\50%20.jpg"),
        ("a\\b.jpg", "a\\b.jpg"),
        ("x#1.jpg", "x#1.jpg"),
        ("ünïcode 犬.jpg", "ünïcode 犬.jpg"),
        ("x.v2.JPEG", "x.v2.JPEG"),
        ("X.PNG", "x.png"),
    ],
)
def test_spellings_of_a_name(file, said, tmp_path, cache):
    files = {file: jpeg(7), "b.jpg": jpeg(1), "c.jpg": jpeg(2), "captions.csv": H + f"{said},A dog\n" + REST}
    assert read(write(tmp_path, files))[0]["train"][file] == ["A dog"]


@pytest.mark.parametrize(
    "files, said",
    [
        (["one/x.jpg", "two/x.jpg"], "x.jpg"),
        (["X.jpg", "x.JPG"], "x.jpg"),
        (["e\u0301.jpg", "é.jpg"], "É.jpg"),
    ],
)
def test_a_name_of_two_images_is_refused(files, said, tmp_path, cache):
    content = {file: jpeg(seed) for seed, file in enumerate(files)}
    with pytest.raises(UserError, match=f"'{said}', which may be '{files[0]}' and '{files[1]}'") as error:
        read(write(tmp_path, content | {"captions.csv": H + f"{said},A dog\n"}))
    assert "Line 2" in str(error.value)


def test_exact_names_win(tmp_path, cache):
    files = {"X.jpg": jpeg(1), "x.jpg": jpeg(2), "in/x.jpg": jpeg(3)}
    table = H + "x.jpg,small\nX.jpg,large\nin/x.jpg,inside\n"
    splits = read(write(tmp_path, files | {"captions.csv": table}))[0]["train"]
    assert splits == {"X.jpg": ["large"], "in/x.jpg": ["inside"], "x.jpg": ["small"]}


def test_flickr8k_as_it_is_passed_on(tmp_path, cache):
    files = {f"Images/{name}": data for name, data in IMAGES.items()}
    splits, told = read(
        write(tmp_path, files | {"captions.txt": 'image,caption\na.jpg,"A dog , wet"\n' + REST})
    )
    assert (splits["train"]["Images/a.jpg"], told) == (["A dog , wet"], "")


def test_the_hubs_image_folder_with_a_table_in_each_split(tmp_path, cache):
    files = {"train/a.jpg": jpeg(0), "train/b.jpg": jpeg(1), "validation/a.jpg": jpeg(2)}
    tables = {
        "train/metadata.csv": "file_name,text\na.jpg,A dog\nb.jpg,A cat\n",
        "validation/metadata.jsonl": lines({"file_name": "a.jpg", "text": "A cow"}),
    }
    assert read(write(tmp_path, files | tables))[0] == {
        "train": {"train/a.jpg": ["A dog"], "train/b.jpg": ["A cat"]},
        "val": {"validation/a.jpg": ["A cow"]},
    }


@pytest.mark.parametrize(
    ("place", "split"), [("test/dogs", "test"), ("train/test", "train"), ("dogs/test", "train")]
)
def test_a_table_below_the_folder_of_a_split_is_of_that_split(tmp_path, cache, place, split):
    files = {f"{place}/a.jpg": jpeg(0), f"{place}/metadata.csv": "file_name,text\na.jpg,A dog\n"}
    assert read(write(tmp_path, files))[0] == {split: {f"{place}/a.jpg": ["A dog"]}}


def test_a_table_of_one_split_does_not_reach_into_another(tmp_path, cache):
    files = {"train/a.jpg": jpeg(0), "test/b.jpg": jpeg(1), "test/metadata.csv": "file_name,text\nb.jpg,B\n"}
    with pytest.raises(UserError, match="Line 2 of .*'b.jpg', but there is no such image.*mean 'test/b.jpg'"):
        read(write(tmp_path, files | {"train/metadata.csv": "file_name,text\nb.jpg,A dog\n"}))


def test_folders_named_as_splits(tmp_path, cache):
    files = {"train/a.jpg": jpeg(0), "Test/b.jpg": jpeg(1)}
    table = H + "train/a.jpg,A dog\nTest/b.jpg,A cat\n"
    splits, told = read(write(tmp_path, files | {"captions.csv": table}))
    assert splits == {"test": {"Test/b.jpg": ["A cat"]}, "train": {"train/a.jpg": ["A dog"]}}
    assert "folders test, train are taken as splits" in told


def test_a_copy_in_another_folder_of_a_split_is_refused(tmp_path, cache):
    files = {"train/a.jpg": jpeg(0), "test/b.jpg": jpeg(0)}
    with pytest.raises(UserError, match="the folder test.*the folder train.*same image"):
        read(write(tmp_path, files | {"captions.csv": H + "train/a.jpg,A dog\ntest/b.jpg,A cat\n"}))


def test_json_in_place_of_json_lines(tmp_path, cache):
    with pytest.raises(UserError, match="Line 1 of .*one object per line, and no list"):
        read(write(tmp_path, IMAGES | {"captions.jsonl": '[\n{"filename": "a.jpg", "caption": "A"}\n]'}))


def test_folders_named_as_splits_beside_others(tmp_path, cache):
    files = {"train/a.jpg": jpeg(0), "test/b.jpg": jpeg(1), "c.jpg": jpeg(2)}
    splits, told = read(
        write(tmp_path, files | {"captions.csv": H + "train/a.jpg,A\ntest/b.jpg,B\nc.jpg,C\n"})
    )
    assert list(splits) == ["train"]
    assert "folders test, train too, because others lie outside" in told


def test_folders_of_splits_without_captions_are_searched_together(tmp_path, cache):
    assert list(read(write(tmp_path, {"train/a.jpg": jpeg(0), "test/b.jpg": jpeg(1)}))[0]) == ["all"]


def test_two_tables_are_refused(tmp_path, cache):
    table = H + "a.jpg,A dog\n" + REST
    with pytest.raises(UserError, match=r"captions\.csv and captions\.txt, but only one"):
        read(write(tmp_path, IMAGES | {"captions.csv": table, "captions.txt": table}))


@pytest.mark.parametrize(
    "files, near",
    [
        ({"caption.csv": H}, "caption.csv"),
        ({"captions.xlsx": b"PK"}, "captions.xlsx"),
        ({"captions.json": "[]"}, "captions.json"),
        ({"Flickr8k.token.txt": "a.jpg#0\tA"}, "Flickr8k.token.txt"),
        ({"metadata.csv": "camera,iso\nX,100\n"}, "metadata.csv"),
        ({"metadata.jsonl": '{"camera": "X"}\n'}, "metadata.jsonl"),
        ({"vectors.parquet": parquet(id=["a.jpg"], vector=[[0.5]])}, "vectors.parquet"),
        ({"old/captions.parquet": parquet(file_name=["a.jpg"], text=["A dog"])}, "old/captions.parquet"),
        ({"trip/d.jpg": jpeg(4), "trip/captions.csv": H + "d.jpg,A\n"}, "trip/captions.csv"),
    ],
)
def test_tables_that_are_not_read_are_told(files, near, tmp_path, cache):
    splits, told = read(write(tmp_path, IMAGES | files))
    assert list(splits) == ["all"]
    assert "No captions were read" in told
    assert near in told


def test_other_files_are_no_matter(tmp_path, cache):
    others = {"notes.txt": "x", "README.md": "x", "Thumbs.db": b"x", ".DS_Store": b"x", "desktop.ini": "x"}
    assert read(write(tmp_path, IMAGES | others)) == ({"all": {name: [] for name in IMAGES}}, "")


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("d.heic", b"\0\0\0\x18ftypheic", "pip install pillow-heif"),
        ("d.HEIF", b"x", "pip install pillow-heif"),
        ("d.CR2", b"x", "camera RAW"),
        ("d.dng", b"x", "camera RAW"),
        ("d.mov", b"x", "video"),
        ("d.svg", b"<svg/>", "drawing"),
        ("d.psd", b"8BPS", "image editor"),
        ("d.jxl", b"\xff\x0a", "format that is not read"),
        ("d.zip", b"PK", "unpack"),
        ("d.jpg", b"", r"empty file \(0 bytes\)"),
        ("._a.jpg", b"x", "hidden"),
        (".thumbs/a.jpg", b"x", "hidden"),
        ("IMG_1", jpeg(5), "without the suffix"),
        ("d.jpg_large", jpeg(5), "without the suffix"),
        ("d", b"\x89PNG\r\n\x1a\n", "without the suffix"),
    ],
)
def test_what_is_left_out_is_told_with_its_count(name, data, said, tmp_path, cache):
    splits, told = read(write(tmp_path, IMAGES | {name: data}))
    assert list(splits["all"]) == list(IMAGES)
    assert "Left out: 1 (" in told
    assert name in told
    import re

    assert re.search(said, told)


def test_kinds_are_counted_apart(tmp_path, cache):
    files = {f"{i}.heic": b"x" for i in range(3)} | {"e.jpg": b"", "f.nef": b"x"}
    told = read(write(tmp_path, IMAGES | files))[1]
    assert "3 (0.heic and others are not read: HEIC" in told
    assert told.count("1 (") == 2


def test_a_folder_of_nothing_but_heic_says_so(tmp_path, cache):
    with pytest.raises(UserError, match=r"no image .*Left out: 1 \(a.heic is not read: HEIC .*pip install"):
        read(write(tmp_path, {"a.heic": b"x"}))


@pytest.mark.parametrize(
    "name, said",
    [("d.heic", "pip install pillow-heif"), ("d.nef", "RAW"), ("d.jpeg", "empty file"), (".d.jpg", "hidden")],
)
def test_a_caption_for_what_is_left_out(name, said, tmp_path, cache):
    files = {
        name: b"" if name == "d.jpeg" else b"x",
        "captions.csv": H + REST + f"a.jpg,A\n{name.upper()},A dog\n",
    }
    with pytest.raises(
        UserError, match=f"Line 5 of .*'{name.upper()}', which exists but was left out.*{said}"
    ):
        read(write(tmp_path, IMAGES | files))


@pytest.mark.parametrize("suffix", "avif jfif jpe mpo jp2 ppm pgm tif webp bmp gif png apng JPG TIFF".split())
def test_suffixes_that_are_read(suffix, tmp_path, cache):
    kind = {
        "jfif": "JPEG",
        "jpe": "JPEG",
        "JPG": "JPEG",
        "tif": "TIFF",
        "jp2": "JPEG2000",
        "apng": "PNG",
        "mpo": "MPO",
    }
    file = io.BytesIO()
    extra = {"save_all": True, "append_images": [picture(2)]} if suffix == "mpo" else {}
    picture(1).convert("L" if suffix == "pgm" else "RGB").save(
        file, kind.get(suffix, "PPM" if suffix in ("ppm", "pgm") else suffix.upper()), **extra
    )
    data = load_data(str(write(tmp_path, {f"x.{suffix}": file.getvalue()})))
    seen = np.asarray(data.split("all").pictures[0], float)
    expected = np.asarray(picture(1).convert("L" if suffix == "pgm" else "RGB").convert("RGB"), float)
    assert np.abs(seen - expected).mean() < 12


def test_a_png_named_jpg(tmp_path, cache):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    data = load_data(str(write(tmp_path, {"a.jpg": file.getvalue()})))
    assert data.split("all").pictures[0].getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links(tmp_path, cache):
    folder = write(tmp_path / "album", IMAGES | {"trip/d.jpg": jpeg(4)})
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "round.jpg").symlink_to(folder / "round.jpg")
    (folder / "trip" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "b2.jpg").symlink_to("b.jpg")
    splits, told = read(folder)
    assert list(splits["all"]) == ["a.jpg", "b.jpg", "b2.jpg", "c.jpg", "trip/d.jpg"]
    assert "2 (gone.jpg and others are a broken link)" in told
    assert "1 (trip/up is a linked folder, which is not followed" in told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_is_not_waited_for(tmp_path, cache):
    folder = write(tmp_path, IMAGES)
    os.mkfifo(folder / "d.jpg")
    os.mkfifo(folder / "pipe")
    splits, told = read(folder)
    assert list(splits["all"]) == list(IMAGES)
    assert "no regular file" in told


def test_a_folder_that_may_not_be_read(tmp_path, cache, monkeypatch):
    folder = write(tmp_path, IMAGES | {"secret/d.jpg": jpeg(4)})
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    splits, told = read(folder)
    assert list(splits["all"]) == list(IMAGES)
    assert "1 (secret is closed to you" in told


@pytest.mark.skipif(os.name == "nt", reason="bytes as names")
def test_a_name_that_is_no_text_is_kept_and_shown(tmp_path, cache):
    with open(os.fsencode(str(tmp_path)) + b"/caf\xe9.jpg", "wb") as file:
        file.write(jpeg(3))
    data = load_data(str(tmp_path))
    assert data.split("all").ids == ("caf\\xe9.jpg",)
    assert data.split("all").pictures[0].size == (48, 36)
    write(tmp_path, {"captions.csv": H + "caf\\xe9.jpg,A dog\n"})
    assert load_data(str(tmp_path)).split("train").captions == ("A dog",)


def test_content_decides_what_is_the_same(tmp_path, cache):
    first, second = (
        write(tmp_path / name, IMAGES | {"captions.csv": H + "a.jpg,A\n" + REST}) for name in "ab"
    )
    os.utime(second / "a.jpg", ns=(1, 1))
    (second / "captions.csv").write_text((H + "a.jpg,A\n" + REST).replace(",", ";"))
    one, same = (load_data(str(folder)) for folder in (first, second))
    assert one.fingerprint == same.fingerprint
    assert one.split("train").fingerprint == same.split("train").fingerprint
    write(second, {"captions.csv": H + "a.jpg,B\n" + REST})
    other = load_data(str(second))
    assert other.fingerprint != one.fingerprint
    assert other.split("train").fingerprint == one.split("train").fingerprint  # its tokens are the same
    write(second, {"a.jpg": jpeg(8)})
    assert load_data(str(second)).split("train").fingerprint != one.split("train").fingerprint


def test_sums_are_remembered_until_a_file_changes(tmp_path, cache, monkeypatch):
    from userlib.data import contents

    folder, read_files = write(tmp_path, IMAGES), []
    real = contents.sha256_file
    os.utime(folder / "b.jpg", ns=(5, 5))
    time.sleep(0.02)  # beyond a tick of the file system's clock
    monkeypatch.setattr(contents, "SETTLED_NS", -(10**18))
    monkeypatch.setattr(contents, "sha256_file", lambda path: (read_files.append(path.name), real(path))[1])
    before = content_sums(folder, list(IMAGES))
    assert content_sums(folder, list(IMAGES)) == before
    assert read_files == list(IMAGES)
    write(folder, {"b.jpg": IMAGES["b.jpg"][::-1]})  # as many bytes, and below the same time
    os.utime(folder / "b.jpg", ns=(5, 5))
    after = content_sums(folder, list(IMAGES))
    assert [x == y for x, y in zip(before, after, strict=True)] == [True, False, True]
    assert read_files[3:] == ["b.jpg"]


def test_sums_of_a_part_are_remembered_next_to_the_others(tmp_path, cache, monkeypatch):
    from userlib.data import contents

    folder = write(tmp_path, IMAGES)
    monkeypatch.setattr(contents, "SETTLED_NS", -(10**18))
    whole = content_sums(folder, list(IMAGES))
    monkeypatch.setattr(contents, "sha256_file", None)
    for name, wanted in zip(IMAGES, whole, strict=True):
        assert content_sums(folder, [name], whole=False) == [wanted]
    assert content_sums(folder, list(IMAGES)) == whole


def test_a_file_that_just_changed_is_read_again(tmp_path, cache, monkeypatch):
    """Two changes within one tick of the file system's clock look alike."""
    from userlib.data import contents

    folder = write(tmp_path, {"a.jpg": b"12"})
    state = os.stat(folder / "a.jpg")
    before = content_sums(folder, ["a.jpg"])
    write(folder, {"a.jpg": b"34"})
    monkeypatch.setattr(contents.Path, "stat", lambda path, **_: state)
    assert content_sums(folder, ["a.jpg"]) != before


@pytest.mark.parametrize(
    "name, meant",
    [
        ("./album", ""),
        ("/no/such/album", ""),
        ("albun", "Did you mean 'album'"),
        ("Album", "Did you mean 'album'"),
        ("scene", "Did you mean 'scenes'"),
        ("album/trips", "Did you mean 'album/trip'"),
        ("album/other", "album is there and holds no 'other'"),
        ("album/", ""),
        ("~/album", ""),
        ("~nobody-here/album", ""),
        ("a\\b", ""),
        ("C:\\photos\\trip", ""),
        ("my/own/photos", ""),
        ("my photos/trip", ""),
        ("https://huggingface.co/datasets/me/flickr", "write 'me/flickr'"),
        ("", ""),
        (" ", ""),
        ("x" * 5000, ""),
        ("a\0b", ""),
    ],
)
def test_a_path_is_not_taken_for_a_name_on_the_hub(name, meant, tmp_path, cache, monkeypatch):
    from userlib.data import hub

    monkeypatch.setattr(hub, "load_hub", lambda name: pytest.fail(f"the hub was asked for {name!r}"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if name not in ("./album", "album/", "~/album"):
        write(tmp_path / "album" / "trip", IMAGES)
    with pytest.raises(UserError, match="There is no data set") as error:
        load_data(name)
    assert meant in str(error.value)


def test_files_in_place_of_folders(tmp_path, cache):
    write(tmp_path, {"captions.csv": H, "photos.zip": b"PK"})
    with pytest.raises(UserError, match="is a file.*Its folder is"):
        load_data(str(tmp_path / "captions.csv"))
    with pytest.raises(UserError, match="is a file.*Unpack it"):
        load_data(str(tmp_path / "photos.zip"))


@pytest.mark.parametrize("name", ["partition", "set", "fold"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_split_under_another_name_is_not_left_out_silently(tmp_path, name, kind):
    for image, content in IMAGES.items():
        (tmp_path / image).write_bytes(content)
    rows = [("a.jpg", "A dog", "Train"), ("b.jpg", "A cat", "dev"), ("c.jpg", "A cow", "test")]
    said = [{"filename": image, "caption": caption, name: split} for image, caption, split in rows]
    csv = f"filename,caption,{name}\n" + "".join(",".join(row) + "\n" for row in rows)
    text = csv if kind == "csv" else lines(*said)
    file = tmp_path / f"captions.{kind}"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"Line \d of .*'Train' in '{name}'.*Rename '{name}' to split"):
        load_data(str(tmp_path))
    file.write_text(text.replace("Train", "4").replace("dev", "5").replace("test", "6"))
    assert list(load_data(str(tmp_path)).splits) == ["train"]  # folds by number, or whatever it is


@pytest.mark.parametrize("installed", [True, False])
def test_heic_in_a_folder_counts_where_its_package_is(installed, tmp_path, cache, monkeypatch):
    from userlib.data import folder, pictures

    known = tuple(name for name in pictures.formats() if name != "HEIF")
    monkeypatch.setattr(folder, "formats", lambda: (*known, "HEIF") if installed else known)
    splits, told = read(write(tmp_path, IMAGES | {"d.heic": jpeg(4), "e.HIF": jpeg(5)}))
    assert set(splits["all"]) == {*IMAGES, *(["d.heic", "e.HIF"] if installed else [])}
    assert ("pip install pillow-heif" in told) is not installed

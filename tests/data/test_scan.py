"""SCAN's feature folder: mapped, checked, and with a guide from the images themselves."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.data.copies import COUNTS, captions, write_clip, write_pictures, write_scan
from userlib.data.captions import CaptionDataset
from userlib.data.sources import load_data
from userlib.data.tokenizers import WordTokenizer
from userlib.data.tokens import extract
from userlib.errors import UserError


def test_a_folder_gives_what_was_written(tmp_path):
    data = load_data(str(write_scan(tmp_path / "f30k")))
    assert data.features_folder == tmp_path / "f30k"
    assert {name: len(split) for name, split in data.splits.items()} == COUNTS
    val = data.split("val")
    assert val.ids == ("6", "7", "8")
    assert val.captions[5:10] == tuple(captions(7))
    features = extract(val, tokens="precomputed")
    assert isinstance(features.tokens, np.memmap)
    np.testing.assert_array_equal(features.tokens, np.load(tmp_path / "f30k" / "dev_ims.npy"))


def test_a_byte_order_mark_is_no_part_of_an_id_or_caption(tmp_path):
    """As Windows' editors write it, and as files that are joined have it within."""
    folder = write_scan(tmp_path / "f30k")
    plain = load_data(str(folder)).split("val")
    for name in ("dev_ids.txt", "dev_caps.txt"):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(
            b"\xef\xbb\xbf" + b"".join(lines[:2]) + b"\xef\xbb\xbf" + b"".join(lines[2:])
        )
    marked = load_data(str(folder)).split("val")
    assert (marked.ids, marked.captions) == (plain.ids, plain.captions)
    assert marked.fingerprint == plain.fingerprint


@pytest.mark.parametrize("file", ["dev_ims.npy", "dev_caps.txt", "dev_ids.txt"])
def test_the_fingerprint_follows_every_file(tmp_path, cache, file):
    first, same = (load_data(str(write_scan(tmp_path / name / "f30k"))) for name in "ab")
    changed = tmp_path / "b" / "f30k" / file
    assert first.fingerprint == same.fingerprint
    if changed.suffix == ".npy":
        np.save(changed, np.load(changed) + 1)
    else:
        changed.write_text(
            changed.read_text().replace("8", "88") if "ids" in file else changed.read_text().upper()
        )
    other = load_data(str(changed.parent))
    assert other.fingerprint != first.fingerprint
    assert {n for n in COUNTS if other.split(n).fingerprint != first.split(n).fingerprint} == {"val"}


def test_parts_of_a_split_read_their_own_rows(tmp_path):
    data = load_data(str(write_scan(tmp_path)), sizes={"train": 5}).hold_out("train", 2)
    whole = np.load(tmp_path / "train_ims.npy")
    for name in ("train", "select"):
        split = data.split(name)
        tokens = extract(split, tokens="precomputed").tokens
        assert tokens.shape == (len(split), 4, 8)
        np.testing.assert_array_equal(np.asarray(tokens), whole[[int(i) for i in split.ids]])
        np.testing.assert_array_equal(tokens[0], whole[int(split.ids[0])])
        np.testing.assert_array_equal(tokens[:, 1, :3], whole[[int(i) for i in split.ids]][:, 1, :3])


def test_the_guide_comes_from_the_pictures_of_the_same_ids(tmp_path, cache):
    folder = write_scan(tmp_path / "f30k")
    clip = f"open_clip:local-dir:{write_clip(tmp_path / 'clip')}"
    write_pictures(tmp_path / "pictures", [f"{i}.jpg" for i in range(11)])
    plain = load_data(str(folder), pictures=tmp_path / "pictures").split("val")
    features = extract(plain, tokens="precomputed", guide=clip, progress=False)
    assert features.tokens.shape == (3, 4, 8)
    assert features.guide.shape == (3, 12)
    # the same images under other names, in another order of names, through id_mapping.json
    names = {str(i): f"photos/{'zyxwvutsrqp'[i]}.jpg" for i in range(11)}
    write_pictures(tmp_path / "renamed", list(names.values()))
    (folder / "id_mapping.json").write_text(json.dumps(names))
    mapped = load_data(str(folder), pictures=tmp_path / "renamed").split("val")
    again = extract(mapped, tokens="precomputed", guide=clip, progress=False, cache=tmp_path / "other")
    np.testing.assert_array_equal(features.guide, again.guide)


def test_ids_that_are_names_of_files_are_their_images(tmp_path):
    """As the ids of COCO's images are: no suffix is added to one."""
    names = ["0.png", "folder/1.jpeg", "2.jpg"]
    folder = write_scan(tmp_path / "coco", {"train": 3})
    (folder / "train_ids.txt").write_text("".join(f"{name}\n" for name in [*names[:2], "2"]))
    pictures = write_pictures(tmp_path / "pictures", names)
    train = load_data(str(folder), pictures=pictures).split("train")
    assert train.pictures.paths == tuple(pictures / name for name in names)


def test_a_guide_is_never_that_of_other_images(tmp_path, cache):
    """Those of another folder, or put in place of the first ones; without a guide the data are the same as before."""
    folder = write_scan(tmp_path / "f30k")
    clip = f"open_clip:local-dir:{write_clip(tmp_path / 'clip')}"
    names = [f"{i}.jpg" for i in range(11)]

    def guide(pictures, sizes=None):
        val = load_data(str(folder), pictures=pictures, sizes=sizes).split("val")
        return np.asarray(extract(val, tokens="precomputed", guide=clip, progress=False).guide[:])

    first = guide(write_pictures(tmp_path / "first", names))
    assert len(list((cache / "tokens").glob("*.lock"))) == 1
    np.testing.assert_array_equal(guide(write_pictures(tmp_path / "same", names)), first)
    np.testing.assert_array_equal(guide(tmp_path / "same", {"val": 2}), first[:2])
    assert len(list((cache / "tokens").glob("*.lock"))) == 1  # nothing is made again
    write_pictures(tmp_path / "other", [*names[-3:], *names[:-3]])  # 6.jpg to 8.jpg show others
    second = guide(tmp_path / "other")
    assert not np.isclose(first, second).all(1).any()
    for name in names:
        (tmp_path / "first" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    np.testing.assert_array_equal(guide(tmp_path / "first"), second)
    # models with and without a guide are compared on the same data
    plain, pictured = (load_data(str(folder), pictures=place) for place in (None, tmp_path / "other"))
    assert plain.fingerprint == pictured.fingerprint


def test_what_a_feature_folder_cannot_give(tmp_path, cache):
    split = load_data(str(write_scan(tmp_path / "f30k"))).split("val")
    clip = f"open_clip:local-dir:{write_clip(tmp_path / 'clip')}"
    with pytest.raises(UserError, match="no images to make guide from.*folder of its images"):
        extract(split, tokens="precomputed", guide=clip)
    with pytest.raises(UserError, match="no flipped"):
        extract(split, tokens="precomputed", hflip=True)
    with pytest.raises(UserError, match="'scenes.*has no precomputed|'val' has no precomputed"):
        extract(
            load_data("scenes", sizes={"train": 1, "val": 1, "test": 1}).split("val"), tokens="precomputed"
        )


def cut(name, keep):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def lines(name, change):
    def fault(folder):
        result = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join(change(result)) + "\n")

    return fault


@pytest.mark.parametrize(
    "fault, message",
    [
        (cut("dev_ims.npy", -40), "dev_ims.npy cannot be mapped.*cut short"),
        (cut("dev_ims.npy", 20), "dev_ims.npy cannot be mapped"),
        (cut("dev_ims.npy", 0), "dev_ims.npy cannot be mapped.*cut short"),
        (
            lambda f: np.savez(open(f / "dev_ims.npy", "wb"), a=np.zeros(3)),  # noqa: SIM115
            "dev_ims.npy cannot be mapped.*not a .npy file",
        ),
        (lambda f: np.save(f / "dev_ims.npy", np.zeros((3, 8), np.float32)), r"float32 of shape \(3, 8\)"),
        (lambda f: np.save(f / "dev_ims.npy", np.zeros((3, 4, 8), np.int64)), "int64 of shape"),
        (
            lambda f: np.save(f / "dev_ims.npy", np.array([{}] * 3), allow_pickle=True),
            "cannot be mapped.*fetch it again",
        ),
        (
            lambda f: np.save(f / "dev_ims.npy", np.zeros((4, 4, 8), np.float32)),
            "4 images, .*15 captions and .*3 ids",
        ),
        (lines("dev_caps.txt", lambda x: x[:-1]), "14 captions"),
        (lines("dev_caps.txt", lambda x: [*x[:3], "", *x[4:]]), "Line 4 of .*dev_caps.txt is empty"),
        (lines("dev_ids.txt", lambda x: x[:-1]), "2 ids"),
        (lines("dev_ids.txt", lambda x: ["6", "7", "6"]), "id '6' occurs twice"),
        (lambda f: (f / "dev_ids.txt").unlink(), "dev_ids.txt cannot be read"),
        (
            lambda f: (f / "dev_caps.txt").write_bytes(b"caf\xe9\n" * 15),
            "Line 1 of .*dev_caps.txt is not UTF-8",
        ),
    ],
)
def test_faults_are_named(tmp_path, fault, message):
    fault(write_scan(tmp_path))
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    "mapping, message",
    [
        (None, "6 of 6 images are not below .*the first is .*0.jpg"),
        ({"3": "../../secret.jpg"}, "names the file '../../secret.jpg', which lies outside"),
        ({"3": "/etc/passwd"}, "lies outside"),
        (["3"], "must map ids to file names"),
    ],
)
def test_ids_without_their_picture_are_named(tmp_path, mapping, message):
    folder = write_scan(tmp_path / "f30k")
    (tmp_path / "pictures").mkdir()
    if mapping is not None:
        (folder / "id_mapping.json").write_text(json.dumps(mapping))
    with pytest.raises(UserError, match=message):
        load_data(str(folder), pictures=tmp_path / "pictures")


def test_ids_and_captions_may_begin_with_a_byte_order_mark(tmp_path):
    wanted = load_data(str(write_scan(tmp_path))).split("val")
    for name in ("ids", "caps"):
        file = tmp_path / f"dev_{name}.txt"
        file.write_text(file.read_text(), encoding="utf-8-sig")
    read = load_data(str(tmp_path)).split("val")
    assert (read.ids, read.captions) == (wanted.ids, wanted.captions)


def test_nan_is_found_in_the_row_that_holds_it(tmp_path):
    folder = write_scan(tmp_path)
    features = np.load(folder / "train_ims.npy")
    features[4, 2, 1] = np.nan
    np.save(folder / "train_ims.npy", features)
    split = load_data(str(folder)).split("train")
    pairs = CaptionDataset(split, extract(split, tokens="precomputed"), WordTokenizer.fit(split.captions))
    assert pairs.batch(np.arange(20)).tokens.isfinite().all()
    with pytest.raises(UserError, match="image '4' .row 4 of 'train'. contain NaN"):
        pairs.batch(np.array([3, 22, 7]))


FULL_SIZE = """
import re, sys
import numpy as np
from pathlib import Path
from userlib.data.captions import CaptionDataset
from userlib.data.tokenizers import WordTokenizer
from userlib.data.sources import load_data
from userlib.data.tokens import extract
folder = Path(sys.argv[1])
split = load_data(str(folder)).split("train")
pairs = CaptionDataset(split, extract(split, tokens="precomputed"), WordTokenizer.fit(split.captions))
def now():  # memory that is no file's: mapped pages of a cached file come in pieces of any size
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
start = most = now()
rng = np.random.default_rng(0)
for step in range(5):
    batch = pairs.batch(rng.integers(len(pairs), size=128), rng=rng, caption_augment_prob=.2)
    assert batch.tokens.shape == (128, 36, 2048)
    most = max(most, now())
print(start, most)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads Linux's account of memory")
def test_a_large_feature_file_is_never_read_whole(tmp_path):
    """3,000 x 36 x 2048 float32, 0.9 GB, sparse on the disk: five batches touch 640 rows, 190 MB."""
    count = 3_000
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, 36, 2048)}
    with open(tmp_path / "train_ims.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + count * 36 * 2048 * 4)
    (tmp_path / "train_caps.txt").write_text("a dog runs\n" * (5 * count))
    (tmp_path / "train_ids.txt").write_text("\n".join(map(str, range(count))) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", FULL_SIZE, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    start, end = (int(kilobytes) for kilobytes in done.stdout.split())
    assert end < 700_000  # kilobytes
    assert end - start < 300_000


def test_cocos_whole_test_split_has_its_own_name(tmp_path):
    """SCAN's COCO folder holds the first 1,000 test images as test and all 5,000 as testall."""
    folder = write_scan(tmp_path, {"train": 3, "test": 2})
    whole = write_scan(tmp_path / "whole", {"train": 3, "test": 4})
    for end in ("ims.npy", "caps.txt", "ids.txt"):
        (folder / f"testall_{end}").write_bytes((whole / f"test_{end}").read_bytes())
    data = load_data(str(folder))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 3, "test": 2, "testall": 4}
    np.testing.assert_array_equal(np.load(folder / "testall_ims.npy")[:2], np.load(folder / "test_ims.npy"))


@pytest.mark.parametrize(("one", "other"), [("train", "test"), ("dev", "testall"), ("dev", "test")])
def test_copies_of_one_file_are_no_two_splits(tmp_path, one, other):
    """Whatever ids they have, and however many images."""
    folder = write_scan(tmp_path, {"train": 3, "val": 3})
    np.save(folder / f"{other}_ims.npy", np.load(folder / f"{one}_ims.npy")[:2])
    (folder / f"{other}_caps.txt").write_text("a dog\na cat\n")
    (folder / f"{other}_ids.txt").write_text("a\nb\n")
    with pytest.raises(
        UserError, match=rf"in '{one.replace('dev', 'val')}' and 'a' in '{other}' are the same"
    ):
        load_data(str(folder))


@pytest.mark.parametrize("each", [1, 2, 7])
@pytest.mark.parametrize("ids_each", [False, True])
def test_any_number_of_captions_that_each_picture_has(tmp_path, each, ids_each):
    folder = write_scan(tmp_path, {"train": 4, "test": 3})
    (folder / "train_caps.txt").write_text("".join(f"caption {k}\n" for k in range(4 * each)))
    if ids_each:
        (folder / "train_ids.txt").write_text("".join(f"{k // each}\n" for k in range(4 * each)))
    data = load_data(str(folder))
    assert data.split("train").caption_to_image.tolist() == [k // each for k in range(4 * each)]
    assert data.split("train").captions == tuple(f"caption {k}" for k in range(4 * each))
    assert data.split("train").ids == ("0", "1", "2", "3")
    assert data.split("test").caption_to_image.tolist() == [k // 5 for k in range(15)]


def test_features_that_stand_once_a_caption_are_refused(tmp_path):
    folder = write_scan(tmp_path, {"train": 4})
    np.save(folder / "train_ims.npy", np.repeat(np.load(folder / "train_ims.npy"), 5, axis=0))
    (folder / "train_ids.txt").write_text("".join(f"{k}\n" for k in range(20)))
    with pytest.raises(UserError, match=r"occur 5 times in train_ims.npy.*features\[::5\].*every 5th line"):
        load_data(str(folder))


@pytest.mark.parametrize("captions", [0, 3, 9, 21])
def test_captions_that_do_not_divide_are_named(tmp_path, captions):
    folder = write_scan(tmp_path, {"train": 4})
    (folder / "train_caps.txt").write_text("a dog\n" * captions)
    with pytest.raises(
        UserError, match=f"4 images, .* {captions} captions and .* as many captions as the others"
    ):
        load_data(str(folder))

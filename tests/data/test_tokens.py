"""Tokens are made once, kept whole, continued after any interruption, and shared by parts of a split."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.copies import picture, write_backbone, write_clip, write_hub
from userlib.data import tokens as module
from userlib.data.backbones import as_tensor
from userlib.data.base import Extractor
from userlib.data.extractors import make_extractor
from userlib.data.pictures import open_picture
from userlib.data.sources import load_data
from userlib.data.splits import Split
from userlib.data.store import ArrayWriter, cached_array, is_complete, open_array
from userlib.data.tokens import Features, Rows, extract
from userlib.errors import UserError

NAME = "timm:test_resnet"


class Drawn:
    """Images that count how often they are asked for, and may fail."""

    def __init__(self, count, broken=()):
        self.count, self.broken, self.asked = count, set(broken), []

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.asked.append(i)
        if i in self.broken:
            return open_picture(b"broken", f"number {i}")
        return picture(i)


def make_split(count=10, name="train", **options):
    return Split(
        name=name,
        ids=tuple(f"p{i}" for i in range(count)),
        pictures=Drawn(count, **options),
        captions=("a dog",) * count,
        caption_to_image=np.arange(count),
        fingerprint=f"drawn {count}",
    )


class Plain(Extractor):
    """Tokens without a network, so that the cache alone is what a test costs: the means of four cells by 32
    powers.
    """

    token_shape = (4, 96)
    grid = (2, 2)
    local = True

    def cache_key(self):
        return {"kind": self.spec}

    def load(self):
        pass

    def meta_model(self):
        raise NotImplementedError

    def prepare(self, picture):
        return as_tensor(picture)

    def forward(self, inputs):
        cells = torch.nn.functional.adaptive_avg_pool2d(inputs.float() / 255, 2).flatten(2).transpose(1, 2)
        return torch.cat([cells**k for k in range(1, 33)], dim=2), None


def make_plain(spec, **options):
    return Plain(spec, "cpu") if spec.startswith("plain") else make_extractor(spec, **options)


PLAIN = "plain"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return f"open_clip:local-dir:{write_clip(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "FLUSH", 4)
    monkeypatch.setattr(module, "make_extractor", make_plain)


def folders(cache):
    return sorted(path for path in (cache / "tokens").iterdir() if path.is_dir())


def test_tokens_are_what_the_network_gives_one_picture_at_a_time(weights, cache):
    split = make_split()
    features = extract(split, tokens=NAME, token_weights=weights, progress=False)
    extractor = make_extractor(NAME, weights=weights)
    slow = np.stack([extractor([picture(i)])[0][0].numpy() for i in range(10)])
    assert features.tokens.dtype == np.float16
    assert features.grid == (2, 2)
    np.testing.assert_allclose(features.tokens, slow, rtol=2e-3, atol=2e-3)


def test_made_once(cache):
    first = make_split()
    extract(first, tokens=PLAIN, progress=False)
    assert sorted(first.pictures.asked) == list(range(10))
    again = make_split()
    features = extract(again, tokens=PLAIN, progress=False)
    assert again.pictures.asked == []
    assert isinstance(features.tokens, np.memmap)
    assert len(folders(cache)) == 1


def test_whatever_changes_a_token_changes_the_key(cache):
    extract(make_split(), tokens=PLAIN, progress=False)
    extract(make_split(9), tokens=PLAIN, progress=False)
    extract(make_split(), tokens="plain other", progress=False)
    extract(make_split(), tokens=PLAIN, hflip=True, progress=False)
    assert len(folders(cache)) == 4


def test_mirrored_tokens_are_those_of_the_mirrored_picture(weights, cache):
    features = extract(make_split(), tokens=NAME, token_weights=weights, hflip=True, progress=False)
    extractor = make_extractor(NAME, weights=weights)
    flipped = extractor([picture(3).transpose(0)])[0][0].numpy()  # FLIP_LEFT_RIGHT
    np.testing.assert_allclose(features.hflip[3], flipped, rtol=0.05, atol=0.05)
    assert not np.allclose(features.hflip[3], features.tokens[3], atol=0.05)


def test_tokens_and_guide_of_one_network_come_in_one_pass(clip, cache):
    split = make_split()
    features = extract(split, tokens=clip, guide=clip, progress=False)
    assert sorted(split.pictures.asked) == list(range(10))
    assert features.tokens.shape == (10, 4, 32)
    np.testing.assert_allclose(np.linalg.norm(features.guide, axis=1), 1, atol=1e-5)
    tokens, guide = make_extractor(clip)([picture(5)])
    np.testing.assert_allclose(features.guide[5], guide[0], atol=1e-5)
    np.testing.assert_allclose(features.tokens[5], tokens[0], atol=1e-2)


def test_tokens_and_guide_are_kept_apart(clip, weights, cache):
    extract(make_split(), tokens=clip, guide=clip, progress=False)
    split = make_split()
    extract(split, tokens=NAME, token_weights=weights, guide=clip, progress=False)
    assert sorted(split.pictures.asked) == list(range(10))  # once, for the tokens: the guide was there
    assert len(folders(cache)) == 3


def test_parts_of_a_split_share_its_tokens(cache, tmp_path):
    data = load_data(str(write_hub(tmp_path / "flickr")))
    held = data.hold_out("train", 2)
    whole = extract(data.split("train"), tokens=PLAIN, progress=False)
    made = folders(cache)
    for name in ("train", "select"):
        split = held.split(name)
        features = extract(split, tokens=PLAIN, progress=False)
        rows = [data.split("train").ids.index(i) for i in split.ids]
        np.testing.assert_array_equal(np.asarray(features.tokens), whole.tokens[rows])
    assert folders(cache) == made


@pytest.mark.parametrize("broken", [0, 1, 5, 9])
def test_an_unreadable_picture_is_named_and_the_rest_goes_on_later(cache, broken):
    split = make_split(broken=[broken])
    with pytest.raises(UserError, match=f"The image number {broken} "):
        extract(split, tokens=PLAIN, progress=False)
    assert folders(cache)[0].suffix == ".partial"
    repaired = make_split()
    features = extract(repaired, tokens=PLAIN, progress=False)
    assert min(repaired.pictures.asked) == broken // 2 * 2
    fresh = extract(make_split(), tokens=PLAIN, progress=False, cache=cache / "other")
    np.testing.assert_array_equal(features.tokens, fresh.tokens)


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.data import test_tokens as t
t.module.BATCH, t.module.FLUSH = 2, 4
split = t.make_split()
real = type(split.pictures).__getitem__
def dying(self, i):
    if i == 8:
        os._exit(9)
    return real(self, i)
type(split.pictures).__getitem__ = dying
t.module.AHEAD, t.module.make_extractor = 0, t.make_plain
t.extract(split, tokens=t.PLAIN, progress=False, workers=1)
"""


def test_a_killed_process_leaves_what_it_had(cache, request):
    root = request.config.rootpath
    done = subprocess.run([sys.executable, "-c", KILLED, str(root)], cwd=root, env=os.environ)
    assert done.returncode == 9
    partial = folders(cache)[0]
    assert json.loads((partial / "progress.json").read_text())["done"] == 8
    split = make_split()
    features = extract(split, tokens=PLAIN, progress=False)
    assert sorted(split.pictures.asked) == [8, 9]
    fresh = extract(make_split(), tokens=PLAIN, progress=False, cache=cache / "other")
    np.testing.assert_array_equal(features.tokens, fresh.tokens)


def test_a_full_disk_is_a_sentence_and_loses_nothing(cache, monkeypatch):
    """Ten images need 10 x 4 x 96 x 2 = 7,680 bytes, and a file may have 4,000."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(module, "FLUSH", 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(UserError, match="No space left while writing"):
            extract(make_split(), tokens=PLAIN, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    split = make_split()
    features = extract(split, tokens=PLAIN, progress=False)
    assert 0 < min(split.pictures.asked) < 6
    fresh = extract(make_split(), tokens=PLAIN, progress=False, cache=cache / "other")
    np.testing.assert_array_equal(features.tokens, fresh.tokens)


def test_a_disk_that_is_too_small_is_told_before_the_first_picture(cache, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)
    split = make_split()
    with pytest.raises(UserError, match="No space left for the tokens"):
        extract(split, tokens=PLAIN, progress=False)
    assert split.pictures.asked == []


def test_two_writers_wait_for_one_another(cache):
    splits = [make_split(), make_split()]
    results = []

    def work(split):
        results.append(extract(split, tokens=PLAIN, progress=False).tokens[:])

    threads = [threading.Thread(target=work, args=(split,)) for split in splits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(*results)
    assert sorted(splits[0].pictures.asked + splits[1].pictures.asked) == list(range(10))


def damage(file, how):
    data = bytearray(file.read_bytes())
    if how == "cut":
        data = data[:-100]
    elif how == "flip":
        data[-5] ^= 1
    before = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a failing disk would


@pytest.mark.parametrize("how", ["cut", "flip", "empty", "gone"])
def test_a_damaged_cache_is_noticed(cache, how):
    extract(make_split(), tokens=PLAIN, progress=False)
    file = folders(cache)[0] / "array.npy"
    if how == "empty":
        file.write_bytes(b"")
    elif how == "gone":
        file.unlink()
    else:
        damage(file, how)
    with pytest.raises(UserError, match=r"array\.npy is damaged.*Delete the folder"):
        extract(make_split(), tokens=PLAIN, progress=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_numbers_that_are_not_finite_are_not_stored(tmp_path, value):
    writer = ArrayWriter(tmp_path / "a", (4, 2, 3), np.dtype(np.float16), {})
    writer.write(np.ones((2, 2, 3)))
    rows = np.ones((2, 2, 3))
    rows[1, 0, 1] = value
    with pytest.raises(UserError, match="features of image 3 are not finite in float16"):
        writer.write(rows)
    assert writer.done == 2
    writer.close()


def test_an_array_is_finished_only_when_full(tmp_path):
    writer = ArrayWriter(tmp_path / "a", (3, 2), np.dtype(np.float32), {"made": "here"})
    writer.write(np.ones((2, 2)))
    with pytest.raises(UserError, match="2 of 3 rows"):
        writer.finish()
    writer.close()
    assert not is_complete(tmp_path / "a")
    again = ArrayWriter(tmp_path / "a", (3, 2), np.dtype(np.float32), {"made": "here"})
    assert again.done == 2
    again.write(np.zeros((1, 2)))
    again.finish()
    np.testing.assert_array_equal(open_array(tmp_path / "a"), [[1, 1], [1, 1], [0, 0]])
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["about"] == {"made": "here"}


@pytest.mark.parametrize(
    "place", [(os, "replace"), (Path, "unlink")], ids=["renaming", "removal of the note"]
)
def test_an_array_whose_process_died_before_the_renaming_is_finished(tmp_path, monkeypatch, place):
    """Its manifest lies in the unfinished folder; the same command once took it for another's file."""
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)

    def write():
        writer = ArrayWriter(tmp_path / "x", rows.shape, rows.dtype, {"of": "rows"})
        writer.write(rows[writer.done :])
        writer.finish()

    plain = getattr(*place)

    def die(path, *rest, **options):
        if path == tmp_path / "x.partial" or path == tmp_path / "x.partial" / "progress.json":
            raise KeyboardInterrupt
        return plain(path, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(*place, die)
        with pytest.raises(KeyboardInterrupt):
            write()
    assert (tmp_path / "x.partial" / "manifest.json").exists()
    write()
    assert np.array_equal(open_array(tmp_path / "x"), rows)


def test_progress_that_says_more_than_the_file_holds_is_not_believed(tmp_path):
    writer = ArrayWriter(tmp_path / "a", (3, 2), np.dtype(np.float32), {})
    writer.write(np.ones((2, 2)))
    writer.close()
    file = tmp_path / "a.partial" / "array.npy"
    file.write_bytes(file.read_bytes()[:-8])
    assert ArrayWriter(tmp_path / "a", (3, 2), np.dtype(np.float32), {}).done == 0


def test_rows_read_like_the_array_they_stand_for():
    base = np.arange(60).reshape(5, 4, 3)
    rows = np.array([3, 0, 4])
    view, slow = Rows(base, rows), base[rows]
    assert view.shape == slow.shape
    assert len(view) == 3
    for key in (
        0,
        -1,
        slice(1, 3),
        np.array([2, 0]),
        [1],
        (0, 2),
        (slice(None), 1),
        (np.array([0, 2]), slice(1, 3), 2),
    ):
        np.testing.assert_array_equal(view[key], slow[key])
    np.testing.assert_array_equal(np.asarray(view), slow)
    np.testing.assert_array_equal(np.asarray(view, dtype=np.float32), slow.astype(np.float32))


def test_some_images_have_each_their_own_features():
    """Tokens, guide, mask and mirrored tokens, also of a cut of a cut; what there is not stays away."""
    base = np.arange(60).reshape(5, 4, 3)
    parts = {"tokens": base, "guide": base[:, 0], "mask": base[:, :, 0] % 2 > 0, "hflip": -base}
    for kept in (parts, {"tokens": base}):
        again = Features(**kept, grid=(2, 2)).select(np.array([3, 0, 4])).select(np.array([2, 1]))
        assert again.grid == (2, 2)
        for name in parts:
            array = getattr(again, name)
            assert (array is None) == (name not in kept)
            assert array is None or np.array_equal(np.asarray(array), parts[name][[4, 0]]), name


def test_memory_does_not_grow_with_the_number_of_pictures(cache):
    """Images are decoded at most AHEAD + 1 batches before the network takes them."""
    split = make_split(40)
    extractor = make_plain(PLAIN)
    taken, most = 0, 0
    for inputs in module._prepared(split.pictures, extractor, range(40), mirror=False, workers=2):
        most = max(most, len(split.pictures.asked) - taken)
        taken += len(inputs)
    assert taken == 40
    assert most <= (module.AHEAD + 2) * module.BATCH
    assert isinstance(inputs, torch.Tensor)


@pytest.mark.parametrize(
    "tokens, guide, message",
    [
        ("region-maxi", None, "no tokens called 'region-maxi'"),
        ("timm:", None, "no tokens called 'timm:'"),
        (PLAIN, 'pixels:{"input_size": [3, 8, 8], "resize": "squash"}', "gives no guide vector"),
    ],
)
def test_wrong_names_are_named(cache, tokens, guide, message):
    with pytest.raises(UserError, match=message):
        extract(make_split(), tokens=tokens, guide=guide, progress=False)


def test_a_small_array_is_made_once_and_again_when_a_bit_has_changed(tmp_path):
    file, made = tmp_path / "maps" / "a.npy", []

    def make():
        made.append(len(made))
        return np.arange(20).reshape(4, 5)

    np.testing.assert_array_equal(cached_array(file, make), make())
    content = file.read_bytes()
    del made[:]
    np.testing.assert_array_equal(cached_array(file, make), np.arange(20).reshape(4, 5))
    assert not made
    for at in range(0, len(content), 7):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        file.write_bytes(changed)
        np.testing.assert_array_equal(cached_array(file, make), np.arange(20).reshape(4, 5))
    assert len(made) == len(range(0, len(content), 7))
    assert file.read_bytes() == content
    (tmp_path / "a file").touch()
    np.testing.assert_array_equal(
        cached_array(tmp_path / "a file" / "b.npy", make), np.arange(20).reshape(4, 5)
    )

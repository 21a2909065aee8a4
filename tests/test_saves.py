"""Every save that takes a folder or a file: nothing that is not an older save of this program is lost, and what
stands in the way is said before any work.
"""

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.reference.small import small
from userlab.__main__ import main as experiments
from userlab.ablation.rows import write_row
from userlab.pretraining.assets import check_out
from userlib.__main__ import main
from userlib.checkpoints import check_run, checkpoint_path, write_checkpoint, writing
from userlib.config import Config
from userlib.data.store import ArrayWriter
from userlib.data.tokenizers import WordTokenizer
from userlib.errors import UserError
from userlib.files import (
    atomic_write,
    atomic_write_folder,
    check_file,
    check_folder,
    foreign,
    remove_folder,
    write_checksummed,
    write_json,
)
from userlib.model.user import DualEncoder, load_model, save_model
from userlib.search import Index
from userlib.verify import write_manifest


def photos(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (8, 8), name == "a" and "red" or "blue").save(folder / f"{name}.png")
    (folder / "captions.csv").write_text("filename,caption\na.png,red\nb.png,blue\n")


def nested(folder: Path) -> None:
    photos(folder / "summer" / "beach")


def dotfile(folder: Path) -> None:
    folder.mkdir()
    (folder / ".gitkeep").touch()


def index_with_a_note(folder: Path) -> None:
    write_checkpoint(folder, {"vectors": torch.zeros(1, 2)}, {"contents": {}})
    (folder / "notes.txt").write_text("mine")


def index_with_a_folder(folder: Path) -> None:
    write_checkpoint(folder, {"vectors": torch.zeros(1, 2)}, {"contents": {}})
    photos(folder / "photos")


def run_folder(folder: Path) -> None:
    write_checkpoint(
        folder / "best-00000003", {"x": torch.zeros(1)}, {"config": {}, "metadata": {}, "tokenizer": {}}
    )
    write_checkpoint(folder / "step-00000003", {"x": torch.zeros(1)}, {"state": {}})
    write_checksummed(folder / "run.json", {"last": "step-00000003", "best": "best-00000003"})


def run_with_photos(folder: Path) -> None:
    run_folder(folder)
    photos(folder / "step-00000003" / "photos")


def manifest_of_their_own(folder: Path) -> None:
    photos(folder)
    write_json(folder / "manifest.json", {"name": "My web app", "icons": ["a.png"]})


def linked(folder: Path) -> None:
    photos(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def holds_a_link(folder: Path) -> None:
    photos(folder.with_name("elsewhere"))
    folder.mkdir()
    (folder / "photos").symlink_to(folder.with_name("elsewhere"))


def a_file(folder: Path) -> None:
    folder.write_text("a letter")


def old_backup(folder: Path) -> None:
    photos(folder / ".photos.old")


PLACES = [
    photos, nested, dotfile, index_with_a_note, index_with_a_folder, run_folder, run_with_photos, manifest_of_their_own,
    linked, holds_a_link, a_file, old_backup,
]  # fmt: skip


class Colour:
    """An encoder that sees the mean colour."""

    warning = None

    def encode_text(self, texts):
        return np.eye(3, dtype=np.float32)[[0] * len(texts)]

    def encode_image(self, pictures):
        result = np.stack([np.asarray(one, np.float32).mean((0, 1)) for one in pictures])
        return result / np.linalg.norm(result, axis=1, keepdims=True)

    def unknown(self, text):
        return []

    def cache_key(self):
        return {"kind": "colour"}


def save_index(folder: Path) -> None:
    source = folder.parent / "source"
    if not source.exists():
        photos(source)
    Index.build(source, Colour(), progress=False).save(folder)


def save_weights(folder: Path) -> None:
    model = DualEncoder(small())
    save_model(folder, model, WordTokenizer(["a"]), Config(model=model.config), {})


def save_array(folder: Path) -> None:
    writer = ArrayWriter(folder, (2, 3), np.dtype(np.float32), {})
    writer.write(np.ones((2, 3)))
    writer.finish()


def save_manifested(folder: Path) -> None:
    def write(part: Path) -> None:
        (part / "vectors.bin").write_bytes(b"1")
        write_manifest(part)

    atomic_write_folder(folder, write)


SAVES = [
    save_index, save_weights, save_array, save_manifested,
    lambda folder: write_checkpoint(folder, {"x": torch.zeros(1)}, {"contents": {}}),
    lambda folder: check_out(folder, ("region-mini.json",)),
    remove_folder,
]  # fmt: skip


def snapshot(root: Path) -> dict[str, str]:
    """Every file and link below, by path: its content or target."""
    result = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            result[str(path)] = os.readlink(path)
        elif path.is_file():
            result[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return result


@pytest.mark.parametrize("place", PLACES, ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    "save", SAVES, ids=["index", "weights", "array", "folder", "checkpoint", "asset", "removal"]
)
def test_no_save_loses_what_is_not_its_own(save, place, tmp_path):
    target = tmp_path / "there"
    place(target)
    before = snapshot(tmp_path)
    if save is remove_folder:
        save(target)
        lost = {name for name in before if "step-" in name or "best-" in name or name.endswith("run.json")}
        before = before if place is not run_folder else {k: v for k, v in before.items() if k not in lost}
    else:
        with pytest.raises(UserError, match=r"there|elsewhere"):
            save(target)
    after = snapshot(tmp_path)
    assert {name: after.get(name) for name in before} == before


@pytest.mark.parametrize("save", SAVES[:2] + SAVES[3:5], ids=["index", "weights", "folder", "checkpoint"])
def test_a_save_replaces_an_older_one_of_its_kind_and_an_empty_folder(save, tmp_path):
    target = tmp_path / "there"
    target.mkdir()
    save(target)
    first = snapshot(target)
    save(target)
    assert set(snapshot(target)) == set(first)
    link = tmp_path / "link"
    link.symlink_to(target)
    save(link)
    assert link.is_symlink() and set(snapshot(target)) == set(first)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_index_does_not_replace_a_checkpoint_nor_the_reverse(tmp_path):
    save_weights(tmp_path / "weights")
    save_index(tmp_path / "index")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="holds a result of another kind"):
        save_index(tmp_path / "weights")
    with pytest.raises(UserError, match="holds a result of another kind"):
        save_weights(tmp_path / "index")
    assert snapshot(tmp_path) == before


def test_two_writers_of_one_folder_leave_one_of_the_two_whole(tmp_path, monkeypatch):
    """The other one comes between the two renames."""
    target = tmp_path / "there"
    write_checkpoint(target, {"x": torch.tensor(0.0)}, {"contents": {}})
    plain, others = os.replace, [2.0]

    def replace(source, goal):
        plain(source, goal)
        if str(goal).endswith(".old") and others:
            write_checkpoint(target, {"x": torch.tensor(others.pop())}, {"contents": {}})

    monkeypatch.setattr(os, "replace", replace)
    write_checkpoint(target, {"x": torch.tensor(1.0)}, {"contents": {}})
    from userlib.checkpoints import read_checkpoint

    assert float(read_checkpoint(target)[0]["x"]) == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_what_stands_above_a_place_is_named(tmp_path):
    (tmp_path / "letter").write_text("dear")
    for check in (check_folder, check_file, lambda path: check_run(path, resume=False)):
        with pytest.raises(UserError, match="letter is no folder"):
            check(tmp_path / "letter" / "run")
        with pytest.raises(UserError, match=os.strerror(errno.ENAMETOOLONG)):
            check(tmp_path / ("x" * 300))
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UserError, match="loop"):
        save_weights(loop / "x")
    assert (tmp_path / "letter").read_text() == "dear"


@pytest.mark.parametrize("content", [b"filename,caption\n", b'{"tables": {}}', b"\x89PNG", b"{}"])
def test_a_file_that_is_no_result_is_not_overwritten(content, tmp_path):
    file = tmp_path / "mine.json"
    file.write_bytes(content)
    for write in (
        lambda: write_checksummed(file, {"tables": {}}),
        lambda: write_json(file, {}),
        lambda: atomic_write(file, lambda part: part.write_text("new")),
        lambda: check_file(file),
    ):
        with pytest.raises(UserError, match="no earlier result of this program, and would be lost"):
            write()
    assert file.read_bytes() == content and os.listdir(tmp_path) == ["mine.json"]


def test_a_result_replaces_one_of_its_kind_and_no_other(tmp_path):
    file = tmp_path / "a.json"
    file.touch()  # as mktemp makes it
    write_checksummed(file, {"tables": {}, "x": 1}, like=("tables",))
    write_checksummed(file, {"tables": {}, "x": 2}, like=("tables",))
    with pytest.raises(UserError, match="result of another kind"):
        write_checksummed(file, {"history": []}, like=("history",))
    (tmp_path / "link.json").symlink_to(file)
    write_checksummed(tmp_path / "link.json", {"tables": {}, "x": 3}, like=("tables",))
    assert (tmp_path / "link.json").is_symlink() and '"x": 3' in file.read_text()
    with pytest.raises(UserError, match="is a folder, and the result is a file"):
        check_file(tmp_path)


def test_a_row_whose_json_is_missing_is_written_again_and_anothers_arrays_are_not(tmp_path):
    arrays = {"report_i2t": np.ones(3)}
    row = {"study": "s", "cell": "c", "of": "c", "seed": 0, "key": "k"}
    write_row(tmp_path / "a.json", row, arrays)
    (tmp_path / "a.json").unlink()
    write_row(tmp_path / "a.json", row, arrays)
    np.savez(tmp_path / "b.npz", mine=np.zeros(2))
    with pytest.raises(UserError, match=r"b\.npz"):
        write_row(tmp_path / "b.json", row, arrays)
    assert not (tmp_path / "b.json").exists()


def test_an_unfinished_array_that_another_wrote_is_not_touched(tmp_path):
    part = tmp_path / "x.partial"
    part.mkdir()
    np.save(part / "array.npy", np.arange(5))
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"array\.npy was left by no earlier extraction"):
        save_array(tmp_path / "x")
    assert snapshot(tmp_path) == before


def test_foreign_names_the_first_thing_that_is_not_ours(tmp_path):
    run_folder(tmp_path / "run")
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".best-00000004.0123abcd.part").mkdir()
    assert foreign(tmp_path / "run") is None
    note = tmp_path / "run" / "best-00000003" / "note.txt"
    note.touch()
    assert foreign(tmp_path / "run") == note


def test_a_run_goes_into_a_folder_of_its_own(tmp_path):
    run_folder(tmp_path / "run")
    photos(tmp_path / "photos")
    check_run(tmp_path / "run", resume=True)
    check_run(tmp_path / "new", resume=False)
    with pytest.raises(UserError, match="already holds a run; add --resume"):
        check_run(tmp_path / "run", resume=False)
    with pytest.raises(UserError, match="new holds no run to resume"):
        check_run(tmp_path / "new", resume=True)
    with pytest.raises(UserError, match="photos holds 'a.png'"):
        check_run(tmp_path / "photos", resume=False)
    (tmp_path / "run" / "result.json").write_text("mine")
    with pytest.raises(UserError, match=r"result\.json is no earlier result"):
        check_run(tmp_path / "run", resume=True)
    assert checkpoint_path(tmp_path / "run", "last").name == "step-00000003"


def test_a_run_has_one_writer(tmp_path):
    from filelock import FileLock

    with writing(tmp_path / "run"):
        with writing(tmp_path / "run"):
            assert os.listdir(tmp_path / "run") == [".lock"]
        assert os.listdir(tmp_path / "run") == [".lock"]  # held until the outer one ends
    assert not (tmp_path / "run").exists()  # nothing was written
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    other = pytest.raises(UserError, match="another process is writing to .*run")
    with FileLock(tmp_path / "run" / ".lock"), other, writing(tmp_path / "run"):
        raise AssertionError
    with writing(tmp_path / "run"):
        pass
    assert os.listdir(tmp_path / "run") == ["x"]


COMMANDS = {
    "train": "train --data scenes --out {}",
    "resume": "train --data scenes --resume --out {}",
    "search": "search --model clip-mini --data scenes --query x --index {}",
    "pretrain-regions": "pretrain-regions --out {}",
    "pretrain-clip": "pretrain-clip --out {}",
    "ablate": "ablate --study masking --out {}",
    "evaluate": "evaluate --baseline cca --out {}",
    "bench": "bench --group rank --tiny --out {}",
}
FILES = ("evaluate", "bench")


PLACES = [
    (name, place)
    for name in COMMANDS
    for place in (photos, a_file, index_with_a_note, manifest_of_their_own)
    if name != "ablate" or place is a_file  # a study adds files to a folder in which others may lie
]


@pytest.mark.parametrize("name, place", PLACES)
def test_every_command_refuses_its_place_before_any_work(name, place, tmp_path, capsys, monkeypatch):
    def work(*_, **__):
        raise AssertionError("work began")

    for what in (
        "userlib.data.sources.load_data",
        "userlib.training.preparing.load_data",
        "userlib.scoring.load_data",
    ):
        monkeypatch.setattr(what, work)
    monkeypatch.setattr("userlib.search.encoders.load_clip", work)
    monkeypatch.setattr("userlab.bench.settings._apart", work)
    monkeypatch.setattr("userlab.pretraining.regions.drawn", work)
    monkeypatch.setattr("userlab.pretraining.clip.drawn", work)
    target = tmp_path / "there"
    place(target)
    before = snapshot(tmp_path)
    command = main if name in ("train", "resume", "search", "evaluate") else experiments
    assert command(COMMANDS[name].format(target).split()) == 2
    assert "there" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def test_an_earlier_model_still_loads(tmp_path):
    save_weights(tmp_path / "a")
    save_weights(tmp_path / "a")
    assert load_model(tmp_path / "a").metadata == {}

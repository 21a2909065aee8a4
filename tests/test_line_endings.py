"""Files whose line endings git's core.autocrlf has changed: text is read as it was written, the cause is named."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.copies import write_clip
from userlib import doctor, verify
from userlib.checkpoints import read_checkpoint, write_checkpoint
from userlib.data.clip import ClipExtractor
from userlib.errors import UserError
from userlib.files import read_checksummed, sha256_file, sha256_text, sum_fault, write_checksummed

ROOT = Path(__file__).resolve().parent.parent


def crlf(path):
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


@pytest.mark.parametrize("name", ["a.json", "log.csv", "a.md", "a.txt"])
def test_text_may_have_either_line_ending(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"one\ntwo\n")
    total = sha256_file(path)
    assert sum_fault(path, total) is None
    crlf(path)
    assert sum_fault(path, total) is None
    assert sha256_text(path) == total != sha256_file(path)
    path.write_bytes(b"one\r\ntwo \r\n")
    assert sum_fault(path, total) == "its checksum is not the stored one"


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.png"])
def test_binary_files_may_not_and_the_cause_is_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\0one\ntwo\n")
    total = sha256_file(path)
    crlf(path)
    assert "CRLF in place of LF" in str(sum_fault(path, total))
    assert f"git -c core.autocrlf=false checkout -- {tmp_path}" in str(sum_fault(path, total))


def test_text_that_was_written_with_crlf_is_not_another(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"step,loss\r\n1,2\r\n")
    total = sha256_file(path)
    assert sum_fault(path, total) is None
    path.write_bytes(b"step,loss\r\n1,3\r\n")
    assert sum_fault(path, total) is not None


def test_a_checksummed_file_with_crlf_is_whole(tmp_path):
    write_checksummed(tmp_path / "a.json", {"a": "two\nlines", "b": [1, 2]})
    crlf(tmp_path / "a.json")
    assert read_checksummed(tmp_path / "a.json", "") == {"a": "two\nlines", "b": [1, 2]}
    assert verify.lone_damage(tmp_path / "a.json") == []
    changed = (tmp_path / "a.json").read_bytes().replace(b"lines", b"words")
    (tmp_path / "a.json").write_bytes(changed)
    with pytest.raises(UserError, match="damaged"):
        read_checksummed(tmp_path / "a.json", "")


def test_a_checkpoint_with_crlf_is_read(tmp_path):
    folder = tmp_path / "bundle"
    write_checkpoint(folder, {"w": torch.tensor([10.0, 13.0])}, {"config": {"a": [1, 2]}})
    for path in folder.glob("*.json"):
        crlf(path)
    tensors, documents = read_checkpoint(folder)
    assert tensors["w"].tolist() == [10, 13]
    assert documents == {"config": {"a": [1, 2]}}
    assert verify.damage(folder) == []


def test_the_doctor_names_line_endings(tmp_path, monkeypatch):
    folder = tmp_path / "assets" / "small"
    folder.mkdir(parents=True)
    (folder / "a.json").write_bytes(b"{\n}\n")
    (folder / "a.npz").write_bytes(b"\0\n")
    verify.write_manifest(folder)
    crlf(folder / "a.json")
    crlf(folder / "manifest.json")
    (tmp_path / "pyproject.toml").touch()  # as in a clone
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    assert doctor.check_assets().state == "ok"
    crlf(folder / "a.npz")
    check = doctor.check_assets()
    assert check.state == "fail"
    assert "a.npz is damaged: its line endings are CRLF" in check.detail
    assert "delete the folder assets" in check.remedy
    assert "git -c core.autocrlf=false checkout -- assets" in check.remedy


def test_the_identity_of_a_network_is_not_that_of_its_line_endings(tmp_path, cache):
    folder = write_clip(tmp_path / "clip")
    config = folder / "open_clip_config.json"
    config.write_bytes(config.read_bytes().replace(b", ", b",\n"))
    name = f"open_clip:local-dir:{folder}"
    before = ClipExtractor(name, device="cpu").cache_key()
    crlf(config)
    assert ClipExtractor(name, device="cpu").cache_key() == before


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="is no clone")
def test_a_clone_has_the_bytes_that_were_summed():
    names = ["assets/demo/full/config.json", "assets/region-mini/log.csv", "userlib/files.py", "new.md"]
    result = subprocess.run(
        ["git", "check-attr", "eol", "--", *names, "assets/demo/full/tensors.safetensors"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert [line.rpartition(": ")[2] for line in result[:4]] == ["lf"] * 4
    binary = ["git", "check-attr", "text", "--", "a.npz", "a.npy", "a.safetensors", "a.png"]
    result = subprocess.run(binary, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.rpartition(": ")[2] for line in result] == ["unset"] * 4


def test_rows_beside_their_arrays(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(9))
    write_checksummed(tmp_path / "a.json", {"arrays": sha256_file(tmp_path / "a.npz")})
    crlf(tmp_path / "a.json")
    assert verify.lone_damage(tmp_path / "a.json") == []
    crlf(tmp_path / "a.npz")
    assert "a.npz is damaged" in verify.lone_damage(tmp_path / "a.json")[0]

"""Files are whole or absent, JSON has limits, a full disk is a sentence."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from userlib.errors import UserError
from userlib.files import (
    atomic_write,
    atomic_write_folder,
    cache_dir,
    check_file,
    check_folder,
    disk_errors,
    read_checksummed,
    read_json,
    remove_folder,
    sha256_bytes,
    sha256_file,
    sha256_known,
    write_checksummed,
    write_json,
)
from userlib.verify import write_manifest

text = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)


def saving(**files):
    """A writer of a stored folder with these files."""

    def write(part):
        for name, content in files.items():
            (part / name).write_text(content)
        write_manifest(part)

    return write


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_json_comes_back_as_it_went(value, tmp_path):
    file = tmp_path / "a.json"
    write_json(file, value, over=True)
    assert read_json(file) == value


def test_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("USERLIB_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("USERLIB_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "userlib"


def test_a_failed_writer_leaves_the_old_file_and_no_litter(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")

    def writer(part):
        part.write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        atomic_write(file, writer, over=True)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_folder_writer_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "run"
    atomic_write_folder(folder, saving(a="old"))

    def writer(part):
        (part / "a").write_text("new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        atomic_write_folder(folder, writer)
    assert (folder / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["run"]
    atomic_write_folder(folder, saving(a="new", b="more"))
    assert sorted(os.listdir(folder)) == ["a", "b", "manifest.json"]
    assert (folder / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_a_sentence(tmp_path, number):
    with (
        pytest.raises(UserError, match="No space left while writing .*USERLIB_CACHE"),
        disk_errors(tmp_path / "a"),
    ):
        raise OSError(number, os.strerror(number))


def test_a_read_only_folder_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"Cannot write .*Make .* writable"), disk_errors(tmp_path / "a"):
        raise OSError(errno.EROFS, "Read-only file system")
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match="cannot be written: Not a directory. Name another place .USERLIB_CACHE"
    ):
        atomic_write(tmp_path / "file" / "cache" / "a.json", lambda part: part.write_text("a"), over=True)
    with pytest.raises(FileExistsError), disk_errors(tmp_path / "a"):
        raise FileExistsError  # what is no matter of space or rights stays what it is


def test_a_real_limit_on_file_size_is_met_with_the_sentence(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from userlib.files import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "atomic_write(Path(sys.argv[1]), lambda part: part.write_bytes(b'x' * 5000))\n"
    )
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True)
    assert "UserError: No space left while writing" in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_removal_that_is_killed_leaves_nothing_of_that_name(tmp_path, monkeypatch):
    folder = tmp_path / "step-00000003"
    atomic_write_folder(folder, saving(a="old"))
    with monkeypatch.context() as dead:
        dead.setattr(shutil, "rmtree", lambda *_, **__: None)
        remove_folder(folder)
    assert not folder.exists()
    assert [path.name.endswith(".old") for path in tmp_path.iterdir()] == [True]
    remove_folder(folder)  # there is nothing to remove


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"a": 1', "not valid JSON.*line 1"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 10_000, "too many digits"),
        (b'{"a": {"lr": 1, "lr": 2}}', "the key 'lr' twice in one object"),
        (b"[" + b"1," * 600 + b"1]", "more than the 1,000"),
    ],
)
def test_bad_json_is_named(tmp_path, content, message):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    limit = 1000 if b"1,1" in content else 10**6
    with pytest.raises(UserError, match=message) as caught:
        read_json(file, limit=limit)
    assert str(file) in str(caught.value)


def test_a_byte_order_mark_before_json_is_no_fault(tmp_path):
    (tmp_path / "a.json").write_bytes(
        b'\xef\xbb\xbf{"training": {"batch_size": 8}}'
    )  # as Windows' editors write it
    assert read_json(tmp_path / "a.json") == {"training": {"batch_size": 8}}


@pytest.mark.parametrize("look", [check_folder, check_file, read_json])
def test_a_name_that_no_system_has_is_named(look, tmp_path):
    with pytest.raises(UserError, match=r"a\\x00b.*no name holds a zero character"):
        look(tmp_path / "a\0b")


def test_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        read_json(tmp_path / "no.json")


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_sums_of_parts_tell_where_one_part_ends():
    assert sha256_bytes("ab", "c") != sha256_bytes("a", "bc")
    assert sha256_bytes("ab", b"c") == sha256_bytes(b"ab", "c")


def test_a_known_sum_follows_the_file(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("userlib.files.SETTLED_NS", -(10**18))  # remember it at once
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    first = sha256_known(file)
    assert first == sha256_file(file)
    assert len(list((cache / "sums").iterdir())) == 1
    os.utime(file, ns=(5, 5))
    file.write_bytes(b"two")
    assert sha256_known(file) == sha256_file(file) != first
    next((cache / "sums").iterdir()).write_text("damaged")
    assert sha256_known(file) == sha256_file(file)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_known_sum_is_not_that_of_another_file_with_the_same_size_and_time(
    tmp_path, cache, monkeypatch, replaced
):
    """`rsync -t` and `tar x` put another file in its place, `cp -p` writes into it; all keep the time of change."""
    monkeypatch.setattr("userlib.files.SETTLED_NS", -(10**18))
    file, other = tmp_path / "a.bin", tmp_path / "b.bin"
    file.write_bytes(b"one")
    first, before = sha256_known(file), file.stat()
    assert list((cache / "sums").iterdir())
    time.sleep(0.02)  # beyond a tick of the file system's clock
    changed = other if replaced else file
    changed.write_bytes(b"two")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    if replaced:
        os.replace(other, file)
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert sha256_known(file) == sha256_file(file) != first


def test_the_sum_of_a_file_that_just_changed_is_not_remembered(tmp_path, cache, monkeypatch):
    """Two changes within one tick of the file system's clock look alike."""
    file, now = tmp_path / "a.bin", time.time_ns()
    file.write_bytes(b"one")
    monkeypatch.setattr("userlib.files.time.time_ns", lambda: now)
    first = sha256_known(file)
    assert not (cache / "sums").exists()
    monkeypatch.setattr("userlib.files.time.time_ns", lambda: now + 10**12)
    sha256_known(file)
    monkeypatch.setattr("userlib.files.sha256_file", None)
    assert sha256_known(file) == first


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.dictionaries(text.filter(lambda key: key not in ("format", "seal")), values, max_size=4))
def test_a_checksummed_object_comes_back_as_it_went(value, tmp_path):
    file = tmp_path / "a.json"
    write_checksummed(file, value)
    assert read_checksummed(file, "") == value


def test_every_flipped_bit_of_a_checksummed_file_is_found(tmp_path):
    file = tmp_path / "a.json"
    write_checksummed(
        file, {"rate": 1e-05, "name": "Dämmerung", "rows": [1, 2.5, None], "deep": {"seal": "x"}}
    )
    content = file.read_bytes()
    for at in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            file.write_bytes(changed)
            with pytest.raises(UserError, match=r"a\.json.*Make it again\.$"):
                read_checksummed(file, "Make it again.")


def test_older_files_had_no_checksum_and_newer_ones_are_refused_by_name(tmp_path):
    file = tmp_path / "a.json"
    for older in ({"a": 1}, {"format": 1, "a": 1}):
        write_json(file, older, over=True)
        assert read_checksummed(file, "") == {"a": 1}
    write_json(file, {"format": 3, "a": 1})
    with pytest.raises(UserError, match="has format 3 and this version reads 1 and 2.*newer"):
        read_checksummed(file, "")
    file.write_bytes(b'{"format": 2, "a": NaN, "seal": "0"}')
    with pytest.raises(UserError, match="is damaged"):
        read_checksummed(file, "")


LATE = "import resource; from pathlib import Path; import sys\nfrom userlib.files import atomic_write\n{imports}\n"
LATE += "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
LATE += "atomic_write(Path(sys.argv[1]), lambda part: {write})\n"


@pytest.mark.parametrize(
    "imports, write",
    [
        ("import numpy as np", "np.save(open(part, 'wb'), np.ones(5000))"),
        ("import torch; from safetensors.torch import save_file", "save_file({'a': torch.ones(5000)}, part)"),
    ],
    ids=["numpy", "safetensors"],
)
def test_libraries_that_tell_a_full_disk_in_words_are_understood(tmp_path, imports, write):
    code = LATE.format(imports=imports, write=write)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True)
    assert "UserError: No space left while writing" in done.stderr
    assert os.listdir(tmp_path) == []

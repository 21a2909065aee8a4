"""The doctor: a sound machine passes, faults come with remedies, nothing damaged on disk goes unseen."""

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from userlib import doctor, verify
from userlib.files import sha256_file, write_checksummed, write_json

ROOT = Path(__file__).resolve().parent.parent


def make_stored(folder: Path, *, one: bool = False) -> Path:
    """A stored folder as checkpoints write it, or with one checksum as cached arrays do."""
    folder.mkdir(parents=True)
    np.save(folder / "array.npy", np.arange(1000))
    total = sha256_file(folder / "array.npy")
    write_json(folder / "manifest.json", {"sha256": total if one else {"array.npy": total}})
    return folder


def linked(folder: Path) -> None:
    """The same content, in a file elsewhere."""
    (folder / "array.npy").rename(folder.parent / "elsewhere.npy")
    (folder / "array.npy").symlink_to(folder.parent / "elsewhere.npy")


def flip_a_bit(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def only(checks):
    """The one check of a list."""
    (check,) = checks
    return check


def test_the_report_names_what_a_bug_report_needs(cache, capsys, monkeypatch):
    monkeypatch.delenv("USERLIB_PHOTOS", raising=False)
    doctor.main(verify=False, json=False)
    lines = capsys.readouterr().out.splitlines()
    for name in ("Python", "machine", "memory", "cache", "packages", "torch", "assets", "Chromium", "photos"):
        assert sum(line.split("] ")[-1].strip().startswith(f"{name}:") for line in lines) == 1, name
    assert all(line.startswith(("[ok]", "[skip]", "[fail]", "       -> ")) for line in lines[:-2])
    assert lines[-1].endswith("failed")


def test_json_says_the_same_as_the_lines(cache, capsys):
    code = doctor.main(verify=False, json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["fail"] == sum(check["state"] == "fail" for check in report["checks"])
    assert code == (1 if report["fail"] else 0)
    assert all(check["remedy"] for check in report["checks"] if check["state"] != "ok")


@pytest.mark.parametrize("state, code", [("ok", 0), ("skip", 0), ("fail", 1)])
def test_the_exit_code_is_that_of_the_worst_line(monkeypatch, state, code, capsys):
    monkeypatch.setattr(doctor, "all_checks", lambda verify: iter([doctor.Check("x", state, "y")]))
    assert doctor.main(verify=False, json=False) == code


def test_every_declared_package_is_looked_at():
    result = ", ".join(check.detail for check in doctor.check_packages())
    pyproject = doctor.tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in pyproject["dependencies"]:
        assert f"{Requirement(line).name} " in result


def test_a_package_below_its_bound_is_named(monkeypatch):
    version = doctor.metadata.version
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.0" if name == "torch" else version(name))
    bad = only([check for check in doctor.check_packages() if check.state == "fail"])
    assert bad.name == "torch"
    assert bad.detail == "1.0, but >=2.9 is needed"
    assert bad.remedy == 'pip install "torch>=2.9"'


@pytest.mark.parametrize("missing, state", [("timm", "fail"), ("voila", "skip")])
def test_a_missing_package_fails_unless_it_is_an_extra(monkeypatch, missing, state):
    version = doctor.metadata.version

    def without(name):
        if name == missing:
            raise doctor.metadata.PackageNotFoundError(name)
        return "9" if name == "pillow-heif" else version(name)  # of the photos extra, which need not be here

    monkeypatch.setattr(doctor.metadata, "version", without)
    # of an extra that is not installed here there is one, too
    bad = only(
        [check for check in doctor.check_packages() if check.state != "ok" and missing in check.detail]
    )
    assert (bad.state, bad.detail) == (state, f"missing {missing}")
    assert bad.remedy.startswith("pip install -e")


def test_an_installation_away_from_its_repository_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    assert only(doctor.check_packages()).state == "fail"
    assert doctor.check_assets().state == "fail"


INSTALLED = """Metadata-Version: 2.4
Name: userlib
Version: 0.1.0
Requires-Dist: torch>=2.9
Requires-Dist: open_clip_torch<5,>=3
Requires-Dist: nowhere-to-be-had>=1
Provides-Extra: ann
Requires-Dist: faiss-cpu>=1.9; extra == "ann"
Provides-Extra: app
"""


def test_an_installation_without_its_repository_is_looked_at_all_the_same(monkeypatch, tmp_path):
    """The packages that it declares are in its metadata; what is missing then belongs to the course alone."""
    (tmp_path / "userlib-0.1.0.dist-info").mkdir()
    (tmp_path / "userlib-0.1.0.dist-info" / "METADATA").write_text(INSTALLED)
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    assert doctor.declared() == {
        "": ["torch>=2.9", "open_clip_torch<5,>=3", "nowhere-to-be-had>=1"],
        "ann": ["faiss-cpu>=1.9"],
        "app": [],
    }
    source, missing, *rest = doctor.check_packages()
    assert (source.state, source.name) == ("skip", "source") and "git clone" in source.remedy
    assert (missing.state, missing.remedy) == ("fail", "pip install nowhere-to-be-had")
    assert [check.state for check in rest] == ["ok", "ok"] and "torch " in rest[0].detail
    assert doctor.check_assets().remedy == doctor.REINSTALL
    make_stored(tmp_path / "userlib/assets/clip-mini")
    assert doctor.check_assets().state == "ok"


def test_a_clone_without_its_assets_fails(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    check = doctor.check_assets()
    assert (check.state, check.remedy) == ("fail", "fetch them again: git checkout -- assets")


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("USERLIB_CACHE", str(blocked / "cache"))
    check = doctor.check_cache()
    assert check.state == "fail"
    assert "USERLIB_CACHE" in check.remedy


def test_a_full_disk_and_little_memory_are_named(monkeypatch, cache):
    class Usage:
        free = total = available = 2**20

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage)
    monkeypatch.setattr("psutil.virtual_memory", lambda: Usage)
    assert doctor.check_cache().state == "fail"
    assert doctor.check_memory().state == "fail"


def test_photos_are_optional_but_not_misnamed(monkeypatch, tmp_path):
    monkeypatch.delenv("USERLIB_PHOTOS", raising=False)
    assert doctor.check_photos().state == "skip"
    monkeypatch.setenv("USERLIB_PHOTOS", str(tmp_path))
    assert doctor.check_photos().state == "ok"
    monkeypatch.setenv("USERLIB_PHOTOS", str(tmp_path / "gone"))
    assert doctor.check_photos().state == "fail"


def test_a_browser_is_found_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "BROWSER_PATHS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.chromium() is None
    assert doctor.check_browser().state == "skip"
    name = "chromium.exe" if os.name == "nt" else "chromium"
    (tmp_path / name).touch(mode=0o755)
    assert doctor.chromium() == str(tmp_path / name)


def test_a_damaged_asset_is_named(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    make_stored(tmp_path / "assets/clip-mini")
    assert doctor.check_assets().state == "ok"
    flip_a_bit(tmp_path / "assets/clip-mini/array.npy", 500)
    check = doctor.check_assets()
    assert check.state == "fail"
    assert "clip-mini: array.npy is damaged" in check.detail


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("at", [0, 100, -1])
def test_verify_finds_a_flipped_bit_and_says_what_to_delete(cache, tmp_path, monkeypatch, one, at):
    monkeypatch.chdir(tmp_path)
    good, bad = make_stored(cache / "tokens/good", one=one), make_stored(cache / "tokens/bad", one=one)
    assert [check.state for check in doctor.check_stored((cache,))] == ["ok"]
    flip_a_bit(bad / "array.npy", at)
    fail, summary = doctor.check_stored((cache,))
    assert (fail.name, fail.state) == (str(bad), "fail")
    assert fail.remedy.startswith(f"delete {bad}")
    assert summary.detail.startswith("1 folders")
    assert verify.damage(good) == []


@pytest.mark.parametrize(
    "spoil, word",
    [
        (lambda folder: (folder / "array.npy").unlink(), "array.npy is missing"),
        (linked, "array.npy is missing"),  # the content behind a link may change or go
        (lambda folder: (folder / "manifest.json").write_text("{"), "not valid JSON"),
        (lambda folder: write_json(folder / "manifest.json", {}, over=True), "lists no checksums"),
        (lambda folder: write_json(folder / "manifest.json", [1], over=True), "holds no JSON object"),
        (
            lambda folder: write_json(folder / "manifest.json", {"sha256": {"../x": "0"}}, over=True),
            "no plain file name",
        ),
    ],
)
def test_a_folder_that_was_tampered_with_is_named(tmp_path, spoil, word):
    folder = make_stored(tmp_path / "x")
    spoil(folder)
    assert word in only(verify.damage(folder))


@pytest.mark.parametrize("name, word", [("a.partial", "which resumes"), (".step-1.ab12.part", "delete it")])
def test_what_a_dead_process_left_is_shown_with_what_to_do(tmp_path, name, word):
    make_stored(tmp_path / name / "inside")
    check, summary = doctor.check_stored((tmp_path,))
    assert check.state == "skip"
    assert word in check.remedy
    assert summary.detail.startswith("0 folders")


def test_verify_sees_checkpoints_and_arrays_of_this_library(tmp_path):
    """The formats belong to other modules; this holds the doctor to them."""
    import torch

    from userlib.checkpoints import write_checkpoint
    from userlib.data.store import ArrayWriter

    write_checkpoint(tmp_path / "run/step-00000001", {"w": torch.ones(3)}, {"config": {"a": 1}})
    writer = ArrayWriter(tmp_path / "tokens", (2, 3), np.dtype(np.float32), {})
    writer.write(np.ones((2, 3), np.float32))
    writer.finish()
    result = {folder.name: verify.damage(folder) for folder in verify.folders(tmp_path)}
    assert result == {"step-00000001": [], "tokens": []}
    flip_a_bit(tmp_path / "run/step-00000001/config.json", 1)
    flip_a_bit(tmp_path / "tokens/array.npy", -1)
    assert all(len(verify.damage(folder)) == 1 for folder in verify.folders(tmp_path))


def test_verify_sees_runs_and_results_of_this_library(tmp_path):
    """Files that lie alone: a run's pointer, a result, a row of a study with its arrays."""
    from userlab.ablation.rows import write_row

    write_checksummed(tmp_path / "run" / "run.json", {"last": "step-00000003"})
    write_checksummed(tmp_path / "run" / "result.json", {"rsum": 1.5})
    write_row(tmp_path / "study" / "sge-0.json", {"seed": 0}, {"ranks": np.arange(5)})
    write_json(tmp_path / "study" / "mine.json", {"notes": "of no format"})
    assert [check.detail for check in doctor.check_stored((tmp_path,))] == [
        "0 folders and 3 files are as they were written"
    ]
    for name, word in [
        ("run/run.json", "Write the names of the newest"),
        ("run/result.json", "delete"),
        ("study/sge-0.json", "delete"),
        ("study/sge-0.npz", "delete"),
    ]:
        content = (tmp_path / name).read_bytes()
        for at in (3, len(content) // 2, len(content) - 70):
            flip_a_bit(tmp_path / name, at)
            fail, _ = doctor.check_stored((tmp_path,))
            assert fail.state == "fail" and word in fail.remedy, (name, at)
            assert Path(name).name in f"{fail.name} {fail.detail}"
            (tmp_path / name).write_bytes(content)


CHECKS = [name for name in vars(doctor) if name.startswith("check_") and name not in ("check_stored",)]


def failing(name: str, error: Exception):
    def fail():
        raise error

    fail.__name__ = name
    return fail


@pytest.mark.parametrize(
    "error, words",
    [
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
        (OSError(5, "Input/output error"), "OSError: [Errno 5] Input/output error"),
        (KeyError(), "KeyError: no reason was given"),
        (ModuleNotFoundError("x", name="psutil"), "the package psutil is missing"),
    ],
)
def test_a_check_that_cannot_look_stops_no_other(monkeypatch, capsys, error, words):
    for name in CHECKS:
        monkeypatch.setattr(doctor, name, failing(name, error))
    assert doctor.main(verify=True, json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("[fail]")]
    assert sorted(told) == sorted(f"[fail] {name[6:]}: could not be checked: {words}" for name in CHECKS)
    assert lines[-1] == f"0 ok, 0 skipped, {len(CHECKS)} failed"
    assert sum("pip install -e ." in line for line in lines) == len(CHECKS)


@pytest.mark.parametrize("missing", ["psutil", "packaging", "torch"])
def test_a_package_that_the_doctor_uses_may_be_missing(monkeypatch, cache, missing):
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    result = [check for check in doctor.all_checks() if "could not be checked" in check.detail]
    names = {"psutil": ["memory"], "packaging": ["packages"], "torch": ["torch", "machine"]}
    assert [check.name for check in result] == names[missing]
    assert all(missing in check.detail and "pip install -e ." in check.remedy for check in result)


def test_the_doctor_is_reached_without_any_other_package():
    """Whatever is broken, the command must start: it imports nothing beyond the standard library and ours."""
    import ast

    seen, todo = set(), ["userlib.__main__", "userlib.doctor"]
    while todo:
        name = todo.pop()
        seen.add(name)
        path = ROOT / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.ImportFrom):
                module = str(node.module)
                inner = [f"{module}.{alias.name}" for alias in node.names]
                names = [
                    module,
                    *(n for n in inner if (ROOT / n.replace(".", "/")).with_suffix(".py").is_file()),
                ]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for other in names:
                top = other.partition(".")[0]
                assert top == "userlib" or top in sys.stdlib_module_names, f"{name} imports {other}"
                parts = other.split(".")
                parents = [".".join(parts[: i + 1]) for i in range(len(parts))] if top == "userlib" else []
                todo += [one for one in parents if one not in seen and one not in todo]


def test_no_home_is_told_with_its_remedy(monkeypatch, capsys):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("USERLIB_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    check = doctor.check_cache()
    assert check.state == "fail" and "no home folder" in check.detail
    assert "set USERLIB_CACHE" in check.remedy
    (line,) = doctor.alone(doctor.check_all_stored)
    assert line.state == "fail" and "Set USERLIB_CACHE" in line.detail


def test_a_disk_that_is_full_is_not_called_read_only(monkeypatch, cache):
    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", full)
    check = doctor.check_cache()
    assert "No space left" in check.detail and check.remedy.startswith("free 2 GB")


def plain(monkeypatch):
    """Surroundings that change nothing."""
    for name in (
        "PYTHONPATH",
        "PYTHONHOME",
        "ALL_PROXY",
        "all_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "http_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "ROOT", Path("/clone"))
    monkeypatch.setattr("userlib.data.network.importlib.util.find_spec", lambda name: None)


@pytest.mark.parametrize(
    "name, value",
    [
        ("PYTHONPATH", "/opt/ros"),
        ("PYTHONHOME", "/usr"),
        ("ALL_PROXY", "socks5://x:1"),
        ("https_proxy", "SOCKS4://x"),
    ],
)
def test_what_changes_what_runs_is_told_and_nothing_else(monkeypatch, name, value):
    plain(monkeypatch)
    assert list(doctor.check_surroundings()) == []
    monkeypatch.setenv("http_proxy", "http://proxy:80")
    monkeypatch.setenv(name, value)
    check = only(doctor.check_surroundings())
    assert (check.name, check.state) == (name, "skip") and check.remedy


@pytest.mark.parametrize("folder", ["/home/Übung", "/it's", '/say "x"', f"/a{os.pathsep}b"])
def test_a_path_that_tools_stumble_over_is_told(monkeypatch, folder):
    plain(monkeypatch)
    monkeypatch.setattr(doctor, "ROOT", Path(folder))
    assert only(doctor.check_surroundings()).name == "path"


def test_no_place_for_temporary_files_is_told(monkeypatch):
    plain(monkeypatch)

    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", nowhere)
    check = only(doctor.check_surroundings())
    assert (
        check.state == "fail" and "No usable temporary directory" in check.detail and "TMPDIR" in check.remedy
    )


def test_a_terminal_without_the_letters_of_a_caption_gets_the_rest(monkeypatch):
    import io

    from userlib.__main__ import main

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(doctor, "all_checks", lambda verify: iter([doctor.Check("cache", "ok", "/tmp/数")]))
    assert main(["doctor"]) == 0
    sys.stdout.flush()
    assert raw.getvalue().startswith(b"[ok]   cache: /tmp/\\u6570\n")

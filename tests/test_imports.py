"""No circle among the modules of any package: imports within functions and for types alone count too."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "userlib": ROOT,
    "userscenes": ROOT,
    "userlab": ROOT,
    "usercourse": ROOT / "notebooks",
}


def modules(package: str, folder: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module of a package below a folder."""
    result = {}
    for file in sorted((folder / package).rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        result[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return result


def imported(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    """Which of the known modules a module imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".") if file.stem == "__init__" else name.split(".")[:-1]
            above = above[: len(above) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            inner = {alias.name: f"{origin}.{alias.name}" for alias in node.names}
            names |= {inner[one] if inner[one] in known else origin for one in inner}
    return (names & set(known)) - {name}


def circle(package: str, folder: Path) -> list[str]:
    """The modules of one circle, from the first to itself; empty where there is none."""
    known = modules(package, folder)
    graph = {name: imported(name, file, known) for name, file in known.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_one_that_imports_it(package):
    assert len(modules(package, PACKAGES[package])) > 10
    assert circle(package, PACKAGES[package]) == []


@pytest.mark.parametrize(
    "line",
    [
        "import thing.deep.b",
        "from thing.deep import b",
        "from thing.deep.b import x",
        "from .deep import b",
        "from .deep.b import x",
        "def f():\n    from thing.deep.b import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from thing.deep.b import x",
    ],
)
def test_a_circle_is_found_wherever_its_imports_stand(line, tmp_path):
    (tmp_path / "thing" / "deep").mkdir(parents=True)
    for name in ("__init__.py", "deep/__init__.py"):
        (tmp_path / "thing" / name).touch()
    (tmp_path / "thing/a.py").write_text(line)
    (tmp_path / "thing/deep/b.py").write_text("x = 1\n")
    assert circle("thing", tmp_path) == []
    (tmp_path / "thing/deep/b.py").write_text("from ..a import f\n")
    assert set(circle("thing", tmp_path)) == {"thing.a", "thing.deep.b"}

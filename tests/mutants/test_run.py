"""The judge of the faults is judged on a tiny tree: what it must pass, and what it must not let through."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
TEST = "tests/test_add.py::test_add"


@pytest.fixture
def tree(tmp_path):
    """A package with one function and its tests; some_patch(...) writes a fault."""
    root = tmp_path / "root"
    for folder in ("userlib", "tests/mutants"):
        (root / folder).mkdir(parents=True)
    (root / "userlib/__init__.py").write_text("def add(a, b):\n    return a + b\n", encoding="utf-8")
    (root / "tests/test_add.py").write_text(
        "import pytest\nfrom userlib import add\n\n"
        "@pytest.mark.parametrize('a', [0, 1])\ndef test_add(a):\n    assert add(a, 2) == a + 2\n\n"
        "def test_blind():\n    assert add(2, 2) == 4\n\n"
        "def test_broken():\n    assert add(2, 2) == 5\n",
        encoding="utf-8",
    )
    return root


def plant(tree: Path, name: str, *kills: str, old: str = "a + b", new: str = "a * b") -> None:
    lines = [f"# kills: {test}" for test in kills]
    diff = ["--- a/userlib/__init__.py", "+++ b/userlib/__init__.py", "@@ -1,2 +1,2 @@", " def add(a, b):"]
    patch = "\n".join([*lines, *diff, f"-    return {old}", f"+    return {new}"]) + "\n"
    (tree / f"tests/mutants/{name}.patch").write_text(patch, encoding="utf-8")


def run(tree: Path, *options: str) -> tuple[int, list[str]]:
    command = [sys.executable, str(RUN), "--root", str(tree), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_verdicts(tree):
    """One run over all kinds, because each run starts several interpreters."""
    plant(tree, "a_killed", TEST)
    plant(tree, "b_survives", TEST, "tests/test_add.py::test_blind")
    plant(tree, "c_broken_before", "tests/test_add.py::test_broken")
    plant(tree, "d_no_such_test", "tests/test_add.py::test_gone")
    plant(tree, "e_does_not_apply", TEST, old="a - b")
    plant(tree, "f_names_no_test")
    plant(tree, "g_does_not_parse", TEST, new="a +")
    code, lines = run(tree)
    assert code == 1
    assert lines[-1].startswith("1 passed, 6 failed")
    killed, survives, broken, gone, stale, nameless, syntax = lines[:-1]
    assert killed == "killed a_killed"
    assert survives == "FAILED b_survives: SURVIVED: tests/test_add.py::test_blind did not fail"
    assert "test_broken is failed on the clean tree" in broken
    assert "test_gone is missing on the clean tree" in gone
    assert "does not apply" in stale
    assert "has no line" in nameless
    assert "pytest could not run" in syntax or "userlib is imported from" in syntax
    assert (tree / "userlib/__init__.py").read_text(encoding="utf-8").endswith("a + b\n")


def test_a_sample_is_drawn_from_all(tree):
    for name in "abcd":
        plant(tree, name, TEST)
    code, lines = run(tree, "--sample", "2", "--seed", "3")
    assert code == 0
    assert len(lines) == 3
    assert lines[-1].startswith("2 passed, 0 failed")


def test_no_patch_is_no_success(tree):
    code, lines = run(tree, "not-there")
    assert code == 1
    assert lines == ["0 passed, 1 failed: no such patch"]

"""Sources of the notebooks as code: what they define, and their folded solutions; and a look at every figure of a
test.
"""

import ast
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.usercourse.legible import small_words
from usercourse import plots

SOURCES = Path(__file__).resolve().parents[2] / "notebooks" / "src"
SOLUTION = re.compile(r"<!-- solution: (\w+) -->\s*```python\n(.*?)```", re.DOTALL)
CHECK = re.compile(r"^check\(\"(\w+)\"", re.MULTILINE)
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


@pytest.fixture(autouse=True)
def every_figure_is_legible(monkeypatch):
    """No figure that a test makes by the course's functions has small words, or is wider than a narrow window shows."""
    made = []

    class Kept(plots.Figure):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(plots, "Figure", Kept)
    yield made
    for figure in made:
        assert figure.get_figwidth() <= plots.WIDEST + 1e-6
        assert not small_words(figure)


def source(name: str) -> str:
    return (SOURCES / f"{name}.py").read_text(encoding="utf-8")


def words(name: str) -> str:
    """The markdown of a notebook as its reader has it, without the comment signs."""
    return re.sub(r"^# ?", "", source(name), flags=re.MULTILINE)


def definitions(name: str) -> dict:
    """The imports, functions and classes that a notebook's cells make, run without the rest."""
    tree = ast.parse(source(name))
    tree.body = [node for node in tree.body if isinstance(node, DEFINITIONS)]
    space: dict = {"__name__": f"notebook_{name}"}
    exec(compile(tree, f"{name}.py", "exec"), space)  # our own source
    return space


@pytest.fixture(scope="session")
def lift():
    """lift("01_recall") -> a namespace of what the notebook defines."""
    return cache(lambda name: SimpleNamespace(**definitions(name)))


def checks_of(name: str) -> list[str]:
    """The exercises that a notebook checks."""
    return CHECK.findall(source(name))


def solutions_of(name: str) -> dict[str, str]:
    """exercise -> the code of its folded solution."""
    return dict(SOLUTION.findall(words(name)))


def solve(name: str, exercise: str):
    """The answer that a folded solution defines: the function or the value named as the exercise."""
    space = definitions(name)
    exec(compile(solutions_of(name)[exercise], f"{name}: {exercise}", "exec"), space)
    return space[exercise]


@pytest.fixture
def notebooks():
    """What the tests of all notebooks ask of a source."""
    return SimpleNamespace(
        names=sorted(path.stem for path in SOURCES.glob("*.py")),
        source=source,
        words=words,
        checks_of=checks_of,
        solutions_of=solutions_of,
        solve=solve,
        definitions=definitions,
    )

"""Words that the browser tests wait for are words of the pages.

A browser test that waits for a reworded sentence fails after minutes; this one fails at once, and names the sentence.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("notebooks/usercourse", "userlib")


def awaited() -> list[tuple[str, str]]:
    """Each literal text of `see(page, TEXT)` in the browser tests, with its place."""
    found = []
    for file in sorted((ROOT / "tests" / "browser").glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "see":
                text = node.args[1]
                if isinstance(text, ast.Constant):
                    found.append((f"{file.name}:{node.lineno}", text.value))
    return found


@cache
def constants() -> str:
    """All strings of the pages' sources, pieces of formatted ones each by itself."""
    kept = []
    for folder in PAGES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    kept.append(node.value)
        kept += [file.read_text(encoding="utf-8") for file in sorted((ROOT / folder).rglob("*.js"))]
    return "\0".join(kept)


def test_there_are_such_words():
    assert len(awaited()) >= 8


@pytest.mark.parametrize("place,text", awaited(), ids=lambda value: value[:40])
def test_the_pages_say_it(place, text):
    """Without what the page fills in: numbers, quoted words, and the query after its name."""
    said = re.sub(r"^Query: .*", "Query: ", re.sub(r"^([\d,.]+|“.*”) ", "", text))
    assert said in constants(), f"{place} waits for {text!r}, which no page says"

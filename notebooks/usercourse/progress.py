"""Which exercises are solved: a table over all notebooks, kept in a small JSON file in the cache folder.

    from usercourse import progress

    progress.show()      # the table, which each check() updates
    progress.forget()    # clears it, for the next reader

An exercise that was solved once stays solved, even if a later answer is wrong. A missing or damaged file counts as
empty; where it cannot be written, the table lasts as long as the kernel.
"""

import html
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from usercourse.stored import entries, place
from userlib.errors import UserError
from userlib.files import write_json

NOTEBOOKS = Path(__file__).resolve().parents[1]
CHECK = re.compile(r"^check\(\s*[\"'](\w+)[\"']", re.MULTILINE)
MARKS = {"correct": ("✓", "solved"), "wrong": ("✗", "tried"), "": ("○", "open")}
COLOURS = {"correct": "#009E73", "wrong": "#D55E00", "": "#888888"}

_unwritten: dict[str, str] = {}  # states that could not be written, kept while the kernel runs


@dataclass(frozen=True)
class Chapter:
    """A notebook: its file's name without the suffix, its title, and its exercises in order."""

    name: str
    title: str
    exercises: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """The chapters, and the state of each exercise: "correct", "wrong", or none."""

    chapters: tuple[Chapter, ...]
    states: dict[str, str]

    def solved(self, chapter: Chapter) -> int:
        """The number of solved exercises of a chapter."""
        return sum(self.states.get(name) == "correct" for name in chapter.exercises)

    @property
    def sentence(self) -> str:
        """The progress in one line."""
        total = sum(len(one.exercises) for one in self.chapters)
        done = sum(self.solved(one) for one in self.chapters)
        after = next((one for one in self.chapters if self.solved(one) < len(one.exercises)), None)
        where = f" The next open one is in notebook {after.title}." if after and done else ""
        return f"Solved: {done} of {total} exercises.{where}"

    def __repr__(self) -> str:
        lines = [
            f"{one.title}: {self.solved(one)} of {len(one.exercises)} ("
            + ", ".join(f"{MARKS[self.states.get(name, '')][0]} {name}" for name in one.exercises)
            + ")"
            for one in self.chapters
        ]
        return "\n".join([self.sentence, *lines])

    def _repr_html_(self) -> str:
        rows = "".join(map(self._row, self.chapters))
        key = ", ".join(f"{mark} {words}" for mark, words in MARKS.values())
        return (
            f'<div style="max-width:54em"><p>{html.escape(self.sentence)} {key}.</p>'
            '<table style="text-align:left"><thead><tr><th style="text-align:left">notebook</th>'
            '<th style="text-align:left">solved</th><th style="text-align:left">exercises</th></tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )

    def _row(self, chapter: Chapter) -> str:
        marks = "".join(self._mark(name) for name in chapter.exercises)
        count = f"{self.solved(chapter)} of {len(chapter.exercises)}"
        return (
            f'<tr><td style="text-align:left"><a href="{html.escape(chapter.name)}.ipynb">'
            f'{html.escape(chapter.title)}</a></td><td style="text-align:left;white-space:nowrap">{count}</td>'
            f'<td style="text-align:left">{marks}</td></tr>'
        )

    def _mark(self, name: str) -> str:
        state = self.states.get(name, "")
        mark, words = MARKS[state]
        return (
            f'<span title="{words}" style="white-space:nowrap;margin-right:1em">'
            f'<span style="color:{COLOURS[state]};font-weight:bold" aria-label="{words}">{mark}</span> '
            f"{html.escape(name)}</span> "
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """The metadata lets notebooks/build.py store an empty table, whatever was solved on this machine."""
        empty = Progress(self.chapters, {})
        return _bundle(self), {"unread": _bundle(empty)}


def _bundle(page: Progress) -> dict[str, str]:
    return {"text/plain": repr(page), "text/html": page._repr_html_()}


def store() -> Path:
    """The file of the progress."""
    return place("progress")


def states() -> dict[str, str]:
    """The state of every exercise that was checked; none where the file is missing or damaged."""
    written = entries(store, lambda state: state in ("correct", "wrong"))
    return written | {name: state for name, state in _unwritten.items() if written.get(name) != "correct"}


def record(name: str, state: str) -> None:
    """Record the verdict on an exercise; a solved one stays solved. Never raises, so that no check fails because of
    it.
    """
    before = states()
    if state not in ("correct", "wrong") or before.get(name) in ("correct", state):
        return
    try:
        write_json(store(), before | {name: state}, over=True)
    except (UserError, OSError):  # a folder that cannot be written
        _unwritten[name] = state


def forget() -> None:
    """Forget the state of all exercises."""
    _unwritten.clear()
    with suppress(UserError, OSError):
        store().unlink(missing_ok=True)


def show() -> Progress:
    """The present table."""
    return Progress(chapters(), states())


@cache
def chapters(folder: Path = NOTEBOOKS) -> tuple[Chapter, ...]:
    """The notebooks that have exercises, in order; one that cannot be read is left out."""
    result = []
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
            heading = re.search(r"^# (.+)$", "".join(cells[0]["source"]), re.MULTILINE)
            if names := tuple(dict.fromkeys(CHECK.findall(code))):
                result.append(Chapter(path.stem, heading[1] if heading else path.stem, names))
    return tuple(result)

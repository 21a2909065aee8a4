"""Tables in a text between two markers, made from the stored rows, so that no value is typed by hand.

    <!-- results of world -->
    ...
    <!-- end of results -->

`ledger` in place of a study stands for the table of claims. Text before the first marker on its line (such as "# " in a
notebook's source) is put before each line.
"""

import re
from collections.abc import Callable
from pathlib import Path

from userlib.errors import UserError
from userlib.files import atomic_write

START = re.compile(r"^(?P<prefix>.*?)<!-- results of (?P<study>[a-z+-]+) -->[ \t]*$", re.MULTILINE)
END = "<!-- end of results -->"


def studies_in(text: str) -> list[str]:
    """The studies that a text has markers for, in order."""
    return [match["study"] for match in START.finditer(text)]


def filled(text: str, tables_of: Callable[[str], str]) -> str:
    """The text with the tables of each study between its markers. Raises UserError for a marker without an end."""
    parts, place = [], 0
    for match in START.finditer(text):
        end = text.find(END, match.end())
        following = START.search(text, match.end())
        if end < 0 or (following is not None and following.start() < end):
            raise UserError(f"the marker of {match['study']!r} has no {END!r} after it; add that line.")
        prefix = match["prefix"]
        lines = tables_of(match["study"]).splitlines()
        block = "\n".join((prefix + line).rstrip() for line in ["", *lines, ""])
        parts += [text[place : match.end()], "\n", block, "\n", prefix, END]
        place = end + len(END)
    return "".join([*parts, text[place:]])


def fill(file: Path, tables_of: Callable[[str], str]) -> bool:
    """Applies `filled` to a file; returns whether the file changed. Raises UserError for a file without markers."""
    if not file.is_file():
        raise UserError(
            f"There is no file {file}. Start in the folder of the repository, or name a file with markers."
        )
    before = file.read_text(encoding="utf-8")
    if not studies_in(before):
        raise UserError(
            f"{file} has no place for tables; put the lines '<!-- results of world -->' and '{END}' into it."
        )
    after = filled(before, tables_of)
    if after != before:
        atomic_write(file, lambda part: part.write_bytes(after.encode("utf-8")), over=True)
    return after != before

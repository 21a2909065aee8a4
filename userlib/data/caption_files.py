"""Files of captions among photos: captions.csv, captions.tsv, captions.jsonl, captions.txt, and the metadata.csv and
metadata.jsonl of the hub's image folders.

Delimited text has a first line that names its columns, and commas, semicolons, tabs or | between them. captions.txt may
also be Flickr8k's `name.jpg#0<TAB>caption`. JSON Lines have one object per line. Text is UTF-8, or has a byte order
mark. Raises `UserError` naming the line for whatever does not fit.
"""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from userlib.data.splits import ODD, check_split_column, near_captions
from userlib.errors import UserError
from userlib.files import shown

NAMES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.txt", "metadata.csv", "metadata.jsonl")
CAPTIONS = frozenset(name for name in NAMES if name.startswith("captions."))
FILE = ("filename", "file_name", "image", "image_name")
CAPTION = ("caption", "text", "comment")
MARKS = {  # byte order marks; UTF-32's begins with UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
FLICKR8K = re.compile(r"([^\t]+)#\d+\t(.*?)\r?")
COLUMNS = "Its first line must name the columns: filename,caption and, where wanted, split"


class NoCaptions(UserError):
    """The file can be read, but has no columns for an image and its caption."""


@dataclass(frozen=True)
class Entry:
    """One caption: the line where it begins, the image as the file names it, and its split or ""."""

    line: int
    file: str
    caption: str
    split: str


class _Misfit(ValueError):
    """What is wrong with one row or with the names of the columns."""


class _Missing(_Misfit):
    """The image or its caption is not among the columns."""


def read_captions(source: Path) -> list[Entry]:
    """The captions in `source`, in its order."""
    text = text_of(source)
    kind = source.suffix.lower()
    if kind == ".jsonl":
        entries = _jsonl(source, text)
    elif kind == ".txt" and FLICKR8K.fullmatch(text.lstrip("\r\n").split("\n", 1)[0]):
        entries = _flickr8k(source, text)
    else:
        entries = _delimited(source, text)
    return [_checked(source, entry) for entry in entries]


def text_of(source: Path) -> str:
    """The text of a file, as its byte order mark says. Raises UserError with the line that is no such text."""
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UserError(f"{shown(source)} cannot be read: {error.strerror}. Make it readable.") from error
    coding = next((coding for mark, coding in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        said = "UTF-8" if coding.startswith("utf-8") else coding.upper()
        raise UserError(
            f"{shown(source)} is not {said} text: byte 0x{data[error.start]:02X} in line {line} (byte {error.start}). "
            'Save it as UTF-8, which Excel calls "CSV UTF-8".'
        ) from error
    if (at := text.find("\0")) >= 0:
        raise UserError(
            f"{shown(source)} is not UTF-8 text: line {text.count(chr(10), 0, at) + 1} holds a zero byte, as UTF-16 "
            "without its mark does. Save it as UTF-8."
        )
    return text


def _checked(source: Path, entry: Entry) -> Entry:
    """The entry with line breaks turned into blanks. Raises UserError for a name or caption that is empty or holds
    invalid characters.
    """
    file, caption, split = (
        " ".join(filter(None, (part.strip().strip("\ufeff").strip() for part in text.splitlines())))
        for text in (entry.file, entry.caption, entry.split)
    )
    where = f"Line {entry.line} of {shown(source)}"
    for what, value in (("filename", file), ("caption", caption)):
        if ODD.search(value):
            raise UserError(f"{where} has a {what} with an invalid character: {value!a}. Write it again.")
        if not any(letter.isprintable() and not letter.isspace() for letter in value):
            raise UserError(f"{where} has an empty {what}. Fill it in, or remove the line.")
    return Entry(entry.line, file, caption, split)


def _delimited(source: Path, text: str) -> Iterator[Entry]:
    marked = re.match(r"\s*\"?sep=(.)\"?[ \t]*(?:\r\n|\r|\n)", text)  # Excel's own first line
    skipped = 0 if marked is None else text.count("\n", 0, marked.end())
    body = text if marked is None else text[marked.end() :]
    delimiter = marked[1] if marked else _delimiter(body)
    rows = csv.reader(io.StringIO(body, newline=""), strict=True, delimiter=delimiter, skipinitialspace=True)
    line, columns = skipped + 1, list[str]()
    try:
        for row in rows:
            begun, line = line, skipped + rows.line_num + 1
            if not any(cell.strip() for cell in row):
                continue  # an empty line, or the row of nothing but commas that spreadsheets leave
            if not columns:
                columns = [name.strip(" \t\ufeff").lower() for name in row]
                _check_twice([name for name in columns if name])
                file, caption = _one(columns, FILE), _caption_of(columns, CAPTION)
                continue
            if len(row) != len(columns):
                raise UserError(_misfit(source, begun, row, columns, delimiter))
            cells = dict(zip(columns, row, strict=True))
            check_split_column(cells, f"Line {begun} of {shown(source)}")
            edge = re.escape(delimiter)
            if swallowed := re.search(rf"[\r\n][^\r\n{edge}]*\.\w{{3,4}}\"?{edge}", cells[caption]):
                raise UserError(
                    f"The caption in line {begun} of {shown(source)} runs into what looks like another row: "
                    f"{swallowed[0].strip()!r}. Close its quote where the caption ends."
                )
            yield Entry(begun, cells[file], cells[caption], cells.get("split", ""))
        if not columns:
            _one(columns, FILE)
    except _Misfit as error:
        raise (NoCaptions if isinstance(error, _Missing) else UserError)(
            f"{shown(source)} {error}. {COLUMNS}."
        ) from error
    except csv.Error as error:
        raise UserError(
            f"{shown(source)} is not valid CSV: {error} in the row that begins in line {line}. A quote that is opened "
            'must be closed; put captions with commas in quotes, and write a quote inside them twice ("").'
        ) from error


def _delimiter(text: str) -> str:
    """The character between the columns: the one that splits the first line into known names, else the one that the
    line has most of.
    """
    first = next((line for line in re.split(r"[\r\n]", text) if line.strip()), "")
    for delimiter in ",;\t|":
        names = {name.strip().strip('"').strip().lower() for name in first.split(delimiter)}
        if names & set(FILE) and names & set(CAPTION):
            return delimiter
    return max(",;\t|", key=first.count)


def _check_twice(names: Collection[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise _Misfit(f"has {name!r} twice; rename or remove one of them")


def _one(names: Collection[str], wanted: Sequence[str]) -> str:
    """The one of `wanted` that is among `names`. Raises _Misfit for none or several."""
    matches = [name for name in wanted if name in names]
    if not matches:
        raise _Missing(f"has no {wanted[0]!r} (it has {', '.join(map(repr, names))[:200] or 'nothing'})")
    if len(matches) > 1:
        raise _Misfit(f"has both {' and '.join(map(repr, matches))}; rename or remove one of them")
    return matches[0]


def _caption_of(names: Collection[str], wanted: Sequence[str]) -> str:
    """`_one` for captions. Raises _Misfit also for further columns of captions, which would be lost."""
    name = _one(names, wanted)
    if more := near_captions(names, name):
        raise _Misfit(
            f"has {' and '.join(map(repr, [name, *more]))[:200]}, of which only {name!r} is read; give each caption a "
            "row of its own, and rename or remove the columns that hold none"
        )
    return name


def _misfit(source: Path, line: int, row: Sequence[str], columns: Sequence[str], delimiter: str) -> str:
    said = "a tab" if delimiter == "\t" else f"'{delimiter}'"
    remedy = "write what is missing, or leave it empty between two delimiters"
    if len(row) > len(columns):
        remedy = f"put a caption that holds {said} in quotes: {delimiter.join([row[0], chr(34) + '...' + chr(34)])}"
    return (
        f"Line {line} of {shown(source)} has {len(row)} {'field' if len(row) == 1 else 'fields'}, and its first line "
        f"{len(columns)} ({', '.join(columns)}): {delimiter.join(row)[:120]!r}. Columns are separated by {said}; "
        f"{remedy}."
    )


def _flickr8k(source: Path, text: str) -> Iterator[Entry]:
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not line.strip():
            continue
        parts = FLICKR8K.fullmatch(line)
        if parts is None:
            raise UserError(
                f"Line {number} of {shown(source)} is not name.jpg#0<TAB>caption, as its first line is: "
                f"{line[:120]!r}. Correct it."
            )
        yield Entry(number, parts[1], parts[2], "")


def _jsonl(source: Path, text: str) -> Iterator[Entry]:
    read = 0
    for number, line in enumerate(text.split("\n"), start=1):  # a string may hold any other line break
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_row)
            file, captions, split = _fields(row)
        except (ValueError, RecursionError) as error:
            why = f"it {error}" if isinstance(error, _Misfit) else str(error)
            if isinstance(error, json.JSONDecodeError):
                why = f"{error.msg} (character {error.colno})"
            if number == 1 and line.lstrip().startswith("["):
                why += "; JSON Lines have one object per line, and no list around them"
            raise (NoCaptions if isinstance(error, _Missing) and not read else UserError)(
                f'Line {number} of {shown(source)} is not {{"filename": ..., "caption": ...}} or '
                f'{{..., "captions": [...]}}: {why}. Correct it.'
            ) from error
        check_split_column(row, f"Line {number} of {shown(source)}")
        read += 1
        for caption in captions:
            yield Entry(number, file, caption, split)


def _row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_twice([key for key, _ in pairs])
    return dict(pairs)


def _fields(row: Any) -> tuple[str, list[str], str]:
    """The image, its captions and its split in a row of JSON Lines."""
    if not isinstance(row, dict):
        raise _Misfit(f"is {_kind(row)}; write one object per line")
    file, key = _one(row, FILE), _caption_of(row, (*CAPTION, "captions"))
    captions = row[key] if isinstance(row[key], list) else [row[key]]
    split = row.get("split")
    fits = {
        file: isinstance(row[file], str),
        key: captions != [] and all(isinstance(one, str) for one in captions),
        "split": split is None or isinstance(split, str),
    }
    if wrong := [name for name, good in fits.items() if not good]:
        value = _kind(row[wrong[0]])
        raise _Misfit(f"has a {wrong[0]!r} that is {value}; write a string, or a list of captions")
    return str(row[file]), captions, split or ""


def _kind(value: Any) -> str:
    """A JSON value and its type, for an error."""
    if isinstance(value, list):
        odd = [one for one in value if not isinstance(one, str)]
        return (f"a list that holds {_kind(odd[0])}" if odd else "a list") if value else "an empty list"
    names = {dict: "an object", bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return "null" if value is None else f"{json.dumps(value)[:80]}, {names[type(value)]}"

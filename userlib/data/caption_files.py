"""Files of captions among photos: captions.csv, captions.tsv, captions.jsonl, captions.txt, and the metadata.csv
and metadata.jsonl of the hub's image folders.

Delimited text has a first line that names its columns, and commas, semicolons, tabs or | between them; quotes
are those of CSV. captions.txt may also be Flickr8k's `name.jpg#0<TAB>caption` without such a line. JSON Lines
have an object a line. Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Raises `UserError` naming the
line for whatever does not fit.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from userlib.data.splits import check_split_column
from userlib.errors import UserError
from userlib.files import shown

NAMES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.txt", "metadata.csv", "metadata.jsonl")
FILE = ("filename", "file_name", "image", "image_name")
CAPTION = ("caption", "text", "comment")
MARKS = {  # byte order marks; UTF-32's begins with UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
ODD = re.compile("[\0\ud800-\udfff]")  # half a UTF-16 character, which JSON can spell


class NoCaptions(UserError):
    """The file is whole, and has no columns for an image and its caption."""


@dataclass(frozen=True)
class Entry:
    """One caption: the line where it begins, the image as the file names it, and its split or ""."""

    line: int
    file: str
    caption: str
    split: str


def read_captions(source: Path) -> list[Entry]:
    """The captions in `source`, in its order."""
    text = _text(source)
    kind = source.suffix.lower()
    if kind == ".jsonl":
        entries = _jsonl(source, text)
    elif kind == ".txt" and _flickr8k(text.lstrip("\r\n").split("\n", 1)[0]):
        entries = _tokens(source, text)
    else:
        entries = _delimited(source, text)
    return [_checked(source, entry) for entry in entries]


def _text(source: Path) -> str:
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


def _one_line(text: str) -> str:
    parts = (part.strip().strip("\ufeff").strip() for part in BREAK.split(text))
    return " ".join(part for part in parts if part)


def _checked(source: Path, entry: Entry) -> Entry:
    """The entry with its line breaks made blanks; an error where it says nothing, or not in characters."""
    file, caption, split = (_one_line(part) for part in (entry.file, entry.caption, entry.split))
    where = f"Line {entry.line} of {shown(source)}"
    for what, value in (("filename", file), ("caption", caption)):
        if ODD.search(value):
            raise UserError(
                f"{where} has a {what} with a character that no text has: {value!a}. Write it again."
            )
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
                columns = _columns(source, row)
                at = [_one(source, columns, FILE), _one(source, columns, CAPTION)]
                split = columns.index("split") if "split" in columns else None
                continue
            if len(row) != len(columns):
                raise UserError(_misfit(source, begun, row, columns, delimiter))
            check_split_column(dict(zip(columns, row, strict=True)), f"Line {begun} of {shown(source)}")
            file, caption = row[at[0]], row[at[1]]
            if swallowed := re.search(
                rf"[\r\n][^\r\n{re.escape(delimiter)}]*\.\w{{3,4}}\"?{re.escape(delimiter)}", caption
            ):
                raise UserError(
                    f"The caption in line {begun} of {shown(source)} goes on into what looks like another row: "
                    f"{swallowed[0].strip()!r}. Close its quote where the caption ends."
                )
            yield Entry(begun, file, caption, "" if split is None else row[split])
    except csv.Error as error:
        raise UserError(
            f"{shown(source)} is no valid CSV: {error} in the row that begins in line {line}. A quote that is opened "
            'must be closed; put captions with commas in quotes, and write a quote inside them twice ("").'
        ) from error
    if not columns:
        _one(source, [], FILE)


def _delimiter(text: str) -> str:
    """The character between the columns: the one that parts the first line into names that are known, else the
    comma."""
    first = next((line for line in re.split(r"[\r\n]", text) if line.strip()), "")
    for delimiter in ",;\t|":
        names = [name.strip().strip('"').strip().lower() for name in first.split(delimiter)]
        if any(name in FILE for name in names) and any(name in CAPTION for name in names):
            return delimiter
    return max(",;\t|", key=first.count)


def _columns(source: Path, row: Sequence[str]) -> list[str]:
    columns = [name.strip(" \t\ufeff").lower() for name in row]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise UserError(f"{shown(source)} has the column {twice[0]!r} twice. Rename or remove one of them.")
    return columns


def _one(source: Path, columns: Sequence[str], wanted: Sequence[str]) -> int:
    """The place of the one column that bears one of the wanted names."""
    matches = [name for name in wanted if name in columns]
    if not matches:
        seen = ", ".join(columns)[:200] if columns else "none, for it is empty"
        raise NoCaptions(
            f"{shown(source)} has the columns {seen}; it needs filename and caption, and may have split. Write them "
            "as its first line: filename,caption"
        )
    if len(matches) > 1:
        raise UserError(
            f"{shown(source)} has the columns {' and '.join(matches)}, which both could hold the "
            f"{'image' if wanted is FILE else 'caption'}. Rename or remove one of them."
        )
    return list(columns).index(matches[0])


def _misfit(source: Path, line: int, row: Sequence[str], columns: Sequence[str], delimiter: str) -> str:
    said = {"\t": "a tab"}.get(delimiter, f"'{delimiter}'")
    remedy = (
        f"put a caption that holds {said} in quotes: {delimiter.join([row[0], chr(34) + '...' + chr(34)])}"
        if len(row) > len(columns)
        else "write what is missing, or leave it empty between two delimiters"
    )
    return (
        f"Line {line} of {shown(source)} has {len(row)} {'field' if len(row) == 1 else 'fields'}, and its first line "
        f"{len(columns)} ({', '.join(columns)}): {delimiter.join(row)[:120]!r}. Columns are parted by {said}; {remedy}."
    )


def _flickr8k(line: str) -> re.Match[str] | None:
    """name.jpg#0<TAB>caption"""
    return re.fullmatch(r"([^\t]+)#\d+\t(.*?)\r?", line)


def _tokens(source: Path, text: str) -> Iterator[Entry]:
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not line.strip():
            continue
        match = _flickr8k(line)
        if match is None:
            raise UserError(
                f"Line {number} of {shown(source)} is not name.jpg#0<TAB>caption, as its first line is: "
                f"{line[:120]!r}. Correct it."
            )
        yield Entry(number, match[1], match[2], "")


def _jsonl(source: Path, text: str) -> Iterator[Entry]:
    read = 0
    for number, line in enumerate(text.split("\n"), start=1):  # a string may hold any other line break
        if not line.strip():
            continue
        try:
            row = _object(json.loads(line, object_pairs_hook=_unequal_keys))
            file, captions, split = _pick(row, FILE), _pick(row, (*CAPTION, "captions")), row.get("split")
            if not isinstance(row[file], str):
                raise _Misfit(f"{file!r} is {_kind(row[file])}; write the image's name as a string")
            said = [row[captions]] if isinstance(row[captions], str) else row[captions]
            if not isinstance(said, list) or not said or not all(isinstance(one, str) for one in said):
                raise _Misfit(
                    f"{captions!r} is {_kind(row[captions])}; write a caption as a string, or several as a list of "
                    "strings"
                )
            if not isinstance(split, str | None):
                raise _Misfit(f"'split' is {_kind(split)}; write train, val or test as a string")
        except (ValueError, RecursionError) as error:
            names = isinstance(error, _MissingKey) and not read
            why = (
                f"{error.msg} (character {error.colno})"
                if isinstance(error, json.JSONDecodeError)
                else str(error)
            )
            if number == 1 and line.lstrip().startswith("["):
                why += "; JSON Lines have one object a line, and no list around them"
            raise (NoCaptions if names else UserError)(
                f'Line {number} of {shown(source)} is not {{"filename": ..., "caption": ...}} or '
                f'{{..., "captions": [...]}}: {why}. Correct it.'
            ) from error
        check_split_column(row, f"Line {number} of {shown(source)}")
        read += 1
        for caption in said:
            yield Entry(number, row[file], caption, split or "")


class _Misfit(ValueError):
    """What is wrong with one row."""


class _MissingKey(_Misfit):
    """A row lacks the image or its caption."""


def _unequal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = next(key for k, (key, _) in enumerate(pairs) if key in dict(pairs[:k]))
        raise _Misfit(f"the key {twice!r} stands in it twice")
    return values


def _object(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _Misfit(f"it is {_kind(row)}; write one object a line")
    return row


def _pick(row: dict[str, Any], wanted: Sequence[str]) -> str:
    matches = [name for name in wanted if name in row]
    if not matches:
        seen = ", ".join(repr(key) for key in row)[:200] or "none"
        raise _MissingKey(f"it has no key {wanted[0]!r} (its keys: {seen})")
    if len(matches) > 1:
        raise _Misfit(f"it has both {' and '.join(map(repr, matches))}; keep one")
    return matches[0]


def _kind(value: Any) -> str:
    """A JSON value and its type, for an error."""
    if isinstance(value, list):
        odd = next((one for one in value if not isinstance(one, str)), None)
        return (
            "an empty list" if not value else f"a list that holds {_kind(odd) if odd is not None else 'null'}"
        )
    names = {dict: "an object", bool: "a truth value", int: "a number", float: "a number", str: "a string"}
    said = json.dumps(value)[:80] if not isinstance(value, dict) else "{...}"
    return "null" if value is None else f"{said}, {names[type(value)]}"

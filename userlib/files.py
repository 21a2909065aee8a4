"""Files that are whole or absent: written beside, flushed to the disk and renamed; JSON with limits and
seals; checksums; the cache folder.

A sealed file is a JSON object that begins with its format and ends with the SHA-256 of all its text but that
last line, so that no byte of it can change unseen. Raises `UserError` where the disk is full or a file cannot
be written, read or understood.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from userlib.errors import UserError

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
JSON_LIMIT = 256 * 2**20  # bytes
FORMAT = 2  # of sealed files; 1 had no seal


def cache_dir() -> Path:
    """Where tokens, sums and download records are kept: $USERLIB_CACHE or ~/.cache/userlib. UserError where nobody
    says what the home is.
    """
    named = os.environ.get("USERLIB_CACHE")
    try:
        return Path(named).expanduser() if named else Path.home() / ".cache" / "userlib"
    except RuntimeError as error:
        raise UserError(
            f"There is no home folder for the cache ({error}). Set USERLIB_CACHE to a folder that can be written."
        ) from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what an operating system says about a failed write to `path` into one readable paragraph."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number, said, folder = _number(error), getattr(error, "strerror", None) or error, path.parent
        if number in FULL:
            raise UserError(
                f"No space left while writing {path}: the disk, or the quota or file-size limit of this "
                f"account, is full ({said}). What was complete before is still good. Free some space, or set "
                "USERLIB_CACHE to a folder on a larger disk, and run the same command again."
            ) from error
        if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise UserError(
                f"Cannot write {path}: {said}. Make {folder} writable, or choose another folder "
                "(USERLIB_CACHE for the cache, --out for results)."
            ) from error
        raise


def _number(error: Exception) -> int | None:
    """The system's number of an error; safetensors tells it in words, and numpy tells what did not fit."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, OSError) and "requested and" in str(error):
        return errno.ENOSPC
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that a rename after it never outlives a loss of power without
    its bytes.
    """
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders; its renames are flushed with the file
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_beside(path: Path, writer: Callable[[Path], object]) -> None:
    """Let `writer` fill a temporary file beside `path`, flush it and rename it: readers see the old file or
    the new one.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer(part)
            sync(part)
            os.replace(part, path)
            sync(path.parent)
        finally:
            part.unlink(missing_ok=True)


def write_folder_beside(path: Path, writer: Callable[[Path], object]) -> None:
    """The same for a folder of files. An older folder of that name is kept until the new one is complete."""
    path = Path(path)
    mark = uuid.uuid4().hex[:8]
    part, old = (path.with_name(f".{path.name}.{mark}.{end}") for end in ("part", "old"))
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.mkdir()
            writer(part)
            for file in (*part.rglob("*"), part):
                sync(file)
            if path.exists():
                os.replace(path, old)
            os.replace(part, path)
            sync(path.parent)
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            for left in (part, old):
                shutil.rmtree(left, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder of files. It loses its name first: killed half-way, what is left looks like no whole one."""
    path = Path(path)
    if not path.is_dir():
        return
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    with suppress(OSError):
        os.replace(path, old)
    for left in (old, path):
        shutil.rmtree(left, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented UTF-8 JSON; NaN and infinity are refused, because no other reader would take
    them.
    """
    text = _text(value)
    write_beside(path, lambda part: part.write_bytes(text))


def _text(value: Any) -> bytes:
    """Half a character, which stands for a byte of a file name that is no UTF-8, becomes JSON's own escape of it."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def _sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    whole = {"format": FORMAT, **value}
    return {**whole, "seal": hashlib.sha256(_text(whole)).hexdigest()}


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """`write_json` of an object with its format first and its seal last."""
    write_json(path, _sealed(value))


def read_sealed(path: Path, remedy: str, *, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """The object in a sealed file, without format and seal; one of format 1, which had no seal, is taken as
    it is.

    Raises UserError, which ends with `remedy`, for a file that is missing, changed, or of a newer format.
    """
    path = Path(path)
    try:
        value = read_json(path, limit=limit)
    except UserError as error:
        raise UserError(f"{error} {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object. {remedy}")
    form, seal = value.pop("format", 1), value.pop("seal", None)
    if form not in (1, FORMAT):
        raise UserError(
            f"{path} has format {form!r} and this version reads 1 and {FORMAT}; it was written by a newer "
            f"version, or is damaged. Use the version that wrote it. {remedy}"
        )
    if (form, seal) != (1, None) and not _is_text_of(path, value):
        raise UserError(f"{path} is damaged: its text is not the one that was sealed. {remedy}")
    return value


def _is_text_of(path: Path, value: Mapping[str, Any]) -> bool:
    try:
        return with_lf(path.read_bytes()) == _text(_sealed(value))
    except ValueError:  # NaN can be read and not written
        return False


def read_json(path: Path, *, limit: int = JSON_LIMIT) -> Any:
    """The value in a JSON file of at most `limit` bytes; nesting beyond the interpreter's depth is
    refused.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > limit:
            raise UserError(
                f"{path} has {size:,} bytes, more than the {limit:,} expected of such a file. Is it the "
                "right file?"
            )
        return json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}. Check the path, or make the file again.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    except RecursionError as error:
        raise UserError(
            f"{path} is nested too deeply to be a file of this program. Is it the right file?"
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}. It may "
            "have been cut short: fetch or write it again."
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path} holds a number of too many digits ({error}). Is it the right file?"
        ) from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def shown(name: str | os.PathLike[str]) -> str:
    """A file name as text that can be printed and stored: bytes that are no UTF-8 become \\xNN, and line breaks and
    the like their escapes.
    """
    try:
        text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a UTF-16 character, as Windows lets pass
        text = str(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sha256_bytes(*parts: bytes | str) -> str:
    """Hex SHA-256 of the parts; each is preceded by its length, so that no two lists of parts read alike."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


TEXT_SUFFIXES = frozenset({".json", ".csv", ".md", ".txt"})


def with_lf(content: bytes) -> bytes:
    """Text as it was written, where git's core.autocrlf has changed its line endings to CRLF."""
    return content.replace(b"\r\n", b"\n")


def sha256_text(path: Path) -> str:
    """Hex SHA-256 of a text file with line endings LF: the same on every system."""
    return hashlib.sha256(with_lf(path.read_bytes())).hexdigest()


def sum_fault(path: Path, expected: str, content: bytes | None = None) -> str | None:
    """What is wrong with a file (or with the content that was read from it) whose checksum should be `expected`; None
    where nothing is. The line endings of text files may have become CRLF.
    """
    found = sha256_file(path) if content is None else hashlib.sha256(content).hexdigest()
    if found == expected:
        return None
    content = path.read_bytes() if content is None else content
    if hashlib.sha256(with_lf(content)).hexdigest() != expected:
        return "its checksum is not the stored one"
    if path.suffix in TEXT_SUFFIXES:
        return None
    return (
        f"its line endings are CRLF in place of LF, as git's core.autocrlf makes them; delete {path.parent}, then "
        f"write it again by `git -c core.autocrlf=false checkout -- {path.parent}`"
    )


def sha256_known(path: Path) -> str:
    """`sha256_file`, remembered in the cache under path, size and time of change, because data files run to
    gigabytes.
    """
    path = Path(path).resolve()
    stat = path.stat()
    note = cache_dir() / "sums" / f"{sha256_bytes(str(path))[:32]}.json"
    seen = {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    try:
        known = read_sealed(note, "", limit=2**16)
        if {key: known.get(key) for key in seen} == seen:
            return str(known["sha256"])
    except (UserError, KeyError):
        pass  # no note yet, or a damaged one: count again
    seen["sha256"] = sha256_file(path)
    with suppress(UserError):  # a cache that cannot be written costs time, not correctness
        write_sealed(note, seen)
    return str(seen["sha256"])

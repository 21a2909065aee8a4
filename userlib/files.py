"""Atomic writes (a temporary name, a flush to disk, a rename); JSON with limits and checksums; the cache folder; and
the checks before every save, so that only an older save is ever replaced or removed.

A checksummed file is a JSON object that begins with its format and ends with the SHA-256 of all its text before that
line, so that any changed byte is noticed. Functions raise `UserError` for a full disk and for unusable files.
"""

import codecs
import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from userlib import legacy
from userlib.errors import UserError

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
NO_PLACE = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO}
JSON_LIMIT = 256 * 2**20  # bytes
SETTLED_NS = 2 * 10**9  # a file that changed more recently may change again without a new time
FORMAT = 2  # of checksummed files; 1 had no checksum
MANIFEST = "manifest.json"  # in a stored folder: the checksum of each of its files
BESIDE = (MANIFEST, "README.md")  # files that any stored folder may have, and that its next save replaces
LOCK = ".lock"  # in a folder that only one process at a time may write to
LEFT_OVER = re.compile(r"\..+\.[0-9a-f]{8}\.(part|old)")  # what a killed `atomic_write` leaves


def cache_dir() -> Path:
    """The folder of cached tokens, checksums and download records: $USERLIB_CACHE or ~/.cache/userlib. Raises UserError
    where there is no home folder.
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
    """Within it, a failed write to `path`, for lack of space or permission, raises UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number, reason, folder = _number(error), getattr(error, "strerror", None) or error, path.parent
        if number in FULL:
            raise UserError(
                f"No space left while writing {path}: the disk, or the quota or file-size limit of this "
                f"account, is full ({reason}). Files that were complete before are intact. Free some space, or set "
                "USERLIB_CACHE to a folder on a larger disk, and run the same command again."
            ) from error
        if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise UserError(
                f"Cannot write {path}: {reason}. Make {folder} writable, or choose another folder "
                "(USERLIB_CACHE for the cache, --out for results)."
            ) from error
        if number in NO_PLACE:
            raise UserError(
                f"{path} cannot be written: {reason}. Name another place (USERLIB_CACHE for the cache, --out for "
                "results)."
            ) from error
        raise


def _number(error: Exception) -> int | None:
    """The errno of an error; that of safetensors is in its message, and numpy's message says how much was written."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, OSError) and "requested and" in str(error):
        return errno.ENOSPC
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else None


def sync(path: Path) -> None:
    """Flushes a file or folder to disk, so that after a power failure a later rename cannot exist without its bytes."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders; its renames are flushed with the file
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def looks_checksummed(path: Path) -> bool:
    """Whether a file has one of the two marks of a checksummed one; a single changed bit cannot remove both."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            file.seek(max(0, path.stat().st_size - 128))
            return b'"format": ' in head or b'"seal": ' in file.read()
    except OSError:
        return False


def _listed(folder: Path) -> frozenset[str]:
    """The files that the manifest of a stored folder lists, and itself; empty for any other folder."""
    if not looks_checksummed(folder / MANIFEST):
        return frozenset()
    try:
        sums = read_json(folder / MANIFEST)["sha256"]
    except (UserError, KeyError, TypeError):
        return frozenset()
    names = sums if isinstance(sums, dict) else ["array.npy"] if isinstance(sums, str) else []
    return frozenset([*names, MANIFEST])


def foreign(path: Path) -> Path | None:
    """The first file or folder at or below `path` that is no save of this program; None where there is none.

    Saves are checksummed files, stored folders whose manifest lists every file, locks, and what a killed process left.
    Checksums are not compared: a damaged save is still a save.
    """
    if path.is_symlink() or not path.is_dir():
        known = path.name == LOCK or LEFT_OVER.fullmatch(path.name) or looks_checksummed(path)
        return None if known and path.is_file() or not os.path.lexists(path) else path
    if LEFT_OVER.fullmatch(path.name):
        return None
    listed = _listed(path)
    children = (child for child in sorted(path.iterdir()) if child.name not in listed or child.is_dir())
    return next((other for child in children if (other := foreign(child)) is not None), None)


def check_folder(path: Path, names: Collection[str] | None = None, *, shared: bool = False) -> None:
    """Raises UserError, before any work, where `path` cannot be written as a folder without destroying other data.

    names: the files of the save that would replace the folder, which may be an older save of no other files. None: the
    save is added to the folder, in which everything must be a save of this program. shared: the folder may contain
    other files too, since each file is checked when it is written.
    """
    what = "Name another folder, or move that away."
    with _place(path, "folder"):
        if not path.exists():
            return
        if not path.is_dir():
            raise UserError(f"{path} is a file, and results go into a folder. {what}")
        if not os.access(path, os.W_OK | os.X_OK):
            raise UserError(
                f"Cannot write {path}: the folder is not writable. Make it writable, or name another folder."
            )
        if shared:
            return
        if (other := foreign(path)) is not None:
            own = "itself" if other == path else repr(other.relative_to(path).as_posix())
            raise UserError(
                f"{path} holds {own}, which is no earlier result of this program, and results are only written to "
                f"folders of their own. {what}"
            )
        listed = {legacy.FILES.get(name, name) for name in _listed(path)}
        if names is not None and any(path.iterdir()) and not (listed and listed <= {*names, *BESIDE}):
            holds = ", ".join(sorted(child.name for child in path.iterdir())[:4])
            raise UserError(f"{path} holds a result of another kind ({holds}), which would be lost. {what}")


def check_file(path: Path, like: Collection[str] = ()) -> None:
    """Raises UserError, before any work, where `path` cannot be written as a file without destroying other data.

    A checksummed file with the keys `like` may be replaced, and so may an empty file.
    """
    what = "Name another file, or move that away."
    with _place(path, "file"):
        if not path.exists():
            return
        if path.is_dir():
            raise UserError(
                f"{path} is a folder, and the result is a file. Name a file, such as {path / 'result.json'}."
            )
        if not path.is_file():
            raise UserError(f"{path} is no plain file. {what}")
        if path.stat().st_size == 0:
            return
        if not looks_checksummed(path):
            raise UserError(f"{path} is no earlier result of this program, and would be lost. {what}")
        if like and not set(like) <= set(read_checksummed(path, what)):
            raise UserError(f"{path} is a result of another kind (it has no {', '.join(like)}). {what}")


@contextmanager
def _place(path: Path, what: str) -> Iterator[None]:
    """Within it, and before: raises UserError for an impossible name, and for a parent that cannot take files."""
    if "\0" in str(path):
        raise UserError(
            f"{str(path)!r} cannot be a {what}: no name holds a zero character. Name another {what}."
        )
    if "~" in path.parts:
        raise UserError(
            f"{path} cannot be a {what}: only a shell reads ~ as the home folder, at the start of a word. Write "
            f"{os.path.expanduser('~')} in its place."
        )
    try:
        above = next(one for one in Path(os.path.abspath(path)).parents if os.path.lexists(one))
        if not above.is_dir():
            raise UserError(f"{path} cannot be a {what}: {above} is no folder. Name another {what}.")
        if not path.exists() and not os.access(above, os.W_OK | os.X_OK):
            raise UserError(
                f"Cannot write {path}: {above} is not writable. Make it writable, or name another {what}."
            )
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be a {what}: {error.strerror}. Name another {what}.") from error


def atomic_write(path: Path, writer: Callable[[Path], object], *, over: bool = False) -> None:
    """Lets `writer` fill a temporary file next to `path`, flushes and renames it: readers see either the old or the new
    file. Links are followed.

    Raises UserError where a file exists that is neither checksummed nor empty, unless over: it may be replaced.
    """
    path = Path(os.path.realpath(path))
    if not over:
        check_file(path)
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


def atomic_write_folder(path: Path, writer: Callable[[Path], object], *, once: bool = False) -> None:
    """`atomic_write` for a folder of files. An older folder of that name is kept until the new one is complete.

    Raises UserError where the older one is not a stored folder of the same kind. once: the name identifies the
    content, and an existing folder is kept.
    """
    path = Path(os.path.realpath(path))
    mark = uuid.uuid4().hex[:8]
    part, old = (path.with_name(f".{path.name}.{mark}.{end}") for end in ("part", "old"))
    if not once:
        check_folder(path, None if path.is_dir() and _listed(path) else ())
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.mkdir()
            writer(part)
            for file in (*part.rglob("*"), part):
                sync(file)
            _exchange(part, path, old, once=once)
            sync(path.parent)
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            for left in (part, old):
                shutil.rmtree(left, ignore_errors=True)


def _exchange(part: Path, path: Path, old: Path, *, once: bool) -> None:
    """Renames `part` to `path`. If another process does the same at once, one of the two complete folders remains."""
    for again in reversed(range(20)):
        if once and path.exists():
            return
        check_folder(path, [child.name for child in part.iterdir()])
        try:
            if path.exists():
                os.replace(path, old)
            os.replace(part, path)
            return
        except OSError as error:
            if not again or error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
            shutil.rmtree(old, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder of saves; one that contains anything else is kept. It is renamed first, so that what a killed
    process leaves cannot be mistaken for a complete folder.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_dir() or foreign(path) is not None:
        return
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    with suppress(OSError):
        os.replace(path, old)
    for left in (old, path):
        shutil.rmtree(left, ignore_errors=True)


def write_json(path: Path, value: Any, *, over: bool = False) -> None:
    """Writes `value` as indented UTF-8 JSON. Raises ValueError for NaN and infinity, which other programs cannot read,
    and UserError as `atomic_write` does.
    """
    text = _text(value)
    atomic_write(path, lambda part: part.write_bytes(text), over=over)


def _text(value: Any) -> bytes:
    """A lone surrogate, which stands for a byte of a file name that is not UTF-8, becomes a JSON escape."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def _with_checksum(value: Mapping[str, Any]) -> dict[str, Any]:
    whole = {"format": FORMAT, **value}
    return {**whole, "seal": hashlib.sha256(_text(whole)).hexdigest()}


def write_checksummed(
    path: Path, value: Mapping[str, Any], *, like: Collection[str] = (), over: bool = False
) -> None:
    """`write_json` for an object, with its format first and its checksum last. Raises UserError where a file without
    the keys `like` would be replaced.
    """
    if like and not over:
        check_file(Path(path), like)
    write_json(path, _with_checksum(value), over=over)


def read_checksummed(path: Path, remedy: str, *, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """The object in a checksummed file, without format and checksum. Files of format 1 have no checksum to compare.

    Raises UserError, which ends with remedy, for a file that is missing, changed, or of a newer format.
    """
    path = Path(path)
    try:
        value = read_json(path, limit=limit)
    except UserError as error:
        raise UserError(f"{error} {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object. {remedy}")
    form, checksum = value.pop("format", 1), value.pop("seal", None)
    if form not in (1, FORMAT):
        raise UserError(
            f"{path} has format {form!r} and this version reads 1 and {FORMAT}; it was written by a newer "
            f"version, or is damaged. Use the version that wrote it. {remedy}"
        )
    if (form, checksum) != (1, None) and not _is_text_of(path, value):
        raise UserError(f"{path} is damaged: its text does not match its checksum. {remedy}")
    return value


def _is_text_of(path: Path, value: Mapping[str, Any]) -> bool:
    try:
        return with_lf(path.read_bytes()) == _text(_with_checksum(value))
    except ValueError:  # NaN can be read but not written
        return False


class _TwiceError(ValueError):
    """A key occurs twice in one object."""


def _unequal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _TwiceError(next(key for k, (key, _) in enumerate(pairs) if key in dict(pairs[:k])))
    return values


def read_json(path: Path, *, limit: int = JSON_LIMIT) -> Any:
    """The value in a JSON file. Raises UserError where it is missing, larger than `limit` bytes, nested too deeply or
    invalid, or has a key twice in one object.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > limit:
            raise UserError(
                f"{path} has {size:,} bytes, more than the {limit:,} that such a file may have. Is it the right file?"
            )
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode("utf-8")
        return json.loads(text, object_pairs_hook=_unequal_keys)
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
    except _TwiceError as error:
        raise UserError(
            f"{path} has the key {error.args[0]!r} twice in one object. Remove one of them."
        ) from error
    except ValueError as error:
        if "\0" in str(path):
            raise UserError(f"There is no file {str(path)!r}: no name holds a zero character.") from error
        raise UserError(
            f"{path} holds a number of too many digits ({error}). Is it the right file?"
        ) from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def shown(name: str | os.PathLike[str]) -> str:
    """A file name as text that can be printed and stored: bytes that are not UTF-8 become \\xNN, and characters that
    cannot be printed, such as line breaks, become escapes.
    """
    try:
        text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a UTF-16 character, as Windows lets pass
        text = str(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sha256_bytes(*parts: bytes | str) -> str:
    """Hex SHA-256 of the parts, each preceded by its length, so that different lists of parts give different input."""
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
    """Text with LF in place of CRLF, to which git's core.autocrlf may have changed the line endings."""
    return content.replace(b"\r\n", b"\n")


def sha256_text(path: Path) -> str:
    """Hex SHA-256 of a text file with line endings LF: the same on every system."""
    return hashlib.sha256(with_lf(path.read_bytes())).hexdigest()


def sum_fault(path: Path, expected: str, content: bytes | None = None) -> str | None:
    """What is wrong with a file (or content, read from it) whose checksum should be `expected`; None where nothing is.
    In text files, CRLF counts as LF.
    """
    checksum = sha256_file(path) if content is None else hashlib.sha256(content).hexdigest()
    if checksum == expected:
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
    """`sha256_file`, cached by path, size, both times of change and inode, since data files may have gigabytes. The
    time of modification alone is not enough: a copy with the time of another file (`cp -p`, `rsync -t`) may differ.
    """
    path = Path(path).resolve()
    stat = path.stat()
    note = cache_dir() / "sums" / f"{sha256_bytes(str(path))[:32]}.json"
    seen = {
        "path": str(path),
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "inode": stat.st_ino,
    }
    try:
        known = read_checksummed(note, "", limit=2**16)
        if {key: known.get(key) for key in seen} == seen:
            return str(known["sha256"])
    except (UserError, KeyError):
        pass  # no note yet, or a damaged one: compute it again
    settled = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS
    seen["sha256"] = sha256_file(path)
    if settled:
        with suppress(UserError):  # a cache that cannot be written costs time, not correctness
            write_checksummed(note, seen, over=True)
    return str(seen["sha256"])

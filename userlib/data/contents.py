"""The checksums of a folder's files, remembered by name, size and time of change, because photos run to
gigabytes."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from userlib.errors import UserError
from userlib.files import cache_dir, read_sealed, sha256_bytes, sha256_file, shown, write_sealed
from userlib.progress import Progress

PATIENCE_S = 3.0  # before progress is shown


def content_sums(folder: Path, names: Sequence[str]) -> list[str]:
    """Hex SHA-256 of each file `folder`/name. Raises `UserError` for a file that cannot be read."""
    place = folder.resolve()
    note = cache_dir() / "photos" / f"{sha256_bytes(str(place))[:32]}.json"
    try:
        known = dict(read_sealed(note, "", limit=2**30)["files"])
    except (UserError, KeyError, TypeError, ValueError):
        known = {}  # none yet, or a damaged one: count again
    files: dict[str, list[object]] = {}
    with Progress(len(names), "photos read", delay=PATIENCE_S) as bar:
        for name in names:
            path, key = folder / name, shown(name)
            try:
                stat = path.stat()
                seen = [stat.st_size, stat.st_mtime_ns]
                old = known.get(key)
                files[key] = (
                    old
                    if isinstance(old, list) and len(old) == 3 and old[:2] == seen
                    else [*seen, sha256_file(path)]
                )
            except OSError as error:
                raise UserError(
                    f"The picture {shown(path)} cannot be opened: {error.strerror}. Put it back, or remove it."
                ) from error
            bar.step()
    if files != known:
        with suppress(UserError):  # a cache that cannot be written costs time, not correctness
            write_sealed(note, {"files": files})
    return [str(files[shown(name)][2]) for name in names]

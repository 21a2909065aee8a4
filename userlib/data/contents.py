"""Checksums of a folder's files, cached by name, size, times and inode, because photos run to gigabytes."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from userlib.errors import UserError
from userlib.files import (
    SETTLED_NS,
    cache_dir,
    read_checksummed,
    sha256_bytes,
    sha256_file,
    shown,
    write_checksummed,
)
from userlib.progress import Progress

PATIENCE_S = 3.0  # before progress is shown


def content_sums(folder: Path, names: Sequence[str], *, whole: bool = True) -> list[str]:
    """Hex SHA-256 of each file `folder`/name. Raises `UserError` for a file that cannot be read.

    whole: `names` are all files of the folder, so that cached checksums of others are dropped.
    """
    place = folder.resolve()
    note = cache_dir() / "photos" / f"{sha256_bytes(str(place))[:32]}.json"
    try:
        known = dict(read_checksummed(note, "", limit=2**30)["files"])
    except (UserError, KeyError, TypeError, ValueError):
        known = {}  # no cache yet, or a damaged one
    named = {shown(name) for name in names}
    files: dict[str, object] = {} if whole else {key: known[key] for key in known if key not in named}
    sums: list[str] = []
    now = time.time_ns()
    with Progress(len(names), "photos read", delay=PATIENCE_S) as bar:
        for name in names:
            path, key = folder / name, shown(name)
            try:
                stat = path.stat()
                state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
                old = known.get(key)
                if isinstance(old, list) and old[:4] == state and len(old) == 5:
                    sums.append(str(old[4]))
                else:
                    sums.append(sha256_file(path))
                if now - max(state[1:3]) > SETTLED_NS:
                    files[key] = [*state, sums[-1]]
            except OSError as error:
                raise UserError(
                    f"The image {shown(path)} cannot be opened: {error.strerror}. Put it back, or remove it."
                ) from error
            bar.step()
    if files != known:
        with suppress(UserError):  # a cache that cannot be written costs time, not correctness
            write_checksummed(note, {"files": files})
    return sums

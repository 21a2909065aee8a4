"""What the course remembers of its reader: small JSON files in the cache folder; a damaged one is an empty one."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from userlib.errors import UserError
from userlib.files import cache_dir, read_json

LIMIT = 2**20  # bytes


def place(name: str) -> Path:
    """Where the file of that name is kept. UserError where no one says what the home is."""
    return cache_dir() / "course" / f"{name}.json"


def entries(where: Callable[[], Path], sound: Callable[[Any], bool]) -> dict[str, Any]:
    """The entries of a stored file whose values are sound; a missing or damaged file has none. Never raises."""
    with suppress(UserError, OSError):
        stored = read_json(where(), limit=LIMIT)
        if isinstance(stored, dict):
            return {name: value for name, value in stored.items() if sound(value)}
    return {}

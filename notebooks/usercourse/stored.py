"""What the course stores about its reader: small JSON files in the cache folder; a damaged one counts as empty."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from userlib.errors import UserError
from userlib.files import cache_dir, read_json

LIMIT = 2**20  # bytes


def place(name: str) -> Path:
    """The path of the file of that name. Raises UserError where there is no home directory."""
    return cache_dir() / "course" / f"{name}.json"


def entries(where: Callable[[], Path], sound: Callable[[Any], bool]) -> dict[str, Any]:
    """The entries of a stored file whose values are `sound`; none where it is missing or damaged. Never raises."""
    with suppress(UserError, OSError):
        stored = read_json(where(), limit=LIMIT)
        if isinstance(stored, dict):
            return {name: value for name, value in stored.items() if sound(value)}
    return {}

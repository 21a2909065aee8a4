"""The one error that users are meant to read."""

from collections.abc import Callable
from typing import ClassVar


class UserError(Exception):
    """One paragraph that names the thing, the value it had and the remedy.

    The command line prints it without a traceback and exits with status 2. `reword` turns a message into that of
    another surface, which has no command-line options to give.
    """

    reword: ClassVar[Callable[[str], str]] = str

    def __str__(self) -> str:
        return type(self).reword(super().__str__())

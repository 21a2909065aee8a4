"""The error whose message is written for users."""

from collections.abc import Callable
from typing import ClassVar


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    line, *more = (str(error).strip() or type(error).__name__).splitlines()
    return f"{line} {more[0].strip()}" if line.endswith(":") and more else line


class UserError(Exception):
    """An error that the user can correct: one paragraph that names the cause, its value and the remedy.

    The command line prints it without a traceback and exits with status 2. `reword` adapts a message to where it is
    shown, such as a notebook, in which there are no command-line options.
    """

    reword: ClassVar[Callable[[str], str]] = str

    def __str__(self) -> str:
        return type(self).reword(super().__str__())

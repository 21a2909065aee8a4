"""The one error that users are meant to read."""

import re
import sys


class UserError(Exception):
    """One paragraph that names the thing, the value it had and the remedy.

    The command line prints it without a traceback and exits with status 2; a notebook shows it in its own words, since
    it has no options to give.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return in_notebook(text) if "ipykernel" in sys.modules else text


IN_CALLS = {"out": "fit(..., out=...)", "resume": "fit(..., resume=True)"}
OPTION = re.compile(r"(?<![\w-])--(?:set )?([a-z][a-z_-]*(?:\.[a-z_]+)?)(?: ([a-z_]+:\d+))?")


def in_notebook(text: str) -> str:
    """A message with the settings' names in place of the command line's options: --batch -> training.batch."""
    from dataclasses import fields

    from userlib.config import Config

    config = Config()
    parts = {
        field.name: f"{part.name}.{field.name}"
        for part in fields(config)
        for field in fields(getattr(config, part.name))
    }

    def words(found: re.Match[str]) -> str:
        name, value = found[1].replace("-", "_"), found[2]
        if name in IN_CALLS:
            return IN_CALLS[name]
        where = name if "." in name else parts.get(name, name)
        return where + (f' = "{value}"' if value else "")

    return OPTION.sub(words, text)

"""Rewords errors for notebooks, from options of the command line to settings: --batch-size -> training.batch_size."""

import re
import sys
from dataclasses import fields

from userlib.config import Config

IN_CALLS = {"out": "fit(..., out=...)", "resume": "fit(..., resume=True)"}
OPTION = re.compile(r"(?<![\w-])--(?:set )?([a-z][a-z_-]*(?:\.[a-z_]+)?)(?: ([a-z_]+:\d+))?")


def in_notebook(text: str) -> str:
    """An error's message with settings in place of options; outside a notebook unchanged."""
    if "ipykernel" not in sys.modules:
        return text
    config = Config()
    parts = {
        field.name: f"{part.name}.{field.name}"
        for part in fields(config)
        for field in fields(getattr(config, part.name))
    }

    def words(match: re.Match[str]) -> str:
        name, value = match[1].replace("-", "_"), match[2]
        if name in IN_CALLS:
            return IN_CALLS[name]
        where = name if "." in name else parts.get(name, name)
        return where + (f' = "{value}"' if value else "")

    return OPTION.sub(words, text)

"""Arguments and settings against their annotations: a value of another type is refused by its name before it fails
somewhere within, and a number of numpy's becomes Python's.
"""

import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from userlib.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])
WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    types.NoneType: "none",
    Path: "a path",
    Sequence: "a list",
    Mapping[str, int]: "a mapping of names to whole numbers from 1 up",
}


def plain(value: Any) -> Any:
    """A scalar of numpy as Python's own, which JSON can hold, also in a mapping; all else as it is."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    scalar = type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
    return value.item() if scalar else value


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says. Of several things only that they are not one text; to what is
    written as a string, and to other kinds of annotation, anything fits.
    """
    origin = typing.get_origin(hint)
    if hint is Any or getattr(origin or hint, "_is_protocol", False):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in typing.get_args(hint))
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if hint is Path:
        return isinstance(value, os.PathLike)
    if origin is Sequence:
        return isinstance(value, Iterable) and not isinstance(value, (str, bytes))
    if hint == Mapping[str, int]:
        return isinstance(value, Mapping) and all(
            isinstance(name, str) and fits(size, int) and size > 0 for name, size in value.items()
        )
    if isinstance(origin, type):
        return isinstance(value, origin)
    return hint is None and value is None or not isinstance(hint, type) or isinstance(value, hint)


def _origins(hint: Any) -> tuple[Any, ...]:
    """What an annotation, or each part of a union, is without its arguments."""
    return tuple(typing.get_origin(part) or part for part in (hint, *typing.get_args(hint)))


def in_words(hint: Any) -> str:
    """int | None -> "a whole number or none"."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(in_words, typing.get_args(hint)))
    name = getattr(origin or hint, "__name__", str(hint))
    return WORDS.get(hint) or WORDS.get(origin) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def checked(function: F) -> F:
    """The function with its arguments looked at: UserError for one that is not of its annotation."""
    known = signature(function)
    hints = {
        name: bool | int if parameter.annotation is bool else parameter.annotation
        for name, parameter in known.parameters.items()
        if parameter.annotation is not parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        try:
            bound = known.bind(*given, **named)
        except TypeError:  # Python's own words for one that is missing or too many
            return function(*given, **named)
        for name, value in bound.arguments.items():
            if name in hints:
                bound.arguments[name] = value = plain(value)
                if not fits(value, hints[name]):
                    simple = value is None or isinstance(value, (str, bytes, int, float, Path, dict))
                    shown = f"{value!r:.80}" if simple else f"of the type {type(value).__name__}"
                    raise UserError(f"{name} is {shown}; it must be {in_words(hints[name])}.")
                if isinstance(value, Iterator) and Sequence in _origins(hints[name]):
                    bound.arguments[name] = tuple(value)  # it could be read only once
        return function(*bound.args, **bound.kwargs)

    return typing.cast(F, call)


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises UserError, which lists the allowed values, for any other value."""
    if value not in allowed:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raises UserError for a number below `low` or above `high`."""
    if not low <= value <= high:
        raise UserError(f"{name} is {value}; it must lie between {low} and {high}.")


def at_least(name: str, value: int, low: int) -> None:
    """Raises UserError for a number below `low`."""
    if value < low:
        raise UserError(f"{name} is {value}; it must be a whole number from {low} up.")


def positive(name: str, value: float) -> None:
    """Raises UserError for a number that is not above 0, infinite or nan."""
    if not 0 < value < math.inf:
        raise UserError(f"{name} is {value}; it must be above 0 and finite.")


def not_negative(name: str, value: float) -> None:
    """Raises UserError for a number that is below 0, infinite or nan."""
    if not 0 <= value < math.inf:
        raise UserError(f"{name} is {value}; it must be a finite number from 0 up.")

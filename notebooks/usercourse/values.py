"""Values that an answer may give: copying them, comparing them whatever their container, and describing them.

A number may be an int, a float, a bool, a NumPy scalar or a tensor without dimensions; an array may be a NumPy array, a
tensor on any device, or lists of numbers. Nothing else counts as a number: "2" is a text.
"""

import copy
import numbers as kinds
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import BuiltinFunctionType, FunctionType, GeneratorType
from typing import Any

import numpy as np
from torch import Generator, Tensor, strided
from torch.nn import Module

FEW = 12  # entries of an array that are written out
Array = np.ndarray[Any, np.dtype[Any]]


class Anything:
    """Equal to every value: for a part that could not be computed and does not count."""

    def __deepcopy__(self, _: Any) -> "Anything":
        return self


ANYTHING = Anything()


class Parts(dict[str, Any]):
    """Several values of one answer by their names, such as its value and its gradient."""


def own(value: Any) -> Any:
    """A copy that shares no mutable part: of tensors (without their graph), arrays, modules, generators and containers
    of these. What cannot be copied (a lock, an open file) is returned itself.
    """
    try:
        return _copy(value)
    except Exception:  # what a learner's object raises where it is copied, or a list within itself
        return value


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, Generator):
        return value.clone_state()
    if type(value) in (tuple, list):
        return type(value)(own(part) for part in value)
    if type(value) in (dict, Parts):
        return type(value)((key, own(part)) for key, part in value.items())
    return copy.deepcopy(value)


def same(got: Any, wanted: Any, tolerance: float) -> bool:
    """Whether two values are equal within a relative and absolute tolerance, whatever the container of the numbers;
    dicts by key; texts without the blanks around them. NaN equals NaN, an infinity itself, None None.
    """
    if wanted is ANYTHING or got is ANYTHING:
        return True
    if wanted is None or got is None:
        return wanted is got
    if isinstance(wanted, Mapping) or isinstance(got, Mapping):
        return _same_dicts(got, wanted, tolerance)
    if isinstance(got, np.ndarray) and (got.ndim == 0 or got.dtype.kind in "UO"):
        got = got.tolist()  # also texts, of an array or of each of its entries
    if isinstance(wanted, str) or isinstance(got, str):
        return isinstance(got, str) and isinstance(wanted, str) and got.strip() == wanted.strip()
    try:
        if isinstance(wanted, (tuple, list)) and isinstance(got, (tuple, list)) and len(got) == len(wanted):
            return all(same(a, b, tolerance) for a, b in zip(got, wanted, strict=True))
        a, b = numbers(got), numbers(wanted)
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))
    except Exception:  # a learner's object may raise anything where it is read
        return False


def _same_dicts(got: Any, wanted: Any, tolerance: float) -> bool:
    if not (isinstance(wanted, Mapping) and isinstance(got, Mapping)) or set(got) != set(wanted):
        return False
    return all(same(got[key], wanted[key], tolerance) for key in wanted)


def numbers(value: Any) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """A number, array, tensor or list of numbers as float64. Raises TypeError or ValueError for anything else, such as
    None, texts, dates, complex numbers, and rows of unequal length.
    """
    array = np.asarray(_plain(value))
    if array.dtype.kind == "O" and all(isinstance(one, (kinds.Real, Decimal)) for one in array.flat):
        return array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{kind(value)} is not a number or an array of numbers")
    return array.astype(np.float64)


def _plain(value: Any) -> Any:
    """The value with tensors, also within lists, converted to NumPy or Python numbers."""
    if isinstance(value, Tensor):
        value = value.detach()
        value = (value if value.layout is strided else value.to_dense()).cpu()
        if not value.ndim:
            return value.item()
        return value.double().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(value), np.nan, value.data)
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value


def shape_of(value: Any) -> tuple[int, ...] | str:
    """What must be equal before values are compared: the shape of numbers, else the kind in words."""
    if isinstance(value, (str, Mapping)) or value is None:
        return kind(value) if not isinstance(value, Mapping) else "a dict"
    try:
        return tuple(numbers(value).shape)
    except Exception:  # a learner's object may raise anything where it is read
        return kind(value)


def kind(value: Any) -> str:
    """A value's kind in words: "a number", "an array of shape (3, 2)", "a function"."""
    named: list[tuple[Any, str]] = [
        (bool, "True or False"), (str, "a text"), (kinds.Number, "a number"), (Mapping, "a dict"),
        ((FunctionType, BuiltinFunctionType), "a function"), (GeneratorType, "a generator"), (type, "a class"),
        (type(None), "None"), (Module, "a module"),
    ]  # fmt: skip
    for types, words in named:
        if isinstance(value, types):
            return words
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return kind(value.item())
    if isinstance(value, (Tensor, np.ndarray)):
        shape = tuple(value.shape)
        if not shape:
            return "a number"
        return f"{'a tensor' if isinstance(value, Tensor) else 'an array'} of shape {shape}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}{_all_of(value)}"
    words = type(value).__name__
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def _all_of(values: Sequence[Any]) -> str:
    """The kind of a list's entries, such as " numbers", where they are all texts or all numbers; else ""."""
    for types, word in ((str, "text"), ((kinds.Number, np.generic), "number")):
        if values and all(isinstance(one, types) for one in values):
            return f" {word}" + ("s" if len(values) > 1 else "")
    return ""


def difference(wanted: Any, got: Any, tolerance: float) -> str:
    """Describes the difference of two values: their kinds, the first part or entry that differs, or both values."""
    if isinstance(wanted, Parts) and isinstance(got, Mapping):
        name = next(name for name in wanted if not same(got.get(name), wanted[name], tolerance))
        return f"the {name}: {difference(wanted[name], got.get(name), tolerance)}"
    if shape_of(wanted) != shape_of(got):
        return f"the answer is {kind(wanted)}; yours is {kind(got)}"
    try:
        mine, yours = numbers(wanted), numbers(got)
        if mine.size > FEW:
            place = np.argwhere(~np.isclose(yours, mine, rtol=tolerance, atol=tolerance, equal_nan=True))[0]
            at, (a, b) = ", ".join(str(int(i)) for i in place), (mine[tuple(place)], yours[tuple(place)])
            return f"at [{at}] {difference(float(a), float(b), tolerance)}"
    except Exception:  # not made of numbers
        pass
    for digits in (4, 8):
        texts = short(wanted, digits=digits), short(got, digits=digits)
        if texts[0] != texts[1]:
            break
    return f"the answer is {texts[0]}; yours is {texts[1]}"


def short(value: Any, limit: int = 160, *, digits: int = 4) -> str:
    """A value as text in one line; a large array as its shape."""
    try:
        text = _short(value, limit, digits)
    except Exception:  # a learner's __repr__, or a list within itself
        text = kind(value)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _short(value: Any, limit: int, digits: int) -> str:
    if isinstance(value, (bool, str, type(None))):
        return str(value)
    if isinstance(value, (FunctionType, type)):
        return kind(value)
    if isinstance(value, (tuple, list)) and not all(isinstance(part, (int, float)) for part in value):
        return "(" + ", ".join(short(part, limit, digits=digits) for part in value) + ")"
    if isinstance(value, (frozenset, set)):
        return "{" + ", ".join(sorted(map(str, value))) + "}"
    if isinstance(value, Mapping):
        return str({key: _scalar(part) for key, part in value.items()})
    try:
        array = numbers(value)
    except (TypeError, ValueError):
        return str(value)
    if array.size > FEW:
        return kind(value)
    if np.asarray(_plain(value)).dtype.kind == "b":
        return str(array.astype(bool).tolist())
    shown: Any = {"float_kind": lambda x: _number(x, digits)}
    return np.array2string(array, separator=", ", formatter=shown)


def _number(x: float, digits: int) -> str:
    return str(int(x)) if float(x).is_integer() and abs(x) < 1e9 else f"{x:.{digits}g}"


def _scalar(value: Any) -> Any:
    """A number of NumPy or torch as Python prints it."""
    return value.item() if isinstance(value, (np.generic, Tensor)) and value.ndim == 0 else value

"""Checks of exercises that name the idea an answer misses, and never stop a notebook.

An exercise has a correct answer, cases to try, and the typical wrong answers, each with the idea it misses. An
answer is run on every case, each time on a copy, since it may edit what it is given. Where it is wrong, and gives
on every case that it fails what one of the typical wrong answers gives, that idea is the message; otherwise the
first failing case is shown with both values.

    check("recall_at_k", recall_at_k)     # -> Verdict, shown as the cell's value
"""

import copy
import dis
import html
import importlib
import pkgutil
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from torch import Generator, Tensor

State = Literal["not attempted yet", "wrong", "correct"]
MARKS: Mapping[State, tuple[str, str]] = {
    "not attempted yet": ("…", "#56B4E9"),
    "wrong": ("✗", "#D55E00"),
    "correct": ("✓", "#009E73"),
}


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check. `message` is empty for an answer that was not attempted."""

    name: str
    state: State
    message: str = ""

    def __repr__(self) -> str:
        return f"{self.name}: {self.state}" + (f". {self.message}" if self.message else "")

    def _repr_html_(self) -> str:
        mark, colour = MARKS[self.state]
        said = f"<br>{html.escape(self.message)}" if self.message else ""
        return (
            f'<div style="border-left:4px solid {colour};padding:.2em .8em;max-width:46em">'
            f"{mark} <b>{html.escape(self.name)}</b>: {self.state}{said}</div>"
        )


def _call(answer: Any, *case: Any) -> Any:
    return answer(*case)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """right and the values of mistakes are answers; mistakes: idea -> the wrong answer that misses it.

    cases: the arguments of each trial. probe(answer, *case) makes the value that is compared; by default it
    calls the answer. praise is shown after "correct".
    """

    name: str
    right: Any
    mistakes: Mapping[str, Any]
    cases: Sequence[tuple[Any, ...]] = ((),)
    probe: Callable[..., Any] = _call
    tolerance: float = 1e-5
    praise: str = ""

    def judge(self, answer: Any) -> Verdict:
        """The verdict on an answer; whatever the answer raises becomes a message."""
        if untouched(answer):
            return Verdict(self.name, "not attempted yet")
        wanted = [self._on(self.right, case) for case in self.cases]
        got: list[Any] = []
        for case in self.cases:
            try:
                got.append(self._on(answer, case))
            except NotImplementedError:
                return Verdict(self.name, "not attempted yet")
            except Exception as error:  # whatever a learner's code raises is an answer to it, not a crash
                got.append(error)
        failed = [i for i, value in enumerate(got) if not same(value, wanted[i], self.tolerance)]
        if not failed:
            return Verdict(self.name, "correct", self.praise)
        for idea, wrong in self.mistakes.items():
            if all(same(got[i], self._of(wrong, i), self.tolerance) for i in failed):
                return Verdict(self.name, "wrong", idea)
        return Verdict(self.name, "wrong", self._differs(failed[0], wanted, got))

    def _on(self, answer: Any, case: tuple[Any, ...]) -> Any:
        """What an answer gives on a case of its own, as it was when it was given."""
        return own(self.probe(answer, *own(case)))

    def _of(self, wrong: Any, i: int) -> Any:
        try:
            return self._on(wrong, self.cases[i])
        except Exception as error:  # some typical wrong answers raise
            return error

    def _differs(self, i: int, wanted: list[Any], got: list[Any]) -> str:
        """The first failing case in words."""
        if isinstance(got[i], Exception):
            error = got[i]
            return f"Your code raised {type(error).__name__}: {short(str(error))}. The case: {self._case(i)}."
        if got[i] is None:
            return "Your code gives None. Is a return missing?"
        mine, yours = shape_of(wanted[i]), shape_of(got[i])
        if mine != yours:
            return f"The answer is {mine}, yours is {yours}. The case: {self._case(i)}."
        return f"Expected {short(wanted[i])}, yours gives {short(got[i])}. The case: {self._case(i)}."

    def _case(self, i: int) -> str:
        return "; ".join(short(part) for part in self.cases[i]) or "the question as it stands"


def check(name: str, answer: Any) -> Verdict:
    """The verdict on an answer to the exercise of that name. Never raises."""
    known = exercises()
    if name not in known:
        return Verdict(name, "wrong", f"There is no exercise of this name; there are {', '.join(known)}.")
    return known[name].judge(answer)


@cache
def exercises() -> dict[str, Exercise]:
    """Every exercise of the course by its name, from the modules of usercourse.exercises."""
    package = importlib.import_module("usercourse.exercises")
    by_name: dict[str, Exercise] = {}
    for module in pkgutil.iter_modules(package.__path__):
        for one in importlib.import_module(f"{package.__name__}.{module.name}").EXERCISES:
            if one.name in by_name:
                raise ValueError(f"two exercises are called {one.name!r}")
            by_name[one.name] = one
    return by_name


def own(value: Any) -> Any:
    """A copy that shares nothing that can be edited: tensors (also within a graph, which is left behind), arrays,
    modules, generators, and what contains them. What refuses to be copied (a lock, an open file) stays what it is.
    """
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, Generator):
        return value.clone_state()
    if type(value) in (tuple, list):
        return type(value)(own(part) for part in value)
    if type(value) is dict:
        return {key: own(part) for key, part in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:  # whatever __deepcopy__ or __reduce__ of a learner's object raises
        return value


def untouched(answer: Any) -> bool:
    """True for `...` and None, and for a function or class whose stub is as it was: a body of `...` alone, or
    a `...` left where a value belongs.
    """
    if answer is None or answer is ...:
        return True
    if isinstance(answer, type):
        own = [part for part in vars(answer).values() if isinstance(part, types.FunctionType)]
        return any(untouched(part) for part in own)
    if not isinstance(answer, types.FunctionType):
        return False
    steps = [step for step in dis.get_instructions(answer) if step.opname not in ("RESUME", "NOP", "CACHE")]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        gives = "RETURN" in step.opname or (following is not None and _keeps(following.opname))
        if step.argval is Ellipsis and gives:
            return True
    first = steps[0]
    return first.argval is None and "CONST" in first.opname and len(steps) <= 2


def _keeps(opname: str) -> bool:
    return opname.startswith(("STORE_FAST", "STORE_NAME", "STORE_DEREF", "RETURN"))


def same(got: Any, wanted: Any, tolerance: float) -> bool:
    """Equal within a relative and absolute tolerance; NaN equals NaN, an infinity itself; two errors are the
    same when their types are.
    """
    if isinstance(got, Exception) or isinstance(wanted, Exception):
        return type(got) is type(wanted)
    if isinstance(wanted, (tuple, list)) and isinstance(got, (tuple, list)) and len(got) == len(wanted):
        return all(same(a, b, tolerance) for a, b in zip(got, wanted, strict=True))
    if isinstance(wanted, str) or isinstance(got, str):
        return isinstance(got, str) and isinstance(wanted, str) and got.strip() == wanted.strip()
    try:
        a, b = numbers(got), numbers(wanted)
    except (TypeError, ValueError):
        return False
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))


def numbers(value: Any) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """A number, array, tensor or list of numbers as float64; TypeError or ValueError for anything else."""
    if value is None:
        raise TypeError("None is not a number")
    plain = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else value
    return np.asarray(plain).astype(np.float64)


def shape_of(value: Any) -> str:
    """A value's kind in words: "a number", "an array of shape (3, 2)"."""
    if isinstance(value, str):
        return "a text"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    try:
        shape = numbers(value).shape
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"
    return f"an array of shape {shape}" if shape else "a number"


def short(value: Any, limit: int = 160) -> str:
    """A value in one line."""
    if isinstance(value, (tuple, list)) and not all(isinstance(part, (int, float, str)) for part in value):
        text = ", ".join(short(part, limit) for part in value)
        text = f"({text})"
    else:
        try:
            text = np.array2string(numbers(value), precision=4, threshold=24, separator=", ")
        except (TypeError, ValueError):
            text = str(value)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"

"""Checks of exercises, which name the idea that an answer misses and never stop a notebook.

An exercise has a correct answer, cases to try, and typical wrong answers, each with the idea that it misses. An answer
is run on a copy of every case, since it may edit its arguments. If it gives, on all cases that it fails, the same as
one of the typical wrong answers, the message is that idea; else it describes the first failing case, with its arguments
and both values.

    check("recall_at_k", recall_at_k)     # -> Verdict, shown as the cell's value
"""

import html
import importlib
import inspect
import pkgutil
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, float16

from usercourse import progress
from usercourse.containment import Output, contained, words_of
from usercourse.stubs import untouched
from usercourse.values import difference, kind, own, same, shape_of, short

State = Literal["not attempted yet", "wrong", "correct", "not judged"]
MARKS: Mapping[State, tuple[str, str]] = {
    "not attempted yet": ("…", "#56B4E9"),
    "wrong": ("✗", "#D55E00"),
    "correct": ("✓", "#009E73"),
    "not judged": ("?", "#999999"),
}
FAULT = "The check itself failed, which is no fault of yours: "
HALF = 2e-3  # tolerance for half precision, which has three digits


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check. `message` is "" for an answer that was not attempted."""

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


class Unusable(Exception):
    """Raised by a probe where the answer's value cannot be compared; its text says why."""


class Raised(Exception):
    """Wraps what an answer raised, so that it differs from an error of the probe that called it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(type(error)))
        self.error = error


@dataclass(frozen=True)
class Failure:
    """Takes the place of a value where the code raised an error."""

    error: BaseException

    @property
    def is_final(self) -> bool:
        """Whether no further case should be tried: after an exit, an interrupt or an endless loop."""
        return not isinstance(self.error, Exception)


@dataclass(frozen=True)
class Told:
    """Takes the place of a value that cannot be compared; the sentence says why."""

    sentence: str
    of_check: bool = False  # the check's own fault


class Called:
    """Wraps an answer for a probe: what it raises becomes `Raised`, and the arguments that it edits in place are
    recorded. All other attributes are the answer's.
    """

    def __init__(self, answer: Any, names: Sequence[str] = ()) -> None:
        self.answer, self.names = answer, names
        self.returned: Any = None
        self.edited: list[str] = []
        self.notes: list[str] = []

    def __call__(self, *arguments: Any) -> Any:
        before = own(arguments)
        try:
            self.returned = self.answer(*arguments)
        except BaseException as error:
            raise Raised(error) from None
        for name, now, then in zip(self.names, arguments, before, strict=False):
            if name not in self.edited and _edited(now, then):
                self.edited.append(name)
        return self.returned

    def note(self, sentence: str) -> None:
        """Add a sentence that is shown once, after "correct"."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.answer, name)


def _edited(now: Any, then: Any) -> bool:
    if isinstance(now, (Tensor, np.ndarray)):
        return not same(now, then, 0.0)
    try:
        return isinstance(now, (list, dict, set)) and bool(now != then)
    except Exception:  # lists of arrays have no truth value
        return not same(now, then, 0.0)


def _call(answer: Any, *case: Any) -> Any:
    return answer(*case)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """right: the correct answer. mistakes: {idea: a wrong answer that misses it}. cases: the arguments of each trial.

    probe(answer, *case) gives the value that is compared; by default it calls the answer. It raises Unusable for a
    value that it cannot read. praise is shown after "correct".
    """

    name: str
    right: Any
    mistakes: Mapping[str, Any]
    cases: Sequence[tuple[Any, ...]] = ((),)
    probe: Callable[..., Any] = _call
    tolerance: float = 1e-5
    praise: str = ""

    def judge(self, answer: Any) -> Verdict:
        """The verdict on an answer; an error of the answer becomes a message. Never raises."""
        try:
            return self._judge(answer)
        except Exception as error:
            return Verdict(self.name, "not judged", f"{FAULT}{type(error).__name__}: {short(str(error))}.")

    def _judge(self, answer: Any) -> Verdict:
        if untouched(answer):
            return Verdict(self.name, "not attempted yet")
        if said := self._is_no_answer(answer):
            return Verdict(self.name, "wrong", said)
        wanted = [self._ours(self.right, case) for case in self.cases]
        called, output = self._called(answer), Output()
        got: list[Any] = []
        for i, case in enumerate(self.cases):
            value = self._theirs(called, case, output, wanted[i])
            if isinstance(value, Failure) and isinstance(value.error, NotImplementedError):
                return Verdict(self.name, "not attempted yet")
            got.append(value)
            if isinstance(value, Told) or (isinstance(value, Failure) and value.is_final):
                return self._without_value(value, i)
        failed = [i for i, value in enumerate(got) if not self._same(value, wanted[i], i)]
        if not failed:
            return Verdict(self.name, "correct", " ".join(filter(None, [self.praise, *_notes(called)])))
        for idea, wrong in self.mistakes.items():
            if all(self._same(got[i], self._of(wrong, i), i) for i in failed):
                return Verdict(self.name, "wrong", idea)
        return Verdict(self.name, "wrong", self._differs(failed[0], wanted, got, called))

    # --- values ------------------------------------------------------------------------------------------

    def _called(self, answer: Any) -> Any:
        if not callable(answer) or isinstance(answer, type):
            return answer
        return Called(answer, _parameters(self.right) or self._names)

    def _ours(self, answer: Any, case: tuple[Any, ...]) -> Any:
        """The value of one of the exercise's own answers on a case, without warnings."""
        with _silent():
            return own(self.probe(self._called(answer), *own(case)))

    def _of(self, wrong: Any, i: int) -> Any:
        try:
            return self._ours(wrong, self.cases[i])
        except Exception as error:  # some typical wrong answers raise
            return Failure(error.error if isinstance(error, Raised) else error)

    def _theirs(self, called: Any, case: tuple[Any, ...], output: Output, wanted: Any) -> Any:
        """A copy of the value of the learner's answer on a copy of a case; Failure or Told where there is none."""
        try:
            with contained(output):
                return own(self.probe(called, *own(case)))
        except Raised as raised:
            return Failure(raised.error)
        except Unusable as told:
            return Told(str(told))
        except BaseException as error:
            if not isinstance(error, Exception) or _is_learners(error, self.probe):
                return Failure(error)
            return self._unread(error, called, case)

    def _unread(self, error: Exception, called: Any, case: tuple[Any, ...]) -> Told:
        """Why the probe failed on the answer's value: it is of the wrong kind, or the fault is the probe's."""
        ours = self._called(self.right)
        with _silent():
            self.probe(ours, *own(case))
        right, given = (one.returned if isinstance(one, Called) else one for one in (ours, called))
        if shape_of(right) != shape_of(given) or type(right) is not type(given):
            return Told(f"The answer is {kind(right)}; yours is {kind(given)}.")
        return Told(f"{FAULT}it cannot read {short(given)} ({type(error).__name__}).", of_check=True)

    def _same(self, value: Any, wanted: Any, i: int) -> bool:
        """Whether two outcomes of case i are the same; two errors are if their types are."""
        if isinstance(value, Failure) or isinstance(wanted, Failure):
            return (
                isinstance(value, Failure)
                and isinstance(wanted, Failure)
                and type(value.error) is type(wanted.error)
            )
        return same(value, wanted, self._tolerance(i))

    def _tolerance(self, i: int) -> float:
        half = any(isinstance(part, Tensor) and part.dtype == float16 for part in self.cases[i])
        return max(self.tolerance, HALF) if half else self.tolerance

    # --- words -------------------------------------------------------------------------------------------

    def _is_no_answer(self, answer: Any) -> str:
        """Why `answer` cannot be an answer to this exercise; "" where it can."""
        if callable(self.right) and not callable(answer):
            what = "a class" if isinstance(self.right, type) else "a function"
            return f"The answer is {what}; yours is {kind(answer)}. Give check its name alone, without calling it."
        if not callable(self.right) and callable(answer):
            return f"The answer is {kind(self.right)}; yours is {kind(answer)}. Give check the value itself."
        if isinstance(answer, type) and not isinstance(self.right, type):
            return f"The answer is a function; yours is a class. Give check an object of it: {answer.__name__}()."
        return ""

    def _without_value(self, value: Failure | Told, i: int) -> Verdict:
        if isinstance(value, Told):
            return Verdict(self.name, "not judged" if value.of_check else "wrong", value.sentence)
        return Verdict(self.name, "wrong", f"{words_of(value.error)}{self._given(i)}")

    def _differs(self, i: int, wanted: list[Any], got: list[Any], called: Any) -> str:
        """A sentence on the first failing case."""
        if isinstance(got[i], Failure):
            return f"{words_of(got[i].error)}{self._given(i)}"
        if (called.returned if isinstance(called, Called) else got[i]) is None and wanted[i] is not None:
            return "Your code gives None. Is a return missing?"
        said = difference(wanted[i], got[i], self._tolerance(i))
        where = self._with(i)
        said = f"With {where}, {said}." if where else f"{said[0].upper()}{said[1:]}."
        edited = called.edited if isinstance(called, Called) else []
        return f"{said} Your code also edits {' and '.join(edited)} in place." if edited else said

    @property
    def _names(self) -> list[str]:
        """The names of a case's arguments: the parameters of the probe, or of the correct answer."""
        for names in (_parameters(self.probe)[1:], _parameters(self.right)):
            if len(names) >= len(self.cases[0]) and names:
                return names
        return [f"argument {j + 1}" for j in range(len(self.cases[0]))]

    def _with(self, i: int) -> str:
        """The arguments of a case as text, with their names; "" where it has none."""
        return ", ".join(
            f"{name} = {short(part, 90)}" for name, part in zip(self._names, self.cases[i], strict=False)
        )

    def _given(self, i: int) -> str:
        where = self._with(i)
        return f" It was called with {where}." if where else ""


def _parameters(function: Any) -> list[str]:
    """The names of a function's parameters; [] where it takes any number of them, or has no signature."""
    with suppress(ValueError, TypeError):  # some built-in functions have no signature
        parameters = inspect.signature(function).parameters.values()
        if all(one.kind is not one.VAR_POSITIONAL for one in parameters):
            return [one.name for one in parameters]
    return []


def _notes(called: Any) -> list[str]:
    """Remarks on a correct answer: the probe's notes, and a caution about edited arguments."""
    if not isinstance(called, Called):
        return []
    edits = " and ".join(called.edited)
    caution = f"One caution: it edits {edits} in place, so the caller's {edits} changes too; work on a copy."
    return [*called.notes, *([caution] if edits else [])]


@contextmanager
def _silent() -> Any:
    """Suppresses warnings of the exercise's own answers, which the learner's code did not cause."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@cache
def _known_places() -> tuple[str, ...]:
    """The folders of code that is not the learner's: Python, installed packages, and this project's packages."""
    project = [
        Path(str(importlib.import_module(name).__file__)).parent
        for name in ("usercourse", "userlib", "userscenes")
    ]
    paths = sysconfig.get_paths()
    return tuple(str(place) for place in (*project, *(paths[key] for key in ("stdlib", "platstdlib", "purelib",
                 "platlib")), *(path for path in sys.path if path.endswith("-packages"))))  # fmt: skip


def _is_learners(error: BaseException, probe: Any) -> bool:
    """Whether the learner's code was running when the error was raised."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = ("<frozen", "<__array_function__", *_known_places())
    return any(
        not code.co_filename.startswith(ours)
        for code in codes
        if code is not getattr(probe, "__code__", None)
    )


def check(name: str, answer: Any) -> Verdict:
    """The verdict on an answer to the exercise of that name, recorded in the progress table. Never raises."""
    known = exercises()
    if not isinstance(name, str) or name not in known:
        said = f"There is no exercise of this name; there are {', '.join(known)}."
        return Verdict(str(name), "wrong", said)
    verdict = known[name].judge(answer)
    progress.record(name, verdict.state)
    return verdict


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

"""Predictions before a run, which are compared with what is measured.

    guess = predict("collapsed_r1", "R@1 of a collapsed model, counted with >", low=0, high=100, unit="%")
    guess                                # an empty field and a Lock button, which records; so does guess.value = 40
    ...
    compare("collapsed_r1", 100.0)       # one sentence

The field starts empty, so that nothing suggests an answer and 0 is an answer like any other. Only a locked prediction
counts. A notebook that is run as a whole does not wait for one: `compare` then shows only the measured value, and says
the first time how to lock a prediction. Locked predictions are kept in a small JSON file in the cache folder, so that
they outlast the kernel.
"""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as W

from usercourse.stored import entries, place
from usercourse.widgets import choice
from userlib.errors import UserError
from userlib.files import write_json

CHOOSE = "choose"
NARROW = "22em"  # leaves room for the button
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?")

_unwritten: dict[
    str, dict[str, Any]
] = {}  # predictions that could not be written, kept while the kernel runs


def store() -> Path:
    """The file of the predictions."""
    return place("predictions")


def kept() -> dict[str, Any]:
    """All locked predictions by name, each with value and unit; none where the file is missing or damaged."""
    written = entries(store, lambda one: isinstance(one, dict) and "value" in one)
    return _unwritten.get(_place(), written)


def _place() -> str:
    """The file's path as text; "" where there is no home directory."""
    try:
        return str(store())
    except UserError:
        return ""


@dataclass(frozen=True)
class Number:
    """The kind of answer that is a number from low to high; whole: only whole numbers."""

    low: float
    high: float
    unit: str
    whole: bool

    def control(self) -> Any:
        """An empty field whose placeholder gives the range."""
        span = f"{said(self.low, '')} to {said(self.high, self.unit)}"
        return W.Text(placeholder=span, layout=W.Layout(width=NARROW))

    def read(self, shown: Any) -> float | None:
        """The number in the field, such as "40", "40 %", "1,000" or "0,5"; None where it is no answer."""
        text = str(shown).strip().removesuffix(self.unit).strip().replace("\N{MINUS SIGN}", "-")
        text = re.sub(r",(?=\d{3}(\D|$))", "", text).replace(",", ".")
        if not NUMBER.fullmatch(text):
            return None
        return self.allow(float(text))

    def allow(self, guess: Any) -> float | None:
        """The guess as it is stored; None where it is no answer."""
        if isinstance(guess, bool) or not isinstance(guess, (int, float)) or not math.isfinite(guess):
            return None
        if not self.low <= guess <= self.high or (self.whole and not float(guess).is_integer()):
            return None
        return int(guess) if float(guess).is_integer() else float(guess)

    def show(self, value: Any) -> str:
        """A stored answer as text for the field."""
        return f"{value:g}" if value is not None else ""

    @property
    def answers(self) -> str:
        """The possible answers, as an instruction."""
        kind = "a whole number" if self.whole else "a number"
        return f"give {kind} from {said(self.low, '')} to {said(self.high, self.unit)}"


@dataclass(frozen=True)
class Options:
    """The kind of answer that is one of the options."""

    options: tuple[str, ...]

    def control(self) -> Any:
        """A list in which nothing is chosen yet."""
        control = choice("", [CHOOSE, *self.options])
        control.layout = W.Layout(width=NARROW)
        return control

    def read(self, shown: Any) -> str | None:
        """The option that is chosen in the list, or None."""
        return self.allow(shown)

    def allow(self, guess: Any) -> str | None:
        """The guess if it is one of the options, else None."""
        return guess if isinstance(guess, str) and guess in self.options else None

    def show(self, value: Any) -> str:
        """A stored answer as an entry of the list."""
        return CHOOSE if value is None else str(value)

    @property
    def answers(self) -> str:
        """The possible answers, as an instruction."""
        return "choose one of " + ", ".join(map(repr, self.options))


class Prediction(W.VBox):  # type: ignore[misc]
    """A question with an empty field or a list to choose from. `value` is None until an answer is locked, by the
    button, by Enter or by setting `value`; setting None forgets it. Setting anything that is no answer raises
    UserError.
    """

    def __init__(self, name: str, question: str, asks: Number | Options, unit: str) -> None:
        self.name, self.unit, self.asks = name, unit, asks
        self.control = asks.control()
        self.said = W.HTML()
        self.lock = W.Button(description="Lock", layout=W.Layout(width="6em"))
        row = W.HBox([self.control, self.lock], layout=W.Layout(flex_flow="row wrap", align_items="center"))
        super().__init__([W.HTML(f"<b>Predict.</b> {html.escape(question)}"), row, self.said])
        self._locked = asks.allow(kept().get(name, {}).get("value"))
        self._problem = ""
        self.control.value = asks.show(self._locked)
        self._say()
        self.control.observe(lambda _: self._say(), "value")
        self.control.on_msg(self._entered)
        self.lock.on_click(lambda _: self._press())

    @property
    def value(self) -> Any:
        return self._locked

    @value.setter
    def value(self, guess: Any) -> None:
        if guess is None or (isinstance(guess, str) and guess == CHOOSE):
            self._keep(None)
        elif self.asks.allow(guess) is None:
            raise UserError(
                f"{guess!r} is not a valid answer to the prediction {self.name!r}; {self.asks.answers}"
            )
        else:
            self._keep(self.asks.allow(guess))
        self.control.value = self.asks.show(self._locked)

    def _entered(self, _: Any, content: Any, __: Any) -> None:
        if content.get("event") == "submit":
            self._press()

    def _press(self) -> None:
        """Lock the content of the field if it is an answer."""
        guess = self.asks.read(self.control.value)
        if guess is not None:
            self._keep(guess)

    def _keep(self, guess: Any) -> None:
        """Lock a guess, or forget it where it is None."""
        self._locked, self._problem = guess, ""
        others = {name: part for name, part in kept().items() if name != self.name}
        all_of = others | ({} if guess is None else {self.name: {"value": guess, "unit": self.unit}})
        try:
            write_json(store(), all_of, over=True)
            _unwritten.pop(_place(), None)
        except (UserError, OSError):  # a folder that cannot be written
            _unwritten[_place()] = all_of
            self._problem = " It is kept until the kernel ends: the cache folder cannot be written."
        self._say()

    def _say(self) -> None:
        shown = self.control.value
        guess, locked = self.asks.read(shown), self._locked
        self.lock.disabled = guess is None or guess == locked
        if guess is None and shown != self.asks.show(None):
            here = f"{shown!r} is no answer: {self.asks.answers}."
        elif locked is None:
            here = f"Nothing is locked yet: {self.asks.answers}, then press Lock."
        else:
            here = f"Locked: {said(locked, self.unit)}."
            if guess != locked:
                here += " Press Lock to change it."
        self.said.value = f"<small>{html.escape(here + self._problem)}</small>"


def predict(
    name: str,
    question: str,
    *,
    options: Sequence[str] | None = None,
    low: float = 0.0,
    high: float = 100.0,
    step: float = 1.0,
    unit: str = "",
) -> Prediction:
    """Ask for a number between low and high, or for one of the options; shown as the cell's value. Only whole numbers
    are accepted if low, high and step are whole.
    """
    if options is not None:
        return Prediction(name, question, Options(tuple(options)), unit)
    whole = all(float(one).is_integer() for one in (low, high, step))
    return Prediction(name, question, Number(low, high, unit, whole), unit)


@dataclass(frozen=True)
class Comparison:
    """A prediction and the measured value; predicted is None where none was locked."""

    name: str
    predicted: Any
    measured: Any
    sentence: str
    alone: str  # only what was measured

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, str]]:
        """The metadata lets notebooks/build.py store only what was measured, whatever was predicted."""
        return bundle(self.sentence), {"measured": self.alone}


def bundle(sentence: str) -> dict[str, str]:
    """A sentence as a cell's output."""
    return {"text/plain": sentence, "text/html": f'<p style="max-width:46em">{html.escape(sentence)}</p>'}


def compare(name: str, measured: Any, *, unit: str = "") -> Comparison:
    """Compares the prediction of that name with what was measured: a number, a text, or an interval (value, low,
    high).
    """
    one = kept().get(name, {})
    guess, unit = one.get("value"), unit or one.get("unit", "")
    if guess == CHOOSE:
        guess = None
    alone = f"Measured: {_found(measured, unit)}."
    sentence = _sentence(guess, measured, unit) or f"{alone} {_waiting()}".strip()
    return Comparison(name, guess, measured, sentence, alone)


_told: list[str] = []  # "Lock", once the button has been explained


def _waiting() -> str:
    """Why nothing is compared; "" from the second time on, so that it is not repeated at every measurement."""
    if _told:
        return ""
    _told.append("Lock")
    return "Not predicted: no prediction is locked above. To compare, press Lock there, then run this cell again."


def said(value: Any, unit: str) -> str:
    """A value with its unit: "40 %", "0.25", "[18.0, 22.0]"."""
    if isinstance(value, str):
        return value
    text = f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def _found(measured: Any, unit: str) -> str:
    value, low, high = measured if isinstance(measured, tuple) else (measured, None, None)
    return said(value, unit) + ("" if low is None else f" [{said(low, '')}, {said(high, '')}]")


def _sentence(guess: Any, measured: Any, unit: str) -> str:
    """A sentence that compares guess and measurement; "" without a guess."""
    if guess is None:
        return ""
    value, low, high = measured if isinstance(measured, tuple) else (measured, None, None)
    start = f"You predicted {said(guess, unit)}; measured: {_found(measured, unit)}."
    if isinstance(value, str) or isinstance(guess, str):
        return f"{start} {'As you predicted.' if str(guess) == str(value) else 'Not as you predicted.'}"
    gap = float(guess) - float(value)
    if (low is not None and low <= guess <= high) or said(guess, "") == said(value, ""):
        return f"{start} Right" + ("." if low is None else ": inside the 95 % confidence interval.")
    apart = said(abs(gap), "percentage points" if unit == "%" else unit)
    return f"{start} Your prediction was {apart} too {'high' if gap > 0 else 'low'}."

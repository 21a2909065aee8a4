"""Predict before a run, and compare the prediction with what was measured.

    guess = predict("collapsed_r1", "R@1 of a collapsed model, counted with >", low=0, high=100, unit="%")
    guess                                # a slider and a Lock button, which records; so does guess.value = 40
    ...
    compare("collapsed_r1", 100.0)       # one sentence

Nothing counts before it is locked: a slider stands somewhere from the start, and a notebook that is run as a whole
does not wait. Then compare shows the measured value alone, and says what it waits for. Locked predictions are
kept in one small JSON file in the cache folder, so that a restarted kernel still knows them.
"""

import html
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as W

from usercourse.widgets import choice, slider
from userlib.errors import UserError
from userlib.files import cache_dir, read_json, write_json

CHOOSE = "choose"
NARROW = "22em"  # leaves room for the button


def store() -> Path:
    """Where the predictions are kept."""
    return cache_dir() / "course" / "predictions.json"


def kept() -> dict[str, Any]:
    """All predictions so far, by name: value and unit. A missing or damaged file has none."""
    with suppress(UserError):
        stored = read_json(store(), limit=2**20)
        if isinstance(stored, dict):
            return {name: one for name, one in stored.items() if isinstance(one, dict) and "value" in one}
    return {}


class Prediction(W.VBox):  # type: ignore[misc]
    """A question with a slider or a list to choose from. `value` is None until an answer was locked, by the button
    or by setting it; None takes it back. UserError where it does not answer the question.
    """

    def __init__(self, name: str, question: str, control: Any, unit: str) -> None:
        self.name, self.unit, self.control = name, unit, control
        self.said = W.HTML()
        self.lock = W.Button(description="Lock", layout=W.Layout(width="6em"))
        row = W.HBox([control, self.lock], layout=W.Layout(flex_flow="row wrap", align_items="center"))
        super().__init__([W.HTML(f"<b>Predict.</b> {html.escape(question)}"), row, self.said])
        before = kept().get(name, {}).get("value")
        self._locked = before if self._allowed(before) else None
        if self._locked is not None:
            control.value = before
        elif hasattr(control, "readout"):
            control.readout = False  # where the slider starts is not an answer
        self._say()
        control.observe(self._moved, "value")
        self.lock.on_click(lambda _: self._keep(control.value))

    @property
    def value(self) -> Any:
        return self._locked

    @value.setter
    def value(self, guess: Any) -> None:
        if guess is None or guess == CHOOSE:
            self._keep(None)
            return
        if not self._allowed(guess):
            raise UserError(
                f"{guess!r} is not a valid answer to the prediction {self.name!r}; {self._answers()}"
            )
        self.control.value = guess
        self._keep(self.control.value)

    def _allowed(self, guess: Any) -> bool:
        if hasattr(self.control, "options"):
            return guess in self.control.options and guess != CHOOSE
        if isinstance(guess, bool) or not isinstance(guess, (int, float)):
            return False
        whole = isinstance(self.control, W.IntSlider)
        return bool(self.control.min <= guess <= self.control.max) and (
            not whole or float(guess).is_integer()
        )

    def _answers(self) -> str:
        """What can be answered."""
        if hasattr(self.control, "options"):
            return "choose one of " + ", ".join(map(repr, self.control.options[1:]))
        kind = "a whole number" if isinstance(self.control, W.IntSlider) else "a number"
        return f"give {kind} from {said(self.control.min, '')} to {said(self.control.max, self.unit)}"

    def _moved(self, _: Any) -> None:
        if hasattr(self.control, "readout"):
            self.control.readout = True
        self._say()

    def _keep(self, guess: Any) -> None:
        """Lock what the control shows, or forget; "choose" is not an answer."""
        if guess is not None and not self._allowed(guess):
            return
        self._locked = guess
        one = {} if guess is None else {self.name: {"value": guess, "unit": self.unit}}
        write_json(
            store(), {name: part for name, part in kept().items() if name != self.name} | one, over=True
        )
        self._moved(None)

    def _say(self) -> None:
        shown, locked = self.control.value, self._locked
        self.lock.disabled = not self._allowed(shown) or (locked is not None and shown == locked)
        if locked is None:
            here = f"Nothing is locked yet: {self._answers()}, then press Lock."
        else:
            here = f"Locked: {said(locked, self.unit)}."
            if shown != locked:
                here += " Press Lock to change it."
        self.said.value = f"<small>{html.escape(here)}</small>"


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
    """Ask for a number between low and high, or for one of the options. Shown as the cell's value."""
    if options is not None:
        control = choice("", [CHOOSE, *options])
    else:
        control = slider("", low, high, value=low, step=step)
    control.layout = W.Layout(width=NARROW)
    return Prediction(name, question, control, unit)


@dataclass(frozen=True)
class Comparison:
    """A prediction and the measured value; predicted is None where none was locked."""

    name: str
    predicted: Any
    measured: Any
    sentence: str
    alone: str  # what was measured, without a word on predictions

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, str]]:
        """The metadata is for notebooks/build.py: no prediction, nor the lack of one, is stored."""
        return bundle(self.sentence), {"measured": self.alone}


def bundle(sentence: str) -> dict[str, str]:
    """A sentence as a cell's output."""
    return {"text/plain": sentence, "text/html": f'<p style="max-width:46em">{html.escape(sentence)}</p>'}


def compare(name: str, measured: Any, *, unit: str = "") -> Comparison:
    """The prediction of that name compared with what was measured: a number, a text, or an interval (value, low,
    high).
    """
    one = kept().get(name, {})
    guess, unit = one.get("value"), unit or one.get("unit", "")
    if guess == CHOOSE:
        guess = None
    alone = f"Measured: {_found(measured, unit)}."
    return Comparison(
        name, guess, measured, _sentence(guess, measured, unit) or f"{alone} {_waiting()}", alone
    )


_told: list[str] = []  # "Lock", once the button has been explained


def _waiting() -> str:
    """Why nothing is compared: at length once, then in two words."""
    if _told:
        return "Not predicted."
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
    """Both in one sentence; "" without a guess."""
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

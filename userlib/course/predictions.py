"""Predict before a run, and set the prediction beside what was measured.

    guess = predict("collapsed_r1", "R@1 of a collapsed model, counted with >", low=0, high=100, unit="%")
    guess                                # a slider; moving it keeps the value, so does guess.value = 40
    ...
    compare("collapsed_r1", 100.0)       # one sentence

Predictions are kept in one small JSON file in the cache folder, so that a restarted kernel still knows them.
"""

import html
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as W

from userlib.course.widgets import NARROW, choice, slider
from userlib.errors import UserError
from userlib.files import cache_dir, read_json, write_json


def store() -> Path:
    """Where the predictions are kept."""
    return cache_dir() / "course" / "predictions.json"


def kept() -> dict[str, Any]:
    """All predictions so far, by name: value and unit. A missing or damaged file holds none."""
    with suppress(UserError):
        found = read_json(store(), limit=2**20)
        if isinstance(found, dict):
            return {name: one for name, one in found.items() if isinstance(one, dict) and "value" in one}
    return {}


class Prediction(W.VBox):  # type: ignore[misc]
    """A question with a slider or a list to choose from. `value` is None until it was answered."""

    def __init__(self, name: str, question: str, control: Any, unit: str) -> None:
        self.name, self.unit, self.control = name, unit, control
        self.said = W.HTML()
        super().__init__([W.HTML(f"<b>Predict.</b> {html.escape(question)}"), control, self.said])
        before = kept().get(name, {}).get("value")
        if before is not None:
            with suppress(Exception):  # an answer that the question no longer allows is no answer
                control.value = before
        self._answered = before is not None and control.value == before
        self._say()
        control.observe(self._keep, "value")

    @property
    def value(self) -> Any:
        return self.control.value if self._answered else None

    @value.setter
    def value(self, guess: Any) -> None:
        self.control.value = guess
        self._keep(None)

    def _keep(self, _: Any) -> None:
        self._answered = True
        write_json(store(), {**kept(), self.name: {"value": self.control.value, "unit": self.unit}})
        self._say()

    def _say(self) -> None:
        here = f"Kept: {said(self.control.value, self.unit)}." if self._answered else "Not answered yet."
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
        control = choice("", ["choose", *options])
    else:
        control = slider("", low, high, value=low, step=step)
        control.layout = W.Layout(width=NARROW)
    return Prediction(name, question, control, unit)


@dataclass(frozen=True)
class Comparison:
    """A prediction beside the measured value; predicted is None where there was none."""

    name: str
    predicted: Any
    measured: Any
    sentence: str

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        return f'<p style="max-width:46em">{html.escape(self.sentence)}</p>'


def compare(name: str, measured: Any, *, unit: str = "") -> Comparison:
    """The prediction of that name beside what was measured: a number, a text, or an interval (value, low,
    high).
    """
    one = kept().get(name, {})
    guess, unit = one.get("value"), unit or one.get("unit", "")
    if guess == "choose":
        guess = None
    return Comparison(name, guess, measured, _sentence(guess, measured, unit))


def said(value: Any, unit: str) -> str:
    """A value with its unit: "40 %", "0.25", "[18.0, 22.0]"."""
    if isinstance(value, str):
        return value
    text = f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def _sentence(guess: Any, measured: Any, unit: str) -> str:
    value, low, high = measured if isinstance(measured, tuple) else (measured, None, None)
    found = said(value, unit) + ("" if low is None else f" [{said(low, '')}, {said(high, '')}]")
    if guess is None:
        return f"Measured: {found}. You made no prediction; one made before looking teaches more."
    start = f"You predicted {said(guess, unit)}; measured: {found}."
    if isinstance(value, str) or isinstance(guess, str):
        return f"{start} {'As you said.' if str(guess) == str(value) else 'Otherwise than you said.'}"
    gap = float(guess) - float(value)
    if (low is not None and low <= guess <= high) or said(guess, "") == said(value, ""):
        return f"{start} Right" + ("." if low is None else ": inside the interval.")
    return f"{start} Your prediction was {said(abs(gap), unit)} too {'high' if gap > 0 else 'low'}."

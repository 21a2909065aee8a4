"""Interactive demos: one pure render function, one figure, one sentence. Errors are shown and raised, except a
UserError, which is the response to what a reader wrote and is shown as a sentence.

`render(**values) -> (Figure, sentence)` is plain Python, so that it is tested without a browser, and `snapshot` shows
its result as a static snapshot of the widget. Output widgets and `interact` are not used, because they hide errors.
"""

import html
import importlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets as W
from matplotlib.figure import Figure

from usercourse.plots import png, show
from userlib.errors import UserError

Render = Callable[..., tuple[Figure, str]]
WIDE, NARROW = "34em", "28em"
TICK_S = 0.5


def ready() -> None:
    """Enable widgets on Google Colab; elsewhere nothing is needed."""
    if "google.colab" in sys.modules:
        importlib.import_module("google.colab.output").enable_custom_widget_manager()


def slider(label: str, low: float, high: float, *, value: float, step: float) -> Any:
    """A slider that reports its value when it is released; of whole numbers if all its settings are whole."""
    whole = all(float(number).is_integer() for number in (low, high, value, step))
    kind = W.IntSlider if whole else W.FloatSlider
    numbers = int if whole else float
    return kind(
        description=label,
        min=numbers(low),
        max=numbers(high),
        value=numbers(value),
        step=numbers(step),
        continuous_update=False,
        style={"description_width": "11em"} if label else {},
        layout=W.Layout(width=WIDE),
    )


def choice(label: str, options: Sequence[Any], *, value: Any = None) -> Any:
    """A list to choose from."""
    return W.Dropdown(
        description=label,
        options=list(options),
        value=options[0] if value is None else value,
        style={"description_width": "11em"} if label else {},
        layout=W.Layout(width=WIDE if label else NARROW),
    )


def field(label: str, value: str) -> Any:
    """A text field that reports its value at Enter, or when another control is used."""
    return W.Text(
        description=label,
        value=value,
        continuous_update=False,
        style={"description_width": "11em"} if label else {},
        layout=W.Layout(width=WIDE),
    )


class Demo(W.VBox):  # type: ignore[misc]
    """Draws the result of `render` at each change of a control; its keyword arguments have the controls' names."""

    def __init__(self, render: Render, **controls: Any) -> None:
        self.render, self.controls = render, controls
        self.picture = W.Image(format="png", layout=W.Layout(max_width="100%", align_self="flex-start"))
        self.caption = W.HTML()
        super().__init__([*controls.values(), self.picture, self.caption])
        for control in controls.values():
            if hasattr(control, "continuous_update"):
                control.continuous_update = False
            control.observe(lambda _: self.draw(), "value")
        self.draw()

    def draw(self) -> None:
        """Render with the present values."""
        try:
            with self._clock():
                figure, sentence = self.render(**{name: one.value for name, one in self.controls.items()})
            self.picture.value = png(figure)
            self.caption.value = f'<div style="max-width:46em;line-height:1.5">{html.escape(sentence)}</div>'
        except UserError as error:  # about what the reader wrote, such as an empty query
            self.caption.value = f'<div role="alert">{html.escape(str(error))}</div>'
        except Exception:
            self.caption.value = f"<pre>{html.escape(traceback.format_exc())}</pre>"
            raise

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Shows the seconds under the figure, twice a second, while a new one is computed."""
        began, over = time.monotonic(), threading.Event()

        def tick() -> None:
            while not over.wait(TICK_S):
                self.caption.value = f"Computing the next figure, {time.monotonic() - began:.0f} s so far."

        clock = threading.Thread(target=tick, daemon=True)
        clock.start()
        try:
            yield
        finally:
            over.set()
            clock.join()


def snapshot(render: Render, **values: Any) -> None:
    """A static snapshot of the demo at these values, for readers without a kernel."""
    figure, sentence = render(**values)
    settings = ", ".join(f"{name} = {value}" for name, value in values.items())
    show(figure, f"The demo at {settings}. {sentence}")

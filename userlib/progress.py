"""Shows progress: a bar on stderr in a terminal, a line that is updated in place in a notebook."""

import html
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any


def in_notebook() -> bool:
    """True where a Jupyter kernel runs this code."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


def tell(words: str) -> None:
    """Prints a note on stderr, apart from results; in a notebook, where stderr looks like an error, on stdout."""
    print(words, file=sys.stdout if in_notebook() else sys.stderr, flush=True)


def wait_for(take: Callable[[float], bool], what: str) -> None:
    """Calls take(seconds), which waits at most so long, until it returns True; shows `what` and the time meanwhile."""
    if take(0.0):
        return
    with Progress(None, what) as bar:
        while not take(0.5 if in_notebook() or sys.stderr.isatty() else 15.0):
            bar.step(0)


class Progress:
    """Counts to `total`; with None only the time is shown. `step` advances it, `say` sets the words after it. delay:
    seconds before anything is shown, for work that may be short. A saved notebook keeps the last line.
    """

    def __init__(self, total: int | None, what: str, *, show: bool = True, delay: float = 0.0) -> None:
        self.total, self.what, self.show, self.delay = total, what, show, delay
        self.done, self.words, self.began, self.drawn = 0, "", time.monotonic(), 0.0
        self.bar: Any = None
        self.handle: Any = None

    def __enter__(self) -> "Progress":
        if not self.show:
            return self
        if in_notebook():
            if not self.delay:
                self._appear()
        else:
            from tqdm import tqdm

            self.bar = tqdm(
                total=self.total,
                desc=self.what,
                file=sys.stderr,
                mininterval=0.5 if sys.stderr.isatty() else 15,
                delay=self.delay,
                dynamic_ncols=True,
                bar_format="{desc}, {elapsed}{postfix}" if self.total is None else None,
            )
        return self

    def step(self, count: int = 1) -> None:
        """Advances by `count`."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
            if self.total is None:
                self.bar.refresh()
        late = self.show and self.handle is None and time.monotonic() - self.began > self.delay
        if late and in_notebook():
            self._appear()
        self._draw()

    def say(self, words: str) -> None:
        """Sets the words after the count."""
        self.words = words
        if self.bar is not None:
            self.bar.set_postfix_str(words, refresh=False)
        self._draw(force=True)

    def _appear(self) -> None:
        from IPython.display import HTML, display

        self.handle = display(HTML(self._line()), display_id=True)

    def _line(self) -> str:
        count = ""
        if self.total is not None:
            count = f": {self.done} of {self.total} ({100 * self.done / max(self.total, 1):.0f} %)"
        tail = f", {self.words}" if self.words else ""
        line = f"{self.what}{count}, {time.monotonic() - self.began:.0f} s{tail}"
        return f"<code>{html.escape(line)}</code>"

    def _draw(self, *, force: bool = False) -> None:
        if self.handle is not None and (force or time.monotonic() - self.drawn > 0.5):
            from IPython.display import HTML

            self.drawn = time.monotonic()
            self.handle.update(HTML(self._line()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw(force=True)
        if self.bar is not None:
            self.bar.close()

"""Progress that a person sees: a bar on stderr in a terminal, one line updated in place in a notebook."""

import html
import sys
import time
from types import TracebackType
from typing import Any


def in_notebook() -> bool:
    """True where a Jupyter kernel runs this code."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


class Progress:
    """Counts to `total`. `step` moves it, `say` puts words beside it; a notebook keeps the last line when it
    is saved. Work that may be over at once has a delay: the seconds before anything is shown.
    """

    def __init__(self, total: int, what: str, *, show: bool = True, delay: float = 0.0) -> None:
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
            )
        return self

    def step(self, count: int = 1) -> None:
        """Moves by `count`."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        late = self.show and self.handle is None and time.monotonic() - self.began > self.delay
        if late and in_notebook():
            self._appear()
        self._draw()

    def say(self, words: str) -> None:
        """Puts words beside the count."""
        self.words = words
        if self.bar is not None:
            self.bar.set_postfix_str(words, refresh=False)
        self._draw(force=True)

    def _appear(self) -> None:
        from IPython.display import HTML, display

        self.handle = display(HTML(self._line()), display_id=True)

    def _line(self) -> str:
        share = 100 * self.done / max(self.total, 1)
        tail = f", {self.words}" if self.words else ""
        seconds = time.monotonic() - self.began
        line = f"{self.what}: {self.done} of {self.total} ({share:.0f} %), {seconds:.0f} s{tail}"
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

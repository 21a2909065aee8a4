"""Runs a learner's code so that it cannot end the notebook by an exit, an interrupt, an endless loop or endless output.

with contained(Output()):
    value = answer(*case)
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

import numpy as np
import torch

LIMIT_S = 20.0  # for one call; the exercises' own answers take milliseconds
SHOWN = 2_000  # characters of output that are shown
MOST = 200_000  # characters after which the code is stopped


class TooLong(BaseException):
    """The code did not return in time. Not an Exception, so that `except Exception` in the code does not catch it."""


class TooMuchOutput(BaseException):
    """The code printed without end."""


class Output:
    """Counts what is printed in one check, over all cases and both streams."""

    def __init__(self) -> None:
        self.written = 0

    def pass_on(self, text: str, stream: TextIO) -> None:
        """Writes the first SHOWN characters. Raises TooMuchOutput after MOST."""
        before, self.written = self.written, self.written + len(text)
        if before < SHOWN:
            stream.write(text[: SHOWN - before])
            if self.written >= SHOWN:
                stream.write("\n… (the rest of what the code prints is left out)\n")
        if self.written > MOST:
            raise TooMuchOutput


class _Writer:
    """Replaces a stream while the code runs."""

    def __init__(self, output: Output, stream: TextIO) -> None:
        self._output, self._stream = output, stream

    def write(self, text: str) -> int:
        self._output.pass_on(str(text), self._stream)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def contained(output: Output, seconds: float | None = None) -> Iterator[None]:
    """Limits output and time (LIMIT_S by default), and restores torch's and NumPy's settings afterwards. What the code
    raises passes through, including exits and interrupts, so that the caller must catch BaseException.
    """
    gradients, number = torch.is_grad_enabled(), torch.get_default_dtype()
    out: Any = _Writer(output, sys.stdout)
    err: Any = _Writer(output, sys.stderr)
    try:
        with np.errstate(), redirect_stdout(out), redirect_stderr(err), _within(seconds or LIMIT_S):
            yield
    finally:
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(number)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises TooLong in this thread after `seconds`, between two steps of Python; a call into C returns first."""
    thread, over, lock = threading.get_ident(), False, threading.Lock()

    def stop() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TooLong))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
        timer.cancel()


def words_of(error: BaseException) -> str:
    """A sentence on an error that the code raised."""
    if isinstance(error, TooLong):
        return f"Your code had not returned after {LIMIT_S:.0f} s and was stopped. Does a loop never end?"
    if isinstance(error, TooMuchOutput):
        return f"Your code printed more than {MOST:,} characters and was stopped. Does a loop never end?"
    if isinstance(error, KeyboardInterrupt):
        return "Your code was interrupted before it returned. Does a loop never end?"
    if isinstance(error, (SystemExit, GeneratorExit)):
        return f"Your code raised {type(error).__name__}, which ends a program. Return the value instead."
    try:
        said = " ".join(str(error).split())
    except Exception:  # a learner's own error, whose text raises
        said = ""
    said = said if len(said) <= 160 else said[:159] + "…"
    return f"Your code raised {type(error).__name__}{f': {said}' if said else ''}."

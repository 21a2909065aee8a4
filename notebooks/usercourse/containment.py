"""A learner's code, run so that nothing it does ends the notebook: exits, interrupts, endless loops, endless output.

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

LIMIT_S = 20.0  # of one call; every exercise's own answer takes milliseconds
SHOWN = 2_000  # characters of output that pass through
MOST = 200_000  # characters after which the code is stopped


class TooLong(BaseException):
    """The code did not return in time. No Exception, so that a bare `except Exception` does not keep it."""


class TooMuchOutput(BaseException):
    """The code printed without end."""


class Output:
    """What may be printed in one check, over all cases and both streams."""

    def __init__(self) -> None:
        self.written = 0

    def pass_on(self, text: str, stream: TextIO) -> None:
        """The first SHOWN characters; past MOST, TooMuchOutput."""
        before, self.written = self.written, self.written + len(text)
        if before < SHOWN:
            stream.write(text[: SHOWN - before])
            if self.written >= SHOWN:
                stream.write("\n… (the rest of what the code prints is left out)\n")
        if self.written > MOST:
            raise TooMuchOutput


class _Writer:
    """Stands for a stream while the code runs."""

    def __init__(self, output: Output, stream: TextIO) -> None:
        self._output, self._stream = output, stream

    def write(self, text: str) -> int:
        self._output.pass_on(str(text), self._stream)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def contained(output: Output, seconds: float | None = None) -> Iterator[None]:
    """Bounded output and time (LIMIT_S by default); what torch and NumPy are set to is as before afterwards. What the
    code raises comes through, exits and interrupts too: the caller catches BaseException.
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
    """TooLong, raised in this thread between two steps of Python; a call into C first returns."""
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
    """What an error that the code raised means, as a sentence."""
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

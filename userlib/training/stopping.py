"""Ctrl-C, or a request to end (SIGTERM), between two steps: a run ends where its state is whole, so that it goes on
bit-equal later.

In the middle of a step the queue has moved and the weights have not; a checkpoint of that moment would repeat
half a step.
"""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any


class GracefulInterrupt:
    """While entered, Ctrl-C or SIGTERM sets `requested`; a second one, a second or more later, raises KeyboardInterrupt
    at once. Python delivers signals to the main thread alone: elsewhere this does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    PATIENCE_S = 1.0  # terminal and launcher may both deliver the one Ctrl-C

    def __init__(self) -> None:
        self.requested, self.since = False, 0.0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "GracefulInterrupt":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and time.monotonic() - self.since >= self.PATIENCE_S:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self.since = True, time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

"""Delays Ctrl-C and SIGTERM until the end of a step, where the state of a run is complete for a bit-equal resume.

In the middle of a step the queue is updated and the weights are not; resuming from there would repeat half a step.
"""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any


class GracefulInterrupt:
    """Within it, Ctrl-C or SIGTERM sets `requested`; another one, a second or more later, raises KeyboardInterrupt.
    Python delivers signals to the main thread only, so that in other threads it does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    PATIENCE_S = 1.0  # terminal and launcher may both deliver the same Ctrl-C

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

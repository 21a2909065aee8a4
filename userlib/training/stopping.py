"""Ctrl-C between two steps: a run ends where its state is whole, so that it goes on bit-equal later.

In the middle of a step the queue has moved and the weights have not; a checkpoint of that moment would repeat
half a step.
"""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any


class Stop:
    """While entered, Ctrl-C sets `asked`; a second one, a second or more later, raises KeyboardInterrupt at
    once. Python delivers signals to the main thread alone: elsewhere this does nothing.
    """

    PATIENCE_S = 1.0  # terminal and launcher may both deliver the one Ctrl-C

    def __init__(self) -> None:
        self.asked, self.since = False, 0.0
        self.before: Any = None

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and time.monotonic() - self.since >= self.PATIENCE_S:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self.since = True, time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

"""What other libraries log while they do as they were told."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)  # of each thread


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, errors and less that this thread logs on the root logger, as open_clip and onnxruntime do, are not
    shown; other threads log as before.
    """
    logging.root.addFilter(_is_shown)  # it stays: taken out, a thread that logs just then could miss it
    before = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(before)


def _is_shown(record: logging.LogRecord) -> bool:
    return record.levelno > logging.ERROR or not _QUIET.get()

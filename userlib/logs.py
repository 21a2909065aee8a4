"""Hides log messages of other libraries."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)  # per thread


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, messages up to the level ERROR that this thread logs on the root logger, as open_clip and onnxruntime
    do, are hidden; other threads are not affected.
    """
    logging.root.addFilter(_is_shown)  # never removed: that would not be safe while another thread logs
    before = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(before)


def _is_shown(record: logging.LogRecord) -> bool:
    return record.levelno > logging.ERROR or not _QUIET.get()

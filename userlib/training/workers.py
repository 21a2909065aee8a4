"""Batches for a tower that is trained from pixels, made by worker processes some steps ahead.

The content of a batch follows from the seed, the step and the rank alone, whichever process makes it.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader, Dataset

from userlib.data.captions import Batch
from userlib.errors import UserError

MOST = 8  # processes, unless data.workers is set
AHEAD = 2  # batches that each process makes in advance


class _Steps(Dataset[Batch | UserError]):
    """The batch of each step, or the UserError that it raised: an error that is raised in a worker process reaches the
    main process with that worker's traceback as its message.
    """

    def __init__(self, read: Callable[[int], Batch]) -> None:
        self.read = read

    def __getitem__(self, step: int) -> Batch | UserError:
        try:
            return self.read(step)
        except UserError as error:
            return error


def _ignore_interrupt(worker: int) -> None:
    """Leaves Ctrl-C to the main process, which still needs a batch to finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def workers_needed() -> Iterator[None]:
    """Within it, torch's RuntimeError for a worker process that was killed, raised anywhere, becomes a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise UserError(
            "a worker process that reads images was killed, perhaps because memory ran out. Use fewer of them with "
            "--set data.workers=COUNT, and continue with --resume."
        ) from error


def batches_by_workers(
    read: Callable[[int], Batch], start: int, stop: int, *, workers: int | None
) -> Iterator[Batch]:
    """The batches read(step) of steps start..stop-1, in order. workers: the number of processes; None: one per core, at
    most 8; 0: this process. They end with the iterator, and within seconds after the main process was killed.

    Raises the UserError of a `read`.
    """
    count = min(MOST, os.cpu_count() or 1) if workers is None else workers
    count = min(count, max(0, stop - start))
    loader: DataLoader[Batch | UserError] = DataLoader(
        _Steps(read),
        batch_size=None,
        sampler=range(start, stop),
        num_workers=count,
        prefetch_factor=AHEAD if count else None,
        worker_init_fn=_ignore_interrupt if count else None,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch

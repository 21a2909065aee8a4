"""Batches for a tower that is trained from pixels: made by worker processes, some steps ahead.

What a batch holds follows from the seed, the step and the rank alone, whoever makes it.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader, Dataset

from userlib.data.captions import Batch
from userlib.errors import UserError

MOST = 8  # processes, unless a run asks for more
AHEAD = 2  # batches that each holds ready


class _Steps(Dataset[Batch | UserError]):
    """The batch of each step by its number, or what is wrong with it: raised in another process, it would come with
    that process's traceback for its words.
    """

    def __init__(self, read: Callable[[int], Batch]) -> None:
        self.read = read

    def __getitem__(self, step: int) -> Batch | UserError:
        try:
            return self.read(step)
        except UserError as error:
            return error


def _ignore_interrupt(worker: int) -> None:
    """Ctrl-C is for the training, which still wants the batches of the step that it finishes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def workers_needed() -> Iterator[None]:
    """Raises UserError where such a process was ended from outside, which torch tells wherever the run is just then."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise UserError(
            "a process that reads images was ended from outside, perhaps for want of memory. Give fewer of them by "
            "--set data.workers=COUNT, and go on with --resume."
        ) from error


def batches_by_workers(
    read: Callable[[int], Batch], start: int, stop: int, *, workers: int | None
) -> Iterator[Batch]:
    """The batches of steps start..stop-1 in order. workers: how many processes; None: one a core, 0: this one. They end
    with the iterator, and within seconds of a process that was killed.

    Raises UserError for what cannot be read.
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

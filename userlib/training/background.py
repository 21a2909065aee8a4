"""Checkpoints are written by a thread, so that training goes on meanwhile."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from torch import Tensor

from userlib.errors import UserError


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now, in the memory of the CPU: later steps do not change them."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


class Background:
    """Within it, jobs are done in their order by one thread. An error of a job is raised by the next `check` or `wait`,
    or at the end; there it is a note to an error that ended the block.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.jobs: list[Future[None]] = []

    def start(self, job: Callable[[], None]) -> None:
        """Does the job after those that are not finished."""
        self.jobs.append(self.thread.submit(job))

    def check(self) -> None:
        """Raises the error of a job that has failed. Does not wait."""
        while self.jobs and self.jobs[0].done():
            self.jobs.pop(0).result()

    def wait(self) -> None:
        """Waits until all jobs are finished, and raises the error of one that has failed."""
        while self.jobs:
            self.jobs.pop(0).result()

    def __enter__(self) -> "Background":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thread.shutdown()
        try:
            self.wait()
        except UserError as failed:
            if error is None:
                raise
            error.add_note(str(failed))

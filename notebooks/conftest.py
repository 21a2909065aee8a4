"""Notebooks as tests: python -m pytest --nbmake notebooks

nbmake runs each notebook from top to bottom and fails it when a cell raises. More than that can go wrong, so
this guard also fails a notebook when
- an error was caught by a widget (interact and Output.capture keep it, and every cell looks fine);
- it asked for anything beyond this machine, even if the refusal was swallowed;
- a cell wrote to stderr, which a reader sees as a red warning;
- it took more than USERLIB_NOTEBOOK_BUDGET seconds of processor time (400 in the fast profile, for each thread): what
  other programs on the machine do does not count. A cell that hangs is left to nbmake's own limit, which is set to 15
  minutes where none was given: nbmake's 5 are too few for a cell that trains on a busy machine.

It replaces two methods of nbmake 1.5.5 and jupyter_client, which is why nbmake is pinned.
"""

import os
import tempfile
from pathlib import Path
from queue import Empty
from time import monotonic

OFFLINE = Path(__file__).resolve().parent.parent / "tests" / "offline"
WIDGETS = "application/vnd.jupyter.widget-state+json"
FAST_BUDGET_S = (
    400.0  # a thread; old cores without bf16 need up to 240, one training of the full profile up to 360
)
SLICE_S = 0.5
NBMAKES_S, CELL_S = (
    300,
    900,
)  # of the clock, a cell: what nbmake allows where nothing is said, and what is allowed here


def set_up_environment():
    """What the kernels inherit: the fast profile, no network, and their share of the cores."""
    os.environ.setdefault("USERLIB_PROFILE", "fast")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")]))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def budget_s() -> float:
    """Processor seconds that one notebook may take; without end where nothing was said, but for the fast profile."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    default = FAST_BUDGET_S * threads if os.environ["USERLIB_PROFILE"] == "fast" else float("inf")
    return float(os.environ.get("USERLIB_NOTEBOOK_BUDGET", default))


def used_s() -> float:
    """Processor seconds of all processes that this one started and that have ended; 0 on Windows, which keeps none."""
    times = os.times()
    return times.children_user + times.children_system


def swallowed_errors(nb) -> list[str]:
    """Errors that Output widgets kept to themselves; nbclient notes them in the widget state alone."""
    state = nb.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    outputs = [output for model in state.values() for output in model["state"].get("outputs") or ()]
    return [
        f"{output['ename']}: {output['evalue']} (swallowed by a widget)"
        for output in outputs
        if output.get("output_type") == "error"
    ]


def stderr_lines(nb) -> list[str]:
    """What the cells wrote to stderr."""
    outputs = [output for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs]
    return [f"stderr: {output['text'].strip()}" for output in outputs if output.get("name") == "stderr"]


def complaints(nb, network_log: Path, seconds: float) -> list[str]:
    """Everything that nbmake itself did not see; the notebook took so many processor seconds."""
    messages = swallowed_errors(nb)
    messages += [f"network: {line}" for line in network_log.read_text(encoding="utf-8").splitlines()]
    messages += stderr_lines(nb)
    if seconds > budget_s():
        messages.append(f"it took {seconds:.1f} s of processor time; the budget is {budget_s():.1f} s")
    return messages


def guarded(execute):
    """NotebookRun.execute that looks a second time."""
    from nbmake.nb_result import NotebookError

    def execute_and_look(self):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "network.txt"
            log.touch()
            os.environ["USERLIB_NETWORK_LOG"] = str(log)
            before = used_s()
            result = execute(self)
            messages = complaints(result.nb, log, used_s() - before) if result.error is None else []
        if messages:
            result.error = NotebookError(
                summary=messages[0], trace="\n".join(messages), failing_cell_index=-1
            )
        return result

    return execute_and_look


def in_slices(get_msg):
    """AsyncZMQSocketChannel.get_msg that polls anew twice a second.

    With Output widgets a message now and then arrives unseen by the poll that waits for it; the cell then
    stalls until its timeout. A fresh poll sees it.
    """

    async def get_msg_in_slices(self, timeout=None):
        end = float("inf") if timeout is None else monotonic() + timeout
        while True:
            try:
                return await get_msg(self, max(0.0, min(SLICE_S, end - monotonic())))
            except Empty:
                if monotonic() >= end:
                    raise

    return get_msg_in_slices


def pytest_configure(config):
    if config.getoption("nbmake", default=False):
        from jupyter_client.channels import AsyncZMQSocketChannel
        from nbmake.nb_run import NotebookRun

        set_up_environment()
        if config.option.nbmake_timeout == NBMAKES_S:
            config.option.nbmake_timeout = CELL_S
        NotebookRun.execute = guarded(NotebookRun.execute)
        AsyncZMQSocketChannel.get_msg = in_slices(AsyncZMQSocketChannel.get_msg)

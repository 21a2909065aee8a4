"""A notebook whose kernel is interrupted in the middle of a training cell, by the button or by Ctrl-C."""

import os
import signal
import threading
import time
from pathlib import Path

from tests.faults.harness import Place, fault, must
from tests.faults.works import WORKS, announced

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
from pathlib import Path
from tests.faults.works import train
train(Path({folder!r}))
"""


@fault("interrupt: a training cell of a notebook", times=2)
def interrupted_cell(place: Place) -> str:
    """The cell ends without a traceback from inside, the kernel lives, and the cell run again goes on bit-equal."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    place.clean("training")
    folder = place.fresh()
    train = TRAIN.format(folder=str(folder))
    cells = ["import os\nprint(os.getpid())", train, "print(6 * 7)", train]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(ROOT)}}
    client = NotebookClient(notebook, kernel_name="python3", resources=resources, timeout=200)
    stop_at = place.draw.randrange(1, 7)

    def interrupt() -> None:
        until = time.monotonic() + 150
        while announced(folder) < stop_at and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(int(notebook.cells[0].outputs[0].text), signal.SIGINT)

    said = ""
    with client.setup_kernel():
        client.execute_cell(notebook.cells[0], 0)
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            client.execute_cell(notebook.cells[1], 1)
        except CellExecutionError as error:
            said = f"{error.ename}: {error.evalue}"
        thread.join()
        must(said in ("", "KeyboardInterrupt: "), f"the cell ended with {said[:500]}")
        kept = WORKS["training"].kept(folder)
        must(kept >= announced(folder), f"{announced(folder)} steps were promised and {kept} are there")
        client.execute_cell(notebook.cells[2], 2)
        must("42" in str(notebook.cells[2].outputs), "the kernel did not survive")
        client.execute_cell(notebook.cells[3], 3)
    must(WORKS["training"].result(folder) == place.clean("training"), "the run went on to other weights")
    place.forget(folder)
    return f"stopped after {kept} of 12 steps" + (f" ({said.strip(': ')})" if said else "")

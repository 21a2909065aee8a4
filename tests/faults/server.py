"""Works in processes of their own, at the price of a fork: 30 kills in a minute.

`python -m tests.faults.server` imports all that the works need and does nothing with it. A request is a line of JSON
on its standard input: work, folder, and the fault: signal and after (seconds), file_limit (bytes), full_at (the
number of the flush that finds no space), nobody (a user without rights), twin (the same work a second time beside it,
in the same folder, without the fault). The answer is a line: status (as subprocess counts it), seconds, what the child
printed; with a twin also the twin's status.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
LIMIT_S = 600.0  # a machine that is busy otherwise may be slow; what hangs is killed


class Server:
    """The process, as the faults see it."""

    def __init__(self) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "tests.faults.server"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes)

    def do(self, work: str, folder: Path, **fault: Any) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"work": work, "folder": str(folder), **fault}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        self.process.kill()  # it holds nothing
        self.process.wait()


def child(asked: dict[str, Any], name: str) -> None:
    """The work, under the fault, in the forked process; never returns."""
    folder = Path(asked["folder"])
    said = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ["USERLIB_CACHE"] = str(folder / "cache")
    code = 1
    try:
        if "file_limit" in asked:
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_limit"], asked["file_limit"]))
        if "full_at" in asked:
            fill_up(asked["full_at"])
        if asked.get("nobody") and os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        from tests.faults.works import WORKS
        from userlib.errors import UserError

        try:
            WORKS[asked["work"]].do(folder)
            code = 0
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 2
        except KeyboardInterrupt:
            code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def fill_up(at: int) -> None:
    """From flush number `at` on the disk is full, as quotas and network disks tell it: when the bytes are flushed."""
    import errno

    plain, count = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal count
        count += 1
        if count >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(handle)

    os.fsync = fsync


def serve() -> None:
    import accelerate  # noqa: F401
    import filelock  # noqa: F401
    import safetensors.torch  # noqa: F401
    import timm  # noqa: F401
    import torch

    import tests.faults.works  # noqa: F401
    import userlab.ablation.worker  # noqa: F401
    import userlib.search
    import userlib.training.loop  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.monotonic()
        process, twin = fork(asked), fork(asked, said="twin.txt") if asked.get("twin") else None
        if "signal" in asked:
            time.sleep(asked["after"])
            os.kill(process, getattr(signal, asked["signal"]))
        answer = {"status": ended(process, began), "seconds": time.monotonic() - began}
        if twin is not None:
            answer["twin"] = ended(twin, began)
        said = [Path(asked["folder"]) / name for name in ("said.txt", "twin.txt")]
        answer["said"] = "".join(file.read_text(errors="replace") for file in said if file.exists())
        print(json.dumps(answer), flush=True)


def fork(asked: dict[str, Any], *, said: str = "said.txt") -> int:
    process = os.fork()
    if not process:
        child(asked, said)
    return process


def ended(process: int, began: float) -> int:
    """How the process ended; one that hangs is killed."""
    while not (result := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() - began > LIMIT_S:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(result[1])


if __name__ == "__main__":
    serve()

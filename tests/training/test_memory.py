"""The allocator's setting: it reports what it could do, and on Linux freed memory is used again."""

import platform
import subprocess
import sys

from userlib.training import memory

COUNT = """
import resource, sys, torch
from userlib.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
x = torch.ones(12_000_000)
for _ in range(3):
    x * x
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    x * x
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_freed_memory_is_used_again():
    if platform.libc_ver()[0] != "glibc":
        assert not memory.keep_freed_memory()
        return
    assert faults("keep") < faults("leave") / 2  # a kernel may take pages back in between


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_freed_memory()

"""What is stored with every result, so that it can be reproduced: code, versions, hardware and date."""

import datetime
import hashlib
import importlib.util
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from userlib.files import with_lf
from userlib.version import __version__

PACKAGES = ("userlib", "userscenes", "userlab")


@cache
def code_version() -> str:
    """The version and a hash of all sources of userlib, userscenes and userlab, such as "0.1.0+3f2a9c01d7b4"."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for root in map(Path, spec.submodule_search_locations or () if spec else ()):
            for path in sorted(root.rglob("*.py")):
                name = f"{package}/{path.relative_to(root).as_posix()}"
                digest.update(name.encode() + b"\0" + with_lf(path.read_bytes()))
    return f"{__version__}+{digest.hexdigest()[:12]}"


def processor() -> str:
    """The name of the processor, or its architecture where the system does not give a name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def hardware() -> dict[str, Any]:
    """Processor, cores, threads of torch and, where there is one, the GPU."""
    info: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        info["gpu"] = torch.cuda.get_device_name()
    return info


def provenance() -> dict[str, Any]:
    """Code, torch, Python, hardware and date. Results also have the configuration with its seed, and a data hash."""
    return {
        "code": code_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
    }


def peak_memory_mb() -> float | None:
    """The peak resident memory of this process so far, in MB (2^20 bytes); None on Windows."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)

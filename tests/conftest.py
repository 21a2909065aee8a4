"""What every test stands on: few threads, no network, a cache of its own, real photos where there are some.

The environment is set while this file is imported, before any test module imports torch.
"""

import importlib.util
import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
OFFLINE = ROOT / "tests" / "offline"

# One thread a process: pytest-xdist starts workers that share the cores, and what the tests compute is so small that
# threads would mostly wait for each other. All three, since torch goes by MKL's number where only OpenMP's is set.
THREADS = os.environ.get("OMP_NUM_THREADS", "1")
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, THREADS)
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "agg"

# A shell that starts the tests in the background has Ctrl-C ignored, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing leaves the machine, neither from here nor from a command that a test starts.
os.environ["HF_HUB_OFFLINE"] = "1"
PATHS = [str(OFFLINE), str(ROOT), str(ROOT / "notebooks"), os.environ.get("PYTHONPATH")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATHS))
spec = importlib.util.spec_from_file_location("offline_guard", OFFLINE / "sitecustomize.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))

# One cache a worker: tests share what is costly to make, and touch nothing of the user's.
CACHE = tempfile.TemporaryDirectory(prefix="userlib-tests-", ignore_cleanup_errors=True)
os.environ["USERLIB_CACHE"] = CACHE.name

# The same examples at each run, so that a red test is red again; the soak looks for new ones.
slow_is_fine = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("tests", derandomize=True, max_examples=50, **slow_is_fine)
settings.register_profile("soak", max_examples=500, **slow_is_fine)
settings.load_profile("tests")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs CUDA")


def pytest_unconfigure():
    CACHE.cleanup()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache for this test alone."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("USERLIB_CACHE", str(folder))
    return folder


def named_folder(variable: str) -> Path:
    """The folder that an environment variable names; skips where it is not set."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"set {variable}")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"{variable} is {folder!r}, which is not a folder; name a folder or unset it")
    return path


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photos (Flickr8k in the hub's schema) that USERLIB_PHOTOS names."""
    return named_folder("USERLIB_PHOTOS")


@pytest.fixture(scope="session")
def networks() -> Path:
    """The folder of published networks that USERLIB_MODELS names."""
    return named_folder("USERLIB_MODELS")

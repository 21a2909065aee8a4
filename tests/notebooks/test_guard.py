"""Faults planted in notebooks: what `pytest --nbmake notebooks` must not let through, and what it must."""

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

FINE = """
import ipywidgets as W
slider, words = W.IntSlider(2), W.HTML()
slider.observe(lambda change: setattr(words, "value", f"k={change.new}"), "value")
slider.value = 4
assert words.value == "k=4"
"""
OBSERVER = """
import ipywidgets as W
slider = W.IntSlider(2)
slider.observe(lambda change: 1 / 0, "value")
slider.value = 4
"""
CAPTURE = """
import ipywidgets as W
out = W.Output()
button = W.Button()
@out.capture()
def pressed(_):
    raise ValueError("inside capture")
button.on_click(pressed)
display(out)
button.click()
"""
INTERACT = """
import ipywidgets as W
W.interact(lambda k: 1 / (k - 2), k=W.IntSlider(2))
"""
REQUEST = """
import urllib.request
try:
    urllib.request.urlopen("http://example.org", timeout=2)
except OSError:
    pass
"""
CHILD = """
import subprocess, sys
code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
subprocess.run([sys.executable, "-c", code], capture_output=True)
"""
LOOPBACK = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
"""
WARNING = """
import warnings
warnings.warn("red for the reader")
"""
PLANTED = {  # each kernel takes seconds to start: what leaves a notebook running shares one
    "sound": (FINE, LOOPBACK),
    "observer": (OBSERVER,),
    "unseen": (CAPTURE, INTERACT, REQUEST, CHILD, WARNING),
}


def write_notebook(file: Path, *cells: str) -> Path:
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells]), file
    )
    return file


def run_notebooks(folder: Path, sources: dict[str, tuple[str, ...]], **environment: str) -> dict[str, str]:
    """Each notebook -> what its failure says, '' when it passed."""
    for name, cells in sources.items():
        write_notebook(folder / f"{name}.ipynb", *cells)
    report = folder / "report.xml"
    path = os.pathsep.join([str(NOTEBOOKS), os.environ.get("PYTHONPATH", "")])
    options = [
        "-p",
        "conftest",
        "--nbmake",
        "--nbmake-kernel=python3",
        f"--junitxml={report}",
        f"--rootdir={folder}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    said = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        failure = case.find("failure")
        said[case.get("name").removesuffix(".ipynb")] = (
            "" if failure is None else failure.get("message") + failure.text
        )
    return said


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    return run_notebooks(tmp_path_factory.mktemp("planted"), PLANTED)


def test_a_sound_notebook_passes(said):
    assert said["sound"] == ""


@pytest.mark.parametrize(
    "name, word",
    [
        ("observer", "ZeroDivisionError"),
        ("unseen", "ValueError: inside capture (swallowed by a widget)"),
        ("unseen", "ZeroDivisionError: division by zero (swallowed by a widget)"),
        ("unseen", "network: socket.getaddrinfo example.org"),
        ("unseen", "network: socket.getaddrinfo 192.0.2.1"),
        ("unseen", "stderr: "),
    ],
)
def test_a_planted_fault_is_caught(said, name, word):
    assert word in said[name]


NO_TIMES = pytest.mark.skipif(os.name == "nt", reason="Windows keeps no times of ended processes")


@NO_TIMES
def test_a_kernel_s_processor_time_is_counted(tmp_path):
    budget = "0.1"  # to start takes longer
    said = run_notebooks(tmp_path, {"slow": ("pass",)}, USERLIB_NOTEBOOK_BUDGET=budget)
    assert "s of processor time; the budget is 0.1 s" in said["slow"]


@NO_TIMES
@pytest.mark.parametrize(
    "code, caught",
    [("import time\nwhile time.process_time() < 1: pass", True), ("import time; time.sleep(1)", False)],
)
def test_work_counts_and_waiting_for_other_programs_does_not(monkeypatch, code, caught):
    guard = load_guard()
    monkeypatch.setenv("USERLIB_NOTEBOOK_BUDGET", "0.9")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("USERLIB_PROFILE", "fast")

    def execute(self):
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
        return SimpleNamespace(nb=nbformat.v4.new_notebook(), error=None)

    error = guard.guarded(execute)(None).error
    assert (error is not None) == caught
    assert not caught or "the budget is 0.9 s" in error.trace


@pytest.mark.parametrize(
    "profile, threads, named, budget",
    [
        ("fast", 1, None, 400),
        ("fast", 2, None, 800),
        ("full", 1, None, float("inf")),
        ("full", 2, "0.5", 0.5),
    ],
)
def test_the_budget_is_a_thread_s(monkeypatch, profile, threads, named, budget):
    guard = load_guard()
    monkeypatch.setenv("USERLIB_PROFILE", profile)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    monkeypatch.delenv("USERLIB_NOTEBOOK_BUDGET", raising=False)
    if named:
        monkeypatch.setenv("USERLIB_NOTEBOOK_BUDGET", named)
    assert guard.budget_s() == budget


def load_guard():
    spec = importlib.util.spec_from_file_location("guard", NOTEBOOKS / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_a_notebook_says_on_stderr_is_a_fault_and_a_line_of_progress_is_none(monkeypatch, tmp_path):
    guard = load_guard()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("USERLIB_PROFILE", "fast")
    log = tmp_path / "network.txt"
    log.touch()
    bar = nbformat.v4.new_output("display_data", data={"text/html": "<code>waiting, 3 s</code>"})
    red = nbformat.v4.new_output("stream", name="stderr", text="waiting for another process\n")
    for outputs, result in (([bar], []), ([bar, red], ["stderr: waiting for another process"])):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)])
        assert guard.complaints(nb, log, 1.0) == result

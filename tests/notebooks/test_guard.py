"""Faults planted in notebooks: what `pytest --nbmake notebooks` must not let through, and what it must."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

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
PLANTED = {
    "fine": FINE,
    "observer": OBSERVER,
    "capture": CAPTURE,
    "interact": INTERACT,
    "request": REQUEST,
    "child": CHILD,
    "loopback": LOOPBACK,
    "warning": WARNING,
}


def run_notebooks(folder: Path, sources: dict[str, str], **environment: str) -> dict[str, str]:
    """Each notebook -> what its failure says, '' when it passed."""
    for name, source in sources.items():
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip())])
        nbformat.write(nb, folder / f"{name}.ipynb")
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


@pytest.mark.parametrize("name", ["fine", "loopback"])
def test_a_sound_notebook_passes(said, name):
    assert said[name] == ""


@pytest.mark.parametrize(
    "name, word",
    [
        ("observer", "ZeroDivisionError"),
        ("capture", "ValueError: inside capture (swallowed by a widget)"),
        ("interact", "ZeroDivisionError: division by zero (swallowed by a widget)"),
        ("request", "network: socket.getaddrinfo example.org"),
        ("child", "network: socket.getaddrinfo 192.0.2.1"),
        ("warning", "stderr: "),
    ],
)
def test_a_planted_fault_is_caught(said, name, word):
    assert word in said[name]


def test_a_slow_notebook_is_caught(tmp_path):
    slow = {"slow": "import time\ntime.sleep(0.3)"}
    said = run_notebooks(tmp_path, slow, USERLIB_NOTEBOOK_BUDGET="0.2")
    assert "the budget is 0 s" in said["slow"]

"""A real browser before a real server: JupyterLab and Voila on 127.0.0.1, each with a token of its own."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from userlib.doctor import chromium

ROOT = Path(__file__).resolve().parents[2]
SLOW = 1_000 * int(os.environ.get("USERLIB_BROWSER_WAIT", "600"))  # ms: a wait ends as soon as it can
WIDTH, HEIGHT = 1280, 1000


@dataclass
class Server:
    """Where it is, and what lets one in."""

    url: str
    token: str
    process: subprocess.Popen
    log: Path


@dataclass
class Seen:
    """What went wrong in a page: uncaught errors, and requests that left this machine."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command: list[str], folder: Path, cwd: Path, **environment: str) -> Iterator[Server]:
    """A server until the tests are over; the command may name {port}."""
    port, token = free_port(), secrets.token_urlsafe(16)
    log = folder / "server.log"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(port=port) for part in command)],
            cwd=cwd, stdout=stream, stderr=stream,
            env={**os.environ, "JUPYTER_TOKEN": token, "HF_HUB_OFFLINE": "1", **environment},
        )  # fmt: skip
    server = Server(f"http://127.0.0.1:{port}", token, process, log)
    try:
        for _ in range(400):
            try:
                urllib.request.urlopen(f"{server.url}/?token={token}", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break  # it answers
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.3)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def seen() -> Seen:
    """What goes wrong in all the pages of a file."""
    return Seen()


@pytest.fixture(scope="session")
def browser():
    path = chromium()
    if path is None:
        pytest.skip("no Chromium or Chrome here; install one to run the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def jupyter_folders(tmp_path_factory):
    """Settings and runtime files of the servers, apart from those of the person who runs the tests."""
    folder = tmp_path_factory.mktemp("jupyter")
    return {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR")
    } | {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}


@pytest.fixture(scope="session")
def voila(tmp_path_factory, jupyter_folders):
    """The page as `course.py demo` serves it."""
    import course

    command = course.demo_command(0)[1:]
    command = [part.replace("--port=0", "--port={port}") for part in command] + ["--no-browser"]
    yield from start(command, tmp_path_factory.mktemp("voila"), ROOT, **jupyter_folders)


def lab_over(folder: Path, **environment: str) -> Iterator[Server]:
    """JupyterLab over a copy of the notebooks, with the settings that `course.py` gives it."""
    import course

    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("src"))
    command = ["jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port={port}",
               f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
               "--LabApp.extension_manager=readonly"]  # fmt: skip
    settings = {"JUPYTER_CONFIG_PATH": str(ROOT / course.SETTINGS)}
    yield from start(command, folder, folder, **settings, **environment)


@pytest.fixture(scope="session")
def lab(tmp_path_factory, jupyter_folders):
    yield from lab_over(tmp_path_factory.mktemp("lab"), **jupyter_folders)


@pytest.fixture(scope="session")
def course_lab(tmp_path_factory, jupyter_folders):
    """One more, whose notebooks run in the fast profile."""
    yield from lab_over(tmp_path_factory.mktemp("course"), USERLIB_PROFILE="fast", **jupyter_folders)


def new_page(browser, seen: Seen):
    """A page that notes what goes wrong in it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_default_timeout(SLOW)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))

    def asked(request) -> None:
        if not request.url.startswith(("http://127.0.0.1", "data:", "blob:", "ws://127.0.0.1")):
            seen.outside.append(request.url)

    page.on("request", asked)
    return page

"""Kernels end with their pages, and a page whose kernel or server is gone says so; a real server and browser.

The notebook is small (the demo's own widget that shows the sign, without the models), the times are short (but long
enough for a busy machine to draw a page in them), the settings are the demo's. One server serves all tests.
"""

import json
import re
import time
import urllib.error
import urllib.request
from contextlib import suppress

import psutil
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ROOT, SLOW, Seen, new_page, start

ALONE_S, IDLE_S = 20, 60
RELOADS, TABS = 10, 5
SIGN = ".ud-gone-sign"
SOURCE = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("clickable", {str(ROOT / "notebooks/usercourse/demo/clickable.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import ipywidgets
here = module.Clickable("cards", items=[{{"key": "a", "label": "a", "text": "a card"}}])
ipywidgets.VBox([module.Clickable("alive"), here])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, jupyter_folders):
    """A server of a small page with the demo's settings, which ends kernels sooner."""
    import course

    folder = tmp_path_factory.mktemp("small")
    cell = {
        "cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": SOURCE,
    }  # fmt: skip
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "small.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    command = ["--port={port}" if part == "--port=0" else part for part in course.demo_command(0)[1:]]
    command[1] = "small.ipynb"
    command += [f"--PageKernels.cull_alone_timeout={ALONE_S}", f"--PageKernels.cull_idle_timeout={IDLE_S}"]
    command += ["--PageKernels.cull_interval=1", "--no-browser"]
    yield from start(command, folder, folder, **jupyter_folders)


def open_page(browser, server):
    """A page, and the ids of the kernels that it has met, which it goes on to collect."""
    page, met = new_page(browser, Seen()), []
    page.on("websocket", lambda one: met.extend(re.findall(r"kernels/([\w-]+)/channels", one.url)))
    load(page, server)
    return page, met


def load(page, server):
    page.goto(f"{server.url}/?token={server.token}", wait_until="commit", timeout=SLOW)
    page.locator(".ud-card").first.wait_for(timeout=SLOW)


def alive(server, ids) -> set[str]:
    """Those of the kernels that the server still has, asked through its API."""
    result = set()
    for one in set(ids):
        request = urllib.request.Request(
            f"{server.url}/api/kernels/{one}", headers={"Authorization": f"token {server.token}"}
        )
        try:
            urllib.request.urlopen(request, timeout=30).close()
            result.add(one)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
    return result


def kernels(server) -> list[psutil.Process]:
    """The kernels' processes, also of those that no page has met."""
    result = []
    for one in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if "ipykernel_launcher" in " ".join(one.cmdline()):
                result.append(one)
    return result


def until(what, page, seconds=60.0):
    """Wait for a condition while the page lives on."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        page.wait_for_timeout(200)


def test_reloads_and_closed_tabs_leave_the_kernels_of_open_pages(browser, server):
    with urllib.request.urlopen(f"{server.url}/?token={server.token}", timeout=60) as answer:
        answer.read()  # a page that is left before it connects
    page, met = open_page(browser, server)
    for i in range(TABS):  # some sign off, the others are torn away
        other, its = open_page(browser, server)
        other.close(run_before_unload=i % 2 == 0)
        met += its
    for _ in range(RELOADS):
        load(page, server)
    began = time.monotonic()
    assert len(set(met)) == 1 + TABS + RELOADS
    until(lambda: len(alive(server, met)) == 1 and len(kernels(server)) == 1, page)
    print(
        f"{len(set(met)) + 1} kernels were started; one was left {time.monotonic() - began:.0f} s later",
        flush=True,
    )
    assert alive(server, met) == {met[-1]}  # of the page that is open
    expect(page.locator(SIGN)).to_be_hidden()
    until(lambda: len(kernels(server)) == 0, page, IDLE_S + 60)  # open, and idle for long
    print(f"none was left {time.monotonic() - began:.0f} s after the last load", flush=True)
    expect(page.locator(SIGN)).to_contain_text("Load the page again", timeout=SLOW)
    page.close()
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in log and not re.search(r"^(\[Voila\] .*)?403 ", log, re.MULTILINE), log[-2_000:]


def test_a_killed_kernel_is_told(browser, server):
    page, _ = open_page(browser, server)
    for one in kernels(server):
        one.kill()
    expect(page.locator(SIGN)).to_contain_text("has ended", timeout=SLOW)
    page.get_by_role("button", name="Load again").click()
    page.locator(".ud-card").first.wait_for(timeout=SLOW)
    expect(page.locator(SIGN)).to_be_hidden()
    page.close()


def test_a_stopped_server_is_told(browser, server):
    """The last test of this file: the server is gone afterwards."""
    page, _ = open_page(browser, server)
    server.process.terminate()
    expect(page.locator(SIGN)).to_contain_text("python course.py demo", timeout=SLOW)
    page.close()

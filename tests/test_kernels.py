"""Which kernels the servers end, and when: rules alone; a real server and browser are in tests/browser."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest
from jupyter_server._tz import utcnow

import course
from usercourse import kernels
from usercourse.kernels import PageKernels, let_pages_sign_off


@pytest.fixture
def pages(monkeypatch):
    """A manager of made-up kernels at second 1,000, with the demo's settings; `ended` are those that it ended."""
    monkeypatch.setattr(kernels.time, "monotonic", lambda: 1_000.0)
    made = PageKernels(cull_alone_timeout=40, cull_idle_timeout=1800, cull_connected=True)
    made.ended = []

    async def shutdown(kernel_id):
        made.ended.append(kernel_id)
        del made._kernels[kernel_id]

    made.shutdown_kernel = shutdown
    return made


def look(pages, *, idle, state="idle", tabs=0, left=None):
    """Whether a kernel idle for so many seconds, with so many open tabs, ends; `left` seconds ago a tab went."""
    pages._kernels = {
        "a": SimpleNamespace(last_activity=utcnow() - timedelta(seconds=idle), execution_state=state)
    }
    pages._kernel_connections = {"a": tabs}
    pages._left = {} if left is None else {"a": 1_000.0 - left}
    asyncio.run(pages.cull_kernel_if_idle("a"))
    return pages.ended == ["a"]


@pytest.mark.parametrize(
    "state, ends",
    [
        ({"idle": 35}, False),  # the page may still come
        ({"idle": 45}, True),  # it never came
        ({"idle": 45, "tabs": 1}, False),
        ({"idle": 1790, "tabs": 1}, False),
        ({"idle": 1810, "tabs": 1}, True),
        ({"idle": 5, "left": 300}, False),  # work went on after the page left
        ({"idle": 600, "left": 30}, False),  # read for long; the page may come back
        ({"idle": 600, "left": 45}, True),
        ({"idle": 45, "state": "busy"}, False),
        ({"idle": 3600, "state": "busy", "tabs": 1}, False),
        ({"idle": 45, "state": "starting"}, True),
        ({"idle": 45, "state": "dead"}, True),
    ],
)
def test_when_a_page_s_kernel_ends(pages, state, ends):
    assert look(pages, **state) is ends


@pytest.mark.parametrize("state", [{"tabs": 1}, {"tabs": 2, "left": 9e4}, {"state": "busy"}, {"left": 30}])
def test_a_notebook_s_kernel_outlives_all_but_an_hour_without_a_tab(pages, state):
    pages.cull_connected = False
    assert look(pages, **{"idle": 90_000, **state}) is False
    assert look(pages, idle=90_000, left=90_000) is True


def test_a_kernel_that_is_being_started_is_left_alone(pages):
    pages._kernels = {"a": SimpleNamespace(execution_state="starting")}
    asyncio.run(pages.cull_kernel_if_idle("a"))
    assert pages.ended == []


def test_a_kernel_that_has_ended_meanwhile_is_no_fault(pages):
    asyncio.run(pages.cull_kernel_if_idle("gone"))
    assert pages.ended == []


def test_a_tab_that_leaves_is_noted(pages):
    pages._kernel_connections = {"a": 2}
    pages.notify_disconnect("a")
    assert (pages._kernel_connections, pages._left) == ({"a": 1}, {"a": 1_000.0})


def test_a_page_gets_the_cookie_that_lets_it_sign_off():
    class Handler:
        asked = 0

        @property
        def xsrf_token(self):
            self.asked += 1
            return b"token"

    handler = Handler()
    assert (
        let_pages_sign_off(handler, notebook=None, cwd=".") is None
    )  # anything else would replace the notebook
    assert handler.asked == 1


def test_both_servers_have_these_kernels():
    lab, demo = course.lab_command(1), course.demo_command(1)
    assert "--ServerApp.kernel_manager_class=usercourse.kernels.PageKernels" in lab
    assert {f"--PageKernels.{one}" for one in course.LAB_KERNELS} <= set(lab)
    folder = next(part for part in demo if part.startswith("--Voila.config_file_paths=")).partition("=")[2]
    from traitlets.config.loader import PyFileConfigLoader

    read = PyFileConfigLoader("voila.py", folder).load_config()
    assert read.VoilaConfiguration.multi_kernel_manager_class is PageKernels
    assert read.VoilaConfiguration.prelaunch_hook is let_pages_sign_off
    assert (
        read.PageKernels.cull_connected
        and read.PageKernels.cull_interval + PageKernels.cull_alone_timeout.default_value < 60
    )
    assert read.PageKernels.cull_idle_timeout == 1800

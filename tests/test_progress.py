"""Progress: what may be over at once is not shown at once, and what lasts is."""

import sys
from types import SimpleNamespace

import pytest

from userlib import progress
from userlib.progress import Progress


@pytest.fixture
def notebook(monkeypatch):
    """A notebook whose clock the test moves: what it shows, and the clock."""
    shown, clock = [], [0.0]

    def display(line, display_id):
        shown.append(line.data)
        return SimpleNamespace(update=lambda line: shown.append(line.data))

    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    html = SimpleNamespace(HTML=lambda data: SimpleNamespace(data=data), display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", html)
    return shown, clock


def test_work_is_shown_from_its_first_moment_to_its_last(notebook):
    shown, clock = notebook
    with Progress(2, "things") as bar:
        assert "0 of 2" in shown[0]
        clock[0] = 1.0
        bar.step()
        assert "1 of 2" in shown[-1]
        bar.step()
    assert "2 of 2 (100 %)" in shown[-1]


def test_short_work_with_a_delay_is_never_shown_and_long_work_is(notebook):
    shown, clock = notebook
    with Progress(2, "things", delay=1.0) as bar:
        clock[0] = 0.9
        bar.step(2)
    assert not shown
    with Progress(2, "things", delay=1.0) as bar:
        clock[0] = 2.0
        bar.step()
        assert "1 of 2" in shown[-1]
        bar.step()
    assert "2 of 2" in shown[-1]


def test_nothing_is_shown_where_none_is_wanted(notebook):
    shown, clock = notebook
    with Progress(1, "things", show=False, delay=1.0) as bar:
        clock[0] = 5.0
        bar.step()
    assert not shown

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


def test_a_wait_is_one_line_that_counts_seconds(notebook, capsys):
    shown, clock = notebook
    asked = []

    def take(seconds):
        asked.append(seconds)
        clock[0] += 3 * seconds
        return len(asked) == 4

    progress.wait_for(take, "waiting for <another>")
    assert asked == [0.0, 0.5, 0.5, 0.5]
    assert shown[0] == "<code>waiting for &lt;another&gt;, 0 s</code>"
    assert shown[-1] == "<code>waiting for &lt;another&gt;, 4 s</code>"
    assert capsys.readouterr() == ("", "")


def test_what_is_there_at_once_is_not_waited_for(notebook, capsys):
    progress.wait_for(lambda seconds: True, "waiting")
    assert notebook[0] == [] and capsys.readouterr() == ("", "")


def test_a_wait_in_a_terminal_stands_where_bars_stand(capsys):
    answers = iter([False, False, True])
    progress.wait_for(lambda seconds: next(answers), "waiting for another")
    out, err = capsys.readouterr()
    assert out == "" and "waiting for another, 00:00" in err


def test_words_beside_a_result_are_no_fault_in_a_notebook(monkeypatch, capsys):
    progress.tell("Downloading")
    assert capsys.readouterr() == ("", "Downloading\n")
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    progress.tell("Downloading")
    assert capsys.readouterr() == ("Downloading\n", "")


def test_a_second_process_waits_for_the_lock_without_a_word_on_stderr(notebook, tmp_path, capsys):
    """Two notebooks that start together on an empty cache: the second shows its wait as a line of its own."""
    import threading

    from filelock import FileLock

    from userlib.data.store import locked

    other = FileLock(tmp_path / "tokens.lock", thread_local=False)
    other.acquire()
    threading.Timer(0.2, other.release).start()
    with locked(tmp_path / "tokens"):
        assert other.acquire is not None and not other.is_locked
    shown, _ = notebook
    assert shown[0].startswith(f"<code>waiting for another process that is filling {tmp_path / 'tokens'}")
    assert capsys.readouterr() == ("", "")

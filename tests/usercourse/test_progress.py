"""The progress page: what a check says is noted, solved stays solved, and no file can break it."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nbformat
import pytest

from usercourse import check, progress
from usercourse.checks import exercises

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.fixture(autouse=True)
def empty(cache, monkeypatch):
    monkeypatch.setattr(progress, "_unwritten", {})


def right(name):
    return exercises()[name].right


def test_a_check_is_noted_and_solved_stays_solved():
    assert check("half_life", ...).state == "not attempted yet"
    assert progress.states() == {}
    check("half_life", lambda m: 1.0)
    assert progress.states() == {"half_life": "wrong"}
    check("half_life", right("half_life"))
    check("claim_verdict", right("claim_verdict"))
    check("half_life", lambda m: 1.0)
    assert progress.states() == {"half_life": "correct", "claim_verdict": "correct"}
    check("no such exercise", 1)
    assert set(progress.states()) == {"half_life", "claim_verdict"}


def test_the_page_has_every_exercise_in_the_notebook_that_checks_it(notebooks):
    page = progress.show()
    assert {one.name: list(one.exercises) for one in page.chapters} == {
        name: notebooks.checks_of(name) for name in notebooks.names if notebooks.checks_of(name)
    }
    for chapter in page.chapters:
        assert (NOTEBOOKS / f"{chapter.name}.ipynb").exists() and chapter.title.startswith(chapter.name[:2])


def test_the_page_says_what_is_solved_tried_and_open():
    check("recall_at_k", right("recall_at_k"))
    check("image_ranks", lambda scores, caption_to_image: 1)
    page = progress.show()
    total = len(exercises())
    assert (
        page.sentence
        == f"Solved: 1 of {total} exercises. The next open one is in notebook {page.chapters[0].title}."
    )
    line = next(line for line in repr(page).splitlines() if "recall_at_k" in line)
    assert "1 of 4" in line and "✓ recall_at_k" in line and "✗ image_ranks" in line and "○ interval" in line
    shown = page._repr_html_()
    assert 'href="01_recall.ipynb"' in shown and "1 of 4" in shown
    for words in ("solved", "tried", "open"):
        assert f'aria-label="{words}"' in shown  # not by colour alone
    progress.forget()
    assert progress.show().sentence == f"Solved: 0 of {total} exercises."


@pytest.mark.parametrize(
    "text", ["{broken", "[1, 2]", "null", "", '{"half_life": 3, "interval": "correct"}', "\udc80"]
)
def test_a_damaged_file_is_an_empty_one_and_is_written_again(text):
    progress.store().parent.mkdir(parents=True)
    progress.store().write_bytes(text.encode("utf-8", "surrogateescape"))
    kept = {"interval": "correct"} if "interval" in text else {}
    assert progress.states() == kept
    assert check("half_life", right("half_life")).state == "correct"
    assert progress.states() == kept | {"half_life": "correct"}


def test_a_folder_that_cannot_be_written_stops_no_check(cache):
    progress.store().parent.parent.mkdir(parents=True, exist_ok=True)
    progress.store().parent.write_text("a file where the folder should be")
    assert check("half_life", lambda m: 1.0).state == "wrong"
    assert check("half_life", right("half_life")).state == "correct"
    assert progress.states() == {"half_life": "correct"}
    progress.forget()
    assert progress.states() == {}


def test_what_the_builder_solved_is_not_stored():
    spec = spec_from_file_location("build", NOTEBOOKS / "build.py")
    build = module_from_spec(spec)
    spec.loader.exec_module(build)
    check("half_life", right("half_life"))
    data, metadata = progress.show()._repr_mimebundle_()
    assert "Solved: 1 of" in data["text/plain"]
    output = nbformat.v4.new_output("execute_result", data, metadata=metadata, execution_count=1)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    build.clean(nb)
    output = nb.cells[0].outputs[0]
    assert "Solved: 0 of" in output.data["text/plain"] and "Solved: 0 of" in output.data["text/html"]
    assert output.metadata == {}


def test_a_notebook_that_cannot_be_read_is_left_out(tmp_path):
    (tmp_path / "01_a.ipynb").write_text("{broken")
    (tmp_path / "02_b.ipynb").write_text(
        '{"cells": [{"cell_type": "code", "source": ["check(\\"half_life\\", x)"]}]}'
    )
    assert [(one.name, one.exercises) for one in progress.chapters(tmp_path)] == [("02_b", ("half_life",))]

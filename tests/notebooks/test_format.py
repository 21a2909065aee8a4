"""The committed notebooks: cells as in their sources, outputs by the rules; and rules that see faults."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
COMMITTED = sorted(NOTEBOOKS.glob("*.ipynb"))
SOURCES = sorted((NOTEBOOKS / "src").glob("*.py"))


def parts(nb) -> list[tuple]:
    """What source and notebook share."""
    return [(cell.cell_type, cell.id, cell.source, dict(cell.metadata)) for cell in nb.cells]


def test_every_source_has_its_notebook_and_no_notebook_lacks_one():
    assert [path.stem for path in SOURCES] == [path.stem for path in COMMITTED]
    assert SOURCES


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_cells_are_those_of_the_source(path, build):
    source = build.from_source(NOTEBOOKS / "src" / f"{path.stem}.py")
    committed = nbformat.read(path, as_version=4)
    assert parts(committed) == parts(source)
    assert committed.metadata == source.metadata


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_time_of_the_exercises_at_the_top_is_their_sum(path):
    text = path.read_text(encoding="utf-8")
    minutes = sum(map(int, re.findall(r"^# ### Exercise.*about (\d+) minutes", text, re.MULTILINE)))
    title, _, row = re.findall(r"^# (\| .*|\|-.*)$", text, re.MULTILINE)[:3]
    stated = row.strip("|").split("|")[title.strip("|").split("|").index(" exercises, an estimate ")]
    assert stated.strip() == (f"{minutes} minutes" if minutes else "none")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_notebook_keeps_the_rules(path, build):
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    assert build.faults(nb, path.stat().st_size) == []


@pytest.fixture
def sound():
    """A notebook of two cells that breaks no rule; each test below spoils a copy."""
    code = new_code_cell(
        "1 + 1", execution_count=1, outputs=[new_output("stream", name="stdout", text="2 /n")]
    )
    last = new_code_cell("2 + 2", execution_count=2)
    return new_notebook(cells=[new_markdown_cell("# Title"), code, last])


def test_a_sound_notebook_has_no_fault(build, sound):
    assert build.faults(sound, 1000) == []


def spoil_size(nb):
    return 500_001


def spoil_cells(nb):
    nb.cells += [new_markdown_cell("more") for _ in range(38)]


def spoil_lines(nb):
    nb.cells[1].source = "1\n" * 25 + "1"


def spoil_widgets(nb):
    nb.metadata["widgets"] = {}


def spoil_errors_allowed(nb):
    nb.metadata["execution"] = {"allow_errors": True}


def spoil_order(nb):
    nb.cells[1].execution_count, nb.cells[2].execution_count = 2, 1


def spoil_unrun(nb):
    nb.cells[2].execution_count = None


def spoil_error(nb):
    nb.cells[1].outputs.append(new_output("error", ename="ValueError", evalue="x", traceback=[]))


def spoil_stderr(nb):
    nb.cells[1].outputs.append(new_output("stream", name="stderr", text="warning"))


def spoil_path_in_output(nb):
    nb.cells[1].outputs.append(new_output("stream", name="stdout", text="saved in " + "/ho" + "me/ann/x"))


def spoil_path_in_html(nb):
    nb.cells[1].outputs.append(new_output("display_data", data={"text/html": "<b>" + "/ro" + "ot/x</b>"}))


def spoil_path_in_source(nb):
    nb.cells[2].source = "open(r'" + "C:" + r"\data')"


@pytest.mark.parametrize(
    "spoil, word",
    [
        (spoil_size, "500,001 bytes"),
        (spoil_cells, "41 cells"),
        (spoil_lines, "26 lines in sight"),
        (spoil_widgets, "metadata.widgets"),
        (spoil_errors_allowed, "allow_errors"),
        (spoil_order, r"execution counts \[2, 1\]"),
        (spoil_unrun, r"execution counts \[1, None\]"),
        (spoil_error, "ended in ValueError"),
        (spoil_stderr, "stderr output"),
        (spoil_path_in_output, "path in an output"),
        (spoil_path_in_html, "path in an output"),
        (spoil_path_in_source, "path in the source"),
    ],
)
def test_a_broken_rule_is_named(build, sound, spoil, word):
    size = spoil(sound) or 1000
    result = build.faults(sound, size)
    assert len(result) == 1
    assert re.search(word, result[0])


@pytest.mark.parametrize("metadata", [{"jupyter": {"source_hidden": True}}, {"tags": ["whole"]}])
def test_a_long_cell_may_be_hidden_or_marked(build, sound, metadata):
    spoil_lines(sound)
    sound.cells[1].metadata.update(metadata)
    assert build.faults(sound, 1000) == []


def test_a_picture_s_base64_is_no_path(build, sound):
    picture = "<img src='data:image/png;base64,AAAA/home/AAAA='>"
    sound.cells[1].outputs.append(new_output("display_data", data={"text/html": picture}))
    assert build.faults(sound, 1000) == []


def test_ids_follow_the_text_and_differ(build, tmp_path):
    source = tmp_path / "00_x.py"
    source.write_text("# %% [markdown]\n# one\n\n# %%\n1\n\n# %%\n1\n", encoding="utf-8")
    ids = [cell.id for cell in build.from_source(source).cells]
    assert len(set(ids)) == 3
    source.write_text("# %% [markdown]\n# two\n\n# %%\n1\n\n# %%\n1\n", encoding="utf-8")
    again = [cell.id for cell in build.from_source(source).cells]
    assert again[0] != ids[0]
    assert again[1:] == ids[1:]


def test_outputs_are_kept_only_where_the_code_is_the_same(build, sound):
    words = nbformat.from_dict(sound)
    changed = new_notebook(
        cells=[new_markdown_cell("# New title"), new_code_cell("1 + 1"), new_code_cell("2 + 2")]
    )
    for cell, old in zip(changed.cells, sound.cells, strict=True):
        cell.id = old.id
    build.keep_outputs(changed, words)
    assert changed.cells[1].outputs == sound.cells[1].outputs
    changed.cells[2].id = "other"
    with pytest.raises(ValueError, match="a code cell has changed"):
        build.keep_outputs(changed, words)


def test_cleaning_leaves_words_in_place_of_a_widget(build, sound):
    sound.metadata["widgets"] = {"state": {}}
    sound.metadata["language_info"] = {"version": "3.11.7"}
    sound.cells[1].metadata["execution"] = {"iopub.status.busy": "now"}
    view = {build.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "VBox(children=())"}
    sound.cells[1].outputs.append(new_output("display_data", data=view))
    build.clean(sound)
    assert sound.cells[1].outputs[-1].data == {"text/plain": build.LIVE}
    assert build.faults(sound, 1000) == []
    assert "language_info" not in sound.metadata
    assert "execution" not in sound.cells[1].metadata

"""The words of the notebooks: links that land, sentences under figures, headers that were measured, no filler."""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SOURCES = sorted((NOTEBOOKS / "src").glob("*.py"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILLER = re.compile(
    r"\b(simply|obviously|of course|as we all know|dive in|let's)\b|(?<!\!)\!(?=\s|$)", re.IGNORECASE
)
EACH = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def prose(path) -> str:
    """The markdown of a source, without code and formulas."""
    cells = re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = "\n".join(re.sub(r"^# ?", "", cell[len(" [markdown]") :], flags=re.MULTILINE) for cell in cells
                     if cell.startswith(" [markdown]"))  # fmt: skip
    return re.sub(r"```.*?```|<!--.*?-->|\$\$.*?\$\$|`[^`]*`", "", text, flags=re.DOTALL)


def anchors(path) -> set[str]:
    """The anchors of a markdown file's headings, the same in JupyterLab as on the web where they are lower-case."""
    headings = re.findall(r"^##+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading.strip().replace(" ", "-") for heading in headings}


def test_headings_of_the_glossary_are_lower_case_and_sorted():
    headings = re.findall(
        r"^## (.+)$", (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert headings == sorted(set(headings))
    assert all(re.fullmatch(r"[a-z0-9 -]+", heading) for heading in headings)


@pytest.mark.parametrize("path", [*SOURCES, NOTEBOOKS / "GLOSSARY.md"], ids=lambda path: path.stem)
def test_every_link_lands(path):
    known = anchors(NOTEBOOKS / "GLOSSARY.md")
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if link.startswith("https://"):
            continue
        assert (NOTEBOOKS / file).exists(), link
        if file == "GLOSSARY.md" or (not file and path.suffix == ".md"):
            assert anchor in known, link


@EACH
def test_prose_has_no_filler_and_nothing_left_to_measure(path):
    text = prose(path)
    assert not FILLER.search(text), FILLER.search(text)
    assert "TBM" not in text


@EACH
def test_a_figure_has_its_sentence_as_alternative_text_and_beneath(path):
    nb = nbformat.read(NOTEBOOKS / f"{path.stem}.ipynb", as_version=4)
    for cell in nb.cells:
        outputs = list(cell.get("outputs", ()))
        for output, following in pairwise([*outputs, None]):
            if "image/png" in output.get("data", {}):
                sentence = output.metadata["image/png"]["alt"]
                assert len(sentence.split()) >= 6
                assert sentence.endswith((".", '"'))
                assert following is not None, sentence
                assert sentence == following.metadata["sentence"], sentence

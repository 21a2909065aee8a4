"""The front page stays short, and every relative link of a text leads to a file, and to a heading of it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "notebooks").glob("*.md"),
    *(ROOT / "hosted").glob("*.md"),
]
LINK = re.compile(r"\]\(<?([^()\s<>]+)>?(?:\s+\"[^\"]*\")?\)")
FENCED = re.compile(r"^```.*?^```", flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them: lower case, hyphens for spaces, no punctuation."""
    result: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", FENCED.sub("", text), flags=re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        taken = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", one) is not None for one in result)
        result.add(f"{anchor}-{taken}" if taken else anchor)
    return result | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def broken(file: Path) -> list[str]:
    """The relative links and images of a text that lead nowhere."""
    text, wrong = file.read_text(encoding="utf-8"), []
    for link in LINK.findall(FENCED.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = file.parent / name if name else file
        if not target.exists():
            wrong.append(link)
        elif line := re.fullmatch(r"L(\d+)", anchor):  # a line of code
            if int(line[1]) > target.read_text(encoding="utf-8").count("\n"):
                wrong.append(link)
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            wrong.append(link)
    return wrong


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 10_240


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_every_link_leads_somewhere(file):
    assert broken(file) == []


def test_the_front_page_leads_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name}" not in text] == []


def test_a_link_that_leads_nowhere_is_noticed(tmp_path):
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    (tmp_path / "other.md").write_text(
        "# A, *B* & c_d\n## Twice\n## Twice\n```\n# no heading\n```\n", encoding="utf-8"
    )
    page.write_text(
        '## Here\n[a](../other.md#a-b--c_d) [b](#here) [c](https://example.org/x) ![d](../other.md "t")\n'
        "[e](../other.md#twice-1) [f](gone.png) [g](other.md) [h](../other.md#no-heading) [i](#nowhere)\n"
        "[two\nlines](../gone.md) [j](../other.md#twice-2)\n",
        encoding="utf-8",
    )
    assert broken(page) == [
        "gone.png",
        "other.md",
        "../other.md#no-heading",
        "#nowhere",
        "../gone.md",
        "../other.md#twice-2",
    ]

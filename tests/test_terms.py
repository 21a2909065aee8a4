"""The words of the field: no private vocabulary in comments, strings, pages, notebooks and what these have printed.

`BANNED` says for each old word what takes its place. A word that a file needs in its plain sense is allowed there.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
BANNED = {
    r"pictures?": "image",
    r"right (answers?|images?|pairs?|captions?)": "ground-truth image, matching pair, relevant item",
    r"holds? zero|(clear|misses|miss) (of )?zero": "contains 0, excludes 0",
    r"cannot tell|data cannot tell|told apart from": "inconclusive",
    r"(has|have) [\d.]+ (more|less)|(more|less) (rSum|R@\d+) than": "rSum is x higher, x lower",
    r"95 % intervals?": "95 % confidence interval",
    r"luck|lucky": "by chance; seed variance, sampling variance",
    r"numbers to learn": "parameters",
    r"(of )?(unit length|length 1)": "unit norm",
    r"slopes?": "gradient, derivative",
    r"the field's (way|code|order|folds|own)": "the reference implementation, the standard protocol",
    r"(the|a|no|one) (push|pull)(es|s)?|push(es|ed)? (away|off|down|on|negatives)|begins? to push|pulls": "positive "
    "term, negative term",
    r"dead (start|run)s?|live (form|pull|UTO)|exact (form|pull|UTO)": "vanishing gradient at initialisation; leaky and "
    "original positive term",
    r"agreement": "attention weights",
    r"strengths?": "residual scale",
    r"sharpness": "inverse temperature",
    r"region's say|have to say": "leave-one-out importance",
    r"word heat|heat of the words": "word-region similarity",
    r"new pairs|seen pairs|new halves": "novel compositions, in-distribution",
    r"scores added|added scores": "late score fusion",
    r"knowledge mov(es|ed)|moved over": "transfers",
    r"trainings": "runs",
    r"beside": "next to, compared with, in addition to",
    r"anew|taken up": "again, resumed",
    r"yardsticks?": "baseline, control",
    r"nobody|offenders?": "null class; violating negative",
    r"standing still": "static snapshot of the widget",
    r"H\. Zhang": "Y. Zhang",
}
PATTERNS = [(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), instead) for words, instead in BANNED.items()]
BARE = re.compile(r"(?<![\w.)\]/\\])\.\d+(?= |,|;|$)")  # .2 % in place of 0.2 %
ALLOWED = {
    "userlib/legacy.py": {
        "pictures",
        "strength",
        "sharpness",
        "seen",
        "new pairs",
    },  # the old names of stored files
    "CHANGELOG.md": {"pictures", "strength", "sharpness"},  # what was renamed
    "notebooks/02_baseline.ipynb": {"beside"},  # of a caption that is shown
    "userscenes/words.py": {"beside", "pushing"},  # words of captions
    "userscenes/captions.py": {"picture"},  # "a picture of" begins a caption
    "userlab/pretraining/bpe.py": {"picture"},  # a word of captions
}
PACKAGES = ("userlib", "userscenes", "userlab", "notebooks/usercourse")
CODE = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.md")),
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose_of_code(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each comment and string; an f-string without what is in braces, and no string that is one
    name, such as a key, or a type.
    """
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.start[0], token.string
        elif token.type == tokenize.STRING:
            prefix = re.match(r"[A-Za-z]*", token.string)[0].lower()
            inside = token.string[len(prefix) :].strip("\"'")
            if not re.fullmatch(r"\S*|[\w.\[\], |]+\[[\w.\[\], |]+", inside):  # a name, or a type
                yield token.start[0], re.sub(r"\{[^{}]*\}", "{}", inside) if "f" in prefix else inside


def plain(text: str) -> str:
    """Without code in backticks, tags, addresses, file names and data URLs."""
    text = re.sub(r"```.*?```|`[^`]*`|<!--.*?-->|<[^<>]*>|\]\([^)]*\)", " ", text, flags=re.DOTALL)
    return re.sub(r"\S*(?:/\S|_\S|--\w|\w\.\w)\S*", " ", text)


def found(text: str, allowed: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Each banned word of a text with what should stand there."""
    text = plain(text)
    return [
        f"{match[0]!r}: {instead}"
        for pattern, instead in PATTERNS
        for match in pattern.finditer(text)
        if match[0].lower() not in allowed
    ]


def printed(nb: nbformat.NotebookNode) -> Iterator[str]:
    """What the cells of a notebook have printed: texts, and the sentences under figures."""
    for cell in nb.cells:
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            for kind, value in output.get("data", {}).items():
                if kind in ("text/plain", "text/markdown", "text/html"):
                    yield re.sub(r"<style.*?</style>|data:\S+", " ", value, flags=re.DOTALL)


@pytest.mark.parametrize("path", CODE, ids=named)
def test_code_speaks_the_fields_words(path):
    allowed = ALLOWED.get(named(path), set())
    text = path.read_text(encoding="utf-8")
    assert [(line, word) for line, part in prose_of_code(text) for word in found(part, allowed)] == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_pages_speak_the_fields_words(path):
    text = path.read_text(encoding="utf-8")
    assert found(text, ALLOWED.get(named(path), set())) == []
    assert BARE.findall(plain(text)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_notebooks_speak_the_fields_words(path):
    nb, allowed = nbformat.read(path, as_version=4), ALLOWED.get(named(path), set())
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            assert found(cell.source) == []
            assert BARE.findall(plain(re.sub(r"\$.*?\$", " ", cell.source, flags=re.DOTALL))) == []
        else:
            assert [word for _, part in prose_of_code(cell.source) for word in found(part)] == []
    assert [word for text in printed(nb) for word in found(text, allowed)] == []


@pytest.mark.parametrize(
    "old",
    [
        "has 109.5 less rSum than CCA [-121.0, -98.6], clear of zero.",
        "the interval holds zero, so these data cannot tell",
        "By luck alone, a picture is found first",
        "The push of one other right answer",
        "Bars are 95 % intervals.",
        "vectors of length 1",
        "The learned strength, beside its yardstick",
        "H. Zhang and others",
    ],
)
def test_the_old_words_are_noticed(old):
    assert found(old)
    assert [word for _, part in prose_of_code(f"print({old!r})  # {old}") for word in found(part)]


def test_plain_words_code_and_numbers_are_left_alone():
    assert (
        found("`git lfs pull`, `pictures.npy` and userlib/data/pictures.py; a larger number of images") == []
    )
    assert BARE.findall("0.2 %, userlib.errors, 1.5") == [] and BARE.findall("about .2 % of them") == [".2"]

"""What docs/full-scale.md says was measured here is what is stored, to the digit."""

import re
from pathlib import Path

from userlab.ablation.studies import STUDIES
from userlab.ablation.summary import load_study, ranks_by_variant
from userlib.evaluation import compare
from userlib.files import read_json

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "full-scale.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("## The published numbers") :]


def line(table) -> str:
    """Metrics as the table writes them: i2t, t2i, rSum with its interval."""
    two = (" ".join(f"{table[f'{way}_r{k}'][0]:.1f}" for k in (1, 5, 10)) for way in ("i2t", "t2i"))
    value, low, high = table["rsum"]
    return f"{', '.join(two)}, {value:.1f} [{low:.1f}, {high:.1f}]"


def test_each_number_of_ours_is_stored_and_has_its_mark():
    names = {"words": "`photos`", "text": "`photos-text`", "cca-words": "CCA", "cca-both": "CCA, and MiniLM"}
    rows = load_study(STUDIES["photo-recipes"], ROOT / "assets/results")
    values = compare(ranks_by_variant(rows))[0]
    for variant, name in names.items():
        assert f"| {name}: {line(values[variant])} [4] |" in TABLE, (name, line(values[variant]))
    mini = read_json(ROOT / "assets/photos-mini/metadata.json")["provenance"]["result"]
    assert f"| photos-mini: {line(mini)} [5] |" in TABLE


def test_every_mark_is_explained_and_every_cell_with_a_number_has_one():
    rows = [row for row in TABLE.splitlines() if row.startswith("|")][2:]
    told = set(re.findall(r"(?<!\])(?<!\d)\[(\d)\] [A-Z`N]", TABLE.split("\n\n", 3)[-1]))
    for row in rows:
        for cell in row.strip("|").split("|")[1:]:
            marks = set(re.findall(r"\[(\d)\]", cell))
            assert bool(re.search(r"\d\.\d", cell)) == bool(marks), cell
            assert marks <= told, (marks, told)

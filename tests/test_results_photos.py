"""What README.md says of photos is what the stored runs say."""

from pathlib import Path

from userlab.ablation.studies import STUDIES
from userlab.ablation.summary import load_study, ranks_by_variant
from userlib.evaluation import compare

ROOT = Path(__file__).parents[1]
PAIR = ("words", "cca-words")


def test_the_readme_shows_one_result_of_them() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    rows = load_study(STUDIES["photo-recipes"], ROOT / "assets" / "results")
    assert {name: len(of) for name, of in rows.items() if name in PAIR} == {"words": 3, "cca-words": 1}
    values, apart = compare(ranks_by_variant(rows), [PAIR])
    for name in PAIR:
        value, low, high = values[name]["rsum"]
        assert f"{value:.1f} [{low:.1f}, {high:.1f}]" in text, (name, value, low, high)
    value, low, high = apart[PAIR]["rsum"]
    assert f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" in text, (value, low, high)

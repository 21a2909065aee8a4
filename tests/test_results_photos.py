"""What README.md and docs/results.md say of photos is what the stored runs say."""

import shlex
from pathlib import Path

import pytest

from userlab.ablation.studies import STUDIES
from userlab.ablation.summary import load_study, ranks_by_variant
from userlib.__main__ import config_of, parser
from userlib.evaluation import compare
from userlib.files import read_json

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


def test_the_readme_tells_what_cge_gains_by_a_guide_without_text() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    rows = load_study(STUDIES["photo-guide"], ROOT / "assets" / "results")
    assert {len(of) for of in rows.values()} == {3} and set(rows) == set(STUDIES["photo-guide"].lines())
    _, apart = compare(ranks_by_variant(rows), [("cge", "none"), ("none+scores", "none")])
    for differences in apart.values():
        value, low, high = differences["rsum"]
        assert f"({value:+.1f} [{low:+.1f}, {high:+.1f}]" in text


CHOICES = read_json(ROOT / "assets" / "results" / "photo-choices.json")


def rows_of_choices() -> list[str]:
    """The lines of the table of what was tried on the photos held out."""
    head = ["| settings | rSum by epoch |", "|---|---|"]
    return [
        *head,
        *(
            f"| {one['what']} | {' '.join(f'{rsum:.1f}' for rsum in one['rsum'])} |"
            for one in CHOICES.values()
        ),
    ]


def test_what_was_tried_is_told_as_it_is_stored() -> None:
    assert "\n".join(rows_of_choices()) in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert len({one["data_hash"] for one in CHOICES.values()}) == 1


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_can_be_repeated_by_its_command(name: str) -> None:
    python, m, module, *words = shlex.split(CHOICES[name]["command"])
    assert (python, m, module) == ("python", "-m", "userlib")
    config = config_of(parser().parse_args(words))
    assert config.training.epochs == len(CHOICES[name]["rsum"]) and config.data.val_split == "train:500"
    assert config.training.seed == CHOICES[name]["seed"]

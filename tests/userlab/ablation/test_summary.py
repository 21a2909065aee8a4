"""Tables from stored rows: the numbers are those of the evaluation, and what a reader must know is said."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from userlab.__main__ import main
from userlab.ablation.markers import filled, studies_in
from userlab.ablation.rows import EARLIER, POSITIONS, pack, write_row
from userlab.ablation.settings import RESULTS, TEXT, tables_as_markdown
from userlab.ablation.studies import STUDIES
from userlab.ablation.summary import load_study, notes, ranks_by_variant, tables
from userlab.ablation.variants import Study, Variant
from userlib.errors import UserError
from userlib.evaluation import Ranks, compare, recalls

ROOT = Path(__file__).resolve().parents[3]
COUNT = 40
STUDY = Study(
    name="small",
    question="?",
    variants={
        "a": Variant(label="plain", scores="a+scores"),
        "b": Variant(label="with it"),
        "c": Variant(label="unrun"),
    },
    reference="a",
    pairs=(("b", "a+scores"), ("c", "a")),
)


def write(folder: Path, variant: str, seed: int, *, hard: float, of: str | None = None, **facts) -> Ranks:
    rng = np.random.default_rng([seed, len(variant)])
    owner = np.repeat(np.arange(COUNT), 5)
    ranked = Ranks(
        i2t=1 + rng.poisson(hard, COUNT), t2i=1 + rng.poisson(hard, 5 * COUNT), caption_to_image=owner
    )
    arrays = {
        **pack(ranked, "report"),
        **pack(ranked, "many"),
        "report_group": (np.arange(COUNT) % 2).astype(np.uint8),
        "many_i2t_ap": rng.random(COUNT).astype(np.float16),
        "many_t2i_ap": rng.random(COUNT).astype(np.float16),
        **{f"attention_{g}_{w}": rng.random(COUNT).astype(np.float16)
           for g in ("self", "uniform") for w in ("pointing", "mass") if variant == "b"},
    }  # fmt: skip
    row = {
        "study": "small", "variant": variant, "of": of or variant, "seed": seed, "key": "k", "kind": "trained",
        "groups": ["in-distribution", "novel compositions"], "report": {"hash": "h"}, "many": {}, "seconds": 60.0,
        "peak_memory_mb": 900, "provenance": {"code": "1"}, **facts,
    }  # fmt: skip
    write_row(folder / "small" / f"{variant}-{seed}.json", row, arrays)
    return ranked


@pytest.fixture
def stored(tmp_path):
    runs = {"a": [], "a+scores": [], "b": []}
    for seed in range(2):
        runs["a"].append(write(tmp_path, "a", seed, hard=4))
        runs["a+scores"].append(write(tmp_path, "a+scores", seed, hard=3, of="a", weight=0.5 + seed))
        runs["b"].append(write(tmp_path, "b", seed, hard=1, collapsed="yes" if seed else None))
    return tmp_path, runs


def test_tables_hold_the_evaluations_numbers(stored):
    folder, runs = stored
    rows_of = load_study(STUDY, folder)
    assert list(rows_of) == ["a", "a+scores", "b"]
    whole, seen, new, further, many, looks = tables(STUDY, rows_of, resamples=400)
    assert [len(part.lines) for part in (whole, seen, new, further, many, looks)] == [3, 3, 3, 3, 3, 2]
    halves = {
        "all": None,
        "in-distribution": np.arange(COUNT) % 2 == 0,
        "novel compositions": np.arange(COUNT) % 2 == 1,
    }
    for part, chosen in zip((whole, seen, new), halves.values(), strict=True):
        line = part.lines["with it (2 seeds, exploratory)"]
        expected = np.mean([recalls(run, images=chosen).rsum for run in runs["b"]])
        assert line["rsum"].value == pytest.approx(expected)
        drawn = compare(runs, [("b", "a")], images=chosen, resamples=400)[1]["b", "a"]
        assert line["apart_r1"] == pytest.approx(drawn["r1"])
        assert line["apart_rsum"] == pytest.approx(drawn["rsum"])
        assert "apart_r1" not in part.lines["plain (2 seeds, exploratory)"]
    assert set(further.lines) == {f"with it - plain, late score fusion with CLIP; {p}" for p in
                                  ("all 40 images", "in-distribution", "novel compositions")}  # fmt: skip
    rows = rows_of["b"]
    wanted = 100 * np.mean([row.arrays["many_i2t_ap"].astype(float).mean() for row in rows])
    assert many.lines["with it (2 seeds, exploratory)"]["i2t_map"].value == pytest.approx(wanted)
    assert set(looks.lines) == {"SGE's a, with it", "uniform"}
    assert [one.i2t.tolist() for one in ranks_by_variant(rows_of)["a"]] == [
        one.i2t.tolist() for one in runs["a"]
    ]


def test_what_a_reader_must_know(stored):
    folder, _ = stored
    rows_of = load_study(STUDY, folder)
    said = " ".join(notes(STUDY, rows_of))
    assert "b: collapsed with seed 1" in said
    assert "a+scores: CLIP's scores have the weight 0.5, 1.5, chosen on val." in said
    other = replace(STUDY, fused="Net")
    assert (
        "Net's scores have" in " ".join(notes(other, rows_of))
        and "fusion with Net" in other.lines()["a+scores"]
    )
    assert "4 runs, 4 minutes" in said  # added scores are no run of their own
    assert "versions of the code" not in said and "add seeds" not in said
    for seed in range(2, 5):
        write(folder, "b", seed, hard=1, provenance={"code": str(seed)})
    said = " ".join(notes(STUDY, load_study(STUDY, folder)))
    assert "4 versions of the code: 1, 2, 3, 4" in said
    assert re.search(r"b: the interval of the mean R@1 is \d+\.\d points wide; add seeds", said)


def test_rows_of_the_earlier_position_codes_are_marked(stored):
    folder, _ = stored
    assert notes(STUDY, load_study(STUDY, folder))[0] == EARLIER
    write(folder, "a", 0, hard=4, positions=POSITIONS)
    assert notes(STUDY, load_study(STUDY, folder))[0] == EARLIER  # one row is enough
    for variant, seed, of in (
        ("a", 1, "a"),
        ("b", 0, "b"),
        ("b", 1, "b"),
        *(("a+scores", s, "a") for s in (0, 1)),
    ):
        write(folder, variant, seed, of=of, hard=4, positions=POSITIONS)
    assert EARLIER not in notes(STUDY, load_study(STUDY, folder))


def test_what_was_tuned_and_where_machines_differ_is_said(tmp_path):
    tried = {"training.lr": {"0.001": 100.0, "0.002": 120.0, "0.004": 110.0}}
    for variant, at_bound, processor in (("a", [], "one"), ("b", ["training.lr"], "two")):
        write(
            tmp_path,
            variant,
            0,
            hard=1,
            tuning={"tried": tried, "at_bound": at_bound},
            provenance={"code": "1", "hardware": {"processor": processor}},
        )
    said = notes(STUDY, load_study(STUDY, tmp_path))
    chosen = "lr 0.002 of 0.001, 0.002, 0.004"
    assert f"Settings chosen on val with one seed. a: {chosen}. b: {chosen}." in said
    assert "At a bound of what is allowed, so that a better one may lie beyond: b." in said
    assert "No verdict rests on these runs yet (runs too short): a, b." in said
    assert "They were made on 2 processors: one, two." in said


def test_headline_lines_are_not_exploratory(stored):
    folder, _ = stored
    for seed in range(5):
        write(folder, "a", seed, hard=4)
    assert "plain (5 seeds)" in tables(STUDY, load_study(STUDY, folder), resamples=50)[0].lines


def test_rows_of_other_pictures_are_not_compared(stored):
    folder, _ = stored
    write(folder, "b", 7, hard=1, report={"hash": "other"})
    with pytest.raises(UserError, match="2 different sets of images"):
        load_study(STUDY, folder)


def test_the_command_shows_and_writes(stored, monkeypatch, capsys):
    folder, _ = stored
    monkeypatch.setattr(
        "userlab.ablation.studies.STUDIES", {"small": STUDY, "other": replace(STUDY, name="other")}
    )
    assert main(["ablate", "--study", "small", "--summary", "--out", str(folder)]) == 0
    assert "with it (2 seeds, exploratory)" in capsys.readouterr().out
    file = folder / "results.md"
    file.write_text("# A\n<!-- results of small -->\n<!-- end of results -->\n<!-- results of other -->\n"
                    "<!-- end of results -->\nend\n")  # fmt: skip
    assert main(["ablate", "--markdown", str(file), "--out", str(folder)]) == 0
    text = file.read_text()
    assert "| with it (2 seeds, exploratory) |" in text
    assert "No run of this study is stored" in text
    assert main(["ablate", "--study", "smal"]) == 2
    assert main(["ablate"]) == 2
    assert main(["ablate", "--study", "small", "--seeds", "0"]) == 2


def test_the_text_tells_what_is_stored():
    """Every stored study has its place in the text, and its tables there are those of its rows."""
    text = (ROOT / TEXT).read_text(encoding="utf-8")
    stored = {name for name in STUDIES if list((ROOT / RESULTS / name).glob("*.json"))}
    assert stored <= set(studies_in(text))
    made = cache(lambda name: tables_as_markdown(name, str(ROOT / RESULTS)))
    assert filled(text, made) == text

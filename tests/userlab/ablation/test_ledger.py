"""The ledger says of each claim what its rows say, and what is missing."""

from dataclasses import replace

import numpy as np
import pytest

from userlab.__main__ import main
from userlab.ablation.claims import ALL, CLAIMS, NEW, SEEN, Claim
from userlab.ablation.ledger import (
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    TOO_FEW,
    UNMEASURED,
    counted,
    in_metric,
    ledger,
    markdown,
    verdict_of,
)  # fmt: skip
from userlab.ablation.rows import pack, write_row
from userlab.ablation.settings import tables_as_markdown
from userlab.ablation.studies import STUDIES
from userlib.evaluation import Difference, Ranks
from userlib.evaluation.seeds import seed_difference

COUNT = 40
BETTER = Claim(
    text="SGE helps", source="abstract", study="world", variant="sge", baseline="baseline", reason="See SGE.",
    photos=("full", "none"),
)  # fmt: skip
WORSE = replace(BETTER, text="The other way", variant="baseline", baseline="sge", photos=None)
SAME = replace(
    BETTER, text="Nothing", variant="cge", baseline="baseline", judged=NEW, photos=None, reason="Why?"
)
ABSENT = replace(BETTER, text="Elsewhere", study="queue", variant="2048", baseline="absent", photos=None)


def write(
    folder,
    variant,
    seed,
    *,
    right,
    kind="trained",
    groups=("in-distribution", "novel compositions"),
    study="world",
    long=True,
    steps=2000,
):
    """A run that ranks the share `right` of its queries first."""
    rng = np.random.default_rng([seed, 7])
    owner = np.repeat(np.arange(COUNT), 5)
    ranked = Ranks(
        i2t=np.where(rng.random(COUNT) < right, 1, 20),
        t2i=np.where(rng.random(5 * COUNT) < right, 1, 20),
        caption_to_image=owner,
    )
    row = {
        "study": study, "variant": variant, "of": variant, "seed": seed, "key": "k", "kind": kind,
        "groups": list(groups), "report": {"hash": "h"}, "tuning": {"tried": {}, "at_bound": []},
        "curve": [{"step": step, "rsum": rsum} for step, rsum in ((steps // 2, 99.5), (steps, 100 if long else 101))],
    }  # fmt: skip
    arrays = {**pack(ranked, "report"), "report_group": (np.arange(COUNT) % 2).astype(np.uint8)}
    write_row(folder / study / f"{variant}-{seed}.json", row, arrays)
    return ranked


@pytest.fixture
def stored(tmp_path):
    runs = {}
    for variant, right in (("baseline", 0.2), ("sge", 0.8), ("cge", 0.2)):
        runs[variant] = [write(tmp_path, variant, seed, right=right) for seed in range(5)]
    return tmp_path, runs


@pytest.fixture
def photos(tmp_path):
    """Three runs with SGE and three without on photos, which have no halves."""
    more = {"groups": (), "study": "photos"}
    return {
        variant: [write(tmp_path, variant, seed, right=right, **more) for seed in range(3)]
        for variant, right in (("full", 0.8), ("none", 0.2))
    }


@pytest.mark.parametrize(
    "low, high, word",
    [
        (0.1, 2, SUPPORTED),
        (-2, -0.1, CONTRADICTED),
        (-1, 1, INCONCLUSIVE),
        (0, 1, INCONCLUSIVE),
        (-1, 0, INCONCLUSIVE),
    ],
)
def test_a_verdict_is_read_off_the_interval(low, high, word):
    assert verdict_of(Difference((low + high) / 2, low, high)) == word
    assert verdict_of(None) == UNMEASURED


def test_entries_hold_the_evaluations_numbers(stored):
    folder, runs = stored
    entries = ledger(folder, claims=[BETTER, WORSE, SAME, ABSENT])
    assert [entry.verdict for entry in entries] == [SUPPORTED, CONTRADICTED, INCONCLUSIVE, UNMEASURED]
    assert [entry.seeds for entry in entries] == [5, 5, 5, 0]
    halves = {ALL: None, SEEN: np.arange(COUNT) % 2 == 0, NEW: np.arange(COUNT) % 2 == 1}
    for part, chosen in halves.items():
        one, two = (dict(enumerate(runs[name])) for name in ("sge", "baseline"))
        assert entries[0].part(part) == seed_difference(one, two, images=chosen)["r1"]
        assert entries[1].part(part)[:3] == pytest.approx([-v for v in _turned(entries[0].part(part))])
    assert entries[3].part(ALL) is None


def _turned(interval):
    return interval.value, interval.high, interval.low


def test_a_claim_is_judged_on_its_own_part(stored):
    folder, _ = stored
    (entry,) = ledger(folder, claims=[SAME])
    assert "**" in markdown([entry]).splitlines()[2].split("|")[6]
    difference = {**entry.differences, NEW: {"r1": Difference(2, 1, 3)}}
    assert replace(entry, differences=difference, adjusted=None).verdict == SUPPORTED
    assert replace(entry, differences=difference, adjusted=0.06).verdict == INCONCLUSIVE


def test_another_metric_may_decide_otherwise(stored):
    folder, _ = stored
    (entry,) = ledger(folder, claims=[BETTER])
    photos = {"r1": Difference(0.4, -0.7, 1.4), "rsum": Difference(4, 2, 6)}
    entry = replace(entry, photo_differences=photos, photo_seeds=3)
    (other,) = in_metric([entry], "rsum")
    assert "photos: inconclusive (3 seeds)" in entry.words()
    assert "photos: supported (3 seeds)" in other.words()
    assert other.part(ALL).value > entry.part(ALL).value


def test_few_seeds_are_exploratory_and_what_is_not_trained_has_none(stored):
    folder, _ = stored
    (folder / "world" / "sge-4.json").unlink()
    write(folder, "clip", 0, right=0.05, kind="zero-shot")
    against = replace(BETTER, variant="baseline", baseline="clip", photos=None)
    few, clip = ledger(folder, claims=[replace(BETTER, photos=None), against])
    assert few.words() == "supported (4 seeds)"
    assert clip.words() == "supported"
    for seed in (2, 3):
        (folder / "world" / f"sge-{seed}.json").unlink()
    (two,) = ledger(folder, claims=[replace(BETTER, photos=None)])
    assert two.verdict == TOO_FEW and two.words() == "too few seeds (2 seeds)"


def test_photos_alone(tmp_path, photos):
    entry, other = ledger(tmp_path, claims=[BETTER, replace(BETTER, text="Other", photos=("full", "hinge"))])
    both = (dict(enumerate(photos[name])) for name in ("full", "none"))
    assert entry.photos == seed_difference(*both)["r1"]
    assert entry.words() == "not measured; photos: supported (3 seeds)"
    assert other.words() == UNMEASURED
    assert "300 steps" in markdown([entry]) and "300 steps" not in markdown([other])


def test_nothing_at_all(tmp_path):
    entries = ledger(tmp_path)
    assert {entry.words() for entry in entries} == {UNMEASURED}
    assert counted(entries) == f"None of {len(CLAIMS)} claims was measured on drawn images yet."
    assert "| SGE helps the plain model | abstract |  |  |  |  |  | not measured |  |" in markdown(entries)


def test_rows_without_halves_have_the_whole_alone(tmp_path):
    for variant, right in (("baseline", 0.2), ("sge", 0.8)):
        write(tmp_path, variant, 0, right=right, groups=())
    (entry,) = ledger(tmp_path, claims=[BETTER])
    assert set(entry.differences) == {ALL}


def test_the_table_says_what_does_not_hold_and_where_to_look(stored):
    folder, _ = stored
    entries = ledger(folder, claims=[BETTER, WORSE, SAME, ABSENT])
    text = markdown(entries)
    assert "contradicted |" in text
    assert "supported: 1, inconclusive: 1, contradicted: 1. Were none of the claims true" in text
    assert "- *Nothing*: Why?" in text
    assert "*SGE helps*" not in text and "*Elsewhere*" not in text


def test_runs_that_were_too_short_make_a_verdict_provisional(stored):
    folder, _ = stored
    write(folder, "sge", 0, right=0.8, long=False)
    entry, other = ledger(folder, claims=[replace(BETTER, photos=None), SAME])
    assert entry.words() == "supported (provisional: runs too short)" and other.provisional is None
    assert "Provisional: 1, whose runs are shorter than 1,500 steps" in counted([entry, other])
    assert "Provisional" not in counted([other])


def test_claims_are_adjusted_for_each_other(stored):
    folder, _ = stored
    (alone,) = ledger(folder, claims=[SAME])
    together = ledger(folder, claims=[SAME, *(replace(SAME, text=str(i)) for i in range(3)), BETTER])
    assert alone.adjusted == pytest.approx(alone.judged.p)
    assert together[0].adjusted == pytest.approx(min(1, 4 * alone.judged.p))
    assert together[-1].adjusted == pytest.approx(5 * together[-1].judged.p)


def test_every_claim_is_about_cells_that_there_are():
    for claim in CLAIMS:
        assert {claim.variant, claim.baseline} <= set(STUDIES[claim.study].lines()), claim.text
        assert set(claim.photos or ()) <= set(STUDIES["photos"].lines()), claim.text
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)


def test_the_command_writes_the_ledger_between_its_markers(stored):
    folder, _ = stored
    file = folder / "results.md"
    file.write_text("<!-- results of ledger -->\n<!-- end of results -->\n")
    assert main(["ablate", "--markdown", str(file), "--out", str(folder)]) == 0
    assert tables_as_markdown("ledger", str(folder)) in file.read_text()
    assert "| SGE helps the plain model | abstract | 2,000 | **+" in file.read_text()


@pytest.fixture
def at_length(stored):
    """The same question as long runs, with the opposite answer, and at 200 steps with the first one."""
    folder, _ = stored
    for name, right in (("32-2048", 0.2), ("32-absent", 0.8), ("32-2048@200", 0.8), ("32-absent@200", 0.2)):
        for seed in range(3):
            write(folder, name, seed, right=right, study="long-queue", steps=200 if "@" in name else 2000)
    return folder, replace(BETTER, photos=None, long=("long-queue", "32-2048", "32-absent"))


def test_long_runs_decide_and_shorter_ones_stand_beside(at_length):
    folder, claim = at_length
    (entry,) = ledger(folder, claims=[claim])
    assert entry.verdict == CONTRADICTED and entry.seeds == 3 and entry.steps == 2000
    assert list(entry.at) == [200] and entry.at[200]["r1"].value > 0
    before = f"2,000 (at 200: {entry.at[200]['r1'].value:+.1f})"
    assert f"| {before} | **{entry.judged.value:+.1f}**" in markdown([entry])


def test_until_three_seeds_are_there_the_short_runs_stand(at_length):
    folder, claim = at_length
    (folder / "long-queue" / "32-absent-2.json").unlink()
    (entry,) = ledger(folder, claims=[claim])
    assert entry.verdict == SUPPORTED and entry.seeds == 5 and not entry.at


def test_each_long_claim_names_variants_that_there_are():
    for claim in CLAIMS:
        if claim.long is not None:
            name, *sides = claim.long
            assert set(sides) <= set(STUDIES[name].lines()), claim.text

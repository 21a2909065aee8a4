"""Figures of notebook 11, on made-up rows: what is drawn is what was measured, and nothing stored is no error."""

import numpy as np
import pytest

from usercourse import ablations as draw
from usercourse.plots import png
from userlab.ablation.claims import ALL, NEW, SEEN, Claim
from userlab.ablation.ledger import Entry, ledger
from userlab.ablation.rows import pack, write_row
from userlab.ablation.studies import STUDIES
from userlib.errors import UserError
from userlib.evaluation import Difference, Ranks, paired_bootstrap, recalls

COUNT = 40
STUDY = STUDIES["pooling"]
RIGHT = {"mean": 0.3, "max": 0.3, "gpo": 0.8}


def write(folder, cell, seed, *, right, digest="h", steps=(50, 100)):
    """A run that ranks the share `right` of its queries first."""
    rng = np.random.default_rng([seed, 3])
    ranked = Ranks(
        i2t=np.where(rng.random(COUNT) < right, 1, 20),
        t2i=np.where(rng.random(5 * COUNT) < right, 1, 20),
        caption_to_image=np.repeat(np.arange(COUNT), 5),
    )
    metrics = recalls(ranked).as_dict()
    row = {
        "study": "pooling", "variant": cell, "of": cell, "seed": seed, "key": "k", "kind": "trained", "seconds": 60.0,
        "groups": ["in-distribution", "novel compositions"], "report": {"hash": digest, "metrics": metrics},
        "select": {"metrics": metrics}, "curve": [{"step": step, "rsum": 2.0 * step + seed} for step in steps],
    }  # fmt: skip
    arrays = {
        **pack(ranked, "report"), **pack(ranked, "select"),
        "report_group": (np.arange(COUNT) % 2).astype(np.uint8),
    }  # fmt: skip
    write_row(folder / "pooling" / f"{cell}-{seed}.json", row, arrays)
    return ranked


@pytest.fixture
def folder(tmp_path):
    for cell, right in RIGHT.items():
        for seed in range(3):
            write(tmp_path, cell, seed, right=right)
    return tmp_path


@pytest.fixture
def studies(folder):
    return draw.stored(folder)


def test_only_studies_with_runs_are_there(studies, tmp_path):
    assert list(studies) == ["pooling"]
    assert draw.summary(studies).split() == "pooling 9 runs of 3 models, 9 minutes of training".split()
    assert draw.stored(tmp_path / "elsewhere") == {}
    assert draw.summary({}).startswith("No study is stored.")


def test_the_explorer_says_what_compare_says(studies):
    render = draw.explorer(studies, resamples=200)
    figure, said = render("pooling", NEW, "rSum")
    rows, chosen = studies["pooling"], np.arange(COUNT) % 2 == 1
    wanted = np.mean([recalls(row.ranks(), images=chosen).rsum for row in rows["gpo"]])
    assert f"the highest is GPO pooling with {wanted:.1f} [" in said
    assert "Above mean pooling: GPO pooling (+" in said
    assert "Inconclusive against mean pooling: max pooling (+0.0)." in said
    assert "3 models have fewer than five seeds" in said
    assert len(figure.axes) == 2
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][
        0
    ] == "mean pooling (3\u00a0seeds)"


@pytest.mark.parametrize("metric", list(draw.METRICS))
@pytest.mark.parametrize("part", [ALL, SEEN, NEW])
def test_every_choice_of_the_demo_draws(studies, metric, part):
    figure, said = draw.explorer(studies, resamples=20)("pooling", part, metric)
    assert said.startswith(f"{metric} on ")
    assert len(figure.axes[1].lines) == 5  # two bars, two points and zero


def test_nothing_stored_is_said_and_drawn():
    figure, said = draw.explorer({})(draw.NOTHING, ALL, "rSum")
    assert said.startswith("No study is stored yet.")
    assert png(figure)


def test_curves_join_the_runs_and_name_their_ends(studies):
    figure, said = draw.curves(STUDY, studies["pooling"])
    assert (
        "At the end: mean pooling 201; max pooling 201; GPO pooling 201" in said
    )  # 200 + the mean of 0, 1, 2
    assert len(figure.axes[0].lines) == 3 * (3 + 1)
    assert "Further models left out: 1." in draw.curves(STUDY, studies["pooling"], most=2)[1]


def test_runs_of_other_lengths_share_their_steps(folder):
    write(folder, "max", 0, right=0.3, steps=(50, 100, 150))
    assert "max pooling 201" in draw.curves(STUDY, draw.stored(folder)["pooling"])[1]


def test_a_run_that_did_nothing_is_named(folder, studies):
    rows = studies["pooling"]["gpo"]
    draw.expect_learned(rows, 100)
    with pytest.raises(UserError, match="100 of 101 steps"):
        draw.expect_learned(rows, 101)
    write(folder, "gpo", 0, right=0.01)
    with pytest.raises(UserError, match="has not learned"):
        draw.expect_learned(draw.stored(folder)["pooling"]["gpo"], 100)


def test_gains_are_the_evaluation_s(studies):
    a, b = (draw.ranks_of(studies["pooling"], name) for name in ("gpo", "mean"))
    assert draw.gain(a, b) == pytest.approx(paired_bootstrap(a, b)["r1"])
    assert draw.ranks_of(studies["pooling"], "absent") == []


def test_other_pictures_are_not_joined(tmp_path, studies):
    assert draw.same_pictures(studies["pooling"], studies["pooling"])
    write(tmp_path / "mine", "gpo", 5, right=0.8, digest="other")
    assert not draw.same_pictures(studies["pooling"], draw.stored(tmp_path / "mine")["pooling"])


def test_seeds_and_widths(studies):
    a, b = (draw.ranks_of(studies["pooling"], name) for name in ("gpo", "mean"))
    _, said = draw.seed_widths(a, b)
    one = paired_bootstrap(a[:1], b[:1])["r1"]
    assert said.startswith(f"With one seed per model the interval is {one.high - one.low:.1f} points wide")
    assert " with 2, " in said and " with 3." in said
    assert "Fewer than two seeds" in draw.seed_widths(a[:1], b)[1]
    values = [[row.metadata["report"]["metrics"]["r1"] for row in of] for of in studies["pooling"].values()]
    assert draw.spread(studies["pooling"]) == pytest.approx(np.sqrt(np.mean(np.var(values, axis=1, ddof=1))))
    assert np.isnan(draw.spread({"gpo": studies["pooling"]["gpo"][:1]}))


def test_hits_by_hand_are_counted():
    figure, said = draw.hits_by_hand([[1, 1, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 0]])
    assert "50 % for A and 17 % for B" in said
    assert png(figure)


CLAIM = Claim(
    text="GPO is better",
    source="x",
    study="pooling",
    variant="gpo",
    baseline="mean",
    reason="See 02.",
    judged=NEW,
)


def test_the_ledger_s_figure_names_each_verdict(folder):
    entries = ledger(folder, claims=[CLAIM])
    figure, said = draw.ledger_figure(entries)
    assert said == "Claims as differences from 0, by verdict. Supported: GPO is better."
    assert png(figure)
    photos = Entry(claim=CLAIM, photo_differences={"r1": Difference(1, 0, 2)}, photo_seeds=1)
    assert draw.ledger_figure([photos])[1].endswith("Photos alone are measured.")
    assert "No claim is measured yet" in draw.ledger_figure([Entry(claim=CLAIM)])[1]

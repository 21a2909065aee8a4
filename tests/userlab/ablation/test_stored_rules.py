"""Every stored run behind a final verdict was long enough, had hardly anything left to learn, and was tuned to an inner
best: read from the stored curves and grids themselves.
"""

import json
from pathlib import Path

import pytest

from userlab.ablation.claims import CLAIMS
from userlab.ablation.ledger import CONTRADICTED, INCONCLUSIVE, SUPPORTED, ledger
from userlab.ablation.rows import read_rows

STORED = Path(__file__).parents[3] / "assets" / "results"
FINAL = (SUPPORTED, CONTRADICTED, INCONCLUSIVE)


def faults_of(row: dict) -> list[str]:
    """What the rules forbid, computed here anew."""
    if row["kind"] != "trained":
        return []
    found = []
    curve = [(point["step"], point["rsum"]) for point in row["curve"]]
    end = curve[-1][0]
    if end < 1500:
        found.append(f"{end} steps")
    early = [rsum for step, rsum in curve if step <= 0.75 * end]
    if not early or max(rsum for _, rsum in curve) >= 1.01 * max(early):
        found.append("it was still rising")
    tried = row.get("tuning", {}).get("tried")
    if not tried:
        found.append("not tuned")
    for setting, values in (tried or {}).items():
        places = sorted((float(value), rsum) for value, rsum in values.items())
        best = max(range(len(places)), key=lambda i: places[i][1])
        if best in (0, len(places) - 1):
            found.append(f"{setting} is best at an end of its grid")
    return found


def rows_behind(study: str, names: tuple[str, ...]) -> list[dict]:
    rows = [row.metadata for row in read_rows(STORED / study)]
    return [row for row in rows if row["variant"] in names]


@pytest.fixture(scope="module")
def entries():
    return ledger(STORED)


def test_the_rules_find_what_they_forbid():
    curve = [{"step": step, "rsum": rsum} for step, rsum in ((500, 50), (1000, 99.5), (1500, 100.0))]
    row = {"kind": "trained", "curve": curve, "tuning": {"tried": {"lr": {"1": 5, "2": 6, "4": 5}}}}
    assert faults_of(row) == []
    assert faults_of({**row, "curve": curve[:2]}) == ["1000 steps", "it was still rising"]
    assert faults_of({**row, "tuning": {}}) == ["not tuned"]
    assert faults_of({**row, "tuning": {"tried": {"lr": {"1": 5, "2": 6}}}}) == [
        "lr is best at an end of its grid"
    ]
    assert faults_of({"kind": "zero-shot"}) == []


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_no_run_behind_a_final_verdict_breaks_a_rule(entries, claim):
    (entry,) = (one for one in entries if one.claim is claim)
    for judged, provisional, study, names in (
        (entry.verdict, entry.provisional, *_place(entry)),
        (entry.photo_verdict, entry.photo_provisional, "photos", claim.photos or ()),
    ):
        if judged in FINAL:
            broken = {f"{row['variant']}-{row['seed']}": faults_of(row) for row in rows_behind(study, names)}
            assert broken
            assert bool(provisional) == any(broken.values()), json.dumps(broken)


def _place(entry) -> tuple[str, tuple[str, str]]:
    claim = entry.claim
    if (
        claim.long is not None
        and len({row["seed"] for row in rows_behind(claim.long[0], claim.long[1:2])}) >= 3
    ):
        return claim.long[0], claim.long[1:]
    return claim.study, (claim.variant, claim.baseline)

"""The ledger of claims: a verdict on each claim, computed from the stored runs.

A claim is a difference between two variants of a study in mean R@1, which the paper's claims are about, with the 95 %
confidence interval of `userlib.evaluation.seeds` over seeds and images. The claim is supported where the interval lies
above 0, contradicted where it lies below, and inconclusive where it contains 0; each of these needs three seeds. Many
claims are judged at once, so supported and contradicted also need p < 0.05 after Holm's adjustment over all claims.

    entries = ledger("assets/results")
    print(markdown(entries))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from userlab.ablation.claims import ALL, CLAIMS, NEW, SEEN, Claim
from userlab.ablation.length import SHORT
from userlab.ablation.rows import EARLIER, Row
from userlab.ablation.rules import GROWTH, MIN_STEPS, provisional
from userlab.ablation.studies import study_named
from userlab.ablation.summary import load_study
from userlab.ablation.variants import HEADLINE
from userlib.evaluation import Interval, Ranks, compare
from userlib.evaluation.seeds import SeedDifference, holm, seed_difference

PARTS = (ALL, SEEN, NEW)
PHOTOS = "photos"  # the study of real photos
SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
TOO_FEW, UNMEASURED = "too few seeds", "not measured"
MIN_SEEDS = 3  # with fewer there is no verdict
LEVEL = 0.05  # the family-wise error rate over all claims
ByMetric = Mapping[str, Interval | SeedDifference]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A claim and the measured differences in every metric, by part of the drawn images, and on photos.

    seeds: the number of seeds that both sides have; 0 where nothing is stored. metric: the one that decides. adjusted:
    its p value after Holm's adjustment over all claims, on drawn images; photo_adjusted: on photos. provisional,
    photo_provisional: why the verdict is not final (`userlab.ablation.rules`). earlier: whether an earlier version of
    the model gave the rows. steps: those of the runs. at: the differences in shorter runs, by their steps, where the
    long study has such runs.
    """

    claim: Claim
    differences: Mapping[str, ByMetric] = field(default_factory=dict)
    seeds: int = 0
    photo_differences: ByMetric = field(default_factory=dict)
    photo_seeds: int = 0
    metric: str = "r1"
    adjusted: float | None = None
    photo_adjusted: float | None = None
    provisional: str | None = None
    photo_provisional: str | None = None
    earlier: bool = False
    steps: int | None = None
    at: Mapping[int, ByMetric] = field(default_factory=dict)

    def part(self, name: str) -> Interval | SeedDifference | None:
        """The difference on a part of the drawn images; None where it was not measured."""
        return self.differences.get(name, {}).get(self.metric)

    @property
    def judged(self) -> Interval | SeedDifference | None:
        """The difference that gives the verdict."""
        return self.part(self.claim.judged)

    @property
    def photos(self) -> Interval | SeedDifference | None:
        return self.photo_differences.get(self.metric)

    @property
    def verdict(self) -> str:
        """The verdict on drawn images, on the subset that the claim is judged on."""
        return verdict_of(self.judged, seeds=self.seeds, p=self.adjusted)

    @property
    def photo_verdict(self) -> str:
        return verdict_of(self.photos, seeds=self.photo_seeds, p=self.photo_adjusted)

    def words(self) -> str:
        """The verdict for a table: on drawn images, and on photos where it was measured there."""
        said = self.verdict + _mark(self.seeds, self.provisional)
        if self.photos is not None:
            said += f"; photos: {self.photo_verdict}{_mark(self.photo_seeds, self.photo_provisional)}"
        return said


def _mark(seeds: int, provisional: str | None) -> str:
    few = f"{seeds} seed{'s' if seeds > 1 else ''}" if 0 < seeds < HEADLINE else ""
    marks = ", ".join(filter(None, [few, provisional and f"provisional: {provisional}"]))
    return f" ({marks})" if marks else ""


def verdict_of(
    difference: Interval | SeedDifference | None, *, seeds: int = MIN_SEEDS, p: float | None = None
) -> str:
    """supported, contradicted, inconclusive, too few seeds, or not measured. p: the adjusted p value, if there is
    one.
    """
    if difference is None:
        return UNMEASURED
    if seeds < MIN_SEEDS:
        return TOO_FEW
    if difference.low <= 0 <= difference.high or (p is not None and p >= LEVEL):
        return INCONCLUSIVE
    return SUPPORTED if difference.low > 0 else CONTRADICTED


def ledger(out: str | Path, *, claims: Sequence[Claim] = CLAIMS) -> list[Entry]:
    """An entry for every claim, from the rows in `out`.

    Raises UserError for damaged rows, and for a claim about an unknown study.
    """
    stored = {name: load_study(study_named(name), out) for name in _studies(claims)}
    made = {claim: _measured(claim, stored) for claim in claims}
    photos = load_study(study_named(PHOTOS), out)
    for claim in claims:
        if claim.photos is not None and set(claim.photos) <= set(photos):
            sides = [photos[name] for name in claim.photos]
            apart, seeds = _difference(*sides)
            earlier = made[claim].earlier or any(row.earlier for rows in photos.values() for row in rows)
            made[claim] = replace(
                made[claim], photo_differences=apart[ALL], photo_seeds=seeds,
                photo_provisional=_provisional(*sides), earlier=earlier,
            )  # fmt: skip
    return _adjusted(list(made.values()))


def _studies(claims: Sequence[Claim]) -> list[str]:
    """The names of all studies that the claims are about, each once."""
    long = [claim.long[0] for claim in claims if claim.long is not None]
    return list(dict.fromkeys([*(claim.study for claim in claims), *long]))


def _measured(claim: Claim, stored: Mapping[str, Mapping[str, list[Row]]]) -> Entry:
    """The entry of a claim on drawn images, from its long study, or else from its short one."""
    places = [claim.long, (claim.study, claim.variant, claim.baseline)]
    for study, variant, baseline in filter(None, places):
        rows = stored[study]
        if not {variant, baseline} <= set(rows):
            continue
        apart, seeds = _difference(rows[variant], rows[baseline])
        if seeds < MIN_SEEDS and (study, variant, baseline) == claim.long:
            continue  # not enough of the long runs yet
        at = {}
        for steps in SHORT:
            sides = [rows[name] for name in (f"{variant}@{steps}", f"{baseline}@{steps}") if name in rows]
            if len(sides) == 2:
                at[steps] = _difference(*sides)[0].get(claim.judged, {})
        return Entry(
            claim=claim, differences=apart, seeds=seeds, at=at, steps=_steps(rows[variant]),
            provisional=_provisional(rows[variant], rows[baseline]),
            earlier=any(row.earlier for some in rows.values() for row in some),
        )  # fmt: skip
    return Entry(claim=claim)


def _steps(rows: Sequence[Row]) -> int | None:
    """The number of steps of the runs; None for what is not trained."""
    curve = rows[0].metadata.get("curve")
    return int(curve[-1]["step"]) if curve else None


def in_metric(entries: Sequence[Entry], metric: str) -> list[Entry]:
    """The same entries, judged by another metric, such as "rsum"."""
    return _adjusted([replace(entry, metric=metric) for entry in entries])


def _adjusted(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with p values adjusted by Holm's method over all that can have a verdict, on drawn images and on
    photos together.
    """
    judged = {
        (i, name): difference.p
        for i, entry in enumerate(entries)
        for name, difference, seeds in (
            ("adjusted", entry.judged, entry.seeds),
            ("photo_adjusted", entry.photos, entry.photo_seeds),
        )
        if isinstance(difference, SeedDifference) and seeds >= MIN_SEEDS
    }
    p = dict(zip(judged, holm(list(judged.values())), strict=True))
    return [
        replace(entry, adjusted=p.get((i, "adjusted")), photo_adjusted=p.get((i, "photo_adjusted")))
        for i, entry in enumerate(entries)
    ]


def _difference(a: Sequence[Row], b: Sequence[Row]) -> tuple[dict[str, ByMetric], int]:
    """The differences a - b by part of the images and metric, and the number of seeds that both have; what is not
    trained counts as having every seed.
    """
    seeds = [{row.seed for row in rows} for rows in (a, b) if rows[0].metadata["kind"] == "trained"]
    shared = sorted(set.intersection(*seeds)) if seeds else []
    one, two = (_by_seed(rows, shared) for rows in (a, b))
    halves = a[0].groups()
    apart: dict[str, ByMetric] = {}
    for part in PARTS:
        if part != ALL and part not in halves:
            continue
        images = halves.get(part)
        if len(shared) > 1:
            apart[part] = seed_difference(one, two, images=images)
        else:  # an interval over images only, which gives no verdict
            ranks = {"a": [row.ranks() for row in a], "b": [row.ranks() for row in b]}
            apart[part] = compare(ranks, [("a", "b")], images=images)[1]["a", "b"]
    return apart, len(shared) if seeds else HEADLINE


def _provisional(*sides: Sequence[Row]) -> str | None:
    """Why the runs of two variants give no final verdict: the first reason, or None."""
    return next(filter(None, (provisional(row.metadata) for rows in sides for row in rows)), None)


def _by_seed(rows: Sequence[Row], seeds: Sequence[int]) -> dict[int, Ranks]:
    if rows[0].metadata["kind"] != "trained":
        return dict.fromkeys(seeds, rows[0].ranks())
    return {row.seed: row.ranks() for row in rows if row.seed in seeds}


def markdown(entries: Sequence[Entry]) -> str:
    """The ledger as a table in Markdown, with notes."""
    lines = [
        ["claim", "source", "steps", *PARTS, "photos", "verdict", "could see"],
        ["---", "---", "--:", *["--:"] * 4, "---", "--:"],
    ]
    for entry in entries:
        parts = [_shown(entry.part(part), bold=part == entry.claim.judged) for part in PARTS]
        seen = f"{entry.judged.smallest:.1f}" if isinstance(entry.judged, SeedDifference) else ""
        lines.append(
            [
                entry.claim.text,
                entry.claim.source,
                _lengths(entry),
                *parts,
                _shown(entry.photos),
                entry.words(),
                seen,
            ]
        )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([table, *notes(entries)])


def _lengths(entry: Entry) -> str:
    """The steps of the runs, and the differences in shorter runs."""
    if entry.steps is None:
        return ""
    before = "; ".join(
        f"at {steps:,}: {apart[entry.metric].value:+.1f}" for steps, apart in entry.at.items() if apart
    )
    return f"{entry.steps:,}{f' ({before})' if before else ''}"


def _shown(difference: Interval | SeedDifference | None, *, bold: bool = False) -> str:
    if difference is None:
        return ""
    value, low, high = difference[:3]
    text = f"**{value:+.1f}**" if bold else f"{value:+.1f}"
    return f"{text} [{low:+.1f}, {high:+.1f}]"


def counted(entries: Sequence[Entry]) -> str:
    """A sentence on how many claims have each verdict."""
    verdicts = [entry.verdict for entry in entries if entry.verdict != UNMEASURED]
    if not verdicts:
        return f"None of {len(entries)} claims was measured on drawn images yet."
    words = (SUPPORTED, INCONCLUSIVE, CONTRADICTED, TOO_FEW)
    counts = [f"{word}: {verdicts.count(word)}" for word in words if word in verdicts]
    early = sum(entry.provisional is not None for entry in entries)
    shaky = (
        f" Provisional: {early}, whose runs are shorter than {MIN_STEPS:,} steps, or grew by more than "
        f"{GROWTH:g} % of rSum over the last quarter, or whose settings were not tuned."
    )
    return (
        f"Of {len(entries)} claims {len(verdicts)} were measured on drawn images; {', '.join(counts)}. Were none "
        "of the claims true, all verdicts together would hold a false one in at most 5 % of such ledgers (Holm)."
        + (shaky if early else "")
    )


def notes(entries: Sequence[Entry]) -> list[str]:
    """How to read the table, how many claims are supported, and possible reasons for those that are not."""
    said = [EARLIER] if any(entry.earlier for entry in entries) else []
    said += [
        "Differences in mean R@1, in points, on the drawn test images, with 95 % confidence intervals over seeds and "
        "images; the bold one gives the verdict, which needs three seeds and p < 0.05 after Holm's adjustment. "
        "*Steps*: of the runs, and in brackets the difference after fewer, in runs of their own. *Could see*: the true "
        "difference that such runs find in some 80 % of all cases. Sources: the paper's abstract; a method that it "
        "builds on; *control*, a baseline that a claim has to beat; *choice*, what this library does otherwise.",
        counted(entries),
    ]
    if any(entry.photos is not None for entry in entries):
        said.append(
            "On photos (flickr8k-224) one part at a time is changed of SGE, a queue of 2,048 and UTO, with three "
            f"seeds, {study_named(PHOTOS).steps} steps and the preset's learning rate for all; the model without "
            "a queue lacks the EMA weights too. CGE on photos has a study of its own, photo-guide."
        )
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if entry.verdict in (CONTRADICTED, INCONCLUSIVE):
            reasons.setdefault(entry.claim.reason, []).append(f"*{entry.claim.text}*")
    if reasons:
        head = "Possible reasons, for each that is contradicted or inconclusive:"
        items = [f"- {'; '.join(texts)}: {reason}" for reason, texts in reasons.items()]
        said.append("\n".join([head, "", *items]))
    return said

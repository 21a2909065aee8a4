"""The ledger: what the stored runs say of each claim; no value and no verdict is typed by hand.

A claim is a difference between two variants of a study, in mean R@1, which is what the paper's claims are about. With
its 95 % confidence interval over images and seeds it holds where the interval lies above 0, is contradicted where it
lies below, and is inconclusive where it contains 0.

    entries = ledger("assets/results")
    print(markdown(entries))
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from userlab.ablation.claims import ALL, CLAIMS, NEW, SEEN, Claim
from userlab.ablation.rows import EARLIER, Row
from userlab.ablation.studies import study_named
from userlab.ablation.summary import load_study
from userlab.ablation.variants import HEADLINE
from userlib.evaluation import Difference, compare

PARTS = (ALL, SEEN, NEW)
PHOTOS = "photos"  # the study of real photos
HOLDS, CONTRADICTED, INCONCLUSIVE, UNMEASURED = "holds", "contradicted", "inconclusive", "not measured"
ByMetric = Mapping[str, Difference]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A claim and the measured differences in every metric, by part of the drawn images, and on photos.

    seeds: of the side that has fewer; 0 where nothing is stored. metric: the one that decides. earlier: whether
    an earlier model gave the rows.
    """

    claim: Claim
    differences: Mapping[str, ByMetric] = field(default_factory=dict)
    seeds: int = 0
    photo_differences: ByMetric = field(default_factory=dict)
    photo_seeds: int = 0
    metric: str = "r1"
    earlier: bool = False

    def part(self, name: str) -> Difference | None:
        """The difference on a part of the drawn images; None where it was not measured."""
        return self.differences.get(name, {}).get(self.metric)

    @property
    def photos(self) -> Difference | None:
        return self.photo_differences.get(self.metric)

    @property
    def verdict(self) -> str:
        """On drawn images, by the subset that the claim is judged on."""
        return verdict_of(self.part(self.claim.judged))

    def words(self) -> str:
        """The verdict for a table: of drawn images, and of photos where there are some."""
        said = self.verdict + _mark(self.seeds)
        if self.photos is not None:
            said += f"; photos: {verdict_of(self.photos)}{_mark(self.photo_seeds)}"
        return said


def _mark(seeds: int) -> str:
    return f" ({seeds} seed{'s' if seeds > 1 else ''}, exploratory)" if 0 < seeds < HEADLINE else ""


def verdict_of(difference: Difference | None) -> str:
    """holds, contradicted, inconclusive, or not measured."""
    if difference is None:
        return UNMEASURED
    if difference.low > 0:
        return HOLDS
    return CONTRADICTED if difference.high < 0 else INCONCLUSIVE


def ledger(out: str | Path, *, claims: Sequence[Claim] = CLAIMS, resamples: int = 2000) -> list[Entry]:
    """An entry for every claim, from the rows in `out`.

    Raises UserError for damaged rows, and for a claim about a study that there is not.
    """
    made = {claim: Entry(claim=claim) for claim in claims}
    for name in dict.fromkeys(claim.study for claim in claims):
        by_variant = load_study(study_named(name), out)
        pairs = {claim: (claim.variant, claim.baseline) for claim in claims if claim.study == name}
        earlier = any(row.earlier for rows in by_variant.values() for row in rows)
        for claim, apart, seeds in _measured(by_variant, pairs, resamples):
            made[claim] = replace(made[claim], differences=apart, seeds=seeds, earlier=earlier)
    photos = load_study(study_named(PHOTOS), out)
    photo_pairs = {claim: claim.photos for claim in claims if claim.photos is not None}
    for claim, apart, seeds in _measured(photos, photo_pairs, resamples):
        earlier = made[claim].earlier or any(row.earlier for rows in photos.values() for row in rows)
        made[claim] = replace(made[claim], photo_differences=apart[ALL], photo_seeds=seeds, earlier=earlier)
    return list(made.values())


def in_metric(entries: Sequence[Entry], metric: str) -> list[Entry]:
    """The same entries, judged by another metric, such as "rsum"."""
    return [replace(entry, metric=metric) for entry in entries]


def _measured(
    by_variant: Mapping[str, list[Row]], pairs: Mapping[Claim, tuple[str, str]], resamples: int
) -> Iterator[tuple[Claim, dict[str, ByMetric], int]]:
    """Of each claim whose two variants have rows: its differences by part of the images, and how many seeds."""
    known = {claim: pair for claim, pair in pairs.items() if set(pair) <= set(by_variant)}
    apart = _differences(by_variant, list(dict.fromkeys(known.values())), resamples)
    for claim, pair in known.items():
        yield claim, apart[pair], _seeds(*(by_variant[name] for name in pair))


def _differences(
    by_variant: Mapping[str, list[Row]], pairs: list[tuple[str, str]], resamples: int
) -> dict[tuple[str, str], dict[str, ByMetric]]:
    """Of each pair, by part of the images and metric."""
    apart: dict[tuple[str, str], dict[str, ByMetric]] = {pair: {} for pair in pairs}
    if not pairs:
        return apart
    variants = {name: [row.ranks() for row in by_variant[name]] for pair in pairs for name in pair}
    halves = by_variant[pairs[0][0]][0].groups()
    for part in PARTS:
        if part == ALL or part in halves:
            differences = compare(variants, pairs, images=halves.get(part), resamples=resamples)[1]
            for pair, by_metric in differences.items():
                apart[pair][part] = by_metric
    return apart


def _seeds(*sides: list[Row]) -> int:
    """Of the side with fewer; one that was not trained has none that could differ."""
    return min((len(rows) for rows in sides if rows[0].metadata["kind"] == "trained"), default=HEADLINE)


def markdown(entries: Sequence[Entry]) -> str:
    """The ledger as a table, and what a reader of it should know."""
    lines = [["claim", "source", *PARTS, "photos", "verdict"], ["---", "---", *["--:"] * 4, "---"]]
    for entry in entries:
        parts = [_shown(entry.part(part), bold=part == entry.claim.judged) for part in PARTS]
        lines.append([entry.claim.text, entry.claim.source, *parts, _shown(entry.photos), entry.words()])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([table, *notes(entries)])


def _shown(difference: Difference | None, *, bold: bool = False) -> str:
    if difference is None:
        return ""
    value, low, high = difference
    text = f"**{value:+.1f}**" if bold else f"{value:+.1f}"
    return f"{text} [{low:+.1f}, {high:+.1f}]"


def counted(entries: Sequence[Entry]) -> str:
    """How many claims hold, as text."""
    verdicts = [entry.verdict for entry in entries if entry.verdict != UNMEASURED]
    if not verdicts:
        return f"None of {len(entries)} claims was measured on drawn images yet."
    counts = [f"{word}: {verdicts.count(word)}" for word in (HOLDS, INCONCLUSIVE, CONTRADICTED)]
    return (
        f"Of {len(entries)} claims {len(verdicts)} were measured on drawn images; {', '.join(counts)}. Were "
        f"none of them true, {0.05 * len(verdicts):.1f} of their intervals would exclude 0 by chance."
    )


def notes(entries: Sequence[Entry]) -> list[str]:
    """How to read it, how many claims hold, and possible reasons for each that does not."""
    said = [EARLIER] if any(entry.earlier for entry in entries) else []
    said += [
        "Differences in mean R@1, in points, on the drawn test images, with 95 % confidence intervals over images "
        "and seeds; the bold one gives the verdict. Fewer than five seeds are exploratory. Sources: the paper's "
        "abstract; a method that it builds on; *control*, a baseline that a claim has to beat; *choice*, what this "
        "library does otherwise.",
        counted(entries),
    ]
    if any(entry.photos is not None for entry in entries):
        said.append(
            "On photos (flickr8k-224) one part at a time is changed of SGE, a queue of 2,048 and UTO, with three "
            f"seeds, {study_named(PHOTOS).steps} steps and the preset's learning rate for all; the model without "
            "a queue lacks averaged weights too. CGE on photos is not measured: it takes CLIP's weights."
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

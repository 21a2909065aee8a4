"""Figures of notebook 02: what a region resembles, and what a retriever gets wrong, by the scene graph."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from usercourse.overlays import attention
from usercourse.plots import COLOURS, CYCLE, WIDEST, Shown, empty_figure, legend_below, new_figure, wrapped
from userlib.evaluation import Difference, Interval
from userscenes import Fact, Scenes
from userscenes.catalog import CLASS_NOUNS, KINDS

GROUPS = ("category", "colour", "count", "relation", "action", "setting")
ALIKE = 6  # most similar regions of other images that are shown
Rates = Mapping[str, Interval]
Bools = NDArray[np.bool_]


def judge(said: Iterable[Fact], holds: frozenset[Fact]) -> dict[str, bool]:
    """Compares the facts that a caption states (`said`) with those that hold in an image: {group: whether it is wrong}.

    A group is judged only where it can be: a colour (or pattern) if the category is in the image; a count, a relation,
    an action (or size, or side) if the described objects are. "setting" is place, time and weather. The caption is
    true of the image if and only if nothing is wrong.
    """
    wrong: dict[str, bool] = {}

    def note(group: str, right: bool) -> None:
        wrong[group] = wrong.get(group, False) or not right

    def there(level: object, colour: object = "", pattern: object = "") -> bool:
        return ("thing", level, colour, pattern, "", "", "") in holds

    for fact in said:
        word, *rest = fact
        if word == "thing":
            level, colour, pattern, *manner = rest
            note("category", there(level))
            if (colour or pattern) and there(level):
                note("colour", there(level, colour, pattern))
            if any(manner) and there(level, colour, pattern):
                note("action", fact in holds)
        elif word in ("count", "many"):
            if there(*rest[:3]):
                note("count", fact in holds)
        elif word == "rel":
            if there(*rest[:3]) and there(*rest[4:]):
                note("relation", fact in holds)
        else:
            note("setting", fact in holds)
    return wrong


@dataclass(frozen=True)
class Judged:
    """P judged pairs of a caption and an image: for each group (P,) whether it could be judged, and whether it was
    wrong. `captions` and `pictures` (P,) are their indices.
    """

    captions: NDArray[np.int64]
    pictures: NDArray[np.int64]
    could: Mapping[str, Bools]
    wrong: Mapping[str, Bools]

    @property
    def false(self) -> Bools:
        """(P,) bool: where the caption is not true of the image."""
        return np.asarray(np.any([self.wrong[group] for group in GROUPS], axis=0))

    def alone(self, group: str) -> Bools:
        """(P,) bool: where this group and no other is wrong."""
        others = np.any([self.wrong[other] for other in GROUPS if other != group], axis=0)
        return np.asarray(self.wrong[group] & ~others)


def judge_pairs(
    said: Sequence[Iterable[Fact]], holds: Sequence[frozenset[Fact]], captions: ArrayLike, pictures: ArrayLike
) -> Judged:
    """Judges pairs, given the facts of all captions and images and the indices (P,) of captions and images."""
    rows, columns = np.asarray(captions, np.int64), np.asarray(pictures, np.int64)
    judged = [judge(said[j], holds[i]) for j, i in zip(rows, columns, strict=True)]
    could = {group: np.array([group in one for one in judged], bool) for group in GROUPS}
    wrong = {group: np.array([one.get(group, False) for one in judged], bool) for group in GROUPS}
    return Judged(rows, columns, could, wrong)


def error_rates(
    judged: Judged, caption_to_image: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Rates:
    """The error rate of each group, in percent of the pairs where it could be judged, with its 95 % confidence
    interval.

    The bootstrap draws the images that the captions were written for, caption_to_image (M,); a group that could never
    be judged is left out.
    """
    draw = _Draw(caption_to_image, resamples, seed)
    return {
        group: Interval(*draw.interval(*draw.rate(judged, group)))
        for group in GROUPS
        if judged.could[group].any()
    }


def rate_differences(
    a: Judged, b: Judged, caption_to_image: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Mapping[str, Difference]:
    """The error rates of a minus those of b, in points, on the same draws of images."""
    draw = _Draw(caption_to_image, resamples, seed)
    differences = {}
    for group in GROUPS:
        if a.could[group].any() and b.could[group].any():
            (one, many), (other, others) = draw.rate(a, group), draw.rate(b, group)
            differences[group] = Difference(*draw.interval(one - other, many - others))
    return differences


class _Draw:
    """Weights (S, N): how often each of S resamples contains each image."""

    def __init__(self, caption_to_image: ArrayLike, resamples: int, seed: int) -> None:
        self.owner = np.asarray(caption_to_image)
        self.n = int(self.owner.max()) + 1
        rng = np.random.default_rng(seed)
        self.weights = rng.multinomial(self.n, np.full(self.n, 1 / self.n), size=resamples)

    def rate(self, judged: Judged, group: str) -> tuple[float, NDArray[np.float64]]:
        """The error rate in percent, on all pairs and in every resample (S,)."""
        owner = self.owner[judged.captions]
        asked, missed = (np.bincount(owner, one[group], self.n) for one in (judged.could, judged.wrong))
        drawn = 100 * (self.weights @ missed) / np.maximum(self.weights @ asked, 1)
        return float(100 * missed.sum() / asked.sum()), np.asarray(drawn)

    def interval(self, value: float, drawn: NDArray[np.float64]) -> tuple[float, float, float]:
        low, high = np.quantile(drawn, [0.025, 0.975])
        return value, float(low), float(high)


def rates_figure(rates: Mapping[str, Rates]) -> Shown:
    """Error rates by name and group: the groups one below the other, with the names next to each other."""
    groups = [group for group in GROUPS if any(group in one for one in rates.values())]
    figure, axes = new_figure(WIDEST, 1.2 + 0.56 * len(groups))
    axis = axes[0, 0]
    shift = 0.6 / max(len(rates), 1)
    for k, ((name, one), colour, mark) in enumerate(zip(rates.items(), CYCLE, "osD^v", strict=False)):
        for i, group in enumerate(groups):
            if group not in one:
                continue
            value, low, high = one[group]
            y = i + (k - (len(rates) - 1) / 2) * shift
            axis.plot([low, high], [y, y], color=colour, lw=3, solid_capstyle="butt")
            axis.plot(value, y, mark, color=colour, ms=6, label=name if i == 0 else None)
    axis.set_yticks(range(len(groups)), groups, fontsize=9)
    axis.set_ylim(len(groups) - 0.4, -0.6)
    axis.set_xlim(-2, 102)
    axis.set_xlabel("wrong, in percent of the captions where it can be judged", fontsize=9)
    legend_below(figure, axis=axis, columns=3)
    told = [
        f"{group} "
        + ", ".join(f"{one[group].value:.0f} ({name})" for name, one in rates.items() if group in one)
        for group in groups
    ]
    return (
        figure,
        f"Percent wrong, where it can be judged: {'; '.join(told)}. Bars are 95 % confidence intervals.",
    )


def worst_first(judged: Judged, ranks: ArrayLike, group: str) -> NDArray[np.int64]:
    """Indices of the judged pairs in which only this group is wrong, the worst first: by the rank of the image that the
    caption was written for, ranks (M,).
    """
    chosen = np.flatnonzero(judged.alone(group))
    far = np.asarray(ranks)[judged.captions[chosen]]
    order: NDArray[np.int64] = chosen[np.argsort(-far, kind="stable")]
    return order


def worst(
    world: Scenes,
    texts: Sequence[str],
    said: Sequence[frozenset[Fact]],
    holds: Sequence[frozenset[Fact]],
    judged: Judged,
    *,
    ranks: ArrayLike,
    caption_to_image: ArrayLike,
    groups: Sequence[str] = ("colour", "count", "relation", "category"),
    each: int = 2,
) -> Shown:
    """The worst failures in which only one group is wrong, a row per group: the image that the caption was written for,
    next to the first hit.
    """
    far, owner = np.asarray(ranks), np.asarray(caption_to_image)
    figure = empty_figure(WIDEST, 2.3 * len(groups))
    boxes = figure.subfigures(len(groups), each, squeeze=False)
    counts, first = [], []
    for row, group in zip(boxes, groups, strict=True):
        chosen = worst_first(judged, far, group)[:each]
        for box, p in zip(row, chosen, strict=False):
            j, i = int(judged.captions[p]), int(judged.pictures[p])
            missing = ", ".join(absent(said[j], holds[i], group))
            box.suptitle(wrapped(f"{group}: {texts[j]}", 66 // each), fontsize=9, x=0.02, ha="left")
            left, right = box.subplots(1, 2)
            shown = (
                (left, int(owner[j]), f"written for this one, which ranks {ordinal(int(far[j]))}"),
                (right, i, f"found first; not: {missing}"),
            )
            for axis, picture, title in shown:
                axis.imshow(np.asarray(world.picture(picture)))
                axis.axis("off")
                axis.set_title(wrapped(title, 34 // each), fontsize=9)
        counts.append(f"{group} {int(judged.alone(group).sum())}")
        if len(chosen):
            j, i = int(judged.captions[chosen[0]]), int(judged.pictures[chosen[0]])
            first.append(f"{texts[j].rstrip('.')} (not there: {', '.join(absent(said[j], holds[i], group))})")
    return figure, (
        f"Of {int(judged.false.sum()):,} captions whose first hit contradicts them, these have a single kind of error: "
        f"{', '.join(counts)}. The worst of each are shown, those with the largest rank of the ground-truth "
        f"image; on the "
        f"left, row by row: {'; '.join(first)}."
    )


def absent(said: Iterable[Fact], holds: frozenset[Fact], group: str) -> list[str]:
    """What the caption states and the image lacks, in words: for the group "category" all categories, for another
    group the shortest phrase.
    """
    lacking = set(said) - holds
    if group == "category":
        levels = {str(fact[1]) for fact in lacking if fact[0] == "thing"}
        return sorted(level for level in levels if ("thing", level, "", "", "", "", "") not in holds)
    return sorted(map(in_words, lacking), key=lambda text: (len(text), text))[:1]


def reading(name: str, rates: Rates, base: Rates, gaps: Mapping[str, Difference]) -> list[str]:
    """A line per group: its error rate, that of a random image, and whether the difference excludes 0."""
    told = []
    for group, (value, low, high) in gaps.items():
        open_ = " (the interval contains 0: inconclusive)" if low <= 0 <= high else ""
        told.append(
            f"{group}: {name} is wrong in {rates[group].value:.0f} % of cases and a random image in "
            f"{base[group].value:.0f} %; {value:+.1f} points [{low:+.1f}, {high:+.1f}]{open_}"
        )
    return told


def counted(level: str, n: int) -> str:
    """The noun of a category, as it stands next to a number: "dog", "dogs"."""
    singular, plural = KINDS[level].nouns[0] if level in KINDS else CLASS_NOUNS[level]
    return singular if n == 1 else plural


def in_words(fact: Fact) -> str:
    """A fact in a few words: "red balloon", "two or more dogs", "man riding red bicycle"."""
    word, *rest = map(str, fact)
    if word == "rel":
        return " ".join(filter(None, [rest[2], rest[1], rest[0], rest[3], rest[6], rest[5], rest[4]]))
    if word == "count":
        return " ".join(filter(None, ["exactly", rest[3], rest[2], rest[1], counted(rest[0], int(rest[3]))]))
    if word == "many":
        return " ".join(filter(None, ["two or more", rest[2], rest[1], counted(rest[0], 2)]))
    if word == "thing":
        level, colour, pattern, size, action, side = rest
        told = " ".join(filter(None, [size, pattern, colour, level, action]))
        return f"{told} in the middle" if side == "middle" else f"{told} on the {side}" if side else told
    return rest[0].replace("_", " ")


def thing_at(world: Scenes, picture: int, cell: tuple[int, int], grid: tuple[int, int]) -> int | None:
    """The object that covers most of a cell (row, column) of the grid; None where no object covers a quarter of it."""
    parts = [part(mask, cell, grid).mean() for mask in world.masks(picture)]
    best = int(np.argmax(parts))
    return best if parts[best] >= 0.25 else None


def part(picture: NDArray[np.generic], cell: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.generic]:
    """The pixels (H, W, ...) of one cell."""
    height, width = picture.shape[0] // grid[0], picture.shape[1] // grid[1]
    row, column = cell
    return picture[row * height : (row + 1) * height, column * width : (column + 1) * width]


def resembling(
    world: Scenes, tokens: NDArray[np.float32], grid: tuple[int, int], picture: int, cell: tuple[int, int]
) -> Shown:
    """A region of an image, its similarity to the regions of this image, and the ALIKE most similar regions of others.

    tokens (N, R, D), of unit norm, are those of the first N images of the world.
    """
    row, column = cell
    own = tokens[picture] @ tokens[picture, row * grid[1] + column]  # (R,)
    others = tokens @ tokens[picture, row * grid[1] + column]  # (N, R)
    others[picture] = -2.0
    near = np.argsort(-others.max(1))[:ALIKE]  # at most one region per image
    cells = [divmod(int(others[i].argmax()), grid[1]) for i in near]
    figure = empty_figure(5.2, 5.6)
    above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.25), squeeze=False)[:, 0]
    first, second = above.subplots(1, 2)
    image = world.picture(picture)
    first.imshow(np.asarray(image))
    first.axis("off")
    first.set_title("the region", fontsize=9)
    height, width = image.height // grid[0], image.width // grid[1]
    for axis in (first, second):
        axis.add_patch(
            Rectangle(
                (column * width - 0.5, row * height - 0.5), width, height, fill=False, lw=2, ec=COLOURS["sky"]
            )
        )
    attention(image, np.maximum(own, 0.0), grid, title="cosine with it, where above 0", axis=second)
    below.suptitle("the most similar regions of other images", fontsize=9)
    for axis, i, at in zip(below.subplots(2, ALIKE // 2).flat, near, cells, strict=True):
        axis.imshow(_around(np.asarray(world.picture(int(i))), at, grid))
        axis.axis("off")
    mine, named = _name(world, picture, cell, grid)
    kinds = [_name(world, int(i), at, grid) for i, at in zip(near, cells, strict=True)]
    same_kind = sum(kind == mine for kind, _ in kinds)
    same_all = sum(name == named for _, name in kinds)
    return figure, (
        f"The region shows {named}. Of the {ALIKE} most similar regions of other images, {same_kind} show the same "
        f"category ({mine}), {same_all} of them in the same colour."
    )


def _name(world: Scenes, picture: int, cell: tuple[int, int], grid: tuple[int, int]) -> tuple[str, str]:
    """What a cell shows: the kind, and the kind with its colour."""
    index = thing_at(world, picture, cell, grid)
    if index is None:
        return "background", "background"
    thing = world[picture].things[index]
    return thing.kind, f"{thing.colour} {thing.kind}"


def _around(picture: NDArray[np.uint8], cell: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """The square of three by three cells around a cell, clipped to the image."""
    height, width = picture.shape[0] // grid[0], picture.shape[1] // grid[1]
    top, left = max(cell[0] - 1, 0) * height, max(cell[1] - 1, 0) * width
    return picture[top : (cell[0] + 2) * height, left : (cell[1] + 2) * width]


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..., 11th, ..., 21st."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"

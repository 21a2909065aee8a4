"""Figures as pure functions: values -> (Figure, sentence). On white, in the colours of Okabe and Ito.

`show(*heat_map(...))` displays the figure and below it the sentence, which says what is to be seen and is also the
figure's alternative text. matplotlib's Figure is used directly, without pyplot and its global state.
"""

import html
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike
from PIL import Image

from usercourse.verdicts import TELL, outcome
from userlib.evaluation import Interval, table

COLOURS = {
    "blue": "#0072B2", "vermillion": "#D55E00", "green": "#009E73", "orange": "#E69F00",
    "purple": "#CC79A7", "sky": "#56B4E9", "black": "#000000", "yellow": "#F0E442",
}  # fmt: skip
CYCLE = tuple(COLOURS.values())[:7]  # yellow is too pale for a line on white
# lines differ in more than their colour
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
DPI = 110
WIDEST = 5.6  # inches; a narrow window shows this at 390 pixels, where 9 points are still legible
VERDICTS = {  # the outcome of a difference A - B: its legend, colour and marker
    "higher": ("better, above 0", "green", "o"),
    "lower": ("worse, below 0", "vermillion", "D"),
    TELL: ("inconclusive, contains 0", "black", "s"),
}
Shown = tuple[Figure, str]


def new_figure(
    width: float = WIDEST, height: float = 3.2, *, rows: int = 1, columns: int = 1
) -> tuple[Figure, Any]:
    """A figure of this size in inches, and its axes (rows, columns). Raises ValueError if it is wider than WIDEST."""
    figure = empty_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=9)
    return figure, axes


def empty_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches, without axes. Raises ValueError if it is wider than WIDEST."""
    if width > WIDEST + 1e-6:
        raise ValueError(f"a figure of {width:.2f} inches is too wide for a narrow window; at most {WIDEST}.")
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white", dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def two_above_one(width: float, height: float) -> tuple[Figure, tuple[Axes, Axes, Axes]]:
    """A figure and three axes: two side by side, and below them one as wide as both."""
    figure, axes = new_figure(width, height, rows=2, columns=2)
    for one in axes[1]:
        one.remove()
    below = figure.add_subplot(axes[0, 0].get_gridspec()[1, :])
    below.spines[["top", "right"]].set_visible(False)
    below.tick_params(labelsize=9)
    return figure, (axes[0, 0], axes[0, 1], below)


def legend_below(figure: Figure, *handles: Any, axis: Axes | None = None, columns: int = 1) -> None:
    """Add a legend below the axes, where it takes no width: of the handles, or of what has a label on `axis`."""
    named = {"handles": list(handles)} if axis is None else {"handles": axis.get_legend_handles_labels()[0]}
    figure.legend(**named, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)


def wrapped(words: str, width: int) -> str:
    """The text in lines of at most `width` characters."""
    return textwrap.fill(words, width, break_long_words=False)


def png(figure: Figure) -> bytes:
    """The figure as PNG on white, so that its text is legible in a dark theme; in 256 colours, which halves a
    notebook's size.
    """
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    whole = Image.fromarray(pixels).convert("RGB")
    buffer = io.BytesIO()
    few = whole.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def show(figure: Figure, sentence: str) -> None:
    """Display the figure, with the sentence below it and as its alternative text."""
    from IPython.display import HTML, display

    bundle = {"image/png": png(figure), "text/plain": sentence}
    display(bundle, raw=True, metadata={"image/png": {"alt": sentence}})
    below = HTML(f'<p style="max-width:46em"><i>{html.escape(sentence)}</i></p>')
    display(below, metadata={"sentence": sentence})


def show_table(rows: Mapping[str, Mapping[str, Interval]]) -> None:
    """Display results of `bootstrap` or `paired_bootstrap` as a table, one per row, which fits a narrow page."""
    from IPython.display import display

    display({"text/markdown": table(rows, markdown=True), "text/plain": table(rows)}, raw=True)


def heat_map(
    values: ArrayLike,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    own: ArrayLike | None = None,
    title: str = "",
) -> Shown:
    """values (N, M) as shaded cells, with numbers where they fit; own (N, M) bool says which cells are outlined."""
    table = np.asarray(values, dtype=float)
    n, m = table.shape
    figure, axes = new_figure(min(WIDEST, 1.8 + 0.62 * m), min(7.0, 1.0 + 0.5 * n))
    axis = axes[0, 0]
    low, high = float(table.min()), float(table.max())
    axis.imshow(table, cmap="Blues", vmin=low, vmax=high if high > low else low + 1, aspect="auto")
    if table.size <= 150 and m <= 10:
        for i, j in np.ndindex(n, m):
            dark = table[i, j] > (low + high) / 2
            axis.text(
                j, i, f"{round(float(table[i, j]), 2) + 0.0:.2f}", ha="center", va="center", fontsize=9,
                color="white" if dark else "black",
            )  # fmt: skip
    if own is not None:
        from matplotlib.patches import Rectangle

        for i, j in np.argwhere(np.asarray(own)):
            box = (j - 0.47, i - 0.46)
            axis.add_patch(Rectangle(box, 0.94, 0.92, fill=False, lw=2.5, ec=COLOURS["vermillion"]))
    axis.set_xticks(range(m) if columns else [], columns or [])
    axis.set_yticks(range(n) if rows else [], rows or [])
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(length=0)
    if columns and max(map(len, columns)) * m > 55:  # horizontal labels would overlap
        axis.tick_params(axis="x", rotation=30)
    if title:
        axis.set_title(title, fontsize=10, loc="left")
    i, j = divmod(int(table.argmax()), m)
    place = f"row {rows[i] if rows else i + 1}, column {columns[j] if columns else j + 1}"
    ties = int((table == high).sum()) - 1
    also = f" and in {ties} other cell{'s' if ties > 1 else ''}" if ties else ""
    outlined = "" if own is None else " Outlined cells are the matching pairs."
    return figure, (
        f"Darker is larger; the largest of {n} x {m} values, {high:.2f}, is in {place}{also}.{outlined}"
    )


def lines(
    x: ArrayLike,
    series: Mapping[str, ArrayLike],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    axis: Axes | None = None,
) -> Shown:
    """Curves over a common x (P,), each with its own colour and dash; drawn on `axis` if given."""
    across = np.asarray(x, dtype=float)
    narrow = axis is not None  # one of several axes, with room for fewer ticks
    figure, axis = _place(axis, WIDEST, 3.2)
    if narrow:
        axis.locator_params(axis="x", nbins=5)
    ends = []
    for (name, values), colour, dash in zip(series.items(), _repeat(CYCLE), _repeat(DASHES), strict=False):
        y = np.asarray(values, dtype=float)
        axis.plot(across, y, color=colour, ls=dash, lw=2, label=name)
        ends.append(f"{name} goes from {y[0]:.3g} to {y[-1]:.3g}")
    axis.set_xlabel(x_label, fontsize=9)
    axis.set_ylabel(y_label, fontsize=9)
    axis.set_title(title, fontsize=10, loc="left")
    if len(series) > 1:
        axis.legend(fontsize=9, frameon=False)
    return figure, f"From left to right, {'; '.join(ends)}."


def intervals(rows: Mapping[str, Interval], *, x_label: str, differences: bool = False) -> Shown:
    """Values with their 95 % confidence intervals, one per line. Differences are drawn around 0, with the colour and
    marker of their verdict; a larger value counts as better.
    """
    names = [wrapped(name, 24) for name in rows]
    height = 0.42 * len(rows) + 0.1 * sum(name.count("\n") for name in names)
    figure, axes = new_figure(WIDEST, (1.2 if differences else 0.9) + height)
    axis = axes[0, 0]
    for i, interval in enumerate(rows.values()):
        verdict = outcome(interval) if differences else ""
        _, colour, marker = VERDICTS.get(verdict, ("", "blue", "o"))
        difference(axis, i, interval, colour, marker, hollow=verdict == TELL, signed=differences)
    if differences:
        axis.axvline(0, color="black", lw=1, ls=":", zorder=0)
        verdict_legend(figure)
    axis.set_yticks(range(len(rows)), names, fontsize=9)
    axis.set_ylim(len(rows) - 0.5, -0.6)
    axis.set_xlabel(wrapped(x_label, 42), fontsize=9)
    if differences:
        return figure, _verdicts(rows)
    best = max(rows, key=lambda name: rows[name].value)
    value, low, high = rows[best]
    return figure, (
        f"Dots are values, bars their 95 % confidence intervals; the highest is {best} at {value:.1f} "
        f"[{low:.1f}, {high:.1f}]."
    )


def verdict_legend(figure: Figure) -> None:
    """Add a legend above the axes: the colour and marker of each verdict."""
    marks = [
        Line2D([], [], color=COLOURS[colour], marker=marker, label=words, lw=3, ms=8,
               mfc="white" if verdict == TELL else COLOURS[colour])
        for verdict, (words, colour, marker) in VERDICTS.items()
    ]  # fmt: skip
    figure.legend(
        handles=marks, loc="outside upper center", ncols=len(marks), fontsize=9, frameon=False, handlelength=1.6,
        columnspacing=1.2,
    )  # fmt: skip


def difference(
    axis: Axes,
    place: float,
    interval: Sequence[float],
    colour: str,
    marker: str,
    *,
    hollow: bool = False,
    signed: bool = True,
    size: float = 9,
    upright: bool = False,
) -> None:
    """Draw an interval (value, low, high, ...) as a bar with a marker and its value; place: its y, or its x if
    upright.
    """
    value, low, high = interval[:3]
    shade = COLOURS[colour]
    ends, point, offset = ([low, high], [place, place]), (value, place), (0, 7)
    if upright:
        ends, point, offset = (ends[1], ends[0]), (place, value), (18, -3)
    axis.plot(*ends, color=shade, lw=3, solid_capstyle="butt", alpha=0.55)
    axis.plot(*point, marker, color=shade, mfc="white" if hollow else shade, ms=7.5)
    axis.annotate(
        f"{value:+.1f}" if signed else f"{value:.1f}", point, xytext=offset, textcoords="offset points",
        ha="center", fontsize=size, bbox={"fc": "white", "ec": "none", "pad": 0.6},
    )  # fmt: skip


def _verdicts(rows: Mapping[str, Interval]) -> str:
    """A sentence on differences: which are better, which worse, and which inconclusive."""
    named = {verdict: [name for name in rows if outcome(rows[name]) == verdict] for verdict in VERDICTS}
    better, worse, open_ = named.values()
    parts = [f"{word}: {listed(names)}" for word, names in (("better", better), ("worse", worse)) if names]
    if not parts:
        parts = ["none excludes 0"]
    if open_:
        parts.append(f"inconclusive, with 0 in the interval: {listed(open_)}")
    return f"Markers are differences, bars their 95 % confidence intervals; {'; '.join(parts)}."


def pictures(
    images: Sequence[Image.Image], titles: Sequence[str], *, columns: int = 5, size: float = 1.7
) -> Figure:
    """Images with their titles, in as few rows as fit a narrow window with at most `columns` images each. The caller
    writes the sentence.
    """
    most = min(columns, len(images), int(WIDEST / size))
    across = -(-len(images) // -(-len(images) // most))
    across = min(across + across % 2, most)  # even where there is room, so that pairs stay together
    down = -(-len(images) // across)
    lines_ = max(title.count("\n") + 1 for title in titles)
    figure, axes = new_figure(size * across, (size + 0.17 * lines_) * down, rows=down, columns=across)
    for one in axes.flat:
        one.axis("off")
    for one, image, title in zip(axes.flat, images, titles, strict=False):
        one.imshow(np.asarray(image))
        one.set_title(title, fontsize=9)
    return figure


def _place(axis: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The figure of the axis, and the axis; new ones where it is None."""
    if axis is None:
        figure, axes = new_figure(width, height)
        return figure, axes[0, 0]
    return axis.get_figure(root=True), axis  # type: ignore[return-value]


def _repeat(values: Sequence[Any]) -> Any:
    while True:
        yield from values


def listed(names: Sequence[str]) -> str:
    """The names as text: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

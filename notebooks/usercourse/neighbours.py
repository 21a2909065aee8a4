"""What notebook 12 draws and measures: weights as shaded cells, a graph of regions, routed cells, and accuracy against
time per query.
"""

import time
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
import torch
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import ArrayLike
from torch import Tensor

from usercourse.plots import COLOURS, CYCLE, WIDEST, Shown, legend_below, new_figure
from userlab.bench.timing import clock_of
from userlib.data.captions import CaptionDataset
from userlib.evaluation import Interval, Ranks
from userlib.evaluation.cross_scores import Sets
from userlib.inference import scoring
from userlib.model.user import DualEncoder

CELLS = ("rectified", "attention", "gate")
QUERIES = 20  # that are timed
Point = tuple[float, Interval]  # milliseconds per query, rSum


def grids(
    panels: Mapping[str, ArrayLike],
    sentence: str,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    outlined: ArrayLike | None = None,
) -> Shown:
    """Up to two matrices (N, M) side by side as shaded cells with their values; outlined (N, M) bool marks cells of the
    first.
    """
    tables = {title: np.asarray(values, dtype=float) for title, values in panels.items()}
    n, m = next(iter(tables.values())).shape
    figure, axes = new_figure(min(WIDEST, 1.0 + 0.62 * m * len(tables)), 1.0 + 0.36 * n, columns=len(tables))
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        low, high = float(table.min()), float(table.max())
        axis.imshow(table, cmap="Blues", vmin=low, vmax=high if high > low else low + 1, aspect="auto")
        for i, j in np.ndindex(n, m):
            shade = "white" if table[i, j] > (low + high) / 2 else "black"
            axis.text(j, i, f"{table[i, j] + 0.0:.2f}", ha="center", va="center", fontsize=9, color=shade)
        axis.set_xticks(range(m), columns, fontsize=9)
        axis.set_yticks(range(n), rows if axis is axes[0, 0] else [], fontsize=9)
        axis.tick_params(length=0)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.set_title(title, fontsize=10, loc="left")
    for i, j in np.argwhere(np.zeros((n, m)) if outlined is None else np.asarray(outlined)):
        box = Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, lw=2.5, ec=COLOURS["vermillion"])
        axes[0, 0].add_patch(box)
    return figure, sentence


def region_graph(relations: ArrayLike, names: Sequence[str]) -> Shown:
    """relations (R, R) as a graph: the wider a line, the larger the relation of the two regions that it joins."""
    table = np.asarray(relations, dtype=float)
    both = (table + table.T) / 2
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False) + np.pi / 4
    x, y = 1.6 * np.cos(angles), np.sin(angles)
    figure, axes = new_figure(4.2, 2.4)
    axis = axes[0, 0]
    axis.set_axis_off()
    axis.set_xlim(-2.1, 2.1)
    axis.set_ylim(-1.2, 1.2)
    edges = {(i, j): both[i, j] for i in range(len(names)) for j in range(i)}
    most = max(edges.values())
    for (i, j), weight in edges.items():
        axis.plot(
            x[[i, j]],
            y[[i, j]],
            color=COLOURS["blue"],
            lw=0.4 + 7 * max(weight, 0) / most,
            alpha=0.6,
            zorder=1,
        )
    for name, left, low in zip(names, x, y, strict=True):
        axis.text(
            left, low, name, ha="center", va="center", fontsize=10,
            bbox={"boxstyle": "round,pad=0.45", "fc": "white", "ec": "black"},
        )  # fmt: skip
    (i, j), weight = max(edges.items(), key=lambda one: one[1])
    return figure, (
        f"Regions as nodes, relations as lines, wider for larger ones: the strongest joins {names[j]} and {names[i]} "
        f"({weight:.2f})."
    )


def routes(paths: Sequence[Tensor]) -> Shown:
    """paths: of each layer (cells, targets), as lines from left to right: the wider, the more of a cell goes on."""
    figure, axes = new_figure(WIDEST, 2.6)
    axis = axes[0, 0]
    axis.set_axis_off()
    axis.set_xlim(-0.5, len(paths) + 0.45)
    axis.set_ylim(-0.5, 2.6)
    values = [np.asarray(layer.detach(), dtype=float) for layer in paths]
    for depth, layer in enumerate(values):
        targets = [1.0] if layer.shape[1] == 1 else [2.0, 1.0, 0.0]
        for (cell, target), share in np.ndenumerate(layer / layer.sum(0)):
            axis.plot(
                [depth, depth + 1], [2.0 - cell, targets[target]], color=CYCLE[cell], lw=0.3 + 8 * share, alpha=0.55,
                zorder=1,
            )  # fmt: skip
        axis.text(depth, 2.5, f"layer {depth + 1}", ha="center", fontsize=9)
    boxes = [(depth, 2.0 - cell, name) for depth in range(len(paths)) for cell, name in enumerate(CELLS)]
    for left, low, name in [*boxes, (len(paths), 1.0, "result")]:
        axis.text(
            left, low, name, ha="center", va="center", fontsize=9,
            bbox={"boxstyle": "round,pad=0.4", "fc": "white", "ec": "black"},
        )  # fmt: skip
    low, high = min(layer.min() for layer in values), max(layer.max() for layer in values)
    return figure, (
        f"Three layers of three cells; a line is as wide as its share of what it leads to. Before any training all "
        f"paths are open: p lies between {low:.2f} and {high:.2f}."
    )


def bars(values: Mapping[str, Mapping[str, float]], sentence: str, *, label: str) -> Shown:
    """Of each group, named at the left, one bar for each name; a negative value has another colour where there is one
    bar only.
    """
    groups, names = list(values), list(next(iter(values.values())))
    height = 0.8 / len(names)
    figure, axes = new_figure(WIDEST, 0.9 + (0.1 + 0.16 * len(names)) * len(groups) + 0.25 * (len(names) > 1))
    axis = axes[0, 0]
    for k, name in enumerate(names):
        x = [values[group][name] for group in groups]
        shade = COLOURS["green"] if len(names) == 1 else CYCLE[k]
        colours = [COLOURS["vermillion"] if one < 0 and len(names) == 1 else shade for one in x]
        axis.barh(
            np.arange(len(groups)) + (k + 0.5) * height - 0.4,
            x,
            height=0.9 * height,
            color=colours,
            label=name,
        )
    axis.axvline(0, color="black", lw=1)
    axis.set_yticks(range(len(groups)), groups, fontsize=9)
    axis.set_ylim(len(groups) - 0.5, -0.5)
    axis.set_xlabel(label, fontsize=9)
    if len(names) > 1:
        legend_below(figure, axis=axis, columns=len(names))
    return figure, sentence


def reranked(scores: Tensor, cross: Tensor, k: int) -> Tensor:
    """scores, cross (Q, N) -> (Q, N) items, best first: the first k by `scores` in the order of `cross`, then the
    others.
    """
    order = scores.argsort(1, descending=True)
    first, behind = order[:, :k], order[:, k:]
    again = cross.gather(1, first).argsort(1, descending=True)
    return torch.cat([first.gather(1, again), behind], 1)


def ranks_after(scores: Tensor, cross: Tensor, k: int) -> Ranks:
    """scores, cross (N, N) of images and their one caption each -> ranks, with the first k of each query re-ranked."""
    own = torch.arange(len(scores)).unsqueeze(1)
    both = [
        1 + (reranked(s, c, k) == own).int().argmax(1).numpy().astype(np.int64)
        for s, c in ((scores, cross), (scores.t(), cross.t()))
    ]
    return Ranks(i2t=both[0], t2i=both[1], caption_to_image=np.arange(len(scores)))


def query_ms(
    encoders: DualEncoder, pairs: CaptionDataset, sets: Sets, images: ArrayLike, ks: Sequence[int]
) -> dict[int, float]:
    """k -> the median milliseconds of a text query: the caption is encoded and compared with all images, and the first
    k are re-ranked. Regions and words of the images' split are in `sets`; the first query warms up. With one thread
    it is the processor's time, which other programs do not change.
    """
    clock = time.process_time if clock_of("cpu") == "cpu" else time.perf_counter
    gallery = torch.as_tensor(images)
    rows = np.linspace(0, len(pairs) - 1, QUERIES + 1).astype(int).tolist()
    times: dict[int, list[float]] = {k: [] for k in ks}
    with scoring(encoders):
        for row in rows:
            for k in ks:  # in turn, so that other work on the machine meets all of them
                began = clock()
                batch = pairs.batch(np.array([row]))
                scores = gallery @ encoders.encode_text(batch.input_ids, batch.attention_mask)[0]
                if k:
                    sets.scores_of(row, scores.topk(min(k, len(scores))).indices)
                times[k].append(1000 * (clock() - began))
    return {k: median(each[1:]) for k, each in times.items()}


def names_of(ks: Sequence[int], everything: int) -> dict[int, str]:
    """What is called how: k = 0 is the embeddings alone."""
    return {k: "embeddings" if not k else "every image" if k >= everything else f"first {k}" for k in ks}


def speed_and_accuracy(
    models: Mapping[str, Mapping[str, Point]], *, bounds: str = "95 % confidence intervals over images"
) -> Shown:
    """rSum over milliseconds per query: for each model its points in order, by name; bounds: what the bars are."""
    figure, axes = new_figure(WIDEST, 3.2 + 0.2 * (len(models) > 1) * len(models))
    axis = axes[0, 0]
    said = []
    for (model, points), colour, mark in zip(models.items(), CYCLE, "osD^v", strict=False):
        x = [ms for ms, _ in points.values()]
        y = [interval.value for _, interval in points.values()]
        away = np.abs([[i.value - i.low, i.high - i.value] for _, i in points.values()]).T
        axis.errorbar(x, y, away, fmt=f"{mark}-", color=colour, lw=1.5, ms=6,
                      capsize=3, label=model)  # fmt: skip
        each = "; ".join(f"{name} {i.value:.1f} in {ms:.3g} ms" for name, (ms, i) in points.items())
        said.append(f"{model}: {each}")
    for i, (name, (ms, interval)) in enumerate(next(iter(models.values())).items()):
        below = len(models) == 1 and i % 2  # of several models the highest is labelled
        highest = max(points[name][1].high for points in models.values() if name in points)
        axis.annotate(
            name, (ms, interval.low if below else highest), ha="center", fontsize=9,
            xytext=(0, -14 if below else 6), textcoords="offset points",
        )  # fmt: skip
    axis.set_xscale("log")
    axis.margins(x=0.14, y=0.22)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("milliseconds per text query", fontsize=9)
    axis.set_ylabel("rSum", fontsize=9)
    if len(models) > 1:
        legend_below(figure, axis=axis)
    return figure, f"rSum and time per text query, bars are {bounds}. {'. '.join(said)}."

"""Diagrams of the course: the whole model with the parts that a notebook is about, the two enhancements, query and key
encoders with their queues, and the losses as one score matrix. All run downwards, so that they are legible in a
narrow window.

    diagram("pipeline", here=("enhancement",))
"""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from usercourse.plots import COLOURS, Shown, new_figure, show
from userlib.errors import UserError

WORDS = 9.5  # points, in boxes
GREY = "#5A5A5A"  # of lines, and of words outside boxes
IMAGE, TEXT, BOTH, HERE = "#CFE6F5", "#FBE3C0", "#E6E6E6", COLOURS["vermillion"]
PARTS = ("tokens", "enhancement", "pooling", "text", "guide", "objective", "queues", "recall", "search")


def diagram(name: str, here: Sequence[str] = ()) -> None:
    """Display a diagram with its sentence. here: the parts of the pipeline that a notebook is about.

    Raises UserError for an unknown name or part.
    """
    if name not in DIAGRAMS:
        raise UserError(f"There is no diagram {name!r}; choose one of {', '.join(DIAGRAMS)}.")
    if name != "pipeline":
        show(*DIAGRAMS[name]())
        return
    for part in here:
        if part not in PARTS:
            raise UserError(f"The pipeline has no part {part!r}; choose one of {', '.join(PARTS)}.")
    show(*pipeline(here))


def _canvas(width: float, height: float) -> tuple[Shown, Axes]:
    """An empty drawing that fills its figure, with x to width and y to height, in tenths of an inch."""
    figure, axes = new_figure(width / 10, height / 10)
    figure.set_layout_engine("none")
    axis = axes[0, 0]
    axis.set_position((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set_xlim(0, width)
    axis.set_ylim(0, height)
    return (figure, ""), axis


def _box(
    axis: Axes,
    x: float,
    y: float,
    width: float,
    words: str,
    fill: str,
    *,
    height: float = 4.0,
    here: bool = False,
) -> None:
    """Draw a box with its left end at x and its centre line at y."""
    axis.add_patch(
        FancyBboxPatch(
            (x, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.8", fc=fill,
            ec=HERE if here else GREY, lw=2.6 if here else 1.0,
        )
    )  # fmt: skip
    axis.text(
        x + width / 2, y, words, ha="center", va="center", fontsize=WORDS, color="black",
        weight="bold" if here else "normal", linespacing=1.1,
    )  # fmt: skip


def _arrow(axis: Axes, *points: tuple[float, float], dashed: bool = False) -> None:
    """Draw an arrow along straight lines through the points (x, y)."""
    look: dict[str, Any] = {"color": GREY, "lw": 1.2, "ls": "--" if dashed else "-"}
    before, start, end = (points[0], *points)[-3:]
    if before != start:
        axis.plot(*zip(before, start, strict=True), solid_capstyle="round", **look)
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **look})


def _note(axis: Axes, x: float, y: float, words: str, ha: str = "left") -> None:
    """Write words next to an arrow, with the end that `ha` says at x and the centre line at y."""
    axis.text(x, y, words, ha=ha, va="center", fontsize=9, color=GREY, linespacing=1.1)


def pipeline(here: Sequence[str] = ()) -> Shown:
    """The model from image and caption to loss and search; the parts in `here` have a thick frame and bold words."""
    (figure, _), axis = _canvas(54, 45.5)
    wide, top, score = 17.0, (42.8, 36.1, 28.9, 21.7, 15.5), 12.2
    columns = (
        (1.0, IMAGE, (("image", ""), ("tokens\nR x D", "tokens"), ("SGE, CGE", "enhancement"), ("project", ""),
                      ("GPO", "pooling"))),
        (36.0, TEXT, (("caption", ""), ("words", "text"), ("text encoder:\nBiGRU or BERT", "text"), ("project", ""),
                      ("GPO", "pooling"))),
    )  # fmt: skip
    for x, fill, boxes in columns:
        above = 0.0
        for y, (words, part) in zip(top, boxes, strict=True):
            half = 2.6 if "\n" in words else 2.0
            _box(axis, x, y, wide, words, fill, height=2 * half, here=part in here)
            if above:
                _arrow(axis, (x + wide / 2, above), (x + wide / 2, y + half))
            above = y - half
    _box(axis, 21.5, top[2], 11, "guide\n(CLIP)", IMAGE, height=5.2, here="guide" in here)
    _arrow(axis, (18, top[0]), (27, top[0]), (27, top[2] + 2.6))
    _arrow(axis, (21.5, top[2]), (18, top[2]))
    _box(axis, 21.5, score, 11, "scores\nv . t", BOTH, height=5.2)
    _arrow(axis, (9.5, top[4] - 2), (9.5, score), (21.5, score))
    _arrow(axis, (44.5, top[4] - 2), (44.5, score), (32.5, score))
    _note(axis, 19.8, score + 1.3, "v", "center")
    _note(axis, 34.2, score + 1.3, "t", "center")
    low = 3.4
    for x, width, words, mark in (
        (1.0, 13.0, "loss: UTO", "objective" in here),
        (18.5, 17.0, "momentum copies,\ntwo queues", "queues" in here),
        (40.0, 13.0, "ranks: R@K,\nsearch", "recall" in here or "search" in here),
    ):
        _box(axis, x, low, width, words, BOTH, height=5.2, here=mark)
    _arrow(axis, (23.5, score - 2.6), (9.5, low + 2.6))
    _arrow(axis, (27, score - 2.6), (27, low + 2.6))
    _arrow(axis, (30.5, score - 2.6), (44.5, low + 2.6))
    _arrow(axis, (18.5, low), (14, low))
    about = {
        "tokens": "tokens", "enhancement": "the enhancement", "pooling": "pooling", "text": "the text side",
        "guide": "the guide of CGE", "objective": "the objective", "queues": "momentum copies and queues",
        "recall": "ranks and R@K", "search": "search",
    }  # fmt: skip
    told = ", ".join(about[part] for part in here)
    you = f" This notebook is about the parts with the thick frame: {told}." if here else ""
    sentence = (
        "The model: tokens of an image are enhanced, projected and pooled to a vector v; the words of a caption are "
        f"encoded, projected and pooled to t; the score v . t goes into the loss and into ranks.{you}"
    )
    return figure, sentence


def enhancements() -> Shown:
    """SGE and CGE, which differ only in where the guide comes from."""
    (figure, _), axis = _canvas(54, 36.5)
    source, made, attend, move = 30.5, 22.5, 13.2, 4.2
    for x, name, words, then in (
        (1.0, "SGE", "mean region\nand each region", "weights w, then\ng = sum of w V"),
        (33.0, "CGE", "CLIP's vector\nof the image", "two layers,\nthen unit norm: g"),
    ):
        axis.text(x + 10, 34.8, name, fontsize=11, weight="bold", color=GREY, ha="center", va="center")
        _box(axis, x, source, 20, words, IMAGE, height=5.2)
        _arrow(axis, (x + 10, source - 2.6), (x + 10, made + 2.6))
        _box(axis, x, made, 20, then, IMAGE, height=5.2)
        end = 26 if name == "SGE" else 43
        _arrow(axis, (x + (16 if name == "SGE" else 10), made - 2.6), (end, attend + 3.5))
    _note(axis, 19.4, 17.3, "g", "right")
    _note(axis, 44, 18.6, "g")
    _box(axis, 20, attend, 30, "attention a:\nsoftmax over g . V,\nunit norm", BOTH, height=7)
    _arrow(axis, (35, attend - 3.5), (35, move + 3.5))
    _box(axis, 20, move, 30, "V' = V + s a g:\neach region moves\ntowards the guide", BOTH, height=7)
    middle = (attend + move) / 2
    _box(axis, 1, middle, 12, "regions V", IMAGE)
    _arrow(axis, (7, middle + 2), (7, attend), (20, attend))
    _arrow(axis, (7, middle - 2), (7, move), (20, move))
    return figure, (
        "Both enhancements end alike: attention of the guide g over the regions, and each region moved along g. SGE "
        "makes g from the regions themselves, CGE from CLIP's vector of the whole image."
    )


def queues() -> Shown:
    """Query encoders, key encoders, and the two queues between them, arranged in a ring: image encoders above, text
    encoders below, so that no two arrows cross.
    """
    (figure, _), axis = _canvas(54, 39.5)
    left, right, wide, rows = 1.0, 33.0, 20.0, (36.5, 25.3, 14.1, 3.0)
    for y, down, modality, v, fill, of, keys in (
        (rows[0], 1, "image", "v", IMAGE, left, right),
        (rows[3], -1, "text", "t", TEXT, right, left),
    ):
        _box(axis, of, y, wide, f"{modality} encoder", fill, height=5)
        _box(axis, keys, y, wide, f"momentum copy of\nthe {modality} encoder", fill, height=5)
        ends = (left + wide, y), (right, y)
        _arrow(axis, *(ends if down == 1 else ends[::-1]), dashed=True)
        _note(axis, 27, y + 1.2, "m, no gradient", "center")
        near, far = y - 2.5 * down, y - 8.7 * down
        _arrow(axis, (of + 3, near), (of + 3, far))
        _note(axis, of + 4.5, (near + far) / 2, f"query {v},\nwith gradient")
        _arrow(axis, (keys + 3, near), (keys + 3, far))
        _note(axis, keys + 4.5, (near + far) / 2, f"key {v}~, enqueued\nafter the loss")
        _box(axis, keys, y - 11.2 * down, wide, f"queue {v.upper()} of\n{modality} keys", fill, height=5)
        t = "t" if v == "v" else "v"
        loss = f"L_b: {v} with {t}\nL_q: {v} with {t}~ and {t.upper()}"
        _box(axis, of, y - 11.2 * down, wide, loss, BOTH, height=5)
    _arrow(axis, (left + 3, rows[2] + 2.5), (left + 3, rows[1] - 2.5), dashed=True)
    _arrow(axis, (right + 3, rows[1] - 2.5), (right + 3, rows[2] + 2.5), dashed=True)
    return figure, (
        "Each encoder has a momentum copy, which follows it slowly and makes the keys. A query meets the other pairs "
        "of its batch in L_b, and the stored keys of the other modality in L_q (dashed, from the queues): images meet "
        "the queue of texts, texts that of images."
    )


def losses(size: int = 4, kept: int = 6) -> Shown:
    """The batch loss and the queue loss as one matrix of scores: B columns of the batch, then K of the queue."""
    (figure, _), axis = _canvas(54, 21.5)
    cell, left, bottom = 4.3, 7.8, 0.6
    own = {(0, size + 4), (2, size + 1)}  # keys of a query's own image, left out
    for i in range(size):
        y = bottom + (size - 1 - i) * cell
        _note(axis, left - 0.8, y + cell / 2, f"image {i + 1}", "right")
        for j in range(size + kept):
            x = left + j * cell + (2.0 if j >= size else 0.0)
            positive, masked = i == j, (i, j) in own
            fill = COLOURS["green"] if positive else "#FFFFFF" if masked else (BOTH if j < size else TEXT)
            axis.add_patch(
                Rectangle((x, y), cell, cell, fc=fill, ec=GREY, lw=1, hatch="////" if masked else None)
            )
            if positive:
                axis.text(
                    x + cell / 2, y + cell / 2, "+", ha="center", va="center", color="white", weight="bold"
                )
    above = bottom + size * cell + 1.7
    _note(axis, left, above, f"L_b: {size} captions")
    _note(axis, left + size * cell + 2, above, f"L_q: {kept} text keys of the queue")
    return figure, (
        "Scores of a batch of four images: with the four captions of the batch (green: the matching pair, grey: "
        "negatives) and with six keys of the text queue (negatives, but for the hatched ones, which belong to the "
        "image itself and are left out). For captions as queries the same holds with rows and columns exchanged, and "
        "with the queue of images."
    )


DIAGRAMS: dict[str, Callable[..., Shown]] = {
    "pipeline": pipeline,
    "enhancements": enhancements,
    "queues": queues,
    "losses": losses,
}

"""Diagrams of the course: the whole model with the place of a notebook in it, the two enhancements side by side,
query and key encoders with their queues, and the losses as one score matrix.

    diagram("pipeline", here=("enhancement",))
"""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from usercourse.plots import COLOURS, Shown, new_figure, show
from userlib.errors import UserError

GREY = "#5A5A5A"  # lines, and words outside of boxes
IMAGE, TEXT, BOTH, HERE = "#CFE6F5", "#FBE3C0", "#E6E6E6", COLOURS["vermillion"]
PARTS = ("tokens", "enhancement", "pooling", "text", "guide", "objective", "queues", "recall", "search")


def diagram(name: str, here: Sequence[str] = ()) -> None:
    """Display a diagram with its sentence. here: the parts of the pipeline that a notebook is about.

    Raises UserError for a name or a part that there is not.
    """
    if name not in DIAGRAMS:
        raise UserError(f"there is no diagram {name!r}; there are {', '.join(DIAGRAMS)}.")
    if name != "pipeline":
        show(*DIAGRAMS[name]())
        return
    for part in here:
        if part not in PARTS:
            raise UserError(f"the pipeline has no part {part!r}; its parts are {', '.join(PARTS)}.")
    show(*pipeline(here))


def _canvas(width: float, height: float) -> tuple[Shown, Axes]:
    """An empty drawing with x to width and y to height, in tenths of an inch."""
    figure, axes = new_figure(width / 10, height / 10)
    axis = axes[0, 0]
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
    height: float = 5.0,
    here: bool = False,
) -> None:
    """A box by its left end and its middle line."""
    axis.add_patch(
        FancyBboxPatch(
            (x, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.8", fc=fill,
            ec=HERE if here else GREY, lw=2.6 if here else 1.0,
        )
    )  # fmt: skip
    axis.text(
        x + width / 2, y, words, ha="center", va="center", fontsize=8.5, color="black",
        weight="bold" if here else "normal", linespacing=1.15,
    )  # fmt: skip


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], words: str = "", *, dashed: bool = False
) -> None:
    style = {
        "arrowstyle": "-|>",
        "color": GREY,
        "lw": 1.2,
        "ls": "--" if dashed else "-",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axis.annotate("", end, start, arrowprops=style)
    if words:
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.6
        axis.text(*middle, words, ha="center", va="bottom", fontsize=7.5, color=GREY)


def pipeline(here: Sequence[str] = ()) -> Shown:
    """The model from image and caption to loss and search; the parts in `here` have a thick frame and bold words."""
    (figure, _), axis = _canvas(84, 27)
    top, low, middle = 21.0, 6.0, 13.5
    rows = (
        (top, IMAGE, (("image", 7, ""), ("tokens\nR x D", 9, "tokens"), ("SGE, CGE", 10, "enhancement"),
                      ("project", 8, ""), ("GPO", 7, "pooling"))),
        (low, TEXT, (("caption", 7, ""), ("words", 9, "text"), ("text encoder\nBiGRU or BERT", 12, "text"),
                     ("project", 8, ""), ("GPO", 7, "pooling"))),
    )  # fmt: skip
    for y, fill, boxes in rows:
        x = 1.0
        for number, (words, width, part) in enumerate(boxes):
            _box(axis, x, y, width, words, fill, here=part in here)
            if number:
                _arrow(axis, (x - 2.5, y), (x, y))
            x += width + 2.5
        _arrow(axis, (x - 2.5, y), (60, middle + (2.6 if y == top else -2.6)), "v" if y == top else "t")
    _box(axis, 22.5, middle, 10, "guide\n(CLIP)", IMAGE, height=4.6, here="guide" in here)
    _arrow(axis, (27.5, middle + 2.3), (27.5, top - 2.5))
    _box(axis, 57, middle, 8, "scores\nv . t", BOTH)
    _arrow(axis, (65, middle + 1.6), (69, top - 1))
    _arrow(axis, (65, middle), (69, middle))
    _arrow(axis, (65, middle - 1.6), (69, low + 1))
    _box(axis, 69, top, 14, "loss: UTO", BOTH, here="objective" in here)
    _box(axis, 69, middle, 14, "momentum copies,\ntwo queues", BOTH, here="queues" in here)
    _box(axis, 69, low, 14, "ranks: R@K,\nsearch", BOTH, here="recall" in here or "search" in here)
    _arrow(axis, (76, middle + 2.5), (76, top - 2.5))
    about = {
        "tokens": "tokens", "enhancement": "the enhancement", "pooling": "pooling", "text": "the text side",
        "guide": "the guide of CGE", "objective": "the objective", "queues": "momentum copies and queues",
        "recall": "ranks and R@K", "search": "search",
    }  # fmt: skip
    told = ", ".join(about[part] for part in here)
    you = f" This notebook is about the parts framed in red: {told}." if here else ""
    sentence = (
        "The model: tokens of an image are enhanced, projected and pooled to a vector v; the words of a caption are "
        f"encoded, projected and pooled to t; the score v . t goes into the loss and into ranks.{you}"
    )
    return figure, sentence


def enhancements() -> Shown:
    """SGE and CGE, which differ in where the guide comes from and in nothing after it."""
    (figure, _), axis = _canvas(78, 33)
    for y, name, source, made in (
        (26, "SGE", "mean region\nand each region", "weights w, then\ng = sum of w V"),
        (9, "CGE", "CLIP's vector\nof the image", "two layers,\nthen unit norm: g"),
    ):
        axis.text(1, y + 4.6, name, fontsize=11, weight="bold", color=GREY)
        _box(axis, 1, y, 13, source, IMAGE)
        _arrow(axis, (14, y), (17.5, y))
        _box(axis, 17.5, y, 14, made, IMAGE)
        _arrow(axis, (31.5, y), (36, 17.5 + (2.4 if y > 17 else -2.4)), "")
    _box(axis, 36, 17.5, 17, "attention a:\nsoftmax over g . V,\nunit norm", BOTH, height=6.4)
    _arrow(axis, (53, 17.5), (58, 17.5))
    _box(axis, 58, 17.5, 19, "V' = V + s a g\neach region moves\ntowards the guide", BOTH, height=6.4)
    _box(axis, 38, 29.5, 13, "regions V", IMAGE, height=4)
    _arrow(axis, (44.5, 27.5), (44.5, 20.7))
    _arrow(axis, (51, 29.5), (67.5, 20.7))
    return figure, (
        "Both enhancements end alike: attention of the guide g over the regions, and each region moved along g. SGE "
        "makes g from the regions themselves, CGE from CLIP's vector of the whole image."
    )


def queues() -> Shown:
    """Query encoders, key encoders, and the two queues between them."""
    (figure, _), axis = _canvas(80, 33)
    for y, fill, words, key, queue in (
        (27, IMAGE, "image encoder", "v~", "queue V of\nimage keys"),
        (10, TEXT, "text encoder", "t~", "queue T of\ntext keys"),
    ):
        _box(axis, 1, y, 14, words, fill)
        _box(axis, 1, y - 7, 14, f"momentum copy of\nthe {words}", fill)
        _arrow(axis, (3.5, y - 2.5), (3.5, y - 4.5), dashed=True)
        axis.text(4.6, y - 3.6, "m, no gradient", fontsize=7, color=GREY, va="center")
        _arrow(axis, (15, y), (32, y), f"query {'v' if fill == IMAGE else 't'}, with gradient")
        _arrow(axis, (15, y - 7), (59, y - 7), f"key {key}, enqueued after the loss")
        _box(axis, 59, y - 7, 20, queue, fill)
    _box(axis, 32, 27, 20, "L_b: v with t\nL_q: v with t~ and T", BOTH, height=5.4)
    _box(axis, 32, 10, 20, "L_b: t with v\nL_q: t with v~ and V", BOTH, height=5.4)
    _arrow(axis, (62, 17.5), (52, 11), dashed=True)
    _arrow(axis, (59, 4.5), (52, 25.5), dashed=True)
    return figure, (
        "Each encoder has a momentum copy, which follows it slowly and makes the keys. A query meets the other pairs "
        "of its batch in L_b, and the stored keys of the other modality in L_q (dashed, from the queues): images meet "
        "the queue of texts, texts that of images."
    )


def losses(size: int = 4, kept: int = 6) -> Shown:
    """The batch loss and the queue loss as one matrix of scores: B columns of the batch, then K of the queue."""
    (figure, _), axis = _canvas(70, 27)
    cell, left, bottom = 4.2, 9.0, 2.5
    own = {(0, size + 4), (2, size + 1)}  # keys of a query's own image, left out
    for i in range(size):
        y = bottom + (size - 1 - i) * cell
        axis.text(left - 0.8, y + cell / 2, f"image {i + 1}", ha="right", va="center", fontsize=8, color=GREY)
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
    above = bottom + size * cell + 1
    axis.text(left, above, f"L_b: {size} captions", fontsize=8.5, color=GREY)
    axis.text(left + size * cell + 2, above, f"L_q: {kept} text keys of the queue", fontsize=8.5, color=GREY)
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

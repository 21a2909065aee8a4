"""Static snapshots of the demo: figures, each with a sentence."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke
from PIL import Image

from usercourse.demo.engine import Engine
from usercourse.demo.explanation import shown_words
from usercourse.demo.gallery import Gallery
from usercourse.demo.projection import SHADES
from usercourse.demo.view_models import two
from usercourse.overlays import attention, brightness_bar, panel
from usercourse.plots import COLOURS, WIDEST, Shown, listed, new_figure, pictures
from userlib.search.exact import Array

ACROSS = 3  # the image and two guides, or three words


def hits_figure(engine: Engine, query: str, k: int = 8) -> Shown:
    """The k best images for a text query, with rank and score."""
    answer = engine.search(query, k)
    figure = pictures(
        [engine.picture(hit.id) for hit in answer.hits],
        [f"{hit.rank}: {two(hit.score)}" for hit in answer.hits],
        columns=4,
        size=1.35,
    )
    strange = [piece for piece, known in answer.pieces if not known]
    never = f" Words that the model does not know: {', '.join(strange)}." if strange else ""
    own = [one.rank for one in answer.right if one.own]
    right = f" Its ground-truth image has rank {own[0]} of {len(engine.gallery):,}." if own else ""
    return figure, f'{engine.name}, query "{query}": rank and score of the {k} best.{right}{never}'


def why_figure(engine: Engine, query: str, rank: int = 1) -> Shown:
    """One hit: above, the image and the attention of each guide; below, the cosine of each word of the query with each
    region, all words on one scale. Rows and columns of regions are numbered from 1.
    """
    hit = engine.search(query, rank).hits[rank - 1]
    picture, explanation = engine.picture(hit.id), engine.explain(hit.id, query)
    if explanation is None:
        return pictures([picture], [""]), "This model has no regions to show."
    words = {
        word: explanation.similarity[explanation.words.index(word)] for word in shown_words(explanation.words)
    }
    guides = explanation.attention
    first = 1 if guides else 0  # the row of the first word: below the guides, or that of the image
    across = min(ACROSS, max(1 + len(guides), len(words) + 1 - first))
    places = [(i, j) for i in range(first, first + 1 + len(words)) for j in range(across) if i + j > 0][
        : len(words)
    ]
    down = 1 + max((i for i, _ in places), default=0)
    figure, axes = new_figure(1.5 * across + 1.1, 1.75 * down + 0.2, rows=down, columns=across)
    for axis in axes.flat:
        axis.axis("off")
    panel(axes[0, 0], picture, title=f"hit {rank}")
    for axis, (name, weights) in zip(axes[0, 1:], guides.items(), strict=False):
        attention(picture, weights, explanation.grid, title=f"attention: {name}", axis=axis)
    top = max((float(row.max()) for row in words.values()), default=1.0)
    for place, (word, row) in zip(places, words.items(), strict=True):
        attention(
            picture, row, explanation.grid, title=f"“{word}” {row.max():.2f}", top=top, axis=axes[place]
        )
    for number, line in enumerate(axes):
        _numbered(line[0], picture, explanation.grid, columns=number == 0)
    if guides:
        brightness_bar(axes[0], 1.0, "attention, relative\nto the map's largest")
    if words:
        brightness_bar(list(axes[first:].flat), top, "cosine of word and region")
    best = max(words.items(), key=lambda pair: float(pair[1].max()), default=None)
    said = (
        ""
        if best is None
        else " Then each word against the regions, brighter where the cosine is higher: the highest is that of "
        f'"{best[0]}", {best[1].max():.2f}, in {_place(int(best[1].argmax()), explanation.grid)}.'
    )
    looked = (
        f"what {listed(list(guides))} attend{'s' * (len(guides) == 1)} to"
        if guides
        else "no attention, since mean pooling has none"
    )
    return figure, f'Hit {rank} of {engine.name} for "{query}": the image, and {looked}.{said}'


def _numbered(axis: Axes, picture: Image.Image, grid: tuple[int, int], *, columns: bool) -> None:
    """Number the rows, and if `columns` the columns, of regions along an image, from 1."""
    axis.axis("on")
    axis.spines[:].set_visible(False)
    (h, w), (width, height) = grid, picture.size
    axis.set_yticks((np.arange(h) + 0.5) * height / h - 0.5, [str(i + 1) for i in range(h)], fontsize=9)
    axis.set_xticks(
        (np.arange(w) + 0.5) * width / w - 0.5, [str(j + 1) if columns else "" for j in range(w)], fontsize=9
    )
    axis.tick_params(length=0, pad=1.5)
    axis.set_ylabel("row of regions", fontsize=9)
    axis.set_xlabel("column of regions" if columns else "", fontsize=9)


def _place(region: int, grid: tuple[int, int]) -> str:
    row, column = divmod(region, grid[1])
    return f"row {row + 1}, column {column + 1}"


def map_figure(points: Array, gallery: Gallery, name: str) -> Shown:
    """The map: points (2 N, 2) of N images, then of a caption of each, coloured by the place that the image shows, with
    some images as thumbnails.
    """
    count = len(gallery)
    figure, axes = new_figure(WIDEST, 5.2)
    axis = axes[0, 0]
    places = sorted(set(gallery.settings))
    group = np.array([places.index(one) for one in gallery.settings], int)
    colours = np.array(SHADES)[group % len(SHADES)] if places else np.full(count, COLOURS["blue"])
    axis.scatter(*points[count:].T, s=7, c=colours, alpha=0.5, linewidths=0)
    axis.scatter(*points[:count].T, s=22, c=colours, marker="s", linewidths=0)
    for i in _apart(points[:count]):
        image = OffsetImage(np.asarray(gallery.pictures[i].resize((22, 22))), zoom=0.75)
        frame = {"edgecolor": colours[i], "linewidth": 1.6}
        axis.add_artist(AnnotationBbox(image, points[i], pad=0.05, bboxprops=frame))
    halo = [withStroke(linewidth=3, foreground="white")]
    named: list[Array] = []
    for number, place in enumerate(places):
        middle = np.median(points[:count][group == number], 0)
        while any((np.abs(middle - other) < (0.1, 0.025)).all() for other in named):
            middle = middle + np.array((0, 0.013))  # so that names do not overlap
        named.append(middle)
        axis.annotate(place, middle, ha="center", fontsize=9, weight="bold", path_effects=halo, zorder=9)
    axis.set_axis_off()
    axis.invert_yaxis()  # as on the page
    gaps = np.linalg.norm(points[:count, None] - points[None, count:], axis=-1)  # (N, N)
    own = np.median((gaps < np.diag(gaps)[:, None]).sum(1) + 1)
    return figure, (
        f"The joint space of {name} on a plane: squares and thumbnails are images, dots their first captions, colours "
        f"the place that the image shows. For half of the {count:,} images, their first caption is among the "
        f"{own:.0f} captions nearest to them on the map."
    )


def _apart(points: Array, least: float = 0.045) -> list[int]:
    """Indices of points of which no two are nearer than `least`, chosen in order."""
    chosen: list[int] = []
    for i, point in enumerate(points):
        if all(np.linalg.norm(point - points[j]) >= least for j in chosen):
            chosen.append(i)
    return chosen

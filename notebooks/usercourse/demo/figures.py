"""Static snapshots of the demo: figures with a sentence each."""

import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke

from usercourse.demo.engine import Engine
from usercourse.demo.gallery import Gallery
from usercourse.demo.projection import SHADES
from usercourse.demo.view_models import two
from usercourse.plots import COLOURS, Shown, attention, new_figure, pictures
from userlib.search.exact import Array


def hits_figure(engine: Engine, query: str, k: int = 8) -> Shown:
    """The k best images for a text query, with rank and score."""
    answer = engine.search(query, k)
    figure = pictures(
        [engine.picture(hit.id) for hit in answer.hits],
        [f"{hit.rank}: {two(hit.score)}" for hit in answer.hits],
        columns=8,
        size=1.05,
    )
    strange = [piece for piece, known in answer.pieces if not known]
    never = f" Words that the model does not know: {', '.join(strange)}." if strange else ""
    own = [one.rank for one in answer.right if one.own]
    right = f" Its ground-truth image has rank {own[0]} of {len(engine.gallery):,}." if own else ""
    return figure, f'{engine.name}, query "{query}": rank and score of the {k} best.{right}{never}'


def why_figure(engine: Engine, query: str, rank: int = 1) -> Shown:
    """One hit: the image, where each guide looks, and each word of the query against the regions."""
    hit = engine.search(query, rank).hits[rank - 1]
    picture, explanation = engine.picture(hit.id), engine.explain(hit.id, query)
    if explanation is None:
        return pictures([picture], [""]), "This model has no regions to show."
    maps = [(name, weights) for name, weights in explanation.attention.items()]
    maps += [
        (f'"{word}"', row.clip(0))
        for word, row in zip(explanation.words, explanation.similarity, strict=True)
    ]
    figure, axes = new_figure(8.2, 1.5 * -(-(len(maps) + 1) // 6), rows=-(-(len(maps) + 1) // 6), columns=6)
    for axis in axes.flat:
        axis.axis("off")
    axes.flat[0].imshow(np.asarray(picture))
    axes.flat[0].set_title(f"hit {rank}", fontsize=9)
    for axis, (name, weights) in zip(axes.flat[1:], maps, strict=False):
        attention(picture, weights + 1e-9, explanation.grid, title=name, axis=axis)
    best = max(
        zip(explanation.words, explanation.similarity, strict=True),
        key=lambda pair: float(pair[1].max()),
        default=None,
    )
    said = (
        "" if best is None else f' The word with the highest similarity is "{best[0]}", {best[1].max():.2f}.'
    )
    looked = " and ".join(explanation.attention) or "no attention, since mean pooling has none"
    return figure, (
        f'Hit {rank} of {engine.name} for "{query}": {looked}, then each word against the regions; brighter is '
        f"higher.{said}"
    )


def map_figure(points: Array, gallery: Gallery, name: str) -> Shown:
    """points (2 N, 2): N images, then a caption of each, on the plane; coloured by the place that an image shows, a
    few of the images as thumbnails.
    """
    count = len(gallery)
    figure, axes = new_figure(7.2, 6.4)
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
            middle = middle + np.array((0, 0.013))  # names do not stand on one another
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
    """Points of which no two are nearer than `least`, the first ones first."""
    chosen: list[int] = []
    for i, point in enumerate(points):
        if all(np.linalg.norm(point - points[j]) >= least for j in chosen):
            chosen.append(i)
    return chosen

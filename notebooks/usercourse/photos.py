"""Figures and helpers of notebook 10: photos that come with two packages, a model that searches them, and where it
looks.

The photos are read from the installed packages scikit-image and scikit-learn. In outputs that are stored with the
course, those that are not in the public domain are grey tiles: notebooks/build.py sets STORED for this.
"""

import copy
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from PIL import Image

from usercourse.demo.explanation import explain
from usercourse.enhancement import with_scale
from usercourse.overlays import attention, panel
from usercourse.plots import WIDEST, Shown, new_figure, pictures, wrapped
from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.search import CheckpointEncoder
from userlib.search.exact import Array
from userlib.shipped import ASSETS

STORED = "USERCOURSE_STORED_OUTPUTS"  # set when outputs are made for the repository
MODEL = ASSETS / "photos-mini"
REMEDY = 'Install what the notebooks need: pip install -e ".[course]" in the folder of the course, then start again.'
LONGEST = 320  # pixels of a photo as it is shown
LITTLE = frozenset("a an the in on of at with and its".split())  # words for which no map is drawn
NASA, CC0, PUBLIC = "NASA, public domain", "CC0", "public domain"
SAMPLES = {  # file: licence, as stated by the package
    "astronaut.png": NASA,
    "brick.png": CC0,
    "camera.png": CC0,
    "chelsea.png": CC0,
    "clock_motion.png": PUBLIC,
    "coffee.png": CC0,
    "coins.png": "no known copyright restrictions",
    "grass.png": CC0,
    "gravel.png": CC0,
    "hubble_deep_field.jpg": NASA,
    "moon.png": "not stated",
    "motorcycle_left.png": "Middlebury stereo benchmark, not stated",
    "retina.jpg": CC0,
    "rocket.jpg": "SpaceX, public domain",
}
FLICKR = {"china.jpg": "CC BY 2.0, danielbuechele", "flower.jpg": "CC BY 2.0, vultilion"}  # scikit-learn's
FREE = (NASA, CC0, PUBLIC, "SpaceX, public domain")
QUERIES = {  # query: its photo; fixed before the model was trained
    "a cup of coffee": "coffee",
    "a cat": "chelsea",
    "an astronaut": "astronaut",
    "a rocket on its launch pad": "rocket",
    "a man with a camera": "camera",
    "a motorcycle in a garage": "motorcycle_left",
    "green grass": "grass",
    "a brick wall": "brick",
    "coins": "coins",
    "the moon": "moon",
}


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo in RGB, its file's name without the suffix, and its licence ("yours" for one of the reader's)."""

    name: str
    image: Image.Image
    licence: str

    @property
    def public(self) -> bool:
        return self.licence in FREE

    @property
    def shown(self) -> Image.Image:
        """The photo for figures, scaled down; a grey tile in stored outputs unless it is in the public domain."""
        small = self.image.copy()
        small.thumbnail((LONGEST, LONGEST))
        return (
            Image.new("RGB", small.size, "lightgrey") if os.environ.get(STORED) and not self.public else small
        )


def installed(package: str, *below: str) -> Path:
    """A folder within an installed package. Raises UserError where the package is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"The package {package} is not installed. {REMEDY}")
    return Path(spec.origin).parent.joinpath(*below)


def samples() -> list[Photo]:
    """The photos that come with scikit-image and scikit-learn. Raises UserError where one of these is missing."""
    folders = {
        installed("skimage", "data"): SAMPLES,
        installed("sklearn", "datasets", "images"): FLICKR,
    }
    return [
        Photo(Path(file).stem, Image.open(folder / file).convert("RGB"), licence)
        for folder, files in folders.items()
        for file, licence in files.items()
    ]


def of_folder(folder: str | Path, limit: int = 200, licences: Mapping[str, str] | None = None) -> list[Photo]:
    """The first `limit` photos of a folder; licences are by name, "yours" where not given. Raises UserError where there
    is no such folder, or no image in it.
    """
    from userlib.search.reading import only_split

    split = only_split(Path(folder).expanduser())
    if split.pictures is None:
        raise UserError(f"{folder} has features but no images to search. Name a folder of images.")
    count = min(limit, len(split))
    return of_split(split.select(range(count), split.name), licences)


def of_split(split: Split, licences: Mapping[str, str] | None = None) -> list[Photo]:
    """All photos of a split. Raises UserError for a split without images."""
    if split.pictures is None:
        raise UserError(f"The split {split.name!r} has features but no images. Name a folder of images.")
    known = licences or {}
    return [
        Photo(name, split.pictures[i].convert("RGB"), known.get(name, "yours"))
        for i, name in enumerate(split.ids)
    ]


def by_name(album: Sequence[Photo], name: str) -> Photo:
    """The photo of that name. Raises UserError, which lists the names, for an unknown one."""
    photo = next((photo for photo in album if photo.name == name), None)
    if photo is None:
        raise UserError(f"There is no photo {name!r}; there are: {', '.join(photo.name for photo in album)}.")
    return photo


def open_model(folder: Path = MODEL) -> CheckpointEncoder:
    """The model photos-mini. Raises UserError where it, or the network that makes its tokens, is not installed."""
    if not (folder / "manifest.json").is_file():
        raise UserError(
            f"The model {folder.name} is not in this copy of the course. Restore it: git checkout -- assets."
        )
    return CheckpointEncoder(folder, device="cpu")


def without_sge(encoder: CheckpointEncoder) -> CheckpointEncoder:
    """The same model with a residual scale of 0, so that SGE adds nothing."""
    model = copy.deepcopy(encoder.loaded.model)
    model.image_encoder = with_scale(model.image_encoder, 0.0)
    other = copy.copy(encoder)
    other.loaded = replace(encoder.loaded, model=model)
    return other


def turned(encoder: CheckpointEncoder, album: Sequence[Photo]) -> float:
    """The median angle in degrees by which SGE turns a photo's vector."""
    pairs = vectors(encoder, album), vectors(without_sge(encoder), album)
    return float(np.median(np.degrees(np.arccos(np.einsum("ne,ne->n", *pairs).clip(-1, 1)))))


def licences(album: Sequence[Photo]) -> str:
    """A table of the licences and their photos, as Markdown."""
    groups: dict[str, list[str]] = {}
    for photo in album:
        groups.setdefault(photo.licence, []).append(photo.name)
    lines = [f"| {licence} | {', '.join(names)} |" for licence, names in groups.items()]
    return "\n".join(["| licence | photos |", "|---|---|", *lines])


def contact_sheet(album: Sequence[Photo]) -> Shown:
    """All photos of an album, each under its name."""
    figure = pictures([one.shown for one in album], [_lines(one.name) for one in album], columns=6, size=0.86)
    return figure, f"{len(album)} photos, each under its name.{_grey(album)}"


def _lines(name: str) -> str:
    """A name as a title, in two lines, broken at an underscore, if it is long."""
    return name if len(name) < 12 else name.replace("_", "_\n", 1)


def _grey(album: Sequence[Photo]) -> str:
    """A sentence on grey tiles, or "" where there are none."""
    grey = [one.name for one in album if os.environ.get(STORED) and not one.public]
    if not grey:
        return ""
    return f" Grey here, for their licence, and to be seen when the cell is run: {', '.join(dict.fromkeys(grey))}."


def ranks_of(scores: ArrayLike, album: Sequence[Photo], wanted: Mapping[str, str]) -> dict[str, int]:
    """scores (queries, photos) -> the rank of each query's photo; a tie counts against it."""
    names = [photo.name for photo in album]
    table = np.asarray(scores)
    return {
        query: int((row >= row[names.index(name)]).sum())
        for row, (query, name) in zip(table, wanted.items(), strict=True)
    }


def first_three(scores: ArrayLike, album: Sequence[Photo], wanted: Mapping[str, str]) -> Shown:
    """scores (queries, photos): for each query its three best photos, with its own photo framed."""
    ranks = ranks_of(scores, album, wanted)
    down = (len(wanted) + 1) // 2
    figure, axes = new_figure(WIDEST, 0.63 * down, rows=down, columns=8)
    axes[0, 0].get_gridspec().set_width_ratios((1.9, 1, 1, 1, 1.9, 1, 1, 1))
    for axis in axes.flat:
        axis.axis("off")
    shown = []
    for i, (row, (query, name)) in enumerate(zip(np.asarray(scores), wanted.items(), strict=True)):
        line = axes[i // 2, 4 * (i % 2) : 4 * (i % 2) + 4]
        line[0].text(
            1.0, 0.5, f"{wrapped(query, 14)}\nrank {ranks[query]}", ha="right", va="center", fontsize=9
        )
        for axis, best in zip(line[1:], np.argsort(-row, kind="stable")[:3], strict=True):
            photo = album[int(best)]
            shown.append(photo)
            _framed(axis, photo.shown, photo.name == name)
    hits = sum(rank <= 3 for rank in ranks.values())
    told = ", ".join(f'"{query}" {rank}' for query, rank in ranks.items() if rank > 1)
    return figure, (
        f"Each query with its three best photos, its own one framed: {hits} of {len(ranks)} have it among the first "
        f"three. Ranks that are not 1: {told}.{_grey(shown)}"
    )


def _framed(axis: Axes, image: Image.Image, frame: bool) -> None:
    """Draw a photo, with a thick blue frame if `frame`."""
    axis.imshow(np.asarray(image))
    axis.axis("on")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=frame, color="#0072B2", linewidth=3)


def hits(encoder: CheckpointEncoder, album: Sequence[Photo], query: str, count: int = 5) -> Shown:
    """The best photos of an album for a query, with their scores, and the words that the model does not know."""
    scores = encoder.encode_text([query])[0] @ vectors(encoder, album).T
    best = [int(i) for i in np.argsort(-scores, kind="stable")[:count]]
    found = [album[i] for i in best]
    titles = [f"{_lines(photo.name)}\n{scores[i]:.2f}" for photo, i in zip(found, best, strict=True)]
    figure = pictures([photo.shown for photo in found], titles, columns=5, size=0.95)
    unknown = encoder.unknown(query)
    never = f" Words that the model does not know: {', '.join(unknown)}." if unknown else ""
    return figure, (
        f'Query "{query}": the {len(found)} best of {len(album)} photos, scores {scores[best[0]]:.2f} to '
        f"{scores[best[-1]]:.2f}.{never}{_grey(found)}"
    )


_kept: dict[tuple[int, int], tuple[CheckpointEncoder, Sequence[Photo], Array]] = {}


def vectors(encoder: CheckpointEncoder, album: Sequence[Photo]) -> Array:
    """(N, E): the photos' vectors, computed once for a model and an album."""
    key = (id(encoder), id(album))  # both are kept alive, so that no other object can get their ids
    if key not in _kept:
        parts = [encoder.encode_image([photo.image]) for photo in album]
        _kept[key] = (encoder, album, np.concatenate(parts))
    return _kept[key][2]


def effective(weights: ArrayLike) -> float:
    """The effective number of regions that share the weights (R,), (sum a)^2 / sum a^2: R for uniform weights, 1 where
    one region has all.
    """
    a = np.asarray(weights, dtype=float)
    return float(a.sum() ** 2 / (a**2).sum())


def attention_rows(encoder: CheckpointEncoder, chosen: Sequence[Photo]) -> Shown:
    """Above the photos, below the same photos dimmed where SGE's attention is low."""
    width = min(1.25, WIDEST / len(chosen))
    figure, axes = new_figure(width * len(chosen), 2.4, rows=2, columns=len(chosen))
    told = []
    for column, photo in zip(axes.T, chosen, strict=True):
        explanation = explain(encoder, photo.image)
        if explanation is None:
            raise UserError(
                "The tokens of this model form no grid that could be laid over a photo. Use photos-mini."
            )
        a = explanation.attention["SGE"]
        shown = photo.shown
        panel(column[0], shown, title=_lines(photo.name))
        attention(shown, a, explanation.grid, title=f"{effective(a):.1f} of {a.size}", axis=column[1])
        told.append(f"{photo.name} {effective(a):.1f}")
    return figure, (
        f"Above the photo, below the same photo, dark where SGE's attention a is low. The effective number of the "
        f"{a.size} regions that share it: {', '.join(told)}.{_grey(chosen)}"
    )


@torch.no_grad()
def brightest_is_longest(encoder: CheckpointEncoder, album: Sequence[Photo]) -> tuple[int, float]:
    """The number of photos in which the region with the most attention has the largest norm, and the mean over photos
    of the rank correlation of attention and norm.
    """
    from scipy.stats import spearmanr

    same, correlations = 0, []
    for photo in album:
        tokens, guide = encoder.inputs_of([photo.image])
        norms = encoder.loaded.model.image_encoder.to_regions(tokens)[0].norm(dim=1).numpy()
        a = encoder.loaded.model.attention(tokens, None, guide)["self"][0].numpy()
        same += int(a.argmax() == norms.argmax())
        correlations.append(float(spearmanr(a, norms).statistic))
    return same, float(np.mean(correlations))


def word_maps(encoder: CheckpointEncoder, photo: Photo, query: str) -> Shown:
    """A photo, SGE's attention on it, and for each word of a query the photo dimmed where regions are dissimilar."""
    explanation = explain(encoder, photo.image, query)
    if explanation is None:
        raise UserError(
            "The tokens of this model form no grid that could be laid over a photo. Use photos-mini."
        )
    shown = photo.shown
    maps = [("SGE's attention", explanation.attention["SGE"])]
    words = {
        word: row
        for word, row in zip(explanation.words, explanation.similarity, strict=True)
        if word not in LITTLE
    }
    maps += [(f'"{word}" {row.max():.2f}', row) for word, row in words.items()]
    across = min(4, len(maps) + 1)
    down = -(-(len(maps) + 1) // across)
    figure, axes = new_figure(1.2 * across, 1.4 * down, rows=down, columns=across)
    for axis in axes.flat:
        axis.axis("off")
    panel(axes.flat[0], shown, title=_lines(photo.name))
    for axis, (title, weights) in zip(axes.flat[1:], maps, strict=False):
        attention(shown, weights, explanation.grid, title=title, axis=axis)
    best = max(((float(row.max()), word) for word, row in words.items()), default=(0.0, "no word"))
    unknown = encoder.unknown(query)
    never = f" Unknown to the model: {', '.join(unknown)}." if unknown else ""
    return figure, (
        f'{photo.name}, "{query}": the photo, SGE\'s attention, then the similarity of its words with each region, '
        f'dark where it is low. The most similar to any region is "{best[1]}", {best[0]:.2f}.{never}{_grey([photo])}'
    )

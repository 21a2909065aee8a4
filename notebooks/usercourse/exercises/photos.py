"""Exercises of notebook 10: a photo dimmed by attention, the box of a region, and photos held out of a folder."""

from typing import Any

import numpy as np

from usercourse.checks import Exercise

RNG = np.random.default_rng(0)
LIGHT = 0.2
SMALL = np.full((4, 6, 3), 100.0)
PHOTO = RNG.uniform(1, 255, (6, 8, 3))
WIDE = RNG.uniform(1, 255, (4, 9, 3))
HAND = np.array([0.6, 0.3, 0.0, 0.1])
A = np.array([0.1, 0.5, 0.2, 0.9, 0.3, 0.4])


def _light(a: Any, grid: tuple[int, int], photo: Any) -> Any:
    """a (R,) spread over the pixels of the photo -> (H, W)."""
    (h, w), (H, W) = grid, photo.shape[:2]
    return np.repeat(np.repeat(np.asarray(a).reshape(h, w), H // h, 0), W // w, 1)


def dim(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    a = _light(a, grid, photo)
    return photo * (LIGHT + (1 - LIGHT) * a / a.max())[..., None]


def _by_sum(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    light = _light(a / a.sum(), grid, photo)
    return photo * (LIGHT + (1 - LIGHT) * light)[..., None]


def _black(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    light = _light(a, grid, photo)
    return photo * (light / light.max())[..., None]


def _too_bright(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    light = _light(a, grid, photo)
    return photo * (LIGHT + light / light.max())[..., None]


def _columns_first(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    h, w = grid
    return dim(photo, a.reshape(w, h).T.ravel(), grid)


def _negative(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    light = _light(a, grid, photo)
    return photo * (1 - (1 - LIGHT) * light / light.max())[..., None]


def _tiled(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    (h, w), (H, W) = grid, photo.shape[:2]
    light = np.tile(a.reshape(h, w), (H // h, W // w))
    return photo * (LIGHT + (1 - LIGHT) * light / light.max())[..., None]


def _stretched(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    light = _light(a, grid, photo)
    light = (light - light.min()) / (light.max() - light.min())
    return photo * (LIGHT + (1 - LIGHT) * light)[..., None]


def _painted(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    light = _light(a, grid, photo)
    return LIGHT * photo + (1 - LIGHT) * 255 * (light / light.max())[..., None]


def _as_it_is(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    return photo * (LIGHT + (1 - LIGHT) * _light(a, grid, photo))[..., None]


def _grey(photo: Any, a: Any, grid: tuple[int, int]) -> Any:
    return dim(photo, a, grid).mean(-1)


def cell_box(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    (h, w), (W, H) = grid, size
    row, column = divmod(r, w)
    return column * W / w, row * H / h, (column + 1) * W / w, (row + 1) * H / h


def _as_it_stood(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    (h, w), (H, W) = grid, size
    row, column = divmod(r, h)
    return column * W / w, row * H / h, (column + 1) * W / w, (row + 1) * H / h


def _size_alone(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    (h, w), (W, H) = grid, size
    row, column = divmod(r, h)
    return column * W / w, row * H / h, (column + 1) * W / w, (row + 1) * H / h


def _divmod_alone(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    return cell_box(r, grid, size[::-1])


def _rows_for_columns(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    (h, w), (W, H) = grid, size
    column, row = divmod(r, w)
    return column * W / w, row * H / h, (column + 1) * W / w, (row + 1) * H / h


def _width_and_height(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    left, top, right, bottom = cell_box(r, grid, size)
    return left, top, right - left, bottom - top


def _numpy_order(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    left, top, right, bottom = cell_box(r, grid, size)
    return top, left, bottom, right


def _whole_pixels(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    (h, w), (W, H) = grid, size
    row, column = divmod(r, w)
    return column * (W // w), row * (H // h), (column + 1) * (W // w), (row + 1) * (H // h)


def _from_one(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    return cell_box(r - 1, grid, size)


def _from_below(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    h, w = grid
    row, column = divmod(r, w)
    return cell_box((h - 1 - row) * w + column, grid, size)


def _in_cells(r: int, grid: tuple[int, int], size: tuple[int, int]) -> Any:
    row, column = divmod(r, grid[1])
    return column, row, column + 1, row + 1


FIRST = ["b.jpg", "b.jpg", "a.jpg", "a.jpg", "c.jpg", "c.jpg"]
MIXED = ["d.jpg", "a.jpg", "d.jpg", "c.jpg", "b.jpg", "c.jpg", "c.jpg", "a.jpg"]


def hold_out(filenames: Any, count: int) -> Any:
    photos = list(dict.fromkeys(filenames))
    held = set(photos[len(photos) - count :])
    return ["test" if name in held else "train" for name in filenames]


def _rows(filenames: Any, count: int) -> Any:
    return ["train"] * (len(filenames) - count) + ["test"] * count


def _share_of_rows(filenames: Any, count: int) -> Any:
    rows = round(count * len(filenames) / len(set(filenames)))
    return ["train"] * (len(filenames) - rows) + ["test"] * rows


def _from_the_front(filenames: Any, count: int) -> Any:
    held = set(list(dict.fromkeys(filenames))[:count])
    return ["test" if name in held else "train" for name in filenames]


def _sorted(filenames: Any, count: int) -> Any:
    held = set(sorted(set(filenames))[-count:])
    return ["test" if name in held else "train" for name in filenames]


def _other_way_round(filenames: Any, count: int) -> Any:
    return ["train" if label == "test" else "test" for label in hold_out(filenames, count)]


def _a_row_a_photo(filenames: Any, count: int) -> Any:
    photos = list(dict.fromkeys(filenames))
    return ["train"] * (len(photos) - count) + ["test"] * count


def _first_caption_alone(filenames: Any, count: int) -> Any:
    labels, seen = hold_out(filenames, count), set()
    for i, name in enumerate(filenames):
        labels[i] = "train" if name in seen else labels[i]
        seen.add(name)
    return labels


def _last_seen(filenames: Any, count: int) -> Any:
    held = set(list(dict.fromkeys(list(filenames)[::-1]))[:count])
    return ["test" if name in held else "train" for name in filenames]


def _one_too_many(filenames: Any, count: int) -> Any:
    return hold_out(filenames, count + 1)


EXERCISES = [
    Exercise(
        name="dim",
        right=dim,
        cases=[(SMALL, HAND, (2, 2)), (PHOTO, A, (3, 2)), (WIDE, A, (2, 3))],
        mistakes={
            "Divide by the largest weight, not by the sum: 81 weights that sum to 1 are all small, and the "
            "whole photo turns dark.": _by_sum,
            "Where the attention is 0 the photo is black. Keep 0.2 of it, and the rest stays in sight.": _black,
            "The largest factor is 1.2, above the photo itself: attention has only 0.8 to give.": _too_bright,
            "The regions are numbered row by row: `a.reshape(h, w)`, with the grid's own height first.": _columns_first,
            "That is the negative: bright where the attention is low.": _negative,
            "The grid is repeated as a pattern. Each cell has to become a block of pixels: repeat its value, along "
            "both axes.": _tiled,
            "The smallest weight was moved to 0, so nearly uniform attention looks selective.": _stretched,
            "That paints light over the photo, so that even a black pixel shines. Dimming multiplies.": _painted,
            "The weights go in as they are; their norm is 1, so divide by the largest.": _as_it_is,
            "The colours are gone: the factor of a pixel is the same for its three channels.": _grey,
        },
        praise="A photo dimmed where a model does not look hides nothing: what is dark can still be seen.",
    ),
    Exercise(
        name="cell_box",
        right=cell_box,
        cases=[
            (6, (2, 4), (80, 50)),
            (0, (2, 4), (80, 50)),
            (7, (3, 5), (640, 427)),
            (11, (4, 3), (300, 451)),
        ],
        mistakes={
            "That is the function as it stood. Two of its lines are wrong; square photos on square grids hide "
            "both.": _as_it_stood,
            "One of the two is found, the order of the size. The other is how many regions a row has.": _size_alone,
            "One of the two is found, the length of a row. The other: PIL's `size` is not in numpy's "
            "order.": _divmod_alone,
            "`divmod` gives the row first, then the place within it.": _rows_for_columns,
            "These are left, top, width and height; the box is given by two corners.": _width_and_height,
            "Top and left are swapped, and bottom and right: PIL's boxes have x first.": _numpy_order,
            "Whole pixels leave a strip at the right and at the bottom that belongs to no region: divide as real "
            "numbers.": _whole_pixels,
            "Regions are counted from 0.": _from_one,
            "Rows are counted from the top of a photo.": _from_below,
            "That is the box in cells of the grid, not in pixels.": _in_cells,
        },
        praise="Every region ends where the next begins, in photos of any shape.",
    ),
    Exercise(
        name="hold_out",
        right=hold_out,
        cases=[(FIRST, 1), (MIXED, 2), (MIXED, 1)],
        mistakes={
            "That holds out rows. A photo whose captions are in both parts has been seen in training.": _rows,
            "That holds out a share of the rows: a photo at the border has captions in both parts.": _share_of_rows,
            "These are the first photos; the last ones were asked for.": _from_the_front,
            "The order is that of the file's rows, not of the alphabet.": _sorted,
            "Train and test are exchanged.": _other_way_round,
            "One label is needed per row, not per photo.": _a_row_a_photo,
            "Only the first caption of a held-out photo is in test. Its others train the model on that very "
            "photo.": _first_caption_alone,
            "A photo's place is that of its first row, not of its last.": _last_seen,
            "One photo too many is held out.": _one_too_many,
        },
        praise="No photo is on both sides, whatever the order of the rows and however many captions each has.",
    ),
]

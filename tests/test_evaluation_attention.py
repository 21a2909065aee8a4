"""Attention against masks: loops over cells and pixels say the same."""

import numpy as np
import pytest

from userlib.errors import UserError
from userlib.evaluation.attention import (
    attention_mass,
    by_area,
    centre,
    mask_coverage,
    pointing_game,
    uniform,
)


def test_covered_counts_pixels():
    mask = np.random.default_rng(0).random((12, 8)) < 0.4
    result = mask_coverage(mask, (3, 2))
    for row in range(3):
        for column in range(2):
            cell = mask[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert result[2 * row + column] == pytest.approx(cell.sum() / 16)
    with pytest.raises(UserError, match="12 x 8"):
        mask_coverage(mask, (5, 2))


def test_mass_and_pointing_by_loops():
    rng = np.random.default_rng(1)
    attention, inside = rng.random((9, 6)), rng.random((9, 6))
    attention[0] = [3, 1, 3, 0, 3, 2]  # three cells share the first place
    for n in range(9):
        total = sum(a * s for a, s in zip(attention[n], inside[n], strict=True)) / attention[n].sum()
        assert attention_mass(attention, inside)[n] == pytest.approx(total)
        best = [s for a, s in zip(attention[n], inside[n], strict=True) if a == attention[n].max()]
        assert pointing_game(attention, inside)[n] == pytest.approx(sum(best) / len(best))
    assert np.allclose(attention_mass(7 * attention, inside), attention_mass(attention, inside))


def test_what_knows_nothing():
    rng = np.random.default_rng(2)
    inside = rng.random((5, 12))
    flat = uniform(5, (3, 4))
    area = inside.mean(1)  # of the picture that the masks cover
    assert np.allclose(attention_mass(flat, inside), area)
    assert np.allclose(pointing_game(flat, inside), area)
    things = inside.copy()
    things[3] = 0
    attention = by_area(things)
    assert np.allclose(attention.sum(1), 1)
    assert np.allclose(attention[3], 1 / 12)
    assert np.allclose(attention[0], inside[0] / inside[0].sum())
    bell = centre(2, (4, 4)).reshape(2, 4, 4)
    assert np.allclose(bell.sum((1, 2)), 1)
    assert np.allclose(bell, bell[:, ::-1, ::-1])
    assert bell[0, 1, 1] == bell[0].max() > bell[0, 0, 1] > bell[0, 0, 0]


@pytest.mark.parametrize(("grid", "settings"), [((2, 5), {}), ((5, 2), {}), ((3, 3), {"spread": 0.5})])
def test_the_centre_is_a_gaussian_whatever_the_grid(grid, settings):
    rows, columns = grid
    spread = settings.get("spread", 0.25)
    wanted = np.empty(grid)
    for row in range(rows):
        for column in range(columns):
            y, x = (row + 0.5) / rows - 0.5, (column + 0.5) / columns - 0.5
            wanted[row, column] = np.exp(-(x**2 + y**2) / spread**2 / 2)
    assert np.allclose(centre(3, grid, **settings), np.tile(wanted.ravel() / wanted.sum(), (3, 1)))


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3)), np.full((2, 3), np.nan), -np.ones((2, 3)), np.ones((2, 4))]
)
def test_refused(bad):
    with pytest.raises(UserError, match="attention"):
        attention_mass(bad, np.ones((2, 3)))

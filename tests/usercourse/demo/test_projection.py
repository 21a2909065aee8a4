"""The map: neighbours lie together, it is the same again, and it is found in the cache."""

import os

import numpy as np
import pytest
import torch

from usercourse.demo import projection
from usercourse.demo.projection import TILE, plane, sheet


@pytest.fixture(scope="module")
def three():
    """Three bundles of 20 directions."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16))
    result = np.concatenate([centre + 0.05 * rng.normal(size=(20, 16)) for centre in centres])
    return (result / np.linalg.norm(result, axis=1, keepdims=True)).astype(np.float32)


def test_what_is_alike_lies_together_and_is_found_again(three, tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    points = plane(three, cache=tmp_path)
    assert torch.get_num_threads() == 1  # numba asks OpenMP, which torch shares, for all cores
    torch.set_num_threads(threads)
    assert points.shape == (60, 2)
    assert points.min() == 0
    assert points.max() == 1
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    own = np.repeat(np.arange(3), 20)
    np.fill_diagonal(distances, np.inf)
    assert (own[distances.argmin(1)] == own).all()
    monkeypatch.setattr(projection, "_umap", None)  # calling it would fail
    np.testing.assert_array_equal(plane(three, cache=tmp_path), points)
    (file,) = (tmp_path / "maps").iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(TypeError):
        plane(three, cache=tmp_path)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_points_are_laid_out_too(three, tmp_path, count):
    points = plane(three[:count], cache=tmp_path)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()


def test_a_sheet_has_its_pictures_in_rows(gallery):
    import io

    from PIL import Image

    whole = Image.open(io.BytesIO(sheet([gallery.pictures[0], None, gallery.pictures[2]], 2)))
    assert whole.size == (2 * TILE, 2 * TILE)
    assert np.abs(np.asarray(whole, float)[: TILE - 2, TILE + 2 :].mean() - 160) < 3


@pytest.mark.parametrize("writable", [True, False])
def test_numba_has_a_place_for_what_it_compiles(monkeypatch, cache, writable):
    """Packages of the system are read-only, and without any such place umap cannot be imported."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(projection.os, "access", lambda path, mode: writable)
    projection.numba_cache()
    named = os.environ.pop("NUMBA_CACHE_DIR", None)
    assert named == (None if writable else str(cache / "numba"))

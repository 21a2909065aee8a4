"""The map of the joint space: images and captions on a plane, by UMAP (McInnes, Healy and Melville, 2018).

A map is made once for a set of vectors and kept in the cache. Neighbourhoods on a map are meaningful, large distances
are not.
"""

import importlib.util
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from userlib.data.store import cached_array
from userlib.files import cache_dir, sha256_bytes
from userlib.search.exact import Array

# Colours of groups, suited to colour-blind readers; where two are similar, the groups' names distinguish them.
SHADES = (
    "#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677", "#0072B2", "#999933", "#882255", "#44AA99", "#E69F00",
    "#AA4499", "#777777", "#6699CC", "#661100", "#BBBBBB",
)  # fmt: skip
FEW = 6  # fewer points are laid out by their first two principal axes
TILE = 32  # pixels per side of an image on the sheet


def plane(vectors: Array, *, cache: Path | None = None) -> Array:
    """vectors (P, E) -> points (P, 2) between 0 and 1, from the cache if they were computed before."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    file = (cache or cache_dir()) / "maps" / f"{sha256_bytes('umap 1', vectors.tobytes())[:32]}.npy"
    return cached_array(file, lambda: _unit(_umap(vectors) if len(vectors) >= FEW else _axes(vectors)))


def _umap(vectors: Array) -> Array:
    import warnings

    import torch

    numba_cache()
    import umap

    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that with a seed it uses one core
        near = min(15, len(vectors) - 1)
        start = "spectral" if len(vectors) > 50 else "random"
        maker = umap.UMAP(n_neighbors=near, min_dist=0.15, metric="cosine", random_state=0, init=start)
        points = np.asarray(maker.fit_transform(vectors), np.float32)
    torch.set_num_threads(threads)  # numba sets OpenMP, which torch shares, to all cores
    return points


def numba_cache() -> None:
    """Sets numba's cache to the course's own where it could not write next to umap's source, since umap might else fail
    to import.
    """
    spec = importlib.util.find_spec("umap")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if places and not os.access(places[0], os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir() / "numba"))


def _axes(vectors: Array) -> Array:
    """(P, E) -> (P, 2): the first two principal components."""
    centred = vectors - vectors.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2), np.float32)
    points[:, : min(2, len(s))] = (u * s)[:, :2]
    return points


def _unit(points: Array) -> Array:
    """The points shifted and scaled to the unit square, x and y separately."""
    low, high = points.min(0), points.max(0)
    return np.asarray((points - low) / np.where(high > low, high - low, 1), np.float32)


def sheet(pictures: Sequence[Image.Image | None], columns: int) -> bytes:
    """Images at TILE x TILE pixels, `columns` per row, as a JPEG; grey for None."""
    whole = Image.new("RGB", (columns * TILE, -(-len(pictures) // columns) * TILE), (160, 160, 160))
    for i, picture in enumerate(pictures):
        if picture is not None:
            small = picture.resize((TILE, TILE), Image.Resampling.BILINEAR, reducing_gap=2.0)
            whole.paste(small, ((i % columns) * TILE, (i // columns) * TILE))
    buffer = io.BytesIO()
    whole.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()

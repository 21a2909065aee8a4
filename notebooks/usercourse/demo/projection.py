"""The map of the joint space: images and captions on a plane by UMAP, neighbours near one another.

Source: McInnes, Healy and Melville, "UMAP", 2018. A map is made once for a set of vectors and kept in the
cache. Distances across a map mean little; what is close together does.
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

# Colours of groups, for any colour vision; where two look alike, the groups' names tell them apart.
SHADES = (
    "#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677", "#0072B2", "#999933", "#882255", "#44AA99", "#E69F00",
    "#AA4499", "#777777", "#6699CC", "#661100", "#BBBBBB",
)  # fmt: skip
FEW = 6  # fewer points are laid out by their first two principal axes
TILE = 32  # pixels a side of an image on the sheet


def plane(vectors: Array, *, cache: Path | None = None) -> Array:
    """vectors (P, E) -> (P, 2) within 0 and 1, from the cache where they were laid out before."""
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
        warnings.simplefilter("ignore")  # it tells that a seed makes it use one core
        near = min(15, len(vectors) - 1)
        start = "spectral" if len(vectors) > 50 else "random"
        maker = umap.UMAP(n_neighbors=near, min_dist=0.15, metric="cosine", random_state=0, init=start)
        points = np.asarray(maker.fit_transform(vectors), np.float32)
    torch.set_num_threads(threads)  # numba asks OpenMP for all cores, and torch shares it
    return points


def numba_cache() -> None:
    """Numba keeps what it compiles next to its source, or in the home; where neither can be written umap cannot even be
    imported. Then it is kept in our cache.
    """
    spec = importlib.util.find_spec("umap")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if places and not os.access(places[0], os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir() / "numba"))


def _axes(vectors: Array) -> Array:
    """(P, E) -> (P, 2) along the directions of the largest spread."""
    centred = vectors - vectors.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2), np.float32)
    points[:, : min(2, len(s))] = (u * s)[:, :2]
    return points


def _unit(points: Array) -> Array:
    """Moved and scaled into the unit square, x and y each by itself."""
    low, high = points.min(0), points.max(0)
    return np.asarray((points - low) / np.where(high > low, high - low, 1), np.float32)


def sheet(pictures: Sequence[Image.Image | None], columns: int) -> bytes:
    """Images at TILE pixels side by side, as a JPEG; grey where there is None."""
    whole = Image.new("RGB", (columns * TILE, -(-len(pictures) // columns) * TILE), (160, 160, 160))
    for i, picture in enumerate(pictures):
        if picture is not None:
            small = picture.resize((TILE, TILE), Image.Resampling.BILINEAR, reducing_gap=2.0)
            whole.paste(small, ((i % columns) * TILE, (i // columns) * TILE))
    buffer = io.BytesIO()
    whole.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()

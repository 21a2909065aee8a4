"""`vectors:FOLDER` as a guide: a vector of your own for each image.

The folder holds vectors.npy, floats (M, G), and ids.txt, which has the id of each row's image on a line; images of all
splits, in any order. A new image has no vector, so that a model with such a guide can be evaluated but cannot search.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from tokenize import TokenError  # numpy parses a header as Python
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from userlib.data.base import Extractor, refuse_weights, unknown
from userlib.data.caption_files import text_of
from userlib.errors import UserError
from userlib.files import sha256_known


class GivenVectors(Extractor):
    """The vectors of a folder, by image id. Raises UserError where one of the two files is missing or unusable."""

    local = True

    def __init__(self, spec: str, device: str) -> None:
        super().__init__(spec, device)
        self.folder = Path(spec.partition(":")[2])
        self.token_shape, self.network = (1, 1), nn.Identity()
        for name in ("vectors.npy", "ids.txt"):
            if not (self.folder / name).is_file():
                raise UserError(
                    f"{self.folder} has no {name}; a guide of your own vectors is a folder with vectors.npy (M, G) "
                    "and ids.txt, an image's id for each row. Check the path."
                )
        self.guide_dim = int(self._vectors.shape[1])

    @cached_property
    def _vectors(self) -> np.ndarray:
        file = self.folder / "vectors.npy"
        try:
            array = np.lib.format.open_memmap(file, mode="r")
        except (ValueError, OSError, SyntaxError, TokenError) as error:
            raise UserError(
                f"{file} is not a complete array of numbers: {error}. Write it again with numpy.save."
            ) from error
        if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
            raise UserError(
                f"{file} is {array.dtype} of shape {array.shape}; it must be floats (M, G), a row for each image."
            )
        vectors: np.ndarray = array
        return vectors

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """N image ids -> their vectors (N, G) float32. Raises UserError for one that is missing or not finite."""
        lines = text_of(self.folder / "ids.txt").rstrip().split("\n")
        row = {line.strip(): i for i, line in enumerate(lines)}
        if len(lines) != len(self._vectors) or len(row) != len(lines):
            raise UserError(
                f"{self.folder} has {len(self._vectors)} vectors and {len(row)} different ids in {len(lines)} lines; "
                "ids.txt must name each row once."
            )
        missing = [one for one in ids if one not in row]
        if missing:
            raise UserError(
                f"{self.folder} has no vector for {len(missing)} of {len(ids)} images, such as {missing[0]!r}. Add "
                "them, or name another guide."
            )
        vectors = np.asarray(self._vectors[[row[one] for one in ids]], np.float32)
        if not np.isfinite(vectors).all():
            bad = ids[int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])]
            raise UserError(f"The vector of image {bad!r} in {self.folder} is not finite. Write it again.")
        return vectors

    def cache_key(self) -> dict[str, Any]:
        return {
            "kind": "vectors",
            **{name: sha256_known(self.folder / name) for name in ("vectors.npy", "ids.txt")},
        }

    def meta_model(self) -> tuple[nn.Module, Callable[[Tensor], Any], Tensor]:
        return self.network, self.network, torch.empty(1, device="meta")

    def prepare(self, picture: Image.Image) -> NoReturn:
        raise UserError(
            f"The guide {self.spec!r} is a folder of vectors, and a new image has none. Search with a model whose "
            "guide is a network, such as clip-mini."
        )

    def forward(self, inputs: Tensor) -> NoReturn:
        self.prepare(Image.new("RGB", (1, 1)))


def make_vectors(spec: str, *, weights: str | Path | None, device: str) -> GivenVectors:
    """`vectors:FOLDER`."""
    refuse_weights(spec, weights)
    if not spec.partition(":")[2]:
        raise unknown(spec)
    return GivenVectors(spec, device)

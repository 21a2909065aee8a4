"""A finished run as it is stored: a JSON row, and next to it the ranks of every image and caption.

The arrays are small: ranks are uint16, other values per image float16. Captions are in the order of their images, so
that one count per image says which belong to it. Nothing is unpickled.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from userlab.ablation.jobs import POSITIONS
from userlib import legacy
from userlib.errors import UserError
from userlib.evaluation import Ranks
from userlib.files import atomic_write, check_file, read_checksummed, sha256_file, write_checksummed

Arrays = Mapping[str, NDArray[Any]]
EARLIER = (
    "**Made with GPO's position codes 1..n. The model now has 0..n-1, as its sources do; these results will be "
    "measured again.**"
)


def pack(ranks: Ranks, name: str) -> dict[str, NDArray[Any]]:
    """Ranks as three small arrays: `<name>_i2t` (N,), `<name>_t2i` (M,), and `<name>_each` (N,), captions per image."""
    order = np.argsort(ranks.caption_to_image, kind="stable")
    kind = np.uint16 if max(ranks.i2t.max(), ranks.t2i.max()) < 2**16 else np.uint32
    return {
        f"{name}_i2t": ranks.i2t.astype(kind),
        f"{name}_t2i": ranks.t2i[order].astype(kind),
        f"{name}_each": np.bincount(ranks.caption_to_image, minlength=len(ranks.i2t)).astype(np.uint8),
    }


def unpack(arrays: Arrays, name: str) -> Ranks:
    """The ranks that `pack` was given, with captions in the order of their images."""
    each = arrays[f"{name}_each"].astype(np.int64)
    return Ranks(
        i2t=arrays[f"{name}_i2t"].astype(np.int64),
        t2i=arrays[f"{name}_t2i"].astype(np.int64),
        caption_to_image=np.repeat(np.arange(len(each)), each),
    )


def write_row(file: Path, row: Mapping[str, Any], arrays: Arrays) -> None:
    """Writes the arrays, then the JSON, so that a row is complete when its JSON exists."""

    def save(path: Path) -> None:
        with open(path, "wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]

    arrays_file = file.with_suffix(".npz")
    check_file(file, ("study", "of", "arrays"))
    atomic_write(arrays_file, save, over=file.is_file() or _holds(arrays_file, arrays))
    write_checksummed(file, {**row, "arrays": sha256_file(arrays_file)})


def _holds(file: Path, arrays: Arrays) -> bool:
    """Whether the file holds arrays of these names, as a run leaves them that was killed before writing its JSON."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            return set(stored.files) == set(arrays)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile):
        return False


@dataclass(frozen=True)
class Row:
    """One finished run: `metadata` from its JSON, `arrays` from the .npz next to it."""

    file: Path
    metadata: Mapping[str, Any]
    arrays: Arrays

    @property
    def variant(self) -> str:
        return str(self.metadata["variant"])

    @property
    def seed(self) -> int:
        return int(self.metadata["seed"])

    @property
    def earlier(self) -> bool:
        """Whether it was made with GPO's earlier position codes: see EARLIER."""
        return self.metadata["kind"] == "trained" and self.metadata.get("positions") != POSITIONS

    def ranks(self, name: str = "report") -> Ranks:
        """Ranks on the split reported on ("report") or selected on ("select"), or with every true item ("many")."""
        if f"{name}_i2t" not in self.arrays:
            raise UserError(f"{self.file} has no ranks {name!r}; run the study with --test-split.")
        return unpack(self.arrays, name)

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Masks (N,) over the images reported on, by the name of their group; empty where there are no groups."""
        names = self.metadata.get("groups", [])
        return {name: self.arrays["report_group"] == i for i, name in enumerate(names)}


def read_row(file: Path) -> Row:
    """A row and its arrays. Raises UserError for a file that is damaged or lacks its arrays."""
    metadata = legacy.row(read_checksummed(file, "Delete it and run the study again."))
    try:
        if metadata.get("arrays", whole := sha256_file(file.with_suffix(".npz"))) != whole:
            raise ValueError(f"{file.stem}.npz next to it is not what it was written with")
        with np.load(file.with_suffix(".npz"), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if not {"study", "variant", "of", "seed", "key"} <= set(metadata):
            raise ValueError("it is no result of `userlab ablate`")
        return Row(file, metadata, arrays)
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"the row {file} is damaged ({error}); delete it and run the study again.") from error


def read_rows(folder: Path) -> list[Row]:
    """All rows of a study's folder, by file name."""
    return [read_row(file) for file in sorted(folder.glob("*.json"))]

"""`load_data`: every data set by its name or path, be it drawn scenes, Parquet files, SCAN's features, COCO, your own
photos or a data set on the hub.
"""

import difflib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from userlib.arguments import checked
from userlib.data.registry import DATASETS
from userlib.data.splits import RetrievalData
from userlib.errors import UserError
from userlib.files import shown


@checked
def load_data(
    name: str | Path,
    *,
    sizes: Mapping[str, int] | None = None,
    pictures: str | Path | None = None,
    progress: bool = False,
) -> RetrievalData:
    """The data set called `name`, which is one of these:

    - a registered name (userlib.data.registry), such as `scenes` and `pretrain`, drawn by userscenes
    - a folder of Parquet files in the hub's schema (parquet.py), of `datasets.save_to_disk`, of SCAN's features
      (scan.py), of webdataset's shards (shards.py), or of photos with or without captions (photos.py)
    - Karpathy's annotations of COCO or Flickr, dataset_*.json, or their folder (coco.py); a single Parquet file
    - `owner/name` or `owner/name@revision`: a data set on the hub, at a branch, tag or commit (hub.py)

    sizes keeps only the first n images of a split, e.g. {"train": 1000}. `pictures` is the folder of the images, for
    SCAN's features and for annotations kept elsewhere. progress shows how many scenes are drawn. Raises UserError for
    an unknown name, a size that a split does not have, and data that cannot be read.
    """
    name, pictures = os.fspath(name), None if pictures is None else Path(pictures)
    sizes = sizes or {}
    if name in DATASETS:
        if os.path.isdir(name) and os.listdir(name):
            warnings.warn(
                f"{name} is read as the data set of that name; for the folder {name} that is here, write "
                f"{os.path.join('.', name)}.",
                stacklevel=3,
            )
        return DATASETS[name](name, sizes, progress=progress)  # type: ignore[no-any-return]
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # ~ of an unknown user
        path = Path(name)
    if name.strip() and os.path.exists(path):
        data = _load_local(path, pictures)
    elif _is_hub_name(name):
        from userlib.data.hub import load_hub

        data = load_hub(name)
    else:
        raise UserError(
            f"There is no data set {shown(name)!r}: it is neither one of {', '.join(DATASETS)}, nor a folder that "
            "exists here, nor a hub name like 'owner/name'. Check the spelling; folders are looked up from "
            f"{Path.cwd()}.{_near(name, path)}"
        )
    return _first(data, sizes)


def _is_hub_name(name: str) -> bool:
    """Whether `name` reads as owner/name and not as the path of a folder that is not there."""
    from userlib.data.hub import HUB_SETS

    name, at, revision = name.partition("@")
    owner, slash, _ = name.partition("/")
    if at and not re.fullmatch(r"\w[\w./-]*", revision, re.ASCII):
        return False
    if name in HUB_SETS:
        return True
    if re.search(r"\.(parquet|jsonl?|csv|npy|arrow|zip|tar|gz)$", name, re.IGNORECASE):
        return False
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII)) and not os.path.isdir(owner + slash)


def _near(name: str, path: Path) -> str:
    """A sentence on the data set that may be meant by a name that does not exist, or ""."""
    match = re.match(r"https?://[^/]*/datasets/([\w.-]+/[\w.-]+)", name)
    if match:
        return f" For the hub's data set write {match[1]!r}."
    parent = path.parent
    while not os.path.isdir(parent) and parent != parent.parent:
        path, parent = parent, parent.parent
    try:
        there = [entry.name for entry in os.scandir(parent) if entry.is_dir()]
    except OSError:
        return ""
    words = [*there, "scenes", "pretrain"] if path == Path(name) and "/" not in name else there
    folded = {word.casefold(): word for word in words}
    close = difflib.get_close_matches(path.name.strip().casefold(), folded, 1, 0.7)
    if close:
        word = folded[close[0]]
        meant = str(parent / word) if word in there else word
        return f" Did you mean {shown(meant)!r}?"
    return f" {shown(parent)} is there and holds no {shown(path.name)!r}." if "/" in name else ""


def _load_local(path: Path, pictures: Path | None) -> RetrievalData:
    from userlib.data.caption_files import CAPTIONS
    from userlib.data.coco import annotations_in, load_karpathy
    from userlib.data.folder import loose_images, visible
    from userlib.data.parquet import holds_images, load_parquet
    from userlib.data.photos import load_photos, load_saved
    from userlib.data.scan import is_scan, load_scan
    from userlib.data.shards import load_shards, shards_in

    if annotations := annotations_in(path):
        return load_karpathy(annotations, pictures or annotations.parent)
    if path.suffix == ".parquet" and path.is_file():
        return load_parquet([path], path.stem)
    if not path.is_dir():
        packed = path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
        raise UserError(
            f"{shown(path)} is a file; a data set is a folder, a .parquet file, or Karpathy's dataset_*.json. "
            + ("Unpack it, and give that folder." if packed else f"Its folder is {shown(path.parent)}.")
        )
    if is_scan(path):
        return load_scan(path, pictures=pictures)
    captioned = any(file.name.lower() in CAPTIONS for file in path.iterdir())
    if not captioned and (shards := shards_in(path)):
        return load_shards(path, shards)
    files = visible(path, "*.parquet")
    if files and not captioned and (any(map(holds_images, files)) or not loose_images(path)):
        return load_parquet(files, path.resolve().name)
    if any((path / file).exists() for file in ("dataset_dict.json", "dataset_info.json")):
        return load_saved(path)
    return load_photos(path)


def _first(data: RetrievalData, sizes: Mapping[str, int]) -> RetrievalData:
    """`data` with no more than the first sizes[name] images of each split named there."""
    splits = dict(data.splits)
    for name, size in sizes.items():
        split = data.split(name)
        if size > len(split):
            raise UserError(
                f"{size} images were requested of {name!r}, which has {len(split)}. Request no more than it has."
            )
        splits[name] = split.select(np.arange(size), name) if size < len(split) else split
    if splits == data.splits:
        return data
    parts = [split.fingerprint for split in splits.values()] + [data.fingerprint] * data.captions_apart
    return replace(data, splits=splits, fingerprint="-".join(parts))

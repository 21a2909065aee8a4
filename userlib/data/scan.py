"""SCAN's folder of bottom-up attention features: {train,dev,test}_ims.npy, (n, 36, 2048) float32; _caps.txt, the
captions, equally many per image (5 in the published files); _ids.txt, an id for each image or for each caption.

The arrays are mapped into memory and never read whole; `dev` is called val here.
"""

from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError  # numpy parses a header as Python

import numpy as np

from userlib.data.pictures import PictureFiles
from userlib.data.splits import RetrievalData, Split, refuse_shared
from userlib.errors import UserError
from userlib.files import read_json, sha256_bytes, sha256_known

PARTS = {"train": "train", "dev": "val", "test": "test", "testall": "testall"}  # testall: COCO's 5K


def is_scan(folder: Path) -> bool:
    """Whether the folder holds SCAN's files."""
    return any((folder / f"{part}_ims.npy").exists() for part in PARTS)


def load_scan(folder: Path, *, pictures: Path | None = None) -> RetrievalData:
    """The data set in a folder of features. `pictures` is the folder of the images, from which a guide can be made.

    Raises UserError where counts disagree, an id occurs twice, a file is cut short, an image is missing, or two splits
    begin with the same image, as copies of one file do.
    """
    splits = {
        name: _split(folder, part, name, pictures)
        for part, name in PARTS.items()
        if (folder / f"{part}_ims.npy").exists()
    }
    first = {
        name: sha256_bytes(open_features(folder / f"{part}_ims.npy")[0].tobytes())
        for part, name in PARTS.items()
        if name in splits
    }
    for other in ("test", "testall"):  # which begin alike in the published files
        refuse_shared((name, splits[name].ids[0], total) for name, total in first.items() if name != other)
    content = sha256_bytes("scan", *(split.fingerprint for split in splits.values()))
    return RetrievalData(
        name=folder.resolve().name, splits=splits, fingerprint=content, features_folder=folder
    )


def open_features(file: Path) -> np.ndarray:
    """The (n, R, D) array of a file, float32 or float16, mapped into memory. Raises UserError for any other."""
    try:
        array: np.ndarray = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError, SyntaxError, TokenError) as error:
        raise UserError(
            f"{file} cannot be mapped into memory: {error}. It is cut short or not a .npy file: fetch it again."
        ) from error
    if array.ndim != 3 or array.dtype not in (np.float32, np.float16):
        raise UserError(
            f"{file} holds {array.dtype} of shape {array.shape}; region features are float32 or float16 of shape "
            "(images, regions, width). Convert it, or name another folder."
        )
    return array


def _lines(file: Path) -> list[str]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. Put it next to the features.") from error
    lines = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            lines.append(line.decode("utf-8-sig").strip())
        except UnicodeDecodeError as error:
            raise UserError(f"Line {number} of {file} is not UTF-8 text. Save the file as UTF-8.") from error
        if not lines[-1]:
            raise UserError(
                f"Line {number} of {file} is empty, and must be a caption or an id. Fetch it again."
            )
    return lines


def _split(folder: Path, part: str, name: str, pictures: Path | None) -> Split:
    file = folder / f"{part}_ims.npy"
    array = open_features(file)
    captions, ids = _lines(folder / f"{part}_caps.txt"), _lines(folder / f"{part}_ids.txt")
    each, rest = divmod(len(captions), max(len(array), 1))
    if (
        each > 1
        and len(ids) == len(captions)
        and all(i == ids[row - row % each] for row, i in enumerate(ids))
    ):
        ids = ids[::each]  # written once per caption
    if rest or not each or len(ids) != len(array):
        raise UserError(
            f"In {folder}, {part}_ims.npy has {len(array):,} images, {part}_caps.txt {len(captions):,} captions and "
            f"{part}_ids.txt {len(ids):,} ids; each image needs one id and as many captions as the others (five in "
            "the published files). Fetch the files again."
        )
    same = next((n for n in range(1, len(array)) if not np.array_equal(array[n], array[0])), len(array))
    if each == 1 and same > 1:
        raise UserError(
            f"In {folder}, each image's features occur {same} times in {part}_ims.npy, once per caption. Keep one of "
            f"each: numpy.save({str(file)!r}, features[::{same}]), and every {same}th line of {part}_ids.txt."
        )
    return Split.of(
        name,
        ids,
        [captions[each * i : each * (i + 1)] for i in range(len(ids))],
        None if pictures is None else PictureFiles(_paths(folder, pictures, ids), below=pictures),
        sha256_bytes("scan", sha256_known(file), *ids, *captions),
        features=file,
    )


def _paths(folder: Path, pictures: Path, ids: list[str]) -> list[Path]:
    """The image file of each id: as id_mapping.json says where the folder has one, else ID.jpg."""
    mapping = folder / "id_mapping.json"
    names = read_json(mapping) if mapping.exists() else {}
    if not isinstance(names, dict):
        raise UserError(f"{mapping} must map ids to file names. Fetch it again.")
    paths = [inside(pictures, str(names.get(i, i if Path(i).suffix else f"{i}.jpg")), mapping) for i in ids]
    remedy = f"Name the folder of the images that {folder} was made from, or put an id_mapping.json there."
    check_present(paths, pictures, remedy)
    return paths


def check_present(paths: Sequence[Path], folder: Path, remedy: str) -> None:
    """Raises UserError, which ends with `remedy`, unless every image file exists."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(paths):,} images are not below {folder}; the first is {missing[0]}. {remedy}"
        )


def inside(folder: Path, name: str, source: Path) -> Path:
    """The path of the file `name` in `folder`. Raises `UserError`, which says that `source` names the file, where the
    name or a link on its path leads out of the folder.
    """
    path = folder / name
    out = Path(name).is_absolute() or ".." in Path(name).parts
    try:
        inner = path.resolve().is_relative_to(folder.resolve())
    except ValueError as error:
        raise UserError(
            f"{source} names the file {name!a}, which no system can hold ({error}). Rename it."
        ) from error
    if out or not inner:
        raise UserError(
            f"{source} names the file {name!r}, which lies outside {folder}. Names must stay inside the folder, and "
            "links must not lead out of it: copy the image into the folder."
        )
    return path

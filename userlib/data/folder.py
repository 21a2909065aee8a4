"""What lies in a folder of photos: its images by name, its caption files, and what is left out and why."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from userlib.data import caption_files
from userlib.data.pictures import AVIF, HEIF, HEIF_SUFFIXES, SUFFIXES, formats, named
from userlib.data.scan import inside
from userlib.errors import UserError
from userlib.files import shown

REASONS = {
    "camera RAW, which is not read: develop it to JPEG": (
        "cr2 cr3 crw nef nrw arw srf sr2 dng raf orf rw2 pef srw x3f 3fr iiq erf kdc mrw rwl dcr mef mos raw"
    ),
    "video, which is not read: save frames of it as JPEG": (
        "mp4 m4v mov avi mkv webm 3gp mpg mpeg wmv mts m2ts flv insv"
    ),
    "a document or vector drawing, which is not read: export it as PNG": "svg svgz eps ps ai pdf wmf emf cdr",
    "the file of an image editor, which is not read: export it as PNG": "psd psb xcf kra clip afphoto ora sketch",
    "of an image format that is not read: save it as PNG or JPEG": (
        "jxl tga dds exr hdr ico icns pcx qoi sgi fits dcm nii jxr hdp wdp pcd djvu xbm xpm cur ras bpg"
    ),
    "an archive, which is not read: unpack it": "zip tar gz tgz 7z rar bz2 xz zst",
}
KINDS = {f".{suffix}": reason for reason, names in REASONS.items() for suffix in names.split()}
TEXT = frozenset(
    ".txt .csv .tsv .json .jsonl .md .html .htm .xml .yaml .yml .toml .ini .log .db .py .ipynb .parquet .arrow .npy "
    ".npz .safetensors .xmp .aae .thm .lock .xlsx .xls .ods .docx .doc .rtf .sqlite .css .js .mp3 .wav .m4a .torrent "
    ".token .pt .pth .bin .pkl .exe .dll .lrcat .url .desktop .bib .tex .sh .bat .part .mat .h5 .hdf5".split()
)
TABLES = frozenset(".csv .tsv .jsonl .json .xlsx .xls .ods .token".split())
LINK, BROKEN = "a linked folder, which is not followed: copy its photos here", "a broken link"
EMPTY, SPECIAL = "an empty file (0 bytes)", "no regular file"
HIDDEN = "hidden, as its name or its folder's begins with a dot"
CLOSED = "closed to you: allow reading it"
UNNAMED = "an image without the suffix of its format: add .jpg, .png or the like"


class Folder:
    """What lies below a folder. Links to folders are not followed. Raises UserError for a link to a file outside.

    images: paths relative to the folder, with /, sorted. left_out: reason -> paths. tables: caption files by the folder
    in which they lie, "" for the folder itself. near: other files that may be meant to hold captions.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: list[str] = []
        self.left_out: dict[str, list[str]] = {}
        self.tables: dict[str, list[Path]] = {}
        self.near: list[str] = []
        for place, folders, files in os.walk(root, onerror=self._closed):
            here = Path(os.path.relpath(place, root)).as_posix()
            for path in (PurePosixPath(here, name).as_posix() for name in folders):
                if os.path.islink(root / path) and not _hidden(path):
                    self._leave_out(path, LINK)
            for name in files:
                self._look_at(PurePosixPath(here, name).as_posix())
        self.images.sort()

    def said(self) -> str:
        """One sentence that counts the files left out, by reason, or ""."""
        parts = []
        for reason, names in sorted(self.left_out.items()):
            label = f"{shown(min(names))} {'is' if len(names) == 1 else 'and others are'} {reason}"
            parts.append(f"{len(names):,} ({label})")
        return f"Left out: {'; '.join(parts)}." if parts else ""

    def caption_tables(self) -> Iterator[tuple[str, Path]]:
        """The caption files to read, each with the folder in which it lies: the folder's own, else those of subfolders
        where these cover all images, as in the hub's image folders. Raises UserError for two of a kind in one folder.
        """
        places = self.tables
        if "" in places:
            yield "", _only(self.root, places[""])
        elif all(any(image.startswith(f"{place}/") for place in places) for image in self.images):
            for place, files in sorted(places.items()):
                yield place, _only(self.root / place, files)

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out.setdefault(reason, []).append(name)

    def _closed(self, error: OSError) -> None:
        name = os.path.relpath(error.filename or self.root, self.root)
        self._leave_out(Path(name).as_posix(), CLOSED)

    def _look_at(self, name: str) -> None:
        path, suffix, hidden = self.root / name, PurePosixPath(name).suffix.lower(), _hidden(name)
        if suffix in TEXT:
            if not hidden and path.is_file():
                self._note_table(path, PurePosixPath(name))
            return
        if suffix in suffixes():
            reason = HIDDEN if hidden else _unfit(path)
        elif suffix in HEIF_SUFFIXES or suffix == ".avif":
            reason = HIDDEN if hidden else f"not read: {HEIF if suffix != '.avif' else AVIF}"
        else:
            reason = KINDS.get(suffix, "")
            if hidden or not reason and not _is_image(path):
                return
            reason = reason or UNNAMED
        if reason:
            self._leave_out(name, reason)
            return
        if path.is_symlink():
            inside(self.root, name, self.root)
        self.images.append(name)

    def _note_table(self, path: Path, name: PurePosixPath) -> None:
        place = "" if str(name.parent) == "." else str(name.parent)
        words = ("caption", "token", "annotation", "description")
        if name.name.lower() in caption_files.NAMES:
            self.tables.setdefault(place, []).append(path)
        elif (
            name.suffix.lower() == ".parquet"
            or not place
            and (name.suffix.lower() in TABLES or any(word in name.stem.lower() for word in words))
        ):
            self.near.append(str(name))


def visible(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder whose names match, sorted, without hidden ones: ._train.parquet, as some systems write
    next to a file, or those in .cache.
    """
    seen = (file for file in folder.rglob(pattern) if not _hidden(file.relative_to(folder).as_posix()))
    return sorted(file for file in seen if not file.is_dir())  # folders that other programs name like a file


def loose_images(folder: Path) -> list[Path]:
    """The images below a folder, by their suffixes."""
    return [file for file in visible(folder, "*") if file.suffix.lower() in suffixes()]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def suffixes() -> frozenset[str]:
    """The suffixes of the images that are read on this machine."""
    known = SUFFIXES if "AVIF" in formats() else SUFFIXES - {".avif"}
    return known | HEIF_SUFFIXES if "HEIF" in formats() else known


def _unfit(path: Path) -> str:
    """Why a file with the suffix of an image cannot be read as one, or ""."""
    try:
        size = path.stat().st_size
    except PermissionError:
        return CLOSED
    except OSError:  # a link to nothing, or to itself
        return BROKEN
    if not path.is_file():
        return SPECIAL
    if size == 0:
        return EMPTY
    return "" if os.access(path, os.R_OK) else CLOSED


def _is_image(path: Path) -> bool:
    """Whether a file begins as an image does, whatever its name."""
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(32)
    except OSError:
        return False
    if head[4:8] == b"ftyp":
        return "video" not in named(head)
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*"))
        or head[8:12] == b"WEBP"
    )


def _only(place: Path, files: list[Path]) -> Path:
    """The file to read of those in `place`: captions.* before metadata.*."""
    for kind in ("captions.", "metadata."):
        own = sorted(file for file in files if file.name.lower().startswith(kind))
        if len(own) > 1:
            raise UserError(
                f"{shown(place)} holds {' and '.join(shown(file.name) for file in own)}, but only one file of captions "
                "is read. Remove or rename the others."
            )
        if own:
            return own[0]
    raise AssertionError("a table has one of the two names")

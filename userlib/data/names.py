"""Finding the image that a caption file names, in whatever spelling the system that wrote it uses for paths."""

import difflib
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from userlib.data.folder import Folder
from userlib.errors import UserError
from userlib.files import shown


def composed(name: str) -> str:
    """Unicode's composed form (NFC): macOS stores letters and their accents apart."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """The composed form without regard to case, as file names are compared on Windows and macOS."""
    return composed(composed(name).casefold())


class Names:
    """The images of a folder, found by every spelling that may be meant for them."""

    def __init__(self, contents: Folder) -> None:
        self.contents, self.place = contents, shown(contents.root)
        self.exact = {shown(name): name for name in contents.images} | {
            name: name for name in contents.images
        }
        self.by_composed = _lists(contents.images, composed)
        self.by_folded = _lists(contents.images, folded)
        self.by_last = _lists(contents.images, lambda name: folded(PurePosixPath(name).name))

    def find(self, file: str, place: str, source: Path, line: int) -> str:
        """The image that line `line` of `source`, which lies in the subfolder `place`, calls `file`.

        Raises UserError for a name that leads out of the folder, and for one that fits several images or none; the
        error suggests a similar name.
        """
        where = f"Line {line} of {shown(source)}"
        slashed = file.replace("\\", "/")
        last = slashed.split("/")[-1]
        outside = (
            file.startswith("/") or PureWindowsPath(file).drive or "://" in file or ".." in slashed.split("/")
        )
        if outside and file not in self.exact:
            raise UserError(
                f"{where} names the file {file!r}, which lies outside {self.place}. Names must stay inside the "
                f"folder: copy the image into it, and write its path from there.{self._guess(last)}"
            )
        for spelled in dict.fromkeys((file, slashed, unquote(slashed))):
            name = PurePosixPath(spelled).as_posix()  # without ./ and //
            at = PurePosixPath(place, name).as_posix()
            if at in self.exact:
                return self.exact[at]
            below, end = at[: len(at) - len(name)], f"/{folded(name)}"
            near = self.by_last.get(folded(PurePosixPath(name).name), [])
            ends = [image for image in near if image.startswith(below) and folded(image).endswith(end)]
            for images in (self.by_composed.get(composed(at), []), self.by_folded.get(folded(at), []), ends):
                if len(images) > 1:
                    these = " and ".join(repr(shown(image)) for image in images[:3])
                    raise UserError(
                        f"{where} has a caption for {file!r}, which may be {these}. Write the name as the file has it, "
                        f"with its folder from {shown(source.parent)}."
                    )
                if images:
                    return images[0]
        at = folded(PurePosixPath(place, slashed).as_posix())
        for reason, names in self.contents.left_out.items():
            if at in map(folded, names):
                raise UserError(
                    f"{where} has a caption for {file!r}, which exists but was left out because it is {reason}. "
                    "Correct that, or remove the line."
                )
        raise UserError(
            f"{where} has a caption for {file!r}, but there is no such image in {self.place}. Put it there, "
            f"or remove the line.{self._guess(last)}"
        )

    def _guess(self, last: str) -> str:
        """A question that suggests the image that the last part of a path may mean, or ""."""
        near = self.by_last.get(folded(last))
        if not near:
            stems = _lists(self.contents.images, lambda name: folded(PurePosixPath(name).stem))
            near = stems.get(folded(last)) or stems.get(folded(PurePosixPath(last).stem))
        if not near:
            close = difflib.get_close_matches(folded(last), self.by_last, 1, 0.75)
            near = self.by_last[close[0]] if close else []
        return f" Did you mean {shown(near[0])!r}?" if near else ""


def _lists(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for name in names:
        lists.setdefault(key(name), []).append(name)
    return lists

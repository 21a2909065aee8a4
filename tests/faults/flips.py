"""A bit that changes on the disk, in any file that the library stores."""

from functools import partial
from pathlib import Path

from tests.faults.harness import Place, fault, must
from tests.faults.works import WORKS
from userlib.doctor import check_stored
from userlib.errors import UserError

NOT_STORED = {"announced.txt", "asked.txt", "said.txt", "twin.txt", "whole"}


def stored_files(folder: Path) -> list[Path]:
    """What the library keeps below: no data of the user's, no lock, nothing of the harness."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "data" not in path.relative_to(folder).parts
        and path.suffix != ".lock"
        and path.name not in NOT_STORED
    ]


def flipped(work: str, place: Place) -> str:
    """Each stored file in turn with one bit changed: the same command names it and the remedy, or gives the right
    answer all the same; and the doctor finds it.
    """
    clean = place.clean(work)
    folder = place.folder_of(work)
    files = stored_files(folder)
    must(files, "nothing is stored")
    seen = 0
    for path in files:
        content = path.read_bytes()
        changed, at = bytearray(content), place.draw.randrange(len(content))
        changed[at] ^= 1 << place.draw.randrange(8)
        path.write_bytes(changed)
        where = f"byte {at} of {path.relative_to(folder)}"
        answer = place.server.do(work, folder)
        said, right = answer["said"], False
        must(answer["status"] in (0, 2), f"{where}: ended with {answer['status']}: {said[-1500:]}")
        if answer["status"] == 0:
            try:
                right = WORKS[work].result(folder) == clean
                must(right, f"{where}: not found, and another answer")
            except UserError as error:
                said = str(error)
        if not right or path.read_bytes() == bytes(changed):
            told = [check for check in check_stored((folder,)) if check.state == "fail"]
            must(
                any(path.name in f"{check.name} {check.detail}" for check in told),
                f"{where}: unseen by the doctor",
            )
            must(all(check.remedy for check in told), f"{where}: the doctor has no remedy")
        if not right:
            must(path.name in said, f"{where}: not named in {said[-500:]}")
            must(
                any(word in said for word in ("elete", "rite the names", "estore")),
                f"{where}: no remedy in {said[-500:]}",
            )
            seen += 1
        path.write_bytes(content)
    place.forget(folder)
    return f"{seen} of {len(files)} files named, the others not needed or made again"


for name in WORKS:
    fault(
        f"a flipped bit in each file: {name}", times=3, quick=name in ("caching tokens", "building an index")
    )(partial(flipped, name))

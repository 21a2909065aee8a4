"""Disks that are full, cannot be written, or are shared; and what a dead process left on them."""

import os
import shutil
from functools import partial
from pathlib import Path

from tests.faults.harness import Place, everyones, fault, hand_over, must
from tests.faults.works import PICTURES, WORKS


def largest(folder: Path) -> int:
    return max(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and "data" not in path.parts
    )


def full_at_a_byte(work: str, place: Place) -> str:
    """No file may grow beyond a random size, as under a quota: a sentence that says so, and more room mends it."""
    place.clean(work)
    sample, folder = place.kept, place.fresh()
    if work in ("training", "a study") and sample.exists():
        shutil.copytree(sample / "data", folder / "data", dirs_exist_ok=True)
    # What it says goes to a file as well, and must fit.
    limit = place.draw.randrange(1_000, 100_000 if not sample.exists() else max(2_000, largest(sample)))
    answer = place.server.do(work, folder, file_limit=limit)
    must(
        answer["status"] in (0, 2),
        f"at {limit} bytes it ended with {answer['status']}: {answer['said'][-1500:]}",
    )
    if answer["status"] == 2:
        must("No space left" in answer["said"], f"at {limit} bytes it said: {answer['said'][-500:]}")
    place.goes_on(work, folder)
    place.forget(folder)
    return f"full at {limit} bytes" if answer["status"] == 2 else "enough room"


def full_at_a_flush(work: str, place: Place) -> str:
    """The disk says that it is full when bytes are flushed, the n-th time."""
    place.clean(work)
    folder = place.fresh()
    at = place.draw.randrange(1, 12)
    answer = place.server.do(work, folder, full_at=at)
    must(
        answer["status"] in (0, 2),
        f"at flush {at} it ended with {answer['status']}: {answer['said'][-1500:]}",
    )
    must(answer["status"] == 0 or "No space left" in answer["said"], answer["said"][-500:])
    place.goes_on(work, folder)
    place.forget(folder)
    return f"full at flush {at}"


for name in WORKS:
    fault(f"no space at a byte: {name}", times=5, quick=name in ("training", "caching tokens"))(
        partial(full_at_a_byte, name)
    )
    fault(f"no space at a flush: {name}", times=5, quick=name == "drawing scenes")(
        partial(full_at_a_flush, name)
    )


@fault("read-only cache, empty: caching tokens", quick=True)
def read_only_empty(place: Place) -> str:
    """A sentence that names the folder and the remedy; nothing is left half made."""
    folder = everyones("faults-")
    for name in ("cache", "said.txt", "asked.txt"):
        (folder / name).touch() if "." in name else (folder / name).mkdir()
    hand_over(folder)
    (folder / "cache").chmod(0o555)
    answer = place.server.do("caching tokens", folder, nobody=True)
    must(answer["status"] == 2, f"it ended with {answer['status']}: {answer['said'][-1500:]}")
    must("Cannot write" in answer["said"] and "USERLIB_CACHE" in answer["said"], answer["said"][-500:])
    must(not any((folder / "cache").iterdir()), "something was left in the cache")
    (folder / "cache").chmod(0o755)
    place.goes_on("caching tokens", folder)
    shutil.rmtree(folder)
    return "said so"


@fault("read-only cache, filled: caching tokens", quick=True)
def read_only_filled(place: Place) -> str:
    """A filled cache is read by someone who cannot write it, and no picture is drawn."""
    place.clean("caching tokens")
    folder = everyones("faults-")
    place.server.do("caching tokens", folder)
    asked = len((folder / "asked.txt").read_text().split())
    hand_over(folder)
    for path in (folder / "cache").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (folder / "cache").chmod(0o555)
    answer = place.server.do("caching tokens", folder, nobody=True)
    must(answer["status"] == 0, f"it ended with {answer['status']}: {answer['said'][-1500:]}")
    must(len((folder / "asked.txt").read_text().split()) == asked == PICTURES, "pictures were drawn again")
    must(WORKS["caching tokens"].result(folder) == place.clean("caching tokens"), "other tokens came back")
    place.forget(folder)
    return "read"


@fault("half written by a dead process: caching tokens", times=5, quick=True)
def half_written(place: Place) -> str:
    """Rows beyond what was noted, rows cut off, rows of which the disk kept something else: none is believed."""
    place.clean("caching tokens")
    folder = place.fresh()
    while not (parts := list((folder / "cache").glob("tokens/*.partial/progress.json"))):
        shutil.rmtree(folder)
        folder.mkdir()
        after = place.draw.uniform(0.4, 1.0) * place.seconds["caching tokens"]
        place.server.do("caching tokens", folder, signal="SIGKILL", after=after)
        if WORKS["caching tokens"].result(folder):
            continue
    file, how = parts[0].with_name("array.npy"), place.draw.choice(["longer", "shorter", "changed", "header"])
    data = bytearray(file.read_bytes())
    if how == "longer":
        data += place.draw.randbytes(1000)
    elif how == "shorter":
        del data[-100:]
    else:
        data[140 if how == "changed" else 20] ^= 4
    file.write_bytes(data)
    (folder / "announced.txt").unlink(missing_ok=True)  # a promise kept, and spoilt afterwards
    place.goes_on("caching tokens", folder)
    place.forget(folder)
    return how


@fault("two processes fill one cache", quick=True)
def two_fill_one(place: Place) -> str:
    """Both end well, with the same tokens, and each picture is drawn once."""
    place.clean("caching tokens")
    folder = place.fresh()
    answer = place.server.do("caching tokens", folder, twin=True)
    must((answer["status"], answer["twin"]) == (0, 0), f"they ended with {answer}")
    asked = sorted(map(int, (folder / "asked.txt").read_text().split()))
    must(asked == list(range(PICTURES)), f"{len(asked)} pictures were drawn, not {PICTURES}")
    must(WORKS["caching tokens"].result(folder) == place.clean("caching tokens"), "other tokens came back")
    place.forget(folder)
    return "each picture drawn once"


@fault("one of two processes that fill a cache dies")
def one_of_two_dies(place: Place) -> str:
    """The one that waited takes over."""
    place.clean("caching tokens")
    folder = place.fresh()
    after = place.draw.uniform(0.1, 0.9) * place.seconds["caching tokens"]
    answer = place.server.do("caching tokens", folder, twin=True, signal="SIGKILL", after=after)
    must(answer["twin"] == 0, answer["said"][-1500:])
    place.goes_on("caching tokens", folder)
    place.forget(folder)
    return "the other took over"


assert os.name == "posix", "these faults need forks, limits and file rights"

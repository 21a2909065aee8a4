"""Strikes work on small data with every fault there is, and counts what survives.

    python -m tests.faults                        faults in random order for 60 seconds
    python -m tests.faults --seconds 600          longer
    python -m tests.faults --all                  each fault as often as it deserves: 30 kills of each work
    python -m tests.faults --all kill             only those with "kill" in their names
    python -m tests.faults --all --out FILE       the counts as JSON, with their provenance

A fault holds when nothing promised is lost, nothing that looks whole is damaged, the error is a sentence with its
remedy, and the same command then ends with the same bits as one that nothing disturbed. The last line is
`N passed, N failed`; the exit code is 1 when one failed.
"""

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import tests.faults.disks
import tests.faults.flips
import tests.faults.hubs
import tests.faults.kills
import tests.faults.notebooks  # noqa: F401 - each of these modules registers its faults
from tests.faults.harness import FAULTS, Broken, Fault, Place
from tests.faults.server import Server
from userlib.files import write_checksummed
from userlib.provenance import provenance


def turns(chosen: list[Fault], *, all_of_them: bool, seconds: float, draw: random.Random) -> Iterator[Fault]:
    """Every fault as often as it deserves, or in random order until the time is over."""
    if all_of_them:
        for one in chosen:
            yield from [one] * one.times
        return
    until = time.monotonic() + seconds
    while True:
        for one in draw.sample(chosen, len(chosen)):
            if time.monotonic() > until:
                return
            yield one


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of names; a fault that has one of them is run")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--all", action="store_true", help="each fault as often as it deserves")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the moments and places at which faults strike"
    )
    parser.add_argument("--out", type=Path, help="write the counts here")
    parser.add_argument("--list", action="store_true", help="only print the names")
    asked = parser.parse_args(arguments)
    chosen = [
        one for one in FAULTS.values() if not asked.names or any(part in one.name for part in asked.names)
    ]
    if asked.list or not chosen:
        print(
            "\n".join(f"{one.times:3d}  {one.name}" for one in chosen) or "0 passed, 1 failed: no such fault"
        )
        return 0 if chosen else 1

    draw, began = random.Random(asked.seed), time.monotonic()
    tried, broken = dict.fromkeys((one.name for one in chosen), 0), {}
    server = Server()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        place = Place(server, Path(folder), draw)
        for one in turns(chosen, all_of_them=asked.all, seconds=asked.seconds, draw=draw):
            tried[one.name] += 1
            try:
                said = one.run(place)
            except Broken as error:
                said = f"BROKEN: {error}"
            except Exception:
                said = f"BROKEN: {traceback.format_exc()}"
            if said.startswith("BROKEN"):
                broken.setdefault(one.name, []).append(said)
            print(f"{one.name}: {said}", flush=True)
    server.close()

    failed = sum(map(len, broken.values()))
    print("\nheld of tried")
    for name, count in tried.items():
        print(f"  {count - len(broken.get(name, [])):3d} of {count:3d}  {name}")
    if asked.out:
        counts = {name: {"tried": n, "held": n - len(broken.get(name, []))} for name, n in tried.items() if n}
        facts = {"seed": asked.seed, "seconds": round(time.monotonic() - began), "broken": broken}
        command = "python -m tests.faults " + " ".join(arguments)
        write_checksummed(
            asked.out, {"command": command, "faults": counts, **facts, "provenance": provenance()}
        )
    print(f"{sum(tried.values()) - failed} passed, {failed} failed in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a fault is, where it strikes, and what must hold afterwards."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.server import NOBODY, Server
from tests.faults.works import WORKS, announced, unsound


class Broken(Exception):
    """A fault has lost something, or left something that misleads."""


def must(holds: Any, words: str) -> None:
    if not holds:
        raise Broken(words)


@dataclass
class Place:
    """The server, a folder for everything, random draws, and what each work gives when nothing disturbs it."""

    server: Server
    root: Path
    draw: random.Random
    seconds: dict[str, float] = field(default_factory=dict)
    whole: dict[str, dict[str, str]] = field(default_factory=dict)
    count: int = 0

    def clean(self, work: str) -> dict[str, str]:
        """What the work gives undisturbed. Its time is taken too: faults strike within it."""
        if work not in self.whole:
            folder = self.fresh()
            answer = self.server.do(work, folder)
            must(answer["status"] == 0, f"{work} fails without any fault: {answer['said'][-2000:]}")
            self.seconds[work], self.whole[work] = answer["seconds"], WORKS[work].result(folder)
            self.kept = folder
        return self.whole[work]

    def folder_of(self, work: str) -> Path:
        """A folder of its own in which the work is done."""
        folder = self.fresh()
        answer = self.server.do(work, folder)
        must(answer["status"] == 0, answer["said"][-2000:])
        return folder

    def fresh(self) -> Path:
        self.count += 1
        folder = self.root / f"{self.count:04d}"
        folder.mkdir()
        return folder

    def forget(self, folder: Path) -> None:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)

    def goes_on(self, work: str, folder: Path) -> None:
        """Nothing looks finished that is not, no promise is broken, and the same command gives the same result."""
        bad = unsound(folder)
        must(not bad, f"left behind, as if it were whole: {bad[:1]}")
        promised, kept = announced(folder), WORKS[work].kept(folder)
        must(kept >= promised, f"{promised} were promised and {kept} are there")
        answer = self.server.do(work, folder)
        must(
            answer["status"] == 0,
            f"the same command then ended with {answer['status']}: {answer['said'][-1500:]}",
        )
        clean, result = self.clean(work), WORKS[work].result(folder)
        wrong = [name for name in sorted(set(clean) | set(result)) if clean.get(name) != result.get(name)]
        must(
            not wrong,
            f"{len(wrong)} of {len(clean)} parts differ from the undisturbed ones, first {wrong[:1]}",
        )
        must(not unsound(folder), f"afterwards: {unsound(folder)[:1]}")


@dataclass(frozen=True)
class Fault:
    """run says in a word what happened, or raises Broken. times: in a whole round. quick: in the unit tests too."""

    name: str
    run: Callable[[Place], str]
    times: int = 3
    quick: bool = False


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, *, times: int = 3, quick: bool = False
) -> Callable[[Callable[[Place], str]], Callable[[Place], str]]:
    """Registers a function as a fault."""

    def register(run: Callable[[Place], str]) -> Callable[[Place], str]:
        FAULTS[name] = Fault(name, run, times, quick)
        return run

    return register


def everyones(prefix: str) -> Path:
    """A folder that a user without rights can read, for faults of rights."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    return folder


def hand_over(folder: Path) -> None:
    """Gives everything below to the user without rights, where there is another one."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)

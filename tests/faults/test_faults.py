"""A sample of the faults, each once; `python -m tests.faults --all` is the whole of it."""

import random
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="forks, limits and file rights of POSIX")

import tests.faults.disks
import tests.faults.flips
import tests.faults.hubs
import tests.faults.kills  # noqa: F401 - each of these modules registers its faults
from tests.faults.harness import FAULTS, Broken, Place, must
from tests.faults.server import Server


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    server = Server()
    yield Place(server, Path(tmp_path_factory.mktemp("faults")), random.Random(0))
    server.close()


@pytest.mark.parametrize("name", [one.name for one in FAULTS.values() if one.quick])
def test_nothing_is_lost_and_nothing_misleads(name, place):
    FAULTS[name].run(place)


def test_the_judge_notices_what_is_lost_or_misleads(place):
    """The harness itself: other bits, a broken promise, a folder that looks whole, a traceback."""
    clean = place.clean("building an index")
    folder = place.folder_of("building an index")
    (folder / "announced.txt").write_text("2\n")
    with pytest.raises(Broken, match="2 were promised and 1 are there"):
        place.goes_on("building an index", folder)
    (folder / "announced.txt").write_text("1\n")
    place.whole["building an index"] = clean | {"vectors": "others"}
    with pytest.raises(Broken, match="1 of 3 parts differ.*vectors"):
        place.goes_on("building an index", folder)
    place.whole["building an index"] = clean
    (folder / "index" / "contents.json").write_text("{}")
    with pytest.raises(Broken, match="as if it were whole"):
        place.goes_on("building an index", folder)
    answer = place.server.do("no such work", place.fresh())
    with pytest.raises(Broken, match="KeyError"):
        must(answer["status"] == 0, answer["said"])

"""What `python -m userlib train` tells before it trains."""

import pytest

from tests.data.copies import write_scan
from userlib.__main__ import main

PAIRS = 5 * 8


@pytest.mark.parametrize("size, told", [(PAIRS, False), (PAIRS + 1, True)])
def test_a_queue_longer_than_an_epoch_is_told(tmp_path, cache, capsys, size, told):
    folder = write_scan(tmp_path / "precomp", {"train": 8, "val": 2, "test": 2})
    flags = ["--data", str(folder), "--set", "data.tokens=precomputed", "--set", "data.report=null"]
    sizes = ["--queue-size", str(size), "--steps", "1", "--batch", "8", "--out", str(tmp_path / "run")]
    assert main(["train", *flags, *sizes]) == 0
    said = capsys.readouterr()
    warning = f"The queue holds {size} keys and an epoch has {PAIRS} pairs"
    assert (warning in said.out + said.err) is told

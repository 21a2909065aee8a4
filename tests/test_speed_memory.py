"""The table of memory in docs/speed.md is that of the stored measurement."""

from pathlib import Path

from tests.soak.memory import OUT, table
from userlib.files import read_checksummed

ROOT = Path(__file__).resolve().parents[1]


def test_the_table_tells_what_was_measured():
    text = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    between = text.partition("<!-- memory -->")[2].partition("<!-- end of memory -->")[0]
    assert between.strip() == table(read_checksummed(OUT, ""))

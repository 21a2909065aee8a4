"""Tables between markers: only what lies between them changes, and writing twice changes nothing."""

import pytest

from userlab.ablation.markers import END, fill, filled, studies_in
from userlib.errors import UserError

TEXT = f"""# Title
<!-- results of world -->
old
{END}
between
# <!-- results of queue -->
# {END}
end
"""


def tables(name: str) -> str:
    return f"table of {name}\n\n| a |"


def test_filled_between_the_markers():
    made = filled(TEXT, tables)
    assert made.splitlines() == [
        "# Title", "<!-- results of world -->", "", "table of world", "", "| a |", "", END, "between",
        "# <!-- results of queue -->", "#", "# table of queue", "#", "# | a |", "#", f"# {END}", "end",
    ]  # fmt: skip
    assert filled(made, tables) == made
    assert studies_in(made) == ["world", "queue"]


@pytest.mark.parametrize(
    "text", [f"<!-- results of a -->\n<!-- results of b -->\n{END}", "<!-- results of a -->"]
)
def test_a_marker_without_an_end(text):
    with pytest.raises(UserError, match="'a'"):
        filled(text, tables)


def test_fill_writes_where_it_changes(tmp_path):
    file = tmp_path / "results.md"
    file.write_text(TEXT)
    assert fill(file, tables)
    before = file.stat().st_mtime_ns
    assert not fill(file, tables)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(UserError, match="There is no file .*gone.md"):
        fill(tmp_path / "gone.md", tables)
    file.write_text("no marker")
    with pytest.raises(UserError, match="no place for tables"):
        fill(file, tables)

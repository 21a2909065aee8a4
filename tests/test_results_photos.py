"""The table of photos in docs/results.md is what the stored evaluations say; run as a script it prints the table."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORED = ROOT / "assets" / "results" / "flickr8k"
COLUMNS = ("i2t_r1", "i2t_r10", "t2i_r1", "t2i_r10")


def _row(label: str, tables: dict[str, dict[str, list[float]]], name: str, difference: str) -> str:
    result = tables[name]
    cells = [f"{result[column][0]:.1f}" for column in COLUMNS]
    low, high = result["rsum"][1:]
    cells.append(f"{result['rsum'][0]:.1f} [{low:.1f}, {high:.1f}]")
    if difference:
        value, low, high = tables[difference]["rsum"]
        cells.append(f"{value:+.1f} [{low:+.1f}, {high:+.1f}]")
    else:
        cells.append("")
    return f"| {label} | {' | '.join(cells)} |"


def table() -> list[str]:
    """The lines of the table, made from the stored evaluations."""
    read = {path.stem: json.loads(path.read_text()) for path in sorted(STORED.glob("*.json"))}
    assert len({(one["split"], one["data_hash"]) for one in read.values()}) == 1
    lines = [_row("CCA", read["seed-0"]["tables"], "cca", "")]
    for seed in range(3):
        tables = read[f"seed-{seed}"]["tables"]
        lines.append(_row(f"USER, seed {seed}", tables, "model", "model - cca"))
    for name, label in (("sge-off", "SGE off, seed 0"), ("queue-off", "queue off, seed 0")):
        tables = {**read[name]["tables"]}
        tables["off - full"] = {
            key: [-value[0], -value[2], -value[1]] for key, value in tables["model - against"].items()
        }
        lines.append(_row(label, tables, "against", "off - full"))
    return lines


def test_the_table_shows_the_stored_evaluations() -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    for line in table():
        assert line in text, (
            f"run `python tests/{Path(__file__).name}` and put its lines into docs/results.md"
        )


def test_the_readme_shows_one_result_of_them() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for seed in range(3):
        tables = json.loads((STORED / f"seed-{seed}.json").read_text())["tables"]
        value, low, high = tables["model - cca"]["rsum"]
        assert f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" in text
        assert f"{tables['model']['rsum'][0]:.1f}" in text and f"{tables['cca']['rsum'][0]:.1f}" in text


if __name__ == "__main__":
    print("\n".join(table()))

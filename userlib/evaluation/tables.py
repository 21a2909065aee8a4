"""Tables of results: every value with its confidence interval, below it in plain text or next to it in markdown."""

from collections.abc import Mapping

from userlib.arguments import checked
from userlib.errors import UserError
from userlib.evaluation.intervals import Difference, Interval

COLUMNS = {
    "i2t_r1": "i2t R@1",
    "i2t_r5": "R@5",
    "i2t_r10": "R@10",
    "t2i_r1": "t2i R@1",
    "t2i_r5": "R@5",
    "t2i_r10": "R@10",
    "rsum": "rSum",
}


@checked
def table(
    rows: Mapping[str, Mapping[str, Interval]],
    *,
    markdown: bool = False,
    columns: Mapping[str, str] = COLUMNS,
) -> str:
    """rows: name -> a result of `bootstrap` or `paired_bootstrap`. By default its columns are the six R@K and rSum.

    columns: name of a metric -> heading; where a row lacks a metric, its cell is empty. Differences have a sign, so
    they cannot be mistaken for values. Raises UserError for no rows, and for a value without an interval.
    """
    if not rows:
        raise UserError("the table has no rows; give at least one result.")
    cells = {name: [_cell(f"{name}, {key}", row.get(key)) for key in columns] for name, row in rows.items()}
    return (_markdown if markdown else _plain)(cells, list(columns.values()))


def _cell(where: str, interval: Interval | None) -> tuple[str, str]:
    """The value, and its interval in brackets."""
    if interval is None:
        return "", ""
    if not all(hasattr(interval, part) for part in ("value", "low", "high")):
        raise UserError(
            f"the table has {interval!r:.80} at {where}; it must be an Interval, as bootstrap returns."
        )
    sign = "+" if isinstance(interval, Difference) else ""
    return f"{interval.value:{sign}.1f}", f"[{interval.low:{sign}.1f}, {interval.high:{sign}.1f}]"


def _plain(cells: Mapping[str, list[tuple[str, str]]], heads: list[str]) -> str:
    left = max(map(len, cells))
    wide = max([*map(len, heads), *(len(bounds) for row in cells.values() for _, bounds in row)])
    lines = [(" " * left, heads)]
    for name, row in cells.items():
        lines += [
            (name.ljust(left), [value for value, _ in row]),
            (" " * left, [bounds for _, bounds in row]),
        ]
    return "\n".join("  ".join([start, *(text.rjust(wide) for text in texts)]) for start, texts in lines)


def _markdown(cells: Mapping[str, list[tuple[str, str]]], heads: list[str]) -> str:
    lines = [["", *heads], ["---", *["--:"] * len(heads)]]
    lines += [
        [name.replace("|", r"\|"), *(f"{value} {bounds}".strip() for value, bounds in row)]
        for name, row in cells.items()
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

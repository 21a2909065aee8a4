"""The rows of a measurement as text and as a table in Markdown, which is written between two markers of a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from userlib.errors import UserError
from userlib.files import atomic_write

START, END = "<!-- speed -->", "<!-- end of speed -->"
HEAD = (
    "case", "shapes", "ours", "reference", "ratio", "limit", "ratio to limit", "roofline", "goal",
)  # fmt: skip
Row = Mapping[str, Any]


def lines_of(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The cells of each row: times, ratios with the tenth and ninetieth percentile, and goals, in the order of HEAD."""
    return [_line(row) for row in rows]


def _line(row: Row) -> tuple[str, ...]:
    if "skipped" in row:
        return (row["case"], row["skipped"], *[""] * (len(HEAD) - 2))
    other, least = row.get("reference"), row.get("limit")
    return (
        row["case"],
        row["shapes"],
        duration(row["ours"]["ms"]),
        f"{duration(other['ms'])} ({row['reference_is']})" if other else "",
        _ratio(row.get("over_reference")),
        f"{duration(least['ms'])} ({row['limit_is']})" if least else "",
        _ratio(row.get("over_limit")),
        duration(row["physical_ms"]) if "physical_ms" in row else "",
        "; ".join(_goal(goal) for goal in row["goals"]),
    )


def duration(ms: float) -> str:
    """A time in milliseconds as text, in seconds from one second up."""
    return f"{ms / 1e3:.2f} s" if ms >= 1000 else f"{ms:.3g} ms"


def _ratio(ratio: Row | None) -> str:
    if ratio is None:
        return ""
    if ratio["median"] < 0.5:
        return f"1/{1 / ratio['median']:.1f} (1/{1 / ratio['low']:.1f} to 1/{1 / ratio['high']:.1f})"
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _goal(goal: Row) -> str:
    word = "met" if goal["met"] else "not met"
    return f"{goal['side']} <= {goal['at_most']:.3g}: {word}"


def notes_of(rows: Sequence[Row]) -> list[str]:
    """The further values of each row, one per line."""
    return [
        f"{row['case']}: " + ", ".join(f"{name} {_number(value)}" for name, value in row["notes"].items())
        for row in rows
        if row.get("notes")
    ]


def _number(value: Any) -> str:
    return str(value) if isinstance(value, bool) or not isinstance(value, float) else f"{value:.4g}"


def summary(rows: Sequence[Row]) -> str:
    """The rows for a terminal."""
    parts = []
    for row, line in zip(rows, lines_of(rows), strict=True):
        facts = [f"{name}: {text}" for name, text in zip(HEAD[1:], line[1:], strict=True) if text]
        parts.append("\n    ".join([f"[{row['group']}] {line[0]}", *facts]))
    return "\n".join([*parts, *notes_of(rows)])


def markdown(document: Row) -> str:
    """What the stored rows were measured on, their table, and their further values."""
    rows = document["rows"]
    table = [HEAD, tuple("---" for _ in HEAD), *lines_of(rows)]
    where, rates = document["provenance"]["hardware"], document["machine"]
    clock = "the wall clock" if any(row.get("clock") == "wall" for row in rows) else "processor time"
    half = f"{rates['flops_bf16'] / 1e9:.0f} in bf16" if rates["flops_bf16"] else "no bf16"
    about = (
        f"Measured on {where['processor']}, {where['cores']} cores, {document['threads']} thread(s), torch "
        f"{document['provenance']['torch']}, {document['provenance']['date']}: copies "
        f"{rates['bytes_per_s'] / 1e9:.1f} GB/s, products {rates['flops_fp32'] / 1e9:.0f} GFLOP/s in fp32 and "
        f"{half}. Medians of {clock} over interleaved runs; "
        "in brackets the tenth and ninetieth percentile of the ratio."
    )
    body = "\n".join("| " + " | ".join(line) + " |" for line in table)
    return "\n\n".join([about, body, "\n".join(f"- {note}" for note in notes_of(rows))])


def fill(file: Path, document: Row) -> None:
    """Writes the table between the markers. Raises UserError for a file that is missing or has no markers."""
    if not file.is_file():
        raise UserError(
            f"There is no file {file}. Start in the folder of the repository, or name a file with markers."
        )
    text = file.read_text(encoding="utf-8")
    start, end = text.find(START), text.find(END)
    if start < 0 or end < start:
        raise UserError(f"{file} has no place for the table; put the lines {START!r} and {END!r} into it.")
    after = text[: start + len(START)] + "\n\n" + markdown(document) + "\n\n" + text[end:]
    atomic_write(file, lambda part: part.write_bytes(after.encode("utf-8")), over=True)

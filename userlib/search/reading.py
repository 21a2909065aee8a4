"""What an index reads: the pictures of a folder or split, batch by batch, those that cannot be read apart."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from userlib.data.splits import Pictures, Split
from userlib.errors import UserError

BATCH = 64  # pictures or sentences at a time


def only_split(folder: str | Path) -> Split:
    """The pictures of a folder, where they are one split."""
    from userlib.data.sources import load_data

    data = load_data(str(folder))
    if len(data.splits) > 1:
        raise UserError(
            f"{folder} has the splits {', '.join(data.splits)}; index one of them: "
            "Index.build(load_data(FOLDER).split(NAME), encoder)"
        )
    return next(iter(data.splits.values()))


def readable(
    pictures: Pictures, rows: Sequence[int]
) -> Iterator[tuple[list[int], list[Image.Image], list[str]]]:
    """Batches of rows with their pictures, and what is wrong with the rows that are left out."""
    for start in range(0, len(rows), BATCH):
        good, found, failed = [], [], []
        for row in rows[start : start + BATCH]:
            try:
                found.append(pictures[row])
                good.append(row)
            except UserError as error:
                failed.append(str(error))
        yield good, found, failed

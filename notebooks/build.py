"""Make notebooks/NN_name.ipynb from notebooks/src/NN_name.py: convert, run from top to bottom, clean, check.

    python notebooks/build.py 00 01         these two, in the full profile
    python notebooks/build.py               all of them
    python notebooks/build.py --keep 00     only words changed: keep the outputs, run nothing

The source is the one place to edit; a test fails when the two differ. A notebook that breaks a rule of
`faults` is not written.
"""

import argparse
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LIVE = "[a live widget: it appears here when you run this cell]"
MAX_BYTES = 500_000
MAX_CELLS = 40
MAX_LINES = 25  # of a cell in sight; what only prepares or draws is hidden (tag hide-input)
ABSOLUTE = re.compile(r"(?<![\w.~}/:])/(?:home|root|Users|tmp|var|opt|mnt|usr|work)/\w|\b[A-Z]:\\\\?\w")


def from_source(path: Path) -> Any:
    """A source in py:percent as a notebook without outputs. A cell's id follows from its text and stays."""
    import jupytext

    read = jupytext.read(path, fmt="py:percent")
    nb = nbformat.v4.new_notebook(cells=read.cells)
    nb.metadata = nbformat.NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"}
    )
    seen: dict[str, int] = {}
    for cell in nb.cells:
        digest = hashlib.sha256(f"{cell.cell_type} {cell.source}".encode()).hexdigest()[:10]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = nbformat.NotebookNode(
            {key: value for key, value in cell.metadata.items() if key in ("tags", "jupyter", "title")}
        )
    return nb


def execute(nb: Any) -> None:
    """Run the cells in a fresh kernel, in the notebooks' folder, as a reader does."""
    from nbclient import NotebookClient

    NotebookClient(nb, timeout=None, kernel_name="python3", record_timing=False).execute(cwd=str(HERE))


def clean(nb: Any) -> None:
    """Take out what breaks a notebook's page on the web, and stamps that differ from run to run."""
    nb.metadata.pop("widgets", None)
    nb.metadata.pop("language_info", None)
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            output.pop("transient", None)
            if WIDGET_VIEW in output.get("data", {}):
                output["data"] = nbformat.NotebookNode({"text/plain": LIVE})
                output["metadata"] = nbformat.NotebookNode()
            # what a reader predicted, or that nobody did, is no part of the page
            if "measured" in output.get("metadata", {}):
                from usercourse.predictions import bundle

                output["data"] = nbformat.NotebookNode(bundle(output["metadata"].pop("measured")))
            # nor what they have solved
            if "unread" in output.get("metadata", {}):
                output["data"] = nbformat.NotebookNode(output["metadata"].pop("unread"))


def keep_outputs(nb: Any, old: Any) -> None:
    """Move outputs over from the notebook as it stands. Raises ValueError when a code cell has changed."""
    outputs = {cell.id: cell for cell in old.cells if cell.cell_type == "code"}
    ids = [cell.id for cell in nb.cells if cell.cell_type == "code"]
    if ids != list(outputs):
        raise ValueError(
            "a code cell has changed, so its outputs are not those of the new code: build without --keep"
        )
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = outputs[cell.id].outputs, outputs[cell.id].execution_count


def tags(cell: Any) -> list[str]:
    """The tags of a cell; "whole" marks one that is long and meant to be read in one piece."""
    return list(cell.metadata.get("tags", ()))


def faults(nb: Any, size: int) -> list[str]:
    """The rules of a committed notebook that this one breaks; `size` in bytes."""
    broken = []
    if size > MAX_BYTES:
        broken.append(f"it has {size:,} bytes, more than {MAX_BYTES:,}")
    if len(nb.cells) > MAX_CELLS:
        broken.append(f"it has {len(nb.cells)} cells, more than {MAX_CELLS}")
    if "widgets" in nb.metadata:
        broken.append("metadata.widgets is in it, which breaks its page on the web")
    if nb.metadata.get("execution", {}).get("allow_errors"):
        broken.append("allow_errors is on, so no test of it could fail")
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in code if "skip-execution" not in tags(cell)]
    if counts != list(range(1, len(counts) + 1)):
        broken.append(f"it was not run once from top to bottom: execution counts {counts}")
    for cell in nb.cells:
        lines = cell.source.count("\n") + 1
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden")
        if cell.cell_type == "code" and lines > MAX_LINES and not hidden and "whole" not in tags(cell):
            broken.append(f"a cell of {lines} lines in sight: split it, or hide its input")
        if ABSOLUTE.search(cell.source):
            broken.append(f"an absolute path in the source: {ABSOLUTE.search(cell.source)[0]}")
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                broken.append(f"a cell ended in {output.ename}")
            if output.get("name") == "stderr":
                broken.append(f"stderr output: {output.text[:60]!r}")
            texts = [
                output.get("text", ""),
                *(v for k, v in output.get("data", {}).items() if k.startswith("text/")),
            ]
            if match := next(filter(None, map(ABSOLUTE.search, map(without_pictures, texts))), None):
                broken.append(f"an absolute path in an output: {match[0]}")
    return broken


def without_pictures(text: Any) -> str:
    """Text less embedded pictures, whose base64 may hold anything."""
    return re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=\s]+", "", "".join(text))


def build(source: Path, *, keep: bool) -> None:
    """One notebook, written only when it is sound."""
    target = HERE / f"{source.stem}.ipynb"
    nb = from_source(source)
    if keep:
        keep_outputs(nb, nbformat.read(target, as_version=4))
    else:
        execute(nb)
    clean(nb)
    text = nbformat.writes(nb) + "\n"
    broken = faults(nb, len(text.encode()))
    if broken:
        raise ValueError(f"{target.name} was not written: " + "; ".join(broken))
    part = target.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, target)
    print(f"{target.name}: {len(nb.cells)} cells, {len(text.encode()) // 1000} KB")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", help="such as 00 03; all when none is given")
    parser.add_argument("--keep", action="store_true", help="keep the outputs; only words may have changed")
    chosen = parser.parse_args(arguments)
    sources = sorted(SOURCES.glob("*.py"))
    wanted = [path for path in sources if not chosen.numbers or path.name[:2] in chosen.numbers]
    if not wanted:
        print(f"error: no source in {SOURCES} begins with {' or '.join(chosen.numbers)}", file=sys.stderr)
        return 2
    os.environ.setdefault("USERLIB_PROFILE", "full")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["USERCOURSE_STORED_OUTPUTS"] = (
        "1"  # photos that are not in the public domain become grey tiles
    )
    for source in wanted:
        try:
            build(source, keep=chosen.keep)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Copies what the hosted demo needs into a folder: python hosted/space.py --out space"""

import argparse
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", ".ipynb_checkpoints", "results", "src", "*_*.ipynb.bak"
)


def copied() -> list[str]:
    """What the Dockerfile copies, as paths from the root."""
    lines = (ROOT / "hosted" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    parts = [line.split()[2:-1] for line in lines if re.match(r"COPY --chown=user ", line)]
    return [name for names in parts for name in names]


def main(words: list[str] | None = None) -> int:
    """Writes the folder; 2 where one of that name is there."""
    parser = argparse.ArgumentParser(description="Copy what the hosted demo needs into a folder.")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder, which must not exist yet")
    out = Path(parser.parse_args(words).out)
    if out.exists():
        print(f"error: {out} exists; name a folder that does not.", file=sys.stderr)
        return 2
    out.mkdir(parents=True)
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, out / name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, out / name)
    for name in ("README.md", "Dockerfile"):
        shutil.copy(ROOT / "hosted" / name, out / name)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {size / 2**20:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

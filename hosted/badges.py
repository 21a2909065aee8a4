"""Badges that open each notebook on Colab and Binder: python hosted/badges.py OWNER/NAME"""

import argparse
import re
import sys
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent


def badges(repository: str, branch: str) -> list[str]:
    """One line of Markdown a notebook."""
    lines = []
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        path = f"notebooks/{notebook.name}"
        colab = f"https://colab.research.google.com/github/{repository}/blob/{quote(branch)}/{path}"
        binder = (
            f"https://mybinder.org/v2/gh/{repository}/{quote(branch, safe='')}?labpath={quote(path, safe='')}"
        )
        lines.append(
            f"{notebook.stem}: [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
            f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})"
        )
    return lines


def main(words: list[str] | None = None) -> int:
    """Prints them; 2 for what is no repository's name."""
    parser = argparse.ArgumentParser(description="Print badges that open the notebooks on Colab and Binder.")
    parser.add_argument("repository", metavar="OWNER/NAME", help="the repository on GitHub")
    parser.add_argument("--branch", default="main", help="its branch (default: main)")
    arguments = parser.parse_args(words)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments.repository, re.ASCII):
        print(f"error: {arguments.repository!r} is no OWNER/NAME.", file=sys.stderr)
        return 2
    print("\n".join(badges(arguments.repository, arguments.branch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

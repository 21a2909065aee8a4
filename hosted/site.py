"""The pages of this repository as a web site, by mkdocs: python hosted/site.py --out site

README, docs and the other Markdown files keep their places, so that their links stay as they are; files that they link
to (code, images, notebooks) are copied along. Every warning is an error.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<=\]\()<?([^()\s<>]+)>?(?=(?:\s+\"[^\"]*\")?\))")
FENCED = re.compile(r"^```.*?^```", flags=re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """The Markdown files of the site, from the root."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.md")]
    return sorted(file.relative_to(ROOT) for file in found)


def copy_pages(place: Path, *, notebooks: bool) -> None:
    """The pages and what they link to. A line of code (file.py#L12) loses its line, a folder's link leads to the
    layout, and with `notebooks` a notebook's to its page.
    """
    own = set(pages())
    for page in own:
        text = (ROOT / page).read_text(encoding="utf-8")
        for link in set(LINK.findall(FENCED.sub("", text))):
            name = link.partition("#")[0]
            target = (ROOT / page).parent / name
            if re.match(r"[a-z]+:", link) or not name or not target.exists():
                continue
            path = target.resolve().relative_to(ROOT)
            shown = name
            if target.is_dir():
                text = text.replace(
                    f"]({link})", "](" + "../" * (len(page.parts) - 1) + "docs/api.md#layout)"
                )
                continue
            if path.suffix == ".ipynb" and notebooks:
                shown = name.removesuffix(".ipynb") + ".html"
            elif path not in own:
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, place / path)
            if path not in own:
                text = text.replace(f"]({link})", f"]({shown})")
        (place / page).parent.mkdir(parents=True, exist_ok=True)
        (place / page).write_text(text, encoding="utf-8")
    if notebooks:
        from nbconvert import HTMLExporter

        for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
            html, _ = HTMLExporter().from_filename(str(notebook))
            (place / "notebooks" / f"{notebook.stem}.html").write_text(html, encoding="utf-8")


def build(out: Path, *, notebooks: bool = False) -> None:
    """Builds the site. Raises mkdocs' Abort on a warning."""
    from mkdocs.commands.build import build as mkdocs_build
    from mkdocs.config import load_config

    with tempfile.TemporaryDirectory() as work:
        place = Path(work) / "pages"
        copy_pages(place, notebooks=notebooks)
        settings = Path(work) / "mkdocs.yml"
        settings.write_text(SETTINGS, encoding="utf-8")
        mkdocs_build(
            load_config(str(settings), docs_dir=str(place), site_dir=str(out.resolve()), strict=True)
        )


# highlightjs would be fetched by every reader's browser from elsewhere.
SETTINGS = """
site_name: USER, image-text retrieval
theme:
  name: mkdocs
  highlightjs: false
markdown_extensions:
  - toc:
      permalink: true
  - tables
  - fenced_code
  - md_in_html
validation:
  nav:
    omitted_files: warn
  links:
    not_found: warn
    anchors: warn
    absolute_links: warn
    unrecognized_links: warn
"""


def main(words: list[str] | None = None) -> int:
    """Builds into --out; 1 where mkdocs warned, 2 where the package is missing."""
    parser = argparse.ArgumentParser(description="Build README and docs as a web site; warnings are errors.")
    parser.add_argument("--out", default="site", metavar="DIR", help="the folder of the site (default: site)")
    parser.add_argument("--notebooks", action="store_true", help="the notebooks as pages too")
    arguments = parser.parse_args(words)
    try:
        import mkdocs.exceptions
    except ModuleNotFoundError:
        print(
            'error: the site needs mkdocs, which is not installed: pip install -e ".[site]"', file=sys.stderr
        )
        return 2
    try:
        build(Path(arguments.out), notebooks=arguments.notebooks)
    except mkdocs.exceptions.Abort as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"the site is in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

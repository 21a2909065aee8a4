"""Do the tests notice? Each patch here plants one fault; the tests it names fail on it and pass without it.

    python tests/mutants/run.py                       all of them
    python tests/mutants/run.py --sample 6 --seed 1   a few, drawn by the seed

A patch begins with one or more lines `# kills: tests/...::test_name`, then a unified diff against the
repository. Every fault is planted in a copy of the tree. The last line is `N passed, N failed`; the exit code
is 1 when one failed.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# assets are read only and are linked
COPIED = ("userlib", "userscenes", "userlab", "notebooks/usercourse", "tests", "pyproject.toml")
CLEAN_LIMIT_S = 3600  # all named tests together on the clean tree
LIMIT_S = 180  # a fault that makes a test hang counts as noticed, after this long
MARK = "# kills:"


@dataclass(frozen=True)
class Mutant:
    """One fault: its name, the patch, and the tests that must notice it."""

    name: str
    patch: str
    kills: tuple[str, ...]


class MutantError(Exception):
    """The patch or the tree is at fault, not the tests."""


def read_mutants(folder: Path) -> list[Mutant]:
    """The patches of a folder by name."""
    mutants = []
    for path in sorted(folder.glob("*.patch")):
        text = path.read_text(encoding="utf-8")
        kills = tuple(line[len(MARK) :].strip() for line in text.splitlines() if line.startswith(MARK))
        mutants.append(Mutant(path.stem, text, kills))
    return mutants


def copy_tree(root: Path, target: Path) -> None:
    """What the tests need, without compiled files; the package that they import must be the copy."""
    target.mkdir()
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, target / name)
    if (root / "assets").is_dir():
        (target / "assets").symlink_to(root / "assets", target_is_directory=True)
    where = run(target, ["-c", "import userlib; print(userlib.__file__)"]).stdout.strip()
    if not Path(where).resolve().is_relative_to(target.resolve()):
        raise MutantError(f"in the copy userlib is imported from {where}")


def run(folder: Path, arguments: list[str], *, limit: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Python in `folder`, whose modules come first. Raises subprocess.TimeoutExpired."""
    path = os.pathsep.join(
        filter(None, [str(folder), str(folder / "notebooks"), os.environ.get("PYTHONPATH")])
    )
    plain = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"}
    env = {**os.environ, **plain, "PYTHONPATH": path}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=limit, check=False
    )


def is_written(folder: Path, test: str) -> bool:
    """True when the file of a test exists and defines its function; pytest refuses to start otherwise."""
    file, *_, function = test.split("::")
    path = folder / file
    return path.is_file() and f"def {function.split('[')[0]}(" in path.read_text(encoding="utf-8")


def outcomes(folder: Path, tests: tuple[str, ...], *, limit: float = LIMIT_S) -> dict[str, str]:
    """Each named test -> passed | failed | missing; one with parameters has failed when one case has."""
    report = folder / "report.xml"
    known = [test for test in tests if is_written(folder, test)]
    if not known:
        return dict.fromkeys(tests, "missing")
    options = ["-p", "no:cacheprovider", "--rootdir=.", f"--junitxml={report}"]
    ended = run(folder, ["-m", "pytest", *options, *known], limit=limit)
    if ended.returncode not in (0, 1) or not report.exists():
        raise MutantError(
            "pytest could not run the tests: " + " | ".join(ended.stdout.strip().splitlines()[-4:])
        )
    seen: dict[str, list[bool]] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = case.get("name", "").split("[")[0]
        key = (case.get("classname", "").replace(".", "/"), name)
        bad = any(child.tag in ("failure", "error") for child in case)
        skipped = any(child.tag == "skipped" for child in case)
        if not skipped:
            seen.setdefault("/".join(key), []).append(bad)
    words = {}
    for test in tests:
        results = seen.get(test.split("[")[0].replace(".py::", "/").replace("::", "/"))
        words[test] = "missing" if not results else "failed" if any(results) else "passed"
    return words


def judge(mutant: Mutant, root: Path, clean: dict[str, str]) -> str:
    """'' when every named test passes on the clean tree and fails on the fault, else what is wrong."""
    if not mutant.kills:
        return f"the patch has no line `{MARK} tests/...::test_name`"
    unfit = [f"{test} is {clean[test]} on the clean tree" for test in mutant.kills if clean[test] != "passed"]
    if unfit:
        return "; ".join(unfit)
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder) / "tree"
        try:
            copy_tree(root, tree)
            apply(mutant, tree)
            seen = outcomes(tree, mutant.kills)
        except subprocess.TimeoutExpired:
            return ""
        except MutantError as error:
            return str(error)
    survived = [test for test, word in seen.items() if word != "failed"]
    return f"SURVIVED: {', '.join(survived)} did not fail" if survived else ""


def apply(mutant: Mutant, tree: Path) -> None:
    """Plant the fault; a patch that does not fit the tree any more is an error."""
    file = tree / "mutant.patch"
    file.write_text(mutant.patch, encoding="utf-8")
    # Without a repository around it, git apply takes paths as they stand.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        ["git", "apply", "-p1", file.name], cwd=tree, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MutantError(f"the patch does not apply: {done.stderr.strip().splitlines()[0]}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="only these patches, by file name without .patch")
    parser.add_argument("--sample", type=int, help="this many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path, default=ROOT, help="another tree to test")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args(arguments)

    mutants = read_mutants(chosen.root / "tests" / "mutants")
    if chosen.names:
        mutants = [mutant for mutant in mutants if mutant.name in chosen.names]
    if chosen.sample is not None and chosen.sample < len(mutants):
        mutants = sorted(random.Random(chosen.seed).sample(mutants, chosen.sample), key=lambda m: m.name)
    if not mutants:
        print("0 passed, 1 failed: no such patch")
        return 1

    start = time.perf_counter()
    tests = tuple(sorted({test for mutant in mutants for test in mutant.kills}))
    try:
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            tree = Path(folder) / "tree"
            copy_tree(chosen.root, tree)
            clean = outcomes(tree, tests, limit=CLEAN_LIMIT_S) if tests else {}
    except (MutantError, subprocess.TimeoutExpired) as error:
        print(f"0 passed, 1 failed: {error}")
        return 1
    failed = 0
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for mutant, wrong in zip(
            mutants, pool.map(lambda m: judge(m, chosen.root, clean), mutants), strict=True
        ):
            failed += bool(wrong)
            print(
                f"{'FAILED' if wrong else 'killed'} {mutant.name}" + (f": {wrong}" if wrong else ""),
                flush=True,
            )
    print(f"{len(mutants) - failed} passed, {failed} failed in {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

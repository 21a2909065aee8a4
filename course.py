#!/usr/bin/env python3
"""Install the course and open it; test it; show its demo. Needs nothing but Python 3.11 or newer.

    python course.py            install, then open JupyterLab at the first notebook
    python course.py test       install, then run every check and print where the time went
    python course.py demo       install, then serve the retrieval demo as a web page
    python course.py soak       install, then run the long tests: some hours; `soak faults` runs one of its steps

Packages go into the virtual or conda environment that is active; when none is, into .venv beside this file.
They are installed once, and again only after pyproject.toml changed. Servers listen on 127.0.0.1 and ask for
a fresh token.
"""

import sys

# In syntax that an old Python can read, and before any import that it lacks, so that the message is seen.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"The course needs Python 3.11 or newer; this is {sys.version_info[0]}.{sys.version_info[1]}. "
        "Install a newer Python and start course.py with it, for example: python3.12 course.py"
    )

import argparse
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
FIRST = "notebooks/00_start_here.ipynb"
DEMO = "userlib/demo/retrieval_demo.ipynb"
SETTINGS = "notebooks/.jupyter"  # JupyterLab asks nobody about news, nor the network
STAMP = "userlib-installed.json"


class CourseError(Exception):
    """Something the user can mend; the message says how."""


def say(text: str) -> None:
    print(text, flush=True)


# --- the environment -------------------------------------------------------------------------------------


def python_in(folder: Path) -> Path:
    """The interpreter of an environment; conda on Windows keeps it at the top."""
    names = ("Scripts/python.exe", "python.exe") if os.name == "nt" else ("bin/python",)
    found = [folder / name for name in names if (folder / name).exists()]
    return found[0] if found else folder / names[0]


def active_python() -> Path | None:
    """The interpreter of the active environment, None where there is none. Conda's base is left alone."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    folders = [os.environ.get("VIRTUAL_ENV")]
    if os.environ.get("CONDA_DEFAULT_ENV", "base") != "base":
        folders.append(os.environ.get("CONDA_PREFIX"))
    for folder in filter(None, folders):
        if python_in(Path(folder)).exists():
            return python_in(Path(folder))
    return None


def own_python() -> Path:
    """The interpreter of .venv, which is made when it is missing or broken."""
    folder = ROOT / ".venv"
    python = python_in(folder)
    if not python.exists() or not works(python, "-c", "pass"):
        say(f"Making a virtual environment in {folder} ...")
        if not works(sys.executable, "-m", "venv", "--clear", str(folder)):
            raise CourseError(
                f"Python could not make a virtual environment in {folder}. On Debian and Ubuntu install its "
                "venv module (sudo apt install python3-venv); elsewhere install Python from python.org. Or "
                "activate an environment of your own and start course.py again."
            )
    return python


def works(*command: object) -> bool:
    """True when the command ends well; what it prints is kept from the screen."""
    return subprocess.run([str(c) for c in command], capture_output=True, check=False).returncode == 0


def ask(python: Path, name: str) -> str:
    """sys.NAME in another interpreter, as text."""
    command = [str(python), "-c", f"import sys; print(sys.{name})"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def environment() -> Path:
    """An interpreter that has the package and all it needs; installs when what that rests on has changed."""
    python = active_python() or own_python()
    stamp = Path(ask(python, "prefix")) / STAMP
    declared = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    wanted = {"pyproject": declared, "python": ask(python, "version"), "root": str(ROOT)}
    if stamp.exists() and stamp.read_text(encoding="utf-8") == json.dumps(wanted):
        return python
    if not works(python, "-m", "pip", "--version") and not works(python, "-m", "ensurepip", "--upgrade"):
        raise CourseError(
            f"{python} has no pip. Install it (sudo apt install python3-pip python3-venv on Debian and "
            f"Ubuntu), delete {ROOT / '.venv'} if it exists, and start course.py again."
        )
    say("Installing the course and its packages: some minutes and some gigabytes, this once ...")
    quiet = [] if sys.stdout.isatty() else ["-qq"]  # errors only
    install = [str(python), "-m", "pip", "install", *quiet, "-e", ".[ann,app,dev]"]
    if subprocess.run(install, cwd=ROOT, check=False).returncode != 0:
        raise CourseError(
            "pip could not install the packages; its own message stands above. Usual reasons: no network, a "
            "full disk (10 GB are enough), or a Python so new that a package has no build for it yet (then "
            "take the Python before it). Start course.py again to carry on."
        )
    stamp.write_text(json.dumps(wanted), encoding="utf-8")
    return python


# --- the tests -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """One step of `test` or `soak`; `why_not` is the reason when it cannot run here."""

    name: str
    command: list[str]
    why_not: str = ""


@dataclass(frozen=True)
class Result:
    """How a stage ended; the counts come from pytest's own report."""

    name: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    word: str = "ok"


def stages(python: Path, *, soak: bool) -> list[Stage]:
    """The steps whose files exist, in the order in which they run."""
    py = str(python)
    cores = os.cpu_count() or 1
    parallel = ["-n", str(min(cores, 4)), "--dist", "worksteal"] if cores > 1 else []
    pytest = [py, "-m", "pytest", *parallel]
    mutants = [py, "tests/mutants/run.py"]
    have_mutants = any((ROOT / "tests/mutants").glob("*.patch"))
    if soak:
        steps = [
            Stage("faults", [py, "-m", "tests.faults", "--all"]),
            Stage("fuzz", [py, "tests/soak/fuzz.py"]),
            Stage("mutants", mutants),
            Stage("memory", [py, "tests/soak/memory.py"]),
            Stage("demo queries", [py, "tests/soak/demo_queries.py"]),
            Stage("long tests", [*pytest, "-m", "soak", "tests"]),
        ]
        files = (
            "faults/__main__.py",
            "soak/fuzz.py",
            "mutants/run.py",
            "soak/memory.py",
            "soak/demo_queries.py",
            "soak",
        )
        return [step for step, file in zip(steps, files, strict=True) if (ROOT / "tests" / file).exists()]
    steps = [
        Stage("lint", [py, "-m", "ruff", "check", "."]),
        Stage("types", [py, "-m", "mypy"]),
        Stage("unit tests", [*pytest, "--ignore=tests/browser", "--durations=10", "tests"]),
    ]
    if have_mutants:
        steps.append(Stage("mutants", [*mutants, "--sample", "6"]))
    notebooks = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.ipynb"))
    if notebooks:
        options = ["--nbmake", "--nbmake-kernel=python3", "--nbmake-timeout=900", "--durations=0"]
        steps.append(Stage("notebooks", [*pytest, *options, *notebooks]))
    if (ROOT / "tests/browser").is_dir():
        found = works(py, "-c", "import sys; from userlib.doctor import chromium; sys.exit(not chromium())")
        why_not = "" if found else "no Chromium or Chrome here; install one to run the browser tests"
        steps.append(Stage("browser", [py, "-m", "pytest", "tests/browser"], why_not))
    return steps


def run_stage(stage: Stage) -> Result:
    """Run one step with its output on the screen."""
    if stage.why_not:
        say(f"\n=== {stage.name}: skipped, {stage.why_not}")
        return Result(stage.name, 0.0, skipped=1, word=f"skipped: {stage.why_not}")
    say(f"\n=== {stage.name}")
    is_pytest = "pytest" in stage.command
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        extra = [f"--junitxml={report}"] if is_pytest else []
        start = time.perf_counter()
        code = subprocess.run([*stage.command, *extra], cwd=ROOT, check=False).returncode
        seconds = time.perf_counter() - start
        passed, failed, skipped = counts(report) if report.exists() else (int(code == 0), 0, 0)
    if code and not failed:  # it ended badly without naming a test
        failed = 1
    return Result(stage.name, seconds, passed, failed, skipped, "ok" if not failed else "FAILED")


def counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a JUnit report."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, bad, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites for key in keys)
        for keys in (("tests",), ("failures", "errors"), ("skipped",))
    )
    return total - bad - skipped, bad, skipped


def run_tests(python: Path, installed: float, *, soak: bool, only: list[str]) -> int:
    """Run the steps, print where the time went, and end with one line that counts."""
    os.environ.setdefault("USERLIB_PROFILE", "fast")
    os.environ["PYTHONUNBUFFERED"] = "1"
    steps = stages(python, soak=soak)
    names = [step.name for step in steps]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise CourseError(f"There is no step called {unknown[0]!r}. The steps are: {', '.join(names)}.")
    results = [Result("install", installed, word="ok")]
    results += [run_stage(step) for step in steps if not only or step.name in only]
    say("\nWhere the time went")
    for r in results:
        tests = f"{r.passed:5d} passed {r.failed:3d} failed {r.skipped:3d} skipped"
        say(f"  {r.name:<12} {r.seconds:7.1f} s   {tests}   {r.word}")
    passed, failed, skipped = (
        sum(getattr(r, key) for r in results) for key in ("passed", "failed", "skipped")
    )
    seconds = sum(r.seconds for r in results)
    say(f"\n{passed} passed, {failed} failed, {skipped} skipped in {seconds / 60:.1f} minutes")
    return 1 if failed else 0


# --- the servers -----------------------------------------------------------------------------------------


def free_port(first: int) -> int:
    """The first port from `first` on that nobody on this machine listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise CourseError(
        f"No port between {first} and {first + 99} is free. Close other Jupyter servers and try again."
    )


def serve(command: list[str], url: str, browser: bool) -> int:
    """Run a server until Ctrl-C. The token travels in the environment, where other users cannot read it."""
    token = secrets.token_urlsafe(24)
    say(f"\n{url}?token={token}\n\nCtrl-C stops it.\n")
    browse = [] if browser else ["--no-browser"]
    settings = os.pathsep.join(filter(None, [str(ROOT / SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH")]))
    environment = {**os.environ, "JUPYTER_TOKEN": token, "JUPYTER_CONFIG_PATH": settings}
    process = subprocess.Popen([*command, *browse], cwd=ROOT, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:  # the server has had it too; the second signal spares its question
        process.terminate()
        process.wait()
        return 0


def open_course(python: Path, browser: bool) -> int:
    """JupyterLab at the first notebook."""
    port = free_port(8888)
    command = [str(python), "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += [
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{FIRST}",
    ]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--LabApp.extension_manager=readonly", "--log-level=WARN"]  # nothing asks the network
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container one often is root
        command.append("--allow-root")
    return serve(command, f"http://127.0.0.1:{port}/lab/tree/{FIRST}", browser)


def demo_command(port: int) -> list[str]:
    """The arguments of Python that serve the demo's page; the token comes from the environment."""
    command = ["-m", "voila", DEMO, "--Voila.ip=127.0.0.1", f"--port={port}", "--Voila.auto_token=True"]
    # Only what the page needs: an extension of JupyterLab that does not fit Voila would stop all of them.
    needed = ("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget")
    return command + [f"--VoilaConfiguration.extension_allowlist={name}" for name in needed]


def open_demo(python: Path, browser: bool) -> int:
    """The retrieval demo as a web page, without its code."""
    if not (ROOT / DEMO).exists():
        raise CourseError(
            f"The demo is served from {DEMO}, which is missing. Restore it from the repository."
        )
    port = free_port(8866)
    return serve([str(python), *demo_command(port)], f"http://127.0.0.1:{port}/", browser)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("course", "test", "demo", "soak"), default="course")
    parser.add_argument(
        "steps", nargs="*", help="with test or soak: only these steps, by the names in the last table"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address, open no browser")
    chosen = parser.parse_args(arguments)
    try:
        start = time.perf_counter()
        python = environment()
        installed = time.perf_counter() - start
        if chosen.what in ("test", "soak"):
            return run_tests(python, installed, soak=chosen.what == "soak", only=chosen.steps)
        return (open_demo if chosen.what == "demo" else open_course)(python, not chosen.no_browser)
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

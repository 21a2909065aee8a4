#!/usr/bin/env python3
"""Install the course, then open it, test it or show its demo. Needs only Python 3.11 or newer.

    python course.py            install, then open JupyterLab at the first notebook
    python course.py test       install, then run every check and print how long each took
    python course.py demo       install, then serve the retrieval demo as a web page; --checkpoint runs/mine adds
                                your own model to it
    python course.py soak       install, then run the long tests, for some hours; `soak faults` runs one step

Packages go into the virtual or conda environment that is active; when none is, into .venv next to this file.
They are installed once, and again only when pyproject.toml has changed. Servers listen on 127.0.0.1 and require
a token that is new at each start.
"""

import sys

# In syntax that an old Python can parse, and before imports that it lacks, so that it prints the message.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"The course needs Python 3.11 or newer; this is {sys.version_info[0]}.{sys.version_info[1]}. "
        "Install a newer Python and start course.py with it, for example: python3.12 course.py"
    )

import argparse
import errno
import hashlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
FIRST = "notebooks/00_start_here.ipynb"
DEMO = "notebooks/usercourse/demo/retrieval_demo.ipynb"
DEMO_SERVER = "notebooks/usercourse/demo/server"  # settings of Voila, by which kernels end with their pages
# in seconds: an idle kernel ends when no tab was open for an hour
LAB_KERNELS = ("cull_alone_timeout=3600", "cull_idle_timeout=3600", "cull_interval=60")
SETTINGS = "notebooks/.jupyter"  # JupyterLab then does not ask about news, which it would fetch
CHECKPOINT = "USERLIB_DEMO_CHECKPOINT"  # read by the demo's notebook
STAMP = "userlib-installed.json"
IDENTITY = "usercourse.server.TokenIdentity"


class CourseError(Exception):
    """An error that the user can correct; the message says how."""


def say(text: str) -> None:
    print(text, flush=True)


# --- the environment -------------------------------------------------------------------------------------


def python_in(folder: Path) -> Path:
    """The interpreter of an environment; conda on Windows has it at the top of the folder."""
    names = ("Scripts/python.exe", "python.exe") if os.name == "nt" else ("bin/python",)
    there = [folder / name for name in names if (folder / name).exists()]
    return there[0] if there else folder / names[0]


def active_python() -> Path | None:
    """The interpreter of the active environment, or None. Conda's base environment is not used."""
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
    """The interpreter of .venv, which is made if it is missing, broken or was made for another folder. Raises
    CourseError where that is impossible.
    """
    folder = ROOT / ".venv"
    python = python_in(folder)
    if python.exists() and made_here(folder) and works(python, "-c", "pass"):
        return python
    if os.pathsep in str(folder):
        raise CourseError(
            f"The path of the folder {ROOT} contains {os.pathsep!r}, with which virtual environments do not work. Move "
            "it to a path without, or activate an environment of your own, and start course.py again."
        )
    must_be_writable(ROOT)
    say(f"Making a virtual environment in {folder} ...")
    code, said = heard(sys.executable, "-I", "-m", "venv", "--clear", folder)
    if code == 0:
        return python
    if re.search("ensurepip|No module named '?venv", said):
        raise CourseError(
            f"This Python ({sys.executable}) cannot make virtual environments. On Debian and Ubuntu install its "
            "venv module (sudo apt install python3-venv); elsewhere install Python from python.org. Or "
            "activate an environment of your own. Then start course.py again."
        )
    raise CourseError(
        f"Python could not make a virtual environment in {folder}: {last_line(said)}. {remedy_for(said)}"
        "Or activate an environment of your own. Then start course.py again."
    )


def made_here(folder: Path) -> bool:
    """Whether a virtual environment was made in this folder. The scripts of a moved one name its old folder."""
    try:
        settings = (folder / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    command = re.search(r"^command = .* -m venv (?:--?\S+ )*(.+)$", settings, flags=re.MULTILINE)
    return command is None or Path(command[1]).resolve() == folder.resolve()


def must_be_writable(folder: Path) -> None:
    """Raises CourseError, with the system's reason, where no file can be written into the folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"course")
    except OSError as error:
        raise CourseError(
            f"Nothing can be written into {folder}: {error.strerror}. {remedy_for(str(error.strerror))}"
            "The course is installed in place, so it must be in a folder that you can write to: clone it into one and "
            "start its course.py."
        ) from error


def remedy_for(said: str) -> str:
    """The remedy for an error message of another program; "" where the message is not a known one."""
    known = {
        "No space left|Disk quota": "Free some space (10 GB are enough). ",
        "Missing dependencies for SOCKS": "Set HTTPS_PROXY to an HTTP proxy, or run `pip install pysocks` in a "
        "shell where ALL_PROXY is unset. ",
        "externally-managed": "This Python belongs to the system: activate an environment of your own. ",
    }
    return next((words for pattern, words in known.items() if re.search(pattern, said)), "")


def last_line(text: str) -> str:
    """The last line that is not empty, without a full stop at its end."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it gave no reason"


def heard(*command: object) -> tuple[int, str]:
    """The exit code of a command and its output, which is not shown."""
    words = [str(word) for word in command]
    try:
        run = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:  # not a program, or one of another system
        return 127, f"{words[0]}: {error.strerror}"
    return run.returncode, f"{run.stdout or ''}\n{run.stderr or ''}"


def works(*command: object) -> bool:
    """Whether the command ends with exit code 0."""
    return heard(*command)[0] == 0


def facts(python: Path) -> dict[str, str]:
    """Prefix and version of another interpreter. Raises CourseError where it does not run."""
    code = "import json, sys; print(json.dumps({'prefix': sys.prefix, 'version': sys.version}))"
    said = heard(python, "-c", code)[1]
    answer = re.search(r"^\{.*\}$", said, flags=re.MULTILINE)
    if answer is None:
        raise CourseError(
            f"{python} does not run: {last_line(said)}. Leave the environment that it belongs to (deactivate), or "
            "make it again, and start course.py again."
        )
    answers: dict[str, str] = json.loads(answer[0])
    return answers


def environment() -> Path:
    """An interpreter with the course and its packages. They are installed if pyproject.toml, the interpreter or the
    folder has changed since the last time. Raises CourseError where that is impossible.
    """
    if os.environ.get("PYTHONPATH"):
        say(
            f"PYTHONPATH is set: packages in {os.environ['PYTHONPATH']} take precedence over the course's own."
        )
    python = active_python() or own_python()
    info = facts(python)
    version = tuple(int(number) for number in re.findall(r"\d+", info["version"])[:2])
    if version < (3, 11):
        raise CourseError(
            f"The active environment, {info['prefix']}, has Python {version[0]}.{version[1]}; the course needs "
            "3.11 or newer. Leave it (deactivate) and start course.py again, or activate another one."
        )
    stamp = Path(info["prefix"]) / STAMP
    declared = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    wanted = json.dumps({"pyproject": declared, "python": info["version"], "root": str(ROOT)})
    with suppress(OSError):
        if stamp.read_bytes() == wanted.encode():
            return python
    check_pip(python)
    must_be_writable(ROOT)
    say("Installing the course and its packages, once: this takes some minutes and some gigabytes ...")
    quiet = [] if sys.stdout.isatty() else ["-qq"]  # errors only
    install = [str(python), "-I", "-m", "pip", "install", *quiet, "-e", ".[ann,app,course,dev]"]
    if subprocess.run(install, cwd=ROOT, check=False).returncode != 0:
        proxy = "".join(f"{name} names a SOCKS proxy. " for name in socks()[:1])
        proxy += remedy_for("Missing dependencies for SOCKS") if proxy else ""
        raise CourseError(
            f"pip could not install the packages; its own message is above. {proxy}Usual reasons: no network, a full "
            "disk (10 GB are enough), or a Python so new that a package has no build for it yet (then use the "
            "version before it). Start course.py again to continue."
        )
    stamp.write_bytes(wanted.encode())
    return python


def check_pip(python: Path) -> None:
    """Raises CourseError unless the environment has pip 21.3 or newer, which can install in place from
    pyproject.toml.
    """
    code, said = heard(python, "-I", "-m", "pip", "--version")
    if code and not works(python, "-I", "-m", "ensurepip", "--upgrade"):
        raise CourseError(
            f"{python} has no pip. Install it (sudo apt install python3-pip python3-venv on Debian and "
            f"Ubuntu), delete {ROOT / '.venv'} if it exists, and start course.py again."
        )
    version = re.match(r"\s*pip (\d+)\.(\d+)", said)
    if version and (int(version[1]), int(version[2])) < (21, 3):
        raise CourseError(
            f"The pip of {python} is {version[1]}.{version[2]}, and 21.3 or newer is needed. Run "
            f'"{python}" -m pip install --upgrade pip, and start course.py again.'
        )


def socks() -> list[str]:
    """The environment variables that name a SOCKS proxy, which pip and JupyterLab need further packages for."""
    names = [f"{kind}_proxy" for kind in ("all", "https", "http")]
    named = [name for name in os.environ if name.lower() in names]
    return sorted(name for name in named if os.environ[name].lower().startswith("socks"))


# --- the tests -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """One step of `test` or `soak`; `why_not` is the reason why it cannot run here, or ""."""

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
        Stage("format", [py, "-m", "ruff", "format", "--check", "."]),
        Stage("layers", [py, "-c", "from importlinter.cli import lint_imports_command as run; run()"]),
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
        has_browser = works(
            py, "-c", "import sys; from userlib.doctor import chromium; sys.exit(not chromium())"
        )
        why_not = "" if has_browser else "no Chromium or Chrome here; install one to run the browser tests"
        steps.append(Stage("browser", [py, "-m", "pytest", "tests/browser"], why_not))
    return steps


def run_stage(stage: Stage) -> Result:
    """Run one step and show its output."""
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
    if code and not failed:  # it failed without a failed test
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


FOLDERS = (  # variables that name folders of caches and settings; each gets an empty folder
    "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
    "XDG_STATE_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR", "MPLCONFIGDIR", "HF_HOME", "TORCH_HOME", "NUMBA_CACHE_DIR",
    "USERLIB_CACHE",
)  # fmt: skip
SETTINGS_OF = re.compile(  # variables that would change the tests; these use no network and no proxy
    r"(JUPYTER|IPYTHON|HF_|HUGGINGFACE|TRANSFORMERS_|MPLBACKEND|PYTEST_|PYTHONSTARTUP|PYTHONWARNINGS)|.*_proxy$",
    flags=re.IGNORECASE,
)


@contextmanager
def clean_machine() -> Iterator[None]:
    """The environment of a new machine: an empty cache, and no settings of Jupyter or of the course.

    A filled cache then hides no failure, and settings of this user cause none.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="userlib-home-", ignore_cleanup_errors=True) as folder:
        git = Path(os.path.expanduser("~"), ".gitconfig")  # it lists the folders that git may read
        for name in [name for name in os.environ if SETTINGS_OF.match(name)]:
            del os.environ[name]
        for name in FOLDERS:
            path = Path(folder, name.lower())
            path.mkdir(mode=0o700)
            os.environ[name] = str(path)
        if git.is_file():
            os.environ.setdefault("GIT_CONFIG_GLOBAL", str(git))
        os.environ |= {
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "notebooks")]),
        }
        os.environ.setdefault("USERLIB_PROFILE", "fast")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def run_tests(python: Path, installed: float, *, soak: bool, only: list[str]) -> int:
    """Run the steps in a clean environment; returns 1 where one fails, else 0."""
    with clean_machine():
        return run_steps(python, installed, soak=soak, only=only)


def run_steps(python: Path, installed: float, *, soak: bool, only: list[str]) -> int:
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
    """The first port from `first` on that a server can use. Raises CourseError where a hundred are in use."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe, suppress(OSError):
            if os.name != "nt":  # there it would let two servers share a port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise CourseError(
        f"No port between {first} and {first + 99} is free. Close other Jupyter servers and try again."
    )


def answer(port: int, path: str) -> str | None:
    """Status and location of the server's answer, such as "302 /login?next=%2F", without a proxy; None where there is
    no answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)  # a busy machine takes its time
    try:
        connection.request("GET", path)
        said = connection.getresponse()
        return f"{said.status} {said.getheader('Location', '')}"
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def must_ask_for_token(port: int, closed: str, token: str) -> None:
    """Raises CourseError unless the server refuses the page `closed` without the token and accepts the token."""
    strangers = [
        answer(port, path) or "nothing" for path in (closed, f"{closed}?token=x", f"{closed}?token=")
    ]
    refused = all(re.match(r"401|403|30\d \S*/login\b", said) for said in strangers)
    known = answer(port, f"/login?token={token}") or "nothing"
    if not refused or not known.startswith("302"):  # with the token, the login page redirects
        raise CourseError(
            f"The server on port {port} does not check its token: it answered {strangers[0].strip()} without and "
            f"{known.strip()} with it. Therefore it was stopped. The cause is a setting of Jupyter on this machine: "
            "see the folders that `jupyter --paths` lists under config, and the variables whose names begin with "
            "JUPYTER."
        )


def serve(command: list[str], port: int, page: str, closed: str, browser: bool, **variables: str) -> int:
    """Run a server until Ctrl-C, with these variables added to its environment. The token is passed there too, where
    other users cannot read it. The page's address is printed after a check that the server requires the token. Raises
    CourseError where the server ends or fails this check.
    """
    token = secrets.token_urlsafe(24)
    browse = [] if browser else ["--no-browser"]
    settings = os.pathsep.join(filter(None, [SETTINGS, os.environ.get("JUPYTER_CONFIG_PATH")]))
    environment = {**os.environ, **variables, "JUPYTER_TOKEN": token, "JUPYTER_CONFIG_PATH": settings}
    environment.setdefault(
        "JUPYTER_PREFER_ENV_PATH", "1"
    )  # the kernel of this environment, not another of its name
    if socks() and not works(command[0], "-c", "import socksio"):
        say(
            f"{', '.join(socks())} names a SOCKS proxy, with which JupyterLab does not start without the package "
            f'socksio. The proxy is not used. To use it: "{command[0]}" -m pip install "httpx[socks]"'
        )
        environment = {name: value for name, value in environment.items() if name not in socks()}
    say("Starting the server ...")
    process = subprocess.Popen([*command, *browse], cwd=ROOT, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while answer(port, "/login") is None:
            if process.poll() is not None:
                raise CourseError(
                    f"The server ended before it answered (exit code {process.returncode}); its own message is above. "
                    "`python -m userlib doctor` checks the packages."
                )
            time.sleep(0.2)
        must_ask_for_token(port, closed, token)
        say(f"\nhttp://127.0.0.1:{port}{page}?token={token}\n\nCtrl-C stops it.\n")
        return process.wait()
    except KeyboardInterrupt:  # the server has received it too; a second signal ends it without its question
        return 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def lab_command(port: int) -> list[str]:
    """Python's arguments for serving JupyterLab; they override settings files."""
    server = {
        "ip": "127.0.0.1",
        "port": str(port),
        "port_retries": "0",
        "root_dir": str(ROOT),
        "base_url": "/",
        "identity_provider_class": IDENTITY,
        "allow_remote_access": "False",
        "allow_origin": "",
        "allow_origin_pat": "",
        "allow_credentials": "False",
        "disable_check_xsrf": "False",
        "certfile": "",
        "keyfile": "",
        "sock": "",
        "kernel_manager_class": "usercourse.kernels.PageKernels",
    }
    command = ["-m", "jupyterlab", *(f"--ServerApp.{name}={value}" for name, value in server.items())]
    command += [f"--PageKernels.{name}" for name in LAB_KERNELS]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--LabApp.extension_manager=readonly", "--log-level=WARN"]  # nothing asks the network
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # usual in a container
        command.append("--allow-root")
    return command


def open_course(python: Path, browser: bool) -> int:
    """Serve JupyterLab, opened at the first notebook."""
    port = free_port(8888)
    return serve([str(python), *lab_command(port)], port, f"/lab/tree/{FIRST}", "/lab", browser)


def demo_command(port: int) -> list[str]:
    """Python's arguments for serving the demo; the token comes from the environment."""
    command = ["-m", "voila", DEMO, "--Voila.ip=127.0.0.1", f"--port={port}", "--Voila.auto_token=True"]
    command += [f"--Voila.identity_provider_class={IDENTITY}", "--Voila.base_url=/", "--Voila.server_url=/"]
    command.append(f"--Voila.config_file_paths={ROOT / DEMO_SERVER}")
    # Only what the page needs: one extension of JupyterLab that does not work in Voila would stop all of them.
    needed = ("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget")
    return command + [f"--VoilaConfiguration.extension_allowlist={name}" for name in needed]


def open_demo(python: Path, browser: bool, checkpoint: Path | None = None) -> int:
    """Serve the retrieval demo as a web page, with the user's own model if `checkpoint` names its folder. Raises
    CourseError where the demo or this folder is missing.
    """
    if not (ROOT / DEMO).exists():
        raise CourseError(
            f"The demo is served from {DEMO}, which is missing. Restore it from the repository."
        )
    if checkpoint is not None and not checkpoint.is_dir():
        raise CourseError(f"--checkpoint {checkpoint}: there is no such folder. Give the folder of a run.")
    # an absolute path, as the page's kernel starts in another folder
    own = {} if checkpoint is None else {CHECKPOINT: str(checkpoint.resolve())}
    port = free_port(8866)
    command = [str(python), *demo_command(port), "--Voila.log_level=WARN"]  # its own address lacks the token
    return serve(command, port, "/", "/", browser, **own)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("course", "test", "demo", "soak"), default="course")
    parser.add_argument(
        "steps", nargs="*", help="with test or soak: only these steps, by their names in the table at the end"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address, but open no browser")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="with demo: the folder of a run whose model is shown too",
    )
    chosen = parser.parse_args(arguments)
    if chosen.checkpoint is not None and chosen.what != "demo":
        parser.error("--checkpoint goes with demo: python course.py demo --checkpoint DIR")
    for stream in (sys.stdout, sys.stderr):  # a path may have characters that the terminal's encoding lacks
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    os.environ.pop("PYTHONHOME", None)  # it would mislead every other interpreter
    try:
        start = time.perf_counter()
        python = environment()
        installed = time.perf_counter() - start
        if chosen.what in ("test", "soak"):
            return run_tests(python, installed, soak=chosen.what == "soak", only=chosen.steps)
        if chosen.what == "demo":
            return open_demo(python, not chosen.no_browser, chosen.checkpoint)
        return open_course(python, not chosen.no_browser)
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        more = "Free some space" if error.errno == errno.ENOSPC else "Correct this"
        print(f"error: {where}{error.strerror or error}. {more} and start course.py again.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

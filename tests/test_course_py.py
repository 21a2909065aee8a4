"""course.py: where packages go, when they are installed, what a test run counts, how servers are started."""

import importlib.util
import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COURSE = ROOT / "course.py"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """course.py as a module that believes it lies in an empty folder, with no environment active."""
    spec = importlib.util.spec_from_file_location("course", COURSE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "course", module)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    return module


def bare_environment(folder: Path) -> Path:
    """A real virtual environment without pip, which takes a moment only."""
    venv.create(folder, with_pip=False)
    return folder


@pytest.fixture
def pip(course, monkeypatch):
    """Stands in for pip: counts installations and ends with the code that it is told."""

    class Pip:
        calls, code = 0, 0

    run = subprocess.run

    def fake(command, **options):
        if "pip" in command and "install" in command:
            Pip.calls += 1
            return subprocess.CompletedProcess(command, Pip.code)
        if "pip" in command:
            return subprocess.CompletedProcess(command, 0)
        return run(command, **options)

    monkeypatch.setattr(course.subprocess, "run", fake)
    return Pip


def test_an_old_python_gets_a_clear_word():
    """The lines that run first are read by a stand-in for Python 3.8."""
    source = COURSE.read_text(encoding="utf-8").split("import argparse")[0]
    code = f"import sys; sys.version_info = (3, 8, 1)\n{source}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "needs Python 3.11 or newer; this is 3.8" in run.stderr


def test_it_needs_the_standard_library_only():
    code = f"import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; import runpy; \
runpy.run_path({str(COURSE)!r}, run_name='course')"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)


def test_the_active_environment_is_taken(course, tmp_path, monkeypatch):
    folder = bare_environment(tmp_path / "mine")
    assert course.active_python() is None
    monkeypatch.setenv("VIRTUAL_ENV", str(folder))
    assert course.active_python() == course.python_in(folder)


def test_a_conda_environment_is_taken_but_not_its_base(course, tmp_path, monkeypatch):
    folder = bare_environment(tmp_path / "mine")
    monkeypatch.setenv("CONDA_PREFIX", str(folder))
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "base")
    assert course.active_python() is None
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "userlib")
    assert course.active_python() == course.python_in(folder)


def test_an_environment_that_is_gone_is_not_taken(course, tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "deleted"))
    assert course.active_python() is None


def test_packages_are_installed_once_and_again_after_a_change(course, pip, tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", str(bare_environment(tmp_path / "mine")))
    course.environment()
    course.environment()
    assert pip.calls == 1
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'y'\n", encoding="utf-8")
    course.environment()
    assert pip.calls == 2


def test_a_failed_installation_is_tried_again(course, pip, tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", str(bare_environment(tmp_path / "mine")))
    pip.code = 1
    with pytest.raises(course.CourseError, match="Usual reasons: no network"):
        course.environment()
    pip.code = 0
    course.environment()
    assert pip.calls == 2


def test_a_python_without_venv_is_told_the_package(course, monkeypatch):
    monkeypatch.setattr(course, "works", lambda *command: False)
    with pytest.raises(course.CourseError, match="sudo apt install python3-venv"):
        course.own_python()


def test_a_python_without_pip_is_told_the_package(course, tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", str(bare_environment(tmp_path / "mine")))
    monkeypatch.setattr(course, "works", lambda *command: False)
    with pytest.raises(course.CourseError, match="sudo apt install python3-pip"):
        course.environment()


def test_steps_exist_only_with_their_files(course, tmp_path):
    python = Path(sys.executable)
    assert [step.name for step in course.stages(python, soak=False)] == ["lint", "types", "unit tests"]
    assert course.stages(python, soak=True) == []
    for name in (
        "tests/mutants/one.patch",
        "notebooks/00_a.ipynb",
        "tests/browser/test_a.py",
        "tests/faults/__main__.py",
        "tests/mutants/run.py",
        "tests/soak/fuzz.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [step.name for step in course.stages(python, soak=False)]
    assert names == ["lint", "types", "unit tests", "mutants", "notebooks", "browser"]
    assert [step.name for step in course.stages(python, soak=True)] == [
        "faults",
        "fuzz",
        "mutants",
        "long tests",
    ]


def test_a_test_run_counts_what_pytest_reports(course, tmp_path, capsys):
    (tmp_path / "test_some.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n"
        "def test_c(): pytest.skip('x')\n@pytest.fixture\ndef bad(): 1/0\ndef test_d(bad): pass\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    result = course.run_stage(course.Stage("unit tests", command))
    assert (result.passed, result.failed, result.skipped) == (1, 2, 1)
    assert result.word == "FAILED"


def test_a_command_that_dies_without_a_report_is_a_failure(course):
    result = course.run_stage(course.Stage("types", [sys.executable, "-c", "raise SystemExit(3)"]))
    assert (result.passed, result.failed) == (0, 1)


def test_a_step_that_cannot_run_says_why(course, capsys):
    result = course.run_stage(course.Stage("browser", ["nothing"], "no Chromium"))
    assert (result.passed, result.failed, result.skipped) == (0, 0, 1)
    assert "skipped, no Chromium" in capsys.readouterr().out


@pytest.mark.parametrize(
    "codes, word, exit_code", [((0, 0), "2 passed, 0 failed", 0), ((0, 3), "1 passed, 1 failed", 1)]
)
def test_the_last_line_counts_and_the_exit_code_follows(course, monkeypatch, capsys, codes, word, exit_code):
    steps = [
        course.Stage(f"s{i}", [sys.executable, "-c", f"raise SystemExit({c})"]) for i, c in enumerate(codes)
    ]
    monkeypatch.setattr(course, "stages", lambda python, soak: steps)
    assert course.run_tests(Path(sys.executable), 0.0, soak=False, only=[]) == exit_code
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith(word)


def test_an_unknown_step_is_named(course):
    with pytest.raises(course.CourseError, match="no step called 'lunch'. The steps are: lint"):
        course.run_tests(Path(sys.executable), 0.0, soak=False, only=["lunch"])


def test_the_demo_says_so_while_its_notebook_is_missing(course):
    with pytest.raises(course.CourseError, match="retrieval_demo.ipynb, which is missing"):
        course.open_demo(Path(sys.executable), False)


def started(course, monkeypatch, call) -> tuple[list[str], dict[str, str]]:
    """The command and environment with which a server would start."""
    seen = []

    class Process:
        def __init__(self, command, *, cwd, env):
            seen.append((command, env))

        def wait(self):
            return 0

    monkeypatch.setattr(course.subprocess, "Popen", Process)
    call(Path("python"), False)
    return seen[-1]


def test_the_course_listens_on_loopback_with_a_fresh_token(course, monkeypatch, capsys):
    command, env = started(course, monkeypatch, course.open_course)
    _, env2 = started(course, monkeypatch, course.open_course)
    assert "--ServerApp.ip=127.0.0.1" in command
    assert "--no-browser" in command
    assert len(env["JUPYTER_TOKEN"]) >= 32
    assert env["JUPYTER_TOKEN"] != env2["JUPYTER_TOKEN"]
    assert not any(env["JUPYTER_TOKEN"] in word for word in command)
    assert f"/lab/tree/notebooks/00_start_here.ipynb?token={env['JUPYTER_TOKEN']}" in capsys.readouterr().out


def test_the_demo_listens_on_loopback_with_a_fresh_token(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "ROOT", ROOT)
    command, env = started(course, monkeypatch, course.open_demo)
    assert "--Voila.ip=127.0.0.1" in command
    assert "--Voila.auto_token=True" in command  # or Voila asks for none
    assert (ROOT / course.DEMO).is_file()
    assert not any(env["JUPYTER_TOKEN"] in word for word in command)
    assert f"/?token={env['JUPYTER_TOKEN']}" in capsys.readouterr().out


def test_a_busy_port_is_passed_over(course):
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert course.free_port(port) > port


def test_the_command_line_prints_errors_in_one_line(course, monkeypatch, capsys):
    monkeypatch.setattr(course, "environment", lambda: Path(sys.executable))
    assert course.main(["demo"]) == 2
    assert capsys.readouterr().err.startswith("error: The demo is served from")


def test_the_stamp_names_what_the_installation_rests_on(course, pip, tmp_path, monkeypatch):
    folder = bare_environment(tmp_path / "mine")
    monkeypatch.setenv("VIRTUAL_ENV", str(folder))
    course.environment()
    stamp = json.loads((folder / course.STAMP).read_text(encoding="utf-8"))
    assert stamp["root"] == str(tmp_path)
    assert stamp["python"] == sys.version

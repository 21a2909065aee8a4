"""course.py: where packages go, when they are installed, what a test run counts, how servers are started."""

import errno
import importlib.util
import json
import os
import re
import socket
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


def says(course, monkeypatch, said: str, code: int = 1) -> None:
    """Lets every other program end with this code and these words."""
    monkeypatch.setattr(course, "heard", lambda *command: (code, said))


@pytest.mark.parametrize(
    "said, cause, remedy",
    [
        ("The virtual environment was not created\nbecause ensurepip is not available.", "", "python3-venv"),
        ("/usr/bin/python3: No module named venv", "", "python3-venv"),
        ("Error: [Errno 28] No space left on device", "No space left on device", "10 GB are enough"),
        ("Error: [Errno 122] Disk quota exceeded", "Disk quota exceeded", "10 GB are enough"),
        ("Error: [Errno 5] Input/output error.\n\n", "Input/output error. Or activate", "of your own"),
        ("", "it gave no reason", "activate an environment of your own"),
    ],
)
def test_an_environment_that_cannot_be_made_has_its_own_reason(course, monkeypatch, said, cause, remedy):
    says(course, monkeypatch, said)
    with pytest.raises(course.CourseError) as caught:
        course.own_python()
    assert cause in str(caught.value) and remedy in str(caught.value)
    assert ("python3-venv" in str(caught.value)) == (remedy == "python3-venv")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_clone_that_cannot_be_written_is_named(course, monkeypatch, tmp_path, number):
    def refuse(**options):
        assert options["dir"] == tmp_path
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(course.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(course, "works", lambda *command: True)
    for call in (course.own_python, lambda: course.must_be_writable(tmp_path)):
        with pytest.raises(
            course.CourseError, match=re.escape(f"{tmp_path}: {os.strerror(number)}")
        ) as caught:
            call()
        assert "clone it into one" in str(caught.value) and "python3-venv" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="a path cannot hold Windows' separator of paths")
def test_a_colon_in_the_path_is_named_and_an_active_environment_works_there(course, monkeypatch, tmp_path):
    monkeypatch.setattr(course, "ROOT", tmp_path / "a:b")
    monkeypatch.setattr(course, "heard", lambda *command: pytest.fail("nothing is tried"))
    with pytest.raises(course.CourseError, match="contains ':', with which"):
        course.own_python()


@pytest.mark.parametrize("name", ["with blank", "Übung-数", "o'clock", 'say "x"', "$HOME & co", "-m venv x"])
def test_odd_paths_hold_an_environment(course, monkeypatch, tmp_path, name):
    """The environment is made, found again, and made anew once its folder has moved."""
    root = tmp_path / name
    root.mkdir()
    monkeypatch.setattr(course, "ROOT", root)
    made = []

    def make(*command):
        if "venv" in command:
            made.append(command[-1])
            venv.create(command[-1], with_pip=False)
            Path(command[-1], "pyvenv.cfg").write_text(
                f"home = x\ncommand = {sys.executable} -m venv --clear {command[-1]}\n", encoding="utf-8"
            )
        return 0, ""

    monkeypatch.setattr(course, "heard", make)
    python = course.own_python()
    assert python.exists() and course.own_python() == python and made == [root / ".venv"]
    moved = tmp_path / "moved"
    root.rename(moved)
    monkeypatch.setattr(course, "ROOT", moved)
    course.own_python()
    assert made == [root / ".venv", moved / ".venv"]


def test_an_environment_that_another_tool_made_is_kept(course, tmp_path):
    folder = bare_environment(tmp_path / ".venv")
    assert course.made_here(folder)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.8\n", encoding="utf-8")
    assert course.made_here(folder)
    (folder / "pyvenv.cfg").unlink()  # what an interruption left
    assert not course.made_here(folder)


def test_a_python_without_pip_is_told_the_package(course, tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", str(bare_environment(tmp_path / "mine")))
    heard = course.heard
    monkeypatch.setattr(
        course, "heard", lambda *command: (1, "No module named pip") if "-m" in command else heard(*command)
    )
    with pytest.raises(course.CourseError, match="sudo apt install python3-pip"):
        course.environment()


@pytest.mark.parametrize(
    "said, good", [("pip 20.3.4 from x", 0), ("pip 21.2 from", 0), ("pip 21.3 from", 1), ("pip 26.0.dev0", 1)]
)
def test_a_pip_that_is_too_old_is_named_before_it_fails(course, monkeypatch, said, good):
    says(course, monkeypatch, said, 0)
    if good:
        course.check_pip(Path("python"))
    else:
        with pytest.raises(course.CourseError, match=r"is 2\d\.\d, and 21.3 or newer.*install --upgrade pip"):
            course.check_pip(Path("python"))


@pytest.mark.parametrize(
    "said, word",
    [
        ('{"prefix": "/x", "version": "3.10.4 (main)"}', "/x, has Python 3.10; the course needs 3.11"),
        ("python: cannot execute binary file", "does not run: python: cannot execute binary file"),
        ("", "does not run: it gave no reason"),
    ],
)
def test_an_active_environment_that_cannot_serve_is_named(course, monkeypatch, said, word):
    monkeypatch.setattr(course, "active_python", lambda: Path("/x/bin/python"))
    says(course, monkeypatch, said, 0)
    with pytest.raises(course.CourseError, match=re.escape(word)):
        course.environment()


def test_an_interpreter_s_own_words_do_not_hide_its_facts(course, monkeypatch):
    says(course, monkeypatch, 'hello from sitecustomize\n{"prefix": "/x", "version": "3.12"}\nwarning', 0)
    assert course.facts(Path("python")) == {"prefix": "/x", "version": "3.12"}


def test_a_file_that_is_no_program_is_no_interpreter(course, tmp_path):
    (tmp_path / "python").write_text("x", encoding="utf-8")
    for file in (tmp_path / "python", tmp_path / "gone"):
        assert not course.works(file, "-c", "pass")
        with pytest.raises(course.CourseError, match="does not run"):
            course.facts(file)


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "https_proxy"])
def test_a_failed_installation_names_a_socks_proxy(course, pip, tmp_path, monkeypatch, name):
    for each in ("ALL_PROXY", "all_proxy", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", str(bare_environment(tmp_path / "mine")))
    monkeypatch.setenv(name, "http://proxy:80")
    pip.code = 1
    with pytest.raises(course.CourseError, match="is above. Usual"):
        course.environment()
    monkeypatch.setenv(name, "socks5h://127.0.0.1:9050")
    with pytest.raises(course.CourseError, match=f"{name} names a SOCKS proxy. Set HTTPS_PROXY"):
        course.environment()


@pytest.mark.parametrize("installed", [True, False])
def test_a_server_starts_without_a_proxy_that_would_stop_it(course, server, monkeypatch, installed):
    monkeypatch.setattr(course, "works", lambda *command: installed)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9050")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:80")
    assert course.open_course(Path("python"), False) == 0
    assert ("ALL_PROXY" in server.log[0].env) == installed
    assert server.log[0].env["https_proxy"] == "http://127.0.0.1:80"


def test_a_stamp_that_was_cut_short_is_no_stamp(course, pip, tmp_path, monkeypatch):
    folder = bare_environment(tmp_path / "mine")
    monkeypatch.setenv("VIRTUAL_ENV", str(folder))
    (folder / course.STAMP).write_bytes(b'{"pyproject": "\xff')
    course.environment()
    course.environment()
    assert pip.calls == 1


def test_a_foreign_pythonpath_is_told_and_pythonhome_dropped(course, pip, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIRTUAL_ENV", str(bare_environment(tmp_path / "mine")))
    monkeypatch.setenv("PYTHONPATH", "/opt/ros")
    monkeypatch.setenv("PYTHONHOME", sys.base_prefix)
    monkeypatch.setattr(course, "open_course", lambda python, browser: 0)
    assert course.main([]) == 0
    assert "PYTHONPATH is set: packages in /opt/ros" in capsys.readouterr().out
    assert "PYTHONHOME" not in os.environ


@pytest.mark.parametrize(
    "error, words",
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x"),
            "/x: No space left on device. Free some space",
        ),
        (
            FileNotFoundError("No usable temporary directory found in ['/tmp']"),
            "No usable temporary directory",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(course, monkeypatch, capsys, error, words):
    def fail():
        raise error

    monkeypatch.setattr(course, "environment", fail)
    assert course.main(["test"]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_terminal_without_the_letters_of_a_path_still_gets_the_message(course, monkeypatch):
    import io

    def fail():
        raise course.CourseError("Nothing can be written into /tmp/Übung")

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(course, "environment", fail)
    assert course.main([]) == 2
    sys.stderr.flush()
    assert raw.getvalue() == b"error: Nothing can be written into /tmp/\\xdcbung\n"


def test_steps_exist_only_with_their_files(course, tmp_path):
    python = Path(sys.executable)
    assert [step.name for step in course.stages(python, soak=False)] == [
        "lint",
        "format",
        "layers",
        "types",
        "unit tests",
    ]
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
    assert names == ["lint", "format", "layers", "types", "unit tests", "mutants", "notebooks", "browser"]
    assert [step.name for step in course.stages(python, soak=True)] == [
        "faults",
        "fuzz",
        "mutants",
        "long tests",
    ]


def test_a_test_run_counts_what_pytest_reports(course, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # seconds of imports that nothing here needs
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


SEEN = """
import json, os, pathlib, sys
names = ("HOME", "USERLIB_CACHE", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "HF_HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME")
folders = {name: os.environ[name] for name in names}
assert all(not list(pathlib.Path(folder).iterdir()) for folder in folders.values())
print(json.dumps({**os.environ, "folders": folders}), file=open(sys.argv[1], "w"))
"""


def test_the_tests_run_as_on_a_machine_where_nothing_ever_ran(course, tmp_path, monkeypatch):
    """Whoever has a full cache or settings of their own gets the result that everybody gets."""
    odd = {
        "USERLIB_CACHE": str(tmp_path),
        "JUPYTER_TOKEN": "",
        "JUPYTER_CONFIG_PATH": "/x",
        "IPYTHONDIR": "/x",
        "PYTEST_ADDOPTS": "-x",
        "MPLBACKEND": "tkagg",
        "HTTPS_PROXY": "http://x",
        "all_proxy": "socks5://x",
        "PYTHONPATH": "/opt/ros",
        "PYTHONSTARTUP": "/x",
    }
    for name, value in odd.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("USERLIB_PHOTOS", "/photos")
    monkeypatch.delenv("USERLIB_PROFILE", raising=False)
    step = course.Stage("s", [sys.executable, "-c", SEEN, str(tmp_path / "seen.json")])
    monkeypatch.setattr(course, "stages", lambda python, soak: [step])
    before = dict(os.environ)
    assert course.run_tests(Path(sys.executable), 0.0, soak=False, only=[]) == 0
    assert dict(os.environ) == before
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(set(seen["folders"].values())) == 7
    assert not any(Path(folder).exists() for folder in seen["folders"].values())  # removed at the end
    assert (seen["USERLIB_PHOTOS"], seen["USERLIB_PROFILE"]) == ("/photos", "fast")
    assert seen["PYTHONPATH"].split(os.pathsep) == [str(course.ROOT), str(course.ROOT / "notebooks")]
    assert not (odd.keys() - {"USERLIB_CACHE", "IPYTHONDIR", "PYTHONPATH"}) & seen.keys()


def test_an_unknown_step_is_named(course):
    with pytest.raises(course.CourseError, match="no step called 'lunch'. The steps are: lint"):
        course.run_tests(Path(sys.executable), 0.0, soak=False, only=["lunch"])


def test_the_demo_says_so_while_its_notebook_is_missing(course):
    with pytest.raises(course.CourseError, match="retrieval_demo.ipynb, which is missing"):
        course.open_demo(Path(sys.executable), False)


class Server:
    """Stands in for a server's process; `answers` says what a request for a path gets."""

    log: list["Server"] = []

    def __init__(self, command, *, cwd, env):
        self.command, self.env, self.cwd, self.code, self.stopped = command, env, cwd, None, False
        Server.log.append(self)

    def poll(self):
        return self.returncode

    @property
    def returncode(self):
        return self.code

    def terminate(self):
        self.stopped, self.code = True, -15

    def wait(self):
        self.code = self.code or 0
        return self.code


@pytest.fixture
def server(course, monkeypatch):
    """No server is started: its command and environment are noted, and its answers made up."""
    Server.log.clear()
    monkeypatch.setattr(course.subprocess, "Popen", Server)
    monkeypatch.setattr(course.signal, "signal", lambda *_: None)
    monkeypatch.setattr(course, "answer", sound)
    return Server


def sound(port: int, path: str) -> str:
    """What a server that asks for the token answers."""
    token = Server.log[-1].env["JUPYTER_TOKEN"]
    if path.startswith("/login"):
        return "302 /" if path == f"/login?token={token}" else "200 "
    return "200 " if path.endswith(f"?token={token}") else "302 /login?next=%2Flab"


def test_the_course_listens_on_loopback_with_a_fresh_token(course, server, capsys):
    for _ in range(2):
        assert course.open_course(Path("python"), False) == 0
    first, second = server.log
    assert "--ServerApp.ip=127.0.0.1" in first.command
    assert f"--ServerApp.identity_provider_class={course.IDENTITY}" in first.command
    assert "--no-browser" in first.command
    token = first.env["JUPYTER_TOKEN"]
    assert len(token) >= 32 and token != second.env["JUPYTER_TOKEN"]
    assert not any(token in word for word in first.command)
    port = next(word for word in first.command if word.startswith("--ServerApp.port=")).partition("=")[2]
    said = capsys.readouterr().out
    assert f"http://127.0.0.1:{port}/lab/tree/notebooks/00_start_here.ipynb?token={token}\n" in said


def test_the_demo_listens_on_loopback_with_a_fresh_token(course, server, monkeypatch, capsys):
    monkeypatch.setattr(course, "ROOT", ROOT)
    assert course.open_demo(Path("python"), True) == 0
    (started,) = server.log
    assert "--Voila.ip=127.0.0.1" in started.command
    assert "--Voila.auto_token=True" in started.command  # or Voila asks for none
    assert f"--Voila.identity_provider_class={course.IDENTITY}" in started.command
    assert "--no-browser" not in started.command
    assert (ROOT / course.DEMO).is_file()
    assert not any(started.env["JUPYTER_TOKEN"] in word for word in started.command)
    assert f"/?token={started.env['JUPYTER_TOKEN']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answers",
    [
        lambda port, path: "302 /" if path.startswith("/login") else "200 ",  # everyone is let in
        lambda port, path: sound(port, path) if path != "/lab" else "200 ",
        lambda port, path: "200 " if path.endswith("token=x") else sound(port, path),
        lambda port, path: "200 " if path.endswith("token=") else sound(port, path),
        lambda port, path: "302 /lab/tree" if path == "/lab" else sound(port, path),  # no way to a login
        lambda port, path: "404 " if path == "/lab" else sound(port, path),  # another server has this port
        lambda port, path: (
            "200 " if path.startswith("/login") else sound(port, path)
        ),  # the token opens nothing
        lambda port, path: sound(port, path) if path == "/login" else None,
    ],
)
def test_a_server_that_does_not_keep_to_its_token_is_stopped(course, server, monkeypatch, capsys, answers):
    monkeypatch.setattr(course, "answer", answers)
    with pytest.raises(course.CourseError, match="does not check its token"):
        course.open_course(Path("python"), False)
    assert server.log[0].stopped
    assert "token=" not in capsys.readouterr().out


def test_a_server_that_dies_is_told_and_its_page_is_not(course, server, monkeypatch, capsys):
    def dead(port, path):
        server.log[0].code = 3

    monkeypatch.setattr(course, "answer", dead)
    with pytest.raises(course.CourseError, match=r"ended before it answered \(exit code 3\)"):
        course.open_course(Path("python"), False)
    assert "token=" not in capsys.readouterr().out


def test_ctrl_c_stops_the_server_at_any_moment(course, server, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as during_start:
        during_start.setattr(course, "answer", pressed)
        assert course.open_course(Path("python"), False) == 0
    monkeypatch.setattr(server, "wait", lambda self: self.stopped or pressed())
    assert course.open_course(Path("python"), False) == 0
    assert all(one.stopped for one in server.log)


HOSTILE = """
c = get_config()
c.IdentityProvider.token = c.ServerApp.token = c.Voila.token = c.TokenIdentity.token = ""
c.PasswordIdentityProvider.hashed_password = "argon2:x"
c.ServerApp.password = "x"
c.ServerApp.ip = c.Voila.ip = "0.0.0.0"
c.ServerApp.identity_provider_class = "jupyter_server.auth.identity.IdentityProvider"
c.Voila.identity_provider_class = "jupyter_server.auth.identity.IdentityProvider"
c.ServerApp.base_url = c.Voila.base_url = "/other/"
c.ServerApp.allow_origin = "*"
c.ServerApp.disable_check_xsrf = True
"""


@pytest.mark.parametrize("kind", ["lab", "voila"])
def test_no_settings_file_opens_a_server(course, kind, tmp_path, monkeypatch, capsys):
    """Real servers, over settings that would open them: a stranger is refused, the token's holder is not."""
    for name in ("jupyter_config", "jupyter_server_config", "jupyter_lab_config", "voila"):
        (tmp_path / f"{name}.py").write_text(HOSTILE, encoding="utf-8")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr(course, "ROOT", ROOT)
    monkeypatch.setattr(course.signal, "signal", lambda *_: None)
    must, asked = course.must_ask_for_token, []

    def and_stop(port, closed, token):
        must(port, closed, token)
        asked.append(course.answer(port, "/api/kernels"))
        with socket.socket() as probe:  # another address of this machine, where 0.0.0.0 would listen too
            asked.append(probe.connect_ex(("127.0.0.2", port)) != 0 if sys.platform == "linux" else True)
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "must_ask_for_token", and_stop)
    call = course.open_course if kind == "lab" else course.open_demo
    assert call(Path(sys.executable), False) == 0
    refusal, alone = asked
    assert re.match("403|302 /login", refusal) and alone


def test_an_answer_is_status_and_place_and_none_where_nobody_listens(course, monkeypatch):
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", "/login?next=x")
            self.end_headers()

        def log_message(self, *words):
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Handler) as there:
        threading.Thread(target=there.handle_request).start()
        assert course.answer(there.server_port, "/") == "302 /login?next=x"
    assert course.answer(there.server_port, "/") is None


@pytest.mark.parametrize("listens", [True, False])
def test_a_port_that_another_program_holds_is_passed_over(course, listens):
    """One that is bound and silent too: nobody answers there, and no server can have it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        port = server.getsockname()[1]
        assert course.free_port(port) > port
    assert course.free_port(port) == port  # free again, at once


def test_a_hundred_held_ports_are_told(course, monkeypatch):
    monkeypatch.setattr(course.socket.socket, "connect_ex", lambda self, address: 0)
    with pytest.raises(course.CourseError, match="No port between 8888 and 8987 is free"):
        course.free_port(8888)


def test_the_demo_takes_a_run_s_folder_by_its_full_path(course, server, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(course, "ROOT", ROOT)
    monkeypatch.setattr(course, "environment", lambda: Path("python"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert course.main(["demo", "--no-browser", "--checkpoint", "mine"]) == 0
    (started,) = server.log
    assert started.env[course.CHECKPOINT] == str((tmp_path / "mine").resolve())
    assert course.CHECKPOINT not in os.environ
    assert course.CHECKPOINT in (ROOT / course.DEMO).read_text(encoding="utf-8")
    assert course.main(["demo", "--checkpoint", "none"]) == 2
    assert "--checkpoint none: there is no such folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        course.main(["test", "--checkpoint", "mine"])
    assert "--checkpoint goes with demo" in capsys.readouterr().err


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

"""Continuous integration and the checks before a commit: their files parse, and what they call exists."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import course

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ACTIONS = r"actions/(?:checkout|setup-python)@v\d+"


def parsed(path: Path) -> dict:
    """YAML 1.1 reads the key `on` as True."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in document.items()}


def steps(path: Path) -> list[dict]:
    return [step for job in parsed(path)["jobs"].values() for step in job["steps"]]


def stages(word: str) -> list[str]:
    return [stage.name for stage in course.stages(Path("python"), soak=word == "soak")]


def called(command: str) -> set[str]:
    """The stages of course.py that a line runs. AssertionError where the line calls what is not there."""
    words = shlex.split(command)
    if words[:2] == ["python", "course.py"]:
        assert words[2] in ("test", "soak") and set(words[3:]) <= set(stages(words[2])), command
        return set(words[3:])
    if words[0] == "python":
        script = words[1] if words[1] != "-m" else None
        assert script is None or (ROOT / script).is_file(), command
        tests = [word for word in words if word.startswith("tests/")]
        assert all((ROOT / test).exists() for test in tests), command
        assert script or words[2] == "pytest", command
        return set()
    assert words[0] == "command", command  # of the shell
    return set()


def test_there_are_two_workflows():
    assert [path.name for path in WORKFLOWS] == ["checks.yml", "nightly.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_alone_and_does_not_pile_up(path):
    result = parsed(path)
    assert result["permissions"] == {"contents": "read"}
    assert "group" in result["concurrency"] and result["on"]
    for job in result["jobs"].values():
        assert "permissions" not in job and job["timeout-minutes"] > 0
        assert [step["uses"].split("@")[0] for step in job["steps"][:2]] == [
            "actions/checkout",
            "actions/setup-python",
        ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_calls_exists(path):
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(ACTIONS, step["uses"])
        else:
            called(step["run"])


def test_both_workflows_together_run_every_stage():
    run = {
        stage for path in WORKFLOWS for step in steps(path) if "run" in step for stage in called(step["run"])
    }
    assert run == set(stages("test"))


@pytest.mark.parametrize(
    "line", ["python course.py test lunch", "python gone.py", "python -m pytest tests/gone", "make tea"]
)
def test_a_call_of_what_is_not_there_is_noticed(line):
    with pytest.raises(AssertionError):
        called(line)


def test_the_pythons_are_those_that_the_package_names():
    matrix = parsed(WORKFLOWS[0])["jobs"]["unit"]["strategy"]["matrix"]["python"]
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert matrix == named and PROJECT["requires-python"] == f">={matrix[0]}"
    for path in WORKFLOWS:
        for step in steps(path):
            version = step.get("with", {}).get("python-version", matrix[0])
            assert version in matrix or version == "${{ matrix.python }}"


def test_the_oldest_packages_are_the_bounds_of_all_but_the_tools(capsys):
    code = (ROOT / ".github/oldest.py").read_text(encoding="utf-8")
    exec(
        compile(code, str(ROOT / ".github/oldest.py"), "exec"), {"__file__": str(ROOT / ".github/oldest.py")}
    )
    pinned = [Requirement(line) for line in capsys.readouterr().out.splitlines()]
    extras = [lines for name, lines in PROJECT["optional-dependencies"].items() if name != "dev"]
    declared = [Requirement(line) for line in sum(extras, PROJECT["dependencies"])]
    assert [one.name for one in pinned] == [one.name for one in declared]
    for one, bound in zip(pinned, declared, strict=True):
        [exact] = one.specifier
        assert exact.operator == "==" and f">={exact.version}" in str(bound.specifier)


def test_the_checks_before_a_commit_are_pinned_and_call_what_exists():
    repos = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: hook for repo in repos for hook in repo["hooks"]}
    assert set(hooks) == {
        "ruff-check",
        "ruff-format",
        "end-of-file-fixer",
        "check-added-large-files",
        "notebooks-match-sources",
    }
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"]) for repo in repos if repo["repo"] != "local")
    called(hooks["notebooks-match-sources"]["entry"])
    exclude = re.compile(hooks["end-of-file-fixer"]["exclude"].split("  #")[0])
    assert exclude.match("assets/x.json") and not exclude.match("userlib/config.py")

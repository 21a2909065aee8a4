"""Every command line of the README, docs, the other documents and the notebooks does what it says, on small data.

Each line is taken from the text and run in its order by the rule below that fits it. Where it names data or networks
that must be downloaded, small ones in the same form stand in for them. A line that no rule fits fails the test: write
the rule with the line.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.data.copies import CLIP_CONFIG, WORDS, jpeg, write_backbone, write_clip, write_hub, write_scan
from tests.reference.towers import write_encoder
from userlab import __main__ as userlab
from userlib import __main__ as userlib

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [
    *(
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "notebooks/INSTRUCTOR.md",
            "notebooks/GLOSSARY.md",
            "hosted/README.md",
        )
    ),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "notebooks/src").glob("*.py")),
]
PROGRAM = (
    r"(?:[A-Z_]+=\S+ )*(?:python[\d.]*|pip|pipx|uv|pytest|torchrun|accelerate|git|conda|make|source|bash|sh|jupyter"
    r"|userlib|\./\S+)"
)
COUNTS = {"train": 6, "val": 3, "test": 4}
SPLITS = {"train": 24, "val": 4, "test": 4}
STAND_INS = {
    "scenes": "scenes",
    "path/to/photos": "photos",
    "path/to/folder": "photos",
    "path/to/photos/1.jpg": "photos/1.jpg",
    "path/to/flickr8k": "hub",
    "umaru97/flickr30k_train_val_test": "hub",
    "path/to/f30k_precomp": "precomp",
    "path/to/coco_precomp": "precomp",
    "path/to/flickr30k-images": "pictures",
    "path/to/flickr8k/mobilenetv1_imagenet.safetensors": "network/tiny.safetensors",
    "hf:bert-base-uncased": "hf:encoder",
    "hf:path/to/encoder": "hf:encoder",
    "clip:ViT-B-32/laion2b_s34b_b79k": "clip:local-dir:clip",
    "timm:mobilenetv1_100": "timm:test_resnet",
    "open_clip:ViT-B-32/laion2b_s34b_b79k": "open_clip:local-dir:clip",
    "open_clip:ViT-B-32-quickgelu/openai": "open_clip:local-dir:clip",
    "train:500": "train:2",
    "1000": "2",  # --folds
}
WITH_VALUE = {
    "--data",
    "--image",
    "--tokens",
    "--token-weights",
    "--guide",
    "--pictures",
    "--text",
    "--val-split",
    "--folds",
}
SMALL = ["--batch-size", "4", "--steps", "1"]
WORLD = ["--set", f"data.sizes={json.dumps(SPLITS)}"]
PAPER = [
    *"--set model.text=bag --set model.embed_dim=8 --set model.regions=4 --set model.region_dim=8".split()
]
PATCHES = [*"--set model.text_model=local-dir:clip --set model.text_width=16 --set model.embed_dim=8".split()]
PHOTOS = [*"--set model.word_width=8 --set model.text_width=8 --set model.embed_dim=8".split()]
TOWER = [*"--tokens open_clip:local-dir:clip --guide open_clip:local-dir:clip".split()]


def command_lines(text: str) -> list[str]:
    """The command lines of a text: those of its fenced blocks, and what stands between backticks in its prose."""
    text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)  # a notebook's source has its prose in comments
    lines = []
    for block, cell, span in re.findall(
        r"^```[a-z]*\n(.*?)^```|^ *[!%]([^\n]+)$|`([^`]+)`", text, flags=re.MULTILINE | re.DOTALL
    ):
        lines += re.sub(r"\\\n\s*", "", block).splitlines() + [cell, span.replace("\n", " ")]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if re.fullmatch(rf"{PROGRAM} .+", part)]


LINES = {path.relative_to(ROOT).as_posix(): command_lines(path.read_text(encoding="utf-8")) for path in TEXTS}


def small(words: list[str]) -> list[str]:
    """The words with the stand-ins in them."""
    named = [
        STAND_INS[word] if flag in WITH_VALUE else word
        for flag, word in zip(["", *words], words, strict=False)
    ]
    command, has = words[0], set(words)
    if command == "search":  # a thousand scenes would have to be drawn
        named = ["hub" if word == "scenes" else word for word in named]
    if command == "export":  # and evaluated on a thousand of them
        named = ["runs/first" if word.startswith("assets/") else word for word in named]
    if command == "train":
        kind = words[words.index("--preset") + 1] if "--preset" in has else ""
        added = {"clip-patches": [*PATCHES, *TOWER], "photos": PHOTOS, "": WORLD if "scenes" in has else []}
        named += SMALL + added.get(kind, PAPER if kind.startswith("paper-") else [])
        if "cge" in has:
            named += ["--set", "model.guide_dim=12"]
        if "--data" not in has:
            named += ["--data", "hub"]
    if command == "evaluate" and not has & {"--checkpoint", "--ensemble"}:
        named += ["--checkpoint", "runs/first"]
    return named


def of_userlab(words: list[str]) -> None:
    """An experiment takes hours, and its own tests run it small: its words are read, and what they name is there."""
    asked = userlab.parser().parse_args(words)
    if asked.command == "ablate" and asked.study not in (None, "all"):
        from userlab.ablation.studies import STUDIES

        assert set(asked.variant or ()) <= set(STUDIES[asked.study].variants)
    if asked.command == "ablate" and asked.repeat:
        assert (ROOT / asked.repeat).is_file(), f"there is no {asked.repeat}"


def of_userlib(words: list[str]) -> None:
    """A command of the library, in this process."""
    userlib.parser().parse_args(words)
    code = userlib.main(small(words))
    assert code == 0 or words[0] == "doctor", f"exit code {code}"  # the doctor may find a fault here


def of_course_py(words: list[str]) -> None:
    """course.py up to where it would install, serve or test."""
    import course

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "environment", lambda: Path(sys.executable))
        patch.setattr(course, "run_stage", lambda step: course.Result(step.name, 0.0, 1))
        patch.setattr(course, "works", lambda *command: True)
        served = []
        patch.setattr(course, "serve", lambda *served_with, **_: served.append(served_with) or 0)
        assert course.main(words) == 0
        assert len(served) == (not words or words[0] == "demo")


def of_make(words: list[str]) -> None:
    assert re.search(rf"^{words[0]}:$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def of_pip(words: list[str]) -> None:
    """In place with extras that there are, or a package that this project does not need itself."""
    assert words[0] == "install"
    if words[1] in (".", "-e"):
        target = re.fullmatch(r"\.(?:\[([a-z,]+)\])?", words[-1])
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert target and set(filter(None, (target[1] or "").split(","))) <= set(
            project["optional-dependencies"]
        )
    else:
        assert words[1:] in (["pip-audit"], ["pre-commit"], ["eccv_caption"], ["pillow-heif"])


def of_script(words: list[str]) -> None:
    """A program of this repository: it is there and knows the options."""
    path = program(words[1]) if words[0] == "-m" else ROOT / words[0]
    source = path.read_text(encoding="utf-8")
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in source, f"{path} does not know {word}"


def program(name: str) -> Path:
    """The file that `python -m name` runs. AssertionError where there is none."""
    file = ROOT / ("notebooks" if name.startswith("usercourse") else "") / name.replace(".", "/")
    file = file / "__main__.py" if file.is_dir() else file.with_suffix(".py")
    assert file.is_file(), f"there is no module {name}"
    assert '__name__ == "__main__"' in file.read_text(encoding="utf-8"), f"{name} is no program"
    return file


def of_module(words: list[str]) -> None:
    """A module that is a program of its own: it is there and knows the options."""
    source = program(words[0]).read_text(encoding="utf-8")
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in source, f"{words[0]} does not know {word}"


def of_pytest(words: list[str]) -> None:
    for word in words:
        if not word.startswith("-"):
            assert list(ROOT.glob(word)), f"there is no {word}"


def others(words: list[str]) -> None:
    """git, conda and the shell: what they name is there."""
    assert words in (
        ["git", "clone", "<this repository>", "user-course"],
        ["conda", "env", "create", "-f", "environment.yml"],
        ["conda", "activate", "userlib"],
        ["source", ".venv/bin/activate"],
    )
    assert "environment.yml" not in words or (ROOT / "environment.yml").is_file()


WITH_PHOTOS = r"(?:USERLIB_PHOTOS=\S+ )?"
USERLIB = r"(?:python|torchrun --nproc_per_node \d+|accelerate launch --num_processes \d+) -m userlib "
RULES = {
    rf"{WITH_PHOTOS}{USERLIB}(.+)": of_userlib,
    rf"{WITH_PHOTOS}python -m userlab (.+)": of_userlab,
    rf"{WITH_PHOTOS}python -m ((?:userscenes|usercourse|userl[a-z]+\.)\S*(?: .+)?)": of_module,
    r"python[\d.]* course\.py ?(.*)": of_course_py,
    r"python ((?:hosted|notebooks|tests)/.+|-m tests\..+)": of_script,
    r"make (.+)": of_make,
    r"pip (.+)": of_pip,
    r"(?:USERLIB_PROFILE=fast )?(?:python -m )?pytest (.+)": of_pytest,
    r"((?:git|conda|source) .+)": others,
}


def run(line: str) -> None:
    """Runs the line by its rule; AssertionError where none fits or it does not work."""
    for pattern, rule in RULES.items():
        match = re.fullmatch(pattern, line.replace("<this repository>", "'<this repository>'"))
        if match:
            return rule(shlex.split(match[1]))
    raise AssertionError("no rule of tests/test_command_lines.py runs this line")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> Path:
    """The stand-ins, to be copied: the networks among them take seconds to make."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "photos").mkdir()
    rows = ["filename,caption"]
    for i in range(30):
        (folder / "photos" / f"{i}.jpg").write_bytes(jpeg(i))
        rows.append(f"{i}.jpg,{' '.join(WORDS[i % 6 : i % 6 + 5])}")
    (folder / "photos" / "captions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    write_hub(folder / "hub", COUNTS)
    write_scan(folder / "precomp", COUNTS | {"testall": 4})
    (folder / "pictures").mkdir()
    for i in range(sum(COUNTS.values()) + 4):
        (folder / "pictures" / f"{i}.jpg").write_bytes(jpeg(i))
    ids = {str(i): f"{i}.jpg" for i in range(sum(COUNTS.values()) + 4)}
    (folder / "precomp" / "id_mapping.json").write_text(json.dumps(ids), encoding="utf-8")
    write_backbone(folder / "network")
    write_encoder(folder / "encoder", "bert")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CLIP_CONFIG["text_cfg"], "context_length", 32)
        write_clip(folder / "clip")
    return folder


@pytest.fixture
def small_world(stand_ins, tmp_path, cache, monkeypatch) -> Path:
    """A folder with the stand-ins, in which the commands run."""
    shutil.copytree(stand_ins, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_lines_to_run():
    least = {
        "README.md": 5,
        "docs/data.md": 5,
        "docs/full-scale.md": 8,
        "docs/results.md": 4,
        "docs/testing.md": 8,
    }
    assert {name: len(LINES[name]) for name in least if len(LINES[name]) < least[name]} == {}
    assert sum(len(lines) for name, lines in LINES.items() if name.startswith(("README", "docs/"))) > 40
    assert command_lines("x `python -m userlib\ndoctor` y\n```\npip install a && \\\n  make b\n```\n") == [
        "python -m userlib doctor",
        "pip install a",
        "make b",
    ]
    assert command_lines("# %%\n!python course.py test\n# `python -m x`") == [
        "python course.py test",
        "python -m x",
    ]


def test_every_command_line_runs_on_small_data(small_world, capsys):
    failed, seen = {}, set()
    for name, lines in LINES.items():
        for line in lines:
            command = re.sub(USERLIB, "", line)  # a launcher makes no other command of it
            if command in seen:
                continue
            seen.add(command)
            try:
                run(line)
            except (Exception, SystemExit) as error:
                failed[f"{name}: {line}"] = (
                    f"{type(error).__name__}: {error}\n{capsys.readouterr().err[-600:]}"
                )
    assert not failed, "\n\n".join(f"{line}\n{said}" for line, said in failed.items())


@pytest.mark.parametrize(
    "line",
    [
        "python -m userlib train --data scenes --epohcs 5",
        "python -m userlib evaluate --checkpoint runs/never-made",
        "python -m userlib train --data path/to/elsewhere",
        "python course.py lunch",
        "python notebooks/gone.py",
        "python -m userlib ablate --study world",
        "python -m userlab train --data scenes",
        "python -m userlab ablate --study world --cells uto",
        "python -m userlab ablate --repeat assets/results/world/gone-0.json",
        "python -m usercourse.demo.gone",
        "python -m usercourse.demo.engine",
        "python -m usercourse.demo.models --onyl mean",
        "python -m userlib.data.scenes",
        "python -m userscenes.gone",
        "python tests/soak/memory.py --chart",
        "make coffee",
        'pip install -e ".[anne]"',
        "pip install userlib",
        "pip install 'userlib[ann]'",
        "pytest tests/gone",
        "uv sync",
        "jupyter lab",
    ],
)
def test_a_line_that_does_not_work_or_that_no_rule_fits_is_noticed(small_world, line):
    assert command_lines(f"`{line}`") == [line]
    with pytest.raises((Exception, SystemExit)):
        run(line)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    kinds = {".py", ".md", ".toml", ".yml", ".ipynb"}
    files = [ROOT / name for name in listed.stdout.splitlines()] or [
        *(ROOT / "userlib").rglob("*.py"),
        *TEXTS,
    ]
    return [file for file in files if file.suffix in kinds and file.is_file() and file != Path(__file__)]


def test_nothing_tells_to_install_another_package_of_this_name():
    """A package of this name on a public index is not this one; and zsh takes bare brackets for a pattern."""
    bad = re.compile(r"pip3? install (?:-\S+ )*(?:['\"]?userlib\b|(?:-e )?\.\[)")
    assert bad.search("pip install userlib[ann]") and bad.search("pip install -e .[ann]")
    assert bad.search("pip install -U 'userlib'") and not bad.search('pip install -e ".[ann]"')
    assert [str(file) for file in tracked() if bad.search(file.read_text(encoding="utf-8"))] == []


PROGRAMS = {"userlib": userlib, "userlab": userlab}
OPTION = re.compile(r"--[a-z-]+")


def commands_of(parser: argparse.ArgumentParser) -> dict[str, set[str]]:
    """The options of each command."""
    choices = parser._subparsers._group_actions[0].choices
    return {name: set(command._option_string_actions) for name, command in choices.items()}


def fault_of(line: str) -> str:
    """What is wrong with `python -m ...`, whose values may be of any kind; "" where nothing is."""
    name, *words = line.split("  ")[0].split()
    options = set(filter(OPTION.fullmatch, words))
    if name in PROGRAMS:
        known = commands_of(PROGRAMS[name].parser())
        if (
            not words or words[0][0] in "|{" or words[0] == "COMMAND"
        ):  # all of them, or a name filled in later
            return ""
        return "" if words[0] in known and options <= known[words[0]] else line
    try:
        of_module([name, *sorted(options)])
    except AssertionError as error:
        return f"{line}: {error}"
    return ""


def test_every_command_in_a_docstring_or_an_error_is_one_that_there_is():
    wrong, seen = [], 0
    for file in tracked():
        if file.suffix != ".py" or "tests" in file.relative_to(ROOT).parts:
            continue
        for line in re.findall(
            r"python -m (user[a-z]+[.\w]*(?: [^\n`;\"']*)?)", file.read_text(encoding="utf-8")
        ):
            seen += 1
            if fault := fault_of(line.rstrip(".")):
                wrong.append(f"{file.relative_to(ROOT)}: {fault}")
    assert wrong == [] and seen > 20


PATH = re.compile(
    r"(?<![\w/.~-])(?:(?:userlib|userscenes|userlab|notebooks|tests|assets|docs)/[\w./-]*\w|[A-Z]+\.md)"
)
DOTTED = re.compile(r"(?<![\w/.-])(?:userlib|userscenes|userlab|usercourse)(?:\.\w+)+")
MADE = {"assets/results/bench.json"}


def names_nothing(dotted: str) -> bool:
    """Whether no module, and no name of one, is called so."""
    top, *rest = dotted.split(".")
    place = ROOT / "notebooks" / top if top == "usercourse" else ROOT / top
    while rest and (place / rest[0]).is_dir():
        place /= rest.pop(0)
    if rest and (place / f"{rest[0]}.py").is_file():
        place = place / f"{rest.pop(0)}.py"
    elif rest:
        place = place / "__init__.py"
    return bool(rest) and not re.search(rf"\b{rest[0]}\b", place.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LINES)
def test_every_path_and_module_that_a_text_names_is_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    here = (ROOT, ROOT / "notebooks")
    gone = [
        path
        for path in sorted({result.rstrip(".") for result in PATH.findall(text)} - MADE)
        if not any((folder / path).exists() or any(folder.glob(f"{path}*")) for folder in here)
    ]
    gone += [dotted for dotted in sorted(set(DOTTED.findall(text))) if names_nothing(dotted)]
    assert gone == []


def test_a_path_or_a_module_that_is_gone_is_noticed():
    assert names_nothing("userlib.demo") and names_nothing("userlib.data.scenes.make_world")
    assert not names_nothing("userlib.data.tokens") and not names_nothing("usercourse.demo.open_engine")
    assert PATH.findall("in `userlib/demo/app.py`, SECURITY.md and ~/tests/x") == [
        "userlib/demo/app.py",
        "SECURITY.md",
    ]

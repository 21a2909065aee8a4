"""What every command does with words, with what it prints, and with memory that does not suffice."""

import os
import subprocess
import sys

import pytest

from userlib.__main__ import check_words, config_of, guarded, main, parser, with_home
from userlib.errors import UserError

PRINTS = """
import sys
from userlib.__main__ import guarded, parser
sys.exit(guarded(parser, lambda _: [print(i) for i in range(10**5)] and 0, ["doctor"]))
"""


@pytest.mark.parametrize(
    "word, meant",
    [
        ("--out=~/runs", "--out=HOME/runs"),
        ("hf:~/encoder", "hf:HOME/encoder"),
        ("data.guide=open_clip:local-dir:~/clip", "data.guide=open_clip:local-dir:HOME/clip"),
        ("~", "HOME"),
        ("two dogs ~ a beach", "two dogs ~ a beach"),
        ("a~/b", "a~/b"),
        ("x:~y", "x:~y"),
    ],
)
def test_the_home_folder_is_read_where_no_shell_reads_it(word, meant, monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("USERPROFILE", "/h")
    assert with_home(word) == meant.replace("HOME", "/h")


@pytest.mark.parametrize(
    "words, option",
    [
        (["train", "--out", ""], "--out"),
        (["train", "--data="], "--data"),
        (["evaluate", "--checkpoint", "runs/a", "", "--json"], "--checkpoint"),
        (["search", "--query", "a dog", "--index", " "], "--index"),
        (["search", "--hits", "", "--query", "a dog"], "--hits"),
        (["evaluate", "--checkpoint", "runs/a", "--split", ""], "--split"),
    ],
)
def test_an_option_without_its_value_is_named(words, option, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"error: {option} is empty, as where a shell variable is not set; give it a value, or leave {option} out.\n"
    )


def test_a_value_that_is_there_is_not_empty():
    check_words(["train", "--set", "model.text_model=", "--set=data.guide=", "--out=a=", "--resume"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither such pipes nor /dev/full")
def test_what_cannot_be_printed_ends_without_a_traceback():
    command = [sys.executable, "-c", PRINTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2 and done.stderr.startswith(
            "error: what is printed cannot be written: No space"
        )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.\nmore"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
    ],
)
def test_memory_that_does_not_suffice_is_a_sentence(error, capsys):
    def run(_):
        raise error

    assert guarded(parser, run, ["doctor"]) == 2
    assert "the memory does not suffice" in (said := capsys.readouterr().err) and "--batch-size" in said


@pytest.mark.parametrize("error", [RuntimeError("a bug"), FileNotFoundError(2, "gone")])
def test_other_errors_stay_what_they_are(error):
    def run(_):
        raise error

    with pytest.raises(type(error)):
        guarded(parser, run, ["doctor"])


def test_none_and_numbers_without_a_zero_are_read():
    words = ["train", "--guide", "none", "--enhancement", "none"]
    for setting in ("model.queue_size=none", "training.lr=.5", "objective.mu=2."):
        words += ["--set", setting]
    config = config_of(parser().parse_args(words))
    assert (config.data.guide, config.model.enhancement, config.model.queue_size) == (None, "none", None)
    assert (config.training.lr, config.objective.mu) == (0.5, 2.0)


def test_a_number_of_too_many_digits_is_no_number():
    with pytest.raises(UserError, match="'embed_dim' in the model is '999.*; it must be a whole number"):
        config_of(parser().parse_args(["train", "--set", f"model.embed_dim={'9' * 5000}"]))


def test_a_command_that_is_terminated_ends_as_by_ctrl_c(capsys):
    import signal

    from userlib.__main__ import guarded, parser

    before = signal.signal(signal.SIGTERM, lambda *_: None)  # or pytest would end
    try:
        assert guarded(parser, lambda _: signal.raise_signal(signal.SIGTERM) or 0, ["doctor"]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "what was finished is kept" in capsys.readouterr().err

"""What a learner's code does to the notebook: nothing, whether it exits, loops, prints or turns gradients off."""

import sys
import time

import numpy as np
import pytest
import torch

from usercourse import containment
from usercourse.checks import Exercise
from usercourse.containment import MOST, SHOWN, Output, contained

DOUBLE = Exercise(name="double", right=lambda x: 2 * x, cases=[(1.0,), (3.0,)], mistakes={"no": lambda x: x})


def leave(x):
    sys.exit(3)


def stop(x):
    raise SystemExit


def interrupt(x):
    raise KeyboardInterrupt


def generator_exit(x):
    raise GeneratorExit


def recurse(x):
    return recurse(x)


class Odd(BaseException):
    def __str__(self):
        raise ValueError("no text")


def odd(x):
    raise Odd


@pytest.mark.parametrize(
    "answer, said",
    [
        (
            leave,
            "Your code raised SystemExit, which ends a program. Return the value instead. It was called with x = 1.",
        ),
        (stop, "which ends a program"),
        (interrupt, "Your code was interrupted before it returned. Does a loop never end?"),
        (generator_exit, "which ends a program"),
        (recurse, "raised RecursionError"),
        (odd, "Your code raised Odd. It was called with x = 1."),
    ],
)
def test_what_would_end_the_notebook_is_a_message(answer, said):
    verdict = DOUBLE.judge(answer)
    assert verdict.state == "wrong" and said in verdict.message


@pytest.mark.parametrize("keeps", [False, True])
def test_a_loop_without_end_is_stopped(monkeypatch, keeps):
    monkeypatch.setattr(containment, "LIMIT_S", 0.2)
    calls = []

    def endless(x):
        calls.append(x)
        while True:
            try:
                pass
            except Exception:
                if not keeps:
                    raise

    began = time.monotonic()
    verdict = DOUBLE.judge(endless)
    assert verdict.state == "wrong" and "had not returned after" in verdict.message
    assert "Does a loop never end?" in verdict.message
    assert calls == [1.0]  # one case is enough
    assert time.monotonic() - began < 60
    assert DOUBLE.judge(lambda x: 2 * x).state == "correct"


def test_output_without_end_is_cut_and_stopped(capsys):
    def talks(x):
        while True:
            print("line after line", x)

    verdict = DOUBLE.judge(talks)
    assert verdict.state == "wrong" and f"printed more than {MOST:,} characters" in verdict.message
    shown = capsys.readouterr().out
    assert SHOWN <= len(shown) < SHOWN + 200 and "is left out" in shown


def test_a_few_lines_pass_through_on_their_stream(capsys):
    def talks(x):
        print("here", x)
        print("there", x, file=sys.stderr)
        return 2 * x

    assert DOUBLE.judge(talks).state == "correct"
    shown = capsys.readouterr()
    assert shown.out == "here 1.0\nhere 3.0\n" and shown.err == "there 1.0\nthere 3.0\n"


def test_the_exercise_s_own_answers_are_silent(capsys):
    noisy = Exercise(
        name="x",
        right=lambda x: np.log(np.float64(x)),
        cases=[(0.0,)],
        mistakes={"no": lambda x: np.float64(1) / x},
    )
    with np.errstate(all="warn"):
        assert noisy.judge(lambda x: 7.0).state == "wrong"
    assert capsys.readouterr() == ("", "")


def test_what_torch_and_numpy_are_set_to_is_as_before():
    def changes(x):
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        np.seterr(all="raise")
        return 2 * x

    before = np.geterr()
    assert DOUBLE.judge(changes).state == "correct"
    assert torch.is_grad_enabled() and torch.get_default_dtype() is torch.float32 and np.geterr() == before


def test_the_timer_is_over_with_the_code():
    with contained(Output(), 0.05):
        pass
    time.sleep(0.2)  # nothing is raised here
    assert sys.stdout.write("") == 0

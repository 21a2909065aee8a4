"""No false pass, no false failure, and no blame of the learner for the check's own error, however odd an answer is."""

import sys

import numpy as np
import pytest

from tests.usercourse.odd_answers import RIGHT, WRONG
from usercourse.checks import exercises

ALL = sorted(exercises())
RIGHT_CASES = [(name, i) for name in sorted(RIGHT) for i in range(len(RIGHT[name]))]
WRONG_CASES = [(name, i) for name in sorted(WRONG) for i in range(len(WRONG[name]))]


class Sealed:
    """An object that raises wherever it is read."""

    def _refuse(self, *_):
        raise OSError("sealed")

    __repr__ = __str__ = __float__ = __array__ = __len__ = __iter__ = __eq__ = __hash__ = __deepcopy__ = (
        _refuse
    )


def endless_list():
    value = []
    value.append(value)
    return value


def leave(*case):
    sys.exit("no more")


def interrupt(*case):
    raise KeyboardInterrupt


def divide(*case):
    return 1 / 0


GENERAL = {  # wrong for every function
    "None": (lambda *case: [None, case][0] and 0, "Is a return missing?"),
    "an error": (divide, "Your code raised ZeroDivisionError: division by zero. It was called with "),
    "an exit": (leave, "Your code raised SystemExit, which ends a program"),
    "an interrupt": (interrupt, "Your code was interrupted"),
    "no arguments": (lambda: 1, "raised TypeError"),
    "a call's result": (3.0, "Give check its name alone, without calling it"),
    "sealed": (lambda *case: Sealed(), "yours is a Sealed"),
    "a list within itself": (lambda *case: endless_list(), "yours is a list of 1"),
    "complex": (lambda *case: np.ones((7, 7), complex) * 1j, "yours is an array of shape (7, 7)"),
    "a class": (Sealed, "yours is a class. Give check an object of it: Sealed()"),
    "a coroutine's stand-in": (lambda *case: (one for one in case), "yours is a generator"),
}
FUNCTIONS = [
    name
    for name in ALL
    if callable(exercises()[name].right) and not isinstance(exercises()[name].right, type)
]


@pytest.mark.parametrize("name, i", RIGHT_CASES, ids=lambda one: str(one))
def test_a_right_answer_in_another_style_is_correct(name, i):
    verdict = exercises()[name].judge(RIGHT[name][i])
    assert verdict.state == "correct", repr(verdict)


@pytest.mark.parametrize("name, i", WRONG_CASES, ids=lambda one: str(one))
def test_a_wrong_answer_is_wrong_and_gets_its_message(name, i):
    answer, words = WRONG[name][i]
    verdict = exercises()[name].judge(answer)
    assert verdict.state == "wrong", repr(verdict)
    assert any(part in verdict.message for part in words.split("|")), repr(verdict)
    assert "check itself" not in verdict.message


@pytest.mark.parametrize("kind", GENERAL)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_wrong_everywhere_gets_the_same_message_everywhere(name, kind):
    answer, words = GENERAL[kind]
    verdict = exercises()[name].judge(answer)
    assert verdict.state == "wrong", repr(verdict)
    if kind == "complex" and verdict.message in exercises()[name].mistakes:
        return
    assert words in verdict.message, repr(verdict)


@pytest.mark.parametrize("name", ALL)
def test_eight_wrong_answers_and_more_have_a_message_of_their_own(name):
    general = len(GENERAL) if name in FUNCTIONS else 0
    assert len(exercises()[name].mistakes) + len(WRONG.get(name, ())) + general >= 8
    if name in WRONG:
        assert len(exercises()[name].mistakes) + len(WRONG[name]) >= 8 or general


def test_there_are_more_than_a_hundred_odd_answers_of_each_sort():
    assert len(RIGHT_CASES) > 100 and len(WRONG_CASES) > 100


@pytest.mark.parametrize("name", ALL)
def test_the_right_answer_with_a_value_of_another_scale_or_sign_is_wrong(name):
    """Off by a little, constant, or turned: nothing passes that only looks like it."""
    exercise = exercises()[name]
    if name not in FUNCTIONS:
        return
    firsts = {}

    def constant(*case):
        return firsts.setdefault("value", exercise.right(*case))

    if len(exercise.cases) > 1:
        assert exercise.judge(constant).state == "wrong"

"""Verdicts: what counts as untouched, right and wrong, and that nothing a learner writes can stop a notebook."""

import numpy as np
import pytest
import torch
from torch import nn

from userlib.course import check
from userlib.course.checks import Exercise, same, short, untouched

DOUBLE = Exercise(
    name="double",
    right=lambda x: 2 * x,
    cases=[(1.0,), (3.0,), (-2.0,)],
    mistakes={"twice, not squared": lambda x: x * x, "twice, not plus two": lambda x: x + 2},
)


def bare(x): ...


def documented(x):
    """What it does."""
    ...


def unfinished(x):
    y = ...
    return y


def passing(x):
    pass


def half_done(x):
    first = x + 1
    second = ...
    return first, second


class Layer(nn.Module):
    def forward(self, x): ...


def indexing(x):
    i = 0
    return x[..., i]


@pytest.mark.parametrize("stub", [bare, documented, unfinished, passing, half_done, Layer, None, ...])
def test_a_stub_is_untouched(stub):
    assert untouched(stub)
    assert DOUBLE.judge(stub).state == "not attempted yet"


@pytest.mark.parametrize("answer", [indexing, lambda x: 2 * x, 0, "no", np.sum])
def test_an_answer_is_not(answer):
    assert not untouched(answer)


def test_a_stub_that_raises_not_implemented_is_not_attempted():
    def stub(x):
        raise NotImplementedError

    assert DOUBLE.judge(stub).state == "not attempted yet"


def test_a_mistake_is_named_even_where_it_shows_on_one_case_only():
    partly = lambda x: x * x if x == 3 else 2 * x
    assert DOUBLE.judge(partly).message == "twice, not squared"
    assert DOUBLE.judge(lambda x: x + 2).message == "twice, not plus two"


def test_an_unknown_mistake_shows_the_first_case_that_fails():
    verdict = DOUBLE.judge(lambda x: 0.0)
    assert verdict.state == "wrong"
    assert "Expected 2." in verdict.message
    assert "The case: 1." in verdict.message


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda x: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda x: undefined, "raised NameError"),  # noqa: F821
        (lambda: 1, "raised TypeError"),
        (lambda x: np.ones(2), "an array of shape (2,)"),
        (lambda x: "six", "a text"),
        (lambda x: (2.0, 1.0), "a tuple of 2"),
        (7, "raised TypeError"),
    ],
)
def test_whatever_an_answer_does_becomes_a_message(answer, said):
    verdict = DOUBLE.judge(answer)
    assert verdict.state == "wrong"
    assert said in verdict.message


def test_a_missing_return_is_suspected():
    def forgot(x):
        y = 2 * x
        print(end=str(y)[:0])

    assert "Is a return missing?" in DOUBLE.judge(forgot).message


def test_an_unknown_name_is_a_verdict_too():
    assert "There is no exercise" in check("nonsense", 1).message


def test_verdicts_are_shown_escaped_and_in_words():
    verdict = DOUBLE.judge(lambda x: "<script>")
    assert "<script>" not in verdict._repr_html_()
    assert "wrong" in verdict._repr_html_()
    assert repr(DOUBLE.judge(lambda x: 2 * x)) == "double: correct"


@pytest.mark.parametrize(
    "a, b, equal",
    [
        (1.0, torch.tensor(1.0), True),
        ([1, 2], np.array([1.0, 2.0]), True),
        (np.ones((1, 2)), np.ones(2), False),
        ((1.0, [2.0]), (1.0, [2.0]), True),
        (float("nan"), np.nan, True),
        (np.inf, -np.inf, False),
        ("a ", "a", True),
        ("1", 1.0, False),
        (None, 0.0, False),
        (ValueError("x"), ValueError("y"), True),
        (ValueError("x"), 1.0, False),
    ],
)
def test_same(a, b, equal):
    assert same(a, b, 1e-6) is equal


def test_short_is_one_line_of_bounded_length():
    assert "\n" not in short(np.ones((30, 30)))
    assert len(short("x" * 1000)) == 160

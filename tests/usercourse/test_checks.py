"""Verdicts: what counts as untouched, right and wrong, and that nothing a learner writes can stop a notebook."""

import numpy as np
import pytest
import torch
from torch import nn

from usercourse import check
from usercourse.checks import Exercise, same, short, untouched

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


class Held:
    """A case of a class of its own."""

    def __init__(self):
        self.rows = [1.0, 2.0]


GRAPH = torch.ones(2, requires_grad=True) * 3  # deepcopy refuses a tensor within a graph
CASES = [
    (torch.ones(3), lambda x: x.zero_(), lambda x: x.sum()),
    (torch.ones(3, requires_grad=True), lambda x: x.data.zero_(), lambda x: x.sum()),
    (GRAPH, lambda x: x.data.zero_(), lambda x: x.sum()),
    ((GRAPH, [GRAPH]), lambda x: x[1][0].data.zero_(), lambda x: x[1][0].sum()),
    (np.ones(3), lambda x: x.fill(0), lambda x: x.sum()),
    ([3.0, 1.0], lambda x: x.sort(), lambda x: x[0]),
    ([[1.0], [2.0]], lambda x: x[0].clear(), lambda x: len(x[0])),
    ({"a": [1.0]}, lambda x: x.clear(), lambda x: len(x)),
    ({"a": np.ones(2)}, lambda x: x["a"].fill(7), lambda x: x["a"]),
    ({1.0, 2.0}, lambda x: x.clear(), lambda x: len(x)),
    (nn.Linear(2, 2), lambda x: nn.init.zeros_(x.weight), lambda x: x.weight),
    (Held(), lambda x: x.rows.append(1.0), lambda x: x.rows),
    (np.random.default_rng(0), lambda x: x.random(), lambda x: x.random()),
    (torch.Generator().manual_seed(0), lambda x: torch.rand(1, generator=x), lambda x: torch.rand(1, generator=x)),
]  # fmt: skip


@pytest.mark.parametrize("case, edit, right", CASES, ids=[type(case).__name__ for case, *_ in CASES])
def test_each_call_has_a_case_of_its_own(case, edit, right):
    exercise = Exercise(name="x", right=right, cases=[(case,)], mistakes={"no": lambda x: -1.0})
    assert exercise.judge(right).state == "correct"
    assert exercise.judge(lambda x: [edit(x), right(x)][1]).state == "wrong"
    assert exercise.judge(lambda x: [right(x), edit(x)][0]).state in (
        "correct",
        "wrong",
    )  # may return what it edits
    assert exercise.judge(right).state == "correct"
    assert exercise.judge(lambda x: [edit(x), right(x)][1]).state == "wrong"


def test_a_value_counts_as_it_was_returned():
    """An answer that returns the same list every time, filled anew, gave something else each time."""
    same_list = []

    def answer(x):
        same_list[:] = [2 * x]
        return same_list

    exercise = Exercise(name="x", right=lambda x: [2 * x], cases=[(1.0,), (2.0,)], mistakes={})
    assert exercise.judge(answer).state == "correct"


def test_what_cannot_be_copied_is_given_as_it_is():
    exercise = Exercise(name="x", right=lambda x: next(x), cases=[(iter([1.0]),)], mistakes={})
    assert exercise.judge(lambda x: 1.0).state == "correct"

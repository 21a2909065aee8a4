"""Verdicts: what counts as untouched, right and wrong, and whose fault it is where a check cannot read an answer."""

import functools
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from usercourse import check
from usercourse.checks import Exercise, Unusable, exercises
from usercourse.stubs import untouched
from usercourse.values import numbers, same, short

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


class Layer7:
    def __call__(self, x):
        return 2 * x


class Unbegun:
    def __call__(self, x): ...


def decorated(x): ...


def indexing(x):
    i = 0
    return x[..., i]


@pytest.mark.parametrize(
    "stub",
    [
        bare,
        documented,
        unfinished,
        passing,
        half_done,
        Layer,
        Layer(),
        Unbegun(),
        Unbegun().__call__,
        functools.partial(bare),
        torch.no_grad()(decorated),
        None,
        ...,
    ],
)
def test_a_stub_is_untouched(stub):
    assert untouched(stub)
    assert DOUBLE.judge(stub).state == "not attempted yet"


@pytest.mark.parametrize("answer", [indexing, lambda x: 2 * x, 0, "no", np.sum, Layer7(), nn.ReLU(), len])
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
    assert verdict.message == "With x = 1, the answer is 2; yours is 0."


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda x: 1 / 0, "Your code raised ZeroDivisionError: division by zero. It was called with x = 1."),
        (lambda x: undefined, "raised NameError"),  # noqa: F821
        (lambda: 1, "raised TypeError"),
        (lambda x: np.ones(2), "With x = 1, the answer is a number; yours is an array of shape (2,)."),
        (lambda x: "six", "yours is a text"),
        (lambda x: (2.0, 1.0), "yours is a tuple of 2 numbers"),
        (lambda x: lambda y: y, "yours is a function"),
        (7, "The answer is a function; yours is a number. Give check its name alone, without calling it"),
        (Layer7, "yours is a class. Give check an object of it: Layer7()"),
        (lambda x: 2.00003 * x, "the answer is 2; yours is 2.00003"),
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
        (["1", "2"], np.array([1.0, 2.0]), False),
        (b"1", 1.0, False),
        (np.array([1 + 2j]), [1.0], False),
        (np.array("a"), "a", True),
        (np.array(["2020-01-01"], "datetime64[D]"), [18262.0], False),
        (None, 0.0, False),
        (None, None, True),
        (Fraction(1, 2), 0.5, True),
        (Decimal("0.5"), 0.5, True),
        ([torch.tensor(1.0, requires_grad=True), torch.tensor(2.0)], torch.tensor([1.0, 2.0]), True),
        (torch.eye(2).to_sparse(), np.eye(2), True),
        (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0], True),
        (np.ma.masked_array([1.0, 2.0], [False, True]), [1.0, 2.0], False),
        ({"a": 1, "b": None}, {"b": None, "a": np.int64(1)}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([[1.0], [2.0, 3.0]], np.ones((2, 2)), False),
        (lambda: 1, 1.0, False),
    ],
)
def test_same(a, b, equal):
    assert same(a, b, 1e-6) is equal


def test_a_number_is_a_number_whatever_holds_it():
    assert numbers([torch.tensor(1.0), np.float32(2), True, Fraction(1, 2)]).tolist() == [1.0, 2.0, 1.0, 0.5]
    for value in (None, "1", ["1"], [[1], [2, 3]], 1j, object(), {1: 2}, {1.0}):
        with pytest.raises((TypeError, ValueError)):
            numbers(value)


def test_short_is_one_line_of_bounded_length():
    assert short(np.ones((30, 30))) == "an array of shape (30, 30)"
    assert short(torch.tensor([True, False])) == "[True, False]"
    assert short({"a": np.int64(2), "b": None}) == "{'a': 2, 'b': None}"
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


# --- whose fault it is --------------------------------------------------------------------------------------
def taken(answer, x):
    """A probe that expects a dict and is at fault for 3."""
    value = answer(x)["value"]
    if x == 3.0:
        raise ZeroDivisionError("the probe's own")
    return value


PROBED = Exercise(
    name="probed",
    right=lambda x: {"value": 2 * x},
    probe=taken,
    cases=[(1.0,), (2.0,)],
    mistakes={"the half": lambda x: {"value": x / 2}},
)


def test_an_answer_of_another_kind_is_told_apart_and_not_called_an_error():
    said = PROBED.judge(lambda x: [2 * x])
    assert (said.state, said.message) == ("wrong", "The answer is a dict; yours is a list of 1 number.")
    assert PROBED.judge(lambda x: {"value": x / 2}).message == "the half"
    assert PROBED.judge(lambda x: {"value": 2 * x}).state == "correct"


def test_an_error_in_the_code_that_a_probe_calls_is_the_learners():
    verdict = PROBED.judge(lambda x: {"value": x / 0})
    assert verdict.state == "wrong"
    assert (
        verdict.message
        == "Your code raised ZeroDivisionError: float division by zero. It was called with x = 1."
    )


@pytest.mark.parametrize("right", [lambda x: {"value": 2 * x}, lambda x: {"value": 3 * x}])
def test_an_error_of_the_probe_itself_is_no_verdict_on_the_answer(right):
    broken = Exercise(
        name="broken", right=lambda x: {"value": 2 * x}, probe=taken, cases=[(3.0,)], mistakes={}
    )
    verdict = broken.judge(right)
    assert verdict.state == "not judged"
    assert "no fault of yours" in verdict.message and "Your code" not in verdict.message
    assert "not judged" in verdict._repr_html_()


def test_a_probe_that_cannot_read_an_answer_of_the_right_kind_blames_itself():
    def needs_value(answer, x):
        return answer(x)["value"]

    exercise = Exercise(
        name="x", right=lambda x: {"value": 1.0}, probe=needs_value, cases=[(1.0,)], mistakes={}
    )
    verdict = exercise.judge(lambda x: {"worth": 1.0})
    assert verdict.state == "not judged" and "cannot read {'worth': 1.0} (KeyError)" in verdict.message


def test_a_probe_can_say_why_it_cannot_use_a_value():
    def refuses(answer, x):
        raise Unusable("Two lists are wanted; yours is one.")

    exercise = Exercise(name="x", right=1, probe=lambda answer: 1, mistakes={})
    assert exercise.judge(1).state == "correct"
    exercise = Exercise(name="x", right=lambda x: x, probe=lambda a, x: x if a(x) == x else refuses(a, x),
                        cases=[(1.0,)], mistakes={})  # fmt: skip
    assert exercise.judge(lambda x: 2).message == "Two lists are wanted; yours is one."


class Counter:
    """A class as an answer: its methods are called by the probe alone."""

    def __init__(self, start):
        self.value = start

    def add(self, x):
        self.value += x
        return self.value


class Broken(Counter):
    def add(self, x):
        return self.values + x


def counted(answer, start):
    one = answer(start)
    return [one.add(1.0), one.add(2.0)]


CLASS = Exercise(name="counter", right=Counter, probe=counted, cases=[(1.0,)], mistakes={})


def test_an_error_in_a_method_of_the_learners_class_is_the_learners():
    assert CLASS.judge(Counter).state == "correct"
    verdict = CLASS.judge(Broken)
    assert (
        verdict.state == "wrong"
        and "raised AttributeError" in verdict.message
        and "start = 1" in verdict.message
    )
    assert "The answer is a class; yours is a number" in CLASS.judge(3).message


# --- arguments edited in place ------------------------------------------------------------------------------
def test_a_right_answer_that_edits_its_argument_is_correct_and_warned():
    exercise = Exercise(
        name="x", right=lambda xs: 2 * xs, cases=[(np.ones(3),)], mistakes={"no": lambda xs: xs}
    )
    verdict = exercise.judge(lambda xs: np.multiply(xs, 2, out=xs))
    assert verdict.state == "correct"
    assert verdict.message == (
        "One caution: it edits xs in place, so the caller's xs changes too; work on a copy."
    )
    assert exercise.judge(lambda xs: xs * 2).message == ""
    assert "edits xs in place" in exercise.judge(lambda xs: xs.fill(7) or xs).message


def test_an_answer_that_spoils_a_later_case_of_its_own_is_judged_case_by_case():
    """The same array in two cases: what the first call does to it does not reach the second."""
    shared = np.array([3.0, 1.0, 2.0])
    exercise = Exercise(
        name="x", right=lambda xs, i: xs[i], cases=[(shared, 0), (shared, 1), (shared, 2)],
        mistakes={"sorted first": lambda xs, i: np.sort(xs)[i]},
    )  # fmt: skip

    def sorts(xs, i):
        xs.sort()
        return xs[i]

    assert exercise.judge(sorts).message == "sorted first"
    assert shared.tolist() == [3.0, 1.0, 2.0]
    assert exercise.judge(lambda xs, i: xs[i]).state == "correct"


# --- answers that once passed or failed wrongly -------------------------------------------------------------
@pytest.mark.parametrize(
    "name, answer, said",
    [
        ("word_ids", lambda t, ids: [3, *(ids.get(w, 1) for w in t.lower().strip(".").split()), 4], "Words are made"),
        ("masked_negative", lambda s, out, mu, g: torch.log(1 + (torch.exp(mu * (s - g)) * ~out).sum(1)) / mu,
         "mu = 200"),
        ("claim_verdict", lambda low, high: "supported" if low >= 0 else "contradicted" if high < 0
         else "inconclusive", "contains 0"),
        ("rank_changes", lambda a, b: [b.index(n) - i if n in b else None for i, n in enumerate(a)], "is a dict"),
    ],
)  # fmt: skip
def test_what_once_passed_or_was_called_an_error_gets_its_message(name, answer, said):
    verdict = exercises()[name].judge(answer)
    assert verdict.state == "wrong" and said in verdict.message and "raised" not in verdict.message


def test_a_float_where_the_check_has_a_tensor_is_correct():
    def one(s, mu, gamma):
        return torch.logsumexp(torch.cat([torch.zeros(1), mu * (s.float() - gamma)]), 0).item() / mu

    assert exercises()["stable_negative"].judge(one).state == "correct"


@pytest.mark.parametrize("name", [None, 3, ["recall_at_k"], "nonsense"])
def test_whatever_a_check_is_called_with_is_a_verdict(name):
    assert check(name, 1).state == "wrong"

"""Every exercise of every notebook: its solution is correct, its stub is not attempted, each typical wrong
answer gets its own message.
"""

import numpy as np
import pytest
import torch

from usercourse.checks import exercises

ALL = sorted(exercises())


def scribble(value):
    """Edit everything within reach in place."""
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            value.zero_()
    elif isinstance(value, np.ndarray):
        value[...] = 0
    elif isinstance(value, torch.nn.Module):
        for part in value.parameters():
            scribble(part)
    elif isinstance(value, dict):
        for part in value.values():
            scribble(part)
        value.clear()
    elif isinstance(value, (list, tuple)):
        for part in value:
            scribble(part)
        if isinstance(value, list):
            value.clear()
    elif hasattr(value, "__dict__") and not callable(value):
        scribble(vars(value))


def editing(answer):
    """The answer, whose arguments are not what they were when it returns."""

    def edits(*case):
        result = answer(*case)
        kept = torch.clone(result) if isinstance(result, torch.Tensor) else np.copy(result) if isinstance(
            result, np.ndarray) else result  # fmt: skip
        if not any(isinstance(part, torch.Tensor) and part.requires_grad for part in case):
            scribble(case)  # else the slope, taken later, needs it
        return kept

    return edits


@pytest.mark.parametrize("name", ALL)
def test_the_right_answer_is_correct(name):
    exercise = exercises()[name]
    assert exercise.judge(exercise.right).state == "correct"


@pytest.mark.parametrize("name", ALL)
def test_each_typical_wrong_answer_gets_its_own_message(name):
    exercise = exercises()[name]
    assert len(exercise.mistakes) >= 2
    for idea, wrong in exercise.mistakes.items():
        verdict = exercise.judge(wrong)
        assert (verdict.state, verdict.message) == ("wrong", idea)


@pytest.mark.parametrize(
    "name", [name for name in ALL if name not in ("train_step", "momentum_step")]
)  # which change what they are given
def test_an_answer_that_edits_what_it_is_given_changes_no_later_verdict(name):
    exercise = exercises()[name]
    if callable(exercise.right):
        assert exercise.judge(editing(exercise.right)).state == "correct"
    for idea, wrong in exercise.mistakes.items():
        if callable(wrong):
            assert exercise.judge(editing(wrong)).message == idea
        assert exercise.judge(wrong).message == idea
    assert exercise.judge(exercise.right).state == "correct"


@pytest.mark.parametrize("name", ALL)
def test_an_exercise_stands_in_exactly_one_notebook(name, notebooks):
    assert sum(notebooks.checks_of(one).count(name) for one in notebooks.names) == 1


def test_every_check_of_a_notebook_has_a_solution_two_hints_and_an_exercise(notebooks):
    for one in notebooks.names:
        checks, folded = notebooks.checks_of(one), notebooks.solutions_of(one)
        assert sorted(checks) == sorted(folded), one
        assert set(checks) <= set(exercises()), one
        text = notebooks.words(one)
        for hint in ("Hint 1", "Hint 2", "Solution"):
            result = text.count(f"<summary>{hint}</summary>")
            assert result == len(checks), (one, hint)


def test_every_folded_solution_is_correct(notebooks):
    for one in notebooks.names:
        for exercise in notebooks.checks_of(one):
            verdict = exercises()[exercise].judge(notebooks.solve(one, exercise))
            assert verdict.state == "correct", (one, repr(verdict))


def test_every_stub_is_not_attempted(notebooks):
    for one in notebooks.names:
        space = notebooks.definitions(one)
        for exercise in notebooks.checks_of(one):
            verdict = exercises()[exercise].judge(space.get(exercise, ...))
            assert verdict.state == "not attempted yet", (one, repr(verdict))


def test_every_later_notebook_has_three_exercises(notebooks):
    for one in notebooks.names:
        if not one.startswith("00"):
            assert len(notebooks.checks_of(one)) >= 3, one

"""Every exercise of every notebook: its solution is correct, its stub is not attempted, each typical wrong
answer gets its own message.
"""

import pytest

from userlib.course.checks import exercises

ALL = sorted(exercises())


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
            found = text.count(f"<summary>{hint}</summary>")
            assert found == len(checks), (one, hint)


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

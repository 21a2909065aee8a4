"""Demos, predictions and profiles: they draw, keep, compare and refuse as they say."""

import time

import ipywidgets as W
import numpy as np
import pytest

from userlib.config import preset
from userlib.course import (
    PROFILES,
    Demo,
    choice,
    compare,
    course_config,
    expect_trained,
    predict,
    profile,
    show,
    show_table,
    slider,
    start,
    twin,
    variant,
)  # fmt: skip
from userlib.course.plots import new_figure
from userlib.course.predictions import kept, store
from userlib.errors import UserError
from userlib.evaluation import Interval, Ranks, bootstrap


def render(a, b="x"):
    figure, axes = new_figure(2, 1)
    axes[0, 0].plot([0, a])
    if a == 3:
        raise ZeroDivisionError("three")
    return figure, f"a is {a} & b is {b}"


def test_a_demo_draws_at_once_and_again_when_a_control_moves():
    demo = Demo(render, a=slider("a", 1, 5, value=1, step=1), b=choice("b", ["x", "y"]))
    before = bytes(demo.picture.value)
    assert before.startswith(b"\x89PNG")
    assert "a is 1 &amp; b is x" in demo.caption.value
    demo.controls["a"].value = 2
    assert demo.picture.value != before
    demo.controls["b"].value = "y"
    assert "a is 2 &amp; b is y" in demo.caption.value


def test_a_slow_demo_tells_that_it_works_and_then_what_it_found(monkeypatch):
    monkeypatch.setattr("userlib.course.widgets.TICK_S", 0.01)
    told = []

    def slow(a):
        deadline = time.monotonic() + 300
        while a > 1 and not told and time.monotonic() < deadline:
            time.sleep(0.01)
        return render(a)

    demo = Demo(slow, a=slider("a", 1, 5, value=1, step=1))
    demo.caption.observe(lambda change: told.append(change["new"]), "value")
    demo.controls["a"].value = 2
    assert "Computing the next picture" in told[0]
    assert "a is 2" in demo.caption.value and "Computing" not in demo.caption.value


def test_an_error_in_a_demo_is_shown_and_raised():
    demo = Demo(render, a=slider("a", 1, 5, value=1, step=1))
    with pytest.raises(ZeroDivisionError):
        demo.controls["a"].value = 3
    assert "ZeroDivisionError: three" in demo.caption.value


def test_sliders_report_when_let_go_and_stay_whole():
    assert isinstance(slider("a", 1, 5, value=1, step=1), W.IntSlider)
    assert isinstance(slider("a", 0, 1, value=0.5, step=0.1), W.FloatSlider)
    demo = Demo(render, a=W.FloatSlider(value=1, continuous_update=True))
    assert demo.controls["a"].continuous_update is False


def test_show_gives_the_sentence_twice(monkeypatch):
    given = []
    monkeypatch.setattr("IPython.display.display", lambda *what, **how: given.append((what[0], how)))
    show(*render(1))
    (bundle, how), (html, below) = given
    assert how["metadata"]["image/png"]["alt"] == bundle["text/plain"] == "a is 1 & b is x"
    assert "a is 1 &amp; b is x" in html.data
    assert below["metadata"] == {"sentence": "a is 1 & b is x"}
    given.clear()
    twin(render, a=2, b="z")
    assert given[0][0]["text/plain"] == "The demo at a = 2, b = z. a is 2 & b is z"


def test_a_table_is_shown_in_two_forms(monkeypatch):
    given = []
    monkeypatch.setattr("IPython.display.display", lambda *what, **how: given.append(what[0]))
    found = Ranks(i2t=np.array([1, 2]), t2i=np.array([1, 2]), image_of=np.array([0, 1]))
    show_table({"mine": bootstrap(found)})
    assert given[0]["text/markdown"].splitlines()[2].startswith("| mine | 50.0 [0.0, 100.0] |")
    assert "mine" in given[0]["text/plain"]


def test_a_prediction_is_kept_and_set_beside_the_measurement(cache):
    guess = predict("width", "How wide?", low=0, high=20, unit="points")
    assert guess.value is None
    assert "no prediction" in compare("width", 3.0).sentence
    guess.control.value = 5
    assert guess.value == 5
    assert compare("width", 3.0).sentence == (
        "You predicted 5 points; measured: 3 points. Your prediction was 2 points too high."
    )
    assert "inside the interval" in compare("width", Interval(4.0, 3.0, 6.0)).sentence
    assert compare("width", 5.0).sentence.endswith("Right.")
    again = predict("width", "How wide?", low=0, high=20, unit="points")
    assert again.value == 5
    again.value = 2
    assert kept()["width"]["value"] == 2
    assert "1 points too low" in repr(compare("width", 3))


def test_a_prediction_among_options(cache):
    guess = predict("best", "Which?", options=["UTO", "hinge"])
    assert guess.value is None
    guess.value = "hinge"
    assert compare("best", "hinge").sentence.endswith("As you said.")
    assert compare("best", "UTO").sentence.endswith("Otherwise than you said.")
    guess.value = "choose"
    assert "no prediction" in compare("best", "UTO").sentence


def test_damaged_predictions_are_none(cache):
    store().parent.mkdir(parents=True)
    store().write_text("{broken", encoding="utf-8")
    assert kept() == {}
    predict("x", "?").value = 3
    assert kept()["x"]["value"] == 3


def test_profiles_follow_the_environment(monkeypatch, capsys):
    monkeypatch.delenv("USERLIB_PROFILE", raising=False)
    assert profile() is PROFILES["full"]
    monkeypatch.setenv("USERLIB_PROFILE", "fast")
    assert start() is PROFILES["fast"]
    told = capsys.readouterr().out
    assert "Profile fast: 1,000 train, 200 val, 500 test pictures" in told
    assert "training at most 60 steps, 20 s" in told
    monkeypatch.setenv("USERLIB_PROFILE", "quick")
    with pytest.raises(UserError, match="'quick'; it must be one of fast, full, study"):
        profile()


def test_flat_names_reach_their_part_and_no_name_is_in_two(monkeypatch):
    monkeypatch.setenv("USERLIB_PROFILE", "fast")
    config = course_config(objective="infonce", enhancement="none", seed=3)
    assert (config.objective.name, config.model.enhancement, config.training.seed) == ("infonce", "none", 3)
    assert dict(config.data.sizes) == dict(PROFILES["fast"].sizes)
    assert config.training.steps == PROFILES["fast"].steps
    base = preset("scenes")
    names = [name for part in vars(base).values() for name in vars(part)]
    assert len(names) == len(set(names))
    with pytest.raises(UserError, match="no setting 'speed'"):
        course_config(speed=2)


class Ready:
    """As much of a Prepared and a Run as is looked at."""

    def __init__(self, rows=()):
        self.config, self.rows = course_config(), list(rows)


def test_a_variant_keeps_the_data(monkeypatch):
    from userlib.training import Prepared

    ready = Prepared(course_config(), None, None, None, None, "print")
    other = variant(ready, objective="infonce", seed=2)
    assert other.config.objective.name == "infonce"
    assert other.config.data == ready.config.data
    for change in ({"steps": 5}, {"tokens": "clip-mini"}, {"sizes": {"train": 10}}):
        with pytest.raises(UserError, match="cannot be changed on data that are ready"):
            variant(ready, **change)


def test_a_run_that_did_nothing_cannot_pass_for_one(monkeypatch):
    monkeypatch.setenv("USERLIB_PROFILE", "fast")
    steps = PROFILES["fast"].steps
    expect_trained(Ready([{"step": float(steps), "t2i_r10": 40.0}]))
    with pytest.raises(UserError, match=f"took {steps - 1} of {steps} steps"):
        expect_trained(Ready([{"step": steps - 1.0, "t2i_r10": 40.0}]))
    with pytest.raises(UserError, match="took 0 of"):
        expect_trained(Ready())
    with pytest.raises(UserError, match="nothing was learned"):
        expect_trained(Ready([{"step": float(steps), "t2i_r10": 5.5}]))

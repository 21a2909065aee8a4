"""Demos, predictions and profiles: they draw, keep, compare and refuse as they say."""

import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import ipywidgets as W
import numpy as np
import pytest

from usercourse import (
    PROFILES,
    Demo,
    choice,
    compare,
    course_config,
    expect_trained,
    field,
    predict,
    predictions,
    profile,
    show,
    show_table,
    slider,
    snapshot,
    start,
    variant,
)  # fmt: skip
from usercourse.plots import new_figure
from usercourse.predictions import kept, store
from userlib.errors import UserError
from userlib.evaluation import Interval, Ranks, bootstrap
from userlib.presets import preset


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


def test_what_a_reader_may_write_is_answered_in_one_sentence():
    """A field left empty is no programming error: no traceback, and the next query works again."""

    def find(query):
        if not query:
            raise UserError("The query is empty.")
        return render(1, query)

    demo = Demo(find, query=field("query", "a dog"))
    assert "b is a dog" in demo.caption.value
    demo.controls["query"].value = ""
    assert demo.caption.value == '<div role="alert">The query is empty.</div>'
    demo.controls["query"].value = "a cat"
    assert "b is a cat" in demo.caption.value


def test_a_slow_demo_tells_that_it_works_and_then_what_it_found(monkeypatch):
    monkeypatch.setattr("usercourse.widgets.TICK_S", 0.01)
    told = []

    def slow(a):
        deadline = time.monotonic() + 300
        while a > 1 and not told and time.monotonic() < deadline:
            time.sleep(0.01)
        return render(a)

    demo = Demo(slow, a=slider("a", 1, 5, value=1, step=1))
    demo.caption.observe(lambda change: told.append(change["new"]), "value")
    demo.controls["a"].value = 2
    assert "Computing the next figure" in told[0]
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
    snapshot(render, a=2, b="z")
    assert given[0][0]["text/plain"] == "The demo at a = 2, b = z. a is 2 & b is z"


def test_a_table_is_shown_in_two_forms(monkeypatch):
    given = []
    monkeypatch.setattr("IPython.display.display", lambda *what, **how: given.append(what[0]))
    ranked = Ranks(i2t=np.array([1, 2]), t2i=np.array([1, 2]), caption_to_image=np.array([0, 1]))
    show_table({"mine": bootstrap(ranked)})
    assert given[0]["text/markdown"].splitlines()[2].startswith("| mine | 50.0 [0.0, 100.0] |")
    assert "mine" in given[0]["text/plain"]


def test_a_prediction_is_kept_and_set_beside_the_measurement(cache, monkeypatch):
    monkeypatch.setattr(predictions, "_told", [])
    guess = predict("width", "How wide?", low=0, high=20, unit="points")
    assert guess.value is None
    assert "no prediction" in compare("width", 3.0).sentence
    guess.control.value = "5"
    assert guess.value is None  # nothing counts before it is locked
    guess.lock.click()
    assert guess.value == 5
    assert compare("width", 3.0).sentence == (
        "You predicted 5 points; measured: 3 points. Your prediction was 2 points too high."
    )
    assert "inside the 95 % confidence interval" in compare("width", Interval(4.0, 3.0, 6.0)).sentence
    assert compare("width", 5.0).sentence.endswith("Right.")
    again = predict("width", "How wide?", low=0, high=20, unit="points")
    assert again.value == 5 and again.control.value == "5"
    again.value = 2
    assert kept()["width"]["value"] == 2
    assert "1 points too low" in repr(compare("width", 3))
    assert "1 percentage points too low" in repr(compare("width", 3, unit="%"))  # not 1 %


@pytest.mark.parametrize("low, high, step", [(0, 20, 1), (-1, 1, 0.05), (0, 1.5, 0.01), (5, 300, 1)])
@pytest.mark.parametrize("end", ["low", "high"])
def test_the_field_starts_empty_and_both_ends_can_be_recorded(cache, low, high, step, end):
    guess = predict("end", "How much?", low=low, high=high, step=step)
    assert guess.control.value == "" and guess.lock.disabled and guess.value is None
    assert guess.control.placeholder == f"{low:g} to {high:g}" and "Nothing is locked yet" in guess.said.value
    guess.lock.click()
    assert guess.value is None and kept() == {}  # an untouched field is no answer
    wanted = low if end == "low" else high
    guess.control.value = f"{wanted:g}"
    guess.lock.click()
    assert guess.value == wanted and guess.lock.disabled
    assert f"Locked: {wanted:g}" in guess.said.value
    assert kept()["end"]["value"] == wanted
    assert compare("end", wanted).sentence.endswith("Right.")
    assert predict("end", "How much?", low=low, high=high, step=step).value == wanted


@pytest.mark.parametrize(
    "written, value",
    [("0", 0), (" 40 ", 40), ("40 %", 40), ("40%", 40), ("0,5", 0.5), ("1,000", 1000), ("1,000.5", 1000.5),
     ("\N{MINUS SIGN}3", -3), ("+2.", 2), (".25", 0.25), ("1e2", 100),
     ("", None), ("forty", None), ("1 or 2", None), ("nan", None), ("inf", None), ("-6", None), ("2001", None),
     ("%", None), ("0x10", None)],
)  # fmt: skip
def test_numbers_as_people_write_them(cache, written, value):
    guess = predict("n", "?", low=-5, high=2000, step=0.25, unit="%")
    guess.control.value = written
    assert guess.lock.disabled is (value is None)
    assert ("is no answer" in guess.said.value) is (value is None and written != "")
    guess.lock.click()
    assert guess.value == value and ("n" in kept()) is (value is not None)


def test_enter_locks_like_the_button(cache):
    guess = predict("x", "?")
    guess.control.value = "8"
    guess.control._handle_custom_msg({"event": "submit"}, [])
    assert guess.value == kept()["x"]["value"] == 8


def test_another_answer_asks_to_be_locked_again(cache):
    guess = predict("x", "?")
    guess.value = 3
    assert guess.control.value == "3"
    guess.control.value = "8"
    assert guess.value == 3 and not guess.lock.disabled and "Press Lock to change it" in guess.said.value
    guess.lock.click()
    assert kept()["x"]["value"] == guess.value == 8
    guess.value = None
    assert guess.control.value == "" and kept() == {} and "Nothing is locked yet" in guess.said.value


def test_a_cache_that_cannot_be_written_keeps_predictions_until_the_kernel_ends(cache):
    store().parent.parent.mkdir(parents=True, exist_ok=True)
    store().parent.write_text("a file where the folder should be")
    guess = predict("x", "?")
    guess.control.value = "0"
    guess.lock.click()
    assert guess.value == 0 and "kept until the kernel ends" in guess.said.value
    assert compare("x", 2.0).sentence.startswith("You predicted 0; measured: 2.")


def test_a_notebook_run_as_a_whole_says_once_and_quietly_that_nothing_was_predicted(cache, monkeypatch):
    monkeypatch.setattr(predictions, "_told", [])
    predict("one", "?"), predict("two", "?", options=["a", "b"])
    first, second = compare("one", 3.25, unit="%"), compare("two", "a")
    assert first.sentence == (
        "Measured: 3.25 %. Not predicted: no prediction is locked above. To compare, press Lock there, then run "
        "this cell again."
    )
    assert second.sentence == "Measured: a."
    assert kept() == {} and first.predicted is None


def test_no_prediction_nor_its_lack_is_stored(cache, monkeypatch):
    import nbformat

    spec = spec_from_file_location("build", Path(__file__).parents[2] / "notebooks" / "build.py")
    build = module_from_spec(spec)
    spec.loader.exec_module(build)
    predict("one", "?").value = 3
    outputs = []
    for name in ("one", "none"):
        data, metadata = compare(name, 4.0, unit="%")._repr_mimebundle_()
        outputs.append(nbformat.v4.new_output("execute_result", data, metadata=metadata, execution_count=1))
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=outputs)])
    build.clean(nb)
    for output in nb.cells[0].outputs:
        assert output.data["text/plain"] == "Measured: 4 %."
        assert "redict" not in str(output)


def test_a_prediction_among_options(cache):
    guess = predict("best", "Which?", options=["UTO", "hinge"])
    assert guess.value is None and guess.lock.disabled
    guess.control.value = "hinge"
    assert guess.value is None
    guess.lock.click()
    assert compare("best", "hinge").sentence.endswith("As you predicted.")
    assert compare("best", "UTO").sentence.endswith("Not as you predicted.")
    guess.control.value = "choose"
    assert guess.value == "hinge"
    guess.value = "choose"
    assert compare("best", "UTO").predicted is None and kept() == {}


@pytest.mark.parametrize("guess", [-1, 101, 2.5, float("nan"), "many", True, [1]])
def test_what_is_no_answer_is_refused_and_changes_nothing(cache, guess):
    number, option = predict("a", "?", unit="%"), predict("b", "?", options=["x", "y"])
    number.value, option.value = 7, "x"
    with pytest.raises(UserError, match=r"whole number from 0 to 100 %"):
        number.value = guess
    with pytest.raises(UserError, match="choose one of 'x', 'y'"):
        option.value = guess
    assert (number.value, option.value) == (7, "x")
    assert kept()["a"]["value"] == 7


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
    assert "Profile fast: 1,000 train, 200 val, 500 test images" in told
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
        with pytest.raises(UserError, match="cannot be changed on prepared data"):
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
        expect_trained(Ready([{"step": float(steps), "t2i_r10": 9.9}]))

"""What a caption says that an image lacks: the right cause and a sentence, for each kind of fact."""

from dataclasses import replace

import pytest

from usercourse.demo.scene_diff import CAUSES, describe, difference, missing, scene_words
from userscenes import closed_facts, make_world, true


def thing(level, colour="", pattern="", size="", action="", side=""):
    return ("thing", level, colour, pattern, size, action, side)


# An image of a small red car that stands, and of a blue dog that runs, on the street by day.
PICTURE = frozenset(
    {
        *(thing("car", c, "", s, "", side) for c in ("", "red") for s in ("", "small") for side in ("", "left")),
        *(thing("dog", c, "", "", a) for c in ("", "blue") for a in ("", "running")),
        ("count", "car", "", "", 1), ("count", "dog", "", "", 1), ("setting", "street"), ("time", "day"),
        ("rel", "dog", "", "", "on", "car", "", ""),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    "fact, cause, words",
    [
        (thing("cat"), "thing", "no cat"),
        (thing("cat", "red"), "thing", "no cat"),
        (thing("car", "green"), "colour", "a car is there, but not green"),
        (thing("car", "blue"), "binding", "a car is there, but not blue; something else is blue"),
        (thing("car", "red", "", "big"), "size", "a car is there, but not big"),
        (thing("dog", "blue", "", "", "sleeping"), "action", "a dog is there, but not sleeping"),
        (thing("car", "", "striped"), "pattern", "a car is there, but not striped"),
        (thing("car", "red", "", "", "", "right"), "side", "a car is there, but not on the right"),
        (("count", "car", "", "", 2), "number", "not two car, but another number"),
        (("count", "cat", "", "", 2), "thing", "no cat"),
        (("many", "dog", "", ""), "number", "not several dog, but another number"),
        (("rel", "dog", "", "", "riding", "car", "", ""), "relation", "a dog is there, but not riding a car"),
        (("rel", "dog", "", "", "on", "sofa", "", ""), "thing", "no sofa"),
        (("setting", "beach"), "setting", "the setting is not beach"),
        (("time", "night"), "time", "the time is not night"),
        (("weather", "rainy"), "weather", "the weather is not rainy"),
    ],
)
def test_the_cause_of_a_miss(fact, cause, words):
    (miss,) = missing(frozenset({fact}), PICTURE)
    assert (miss.cause, miss.sentence) == (cause, words)


def test_words_that_are_right_of_two_things_apart_are_a_binding():
    two = frozenset({thing("car"), thing("car", "red"), thing("car", "", "", "", "", "left")})
    (miss,) = missing(frozenset({thing("car", "red", "", "", "", "left")}), two)
    assert miss.cause == "binding"
    assert "none that is red and on the left" in miss.sentence


def test_the_gravest_comes_first_and_what_holds_is_left_out():
    asked = frozenset({("time", "night"), thing("cat"), thing("car", "green"), ("setting", "street")})
    assert [miss.cause for miss in missing(asked, PICTURE)] == ["thing", "colour", "time"]


def test_misses_agree_with_the_truth_on_drawn_scenes():
    """No miss if and only if the caption is true, over 30 scenes each way; every cause has its place."""
    world = make_world("val", 30)
    facts = [closed_facts(scene) for scene in world]
    for i in range(30):
        for caption in world.captions(i):
            for j in range(0, 30, 3):
                misses = missing(caption.facts, facts[j])
                assert (not misses) == true(caption, world[j])
                assert all(miss.cause in CAUSES for miss in misses)


def test_scenes_differ_in_words():
    world = make_world("val", 2)
    assert difference(world[0], world[0]) == "its objects are the same, in other places"
    said = difference(world[0], world[1])
    assert "it lacks" in said
    assert "it has" in said
    assert world[0].setting in scene_words(world[0])


def test_a_room_has_no_weather_and_the_words_say_so():
    world = make_world("test", 60)
    inside = next(scene for scene in world if not scene.weather)
    outside = next(scene for scene in world if scene.weather)
    assert f"the weather is {outside.weather}" in difference(inside, outside)
    assert "its weather is not shown" in difference(outside, inside)
    assert not any("none" in difference(*pair) for pair in ((inside, outside), (outside, inside)))


def test_things_are_told_in_words():
    things = [
        thing for scene in map(make_world("test", 200).__getitem__, range(200)) for thing in scene.things
    ]
    dog = next(thing for thing in things if thing.kind == "dog")
    plain = replace(dog, colour="orange", pattern="", size="", action="", count=1)
    assert describe(plain) == "an orange dog"
    assert describe(replace(plain, count=2, pattern="striped")) == "two striped orange dogs"
    assert describe(replace(plain, count=3, kind="man", action="waving")) == "three orange men waving"
    assert describe(replace(plain, kind="blocks", size="big")) == "a big orange pile of blocks"

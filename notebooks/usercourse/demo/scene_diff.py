"""Facts of the drawn world in words: what a caption states and an image lacks, and how two scenes differ."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from userscenes import Fact, Scene, Thing

# What can be wrong, the most serious first: where an object is missing, its colour does not matter.
CAUSES = (
    "thing", "binding", "colour", "pattern", "number", "relation", "action", "size", "side", "setting",
    "time", "weather",
)  # fmt: skip
SLOTS = ("level", "colour", "pattern", "size", "action", "side")
NUMBERS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True)
class Miss:
    """A fact of a caption that does not hold for an image: the kind of error, and a sentence."""

    cause: str
    sentence: str


def noun(level: str, colour: str = "", pattern: str = "", size: str = "") -> str:
    """A noun with its attributes: "small spotted red car"."""
    return " ".join(word for word in (size, pattern, colour, level) if word)


def a(words: str) -> str:
    """The words with the article "a" or "an" before them."""
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"


def missing(caption: "frozenset[Fact]", picture: "frozenset[Fact]") -> list[Miss]:
    """The facts of a caption that are not among the closed facts of an image, the most serious first."""
    misses = [_miss(fact, picture) for fact in caption - picture]
    return sorted(set(misses), key=lambda miss: (CAUSES.index(miss.cause), miss.sentence))


def _miss(fact: "Fact", picture: "frozenset[Fact]") -> Miss:
    word, *rest = (str(part) for part in fact)
    if word == "thing":
        return _thing_miss(rest, picture)
    if word in ("count", "many"):
        wanted = f"{_number(rest[3])} " if word == "count" else "several "
        what = noun(*rest[:3])
        if ("thing", *rest[:3], "", "", "") not in picture:
            return _thing_miss([*rest[:3], "", "", ""], picture)
        return Miss("number", f"not {wanted}{what}, but another number")
    if word == "rel":
        first, relation, second = rest[:3], rest[3], rest[4:]
        for end in (first, second):
            if ("thing", *end, "", "", "") not in picture:
                return _thing_miss([*end, "", "", ""], picture)
        return Miss("relation", f"{a(noun(*first))} is there, but not {relation} {a(noun(*second))}")
    if word == "place":
        return Miss("setting", f"it is not {rest[0]}")
    if word == "setting":
        return Miss("setting", f"the setting is not {rest[0]}")
    return Miss(word, f"the {word} is not {rest[0]}")


def _thing_miss(rest: list[str], picture: "frozenset[Fact]") -> Miss:
    """The word about an object that is wrong. If it is true of another object in the image, the error is in the
    binding.
    """
    said = dict(zip(SLOTS, rest, strict=True))
    level = said.pop("level")
    if not _holds(picture, level=level):
        return Miss("thing", f"no {level}")
    given = {name: value for name, value in said.items() if value}
    wrong = [name for name in given if not _holds(picture, level=level, **{name: given[name]})]
    if not wrong:  # each word is true of some such object, but not all words of one
        return Miss(
            "binding", f"{a(level)} is there for each attribute, but none that is {_and(_all(given))}"
        )
    name = min(wrong, key=CAUSES.index)
    value = _said(name, given[name])
    if name in ("colour", "pattern") and any(f[0] == "thing" and f[SLOTS.index(name) + 1] == given[name]
                                             for f in picture):  # fmt: skip
        return Miss("binding", f"{a(level)} is there, but not {value}; something else is {value}")
    return Miss(name, f"{a(level)} is there, but not {value}")


def _holds(picture: "frozenset[Fact]", **said: str) -> bool:
    """Whether there is an object to which all the given words apply."""
    return ("thing", *(said.get(slot, "") for slot in SLOTS)) in picture


def _all(given: dict[str, str]) -> list[str]:
    return [_said(name, value) for name, value in given.items()]


def _said(name: str, value: str) -> str:
    if name != "side":
        return value
    return f"{'in' if value == 'middle' else 'on'} the {value}"


def _number(text: str) -> str:
    return NUMBERS[int(text)] if text.isdecimal() and int(text) < len(NUMBERS) else text


def describe(thing: "Thing") -> str:
    """An object of a scene in words: "two striped red cars", "a brown dog running"."""
    from userscenes.catalog import KINDS

    singular, plural = KINDS[thing.kind].nouns[0]
    many = thing.count > 1
    words = noun(plural if many else singular, thing.colour, thing.pattern, thing.size)
    acting = f" {thing.action}" if thing.action else ""
    return (f"{_number(str(thing.count))} {words}" if many else a(words)) + acting


def scene_words(scene: "Scene") -> str:
    """A scene in words: its objects, setting, time of day and weather."""
    things = ", ".join(describe(thing) for thing in scene.things)
    around = ", ".join(word for word in (scene.setting, scene.time, scene.weather) if word)
    return f"{things}; {around}"


def difference(first: "Scene", second: "Scene") -> str:
    """How the second scene differs from the first, as a clause."""
    ours, theirs = ([describe(thing) for thing in scene.things] for scene in (first, second))
    parts = []
    if gone := [words for words in ours if words not in theirs]:
        parts.append(f"it lacks {_and(gone)}")
    if new := [words for words in theirs if words not in ours]:
        parts.append(f"it has {_and(new)} instead" if gone else f"it has {_and(new)} besides")
    for name in ("setting", "time", "weather"):
        here, there = getattr(first, name), getattr(second, name)
        if here != there:  # indoors there is no weather
            instead = f", not {here}" if here else ""
            parts.append(f"the {name} is {there}{instead}" if there else f"its {name} is not shown")
    return "; ".join(parts) or "its objects are the same, in other places"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

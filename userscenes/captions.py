"""Five captions of a scene, each in a style of its own.

One is short, one says what happens, one says where things are, one is long, one is a list. In pretrain all
five are alt texts, see alt_text.py. Every caption is true of its scene by construction: it says only
what the graph holds, and records this as facts (see truth.py).
"""

from __future__ import annotations

from collections.abc import Callable

from .alt_text import tag
from .caption_builder import CaptionBuilder
from .catalog import KINDS
from .facts import Caption, side_of
from .graph import PLACED, Scene
from .rng import Rng
from .words import (
    ACTIONS,
    RELATION_PREPOSITIONS,
    RELATION_VERBS,
    SETTING_PHRASES,
    SIDES,
    SUNNY_DAY,
    TIME_PHRASES,
    WEATHER_PHRASES,
)

CAPTIONS = 5


def write(scene: Scene, seed: str, *, alt_text: bool = False) -> list[Caption]:
    """CAPTIONS different captions of the scene."""
    rng = Rng(f"captions {seed}")
    out: list[Caption] = []
    taken: set[str] = set()
    for n in range(CAPTIONS):
        for _ in range(20):
            builder = CaptionBuilder(scene, rng, alt_text)
            text = tag(builder, n) if alt_text else WRITERS[n](builder)
            caption = Caption(*builder.finish(text))
            if caption.text not in taken:
                break
        taken.add(caption.text)
        out.append(caption)
    return out


def acts(scene: Scene) -> list[tuple[int, str, int]]:
    """The relations that are not merely spatial."""
    return [r for r in scene.relations if r[1] not in PLACED]


def _where(t: CaptionBuilder) -> str:
    t.facts.add(("setting", t.scene.setting))
    return t.rng.pick(SETTING_PHRASES[t.scene.setting])


def _when(t: CaptionBuilder) -> str:
    """A phrase for the time of day or the weather."""
    s, rng = t.scene, t.rng
    if s.weather and (rng.chance(0.6) or s.time == "day"):
        t.facts.add(("weather", s.weather))
        if s.weather == "sunny" and s.time == "day":
            t.facts.add(("time", "day"))
            return rng.pick(SUNNY_DAY)
        return rng.pick(WEATHER_PHRASES[s.weather])
    t.facts.add(("time", s.time))
    return rng.pick(TIME_PHRASES[s.time])


def _setting(t: CaptionBuilder, chance: float, when: float = 0.25) -> str:
    """ " in the park", " at night", both or nothing, with a space before."""
    out = f" {_where(t)}" if t.rng.chance(chance) else ""
    return out + (f" {_when(t)}" if t.rng.chance(when) else "")


def _is(t: CaptionBuilder, i: int) -> str:
    return "are" if t.plural(i) else "is"


def _form(t: CaptionBuilder, i: int, forms: tuple[str, str, str], how: str) -> str:
    """A verb as participle ("ing"), with is or are ("is"), or in the simple present ("s")."""
    if how == "ing":
        return forms[0]
    if how == "is":
        return f"{_is(t, i)} {forms[0]}"
    return forms[2] if t.plural(i) else forms[1]


def _doing(t: CaptionBuilder, i: int, how: str) -> str:
    """What thing i does by itself; its action must not be empty."""
    t.say(i, action=True)
    return _form(t, i, t.rng.pick(ACTIONS[t.scene.things[i].action]), how)


def _relates(t: CaptionBuilder, i: int, relation: str, j: int, how: str, *, name: str | None = None) -> str:
    """The verb or preposition of a relation and its object: "rides a green bicycle"."""
    words = t.rng.pick(RELATION_VERBS[relation]) if relation in RELATION_VERBS else None
    vehicle = KINDS[t.scene.things[j].kind].family == "vehicle"
    if words is not None and words[0] == "riding on" and vehicle:
        words = RELATION_VERBS["riding"][0]
    verb = _form(t, i, words, how) if words else t.rng.pick(RELATION_PREPOSITIONS[relation])
    if words is None and how != "ing":
        verb = f"{_being(t, i, how)} {verb}"
    t.link(i, relation, j)
    obj = name or t.name(j, colour=t.rng.chance(0.85))
    return f"{verb} {obj}"


def _being(t: CaptionBuilder, i: int, how: str) -> str:
    """The verb for a thing's place, "stands" or "is"; it states no fact."""
    thing = t.scene.things[i]
    many = t.plural(i)
    if KINDS[thing.kind].family in ("person", "animal") and thing.pose == "stand" and t.rng.chance(0.5):
        if how == "is":
            return "are standing" if many else "is standing"
        return "stand" if many else "stands"
    return _is(t, i)


def _there(t: CaptionBuilder, i: int, name: str) -> str:
    """ "there is" or "there are", by what follows: "there is a pair of dogs"."""
    return "there are" if t.plural(i) and name[1:3] != "a " else "there is"


def _main(t: CaptionBuilder) -> tuple[int, str, int] | None:
    """A relation to mention, or None."""
    choice = [r for r in acts(t.scene) if r[1] != "in front of" or t.rng.chance(0.5)]
    return t.rng.pick(choice) if choice else None


def short(t: CaptionBuilder) -> str:
    """ "A boy riding a green bicycle", "Two brown dogs running in the park"."""
    main = _main(t)
    if main and t.rng.chance(0.75):
        i, relation, j = main
        out = f"{t.name(i, colour=t.rng.chance(0.6))} {_relates(t, i, relation, j, 'ing')}"
        return out + _setting(t, 0.2, 0.06)
    i = t.rng.below(len(t.scene.things))
    out = t.name(i, colour=t.rng.chance(0.9))
    if t.scene.things[i].action and t.rng.chance(0.8):
        out += f" {_doing(t, i, 'ing')}"
    near = [r for r in t.scene.relations if r[0] == i and r[1] == "next to"]
    if near and t.rng.chance(0.4):
        return f"{out} {_relates(t, i, 'next to', near[0][2], 'ing')}"
    return out + _setting(t, 0.75, 0.2)


def event(t: CaptionBuilder) -> str:
    """ "A man in a red shirt is playing a guitar on the beach"."""
    main = _main(t)
    how = t.rng.pick(("is", "s"))
    if main and t.rng.chance(0.85):
        i, relation, j = main
        out = f"{t.name(i)} {_relates(t, i, relation, j, how)}"
        more = [r for r in acts(t.scene) if r[0] == i and r[1] in ("holding", "wearing") and r[2] != j]
        if more and relation in RELATION_VERBS and t.rng.chance(0.8):
            _, second, k = more[0]
            link, form = t.rng.pick((("while", "ing"), ("and", "ing" if how == "is" else "s")))
            return f"{out} {link} {_relates(t, i, second, k, form)}"
        return out + _setting(t, 0.5, 0.12)
    busy = [i for i, thing in enumerate(t.scene.things) if thing.action]
    if busy:
        i = t.rng.pick(busy)
        out = f"{t.name(i)} {_doing(t, i, how)}"
        beside = [r for r in t.scene.relations if r[0] == i and r[1] in ("next to", "above")]
        if beside and t.rng.chance(0.6):
            _, relation, j = t.rng.pick(beside)
            t.link(i, relation, j)
            out += f" {t.rng.pick(RELATION_PREPOSITIONS[relation])} {t.name(j)}"
            return out + _setting(t, 0.4, 0.1)
        return out + _setting(t, 0.9, 0.25)
    i = t.rng.below(len(t.scene.things))
    return f"{t.name(i)} {_being(t, i, how)} {_where(t)}{_setting(t, 0, 0.5)}"


def places(t: CaptionBuilder) -> str:
    """ "There is a blue car to the left of a tree", "A cat is on the right, and a box is on the left"."""
    s, rng = t.scene, t.rng
    spatial = [r for r in s.relations if r[1] in PLACED or r[1] in ("behind", "in front of", "under", "on")]
    if spatial and rng.chance(0.8):
        # The relation is drawn before the pair, as most pairs are left or right of each other.
        relation = rng.pick(sorted({r[1] for r in spatial}))
        i, _, j = rng.pick([r for r in spatial if r[1] == relation])
        first = t.name(i, colour=rng.chance(0.85))
        if rng.chance(0.4):
            out = f"{_there(t, i, first)} {first} {_relates(t, i, relation, j, 'ing')}"
        else:
            out = f"{first} {_relates(t, i, relation, j, rng.pick(('is', 's')))}"
        return out + _setting(t, 0.25, 0.08)
    sided = [i for i, thing in enumerate(s.things) if side_of(thing)]
    if not sided:
        return event(t)
    i = rng.pick(sided)
    first = t.name(i)
    t.say(i, side=True)
    where = rng.pick(SIDES[side_of(s.things[i])])
    others = [j for j in sided if j != i and side_of(s.things[j]) != side_of(s.things[i])]
    if others and rng.chance(0.75):
        j = rng.pick(others)
        second = t.name(j)
        t.say(j, side=True)
        there = rng.pick(SIDES[side_of(s.things[j])])
        if rng.chance(0.5):
            return f"{where}, {_there(t, i, first)} {first}, and {there}, {_there(t, j, second)} {second}"
        return f"{first} {_is(t, i)} {where} and {second} {_is(t, j)} {there}"
    act = f" {_doing(t, i, 'is')}" if s.things[i].action and rng.chance(0.6) else f" {_being(t, i, 's')}"
    return f"{first}{act} {where}{_setting(t, 0.8, 0.2)}"


def long(t: CaptionBuilder) -> str:
    """ "On a sunny day in the park, a boy rides a bicycle while two dogs run"."""
    s, rng = t.scene, t.rng
    opening = f"{_when(t)}, " if rng.chance(0.25) else f"{_where(t)}, " if rng.chance(0.4) else ""
    main = _main(t)
    told: set[int] = set()
    if main:
        i, relation, j = main
        out = f"{t.name(i)} {_relates(t, i, relation, j, 's')}"
        told = {i, j}
    else:
        i = rng.below(len(s.things))
        out = t.name(i)
        if s.things[i].action and rng.chance(0.9):
            out += f" {_doing(t, i, 's')}"
        else:
            out += f" {_being(t, i, 's')} {_side_or_where(t, i)}"
        told = {i}
    bound = {k for a, _, b in acts(s) if {a, b} & told for k in (a, b)}
    rest = [k for k in range(len(s.things)) if k not in told | bound]
    if rest and rng.chance(0.6):
        k = rng.pick(rest)
        link = rng.pick((" while ", ", and ", " and "))
        others = [r for r in acts(s) if r[0] == k and r[2] not in told]
        near = [r for r in s.relations if r[0] == k and r[2] in told and r[1] in PLACED]
        second = t.name(k)
        if others:
            clause = _relates(t, k, *others[0][1:], "s")
        elif s.things[k].action:
            clause = _doing(t, k, "s")
        elif near:
            _, relation, j = rng.pick(near)
            clause = _relates(t, k, relation, j, "s", name=t.again(j))
        elif side_of(s.things[k]):
            t.say(k, side=True)
            clause = f"{_being(t, k, 's')} {rng.pick(SIDES[side_of(s.things[k])])}"
        else:
            clause = f"{_being(t, k, 's')} {rng.pick(('close by', 'there too', 'nearby'))}"
        out += f"{link}{second} {clause}"
    if not opening or (not rest and rng.chance(0.7)):
        known = ("setting", s.setting) in t.facts
        out += _setting(t, 0.0 if known else 0.6, 0.15 if not opening else 0.0)
    return opening + out


def _side_or_where(t: CaptionBuilder, i: int) -> str:
    told = ("setting", t.scene.setting) in t.facts
    if side_of(t.scene.things[i]) and (told or t.rng.chance(0.5)):
        t.say(i, side=True)
        return t.rng.pick(SIDES[side_of(t.scene.things[i])])
    return "there" if told else _where(t)


def lister(t: CaptionBuilder) -> str:
    """ "There are two cats, a ball and a lamp in the bedroom"."""
    s, rng = t.scene, t.rng
    number = min(len(s.things), rng.pick((2, 2, 3, 3)))
    chosen = rng.shuffled(range(len(s.things)))[:number]
    names = [t.name(i, colour=rng.chance(0.8)) for i in chosen]
    what = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    place = _setting(t, 0.7 if len(names) < 4 else 0.35, 0.2)
    many = len(chosen) > 1 or t.plural(chosen[0])
    style = rng.below(4)
    if style == 0:
        return f"{_there(t, chosen[0], names[0])} {what}{place}"
    if style == 1:
        return f"{rng.pick(('a picture of', 'a drawing of', 'a view of', 'a scene with'))} {what}{place}"
    if style == 2 and ("setting", s.setting) in t.facts:
        return f"{what} {'are' if many else 'is'}{place}"
    return f"{what}{place}"


Writer = Callable[[CaptionBuilder], str]
WRITERS: tuple[Writer, ...] = (short, event, places, long, lister)

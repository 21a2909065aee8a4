"""The terse captions of pretrain, in the manner of alt texts and tags: "red bus, street, night", "2 brown
dogs near boat - lake"."""

from __future__ import annotations

from .facts import side_of
from .graph import PLACED
from .telling import Telling
from .words import ACTIONS, RELATION_PREPOSITIONS, RELATION_VERBS, SETTING_NOUNS, TIME_PHRASES, WEATHER_WORDS


def tag(t: Telling, n: int) -> str:
    """Caption n of a scene: two of what happens, two lists, one of places."""
    s, dice = t.scene, t.dice
    acts = [r for r in s.relations if r[1] not in PLACED]
    if n == 4 or (n < 2 and not acts):
        spatial = [r for r in s.relations if r[1] in PLACED]
        acts = spatial or acts
    if n in (0, 1, 4) and acts:
        what = _related(t, *dice.pick(acts))
    else:
        number = min(len(s.things), dice.pick((1, 2, 2, 3)))
        chosen = dice.shuffled(range(len(s.things)))[:number]
        what = dice.pick((", ", " and ", " + ")).join(_one(t, i) for i in chosen)
    ends = _ends(t)
    return dice.pick((", ", " - ", ", ")).join([what, *ends]) if ends else what


def _one(t: Telling, i: int) -> str:
    thing = t.scene.things[i]
    out = t.name(i, colour=t.dice.chance(0.9))
    if thing.action and t.dice.chance(0.6):
        t.say(i, action=True)
        out += f" {t.dice.pick(ACTIONS[thing.action])[0]}"
    elif side_of(thing) and t.dice.chance(0.15):
        t.say(i, side=True)
        out += f" {dict(left='left', right='right', middle='centre')[side_of(thing)]}"
    return out


def _related(t: Telling, i: int, relation: str, j: int) -> str:
    words = [f[0] for f in RELATION_VERBS.get(relation, ())] or RELATION_PREPOSITIONS[relation]
    first = t.name(i, colour=t.dice.chance(0.9))
    t.link(i, relation, j)
    return f"{first} {t.dice.pick(words)} {t.name(j, colour=t.dice.chance(0.9))}"


def _ends(t: Telling) -> list[str]:
    """The setting, the hour, the weather: each said now and then."""
    s, dice = t.scene, t.dice
    out = []
    if dice.chance(0.6):
        t.facts.add(("setting", s.setting))
        out.append(dice.pick(SETTING_NOUNS[s.setting]))
    if s.time != "day" and dice.chance(0.4):
        t.facts.add(("time", s.time))
        out.append(dice.pick((*TIME_PHRASES[s.time], s.time)))
    if s.weather and dice.chance(0.3):
        t.facts.add(("weather", s.weather))
        out.append(dice.pick((WEATHER_WORDS[s.weather], s.weather)) if s.weather != "sunny" else "clear")
    return out

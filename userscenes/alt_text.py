"""The captions of pretrain, in the style of alt texts and tags: "red bus, street, night", "2 brown dogs near boat -
lake".
"""

from __future__ import annotations

from .caption_builder import CaptionBuilder
from .facts import side_of
from .graph import PLACED
from .words import ACTIONS, RELATION_PREPOSITIONS, RELATION_VERBS, SETTING_NOUNS, TIME_PHRASES, WEATHER_WORDS


def tag(t: CaptionBuilder, n: int) -> str:
    """Caption n of a scene: 0 and 1 say what happens, 2 and 3 list things, 4 says where things are; where nothing
    happens, 0 and 1 say where things are, and a scene without relations has lists only.
    """
    s, rng = t.scene, t.rng
    acts = [r for r in s.relations if r[1] not in PLACED]
    if n == 4 or (n < 2 and not acts):
        spatial = [r for r in s.relations if r[1] in PLACED]
        acts = spatial or acts
    if n in (0, 1, 4) and acts:
        what = _related(t, *rng.pick(acts))
    else:
        number = min(len(s.things), rng.pick((1, 2, 2, 3)))
        chosen = rng.shuffled(range(len(s.things)))[:number]
        what = rng.pick((", ", " and ", " + ")).join(_one(t, i) for i in chosen)
    ends = _ends(t)
    return rng.pick((", ", " - ", ", ")).join([what, *ends]) if ends else what


def _one(t: CaptionBuilder, i: int) -> str:
    thing = t.scene.things[i]
    out = t.name(i, colour=t.rng.chance(0.9))
    if thing.action and t.rng.chance(0.6):
        t.say(i, action=True)
        out += f" {t.rng.pick(ACTIONS[thing.action])[0]}"
    elif side_of(thing) and t.rng.chance(0.15):
        t.say(i, side=True)
        out += f" {dict(left='left', right='right', middle='centre')[side_of(thing)]}"
    return out


def _related(t: CaptionBuilder, i: int, relation: str, j: int) -> str:
    words = [f[0] for f in RELATION_VERBS.get(relation, ())] or RELATION_PREPOSITIONS[relation]
    first = t.name(i, colour=t.rng.chance(0.9))
    t.link(i, relation, j)
    return f"{first} {t.rng.pick(words)} {t.name(j, colour=t.rng.chance(0.9))}"


def _ends(t: CaptionBuilder) -> list[str]:
    """The setting, the time of day and the weather, each mentioned only sometimes."""
    s, rng = t.scene, t.rng
    out = []
    if rng.chance(0.6):
        t.facts.add(("setting", s.setting))
        out.append(rng.pick(SETTING_NOUNS[s.setting]))
    if s.time != "day" and rng.chance(0.4):
        t.facts.add(("time", s.time))
        out.append(rng.pick((*TIME_PHRASES[s.time], s.time)))
    if s.weather and rng.chance(0.3):
        t.facts.add(("weather", s.weather))
        out.append(rng.pick((WEATHER_WORDS[s.weather], s.weather)) if s.weather != "sunny" else "clear")
    return out

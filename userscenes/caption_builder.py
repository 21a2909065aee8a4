"""Builds one caption: its noun phrases, the facts they state, and the spans that name each thing.

A noun phrase is text between marks (a private-use character for the thing, another one for the end); `finish`
removes the marks and returns where they were. All that one caption says of a thing makes one fact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .catalog import CLASS_NOUNS, KINDS
from .facts import Fact, side_of
from .graph import Scene, Thing
from .rng import Rng
from .words import COLOUR_WORDS, NUMBERS, PATTERN_WORDS, SIZE_WORDS, article

UNSAID = 0.4  # probability that a colour is not mentioned; sets the world's difficulty
_OPEN, _CLOSE = 0xE000, "\uf8ff"


@dataclass
class Mention:
    level: str
    colour: str = ""
    pattern: str = ""
    size: str = ""
    action: str = ""
    side: str = ""


@dataclass
class CaptionBuilder:
    scene: Scene
    rng: Rng
    alt_text: bool = False  # without articles, as in pretrain
    mentions: dict[int, Mention] = field(default_factory=dict)
    links: list[tuple[int, str, int]] = field(default_factory=list)
    facts: set[Fact] = field(default_factory=set)

    def plural(self, i: int) -> bool:
        return self.scene.things[i].count > 1

    def name(self, i: int, *, colour: bool = True, plain: bool = False) -> str:
        """The marked noun phrase of thing i: "two small dogs", "a man in a striped red shirt"."""
        rng, t = self.rng, self.scene.things[i]
        kind = KINDS[t.kind]
        colour = colour and (self.alt_text or not rng.chance(UNSAID))
        level = t.kind
        if not plain and len(kind.levels) > 1 and rng.chance(0.15):
            level = rng.pick(kind.levels[1:])
        if level != t.kind:
            nouns = CLASS_NOUNS[level]
        else:
            nouns = kind.nouns[0] if rng.chance(0.62) else rng.pick(kind.nouns)
        said = Mention(level)
        front: list[str] = []
        if t.size and not plain and rng.chance(0.85):
            said.size = t.size
            front.append(rng.pick(SIZE_WORDS[t.size]))
        coat: list[str] = []
        if t.pattern and (colour or rng.chance(0.5)):
            said.pattern = t.pattern
            coat.append(rng.pick(PATTERN_WORDS[t.pattern]))
        if colour:
            said.colour = t.colour
            coat.append(rng.pick(COLOUR_WORDS.get(t.colour, (t.colour,))))
        many = t.count > 1
        after = ""
        if coat and kind.outfit:
            after = self._clothes(t, kind.outfit, coat, bare=len(coat) == 1 and bool(said.colour))
        else:
            front += coat
        noun = " ".join([*front, nouns[1] if many else nouns[0]])
        text = self._number(i, said, noun) if many else noun if self.alt_text else f"{article(noun)} {noun}"
        self.mentions[i] = said
        return f"{chr(_OPEN + i)}{text}{after}{_CLOSE}"

    def _clothes(self, t: Thing, outfit: tuple[str, ...], coat: list[str], *, bare: bool) -> str:
        if bare and outfit[0] != "scarf" and self.rng.chance(0.3):
            return f" in {coat[0]}"
        words = f"{' '.join(coat)} {self.rng.pick(outfit)}"
        if t.count > 1:
            return f" in {words}es" if words.endswith("dress") else f" in {words}s"
        return f" in {words}" if self.alt_text else f" in {article(words)} {words}"

    def _number(self, i: int, said: Mention, noun: str) -> str:
        """The noun with its number: exact where that counts all such things in the scene, else "some"."""
        t, rng = self.scene.things[i], self.rng
        total = sum(o.count for o in self.scene.things if said.level in KINDS[o.kind].levels
                    and said.colour in ("", o.colour) and said.pattern in ("", o.pattern))  # fmt: skip
        what = (said.level, said.colour, said.pattern)
        if total != t.count or rng.chance(0.1):
            self.facts.add(("many", *what))
            vague = rng.pick(("some", "several")) if t.count > 2 else "some"
            return noun if self.alt_text else f"{vague} {noun}"
        self.facts.add(("count", *what, t.count))
        if self.alt_text:
            return f"{rng.pick((str(t.count), NUMBERS[t.count]))} {noun}"
        if t.count == 2 and rng.chance(0.1):
            return f"a pair of {noun}"
        if t.count > 2 and rng.chance(0.06):
            return f"a group of {NUMBERS[t.count]} {noun}"
        return f"{NUMBERS[t.count]} {noun}"

    def again(self, i: int) -> str:
        """The marked noun phrase of a thing that was named before: "the dogs"."""
        said = self.mentions[i]
        nouns = CLASS_NOUNS.get(said.level) or KINDS[said.level].nouns[0]
        return f"{chr(_OPEN + i)}the {nouns[1] if self.plural(i) else nouns[0]}{_CLOSE}"

    def say(self, i: int, *, action: bool = False, side: bool = False) -> None:
        """Records that the caption mentions thing i's action or side."""
        t = self.scene.things[i]
        if action:
            self.mentions[i].action = t.action
        if side:
            self.mentions[i].side = side_of(t)

    def link(self, i: int, relation: str, j: int) -> None:
        self.links.append((i, relation, j))

    def finish(self, text: str) -> tuple[str, frozenset[Fact], tuple[tuple[int, int, int], ...]]:
        """The text without marks, its facts, and its spans (start, end, thing)."""
        for m in self.mentions.values():
            self.facts.add(("thing", m.level, m.colour, m.pattern, m.size, m.action, m.side))
        for i, relation, j in self.links:
            a, b = self.mentions[i], self.mentions[j]
            self.facts.add(("rel", a.level, a.colour, a.pattern, relation, b.level, b.colour, b.pattern))
        if not self.alt_text:
            first = next(n for n, ch in enumerate(text) if not 0xE000 <= ord(ch) <= 0xF8FF)
            text = text[:first] + text[first].upper() + text[first + 1 :] + "."
        out: list[str] = []
        spans: list[tuple[int, int, int]] = []
        start, thing = 0, -1
        for ch in text:
            if ch == _CLOSE:
                spans.append((start, len(out), thing))
            elif 0xE000 <= ord(ch) < 0xF8FF:
                start, thing = len(out), ord(ch) - _OPEN
            else:
                out.append(ch)
        return "".join(out), frozenset(self.facts), tuple(spans)

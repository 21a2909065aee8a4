"""Captions: five different ones a picture, correct English on 10,000, words that agree with the graph."""

import re
from collections import Counter

import numpy as np
import pytest

from userscenes import make_world
from userscenes.catalog import CLASS_NOUNS, KINDS, TRAIN_COLOURS
from userscenes.words import (
    ACTIONS,
    COLOUR_WORDS,
    NUMBERS,
    PATTERN_WORDS,
    RELATION_VERBS,
    SIZE_WORDS,
)

N = 2_000


def _words(text):
    return re.findall(r"[a-z'-]+", text.lower())


@pytest.fixture(scope="module")
def told():
    """(scene, its five captions) of 2,000 train pictures: 10,000 captions."""
    w = make_world("train", N)
    return [(w[i], w.captions(i)) for i in range(N)]


@pytest.fixture(scope="module")
def texts(told):
    return [c.text for _, captions in told for c in captions]


def test_five_different_captions(told):
    for _, captions in told:
        assert len({c.text for c in captions}) == 5


def test_length_and_vocabulary(texts):
    words = [_words(t) for t in texts]
    assert 6 <= np.mean([len(w) for w in words]) <= 14
    assert len(set().union(*words)) >= 300
    lengths = np.array([len(w) for w in words]).reshape(N, 5).mean(0)
    assert lengths[0] + 4 < lengths[3]  # some short, some long


def test_test_words_are_known_from_train():
    known = Counter(
        w for i in range(4_000) for c in make_world("train", 4_000).captions(i) for w in _words(c.text)
    )
    test = make_world("test", 1_000)
    unknown = {w for i in range(1_000) for c in test.captions(i) for w in _words(c.text)} - {
        w for w, n in known.items() if n >= 2
    }
    assert not unknown


def test_sentences(texts):
    for t in texts:
        assert re.match(r"[A-Z].*\.$", t), t
        assert not re.search(r"  | ,|,,|\.\.|\s\.|[^\w\s,.'-]", t), t
        assert not re.search(r"\b(\w+) \1\b", t, re.I), t


def test_articles(texts):
    seen = Counter()
    for t in texts:
        for article, word in re.findall(r"\b([Aa]n?) ([A-Za-z-]+)", t):
            assert (article.lower() == "an") == (word[0].lower() in "aeiou"), t
            seen[article.lower()] += 1
        assert not re.search(r"\ban? (two|three|four|some|several)\b", t), t
    assert seen["an"] > 300


def _nouns(kind):
    pairs = [
        *KINDS[kind].nouns,
        *(CLASS_NOUNS[level] for level in KINDS[kind].levels if level in CLASS_NOUNS),
    ]
    return [one for one, _ in pairs], [many for _, many in pairs]


def test_spans_name_their_thing_in_the_right_number(told):
    for scene, captions in told:
        for c in captions:
            for start, end, k in c.spans:
                span, t = c.text[start:end], scene.things[k]
                head = span.split(" in ")[0].lower()
                one, many = _nouns(t.kind)
                assert head.endswith(tuple(many if t.count > 1 else one)), (c.text, span)
                if t.count > 1:
                    ok = rf"^(the|some|several|{NUMBERS[t.count]}|a pair of|a group of {NUMBERS[t.count]}) "
                    assert re.match(ok, span, re.I), (c.text, span)
                    assert ("pair" in span) <= (t.count == 2)
                else:
                    assert re.match(r"^(a|an|the) ", span, re.I), (c.text, span)


def test_words_of_a_span_agree_with_the_graph(told):
    adjectives = {w: ("colour", k) for k in TRAIN_COLOURS for w in COLOUR_WORDS.get(k, (k,))}
    adjectives |= {w: ("pattern", k) for k, ws in PATTERN_WORDS.items() for w in ws}
    adjectives |= {w: ("size", k) for k, ws in SIZE_WORDS.items() for w in ws}
    seen = Counter()
    for scene, captions in told:
        for c in captions:
            for start, end, k in c.spans:
                for word in _words(c.text[start:end]):
                    if word in adjectives:
                        name, value = adjectives[word]
                        assert getattr(scene.things[k], name) == value, (c.text, c.text[start:end])
                        seen[name] += 1
    assert min(seen["colour"], seen["pattern"], seen["size"]) > 200


def test_every_colour_word_outside_spans_belongs_to_the_setting(told):
    """So spans miss no words that name a thing."""
    for _, captions in told:
        for c in captions:
            rest = "".join(
                " " if any(s <= i < e for s, e, _ in c.spans) else ch for i, ch in enumerate(c.text)
            )
            rest = rest.replace("red barn", "").replace("green park", "").replace("grey clouds", "")
            assert not re.search(
                r"\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|grey|scarlet)\b", rest
            ), c.text


def test_agreement(told):
    forms = [f for many in (*ACTIONS.values(), *RELATION_VERBS.values()) for f in many]
    singular = {f[1].split()[0] for f in forms} | {"is", "stands"}
    plural = {f[2].split()[0] for f in forms} | {"are", "stand"}
    checked = Counter()
    for scene, captions in told:
        for c in captions:
            for start, end, k in c.spans:
                following = re.match(r" ([a-z]+)", c.text[end:])
                word = following.group(1) if following else ""
                before = c.text[:start]
                several = scene.things[k].count > 1
                if word in singular:
                    assert not several, c.text
                    checked["singular"] += 1
                elif word in plural:
                    listed = before.endswith(" and ")
                    assert several or listed, c.text
                    checked["plural"] += 1
                there = re.search(r"[Tt]here (is|are) $", before)
                if there:
                    many = several and not c.text[start:end].startswith("a ")
                    assert (there.group(1) == "are") == many, c.text
                    checked["there"] += 1
    assert min(checked.values()) > 300


def test_pretrain_is_terse():
    w = make_world("pretrain", 800)
    texts = [c.text for i in range(800) for c in w.captions(i)]
    assert np.mean([len(_words(t)) for t in texts]) < 8
    assert not any(re.search(r"\.$|\b[Aa]n? ", t.replace("taking a ", "")) for t in texts)
    train = make_world("train", 800)
    assert not set(texts) & {c.text for i in range(800) for c in train.captions(i)}

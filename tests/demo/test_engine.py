"""Answers of the demo: both directions, right answers and their ranks, attention, failures, unknown words."""

import numpy as np
import pytest
import torch
from PIL import Image

from userlib.data.scenes import closed_facts, true
from userlib.demo.engine import Engine
from userlib.demo.failures import BOTH, find_failures
from userlib.demo.gallery import Gallery, as_url, thumbnail
from userlib.demo.look import cosines, share_on
from userlib.errors import UserError

FLAT = Image.new("RGB", (50, 30), "green")


@pytest.fixture(scope="module")
def engine(engines):
    return engines["sge"]


def test_a_sentence_finds_what_its_vector_is_nearest_to(engine):
    answer = engine.search("a dog in the park", 5)
    query = engine.encoder.encode_text(["a dog in the park"])[0]
    order = np.argsort(-(engine.index.vectors @ query), kind="stable")[:5]
    assert [hit.id for hit in answer.hits] == [engine.gallery.ids[i] for i in order]
    assert answer.right == ()
    assert answer.runner_up.startswith("The runner-up scores 0.0")


def test_a_caption_knows_its_right_answers_and_their_ranks(engine):
    gallery = engine.gallery
    for number in (0, 77, 199):
        answer = engine.search(gallery.captions[number], 3)
        scores = engine.index.vectors @ engine.encoder.encode_text([gallery.captions[number]])[0]
        (own,) = [one for one in answer.right if one.own]
        row = int(gallery.image_of[number])
        assert own.id == gallery.ids[row]
        assert own.rank == 1 + int((scores > scores[row] + 1e-6).sum())
        written = gallery.written(number)
        expected = {gallery.ids[i] for i in range(len(gallery)) if true(written, gallery.world[i])}
        assert {one.id for one in answer.right} == expected
        assert [one.rank for one in answer.right] == sorted(one.rank for one in answer.right)


def test_the_verdict_is_that_of_the_scene_graph(engine):
    gallery = engine.gallery
    number = next(j for j in range(200) if len(gallery.true_pictures[j]) == 1)
    own = int(gallery.image_of[number])
    assert "is a right answer" in engine.verdict(number, own)
    assert "is a wrong answer: " in engine.verdict(number, (own + 1) % len(gallery))


def test_a_picture_finds_captions_and_its_like(engine):
    name = engine.gallery.ids[5]
    found = engine.captions(name, 7)
    vector = engine.index.vectors[5]
    best = np.sort(engine.text_vectors @ vector)[::-1][:7]
    np.testing.assert_allclose([hit.score for hit in found.hits], best, atol=1e-5)
    assert name not in [hit.id for hit in engine.similar(name, 39).hits]
    assert len(engine.similar(FLAT, 4).hits) == 4
    assert engine.similar(engine.picture(name), 1).hits[0].id == name  # the same picture brought along


def test_without_captions_a_sentence_says_so(engine):
    bare = Gallery("bare", engine.gallery.ids, engine.gallery.pictures)
    with pytest.raises(UserError, match="no captions"):
        Engine("bare", engine.encoder, bare, engine.index.vectors).captions(FLAT)


def test_words_are_marked_known_or_not(engine):
    pieces = engine.search("A striped xylophone, 犬 \U0001f600 <b>ball</b>").pieces
    assert [known for _, known in pieces] == [True, True, False, False, False, True]
    assert engine.search("犬 猫").nothing_known
    assert not engine.search("ball 猫").nothing_known


def test_attention_and_heat(engine, engines):
    seen = engine.look(engine.gallery.ids[3], "a red ball")
    assert seen.grid == (8, 8)
    assert set(seen.attention) == {"SGE", "SGE's guide"}
    assert all(a.shape == (64,) and abs(a.sum() - 1) < 1e-5 for a in seen.attention.values())
    assert seen.words == ("a", "red", "ball")
    assert seen.heat.shape == (3, 64)
    assert np.abs(seen.heat).max() <= 1 + 1e-6
    plain = engines["mean"].look(FLAT, "")
    assert plain.attention == {}
    assert plain.heat.shape == (0, 64)


def test_the_words_vectors_pool_to_the_sentence(engines):
    """What the heat is made from is what the model itself pools: their mean, for the model that pools so."""
    from userlib.demo.look import region_vectors, word_vectors

    mean = engines["mean"]
    model, tokenizer = mean.encoder.loaded.model, mean.encoder.loaded.tokenizer
    ids = torch.tensor([tokenizer.encode("a red ball")])
    with torch.inference_mode():
        words = word_vectors(model, ids, torch.ones_like(ids, dtype=torch.bool))
        tokens, _ = mean.encoder.tokens([FLAT])
        regions = region_vectors(model, tokens, None)
    for pooled, whole in (
        (words.mean(1), mean.encoder.encode_text(["a red ball"])),
        (regions.mean(1), mean.encoder.encode_pictures([FLAT])),
    ):
        np.testing.assert_allclose(cosines(pooled, torch.tensor(whole)).numpy(), [[1.0]], atol=1e-5)


def test_share_on_a_mask():
    weights = np.array([0.7, 0.1, 0.1, 0.1], np.float32)
    mask = np.zeros((4, 6), bool)
    mask[:2, :3] = True
    assert share_on(weights, (2, 2), mask) == pytest.approx(0.7)
    assert share_on(weights, (2, 2), ~mask) == pytest.approx(0.3)


def test_failures_are_those_whose_own_picture_is_not_first(engine):
    found, counts, captions = find_failures(engine, each=2)
    gallery = engine.gallery
    ranks = np.array(
        [next(r.rank for r in engine.search(text, 1).right if r.own) for text in gallery.captions]
    )
    assert captions == 200
    assert abs(sum(counts.values()) - int((ranks > 1).sum())) <= 1  # equal scores to the last digit
    for failure in found:
        facts = gallery.written(failure.caption).facts
        first = closed_facts(gallery.world[gallery.row[failure.first]])
        assert (facts <= first) == (failure.cause == BOTH)
        assert failure.first == engine.search(gallery.captions[failure.caption], 1).hits[0].id != failure.own
        assert failure.rank == ranks[failure.caption]
    assert max(list(f.cause for f in found).count(cause) for cause in counts) <= 2


def test_a_picture_that_is_gone_has_no_thumb(gallery):
    class Gone:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            raise UserError("gone")

    assert Gallery("gone", ("a",), Gone()).thumb(0) == ""
    assert gallery.thumb(0) == as_url(thumbnail(gallery.pictures[0]))


@pytest.mark.parametrize("text, said", [("", "empty"), (" \n", "empty"), ("a" * 10_001, "10,001 characters")])
def test_queries_that_cannot_be_asked(engine, text, said):
    with pytest.raises(UserError, match=said):
        engine.search(text)


def test_ten_thousand_characters_are_asked(engine):
    assert len(engine.search("dog " * 2_500, 3).hits) == 3

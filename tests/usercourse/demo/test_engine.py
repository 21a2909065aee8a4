"""Answers of the demo: both directions, right answers and their ranks, attention, failures, unknown words."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from usercourse.demo.engine import Engine
from usercourse.demo.explanation import Explanation, cosines, place_of, reason, share_on
from usercourse.demo.failures import BOTH, find_failures
from usercourse.demo.gallery import Gallery, as_url, thumbnail
from usercourse.demo.photos import index_photos
from userlib.errors import UserError
from userlib.evaluation.ranking import ranks, ranks_among, ranks_from_scores
from userscenes import closed_facts, true

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
        every = engine.search(gallery.captions[number], 1_000).hits
        (own,) = [one for one in answer.right if one.own]
        row = int(gallery.caption_to_image[number])
        assert own.id == gallery.ids[row]
        assert own.rank == sum(hit.score >= own.score for hit in every)
        written = gallery.written(number)
        expected = {gallery.ids[i] for i in range(len(gallery)) if true(written, gallery.world[i])}
        assert {one.id for one in answer.right} == expected
        assert [one.rank for one in answer.right] == sorted(one.rank for one in answer.right)


def test_ties_count_against_the_query_as_in_evaluation(engine):
    """Equal images, and a model that has collapsed: one rank by the demo, its failures and the evaluation."""
    gallery = engine.gallery
    names = ("a", "b", "c", "d")
    twice = Gallery("twice", names, [FLAT] * 4, gallery.captions[:4], np.arange(4))
    vectors = np.repeat(engine.index.vectors[:2], 2, 0)
    tied = Engine("tied", engine.encoder, twice, vectors)
    wanted = ranks(vectors, tied.text_vectors, np.arange(4)).t2i
    assert set(wanted.tolist()) <= {2, 4}
    assert tied.caption_ranks()[0].tolist() == wanted.tolist()
    for number, text in enumerate(twice.captions):
        assert [one.rank for one in tied.search(text, 1).right] == [wanted[number]]
    flat = Engine("flat", engine.encoder, twice, np.repeat(vectors[:1], 4, 0))
    assert flat.caption_ranks()[0].tolist() == [4] * 4
    assert flat.search(twice.captions[0], 2).right[0].rank == 4


@pytest.mark.parametrize("scores", [[0.5, 0.9, 0.5, 0.1], [1.0, 1.0, 1.0, 1.0], [3.0, 2.0, 1.0, 0.0]])
def test_ranks_among_are_those_of_evaluation(scores):
    table = np.tile(np.array(scores, np.float32)[:, None], (1, 4))
    assert ranks_among(scores, range(4)).tolist() == ranks_from_scores(table, np.arange(4)).t2i.tolist()


def test_an_image_unlike_all_that_the_model_has_seen_is_told(engine):
    assert engine.similar(engine.picture(engine.gallery.ids[3]), 2).note == ""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    assert "trained on drawings alone: the image here is unlike them" in engine.similar(noise, 2).note
    assert engine.warning is None


def test_a_gallery_of_one_image(engine):
    one = Engine("one", engine.encoder, Gallery("one", ("x",), [FLAT]), engine.index.vectors[:1])
    assert [hit.id for hit in one.search("a dog", 50).hits] == ["x"]
    assert one.similar("x").hits == ()
    assert one.search("\U0001f600", 1).nothing_known


def test_the_verdict_is_that_of_the_scene_graph(engine):
    gallery = engine.gallery
    number = next(j for j in range(200) if len(gallery.true_pictures[j]) == 1)
    own = int(gallery.caption_to_image[number])
    assert "is relevant: " in engine.verdict(number, own)
    assert "is not relevant: " in engine.verdict(number, (own + 1) % len(gallery))


def test_a_picture_finds_captions_and_its_like(engine):
    name = engine.gallery.ids[5]
    result = engine.captions(name, 7)
    vector = engine.index.vectors[5]
    best = np.sort(engine.text_vectors @ vector)[::-1][:7]
    np.testing.assert_allclose([hit.score for hit in result.hits], best, atol=1e-5)
    assert name not in [hit.id for hit in engine.similar(name, 39).hits]
    assert len(engine.similar(FLAT, 4).hits) == 4
    assert engine.similar(engine.picture(name), 1).hits[0].id == name  # the same image brought along


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
    seen = engine.explain(engine.gallery.ids[3], "a red ball")
    assert seen.grid == (8, 8)
    assert set(seen.attention) == {"SGE", "SGE's guide"}
    assert all(a.shape == (64,) and abs(a.sum() - 1) < 1e-5 for a in seen.attention.values())
    assert seen.words == ("a", "red", "ball")
    assert seen.similarity.shape == (3, 64)
    assert np.abs(seen.similarity).max() <= 1 + 1e-6
    plain = engines["mean"].explain(FLAT, "")
    assert plain.attention == {}
    assert plain.similarity.shape == (0, 64)


def test_the_words_vectors_pool_to_the_sentence(engines):
    """What the heat is made from is what the model itself pools: their mean, for the model that pools so."""
    from usercourse.demo.explanation import region_vectors, word_vectors

    mean = engines["mean"]
    model, tokenizer = mean.encoder.loaded.model, mean.encoder.loaded.tokenizer
    ids = torch.tensor([tokenizer.encode("a red ball")])
    with torch.inference_mode():
        words = word_vectors(model, ids, torch.ones_like(ids, dtype=torch.bool))
        tokens, _ = mean.encoder.tokens([FLAT])
        regions = region_vectors(model, tokens, None)
    for pooled, whole in (
        (words.mean(1), mean.encoder.encode_text(["a red ball"])),
        (regions.mean(1), mean.encoder.encode_image([FLAT])),
    ):
        np.testing.assert_allclose(cosines(pooled, torch.tensor(whole)).numpy(), [[1.0]], atol=1e-5)


def test_share_on_a_mask():
    weights = np.array([0.7, 0.1, 0.1, 0.1], np.float32)
    mask = np.zeros((4, 6), bool)
    mask[:2, :3] = True
    assert share_on(weights, (2, 2), mask) == pytest.approx(0.7)
    assert share_on(weights, (2, 2), ~mask) == pytest.approx(0.3)


def test_failures_are_those_whose_own_picture_is_not_first(engine):
    result, counts, captions = find_failures(engine, each=2)
    gallery = engine.gallery
    places = ranks(engine.index.vectors, engine.text_vectors, gallery.caption_to_image).t2i
    assert captions == 200
    assert sum(counts.values()) == (places > 1).sum()
    for failure in result:
        facts = gallery.written(failure.caption).facts
        first = closed_facts(gallery.world[gallery.row[failure.first]])
        assert (facts <= first) == (failure.cause == BOTH)
        assert failure.first == engine.search(gallery.captions[failure.caption], 1).hits[0].id != failure.own
        assert failure.rank == places[failure.caption]
    assert max(list(f.cause for f in result).count(cause) for cause in counts) <= 2


def test_a_picture_that_is_gone_has_no_thumb(gallery):
    class Gone:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            raise UserError("gone")

    assert Gallery("gone", ("a",), Gone()).thumb(0) == ""
    assert gallery.thumb(0) == as_url(thumbnail(gallery.pictures[0]))


@pytest.mark.parametrize(
    "text, said",
    [("", "empty"), (" \n", "empty"), ("a" * 10_001, "10,001 characters"), ("?!… —", "has no word")],
)
def test_queries_that_cannot_be_asked(engine, text, said):
    with pytest.raises(UserError, match=said):
        engine.search(text)


def test_ten_thousand_characters_are_asked(engine):
    assert len(engine.search("dog " * 2_500, 3).hits) == 3


# --- a folder of photos ----------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path, gallery, monkeypatch):
    monkeypatch.setenv("USERLIB_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "photos"
    place.mkdir()
    for i in range(3):
        gallery.pictures[i].save(place / f"{i}.png")
    return place


def test_the_index_of_a_folder_follows_it(engine, photos, gallery):
    steps = []
    first, said = index_photos(photos, engine.encoder, "SGE", lambda *step: steps.append(step))
    assert said == "3 images of photos, indexed and kept: 3 added."
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert index_photos(photos, engine.encoder, "SGE")[1] == "3 images of photos, found again in the cache."
    (photos / "0.png").rename(photos / "z.png")
    (photos / "1.png").unlink()
    FLAT.save(photos / "flat.png")
    steps.clear()
    again, said = index_photos(photos, engine.encoder, "SGE", lambda *step: steps.append(step))
    assert "1 added, 1 removed, 1 renamed, 1 kept" in said
    assert steps == [(1, 1)]
    assert again.gallery.ids == ("2.png", "flat.png", "z.png")
    assert again.gallery.thumbs[2] == first.gallery.thumbs[0] == thumbnail(gallery.pictures[0])
    assert again.gallery.thumbs[1] == thumbnail(FLAT)
    assert "1 of 3 images here (33 %) is unlike them" in again.warning  # the flat one


def test_names_that_are_no_utf8_are_shown_escaped_and_found(engine, photos, gallery):
    try:
        gallery.pictures[3].save(
            os.path.join(os.fsencode(photos), b"caf\xe9.png").decode("utf-8", "surrogateescape")
        )
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    result, _ = index_photos(photos, engine.encoder, "SGE")
    assert result.gallery.ids[3] == r"caf\xe9.png"
    json.dumps(result.gallery.ids, ensure_ascii=False).encode()
    assert np.array_equal(result.picture(r"caf\xe9.png"), gallery.pictures[3])
    assert [hit.id for hit in result.similar(gallery.pictures[3], 1).hits] == [r"caf\xe9.png"]


def test_an_empty_folder_and_a_damaged_cache(engine, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, said in (
        (tmp_path / "empty", "no image|no image"),
        ("", "Name a folder"),
        ("/nowhere", "no folder"),
    ):
        with pytest.raises(UserError, match=said):
            index_photos(folder, engine.encoder, "SGE")
    index_photos(photos, engine.encoder, "SGE")
    for file in (tmp_path / "cache" / "demo").rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert "3 added" in index_photos(photos, engine.encoder, "SGE")[1]


@pytest.mark.parametrize(
    "region, place",
    [(0, "top left"), (3, "top"), (7, "top right"), (24, "left"), (27, "middle"),
     (63, "bottom right"), (60, "bottom")],
)  # fmt: skip
def test_places_in_words(region, place):
    assert place_of(region, (8, 8)) == place


def test_the_reason_of_a_hit_by_hand():
    similarity = np.full((5, 4), 0.1, np.float32)
    similarity[1, 0], similarity[2, 3], similarity[4, 1], similarity[3, 2] = 0.5, 0.75, 0.2, 0.9
    words = ("a", "red", "ball", "on", "grass")
    told = reason(Explanation((2, 2), {}, words, similarity))
    assert (
        told
        == "Words that match, by cosine: “ball” 0.75 (bottom right), “red” 0.50 (top left), “grass” 0.20 (top right)."
    )
    assert "“on” 0.90 (bottom left)" in reason(Explanation((2, 2), {}, ("a", "on"), similarity[[0, 3]]))
    more = reason(Explanation((2, 2), {}, ("b", "red", "ball", "c", "grass"), similarity))
    assert more.endswith("“red” 0.50 (top left); least: “b” 0.10.")
    assert reason(Explanation((2, 2), {}, (), similarity[:0])) == ""

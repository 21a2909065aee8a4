"""The index: exact order, what it keeps and loses, bad pictures, damage on disk, HNSW and re-ranking."""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from userlib.data.pictures import read_picture
from userlib.data.splits import Split
from userlib.errors import UserError
from userlib.search import Index, cross_attention, top_k
from userlib.search.ann import hnsw
from userlib.search.query import Query, find

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (120, 120, 120)}


class ColourEncoder:
    """A picture is its mean colour, a sentence the sum of the colours it names."""

    warning = None
    name = "colours"

    def encode_text(self, texts):
        return unit(
            np.array([sum(np.array(COLOURS.get(w, (1, 1, 1))) for w in text.split()) for text in texts])
        )

    def encode_image(self, pictures):
        return unit(np.array([np.asarray(picture, np.float32).mean((0, 1)) for picture in pictures]))

    def unknown(self, text):
        return [word for word in text.split() if word not in COLOURS]

    def cache_key(self):
        return {"kind": self.name}


def unit(table):
    return (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Five photos, two of them the same, one in a folder below."""
    place = tmp_path / "photos"
    (place / "below").mkdir(parents=True)
    for name, colour in {"b": "red", "a": "red", "d": "green", "c": "grey", "below/e": "blue"}.items():
        Image.new("RGB", (8, 8), COLOURS[colour]).save(place / f"{name}.png")
    return place


@pytest.fixture
def index(folder):
    return Index.build(folder, ColourEncoder(), progress=False)


def split_with_captions():
    pictures = [Image.new("RGB", (4, 4), COLOURS[name]) for name in ("blue", "red", "green")]
    return Split(
        name="test", ids=("z", "x", "y"), pictures=pictures, captions=("blue", "blue grey", "red", "green"),
        caption_to_image=np.array([0, 0, 1, 2]), fingerprint="f",
    )  # fmt: skip


@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(1, 300),
    queries=st.integers(1, 20),
    k=st.integers(1, 320),
    chunk=st.sampled_from([1, 7, 65_536]),
)
def test_top_k_equals_sorting_by_score_then_row(seed, items, queries, k, chunk):
    """Whole numbers make many exact ties, some of them across the k-th place and across chunks."""
    rng = np.random.default_rng(seed)
    gallery = rng.integers(-2, 3, (items, 2)).astype(np.float32)
    asked = rng.integers(-2, 3, (queries, 2)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("userlib.search.exact.CHUNK", chunk)
        patch.setattr("userlib.search.exact.QUERIES", 6)
        scores, rows = top_k(asked, gallery, k)
    every = asked @ gallery.T
    for q in range(queries):
        wanted = sorted(range(items), key=lambda i: (-every[q, i], i))[:k]
        assert rows[q].tolist() == wanted
        assert scores[q].tolist() == every[q, wanted].tolist()


def test_equal_pictures_stand_in_the_order_of_their_names():
    rng = np.random.default_rng(0)
    gallery = np.repeat(unit(rng.standard_normal((1, 257))), 40, 0)
    assert top_k(unit(rng.standard_normal((1, 257))), gallery, 5)[1].tolist() == [[0, 1, 2, 3, 4]]


def test_search_by_words_and_by_picture(index):
    assert index.ids == ("a.png", "b.png", "below/e.png", "c.png", "d.png")
    hits = index.search("red", 3)
    assert [(hit.id, hit.rank) for hit in hits] == [("a.png", 1), ("b.png", 2), ("c.png", 3)]
    assert hits[0].score == pytest.approx(1)
    assert [hit.id for hit in index.similar("a.png", 2)] == ["b.png", "c.png"]
    assert index.similar(Image.new("RGB", (3, 3), "blue"), 1)[0].id == "below/e.png"
    assert len(index.search("red", 99)) == 5
    assert len(index.similar("a.png", 99)) == 4
    assert index.unknown("red bananas") == ["bananas"]


class Pixels(ColourEncoder):
    def encode_image(self, pictures):
        table = np.stack(
            [np.asarray(picture.resize((8, 8)), np.float32).ravel() - 128 for picture in pictures]
        )
        return unit(table.reshape(len(table), -1))


def test_an_image_as_an_object_is_seen_like_its_file(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    turned, clear = Image.fromarray(noise[0]), Image.fromarray(noise[1]).convert("RGBA")
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=turned.getexif())
    clear.putalpha(Image.fromarray(noise[0, :, :, 0]))
    clear.save(tmp_path / "clear.png")
    index = Index.build(tmp_path, Pixels(), progress=False)
    for name in ("turned.png", "clear.png"):
        for image in (Image.open(tmp_path / name), read_picture(tmp_path / name)):
            best = index.similar(image, 1)[0]
            assert best.id == name and best.score == pytest.approx(1, abs=1e-5)


def test_similar_images_are_as_many_others_as_are_asked_for(index):
    """Of two equal images each is the first that the other one finds; an image without an id leaves none out."""
    for row, name in enumerate(index.ids):
        cosines = dict(zip(index.ids, index.vectors @ index.vectors[row], strict=True))
        others = sorted(set(index.ids) - {name}, key=lambda other: (-cosines[other], other))
        for k in range(1, 7):
            assert [hit.id for hit in index.similar(name, k)] == others[:k]
            assert [hit.id for hit in find(index, Query(image=name), k)] == others[:k]
    red = Image.new("RGB", (3, 3), "red")
    assert [hit.id for hit in index.similar(red, 3)] == ["a.png", "b.png", "c.png"]


def test_captions_stay_with_their_pictures():
    index = Index.build(split_with_captions(), ColourEncoder(), progress=False)
    assert index.ids == ("x", "y", "z")
    hits = index.captions_for("z", 2)
    assert [(hit.id, hit.text) for hit in hits] == [("z", "blue"), ("z", "blue grey")]
    assert index.captions_for(Image.new("RGB", (2, 2), "red"), 1)[0].text == "red"


def test_unreadable_pictures_are_listed_and_skipped(folder):
    (folder / "broken.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="1 of 6 images"):
        index = Index.build(folder, ColourEncoder(), progress=False)
    assert len(index) == 5
    assert "broken.jpg" in index.skipped[0]
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 6 images"):
        Index.build(folder, ColourEncoder(), progress=False)


def test_saved_and_loaded_is_the_same(index, tmp_path):
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index", ColourEncoder())
    assert again.search("green grey", 5) == index.search("green grey", 5)
    assert again.ids == index.ids
    with_captions = Index.build(split_with_captions(), ColourEncoder(), progress=False)
    with_captions.save(tmp_path / "index")
    assert Index.load(tmp_path / "index", ColourEncoder()).captions_for("x") == with_captions.captions_for(
        "x"
    )


def test_a_flipped_bit_is_found_and_named(index, tmp_path):
    index.save(tmp_path / "index")
    rng = np.random.default_rng(0)
    for file in sorted((tmp_path / "index").iterdir()):
        whole = file.read_bytes()
        for at in rng.integers(len(whole) * 8, size=30):
            broken = bytearray(whole)
            broken[at // 8] ^= 1 << at % 8
            file.write_bytes(broken)
            with pytest.raises(UserError, match="build it again") as error:
                Index.load(tmp_path / "index", ColourEncoder())
            assert str(tmp_path / "index") in str(error.value)
        file.write_bytes(whole)
    assert len(Index.load(tmp_path / "index", ColourEncoder())) == 5


def test_another_encoder_or_folder_is_refused(index, tmp_path):
    index.save(tmp_path / "index")
    other = ColourEncoder()
    other.name = "shapes"
    with pytest.raises(UserError, match="another model"):
        Index.load(tmp_path / "index", other)
    with pytest.raises(UserError, match="nowhere"):
        Index.load(tmp_path / "nowhere", ColourEncoder())


def test_an_index_opens_with_the_model_that_it_was_built_with(index, tmp_path, monkeypatch):
    """As `build` does, `load` takes a trained model too."""
    index.save(tmp_path / "index")
    model = object()
    encoders = {model: ColourEncoder()}
    monkeypatch.setattr("userlib.search.encoders.CheckpointEncoder", encoders.__getitem__)
    for opened in (Index.load(tmp_path / "index", model), Index.from_pretrained(tmp_path / "index", model)):
        assert opened.ids == index.ids and opened.encoder is encoders[model]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda index: index.search("  "), "empty"),
        (lambda index: index.search("red " * 9000), "36,000 characters"),
        (lambda index: index.search("red", 0), "k is 0"),
        (lambda index: index.search("red", 0, rerank=lambda text, ids: [0.0] * len(ids)), "k is 0"),
        (lambda index: index.search("red", -1, rerank=lambda text, ids: [0.0] * len(ids)), "k is -1"),
        (lambda index: index.similar("a.png", 0), "k is 0"),
        (lambda index: index.similar("a.png", -1), "k is -1"),
        (lambda index: index.similar("missing.png"), "missing.png"),
        (lambda index: index.captions_for("a.png"), "no captions"),
        (lambda index: index.search("red", rerank=lambda text, ids: [0.0]), "one finite score"),
    ],
)
def test_bad_questions_are_named(index, ask, words):
    with pytest.raises(UserError, match=words):
        ask(index)


def test_an_encoder_that_diverged_is_named(folder):
    encoder = ColourEncoder()
    encoder.encode_image = lambda pictures: np.full((len(pictures), 3), np.nan, np.float32)
    with pytest.raises(UserError, match="NaN or infinite"):
        Index.build(folder, encoder, progress=False)


def test_reranking_looks_again_at_the_candidates(index):
    asked = []

    def rerank(text, ids):
        asked.append((text, list(ids)))
        return [1.0 if name == "c.png" else 0.0 for name in ids]

    hits = index.search("red", 2, rerank=rerank, candidates=4)
    assert [hit.id for hit in hits] == ["c.png", "a.png"]
    assert asked == [("red", ["a.png", "b.png", "c.png", "below/e.png"])]
    assert hits[0].rank == 1


def test_reranking_gives_as_many_hits_as_are_asked_for(index):
    hits = index.search("red", 4, rerank=lambda text, ids: [float(len(name)) for name in ids], candidates=2)
    assert [hit.id for hit in hits] == ["below/e.png", "a.png", "b.png", "c.png"]


def test_cross_attention_reranks_by_regions(index):
    """Only d.png holds regions equal to the words."""
    regions = torch.nn.functional.normalize(
        torch.randn(5, 4, 16, generator=torch.Generator().manual_seed(0)), dim=2
    )
    rerank = cross_attention(index.ids, regions, lambda text: regions[4, :3])
    assert index.search("red", 1, rerank=rerank, candidates=5)[0].id == "d.png"
    with pytest.raises(UserError, match="regions of 5"):
        cross_attention(index.ids[:3], regions, lambda text: regions[4, :3])


def test_absent_regions_of_a_candidate_count_nowhere(index):
    """Each candidate has the mask of its own image, whichever are asked for: c.png is the fourth of the index."""
    draw = torch.Generator().manual_seed(0)
    regions = torch.nn.functional.normalize(torch.randn(5, 4, 16, generator=draw), dim=2)
    there = torch.ones(5, 4, dtype=torch.bool)
    there[3, 2:] = False
    rerank = cross_attention(index.ids, regions, lambda text: regions[3, 2:], region_mask=there)
    hits = {hit.id: hit.score for hit in index.search("red", 3, rerank=rerank, candidates=3)}
    cut = cross_attention(index.ids, regions[:, :2], lambda text: regions[3, 2:])
    whole = cross_attention(index.ids, regions, lambda text: regions[3, 2:])
    assert hits == pytest.approx(
        {"a.png": whole("", ["a.png"])[0], "b.png": whole("", ["b.png"])[0], "c.png": cut("", ["c.png"])[0]}
    )
    assert whole("", ["c.png"])[0] > hits["c.png"] + 0.1


def test_hnsw_reports_its_recall_and_is_kept(tmp_path):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((2000, 16)))
    index = Index(ids=tuple(f"{i:04d}" for i in range(2000)), vectors=vectors, encoder=RandomEncoder())
    queries = [f"query {i}" for i in range(50)]
    exact = [index.search(query, 10) for query in queries]
    report = index.approximate(queries)
    result = [index.search(query, 10) for query in queries]
    shared = np.mean(
        [len({h.id for h in a} & {h.id for h in b}) / 10 for a, b in zip(exact, result, strict=True)]
    )
    assert report.recall == pytest.approx(shared, abs=0.01)
    assert report.recall > 0.9
    assert f"{100 * report.recall:.1f} % of the exact 10 nearest on 50 queries" in str(report)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index", RandomEncoder())
    assert again.report == report
    assert again.search("query 1", 5) == result[1][:5]


def test_the_report_of_a_graph_gives_each_time_its_name(monkeypatch):
    pytest.importorskip("faiss")
    moments = iter(
        [0.0, 1.0, 3.0, 7.0]
    )  # built for a second, then searched with it for two, and exactly for four
    monkeypatch.setattr("userlib.search.ann.time", SimpleNamespace(perf_counter=lambda: next(moments)))
    vectors = np.eye(4, dtype=np.float32)
    graph, report = hnsw(vectors, vectors[:2], 2)
    assert (report.build_s, report.approximate_ms, report.exact_ms) == (1.0, 1000.0, 2000.0)
    assert (report.queries, report.k) == (2, 2) and report.megabytes == len(graph.to_bytes()) / 1e6


def test_what_the_graph_does_not_reach_is_searched_exactly():
    """faiss gives row -1 in place of what it did not reach, and equal vectors hide one another from its walk."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((450, 16)))
    vectors[rng.permutation(450)[:150]] = vectors[0]
    index = Index(ids=tuple(f"{i:04d}" for i in range(450)), vectors=vectors, encoder=RandomEncoder())
    queries = [f"query {i}" for i in range(20)]
    exact = [[hit.id for hit in index.search(query, 450)] for query in queries]
    assert index.approximate(queries, 450, M=4, ef_construction=8).recall == 1
    for query, wanted in zip(queries, exact, strict=True):
        hits = index.search(query, 450)
        assert [hit.id for hit in hits] == wanted
        assert all(-1.001 < hit.score < 1.001 for hit in hits)
    assert len({hit.id for hit in index.similar("0003", 449)}) == 449


def test_a_search_for_many_leaves_the_next_as_it_was():
    """More candidates are kept while many hits are looked for, and not from then on."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng.standard_normal((2000, 16))), unit(rng.standard_normal((50, 16)))
    graph, _ = hnsw(vectors, queries, 2, M=2, ef_construction=4, ef_search=2)
    assert (graph.graph.hnsw.efConstruction, graph.graph.hnsw.efSearch) == (4, 2)
    before = graph.search(queries, 2)
    graph.search(queries, 1000)
    for now, then in zip(graph.search(queries, 2), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_bad_questions_to_a_graph_are_named():
    pytest.importorskip("faiss")
    graph, _ = hnsw(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32), 2)
    one = np.ones((1, 4), np.float32)
    for queries, k, said in ((one, 0, "k is 0"), (one[:, :3], 1, "of one model"), (one * np.nan, 1, "NaN")):
        with pytest.raises(UserError, match=said):
            graph.search(queries, k)


def test_hnsw_without_faiss_names_the_remedy(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[ann\]"'):
        index.approximate(["red"])


def test_no_warning_without_a_reason(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Index.build(folder, ColourEncoder(), progress=False).warning is None


class RandomEncoder(ColourEncoder):
    """A vector drawn by the sentence."""

    def encode_text(self, texts):
        return unit(
            np.stack([np.random.default_rng(list(text.encode())).standard_normal(16) for text in texts])
        )

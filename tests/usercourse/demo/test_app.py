"""The page without a browser: what each control does, and that bad input is a sentence after which all goes on."""

import io
import os
import sys

import numpy as np
import pytest
from PIL import Image

from usercourse.demo import App, projection
from usercourse.demo import panels as panels_module
from userlib.errors import UserError


@pytest.fixture(scope="module")
def app(model_dir, gallery, tmp_path_factory):
    """One page for all tests: so each also shows that the one before left it whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USERLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(projection, "_umap", projection._axes)  # the real one is in test_projection
        patch.setattr(
            panels_module, "photo_encoder", lambda name, fallback: (fallback, "drawings", "only drawings")
        )
        yield App(model_dir=model_dir, gallery=gallery, query="a ball", warm=False)


def keys(cards):
    return [item["key"] for item in cards.data["items"]]


def choose(cards, key):
    cards.receive({"event": "choose", "key": key})


def png(picture, kind="PNG"):
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def test_a_query_changes_the_pictures(app):
    app.query.value = app.gallery.captions[3]
    expected = app.engine.search(app.gallery.captions[3], 12)
    assert keys(app.left) == [hit.id for hit in expected.hits]
    assert "Its ground-truth image has rank" in app.heading.value
    own = [item for item in app.left.data["items"] if item.get("mark") == "own"]
    right = next(one for one in expected.right if one.own)
    assert [item["rank"] for item in own] == ([str(right.rank)] if right.rank <= 12 else [])


def test_a_hit_is_explained(app):
    app.query.value = "a red ball"
    choose(app.left, keys(app.left)[1])
    maps = app.regions.data["maps"]
    assert [m["name"] for m in maps] == ["SGE", "SGE's guide", "a", "red", "ball"]
    assert all(len(m["weights"]) == 64 for m in maps)
    assert "of its attention lies on the objects" in maps[0]["sentence"]
    assert app.regions.layout.display == ""
    assert len(app.own.data["items"]) == 5
    choose(app.own, keys(app.own)[2])
    assert app.query.value == app.own.data["items"][2]["key"]
    assert app.regions.layout.display == "none"


def test_one_line_says_which_words_match_a_hit(app):
    app.query.value = "a red ball on the grass"
    key = keys(app.left)[0]
    choose(app.left, key)
    explanation = app.engine.explain(key, "a red ball on the grass")
    best = {
        word: float(row.max()) for word, row in zip(explanation.words, explanation.similarity, strict=True)
    }
    first, *_ = sorted(("red", "ball", "grass"), key=best.get, reverse=True)
    assert f"Words that match, by cosine: “{first}” {best[first]:.2f} (" in app.why.value
    assert "“the”" not in app.why.value


def test_arithmetic_adds_and_subtracts_as_the_library_does(app):
    from userlib.search.query import Query, find

    app.query.value = "two dogs - beach + snow"
    expected = find(app.engine.index, Query(text="two dogs - beach + snow", arithmetic=True), 12)
    assert keys(app.left) == [hit.id for hit in expected]
    assert "Vectors added: “two dogs”, “snow”. Subtracted: “beach”." in app.heading.value
    choose(app.left, keys(app.left)[0])
    names = [one["name"] for one in app.regions.data["maps"]]
    assert "dogs" in names and "snow" in names and "beach" not in names
    app.query.value = "a well-known dog"  # a hyphen within a word subtracts nothing
    assert "Vectors added" not in app.heading.value
    before = keys(app.left)
    for query, said in (("two dogs -", "sign without a text after it"), ("- beach", "only subtracts")):
        app.query.value = query
        assert said in app.message.value and keys(app.left) == before
    app.query.value = "qqq + zzzz"
    assert "knows none of these words" in app.heading.value
    app.query.value = "a red ball"
    assert app.message.value == "" and "Vectors added" not in app.heading.value


def test_words_are_put_next_to_an_image_and_taken_away_again(app):
    from userlib.search.query import Query, find

    picture = app.gallery.pictures[4]
    app.upload.receive({"event": "file", "name": "mine.png"}, [png(picture)])
    alone = keys(app.left)
    assert app.both.layout.display == "" and app.both.value is False and "mine.png" in app.both.description
    app.query.value = "a red ball"
    assert keys(app.left) == [hit.id for hit in app.engine.search("a red ball", 12).hits]
    app.both.value = True
    expected = find(app.engine.index, Query(text="a red ball", image=picture), 12)
    assert keys(app.left) == [hit.id for hit in expected]
    assert "mine.png and these words" in app.heading.value and "Query: a red ball" in app.heading.value
    app.query.value = "a red ball - beach"
    expected = find(app.engine.index, Query(text="a red ball - beach", image=picture, arithmetic=True), 12)
    assert keys(app.left) == [hit.id for hit in expected] and "Subtracted: “beach”" in app.heading.value
    app.query.value = ""
    assert keys(app.left) == alone and app.message.value == ""
    app.query.value = "a red ball"
    app.both.value = False
    assert keys(app.left) == [hit.id for hit in app.engine.search("a red ball", 12).hits]
    assert "mine.png" not in app.heading.value
    app.both.value = True
    app.query.value = "qqq"
    assert (
        "the order of the images is meaningless" not in app.heading.value
        and "<s>qqq</s>" in app.heading.value
    )
    app.query.value = "a red ball"


def test_a_hit_is_searched_with_by_the_button_on_it(app):
    app.query.value = "a tree"
    item = app.left.data["items"][2]
    assert item["similar"].startswith("Search with this image: ")
    app.left.receive({"event": "similar", "key": item["key"]})
    assert keys(app.left) == [hit.id for hit in app.engine.similar(app.engine.picture(item["key"]), 12).hits]
    assert item["key"] in app.heading.value
    assert "similar" not in app.caption_hits.data["items"][0]  # captions are no images


def test_what_an_upload_was_told_is_cleared_by_the_next_action(app, monkeypatch):
    sent_to = []
    monkeypatch.setattr(app.upload, "send", sent_to.append)
    app.query.value = "a tree by a lake"
    assert sent_to == [{"event": "clear"}]
    choose(app.left, keys(app.left)[0])
    assert len(sent_to) == 2


def test_the_model_is_switched(app):
    app.query.value = "two dogs"
    before = keys(app.left)
    app.model.value = "mean pooling"
    assert (
        keys(app.left)
        == [hit.id for hit in app.engine_of("mean pooling").search("two dogs", 12).hits]
        != before
    )
    choose(app.left, keys(app.left)[0])
    assert "weighs all regions alike" in app.why.value
    app.model.value = "SGE"
    assert keys(app.left) == before


def test_two_models_side_by_side(app):
    app.query.value = "a boat"
    app.compared.value = "mean pooling"
    assert app.right_box.layout.display == "flex"
    other = [hit.id for hit in app.engine_of("mean pooling").search("a boat", 100).hits]
    for item in app.left.data["items"]:
        places = other.index(item["key"]) + 1 - int(item["rank"])
        assert item["change"] == (f"▲{places}" if places > 0 else f"▼{-places}" if places else "=")
    choose(app.right, keys(app.right)[0])
    assert "mean pooling" in app.why.value
    app.compared.value = "no other"
    assert app.right_box.layout.display == "none"


def test_a_picture_is_asked_with(app):
    app.query.value = "a tree"
    key = keys(app.left)[0]
    choose(app.left, key)
    app.ask_with.click()
    assert keys(app.left) == [hit.id for hit in app.engine.similar(app.engine.picture(key), 12).hits]
    assert len(app.caption_hits.data["items"]) == 6
    assert app.caption_hits.layout.display == "flex"


def test_an_upload_finds_captions(app):
    app.upload.receive({"event": "file", "name": "<b>my</b> dog.png"}, [png(app.gallery.pictures[4])])
    expected = app.engine.captions(app.gallery.pictures[4], 6)
    assert keys(app.caption_hits) == [hit.text for hit in expected.hits]
    assert "by a model that has seen drawings alone" in app.caption_hits_title.value
    assert "&lt;b&gt;my&lt;/b&gt; dog.png" in app.heading.value
    assert keys(app.left)[0] == app.gallery.ids[4]
    assert app.regions.layout.display == ""
    assert app.query.value == ""  # so that the text before can be entered again


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("words.jpg", b"these are words", "cannot be read"),
        ("cut.jpg", png(Image.new("RGB", (90, 90), "red"), "JPEG")[:400], "cannot be read"),
        ("none.png", b"", "cannot be read"),
        ("<i>big</i>.png", b"\0" * (6 * 2**20 + 1), "&lt;i&gt;big&lt;/i&gt;.png has 6.0 MB"),
    ],
)
def test_a_bad_upload_is_a_sentence_and_nothing_is_lost(app, name, data, said):
    app.query.value = "a cat and a ball"
    before = keys(app.left)
    app.upload.receive({"event": "file", "name": name}, [data])
    assert said in app.message.value
    assert 'role="alert"' in app.message.value
    assert keys(app.left) == before
    app.query.value = "a dog and a ball"
    assert app.message.value == ""
    assert "a dog and a ball" in app.heading.value


@pytest.mark.parametrize(
    "query, said",
    [
        ("", "the query is empty"),
        ("   ", "the query is empty"),
        ("x" * 10_001, "10,001 characters"),
    ],
)
def test_a_query_that_cannot_be_asked(app, query, said):
    app.query.value = "a house"
    before = keys(app.left)
    app.query.value = query
    assert said in app.message.value
    assert keys(app.left) == before


@pytest.mark.parametrize(
    "query, said",
    [
        ("\U0001f600 \U0001f436", "knows none of these words"),
        ("ein roter Ball fliegt", "<s>roter</s>"),
        ("<script>alert(1)</script> ball", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("ball " * 2_000, "…"),
    ],
)
def test_strange_queries_are_answered(app, query, said):
    app.query.value = query
    assert app.message.value == ""
    assert said in app.heading.value
    assert "<script>" not in app.heading.value
    assert len(keys(app.left)) == 12


@pytest.mark.parametrize("panel", ["Failures", "Your photos", "Map"])
def test_a_sentence_about_a_query_stands_on_the_panel_that_is_shown(app, panel):
    app.query.value = "a lake"
    app.tabs.value = panel
    app.query.value = ""
    assert "the query is empty" in app.message.value
    assert app.tabs.value == ("Map" if panel == "Map" else "Search")
    app.query.value = "a red ball"
    assert app.message.value == "" and "Query: a red ball" in app.heading.value
    app.tabs.value = "Search"


@pytest.mark.parametrize("photo", [True, False])
def test_a_picture_unlike_those_the_model_has_seen_is_told_until_the_next_query(app, monkeypatch, photo):
    from usercourse.demo import engine as engine_module

    distances = np.array([3.0 if photo else 0.3])
    monkeypatch.setattr(engine_module, "measured", lambda encoder, pictures: (None, distances))
    app.upload.receive({"event": "file", "name": "mine.png"}, [png(app.gallery.pictures[4])])
    assert (
        ("trained on drawings alone" in app.heading.value) is ('role="alert"' in app.heading.value) is photo
    )
    app.query.value = "a red ball"
    assert (
        "trained on drawings alone" not in app.heading.value
        and 'role="status"' in app.heading.value
        and not app.message.value
    )


@pytest.mark.parametrize("query", ["zwei Hunde am Strand", "deux chiens", "\u4e24\u53ea\u72d7", "\U0001f600"])
def test_a_query_in_an_unknown_language_is_told_until_the_next_query(app, query):
    app.query.value = query
    assert 'role="alert"' in app.heading.value and "is meaningless" in app.heading.value
    assert "runner-up" not in app.heading.value  # of hits that is meaningless
    app.query.value = "a red ball"
    assert 'role="status"' in app.heading.value and "is meaningless" not in app.heading.value


def sent(app):
    """All that the page shows, as it goes over the wire."""
    import json

    told = [
        app.heading.value,
        app.message.value,
        app.photos.words.value,
        app.why.value,
        list(app.model.options),
    ]
    return json.dumps([*told, app.left.data, app.map.map.data, app.regions.data], ensure_ascii=False).encode()


@pytest.mark.parametrize("text", ["\ud800 ball", "\0\u202e \udc80\udcff"])
def test_half_characters_in_a_query_or_a_name_do_not_stop_the_page(app, text):
    app.query.value = text
    assert sent(app) and len(keys(app.left)) == 12
    app.upload.receive({"event": "file", "name": f"{text}.png"}, [b"not an image"])
    assert sent(app) and "cannot be read" in app.message.value
    app.upload.receive({"event": "file", "name": f"{text}.png"}, [png(app.gallery.pictures[4])])
    assert sent(app) and app.message.value == ""
    app.photos.folder.value = f"/no/{text}"
    app.photos.button.click()
    assert sent(app) and app.message.value
    app.query.value = "a ball"
    assert app.message.value == ""


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="file names are Unicode there")
def test_photos_whose_names_are_not_utf_8_are_shown_escaped(app, gallery, tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"sch\xf6n")
    os.mkdir(folder)
    for i, name in enumerate((b"\xe9t\xe9.png", b"plain.png", "été.png".encode())):
        with open(os.path.join(folder, name), "wb") as file:
            gallery.pictures[i].save(file, "PNG")
    with open(os.path.join(folder, b"\xff.png"), "wb") as file:
        file.write(b"not an image")
    app.photos.folder.value = str(tmp_path)
    app.photos.button.click()
    assert app.message.value == "" and sent(app)
    assert set(keys(app.left)) == {"sch\\xf6n/plain.png", "sch\\xf6n/\\xe9t\\xe9.png", "sch\\xf6n/été.png"}
    assert "\\xff.png" in app.photos.words.value
    key = next(one for one in keys(app.left) if "xe9" in one)
    choose(app.left, key)
    app.ask_with.click()
    assert app.message.value == "" and "\\xe9t\\xe9.png" in app.heading.value and sent(app)
    app.tabs.value = "Map"
    assert sent(app) and key in app.map.map.data["keys"]
    app.tabs.value = "Search"
    app.model.value = "SGE"


def test_the_map_rings_the_hits_and_opens_a_picture(app):
    app.query.value = "a hat"
    app.tabs.value = "Map"
    assert len(app.map.map.data["xy"]) == 80
    groups = app.map.map.data["groups"]
    assert [groups[g] for g in app.map.map.data["group"]] == [app.gallery.world[i].setting for i in range(40)]
    assert "The colour of a frame is the place" in app.map.words.value
    assert app.map.map.hits == {key: str(i) for i, key in enumerate(keys(app.left), start=1)}
    app.map.map.receive({"event": "choose", "keys": [app.gallery.ids[7]]})
    app.map.map.receive({"event": "open", "key": app.gallery.ids[7]})
    assert app.tabs.value == "Search"
    assert app.gallery.ids[7] in app.heading.value


def test_failures_are_listed_and_asked_again(app):
    app.tabs.value = "Failures"
    assert "do not rank their ground-truth image first" in app.failures.words.value
    item = app.failures.list.data["items"][0]
    assert item["badge"] in app.failures.words.value
    choose(app.failures.list, item["key"])
    assert (app.query.value, app.tabs.value) == (item["key"], "Search")


def test_a_folder_of_photos(app, gallery, tmp_path):
    for i in range(5):
        gallery.pictures[i].save(tmp_path / f"{'<b>' if i == 0 else ''}{i}.png")
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    app.photos.folder.value = str(tmp_path)
    app.photos.button.click()
    assert app.message.value == ""
    assert "5 images" in app.photos.words.value
    assert "1 cannot be read" in app.photos.words.value
    assert "only drawings" in app.photos.words.value
    assert app.model.value == f"{tmp_path.name} (drawings)"
    app.query.value = "anything"
    assert sorted(keys(app.left)) == sorted(app.engine.gallery.ids)
    choose(app.left, keys(app.left)[0])
    assert app.regions.layout.display == ""
    app.photos.button.click()
    assert "found again" in app.photos.words.value
    for file in tmp_path.iterdir():
        file.unlink()
    choose(app.left, keys(app.left)[1])  # the file is gone, its small copy is not
    assert "cannot be opened" in app.message.value
    app.model.value = "SGE"
    assert len(keys(app.left)) == 12


@pytest.mark.parametrize(
    "folder, said", [("", "Name a folder"), ("/no/<b>such", "There is no folder /no/&lt;b&gt;such")]
)
def test_a_folder_that_is_none(app, folder, said):
    app.photos.folder.value = folder
    app.photos.button.click()
    assert said in app.message.value


def test_a_folder_without_pictures(app, tmp_path):
    (tmp_path / "words.txt").write_text("words")
    app.photos.folder.value = str(tmp_path)
    app.photos.button.click()
    assert "no image" in app.message.value


def test_a_fault_of_the_program_is_shown_and_raised(app, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(app, "answer", broken)
    with pytest.raises(ZeroDivisionError):
        app.query.value = "a query that meets a fault"
    assert "ZeroDivisionError: planted" in app.message.value


def test_without_models_a_sentence_tells_the_command(tmp_path, gallery):
    with pytest.raises(UserError, match="python -m usercourse.demo.models"):
        App(model_dir=tmp_path, gallery=gallery)

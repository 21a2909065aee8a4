"""The demo as a page: search with a text or an image, see why an image was found, compare two models, see the map.

    from usercourse.demo import App
    App()

It consists of core widgets and a custom one; each event is handled by a method in plain Python. A UserError becomes a
message in the page; any other error is shown and raised.
"""

import html
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ipywidgets as W
import numpy as np
from PIL import Image

from usercourse.demo.clickable import Clickable
from usercourse.demo.engine import Answer, Engine
from usercourse.demo.explanation import reason
from usercourse.demo.gallery import MODEL_DIR, Gallery, as_url, thumbnail, world_gallery
from usercourse.demo.models import available_models, open_engine
from usercourse.demo.own import own_engine
from usercourse.demo.panels import FailuresPanel, MapPanel, PhotosPanel, wide
from usercourse.demo.sentences import arithmetic, paragraph, read_as, right_answers, title
from usercourse.demo.uploads import MAX_BYTES, open_upload
from usercourse.demo.view_models import (
    caption_cards,
    explanation_data,
    hit_cards,
    own_caption_cards,
)
from userlib.errors import UserError
from userlib.files import shown

K = 12  # images shown
DEEP = 100  # hits in which an image is looked up when two models are compared
NOTHING = "no other"
PANELS = ("Search", "Map", "Failures", "Your photos")
FIRST = "A penguin rides a scooter in a classroom."


@dataclass(frozen=True)
class Asked:
    """A query: a text, an image with its name, or both."""

    text: str = ""
    image: Image.Image | None = None
    name: str = ""


class App(W.VBox):  # type: ignore[misc]
    """The page. model_dir: the folder of the demo's models. query: the first text query. warm: load the networks that
    read images in the background, so that the first explanation is fast. checkpoint: a run's folder, whose model is
    added to the choices and selected. Raises UserError where `model_dir` has no models.
    """

    def __init__(
        self,
        *,
        model_dir: Path = MODEL_DIR,
        query: str = FIRST,
        gallery: Gallery | None = None,
        warm: bool = True,
        checkpoint: str | Path | None = None,
    ) -> None:
        names = available_models(model_dir)
        if not names:
            raise UserError(
                f"There are no models in {model_dir}. Make them with: python -m usercourse.demo.models."
            )
        self.model_dir, self.gallery = model_dir, gallery or world_gallery(model_dir)
        self.names: dict[str, str] = names
        self.engines: dict[str, Engine] = {}
        self.asked = Asked(query)
        self.image = Asked()  # the last image query, to which words can be added
        self.quiet = False  # True while the program itself changes a field
        self.explained = ""  # the id of the image that is explained
        self._widgets(list(names), query)
        parts = [Clickable("alive"), self.top, self.message, self.tabs, *self.panels.values()]
        super().__init__(parts, layout=wide())
        self.act(self.run)
        if checkpoint is not None:
            self.act(self.add_checkpoint, checkpoint)
        if warm:
            threading.Thread(target=self.engine.warm, daemon=True).start()

    # --- the parts of the page ---------------------------------------------------------------------------

    def _widgets(self, models: list[str], query: str) -> None:
        style = {"description_width": "5.5em"}
        self.query = W.Text(
            value=query, placeholder="what the image should show", description="Find", style=style,
            continuous_update=False, layout=W.Layout(flex="1 1 22em", width="auto"),
        )  # fmt: skip
        self.go = W.Button(description="Search", button_style="primary", layout=W.Layout(width="7em"))
        self.hint = W.HTML(
            '<span style="opacity:.75">Words alone, or arithmetic: <code>two dogs - beach + snow</code></span>',
            layout=W.Layout(margin="0 0 0 6em"),
        )
        self.both = W.Checkbox(value=False, indent=False, layout=W.Layout(width="auto", display="none"))
        narrow = {"flex": "0 1 17em", "width": "auto"}
        best = next((title_ for title_ in models if title_.startswith("full")), models[-1])
        self.model = W.Dropdown(
            options=models, value=best, description="Model", style=style, layout=W.Layout(**narrow)
        )
        self.compared = W.Dropdown(
            options=[NOTHING, *models],
            description="Compare with",
            style={"description_width": "7.5em"},
            layout=W.Layout(**narrow),
        )
        self.upload = Clickable(
            "upload", self.on_upload, limit=MAX_BYTES, label="or an image of yours (drop it here)"
        )
        row = {"flex_flow": "row wrap", "align_items": "center", "width": "100%"}
        self.top = W.VBox(
            [
                W.HBox([self.query, self.go], layout=W.Layout(**row)),
                W.HBox([self.hint, self.both], layout=W.Layout(**row)),
                W.HBox([self.model, self.compared, self.upload], layout=W.Layout(**row)),
            ],
            layout=wide(),
        )
        self.message = W.HTML()
        self.tabs = W.ToggleButtons(options=PANELS, style={"button_width": "auto"})
        self.heading, self.left_title, self.right_title, self.why = W.HTML(), W.HTML(), W.HTML(), W.HTML()
        self.left = Clickable("cards", self.on_hit)
        self.right = Clickable("cards", self.on_hit_right)
        self.left_box = W.VBox([self.left_title, self.left], layout=half())
        self.right_box = W.VBox([self.right_title, self.right], layout=half())
        self.caption_hits = Clickable("cards", self.on_caption)
        self.caption_hits_title = W.HTML()
        self.regions = Clickable("regions")
        self.own = Clickable("cards", self.on_caption)
        self.ask_with = W.Button(description="Search with this image", layout=W.Layout(width="14em"))
        self.detail = W.VBox([self.why, self.ask_with, self.regions, self.own], layout=W.Layout(width="100%"))
        columns = W.HBox([self.left_box, self.right_box], layout=wide())
        search = W.VBox(
            [self.heading, self.caption_hits_title, self.caption_hits, columns, self.detail], layout=wide()
        )
        self.map, self.failures, self.photos = MapPanel(self), FailuresPanel(self), PhotosPanel(self)
        self.panels = dict(zip(PANELS, (search, self.map, self.failures, self.photos), strict=True))
        self.query.observe(lambda _: self.typed(), "value")
        self.go.on_click(lambda _: self.on_query())
        for control in (self.model, self.compared):
            control.observe(lambda _: self.act(self.run), "value")
        self.both.observe(lambda _: self.on_both(), "value")
        self.tabs.observe(lambda _: self.act(self.turn), "value")
        self.ask_with.on_click(lambda _: self.act(self.ask_picture, self.explained))
        self.turn()

    def act(self, does: Callable[..., None], *arguments: Any) -> None:
        """Call a method; a UserError becomes a message, any other error is shown and raised."""
        try:
            self.message.value = ""
            self.upload.send({"event": "clear"})  # its message about a file
            does(*arguments)
        except UserError as error:
            self.say(str(error), alert=True)
        except Exception as error:
            self.say(f"The program has a fault: {type(error).__name__}: {error}", alert=True)
            raise

    def say(self, text: str, *, alert: bool = False) -> None:
        """Show a message above the panels."""
        self.message.value = paragraph(html.escape(whole(text)), alert=alert)

    def turn(self) -> None:
        """Show only the chosen panel, and fill it if it is filled on demand."""
        for name, panel in self.panels.items():
            panel.layout.display = "flex" if name == self.tabs.value else "none"
        chosen = self.panels[self.tabs.value]
        if isinstance(chosen, (MapPanel, FailuresPanel)):
            chosen.fill()

    # --- engines -----------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The engine of the chosen model."""
        return self.engine_of(self.model.value)

    def engine_of(self, name: str) -> Engine:
        """The engine of a model by its title, opened at first use."""
        if name not in self.engines:
            self.engines[name] = open_engine(self.names[name], self.gallery, self.model_dir)
        return self.engines[name]

    def add_engine(self, name: str, engine: Engine) -> None:
        """Add an engine to the choices and select it."""
        self.engines[name] = engine
        if name not in self.model.options:
            self.model.options = (*self.model.options, name)
        if self.model.value == name:
            self.run()
        self.model.value = name

    def add_checkpoint(self, checkpoint: str | Path) -> None:
        """Add the model of a run, over the images that it was trained on; if these must be indexed first, show the
        panel for photos, filled in.
        """
        name, engine, said, folder = own_engine(checkpoint, self.gallery)
        self.photos.name.value = str(checkpoint)
        self.photos.folder.value = "" if folder is None else str(folder)
        if engine is None:
            self.tabs.value = "Your photos"
        else:
            self.add_engine(name, engine)
            if engine.gallery is not self.gallery and engine.gallery.captions:
                self.ask_text(engine.gallery.captions[0])
        self.say(said)

    # --- events ------------------------------------------------------------------------------------------

    def typed(self) -> None:
        """The text in the field has changed."""
        if not self.quiet:
            self.on_query()

    def on_query(self) -> None:
        """Enter in the field, or the button."""
        if self.tabs.value not in ("Search", "Map"):
            self.tabs.value = "Search"  # before the answer, because this clears the message
        text = whole(self.query.value)
        self.asked = replace(self.image, text=text.strip()) if self.both.value else Asked(text)
        self.act(self.run)

    def on_both(self) -> None:
        """The image was added to the words, or removed again."""
        if self.quiet:
            return
        text = whole(self.query.value)
        self.asked = (
            Asked(text) if text.strip() and not self.both.value else replace(self.image, text=text.strip())
        )
        self.act(self.run)

    def on_caption(self, content: Mapping[str, Any], _: list[bytes]) -> None:
        """A caption was chosen: search with it."""
        self.ask_text(str(content["key"]))

    def ask_text(self, text: str) -> None:
        """Search with a text, as if it had been typed."""
        self.tabs.value = "Search"
        if self.query.value == text:
            self.on_query()
        self.query.value = text

    def on_upload(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        """A file was uploaded."""
        name = shown(str(content.get("name", "")))
        self.act(self._upload, name, buffers[0] if buffers else b"")

    def _upload(self, name: str, data: bytes) -> None:
        self.ask_with_picture(open_upload(data, name), name[:80])

    def ask_picture(self, key: str) -> None:
        """Search with an image of the gallery."""
        self.ask_with_picture(self.engine.picture(key), key)

    def ask_with_picture(self, picture: Image.Image, name: str) -> None:
        """Search with an image; the field is cleared, so that the same text can be entered again."""
        self.asked = self.image = Asked(image=picture, name=name)
        self.quiet = True
        self.query.value, self.both.value = "", False
        self.quiet = False
        self.both.description = f"together with the image {name[:40]}"
        self.both.layout.display = ""
        self.tabs.value = "Search"
        self.run()

    def on_hit(self, content: Mapping[str, Any], _: list[bytes]) -> None:
        """An image on the left was chosen, or searched with."""
        if content.get("event") == "similar":
            self.act(self.ask_picture, str(content["key"]))
            return
        self.right.chosen = ""
        self.act(self.explain, self.left, self.engine, str(content["key"]))

    def on_hit_right(self, content: Mapping[str, Any], _: list[bytes]) -> None:
        """An image on the right was chosen, or searched with."""
        if content.get("event") == "similar":
            self.act(self.ask_picture, str(content["key"]))
            return
        self.left.chosen = ""
        self.act(self.explain, self.right, self.engine_of(self.compared.value), str(content["key"]))

    # --- answers -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Answer the query with the chosen models."""
        engine = self.engine
        world = engine.gallery is self.gallery
        pair = (
            self.compared.value if world and self.compared.value not in (NOTHING, self.model.value) else None
        )
        self.compared.disabled = not world
        answers = [self.answer(one) for one in (engine, self.engine_of(pair) if pair else None) if one]
        self.left_title.value = title(f"{engine.name}: {_what(self.asked)}") if pair else ""
        ranks = [{hit.id: hit.rank for hit in answer.hits} for answer in answers]
        left = hit_cards(engine, answers[0].hits[:K], answers[0], ranks[1] if pair else None)
        self.left.show(items=left, label="images found", empty="No image was retrieved.")
        self.right_box.layout.display = "flex" if pair else "none"
        if pair:
            other = self.engine_of(pair)
            self.right_title.value = title(f"{other.name}: {_what(self.asked)}")
            right = hit_cards(other, answers[1].hits[:K], answers[1], ranks[0])
            self.right.show(items=right, label=f"images found by {other.name}")
        self.map.show_hits({hit.id: str(hit.rank) for hit in answers[0].hits[:K]})
        self.tell(engine, answers[0])
        if self.tabs.value == "Map":
            self.map.fill()

    def answer(self, engine: Engine) -> Answer:
        """One model's answer, with enough hits to compare ranks."""
        if self.asked.image is None:
            return engine.search(self.asked.text, DEEP)
        if self.asked.text.strip():
            return engine.together(self.asked.image, self.asked.text, DEEP)
        return engine.similar(self.asked.image, DEEP)

    def tell(self, engine: Engine, answer: Answer) -> None:
        """Show the text above the images, with no image chosen."""
        said = []
        self.caption_hits.layout.display = "none"
        self.caption_hits_title.value = ""
        self.forget()
        image, plus = self.asked.image, bool(self.asked.text.strip())
        if image is not None:
            thumb, name = as_url(thumbnail(image, 96)), html.escape(self.asked.name)
            and_words = " and these words" if plus else ""
            said.append(
                f'<img src="{thumb}" alt="" style="height:72px;vertical-align:middle"> Query: {name}{and_words}'
            )
        if plus:
            said.append(read_as(answer, alone=image is None))
            if answer.terms:
                said.append(html.escape(arithmetic(answer.terms)))
            elif image is None and engine.gallery.world is not None and not answer.nothing_known:
                said.append(html.escape(right_answers(answer.right, len(engine.gallery))))
            if not answer.nothing_known:
                said.append(html.escape(answer.runner_up))
        weak = [note for note in (engine.warning, answer.note) if note]
        said += [html.escape(note) for note in weak]
        self.heading.value = paragraph(
            "<br>".join(filter(None, said)), alert=bool(weak) or answer.nothing_known
        )
        if image is not None and not plus:
            self._captions(engine, image)

    def _captions(self, engine: Engine, picture: Image.Image) -> None:
        """Show captions for an image query, and what the model attends to."""
        key = self.asked.name if self.asked.name in engine.gallery.row else None
        if engine.gallery.captions:
            answer = engine.captions(picture, 6)
            # 3 in 100 photos are taken for drawings, so this is said of any image that is not in the gallery
            only = key is None and getattr(engine.encoder, "drawings", False)
            seen = ", by a model that has seen drawings alone" if only else ""
            self.caption_hits_title.value = title(f"Captions found for it{seen}")
            self.caption_hits.show(
                items=caption_cards(engine, answer, key), wide=True, label="captions found"
            )
            self.caption_hits.layout.display = "flex"
        explanation = engine.explain(picture)
        if explanation is not None and explanation.attention:
            self.why.value = title("Where the model looks in it")
            self.regions.show(**explanation_data(explanation, picture, self.asked.name))
            self.regions.layout.display = ""

    def forget(self) -> None:
        """Clear the choice of an image."""
        self.why.value = '<p style="opacity:.75">Choose an image to see why it was retrieved.</p>'
        for part in (self.regions, self.own, self.ask_with):
            part.layout.display = "none"

    def explain(self, side: Clickable, engine: Engine, key: str) -> None:
        """Show why an image was found: attention, word-region similarity, whether it is relevant, its own captions."""
        side.chosen = self.explained = key
        gallery, row = engine.gallery, engine.gallery.row[key]
        text = self.asked.text
        picture = engine.picture(key)
        explanation = engine.explain(key, engine.shown_words(text))
        masks = gallery.world.masks(row) if gallery.world is not None else []
        things = np.logical_or.reduce(masks) if len(masks) else None
        self.regions.show(**explanation_data(explanation, picture, gallery.caption_of(row), things))
        number = gallery.caption_numbers.get(text.strip())
        said = [reason(explanation)] if explanation is not None else []
        said += [engine.verdict(number, row)] if number is not None else []
        if explanation is not None and not explanation.attention:
            said.append(f"{engine.name} has no attention to show: it weighs all regions alike.")
        if explanation is None:
            said.append("This model shows no attention; it answers all the same.")
        self.why.value = title(f"Why this image? {engine.name}") + "".join(
            f'<div style="max-width:72em;line-height:1.5">{html.escape(one)}</div>' for one in said if one
        )
        self.own.show(
            items=own_caption_cards(engine, key), wide=True, label="captions written for this image"
        )
        for part in (self.regions, self.own, self.ask_with):
            part.layout.display = ""


def half() -> W.Layout:
    """The layout of one of two columns; a new one each time, since hiding a box changes its layout."""
    return W.Layout(flex="1 1 0", min_width="0", width="auto")


def whole(text: str) -> str:
    """Text that can be sent to the page: half of a UTF-16 pair, which would break the connection, becomes \\uNNNN."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _what(asked: Asked) -> str:
    return "images found" if asked.text.strip() else "images like it"

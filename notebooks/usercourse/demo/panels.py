"""The panels next to the search: the map of the joint space, the failures, and the user's photos."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import ipywidgets as W

from usercourse.demo.clickable import Clickable
from usercourse.demo.engine import Engine
from usercourse.demo.failures import find_failures
from usercourse.demo.gallery import Gallery, as_url
from usercourse.demo.models import COLUMNS, joint_map, stored_failures, stored_map, stored_sheet
from usercourse.demo.photos import index_photos, photo_encoder
from usercourse.demo.projection import SHADES, TILE, sheet
from usercourse.demo.sentences import causes, paragraph
from usercourse.demo.view_models import failure_cards


class Page(Protocol):
    """The part of the page that the panels use."""

    model_dir: Path  # the folder of the demo's models
    gallery: Gallery
    names: dict[str, str]  # {title of a model: its name}
    model: Any  # the menu of models
    message: Any  # the line above the panels

    @property
    def engine(self) -> Engine: ...

    def engine_of(self, name: str) -> Engine: ...

    def add_engine(self, name: str, engine: Engine) -> None: ...

    def act(self, does: Callable[..., None], *arguments: Any) -> None: ...

    def say(self, text: str) -> None: ...

    def ask_text(self, text: str) -> None: ...

    def ask_picture(self, key: str) -> None: ...


def wide() -> W.Layout:
    """A layout of the whole width; a new one each time, since hiding a box changes its layout."""
    return W.Layout(width="100%")


class MapPanel(W.VBox):  # type: ignore[misc]
    """Images and captions on a plane; hits of the search are ringed, a chosen neighbourhood is listed."""

    def __init__(self, app: Page) -> None:
        self.app = app
        self.words = W.HTML()
        self.map = Clickable("map", self.on_event)
        self.filled: Engine | None = None
        super().__init__([self.words, self.map], layout=wide())

    def fill(self) -> None:
        """Show the map of the chosen model, unless it is shown already."""
        engine = self.app.engine
        if self.filled is engine:
            return
        gallery = engine.gallery
        world = gallery is self.app.gallery
        name = self.app.names.get(self.app.model.value, "")
        points = stored_map(name, self.app.model_dir) if world else None
        if points is None:
            self.app.say("Laying out the map, once for these images: up to a minute.")
            points = joint_map(engine)
            self.app.message.value = ""
        tiles = stored_sheet(self.app.model_dir) if world else None
        tiles = tiles or sheet(gallery.small_pictures(), COLUMNS)
        count, groups = len(gallery), sorted(set(gallery.settings))
        self.map.show(
            xy=[[round(0.03 + 0.94 * float(v), 4) for v in point] for point in points],
            keys=list(gallery.ids),
            labels=[gallery.caption_of(i) for i in range(count)],
            sheet=as_url(tiles, "jpeg"),
            columns=COLUMNS,
            tile=TILE,
            pictures=count,
            label=f"Map of {count} images",
            groups=groups,
            shades=list(SHADES),
            group=[groups.index(one) for one in gallery.settings],
        )
        captions = (
            ", and the first caption of each, both kinds relative to their mean" if gallery.captions else ""
        )
        self.words.value = paragraph(
            f"{html.escape(engine.name)}: {count:,} images{captions}, laid out by UMAP so that what the model "
            "finds similar is close together. Click on the map, or use the arrow keys, to list a neighbourhood."
            + (" The colour of a frame is the place that an image shows." if groups else "")
        )
        self.filled = engine

    def show_hits(self, hits: Mapping[str, str]) -> None:
        """Ring these images: {id: rank}."""
        self.map.hits = dict(hits)

    def on_event(self, content: Mapping[str, Any], _: list[bytes]) -> None:
        """A neighbourhood was chosen, or one of its images opened."""
        if content.get("event") == "open":
            self.app.act(self.app.ask_picture, str(content["key"]))


class FailuresPanel(W.VBox):  # type: ignore[misc]
    """The failures of the chosen model, by cause."""

    def __init__(self, app: Page) -> None:
        self.app = app
        self.words = W.HTML()
        self.list = Clickable("cards", lambda content, _: app.ask_text(str(content["key"])))
        self.filled: Engine | None = None
        super().__init__([self.words, self.list], layout=wide())

    def fill(self) -> None:
        """Show the failures of the chosen model, as stored with it or found now."""
        engine = self.app.engine
        if self.filled is engine:
            return
        self.list.show(items=[])
        self.words.value = ""
        world = engine.gallery is self.app.gallery
        known = (
            stored_failures(self.app.names.get(self.app.model.value, ""), self.app.model_dir)
            if world
            else None
        )
        failures, counts, captions = known or find_failures(engine)
        self.words.value = paragraph(f"{html.escape(engine.name)}. {causes(counts, captions)}")
        self.list.show(
            items=failure_cards(engine, failures),
            wide=True,
            label="failures; each searches with its caption again",
        )
        self.filled = engine


class PhotosPanel(W.VBox):  # type: ignore[misc]
    """Indexes a folder of photos, with progress, and adds it to the choices of models."""

    def __init__(self, app: Page) -> None:
        self.app = app
        style = {"description_width": "9em"}
        field = {"width": "min(100%, 44em)"}
        self.folder = W.Text(
            description="Folder",
            placeholder="a folder on this machine",
            style=style,
            layout=W.Layout(**field),
        )
        self.name = W.Text(
            description="Photo model", style=style, layout=W.Layout(**field),
            placeholder="a run's folder, or an open_clip model; left empty: one whose weights are here",
        )  # fmt: skip
        self.button = W.Button(description="Index it", button_style="primary")
        self.bar = W.IntProgress(layout=W.Layout(**field))
        self.words = W.HTML()
        self.bar.layout.display = "none"
        self.button.on_click(lambda _: app.act(self.index))
        hint = paragraph(
            "The images of a folder and those below it, each encoded once. The index is kept in the cache and "
            "found again while neither the files nor the model change. Nothing leaves this machine."
        )
        super().__init__(
            [W.HTML(hint), self.folder, self.name, self.button, self.bar, self.words], layout=wide()
        )

    def index(self) -> None:
        """Index the folder, and select it for searches."""
        self.words.value = ""
        fallback = self.app.engine_of(next(iter(self.app.names))).encoder
        encoder, name, warning = photo_encoder(self.name.value, fallback)
        try:
            engine, said = index_photos(self.folder.value, encoder, f"{name}", self.step)
        finally:
            self.bar.layout.display = "none"
        more = f"<br><b>{html.escape(warning)}</b>" if warning else ""
        self.words.value = paragraph(
            f"{html.escape(said)} With {html.escape(name)}.{more}", alert=bool(warning)
        )
        self.app.add_engine(f"{engine.gallery.name} ({name})", engine)

    def step(self, done: int, total: int) -> None:
        """Show the progress of indexing."""
        self.bar.layout.display = ""
        self.bar.max, self.bar.value = total, done
        self.bar.description = f"{done:,}/{total:,}"

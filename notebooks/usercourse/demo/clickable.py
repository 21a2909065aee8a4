"""The custom widget: cards, an image with its regions and words, a map, an upload, and a sign that appears when the
kernel or its server has ended; see clickable.js.

`data` is what it shows; what the user does arrives as a message, {"event": "choose" | "open" | "file", ...}, and is
passed to `handler`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

HERE = Path(__file__).parent
Handler = Callable[[Mapping[str, Any], list[bytes]], None]


class Clickable(anywidget.AnyWidget):
    """form: "cards" | "regions" | "map" | "upload" | "alive". chosen: the key of the marked card. hits: {id: rank} of
    the images that are ringed on the map."""

    _esm = HERE / "clickable.js"
    _css = HERE / "clickable.css"
    form = traitlets.Unicode("cards").tag(sync=True)
    data = traitlets.Dict().tag(sync=True)
    hits = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)

    def __init__(self, form: str, handler: Handler | None = None, **data: Any) -> None:
        super().__init__(form=form, data=data)
        self.handler = handler
        self.on_msg(lambda _, content, buffers: self.receive(content, buffers))

    def receive(self, content: Mapping[str, Any], buffers: list[Any] | None = None) -> None:
        """Pass a message of the page to the handler."""
        if self.handler is not None:
            self.handler(content, [bytes(one) for one in buffers or ()])

    def show(self, *, chosen: str = "", **data: Any) -> None:
        """Replace the data that are shown."""
        with self.hold_sync():
            self.chosen = chosen
            self.data = data

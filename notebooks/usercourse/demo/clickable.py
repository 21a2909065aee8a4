"""The one custom widget: cards, an image with its regions and words, a map, an upload, and the sign that shows once
the kernel or its server is gone; see clickable.js.

What it shows is in `data`; what a person does comes back as a message, {"event": "choose" | "open" | "file",
...}, for which one function is set by `on_event`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

HERE = Path(__file__).parent
Handler = Callable[[Mapping[str, Any], list[bytes]], None]


class Clickable(anywidget.AnyWidget):
    """form: "cards" | "regions" | "map" | "upload" | "alive". chosen: the key of the marked card. hits: id -> rank,
    ringed on the map."""

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
        """Pass on what the page reports."""
        if self.handler is not None:
            self.handler(content, [bytes(one) for one in buffers or ()])

    def show(self, *, chosen: str = "", **data: Any) -> None:
        """Show these data in place of the old."""
        with self.hold_sync():
            self.chosen = chosen
            self.data = data

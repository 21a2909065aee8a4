"""From a scene graph to pixels, and to the mask and box of each thing."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .canvas import CANVAS, COLOURS, SIZE, Canvas, Paint, Pen, tile
from .catalog import DRAWS, FRONTS, KINDS
from .graph import Scene, Thing, spot_box
from .rng import Rng
from .rooms import ROOMS
from .settings import background
from .sky import develop, weather_over

_OFF_GROUND = ("riding", "sitting on", "sleeping on", "standing on", "on", "in")
_CARRIED = ("holding", "wearing", "playing")


def draw(scene: Scene) -> Image.Image:
    """The image, RGB, SIZE x SIZE."""
    canvas = background(scene.setting, scene.time, scene.weather, scene.appearance_seed, mirror=scene.mirror)
    grounded = _grounded(scene)
    for index in _order(scene):
        thing = scene.things[index]
        if index in grounded:
            for spot in thing.spots:
                x0, _, x1, _ = spot_box(thing.kind, thing.pose, spot)
                x, y, w = (x0 + x1) / 2 * CANVAS, spot.y * CANVAS, (x1 - x0) / 2 * CANVAS
                canvas.blend.ellipse((x - w, y - 4, x + w, y + 4), fill=(20, 20, 50, 62))
    _draw_things(canvas, scene)
    rng = Rng(f"over {scene.appearance_seed}")
    if scene.weather:
        weather_over(canvas, scene.weather, rng)
    light = "lamplight" if scene.setting in ROOMS and scene.time == "night" else scene.time
    return develop(canvas, light, scene.light, rng)


def masks(scene: Scene) -> list[np.ndarray]:
    """The visible part of each thing, (SIZE, SIZE) bool."""
    canvas = Canvas(Image.new("L", (CANVAS, CANVAS)))
    _draw_things(canvas, scene, inked=True)
    ids = np.asarray(canvas.image)
    out: list[np.ndarray] = []
    free = np.ones((SIZE, SIZE), dtype=bool)
    for i in range(len(scene.things)):
        out.append(_halved(ids == i + 1) & free)  # a pixel shared half and half belongs to the first
        free &= ~out[-1]
    return out


def whole_mask(scene: Scene, index: int) -> np.ndarray:
    """The mask of one thing as if nothing covered it, (SIZE, SIZE) bool."""
    canvas = Canvas(Image.new("L", (CANVAS, CANVAS)))
    _draw_thing(canvas, scene.things[index], 1)
    return _halved(np.asarray(canvas.image) == 1)


def boxes(scene: Scene) -> np.ndarray:
    """(n, 4) float32: x0, y0, x1, y1 of each thing in pixels, clipped to the image; covered parts are
    included."""
    out = np.array([t.box for t in scene.things], dtype=np.float32) * SIZE
    return np.clip(out, 0, SIZE)


def _halved(mask: np.ndarray) -> np.ndarray:
    """A canvas mask at the size of the image: true where at least half of a pixel is covered."""
    k = CANVAS // SIZE
    covered: np.ndarray = mask.reshape(SIZE, k, SIZE, k).sum(axis=(1, 3)) >= k * k / 2
    return covered


def _order(scene: Scene) -> list[int]:
    return sorted(range(len(scene.things)), key=lambda i: scene.things[i].layer)


def _draw_things(canvas: Canvas, scene: Scene, *, inked: bool = False) -> None:
    """Draws all things from back to front; a container's front is drawn again after what is in it."""
    fronts = {i: j for i, verb, j in scene.relations if verb == "in"}
    carried = {i: j for i, verb, j in scene.relations if verb in _CARRIED}
    late: dict[int, int] = {}
    for i, holder in fronts.items():
        late[carried.get(i, i)] = holder
    for i in _order(scene):
        _draw_thing(canvas, scene.things[i], i + 1 if inked else None)
        if i in late:
            container = scene.things[late[i]]
            pen = _pen(canvas, container, 0, late[i] + 1 if inked else None)
            FRONTS[container.kind](pen, _paint(container))


def _draw_thing(canvas: Canvas, thing: Thing, ink: int | None) -> None:
    paint = _paint(thing)
    draws = DRAWS[thing.kind]
    for n in range(len(thing.spots)):
        draws(_pen(canvas, thing, n, ink), paint, thing.pose, thing.appearance_seed + n)


def _pen(canvas: Canvas, thing: Thing, n: int, ink: int | None) -> Pen:
    spot = thing.spots[n]
    return Pen(canvas, spot.x * CANVAS, spot.y * CANVAS, spot.height * CANVAS, flip=spot.flip, ink=ink)


def _paint(thing: Thing) -> Paint:
    return Paint(COLOURS[thing.colour], tile(thing.pattern, thing.colour) if thing.pattern else None)


def _grounded(scene: Scene) -> set[int]:
    """The indices of things that cast a shadow on the ground."""
    up = {i for i, verb, _ in scene.relations if verb in _OFF_GROUND} | {
        j for _, verb, j in scene.relations if verb in _CARRIED
    }
    return {i for i, t in enumerate(scene.things)
            if i not in up and t.spots[0].y > 0.7 and KINDS[t.kind].where not in ("sky",
                    "water") and t.pose != "fly"}  # fmt: skip

"""Drawings against the graph over 2,000 pictures: things are visible, places and colours are as told."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from userscenes import make_world
from userscenes.canvas import COLOURS, PATTERNS, Canvas, Paint, Pen, tile
from userscenes.catalog import DRAWS, KINDS
from userscenes.extents import EXTENTS
from userscenes.facts import side_of
from userscenes.measure import extent, poses_of
from userscenes.picture import draw, whole_mask

COUNTS = {"train": 900, "val": 100, "test": 500, "pretrain": 500}


@pytest.fixture(scope="module")
def drawn():
    """(scene, visible masks, whole masks, boxes) of 2,000 pictures."""
    out = []
    for split, n in COUNTS.items():
        w = make_world(split, n)
        out += [(w[i], w.masks(i), [whole_mask(w[i], k) for k in range(len(w[i].things))], w.boxes(i))
                for i in range(n)]  # fmt: skip
    return out


def test_things_are_at_least_sixty_per_cent_visible(drawn):
    for scene, masks, wholes, _ in drawn:
        for k, mask in enumerate(masks):
            assert mask.sum() >= 0.6 * wholes[k].sum(), (scene.things[k].kind, scene.relations)
            assert mask.sum() >= 20, scene.things[k]


def test_each_member_of_a_group_is_visible(drawn):
    groups = 0
    for scene, masks, _, _ in drawn:
        for k, t in enumerate(scene.things):
            assert len(t.spots) == t.count
            for spot in t.spots if t.count > 1 else ():
                alone = whole_mask(replace(scene, things=(replace(t, spots=(spot,), count=1),)), 0)
                assert (alone & masks[k]).sum() >= 0.6 * alone.sum()
                groups += 1
    assert groups > 500


def test_masks_do_not_overlap_and_lie_in_their_boxes(drawn):
    for _, masks, _, boxes in drawn:
        assert np.sum(masks, axis=0).max() <= 1
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            ys, xs = np.nonzero(mask)
            assert x0 - 1.5 <= xs.min() <= xs.max() + 1 <= x1 + 1.5
            assert y0 - 1.5 <= ys.min() <= ys.max() + 1 <= y1 + 1.5


def test_relations_agree_with_the_drawing(drawn):
    seen = Counter()
    for scene, masks, whole, _ in drawn:
        pixels = [np.nonzero(w) for w in whole]
        for i, relation, j in scene.relations:
            (ys, xs), (yo, xo) = pixels[i], pixels[j]
            a, b = scene.things[i], scene.things[j]
            what = (a.kind, relation, b.kind)
            if relation == "left of":
                assert xs.mean() < xo.mean() - 4, what
                assert xs.max() <= xo.min() + 7, what
            elif relation == "right of":
                assert xs.mean() > xo.mean() + 4, what
            elif relation == "next to":
                assert max(xs.min(), xo.min()) - min(xs.max(), xo.max()) <= 18, what
                assert abs(int(ys.max()) - int(yo.max())) <= 24, what
            elif relation == "above":
                assert ys.max() <= yo.min() + 6, what
            elif relation in ("riding", "on", "sitting on", "standing on", "sleeping on"):
                assert ys.mean() < yo.mean(), what
                assert max(xs.min(), xo.min()) < min(xs.max(), xo.max()), what
            elif relation == "under":
                assert ys.min() > yo.min(), what
                assert ys.mean() > yo.mean(), what
                assert xo.min() <= xs.mean() <= xo.max(), what
            elif relation == "behind":
                assert a.layer < b.layer, what
                assert masks[i][yo, xo].mean() < 0.05, what  # it does not show where the nearer thing is
                assert max(xs.min(), xo.min()) <= min(xs.max(), xo.max()), what
            elif relation == "in":
                assert xo.min() < xs.mean() < xo.max(), what
                assert ys.mean() < yo.max(), what
            elif relation in ("holding", "wearing", "playing", "kicking"):
                gap_x = max(xs.min(), xo.min()) - min(xs.max(), xo.max())
                gap_y = max(ys.min(), yo.min()) - min(ys.max(), yo.max())
                assert max(gap_x, gap_y) <= 4, what
            elif relation == "chasing":
                facing = -1 if a.spots[0].flip else 1
                assert a.spots[0].flip == b.spots[0].flip, what
                assert facing * (xo.mean() - xs.mean()) > 4, what
            seen[relation] += 1
    assert min(seen.values()) >= 20, seen


def test_sides_agree_with_the_masks(drawn):
    for scene, masks, _, _ in drawn:
        for t, mask in zip(scene.things, masks, strict=True):
            x = np.nonzero(mask)[1].mean() / 128
            side = side_of(t)
            if side == "left":
                assert x < 0.46, t
            elif side == "right":
                assert x > 0.54, t
            elif side == "middle":
                assert 0.34 < x < 0.66, t


@pytest.mark.parametrize("kind", KINDS)
def test_the_colour_word_is_the_drawn_colour(kind):
    """On every kind the named colour covers a good part of the drawing, and more than any other colour."""
    for n, (colour, rgb) in enumerate(COLOURS.items()):
        for pattern in ("", PATTERNS[n % len(PATTERNS)]):
            canvas = Canvas(Image.new("RGB", (256, 256), (1, 2, 3)))
            scale = 50 if kind == "skateboard" else 90
            paint = Paint(rgb, tile(pattern, colour) if pattern else None)
            DRAWS[kind](Pen(canvas, 128, 200, scale), paint, "stand", 0)
            pixels = np.asarray(canvas.image).reshape(-1, 3)
            body = pixels[(pixels != (1, 2, 3)).any(1)]
            share = {c: np.mean((body == v).all(1)) for c, v in COLOURS.items()}
            assert share[colour] >= (0.04 if pattern else 0.08), (colour, pattern, share[colour])
            assert max(share, key=share.get) == colour


def test_extents_are_those_of_the_drawings():
    for kind in KINDS:
        for pose in poses_of(kind):
            assert np.allclose(EXTENTS[(kind, pose)], extent(kind, pose), atol=0.03), (kind, pose)


def test_mirrored_things_are_drawn_turned_round():
    image = []
    for flip in (False, True):
        canvas = Canvas(Image.new("L", (256, 256)))
        DRAWS["dog"](Pen(canvas, 128, 200, 80, flip=flip, ink=255), Paint((0, 0, 0)), "stand", 0)
        image.append(np.asarray(canvas.image) > 0)
    assert np.mean(image[0] != image[1][:, ::-1]) < 0.02
    assert np.mean(image[0] != image[1]) > 0.02


def test_light_and_weather_change_the_picture_and_not_the_masks():
    w = make_world("train", 40)
    scene = next(s for s in w if s.time == "day" and s.weather == "sunny")
    day = np.asarray(draw(scene)).astype(int)
    night = np.asarray(draw(replace(scene, time="night"))).astype(int)
    rain = np.asarray(draw(replace(scene, weather="rainy"))).astype(int)
    assert night.mean() < 0.8 * day.mean()
    assert np.abs(rain - day).mean() > 2

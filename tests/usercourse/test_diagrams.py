"""Diagrams: drawn within their frame, legible, with a sentence; the pipeline frames what a notebook is about."""

from pathlib import Path

import nbformat
import pytest
from matplotlib.patches import FancyBboxPatch
from matplotlib.path import Path as Path2D
from matplotlib.text import Annotation

from usercourse import diagrams
from userlib import UserError

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_words_lie_within_the_frame_and_apart(name):
    figure, sentence = diagrams.DIAGRAMS[name]()
    figure.canvas.draw()
    frame, boxes = figure.bbox, [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[:i]), figure.axes[0].texts[i].get_text()
    assert len(sentence) > 80


@pytest.mark.parametrize("name", ["pipeline", "enhancements", "queues"])
def test_words_fit_their_boxes(name):
    figure, _ = diagrams.DIAGRAMS[name]()
    figure.canvas.draw()
    axis = figure.axes[0]
    for patch in (one for one in axis.patches if isinstance(one, FancyBboxPatch)):
        outer = patch.get_window_extent()
        x, y = (outer.x0 + outer.x1) / 2, (outer.y0 + outer.y1) / 2
        inside = [text.get_window_extent() for text in axis.texts if text.get_window_extent().contains(x, y)]
        assert inside and all(outer.x0 < box.x0 and box.x1 < outer.x1 for box in inside)


@pytest.mark.parametrize("name", ["pipeline", "enhancements", "queues"])
def test_no_words_stand_on_a_line_and_no_line_goes_through_a_box(name):
    figure, _ = diagrams.DIAGRAMS[name]()
    figure.canvas.draw()
    axis = figure.axes[0]
    words = [text.get_window_extent() for text in axis.texts if text.get_text()]
    boxes = [patch.get_window_extent().padded(-2) for patch in axis.patches]
    to_pixels = axis.transData.transform
    lines = [to_pixels(line.get_xydata()) for line in axis.lines]
    lines += [to_pixels([text.xyann, text.xy]) for text in axis.texts if isinstance(text, Annotation)]
    assert len(lines) >= 8
    for line in lines:
        path = Path2D(line)
        assert not any(path.intersects_bbox(box, filled=False) for box in words + boxes)
    for box in words:
        held = [outer for outer in boxes if outer.overlaps(box)]
        assert all(outer.contains(*corner) for outer in held for corner in (box.min, box.max))


@pytest.mark.parametrize("part", diagrams.PARTS)
def test_each_part_has_a_frame_and_is_named(part):
    figure, sentence = diagrams.pipeline((part,))
    framed = [one for one in figure.axes[0].patches if one.get_linewidth() > 2]
    assert 1 <= len(framed) <= 2 and "with the thick frame" in sentence
    plain, said = diagrams.pipeline()
    assert all(one.get_linewidth() <= 2 for one in plain.axes[0].patches) and "thick frame" not in said


def test_what_there_is_not_is_refused():
    with pytest.raises(UserError, match="There is no diagram 'model'; choose one of pipeline"):
        diagrams.diagram("model")
    with pytest.raises(UserError, match="no part 'sge'; choose one of tokens"):
        diagrams.diagram("pipeline", here=("sge",))


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_each_notebook_opens_with_the_place_it_has(path):
    first = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert 'diagram("pipeline"' in first.source
    shown = [output.get("metadata", {}).get("image/png") for output in first.outputs]
    alternatives = [one["alt"] for one in shown if one]
    assert alternatives and alternatives[0].startswith("The model: tokens of an image")

"""The static snapshot of a hit: words against regions on numbered axes, with a bar that says what a brightness is."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from usercourse.demo.explanation import shown_words
from usercourse.demo.figures import why_figure
from usercourse.overlays import dimmed

QUERY = "A dog and a red ball on the grass."


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def test_a_word_is_shown_once_and_function_words_where_there_is_nothing_else():
    assert shown_words(("a", "red", "ball", "on", "a", "red", "box")) == ["red", "ball", "box"]
    assert shown_words(("on", "the", "on")) == ["on", "the"]
    assert shown_words(()) == []


def test_words_are_dimmed_on_one_scale_which_the_bar_gives(engines):
    engine = engines["sge"]
    figure, sentence = why_figure(engine, QUERY)
    hit = engine.search(QUERY, 1).hits[0]
    seen = engine.explain(hit.id, QUERY)
    rows = {word: seen.similarity[seen.words.index(word)] for word in ("dog", "red", "ball", "grass")}
    top = max(float(row.max()) for row in rows.values())
    shown = {axis.get_title(): axis.images[0].get_array() for axis in figure.axes if axis.get_title()}
    assert list(shown) == ["hit 1", "attention: SGE", "attention: SGE's guide"] + [
        f"“{word}” {row.max():.2f}" for word, row in rows.items()
    ]
    for word, row in rows.items():
        expected = dimmed(engine.picture(hit.id), row, seen.grid, top=top)
        assert (np.asarray(shown[f"“{word}” {row.max():.2f}"]) == expected).all()
    bars = {axis.get_ylabel(): axis.get_ylim()[1] for axis in figure.axes if axis.get_label() == "<colorbar>"}
    assert bars["cosine of word and region"] == pytest.approx(max(top, 1e-6))
    best = max(rows, key=lambda word: rows[word].max())
    row, column = divmod(int(rows[best].argmax()), 8)
    assert f'"{best}", {rows[best].max():.2f}, in row {row + 1}, column {column + 1}.' in sentence


def test_regions_are_numbered_beside_the_image(engines):
    figure, _ = why_figure(engines["sge"], QUERY)
    first = figure.axes[0]
    assert (first.get_ylabel(), first.get_xlabel()) == ("row of regions", "column of regions")
    numbers = [str(i + 1) for i in range(8)]
    assert [label.get_text() for label in first.get_yticklabels()] == numbers
    assert [label.get_text() for label in first.get_xticklabels()] == numbers
    assert np.allclose(first.get_yticks()[:2], [7.5, 23.5])  # in the middle of rows of 16 pixels


def test_without_a_guide_the_words_stand_beside_the_image(engines):
    figure, sentence = why_figure(engines["mean"], "a truck")
    assert [title.split()[0] for title in titles(figure)] == ["hit", "“truck”"]
    assert "no attention, since mean pooling has none" in sentence


@pytest.mark.parametrize("name", ["mean", "sge"])
@pytest.mark.parametrize(
    "query", ["a dog", QUERY, "A man in a red shirt and a woman with a blue bag near two dogs."]
)
def test_no_words_of_the_figure_stand_on_one_another(engines, name, query):
    figure, _ = why_figure(engines[name], query)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = []
    for axis in figure.axes:
        labels = [
            axis.title,
            axis.xaxis.label,
            axis.yaxis.label,
            *axis.get_xticklabels(),
            *axis.get_yticklabels(),
        ]
        if not axis.axison:
            labels = labels[:1]
        low, high = sorted(axis.get_ylim())
        boxes += [
            (label.get_text(), label.get_window_extent(renderer)) for label in labels
            if label.get_text() and (label not in axis.get_yticklabels() or low <= label.get_position()[1] <= high)
        ]  # fmt: skip
    assert len(boxes) > 15
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.overlaps(second), (one, other)

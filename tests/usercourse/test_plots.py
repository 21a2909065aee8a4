"""Figures: the right values in the right places, and sentences that follow from them."""

import io
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from usercourse import objective, overlays, plots, recall
from userlib.evaluation import Interval, ranks, recalls


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_the_heat_map_of_the_identity_is_dark_on_the_diagonal_alone():
    figure, sentence = plots.heat_map(np.eye(3), rows=list("abc"), columns=list("xyz"))
    shades = figure.axes[0].images[0].get_array()
    assert (np.asarray(shades) == np.eye(3)).all()
    assert texts(figure) == ["1.00", "0.00", "0.00", "0.00", "1.00", "0.00", "0.00", "0.00", "1.00"]
    assert sentence == (
        "Darker is larger; the largest of 3 x 3 values, 1.00, is in row a, column x and in 2 other cells."
    )


def test_the_heat_map_outlines_what_it_is_told_and_writes_no_minus_zero():
    own = np.array([[True, False], [False, False]])
    figure, sentence = plots.heat_map([[-1e-9, 0.5], [0.2, 0.1]], own=own)
    assert texts(figure)[0] == "0.00"
    assert len(figure.axes[0].patches) == 1
    assert "row 1, column 2" in sentence


def test_png_is_white_at_the_edge_and_of_the_stated_size():
    figure, _ = plots.new_figure(4, 2)
    picture = Image.open(io.BytesIO(plots.png(figure)))
    assert picture.size == (4 * plots.DPI, 2 * plots.DPI)
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_figures_leave_pyplot_alone():
    before = plt.get_fignums()
    plots.lines([0, 1], {"a": [0, 1]}, x_label="x", y_label="y")
    assert plt.get_fignums() == before


def test_differences_that_contain_zero_are_said_to_decide_nothing():
    rows = {"a": Interval(2.0, 1.0, 3.0), "b": Interval(0.5, -1.0, 2.0), "c": Interval(-2.0, -3.0, -1.0)}
    _, sentence = plots.intervals(rows, x_label="points", differences=True)
    assert sentence.endswith("; better: a; worse: c; inconclusive, with 0 in the interval: b.")
    _, sentence = plots.intervals({"b": rows["b"]}, x_label="points", differences=True)
    assert "none excludes 0" in sentence
    _, sentence = plots.intervals(rows, x_label="points")
    assert "highest is a at 2.0 [1.0, 3.0]" in sentence


def test_a_difference_has_the_colour_and_the_marker_of_its_verdict():
    rows = {"b": Interval(0.5, -1.0, 2.0), "c": Interval(-2.0, -3.0, -1.0), "a": Interval(2.0, 1.0, 3.0)}
    figure, _ = plots.intervals(rows, x_label="points", differences=True)
    drawn = [
        (line.get_color(), line.get_marker()) for line in figure.axes[0].lines if len(line.get_xdata()) == 1
    ]
    looks = {words: (plots.COLOURS[colour], marker) for words, colour, marker in plots.VERDICTS.values()}
    assert drawn == [looks[w] for w in ("inconclusive, contains 0", "worse, below 0", "better, above 0")]
    assert len({look[0] for look in drawn}) == len({look[1] for look in drawn}) == 3
    legend = figure.legends[0]
    said = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    assert {words: (one.get_color(), one.get_marker()) for words, one in said.items()} == looks


def test_values_have_one_look_and_no_verdict():
    rows = {"a": Interval(2.0, 1.0, 3.0), "b": Interval(-5.0, -6.0, -4.0)}
    figure, _ = plots.intervals(rows, x_label="points")
    assert len({line.get_color() for line in figure.axes[0].lines}) == 1
    assert not figure.legends


@pytest.mark.parametrize("count", [1, 6])
def test_the_legend_of_the_verdicts_is_above_the_axis_and_inside_the_figure(count):
    rows = {f"a model with a long name - baseline {i}": Interval(1.0, 0.5, 2.0) for i in range(count)}
    figure, _ = plots.intervals(rows, x_label="points", differences=True)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    legend, axis = (one.get_window_extent(renderer) for one in (figure.legends[0], figure.axes[0]))
    values = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    assert legend.y0 >= max(box.y1 for box in (axis, *values))
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1


def test_attention_counts_what_lies_on_the_truth():
    picture = Image.new("RGB", (8, 8), "green")
    truth = np.zeros((8, 8), bool)
    truth[:4, :4] = True  # the first cell of a grid of 2 x 2
    _, sentence = overlays.attention(picture, [3.0, 1.0, 0.0, 0.0], (2, 2), truth=truth)
    assert sentence.startswith("75 % of the attention")
    assert "cover 25 % of the image" in sentence
    _, sentence = overlays.attention(picture, [3.0, 1.0, 0.0, 0.0], (2, 2))
    assert "3.0 times the mean" in sentence


def test_attention_stands_beside_the_image_as_it_is():
    picture = Image.new("RGB", (8, 8), (100, 200, 50))
    figure, _ = overlays.attention(picture, [2.0, 1.0, 0.0, 0.0], (2, 2), title="a")
    first, second = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["image", "a"]
    assert (np.asarray(first.images[0].get_array()) == np.asarray(picture)).all()
    shown = np.asarray(second.images[0].get_array())
    assert (shown == overlays.dimmed(picture, [2.0, 1.0, 0.0, 0.0], (2, 2))).all()
    assert shown[::4, ::4, 1].tolist() == [[200, 120], [40, 40]]


def test_attention_that_is_0_everywhere_has_no_share():
    truth = np.ones((4, 4), bool)
    figure, sentence = overlays.attention(Image.new("RGB", (4, 4)), np.zeros(4), (2, 2))
    assert "0.0 times the mean" in sentence
    assert len(figure.axes) == 2
    _, sentence = overlays.attention(Image.new("RGB", (4, 4)), np.zeros(4), (2, 2), truth=truth)
    assert sentence.startswith("0 % of the attention")


def test_images_on_one_scale_are_dimmed_by_it_and_the_bar_has_its_greys():
    white = Image.new("RGB", (4, 4), "white")
    lit = overlays.dimmed(white, [0.0, 1.0, 2.0, 8.0], (2, 2), top=4.0)[::2, ::2, 0]
    assert lit.tolist() == [
        [51, 102],
        [153, 255],
    ]  # beyond the scale's end nothing is brighter than the image
    figure, axes = plots.new_figure(3, 2)
    overlays.brightness_bar(list(axes[0]), 4.0, "unit")
    bar = figure.axes[1]
    assert bar.get_ylabel() == "unit"
    assert bar.get_ylim() == (0.0, 4.0)
    colours = bar.collections[-1].cmap([0.0, 1.0])[:, 0]
    assert np.allclose(colours, [overlays.FLOOR, 1.0])


def test_pictures_stand_in_rows_under_their_titles():
    figure = plots.pictures([Image.new("RGB", (4, 4))] * 3, ["a", "b", "c"], columns=2)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", ""]


def test_the_toy_retriever_is_perfect_without_noise_and_guesses_with_much():
    images, captions, owner = recall.toy_embeddings(50, noise=0.0)
    assert np.allclose(np.linalg.norm(captions, axis=1), 1, atol=1e-5)
    assert recalls(ranks(images[:, :], images[owner], owner)).t2i_r1 == 100
    noisy = recalls(ranks(*recall.toy_embeddings(200, noise=1000.0)))
    assert noisy.t2i_r1 < 3


def test_the_hit_curve_is_r_at_every_k():
    result = np.array([1, 1, 3, 4])
    assert recall.hit_curve(result, 4).tolist() == [50, 50, 75, 100]


def test_the_recall_demo_states_what_evaluation_finds():
    images, captions, owner = recall.toy_embeddings(100, noise=2.0)
    expected = recalls(ranks(images, captions, owner))
    figure, sentence = recall.toy_demo(100, 5, 2.0)
    assert f"{expected.i2t_r1:.1f} %" in sentence
    assert figure.axes[0].lines[2].get_ydata()[0] == expected.t2i_r1


@pytest.mark.parametrize("mu, gamma, positive", [(90, 0.5, 0.8), (1, -0.5, -0.5), (200, 0.9, 1.0)])
def test_the_objectives_start_to_push_where_the_sentence_says(mu, gamma, positive):
    figure, sentence = objective.objective_curves(mu, gamma, positive)
    uto, hinge, infonce = (line.get_ydata() for line in figure.axes[1].lines[:3])
    s = figure.axes[1].lines[0].get_xdata()
    away = np.abs(s - (positive - 0.2)) > 0.006  # the edge itself is a matter of rounding
    assert np.allclose(hinge[away], (s > positive - 0.2)[away], atol=1e-6)
    if mu > 50:
        assert abs(s[np.searchsorted(uto, 0.5)] - gamma) < 0.02
        assert np.isclose(infonce[np.searchsorted(s, positive - 1e-6)], 0.5, atol=0.02) or positive > 0.9
    assert f"γ = {gamma:g}" in sentence


def test_gradient_shares_sum_to_one_and_the_hardest_hinge_hears_one():
    figure, sentence = objective.gradient_shares(0.6, [0.7, 0.5, -0.5], mu=30.0, gamma=0.3)
    for axis in figure.axes:
        assert np.isclose(sum(bar.get_height() for bar in axis.patches), 1.0, atol=1e-5)
    assert "hinge, hardest 1" in sentence
    assert "hinge, sum 2" in sentence


def test_the_two_positive_terms_differ_below_zero_alone():
    figure, sentence = objective.positive_curves()
    live, exact = (line.get_ydata() for line in figure.axes[0].lines)
    s = figure.axes[0].lines[0].get_xdata()
    assert np.allclose(live[s > 0], exact[s > 0])
    assert (exact[s <= 0] == 0).all()
    assert np.allclose(live[s <= 0], -s[s <= 0])
    assert "original form has gradient 0:" in sentence


def test_overflow_happens_where_it_is_drawn():
    _, sentence = objective.overflow(0.5)
    with np.errstate(over="ignore"):
        assert np.isinf(np.exp(np.float16(23 * 0.5)))
        assert np.isfinite(np.exp(np.float16(22 * 0.5)))
    assert "mu = 22" in sentence
    assert "mu = 177" in sentence


def test_dead_runs_are_counted():
    runs = np.array([[0.0, 50.0], [0.0, 2.0]])
    figure, sentence = objective.starts({"original": runs, "leaky": runs[:1]}, alive=7)
    assert "1 of 2 with the original form and 0 of 1 with the leaky form" in sentence
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-", "--"]


def test_one_matching_caption_among_the_negatives_adds_by_its_distance_to_gamma():
    assert np.isclose(objective.mask_effect(), 0.4, atol=1e-4)


def test_loss_matrices_count_what_each_score_is():
    ids, held = torch.tensor([4, 7, 4]), torch.tensor([1, 4, 9, -1])
    same = ids[:, None] == ids
    figure, sentence = objective.loss_matrices(torch.full((3, 3), -0.001), same)
    assert "L_b: 3 positives, 4 negatives, 2 masked." in sentence
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("masked") == 2
    assert texts.count("0.00") == 7  # no minus in front of a zero
    ignore = (held == -1) | (held == ids[:, None])
    figure, sentence = objective.loss_matrices(
        torch.zeros(3, 3), same, own=torch.ones(3), keys=torch.zeros(3, 4), ignore_mask=ignore
    )
    assert "2 masked; L_q: 3 positives, 7 negatives, 5 masked." in sentence
    assert len(figure.axes) == 2


@pytest.mark.parametrize(
    "figure",
    [
        lambda: objective.objective_curves(90.0, 0.5, 0.8)[0],
        lambda: objective.positive_curves()[0],
        lambda: recall.unit_circle(np.eye(2), np.eye(2), np.arange(2), ["one", "another"])[0],
    ],
    ids=["two next to each other", "two that begin at -1", "square"],
)
def test_the_numbers_along_an_axis_keep_apart(figure):
    """By half the height of a line, or a reader takes two numbers for one."""
    drawn = figure()
    renderer = FigureCanvasAgg(drawn).get_renderer()
    drawn.draw(renderer)
    for axis in drawn.axes:
        low, high = axis.get_xlim()
        boxes = [label.get_window_extent(renderer) for label in axis.get_xticklabels()
                 if label.get_text() and low <= label.get_position()[0] <= high]  # fmt: skip
        assert len(boxes) > 2
        for left, right in pairwise(sorted(boxes, key=lambda box: box.x0)):
            assert right.x0 - left.x1 > left.height / 2

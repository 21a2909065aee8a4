"""Figures in a narrow window: none is too wide, none has small words, and no words leave the canvas.
`every_figure_is_legible` in conftest.py looks at every figure that any test of the course makes.
"""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from tests.usercourse.legible import SMALLEST, small_words, words_of
from usercourse import ablations as study
from usercourse import (
    baseline,
    diagrams,
    guided,
    neighbours,
    objective,
    plots,
    queues,
    recall,
    running,
    speed,
)
from userlib.evaluation import Interval

RNG = np.random.default_rng(0)
IMAGES = [Image.new("RGB", (32, 32), "green")] * 9
TRUTH = np.eye(32, dtype=bool)
SCORES = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
V, G = torch.rand(64, 6), torch.ones(6) / 6**0.5
ROWS = {
    "a model with a long name, and what it was trained on - a baseline": Interval(2.0, 1.0, 3.0),
    "b": Interval(0.5, -1.0, 2.0),
    "c": Interval(-123.4, -125.0, -122.0),
}
LABEL = "a long label: t2i R@1 in percent, the same retriever on galleries of three sizes"
MOMENT = queues.Moment(
    step=12, ids=np.arange(512), ages=np.arange(512) // 32, same=np.linspace(1, 0.5, 512, dtype=np.float32),
    lag=0.7, loss=1.0, unpaired=0.1, r10=20.0,
)  # fmt: skip
GPUS = {"matrix product of the batch": 12.5, "a loop over all pairs of image and caption": 800.0}
RERANKED = {
    f"CHAN, trained on mined negatives, {i}": {
        name: (2.0 * 3**k, Interval(80.0 + 9 * k, 70.0, 120.0))
        for k, name in enumerate(("embeddings", "first 10", "first 50", "first 200", "every image"))
    }
    for i in range(5)
}
SHARE = {"own": 50.0, "other": 10.0, "wrong": 40.0}
FIGURES = {
    **{f"diagram {name}": make for name, make in diagrams.DIAGRAMS.items()},
    "all parts": lambda: diagrams.pipeline(diagrams.PARTS),
    "heat map": lambda: plots.heat_map(
        RNG.normal(size=(9, 9)), rows=[f"pair {i}" for i in range(9)], columns=[f"pair {i}" for i in range(9)]
    ),
    "wide heat map": lambda: plots.heat_map(RNG.normal(size=(4, 30)), title="30 columns"),
    "lines": lambda: plots.lines([0, 1], {"a": [0, 1], "b": [1, 0]}, x_label="x", y_label="y"),
    "intervals": lambda: plots.intervals(ROWS, x_label=LABEL),
    "differences": lambda: plots.intervals(ROWS, x_label=LABEL, differences=True),
    "pictures": lambda: (plots.pictures(IMAGES, ["title"] * 9, columns=9, size=1.05), ""),
    "circle": lambda: recall.unit_circle(np.eye(2), np.eye(2), np.arange(2), ["v0: a dog", "v1: a sofa"]),
    "recall": lambda: recall.toy_demo(500, 5, 2.0),
    "rates": lambda: baseline.rates_figure(
        {name: {group: ROWS["b"] for group in baseline.GROUPS} for name in ("bag", "GRU", "mean", "random")}
    ),
    "patches": lambda: guided.patch_maps(
        IMAGES[:4],
        np.ones((4, 64), np.float32),
        (8, 8),
        [TRUTH] * 4,
        ["a caption of more than a few words"] * 4,
    ),
    "residuals": lambda: guided.residuals(50.0, learned=5.0),
    "shift": lambda: guided.shift_panels(
        IMAGES[0], V, G, {f"s = {s}": s for s in (1, 47.5, 143)}, (8, 8), TRUTH
    ),
    "guide": lambda: guided.guided_view(
        IMAGES[0],
        V,
        G,
        residual_scale=2.0,
        inverse_temperature=1.0,
        grid=(8, 8),
        truth=TRUTH,
        whose="another",
    ),
    "objectives": lambda: objective.objective_curves(90.0, 0.5, 0.8),
    "shares": lambda: objective.gradient_shares(0.6, [0.7, 0.65, 0.6, 0.5, 0.3, 0.0], mu=30.0, gamma=0.3),
    "overflow": objective.overflow,
    "positive": objective.positive_curves,
    "starts": lambda: objective.starts(
        {"original": RNG.random((4, 9)), "leaky": RNG.random((4, 9))}, alive=7
    ),
    "matrices": lambda: objective.loss_matrices(
        SCORES[:, :5], SCORES[:, :5] > 2, own=SCORES[:, 0], keys=SCORES, ignore_mask=SCORES > 0.7
    ),
    "memory": lambda: queues.memory({32: 20.0, 128: 80.0}, 3.0, 256, sizes=[512, 2048, 8192]),
    "ring": lambda: queues.ring(5, [[1, 2], [3, 4], [5, 6], [7, 8]]),
    "follow": lambda: queues.follow_curves([0.0, 0.5, 0.9, 0.99, 0.999], 60),
    "queue": lambda: queues.queue_state(MOMENT, 3, np.arange(512) % 50 == 0),
    "momenta": lambda: queues.consistency_and_lag({m: MOMENT for m in (0.0, 0.9, 0.99, 1.0)}),
    "relevant": lambda: queues.relevant_keys(np.full(9, 3), 1000, [128, 512, 2048]),
    "gradient": lambda: queues.gradient_bars(SHARE, {"own": 0.1, "other": 0.4, "wrong": 99.5}),
    "collapse": lambda: queues.collapse_curves(
        {"positives only": [MOMENT] * 2, "with negatives": [MOMENT] * 2}
    ),
    "sessions": lambda: running.timeline(
        [running.Session("the first process, killed", 0, 40, lost=True)], 100
    ),
    "folds": lambda: running.folds_figure(
        RNG.normal(size=(60, 8)), RNG.normal(size=(300, 8)), np.repeat(np.arange(60), 5), 6
    ),
    "times": lambda: speed.bars(GPUS, x_label=f"{LABEL}, seconds"),
    "operations": lambda: speed.shares({"matrix products of all layers": 60.0, "copies": 40.0}),
    "trade": lambda: speed.trade([10, 20, 40], [80, 90, 97], [0.1, 0.2, 0.4], exact_ms=0.5),
    "traffic": lambda: speed.traffic(10, 2048),
    "two grids": lambda: neighbours.grids(
        {"t2i: words look": RNG.random((4, 4)), "i2t: regions look": RNG.random((4, 4))},
        "said",
        rows=["dog", "ball", "sofa", "wall"],
        columns=["animal", "toy", "red", "room"],
        outlined=np.eye(4, dtype=bool),
    ),
    "region graph": lambda: neighbours.region_graph(RNG.random((4, 4)), ["dog", "ball", "sofa", "wall"]),
    "routes": lambda: neighbours.routes([torch.rand(3, 3), torch.rand(3, 3), torch.rand(3, 1)]),
    "grouped bars": lambda: neighbours.bars(
        {f"caption {i}": {"InfoNCE's target": 1.0, "teacher": 0.5, "model": 0.2} for i in range(3)},
        "said",
        label="probability",
    ),
    "signed bars": lambda: neighbours.bars(
        {"dog": {"counts": 0.9}, "boat": {"counts": -0.5}}, "said", label="counts"
    ),
    "accuracy and time": lambda: neighbours.speed_and_accuracy(RERANKED),
    "by hand": lambda: study.hits_by_hand(np.eye(5)[:3], np.eye(5)[2:]),
    "nothing": lambda: study.nothing("Fewer than two seeds of these two are stored."),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_narrow_window_and_its_words_are_large_and_inside(name):
    figure, _ = FIGURES[name]()
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    assert figure.get_figwidth() <= plots.WIDEST + 1e-6
    assert not small_words(figure)
    beyond = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label, at in zip(axis.get_majorticklabels(), axis.get_majorticklocs(), strict=True)
        if not min(axis.get_view_interval()) <= at <= max(axis.get_view_interval())
    }
    words = [one for one in words_of(figure) if id(one) not in beyond]
    assert words
    for one in words:
        box = one.get_window_extent(renderer)
        inside = (
            box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        )
        assert inside, one.get_text()


def test_a_figure_that_is_too_wide_is_refused():
    assert plots.new_figure()[0].get_figwidth() == plots.WIDEST
    for make in (plots.new_figure, plots.empty_figure):
        with pytest.raises(ValueError, match="7.00 inches is too wide"):
            make(7.0, 3.0)


def test_small_words_are_found():
    figure, axes = plots.new_figure(3, 2)
    axes[0, 0].set_title("small", fontsize=8)
    axes[0, 0].tick_params(axis="x", labelsize=7)
    assert small_words(figure) == [("small", 8.0), ("tick of x", 7.0)]
    assert SMALLEST == 9
    axes[0, 0].set_title("small", fontsize=9)
    axes[0, 0].tick_params(axis="x", labelsize=9)  # as every_figure_is_legible has it

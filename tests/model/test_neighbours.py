"""Poolings and enhancements of related work compared with their plain versions, to 1e-9 in float64, values and
gradients; how each starts; masks; and how they train in the whole model.
"""

import copy
import math

import numpy as np
import pytest
import torch

from tests.model.test_parity import compare
from tests.reference import neighbours as plain
from tests.reference.small import make_batch, shake, small
from userlib.config import ObjectiveConfig
from userlib.errors import UserError
from userlib.model.neighbours.concepts import Concepts, concept_graph
from userlib.model.neighbours.esa import ESAPool, esa_pool
from userlib.model.neighbours.graph import RegionGraph
from userlib.model.neighbours.route import OPEN, Route, mixture
from userlib.model.neighbours.views import ViewPool, diversity, take_penalties
from userlib.model.pooling import make_pooling, mean_pool
from userlib.model.user import USER

WIDTH, HEADS = 6, 2
SOME = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1]]).bool()
POOLINGS = {"esa": (ESAPool(WIDTH), plain.esa), "views": (ViewPool(WIDTH, views=3), plain.views)}
ENHANCEMENTS = {
    "graph": (RegionGraph(WIDTH, layers=2), plain.graph),
    "route": (Route(WIDTH), lambda p, V, mask: plain.route(p, V, mask, HEADS)),
}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ready(module):
    return shake(copy.deepcopy(module).double()).eval()


def with_graph(count=5, known=4):
    part = Concepts(WIDTH, count=count).double()
    graph = torch.zeros(count, count, dtype=torch.float64)
    graph[:known, :known] = draw(known, known, seed=5).abs() + torch.eye(known, dtype=torch.float64)
    part.set_graph(draw(count, count, seed=6), graph / graph.sum(1, keepdim=True).clamp(min=1e-9))
    return shake(part).eval()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_equals_its_plain_version(name, masked):
    module, slow = POOLINGS[name]
    mask = SOME if masked else torch.ones_like(SOME)
    compare(ready(module), lambda pool, x: pool(x, SOME if masked else None),
            lambda p, x: slow(p, x, mask), [draw(4, 4, WIDTH)], torch.float64)  # fmt: skip


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ENHANCEMENTS)
def test_an_enhancement_equals_its_plain_version(name, masked):
    module, slow = ENHANCEMENTS[name]
    mask = SOME if masked else torch.ones_like(SOME)
    there = mask.unsqueeze(-1)
    compare(ready(module), lambda part, x: part(x, SOME if masked else None) * there,
            lambda p, x: slow(p, x, mask) * there, [draw(4, 4, WIDTH)], torch.float64)  # fmt: skip


def test_concepts_equal_their_plain_version():
    compare(with_graph(), lambda part, u: part.on_vector(u), plain.concepts, [draw(3, WIDTH)], torch.float64)


def test_the_diversity_equals_its_plain_version():
    def fast(pool, x):
        pool.train()
        pool(x, SOME)
        return pool.penalty.unsqueeze(0)

    compare(ready(POOLINGS["views"][0]), fast, lambda p, x: plain.diversity(p, x, SOME).unsqueeze(0),
            [draw(4, 4, WIDTH)], torch.float64)  # fmt: skip


def test_views_of_one_vector_each_have_no_penalty():
    apart, alike = torch.eye(4)[:3].T.unsqueeze(0), torch.eye(4)[[0, 0, 0]].T.unsqueeze(0)  # (1, N, k)
    assert float(diversity(apart)) == 0 and float(diversity(alike)) == 6


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_a_graph_starts_as_the_identity_and_learns(norm):
    module, V = RegionGraph(WIDTH, norm=norm), draw(3, 4, WIDTH).float()
    assert len(module.layers) == 4
    torch.testing.assert_close(module(V, SOME[:3]), V, rtol=0, atol=0)
    (module(V) * draw(3, 4, WIDTH, seed=2)).sum().backward()
    assert all(layer.norm.weight.grad.abs().max() > 0 for layer in module.layers)


def test_esa_starts_as_the_mean_and_can_single_out_one_region():
    x = draw(3, 4, WIDTH)
    torch.testing.assert_close(ESAPool(WIDTH).double()(x, SOME[:3]), mean_pool(x, SOME[:3]))
    scores = torch.zeros_like(x)
    scores[:, 2, 0] = 1e4  # one channel looks at one region, the others at all
    pooled = esa_pool(x, scores)
    torch.testing.assert_close(pooled[:, 0], x[:, 2, 0])
    torch.testing.assert_close(pooled[:, 1:], x[:, :, 1:].mean(1))


def test_esa_of_an_empty_set_is_zero_whatever_stands_there():
    x, there = draw(2, 4, WIDTH), SOME[:2].clone()
    there[1] = False
    pooled = esa_pool(x, draw(2, 4, WIDTH, seed=1), there)
    assert pooled[0].abs().min() > 0 and (pooled[1] == 0).all()


def test_all_paths_of_a_route_start_open_and_closed_ones_share_alike():
    module = Route(WIDTH)
    assert all((cell.paths.bias == OPEN).all() for cells in module.layers for cell in cells)
    outputs = draw(3, 2, 4, WIDTH)
    paths = torch.tensor([[0.0, 0.0], [0.0, 0.9], [0.0, 0.3]])
    mixed = mixture(outputs, paths.double())
    torch.testing.assert_close(mixed[0], outputs[:, 0].mean(0))
    torch.testing.assert_close(mixed[1], 0.75 * outputs[1, 1] + 0.25 * outputs[2, 1])


def test_concepts_without_a_graph_are_the_identity():
    u = torch.nn.functional.normalize(draw(3, WIDTH), dim=1)
    torch.testing.assert_close(shake(Concepts(WIDTH, count=4).double()).on_vector(u), u)


def test_the_concept_graph_by_hand():
    """Of 17 captions, 5 have the token 1, which is too many; 9 is special; 2 and 3 always meet, 4 is alone."""
    captions = [[1, 9, 2, 3], [1, 9, 2, 3, 3], [1, 9, 2, 3, 5], [1, 9, 4], [1, 9, 4], *[[9]] * 12]
    vectors, graph = concept_graph([np.array(ids) for ids in captions], count=6, special=[9])
    wanted = torch.zeros(6, 6)  # the concepts are 2, 3, 4, 5
    wanted[:4, :4] = torch.tensor([[1, 1, 0, 1 / 3], [1, 1, 0, 1 / 3], [0, 0, 1, 0], [1, 1, 0, 1]])
    torch.testing.assert_close(graph, wanted / wanted.sum(1, keepdim=True).clamp(min=1))
    information = vectors @ vectors.T
    assert float(information[0, 1]) == pytest.approx(math.log(17 / 3), abs=1e-4)
    assert float(information[0, 2]) == pytest.approx(0.0, abs=1e-4)
    assert (vectors[4:] == 0).all()


@pytest.mark.parametrize("name", ["esa", "views"])
def test_padding_and_order_do_not_matter(name):
    pool, x = ready(make_pooling(name, WIDTH)), draw(2, 4, WIDTH)
    wanted = pool(x)
    torch.testing.assert_close(pool(x[:, [2, 0, 3, 1]]), wanted)
    padded = torch.cat([x, torch.full((2, 3, WIDTH), 7.0, dtype=torch.float64)], 1)
    torch.testing.assert_close(pool(padded, torch.tensor([[True] * 4 + [False] * 3] * 2)), wanted)


@pytest.mark.parametrize("name", ENHANCEMENTS)
def test_a_region_that_is_not_there_has_no_say_and_any_number_will_do(name):
    module, V = ready(ENHANCEMENTS[name][0]), draw(4, 4, WIDTH)
    noise = V.masked_fill(~SOME.unsqueeze(-1), 99.0).requires_grad_()
    result = module(noise, SOME)
    torch.testing.assert_close(result[SOME], module(V, SOME)[SOME])
    torch.testing.assert_close(result[0, :3], module(V[:1, :3])[0])
    result[SOME].sum().backward()
    assert (noise.grad[~SOME] == 0).all() and torch.isfinite(noise.grad).all()


EVERYWHERE = [
    {"pooling": "esa", "text_pooling": "esa"},
    {"pooling": "views", "text_pooling": "views"},
    {"enhancement": "graph", "text_enhancement": "graph"},
    {"enhancement": "route", "text_enhancement": "route"},
    {"enhancement": "concepts", "text_enhancement": "concepts", "num_concepts": 4},
    {"enhancement": "graph", "norm": "batch"},
]


@pytest.mark.parametrize("settings", EVERYWHERE, ids=lambda settings: "-".join(map(str, settings.values())))
def test_each_learns_with_momentum_copies_and_a_queue(settings):
    config = small(**settings)
    torch.manual_seed(0)
    model = USER(config)
    for part in model.modules():
        if isinstance(part, Concepts):
            part.set_graph(torch.eye(4), torch.full((4, 4), 0.25))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for step in range(3):
        batch = make_batch(config, [4 * step + i for i in range(4)], seed=step, mask="norm" not in settings)
        output = model(batch)
        output.loss.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        optimizer.step(), optimizer.zero_grad()
    assert model.queue.filled == 6 and output.queue_loss is not None
    query, key = model.image_encoder.state_dict(), model.image_momentum_encoder.encoder.state_dict()
    assert any(not torch.equal(query[name], key[name]) for name in query)
    copy.deepcopy(model.eval())  # what a run keeps as its best


@pytest.mark.parametrize("settings", [*EVERYWHERE, {"scorer": "naaf"}, {"scorer": "scan-t2i"}], ids=str)
def test_each_trains_in_half_precision(settings):
    config = small(**settings)
    torch.manual_seed(0)
    model = USER(config, ObjectiveConfig(relation_weight=1.0))
    with torch.autocast("cpu", torch.bfloat16):
        output = model(make_batch(config, [0, 1, 2, 3], mask="norm" not in settings))
    output.loss.backward()
    assert output.loss.dtype == output.images.dtype == torch.float32 and output.loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_penalty_of_views_enters_the_loss_with_its_weight():
    config = small(pooling="views", queue_size=None)
    losses = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        model = USER(config, ObjectiveConfig(diversity_weight=weight))
        losses[weight] = float(model(make_batch(config, [0, 1, 2, 3])).loss.detach())
        assert take_penalties(model) == []  # taken once
    pool = model.image_encoder.pooling
    model.image_encoder(make_batch(config, [0, 1, 2, 3]).tokens)
    assert losses[1.0] - losses[0.0] == pytest.approx(float(pool.penalty.detach()), rel=1e-4)
    model.eval()
    model.image_encoder(make_batch(config, [0, 1, 2, 3]).tokens)
    assert pool.penalty is None


def test_a_width_without_a_meaning_is_refused():
    for make in (ESAPool, ViewPool, RegionGraph, Route, lambda width: Concepts(width, count=3)):
        with pytest.raises(UserError, match="width is 0"):
            make(0)
    with pytest.raises(UserError, match="norm is 'Batch'"):
        RegionGraph(4, norm="Batch")
    with pytest.raises(UserError, match="num_concepts is 0"):
        Concepts(4, count=0)
    with pytest.raises(UserError, match="num_concepts is 0"):
        small(num_concepts=0)

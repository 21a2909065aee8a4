"""The products of a piece of code: all noted, counted right, and done again alone; ratios of times."""

import pytest
import torch

from userlib.bench.products import alone, flops, products_of
from userlib.bench.timing import Times, in_turn, ratio, spread


def test_products_of_forward_and_backward_are_counted():
    linear = torch.nn.Linear(3, 5)
    x = torch.randn(7, 3, requires_grad=True)
    noted = products_of(lambda: linear(x).sum().backward())
    assert sum(noted.seen.values()) == 3  # forward, and the slopes of input and weight
    assert flops(noted) == 3 * 2 * 7 * 3 * 5


def test_batched_products_count_each_of_the_batch():
    a, b = torch.randn(4, 2, 3), torch.randn(4, 3, 5)
    assert flops(products_of(lambda: torch.bmm(a, b))) == 2 * 4 * 2 * 3 * 5


def test_they_run_alone_with_the_strides_they_had():
    a, b = torch.randn(6, 4).t(), torch.randn(6, 5)
    noted = products_of(lambda: a @ b)
    (((left, strides, _), _),) = noted.seen
    assert left == (4, 6) and strides == a.stride()
    assert flops(products_of(alone(noted))) == flops(noted)


def test_a_ratio_is_taken_run_by_run():
    slow, fast = Times((2.0, 30.0), (2.0, 30.0)), Times((1.0, 10.0), (1.0, 10.0))
    assert ratio(slow, fast, "cpu")["median"] == pytest.approx(2.5)


def test_every_side_runs_the_same_number_of_readings():
    found = in_turn({"a": lambda: None, "b": lambda: sum(range(1000))}, runs=3)
    assert all(len(times.wall) == len(times.cpu) == 3 for times in found.values())
    assert spread([3.0]) == (3.0, 3.0)

"""The products of a piece of code: all noted, counted right, and done again alone; ratios of times."""

import pytest
import torch

from userlab.bench.gemms import alone, flops, gemms_of
from userlab.bench.op_profile import OTHERS, PRODUCTS, REST, op_profile
from userlab.bench.timing import Times, interleaved, ratio, spread


def test_products_of_forward_and_backward_are_counted():
    linear = torch.nn.Linear(3, 5)
    x = torch.randn(7, 3, requires_grad=True)
    noted = gemms_of(lambda: linear(x).sum().backward())
    assert sum(noted.seen.values()) == 3  # forward, and the slopes of input and weight
    assert flops(noted) == 3 * 2 * 7 * 3 * 5


def test_batched_products_count_each_of_the_batch():
    a, b = torch.randn(4, 2, 3), torch.randn(4, 3, 5)
    assert flops(gemms_of(lambda: torch.bmm(a, b))) == 2 * 4 * 2 * 3 * 5


def test_they_run_alone_with_the_strides_they_had():
    a, b = torch.randn(6, 4).t(), torch.randn(6, 5)
    noted = gemms_of(lambda: a @ b)
    (((left, strides, _), _),) = noted.seen
    assert left == (4, 6) and strides == a.stride()
    assert flops(gemms_of(alone(noted))) == flops(noted)


def test_a_profile_adds_up_and_names_the_products_the_operations_and_the_rest():
    a, b = torch.randn(200, 200), torch.randn(200, 200)

    def work():
        torch.tanh(a @ b).exp_().sum()
        sorted(range(10**5), key=lambda i: -i)

    result = op_profile(work, most=2)
    assert list(result)[0] == PRODUCTS and list(result)[-2:] == [OTHERS, REST] and len(result) == 5
    assert sum(result.values()) == pytest.approx(100) and min(result.values()) >= 0
    assert {"tanh", "exp", "sum"} & set(result) and result[REST] > 0


def test_a_profile_writes_nothing_to_stderr(capfd):
    op_profile(lambda: torch.ones(3) + 1)
    assert capfd.readouterr().err == ""


def test_a_ratio_is_taken_run_by_run():
    slow, fast = Times((2.0, 30.0), (2.0, 30.0)), Times((1.0, 10.0), (1.0, 10.0))
    assert ratio(slow, fast, "cpu")["median"] == pytest.approx(2.5)


def test_every_side_runs_the_same_number_of_readings():
    result = interleaved({"a": lambda: None, "b": lambda: sum(range(1000))}, runs=3)
    assert all(len(times.wall) == len(times.cpu) == 3 for times in result.values())
    assert spread([3.0]) == (3.0, 3.0)

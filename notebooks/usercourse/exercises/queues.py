"""Exercises of notebook 07: slots of the queue, half-life, a momentum step, keys that are not negatives, expected
relevant keys.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from usercourse.checks import Exercise, Unusable
from usercourse.values import Parts, kind
from userlib.model.momentum import update
from userlib.model.queue import EMPTY

QUERIES = torch.tensor([7, 3, 5])
HELD = torch.tensor([3, 9, 7, 3, EMPTY, EMPTY])
FULL = torch.tensor([1, 5, 2, 2])
FROM_ZERO, HELD_ZERO = torch.tensor([0, 2]), torch.tensor([0, EMPTY, 2, 1, 0])
NONE = torch.full((3,), EMPTY)


def slots_of(pointer: int, n: int, K: int) -> Any:
    skipped = max(0, n - K)
    return (pointer + torch.arange(skipped, n)) % K, (pointer + n) % K


def _no_return_to_the_start(pointer: int, n: int, K: int) -> Any:
    return pointer + torch.arange(max(0, n - K), n), (pointer + n) % K


def _at_the_end(pointer: int, n: int, K: int) -> Any:
    return (pointer + torch.arange(max(0, n - K), n)).clamp(max=K - 1), (pointer + n) % K


def _first_of_many(pointer: int, n: int, K: int) -> Any:
    return (pointer + torch.arange(min(n, K))) % K, (pointer + n) % K


def _pointer_runs_off(pointer: int, n: int, K: int) -> Any:
    return slots_of(pointer, n, K)[0], pointer + n


def _pointer_stays(pointer: int, n: int, K: int) -> Any:
    return slots_of(pointer, n, K)[0], pointer


def half_life(m: float) -> float:
    return math.log(0.5) / math.log(m)


def _mean_age(m: float) -> float:
    return 1 / (1 - m)


def _to_a_third(m: float) -> float:
    return -1 / math.log(m)


def _linear(m: float) -> float:
    return 0.5 / (1 - m)


def _upside_down(m: float) -> float:
    return math.log(m) / math.log(0.5)


# --- momentum_step: the copy that stays behind ---------------------------------------------------------------
def momentum_step(keys: Any, model: Any, m: float) -> Any:
    update(keys, model, m)
    return keys


def _named_anew(keys: Any, model: Any, m: float) -> Any:
    return keys


def _weights_alone(keys: Any, model: Any, m: float) -> Any:
    buffers = [one.clone() for one in keys.buffers()]
    update(keys, model, m)
    for kept, before in zip(keys.buffers(), buffers, strict=True):
        kept.copy_(before)
    return keys


def _buffers_alone(keys: Any, model: Any, m: float) -> Any:
    update(keys, model, 1.0)
    return keys


def _other_side(keys: Any, model: Any, m: float) -> Any:
    update(keys, model, 1.0 - m)
    return keys


def _taken_over(keys: Any, model: Any, m: float) -> Any:
    update(keys, model, 0.0)
    return keys


def _all_slowly(keys: Any, model: Any, m: float) -> Any:
    buffers = [one.clone() for one in keys.buffers()]
    update(keys, model, m)
    for kept, before, now in zip(keys.buffers(), buffers, model.buffers(), strict=True):
        kept.copy_((m * before + (1 - m) * now).to(kept.dtype))
    return keys


def _model_follows(keys: Any, model: Any, m: float) -> Any:
    update(model.requires_grad_(False), keys.requires_grad_(True), m)
    return keys.requires_grad_(False)


def _with_graph(keys: Any, model: Any, m: float) -> Any:
    with torch.enable_grad():
        for k, q in zip(keys.parameters(), model.parameters(), strict=True):
            k.mul_(m).add_(q, alpha=1 - m)
    for kept, now in zip(keys.buffers(), model.buffers(), strict=True):
        kept.copy_(now)
    return keys


def _left_behind(answer: Any, m: float, steps: int) -> Any:
    """A copy and what it follows after some steps in which training moves the latter. Unusable where the copy itself
    does not come back.
    """
    generator = torch.Generator().manual_seed(steps)
    model: Any = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    for part in [*model.parameters(), *model.buffers()]:
        part.data = torch.randn(part.shape, generator=generator).to(part.dtype)
    keys = copy.deepcopy(model).requires_grad_(False)
    for _ in range(steps):
        with torch.no_grad():
            for one in model.parameters():
                one.add_(torch.randn(one.shape, generator=generator))
            model[1].running_mean.add_(0.5)
            model[1].running_var.mul_(1.5)
            model[1].num_batches_tracked.add_(1)
        result = answer(keys, model, m)
        if result is None:
            return None
        if result is not keys:
            given = "another module" if isinstance(result, nn.Module) else kind(result)
            raise Unusable(f"The answer is the module keys itself, edited in place; yours is {given}.")
    return Parts(
        **{"weights of the copy": _flat(keys.parameters), "buffers of the copy": _flat(keys.buffers)},
        **{
            "weights that are trained": _flat(model.parameters),
            "buffers of the trained module": _flat(model.buffers),
        },
        **{"graph that the copy keeps": float(any(one.requires_grad for one in keys.parameters()))},
    )


def _flat(parts: Callable[[], Any]) -> Any:
    return torch.cat([one.detach().float().flatten() for one in parts()])


def no_negatives(ids: Any, held: Any) -> Any:
    return (held[None, :] == EMPTY) | (held[None, :] == ids[:, None])


def _own_alone(ids: Any, held: Any) -> Any:
    return held[None, :] == ids[:, None]


def _empty_alone(ids: Any, held: Any) -> Any:
    return (held[None, :] == EMPTY).expand(len(ids), -1)


def _the_negatives(ids: Any, held: Any) -> Any:
    return ~no_negatives(ids, held)


def _of_the_batch(ids: Any, held: Any) -> Any:
    return ((held == EMPTY) | torch.isin(held, ids))[None, :].expand(len(ids), -1)


def _turned(ids: Any, held: Any) -> Any:
    return no_negatives(ids, held).T


def own_keys(K: int, N: int, c: int) -> float:
    return K * (c - 1) / (c * N)


def _itself_too(K: int, N: int, c: int) -> float:
    return K / N


def _of_pictures(K: int, N: int, c: int) -> float:
    return K * (c - 1) / N


def _one_each(K: int, N: int, c: int) -> float:
    return K / (c * N)


EXERCISES = [
    Exercise(
        name="slots_of",
        right=slots_of,
        cases=[(0, 2, 5), (4, 2, 5), (3, 5, 5), (1, 7, 5), (2, 12, 4)],
        mistakes={
            "After the last slot comes slot 0 again: the slot's index is taken modulo K. Without it the "
            "queue must be a multiple of the batch, as in several public implementations.": _no_return_to_the_start,
            "Keys that run over the end go back to slot 0, where the oldest keys are; yours all write "
            "over the last slot.": _at_the_end,
            "Where a batch is larger than the queue, the newest keys must stay: skip the first n - K, not "
            "the last.": _first_of_many,
            "The new pointer must be the index of a slot too: modulo K.": _pointer_runs_off,
            "The pointer has to move on by n, or the next batch writes over this one.": _pointer_stays,
        },
        praise="Any batch fits any queue, and the newest keys stay.",
    ),
    Exercise(
        name="half_life",
        right=half_life,
        cases=[(0.5,), (0.9,), (0.99,), (0.999,)],
        tolerance=1e-4,  # log(0.999) in single precision has five digits
        mistakes={
            "1 / (1 - m) is the mean age of the weights that the copy averages. The half-life is the n at "
            "which m^n is one "
            "half.": _mean_age,
            "That is when m^n has fallen to 1/e, about 0.37, not to one half.": _to_a_third,
            "The share falls as m^n, a curve; yours follows the straight line of the first step.": _linear,
            "Solve m^n = 1/2 for n: the logarithm of one half goes on top.": _upside_down,
        },
        praise="At m = 0.999 half of the copy is older than 693 steps.",
    ),
    Exercise(
        name="momentum_step",
        right=momentum_step,
        cases=[(0.9, 1), (0.5, 3), (0.99, 2)],
        probe=_left_behind,
        mistakes={
            "That is the function as it stood. `k = ...` gives a new tensor the name k, and the module keeps the old "
            "one; and a BatchNorm's running mean and variance are no parameters.": _named_anew,
            "One of the two is found, the weights. The other: running mean and variance of a BatchNorm are in "
            "`buffers()`, and stay as they were.": _weights_alone,
            "One of the two is found, the buffers. The other: `k = ...` gives a new tensor the name k, and the module "
            "keeps the old one. Edit it in place.": _buffers_alone,
            "m is the share of the copy that stays, 1 - m that of the trained weights; yours are "
            "exchanged.": _other_side,
            "That is m = 0: the copy has become the trained module.": _taken_over,
            "Buffers do not follow slowly: they are statistics, and are taken over as they are.": _all_slowly,
            "The copy follows the trained module; in yours the trained module follows the copy.": _model_follows,
            "Values are right, but the copy now hangs on the graph of every step, and memory grows: keep it out with "
            "`torch.no_grad()`.": _with_graph,
        },
        praise="No test of shapes sees such a copy; one that compares two steps does.",
    ),
    Exercise(
        name="no_negatives",
        right=no_negatives,
        cases=[(QUERIES, HELD), (QUERIES, FULL), (QUERIES[:2], NONE), (FROM_ZERO, HELD_ZERO)],
        mistakes={
            "Empty slots have to be left out too. Whatever values are in them are not keys; in the authors' "
            "release they count as negatives for as long as the queue fills.": _own_alone,
            "A key of the query's own image is relevant, so it has to be left out as well.": _empty_alone,
            "That is True for the negatives; the mask has to be True for the keys that are not "
            "negatives.": _the_negatives,
            "Each query has its own row: a key of image 7 is relevant for the query of image 7 and "
            "a negative for all others.": _of_the_batch,
            "Queries are the rows and keys the columns, as in the scores: (B, K).": _turned,
        },
        praise="That is what the library passes to the loss.",
    ),
    Exercise(
        name="own_keys",
        right=own_keys,
        cases=[(2048, 29_000, 5), (512, 1_000, 5), (100, 50, 2)],
        mistakes={
            "The query itself is not a key yet: its caption comes once per epoch, and now it is here. c - 1 of "
            "the image's c captions are left.": _itself_too,
            "A key is one of all c N captions, not one of N.": _of_pictures,
            "Each of the c - 1 other captions of the image may be in the queue, not one of them.": _one_each,
        },
        praise="On Flickr30K with K = 2,048 that is one query in eighteen; with K = 65,536 nearly two keys per query.",
    ),
]

"""Values together with their gradients, for answers that a model is trained with."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from usercourse.checks import Raised, Unusable
from usercourse.values import ANYTHING, Parts, own, same

BY_VALUE = (
    "It was judged by its value alone: outside torch it has no gradient that a model could be trained with."
)
CUT_OFF = (
    "The value may be right, but the gradient is missing: autograd cannot follow .item(), .detach(), "
    "torch.tensor(...), NumPy or no_grad. Use torch operations on {} directly."
)
IN_PLACE = (
    "The value may be right, but no gradient comes back: {}. Nothing that the backward pass still needs may be edited "
    "in place; write V = V + x, not V += x."
)


def value_and_gradient(answer: Any, case: Sequence[Any], names: Sequence[str]) -> Parts:
    """answer(*case), and the gradient of its sum with respect to the first arguments, the tensors called `names`.

    An answer outside torch is judged by its value alone, with a note. Raises Unusable where autograd cannot follow the
    answer.
    """
    value = answer(*own(tuple(case)))
    leaves = [one.detach().clone().requires_grad_(True) for one in case[: len(names)]]
    try:
        with torch.enable_grad():  # times 1: not leaves, so that they may be edited in place
            given = joined(answer(*(one * 1.0 for one in leaves), *own(tuple(case[len(names) :]))))
    except Raised:  # NumPy refuses a tensor that has a gradient
        given = None
    titles = ["gradient"] if len(names) == 1 else [f"gradient in {name}" for name in names]
    if not isinstance(given, Tensor):
        answer.note(BY_VALUE)
        return Parts(value=value, **dict.fromkeys(titles, ANYTHING))
    if not given.requires_grad:
        if not same(given, joined(value), 1e-5):
            return Parts(value=value, **dict.fromkeys(titles, ANYTHING))
        raise Unusable(CUT_OFF.format(" and ".join(names)))
    try:
        gradients = torch.autograd.grad(given.sum(), leaves, allow_unused=True)
    except RuntimeError as error:
        raise Unusable(IN_PLACE.format(str(error).split(":")[0])) from None
    filled = [torch.zeros_like(s) if g is None else g for s, g in zip(leaves, gradients, strict=True)]
    return Parts(value=value, **dict(zip(titles, filled, strict=True)))


def joined(value: Any) -> Any:
    """Lists and tuples of tensors, also nested, as one tensor (n,); anything else unchanged."""
    if not isinstance(value, (list, tuple)):
        return value
    parts = [joined(one) for one in value]
    if not parts or not all(isinstance(one, Tensor) for one in parts):
        return value
    return torch.cat([one.flatten() for one in parts])

"""Helpers of notebook 08: the learner's own pieces where they are correct, else the solutions; and the number of
operations in a tensor's graph.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from usercourse.checks import exercises


def ready(**pieces: Any) -> list[Callable[..., Any]]:
    """For each piece, given by the name of its exercise, the learner's if it is correct, else the solution; prints
    which.
    """
    own = {name: exercises()[name].judge(piece).state == "correct" for name, piece in pieces.items()}
    mine, rest = ([name for name in own if own[name] is one] for one in (True, False))
    print(
        f"Your own: {', '.join(mine) or 'none yet'}. The solutions stand in for: {', '.join(rest) or 'none'}."
    )
    return [piece if own[name] else exercises()[name].right for name, piece in pieces.items()]


def graph_size(tensor: Tensor) -> int:
    """The number of operations recorded for the backward pass of a tensor; 0 without a graph."""
    seen, left = set(), [tensor.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [parent for parent, _ in node.next_functions]
    return len(seen)

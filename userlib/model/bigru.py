"""A BiGRU on a CPU: torch's own arithmetic with as few passes over memory as its matrix products allow.

torch's packed GRU cuts the inputs of every step out of one tensor, and on the way back each cut makes a gradient of
the whole length; it also adds a matrix of weight gradients a step. Here the backward pass is written out: the steps
leave what they know in arrays of all words, and each weight then takes one product over all of them.

A step, with x_t the word and h the state before it (Cho et al., EMNLP 2014, as torch writes it):
    r, z = sigmoid(W_i x_t + b_i + W_h h + b_h),  n = tanh(W_i x_t + b_i + r (W_h h + b_h)),  h' = (1 - z) n + z h
"""

from typing import Any

import torch
from torch import Tensor, nn


def bigru(gru: nn.GRU, vectors: Tensor, lengths: Tensor) -> Tensor:
    """vectors (B,W,I) and lengths (B,) of at least 1 -> states (B,W,2H), forward then backward direction, zero
    behind the end of a sequence. As `gru` on packed sequences gives them; any number of layers, no dropout.

    Under autocast the products run in its type, the rest in float32.
    """
    count, longest, _ = vectors.shape
    order = lengths.argsort(descending=True, stable=True)
    there = torch.arange(longest).unsqueeze(1) < lengths[order]  # (W, B)
    active = there.sum(1).tolist()  # rows at work at each step
    step, row = there.nonzero(as_tuple=True)  # (P,): every word, step by step, the longest captions first
    place = order[row] * longest + step
    half = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    learning = torch.is_grad_enabled() and (vectors.requires_grad or gru.weight_hh_l0.requires_grad)
    with torch.autocast("cpu", enabled=False):
        states = vectors.flatten(0, 1).index_select(0, place)  # (P, I)
        for layer in range(gru.num_layers):
            both = []
            for tail, steps in (("", range(longest)), ("_reverse", range(longest - 1, -1, -1))):
                weights = [
                    getattr(gru, f"{name}_l{layer}{tail}")
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                ]
                both.append(_Direction.apply(states, *weights, active, steps, half, learning))
            states = torch.cat(both, dim=1)  # (P, 2H)
    padded = states.new_zeros(count * longest, states.shape[1]).index_copy(0, place, states)
    return padded.view(count, longest, -1)


class _Direction(torch.autograd.Function):
    """One direction over packed words (P, I) -> states (P, H). steps: the order in which time is walked; active:
    how many rows, from the first on, have a word at each time; half: the type of the products, or None; learning:
    whether a backward pass may follow.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, words, w_i, w_h, b_i, b_h, active, steps, half, learning
    ) -> Any:
        width = w_h.shape[1]
        starts = [sum(active[:t]) for t in range(len(active))]
        inputs = _product(words, w_i.t(), half).add_(b_i)  # (P, 3H); becomes r, z, n in place
        turned = w_h.t() if half is None else w_h.t().to(half)
        states = words.new_empty(len(words), width)
        kept, before = (words.new_empty(len(words) if learning else 0, width) for _ in range(2))
        h = words.new_zeros(active[0], width)
        for t in steps:
            here, now = slice(starts[t], starts[t] + active[t]), h[: active[t]]
            gates = inputs[here]
            recurrent = (
                torch.addmm(b_h, now, turned) if half is None else (now.to(half) @ turned).float().add_(b_h)
            )
            r, z = gates[:, : 2 * width].add_(recurrent[:, : 2 * width]).sigmoid_().chunk(2, 1)
            n = gates[:, 2 * width :].addcmul_(r, recurrent[:, 2 * width :]).tanh_()
            if learning:
                kept[here], before[here] = recurrent[:, 2 * width :], now
            torch.lerp(n, now, z, out=states[here])
            now.copy_(states[here])
        ctx.save_for_backward(words, w_i, w_h, inputs, kept, before)
        ctx.walk = active, starts, steps, half
        return states

    @staticmethod
    def backward(ctx, slope: Tensor) -> Any:  # type: ignore[no-untyped-def]
        words, w_i, w_h, gates, kept, before = ctx.saved_tensors
        active, starts, steps, half = ctx.walk
        width = w_h.shape[1]
        square = w_h if half is None else w_h.to(half)
        inner = torch.empty_like(gates)  # (P, 3H): gradients of W_h h + b_h
        candidate = torch.empty_like(kept)  # (P, H): that of the candidate's input part
        carried = slope.new_zeros(active[0], width)
        for t in reversed(steps):
            here, carry = slice(starts[t], starts[t] + active[t]), carried[: active[t]]
            r, z, n = gates[here].chunk(3, 1)
            carry += slope[here]
            through = carry * (1 - z)
            of_n = torch.mul(through, 1 - n * n, out=candidate[here])
            of_r, of_z, of_kept = inner[here].chunk(3, 1)
            torch.mul(of_n * kept[here], r * (1 - r), out=of_r)
            torch.mul(through * z, before[here] - n, out=of_z)
            torch.mul(of_n, r, out=of_kept)
            carry *= z
            if half is None:
                carry.addmm_(inner[here], square)
            else:
                carry += (inner[here].to(half) @ square).float()
        w_h_slope, b_h_slope = _product(inner.t(), before, half), inner.sum(0)
        inner[:, 2 * width :] = candidate  # from here on the gradients of W_i x + b_i
        words_slope = _product(inner, w_i, half) if ctx.needs_input_grad[0] else None
        b_i_slope = torch.cat([b_h_slope[: 2 * width], candidate.sum(0)])
        slopes = words_slope, _product(inner.t(), words, half), w_h_slope, b_i_slope, b_h_slope
        return *slopes, None, None, None, None


def _product(a: Tensor, b: Tensor, half: torch.dtype | None) -> Tensor:
    """a @ b, in the narrow type where there is one."""
    return a @ b if half is None else (a.to(half) @ b.to(half)).float()

"""A BiGRU that is faster than torch's on a CPU, with the same arithmetic (`bigru`), and one that needs no lengths on
the host, for a GPU (`padded_bigru`).

torch's packed GRU slices the inputs of every step out of one tensor, and in the backward pass each slice allocates a
gradient of the whole length; it also adds a matrix of weight gradients per step. Here the backward pass is written out:
the steps write into arrays over all words, and the gradient of each weight is then one product over all of them. Both
directions run together: the second reads each sequence from its end, so that a step is one batched product for both.

A step, with the word x_t and the state h before it (Cho et al., EMNLP 2014, in torch's form):
    r, z = sigmoid(W_i x_t + b_i + W_h h + b_h),  n = tanh(W_i x_t + b_i + r (W_h h + b_h)),  h' = (1 - z) n + z h
"""

from typing import Any

import torch
from torch import Tensor, nn


def bigru(gru: nn.GRU, vectors: Tensor, lengths: Tensor) -> Tensor:
    """vectors (B,W,I) and lengths (B,) of at least 1 -> states (B,W,2H), forward then backward direction, zero
    beyond the end of a sequence: those of `gru` on packed sequences, for any number of layers, without dropout.

    Under autocast the products have its type, all else is float32.
    """
    count, longest, _ = vectors.shape
    order = lengths.argsort(descending=True, stable=True)
    lengths = lengths[order]
    there = torch.arange(longest).unsqueeze(1) < lengths  # (W, B)
    working = there.sum(1)  # sequences that have a word at each step
    starts = working.cumsum(0) - working
    step, row = there.nonzero(as_tuple=True)  # (P,): every word, step by step, the longest sequences first
    place = order[row] * longest + step
    opposite = starts[lengths[row] - 1 - step] + row  # the word at this distance from the other end
    half = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    weighted = any(weight.requires_grad for weight in gru.parameters())
    learning = torch.is_grad_enabled() and (vectors.requires_grad or weighted)
    with torch.autocast("cpu", enabled=False):
        words = vectors.flatten(0, 1).index_select(0, place)  # (P, I)
        for layer in range(gru.num_layers):
            weights = [
                torch.stack([getattr(gru, f"{name}_l{layer}"), getattr(gru, f"{name}_l{layer}_reverse")])
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            both = torch.stack([words, words.index_select(0, opposite)])  # (2, P, I)
            states = _Recurrence.apply(both, *weights, working.tolist(), half, learning)  # (2, P, H)
            words = torch.cat([states[0], states[1].index_select(0, opposite)], dim=1)  # (P, 2H)
    padded = words.new_zeros(count * longest, words.shape[1]).index_copy(0, place, words)
    return padded.view(count, longest, -1)


def padded_bigru(gru: nn.GRU, vectors: Tensor, lengths: Tensor) -> Tensor:
    """As `bigru`, for a GPU: packing is avoided, since the host would have to wait for the lengths. For the backward
    direction each sequence is reversed within its length; states beyond its end are computed and set to zero.
    """
    count, longest, _ = vectors.shape
    place = torch.arange(longest, device=vectors.device)
    there = place < lengths.unsqueeze(1)  # (B, W)
    # (B, W, 1), its own inverse
    turned = torch.where(there, lengths.unsqueeze(1) - 1 - place, place).unsqueeze(-1)
    states = vectors
    for layer in range(gru.num_layers):
        both = []
        for tail in ("", "_reverse"):
            weights = [
                getattr(gru, f"{name}_l{layer}{tail}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            words = states.gather(1, turned.expand_as(states)) if tail else states
            start = words.new_zeros(1, count, gru.hidden_size)
            one, _ = torch.gru(words, start, weights, True, 1, 0.0, gru.training, False, True)
            both.append(one.gather(1, turned.expand_as(one)) if tail else one)
        states = torch.cat(both, dim=-1)  # (B, W, 2H)
    return states * there.unsqueeze(-1)


class _Recurrence(torch.autograd.Function):
    """Two GRUs over packed words (2, P, I) -> states (2, P, H). working: for each step, how many sequences (the first
    ones) have a word; half: the type of the products, or None; learning: whether a backward pass may follow.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, words, w_i, w_h, b_i, b_h, working, half, learning
    ) -> Any:
        width = w_h.shape[2]
        inputs = _product(words, w_i.mT, half).add_(b_i.unsqueeze(1))  # (2, P, 3H); becomes r, z, n in place
        turned, bias = (w_h.mT if half is None else w_h.mT.to(half)), b_h.unsqueeze(1)
        states = words.new_empty(2, words.shape[1], width)
        # W_h h + b_h of the candidate, which its gradient needs
        candidates = words.new_empty(2, words.shape[1] if learning else 0, width)
        before, start = words.new_zeros(2, working[0], width), 0
        for count in working:
            here = slice(start, start + count)
            before = before[:, :count]
            if half is None:
                recurrent = torch.baddbmm(bias, before, turned)
            else:
                recurrent = (before.to(half) @ turned).float().add_(bias)
            gates = inputs[:, here]
            _, z = parts = gates[..., : 2 * width].add_(recurrent[..., : 2 * width]).sigmoid_().chunk(2, -1)
            n = gates[..., 2 * width :].addcmul_(parts[0], recurrent[..., 2 * width :]).tanh_()
            if learning:
                candidates[:, here] = recurrent[..., 2 * width :]
            before = torch.lerp(n, before, z, out=states[:, here])
            start += count
        ctx.save_for_backward(words, w_i, w_h, inputs, candidates, states)
        ctx.walk = working, half
        return states

    @staticmethod
    def backward(ctx, grad_output: Tensor) -> Any:  # type: ignore[no-untyped-def]
        words, w_i, w_h, gates, candidates, states = ctx.saved_tensors
        working, half = ctx.walk
        width, first = w_h.shape[2], working[0]
        square = w_h if half is None else w_h.to(half)
        inner = torch.empty_like(gates)  # (2, P, 3H): gradients of W_h h + b_h
        of_candidates = torch.empty_like(candidates)  # (2, P, H): of the candidate's input part
        carried = grad_output.new_zeros(2, first, width)
        end = words.shape[1]
        for step in reversed(range(len(working))):
            here = slice(end - working[step], end)
            end = here.start
            carry = carried[:, : working[step]]
            r, z, n = gates[:, here].chunk(3, -1)
            carry += grad_output[:, here]
            through = carry * (1 - z)
            of_n = torch.mul(through, 1 - n * n, out=of_candidates[:, here])
            of_r, of_z, of_hidden = inner[:, here].chunk(3, -1)
            torch.mul(of_n * candidates[:, here], r * (1 - r), out=of_r)
            torch.mul(of_n, r, out=of_hidden)
            if step == 0:  # the state before it is zero
                torch.mul(through * z, -n, out=of_z)
                break
            before = states[:, end - working[step - 1] :][:, : working[step]]
            torch.mul(through * z, before - n, out=of_z)
            carry *= z
            if half is None:
                carry.baddbmm_(inner[:, here], square)
            else:
                carry += (inner[:, here].to(half) @ square).float()
        # the states before all words but the first of each sequence: all its states but the last
        going_on = torch.cat([torch.arange(a) < b for a, b in zip(working, [*working[1:], 0], strict=True)])
        w_h_grad = _product(inner[:, first:].mT, states[:, going_on], half)
        b_h_grad = inner.sum(1)
        inner[..., 2 * width :] = of_candidates  # from here on the gradients of W_i x + b_i
        words_grad = _product(inner, w_i, half) if ctx.needs_input_grad[0] else None
        b_i_grad = torch.cat([b_h_grad[:, : 2 * width], of_candidates.sum(1)], dim=1)
        return words_grad, _product(inner.mT, words, half), w_h_grad, b_i_grad, b_h_grad, None, None, None


def _product(a: Tensor, b: Tensor, half: torch.dtype | None) -> Tensor:
    """a @ b, computed in the type `half` where it is given and returned as float32."""
    return a @ b if half is None else (a.to(half) @ b.to(half)).float()

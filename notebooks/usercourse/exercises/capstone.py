"""Exercises of notebook 08: the pieces of USER that its learner writes, and a queue that leaks."""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usercourse.checks import Exercise, Unusable
from usercourse.gradients import value_and_gradient
from usercourse.values import Parts, kind, numbers

EMPTY = -1


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _units(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(_draw(*shape, seed=seed), dim=-1)


# --- move_regions: what SGE does with its weights -----------------------------------------------------------------
def move_regions(V: Any, w: Any, s: Any) -> Any:
    g = F.normalize((w.unsqueeze(-1) * V).sum(1), dim=-1)
    a = F.normalize(torch.einsum("bd,brd->br", g, V).softmax(1), dim=-1)
    return V + s * a.unsqueeze(-1) * g.unsqueeze(1)


def _moved(answer: Any, *case: Any) -> Any:
    return value_and_gradient(answer, case, ("V", "w"))


def _guide(V: Any, w: Any) -> Any:
    return F.normalize((w.unsqueeze(-1) * V).sum(1), dim=-1)


def _move(V: Any, a: Any, g: Any, s: Any) -> Any:
    return V + s * a.unsqueeze(-1) * g.unsqueeze(1)


def _guide_of_any_norm(V: Any, w: Any, s: Any) -> Any:
    g = (w.unsqueeze(-1) * V).sum(1)
    return _move(V, F.normalize(torch.einsum("bd,brd->br", g, V).softmax(1), dim=-1), g, s)


def _attention_of_sum_one(V: Any, w: Any, s: Any) -> Any:
    g = _guide(V, w)
    return _move(V, torch.einsum("bd,brd->br", g, V).softmax(1), g, s)


def _attention_is_w(V: Any, w: Any, s: Any) -> Any:
    return _move(V, F.normalize(w, dim=-1), _guide(V, w), s)


def _mean_guide(V: Any, w: Any, s: Any) -> Any:
    return move_regions(V, torch.full_like(w, 1 / w.shape[1]), s)


def _residual_alone(V: Any, w: Any, s: Any) -> Any:
    return move_regions(V, w, s) - V


def _own_directions(V: Any, w: Any, s: Any) -> Any:
    a = F.normalize(torch.einsum("bd,brd->br", _guide(V, w), V).softmax(1), dim=-1)
    return V + s * a.unsqueeze(-1) * V


def _scale_forgotten(V: Any, w: Any, s: Any) -> Any:
    return move_regions(V, w, 1.0)


def _over_the_batch(V: Any, w: Any, s: Any) -> Any:
    g = _guide(V, w)
    return _move(V, F.normalize(torch.einsum("bd,brd->br", g, V).softmax(0), dim=-1), g, s)


# --- sorted_sum: GPO's sort and weighted sum -----------------------------------------------------------------
def sorted_sum(vectors: Any, scores: Any, mask: Any) -> Any:
    ordered = vectors.masked_fill(~mask.unsqueeze(-1), -math.inf).sort(1, descending=True).values
    ranks = torch.arange(vectors.shape[1]) < mask.sum(1, keepdim=True)
    weights = scores.masked_fill(~ranks, -math.inf).softmax(1)
    return (weights.unsqueeze(-1) * ordered.masked_fill(~ranks.unsqueeze(-1), 0.0)).sum(1)


def _pooled(answer: Any, *case: Any) -> Any:
    return value_and_gradient(answer, case, ("vectors", "scores"))


def _weighed(ordered: Any, scores: Any, there: Any) -> Any:
    weights = scores.masked_fill(~there, -math.inf).softmax(1)
    return (weights.unsqueeze(-1) * ordered.masked_fill(~there.unsqueeze(-1), 0.0)).sum(1)


def _ranks(mask: Any) -> Any:
    return torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True)


def _padding_sorted_too(vectors: Any, scores: Any, mask: Any) -> Any:
    return _weighed(vectors.sort(1, descending=True).values, scores, _ranks(mask))


def _padding_as_zero(vectors: Any, scores: Any, mask: Any) -> Any:
    there = vectors.masked_fill(~mask.unsqueeze(-1), 0.0)
    return _weighed(there.sort(1, descending=True).values, scores, _ranks(mask))


def _ascending(vectors: Any, scores: Any, mask: Any) -> Any:
    return _weighed(vectors.masked_fill(~mask.unsqueeze(-1), math.inf).sort(1).values, scores, _ranks(mask))


def _all_ranks_weighed(vectors: Any, scores: Any, mask: Any) -> Any:
    ordered = vectors.masked_fill(~mask.unsqueeze(-1), -math.inf).sort(1, descending=True).values
    ordered = ordered.masked_fill(~_ranks(mask).unsqueeze(-1), 0.0)
    return (scores.softmax(1).unsqueeze(-1) * ordered).sum(1)


def _mask_for_ranks(vectors: Any, scores: Any, mask: Any) -> Any:
    ordered = vectors.masked_fill(~mask.unsqueeze(-1), -math.inf).sort(1, descending=True).values
    ordered = ordered.masked_fill(ordered.isinf(), 0.0)
    weights = scores.masked_fill(~mask, -math.inf).softmax(1)
    return (weights.unsqueeze(-1) * ordered).sum(1)


def _minus_infinity_times_zero(vectors: Any, scores: Any, mask: Any) -> Any:
    ordered = vectors.masked_fill(~mask.unsqueeze(-1), -math.inf).sort(1, descending=True).values
    return (scores.masked_fill(~_ranks(mask), -math.inf).softmax(1).unsqueeze(-1) * ordered).sum(1)


def _unsorted(vectors: Any, scores: Any, mask: Any) -> Any:
    return _weighed(vectors, scores, mask)


def _scores_for_weights(vectors: Any, scores: Any, mask: Any) -> Any:
    ordered = vectors.masked_fill(~mask.unsqueeze(-1), -math.inf).sort(1, descending=True).values
    return (scores.unsqueeze(-1) * ordered.masked_fill(~_ranks(mask).unsqueeze(-1), 0.0)).sum(1)


SETS, RANK_SCORES = _draw(3, 4, 2), 2 * _draw(3, 4, seed=1)
FULL = torch.ones(3, 4, dtype=torch.bool)
PREFIX = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, False, False]])
GAPS = torch.tensor([[False, True, True, False], [True, False, False, True], [False, False, True, True]])


# --- both_losses: one score matrix and two more --------------------------------------------------------------
MU, GAMMA = 30.0, 0.3


def negative_term(s: Any, ignore: Any) -> Any:
    x = (MU * (s - GAMMA)).masked_fill(ignore, -math.inf)
    return F.softplus(torch.logsumexp(x, 1)) / MU


def positive_term(s: Any) -> Any:
    return -torch.where(s > 0, torch.log1p(s.relu()), s)


def both_losses(
    v: Any, t: Any, v_keys: Any, t_keys: Any, V: Any, T: Any, ids: Any, held: Any,
    *, same: Any = None, ignore: Any = None, positives: int = 1, columns: bool = True, crossed: bool = True,
    own: bool = True,
) -> Any:  # fmt: skip
    """What is correct; the keywords spoil it."""
    S = v @ t.T
    same = ids[:, None] == ids if same is None else same
    batch = negative_term(S, same) + positives * positive_term(S.diagonal())
    batch = batch + (negative_term(S.T, same) if columns else 0)
    ignore = (held == EMPTY) | (held == ids[:, None]) if ignore is None else ignore
    first, second = (T, V) if crossed else (V, T)
    queue = negative_term(v @ first.T, ignore) + negative_term(t @ second.T, ignore)
    queue = queue + (positive_term((v * t_keys).sum(1)) + positive_term((t * v_keys).sum(1)) if own else
                     2 * positive_term(S.diagonal()))  # fmt: skip
    return batch.mean(), queue.mean()


def two_losses(v: Any, t: Any, v_keys: Any, t_keys: Any, V: Any, T: Any, ids: Any, held: Any) -> Any:
    return both_losses(v, t, v_keys, t_keys, V, T, ids, held)


def _two(answer: Any, *case: Any) -> Any:
    return value_and_gradient(answer, case, ("v", "t"))


def _spoilt(**changes: Any) -> Any:
    return lambda *case: both_losses(*case, **changes)


def _no_same_image(*case: Any) -> Any:
    return both_losses(*case, same=torch.eye(len(case[0]), dtype=torch.bool))


def _own_pair_too(*case: Any) -> Any:
    ids = case[6]
    return both_losses(*case, same=(ids[:, None] == ids) & ~torch.eye(len(ids), dtype=torch.bool))


def _empty_slots_count(*case: Any) -> Any:
    return both_losses(*case, ignore=case[7] == case[6][:, None])


def _own_keys_count(*case: Any) -> Any:
    return both_losses(*case, ignore=(case[7] == EMPTY).expand(len(case[6]), -1))


def _sums(*case: Any) -> Any:
    return tuple(part * len(case[0]) for part in both_losses(*case))


def _pairs(seed: int, ids: list[int], held: list[int]) -> tuple[Any, ...]:
    B, K = len(ids), len(held)
    v = _units(B, 5, seed=seed)
    t, v_keys, t_keys = (F.normalize(v + 0.7 * _draw(B, 5, seed=seed + i), dim=1) for i in (1, 2, 3))
    V, T = _units(K, 5, seed=seed + 4), _units(K, 5, seed=seed + 5)
    there = torch.tensor(held) != EMPTY
    for i, k in ((i, k) for i in range(B) for k in range(K) if ids[i] == held[k]):
        V[k], T[k] = t[i], v[i]  # a key of a query's own image scores high
    filled = torch.where(there[:, None], V, v[:1]), torch.where(there[:, None], T, v[:1])
    return (v, t, v_keys, t_keys, *filled, torch.tensor(ids), torch.tensor(held))


# --- train_step: everything in its order ---------------------------------------------------------------------
class Toy(nn.Module):
    """The interface of notebook 08's model over two matrices: batch = (x, y, None, ids)."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(4, 3, bias=False), nn.Linear(5, 3, bias=False)
        with torch.no_grad():
            self.image.weight.copy_(0.05 * _draw(3, 4, seed=7))
            self.text.weight.copy_(0.05 * _draw(3, 5, seed=8))
        self.image_keys = copy.deepcopy(self.image).requires_grad_(False)
        self.text_keys = copy.deepcopy(self.text).requires_grad_(False)
        with torch.no_grad():
            self.image_keys.weight.add_(0.03)
        self.V, self.T = torch.zeros(5, 3), torch.zeros(5, 3)
        self.held, self.pointer = torch.full((5,), EMPTY), 0

    def encode(self, batch: Any) -> Any:
        return F.normalize(self.image(batch[0]), dim=1), F.normalize(self.text(batch[1]), dim=1)

    @torch.no_grad()
    def encode_keys(self, batch: Any) -> Any:
        return F.normalize(self.image_keys(batch[0]), dim=1), F.normalize(self.text_keys(batch[1]), dim=1)

    @torch.no_grad()
    def follow(self) -> None:
        self.image_keys.weight.lerp_(self.image.weight, 0.3)
        self.text_keys.weight.lerp_(self.text.weight, 0.3)

    def losses(self, v: Any, t: Any, v_keys: Any, t_keys: Any, ids: Any) -> Any:
        return both_losses(v, t, v_keys, t_keys, self.V, self.T, ids, self.held)

    def enqueue(self, v_keys: Any, t_keys: Any, ids: Any) -> None:
        now = enqueue(self.V, self.T, self.held, self.pointer, v_keys, t_keys, ids)
        self.V, self.T, self.held, self.pointer = now


def train_step(model: Any, optimizer: Any, batch: Any) -> Any:
    v, t = model.encode(batch)
    model.follow()
    v_keys, t_keys = model.encode_keys(batch)
    L_b, L_q = model.losses(v, t, v_keys, t_keys, batch[-1])
    optimizer.zero_grad()
    (L_b + L_q).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 2.0)
    optimizer.step()
    model.enqueue(v_keys, t_keys, batch[-1])
    return L_b.item(), L_q.item()


ORDER = ("encode", "follow", "keys", "losses", "zero", "backward", "clip", "step", "enqueue")


def _in_order(*order: str, keys: str = "keys", parts: int = 2) -> Any:
    """A training step that does these things in this order; parts 1: of the losses only the batch's is trained."""

    def takes(model: Any, optimizer: Any, batch: Any) -> Any:
        space: dict[str, Any] = {}

        def losses() -> None:
            space["parts"] = model.losses(*space["encode"], *space["keys"], batch[-1])

        do = {
            "encode": lambda: space.update(encode=model.encode(batch)),
            "follow": model.follow,
            "keys": lambda: space.update(keys=model.encode_keys(batch)),
            "losses": losses,
            "zero": optimizer.zero_grad,
            "backward": lambda: sum(space["parts"][:parts]).backward(),
            "clip": lambda: nn.utils.clip_grad_norm_(model.parameters(), 2.0),
            "step": optimizer.step,
            "enqueue": lambda: model.enqueue(*(one.detach() for one in space[keys]), batch[-1]),
        }
        for name in order:
            do[name]()
        return tuple(part.item() for part in space["parts"])

    return takes


def _without(name: str) -> Any:
    return _in_order(*(one for one in ORDER if one != name))


def _three_steps(answer: Any, seed: int) -> Any:
    """Losses of three steps, and all that the model holds after them. Unusable for what is not two losses."""
    model = Toy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for step in range(3):
        x, y = _draw(3, 4, seed=seed + step), _draw(3, 5, seed=seed + 9 + step)
        ids = torch.tensor([step, step + 1, 6])
        two = answer(model, optimizer, (x, y, None, ids))
        if two is None:
            return None
        losses.append(_two_losses_of(two))
    return Parts(
        losses=torch.tensor(losses),
        **{"trained image matrix": model.image.weight, "trained text matrix": model.text.weight},
        **{
            "momentum copy for images": model.image_keys.weight,
            "momentum copy for text": model.text_keys.weight,
        },
        **{
            "queue of image keys": model.V,
            "queue of caption keys": model.T,
            "list of the keys' images": model.held,
        },
    )


def _two_losses_of(value: Any) -> list[float]:
    try:
        one, two = numbers(value).tolist()
        return [float(one), float(two)]
    except Exception:  # a learner's object may raise anything where it is read
        raise Unusable(f"The answer is two numbers, L_b and L_q; yours is {kind(value)}.") from None


# --- enqueue: the queue that leaks ---------------------------------------------------------------------------
def enqueue(
    images: Any, texts: Any, held: Any, pointer: int, v_keys: Any, t_keys: Any, ids: Any,
    *, detach: bool = True, numbers: bool = True, ring: bool = True,
) -> Any:  # fmt: skip
    """What is correct; each keyword that is False leaves one fault in."""
    n, K = len(ids), len(held)
    slots = (pointer + torch.arange(n)) % K
    if detach:
        v_keys, t_keys = v_keys.detach(), t_keys.detach()
    images, texts = images.index_copy(0, slots, v_keys), texts.index_copy(0, slots, t_keys)
    held = held.index_copy(0, slots if numbers else torch.arange(n), ids)
    end = pointer + n
    return images, texts, held, end % K if ring else (end if end < K else 0)


def _leaving(**faults: bool) -> Any:
    return lambda *case: enqueue(*case, **faults)


def _reversed_keys(*case: Any) -> Any:
    return enqueue(*case[:4], *(one.flip(0) for one in case[4:]))


def _texts_twice(*case: Any) -> Any:
    return enqueue(*(*case[:4], case[5], case[5], case[6]))


def _pointer_as_it_was(*case: Any) -> Any:
    return *enqueue(*case)[:3], case[3]


def _cut_off(images: Any, texts: Any, held: Any, pointer: int, v_keys: Any, t_keys: Any, ids: Any) -> Any:
    n = min(len(ids), len(held) - pointer)
    return enqueue(images, texts, held, pointer, v_keys[:n], t_keys[:n], ids[:n])


def _filled(answer: Any, sizes: list[int], graph: bool) -> Any:
    """Batches of these sizes into an empty queue of five; its content, and whether it hangs on a graph. Unusable for
    what is not a queue.
    """
    queue: Any = (torch.zeros(5, 2), torch.zeros(5, 2), torch.full((5,), EMPTY), 0)
    kept = False
    for step, n in enumerate(sizes):
        keys = [_draw(n, 2, seed=10 * step + i).requires_grad_(graph) for i in (1, 2)]
        queue = answer(*queue, *keys, torch.arange(n) + 10 * step)
        if queue is None:
            return None
        kept = kept or (
            isinstance(queue, (tuple, list)) and any(getattr(one, "requires_grad", False) for one in queue)
        )
        queue = _queue_of(queue)
    images, texts, held, pointer = queue
    return Parts(
        **{"image keys": images, "caption keys": texts, "entries of held": held},
        **{"pointer": float(pointer), "graph that is kept": kept},
    )


def _queue_of(value: Any) -> Any:
    """What an answer gave, as the four values that the next batch is given: tensors, and an int."""
    if not isinstance(value, (tuple, list)) or len(value) != 4:
        raise Unusable(
            f"The answer is four values: images, texts, held and the pointer; yours is {kind(value)}."
        )
    wanted = ((5, 2), (5, 2), (5,), ())
    for name, part, shape in zip(("images", "texts", "held", "the pointer"), value, wanted, strict=True):
        try:
            agrees = numbers(part).shape == shape
        except Exception:  # a learner's object may raise anything where it is read
            agrees = False
        if not agrees:
            told = f"has the shape {shape}" if shape else "is a number"
            raise Unusable(f"With 5 slots and keys of 2 dimensions, {name} {told}; yours is {kind(part)}.")
    images, texts, held = (
        one if isinstance(one, Tensor) else torch.tensor(numbers(one)) for one in value[:3]
    )
    return images.float(), texts.float(), held.long(), int(value[3])


EXERCISES = [
    Exercise(
        name="move_regions",
        right=move_regions,
        cases=[(3 * _draw(2, 4, 3), _draw(2, 4, seed=1).softmax(1), 2.5),
               (_draw(3, 5, 4, seed=2), _draw(3, 5, seed=3).softmax(1), 0.7)],
        probe=_moved,
        mistakes={
            "The guide g has unit norm, or an image with large regions moves further than the scale s says.":
                _guide_of_any_norm,
            "The softmax sums to 1, and a needs unit norm: L2-normalise it over the regions.": _attention_of_sum_one,
            "w makes the guide; how far each region moves is another attention, a, from the dot products of the "
            "regions with the guide.": _attention_is_w,
            "The guide is the sum of the regions weighed by w, not their mean.": _mean_guide,
            "The enhanced regions are V plus what is added; yours is what is added alone.": _residual_alone,
            "Every region moves towards the guide g, not along its own direction.": _own_directions,
            "The residual scale s is missing.": _scale_forgotten,
            "The softmax runs over the regions of one image, not over the images of the batch.": _over_the_batch,
        },
        praise="The same three lines serve CGE, whose guide comes from CLIP.",
    ),
    Exercise(
        name="sorted_sum",
        right=sorted_sum,
        cases=[(SETS, RANK_SCORES, FULL), (SETS, RANK_SCORES, PREFIX), (SETS - 3.0, RANK_SCORES, PREFIX),
               (SETS - 3.0, RANK_SCORES, GAPS)],
        probe=_pooled,
        mistakes={
            "What stands where nothing is must not take part: fill it with minus infinity, so that it sorts last.":
                _padding_sorted_too,
            "Padding filled with 0 sorts before every negative value. Minus infinity sorts last.": _padding_as_zero,
            "Rank 0 is the largest value: sort in descending order.": _ascending,
            "The ranks that a shorter set does not have take weight from those that it has: mask the scores before "
            "the softmax.": _all_ranks_weighed,
            "After the sort the values stand in the first ranks, wherever the mask had its gaps: count the vectors, "
            "and keep the ranks below that number.": _mask_for_ranks,
            "Minus infinity times a weight of 0 is NaN: fill the sorted values behind a set's end with 0.":
                _minus_infinity_times_zero,
            "Each channel has to be sorted over the set first.": _unsorted,
            "The scores go through a softmax; only then do they weigh.": _scores_for_weights,
        },
        praise="With equal scores it is the mean; with a large first score the maximum.",
    ),
    Exercise(
        name="both_losses",
        right=two_losses,
        cases=[_pairs(0, [4, 7, 9], [1, 2, 3, 5]), _pairs(20, [4, 7, 4], [1, 8, 3, 5]),
               _pairs(40, [4, 7, 9], [1, 4, EMPTY, EMPTY])],
        probe=_two,
        mistakes={
            "Another caption of the same image is no negative: mask where the ids are equal, not the diagonal "
            "alone.": _no_same_image,
            "The matching pair on the diagonal is not a negative of itself.": _own_pair_too,
            "Both directions share the matching pair, and L_b counts its positive term once.": _spoilt(positives=2),
            "The columns are missing: a caption is a query too, and its negatives are the images of its "
            "column.": _spoilt(columns=False),
            "Empty slots are no keys: mask where held is -1.": _empty_slots_count,
            "Keys of the query's own image are no negatives: mask where held equals the query's id.": _own_keys_count,
            "An image query meets caption keys, a caption query image keys; yours are the other way "
            "round.": _spoilt(crossed=False),
            "The positive of L_q is the momentum key of the other side, v with t_keys and t with v_keys.":
                _spoilt(own=False),
            "The mean over the queries of a batch, not their sum.": _sums,
        },
        praise="One objective, three score matrices.",
    ),
    Exercise(
        name="train_step",
        right=train_step,
        cases=[(0,), (50,)],
        probe=_three_steps,
        tolerance=1e-4,
        mistakes={
            "The keys were enqueued before the loss, so that each query met the keys of its own batch among the "
            "negatives. Enqueue last.": _in_order("encode", "follow", "keys", "enqueue", *ORDER[3:8]),
            "The momentum encoders follow before they make the keys; yours follow afterwards.":
                _in_order("encode", "keys", "follow", *ORDER[3:]),
            "The momentum encoders follow at the start of a step, towards the weights that made v and t; yours follow "
            "the weights after the update.": _in_order("encode", "keys", *ORDER[3:8], "follow", "enqueue"),
            "The momentum encoders never follow: call model.follow().": _without("follow"),
            "Gradients add up from step to step: optimizer.zero_grad() before backward.": _without("zero"),
            "The gradient's norm is clipped at 2 between backward and the optimizer's step.": _without("clip"),
            "Both parts are trained: backward runs from L_b + L_q.": _in_order(*ORDER, parts=1),
            "The queue takes the keys of the momentum encoders, not the embeddings that are trained.":
                _in_order(*ORDER, keys="encode"),
            "Nothing is enqueued, so that the queue stays empty.": _without("enqueue"),
        },
        praise="That order is all that a training step of MoCo is.",
    ),
    Exercise(
        name="enqueue",
        right=enqueue,
        cases=[([2, 2], False), ([2], True), ([2, 2, 3], False), ([2, 2, 3, 2], False)],
        probe=_filled,
        mistakes={
            "The stored keys still hang on the graph that made them, and with them every batch that they came from: "
            "detach them.": _leaving(detach=False),
            "The numbers of the images go into the same slots as their keys; in other slots they mask the wrong "
            "keys.": _leaving(numbers=False),
            "After the last slot the pointer goes on around the ring, (pointer + n) modulo K; a return to slot 0 "
            "overwrites the newest keys.": _leaving(ring=False),
            "Two faults are left: what the keys hang on, and where the pointer goes after the last "
            "slot.": _leaving(detach=False, ring=False),
            "Two faults are left: where the numbers go, and where the pointer goes after the last "
            "slot.": _leaving(numbers=False, ring=False),
            "Two faults are left: what the keys hang on, and where the numbers go.":
                _leaving(detach=False, numbers=False),
            "That is the leaking queue as it was. Look for three faults: what the keys hang on, where the numbers go, "
            "and where the pointer goes after the last slot.": _leaving(detach=False, numbers=False, ring=False),
            "The keys keep their order: the first of the batch goes to the slot of the pointer.": _reversed_keys,
            "Images and captions have a queue each; yours holds the caption keys twice.": _texts_twice,
            "The pointer has to move on by n.": _pointer_as_it_was,
            "Keys that do not fit behind the last slot go on in slot 0; yours are lost.": _cut_off,
        },
        praise="Three lines were wrong, and no error had said so.",
    ),
]  # fmt: skip

"""Figures of notebook 07: the memory that negatives need, the queue as a ring buffer, momentum, and relevant items
among the keys.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from usercourse.plots import COLOURS, CYCLE, DASHES, WIDEST, Shown, lines, new_figure
from userlib.model.queue import EMPTY, DualQueue

MB = 1e6
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Moment:
    """The queue of image keys, with K slots, at one step of a run, and metrics of that step."""

    step: int
    ids: Ints  # (K,) the image of each key, -1 where the slot is empty
    ages: Ints  # (K,) the number of batches since the key was made; 0 where empty
    same: Floats  # (K,) cosine of the key with the current key of its image; 0 where empty
    lag: float  # mean cosine of the current vectors of key encoder and query encoder for one image
    loss: float
    unpaired: float  # mean cosine of images with captions of other images
    r10: float  # t2i R@10 on val, in percent

    @property
    def filled(self) -> Bools:
        return np.asarray(self.ids != EMPTY)

    @property
    def oldest(self) -> float:
        """The mean of `same` over the oldest keys."""
        ages = np.where(self.filled, self.ages, -1)
        return float(self.same[ages == ages.max()].mean())


def kept_bytes(work: Callable[..., object], *inputs: object, known: Iterable[Tensor] = ()) -> int:
    """The bytes that autograd keeps for the backward pass of work(*inputs), without the storage of `known` tensors,
    such as parameters. Each storage counts once.
    """
    there = {one.untyped_storage().data_ptr() for one in known}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = work(*inputs)  # kept alive until all is counted, so that no address is used twice
    total = sum(sizes.values())
    del result
    return total


def memory(batches: Mapping[int, float], copies: float, embed_dim: int, *, sizes: Sequence[int]) -> Shown:
    """The memory of batches, {number of pairs: MB}, compared with the smallest of them plus a queue of each of `sizes`
    keys; copies: MB of the momentum encoders.
    """
    small, large = min(batches), max(batches)
    queues = {K: batches[small] + copies + 2 * K * embed_dim * 4 / MB for K in sizes}
    figure, axes = new_figure(WIDEST, 3.4)
    axis = axes[0, 0]
    axis.plot([B - 1 for B in batches], list(batches.values()), "o-", color=COLOURS["vermillion"], lw=2,
              label="all in one batch")  # fmt: skip
    axis.plot([small - 1 + K for K in sizes], list(queues.values()), "s--", color=COLOURS["blue"], lw=2,
              label=f"a batch of {small} and a queue")  # fmt: skip
    axis.set_xscale("log", base=2)
    across = sorted({*batches, *(K for K in sizes if large < K)})
    axis.set_xticks(across, [f"{one:,}" for one in across])
    axis.minorticks_off()
    axis.set_ylim(0, 1.1 * max(*batches.values(), *queues.values()))
    axis.set_xlabel("negatives a query has, on a logarithmic scale", fontsize=9)
    axis.set_ylabel("MB kept for the backward pass", fontsize=9)
    axis.legend(fontsize=9, frameon=False)
    K = max(sizes)
    return figure, (
        f"A batch of {large} keeps {batches[large]:.0f} MB for {large - 1} negatives. A batch of {small} with "
        f"{K:,} keys of each kind keeps {queues[K]:.0f} MB for {small - 1 + K:,}: "
        f"{batches[small]:.0f} for the batch, {copies:.1f} for the momentum copies, "
        f"{2 * K * embed_dim * 4 / MB:.1f} for the keys."
    )


def ring(size: int, batches: Sequence[Sequence[int]]) -> Shown:
    """The library's queue with `size` slots after each of the batches of image ids; the shade shows the age."""
    queue = DualQueue(size, 1)
    ids, ages = [], []
    for batch in batches:
        keys = torch.zeros(len(batch), 1)
        queue.enqueue(keys, keys, torch.tensor(list(batch)))
        ids.append(queue.ids.tolist())
        ages.append((queue.step - queue.enqueued_at).tolist())
    table, old = np.array(ids), np.array(ages, float)
    old[table == EMPTY] = np.nan
    figure, axes = new_figure(min(WIDEST, 1.2 + 0.62 * size), 0.7 + 0.42 * len(batches))
    axis = axes[0, 0]
    axis.imshow(old, cmap="Blues_r", vmin=-0.5, vmax=len(batches) + 1, aspect="auto")
    for i, j in np.ndindex(table.shape):
        empty = table[i, j] == EMPTY
        axis.text(j, i, "empty" if empty else str(table[i, j]), ha="center", va="center",
                  fontsize=9 if empty else 10, color="0.5" if empty or old[i, j] < 1.5 else "black")  # fmt: skip
        if not empty and old[i, j] < 1.5:
            axis.texts[-1].set_color("white")
    axis.set_yticks(range(len(batches)), [f"after {', '.join(map(str, batch))}" for batch in batches])
    axis.set_xticks(range(size), [f"slot {j}" for j in range(size)])
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    gone = sorted({one for batch in batches for one in batch} - set(ids[-1]))
    return figure, (
        f"Each row is the queue after one more batch; numbers are images, darker keys are newer. At the end "
        f"the next key goes to slot {int(queue.pointer)}; of all keys that were enqueued, "
        f"{', '.join(map(str, gone)) or 'none'} {'has' if len(gone) == 1 else 'have'} been overwritten."
    )


def follow_curves(momenta: Sequence[float], steps: int) -> Shown:
    """How a weight of the momentum copy follows a weight that jumps from 0 to 1: 1 - m^step."""
    across = np.arange(steps + 1)
    curves = {f"m = {m:g}": 1 - np.power(m, across) for m in momenta}
    figure, _ = lines(across, curves, x_label="steps since the jump", y_label="share of the jump")
    gone = ", ".join(f"{100 * curve[-1]:.0f} % with {name}" for name, curve in curves.items())
    return figure, f"After {steps} steps the copy has covered {gone}."


def queue_state(moment: Moment, own: int, true: Bools, *, columns: int = 32) -> Shown:
    """The slots as cells shaded by age, and the keys that are relevant for one caption: own is its image, true (N,)
    says of which images it is true. Below, the effect of age and momentum on the keys.
    """
    K = len(moment.ids)
    rows = -(-K // columns)
    cells = np.full(rows * columns, np.nan)
    cells[:K][moment.filled] = moment.ages[moment.filled]
    figure, axes = new_figure(WIDEST, 5.8, rows=2)
    above, below = axes[:, 0]
    newest = max(1.0, float(np.nanmax(cells)))
    above.imshow(cells.reshape(rows, columns), cmap="Blues_r", vmin=-0.15 * newest, vmax=1.35 * newest)
    places = np.arange(K)
    mine = moment.filled & (moment.ids == own)
    held = np.where(moment.filled, moment.ids, 0)
    wrong = moment.filled & true[held] & ~mine
    empty = places[~moment.filled]
    above.plot(empty % columns, empty // columns, ".", color="0.75", ms=2, label="empty")
    for name, chosen, style in (
        ("its own image: masked", mine, {"marker": "s", "color": "black", "mfc": "white"}),
        (
            "relevant, yet a negative",
            wrong,
            {"marker": "o", "color": COLOURS["vermillion"], "mfc": "white"},
        ),
    ):
        at = places[chosen]
        above.plot(at % columns, at // columns, ls="", ms=6, mew=2, label=name, **style)
    above.set_xticks([])
    above.set_yticks([])
    above.set_title(f"step {moment.step}: {K} slots, darker is newer", fontsize=10, loc="left")
    above.legend(fontsize=9, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3,
                handletextpad=0.2, columnspacing=1.0)  # fmt: skip
    ages = np.unique(moment.ages[moment.filled])
    means = [moment.same[moment.filled & (moment.ages == age)].mean() for age in ages]
    below.plot(
        ages, means, "o-", color=COLOURS["blue"], ms=4, lw=1.5, label="old key and current key of its image"
    )
    below.axhline(
        moment.lag, color=COLOURS["vermillion"], ls="--", lw=1.5, label="key and query encoder, current"
    )
    below.set_ylim(min(0.0, moment.lag, *means) - 0.05, 1.05)
    below.set_xlabel("age of the key, in steps", fontsize=9)
    below.set_ylabel("mean cosine", fontsize=9)
    below.legend(fontsize=9, frameon=False, loc="lower left")
    return figure, (
        f"After step {moment.step}, {int(moment.filled.sum())} of {K} slots contain a key; the oldest is "
        f"{int(ages.max())} steps old. Relevant keys for this caption: {int(mine.sum())} of its own image, masked, "
        f"and {int(wrong.sum())} of other images that it is true of, which count as negatives. The mean cosine of "
        f"the oldest keys with current keys of the same images is {moment.oldest:.2f}, that of the key encoder with "
        f"the query encoder {moment.lag:.2f}."
    )


def consistency_and_lag(moments: Mapping[float, Moment]) -> Shown:
    """Over m: the consistency of the keys in the queue, and the lag of the key encoder behind the query encoder."""
    momenta = list(moments)
    figure, axes = new_figure(WIDEST, 3.2)
    axis = axes[0, 0]
    across = range(len(momenta))
    series = {
        "oldest keys and current keys": [moments[m].oldest for m in momenta],
        "key and query encoder, current": [moments[m].lag for m in momenta],
    }
    for (name, values), colour, dash in zip(series.items(), CYCLE, DASHES, strict=False):
        axis.plot(across, values, "o", color=colour, ls=dash, lw=2, label=name)
    axis.set_xticks(list(across), [f"{m:g}" for m in momenta])
    axis.set_xlabel("momentum m", fontsize=9)
    axis.set_ylabel("mean cosine", fontsize=9)
    axis.set_ylim(min(0.0, *(v for values in series.values() for v in values)) - 0.05, 1.05)
    axis.legend(fontsize=9, frameon=False, loc="lower left")
    first, last = momenta[0], momenta[-1]
    step = moments[first].step
    return figure, (
        f"At step {step}: from m = {first:g} to m = {last:g} the cosine of the oldest keys with current ones goes "
        f"from {moments[first].oldest:.2f} to {moments[last].oldest:.2f}, and that of key and query encoder "
        f"from {moments[first].lag:.2f} to {moments[last].lag:.2f}."
    )


def relevant_keys(true_of: Ints, pictures: int, sizes: Sequence[int], *, captions: int = 5) -> Shown:
    """The expected number of relevant keys among K. true_of (Q,) counts the images that each caption is true of,
    including its own, among `pictures` images; every caption occurs once per epoch.
    """
    K = np.asarray(sizes, float)
    own = expected_own(K, pictures, captions)
    others = K * float((true_of - 1).mean()) / pictures
    figure, axes = new_figure(WIDEST, 3.2)
    axis = axes[0, 0]
    for name, values, colour, dash, mark in (
        ("other images it is true of", others, COLOURS["vermillion"], "-", "o"),
        ("its own image", own, COLOURS["black"], "--", "s"),
    ):
        axis.plot(K, values, mark, color=colour, ls=dash, lw=2, label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(K, [f"{int(k):,}" for k in K])
    axis.yaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.set_xlabel("keys in the queue, K", fontsize=9)
    axis.set_ylabel("relevant keys per caption", fontsize=9)
    axis.legend(fontsize=9, frameon=False)
    share = 100 * float((true_of > 1).mean())
    return figure, (
        f"{pictures:,} images: among {int(K[-1]):,} keys a caption meets on average {own[-1]:.2f} of its own "
        f"image, which the mask removes, and {others[-1]:.2f} of other images that it is true of, which the mask "
        f"leaves in. They are unevenly distributed: {share:.0f} % of the captions are true of another image."
    )


def expected_own(K: NDArray[np.float64], pictures: int, captions: int) -> NDArray[np.float64]:
    """The expected number of keys of a query's own image among K, K (captions - 1) / (captions * images): the keys come
    from the image's other captions.
    """
    return K * (captions - 1) / (captions * pictures)


def gradient_shares(
    scores: Tensor, own: Tensor, true: Tensor, *, mu: float, gamma: float
) -> dict[str, float]:
    """The shares of UTO's gradient, in percent, that fall on keys of the own image, on other relevant keys and on wrong
    ones, where nothing is masked: scores (Q,K) of captions with image keys, own and true (Q,K) bool.
    """
    x = mu * (scores - gamma)
    weights = torch.softmax(torch.cat([x, torch.zeros(len(x), 1)], 1), 1)[:, :-1]  # (Q, K), rows below 1
    parts = {"own": own, "other": true & ~own, "wrong": ~true & ~own}
    whole = float(weights.sum())
    return {name: 100 * float((weights * mask).sum()) / max(whole, 1e-30) for name, mask in parts.items()}


def gradient_bars(unmasked: Mapping[str, float], count: Mapping[str, float]) -> Shown:
    """The shares, in percent, of relevant keys among all keys (count) and in the negative term's gradient, without
    (unmasked) and with the same-image mask; both in the form of `gradient_shares`.
    """
    rest = max(100 - unmasked["own"], 1e-9)
    masked = {name: 0.0 if name == "own" else 100 * unmasked[name] / rest for name in unmasked}
    figure, axes = new_figure(WIDEST, 2.5)
    axis = axes[0, 0]
    names = {"own": "of its own image", "other": "of other images that it is true of"}
    colours = {"own": COLOURS["black"], "other": COLOURS["vermillion"]}
    rows = {"of the keys": count, "of the gradient, no mask": unmasked, "of the gradient, masked": masked}
    for i, row in enumerate(rows.values()):
        start = 0.0
        for name in names:
            axis.barh(i, row[name], left=start, color=colours[name], height=0.6,
                      label=names[name] if i == 0 else None)  # fmt: skip
            start += row[name]
        axis.annotate(f"{start:.2f}", (start, i), xytext=(5, 0), textcoords="offset points", va="center",
                      fontsize=9)  # fmt: skip
    axis.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.15 * max(max(row["own"] + row["other"] for row in rows.values()), 1e-6))
    axis.set_xlabel("relevant keys, %", fontsize=9)
    axis.legend(fontsize=9, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=2)
    right = count["own"] + count["other"]
    return figure, (
        f"Relevant keys are {right:.2f} % of all keys. Without the mask they get "
        f"{unmasked['own'] + unmasked['other']:.2f} "
        f"% of the negative term's gradient; with the same-image mask it is {masked['other']:.2f} %."
    )


def collapse_curves(runs: Mapping[str, Sequence[Moment]]) -> Shown:
    """Loss, unpaired cosine and R@10 over the steps of several runs of the same length."""
    figure, axes = new_figure(WIDEST, 6.9, rows=3)
    parts = (("loss", "loss"), ("unpaired", "mean unpaired cosine"), ("r10", "t2i R@10 on val, percent"))
    for axis, (part, title) in zip(axes[:, 0], parts, strict=True):
        series = {name: [getattr(one, part) for one in run] for name, run in runs.items()}
        steps = [one.step for one in next(iter(runs.values()))]
        lines(steps, series, x_label="", y_label="", title=title, axis=axis)
    axes[2, 0].set_xlabel("step", fontsize=9)
    for axis in axes[1:, 0]:
        axis.get_legend().remove()
    ends = "; ".join(
        f"{name}: loss {run[-1].loss:.2f}, unpaired cosine {run[-1].unpaired:.2f}, R@10 {run[-1].r10:.0f} %"
        for name, run in runs.items()
    )
    return figure, f"At the end, {ends}."

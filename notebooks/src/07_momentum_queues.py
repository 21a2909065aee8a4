# %% [markdown]
# # 07 Momentum and queues: more negatives without more memory
#
# You will be able to
#
# - build a first-in first-out queue of keys that accepts any batch size, and the momentum encoder that produces the keys;
# - explain the trade-off of momentum, between keys that are consistent with each other and keys that are up to date;
# - write the queue's part of the loss next to the batch's, with the same objective in both;
# - count the relevant items among the negatives, and see a model collapse without negatives.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [01_recall](01_recall.ipynb), [06_unified_objective](06_unified_objective.ipynb) | 90 s in the fast profile, 10 minutes in the full | 35 minutes | 1.6 GB |

# %%
import copy
from functools import cache

import numpy as np
import torch
from torch import nn

from usercourse import check, compare, course_config, predict, show, start
from usercourse import queues as draw
from usercourse.diagrams import diagram
from usercourse.running import waiting
from userlib.config import ObjectiveConfig
from userlib.model.momentum import update
from userlib.model.objective import batch_loss, queue_loss
from userlib.model.queue import DualQueue
from userlib.training import prepare

profile = start()
diagram("pipeline", here=("queues",))
diagram("queues")

# %% [markdown]
# ## The claim
#
# A [query](GLOSSARY.md#query) learns from its [negatives](GLOSSARY.md#negative), and in the batch loss of
# [notebook 06](06_unified_objective.ipynb) these are the other pairs of the [mini-batch](GLOSSARY.md#mini-batch): 127 of
# them in a batch of 128, out of a gallery of thousands.
# USER's second idea, adopted from MoCo, is to keep the embeddings of earlier batches as additional negatives: 2,048 per
# modality on Flickr30K, 4,096 on MSCOCO. The stored embeddings are called [keys](GLOSSARY.md#key), the list of them is the
# [queue](GLOSSARY.md#queue), and they are computed by a slowly moving copy of the encoders, the
# [momentum encoder](GLOSSARY.md#momentum-encoder).
#
# Why not use a larger batch? Because the backward pass needs everything that the encoders computed in the forward pass.
# Here is the course's model without enhancement, and a batch of 128 images and captions.

# %%
predict(
    "queues_memory", "How many MB does a batch of 128 pairs keep for the backward pass?", high=300, unit="MB"
)

# %%
from userlib.model.user import USER

B, K, steps = 32, 1024, min(2 * profile.steps, 200)
prepared = prepare(course_config(enhancement="none", queue_size=None, batch_size=B, steps=steps))

torch.manual_seed(0)
model = USER(prepared.config.model, prepared.config.objective)
parameters = list(model.parameters())
kept = {}
for size in (16, 32, 64, 128):
    batch = prepared.train.batch(np.arange(0, 5 * size, 5))  # one caption per image
    kept[size] = draw.kept_bytes(model, batch, known=parameters) / draw.MB

copies = sum(4 * one.numel() for one in parameters) / draw.MB
sizes = (128, 512, 2048, 8192)
show(
    *draw.memory(
        {b: mb for b, mb in kept.items() if b >= B}, copies, prepared.config.model.embed_dim, sizes=sizes
    )
)
compare("queues_memory", round(kept[128]))

# %% [markdown]
# One line rises steeply with the number of negatives, the other slowly, because a key is 256 floats and nothing else.
# No gradient flows into it, so nothing else has to be kept. (With BERT and 36 regions of 2,048 dimensions the first
# line is far steeper.)
#
# ## The queue, by hand
#
# Five slots, batches of two. A pointer marks where the next key goes; after the last slot it starts over, and each new key
# replaces the oldest.


# %%
def enqueue_loop(slots, pointer, batch):
    """slots: a list of K keys; batch: the new keys in order -> where the next key will go."""
    for key in batch:
        slots[pointer] = key
        pointer = (pointer + 1) % len(slots)
    return pointer


slots, pointer = [None] * 5, 0
for batch in ([1, 2], [3, 4], [5, 6]):
    pointer = enqueue_loop(slots, pointer, batch)
print(slots, "next slot:", pointer)

show(*draw.ring(5, [[1, 2], [3, 4], [5, 6], [7, 8]]))

# %% [markdown]
# Three rules, each of them violated in some public implementation. The queue must accept **any batch size**, not only
# divisors of K. Slots start **empty** and must not count; in the authors' release they start as random vectors that act as
# negatives until they are overwritten. And keys are enqueued **after the loss**, or each query would meet its own key
# among the negatives.
#
# ### Exercise 1. Where the keys go (difficulty 2 of 3, about 10 minutes)
#
# Compute, without a loop, the slots that a batch of n keys goes to, and the new pointer. If the batch is larger than
# the queue, only its last K keys stay, each in the slot where the loop would have put it.


# %%
def slots_of(pointer, n, K):
    """-> (slots (min(n, K),) of the keys that stay, in order; the new pointer)."""
    ...


check("slots_of", slots_of)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Number the keys 0, 1, ..., n - 1. The slot of key i depends on the pointer and on i, and wraps around at K.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(pointer + i) % K`, for `i` from `max(0, n - K)` on. The pointer moves as if all n had been written.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: slots_of -->
# ```python
# def slots_of(pointer, n, K):
#     i = torch.arange(max(0, n - K), n)
#     return (pointer + i) % K, (pointer + n) % K
# ```
#
# </details>
#
# ## Momentum
#
# The encoder changes at every step, so keys of different ages come from different encoders. MoCo's answer is to compute
# them with a copy that changes slowly. With $\theta_q$ the weights that are trained and $\theta_k$ those of the copy,
#
# $$ \theta_k \leftarrow m\, \theta_k + (1 - m)\, \theta_q $$
#
# once per step, with $m = 0.999$ in the release. By hand, for one weight: the copy is at 0, the trained one at 0.5,
# $m = 0.9$. After one, two and three steps the copy is at 0.05, 0.095 and 0.1355: each step covers a tenth of the
# remaining distance.


# %%
def follow_loop(theta_k, theta_q, m):
    """Two lists of weights -> the copy's, one step later."""
    return [m * k + (1 - m) * q for k, q in zip(theta_k, theta_q, strict=True)]


theta = [0.0]
for _ in range(3):
    theta = follow_loop(theta, [0.5], m=0.9)
    print(f"{theta[0]:.4f}")

show(*draw.follow_curves([0.0, 0.5, 0.9, 0.99, 0.999], 60))

# %% [markdown]
# ### Exercise 2. Half-life (difficulty 1 of 3, about 5 minutes)
#
# After n steps, the initial weights still make up a share $m^n$ of the copy. After how many steps is that share one half?


# %%
def half_life(m):
    """m between 0 and 1 -> a number of steps, not rounded."""
    ...


check("half_life", half_life)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Take the logarithm on both sides of $m^n = 1/2$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `n * math.log(m) = math.log(0.5)`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: half_life -->
# ```python
# import math
#
# def half_life(m):
#     return math.log(0.5) / math.log(m)
# ```
#
# </details>
#
# ### Exercise 3. The copy that stays behind (bug hunt, difficulty 2 of 3, about 10 minutes)
#
# This function should move a copy by one momentum step: its weights follow slowly, and its buffers, such as the running
# mean of a BatchNorm, are copied unchanged. It raises no error, and a run with it looks normal; the keys of a copy that
# never moves are in fact perfectly consistent with each other. **It has two faults.** Write it without them.


# %%
@torch.no_grad()
def buggy_step(keys, model, m):
    for k, q in zip(keys.parameters(), model.parameters(), strict=True):
        k = m * k + (1 - m) * q
    return keys


trained = nn.BatchNorm1d(1).requires_grad_(False)  # bias and running mean begin at 0
copied = copy.deepcopy(trained)
trained.bias += 1.0  # what training has changed since
trained.running_mean += 1.0
buggy_step(copied, trained, 0.9)
bias, mean = copied.bias.item(), copied.running_mean.item()
print(f"The copy has bias {bias:.1f} and running mean {mean:.1f}; it should have 0.1 and 1.0.")


def momentum_step(keys, model, m):
    """keys, model: two modules of one architecture -> keys, edited in place: one step later."""
    ...


check("momentum_step", momentum_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# What does `k = ...` do to the module, and what does it do to the name `k`? And which part of a BatchNorm's state is
# not among its `parameters()`?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `k.lerp_(q, 1 - m)` or `k.mul_(m).add_(q, alpha=1 - m)` edit the weight itself. The rest is in `buffers()`; `copy_`
# copies the values of a buffer. Without `torch.no_grad()` the copy would keep the graph of every step.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: momentum_step -->
# ```python
# @torch.no_grad()
# def momentum_step(keys, model, m):
#     for k, q in zip(keys.parameters(), model.parameters(), strict=True):
#         k.lerp_(q, 1 - m)
#     for k, q in zip(keys.buffers(), model.buffers(), strict=True):
#         k.copy_(q)
#     return keys
# ```
#
# </details>
#
# So $m$ has to fit the **length of the run**. At 0.999, half of the copy still consists of weights from more than 693
# steps ago: a small part of a run of 20,000 steps, but more than the whole of a run of 500. The course uses
# $m = 1 - 20 / \text{steps}$, at most 0.999.
#
# There is a trap. $1 - m$ is small, and a copy stored in [half precision](GLOSSARY.md#half-precision) cannot make small
# steps. Let a weight start at 0 and follow a constant target of 0.5 for 3,000 steps, at m = 0.999. **Think**: in exact
# arithmetic it reaches 0.475. How far does a bfloat16 weight get?

# %%
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    weight = torch.zeros((), dtype=dtype)
    for _ in range(3000):
        weight = 0.999 * weight + 0.001 * torch.tensor(0.5, dtype=dtype)
    print(f"{str(dtype):15}  {weight.item():.3f}")

# %% [markdown]
# In half precision the weight stops where a step becomes smaller than half a unit in its last digit, and it stays
# there. The library stores the copies in float32, whatever precision the model computes in.
#
# ## The queue's part of the loss
#
# The batch loss $L_b$ compares an image with the captions of its batch. The queue loss $L_q$ does the same with keys:
# an image is compared with the key of its own caption, its [positive](GLOSSARY.md#positive), and with the caption keys
# in the queue; a caption with the key of its image and with the image keys. The objective is the same,
# [UTO](GLOSSARY.md#uto), written $\ell$ for one query. $\tilde v_i, \tilde t_i$ are the momentum keys of pair $i$, and
# $V_k, T_k$ those in the queue:
#
# $$ L_q = \frac{1}{B} \sum_i \Big[\, \ell\big(v_i \cdot \tilde t_i, \{v_i \cdot T_k\}\big)
#    + \ell\big(t_i \cdot \tilde v_i, \{t_i \cdot V_k\}\big) \Big], \qquad L = w L_b + L_q $$
#
# Two things differ from $L_b$. There, both directions share one positive score, and it counts once; here they have two
# different ones, so there is a positive term in each direction. And there are two score matrices of $B \times K$, one
# for each direction, because the keys of one modality are not the queries of the other. $w$ is the weight of the batch
# loss: 20 on Flickr30K and 1 on MSCOCO in the release, 1 in this course.


# %%
from usercourse.objective import loss_matrices


def queue_loss_loop(v, t, v_keys, t_keys, V, T, ids, held, mu, gamma):
    """v, t, v_keys, t_keys (B, E); V, T (K, E); ids (B,); held (K,) the images of the keys, -1: empty."""
    total = 0.0
    for i in range(len(v)):
        use = [k for k in range(len(V)) if held[k] != -1 and held[k] != ids[i]]
        for query, positive, keys in ((v[i], t_keys[i], T), (t[i], v_keys[i], V)):
            negative = 1.0 + sum(float(torch.exp(mu * (query @ keys[k] - gamma))) for k in use)
            total += np.log(negative) / mu - np.log(1.0 + max(float(query @ positive), 0.0))
    return total / len(v)


generator = torch.Generator().manual_seed(0)
unit = [nn.functional.normalize(torch.randn(n, 8, generator=generator), dim=1) for n in (3, 3, 3, 3, 6, 6)]
v, t, v_keys, t_keys, V, T = unit
ids, held = torch.tensor([4, 7, 4]), torch.tensor([1, 4, 9, 7, -1, -1])
ignore_mask = (held == -1)[None, :] | (held[None, :] == ids[:, None])  # (B, K)
original = ObjectiveConfig(mu=30.0, gamma=0.3, leaky_positive=False)
ours = queue_loss(original, (v * t_keys).sum(1), (t * v_keys).sum(1), v @ T.T, t @ V.T, ignore_mask)
assert abs(float(ours) - queue_loss_loop(v, t, v_keys, t_keys, V, T, ids, held, 30.0, 0.3)) < 1e-5
print("Loop and library agree.")
same = ids[:, None] == ids[None, :]
show(*loss_matrices(v @ t.T, same, own=(v * t_keys).sum(1), keys=v @ T.T, ignore_mask=ignore_mask))

# %% [markdown]
# Pairs 0 and 2 belong to the same image, so the batch loss masks one cell for each of them. The queue loss masks the
# keys of each query's own image and, for all queries, the empty slots.
#
# ## The smallest retriever that has a queue
#
# To look inside, we train something small enough to be retrained at every move of a slider: two matrices. An image is
# the mean of its [regions](GLOSSARY.md#region), a caption its word counts; each matrix maps its modality to 32
# dimensions. We use the first 1,000 training images, batches of 32 and a queue of 512. Everything else comes from the
# library.


# %% jupyter={"source_hidden": true} tags=["hide-input"]
from userlib.evaluation import ranks, recalls
from userlib.training.watching import collapse_metrics


class Small(nn.Module):
    """x (B, D), y (B, words) -> unit vectors v, t (B, E)."""

    def __init__(self, D, words, E=32):
        super().__init__()
        self.image, self.text = nn.Linear(D, E), nn.Linear(words, E)

    def forward(self, x, y):
        return nn.functional.normalize(self.image(x), dim=1), nn.functional.normalize(self.text(y), dim=1)


def small_inputs(pairs, pictures):
    """Mean regions (N, D), word counts of unit norm (M, words), and the image of each caption (M,)."""
    rows = np.flatnonzero(pairs.caption_to_image < pictures)
    x = torch.from_numpy(np.asarray(pairs.features.tokens[np.arange(pictures)], np.float32).mean(1))
    y = torch.zeros(len(rows), pairs.tokenizer.vocab_size)
    for place, row in enumerate(rows):
        y[place] += torch.bincount(torch.from_numpy(pairs.ids(row)), minlength=y.shape[1])
    return x, nn.functional.normalize(y, dim=1), torch.from_numpy(pairs.caption_to_image[rows])


x, y, caption_to_image = small_inputs(prepared.train, 1000)
x_val, y_val, val_of = small_inputs(prepared.val, 200)
x, x_val = (x - x.mean(0)) / x.std(0), (x_val - x.mean(0)) / x.std(0)


@torch.no_grad()
def observe(step, model, keys, queue, loss):
    """The state of the run at this step, for the figures."""
    there = queue.ids >= 0
    same, of = torch.zeros(queue.size), queue.ids.clamp(min=0)
    current = keys(x[of], y[:1])[0] if queue.size else queue.images  # the key encoder's present embeddings
    same[there] = (queue.images * current).sum(1)[there]
    v, t = model(x_val, y_val)
    lag = (v * keys(x_val, y_val)[0]).sum(1).mean()
    ages = torch.where(there, queue.step - queue.enqueued_at, 0)
    unpaired, _ = collapse_metrics(v, t[::5])
    r10 = recalls(ranks(v, t, val_of)).t2i_r10
    return draw.Moment(
        step, queue.ids.numpy(), ages.numpy(), same.numpy(), float(lag), loss, unpaired, r10
    )  # fmt: skip


@cache
def train_small(m, K=512, steps=120, B=32, negatives=True):
    """The state every four steps of a run with momentum m and K keys."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small matrices are faster on one core
    torch.manual_seed(0)
    model = Small(x.shape[1], y.shape[1])
    keys, queue = copy.deepcopy(model), DualQueue(K, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    objective, moments = ObjectiveConfig(mu=30.0, gamma=0.3), []
    order = np.random.default_rng(0).permutation(len(y))
    for step in range(1, steps + 1):
        rows = np.take(order, np.arange(step * B, (step + 1) * B), mode="wrap")
        ids = caption_to_image[rows]
        v, t = model(x[ids], y[rows])  # (B, E) each
        update(keys, model, m)
        with torch.no_grad():
            v_keys, t_keys = keys(x[ids], y[rows])
        ignore_mask = queue.ignore_mask(ids)
        loss = queue_loss(
            objective,
            (v * t_keys).sum(1),
            (t * v_keys).sum(1),
            v @ queue.texts.T,
            t @ queue.images.T,
            ignore_mask,
        )
        if negatives:
            loss = loss + batch_loss(objective, v @ t.T, ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        queue.enqueue(v_keys, t_keys, ids)  # after the loss
        if step % 4 == 0:
            moments.append(observe(step, model, keys, queue, loss.item()))
    torch.set_num_threads(threads)
    return moments


with waiting("training"):
    first = train_small(0.9)
print(f"Val t2i R@10 after {first[-1].step} steps: {first[-1].r10:.1f} %, by chance 5 %.")

# %% [markdown]
# ## The queue, seen from inside
#
# In the drawn world we know which images a caption is true of. So we can mark, for one caption, the keys that are
# **relevant**: those of its own image, and those of other images that it happens to be true of. The latter are
# [false negatives](GLOSSARY.md#false-negative): training lowers their scores.
#
# The plot of the demo below has two cosines. The first compares the keys of each age with the embeddings that the
# key encoder (the momentum encoder) gives the same images now: are the keys [stale](GLOSSARY.md#stale-key)? The second
# compares the key encoder's embeddings with the query encoder's: does it lag? Move the step first and watch the queue
# fill; then move the momentum. Each new value of the momentum starts a new run of a few seconds.
#
# **Think**: at m = 0 the key encoder is the query encoder. At m = 1 it never changes. How does each line of the plot
# behave in between? The last figure below shows both cosines at an early step, plotted over m.

# %%
from usercourse import Demo, choice, slider, snapshot
from userscenes import TruthTable, closed_facts, make_world

world = make_world("train", 1000)
facts = [closed_facts(scene) for scene in world]
some = [(i, caption) for i in range(0, 1000, 5) for caption in world.captions(i)[:1]]
true = TruthTable([caption.facts for _, caption in some], facts).true_matrix()  # (200, 1000)
held = train_small(0.9)[9].ids  # at step 40; captions whose own image is in the queue
few = [j for j in np.argsort(-true.sum(1), kind="stable") if some[j][0] in held]
chosen = {some[j][1].text.rstrip("."): (some[j][0], true[j]) for j in (few[0], few[3], few[9], few[-1])}


def queue_demo(step, m, caption):
    """The queue at a step of a run with momentum m, for one caption."""
    return draw.queue_state(train_small(m)[step // 4 - 1], *chosen[caption])


Demo(
    queue_demo,
    step=slider("step", 4, 120, value=12, step=4),
    m=slider("momentum m", 0.0, 1.0, value=0.9, step=0.01),
    caption=choice("the caption", list(chosen)),
)

# %%
general = next(iter(chosen))
snapshot(queue_demo, step=12, m=0.9, caption=general)
snapshot(queue_demo, step=40, m=0.9, caption=general)

momenta = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)
with waiting("one run per m"):
    at = {m: train_small(m)[3] for m in momenta}  # step 16, when the queue has just filled
show(*draw.consistency_and_lag(at))
print(
    "Val t2i R@10 after 120 steps: "
    + ", ".join(f"{train_small(m)[-1].r10:.0f} % (m = {m:g})" for m in momenta)
)

# %% [markdown]
# <details><summary>One answer to the question above the demo</summary>
#
# With m = 0 nothing lags, but keys become stale as fast as the encoder learns: fast at first, hardly at all later. With
# m = 1 no key is ever stale, but all of them come from an untrained encoder. Values in between trade the two: more
# consistent keys, more lag.
#
# </details>
#
# Look at R@10 as well before concluding that one m is the best: this retriever learns so fast, and its queue is so
# short (16 steps), that m matters little until it is nearly 1. Keys become stale in long queues and with deep encoders.
#
# ## Relevant items among the negatives
#
# The queue of $K$ keys is filled from an epoch of $N$ images with $c$ captions each. Keys of the query's own image are
# masked by the image's id. The other relevant keys are not masked.
#
# ### Exercise 4. The mask (difficulty 2 of 3, about 5 minutes)


# %%
def no_negatives(ids, held):
    """ids (B,) of the queries' images, held (K,) of the keys', -1: empty -> (B, K), True: not a negative."""
    ...


check("no_negatives", no_negatives)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# There are two reasons why a key is not a negative for a query. One of them is the same for all queries.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Compare a column with a row: `held[None, :] == ids[:, None]` is (B, K). Combine the two masks with `|`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: no_negatives -->
# ```python
# def no_negatives(ids, held):
#     return (held[None, :] == -1) | (held[None, :] == ids[:, None])
# ```
#
# </details>
#
# ### Exercise 5. How often is the mask needed? (difficulty 2 of 3, about 5 minutes)
#
# All $cN$ captions come once per epoch, in random order, and $K < cN$. How many of the K keys belong to the query's own
# image, on average?


# %%
def own_keys(K, N, c):
    """K keys, N images with c captions each -> the expected number."""
    ...


check("own_keys", own_keys)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The query's own caption has not been enqueued yet. Which captions of its image can be in the queue?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Each of the other c - 1 captions is in the queue with probability K / (cN).
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: own_keys -->
# ```python
# def own_keys(K, N, c):
#     return K * (c - 1) / (c * N)
# ```
#
# </details>

# %%
predict(
    "queues_true",
    "2,048 keys of all training images: of how many keys of other images is a caption true, on average?",
    high=20,
    step=0.1,
)

# %%
N = len(prepared.train.split)
world = make_world("train", N)
facts = [closed_facts(scene) for scene in world]
rng = np.random.default_rng(0)
queries_of = [
    (int(i), world.captions(int(i))[int(j)])
    for i, j in zip(*rng.integers([[N], [5]], size=(2, 600)), strict=True)
]
with waiting("600 captions compared with all images"):
    true = TruthTable([caption.facts for _, caption in queries_of], facts).true_matrix()  # (600, N)
true_of = true.sum(1)
show(*draw.relevant_keys(true_of, N, [size for size in (128, 512, 2048, 8192) if size < 5 * N]))
compare("queues_true", round(2048 * float((true_of - 1).mean()) / N, 1))

# %% [markdown]
# The mean hides how unequal captions are: one such as "A person" is true of hundreds of images, but most are true only
# of their own image. In photo collections this cannot be counted, and captions there are vaguer. The other direction,
# an image query among caption keys, has the same mean, since it counts the same pairs.
#
# ## Collapse
#
# A momentum positive defines a loss even without negatives: set K = 0 and leave out the batch loss; what remains is
# $L_q = -\log(1 + v \cdot \tilde t) - \log(1 + t \cdot \tilde v)$. Each term has its minimum, $-\log 2$, when the two
# vectors are equal.

# %%
predict(
    "queues_collapse",
    "After 480 steps of this: what is the mean cosine of images with captions of other images?",
    low=-1,
    high=1,
    step=0.05,
)

# %%
with waiting("two runs"):
    alone, negatives = train_small(0.9, K=0, steps=480, negatives=False), train_small(0.9, steps=480)
show(*draw.collapse_curves({"positives only": alone, "with negatives": negatives}))
compare("queues_collapse", round(alone[-1].unpaired, 2))

# %% [markdown]
# The loss without negatives is the lower one: its minimum is $-2 \log 2 = -1.386$, reached by a model that maps
# everything to the same vector. That is [collapse](GLOSSARY.md#collapse), and the reason why the loss alone is not a
# measure of quality. The two matrices trained here keep some order among nearly equal vectors; deep encoders lose even
# that. The library's training therefore monitors the cosine of images with captions of other images and the [effective
# rank](GLOSSARY.md#effective-rank); if they show a collapse, it stops and says what to change. The queue loss, too,
# counts only after warm-up: while the copies hardly move, their positives move all vectors towards one point.
#
# ## The experiment: a queue for a small batch
#
# The course's model with a batch of 32: without a queue (the baseline), with 1,024 keys per modality and the momentum
# that fits the length of the run, and with the same number of keys at m = 0. Data, steps and seeds are the same.

# %%
predict(
    "queues_helps",
    "Is rSum higher with the queue than with a batch of 32 alone?",
    options=["higher", "lower", "inconclusive"],
)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
from usercourse import expect_trained, show_table, variant
from usercourse.plots import intervals
from usercourse.verdicts import describe, outcome
from userlib.evaluation import bootstrap, embed, paired_bootstrap
from userlib.model.momentum import momentum_for
from userlib.training import fit

m = momentum_for(steps)
variants = {
    "batch alone": {"queue_size": None},
    f"queue, m = {m:.2f}": {"queue_size": K, "momentum": m},
    "queue, m = 0": {"queue_size": K, "momentum": 0.0},
}
print(f"{len(variants) * profile.seeds} runs of {steps} steps of {B} pairs")
ranks_of, queued = {name: [] for name in variants}, None
for name, changes in variants.items():
    for seed in range(profile.seeds):
        run = fit(variant(prepared, seed=seed, **changes))
        expect_trained(run)
        queued = run if queued is None and changes["queue_size"] else queued
        ranks_of[name].append(ranks(*embed(run.encoders, prepared.test), prepared.test.caption_to_image))

base, slow, fast = ranks_of
show_table({name: bootstrap(runs) for name, runs in ranks_of.items()})
apart = {
    f"{slow} - batch": paired_bootstrap(ranks_of[slow], ranks_of[base])["rsum"],
    f"{slow} - m = 0": paired_bootstrap(ranks_of[slow], ranks_of[fast])["rsum"],
}
show(*intervals(apart, x_label="difference in rSum on the test images", differences=True))
help_, slowness = apart.values()
print(describe("The queue", "the batch alone", help_))
print(describe(f"m = {m:.2f}", "m = 0", slowness))
compare("queues_helps", outcome(help_))

# %% [markdown]
# **Think**: how could more negatives make a short run worse?
#
# <details><summary>A likely answer, not tested here</summary>
#
# $L_q$ adds a second positive term for each pair, towards the keys, along with a second negative term. UTO's negative
# term has a gradient only for scores near $\gamma$ or above, and early in a run few negatives score that high; the
# second positive term acts at once, and moves all vectors closer together before the negative term separates them. At
# m = 0 its target is the query encoder itself. What this costs early has to be regained later, and a short run may end
# before that. A second reason can be seen in the next figure.
#
# </details>
#
# Now look once more at the trained model with its queue. The gradient of UTO's negative term is distributed over the
# keys by a [softmax](GLOSSARY.md#softmax), and most of it goes to the hardest ones. Which keys are the hardest?

# %%
rows = np.array([i * 5 for i, _ in queries_of])  # the first caption of each sampled image
firsts = TruthTable([world.captions(i)[0].facts for i, _ in queries_of], facts).true_matrix()
with torch.no_grad():
    batch = prepared.train.batch(rows)
    queries = queued.model.encode_text(batch.input_ids, batch.attention_mask)  # (600, E)
images_of = queued.model.queue.ids
own = images_of[None, :] == batch.image_ids[:, None]  # (600, K)
right = torch.from_numpy(firsts[:, images_of])
scores, objective = queries @ queued.model.queue.images.T, queued.config.objective
shares = draw.gradient_shares(scores, own, right, mu=objective.mu, gamma=objective.gamma)
keys = {"own": own, "other": right & ~own, "wrong": ~right & ~own}
show(*draw.gradient_bars(shares, {name: 100 * mask.float().mean().item() for name, mask in keys.items()}))

# %% [markdown]
# Compare the first bar with the second. Where the relevant keys have a larger share of the gradient than of the queue,
# the model scores them high for good reason, and yet is trained to score them lower; the better the model, the more so.
# That is what the mask is for, and also its limit: it knows only the query's own image.
#
# ## Verdict
#
# **Shown.** A key costs only its own memory. A queue is a pointer, a modulo and a mask, and keys are enqueued after the
# loss. Momentum trades consistency of the keys against lag, and m has to fit the length of the run. There are further
# relevant items among the keys, and without negatives the loss is lowest for a model that has collapsed.
#
# **Not shown.** Anything beyond the printed differences, which come from one batch size, one K, short runs and a small
# model. Whether m = 0.999 and K = 2,048 are right for Flickr30K is not answered here; the paper's ablations were not
# available to us. Queue size and momentum over several seeds are in notebook 11.
#
# ## What to try next
#
# - Train through `variant(prepared, queue_size=K, mask_same_image=False)`. Does rSum move?
# - Train through `variant(prepared, queue_size=K, loss_weight=20.0)`, the release's weight for Flickr30K. Which part of the
#   loss falls faster?
# - `prepare(course_config(enhancement="none", queue_size=None, batch_size=128, steps=steps // 4))` sees the same number
#   of pairs with four times the memory. How does it compare with the queue?
# - In `train_small`, call `queue.enqueue` before the loss, and switch off the mask. What happens to the loss, and why?
# - Set `steps=60` and `K=2048` in `train_small`: at which m is R@10 highest now?
#
# ## References
#
# - Y. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)
# - K. He and others, *Momentum contrast for unsupervised visual representation learning* (MoCo), CVPR 2020.
# - J. Li and others, *Align before fuse* (ALBEF), NeurIPS 2021: queues for images and texts, with several positives.

# %% [markdown]
# # 08 USER from scratch: the whole model in 150 lines
#
# You will be able to
#
# - assemble encoders, SGE, GPO, momentum encoders, two queues and UTO into one model, in plain PyTorch;
# - write a training step whose parts come in the right order, and find what leaks when one does not;
# - prove that two implementations are the same: equal losses, queues and weights after three steps.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [03](03_self_guided_enhancement.ipynb), [06](06_unified_objective.ipynb), [07](07_momentum_queues.ipynb) | half a minute in the fast profile, 2 minutes in the full | 65 minutes | 1.2 GB |

# %%
import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from usercourse import check, compare, course_config, predict, start
from usercourse.diagrams import diagram
from userlib.training import prepare

profile = start()
diagram("pipeline", here=("enhancement", "pooling", "text", "objective", "queues"))
diagram("losses")

# %% [markdown]
# ## The plan
#
# So far each part of USER has had its own notebook, and the library did the rest. Here you write the rest. Five pieces
# are left for you; everything around them is given below, in plain PyTorch, without a line of the library. Together
# they are at most 150 lines. At the end the library's model gets the same weights and the same three batches, and the
# two must agree.
#
# ```
# image    regions - SGE - projection - GPO -> v    L_b: v with t,
# text     words - BiGRU - linear ----- GPO -> t         both ways
# copies   the same, following slowly -> v~, t~     L_q: v with t~ and T,
# queues   V, T: the last K of v~ and of t~              t with v~ and V
# ```
#
# As long as one of your pieces is missing or not yet correct, the solution stands in for it, so that the notebook runs
# in any case. As soon as its check says *correct*, your own code is used.
#
# ## Piece 1: the enhancement
#
# ### Exercise 1. From weights to enhanced regions (difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# [SGE](GLOSSARY.md#enhancement) has computed one weight per region, $w$. What remains is
#
# $$ g = \mathrm{l2norm}\Big(\sum_r w_r V_r\Big), \qquad a = \mathrm{l2norm}\big(\mathrm{softmax}_r (g \cdot V_r)\big),
#    \qquad V'_r = V_r + s\, a_r\, g $$
#
# this time for a whole batch.


# %%
def move_regions(V, w, s):
    """V (B, R, D), w (B, R) summing to 1 per image, s a number -> V' (B, R, D)."""
    ...


check("move_regions", move_regions)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two sums: one over the regions gives g, (B, D), one over the dimensions gives the dot products, (B, R).
# `F.normalize(x, dim=-1)` gives unit norm.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `w.unsqueeze(-1)` is (B, R, 1), `g.unsqueeze(1)` is (B, 1, D). `torch.einsum("bd,brd->br", g, V)` gives the dot products.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: move_regions -->
# ```python
# def move_regions(V, w, s):
#     g = F.normalize((w.unsqueeze(-1) * V).sum(1), dim=-1)
#     a = F.normalize(torch.einsum("bd,brd->br", g, V).softmax(1), dim=-1)
#     return V + s * a.unsqueeze(-1) * g.unsqueeze(1)
# ```
#
# </details>
#
# ## Piece 2: the pooling
#
# [GPO](GLOSSARY.md#gpo) sorts each channel over the set, largest value first, and sums the sorted values with one
# weight per rank. A BiGRU gives each rank a score; a softmax over the ranks that the set has turns these scores into
# weights.
#
# ### Exercise 2. Sort, weigh, sum (difficulty 3 of 3, importance 2 of 3, about 15 minutes)
#
# Sets of different sizes are padded to the longest; the mask says which vectors are there, and it may have gaps. Padding
# must neither be sorted among the values nor take any weight.


# %%
def sorted_sum(vectors, scores, mask):
    """vectors (B, N, E), scores (B, N) of the ranks, mask (B, N) True where there is a vector -> (B, E)."""
    ...


check("sorted_sum", sorted_sum)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Fill what is missing with minus infinity, and sort. Then the values of a set of n stand in its first n ranks.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `ranks = torch.arange(N) < mask.sum(1, keepdim=True)` says which ranks a set has. Mask the scores with it before the
# softmax. Then replace each minus infinity that is left among the sorted values by 0, because 0 times infinity is NaN.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: sorted_sum -->
# ```python
# def sorted_sum(vectors, scores, mask):
#     ordered = vectors.masked_fill(~mask.unsqueeze(-1), -math.inf).sort(1, descending=True).values
#     ranks = torch.arange(vectors.shape[1]) < mask.sum(1, keepdim=True)
#     weights = scores.masked_fill(~ranks, -math.inf).softmax(1)
#     return (weights.unsqueeze(-1) * ordered.masked_fill(~ranks.unsqueeze(-1), 0.0)).sum(1)
# ```
#
# </details>
#
# ## Piece 3: the losses
#
# UTO is given below as two functions: its negative term $n$ and its positive term $p$. What remains is to apply them to
# the score matrix of the batch and to those of the queue.
#
# $$ L_b = \frac{1}{B} \sum_i \big[\, n(\{s_{ij}\}) + n(\{s_{ji}\}) + p(s_{ii}) \big], \qquad
#    L_q = \frac{1}{B} \sum_i \big[\, n(\{v_i \cdot T_k\}) + p(v_i \cdot \tilde t_i) + n(\{t_i \cdot V_k\}) + p(t_i \cdot \tilde v_i) \big] $$
#
# ### Exercise 3. Both losses (difficulty 3 of 3, importance 3 of 3, about 15 minutes)


# %%
def negative_term(s, ignore, mu=30.0, gamma=0.3):
    """s (B, N) scores, ignore (B, N) True where a score is not a negative -> (B,)."""
    x = (mu * (s - gamma)).masked_fill(ignore, -math.inf)
    return F.softplus(torch.logsumexp(x, 1)) / mu


def positive_term(s):
    """s (B,) -> (B,), the leaky form."""
    return -torch.where(s > 0, torch.log1p(s.relu()), s)


def both_losses(v, t, v_keys, t_keys, V, T, ids, held):
    """v, t, v_keys, t_keys (B, E); V, T (K, E) the queues; ids (B,), held (K,) images, -1: empty -> L_b, L_q."""
    ...


check("both_losses", both_losses)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three score matrices: `v @ t.T`, `v @ T.T`, `t @ V.T`; the first is used twice, as it is and transposed. Two masks: pairs
# of the same image in the batch, and keys that are empty or of the query's image.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `same = ids[:, None] == ids` includes the diagonal, and `ignore = (held == -1) | (held == ids[:, None])`. `L_b` has
# one positive term, `positive_term(S.diagonal())`, `L_q` has two, such as `positive_term((v * t_keys).sum(1))`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: both_losses -->
# ```python
# def both_losses(v, t, v_keys, t_keys, V, T, ids, held):
#     S, same = v @ t.T, ids[:, None] == ids
#     L_b = negative_term(S, same) + negative_term(S.T, same) + positive_term(S.diagonal())
#     ignore = (held == -1) | (held == ids[:, None])
#     of_images = negative_term(v @ T.T, ignore) + positive_term((v * t_keys).sum(1))
#     of_captions = negative_term(t @ V.T, ignore) + positive_term((t * v_keys).sum(1))
#     return L_b.mean(), (of_images + of_captions).mean()
# ```
#
# </details>
#
# ## Piece 4: this queue leaks
#
# The function below enqueues a batch into both queues and returns them, with the pointer to the next slot. It raises no
# error, its shapes are right, and a training run with it goes on for hours. Yet memory grows from step to step, and the
# loss is higher than it ought to be, because queries meet keys of their own images.


# %%
def leaky_enqueue(images, texts, held, pointer, v_keys, t_keys, ids):
    """images, texts (K, E), held (K,) their images, pointer; keys (B, E), ids (B,) -> the first four, renewed."""
    n, K = len(ids), len(held)
    slots = (pointer + torch.arange(n)) % K
    images = images.index_copy(0, slots, v_keys)
    texts = texts.index_copy(0, slots, t_keys)
    held = held.index_copy(0, torch.arange(n), ids)
    end = pointer + n
    return images, texts, held, end if end < K else 0


from usercourse.capstone import graph_size

queue = torch.zeros(5, 3), torch.zeros(5, 3), torch.full((5,), -1), 0
encoder = nn.Linear(4, 3)
for step in range(1, 5):
    ids = torch.tensor([10 * step, 10 * step + 1])
    keys = encoder(ids[:, None] * torch.ones(1, 4))  # each key can be told by its values
    queue = leaky_enqueue(*queue, keys, keys, ids)
    print(
        f"step {step}: operations kept {graph_size(queue[0]):2d}, held {queue[2].tolist()}, next slot {queue[3]}"
    )

# %% [markdown]
# ### Exercise 4. Find the three faults (bug hunt, difficulty 2 of 3, importance 3 of 3, about 15 minutes)
#
# The printed lines show all of them. Write the function again, without the faults. (B is at most K here.)


# %%
def enqueue(images, texts, held, pointer, v_keys, t_keys, ids):
    """As leaky_enqueue, without its faults."""
    ...


check("enqueue", enqueue)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First fault: keys that still have their graph keep in memory everything that they were computed from. Second: which
# slots do the ids of the images go to? Third: five slots and batches of two; where does the third batch end?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `detach()`; the same `slots` for keys and ids; a pointer modulo K.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: enqueue -->
# ```python
# def enqueue(images, texts, held, pointer, v_keys, t_keys, ids):
#     slots = (pointer + torch.arange(len(ids))) % len(held)
#     images = images.index_copy(0, slots, v_keys.detach())
#     texts = texts.index_copy(0, slots, t_keys.detach())
#     return images, texts, held.index_copy(0, slots, ids), (pointer + len(ids)) % len(held)
# ```
#
# </details>
#
# ## Piece 5: a training step
#
# The model below offers `encode(batch)`, `encode_keys(batch)`, `follow()` (one momentum step of the copies),
# `losses(v, t, v_keys, t_keys, ids)` and `enqueue(v_keys, t_keys, ids)`. The images of a batch are `batch[-1]`.
#
# ### Exercise 5. Everything in its order (difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# The copies follow before they compute the keys, the norm of the gradient is clipped to at most 2, and nothing is
# enqueued before the loss.


# %%
def train_step(model, optimizer, batch):
    """One step on a batch -> the two losses before it, as numbers."""
    ...


check("train_step", train_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Encode, follow, keys, losses; then the three lines of every training step in PyTorch, with the clipping before the last;
# then the queue.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `nn.utils.clip_grad_norm_(model.parameters(), 2.0)` between `backward()` and `optimizer.step()`; `L_b.item()` is a number.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: train_step -->
# ```python
# def train_step(model, optimizer, batch):
#     v, t = model.encode(batch)
#     model.follow()
#     v_keys, t_keys = model.encode_keys(batch)
#     L_b, L_q = model.losses(v, t, v_keys, t_keys, batch[-1])
#     optimizer.zero_grad()
#     (L_b + L_q).backward()
#     nn.utils.clip_grad_norm_(model.parameters(), 2.0)
#     optimizer.step()
#     model.enqueue(v_keys, t_keys, batch[-1])
#     return L_b.item(), L_q.item()
# ```
#
# </details>
#
# ## Assembly: pooling and enhancement
#
# From here on there is nothing to fill in. Read it as you would read any model for the first time: what goes in, what
# comes out, and in which shapes.

# %%
from usercourse.capstone import ready

move_regions, sorted_sum, both_losses, enqueue, train_step = ready(
    move_regions=move_regions,
    sorted_sum=sorted_sum,
    both_losses=both_losses,
    enqueue=enqueue,
    train_step=train_step,
)


# %%
def bigru(gru, x, lengths):
    """x (B, N, I), lengths (B,) -> (B, N, H), the mean of both directions; padding is never read."""
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=x.shape[1])
    forward, backward = states.chunk(2, dim=-1)
    return (forward + backward) / 2


class GPO(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.width = width
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, vectors, mask):  # (B, N, E), (B, N) -> (B, E)
        even = torch.arange(0, self.width, 2, dtype=vectors.dtype) / self.width
        angles = torch.arange(vectors.shape[1])[:, None] / 10_000**even  # (N, width / 2)
        codes = torch.stack([angles.sin(), angles.cos()], -1).flatten(1).expand(len(vectors), -1, -1)
        scores = self.score(bigru(self.gru, codes, mask.sum(1))).squeeze(-1) / 0.1  # (B, N)
        return sorted_sum(vectors, scores, mask)


# %%
class SGE(nn.Module):
    def __init__(self, D, dropout):
        super().__init__()
        self.local_linear, self.global_linear = nn.Linear(D, D), nn.Linear(D, D)
        self.local_norm, self.global_norm = nn.LayerNorm(D), nn.LayerNorm(D)
        self.weigh, self.dropout = nn.Linear(D, 1), nn.Dropout(dropout)
        self.log_scale = nn.ParameterList([torch.zeros(())])  # a list, so that it comes last

    def forward(self, V):  # (B, R, D) -> (B, R, D)
        L = self.dropout(torch.tanh(self.local_norm(self.local_linear(V))))
        G = self.dropout(torch.tanh(self.global_norm(self.global_linear(V.mean(1)))))
        w = self.weigh(L * G.unsqueeze(1)).squeeze(-1).softmax(1)  # (B, R)
        return move_regions(V, w, self.log_scale[0].exp())


# %% [markdown]
# ## Assembly: two encoders
#
# The image side: regions, SGE, a linear map plus a small network, GPO, unit norm. The text side: word vectors, a BiGRU,
# a linear map, GPO, unit norm. No image lacks a region, so the image's mask is full.


# %%
class ImageEncoder(nn.Module):
    def __init__(self, D, E, dropout):
        super().__init__()
        self.sge = SGE(D, dropout)
        self.linear, self.hidden, self.out = nn.Linear(D, E), nn.Linear(D, E // 2), nn.Linear(E // 2, E)
        self.norm = nn.LayerNorm(E // 2)
        self.pool = GPO()

    def forward(self, tokens):  # (B, R, D) -> (B, E)
        V = self.sge(tokens)
        P = self.linear(V) + self.out(self.norm(self.hidden(V)).relu())
        return F.normalize(self.pool(P, torch.ones(P.shape[:2], dtype=torch.bool)), dim=1)


class TextEncoder(nn.Module):
    def __init__(self, vocabulary, word, hidden, E):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, word, padding_idx=0)
        self.gru = nn.GRU(word, hidden, batch_first=True, bidirectional=True)
        self.linear, self.pool = nn.Linear(hidden, E), GPO()

    def forward(self, words, mask):  # (B, W), (B, W) -> (B, E)
        states = bigru(self.gru, self.embedding(words), mask.sum(1))
        return F.normalize(self.pool(self.linear(states), mask), dim=1)


# %% [markdown]
# ## Assembly: the model
#
# Two encoders, their copies, two queues, and the five methods that the training step calls. The copies are never
# trained (`requires_grad_(False)`) and always in evaluation mode, so that an image always gives the same key; `train()`
# must not change that.


# %% tags=["whole"]
class User(nn.Module):
    def __init__(self, *, D, vocabulary, word=128, hidden=256, E=256, K=512, m=0.99, dropout=0.4):
        super().__init__()
        self.image, self.text = ImageEncoder(D, E, dropout), TextEncoder(vocabulary, word, hidden, E)
        self.image_keys, self.text_keys = (
            copy.deepcopy(one).requires_grad_(False) for one in (self.image, self.text)
        )
        self.register_buffer("V", torch.zeros(K, E))
        self.register_buffer("T", torch.zeros(K, E))
        self.register_buffer("held", torch.full((K,), -1))
        self.m, self.pointer = m, 0

    def train(self, mode=True):
        super().train(mode)
        self.image_keys.eval(), self.text_keys.eval()
        return self

    def encode(self, batch):
        tokens, words, mask, _ = batch
        return self.image(tokens), self.text(words, mask)

    @torch.no_grad()
    def encode_keys(self, batch):
        return self.image_keys(batch[0]), self.text_keys(*batch[1:3])

    @torch.no_grad()
    def follow(self):
        for copied, trained in ((self.image_keys, self.image), (self.text_keys, self.text)):
            for key, query in zip(copied.parameters(), trained.parameters(), strict=True):
                key.lerp_(query, 1 - self.m)  # m key + (1 - m) query

    def losses(self, v, t, v_keys, t_keys, ids):
        return both_losses(v, t, v_keys, t_keys, self.V, self.T, ids, self.held)

    def enqueue(self, v_keys, t_keys, ids):
        queue = enqueue(self.V, self.T, self.held, self.pointer, v_keys, t_keys, ids)
        self.V, self.T, self.held, self.pointer = queue


def make_optimizer(model, lr):
    """AdamW; the residual scale learns ten times as fast, without weight decay."""
    scale = [model.image.sge.log_scale[0]]
    rest = [p for p in model.parameters() if p.requires_grad and p is not scale[0]]
    return torch.optim.AdamW(
        [{"params": rest}, {"params": scale, "lr": 10 * lr, "weight_decay": 0}], lr, weight_decay=1e-4
    )


# %% [markdown]
# That is USER. Which of its parts have the most parameters?

# %%
predict("capstone_share", "What share of the trained parameters do the two GPOs have?", unit="%")

# %%
config = course_config(
    region_scaling="raw", queue_size=50, momentum=0.9, guide_dropout=0.0, batch_size=32, steps=1
)
prepared = prepare(config)
features = torch.from_numpy(np.asarray(prepared.train.features.tokens[:256], np.float32))
center, spread = features.mean((0, 1)), features.std((0, 1)).clamp(min=1e-3)  # each channel, standardised
D, vocabulary = len(center), prepared.tokenizer.vocab_size

torch.manual_seed(0)
model = User(D=D, vocabulary=vocabulary, K=50, m=0.9, dropout=0.0).double()
sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in
         {"SGE": model.image.sge, "image encoder": model.image, "text encoder": model.text,
          "both GPOs": nn.ModuleList([model.image.pool, model.text.pool])}.items()}  # fmt: skip
whole = sizes["image encoder"] + sizes["text encoder"]
print(", ".join(f"{name} {size:,}" for name, size in sizes.items()) + f"; {whole:,} are trained.")
compare("capstone_share", round(100 * sizes["both GPOs"] / whole, 1))

# %% [markdown]
# ## The proof: three steps of two implementations
#
# The library's `USER` gets the same settings and, parameter by parameter, the same weights. Both then take three steps
# on the same batches of 32 captions, with momentum 0.9 so that the copies move, and a queue of 50, which the second
# batch already overfills. Dropout is off, because the two would draw different random numbers. All of it runs in double
# precision: some gradients are 0 except for rounding (which ones? a bias that is added to all scores does not change
# their softmax), and AdamW, which divides a gradient by its own magnitude, would turn that rounding into whole steps.

# %%
from dataclasses import replace

from userlib.model.user import USER
from userlib.training.schedule import make_optimizer as library_optimizer

library = USER(prepared.config.model, prepared.config.objective).double()
with torch.no_grad():
    for mine, theirs in zip(model.parameters(), library.parameters(), strict=True):
        assert mine.shape == theirs.shape
        theirs.copy_(mine)
    model.image.sge.log_scale[0].fill_(2.0), library.image_encoder.enhancement.self_scale.log_scale.fill_(2.0)
library.image_encoder.enhancement.self_scale.init_log_scale.fill_(2.0)  # where its range has its middle
rows = np.random.default_rng(0).permutation(len(prepared.train))
batches = [prepared.train.batch(rows[32 * i : 32 * (i + 1)]) for i in range(3)]
batches = [replace(batch, tokens=(batch.tokens.double() - center) / spread) for batch in batches]


# %%
def gap(ours, theirs):
    """The largest difference of two lists of tensors."""
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


optimizer = make_optimizer(model.train(), lr=1e-3)
theirs = library_optimizer(library.train(), replace(prepared.config.training, lr=1e-3))
for group in theirs.param_groups:
    group["lr"] = 1e-3 * group["factor"]  # ten times for the residual scale
print("step   L_b here, there     L_q here, there     largest difference of queues, weights")
for step, batch in enumerate(batches, 1):
    inputs = batch.tokens, batch.input_ids, batch.attention_mask, batch.image_ids
    L_b, L_q = train_step(model, optimizer, inputs)
    output = library(batch)
    output.loss.backward()
    nn.utils.clip_grad_norm_(library.parameters(), 2.0)
    theirs.step(), theirs.zero_grad()
    queues = gap(
        (model.V, model.T, model.held), (library.queue.images, library.queue.texts, library.queue.ids)
    )
    weights = gap(model.parameters(), library.parameters())
    L_b2, L_q2 = output.batch_loss.item(), output.queue_loss.item()
    print(f"{step}    {L_b:8.5f} {L_b2:8.5f}   {L_q:8.5f} {L_q2:8.5f}   {queues:.0e}, {weights:.0e}")
    assert max(abs(L_b - L_b2), abs(L_q - L_q2), queues, weights) < 1e-5
print("Equal to 1e-5.")

# %% [markdown]
# A single difference anywhere (a mask, an order, one bias too many) would show in the third row: the weights after step
# 1 determine the keys of step 2, and the keys of step 2 are negatives in step 3. That is why three steps prove more
# than one, and why a reimplementation should be tested against the original like this, not by its final score, which
# hides many faults.
#
# ## Does it learn?
#
# The same 150 lines, with dropout, a longer queue and more steps, on the drawn world.

# %%
predict("capstone_r10", "t2i R@10 on the val images after the steps printed below?", unit="%")

# %%
from userlib.evaluation import ranks, recalls
from userlib.model.momentum import momentum_for
from userlib.progress import Progress

steps, B = min(profile.steps, 200), 32
torch.manual_seed(0)
model = User(D=D, vocabulary=vocabulary, K=512, m=momentum_for(steps))
with torch.no_grad():
    model.image.sge.log_scale[0].fill_(math.log(0.1 * features.shape[1] ** 0.5 * D**0.5))
optimizer, rng = make_optimizer(model.train(), lr=1e-3), np.random.default_rng(0)
with Progress(steps, f"training {steps} steps of {B} pairs") as bar:
    for _ in range(steps):
        batch = prepared.train.batch(rng.integers(len(prepared.train), size=B))
        tokens = (batch.tokens - center) / spread
        L_b, L_q = train_step(
            model, optimizer, (tokens, batch.input_ids, batch.attention_mask, batch.image_ids)
        )
        bar.step()

# %%
model.eval()
with torch.no_grad():
    images = torch.cat(
        [model.image((tokens - center) / spread) for tokens, *_ in prepared.val.image_batches(100)]
    )
    captions = torch.zeros(len(prepared.val), images.shape[1])
    for places, words, mask in prepared.val.caption_batches(250):
        captions[places] = model.text(words, mask)
found = recalls(ranks(images, captions, prepared.val.caption_to_image))
print(f"After {steps} steps: L_b {L_b:.2f}, L_q {L_q:.2f}; "
      f"t2i R@10 {found.t2i_r10:.1f} %, by chance {1000 / len(images):.1f} %.")  # fmt: skip
compare("capstone_r10", round(found.t2i_r10, 1))

# %% [markdown]
# ## Verdict
#
# **Shown.** USER is small: two encoders, one enhancement of three lines, a sort with learned weights, two copies, a
# ring of keys and one objective used on three score matrices. Written again from the equations, it equals the library
# in losses, queues and weights over three steps.
#
# **Not shown.** That the equations are those of the paper: both implementations follow the authors' release where it
# and the paper could be compared, and share a misreading if there is one. That 150 lines are enough for a training
# *run*: they have no checkpoint, no resuming, no schedule, no second device and no monitoring. These are the other part
# of the library, and the subject of [notebook 09](09_train_user.ipynb).
#
# ## What to try next
#
# - Break one thing on purpose (mask, order, one norm) and watch at which step and in which column the table above shows it.
# - Replace SGE's guide by CLIP's vector: two lines of `ImageEncoder` and a `Sequential`. Then you have CGE.
# - Take the copies out, and compute the keys with the query encoders under `no_grad`. How far does R@10 fall?
# - A project: [INSTRUCTOR.md](INSTRUCTOR.md) has one for this notebook, with the points by which it is judged.
#
# ## References
#
# - Y. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)
# - J. Chen and others, *Learning the best pooling strategy for visual semantic embedding*, CVPR 2021: GPO.
# - K. He and others, *Momentum contrast for unsupervised visual representation learning* (MoCo), CVPR 2020.

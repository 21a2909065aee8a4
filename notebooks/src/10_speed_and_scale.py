# %% [markdown]
# # 10 Speed and scale: what a pair costs, and what a thousand cost
#
# You will be able to
#
# - count what a search costs before running it, and check the count against a clock;
# - write cross-attention without its slow loop, and say why embeddings are faster still;
# - say when approximate search pays, and what 10 or 100 GPUs change in a training step.
#
# | needs | time on two CPU cores |
# |---|---|
# | [01_recall](01_recall.ipynb), [05_momentum_queues](05_momentum_queues.ipynb) | 1 minute in the fast profile, 2 in the full |

# %%
import statistics

import torch
import torch.nn.functional as F

from usercourse import Demo, check, choice, compare, predict, show, slider, snapshot, start
from usercourse import speed as draw
from userlab.bench.crossattention import sets_of_vectors
from userlab.bench.timing import clock_of, interleaved
from userlib.model.scorers import scan_t2i
from userlib.search import top_k

profile = start()
quick = profile.name == "fast"

# %% [markdown]
# ## The claim
#
# The paper says that USER searches over 60 times faster than NAAF, which is a
# [cross-attention](GLOSSARY.md#cross-attention) method. A cross-attention model compares every word of a caption with every
# [region](GLOSSARY.md#region) of a picture, for every pair. USER makes one [embedding](GLOSSARY.md#embedding) of each, so a
# pair is one dot product. Is 60 much? Against what?
#
# ## A hand example
#
# Let a picture have $R = 36$ regions, a caption $W = 13$ words, all of $d = 1024$ numbers. All dot products of words and
# regions take $2RWd$ multiplications and additions. Then each word sums the regions by its weights, a *context*: another
# $2RWd$. The embedding takes $2d$.
#
# $$ \frac{4RWd}{2d} \;=\; 2RW \;=\; 2 \cdot 36 \cdot 13 \;=\; 936 $$
#
# The width $d$ is gone. By this count the gap is near a thousand, not sixty.

# %%
predict(
    "speed_ratio",
    "Searching 1,000 pictures for 5,000 captions: how many times faster are embeddings than well-written cross-attention?",
    low=1,
    high=3000,
    unit="times",
)

# %% [markdown]
# ## From the formula to code, twice
#
# Word $w$ looks at regions $v_r$ with weights $p_r$ and sees the context $c = \sum_r p_r v_r$; the pair's score is made of
# $\cos(w, c)$ (Lee et al., SCAN). The field's code goes through the captions one by one and builds every context, a vector
# of $d$ numbers for each word and picture.


# %%
def t2i_slow(regions, words, inverse_temperature=9.0, temperature=6.0):
    """regions (N, R, d) and the words (W, d) of one caption, unit rows -> scores (N,)."""
    s = F.leaky_relu(regions @ words.T, 0.1)  # (N, R, W)
    s = s / (s.norm(dim=2, keepdim=True) + 1e-8)  # each region over the words
    p = torch.softmax(inverse_temperature * s, dim=1)  # each word over the regions
    c = p.transpose(1, 2) @ regions  # (N, W, d): every context
    relevance = F.cosine_similarity(words.expand(len(regions), -1, -1), c, dim=2)  # (N, W)
    return torch.logsumexp(temperature * relevance, dim=1) / temperature


N, M = (40, 60) if quick else (100, 200)
regions, words, mask, lengths = sets_of_vectors(N, M, 256)
slow = torch.stack([t2i_slow(regions, words[j, : lengths[j]]) for j in range(M)], 1)
assert slow.shape == (N, M)
print(f"{N} x {M} scores, from {float(slow.min()):.3f} to {float(slow.max()):.3f}")

# %% [markdown]
# The context is only needed for its cosine with $w$, and that needs two numbers:
#
# $$ w \cdot c = \sum_r p_r \,(w \cdot v_r), \qquad |c|^2 = \sum_r \sum_q p_r\, p_q \,(v_r \cdot v_q) = p^\top G\, p $$
#
# The dot products $w \cdot v_r$ are there already. $G = V V^\top$ is the picture's own table of $R \times R$ dot products,
# the *Gram matrix*: made once a picture, whatever the number of captions. So no context is ever built, the price of
# $p^\top G p$ is $R^2$ a word in place of $Rd$, and all captions go through one large product.

# %%
w, V = words[0, 0], regions[0]
p = torch.softmax(9.0 * (V @ w), 0)  # (R,)
G = V @ V.T  # (R, R)
built = F.cosine_similarity(w, p @ V, dim=0)
unbuilt = (p @ (V @ w)) / (p @ G @ p).sqrt()
print(f"with the context {built:.6f}, without it {unbuilt:.6f}")

fast = scan_t2i(regions, words, mask)
assert fast.shape == (N, M)
print(f"library and loop differ by at most {float((fast - slow).abs().max()):.1e}")

# %% [markdown]
# ## Against the clock
#
# A clock on a busy computer lies, so the three sides run in turn, after a warm-up, and the middle of several runs counts.
# Beside the clock on the wall runs a second one, the time that the processor spent here. With one thread we use that one,
# as other programs do not enter it; with more the wall's, because a thread that waits for another spins and is counted.
# Cross-attention walks through captions, so a few of them are timed and multiplied.

# %%
pictures, captions, d = (200, 1000, 256) if quick else (1000, 5000, 1024)
timed = 20 if quick else 50
regions, words, mask, lengths = sets_of_vectors(pictures, timed, d)
few = max(1, timed // 10)
images = F.normalize(torch.randn(pictures, d, generator=torch.Generator().manual_seed(0)), dim=1).numpy()
texts = F.normalize(torch.randn(captions, d, generator=torch.Generator().manual_seed(1)), dim=1).numpy()

readings = interleaved(
    {
        "loop": lambda: [t2i_slow(regions, words[j, : lengths[j]]) for j in range(few)],
        "vectorised": lambda: scan_t2i(regions, words, mask),
        "embeddings": lambda: top_k(texts, images, 10),
    },
    runs=3 if quick else 5,
)
clock = clock_of("cpu")
unit = "processor seconds" if clock == "cpu" else "seconds"
seconds = {name: statistics.median(times.of(clock)) for name, times in readings.items()}
seconds["loop"] *= captions / few
seconds["vectorised"] *= captions / timed
show(*draw.bars(seconds, x_label=f"{unit} for {pictures:,} x {captions:,}"))
compare("speed_ratio", seconds["vectorised"] / seconds["embeddings"], unit="times")

# %% [markdown]
# Two gaps, not one. Between the loop and the vectorised form lies *programming*; between that and the embeddings lies the
# *method*. A paper that times its own method against another's loop shows the product of both.
#
# <details><summary>Think: the count said 936. Why is the measured gap another?</summary>
#
# The Gram matrix takes away most of the second product, which would halve it. Softmax, exponentials and normalisation of
# every word with every region are not in the count, and they are slow beside a matrix product. And a search by embeddings
# also has to find the ten best of each row, which is not in its $2d$.
#
# </details>
#
# Cross-attention need not look at everything. Let embeddings find 100 candidates, and cross-attention order these: on
# 1,000,000 pictures that is a ten-thousandth of the pairs. `Index.search(..., rerank=...)` does it.
#
# ### Exercise 1. The price of a pair (difficulty 1 of 3, about 5 minutes)
#
# How many times more multiplications and additions does cross-attention take for a pair than the dot product of two
# embeddings, contexts built as in the loop? $R$ regions, $W$ words, $d$ numbers.


# %%
def pair_cost(R, W, d):
    """Operations of cross-attention over those of a dot product."""
    ...


check("pair_cost", pair_cost)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two products of the same size: similarities, then contexts.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Each of the two takes $2RWd$; the dot product takes $2d$.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: pair_cost -->
# ```python
# def pair_cost(R, W, d):
#     return 4 * R * W * d / (2 * d)
# ```
#
# </details>
#
# ### Exercise 2. A length without a vector (difficulty 2 of 3, about 10 minutes)
#
# One word and one picture: similarities $s_r = w \cdot v_r$, weights $p$, Gram matrix $G$. The cosine of the word, which has
# length 1, with its context, without building the context.


# %%
def context_cosine(s, p, G):
    """s (R,), p (R,), G (R, R) -> the cosine, a scalar."""
    ...


check("context_cosine", context_cosine)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $w \cdot c$ over $|c|$. Both are sums that hold $p$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Above the line the weighted sum of `s`; below it the root of `p`, `G` and `p` multiplied.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: context_cosine -->
# ```python
# def context_cosine(s, p, G):
#     return (p @ s) / (p @ G @ p).sqrt()
# ```
#
# </details>
#
# ## How fast could it be?
#
# "Fast" needs a limit. This machine copies so many bytes and does so many multiplications a second; no program beats that.

# %%
from userlab.bench.roofline import measure

machine = measure(runs=3 if quick else 10)
least = machine.seconds(flops=2.0 * pictures * captions * d)
half = f"{machine.flops_bf16 / 1e9:.0f} in bfloat16" if machine.flops_bf16 else "no bfloat16 here"
print(
    f"copies {machine.bytes_per_s / 1e9:.1f} GB/s, products {machine.flops_fp32 / 1e9:.0f} GFLOP/s in float32, {half}"
)
print(
    f"all dot products of the search need {1e3 * least:.1f} ms; it took {1e3 * seconds['embeddings']:.1f} ms"
)

# %% [markdown]
# The same question for a training step: it cannot take less than its matrix products. `gemms_of` notes them while a step
# runs, and `alone` does the same products again with nothing between them.

# %%
from dataclasses import replace

from userlab.bench.gemms import alone, flops, gemms_of
from userlab.bench.train import Step, filled_model, random_batch
from userlib.config import preset

base = preset("scenes")
model_config = replace(base.model, regions=64, region_dim=192, vocab_size=433, momentum=0.99)
batch = random_batch(model_config, 32 if quick else base.training.batch_size)


def step_with(queue_size):
    """A training step of the course's model with a full queue of that many keys; None: no queue."""
    return Step(filled_model(replace(model_config, queue_size=queue_size), base.objective), batch)


step = step_with(2048)
noted = gemms_of(step)
times = interleaved({"a step": step, "its matrix products": alone(noted)}, runs=3 if quick else 10)
middle = {name: statistics.median(one.of(clock)) for name, one in times.items()}
print(f"{flops(noted) / 1e9:.1f} billion operations in {sum(noted.seen.values())} products")
show(*draw.bars(middle, x_label=unit))

# %% [markdown]
# What lies between the two bars is the price of all that is no product: sorting in [pooling](GLOSSARY.md#pooling), norms,
# [softmax](GLOSSARY.md#softmax), dropout, the optimizer, copies. A profile says which of them; look at it before you
# make anything faster. (Sorted is the sort, which numpy does, and Direction what the BiGRU does between its products.)

# %%
from userlab.bench.op_profile import op_profile

show(*draw.shares(op_profile(step)))

# %% [markdown]
# No single one stands out, and so nothing is left that would bring much at once. At the course's small shapes all of
# them together weigh more than at the paper's, where the products are a hundred times larger; [speed](../docs/speed.md) has both.
#
# ## What a queue costs
#
# Keys of the [queue](GLOSSARY.md#queue) are not encoded again. A step pays one product with them, $4BKE$ operations both
# ways round, and copies them. But somebody has to make keys: the [momentum encoders](GLOSSARY.md#momentum-encoder) look at
# every batch a second time, and that is the larger bill.

# %%
predict(
    "speed_queue",
    "By how many percent does a queue of 4,096 keys lengthen a step that has the momentum encoders, but no keys?",
    low=0,
    high=200,
    unit="%",
)

# %%
sizes = {"no queue": None, "momentum encoders, no keys": 0, "4,096 keys": 4096, "16,384 keys": 16_384}
steps = {name: step_with(size) for name, size in sizes.items()}
times = interleaved(steps, runs=3 if quick else 10)
middle = {name: statistics.median(one.of(clock)) for name, one in times.items()}
show(*draw.bars(middle, x_label=f"{unit} a step"))
compare("speed_queue", 100 * (middle["4,096 keys"] / middle["momentum encoders, no keys"] - 1), unit="%")

# %% [markdown]
# ## A gallery too large to look at
#
# Exact search looks at every item. A graph (HNSW, Malkov and Yashunin) links each item with its neighbours and walks along
# the links; it looks at a few hundred of a million, and misses some. How many, only exact search can tell, so the two are
# always measured together. Our gallery: sentences of the wide drawn world, as vectors of clip-mini's text side.
#
# Many sentences mean nearly the same and score nearly equal. So a hit counts by its *score*: it is right when it scores at
# least as high as the exact tenth.

# %%
from usercourse.running import waiting
from userlab.bench.captions import caption_vectors
from userlab.bench.search import gigabytes
from userlib.errors import UserError
from userlib.search.ann import hnsw

size, queries = (1500, 100) if quick else (20_000, 500)
with waiting("sentences written and encoded"):
    vectors = caption_vectors(size, queries, progress=False)
try:
    with waiting("the graph built, and compared with exact search"):
        index, report = hnsw(vectors.gallery, vectors.queries, 10)
    print(report)
except UserError as error:  # the package faiss is an extra
    index, report = None, None
    print(error)

# %%
if index is not None:
    exact = top_k(vectors.queries, vectors.gallery, 10)[0]
    widths, recalls, ms = [10, 20, 40, 80, 160], [], []
    for width in widths:
        index.graph.hnsw.efSearch = width
        one = interleaved({"walk": lambda: index.search(vectors.queries, 10)}, runs=3)["walk"]
        recalls.append(100 * float((index.search(vectors.queries, 10)[0] >= exact[:, -1:] - 1e-6).mean()))
        ms.append(1e3 * statistics.median(one.of(clock)) / queries)
    one = interleaved({"exact": lambda: top_k(vectors.queries, vectors.gallery, 10)}, runs=3)["exact"]
    show(*draw.trade(widths, recalls, ms, exact_ms=1e3 * statistics.median(one.of(clock)) / queries))
print(
    f"memory with E = 1024: a million pictures {gigabytes(1e6):.1f} GB, a thousand million {gigabytes(1e9):,.0f} GB"
)

# %% [markdown]
# <details><summary>Think: at which gallery does the graph begin to pay?</summary>
#
# Exact search grows in line with the gallery, the walk hardly at all. Building costs as much as many thousand searches, and
# a changed gallery wants building again. Below some hundred thousand items, exact search is fast enough to leave the
# question alone. A thousand million pictures do not fit one machine in float32: there vectors are shortened to codes, which
# is another loss to be measured.
#
# </details>
#
# ### Exercise 3. Recall by score (difficulty 2 of 3, about 10 minutes)
#
# `scores` and `exact` hold the scores of the ten hits of each query, best first. Which share of the found hits score at least
# as high as the exact last one, less $10^{-6}$ for rounding?


# %%
def score_recall(scores, exact):
    """scores (Q, k), exact (Q, k) -> a share between 0 and 1."""
    ...


check("score_recall", score_recall)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The bar is one number a query.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Keep the last column of `exact` as a column, compare all of `scores` with it, and take the mean.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: score_recall -->
# ```python
# def score_recall(scores, exact):
#     return float((scores >= exact[:, -1:] - 1e-6).float().mean())
# ```
#
# </details>
#
# ## One GPU to many
#
# ```
# torchrun --nproc_per_node 4 -m userlib train --preset clip-patches --out runs/f30k
# accelerate launch --num_processes 4 -m userlib train --preset clip-patches --out runs/f30k
# ```
#
# Each of $n$ GPUs encodes its share $b$ of the batch. Then all of them exchange embeddings, so that every query meets all
# $nb - 1$ other pairs, and the keys, so that every queue is the same. What a GPU receives in a step:
#
# - embeddings and keys: $(n-1)\,b \cdot (4E \cdot 4 + 8)$ bytes, which grows with $n$;
# - gradients, averaged in a ring: $2\,\frac{n-1}{n} \cdot 4$ bytes a parameter, which does not.
#
# A queue of $K$ keys is $K / nb$ steps old at its far end.

# %%
for gpus in (1, 10, 100):
    one = draw.many(gpus=gpus, share=128, embed_dim=1024, keys=2048, pairs=145_000, parameters=122_000_000)
    print(f"{gpus:4d} GPUs: batch {one.joint:6,}, negatives {one.negatives:6,}, oldest key {one.key_age:5.2f} steps, "
          f"{one.steps:5,} steps an epoch,\n          received a step: {one.embedding_bytes / 1e6:6.1f} MB of "
          f"embeddings, {one.gradient_bytes / 1e6:4.0f} MB of gradients")  # fmt: skip

# %%
Demo(draw.traffic, gpus=slider("GPUs", 1, 128, value=10, step=1), K=choice("K", [2048, 4096, 16_384, 65_536]))

# %%
snapshot(draw.traffic, gpus=10, K=2048)

# %% [markdown]
# <details><summary>Think: is a queue of 2,048 keys of any use on 100 GPUs?</summary>
#
# Hardly. The batch alone holds 12,799 fresh negatives a query, and 2,048 keys are less than one batch: all of them come from
# the step before. The queue is the answer of those who have one GPU. And an epoch of Flickr30K has 11 steps then, too few
# for the learning rate that suited 1,132.
#
# </details>
#
# ## Verdict
#
# **Shown.** On this machine, search by embeddings beats well-written cross-attention by the ratio in the first figure, and
# the loop by far more; most of what a comparison with a loop shows is programming. Cost can be counted beforehand to within
# a factor of a few. The momentum encoders cost more than the keys that they make.
#
# **Not shown.** That the ratio of 60 in the paper's abstract holds: NAAF is not built here, and its timing table was not at
# hand. Nothing about GPUs was measured in this notebook; the last part is arithmetic.
#
# ## What to try next
#
# - `python -m userlab bench` measures every part of the library like this, at the paper's shapes.
# - Give the timing `d = 64`. Which of the two gaps changes, and why?
# - Re-rank: build an `Index` (notebook 09) and pass `rerank=cross_attention(...)`. How many candidates are worth it?
#
# ## References
#
# - K.-H. Lee et al., Stacked Cross Attention for Image-Text Matching, ECCV 2018.
# - Y. Malkov and D. Yashunin, Efficient and Robust Approximate Nearest Neighbor Search Using HNSW Graphs, IEEE TPAMI 2020.
# - Y. Zhang et al., USER, IEEE TIP 33, 595-609, 2024.

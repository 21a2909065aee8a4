# %% [markdown]
# # 14 Speed and scale: what a pair costs, and what a million cost
#
# You will be able to
#
# - estimate what a search costs before running it, and check the estimate against the clock;
# - write cross-attention without its slow loop, and say why embeddings are faster still;
# - say when approximate search is worthwhile, and what 10 or 100 GPUs change in a training step.
#
# | needs | time on two CPU cores | exercises, an estimate |
# |---|---|---|
# | [01_recall](01_recall.ipynb), [07_momentum_queues](07_momentum_queues.ipynb) | 1 minute in the fast profile, 2 in the full | 50 minutes |

# %%
import statistics

import torch
import torch.nn.functional as F

from usercourse import Demo, check, choice, compare, predict, show, slider, snapshot, start
from usercourse import speed as draw
from usercourse.diagrams import diagram
from userlab.bench.crossattention import sets_of_vectors
from userlab.bench.timing import clock_of, interleaved
from userlib.model.scorers import scan_t2i
from userlib.search import top_k

profile = start()
quick = profile.name == "fast"
diagram("pipeline", here=("search",))

# %% [markdown]
# ## The claim
#
# The paper says that USER searches over 60 times faster than NAAF, which is a
# [cross-attention](GLOSSARY.md#cross-attention) method. A cross-attention model compares every word of a caption with every
# [region](GLOSSARY.md#region) of an image, for every pair. USER computes one [embedding](GLOSSARY.md#embedding) of
# each, so a pair costs one dot product. Is a factor of 60 large? Compared with what?
#
# ## A hand example
#
# Let an image have $R = 36$ regions and a caption $W = 13$ words, all of $d = 1024$ dimensions. All dot products of
# words and regions take $2RWd$ multiplications and additions. Then each word sums the regions with its weights, which
# gives a *context*: another $2RWd$. The dot product of two embeddings takes $2d$.
#
# $$ \frac{4RWd}{2d} \;=\; 2RW \;=\; 2 \cdot 36 \cdot 13 \;=\; 936 $$
#
# The dimension $d$ cancels. By this count the factor is nearly a thousand, not sixty.

# %%
predict(
    "speed_ratio",
    "Searching 1,000 images for 5,000 captions: how many times faster are embeddings than well-written cross-attention?",
    low=1,
    high=3000,
    unit="times",
)

# %% [markdown]
# ## From the formula to code, twice
#
# Word $w$ attends to regions $v_r$ with weights $p_r$, which gives the context $c = \sum_r p_r v_r$; the pair's score is
# computed from $\cos(w, c)$ (Lee et al., SCAN). The reference implementation goes through the captions one by one and builds
# every context, a vector of $d$ dimensions for each word and image.


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
# The context is only needed for its cosine with $w$, and that needs two scalars:
#
# $$ w \cdot c = \sum_r p_r \,(w \cdot v_r), \qquad |c|^2 = \sum_r \sum_q p_r\, p_q \,(v_r \cdot v_q) = p^\top G\, p $$
#
# The dot products $w \cdot v_r$ are already there. $G = V V^\top$ is the image's own matrix of $R \times R$ dot products, the
# *Gram matrix*: computed once per image, whatever the number of captions. So no context is ever built, the cost of
# $p^\top G p$ is $R^2$ per word instead of $Rd$, and all captions go through one large product.

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
# Timings on a busy computer are unreliable, so the three methods run in turn, after a warm-up, and the median of several runs
# counts. Besides the wall clock we read the processor time of this process. With one thread we use the processor time, which
# other programs do not affect; with more threads the wall clock, because a thread that waits for another keeps the processor
# busy. Cross-attention goes through the captions one by one, so a few of them are timed and the time is scaled up.

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
# There are two gaps, not one. The gap between the loop and the vectorised form is due to the *implementation*; that
# between the vectorised form and the embeddings is due to the *method*. A paper that times its own method against
# another method written as a loop reports the product of both gaps.
#
# <details><summary>Think: the estimate was 936. Why is the measured factor different?</summary>
#
# The Gram matrix removes most of the second product, which would halve the factor. Exponentials, softmax and
# normalisation for every word with every region are not in the estimate, and they are slow compared with a matrix
# product. And a search by embeddings also has to find the ten best of each row, which is not part of its $2d$.
#
# </details>
#
# Cross-attention need not score everything. Let embeddings retrieve 100 candidates, and let cross-attention re-rank these:
# with 1,000,000 images that is a ten-thousandth of the pairs. `Index.search(..., rerank=...)` does it.
#
# ### Exercise 1. The price of a pair (difficulty 1 of 3, about 5 minutes)
#
# How many times as many multiplications and additions does cross-attention take per pair as the dot product of two
# embeddings, with contexts built as in the loop? $R$ regions, $W$ words, $d$ dimensions.


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
# ### Exercise 2. A norm without a vector (difficulty 2 of 3, about 10 minutes)
#
# One word and one image: similarities $s_r = w \cdot v_r$, weights $p$, Gram matrix $G$. Compute the cosine of the word, which
# has unit norm, with its context, without building the context.


# %%
def context_cosine(s, p, G):
    """s (R,), p (R,), G (R, R) -> the cosine, a scalar."""
    ...


check("context_cosine", context_cosine)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $w \cdot c$ divided by $|c|$. Both are sums with the weights $p$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The numerator is the weighted sum of `s`; the denominator is the square root of the product of `p`, `G` and `p`.
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
# ### Exercise 3. The clock that stopped too early (bug hunt, difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# A GPU works in the background: a call queues work and returns at once. Here is a simulated one, so that its times are
# known: a run takes 20 ms, and the first call needs another 500 ms to prepare. The function below times it as such
# devices are often timed. **It has two faults.** Write it without them: return the median time of `runs` runs, after
# one run that does not count.


# %%
def buggy_time(run, wait, clock, runs):
    start = clock()
    for _ in range(runs):
        run()
    return (clock() - start) / runs


for runs in (10, 1000):
    gpu = draw.SimulatedDevice(first=0.5, later=[0.02])
    reading = buggy_time(gpu.run, gpu.wait, gpu.clock, runs)
    gpu.wait()
    print(
        f"{runs:4} runs: {1e3 * reading:.1f} ms each, says the function; all done after {gpu.clock():.2f} s"
    )


def time_of(run, wait, clock, runs):
    """run() queues one run, wait() returns when all is done, clock() in seconds -> the median time of a run."""
    ...


check("time_of", time_of)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# When does `run()` return, and when is the work done? Why does each of ten runs seem to take longer than each of a
# thousand?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Run and wait once before you time anything. Then for each run: read the clock, run, wait, read the clock.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: time_of -->
# ```python
# def time_of(run, wait, clock, runs):
#     run()
#     wait()
#     seconds = []
#     for _ in range(runs):
#         start = clock()
#         run()
#         wait()
#         seconds.append(clock() - start)
#     return statistics.median(seconds)
# ```
#
# </details>
#
# ## How fast could it be?
#
# "Fast" needs a reference. This machine can copy a certain number of bytes and do a certain number of multiplications per
# second; no program can exceed that.

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
# The same question for a training step: it cannot take less time than its matrix products. `gemms_of` records them while a
# step runs, and `alone` repeats the same products with nothing in between.

# %%
from dataclasses import replace

from userlab.bench.gemms import alone, flops, gemms_of
from userlab.bench.train import Step, filled_model, random_batch
from userlib.presets import preset

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
# The difference between the two bars is the cost of everything else: sorting in [pooling](GLOSSARY.md#pooling), norms,
# [softmax](GLOSSARY.md#softmax), dropout, the optimizer, copies. A profile shows the share of each; look at it before
# you optimise anything. (In the profile below, *Sorted* is the sort, which numpy does, and *Direction* is what the
# BiGRU computes between its matrix products.)

# %%
from userlab.bench.op_profile import op_profile

show(*draw.shares(op_profile(step)))

# %% [markdown]
# No single operation stands out, so there is no single optimisation left that would gain much. At the course's small
# shapes all of them together take a larger share of the step than at the paper's, where the products are a hundred
# times larger; [speed](../docs/speed.md) has both.
#
# ## What a queue costs
#
# Keys of the [queue](GLOSSARY.md#queue) are not encoded again. A step multiplies the queries by them, $4BKE$ operations
# for both directions together, and copies them. But the keys have to be computed in the first place: the [momentum
# encoders](GLOSSARY.md#momentum-encoder) encode every batch a second time, and that is the larger cost.

# %%
predict(
    "speed_queue",
    "By how many percent does a queue of 4,096 keys lengthen a step that has momentum encoders, but no keys?",
    low=0,
    high=200,
    unit="%",
)

# %%
sizes = {"no queue": None, "momentum encoders, no keys": 0, "4,096 keys": 4096, "16,384 keys": 16_384}
steps = {name: step_with(size) for name, size in sizes.items()}
times = interleaved(steps, runs=3 if quick else 10)
middle = {name: statistics.median(one.of(clock)) for name, one in times.items()}
show(*draw.bars(middle, x_label=f"{unit} per step"))
compare("speed_queue", 100 * (middle["4,096 keys"] / middle["momentum encoders, no keys"] - 1), unit="%")

# %% [markdown]
# ## A gallery too large for the memory
#
# Exact search needs the vectors only once, and in any order. So a gallery need not be in memory: it is read part by
# part, and only the k best hits so far are kept.
#
# ### Exercise 4. Search part by part (difficulty 3 of 3, importance 3 of 3, about 15 minutes)
#
# `parts` yields the gallery's vectors, a part at a time and only once; parts may differ in size, and may have fewer than k images.
# Return the k best scores of each query, best first, and their rows in the whole gallery.


# %%
def search_parts(queries, parts, k):
    """queries (Q, E), parts: an iterator over (n_i, E), k at most the sum of the n_i -> scores (Q, k), rows (Q, k)."""
    ...


check("search_parts", search_parts)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The best k of two parts are among the best k of the first and the images of the second.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Append the scores of the new part to those that are kept, and its row numbers to theirs; `topk` of the scores says
# which columns stay, and `rows.gather(1, columns)` keeps the same of the rows.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: search_parts -->
# ```python
# def search_parts(queries, parts, k):
#     scores = torch.empty(len(queries), 0)
#     rows, start = torch.empty(len(queries), 0, dtype=torch.long), 0
#     for part in parts:
#         new = torch.arange(start, start + len(part)).expand(len(queries), -1)
#         scores = torch.cat([scores, queries @ part.T], 1)
#         scores, columns = scores.topk(min(k, scores.shape[1]), 1)
#         rows = torch.cat([rows, new], 1).gather(1, columns)
#         start += len(part)
#     return scores, rows
# ```
#
# </details>
#
# ## A gallery too large for exact search
#
# Exact search compares the query with every item. A graph index (HNSW, Malkov and Yashunin) links each item with its
# nearest neighbours, and a search follows these links; it visits a few hundred of a million items, and misses some
# hits. How many it misses can only be determined by exact search, so the two are always measured together. Our gallery:
# captions of the wide drawn world, encoded by the text encoder of clip-mini.
#
# Many captions mean nearly the same and have nearly equal scores. So a hit is judged by its *score*: it counts if it scores at
# least as high as the tenth exact hit.

# %%
from usercourse.running import waiting
from userlab.bench.captions import caption_vectors
from userlab.bench.search import gigabytes
from userlib.errors import UserError
from userlib.search.ann import hnsw

size, queries = (1500, 100) if quick else (20_000, 500)
with waiting("captions written and encoded"):
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
        one = interleaved({"graph": lambda: index.search(vectors.queries, 10)}, runs=3)["graph"]
        recalls.append(100 * float((index.search(vectors.queries, 10)[0] >= exact[:, -1:] - 1e-6).mean()))
        ms.append(1e3 * statistics.median(one.of(clock)) / queries)
    one = interleaved({"exact": lambda: top_k(vectors.queries, vectors.gallery, 10)}, runs=3)["exact"]
    show(*draw.trade(widths, recalls, ms, exact_ms=1e3 * statistics.median(one.of(clock)) / queries))
print(f"memory with E = 1024: a million images {gigabytes(1e6):.1f} GB, a billion {gigabytes(1e9):,.0f} GB")

# %% [markdown]
# <details><summary>Think: at which gallery size does the graph begin to pay off?</summary>
#
# The time of exact search grows linearly with the gallery, that of the graph hardly at all. Building the graph costs as
# much as many thousand searches, and a changed gallery needs an updated graph. Below a few hundred thousand items,
# exact search is fast enough. A billion images do not fit on one machine in float32: at that size vectors are
# compressed to codes. That costs accuracy, which has to be measured, too.
#
# </details>
#
# ### Exercise 5. Recall by score (difficulty 2 of 3, about 10 minutes)
#
# `scores` and `exact` contain the scores of the ten hits of each query, best first. What share of the approximate hits score
# at least as high as the last exact one, minus $10^{-6}$ for rounding?


# %%
def score_recall(scores, exact):
    """scores (Q, k), exact (Q, k) -> a share between 0 and 1."""
    ...


check("score_recall", score_recall)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The threshold is one value per query.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Keep the last column of `exact` as a column vector, compare all of `scores` with it, and take the mean.
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
# ## From one GPU to many
#
# ```
# torchrun --nproc_per_node 4 -m userlib train --preset clip-patches --out runs/f30k
# accelerate launch --num_processes 4 -m userlib train --preset clip-patches --out runs/f30k
# ```
#
# Each of $n$ GPUs encodes its share $b$ of the batch. Then they exchange embeddings, so that every query is compared with all
# $nb - 1$ other pairs, and keys, so that all queues are identical. In each step a GPU receives
#
# - embeddings and keys: $(n-1)\,b \cdot (4E \cdot 4 + 8)$ bytes, which grows with $n$;
# - gradients, averaged in a ring: $2\,\frac{n-1}{n} \cdot 4$ bytes per parameter, which stays below 8 for any $n$.
#
# The oldest keys of a queue of $K$ keys are $K / nb$ steps old.

# %%
for gpus in (1, 10, 100):
    one = draw.many(gpus=gpus, share=128, embed_dim=1024, keys=2048, pairs=145_000, parameters=122_000_000)
    print(f"{gpus:4d} GPUs: batch {one.joint:6,}, negatives {one.negatives:6,}, oldest key {one.key_age:5.2f} steps, "
          f"{one.steps:5,} steps per epoch,\n          received per step: {one.embedding_bytes / 1e6:6.1f} MB of "
          f"embeddings, {one.gradient_bytes / 1e6:4.0f} MB of gradients")  # fmt: skip

# %%
Demo(draw.traffic, gpus=slider("GPUs", 1, 128, value=10, step=1), K=choice("K", [2048, 4096, 16_384, 65_536]))

# %%
snapshot(draw.traffic, gpus=10, K=2048)

# %% [markdown]
# <details><summary>Think: is a queue of 2,048 keys of any use on 100 GPUs?</summary>
#
# Hardly. The batch alone contains 12,799 fresh negatives per query, and 2,048 keys are less than one batch: all of them come
# from the previous step. The queue is useful with one GPU. Besides, an epoch of Flickr30K then has 11 steps, too few for a
# learning rate that was tuned for 1,132.
#
# </details>
#
# ## Verdict
#
# **Shown.** On this machine, search by embeddings is faster than well-written cross-attention by the ratio in the first
# figure, and faster than the loop by a far larger one; most of what a comparison with a loop shows is due to the
# implementation. Cost can be estimated beforehand to within a small factor. The momentum encoders cost more than the
# keys that they produce.
#
# **Not shown.** That the factor of 60 in the paper's abstract holds: the paper's timing table was not available to us,
# and what was timed here is SCAN. [Notebook 12](12_neighbours.ipynb) has NAAF's score, and times CHAN's. Nothing about
# GPUs was measured in this notebook; the last part is arithmetic.
#
# ## What to try next
#
# - `python -m userlab bench` measures every part of the library like this, at the paper's shapes.
# - Run the timing with `d = 64`. Which of the two gaps changes, and why?
# - Re-rank: build an `Index` (notebook 13) and pass `rerank=cross_attention(...)`. How many candidates are worth it?
#
# ## References
#
# - K.-H. Lee et al., Stacked Cross Attention for Image-Text Matching, ECCV 2018.
# - Y. Malkov and D. Yashunin, Efficient and Robust Approximate Nearest Neighbor Search Using HNSW Graphs, IEEE TPAMI 2020.
# - Y. Zhang et al., USER, IEEE TIP 33, 595-609, 2024.

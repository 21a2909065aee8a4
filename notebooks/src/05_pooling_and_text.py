# %% [markdown]
# # 05 Pooling and text: from many vectors to one, and from words to vectors
#
# You will be able to
#
# - build GPO from a sort, position codes and a softmax, and get the mean and the maximum out of it;
# - encode captions with a BiGRU and with a small transformer, and test that padding changes nothing;
# - say what each pooling and each text encoder costs, in parameters and in milliseconds.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [02_baseline](02_baseline.ipynb) | 15 s in either profile | 40 minutes | 1 GB |

# %%
import math  # noqa: F401, for your answers

import numpy as np
import torch
from torch import nn

from usercourse import check, compare, predict, show, start
from usercourse.diagrams import diagram
from usercourse.plots import lines
from userlib.config import ModelConfig
from userlib.model.encoders import TextEncoder
from userlib.model.pooling import GPO, max_pool, mean_pool, position_codes

profile = start()
diagram("pipeline", here=("pooling", "text"))

# %% [markdown]
# ## The claim
#
# An encoder ends with a set of vectors, one per region or word, but a retriever needs a single vector. Notebook 02 took
# the mean. The maximum of each channel is the other classical choice, and which of them is better depends on the data
# and on the encoder. The generalised [pooling](GLOSSARY.md#pooling) operator, [GPO](GLOSSARY.md#gpo), which USER
# adopted from VSE-infinity, learns from the data how to pool.
#
# ## A hand example
#
# Take three vectors with two channels: (1, 5), (4, 2), (1, 2). Sort each channel by itself, largest value first: the
# first channel becomes 4, 1, 1, the second 5, 2, 2. Now give weights to the **ranks** (largest, second, third), not to
# the vectors. Weights (1, 0, 0) give the maximum, (4, 5); weights (1/3, 1/3, 1/3) give the mean, (2, 3). Weights (1/2,
# 1/2, 0) give the mean of the two largest, (2.5, 3.5).

# %%
vectors = torch.tensor([[1.0, 5.0], [4.0, 2.0], [1.0, 2.0]])
ordered = vectors.sort(0, descending=True).values  # (3, 2), each channel by itself
for weights in ([1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [1 / 2, 1 / 2, 0]):
    pooled = torch.tensor(weights, dtype=torch.float32) @ ordered
    print([round(w, 2) for w in weights], "->", [round(x, 2) for x in pooled.tolist()])
assert torch.equal(torch.tensor([1.0, 0, 0]) @ ordered, max_pool(vectors[None])[0])
assert torch.allclose(torch.full((3,), 1 / 3) @ ordered, mean_pool(vectors[None])[0])

# %% [markdown]
# Such weights are needed for sets of any size $n$. So GPO does not store them; it computes them from the *number* $p$
# of each rank. First this number becomes a vector of $d$ dimensions, a position code:
#
# $$ c_{p,\,2k} = \sin\!\big(p / 10000^{2k / d}\big), \qquad c_{p,\,2k+1} = \cos\!\big(p / 10000^{2k / d}\big),
#    \qquad p = 0, \dots, n - 1 $$
#
# ### Exercise 1. Position codes (difficulty 1 of 3, importance 2 of 3, about 10 minutes)
#
# Write the formula as code; $d$ is `width`.


# %%
def rank_codes(n, width):
    """-> (n, width), sines in the even columns and cosines in the odd ones; width is even."""
    ...


check("rank_codes", rank_codes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The angles are a matrix of n rows and width / 2 columns. Interleave their sines and cosines.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.stack([angles.sin(), angles.cos()], -1).flatten(1)` interleaves them. `torch.arange(0, width, 2) / width` are
# the exponents.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: rank_codes -->
# ```python
# def rank_codes(n, width):
#     angles = torch.arange(n)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
#     return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
# ```
#
# </details>
#
# A BiGRU, a recurrent network that reads in both directions, reads the n codes; a linear layer turns each of its states
# into one score; and a softmax with temperature 0.1 turns the scores into weights. The rest is as in the hand example.
#
# ### Exercise 2. From scores to the pooled vector (difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# Turn the scores into weights, then pool as in the hand example.


# %%
def pool_ranks(vectors, scores):
    """vectors (n, E), scores (n,) of the ranks, temperature 0.1 -> (E,)."""
    ...


check("pool_ranks", pool_ranks)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You need three things: weights that sum to 1, each channel sorted by itself, and a weighted sum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(scores / 0.1).softmax(0)` and `vectors.sort(0, descending=True).values`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: pool_ranks -->
# ```python
# def pool_ranks(vectors, scores):
#     weights = (scores / 0.1).softmax(0)
#     return weights @ vectors.sort(0, descending=True).values
# ```
#
# </details>
#
# Here is the whole operator with the library's parameters, compared with the library's own result.

# %%
predict("pooling_mean", "An untrained GPO over 36 regions: what weight does the first rank have?", unit="%")


# %%
def gpo_by_hand(pool, vectors):
    """pool: a GPO, vectors (n, E) -> (E,), and the weights of the ranks (n,)."""
    states, _ = pool.gru(position_codes(len(vectors), 32)[None])  # (1, n, 64)
    forward, backward = states[0].chunk(2, dim=-1)
    weights = (pool.score((forward + backward) / 2)[:, 0] / 0.1).softmax(0)
    return weights @ vectors.sort(0, descending=True).values, weights


torch.manual_seed(0)
pool, regions = GPO(), torch.randn(36, 8)
with torch.no_grad():
    mine, weights = gpo_by_hand(pool, regions)
    assert torch.allclose(mine, pool(regions[None])[0], atol=1e-5)
    curves = {f"n = {n}": gpo_by_hand(pool, torch.randn(n, 1))[1].numpy() for n in (5, 12, 36)}
print("By hand and in the library: equal.")
padded = {name: np.append(w, np.full(36 - len(w), np.nan)) for name, w in curves.items()}
figure, _ = lines(np.arange(36), padded, x_label="rank, 0 is the largest value", y_label="weight")
show(
    figure,
    "Weights of an untrained GPO for three sizes of set: uneven, but every rank has some; no rank has half.",
)
compare("pooling_mean", round(100 * weights[0].item(), 1))

# %% [markdown]
# So a GPO starts as an uneven average of all ranks, which depends on its random initial parameters, and training then
# changes the weights so that the loss falls. The weights depend on the size of the set alone, not on what is in it.
#
# ## Words: ids, padding, masks
#
# A batch of captions is a matrix of word ids, in which short captions are filled up with 0, together with a mask that
# says where there are words. The **trap**: everything that reads along a caption can read the padding too. A BiGRU
# reads in both directions, and its backward direction *begins* at the end, so in a short caption it would begin with
# padding.

# %%
captions = [[5, 9, 3, 7], [8, 2]]
mask = torch.tensor([[True] * 4, [True, True, False, False]])
words = torch.tensor([[5, 9, 3, 7], [8, 2, 0, 0]])
torch.manual_seed(0)
embedding = nn.Embedding(12, 6, padding_idx=0)
gru = nn.GRU(6, 5, batch_first=True, bidirectional=True)


def padding_test(encode):
    """The largest difference between a caption alone and the same caption in a padded batch."""
    with torch.no_grad():
        batch = encode(words, mask)
        alone = encode(words[1:, :2], mask[1:, :2])
    return (batch[1, :2] - alone[0]).abs().max().item()


print(f"nn.GRU on padded captions: {padding_test(lambda w, m: gru(embedding(w))[0]):.3f}")

# %% [markdown]
# The states of a caption, the network's outputs at its words, change with the other captions in the batch. There is no
# error message, only a worse model. The remedy: reverse each caption within its own length before the backward
# direction reads it, and reverse the resulting states back.
#
# ### Exercise 3. Turn each caption (bug hunt, difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# In public code one finds `x.flip(1)` for this step. Write what it should have been.


# %%
def turn(x, lengths):
    """x (B, W, I), lengths (B,) -> the first lengths[i] vectors of row i in reverse order, the rest in place."""
    ...


check("turn", turn)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# In a caption of length n, from which position of x does position p of the result come? And if p is n or more?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `index = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)`, then `gather` along dimension 1 with
# the index expanded to the shape of x.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: turn -->
# ```python
# def turn(x, lengths):
#     place = torch.arange(x.shape[1])
#     index = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
#     return x.gather(1, index.unsqueeze(-1).expand_as(x))
# ```
#
# </details>
#
# ## A small transformer
#
# In a transformer every word reads all words of the caption, weighted by [attention](GLOSSARY.md#attention). There is
# no direction of reading, but there is padding, and a softmax gives weight to whatever it sees. With queries $Q$, keys
# $K$ and values $V$, which are three linear maps of the words' vectors, of $d$ dimensions each, attention is
#
# $$ \mathrm{attend}(Q, K, V) = \mathrm{softmax}\big(Q K^\top / \sqrt{d}\big)\, V $$
#
# ### Exercise 4. Attention with a mask (difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# Write the formula as code, so that no word reads padding.


# %%
def attend(Q, K, V, mask):
    """Q, K, V (B, W, d), mask (B, W) True where there is a word -> (B, W, d)."""
    ...


check("attend", attend)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The scores are (B, W, W): rows are the words that read, columns the words that are read. Which of the two must not be
# padding?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `scores.masked_fill(~mask.unsqueeze(1), -math.inf)` before the softmax along the last axis.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: attend -->
# ```python
# def attend(Q, K, V, mask):
#     scores = Q @ K.transpose(1, 2) / math.sqrt(Q.shape[-1])
#     return scores.masked_fill(~mask.unsqueeze(1), -math.inf).softmax(-1) @ V
# ```
#
# </details>
#
# ## What each costs
#
# Here are the library's text encoders, in the size that the course uses: a bag of words, a BiGRU, and a transformer of
# two layers (the architecture of BERT, untrained). Each is followed by GPO, and each is put to the padding test.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
from time import perf_counter


def encoder_of(text, **sizes):
    config = ModelConfig(
        text=text, vocab_size=600, embed_dim=256, text_width=256, word_width=128, region_dim=128, **sizes
    )
    return TextEncoder(config).eval()


kinds = {
    "bag of words": ("bag", {}),
    "BiGRU": ("gru", {}),
    "transformer": ("bert", {"text_layers": 2, "text_heads": 4}),
}
generator = torch.Generator().manual_seed(0)
ids = torch.randint(5, 600, (64, 14), generator=generator)
there = torch.arange(14) < torch.randint(5, 15, (64, 1), generator=generator)
for name, (text, sizes) in kinds.items():
    torch.manual_seed(0)
    encoder = encoder_of(text, **sizes)
    with torch.no_grad():
        n = int(there[0].sum())
        apart = (encoder(ids[:1, :n], there[:1, :n]) - encoder(ids * there, there)[:1]).abs().max()
    times = []
    for _ in range(6):
        began = perf_counter()
        encoder(ids * there, there).sum().backward()
        times.append(1000 * (perf_counter() - began))
    size = sum(p.numel() for p in encoder.parameters())
    print(
        f"{name:13} {size:9,} parameters, {sorted(times)[2]:5.0f} ms for 64 captions, "
        f"forward and backward, padding {apart:.0e}"
    )

# %% [markdown]
# ## What each brings
#
# Mean, maximum and GPO were compared in stored runs: `assets/results/pooling` contains two seeds of each, for the model
# with SGE after 170 steps on drawn images. Each file also has the settings, the version of the code and the processor.
# Two short runs of each are no basis for a verdict: the two seeds do not even agree on whether mean or GPO is better,
# and the runs with the maximum had hardly begun to learn.

# %%
from usercourse.ablations import STORED
from userlib.files import read_json

runs = [read_json(path) for path in sorted((STORED / "pooling").glob("*-[0-9].json"))]
if not runs:
    print("No stored run is there: this needs the repository's assets.")
for run in sorted(runs, key=lambda run: (run["cell"], run["seed"])):
    about = f"{run['config']['training']['steps']} steps, made on {run['provenance']['date']}"
    print(f"{run['cell']:5} seed {run['seed']}: rSum {run['report']['metrics']['rsum']:.1f} ({about})")

# %% [markdown]
# ## Verdict
#
# **Shown.** GPO is a sort, weights of ranks and a sum; mean and maximum are two settings of it. Padding reaches a
# caption's vector through the backward direction of a BiGRU and through the softmax of attention, and a test that
# compares a caption alone with the same caption in a padded batch finds both faults.
#
# **Not shown.** Which text encoder retrieves better: the costs above were measured on one machine, the encoders were
# not trained here, and the case for a transformer is its pretraining, which ours lacks.
#
# ## What to try next
#
# - Suppose that the scores of `pool_ranks` were learned directly, one number for each rank. What happens with a set of
#   another size?
# - Replace `turn` by `x.flip(1)` in a copy of the BiGRU, and run the padding test with more padding.
# - Go on to the objective: [notebook 06](06_unified_objective.ipynb).
#
# ## References
#
# - J. Chen and others, *Learning the best pooling strategy for visual semantic embedding*, CVPR 2021: GPO.
# - A. Vaswani and others, *Attention is all you need*, NeurIPS 2017: position codes, attention.
# - K. Cho and others, *Learning phrase representations using RNN encoder-decoder*, EMNLP 2014: the GRU.

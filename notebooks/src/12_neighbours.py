# %% [markdown]
# # 12 Neighbours: what else could stand where SGE, GPO and the dot product stand
#
# You will be able to
#
# - read ten mechanisms of related work as one equation and a few lines each, and say what each costs;
# - tell apart what changes a vector, what changes the training alone, and what needs a score for every pair;
# - retrieve with embeddings, re-rank the first hits by cross-attention, and measure what is gained and what it takes.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [05_pooling_and_text](05_pooling_and_text.ipynb), [06_unified_objective](06_unified_objective.ipynb); [03](03_self_guided_enhancement.ipynb) and [11](11_ablations.ipynb) help | 50 s in the fast profile; 4 minutes in the full, an estimate | 45 minutes | 1.6 GB |

# %%
import math  # noqa: F401, for your answers

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from usercourse import check, compare, course_config, expect_trained, predict, show, start
from usercourse import neighbour_study as study
from usercourse import neighbours as draw
from usercourse.diagrams import diagram
from userlib.training import fit, prepare

profile = start()
diagram("pipeline", here=("enhancement", "pooling", "objective", "search"))

# %% [markdown]
# ## The claim
#
# USER fills three places of a retriever: SGE and CGE enhance the [regions](GLOSSARY.md#region), GPO pools them, and a
# dot product scores the pair. Other papers put other mechanisms into the same places. Published tables give these
# values of [rSum](GLOSSARY.md#rsum) on Flickr30K, for models with the same detector regions and with BERT:
# VSE-infinity, which has GPO and none of the rest, 513.5; CHAN 518.5; HREM 520.4; ESA 523.8. USER has 538.1 in a later
# table of its own group (in the paper on AAHR), most likely with CLIP's vector as its guide. But CLIP ViT-B/32 that is
# fine-tuned on pixels, without any regions, has 536.1 in a table of another paper (on VSD). So the comparison that USER
# needs most is not with one of its neighbours, but with a stronger backbone.
#
# Such rows differ in more than one mechanism: in features, in training time, in tuning. Here each mechanism is first
# built by hand, then compared under equal conditions, in a study whose other settings are the same for all.
#
# | place | in USER | in this notebook | leaves one vector per image and caption |
# |---|---|---|---|
# | pooling | GPO | ESA, multi-view pooling | yes |
# | [enhancement](GLOSSARY.md#enhancement) | SGE, CGE | region graph, routed cells, concepts | yes |
# | training alone | queues | relation graph, soft targets | yes |
# | score | dot product | CHAN, SCAN, NAAF | no: it compares words with regions, pair by pair |
#
# ## A hand example
#
# One image with four regions and one caption with three words, in four channels with a meaning. Real channels have none
# that can be named, but the arithmetic is the same. The image is `V`, the caption `W`; parts 1 and 2 change `V`, and
# part 4 compares it with `W`.
#
# ## Part 1. Pooling
#
# ### ESA: every channel looks for itself
#
# The mean gives each region the same weight in every channel, GPO gives each rank the same weight in every channel. ESA
# learns a weight for every region *and* channel, from what is in the regions:
#
# $$ A_{re} = \operatorname{softmax}_r \big( V M^\top + b \big)_{re}, \qquad v_e = \sum_r A_{re} V_{re} $$
#
# $M$ and $b$ are learned. Below, $M$ is four times the identity and $b$ is 0, so that each channel looks at the region
# where it is large.

# %%
from userlib.model.neighbours.esa import ESAPool, esa_pool

REGIONS, WORDS = ("dog", "ball", "sofa", "wall"), ("dog", "red", "ball")
CHANNELS = ("animal", "toy", "red", "room")
V = torch.tensor(
    [[0.9, 0.1, 0.1, 0.2], [0.1, 0.8, 0.7, 0.2], [0.0, 0.1, 0.2, 0.9], [0.1, 0.0, 0.1, 0.6]]
)  # (R, E)
W = torch.tensor([[0.9, 0.0, 0.1, 0.1], [0.0, 0.2, 0.9, 0.0], [0.1, 0.9, 0.3, 0.1]])  # (W, E)

scores = V @ (4 * torch.eye(4))  # (R, E)
pooled = []
for channel in range(4):
    weights = scores[:, channel].softmax(0)  # over the regions
    pooled.append(weights @ V[:, channel])
pooled = torch.stack(pooled)
assert torch.allclose(pooled, esa_pool(V[None], scores[None])[0])
assert torch.allclose(ESAPool(4)(V[None])[0], V.mean(0))  # untrained: its matrix starts at zero
for name, vector in {"mean": V.mean(0), "ESA ": pooled}.items():
    print(name, [round(x, 2) for x in vector.tolist()])
said = "The weights of ESA: each column sums to 1; a channel weighs most the region in which it is large."
show(*draw.grids({"A": scores.softmax(0)}, said, rows=REGIONS, columns=CHANNELS))

# %% [markdown]
# ESA is meant for sets in which different regions matter for different properties: the animal channel is read off the
# dog, the room channel off the sofa. It costs $E^2 + E$ parameters and one matrix product for all regions. GPO computes
# one weight per rank from the size of the set alone, and has about 13,000 parameters whatever $E$ is. Published: an
# rSum of 523.8 on Flickr30K for one model. There it is trained with two masked views of each image; this part of its
# recipe is not pooling, and is left out here.
#
# ### Multi-view pooling: several codes look at the set
#
# Here $k$ learned vectors, the *view codes* $c_1 \dots c_k$, each take a weighted mean of the regions. The $k$ means
# are concatenated, and a linear layer brings them back to $E$ dimensions. A penalty keeps the views from all looking at
# the same region:
#
# $$ A_{rm} = \operatorname{softmax}_r \big( V_r \cdot c_m / \sqrt{E} \big), \qquad
#    v = M \Big[ \textstyle\sum_r A_{r1} V_r, \dots, \sum_r A_{rk} V_r \Big], \qquad
#    \mathrm{penalty} = \big\| A^\top A - I \big\|_F^2 $$
#
# ### Exercise 1. Look with several codes (difficulty 2 of 3, importance 2 of 3, about 10 minutes)
#
# Return the concatenated means, $k E$ values, before the linear layer $M$, and the penalty.


# %%
def see_views(V, codes):
    """V (R, E), codes (k, E) -> the means of all views, one after the other (k E,), and the penalty."""
    ...


check("see_views", see_views)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `V @ codes.T` has one row per region and one column per view. Over which of the two does the softmax run? `A.T @ V`
# has one row per view.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(A.T @ V).flatten()` concatenates the views. The squared Frobenius norm is the sum of all squared entries.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: see_views -->
# ```python
# def see_views(V, codes):
#     A = (V @ codes.T / math.sqrt(V.shape[1])).softmax(0)
#     return (A.T @ V).flatten(), ((A.T @ A - torch.eye(len(codes))) ** 2).sum()
# ```
#
# </details>
#
# Here are two views of the hand example, one that looks for objects and one that looks for the room, and their penalty.

# %%
from userlib.model.neighbours.views import ViewPool, diversity, view_weights

codes = torch.tensor([[6.0, 6.0, 2.0, 0.0], [0.0, 0.0, 0.0, 8.0]])  # k = 2; learned
looks = [(V @ code / 2).softmax(0) for code in codes]  # 2 is the square root of E
A = torch.stack(looks, 1)  # (R, k)
assert torch.allclose(A, view_weights(V[None], codes)[0])
pool = ViewPool(4, views=2)
pool.codes.data = codes
seen = torch.cat([look @ V for look in looks])  # (k E,)
assert torch.allclose(pool.out(seen), pool(V[None])[0], atol=1e-6)
for name, weights in {"two views": A, "the first view twice": A[:, [0, 0]]}.items():
    by_hand = ((weights.T @ weights - torch.eye(2)) ** 2).sum()
    assert torch.isclose(by_hand, diversity(weights[None]))
    print(f"penalty of {name}: {by_hand:.2f}")
said = (
    "The weights of two views: each column sums to 1; one view looks at the objects, the other at the room."
)
show(*draw.grids({"A": A}, said, rows=REGIONS, columns=("view 1", "view 2")))

# %% [markdown]
# A single weighted mean has to compromise between the objects and the room; several means need not. The price is $kE$
# parameters for the codes and $kE^2 + E$ for the linear layer, and one more term in the loss. The name of a part in the
# related work, *multi-view adaptive attention pooling*, stands for this. The results of its papers (CAMERA, MVAM) were
# not at hand, so none is given.
#
# ## Part 2. Enhancement
#
# ### A graph of regions
#
# SGE adds the same vector to every region. In VSRN each region receives something of *those regions that it relates
# to*. With three learned maps $\theta$, $\phi$, $g$ of the regions, $n$ regions, and a last map $W_r$:
#
# $$ R_{ij} = \theta(v_i) \cdot \phi(v_j) / n, \qquad V \leftarrow V + \mathrm{norm}\big( W_r (R\, g(V)) \big) $$
#
# Here $R$ is the matrix of relations, as in the paper. There is no softmax: relations may be negative, and do not sum
# to 1. Four such layers follow one another. Below, the three maps are the identity, so that regions relate to regions
# that resemble them.

# %%
from userlib.model.neighbours.graph import GraphLayer, RegionGraph, relate

R = torch.tensor([[float(V[i] @ V[j]) / 4 for j in range(4)] for i in range(4)])
received = torch.stack([sum(R[i, j] * V[j] for j in range(4)) for i in range(4)])
assert torch.allclose(received, relate(V[None], V[None], V[None])[0])

torch.manual_seed(0)
layer = GraphLayer(4, norm="layer")
nn.init.ones_(layer.norm.weight)  # as if it had been trained
relations = layer.query(V) @ layer.key(V).T / 4
by_hand = V + layer.norm(layer.out(relations @ layer.value(V)))
assert torch.allclose(by_hand, layer(V[None])[0], atol=1e-6)
assert torch.equal(RegionGraph(4)(V[None])[0], V)  # untrained: the norm's gain is 0
show(*draw.region_graph(R, REGIONS))

# %% [markdown]
# The graph is meant for relations: what a region means may depend on what else is there. It costs $8 D^2$ parameters in
# four layers of regions of $D$ dimensions, and $R^2$ relations per image. The gain of each norm starts at 0, so that
# training starts from the plain model. Published for one model: R@1, R@5, R@10 of 70.4, 89.2, 93.7 from image to text
# and 53.0, 77.9, 85.7 from text to image, with a GRU on the text side.
#
# ### Routed cells
#
# Which kind of processing does an image need? DIME lets *routers* decide, small networks that read the mean of the
# regions. Three kinds of cells stand side by side: one keeps the positive part, $\mathrm{relu}(X)$; one is a layer of
# self-attention; and a *gate* emphasises what agrees with the mean $\bar X$ of all regions. Each cell weighs its paths
# to the cells of the next layer:
#
# $$ \mathrm{gate}(X) = \big(1 + \mathrm{l2norm}_r(\mathrm{fc}(X) * \bar X)\big) * X, \qquad
#    p_{c \to d} = \mathrm{relu}(\tanh(\mathrm{MLP}_c(\bar X)))_d, \qquad
#    X_d = \frac{\sum_c p_{c \to d}\, X_c}{\sum_c p_{c \to d}} $$


# %%
from userlib.model.neighbours.route import Route


def route_by_hand(route, X):
    """X (R, D) -> (R, D), and the paths of each layer (cells, targets)."""
    inputs, paths = [X] * 3, []
    for cells in route.layers:
        means = [x.mean(0) for x in inputs]
        p = [cell.paths(cell.hidden(m).relu()).tanh().relu() for cell, m in zip(cells, means, strict=True)]
        paths.append(torch.stack(p))
        matches = cells[2].inside.linear(inputs[2]) * means[2]
        gated = (1 + F.normalize(matches, dim=0)) * inputs[2]
        outputs = torch.stack([inputs[0].relu(), cells[1].inside(inputs[1][None])[0], gated])
        shares = paths[-1] / paths[-1].sum(0)
        inputs = [torch.einsum("c,crd->rd", share, outputs) for share in shares.T]
    return inputs[0], paths


torch.manual_seed(0)
route = Route(4)
result, paths = route_by_hand(route, V)
assert torch.allclose(result, route(V[None])[0], atol=1e-5)
show(*draw.routes(paths))

# %% [markdown]
# The router is meant to choose, image by image, between leaving regions as they are and letting them exchange
# information. It is the largest of the poolings and enhancements here: three layers of self-attention with their
# feed-forward networks, and nine small routers. Published: an rSum of 520.0, two models together, and about 507 for one
# of them alone. The paper has a fourth cell that reads the other modality. It needs a score for every pair, so it
# belongs to part 4 and is left out.
#
# ### Concepts
#
# In the captions of the training set, a dog comes with a leash more often than with a ship. CVSE keeps a vector for
# each of $q$ frequent words, its *concepts*, in a matrix $H_0$, and a matrix $A$ of how often two of them stand in one
# caption. Two graph layers mix the concepts; then an embedding $u$ is mixed with the concepts that it resembles:
#
# $$ H = A\, \mathrm{relu}(A H_0 W_1)\, W_2, \qquad u_c = \sum_c \operatorname{softmax}_c(\lambda H u)_c\, H_c, \qquad
#    u' = \mathrm{l2norm}\big(\beta u + (1 - \beta)\, u_c\big) $$
#
# Below are ten captions. The learned layers are left out, so $H = A H_0$, and the image shows a dog.

# %%
from userlib.model.neighbours.concepts import concept_graph, with_concepts

names = ("dog", "leash", "ball", "boy", "sofa", "lamp", "sea", "boat", "tree")
texts = "dog leash, dog ball, boy ball, boy leash, sofa lamp, lamp sofa, sea boat, boat sea, tree, tree"
captions = [np.array([names.index(word) for word in text.split()]) for text in texts.split(", ")]
H0, A = concept_graph(captions, count=9)
together = torch.tensor(
    [[float(sum(i in c and j in c for c in captions)) for j in range(9)] for i in range(9)]
)
likely = together / together.diagonal()[:, None]  # P(j is in a caption, given that i is)
assert torch.allclose(A, likely / likely.sum(1, keepdim=True))

H, u = F.normalize(A @ H0, dim=1), F.normalize(H0[0], dim=0)
shares = (10 * H @ u).softmax(0)  # lambda = 10
mixed = F.normalize(0.75 * u + 0.25 * shares @ H, dim=0)  # beta = 0.75
every = torch.ones(9, dtype=torch.bool)
library = with_concepts(u[None], H, every, beta=0.75, inverse_temperature=10.0)[0]
assert torch.allclose(mixed, library, atol=1e-6)
said = "How much of each concept is mixed into the image of a dog: words of its captions have the largest shares."
show(*draw.bars({n: {"share": float(s)} for n, s in zip(names, shares, strict=True)}, said, label="share"))

# %% [markdown]
# Concepts are meant to bring in what the captions know and one pair does not show. They cost $qE + E^2$ parameters for
# each side and a few hundred dot products per vector. In the original the word vectors are pretrained and both sides
# share the layers; here the vectors come from the co-occurrences alone, and each side has its own layers. The abstract
# claims better results than earlier methods; its table was not at hand.
#
# ## Part 3. In training alone
#
# The next two change nothing in the model that searches. They only change what the encoders learn.
#
# ### A relation graph over the batch
#
# In HREM the $2B$ vectors of a [batch](GLOSSARY.md#mini-batch), images and captions, look at one another through one
# layer of self-attention, in which pairs of low *relevance* $r_{ij}$ count less. The loss is then computed four times:
# for the vectors as they are, and with the enhanced ones on one side or on both.
#
# $$ r_{ij} = \sigma\big(w \cos(x_i, x_j) + b\big), \qquad
#    \mathrm{attention} = \operatorname{softmax}_j \Big( \tfrac{q_i \cdot k_j}{\sqrt d} + \log r_{ij} \Big), \qquad
#    L = L_b(v, t) + L_b(v', t) + L_b(v, t') + L_b(v', t') $$

# %%
from userlib.model.neighbours.relation import RelationGraph, log_relevance

PAIRS = ("a dog", "a red ball", "a sofa")
v = F.normalize(torch.tensor([[0.9, 0.1, 0.1, 0.2], [0.2, 0.9, 0.6, 0.1], [0.0, 0.1, 0.2, 0.9]]), dim=1)
t = F.normalize(torch.tensor([[0.9, 0.0, 0.1, 0.1], [0.1, 0.8, 0.7, 0.0], [0.1, 0.0, 0.3, 0.9]]), dim=1)
graph, X = RelationGraph(4), torch.cat([v, t])  # (2B, E)
relevance = torch.sigmoid(5 * X @ X.T)  # w = 5 and b = 0 at the start, then learned
assert torch.allclose(relevance, log_relevance(X, 3, graph.weight, graph.bias).exp(), atol=1e-6)


def infonce(scores, ids):
    return F.cross_entropy(scores / 0.05, ids) + F.cross_entropy(scores.T / 0.05, ids)


ids = torch.arange(3)
enhanced_v, enhanced_t = graph(v, t)
three = [infonce(a @ b.T, ids) for a, b in ((enhanced_v, t), (v, enhanced_t), (enhanced_v, enhanced_t))]
assert torch.allclose(sum(three), graph.loss(infonce, v, t, ids))
assert torch.allclose(
    enhanced_v, v, atol=1e-6
)  # untrained: the layer adds nothing, and the four losses are equal
sides = [f"{side} {i + 1}" for side in ("image", "text") for i in range(3)]
said = "The relevance of the six vectors of three pairs: above 0.98 between an image and its own caption."
assert all(relevance[i, i + 3] > 0.98 for i in range(3))
show(*draw.grids({"r": relevance.detach()}, said, rows=sides, columns=[s[0] + s[-1] for s in sides]))

# %% [markdown]
# The graph is meant to teach each encoder from the relations among many samples, not from one pair. It costs a layer of
# $8E^2$ parameters and three more losses in a training step, and nothing in a search. Published: an rSum of 520.4 for
# one model. There the relevance comes from a network of its own; here it is a line through the cosine, one for each
# kind of pair.
#
# ### Soft targets
#
# [InfoNCE](GLOSSARY.md#infonce) calls every other caption of the batch wrong, and all equally wrong. A *teacher* knows
# more: how alike two images are, or two captions. CUSA asks the model's softmax over the batch to follow the teacher's:
#
# $$ \frac1B \sum_i \mathrm{KL}(p_i \,\|\, q_i) = \frac1B \sum_i \sum_j p_{ij} \log \frac{p_{ij}}{q_{ij}}, \qquad
#    p_i = \operatorname{softmax}_j (\mathrm{teacher}_{ij} / T), \qquad q_i = \operatorname{softmax}_j (s_{ij} / T) $$
#
# ### Exercise 2. Follow the teacher (difficulty 2 of 3, importance 2 of 3, about 10 minutes)
#
# Write the formula as code. A query is a row, in the teacher's matrix as in the model's.


# %%
def soft_loss(teacher, scores, T):
    """teacher (B, B) similarities, scores (B, B) of the model, T the temperature -> a scalar."""
    ...


check("soft_loss", soft_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two softmaxes along each row, of the teacher's similarities and of the model's scores, both divided by T first.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(p * (p.log() - q.log())).sum(1)` is the divergence of each row; the loss is their mean.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: soft_loss -->
# ```python
# def soft_loss(teacher, scores, T):
#     p, q = (teacher / T).softmax(1), (scores / T).softmax(1)
#     return (p * (p.log() - q.log())).sum(1).mean()
# ```
#
# </details>
#
# The whole term of the library has four such parts: the scores of images with captions, in both directions, and
# *within* each side, where what is compared with itself is left out.

# %%
from userlib.model.neighbours.soft_targets import soft_target_loss

T = 0.2
teacher_v = F.normalize(v + torch.tensor([0.3, 0.3, 0.0, 0.0]), dim=1)  # dog and ball are often seen together
teacher_t = teacher_v  # the same, in this example


def divergence(teacher, scores, keep):
    """keep (B, B): what takes part in the softmax of a row."""
    p, q = ((x / T).masked_fill(~keep, -1e9).log_softmax(1) for x in (teacher, scores))
    return (p.exp() * (p - q)).sum(1).mean()


all_pairs, others = torch.ones(3, 3, dtype=torch.bool), ~torch.eye(3, dtype=torch.bool)
images, texts = teacher_v @ teacher_v.T, teacher_t @ teacher_t.T
across = divergence(images, v @ t.T, all_pairs) + divergence(texts, t @ v.T, all_pairs)
within = divergence(images, v @ v.T, others) + divergence(texts, t @ t.T, others)
library = soft_target_loss(v, t, teacher_v, teacher_t, temperature=T)
assert torch.allclose(across + within, library, atol=1e-5)
soft = {"teacher": (images[0] / T).softmax(0), "model": ((v @ t.T)[0] / T).softmax(0)}
query = {"InfoNCE's target": [1, 0, 0], **soft}  # image 1
shown = {pair: {name: float(x[j]) for name, x in query.items()} for j, pair in enumerate(PAIRS)}
said = "Image 1 as a query: the usual target is its own caption alone; the teacher leaves something to the others."
show(*draw.bars(shown, said, label="probability"))

# %% [markdown]
# Soft targets are meant for [false negatives](GLOSSARY.md#false-negative): captions that the loss calls wrong, and a
# reader would not. They cost a teacher, whose vectors are computed once before the training, and in each step four
# matrices of similarities, $B \times B$ each. The paper's abstract reports improvements for several models that it is
# added to, and in the search of images by images. The study below uses the two towers of clip-mini as the teacher.
#
# What do they cost in parameters? Here are the modules at a width of 256, next to GPO and SGE.

# %%
from userlib.model.enhancement import SGE
from userlib.model.neighbours.concepts import Concepts
from userlib.model.pooling import GPO

modules = {
    "GPO": GPO(), "ESA": ESAPool(256), "views": ViewPool(256), "SGE": SGE(256), "region graph": RegionGraph(256),
    "routed cells": Route(256), "concepts": Concepts(256, count=128), "relation graph": RelationGraph(256),
}  # fmt: skip
for name, module in modules.items():
    print(f"{name:14} {sum(p.numel() for p in module.parameters()):9,} parameters")

# %% [markdown]
# ## Part 4. A score of words and regions
#
# So far every image and every caption ends as one vector. [Cross-attention](GLOSSARY.md#cross-attention) keeps all
# regions and words, and compares them pair by pair, through the cosines $s_{rj} = \cos(v_r, w_j)$.
#
# ### CHAN: each word takes its best region
#
# $$ s = \frac{1}{W} \sum_j \max_r\, s_{rj} $$

# %%
from userlib.model.neighbours.cross_attention import Scorer

s = torch.tensor([[float(F.cosine_similarity(region, word, dim=0)) for word in W] for region in V])  # (R, W)
chan = sum(max(s[r, j] for r in range(4)) for j in range(3)) / 3
no_padding = torch.ones(1, 3, dtype=torch.bool)
assert torch.isclose(chan, Scorer("chan")(V[None], W[None], None, no_padding)[0, 0])
print(f"CHAN {chan:.2f}, cosine of the two means {F.cosine_similarity(V.mean(0), W.mean(0), dim=0):.2f}")
said = "Cosines of regions and words; CHAN is the mean of the outlined ones, the best region of each word."
show(*draw.grids({"s": s}, said, rows=REGIONS, columns=WORDS, outlined=s == s.amax(0)))

# %% [markdown]
# CHAN has no parameter and no softmax. Published: an rSum of 518.5, five above VSE-infinity with the same inputs. Its
# cost is the cost of all scores in this part: $RW$ cosines for every pair, where the dot product takes one, and regions
# and words have to be stored in place of one vector.
#
# <details><summary>Think: an image shows a red sofa and a blue ball. What does CHAN say to the words "red ball"?</summary>
#
# *Red* finds the sofa and *ball* finds the ball: each word chooses by itself, so both are satisfied. Only the text
# encoder, which reads along the caption, can tell the word *ball* that it is a red one.
#
# </details>
#
# ### Exercise 3. CHAN for a whole batch (difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# Score A images with B captions. Captions are padded to the longest; `there` says where there is a word.


# %%
def chan_scores(V, W, there):
    """V (A, R, E), W (B, L, E), there (B, L) True where there is a word -> scores (A, B)."""
    ...


check("chan_scores", chan_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# All cosines of all pairs have the shape (A, R, B, L). Which axis is the maximum over, and which the mean?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.einsum("are,ble->arbl", V, W)` with both L2-normalised; after `.amax(1)` comes a sum of the words that are
# there, divided by their number.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: chan_scores -->
# ```python
# def chan_scores(V, W, there):
#     s = torch.einsum("are,ble->arbl", F.normalize(V, dim=-1), F.normalize(W, dim=-1))
#     return (s.amax(1) * there).sum(2) / there.sum(1)
# ```
#
# </details>
#
# ### SCAN: each word sums regions, or each region sums words
#
# In SCAN's direction t2i a word does not take its best region. It sums all of them, weighted by
# [attention](GLOSSARY.md#attention), and is compared with the sum, its *context*. The relevances of the words are
# pooled by a smooth maximum, log-sum-exp. Direction i2t exchanges the two sides.
#
# $$ p_{rj} = \operatorname{softmax}_r (\lambda\, s'_{rj}), \qquad c_j = \sum_r p_{rj} v_r, \qquad
#    s = \frac{1}{\tau} \log \sum_j e^{\tau \cos(w_j, c_j)} $$
#
# $s'$ is $s$ with negative values made ten times smaller, and each region's row scaled to unit norm over the words.


# %%
def attend_by_hand(queries, contexts, inverse_temperature, tau):
    """queries (Q, E) look at contexts (C, E) -> the score, and the weights (C, Q)."""
    queries, contexts = F.normalize(queries, dim=1), F.normalize(contexts, dim=1)
    leaky = F.leaky_relu(contexts @ queries.T, 0.1)  # (C, Q)
    leaky = leaky / leaky.norm(dim=1, keepdim=True)
    weights = (inverse_temperature * leaky).softmax(0)
    found = F.cosine_similarity(queries, weights.T @ contexts, dim=1)  # (Q,)
    return torch.logsumexp(tau * found, 0) / tau, weights


t2i, words_look = attend_by_hand(W, V, 9, 6)
i2t, regions_look = attend_by_hand(V, W, 4, 5)
for name, by_hand in {"scan-t2i": t2i, "scan-i2t": i2t}.items():
    assert torch.isclose(by_hand, Scorer(name)(V[None], W[None], None, no_padding)[0, 0], atol=1e-5)
both = {"t2i: words look": words_look, "i2t: regions look": regions_look.T}
said = "SCAN's weights: a column of the first panel sums to 1 (one word looks), and a row of the second (one region)."
show(*draw.grids(both, said, rows=REGIONS, columns=WORDS))

# %% [markdown]
# In the figure, two words give weight to the sofa, which neither of them names: scaling its row to unit norm has made
# its small cosines as large as those of the ball. SCAN was the first of its kind on detector regions, and most later
# papers compare with it. It has no parameters of its own, and costs a second product as large as the cosines;
# [notebook 14](14_speed_and_scale.ipynb) shows how to avoid most of it. Published: an rSum of 465.0, both directions
# together as an ensemble of two models, with a GRU on the text side.
#
# ### NAAF: a word that fits nowhere counts against the pair
#
# In CHAN and SCAN a word that fits nowhere adds little. In NAAF it subtracts. With a learned threshold $\theta$ and the
# best region's cosine $m_j = \max_r s_{rj}$:
#
# $$ \text{word } j \text{ counts } \begin{cases} \cos\big(w_j, \sum_r \mathrm{relu}(s_{rj} - \theta)\, v_r\big) & \text{if } m_j > \theta \\
#    m_j - \theta & \text{otherwise} \end{cases} $$
#
# The score is the mean over the words. Below, the caption has a fourth word, *boat*, which the image does not show.

# %%
more = torch.cat([W, torch.tensor([[0.1, -0.5, 0.3, -0.4]])])  # (4, E): dog, red, ball, boat
scorer, threshold = Scorer("naaf"), 0.5
nn.init.constant_(scorer.threshold, threshold)
unit_V, unit_W = F.normalize(V, dim=1), F.normalize(more, dim=1)
counts = {}
for word, w in zip([*WORDS, "boat"], unit_W, strict=True):
    cosines = unit_V @ w  # (R,)
    matched = float(F.cosine_similarity(w, (cosines - threshold).relu() @ unit_V, dim=0))
    best = float(cosines.max())
    counts[word] = matched if best > threshold else best - threshold
naaf = sum(counts.values()) / 4
library = scorer(V[None], more[None], None, torch.ones(1, 4, dtype=torch.bool)).item()
assert abs(naaf - library) < 1e-5
low = " and ".join(word for word in counts if counts[word] < 0)
said = f"What each word counts in NAAF: {low} is mismatched and counts below 0."
show(*draw.bars({word: {"counts": x} for word, x in counts.items()}, said, label="counts"))

# %% [markdown]
# NAAF is meant for captions that are nearly right: one wrong word in ten should cost more than a tenth. It costs what
# SCAN costs, and one parameter. Published: an rSum of 513.2, two models together. The paper derives its threshold from
# the distributions of matched and mismatched words; here it is learned directly.
#
# ## Part 5. Retrieve, then re-rank
#
# A score for every pair of a large gallery takes too long. But it need not be computed for every pair. Embeddings find
# the first $k$ images, and cross-attention puts these in order. The price of cross-attention then no longer depends on
# the size of the gallery, but what is not among the first $k$ stays lost: R@K cannot change for $K \ge k$.
#
# ### Exercise 4. Two scales in one row (bug hunt, difficulty 2 of 3, importance 3 of 3, about 15 minutes)
#
# This function re-ranks the first k items of each query. It raises no error. The printed lines show R@1 in a simulation
# in which cross-attention is far better than the embeddings. **It has two faults.** Write it without them.


# %%
def buggy_rerank(scores, cross, k):
    first = scores.topk(k, 1).indices
    mixed = scores.scatter(1, first, cross[:, :k])  # the scores of the first k, replaced
    return mixed.argsort(1, descending=True)


generator = torch.Generator().manual_seed(0)
noise = torch.randn(2, 200, 200, generator=generator)
scores, cross = 0.25 * torch.eye(200) + 0.1 * noise[0], 0.6 * torch.eye(200) + 0.1 * noise[1] - 1.0
right = torch.arange(200)
print(f"embeddings alone {100 * (scores.argmax(1) == right).double().mean():.1f} %,", end=" ")
print(f"cross-attention on all {100 * (cross.argmax(1) == right).double().mean():.1f} %")
for k in (10, 50, 200):
    print(f"first {k}: {100 * (buggy_rerank(scores, cross, k)[:, 0] == right).double().mean():.1f} %")


def rerank(scores, cross, k):
    """scores, cross (Q, N) -> (Q, N): the items of each query, best first; the first k by `scores` in the
    order of `cross`, then the others in the order of `scores`."""
    ...


check("rerank", rerank)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `cross[:, :k]` are the scores of which items? And if `cross` lies between -1.2 and -0.2, and `scores` between -0.4 and
# 0.6, which items come first?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Do not mix the scores; join two orders. `order = scores.argsort(1, descending=True)`; its first k columns are put into
# the order of `cross.gather(1, order[:, :k])`, by `gather` once more.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: rerank -->
# ```python
# def rerank(scores, cross, k):
#     order = scores.argsort(1, descending=True)
#     first, others = order[:, :k], order[:, k:]
#     again = cross.gather(1, first).argsort(1, descending=True)
#     return torch.cat([first.gather(1, again), others], 1)
# ```
#
# </details>
#
# ### A small model, live
#
# Now a plain model is trained with CHAN: its encoders learn embeddings and, from the same regions and words, CHAN's
# score. The run is short and the world is small. It shows how the two stages are put together and what they cost on
# your machine. It is not a comparison of mechanisms, and a longer run may put the points at other heights.
#
# The test images are then scored in both ways, each with its first caption, and each query's first k are re-ranked.
# Regions and words are encoded once, before the clock starts; a query is timed from its words to its scores.

# %%
predict(
    "neighbours_rerank",
    "Re-ranking the first 50 images: how long does a query take, in percent of the time with CHAN on every image?",
    high=200,
    unit="%",
)

# %%
steps = min(2 * profile.steps // 3, 300)
prepared = prepare(
    course_config(
        enhancement="none", pooling="mean", text_pooling="mean", queue_size=None, objective="infonce",
        scorer="chan", scorer_loss="infonce", test_split="test", steps=steps, batch_size=64, lr=2e-3,
    )
)  # fmt: skip
run = fit(prepared)
expect_trained(run)

# %%
from usercourse.running import waiting
from userlib.evaluation import bootstrap, embed
from userlib.evaluation.cross_scores import Sets

test, model = prepared.test, run.encoders
images, texts = embed(model, test)  # (N, E), (M, E)
first = np.unique(test.caption_to_image, return_index=True)[1]  # the first caption of each image
with waiting("every image compared with every caption by CHAN"):
    sets = Sets(model, test)
    every = torch.arange(len(images))
    cross = torch.stack([sets.scores_of(int(caption), every) for caption in first], 1)  # (N, N)
scores = torch.from_numpy(images @ texts[first].T)

ks = draw.names_of([0, 10, 50, 200, len(images)], len(images))  # 0: the embeddings alone
ms = draw.query_ms(model, test, sets, images, list(ks))
points = {
    name: (ms[k], bootstrap(draw.ranks_after(scores, cross, k), resamples=500)["rsum"])
    for k, name in ks.items()
}
show(*draw.speed_and_accuracy({f"CHAN after {steps} steps": points}))
compare("neighbours_rerank", round(100 * ms[50] / ms[len(images)]), unit="%")

# %% [markdown]
# <details><summary>Think: why can re-ranking the first 10 not change R@10?</summary>
#
# It only changes the order among the first 10. Whether the ground-truth item is one of them was decided by the
# embeddings. So the rSum of "first 10" differs from that of the embeddings by R@1 and R@5 alone.
#
# </details>
#
# ## Part 6. The study
#
# The study `neighbours` trains fifteen models with three seeds each, for 1,500 steps on drawn images. All have the same
# tokens, text encoder, loss (InfoNCE over the batch) and number of steps. Each has the learning rate and the clipping
# that are best for it among those tried, chosen on val with the same budget. Every model is the plain one with one
# thing changed. For the scores by cross-attention, rSum is that of every pair.

# %%
predict(
    "neighbours_best", "Which kind of model has the highest rSum in the study?", options=list(study.KINDS)
)

# %%
from IPython.display import Markdown, display

rows = study.stored()
print(study.summary(rows))
if rows:
    display(Markdown(study.table(rows)))
    if shown := study.speed(rows):
        show(*shown)
    display(compare("neighbours_best", study.best(rows)))

# %% [markdown]
# Read such a table in three steps. First the difference from the plain model: does its confidence interval exclude 0?
# Then the costs: what does a model with as many parameters, or with as much time, reach otherwise? Last the place: a
# pooling, an enhancement and a loss can be combined, and a score can re-rank the hits of any of them.
# [Notebook 11](11_ablations.ipynb) says why fifteen comparisons need an allowance for chance.
#
# ## Verdict
#
# **Shown.** Each of ten mechanisms is an equation and a few lines, equal to the library's. Poolings and enhancements
# leave one vector per side, so their scores take no longer than before; relation graph and soft targets do not even
# change the model that searches; CHAN, SCAN and NAAF need a score for every pair, and re-ranking limits these pairs to
# $k$ per query.
#
# **Not shown.** Which mechanism is better on photographs: the published values come from other features, other tuning
# and often from two models together, and the study is on drawn images. The live run was too short for any ranking. The
# authors' own code was not run; where the library simplifies a mechanism, the text above says so.
#
# ## What to try next
#
# - Train with `scorer_negatives=8` in the live run: the scorer then learns from the negatives that the embeddings find
#   hardest. What changes in the training time, and what in the figure?
# - Combine: `pooling="esa"` with `scorer="chan"`. Which of the points moves?
# - A model that was trained with `--scorer chan` on the command line can be searched with `--rerank 50`.
# - Go on to the demo, [notebook 13](13_retrieval_demo.ipynb), or to what a pair costs,
#   [notebook 14](14_speed_and_scale.ipynb).
#
# ## References
#
# - ESA: "enhanced semantic similarity learning" for image-text matching, as its public code has it. Views: L. Qu and
#   others, *Context-aware multi-view summarization network* (CAMERA), ACM MM 2020.
# - K. Li and others, *Visual semantic reasoning for image-text matching* (VSRN), ICCV 2019. L. Qu and others, *Dynamic
#   modality interaction modeling* (DIME), SIGIR 2021. H. Wang and others, *Consensus-aware visual-semantic embedding*
#   (CVSE), ECCV 2020.
# - Z. Fu and others, HREM, CVPR 2023. H. Huang and others, *Cross-modal and uni-modal soft-label alignment* (CUSA),
#   AAAI 2024.
# - K.-H. Lee and others, *Stacked cross attention* (SCAN), ECCV 2018. Z. Pan and others, CHAN, CVPR 2023. K. Zhang and
#   others, *Negative-aware attention framework* (NAAF), CVPR 2022.

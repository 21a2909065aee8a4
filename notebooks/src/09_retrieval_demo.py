# %% [markdown]
# # 09 The retrieval demo: ask, and see why
#
# You will be able to
#
# - search in both directions, and read off the picture why a hit was found;
# - set two models side by side and say where their ranks differ;
# - tell a failure of the model from a failure of the label, with the scene graph as judge.
#
# | needs | time on two CPU cores | memory |
# |---|---|---|
# | [01_recall](01_recall.ipynb); [03](03_self_guided_enhancement.ipynb) and [04](04_clip_guided_enhancement.ipynb) help | half a minute | 1 GB |

# %%
import numpy as np

from usercourse import check, compare, predict, show, snapshot, start
from usercourse.demo import App, available_models, open_engine, world_gallery
from usercourse.demo.figures import hits_figure, map_figure, why_figure
from usercourse.demo.models import stored_map
from usercourse.running import waiting

profile = start()

# %% [markdown]
# ## The claim
#
# The paper's figures show USER's [enhancement](GLOSSARY.md#enhancement) looking at the right
# [regions](GLOSSARY.md#region), and its search finding the right pictures. Figures are chosen by their authors. Here
# you choose: small models, trained on the drawn world and kept in the repository, answer over 1,000 test pictures
# that none of them has seen.

# %%
with waiting("the gallery and its models"):
    gallery = world_gallery()
    engines = {title: open_engine(name, gallery) for title, name in available_models().items()}
for title, engine in engines.items():
    test = engine.encoder.loaded.metadata["test"]
    print(f"{title:16} text to picture R@1 {test['t2i_r1']:5.1f} %   R@10 {test['t2i_r10']:5.1f} %")

# %% [markdown]
# ## A hand example
#
# A [query](GLOSSARY.md#query) has words, a picture has regions, and before pooling both are vectors of one space. Which
# word answers to which region? Two words and three regions, with vectors of two numbers. The cosine of word $w$ and
# region $r$ is $w \cdot r$ over both lengths.
#
# Think: the third region is five times as long as the first. Which of them does *red* answer to?

# %%
hand_words = {"red": (1.0, 0.0), "ball": (0.6, 0.8)}
hand_regions = [(2.0, 0.0), (0.0, 1.0), (6.0, 8.0)]
for word, w in hand_words.items():
    cosines = [(w[0] * r[0] + w[1] * r[1]) / (np.hypot(*w) * np.hypot(*r)) for r in hand_regions]
    print(word, [round(float(c), 2) for c in cosines])

# %% [markdown]
# To the first, with a cosine of 1: length does not count. *Ball* answers to the third.
#
# ### Exercise 1. Words against regions (difficulty 1 of 3, about 5 minutes)
#
# words $(W, E)$ and regions $(R, E)$ to all cosines at once, $(W, R)$.


# %%
def word_heat(words, regions):
    """words (W, E), regions (R, E) -> (W, R)."""
    ...


check("word_heat", word_heat)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A dot product of two vectors of length 1 is their cosine.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Normalise the last axis of both, then one matrix product with the regions transposed.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: word_heat -->
# ```python
# def word_heat(words, regions):
#     words = words / words.norm(dim=-1, keepdim=True)
#     regions = regions / regions.norm(dim=-1, keepdim=True)
#     return words @ regions.T
# ```
#
# </details>

# %% [markdown]
# ## The same in the model
#
# `look` takes a picture's [tokens](GLOSSARY.md#token), a grid of 8 x 8, and gives the attention $a$ of each
# [guide](GLOSSARY.md#guide), scaled to a sum of 1, and the heat of the words.

# %%
best = engines[next(title for title in engines if title.startswith("full"))]
answer = best.search("A penguin rides a scooter in a classroom.", 12)
seen = best.explain(answer.hits[0].id, "A penguin rides a scooter in a classroom.")
R = seen.grid[0] * seen.grid[1]
assert seen.similarity.shape == (len(seen.words), R)
assert all(a.shape == (R,) and abs(a.sum() - 1) < 1e-4 for a in seen.attention.values())
print(
    seen.grid,
    seen.words,
    {name: f"largest {a.max():.3f}, mean {1 / R:.3f}" for name, a in seen.attention.items()},
)


# %%
def why(model, query, rank):
    """Attention and words on one hit, as a figure and a sentence."""
    return why_figure(engines[model], query, rank)


snapshot(why, model=best.name, query="A penguin rides a scooter in a classroom.", rank=1)

# %% [markdown]
# ## The demo
#
# Type a sentence and press Enter, or bring a picture of your own. Choose a hit to see where the model looks and which
# word answers to which region; choose a second model to see both answers with their differences in rank. The other
# panels hold the map of the joint space, the failures, and a folder of your photos. Everything works from the keyboard:
# Tab, arrow keys, Enter.
#
# As a page of its own: `make demo`, or `python course.py demo`.

# %%
App()

# %% [markdown]
# The same standing still, for a page on which no widget lives:


# %%
def hits(model, query, k):
    """The k best pictures, as a figure and a sentence."""
    return hits_figure(engines[model], query, k)


for title in (next(iter(engines)), best.name):
    snapshot(hits, model=title, query="A truck on a playground.", k=8)

# %% [markdown]
# ### Exercise 2. Side by side (difficulty 2 of 3, about 10 minutes)
#
# Two models return lists of picture ids, the best first. For each picture of the first list: by how many places does
# the first model place it higher than the second? None where the second list lacks it.


# %%
def rank_changes(first, second):
    """Two lists of ids -> {id of the first list: places gained, or None}."""
    ...


check("rank_changes", rank_changes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A rank is a place in a list; higher means a smaller number.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Note the place of each id of the second list in a dictionary; then the gain is the place there less the place here.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: rank_changes -->
# ```python
# def rank_changes(first, second):
#     place = {name: rank for rank, name in enumerate(second)}
#     return {
#         name: place[name] - rank if name in place else None for rank, name in enumerate(first)
#     }
# ```
#
# </details>

# %% [markdown]
# ## When is a failure a failure?
#
# [R@K](GLOSSARY.md#recall-at-k) knows one right picture for a caption: its own. But *a boy in the park* may be true of
# twenty pictures, and a model that finds another of them first is called wrong. In photos nobody knows how often. Here
# the scene graph knows: a caption is a set of facts, a picture is a larger set, and the caption is true where its set
# lies within the picture's.
#
# ### Exercise 3. What a caption is true of (difficulty 1 of 3, about 5 minutes)


# %%
def true_of(caption, pictures):
    """caption: a set of facts; pictures: a list of such sets -> the numbers of those that it is true of."""
    ...


check("true_of", true_of)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Nothing of what the caption says may be missing in the picture; the picture may hold more.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Python compares sets: `<=` asks whether one lies within the other.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: true_of -->
# ```python
# def true_of(caption, pictures):
#     return [i for i, picture in enumerate(pictures) if caption <= picture]
# ```
#
# </details>

# %%
predict(
    "demo_also_true",
    "Of the captions whose own picture is not the first hit: of how many is the first hit true all the same?",
    low=0,
    high=100,
    unit="%",
)

# %% [markdown]
# ## The experiment
#
# All 5,000 captions are asked. The baseline is luck: how often a caption is true of a picture drawn at random. The
# [interval](GLOSSARY.md#interval) draws pictures, with all their captions, as in notebook 01.

# %%
from userlib.evaluation import Interval

rng = np.random.default_rng(0)
draws = rng.integers(len(gallery), size=(1000, len(gallery)))
by_luck = 100 * len(gallery.pairs) / (len(gallery.captions) * len(gallery))


def also_true(engine):
    """The share of failures that the scene graph calls right, in percent, with its 95 % interval."""
    ranks, first, _ = engine.caption_ranks()
    failed = ranks > 1
    fine = np.array([int(first[j]) in gallery.true_pictures.get(j, ()) for j in range(len(first))]) & failed
    count = len(gallery)
    per_picture = [
        np.bincount(gallery.caption_to_image, weights=which, minlength=count) for which in (fine, failed)
    ]
    values = 100 * per_picture[0][draws].sum(1) / per_picture[1][draws].sum(1)
    return Interval(100 * fine.sum() / failed.sum(), *np.quantile(values, [0.025, 0.975]))


with waiting("5,000 captions asked of each model"):
    measured = {title: also_true(engine) for title, engine in engines.items()}
for title, (value, low, high) in measured.items():
    print(f"{title:16} {value:5.1f} % [{low:.1f}, {high:.1f}]   by luck {by_luck:.2f} %")
compare("demo_also_true", measured[best.name], unit="%")

# %% [markdown]
# ## The map
#
# Pictures and captions on one plane, by UMAP: what lies together in the joint space lies together there. Two clouds
# appear. Training asks a caption to be nearer to its own picture than to *other pictures*; it never asks it to be nearer
# to a picture than to other captions. So the two kinds keep apart, as they do in CLIP, where it is called the modality
# gap. Ranks do not mind, since a query is only compared with things of the other kind. What the map is good for is the
# neighbourhoods within the cloud of pictures.

# %%
name = available_models()[best.name]
show(*map_figure(stored_map(name), len(gallery), best.name))

# %% [markdown]
# ## Your own photos
#
# The last panel indexes a folder: each picture is encoded once, the index is kept and found again. These models
# have only seen drawings, and the page says so. An open_clip model has seen the web; give its name, such as
# `ViT-B-32/laion2b_s34b_b79k`, and its weights are fetched once.
#
# ## Verdict
#
# **Shown.** Some of what R@K counts as failures, a few in a hundred here, are right answers that the label does not know;
# their share lies far above luck. The scene graph tells them from the others, and names for each other failure the fact
# that the first hit lacks. Attention can be laid over the picture and read.
#
# **Not shown.** That attention *causes* the better hits: a map over a picture is a description. Anything about photos.
# Which of the models is better, beyond these test pictures and one seed each: that is the question of notebook 08.
#
# **What to try next.** Ask for *a red ball and a blue car*, then swap the colours: does the order of the hits change?
# Open the failures of *mean pooling* and of the full model: which causes become rarer? Cover the thing that you asked for
# in a picture of your own, upload it again, and see what attention does.
#
# **References.** Y. Zhang, Z. Ji, D. Wang, Y. Pang, X. Li:
# [USER: Unified Semantic Enhancement With Momentum Contrast for Image-Text Retrieval](https://doi.org/10.1109/TIP.2023.3348297),
# IEEE Transactions on Image Processing 33 (2024), 595-609. L. McInnes, J. Healy, J. Melville:
# [UMAP](https://arxiv.org/abs/1802.03426), 2018. W. Liang et al.:
# [Mind the gap](https://arxiv.org/abs/2203.02053), NeurIPS 2022.

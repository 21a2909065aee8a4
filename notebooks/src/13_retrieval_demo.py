# %% [markdown]
# # 13 The retrieval demo: search, and see why
#
# You will be able to
#
# - search in both directions, and see in the image why a hit was retrieved;
# - compare two models and say where their ranks differ;
# - tell a failure of the model from a failure of the label, by means of the scene graph.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [01_recall](01_recall.ipynb); [03](03_self_guided_enhancement.ipynb) and [04](04_clip_guided_enhancement.ipynb) help | half a minute | 40 minutes | 1 GB |

# %%
import numpy as np
import torch

from usercourse import check, compare, predict, show, snapshot, start
from usercourse.demo import App, available_models, open_engine, world_gallery
from usercourse.demo.figures import hits_figure, map_figure, why_figure
from usercourse.demo.models import stored_map
from usercourse.diagrams import diagram
from usercourse.running import waiting

profile = start()
diagram("pipeline", here=("search",))

# %% [markdown]
# ## The claim
#
# The paper's figures show that USER's [enhancement](GLOSSARY.md#enhancement) attends to the relevant
# [regions](GLOSSARY.md#region), and that its search retrieves matching images. Figures are selected by their authors.
# Here you choose what to search for: small models, trained on the drawn world and stored in the repository, search
# 1,000 test images that none of them was trained on.

# %%
with waiting("the gallery and its models"):
    gallery = world_gallery()
    engines = {title: open_engine(name, gallery) for title, name in available_models().items()}
for title, engine in engines.items():
    test = engine.encoder.loaded.metadata["test"]
    print(f"{title:16} text to image R@1 {test['t2i_r1']:5.1f} %   R@10 {test['t2i_r10']:5.1f} %")

# %% [markdown]
# ## A hand example
#
# A [query](GLOSSARY.md#query) has words, an image has regions, and before pooling both are vectors of one space. Which
# word is similar to which region? Take two words and three regions, with vectors of two dimensions. The cosine of word $w$
# and region $r$ is $w \cdot r$ divided by both norms.
#
# **Think:** the third region has five times the norm of the first. Which of these two is more similar to *red*?

# %%
hand_words = {"red": (1.0, 0.0), "ball": (0.6, 0.8)}
hand_regions = [(2.0, 0.0), (0.0, 1.0), (6.0, 8.0)]
for word, w in hand_words.items():
    cosines = [(w[0] * r[0] + w[1] * r[1]) / (np.hypot(*w) * np.hypot(*r)) for r in hand_regions]
    print(word, [round(float(c), 2) for c in cosines])

# %% [markdown]
# The first region, with a cosine of 1: the norm does not matter. *Ball* is most similar to the third.
#
# ### Exercise 1. Words against regions (difficulty 1 of 3, about 5 minutes)
#
# Compute all cosines at once: words $(W, E)$, regions $(R, E)$ -> $(W, R)$.


# %%
def word_region_similarity(words, regions):
    """words (W, E), regions (R, E) -> (W, R)."""
    ...


check("word_region_similarity", word_region_similarity)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A dot product of two vectors of unit norm is their cosine.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Normalise the last axis of both, then one matrix product with the regions transposed.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: word_region_similarity -->
# ```python
# def word_region_similarity(words, regions):
#     words = words / words.norm(dim=-1, keepdim=True)
#     regions = regions / regions.norm(dim=-1, keepdim=True)
#     return words @ regions.T
# ```
#
# </details>

# %% [markdown]
# ## The same in the model
#
# `explain` takes an image's [tokens](GLOSSARY.md#token), a grid of 8 x 8, and returns the attention $a$ of each
# [guide](GLOSSARY.md#guide), scaled to a sum of 1, and the word-region similarity.

# %%
best = engines[next(title for title in engines if title.startswith("full"))]
answer = best.search("A penguin rides a scooter in a classroom.", 12)
explanation = best.explain(answer.hits[0].id, "A penguin rides a scooter in a classroom.")
R = explanation.grid[0] * explanation.grid[1]
assert explanation.similarity.shape == (len(explanation.words), R)
assert all(a.shape == (R,) and abs(a.sum() - 1) < 1e-4 for a in explanation.attention.values())
print(
    explanation.grid,
    explanation.words,
    {name: f"largest {a.max():.3f}, mean {1 / R:.3f}" for name, a in explanation.attention.items()},
)


# %%
def why(model, query, rank):
    """Attention and words on one hit, as a figure and a sentence."""
    return why_figure(engines[model], query, rank)


snapshot(why, model=best.name, query="A penguin rides a scooter in a classroom.", rank=1)

# %% [markdown]
# ### Exercise 2. The words that matter (difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# The figure shows where each word of the query is similar to the image: all words share one scale, whose bar shows the
# cosine, and words such as *a* and *in* are left out. It does not show which word the hit is due to. Leave out each
# word of the query in turn: by how much does the score fall? This is the *leave-one-out importance* of a word. `encode`
# and `image` below come from the model, so that you can try your function on the hit above.


# %%
def encode(words):
    """A list of words -> (E,), unit norm: the vector of this query by the full model."""
    return torch.tensor(best.encoder.encode_text([" ".join(words)])[0])


words = ["a", "penguin", "rides", "a", "scooter"]
image = torch.tensor(best.index.vectors[best.gallery.row[answer.hits[0].id]])  # (E,)
print(f"the score of {' '.join(words)!r}: {float(encode(words) @ image):.3f}")


def word_importance(encode, words, image):
    """encode: a list of words -> (E,); words: a list; image (E,) -> (W,): how far the score falls without each."""
    ...


check("word_importance", word_importance)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The score is `encode(words) @ image`. Which list has all the words but the one in place i? The same word may occur
# twice in a query.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `words[:i] + words[i + 1:]` leaves out place i. The importance is the score with the word minus the score without it.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: word_importance -->
# ```python
# def word_importance(encode, words, image):
#     whole = encode(words) @ image
#     rest = [words[:i] + words[i + 1 :] for i in range(len(words))]
#     return torch.stack([whole - encode(one) @ image for one in rest])
# ```
#
# </details>
#
# ## The demo
#
# Type a query and press Enter, or upload an image of your own. Choose a hit to see where the model attends and which word is
# similar to which region; choose a second model to see both results with their differences in rank. The other panels show
# the map of the joint space, the failures, and a folder of your photos. Everything works from the keyboard: Tab, arrow
# keys, Enter.
#
# To open the demo as a separate page: `make demo`, or `python course.py demo`.

# %%
App()

# %% [markdown]
# Static snapshots of the widget, for readers without a kernel:


# %%
def hits(model, query, k):
    """The k best images, as a figure and a sentence."""
    return hits_figure(engines[model], query, k)


for title in (next(iter(engines)), best.name):
    snapshot(hits, model=title, query="A truck on a playground.", k=8)

# %% [markdown]
# ### Exercise 3. Search among some (bug hunt, difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# A page may offer to search among some images only, such as those of one folder. This function does so, and it passed
# its only test, in which all images were shown and one hit was asked for. **It has two faults.** Write it without them:
# return the rows of the k best images among those shown, best first, and fewer than k if fewer are shown.


# %%
def buggy_search(query, gallery, shown, k):
    return np.argsort(gallery[shown] @ query)[-k:]


rng = np.random.default_rng(0)
angles = rng.permutation(np.linspace(0, np.pi, 40))
gallery_of_40 = np.stack([np.cos(angles), np.sin(angles)], 1)  # (40, 2), unit norm
some, query = np.arange(40) >= 20, np.array([1.0, 0.0])  # the second half is shown
rows = buggy_search(query, gallery_of_40, some, 5)
print(f"rows {rows}, shown: {some[rows]}, cosines {(gallery_of_40[rows] @ query).round(2)}")


def search_shown(query, gallery, shown, k):
    """query (E,), gallery (N, E), shown (N,) of True and False -> rows of the gallery, at most k, best first."""
    ...


check("search_shown", search_shown)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Row 3 of `gallery[shown]` is the fourth image that is shown. Which row of `gallery` is that? And where among
# the last k of an ascending sort is the best one?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `np.flatnonzero(shown)` contains the rows that are shown, in order: index it with the places found among them.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: search_shown -->
# ```python
# def search_shown(query, gallery, shown, k):
#     rows = np.flatnonzero(shown)
#     return rows[np.argsort(-(gallery[rows] @ query))[:k]]
# ```
#
# </details>
#
# ### Exercise 4. Side by side (difficulty 2 of 3, about 10 minutes)
#
# Two models return lists of image ids, best first. For each image of the first list: by how many ranks does the first
# model place it better than the second? The answer is None if the image is not in the second list.


# %%
def rank_changes(first, second):
    """Two lists of ids -> {id of the first list: ranks gained, or None}."""
    ...


check("rank_changes", rank_changes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A rank is a position in a list; a better rank is a smaller number.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Store the rank of each id of the second list in a dictionary; the gain is the rank there minus the rank here.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: rank_changes -->
# ```python
# def rank_changes(first, second):
#     other = {name: rank for rank, name in enumerate(second)}
#     return {
#         name: other[name] - rank if name in other else None for rank, name in enumerate(first)
#     }
# ```
#
# </details>

# %% [markdown]
# ## When is a failure a failure?
#
# [R@K](GLOSSARY.md#recall-at-k) counts one image as relevant for a caption: its ground-truth image. But *a boy in the
# park* may be true of twenty images, and a model that ranks another of them first counts as wrong. In photo collections
# it is unknown how often that happens. Here the scene graph gives the answer: a caption is a set of facts, an image is
# a larger set, and the caption is true if its set is contained in the image's.
#
# ### Exercise 5. What a caption is true of (difficulty 1 of 3, about 5 minutes)


# %%
def true_of(caption, pictures):
    """caption: a set of facts; images: a list of such sets -> the indices of those that it is true of."""
    ...


check("true_of", true_of)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# No fact of the caption may be missing in the image; the image may contain more.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Python compares sets: `<=` tests whether one is a subset of the other.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: true_of -->
# ```python
# def true_of(caption, images):
#     return [i for i, image in enumerate(images) if caption <= image]
# ```
#
# </details>

# %%
predict(
    "demo_also_true",
    "Of the captions whose ground-truth image is not the first hit: how many are true of the first hit all the same?",
    low=0,
    high=100,
    unit="%",
)

# %% [markdown]
# ## The experiment
#
# All 5,000 captions are used as queries. The baseline is chance: how often a caption is true of an image drawn at random. The
# [confidence interval](GLOSSARY.md#interval) resamples images, with all their captions, as in notebook 01.

# %%
from userlib.evaluation import Interval

rng = np.random.default_rng(0)
draws = rng.integers(len(gallery), size=(1000, len(gallery)))
by_chance = 100 * len(gallery.pairs) / (len(gallery.captions) * len(gallery))


def also_true(engine):
    """The share of failures that are true by the scene graph, in percent, with its 95 % confidence interval."""
    ranks, first, _ = engine.caption_ranks()
    failed = ranks > 1
    fine = np.array([int(first[j]) in gallery.true_pictures.get(j, ()) for j in range(len(first))]) & failed
    count = len(gallery)
    per_image = [
        np.bincount(gallery.caption_to_image, weights=which, minlength=count) for which in (fine, failed)
    ]
    values = 100 * per_image[0][draws].sum(1) / per_image[1][draws].sum(1)
    return Interval(100 * fine.sum() / failed.sum(), *np.quantile(values, [0.025, 0.975]))


with waiting("5,000 queries to each model"):
    measured = {title: also_true(engine) for title, engine in engines.items()}
for title, (value, low, high) in measured.items():
    print(f"{title:16} {value:5.1f} % [{low:.1f}, {high:.1f}]   by chance {by_chance:.2f} %")
compare("demo_also_true", measured[best.name], unit="%")

# %% [markdown]
# ## The map
#
# The map shows images and captions in one plane, by UMAP: what is close in the joint space is close on the map.
# Training makes a caption more similar to its own image than to *other images*; it does not make it more similar to an
# image than to other captions. So the two modalities stay apart, as they do in CLIP, where this is called the modality
# gap. It does not affect ranks, since a query is only compared with items of the other modality, but it would fill the
# map: two clouds and nothing else. Therefore the mean of each modality is subtracted first. The colours are the places
# that the images show. Images of one place lie together, and the captions that name a place lie at the edge of its
# images; captions that name none lie elsewhere.

# %%
name = available_models()[best.name]
show(*map_figure(stored_map(name), gallery, best.name))

# %% [markdown]
# ## Your own photos
#
# The last panel of the demo indexes a folder: each image is encoded once, and the index is stored and reused. These
# models were trained on drawings only, and the page says so. An open_clip model was trained on images from the web;
# give its name, such as `ViT-B-32/laion2b_s34b_b79k`, and its weights are downloaded once.
#
# ## Verdict
#
# **Shown.** Of the first hits that R@K counts as failures, some, a few percent here, are relevant images that the label
# does not name; their share is far above chance. The scene graph separates these from the others, and for each of the
# others it names the fact that the first hit lacks. Attention can be displayed over the image and read.
#
# **Not shown.** That attention *causes* the better hits: a map over an image is a description. Anything about photos.
# Which of the models is better in general, and not only on these test images and with one seed each: that is the
# question of notebook 11.
#
# **What to try next.** Search for *a red ball and a blue car*, then swap the colours: does the order of the hits change?
# Open the failures of *mean pooling* and of the full model: which causes become rarer? Cover the object that you searched for
# in an image of your own, upload it again, and see what happens to the attention.
#
# **References.** Y. Zhang, Z. Ji, D. Wang, Y. Pang, X. Li:
# [USER: Unified Semantic Enhancement With Momentum Contrast for Image-Text Retrieval](https://doi.org/10.1109/TIP.2023.3348297),
# IEEE Transactions on Image Processing 33 (2024), 595-609. L. McInnes, J. Healy, J. Melville:
# [UMAP](https://arxiv.org/abs/1802.03426), 2018. W. Liang et al.:
# [Mind the gap](https://arxiv.org/abs/2203.02053), NeurIPS 2022.

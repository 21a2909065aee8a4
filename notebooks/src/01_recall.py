# %% [markdown]
# # 01 Recall: how retrieval is measured
#
# You will be able to
#
# - say what image-text retrieval is, and score images against captions with one matrix product;
# - build R@K, the metric that every paper in the field reports, starting from a loop, and know its traps;
# - say how certain such a value is, and whether one model beats another.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | no earlier notebook; vectors at school level and a little Python | 15 s in the fast profile, 20 s in the full | 40 minutes | 0.8 GB |

# %%
import numpy as np

from usercourse import Demo, check, compare, predict, show, show_table, slider, snapshot, start
from usercourse import recall as draw
from usercourse.diagrams import diagram
from usercourse.plots import heat_map, intervals, pictures

profile = start()
diagram("pipeline", here=("recall",))

# %% [markdown]
# ## The claim
#
# The abstract of the USER paper ([Zhang and others, 2024](https://doi.org/10.1109/TIP.2023.3348297)) says that on the
# 5,000 test images of MSCOCO the method improves [R@1](GLOSSARY.md#recall-at-k) over the best earlier method by 5 % for
# the retrieval of captions and by 2.4 % for that of images, and that its search is more than 60 times faster.
#
# Before we build any of it: what is R@1, and is a gain of 2.4 % large?
#
# [Image-text retrieval](GLOSSARY.md#retrieval) has two directions. **t2i**: a caption is the
# [query](GLOSSARY.md#query), and its image, the *ground-truth image*, is to be found in a
# [gallery](GLOSSARY.md#gallery) of images. **i2t**: an image is the query, and one of its captions is to be found among
# all captions.

# %% [markdown]
# ## A hand example: three images
#
# A model turns every image $i$ into a vector $v_i$ and every caption $j$ into a vector $t_j$, all of unit norm: their
# [embeddings](GLOSSARY.md#embedding). The score of a pair is the [cosine](GLOSSARY.md#cosine) of the angle between
# them, which for vectors of unit norm is the dot product:
#
# $$ s_{ij} = v_i \cdot t_j $$
#
# Real embeddings have hundreds of dimensions. Ours have two, so that you can follow with a pencil: how much dog, and
# how much sofa. Each image has two captions.

# %%
names = ["image 0: a dog on a beach", "image 1: an empty sofa", "image 2: a dog on a sofa"]
v = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])  # (N, E)
written = {
    "a dog": ([1.0, 0.0], 0),
    "a dog that feels at home": ([0.6, 0.8], 0),
    "a sofa": ([0.0, 1.0], 1),
    "a sofa, and no dog at all": ([-0.6, 0.8], 1),
    "a dog and cushions": ([0.8, 0.6], 2),
    "a dog about to leave": ([0.8, -0.6], 2),
}
t = np.array([vector for vector, _ in written.values()])  # (M, E)
caption_to_image = np.array(
    [owner for _, owner in written.values()]
)  # (M,): the image i(j) of each caption j
N, M = len(v), len(t)

show(*draw.unit_circle(v, t, caption_to_image, names))

# %% [markdown]
# One matrix product gives all scores at once: $S = V T^\top$, where the rows of $V$ are the image vectors and those of
# $T$ the caption vectors. $S$ has $N$ rows, one per image, and $M$ columns, one per caption. We will often draw a
# matrix as shaded cells; first, here is a matrix that you know, the identity.

# %%
show(*heat_map(np.eye(4), rows=list("abcd"), columns=list("abcd")))

# %%
s = v @ t.T
assert s.shape == (N, M)

own = caption_to_image == np.arange(N)[:, None]  # (N, M): True for the matching pairs
columns = [f"t{j}" for j in range(M)]
show(*heat_map(s, rows=["v0", "v1", "v2"], columns=columns, own=own))

# %% [markdown]
# ## Rank, then R@K
#
# Read column t1, "a dog that feels at home". Its ground-truth image 0 scores 0.60; images 1 and 2 score higher. So the
# ground-truth image comes third: its [rank](GLOSSARY.md#rank) is 3. In general, for caption $j$ with its image $i(j)$,
#
# $$ r_j = 1 + \#\{\, i \ne i(j) : s_{ij} \ge s_{i(j)j} \,\} $$
#
# and R@K is the share of captions whose image is among the first K, in percent:
#
# $$ \mathrm{R@K} = \frac{100}{M}\, \#\{\, j : r_j \le K \,\} $$
#
# Here is the first formula as a loop.


# %%
def caption_ranks_loop(s, caption_to_image):
    """s (N, M), caption_to_image (M,) -> r (M,): the rank of each caption's image; 1 is first."""
    N, M = s.shape
    r = []
    for j in range(M):
        rank = 1
        for i in range(N):
            if i != caption_to_image[j] and s[i, j] >= s[caption_to_image[j], j]:
                rank += 1
        r.append(rank)
    return np.array(r)


r = caption_ranks_loop(s, caption_to_image)
assert r.shape == (M,)
for j, text in enumerate(written):
    print(f"t{j}  rank {r[j]}  {text}")
print(f"t2i R@1 = {100 * (r <= 1).mean():.1f} %, R@2 = {100 * (r <= 2).mean():.1f} %")

# %% [markdown]
# Four of six captions rank their image first: 66.7 %. The name *recall* is customary, but what is measured is a [hit
# rate](GLOSSARY.md#hit-rate): was there a relevant item among the first K, yes or no?
#
# In the other direction each query, an image, has several relevant captions. The **best-ranked** of them counts, and
# the captions of one image do not compete with each other:
#
# $$ r_i = 1 + \#\{\, j : i(j) \ne i,\; s_{ij} \ge \max_{j' : i(j') = i} s_{ij'} \,\} $$


# %%
def image_ranks_loop(s, caption_to_image):
    """s (N, M), caption_to_image (M,) -> r (N,): the rank of each image's best own caption."""
    N, M = s.shape
    r = []
    for i in range(N):
        best = max(s[i, j] for j in range(M) if caption_to_image[j] == i)
        r.append(1 + sum(1 for j in range(M) if caption_to_image[j] != i and s[i, j] >= best))
    return np.array(r)


r = image_ranks_loop(s, caption_to_image)
assert r.shape == (N,)
print("ranks of the images:", r)

# %% [markdown]
# Image 2 has rank 2: "a dog that feels at home" was written for image 0, but it scores higher with image 2 than either
# of the captions written for image 2. This counts as an error of the model. Is it one? Keep the question in mind; we
# will come back to it.
#
# ### From the loop to the product
#
# The loop visits every pair in Python. For 5,000 images and 25,000 captions that takes minutes; numpy counts whole
# columns at once.


# %%
def caption_ranks(s, caption_to_image):
    """The loop above, without a loop."""
    right = s[caption_to_image, np.arange(len(caption_to_image))]  # (M,): the score of each matching pair
    return (s >= right).sum(0)  # the ground-truth image itself supplies the 1


def image_ranks_counted(s, caption_to_image):
    """The same with images as queries."""
    own = caption_to_image == np.arange(len(s))[:, None]  # (N, M)
    best = np.where(own, s, -np.inf).max(1, keepdims=True)  # (N, 1)
    return 1 + ((s >= best) & ~own).sum(1)


rng = np.random.default_rng(0)
trial, owners = rng.normal(size=(20, 100)).round(1), np.repeat(np.arange(20), 5)  # rounded: ties
assert (caption_ranks(trial, owners) == caption_ranks_loop(trial, owners)).all()
assert (image_ranks_counted(trial, owners) == image_ranks_loop(trial, owners)).all()
print("loop and product agree, ties included")

# %% [markdown]
# The library should agree with the loops too. From here on we use it, now that we know what it computes. It takes
# embeddings or scores, works tile by tile so that it needs little memory, and returns the ranks of both directions at
# once.

# %%
from userlib.evaluation import (
    Interval,
    bootstrap,
    multi_positive_recalls,
    paired_bootstrap,
    ranks,
    ranks_from_scores,
    recalls,
)

library = ranks_from_scores(trial, owners)
assert (library.t2i == caption_ranks_loop(trial, owners)).all()
assert (library.i2t == image_ranks_loop(trial, owners)).all()
for metric, value in recalls(library).as_dict().items():
    print(f"{metric:11} {value:6.1f}")

# %% [markdown]
# Twelve values. Papers usually report seven: R@1, R@5 and R@10 in both directions, and their sum
# [rSum](GLOSSARY.md#rsum), at most 600.
#
# ## The trap of ties
#
# Imagine a model that has [collapsed](GLOSSARY.md#collapse): it maps every image and every caption to the same vector,
# so all scores are equal. And suppose that ranks are counted with `>` where we wrote `>=`.

# %%
predict("recall_collapsed", "What R@1 does the collapsed model get, counted with > ?", unit="%")

# %%
flat, flat_of = np.ones((100, 500)), np.repeat(np.arange(100), 5)
strict = 1 + (flat > flat[flat_of, np.arange(500)]).sum(0)
print(f"with >=: R@1 = {100 * (caption_ranks(flat, flat_of) <= 1).mean():.1f} %")
print(f"with > : R@1 = {100 * (strict <= 1).mean():.1f} %")

compare("recall_collapsed", 100 * float((strict <= 1).mean()), unit="%")

# %% [markdown]
# A tie must count against the query; otherwise a model that has learned nothing gets a perfect score. For the same
# reason scores are computed in [float32](GLOSSARY.md#half-precision): in half precision many scores round to the same
# value, and ties decide the result.
#
# ### Exercise 1. R@K (difficulty 1 of 3, about 5 minutes)
#
# Combine the two formulas for captions as queries: the function takes the scores and the image of each caption, and
# returns one percentage. The check recognises four ways to be almost right.


# %%
def recall_at_k(scores, caption_to_image, K):
    """scores (N, M), caption_to_image (M,) -> R@K in percent, caption to image."""
    ...


check("recall_at_k", recall_at_k)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First take the score of each caption with its own image, then count how many scores in its column reach it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `scores[caption_to_image, np.arange(len(caption_to_image))]` is the score of every matching
# pair. Summing `scores >= that` down the columns gives ranks; the mean of `ranks <= K` is the share.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: recall_at_k -->
# ```python
# def recall_at_k(scores, caption_to_image, K):
#     right = scores[caption_to_image, np.arange(len(caption_to_image))]
#     ranks = (scores >= right).sum(0)
#     return 100 * (ranks <= K).mean()
# ```
#
# </details>
#
# ### Exercise 2. The best of five (difficulty 2 of 3, about 10 minutes)
#
# Now the other direction: compute the rank of every image, with or without a loop. The captions may come in any order.


# %%
def image_ranks(scores, caption_to_image):
    """scores (N, M), caption_to_image (M,) -> (N,): the rank of the best own caption of each image."""
    ...


check("image_ranks", image_ranks)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For one image: split its row of scores into those of its own captions and all others. Which of its own captions
# counts?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `own = caption_to_image == i` splits the row. The rank is 1 plus the number of `scores[i, ~own]` that reach
# `scores[i, own].max()`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: image_ranks -->
# ```python
# def image_ranks(scores, caption_to_image):
#     ranks = []
#     for i in range(len(scores)):
#         own = caption_to_image == i
#         ranks.append(1 + (scores[i, ~own] >= scores[i, own].max()).sum())
#     return np.array(ranks)
# ```
#
# </details>
#
# ### Exercise 3. Ranks by sorting (bug hunt, difficulty 2 of 3, about 10 minutes)
#
# If the gallery has been sorted anyway, the ranks can be read off the order. Functions like the one below are found in
# public code. The test of this one had two images and no ties, and it passed. **It has two faults.** Write it without
# them, with or without a sort.


# %%
def buggy_ranks(scores, caption_to_image):
    order = np.argsort(-scores, axis=0, kind="stable")  # (N, M): the images, best first
    return 1 + order[caption_to_image, np.arange(scores.shape[1])]


two, two_of = np.array([[0.9, 0.2, 0.6], [0.4, 0.7, 0.8]]), np.array([0, 0, 1])
for name, scores, of in (("its test", two, two_of), ("the six captions", s, caption_to_image)):
    print(f"{name + ':':17} {buggy_ranks(scores, of)}, by the loop {caption_ranks_loop(scores, of)}")
print("all scores equal:", buggy_ranks(np.ones((3, 3)), np.arange(3)), "by the loop", [3, 3, 3])


def sorted_ranks(scores, caption_to_image):
    """scores (N, M), caption_to_image (M,) -> (M,): the rank of each caption's image; 1 is first."""
    ...


check("sorted_ranks", sorted_ranks)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `order[k, j]` is the image in place k for caption j. Which question is to be answered, and which one does the code
# answer? And in what order does a stable sort leave images with equal scores?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The place of image i is where `order[:, j] == i`. With ties, the place that counts is the last one whose image has the
# same score as the ground-truth image. Counting `scores >= own` answers both questions at once.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: sorted_ranks -->
# ```python
# def sorted_ranks(scores, caption_to_image):
#     own = scores[caption_to_image, np.arange(scores.shape[1])]
#     ordered = -np.sort(-scores, axis=0)  # (N, M), best first
#     return np.array([np.flatnonzero(ordered[:, j] >= own[j])[-1] + 1 for j in range(len(own))])
# ```
#
# </details>
#
# ## Try it: a retriever of known quality
#
# We have no model yet, so we make one up. Every image is a random direction; each of its captions is that direction
# plus noise. With noise 0 retrieval is perfect, with large noise it is guesswork. The two curves, one for each
# direction, show R@K for every K.
#
# **Think** before you move anything: which curve is higher, and what does a larger gallery do to R@1?

# %%
snapshot(draw.toy_demo, images=500, captions=5, noise=2.0)
Demo(
    draw.toy_demo,
    images=slider("images N", 100, 1000, value=500, step=100),
    captions=slider("captions per image", 1, 10, value=5, step=1),
    noise=slider("noise", 0.0, 6.0, value=2.0, step=0.25),
)

# %% [markdown]
# <details><summary>What you may have seen</summary>
#
# Image to caption is higher, because the best of five captions counts; with one caption per image the two curves
# coincide. A larger gallery contains more competitors, so R@1 falls as N grows, although the model is the same. Values
# of R@K from galleries of different sizes cannot be compared.
#
# </details>
#
# **Why five captions?** One writer mentions the dog, another the beach. Five writers give five independent queries for
# each image, and a search has to cope with all of them.
#
# ## How certain is a value?
#
# With other test images R@1 would have come out differently. The [bootstrap](GLOSSARY.md#bootstrap) estimates how
# different it could have been: draw N images *with replacement* from the N that we have, together with their captions,
# compute R@1, repeat this many times, and take the central 95 % of the values. That range is (approximately) the **95 %
# confidence interval** ([interval](GLOSSARY.md#interval)). The 95 % refer to the procedure: if we drew new test sets
# over and over and computed an interval from each, about 95 % of these intervals would contain the model's true R@1.
# Images are drawn, not captions, because the five captions of one image tend to succeed and fail together.

# %%
predict(
    "recall_width",
    "A toy retriever on 1,000 images, t2i R@1 near 50 %. How wide is its 95 % confidence interval?",
    low=0, high=20, step=0.5, unit="points",
)  # fmt: skip

# %%
images, captions, owner = draw.toy_embeddings(1000, noise=1.6)
ranked = ranks(images, captions, owner)
sure = bootstrap(ranked)

rows = {}
for n in (100, 300, 1000):
    few = draw.toy_embeddings(n, noise=1.6)
    rows[f"{n:,} images"] = bootstrap(ranks(*few))["t2i_r1"]
show(*intervals(rows, x_label="t2i R@1 in percent, the same retriever on galleries of three sizes"))

value, low, high = sure["t2i_r1"]
print(f"1,000 images: t2i R@1 = {value:.1f} [{low:.1f}, {high:.1f}]")
compare("recall_width", high - low, unit="points")

# %% [markdown]
# Ten times as many images make the interval about $\sqrt{10} \approx 3$ times narrower. (R@1 itself falls, as you saw,
# because there are more competitors.) So on 1,000 test images a difference of one or two points between two papers may
# be due to chance.
#
# Comparing both models on the **same images** changes that. An image that is hard for one is mostly hard for the other
# too, and in the difference this cancels out.

# %%
moved = captions + 0.007 * images[owner]  # the same captions, each slightly nearer to its image
moved /= np.linalg.norm(moved, axis=1, keepdims=True)
second = ranks(images, moved, owner)
show_table({"first": bootstrap(ranked), "second": bootstrap(second)})

same = paired_bootstrap(second, ranked)["t2i_r1"]
halves = [(one["t2i_r1"].high - one["t2i_r1"].low) / 2 for one in (bootstrap(ranked), bootstrap(second))]
wide = np.hypot(*halves)  # two independent errors add as the sides of a right angle
apart = {
    "same images": same,
    "other images": Interval(same.value, same.value - wide, same.value + wide),
}
show(*intervals(apart, x_label="second - first: difference in t2i R@1, in points", differences=True))

# %% [markdown]
# ### Exercise 4. A confidence interval of your own (difficulty 3 of 3, about 15 minutes)
#
# You are given the rank of every caption, the image that it belongs to, and `draws`, an array of shape (S, N). Each row
# of `draws` contains the indices of N images drawn with replacement. Return the bounds of the 95 % confidence interval
# of R@1 in percent.


# %%
def interval(ranks, caption_to_image, draws):
    """ranks (M,), caption_to_image (M,), draws (S, N) -> (low, high)."""
    ...


check("interval", interval)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For one row of `draws`, collect the hits of all captions of every drawn image; an image that was drawn twice
# contributes its captions twice.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `np.concatenate([hits[caption_to_image == i] for i in draw])` collects them. One mean for each row of `draws` makes S
# values; their quantiles 0.025 and 0.975 are the bounds.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: interval -->
# ```python
# def interval(ranks, caption_to_image, draws):
#     hits = ranks == 1
#     values = [100 * np.concatenate([hits[caption_to_image == i] for i in draw]).mean() for draw in draws]
#     return np.quantile(values, 0.025), np.quantile(values, 0.975)
# ```
#
# </details>
#
# ## The experiment: retrieval without learning
#
# The course comes with a world of drawn images, five captions each, in which the truth about every image is known. How
# far do we get without any model? Let the **first caption represent the image**, and let the other four be queries that
# search for it by the words that they share with the first, where rare words count more. Whatever we train later must
# beat this.
#
# Half of the test images are drawn like the training images (*in-distribution*); the other half combine known words in
# ways that do not occur in training (*novel compositions*), such as an object in a colour that it never has in the
# training images. Every table of the course reports the two halves separately.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
import re

from userlib.progress import Progress
from userscenes import TruthTable, closed_facts, make_world

N = profile.sizes["test"]
world = make_world("test", N)
captions_of = []
with Progress(N, "writing captions") as bar:
    for i in range(N):
        captions_of.append(world.captions(i))
        bar.step()
stand_ins = [five[0].text for five in captions_of]
queries = [caption for five in captions_of for caption in five[1:]]  # (M,), M = 4 N
query_of = np.repeat(np.arange(N), 4)

words = [re.findall(r"[a-z'-]+", text.lower()) for text in stand_ins]
index = {word: k for k, word in enumerate(sorted({word for text in words for word in text}))}
images_with = np.bincount([index[word] for text in words for word in set(text)])
rare = np.log(N / images_with)


def bag(text):
    """A caption as a unit vector: one dimension per word, weighted by how rare the word is."""
    vector = np.zeros(len(index), np.float32)
    for word in re.findall(r"[a-z'-]+", text.lower()):
        if word in index:
            vector[index[word]] += rare[index[word]]
    return vector / max(np.linalg.norm(vector), 1e-9)


images = np.stack([bag(text) for text in stand_ins])
captions = np.stack([bag(caption.text) for caption in queries])
by_words = ranks(images, captions, query_of)

chance = np.random.default_rng(0).normal(size=(N, 64)), np.random.default_rng(1).normal(size=(4 * N, 64))
halves = {
    half: np.array([world.half(i) == half for i in range(N)])
    for half in ("in-distribution", "novel compositions")
}
rows = {"chance": bootstrap(ranks(*chance, query_of)), "shared words": bootstrap(by_words)}
rows |= {f"words, {half}": bootstrap(by_words, images=mask) for half, mask in halves.items()}
show_table(rows)

# %% [markdown]
# ## Was it an error? Many relevant images
#
# Back to the dog that feels at home. R@K counts one image as relevant for a caption and every other as not relevant,
# although a caption may be true of several. In a collection of photos it is not known of how many. Here it is, because
# every caption can be translated into facts, and for every image we have the list of facts that are true of it.

# %%
truth = TruthTable([one.facts for one in queries], [closed_facts(world[i]) for i in range(N)]).true_matrix()
assert truth.shape == (4 * N, N)
true_of = truth.sum(1)
share = 100 * float((true_of > 1).mean())
print(f"{share:.1f} % of the captions are true of more than one image; the most general of {true_of.max()}")

order = np.argsort(-(captions @ images.T), axis=1)
wrong_but_true = [j for j in range(4 * N) if order[j, 0] != query_of[j] and truth[j, order[j, 0]]]
chosen = wrong_but_true[:3]
shown = [image for j in chosen for image in (world.picture(query_of[j]), world.picture(order[j, 0]))]
titles = [title for _ in chosen for title in ("written for", "ranked first")]
show(
    pictures(shown, titles, columns=6, size=1.4),
    "Pairs of images: the one a caption was written for, and another that was ranked first. The captions, in order: "
    + "; ".join(f'"{queries[j].text}"' for j in chosen)
    + " Each is true of both.",
)

# %%
every = multi_positive_recalls(images, captions, query_of, truth)
gain = paired_bootstrap(every.ranks, by_words)
show_table({"one relevant": bootstrap(by_words), "all true": bootstrap(every.ranks)})
show_table({"gain": gain})
show(
    *intervals(
        {"i2t R@1": gain["i2t_r1"], "t2i R@1": gain["t2i_r1"], "t2i R@10": gain["t2i_r10"]},
        x_label="gain when every true image or caption counts, in points",
        differences=True,
    )
)

# %% [markdown]
# ## Verdict
#
# **Shown.** R@K is a count that takes two lines of numpy. A tie must count against the query. On 1,000 images a 95 %
# confidence interval of R@1 is three to five points wide, so a gain of 2.4 is meaningful only in a paired comparison or
# on a larger test set. Counting only one item as relevant understates how good a retriever is in this world.
#
# **Not shown.** By how much R@K understates it on photos, where captions are vaguer: human judges have found many more
# matching pairs there (ECCV Caption). And nothing has been learned yet: the baseline compares captions with captions,
# whereas a real search is over images that have no captions.
#
# ## What to try next
#
# - In the demo, find the noise at which 1,000 images give the R@1 that 100 images give at noise 3.
# - Let two captions represent each image. Do the other three find it more often? By how much? Give a 95 % confidence
#   interval.
# - Go on to the first retriever that learns: notebook 02.
#
# ## References
#
# - Y. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)
# - F. Faghri and others, *VSE++*, BMVC 2018: the protocol with five captions and R@K.
# - S. Chun and others, *ECCV Caption*, ECCV 2022: many matching pairs on MSCOCO.
# - B. Efron, *Bootstrap methods*, Annals of Statistics 7, 1979.

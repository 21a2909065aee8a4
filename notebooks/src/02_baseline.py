# %% [markdown]
# # 02 The first retriever: regions, words, means and a margin
#
# You will be able to
#
# - turn an image into region tokens and a caption into word ids, and each into one vector of unit norm;
# - train two encoders with the hinge loss of VSE++, with a loop that you can read in one go;
# - say what such a retriever gets wrong, and how often: the category of an object, its colour, how many there are, who
#   does what to whom.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [01_recall](01_recall.ipynb); what a linear layer is | 1 minute in the fast profile, 3 in the full | 45 minutes | 2.3 GB |

# %%
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from usercourse import Demo, check, choice, compare, predict, show, show_table, slider, snapshot, start
from usercourse import baseline as draw
from usercourse.diagrams import diagram
from usercourse.plots import heat_map, intervals, lines
from usercourse.running import waiting
from usercourse.verdicts import describe, outcome
from userlib.config import ObjectiveConfig
from userlib.progress import Progress

profile = start()
diagram("pipeline", here=("tokens",))

# %% [markdown]
# ## The claim
#
# The USER paper starts from a weakness of earlier methods: they divide an image into [regions](GLOSSARY.md#region),
# give each region a vector, and take the [mean](GLOSSARY.md#pooling) of these vectors, *as if all regions mattered
# equally*. The paper's remedy is the subject of notebook 03. A remedy can only be judged against a baseline, so this
# notebook builds exactly that: the mean, and nothing more. Whatever comes later must beat it.
#
# ## A hand example: what a mean forgets
#
# Take two images of two regions each. Here the vector of a region has four dimensions: how much red, blue, dog and ball
# there is in it.

# %%
red_dog, blue_ball = [1, 0, 1, 0], [0, 1, 0, 1]
blue_dog, red_ball = [0, 1, 1, 0], [1, 0, 0, 1]
A, B = np.array([red_dog, blue_ball]), np.array([blue_dog, red_ball])  # (R, D) each
table = np.vstack([A, A.mean(0), B, B.mean(0)])
names = ["A: red dog", "A: blue ball", "mean of A", "B: blue dog", "B: red ball", "mean of B"]
figure, _ = heat_map(table, rows=names, columns=["red", "blue", "dog", "ball"])
same = "the same" if np.allclose(A.mean(0), B.mean(0)) else "different"
show(figure, f"Each row is a vector. No region of A is in B, and yet the two means are {same}.")

# %% [markdown]
# The mean knows that there is red, blue, a dog and a ball. It has lost *which is which*, and no caption encoder, however
# good, can recover that.
#
# **Think:** which dimensions would a region need so that the mean of A and the mean of B differ?
#
# <details><summary>An answer</summary>
#
# Dimensions for the combinations: how much red dog, blue dog, red ball, blue ball. A network that processes each region
# *before* the mean can compute them, because it sees red and dog in the same region. This is what the layers before the
# pooling are for.
#
# </details>
#
# ### Exercise 1. The same mean (difficulty 1 of 3, about 5 minutes)
#
# An image is a list of regions, each "dog", "ball" or "grass". Write two images with **different counts of dogs**
# and the **same mean**: `same_mean = ([...], [...])`.

# %%
same_mean = ...

check("same_mean", same_mean)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The mean divides by the number of regions. What does it therefore not know?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Take any image, and a second one that contains each of its regions twice.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: same_mean -->
# ```python
# same_mean = (["dog", "grass"], ["dog", "dog", "grass", "grass"])
# ```
#
# </details>
#
# ## From image to regions
#
# The paper takes its regions from an object detector: 36 boxes per image, 2,048 dimensions each. The course uses a
# small network instead, *region-mini*. It was trained on the drawn training images to name the categories and colours
# in each cell of an 8 x 8 grid; it was never trained on captions. For each image it gives $R = 64$ regions of $D = 192$
# dimensions. The regions are computed once and stored; from here on no pixels are needed.

# %%
from usercourse import course_config, expect_trained, variant
from userlib.training import fit, prepare

steps = min(3 * profile.steps, 400)  # a small model: three steps in the time of one of the full model
prepared = prepare(
    course_config(
        enhancement="none", pooling="mean", text="bag", text_pooling="mean",
        objective="hinge-sum", queue_size=None, steps=steps, lr=3e-3,
    )
)  # fmt: skip
train, test = prepared.train, prepared.test
world, grid = test.split.pictures.world, test.features.grid

first = torch.from_numpy(np.asarray(train.features.tokens[:256], dtype=np.float32))  # (256, R, D)
center, spread = first.mean((0, 1)), first.std((0, 1))  # (D,): of each channel, over many regions
some = torch.from_numpy(np.asarray(test.features.tokens[:100], dtype=np.float32))
unit = F.normalize((some - center) / spread, dim=-1).numpy()  # (100, R, D), each region of unit norm
print(f"The regions of one image have shape {tuple(first.shape[1:])}, from a grid of {grid}.")

# %% [markdown]
# What do the 192 dimensions of a region encode? To find out, look at which other regions are similar to it. Choose an
# image and one of its cells. The second panel shows the [cosine](GLOSSARY.md#cosine) of its region with every region
# of the same image, and the small ones show the most similar regions in the first hundred test images, with some of
# their surroundings.


# %%
def view(image, row, column):
    """The region in this row and column of the grid, and the regions most similar to it."""
    return draw.resembling(world, unit, grid, image, (row, column))


box = world[0].things[0].box  # begin in the middle of an object
row, column = (min(int(8 * (box[k] + box[k + 2]) / 2), 7) for k in (1, 0))
snapshot(view, image=0, row=row, column=column)
Demo(
    view,
    image=choice("image", range(20)),
    row=slider("row, from the top", 0, 7, value=row, step=1),
    column=slider("column, from the left", 0, 7, value=column, step=1),
)

# %% [markdown]
# ### Exercise 2. The gallery that changes its images (bug hunt, difficulty 2 of 3, about 10 minutes)
#
# For the cosines above, the regions were standardised channel by channel, with the mean and the standard deviation of
# the *training* regions, and then scaled to unit norm. The function below was written to do this. Its result has the
# right shape, and no value is infinite. **It has two faults.** Write it without them.


# %%
def buggy_unit(train, test):
    center, spread = test.mean((0, 1)), test.std((0, 1))  # (D,)
    return F.normalize((test - center) / spread, dim=1)


generator = torch.Generator().manual_seed(0)
seen, new = (1 + 3 * torch.randn(N, 4, 3, generator=generator) for N in (50, 2))
for name, images in (("in a gallery of two", new), ("alone", new[:1])):
    regions = buggy_unit(seen, images)[0]
    print(f"An image {name}: its first region is {[round(x, 2) for x in regions[0].tolist()]},")
    print(f"    the norms of its regions are {[round(x, 2) for x in regions.norm(dim=1).tolist()]}.")


def unit_regions(train, test):
    """train (M, R, D), test (N, R, D) -> (N, R, D): test, standardised as training, each region of unit norm."""
    ...


check("unit_regions", unit_regions)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The vector of an image must not depend on which other images are in the gallery. What in the function depends on them?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Mean and standard deviation must be those of `train`. Of the three dimensions N, R and D, which one does the norm of a
# *region* sum over?
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: unit_regions -->
# ```python
# def unit_regions(train, test):
#     center, spread = train.mean((0, 1)), train.std((0, 1))
#     return F.normalize((test - center) / spread, dim=-1)
# ```
#
# </details>
#
# ## From caption to word ids
#
# A caption becomes a list of ids: one for each word, from a [vocabulary](GLOSSARY.md#vocabulary) that was built from the
# **training** captions alone. Ids below 5 are reserved: 0 pads short captions, 1 stands for an unknown word, 3 begins and
# 4 ends a caption.

# %%
import re

words = prepared.tokenizer
caption = test.split.captions[0]
spelled = {number: word for word, number in words.ids.items()} | {3: "begin", 4: "end", 1: "unknown"}
for text in (caption, "A platypus in the park"):
    ids = words.encode(text)
    print(text, "\n   ", "  ".join(f"{i}:{spelled[i]}" for i in ids))
    unknown = [word for word in re.findall(r"[a-z0-9']+", text.lower()) if word not in words.ids]
    print("    unknown:", ", ".join(unknown) or "none")
print(f"{words.vocab_size} ids in all; the longest test caption has {test.lengths.max()} of them.")

# %% [markdown]
# ### Exercise 3. Words to ids (difficulty 1 of 3, about 10 minutes)
#
# Write the function that turns a caption into ids. It takes the text in lower case and splits it into words of letters,
# digits and apostrophes; 3 comes first and 4 last, and a word that `ids` lacks becomes 1.


# %%
def word_ids(text, ids):
    """text, ids {word: id} -> list of ids."""
    ...


check("word_ids", word_ids)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `re.findall(r"[a-z0-9']+", text)` finds the words of a lower-case text.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `ids.get(word, 1)` is the word's id, or 1. Put `[3, ..., 4]` around them.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: word_ids -->
# ```python
# def word_ids(text, ids):
#     found = re.findall(r"[a-z0-9']+", text.lower())
#     return [3, *(ids.get(word, 1) for word in found), 4]
# ```
#
# </details>
#
# ## Two encoders into one space
#
# **The image.** Every region goes through a linear layer and, in parallel, through a small network with one hidden
# layer (MLP); their outputs are added. Then come the mean and L2 normalisation, which scales the result to unit norm.
# ($[x]_+$ is the larger of $x$ and 0.)
#
# $$ h_r = W_1 V_r + W_3\,[\mathrm{norm}(W_2 V_r)]_+ , \qquad
#    v = \mathrm{l2norm}\Big( \frac{1}{R} \sum_{r=1}^{R} h_r \Big) $$
#
# The hidden layer comes *before* the mean: that is where a region can learn a feature for *red dog*.
#
# **The caption.** Every word $w$ has a learned vector $e_w$, which goes through a linear layer. Then come the mean over
# the words and L2 normalisation:
#
# $$ t = \mathrm{l2norm}\Big( \frac{1}{W} \sum_{w=1}^{W} (U e_w + b) \Big) $$
#
# The order of the words is ignored; such an encoder treats a caption as a [bag of words](GLOSSARY.md#bag-of-words).


# %%
class ImageEncoder(nn.Module):
    """Regions (B, R, D) -> (B, E) of unit norm."""

    def __init__(self, D, E):
        super().__init__()
        self.linear = nn.Linear(D, E)
        self.hidden, self.norm, self.out = nn.Linear(D, E // 2), nn.LayerNorm(E // 2), nn.Linear(E // 2, E)

    def forward(self, V):
        h = self.linear(V) + self.out(self.norm(self.hidden(V)).relu())  # (B, R, E)
        return F.normalize(h.mean(1), dim=-1)


class CaptionEncoder(nn.Module):
    """Word ids (B, W) and attention mask (B, W) -> (B, E) of unit norm."""

    def __init__(self, vocabulary, width, E):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.linear = nn.Linear(width, E)

    def forward(self, words, mask):
        h = self.linear(self.embedding(words))  # (B, W, E)
        pooled = (h * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(pooled, dim=-1)


# %% [markdown]
# Are the shapes right, and do these encoders compute what the library's encoders compute? With the same weights, both
# must give the same vectors.

# %%
D, E, width = first.shape[2], prepared.config.model.embed_dim, prepared.config.model.word_width
image_encoder, text_encoder = ImageEncoder(D, E), CaptionEncoder(words.vocab_size, width, E)
batch = train.batch(np.arange(0, 640, 5))  # the first caption of each of 128 images
v = image_encoder((batch.tokens - center) / spread)
t = text_encoder(batch.input_ids, batch.attention_mask)
assert v.shape == t.shape == (128, E)
assert (v @ t.T).shape == (128, 128)
print(f"{sum(p.numel() for p in image_encoder.parameters()):,} parameters on the image side,",
      f"{sum(p.numel() for p in text_encoder.parameters()):,} on the caption side")  # fmt: skip

from userlib.model.user import DualEncoder

torch.manual_seed(0)
library = DualEncoder(prepared.config.model).eval()
library.image_encoder.region_norm.init_from_data(first)
image_encoder.load_state_dict(library.image_encoder.projection.state_dict())
text_encoder.embedding.load_state_dict(library.text_encoder.states.embedding.state_dict())
text_encoder.linear.load_state_dict(library.text_encoder.linear.state_dict())

v, t = image_encoder((batch.tokens - center) / spread), text_encoder(batch.input_ids, batch.attention_mask)
assert torch.allclose(v, library.encode_image(batch.tokens), atol=1e-5)
assert torch.allclose(t, library.encode_text(batch.input_ids, batch.attention_mask), atol=1e-5)
print("The same vectors, to within 1e-5.")

# %% [markdown]
# ### Exercise 4. A mean that skips padding (difficulty 2 of 3, about 5 minutes)
#
# `CaptionEncoder` above contains a step that is easy to get wrong. The captions of a batch are padded with zeros to the
# length of the longest, and a [mask](GLOSSARY.md#mask) marks the real words. The mean must not depend on how long the
# other captions of the batch are.


# %%
def masked_mean(x, mask):
    """x (B, W, E), mask (B, W) True where there is a word -> (B, E)."""
    ...


check("masked_mean", masked_mean)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You need two sums, one divided by the other: the sum of the vectors of all real words, and the number of real words.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x * mask[:, :, None]` is zero where there is padding. `mask.sum(1, keepdim=True)` has the shape (B, 1).
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: masked_mean -->
# ```python
# def masked_mean(x, mask):
#     return (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
# ```
#
# </details>
#
# ## The hinge: a margin for every pair
#
# A [mini-batch](GLOSSARY.md#mini-batch) contains $B$ pairs. Row $i$ of the scores $s_{ij} = v_i \cdot t_j$ has image
# $i$ as the query, column $i$ has caption $i$. A [negative](GLOSSARY.md#negative), that is, a pair that does not match,
# adds to the loss as soon as its score comes within a [margin](GLOSSARY.md#margin) $\alpha$ of the matching pair's
# score, or exceeds it:
#
# $$ L = \frac{1}{B} \sum_{i} \Big( \sum_{j \ne i} [\alpha - s_{ii} + s_{ij}]_+ + \sum_{j \ne i} [\alpha - s_{ii} + s_{ji}]_+ \Big) $$
#
# Two captions of the *same* image may occur in one batch. Both match that image, so neither counts as a negative for
# it.


# %%
def hinge_batch_loop(s, ids, margin):
    """s (B, B) scores of images (rows) and captions, ids (B,) the image of each pair -> the loss."""
    B, total = len(s), 0.0
    for i in range(B):
        for j in range(B):
            if ids[j] != ids[i]:
                total += max(0.0, margin - s[i, i] + s[i, j])  # image i, wrong caption j
                total += max(0.0, margin - s[i, i] + s[j, i])  # caption i, wrong image j
    return total / B


from userlib.model.objective import batch_loss

hand = torch.tensor([[0.6, 0.5, -0.2], [0.1, 0.4, 0.3], [0.0, 0.1, 0.9]])
objective = ObjectiveConfig(name="hinge-sum", margin=0.2)
ids = torch.arange(3)
print(f"By hand {hinge_batch_loop(hand, ids, 0.2):.4f}, library {batch_loss(objective, hand, ids):.4f}")
show(*heat_map(hand, rows=["v0", "v1", "v2"], columns=["t0", "t1", "t2"], own=torch.eye(3, dtype=torch.bool)))

# %% [markdown]
# **Think:** which scores off the diagonal add to the loss here, and which of them twice? Take a pencil before you
# unfold the answer.
#
# <details><summary>An answer</summary>
#
# Row 0: t1 scores 0.5, within 0.2 of 0.6, and costs 0.1. Row 1: t2 scores 0.3, within 0.2 of 0.4, and costs 0.1. Column
# 1: v0 scores 0.5 for t1, more than the matching pair's 0.4, and costs 0.3. So the score 0.5 costs twice, once per
# direction. The total is 0.5, and divided by 3 pairs it is 0.1667.
#
# </details>
#
# ### Exercise 5. The whole batch at once (difficulty 3 of 3, about 15 minutes)
#
# For a batch of 128 pairs the loop visits 32,000 entries in Python. Write the loss with whole matrices; here no two
# pairs share an image.


# %%
def batch_hinge(s, margin):
    """s (B, B) scores -> the loss."""
    ...


check("batch_hinge", batch_hinge)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The positive scores are the diagonal. For the rows you need them as a column vector, for the columns as a row vector.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(margin - positive[:, None] + s).relu()` are the costs of the rows, still with the diagonal; `masked_fill` with
# `torch.eye(len(s), dtype=torch.bool)` removes it.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: batch_hinge -->
# ```python
# def batch_hinge(s, margin):
#     own, positive = torch.eye(len(s), dtype=torch.bool), s.diagonal()
#     rows = (margin - positive[:, None] + s).relu().masked_fill(own, 0).sum(1)
#     columns = (margin - positive[None, :] + s).relu().masked_fill(own, 0).sum(0)
#     return (rows + columns).mean()
# ```
#
# </details>
#
# ## Training, by hand
#
# Take a batch, score it, move all weights slightly against the gradient, repeat. That is all there is to training. The
# library's `fit` does the same, and also schedules the learning rate, drops words and regions at random, evaluates, keeps
# the best checkpoint, and can resume.


# %%
def train_by_hand(image_encoder, text_encoder, data, *, steps, B=128, lr=1e-3):
    """Trains both encoders on caption-image pairs -> the loss of every step."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW([*image_encoder.parameters(), *text_encoder.parameters()], lr=lr)
    losses = []
    with Progress(steps, "training by hand") as bar:
        for _ in range(steps):
            batch = data.batch(rng.choice(len(data), B, replace=False))
            v = image_encoder((batch.tokens - center) / spread)  # (B, E)
            t = text_encoder(batch.input_ids, batch.attention_mask)  # (B, E)
            loss = batch_loss(objective, v @ t.T, batch.image_ids)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            bar.step()
    return losses


losses = train_by_hand(image_encoder, text_encoder, train, steps=40)
assert losses[-1] < losses[0]
figure, sentence = lines(range(1, 41), {"loss": losses}, x_label="step", y_label="hinge loss of the batch")
show(figure, sentence + " At the start every negative costs about the margin, 127 x 0.2 per direction.")

# %% [markdown]
# ## The experiment: what does word order add?
#
# We train two retrievers with the same images, loss, steps and seeds; only the text encoder differs. *bag* has the
# encoder above. *GRU* has a recurrent network that reads the words in order, in both directions (VSE++ reads them in
# one). Both are compared with a baseline that needs no network: [CCA](GLOSSARY.md#cca), a closed-form method from 1936.
# It finds the directions in which the mean region of an image and the words (and pairs of adjacent words) of its
# caption are most correlated.

# %%
predict(
    "baseline_order",
    "Is rSum higher with the GRU, which sees the order of words, than with the bag of words?",
    options=["higher", "lower", "inconclusive"],
)

# %%
from userlib.baselines import cca, mean_tokens
from userlib.evaluation import bootstrap, embed, paired_bootstrap, ranks

variants = {"bag": dict(text="bag"), "GRU": dict(text="gru", text_width=128)}
print(f"{2 * profile.seeds} runs of {steps} steps")
ranks_of, vectors = {name: [] for name in variants}, {}
for name, changes in variants.items():
    for seed in range(profile.seeds):
        run = fit(variant(prepared, seed=seed, **changes))
        expect_trained(run)
        v, t = embed(run.encoders, test)
        ranks_of[name].append(ranks(v, t, test.caption_to_image))
        vectors.setdefault(name, (v, t))  # of the first seed, for a look below
with waiting("CCA solved"):
    parts = [
        (mean_tokens(p.features), p.split.captions, p.caption_to_image) for p in (train, prepared.val, test)
    ]
    ranks_of["CCA"] = [cca(*parts, ridges=(0.3, 3.0), dimensions=(64, 192)).ranks]

# %%
known = np.array([half == "in-distribution" for half in test.split.groups])
rows = {}
for name, runs in ranks_of.items():
    rows[f"{name}, in-distribution"] = bootstrap(runs, images=known)
    rows[f"{name}, novel compositions"] = bootstrap(runs, images=~known)
show_table(rows)

order, learned = (
    paired_bootstrap(ranks_of["GRU"], ranks_of["bag"])["rsum"],
    paired_bootstrap(ranks_of["bag"], ranks_of["CCA"])["rsum"],
)
apart = {"GRU - bag": order, "bag - CCA": learned}
show(*intervals(apart, x_label="difference in rSum on the test images", differences=True))
compare("baseline_order", outcome(order))

# %% [markdown]
# *In-distribution* and *novel compositions* are the two halves of the test images, as in [notebook
# 01](01_recall.ipynb). Where CCA is ahead, nothing is broken: it finds the exact solution for all training captions at
# once, while the encoders here saw only a few batches. A network has to justify itself against such a baseline, by more
# training (notebook 09) and by doing what a linear method cannot do; without the baseline in the table we could not
# judge whether it does. `python -m userlib evaluate --baseline cca` adds this baseline to your own tables.
#
# ## What it gets wrong
#
# R@K says how often a search fails, not how. Here the truth about every image is known, so for each caption and the
# image that was ranked **first** we can check: is the caption true of this image, and if not, what is wrong? We sort
# the errors into six groups and judge each group only where that is possible:
#
# | group | wrong when | judged where |
# |---|---|---|
# | category | an object that the caption names is not in the image | always |
# | colour | the object is there, but not in that colour or pattern | the object's category is there |
# | count | there are not as many as the caption says | the object, as described, is there |
# | relation | no two such objects are in that relation: riding, holding, left of | both objects are there |
# | action | no such object does this, has that size, or is on that side | the object is there |
# | setting | place, time of day or weather differs | the caption mentions it |
#
# The baseline is an image drawn at random in place of the first hit. A retriever that ignores colours would be wrong
# about colour roughly as often as this baseline.

# %%
predict(
    "baseline_group",
    "Which of these does the bag of words get wrong most often, where it can be judged?",
    options=["category", "colour", "count", "relation"],
)

# %%
from userscenes import closed_facts

N, M = len(test.split), len(test.split.captions)
said = [caption.facts for i in range(N) for caption in world.captions(i)]  # facts of each caption
holds = [closed_facts(world[i]) for i in range(N)]  # facts of each image
judged = {}
for name, (v, t) in vectors.items():
    judged[name] = draw.judge_pairs(said, holds, np.arange(M), (t @ v.T).argmax(1))
chance = np.random.default_rng(0).integers(N, size=4 * M)
judged["random"] = draw.judge_pairs(said, holds, np.tile(np.arange(M), 4), chance)

rates = {name: draw.error_rates(one, test.caption_to_image) for name, one in judged.items()}
show(*draw.rates_figure(rates))
for name, one in judged.items():
    print(f"{name}: {100 * (~one.false).mean():.1f} % of the captions are true of the image")
main = {group: rates["bag"][group].value for group in ("category", "colour", "count", "relation")}
compare("baseline_group", max(main, key=main.get))

# %% [markdown]
# Read the figure row by row, and compare each error rate with the random one of the same row. A rate far below the
# random one shows something that the retriever has learned to see; a rate near it, something that it does not use.
#
# **Think:** why can a bag of words be right about a relation at all, when it cannot distinguish *a dog on a sofa* from *a sofa on a dog*?
#
# <details><summary>An answer</summary>
#
# Because the world is biased. Sofas do not lie on dogs; women ride bicycles, not the other way round. The two
# categories alone often leave only one possible relation, and so does the word for the relation: "riding" implies a
# rider wherever it stands in the caption.
#
# </details>
#
# Now the worst failures among those with **a single kind of error**, where the rest of the caption was true of the
# image.

# %%
v, t = vectors["bag"]
place = ranks(v, t, test.caption_to_image).t2i  # the rank of the ground-truth image
show(
    *draw.worst(
        world,
        test.split.captions,
        said,
        holds,
        judged["bag"],
        ranks=place,
        caption_to_image=test.caption_to_image,
    )
)

# %% [markdown]
# ## Verdict
#
# First in numbers, for this run and this profile; "inconclusive" means that the 95 % confidence interval contains 0.

# %%
print("Word order.", describe("GRU", "bag", order))
print("Learning.  ", describe("the bag", "CCA", learned))
better = draw.rate_differences(judged["bag"], judged["random"], test.caption_to_image)
print(*draw.reading("the bag", rates["bag"], rates["random"], better), sep="\n")
value, low, high = draw.rate_differences(judged["GRU"], judged["bag"], test.caption_to_image)["relation"]
verdict = "inconclusive" if low <= 0 <= high else "the interval excludes 0"
print(f"Errors in relations, GRU - bag: {value:+.1f} points [{low:+.1f}, {high:+.1f}], {verdict}.")

# %% [markdown]
# **Shown.** A retriever is two encoders, a dot product and a loss; a loop of ten lines trains it. A mean of regions
# does not show which colour belongs to which object, nor how many objects there are, unless the layers before it encode
# that in the regions. The errors of a retriever can be counted, group by group, and compared with the errors of a
# random choice.
#
# **Not shown.** That the *mean* is to blame. Regions from a better detector, more training or another loss might remove
# the same errors; only a comparison in which a single factor changes can show the cause, and notebook 03 makes one. The
# error rates are for one seed and for the first hit only. And the drawn world has its own mix of easy and hard cases:
# on photos the rates will differ.
#
# ## What to try next
#
# - In the demo, find a region that is similar to regions of the same category in another colour. Which of the two,
#   category or colour, matters more to region-mini?
# - Train with the maximum in place of the mean, `variant(prepared, pooling="max")`. Which group improves, and which
#   gets worse? Start with counts.
# - `variant(prepared, region_scaling="raw")` removes the scaling of the regions. What happens in the first steps, and why?
# - Go on to the paper's first remedy: [notebook 03](03_self_guided_enhancement.ipynb).
#
# ## References
#
# - F. Faghri and others, *VSE++*, BMVC 2018: the hinge loss, summed or, in its second form, on the hardest negative
#   only.
# - P. Anderson and others, *Bottom-up and top-down attention*, CVPR 2018: the detector's regions.
# - H. Hotelling, *Relations between two sets of variates*, Biometrika 28, 1936: CCA.
# - Y. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)

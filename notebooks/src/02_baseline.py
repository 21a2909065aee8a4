# %% [markdown]
# # 02 The first retriever: regions, words, means and a margin
#
# You will be able to
#
# - turn a picture into region tokens and a caption into numbers, and each into one vector of length 1;
# - train two encoders with the hinge loss of VSE++, with a loop that you can read in one go;
# - say what such a retriever gets wrong, and how often: the kind of thing, its colour, how many, who does what to whom.
#
# | needs | time on two CPU cores | memory |
# |---|---|---|
# | [01_recall](01_recall.ipynb); what a linear layer is | 1 minute in the fast profile, 3 in the full | 2.3 GB |

# %%
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from usercourse import Demo, check, choice, compare, predict, show, show_table, slider, snapshot, start
from usercourse import baseline as draw
from usercourse.plots import heat_map, intervals, lines
from usercourse.running import waiting
from usercourse.verdicts import describe, outcome
from userlib.config import ObjectiveConfig
from userlib.progress import Progress

profile = start()

# %% [markdown]
# ## The claim
#
# The USER paper begins with a complaint. Earlier methods cut a picture into [regions](GLOSSARY.md#region), give each a
# vector, and take the [mean](GLOSSARY.md#pooling), *as if all regions mattered equally*. Its remedy is the subject of
# notebook 03. A remedy can only be judged beside what it is to cure, so this notebook builds exactly that: the mean,
# and nothing clever. Whatever comes later must beat it.
#
# ## A hand example: what a mean forgets
#
# Two pictures of two regions each. A region here has four numbers: how much red, blue, dog, ball.

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
# The mean knows that there is red, blue, a dog and a ball. It has lost *which is which*. No caption encoder, however
# good, can win that back.
#
# **Think:** which numbers would a region need, so that the mean of A and the mean of B differ?
#
# <details><summary>An answer</summary>
#
# Numbers for the pairs: how much red dog, blue dog, red ball, blue ball. A network that looks at each region *before*
# the mean can make them, because it sees red and dog in one place. So watch what a projection before the pooling does.
#
# </details>
#
# ### Exercise 1. The same mean (difficulty 1 of 3, about 5 minutes)
#
# A picture is a list of regions, each "dog", "ball" or "grass". Write two pictures with **different numbers of dogs**
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
# Take any picture, and a second one that holds each of its regions twice.
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
# ## From picture to regions
#
# The paper takes its regions from a detector that was trained to name things: 36 boxes a picture, 2,048 numbers each.
# The course has a small one of its own, *region-mini*, trained on the drawn training pictures to name kinds and colours in a
# grid of 8 x 8 cells, never to read a caption. It gives $R = 64$ regions of $D = 192$ numbers, once for every picture;
# they are stored, and from here on nobody looks at pixels.

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
unit = F.normalize((some - center) / spread, dim=-1).numpy()  # (100, R, D), each region of length 1
print(f"One picture is {tuple(first.shape[1:])} numbers, in a grid of {grid}.")

# %% [markdown]
# What do 192 numbers know? Ask which other regions they resemble. Choose a picture and one of its cells: the middle shows
# the [cosine](GLOSSARY.md#cosine) with all regions of the same picture, the right-hand side the most alike regions of the
# first hundred test pictures, with some of their surroundings.


# %%
def view(picture, row, column):
    """The region in this row and column of the grid, and what resembles it."""
    return draw.resembling(world, unit, grid, picture, (row, column))


thing = world[0].things[0].box  # begin in the middle of a thing
row, column = (min(int(8 * (thing[k] + thing[k + 2]) / 2), 7) for k in (1, 0))
Demo(
    view,
    picture=choice("picture", range(20)),
    row=slider("row, from the top", 0, 7, value=row, step=1),
    column=slider("column, from the left", 0, 7, value=column, step=1),
)

# %%
snapshot(view, picture=0, row=row, column=column)

# %% [markdown]
# ## From caption to numbers
#
# A caption becomes a row of numbers: one for each word of a [vocabulary](GLOSSARY.md#vocabulary) that was counted on the
# **training** captions alone. Numbers below 5 are reserved: 0 fills up short captions, 1 stands for an unknown word,
# 3 begins and 4 ends a caption.

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
print(f"{words.vocab_size} numbers in all; the longest test caption has {test.lengths.max()} of them.")

# %% [markdown]
# ### Exercise 2. Words to numbers (difficulty 1 of 3, about 10 minutes)
#
# Write it: small letters, words of letters and digits, 3 in front, 4 at the end, 1 for a word that `ids` lacks.


# %%
def word_numbers(text, ids):
    """text, ids {word: number} -> list of numbers."""
    ...


check("word_numbers", word_numbers)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `re.findall(r"[a-z0-9']+", text)` finds the words of a text in small letters.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `ids.get(word, 1)` is the word's number, or 1. Put `[3, ..., 4]` around them.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: word_numbers -->
# ```python
# def word_numbers(text, ids):
#     found = re.findall(r"[a-z0-9']+", text.lower())
#     return [3, *(ids.get(word, 1) for word in found), 4]
# ```
#
# </details>
#
# ## Two encoders into one space
#
# **The picture.** Every region goes through a linear layer and, beside it, through a small network with one hidden layer
# (MLP); both are added. Then the mean, then length 1:
#
# $$ h_r = W_1 V_r + W_3\,[\mathrm{norm}(W_2 V_r)]_+ , \qquad
#    v = \mathrm{l2norm}\Big( \frac{1}{R} \sum_{r=1}^{R} h_r \Big) $$
#
# The hidden layer comes *before* the mean: that is where a region can learn to say red dog.
#
# **The caption.** Every word has a learned vector $e$; a linear layer, the mean over the words that are there, length 1:
#
# $$ t = \mathrm{l2norm}\Big( \frac{1}{W} \sum_{w=1}^{W} (U e_w + b) \Big) $$
#
# The order of the words does not count: a [bag of words](GLOSSARY.md#bag-of-words).


# %%
class PictureEncoder(nn.Module):
    """Regions (B, R, D) -> (B, E) of length 1."""

    def __init__(self, D, E):
        super().__init__()
        self.linear = nn.Linear(D, E)
        self.hidden, self.norm, self.out = nn.Linear(D, E // 2), nn.LayerNorm(E // 2), nn.Linear(E // 2, E)

    def forward(self, V):
        h = self.linear(V) + self.out(self.norm(self.hidden(V)).relu())  # (B, R, E)
        return F.normalize(h.mean(1), dim=-1)


class CaptionEncoder(nn.Module):
    """Word numbers (B, W) and where there is a word (B, W) -> (B, E) of length 1."""

    def __init__(self, vocabulary, width, E):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.linear = nn.Linear(width, E)

    def forward(self, words, there):
        h = self.linear(self.embedding(words))  # (B, W, E)
        pooled = (h * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)
        return F.normalize(pooled, dim=-1)


D, E, width = first.shape[2], prepared.config.model.embed_dim, prepared.config.model.word_width
pictures, captions = PictureEncoder(D, E), CaptionEncoder(words.vocab_size, width, E)
batch = train.batch(np.arange(0, 640, 5))  # the first caption of each of 128 pictures
v = pictures((batch.tokens - center) / spread)
t = captions(batch.input_ids, batch.attention_mask)
assert v.shape == t.shape == (128, E)
assert (v @ t.T).shape == (128, 128)
print(f"{sum(p.numel() for p in pictures.parameters()):,} numbers to learn on the picture side,",
      f"{sum(p.numel() for p in captions.parameters()):,} on the caption side")  # fmt: skip

# %% [markdown]
# Are these the library's encoders? Give them the library's weights, and both must give the same vectors.

# %%
from userlib.model.user import DualEncoder

torch.manual_seed(0)
library = DualEncoder(prepared.config.model).eval()
library.image_encoder.region_norm.init_from_data(first)
pictures.load_state_dict(library.image_encoder.projection.state_dict())
captions.embedding.load_state_dict(library.text_encoder.states.embedding.state_dict())
captions.linear.load_state_dict(library.text_encoder.linear.state_dict())

v, t = pictures((batch.tokens - center) / spread), captions(batch.input_ids, batch.attention_mask)
assert torch.allclose(v, library.encode_image(batch.tokens), atol=1e-5)
assert torch.allclose(t, library.encode_text(batch.input_ids, batch.attention_mask), atol=1e-5)
print("The same vectors, to five digits.")

# %% [markdown]
# ### Exercise 3. A mean that skips what is not there (difficulty 2 of 3, about 5 minutes)
#
# `CaptionEncoder` above hides a step that many get wrong. Captions of a batch are filled up to the longest with zeros, and
# a [mask](GLOSSARY.md#mask) says what is a word. The mean must not notice how long the neighbours are.


# %%
def masked_mean(x, mask):
    """x (B, W, E), mask (B, W) True where there is a word -> (B, E)."""
    ...


check("masked_mean", masked_mean)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two sums, and one over the other: of the vectors that are there, and of ones where there is a word.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x * mask[:, :, None]` is zero where nothing is there. `mask.sum(1, keepdim=True)` has the shape (B, 1).
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
# A [mini-batch](GLOSSARY.md#mini-batch) holds $B$ pairs. Row $i$ of the scores $s_{ij} = v_i \cdot t_j$ is picture $i$ looking
# for its caption, column $i$ is caption $i$ looking for its picture. A [negative](GLOSSARY.md#negative) costs as soon as it
# comes nearer to the right pair than a [margin](GLOSSARY.md#margin) $\alpha$:
#
# $$ L = \frac{1}{B} \sum_{i} \Big( \sum_{j \ne i} [\alpha - s_{ii} + s_{ij}]_+ + \sum_{j \ne i} [\alpha - s_{ii} + s_{ji}]_+ \Big) $$
#
# Two captions of the *same* picture may meet in a batch. Each is right for it, so neither counts as the other's negative.


# %%
def hinge_batch_loop(s, ids, margin):
    """s (B, B) scores of pictures (rows) and captions, ids (B,) the picture of each pair -> the loss."""
    B, total = len(s), 0.0
    for i in range(B):
        for j in range(B):
            if ids[j] != ids[i]:
                total += max(0.0, margin - s[i, i] + s[i, j])  # picture i, wrong caption j
                total += max(0.0, margin - s[i, i] + s[j, i])  # caption i, wrong picture j
    return total / B


from userlib.model.objective import batch_loss

hand = torch.tensor([[0.6, 0.5, -0.2], [0.1, 0.4, 0.3], [0.0, 0.1, 0.9]])
objective = ObjectiveConfig(name="hinge-sum", margin=0.2)
ids = torch.arange(3)
print(f"By hand {hinge_batch_loop(hand, ids, 0.2):.4f}, library {batch_loss(objective, hand, ids):.4f}")
show(*heat_map(hand, rows=["v0", "v1", "v2"], columns=["t0", "t1", "t2"], own=torch.eye(3, dtype=torch.bool)))

# %% [markdown]
# **Think:** which scores off the diagonal cost something here, and which of them twice? Take a pencil before you unfold.
#
# <details><summary>An answer</summary>
#
# Row 0: t1 scores .5, within .2 of .6, and costs .1. Row 1: t2 scores .3, within .2 of .4, and costs .1. Column 1: v0
# scores .5 for t1, more than the right .4, and costs .3. So the score .5 costs twice, once for each who looks. In all
# .5, over 3 pairs .1667.
#
# </details>
#
# ### Exercise 4. The whole batch at once (difficulty 3 of 3, about 15 minutes)
#
# The loop visits 32,000 places in Python. Write it with whole tables; all pairs are of different pictures here.


# %%
def batch_hinge(s, margin):
    """s (B, B) scores -> the loss."""
    ...


check("batch_hinge", batch_hinge)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The right scores are the diagonal. Along a row they must be a column of numbers, along a column a row of numbers.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(margin - right[:, None] + s).relu()` are the costs of the rows, with the diagonal still in it; `masked_fill` with
# `torch.eye(len(s), dtype=torch.bool)` takes it out.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: batch_hinge -->
# ```python
# def batch_hinge(s, margin):
#     own, right = torch.eye(len(s), dtype=torch.bool), s.diagonal()
#     rows = (margin - right[:, None] + s).relu().masked_fill(own, 0).sum(1)
#     columns = (margin - right[None, :] + s).relu().masked_fill(own, 0).sum(0)
#     return (rows + columns).mean()
# ```
#
# </details>
#
# ## Training, by hand
#
# Take a batch, score it, move all weights a little against the gradient, repeat. This is all that training is; the
# library's `fit` does the same, and also draws the rate's curve, leaves out words and regions at random, evaluates, keeps
# the best, and can resume.


# %%
def train_by_hand(pictures, captions, data, *, steps, B=128, lr=1e-3):
    """Trains both encoders on caption-picture pairs -> the loss of every step."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW([*pictures.parameters(), *captions.parameters()], lr=lr)
    losses = []
    with Progress(steps, "training by hand") as bar:
        for _ in range(steps):
            batch = data.batch(rng.choice(len(data), B, replace=False))
            v = pictures((batch.tokens - center) / spread)  # (B, E)
            t = captions(batch.input_ids, batch.attention_mask)  # (B, E)
            loss = batch_loss(objective, v @ t.T, batch.image_ids)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            bar.step()
    return losses


losses = train_by_hand(pictures, captions, train, steps=40)
assert losses[-1] < losses[0]
figure, sentence = lines(range(1, 41), {"loss": losses}, x_label="step", y_label="hinge loss of the batch")
show(figure, sentence + " At the start every wrong caption costs about the margin, 127 x 0.2 each way.")

# %% [markdown]
# ## The experiment: what does word order add?
#
# The same pictures, loss, steps and seeds; only the captions are read differently. *bag*: the encoder above. *GRU*: a network
# that reads the words in order, from both ends, as VSE++ does (from one end). Beside both stands a baseline that
# learns without any network: [CCA](GLOSSARY.md#cca), a formula of 1936 that finds the directions in which the mean region and the
# words (and pairs of neighbouring words) of a caption agree best.

# %%
predict(
    "baseline_order",
    "Is rSum higher with the GRU, which knows the order of words, than with the bag?",
    options=["higher", "lower", "these data cannot tell"],
)

# %%
from userlib.baselines import cca, mean_tokens
from userlib.evaluation import bootstrap, embed, paired_bootstrap, ranks

sides = {"bag": dict(text="bag"), "GRU": dict(text="gru", text_width=128)}
print(f"{2 * profile.seeds} trainings of {steps} steps")
ranks_of, vectors = {name: [] for name in sides}, {}
for name, changes in sides.items():
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
seen = np.array([half == "in-distribution" for half in test.split.groups])
rows = {}
for name, runs in ranks_of.items():
    rows[f"{name}, seen"] = bootstrap(runs, images=seen)
    rows[f"{name}, new pairs"] = bootstrap(runs, images=~seen)
show_table(rows)

order, learned = (
    paired_bootstrap(ranks_of["GRU"], ranks_of["bag"])["rsum"],
    paired_bootstrap(ranks_of["bag"], ranks_of["CCA"])["rsum"],
)
apart = {"GRU - bag": order, "bag - CCA": learned}
show(*intervals(apart, x_label="difference in rSum on the test pictures", differences=True))
compare("baseline_order", outcome(order))

# %% [markdown]
# *Seen* and *new pairs* are the two halves of the test pictures, as in [notebook 01](01_recall.ipynb). Where CCA is ahead, nothing is
# broken: it solves for all training captions at once and exactly, while the encoders here saw few batches. A network has to
# earn its place beside a formula, by more steps (notebook 07) and by what a formula cannot do; whoever leaves the formula out of the
# table will never know whether it did. `python -m userlib evaluate --baseline cca` keeps it in yours.
#
# ## What it gets wrong
#
# A number says how often a search fails, not how. Here the truth about every picture is known, so we can ask of each caption
# and the picture that was found **first**: is the caption true of it, and if not, what is wrong? Each group is judged only
# where it can be:
#
# | group | wrong when | judged where |
# |---|---|---|
# | kind | something the caption names is not in the picture | always |
# | colour | it is there, in no such colour or pattern | the kind is there |
# | count | there are not as many as it says | the thing, as described, is there |
# | relation | nothing of the one kind stands so to the other: riding, holding, left of | both things are there |
# | action | none does so, is so large, or stands on that side | the thing is there |
# | setting | place, hour or weather | the caption speaks of it |
#
# The yardstick is a picture drawn at random. A retriever that knows nothing of colours would be about as often wrong in colour
# as that.

# %%
predict(
    "baseline_group",
    "Which of these does the bag of words get wrong most often, where it can be judged?",
    options=["kind", "colour", "count", "relation"],
)

# %%
from userscenes import closed_facts

N, M = len(test.split), len(test.split.captions)
said = [caption.facts for i in range(N) for caption in world.captions(i)]  # facts of each caption
holds = [closed_facts(world[i]) for i in range(N)]  # facts of each picture
judged = {}
for name, (v, t) in vectors.items():
    judged[name] = draw.judge_pairs(said, holds, np.arange(M), (t @ v.T).argmax(1))
chance = np.random.default_rng(0).integers(N, size=4 * M)
judged["random"] = draw.judge_pairs(said, holds, np.tile(np.arange(M), 4), chance)

rates = {name: draw.error_rates(one, test.caption_to_image) for name, one in judged.items()}
show(*draw.rates_figure(rates))
for name, one in judged.items():
    print(f"{name}: {100 * (~one.false).mean():.1f} % of the captions are true of the picture")
main = {group: rates["bag"][group].value for group in ("kind", "colour", "count", "relation")}
compare("baseline_group", max(main, key=main.get))

# %% [markdown]
# Read it row by row, each beside its own yardstick: a rate far below the random one is something that the retriever has learned
# to see; a rate near it is something it does not use.
#
# **Think:** why may a bag of words be right about a relation at all, when it cannot tell *a dog on a sofa* from *a sofa on a dog*?
#
# <details><summary>An answer</summary>
#
# Because the world is not fair. Sofas do not lie on dogs, women ride bicycles and not the other way round. The two kinds alone
# often leave one relation, and so does the word for it: "riding" speaks for a rider wherever it stands.
#
# </details>
#
# Now the worst, among those where **one thing alone** was wrong and all the rest of the caption was right.

# %%
v, t = vectors["bag"]
place = ranks(v, t, test.caption_to_image).t2i  # where the right picture stood
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
# First in numbers, of this run and this profile; a sentence says "cannot tell" where the interval holds zero.

# %%
print("Word order.", describe("GRU", "bag", order))
print("Learning.  ", describe("the bag", "CCA", learned))
better = draw.rate_differences(judged["bag"], judged["random"], test.caption_to_image)
print(*draw.reading("the bag", rates["bag"], rates["random"], better), sep="\n")
value, low, high = draw.rate_differences(judged["GRU"], judged["bag"], test.caption_to_image)["relation"]
tells = "cannot tell" if low <= 0 <= high else "clear of zero"
print(f"Errors in relations, GRU less bag: {value:+.1f} points [{low:+.1f}, {high:+.1f}], {tells}.")

# %% [markdown]
# **Shown.** A retriever is two encoders, a dot product and a loss; a loop of ten lines trains it.
# A mean of regions cannot tell which colour belongs to which thing, nor how many there are, unless the layers before it put that
# into the regions. What a retriever gets wrong can be counted, group by group, beside what chance gets wrong.
#
# **Not shown.** That the *mean* is to blame. Regions from a better detector, more training or another loss might mend the same
# errors; only a comparison in which one thing changes can tell, and notebook 03 makes one. The rates look at one seed and
# at the first picture only. And the drawn world has its own mix of easy and hard: on photos the shares will be others.
#
# ## What to try next
#
# - In the demo, find a region that resembles its own kind in another colour. Which of the two, kind or colour, does region-mini
#   hold on to?
# - Train with `pooling="max"` through `variant(prepared, pooling="max")`. Which group gains, which loses? Think of counts first.
# - `variant(prepared, region_scaling="raw")` takes away the scaling of the regions. What happens to the first steps, and why?
# - Go on to the paper's first remedy: [notebook 03](03_self_guided_enhancement.ipynb).
#
# ## References
#
# - F. Faghri and others, *VSE++*, BMVC 2018: the hinge, with the hardest negative in its second form.
# - P. Anderson and others, *Bottom-up and top-down attention*, CVPR 2018: the detector's regions.
# - H. Hotelling, *Relations between two sets of variates*, Biometrika 28, 1936: CCA.
# - H. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)

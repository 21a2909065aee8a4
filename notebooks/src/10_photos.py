# %% [markdown]
# # 10 Photos: search real ones, see where SGE attends in them, and train on a folder of your own
#
# You will be able to
#
# - search photos with text queries, by a model that was trained on photos, and say honestly where it fails;
# - draw attention and word-region similarity over a photo, and read no more into them than they show;
# - take a folder of your own from a table of captions to a trained search, and notice when its score is too good.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [03](03_self_guided_enhancement.ipynb) for SGE, [09](09_train_user.ipynb) for a run | 30 s in the fast profile, 1 minute in the full | 30 minutes | 1.6 GB |

# %% tags=["whole"]
import tempfile
from pathlib import Path

import numpy as np
from IPython.display import Markdown

from usercourse import (
    Demo,
    check,
    choice,
    compare,
    photo_folder,
    photo_results,
    photos,
    predict,
    running,
    show,
    show_table,
    snapshot,
    start,
)  # fmt: skip
from usercourse.diagrams import diagram

profile = start()
FOLDER = None  # or the path of a folder of yours, for the parts "Your own query" and "A folder of your own"
diagram("pipeline", here=("enhancement", "search"))

# %% [markdown]
# ## The claim
#
# The notebooks so far used drawn images, where the truth is known. The paper is about photos: its
# [enhancement](GLOSSARY.md#enhancement) is meant to emphasise what a photo is about, and its queue is meant to raise
# recall. The model here is **photos-mini**: the course's USER (SGE, a queue of 2,048, UTO), trained on 5,500 photos of
# Flickr8K, with [tokens](GLOSSARY.md#token) from a small ImageNet network, the [backbone](GLOSSARY.md#backbone). It
# comes with the course and is for non-commercial research and teaching, as those photos are.
#
# **The photos** are samples that scikit-image and scikit-learn install; nothing is downloaded. Their licences are in the
# table. This page, as it is stored, shows only those in the public domain (by their author's dedication, CC0, or from the
# start); the others are grey tiles until you run it.

# %%
with running.waiting("the model and its backbone"):
    model = photos.open_model()
    album = photos.samples()
    images = photos.vectors(model, album)  # (N, E)
N, E = images.shape
assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
show(*photos.contact_sheet(album))
Markdown(photos.licences(album))

# %% [markdown]
# ## Search
#
# Ten queries were written down before the model was trained, each with the photo it should find.

# %%
predict(
    "photos_three",
    f"Of the ten queries, how many have their photo among the first three of {len(album)}? By chance: 1.9.",
    low=0, high=10, step=1, unit="queries",
)  # fmt: skip

# %%
scores = model.encode_text(list(photos.QUERIES)) @ images.T  # (10, N): cosines, since all have unit norm
assert scores.shape == (len(photos.QUERIES), N)
show(*photos.first_three(scores, album, photos.QUERIES))
ranks = photos.ranks_of(scores, album, photos.QUERIES)
compare("photos_three", sum(rank <= 3 for rank in ranks.values()), unit="queries")

# %% [markdown]
# ### Your own query
#
# Set `FOLDER` in the first cell to search a folder of yours. **Think** before you look: what will the model do with a word
# that it does not know, with *no*, with a number?

# %%
own_album = photos.of_folder(FOLDER) if FOLDER else album
for query in ("a woman in an orange suit", "no cat", "an astronaut"):
    show(*photos.hits(model, own_album, query))

# %% [markdown]
# <details><summary>What the stored output shows</summary>
#
# *No cat* finds the cat first: captions of Flickr8K say what is there, so *no* has hardly any meaning for the model.
# *Astronaut* is not among the model's 8,000 words. All that is left of the query is *an*, and the ranks come from that.
# The demo's page points this out; a bare list of hits does not.
#
# </details>
#
# ## A hand example: attention over a photo
#
# Attention painted over a photo in colour would hide the photo. So here, as in notebooks 03 and 04, it is *dimmed*:
# every pixel is multiplied by a factor that depends on the attention $a_r$ of the region $r$ that contains it,
#
# $$ \text{factor} = 0.2 + 0.8\, \frac{a_r}{\max_r a_r} $$
#
# Take a photo of 4 x 6 pixels, all of value 100, and a grid of 2 x 2 regions with $a$ = 0.6, 0.3, 0, 0.1: the blocks of
# 2 x 3 pixels become 100, 60, 20 and 33.3. Nothing is black, so what is *not* looked at stays in sight.
#
# ### Exercise 1. Build it (difficulty 2 of 3, about 10 minutes)


# %%
def dim(photo, a, grid):
    """photo (H, W, 3), a (R,) attention, grid (h, w) with h * w = R; H, W multiples of h, w -> (H, W, 3)."""
    ...


check("dim", dim)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First enlarge $a$ to the size of the photo: each of its values becomes a block of $H/h$ by $W/w$ pixels.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `np.repeat(np.repeat(a.reshape(h, w), H // h, 0), W // w, 1)` is (H, W); `[..., None]` lets it multiply three channels.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: dim -->
# ```python
# def dim(photo, a, grid):
#     (h, w), (H, W) = grid, photo.shape[:2]
#     light = np.repeat(np.repeat(a.reshape(h, w), H // h, 0), W // w, 1)
#     return photo * (0.2 + 0.8 * light / light.max())[..., None]
# ```
#
# </details>
#
# ## Where does SGE attend?
#
# The tokens are a grid of 9 x 9 regions. $a$ decides which of them receive the guide (notebook 03). It is the same for
# every query, because SGE sees only the photo.

# %%
chosen = [photos.by_name(album, name) for name in ("astronaut", "chelsea", "camera", "rocket")]
show(*photos.attention_rows(model, chosen))
with running.waiting("attention and norms of all photos"):
    same, correlation = photos.brightest_is_longest(model, album)
print(f"The region with the most attention has the largest norm in {same} of {N} photos; the rank")
print(f"correlation of attention and norm over the regions of a photo is {correlation:.2f} on average.")

# %% [markdown]
# Two things are easy to overlook. The attention is *narrow* in three of these four photos: a handful of the 81 regions
# has nearly all of it. And it follows the norm of the regions, which is determined mostly by the backbone, not by USER:
# where an ImageNet network responds strongly, $g \cdot V_r$ is large. The attention is often on the main object, and
# sometimes next to it: look at the rocket. There are no masks for these photos, so the share of the attention *on the
# object* cannot be measured as in notebook 03, and four photos that look convincing are no measurement.
#
# CGE has no map here: it takes CLIP's vector of the photo as its guide, and photos-mini does without CLIP. Notebook 04
# has CGE's maps on drawn images.
#
# ## Words and regions
#
# What depends on the query is the similarity of a word with a region: the [cosine](GLOSSARY.md#cosine) of both in the joint
# space, before pooling.

# %%
SENTENCES = ("a woman in an orange suit", "a man with a camera", "a cat with green eyes", "a red cup")


def view(photo, sentence):
    """One photo and one sentence; any pair can be chosen, also one that does not fit."""
    return photos.word_maps(model, photos.by_name(album, photo), sentence)


names = [photo.name for photo in album]
Demo(view, photo=choice("photo", names), sentence=choice("sentence", SENTENCES))

# %%
snapshot(view, photo="astronaut", sentence="a woman in an orange suit")

# %% [markdown]
# The map of *orange* lies on the suit. Then choose a sentence that does *not* fit the photo: each map is scaled to its
# own maximum, so it has a bright spot all the same. Compare the numbers, not the brightness. Besides, the text network
# reads the whole sentence before it gives a word its vector, so the vector of *suit* contains some *orange*.
#
# ### Exercise 2. A bug hunt: the wrong box (difficulty 2 of 3, about 10 minutes)
#
# This function should give the box of region `r` in the pixels of a photo, as PIL's `crop` takes it: left, top, right,
# bottom. `size` is `photo.size`, as PIL gives it. The photo was squashed to a square for the backbone, so the grid
# covers all of it. The function passed all its tests, which were on square photos with square grids. **Two of its lines
# are wrong.** Write it so that it is right for every photo.


# %%
def buggy_box(r, grid, size):
    h, w = grid
    H, W = size
    row, column = divmod(r, h)
    return column * W / w, row * H / h, (column + 1) * W / w, (row + 1) * H / h


print("square:", buggy_box(10, (9, 9), (90, 90)), "   not square:", buggy_box(6, (2, 4), (80, 50)))


def cell_box(r, grid, size):
    """r from 0, row by row; grid (h, w); size (width, height) in pixels -> left, top, right, bottom."""
    ...


check("cell_box", cell_box)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The second box lies outside the photo. Which of its four numbers may not exceed 80, which not 50?
#
# </details>
# <details><summary>Hint 2</summary>
#
# An array has the shape (height, width); a PIL image has the size (width, height). And how many regions make a row?
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: cell_box -->
# ```python
# def cell_box(r, grid, size):
#     h, w = grid
#     W, H = size
#     row, column = divmod(r, w)
#     return column * W / w, row * H / h, (column + 1) * W / w, (row + 1) * H / h
# ```
#
# </details>
#
# ## Failures, and what SGE has to do with them
#
# Here are the ten queries again, with the same model, once with SGE and once with SGE's residual scale set to 0: then
# nothing is added to the regions, and all else is the same.

# %%
without = photos.without_sge(model)
print(f"SGE turns the vector of a photo by {photos.turned(model, album):.1f} degrees (median of {N} photos).")
plain = photos.ranks_of(
    without.encode_text(list(photos.QUERIES)) @ photos.vectors(without, album).T, album, photos.QUERIES
)
for query, rank in ranks.items():
    print(f"{query:28} rank {rank:2} with SGE, {plain[query]:2} with its residual at 0")

# %% [markdown]
# Ten queries decide nothing; they show the size of the effect, a turn of about a degree. *A cup of coffee* fails in
# both cases: Flickr8K is about people and dogs outdoors, and a cup that fills the photo is unlike everything in it.
# **Think:** what would you need to claim that SGE helps on photos? A gallery of a thousand photos, several seeds, a run
# without SGE, and a confidence interval.
#
# ## Measured on Flickr8K
#
# All of that was run, and the results, without the photos, are stored in `assets/results`. First comes the learning
# curve of photos-mini, on 500 photos held out of the training photos, and those of the models of a study on the 100
# photos that they held out. The axis does not begin at 0.

# %%
show(*photo_results.curves())
print(photo_results.growth())
Markdown(photo_results.provenance())

# %% [markdown]
# The curve begins high, since word vectors and projections start at a [CCA](GLOSSARY.md#cca) of the training photos,
# and the second epoch adds little to the first. Whatever is said here about SGE and the queue is about short runs that
# start there. Next come the results on 1,000 photos that no choice was based on (the validation split), with 95 %
# confidence intervals over photos and seeds:

# %%
show_table(photo_results.table())
show(*photo_results.differences())

# %% [markdown]
# Read the last figure slowly; all rows except that of photos-mini use the same tokens, and three seeds wherever
# something is trained. What USER adds to CCA is clear, and so is the gain from a text encoder that has read millions of
# sentences. SGE on these photos is *inconclusive*: the interval reaches from a loss to a gain of about four points of
# rSum. The row of the queue changes two things at once, the queue and the moving average of the weights (EMA), both of
# which come from the momentum encoders; so it does not show which of them matters. More studies on photos:
# [results](../docs/results.md); what others reach on Flickr30K and COCO: [the published
# numbers](../docs/full-scale.md#the-published-numbers).
#
# ## A folder of your own
#
# Photos and a `captions.csv` with the columns `filename,caption` are all that is needed. If `FOLDER` is `None`, a
# folder is made from crops of the samples, each with two captions.

# %%
count = 30 if profile.name == "fast" else 64
here = Path(tempfile.mkdtemp())
mine = Path(FOLDER).expanduser() if FOLDER else photo_folder.write_folder(here / "my-photos", album, count)
print(photo_folder.first_captions(mine))

# %% [markdown]
# Some photos must be held out: some to select the epoch on, others to report on. If the table has no column `split`,
# `prepare` holds them out and says so.
#
# ### Exercise 3. Hold out photos (difficulty 2 of 3, about 10 minutes)
#
# The table has a row per caption. Label every row: the last `count` photos, by the order in which they first appear, are
# *test*, the others *train*.


# %%
def hold_out(filenames, count):
    """filenames, one per row; a photo may come several times, anywhere -> a list of "train" and "test"."""
    ...


check("hold_out", hold_out)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The photos, each once, in the order of their first row: what in Python keeps an order and has no duplicates?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `list(dict.fromkeys(filenames))`. Then label row by row: is its photo among the held-out ones?
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: hold_out -->
# ```python
# def hold_out(filenames, count):
#     photos = list(dict.fromkeys(filenames))
#     held = set(photos[len(photos) - count :])
#     return ["test" if name in held else "train" for name in filenames]
# ```
#
# </details>
#
# ## Train on it, and search
#
# The preset `photos`: the recipe of photos-mini without its pretrained words. photos-mini, not trained on this folder at all,
# is the baseline, on the same held-out photos.

# %%
predict(
    "photos_folder",
    "A model trained on a few dozen photos of this folder has, on those held out of it,",
    options=["a higher rSum than photos-mini", "a lower rSum than photos-mini"],
)

# %%
from userlib.evaluation import bootstrap, embed
from userlib.evaluation import ranks as ranks_from
from userlib.search import CheckpointEncoder
from userlib.training import fit, prepare

steps = 12 if profile.name == "fast" else 100
prepared = prepare(running.settings(str(mine), tokens="efficientnet-lite2-wide", steps=steps))
run = fit(prepared, out=here / "run")
trained = CheckpointEncoder(here / "run", device="cpu")

test = prepared.test
held = photos.of_split(test.split)
trained_rank = ranks_from(*embed(run.encoders, test), test.caption_to_image)
mini_rank = ranks_from(
    photos.vectors(model, held), model.encode_text(test.split.captions), test.caption_to_image
)
rows = {"trained on this folder": bootstrap(trained_rank), "photos-mini": bootstrap(mini_rank)}
show_table(rows)
higher = rows["trained on this folder"]["rsum"].value > rows["photos-mini"]["rsum"].value
compare("photos_folder", f"a {'higher' if higher else 'lower'} rSum than photos-mini")

# %%
folder_album = photos.of_folder(mine, licences={} if FOLDER else photo_folder.licences(album, count))
show(*photos.hits(trained, folder_album, test.split.captions[0]))

# %% [markdown]
# In the folder made from crops a short run does better than it should: every held-out image is a crop of a photo whose
# *other crops* were in the training set. No file is on both sides, and still the model has seen the test photos. A
# folder of your own may have this problem too: ten photos of one party, a burst of shots of one dog. **Think:** how
# would you hold out photos then?
#
# <details><summary>An answer</summary>
#
# By occasion: all photos of a day, of a place or of a burst go to the same side. Write a column `split` into the table.
# The search can help: its option `--alike 0.97` shows near-duplicates as one hit, and photos that it joins belong on
# the same side.
#
# </details>
#
# For your model and your photos in the demo: `App(checkpoint=here / "run")` in a cell after
# `from usercourse.demo import App`, or
#
# ```
# python course.py demo --checkpoint runs/photos
# ```
#
# ## Verdict
#
# **Shown.** A model of 5.5 MB and a backbone search photos offline, and put the right one among the first three for
# most of ten simple queries. SGE attends to few regions, and to those of large norm. Words find regions. A folder with
# a table of captions takes the same path, from tokens to search.
#
# **Not shown.** That SGE helps on photos: inconclusive, and provisional. That a bright region is *why* a photo was found.
# Anything about the paper's own photos, Flickr30K and COCO, or its tokens. That a small folder makes a good model: look for
# what test and train have in common before you believe its score.
#
# **Takeaways.** Ask what a model was trained on before you search with it. Draw attention so that the photo stays
# visible, and put a number next to it. Hold out photos, not captions, and occasions rather than photos.
#
# ## What to try next
#
# - Set `FOLDER` to photos of yours and run all. Which of your queries fail, and what is unknown to the model, the words
#   or the things?
# - Write ten queries of your own *before* you search, as was done here, and count.
# - `photos.word_maps(model, photos.by_name(album, "astronaut"), "a dog on a beach")`: how high are the similarities of a sentence that
#   does not fit?
# - Write the table's `split` so that all crops of one sample are on one side. What is left of the rSum?
#
# ## References
#
# - M. Hodosh, P. Young, J. Hockenmaier, *Framing image description as a ranking task* (Flickr8K), JAIR 47, 2013.
# - M. Tan, Q. Le, *EfficientNet*, ICML 2019: the backbone is its Lite2 variant.
# - S. van der Walt and others, *scikit-image*, PeerJ 2:e453, 2014; F. Pedregosa and others, *scikit-learn*, JMLR 12, 2011:
#   the photos.
# - Y. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)

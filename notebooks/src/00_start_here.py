# %% [markdown]
# # 00 Start here
#
# You will be able to
#
# - say whether the course runs on your machine;
# - name the five steps that lead from images and captions to a search;
# - search 500 images with a model that you trained yourself a minute earlier, and say what longer training adds.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | nothing but the installation: no GPU, no network | 1 to 2 minutes | none | 2 GB |
#
# Run the cells from top to bottom: *Run, Run All Cells* in the menu, or Shift+Enter for one at a time. Later notebooks
# have cells that only prepare or draw something; their code is collapsed to three dots, and a click on the dots shows
# it.

# %%
from usercourse import compare, course_config, expect_trained, predict, show, start
from usercourse.diagrams import diagram

profile = start()
diagram("pipeline")

# %% [markdown]
# ## Does it work here?
#
# The doctor checks the machine, the packages and the files. Each line of its report begins with `[ok]`, with `[skip]`
# if something is missing that only a part of the course needs, or with `[fail]`; a line with `[fail]` also says what to
# do. In a terminal, `python -m userlib doctor` prints more; include that output in a bug report.

# %%
import platform

import torch

from userlib.doctor import all_checks

print(f"Python {platform.python_version()}, PyTorch {torch.__version__}")
for line in all_checks():
    print(f"[{line.state}] {line.name}" + (f": {line.remedy}" if line.state == "fail" else ""))

# %% [markdown]
# ## A first search
#
# Below, you search with a sentence among 1,000 images that no model of this course was trained on. The model comes with
# the course: it is USER, the model that you will build, trained for 3,000 steps on 16,000 drawn images.

# %%
from usercourse import Demo, choice, field, slider, snapshot
from usercourse.demo import open_engine
from usercourse.demo.figures import hits_figure

shipped = open_engine("full")


def find(query, k):
    """The k best of the 1,000 images for a text query, as a figure and a sentence about them."""
    return hits_figure(shipped, query, k)


snapshot(find, query="an elephant in the desert", k=8)

# %% [markdown]
# Now a query of your own: click into the field, write, and press Enter. (After *Run All Cells* the answer comes once
# the cells below have run, within a minute or two.) The model knows people, animals, vehicles, furniture, food and
# toys, colours, and places from the beach to the classroom. Expect mistakes: we tried 200 queries as short as this one,
# and for about half of them the first hit was right ([the models of the
# demo](../docs/results.md#the-models-of-the-demo)). What a model misses, and why, is a question that every notebook
# comes back to.

# %%
Demo(find, query=field("query", "a woman rides a horse"), k=slider("images", 1, 16, value=8, step=1))

# %% [markdown]
# How do 1,000 images become comparable with a sentence? This is what the course explains, from here to its last page.
#
# ## What is image-text retrieval?
#
# Two networks, one for images and one for captions, turn an image and a caption into two vectors with the same number
# of dimensions. If the caption matches the image, the two vectors should point in the same direction. Search then
# compares directions: it takes the cosine of the angle between two vectors, which for vectors of unit norm (norm 1) is
# their dot product.
#
# Here are three images and one query with vectors that we made up, of two dimensions: how red, and how round.
#
# **Think:** which image does the query *a red car* retrieve?

# %%
images_by_hand = {"cat": (0.0, 1.0), "fire engine": (0.8, 0.6), "tomato": (0.6, 0.8)}
a_red_car = (1.0, 0.0)

for name, image in images_by_hand.items():
    score = sum(v * t for v, t in zip(image, a_red_car, strict=True))
    print(f"{name:12} {score:.1f}")

# %% [markdown]
# The fire engine: of the three images, its direction is closest to that of the query. The whole course, like the paper
# that it teaches, is about learning *good* vectors. These are the steps, with the part of the library that performs
# each:
#
# | step | what happens | library |
# |---|---|---|
# | 1 | a frozen network, which is not trained further, turns each image into a set of vectors, its region tokens | `userlib.data` |
# | 2 | the image encoder enhances the tokens and pools them into one vector | `userlib.model` |
# | 3 | the text encoder turns a caption into one vector | `userlib.model` |
# | 4 | training raises the scores of matching pairs and lowers those of all others | `userlib.training` |
# | 5 | search ranks images by their dot product with the query | `userlib.search` |

# %% [markdown]
# ## Images and captions
#
# The course comes with its own world: images drawn by code, five captions for each, and the ground truth about what
# they show. We take 1,000 images for training and 200 for validation, which shows at which step the model was best;
# another 500 are kept for the test at the end.

# %%
from usercourse.plots import pictures
from userlib.data.sources import load_data

sizes = {"train": 1000, "val": 200, "test": 500}
test = load_data("scenes", sizes=sizes).split("test")

figure = pictures([test.pictures[i] for i in range(20)], [""] * 20, columns=10, size=0.95)
show(figure, "The first 20 of 500 test images: people, animals, vehicles and objects, indoors and outdoors.")

# %% [markdown]
# These five captions belong to the first of these images:

# %%
for text, owner in zip(test.captions, test.caption_to_image, strict=True):
    if owner == 0:
        print("-", text)

# %% [markdown]
# ## Train
#
# One call computes the tokens and stores them, so that the next run can reuse them; one call trains. The whole method
# is in these two calls: self-guided enhancement, momentum encoders, two queues, the unified objective. The course
# explains these parts one by one.
#
# Before you run it, something to compare with: by chance, a caption ranks its image first among 500 in one case out of
# 500, that is, 0.2 %.

# %%
predict(
    "start_first",
    "After this short training, how often does a caption rank its image first among 500?",
    unit="%",
)

# %%
import tempfile
from pathlib import Path

from userlib.training import fit, prepare

prepared = prepare(course_config(sizes=sizes, steps=80, test_split="test"))
folder = Path(tempfile.mkdtemp()) / "first"
run = fit(prepared, out=folder)
expect_trained(run)
run.history[["step", "loss", "t2i_r1", "t2i_r10", "rsum"]].round(2)

# %% [markdown]
# Each row is one evaluation on the 200 validation images. The loss falls, while *t2i_r10*, the share of captions that
# rank their image among the first ten, rises.
#
# Do not be surprised that the loss is **negative**. The unified objective has a positive term $-\log(1 + s^+)$, which
# falls below 0 as soon as the matching pair's score $s^+$ is above 0, and a negative term that is never below 0. A
# model that scores every matching pair 1 and every other pair low would reach $-\log 2 \approx -0.69$ per query
# ([notebook 06](06_unified_objective.ipynb)). The loss in the table is a sum over both directions of search, and over a
# part for the batch and a part for the queues, so only its trend matters here: lower is better.
#
# ## How good is it?
#
# **R@K** is the share of queries with a relevant item among the first K. In *t2i* (text to image) the query is a
# caption and its image is to be found; in *i2t* (image to text) the query is an image, and one of its five captions is
# to be found. The test images are scored only once, now.

# %%
from userlib.evaluation import bootstrap, embed, ranks, table

images, captions = embed(run.encoders, prepared.test)
measured = bootstrap(ranks(images, captions, prepared.test.caption_to_image))
print(table({"a first USER": measured}))
compare("start_first", measured["t2i_r1"])

# %% [markdown]
# The brackets contain 95 % confidence intervals, which show how much the values would vary with the choice of the 500
# test images ([notebook 01](01_recall.ipynb) shows how to compute one).
#
# ## Search
#
# An index contains one vector for every test image. A query is encoded once and compared with all of them.

# %%
from userlib.search import CheckpointEncoder, Index

index = Index.build(test, CheckpointEncoder(folder))
place = {name: i for i, name in enumerate(test.ids)}


def search(query, k):
    """The k best of the 500 images for a text query, as a figure and a sentence about them."""
    hits = index.search(query, k)
    best, scores = [test.pictures[place[hit.id]] for hit in hits], [f"{hit.score:.2f}" for hit in hits]
    strange = index.unknown(query)
    never = f" Words that the model does not know: {', '.join(strange)}." if strange else ""
    sentence = f'The {k} best images for "{query}", the best first, with their scores.{never}'
    return pictures(best, scores, columns=8, size=1.05), sentence


snapshot(search, query="a red car on the street", k=8)

# %% [markdown]
# Compare these images with those that the shipped model found. Both models have the same parts. This one was trained
# for 80 steps on 1,000 images, the shipped one for 3,000 steps on 16,000. Much of what looks like a better method is
# only longer training on more data, a trap that [notebook 11](11_ablations.ipynb) comes back to.

# %% [markdown]
# ## Your turn
#
# Choose a query, and how many images you want to see. To search with a query of your own, change the first line of
# the cell.

# %%
my_query = "two dogs on the beach"
queries = [
    my_query,
    "a red car on the street",
    "a boat under the moon",
    "a cat sleeps on a sofa",
    "a zebra in a library",
]
Demo(search, query=choice("query", queries), k=slider("images", 1, 16, value=8, step=1))

# %% [markdown]
# A static snapshot of the widget, for readers without a kernel:

# %%
snapshot(search, query="a zebra in a library", k=8)

# %% [markdown]
# ## Your progress
#
# The later notebooks have exercises, each with a check. Answers that a check has found correct are recorded on this
# machine, so that the table below can show where you are. Run the cell again whenever you come back.

# %%
from usercourse import progress

progress.show()

# %% [markdown]
# ## Verdict
#
# **Shown.** A model that was trained for less than a minute ranks a caption's image first among 500 test images far
# more often than chance would.
#
# **Not shown.** Which of its parts help: to find out, one has to remove each in turn and train with several seeds.
# Nothing is shown about photos either: this model was trained on drawings only; [data](../docs/data.md) explains how to
# train on your own photos.
#
# **What to try next.** Search for something that the drawn world lacks: what does the model do with a word that it does
# not know? Swap the two animals in *a dog left of a cat*: does word order matter to the model? Train for 400 steps
# instead of 80: how much higher is R@1?
#
# **Reference.** Y. Zhang, Z. Ji, D. Wang, Y. Pang, X. Li:
# [USER: Unified Semantic Enhancement With Momentum Contrast for Image-Text Retrieval](https://doi.org/10.1109/TIP.2023.3348297),
# IEEE Transactions on Image Processing 33 (2024), 595-609.

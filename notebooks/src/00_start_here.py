# %% [markdown]
# # 00 Start here
#
# You will be able to
#
# - say whether the course runs on your machine;
# - name the five steps that lead from pictures and sentences to a search;
# - search 500 pictures with a model that you have trained yourself a minute before.
#
# | needs | time on two CPU cores | memory |
# |---|---|---|
# | nothing but the installation: no GPU, no network | 1 to 2 minutes | 2 GB |
#
# Run the cells from top to bottom: *Run, Run All Cells* in the menu, or Shift+Enter for one at a time.

# %%
from usercourse import compare, course_config, expect_trained, predict, show, start

profile = start()

# %% [markdown]
# ## Does it work here?
#
# The doctor looks at the machine, the packages and the files. A line begins with `[ok]`, with `[skip]` where only a
# part of the course needs the thing, or with `[fail]` and what to do. `python -m userlib doctor` in a terminal says
# more; put that into a bug report.

# %%
import platform

import torch

from userlib.doctor import all_checks

print(f"Python {platform.python_version()}, PyTorch {torch.__version__}")
for line in all_checks():
    print(f"[{line.state}] {line.name}" + (f": {line.remedy}" if line.state == "fail" else ""))

# %% [markdown]
# ## What is image-text retrieval?
#
# Two networks turn a picture and a sentence into two vectors of the same length. Where both speak of the same thing,
# the vectors should point the same way. Search is then a comparison of directions: the cosine of the angle between
# them, which for vectors of length 1 is their dot product.
#
# Three pictures and one sentence by hand, with vectors of two numbers: how much red, how much round.
#
# Think: which picture does *a red car* find?

# %%
pictures_by_hand = {"cat": (0.0, 1.0), "fire engine": (0.8, 0.6), "tomato": (0.6, 0.8)}
a_red_car = (1.0, 0.0)

for name, picture in pictures_by_hand.items():
    score = sum(v * t for v, t in zip(picture, a_red_car, strict=True))
    print(f"{name:12} {score:.1f}")

# %% [markdown]
# The fire engine: of the three it points most nearly where the sentence points. The whole course, and the paper that
# it teaches, is about making such vectors *good*. The steps, and the part of the library that each of them is:
#
# | step | what happens | library |
# |---|---|---|
# | 1 | a frozen network turns each picture into a set of region tokens | `userlib.data` |
# | 2 | the picture encoder enhances the tokens and pools them into one vector | `userlib.model` |
# | 3 | the text encoder makes one vector of a sentence | `userlib.model` |
# | 4 | training pulls true pairs together and pushes all others apart | `userlib.training` |
# | 5 | search sorts pictures by their dot product with the sentence | `userlib.search` |

# %% [markdown]
# ## Pictures and sentences
#
# The course brings its own world: pictures drawn by code, five sentences to each, and the truth about what they show.
# We take 1,000 pictures for training, 200 that choose the best moment of it, and 500 that are kept for the end.

# %%
from usercourse.plots import pictures
from userlib.data.sources import load_data

sizes = {"train": 1000, "val": 200, "test": 500}
test = load_data("scenes", sizes=sizes).split("test")

figure = pictures([test.pictures[i] for i in range(20)], [""] * 20, columns=10, size=0.95)
show(figure, "The first 20 of 500 test pictures: people, animals, vehicles and things, indoors and out.")

# %% [markdown]
# What five writers say about the first of them:

# %%
for text, owner in zip(test.captions, test.caption_to_image, strict=True):
    if owner == 0:
        print("-", text)

# %% [markdown]
# ## Train
#
# One call makes the tokens, and keeps them so that the next run finds them; one call trains. All of the method is in
# these two lines: self-guided enhancement, momentum encoders, two queues, the unified objective. The course takes them
# apart one by one.
#
# Before you run it: by luck alone, a sentence finds its picture first among 500 once in 500 times, .2 %.

# %%
predict(
    "start_first",
    "How often, after this short training, does a sentence find its picture first of 500?",
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
# A row is one look at the 200 validation pictures. The loss falls; *t2i_r10*, the share of sentences that find their
# picture among the first ten, rises.
#
# ## How good is it?
#
# **R@K** is the share of queries whose right answer is among the first K: *t2i* asks with a sentence for its picture,
# *i2t* with a picture for one of its five sentences. The test pictures are scored once, now.

# %%
from userlib.evaluation import bootstrap, embed, ranks, table

images, captions = embed(run.encoders, prepared.test)
measured = bootstrap(ranks(images, captions, prepared.test.caption_to_image))
print(table({"a first USER": measured}))
compare("start_first", measured["t2i_r1"])

# %% [markdown]
# In brackets stand 95 % intervals: what other samples of 500 pictures might well have given.
#
# ## Search
#
# An index holds one vector for every test picture. A query is encoded once and compared with them all.

# %%
from usercourse import snapshot
from userlib.search import CheckpointEncoder, Index

index = Index.build(test, CheckpointEncoder(folder))
place = {name: i for i, name in enumerate(test.ids)}


def search(query, k):
    """The k best of the 500 pictures for a sentence, as a figure and a sentence about them."""
    hits = index.search(query, k)
    best, scores = [test.pictures[place[hit.id]] for hit in hits], [f"{hit.score:.2f}" for hit in hits]
    strange = index.unknown(query)
    never = f" It has never read: {', '.join(strange)}." if strange else ""
    sentence = f'The {k} best pictures for "{query}", the best first, with their scores.{never}'
    return pictures(best, scores, columns=8, size=1.05), sentence


snapshot(search, query="a red car on a street", k=8)

# %% [markdown]
# ## Your turn
#
# Choose a sentence, and how many pictures you want to see. To ask in your own words, change the first line of the
# cell.

# %%
from usercourse import Demo, choice, slider

my_words = "two dogs on a beach"
asked = [
    my_words,
    "a red car on a street",
    "a boat under the moon",
    "a cat sleeps on a sofa",
    "a zebra in a library",
]
Demo(search, query=choice("sentence", asked), k=slider("pictures", 1, 16, value=8, step=1))

# %% [markdown]
# The same standing still, for a page on which no widget lives:

# %%
snapshot(search, query="a zebra in a library", k=8)

# %% [markdown]
# ## Verdict
#
# **Shown.** A model that was trained for a moment finds the right one of 500 unseen pictures far more often than luck.
#
# **Not shown.** Which of its parts helps: for that each has to be taken out and put back, over several seeds. Anything
# about photos: this model has seen drawings only, and [data](../docs/data.md) says how to train on your own photos.
#
# **What to try next.** Ask for something that the world lacks: what does the model do with a word that it has never
# read? Swap two words, *a dog left of a cat*: does the order matter to it? Train it for 400 steps in place of 80: what
# does R@1 gain?
#
# **Reference.** Y. Zhang, Z. Ji, D. Wang, Y. Pang, X. Li:
# [USER: Unified Semantic Enhancement With Momentum Contrast for Image-Text Retrieval](https://doi.org/10.1109/TIP.2023.3348297),
# IEEE Transactions on Image Processing 33 (2024), 595-609.

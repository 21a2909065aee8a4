# %% [markdown]
# # 09 Train USER: three doors to data of your choice, and a result by the standard protocol
#
# You will be able to
#
# - train the full model on drawn images, on a folder of your own or on a data set of the hub, and search with it;
# - say what a run will cost before you start it, and which network its tokens come from;
# - report a result by the standard protocol: selected on one split, reported on another, in folds, with a confidence
#   interval. Optional: stop a run, let it be killed, and resume it so that the final weights are the same bit by bit.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [01_recall](01_recall.ipynb); [03](03_self_guided_enhancement.ipynb) to [07](07_momentum_queues.ipynb) explain what is inside | 100 s in the fast profile, 17 minutes in the full | 28 minutes | 1.6 GB, and as much for a second process |
#
# The line under the first cell says which profile the stored outputs come from. In the fast one a run is far too short to
# judge a model.

# %%
import tempfile
from pathlib import Path

import numpy as np

from usercourse import Demo, check, choice, compare, predict, running, show, show_table, snapshot, start
from usercourse.diagrams import diagram
from userlib.training import fit, prepare

profile = start()
diagram("pipeline")

# %% [markdown]
# ## The claim
#
# The abstract of the paper reports, on 5,000 test images of MSCOCO, gains of 5 and 2.4 points of
# [R@1](GLOSSARY.md#recall-at-k) over the best earlier method. Behind such a result is a *run*: data, settings, hours of
# training, a selected checkpoint, and an evaluation protocol. Each of these can go wrong unnoticed. This notebook is about
# the run.
#
# ## Three doors
#
# **One variable selects the data**, a second the network that computes the [tokens](GLOSSARY.md#token). Everything
# after that is the same for all three doors.
#
# | door | `DATA` | what it needs |
# |---|---|---|
# | 1 | `"scenes"` | nothing: drawn images, with networks that were trained on drawings |
# | 2 | the path of a folder with photos and a `captions.csv` (columns `filename,caption`, optionally `split`) | at least 24 photos; a network for photos: one is chosen and named in a line, or you are asked to give one |
# | 3 | a name on the hub, such as `"umaru97/flickr30k_train_val_test"` | a download, and for Flickr30K a GPU |
#
# A folder without splits is split for you, photo by photo, and the sizes are printed. Networks trained on drawings are never
# used for your photos, unless you name them.

# %%
DATA = "scenes"  # door 1; door 2: "path/to/photos"; door 3: "umaru97/flickr30k_train_val_test"
TOKENS = None  # as fits the data; or "efficientnet-lite2", "region-mini", "open_clip:NAME/WEIGHTS"

config = running.settings(DATA, tokens=TOKENS)
model, training = config.model, config.training
print(
    f"tokens {config.data.tokens}, guide {config.data.guide}, enhancement {model.enhancement}, text {model.text}"
)
print(f"queue of {model.queue_size}, objective {config.objective.name}, batch {training.batch_size}")
print(f"selected on {config.data.val_split}, reported on {config.data.test_split}")

# %% [markdown]
# On Scenes the model has all four ideas (the preset for photos leaves CGE out): [SGE](03_self_guided_enhancement.ipynb) and
# [CGE](04_clip_guided_enhancement.ipynb), the [momentum encoders and queues](07_momentum_queues.ipynb), and
# [UTO](06_unified_objective.ipynb).
#
# ## What will it cost?
#
# Estimate before you start. A *dry run* takes a model through one step on PyTorch's meta device, where tensors have
# shapes but no values. It counts operations and bytes, and it needs no internet connection.

# %%
predict(
    "running_days",
    "Flickr30K with CLIP's tokens and text network, ten epochs of 29,000 images: how many days on two CPU cores?",
    low=0, high=30, step=0.5, unit="days",
)  # fmt: skip

# %%
from userlib.training.cost import run_cost, summary

with running.waiting("one step on the meta device"):
    flickr = run_cost(running.settings("umaru97/flickr30k_train_val_test"))
    here = run_cost(config)
print(summary(flickr))
print(
    f"Here: {here['steps']:,} steps, {here['seconds']['cpu']['training']} s of matrix products on two idle cores."
)
compare("running_days", round(flickr["seconds"]["cpu"]["total"] / 86_400, 1), unit="days")

# %% [markdown]
# On a GPU such a run takes minutes, on a CPU days; these are orders of magnitude, computed and not measured. In a
# terminal the same estimate is
# `python -m userlib train --preset clip-patches --data umaru97/flickr30k_train_val_test --dry-run`.
#
# ## Train
#
# `prepare` reads the data, makes the tokens once, and says what it held out. `fit` trains, evaluates on the split that
# is used for selection, and writes a [checkpoint](GLOSSARY.md#checkpoint) at each evaluation.

# %%
from usercourse import expect_trained

prepared = prepare(config)
runs = Path(tempfile.mkdtemp())
run = fit(prepared, out=runs / "whole")
expect_trained(run)
run.history[["step", "loss", "queue_loss", "t2i_r1", "t2i_r10", "rsum"]].round(2)

# %% [markdown]
# ## Search
#
# The run's folder is all that a search needs: it holds the best checkpoint, the vocabulary, and the names of the
# networks that compute the tokens. No image of the test split was used in training.

# %%
from userlib.evaluation import embed
from userlib.search import CheckpointEncoder

test = prepared.test
with running.waiting("the images and captions of the test split"):
    v, t = embed(run.encoders, test)  # (N, E), (M, E)
N, M = len(test.split), len(test.split.captions)
assert v.shape == (N, model.embed_dim) and t.shape == (M, model.embed_dim)

searcher = CheckpointEncoder(runs / "whole")
QUERY = test.split.captions[0]  # or a sentence of yours
show(*running.hits(searcher, test.split, v, QUERY))

# %% [markdown]
# The same as a web page, which shows the attention over each hit and lets you drop in images of your own:
# `App(checkpoint=runs / "whole")` in a cell after `from usercourse.demo import App`. In a terminal, with a run that was
# saved with `--out`:
#
# ```
# python course.py demo --checkpoint runs/photos
# ```
#
# ## Selected here, reported there
#
# Every evaluation above was on **val**. The best of them by [rSum](GLOSSARY.md#rsum) was kept, and **test** has been
# searched, not scored. Evaluating on test after each epoch and reporting the best value selects the checkpoint that happens to do well on
# exactly these images.
#
# ### Exercise 1. The value to report (difficulty 1 of 3, about 3 minutes)
#
# Two lists: rSum on val and on test at every evaluation of one run. Which value belongs in the paper? In case of a tie, the
# first counts.


# %%
def to_report(val, test):
    """val, test: lists of values, one per evaluation -> one value."""
    ...


check("to_report", to_report)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One of the lists selects the position, the other supplies the value.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `val.index(max(val))` is the first position of the maximum.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: to_report -->
# ```python
# def to_report(val, test):
#     return test[val.index(max(val))]
# ```
#
# </details>
#
# ## The table
#
# Test is scored once. On Scenes it has two halves: *in-distribution* is drawn like the training images, *novel
# compositions* combines known words in ways that do not occur in training. The baseline is [CCA](GLOSSARY.md#cca), a
# closed-form method of 1936, applied to the same tokens and words; its ridge and its dimension are selected on the same
# val split. The [confidence intervals](GLOSSARY.md#interval) resample images with their captions.

# %%
from usercourse.plots import intervals
from usercourse.verdicts import describe
from userlib.baselines import cca, mean_tokens
from userlib.evaluation import bootstrap, paired_bootstrap, ranks

full = ranks(v, t, test.caption_to_image)
with running.waiting("CCA solved"):
    parts = (prepared.train, prepared.val, test)
    solved = cca(
        *((mean_tokens(part.features), part.split.captions, part.caption_to_image) for part in parts)
    )

labels = np.array(test.split.groups or ["all"] * N)
halves = {half: labels == half for half in dict.fromkeys(labels.tolist())}
rows = {"full model": bootstrap(full)}
rows |= {f"full, {half}": bootstrap(full, images=mask) for half, mask in halves.items() if len(halves) > 1}
rows["CCA"] = bootstrap(solved.ranks)
show_table(rows)
apart = {half: paired_bootstrap(full, solved.ranks, images=mask)["rsum"] for half, mask in halves.items()}
show(*intervals(apart, x_label="full model - CCA: difference in rSum", differences=True))
for half, difference in apart.items():
    print(f"{half}: " + describe("the full model", "CCA", difference))

# %% [markdown]
# A short run need not beat a good closed-form method; that is what a baseline is for. CCA solves for all training pairs
# at once; the model sees them one batch at a time, each caption a few times in the full profile and less than once in
# the fast one. A confidence interval here accounts for the choice of test images. It does not account for the seed: one
# run is one seed.
#
# ## Folds: why COCO has two results
#
# MSCOCO's test split has 5,000 images. Papers report R@K over all of them (*5K*), and the mean over five **consecutive
# [folds](GLOSSARY.md#fold) of 1,000** (*1K*, or *5-fold*), in which a caption is compared with 1,000 images only. The order
# of the images is part of the protocol. Flickr30K's test split has 1,000 images and no folds.

# %%
sizes = running.fold_sizes(N)
fifth = max(1, N // 5)
whole = bootstrap(full)["t2i_r1"].value
print(f"t2i R@1 over all {N:,} images: {whole:.1f} %")
predict("running_folds", f"The same vectors in 5 folds of {fifth} images: t2i R@1?", unit="%", step=0.5)

# %%
from userlib.evaluation import fold_average

in_folds = fold_average(
    v[: 5 * fifth],
    t[test.caption_to_image < 5 * fifth],
    test.caption_to_image[test.caption_to_image < 5 * fifth],
    size=fifth,
)
assert np.isclose(
    in_folds.t2i_r1, np.mean([one.t2i_r1 for one in running.fold_metrics(v, t, test.caption_to_image, fifth)])
)
compare("running_folds", round(in_folds.t2i_r1, 1))

# %%
METRIC = {"t2i R@1": "t2i_r1", "t2i R@10": "t2i_r10", "i2t R@1": "i2t_r1"}


def by_folds(size, metric):
    """One model, scored in folds of a given size."""
    return running.folds_figure(v, t, test.caption_to_image, size, METRIC[metric])


Demo(by_folds, size=choice("images per fold", sizes), metric=choice("metric", list(METRIC)))

# %%
snapshot(by_folds, size=fifth, metric="t2i R@1")

# %% [markdown]
# Nothing about the model has changed. Folds have fewer competitors, so their values are higher, and single folds of one model
# differ by as much as many published gains. **Think:** one paper reports 1K results, another 5K. Can you compare them?
#
# <details><summary>An answer</summary>
#
# No. Nor can you compare two 1K results if one of them is from the first fold alone, or from random folds.
#
# </details>
#
# ### Exercise 2. R@1 over folds (difficulty 3 of 3, about 15 minutes)
#
# The input is the scores of all images and captions, the output is the mean of t2i R@1 over consecutive folds. A tie counts
# against the query.


# %%
def fold_r1(scores, caption_to_image, size):
    """scores (N, M), caption_to_image (M,), N a multiple of size -> mean t2i R@1 over N / size folds, in percent."""
    ...


check("fold_r1", fold_r1)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A fold is a block of rows, with the columns of the captions that belong to these rows. Then apply notebook 01's R@1.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `own = (caption_to_image >= start) & (caption_to_image < start + size)` are the captions of a fold. In `scores[start : start + size, own]` their
# images are `caption_to_image[own] - start`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: fold_r1 -->
# ```python
# def fold_r1(scores, caption_to_image, size):
#     values = []
#     for start in range(0, len(scores), size):
#         own = (caption_to_image >= start) & (caption_to_image < start + size)
#         s, owner = scores[start : start + size, own], caption_to_image[own] - start
#         positive = s[owner, np.arange(len(owner))]
#         values.append(100 * ((s >= positive).sum(0) == 1).mean())
#     return np.mean(values)
# ```
#
# </details>
#
# ## Door 2: a folder with a table of captions
#
# A small folder shows what is needed: 60 images as PNG files, and a `captions.csv`. The images are drawn, so the
# network for drawings is *named*; for photos leave `tokens` out, and read the line that says which network was chosen.

# %%
from userlib.data.sources import load_data

few = load_data("scenes", sizes={"train": 160, "val": 40, "test": 100})
folder = running.write_photo_folder(few.splits["train"], runs / "my-photos", 60)
print(*(folder / "captions.csv").read_text(encoding="utf-8").splitlines()[:3], sep="\n")

mine = prepare(running.settings(str(folder), tokens="region-mini", steps=24))
small = fit(mine, out=runs / "mine")
found = embed(small.encoders, mine.test)[0]
show(*running.hits(CheckpointEncoder(runs / "mine"), mine.test.split, found, mine.test.split.captions[0]))

# %% [markdown]
# In twenty-four steps on 40 images a model learns next to nothing; they only show the way through the door. With a few
# thousand photos, in a terminal:
#
# ```
# python -m userlib train --data path/to/folder --tokens open_clip:ViT-B-32/laion2b_s34b_b79k --val-split train:500 --out runs/mine
# ```
#
# ## Door 3: the hub's schema
#
# Flickr30K is on the hub as Parquet files: one row per image, with its bytes, its captions and the name of its split. A
# name on the hub is downloaded once and pinned; a folder of such files is read in the same way, without a download.
# Here is one.

# %%
import pyarrow.parquet as parquet

file = running.write_hub_folder(few.splits, runs / "my-images")
print(
    f"{file.name}, {file.stat().st_size / 1e6:.1f} MB, columns", parquet.ParquetFile(file).schema_arrow.names
)
columns = ["split", "filename", "caption"]
print(parquet.read_table(file, columns=columns).slice(0, 1).to_pylist()[0])

hub = prepare(running.settings(str(runs / "my-images"), tokens="region-mini", steps=12))
small = fit(hub, out=runs / "hub")
found = embed(small.encoders, hub.test)[0]
show(*running.hits(CheckpointEncoder(runs / "hub"), hub.test.split, found, hub.test.split.captions[0]))
if DATA == "scenes":
    same = np.array_equal(hub.test.features.tokens, test.features.tokens[:100])
    print(f"Tokens of the images read from the file: {'the same' if same else 'different'}.")

# %% [markdown]
# For Flickr30K itself set `DATA = "umaru97/flickr30k_train_val_test"` on a machine with a GPU and run all, or
#
# ```
# python -m userlib train --preset clip-patches --out runs/f30k
# python -m userlib evaluate --checkpoint runs/f30k --split test
# ```
#
# What others report on Flickr30K, and what was measured here, is in [the published
# numbers](../docs/full-scale.md#the-published-numbers). One line of it: zero-shot CLIP, which was not trained on
# Flickr30K at all, outperforms most methods that were trained on it.

# %% [markdown]
# ## Optional: stop it, kill it, resume it
#
# Skip this part if you only want a model. It costs a second run, so it runs on Scenes alone.
#
# ### A hand example: what has to be saved
#
# Train a single parameter $x$ by hand. Its loss is $x^2/2$, so its gradient is $x$. The optimizer has a momentum buffer $u$:
#
# $$ u \leftarrow \tfrac12 u + x, \qquad x \leftarrow x - \tfrac12 u $$
#
# From $x = 8$ and $u = 0$ the first four values of $x$ are 4, 0, -2, -2. **Think:** a run is stopped after
# two steps, only $x = 0$ is saved, and it is resumed with $u = 0$. Where is $x$ after two more steps?


# %%
def descend(x, u, steps):
    """x and u after that many steps, and every x on the way."""
    path = []
    for _ in range(steps):
        u = u / 2 + x
        x = x - u / 2
        path.append(x)
    return x, u, path


x, u, first = descend(8.0, 0.0, 2)
print("never stopped:            ", descend(8.0, 0.0, 4)[2])
print("x and u saved:            ", first + descend(x, u, 2)[2])
print("only x saved, u lost:     ", first + descend(x, 0.0, 2)[2])

# %% [markdown]
# It stays at 0. That is not a worse result, here even a better one, but it is a *different* one, and nothing signals it. A
# run that continues as if it had never stopped needs everything that later steps read:
#
# | what | where it is |
# |---|---|
# | weights of the encoders, of their momentum copies, and the queue with its pointer | in the [checkpoint](GLOSSARY.md#checkpoint) |
# | the optimizer's two moments for every weight | in the checkpoint |
# | step, history, the best evaluation so far | in the checkpoint |
# | learning rate, order of the captions, every random draw | nowhere: they follow from [seed](GLOSSARY.md#seed) and step |
#
# The last row is a trick worth knowing. A random generator that is advanced step by step would have to be saved too, in
# each process, and it is easy to forget one. Here the index of the step is enough.
#
# ### Exercise 3. The captions of a step (difficulty 2 of 3, about 10 minutes)
#
# [Epoch](GLOSSARY.md#epoch) $e$ has the order `np.random.default_rng([seed, 1, e]).permutation(captions)`. It is split
# into consecutive batches; the last, incomplete one is dropped. Which captions does step `step`, counted from 0, use?


# %%
def rows_of(step, captions, batch, seed):
    """step, number of captions, batch size, seed -> (batch,) indices of captions."""
    ...


check("rows_of", rows_of)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# How many whole batches does an epoch have? That is also the index of the first step of the second epoch.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `divmod(step, captions // batch)` gives the epoch and the position in it; the batch begins at position times batch.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: rows_of -->
# ```python
# def rows_of(step, captions, batch, seed):
#     epoch, position = divmod(step, captions // batch)
#     order = np.random.default_rng([seed, 1, epoch]).permutation(captions)
#     return order[position * batch : (position + 1) * batch]
# ```
#
# </details>
#
# ### Interrupted twice
#
# Three things will happen to a second run with the same data, settings and seed. *Stop* is pressed (Ctrl-C in a
# terminal): the step is finished, a checkpoint is written, and the run ends properly. Then it is resumed in a separate
# process, as from a terminal, and that process is **killed**, without a chance to write anything. Then it is resumed
# here, and finishes.
#
# A checkpoint is a folder. It is written under a temporary name and then renamed, and one small file names the current one;
# so a kill in the middle of writing leaves the previous checkpoint intact. Steps after the last checkpoint are repeated.

# %%
OPTIONAL = DATA == "scenes"
predict(
    "running_bits",
    "Compared with the run above, which was never interrupted, the final weights will be",
    options=["the same to the last bit", "the same to about five digits", "different, but equally good"],
)

# %%
broken, total = runs / "broken", here["steps"]
if OPTIONAL:
    with running.stop_pressed(broken):  # presses stop for you once there is a checkpoint
        again = fit(prepared, out=broken)
    stopped = running.reached(broken)
    print(f"Stopped at step {stopped} of {total}; finished: {again.finished}.")
    print(f"The other process: {running.killed(prepared.config, broken, after=total // 2)}.")
    resumed = running.reached(broken)
    again = fit(prepared, out=broken, resume=True)
    expect_trained(again)
    sessions = [
        running.Session("here, stop pressed", 0, stopped),
        running.Session("a process, killed", stopped, resumed, lost=True),
        running.Session("here again", resumed, total),
    ]
    show(*running.timeline(sessions, total))

# %% [markdown]
# ### Is it the same run?
#
# Both final checkpoints are read, and every tensor of one is compared with the other's, bit by bit. (On a GPU the order of
# some sums changes from run to run, so that equal bits cannot be expected.)

# %%
measured = "not measured"
if OPTIONAL:
    compared = running.bits(broken, runs / "whole")
    print(compared)
    equal = "equal" if again.rows == run.rows else "different"
    print(f"The histories of all evaluations are {equal}.")
    measured = "the same to the last bit" if not compared.differing else "not the same"
compare("running_bits", measured)

# %% [markdown]
# **Think:** why is *different, but equally good* not enough? Suppose that a run was stopped twice, and its rSum is slightly
# lower than before. How would you find out whether that is seed variance or a forgotten optimizer state?
#
# <details><summary>An answer</summary>
#
# You would train several seeds of each, interrupted and not, and compare them with a confidence interval that is
# several points wide. A bug that costs one point would go unnoticed. A bitwise comparison needs only one pair of runs,
# and every such bug shows.
#
# </details>
#
# ## Verdict
#
# Generated from the results above.

# %%
if OPTIONAL:
    print(f"Interrupted twice, resumed twice: the final weights are {measured}.")
for half, difference in apart.items():
    print(f"{half}: " + describe("the full model", "CCA", difference))
more = in_folds.t2i_r1 - whole
print(f"Counting the same vectors in folds of {fifth} changes t2i R@1 by {more:+.1f} points.")

# %% [markdown]
# **Shown.** A run on a CPU that is stopped or killed can be resumed as if it had not been, if everything that later steps
# read is saved or follows from the index of the step. A run's folder is enough to search with. A result is meaningful only
# together with the split used for selection, the split reported on, the size of the gallery and a confidence interval. Data
# are selected by one name, the network of the tokens by a second.
#
# **Not shown.** That the full model is better than its parts: there is only one seed of it here, after a short run, and
# it is compared with CCA. What each part contributes is measured over several seeds in the studies of
# [results](../docs/results.md). Anything on Flickr30K or on photos: that needs the data, and for Flickr30K a GPU. Equal
# bits on a GPU.
#
# ## What to try next
#
# - Set `DATA` to a folder of your own and run the whole notebook again.
# - `fit(prepared, out=broken, resume=True)` once more: what does it do with a run that is finished? And what if you
#   give it a `prepare(...)` with another learning rate?
# - Change one byte of a file in the last checkpoint and resume. What does the error say?
# - Train with `seed=1` through `variant(prepared, seed=1)`. Is the other seed's rSum inside the confidence interval of the first?
#
# ## References
#
# - Y. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)
# - P. Young and others, *From image descriptions to visual denotations* (Flickr30K), TACL 2014.
# - A. Karpathy, L. Fei-Fei, *Deep visual-semantic alignments*, CVPR 2015: the splits, and folds of 1,000.
# - H. Hotelling, *Relations between two sets of variates*, Biometrika 28, 1936.

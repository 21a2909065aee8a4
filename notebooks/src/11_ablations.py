# %% [markdown]
# # 11 Ablations: does each part of USER help, and how can we know?
#
# You will be able to
#
# - compute a confidence interval of a gain that accounts for sampling variance (of images) and seed variance;
# - read a study: models that differ in one factor, their runs, their differences from a reference;
# - keep a ledger of claims, each with a verdict that follows from its confidence interval alone.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [01_recall](01_recall.ipynb); [03](03_self_guided_enhancement.ipynb) to [07](07_momentum_queues.ipynb) explain the parts | 2 minutes in the fast profile, 3 in the full | 50 minutes | 1.6 GB, and in the full profile 2.4 GB for each of the two runs |

# %%
import math
import tempfile
from itertools import product

import numpy as np

from usercourse import Demo, check, choice, compare, course_config, predict, show, snapshot, start
from usercourse import ablations as draw
from usercourse.diagrams import diagram
from usercourse.plots import intervals
from userlib.evaluation import Difference, Interval

profile = start()
diagram("pipeline", here=("enhancement", "objective", "queues"))

# %% [markdown]
# ## The claim
#
# According to the abstract, USER has three components: an [enhancement](GLOSSARY.md#enhancement) of the regions in two forms,
# SGE and CGE; [negatives](GLOSSARY.md#negative) from a [queue](GLOSSARY.md#queue) in addition to the mini-batch; and
# [UTO](GLOSSARY.md#uto) to train on both. Together they are said to gain 5 and 2.4 points of [R@1](GLOSSARY.md#recall-at-k)
# over the best earlier method. To test a component, one removes it, or adds it alone: an [ablation](GLOSSARY.md#ablation).
# The paper's ablation tables were not available to us, so nothing here copies them.
#
# Ablation tables often show differences of one or two points, from one run each. Such a difference has two sources of
# chance: which images were in the test set, and which [seed](GLOSSARY.md#seed) the run had. This notebook measures both.
#
# ## By hand: two models, five images, three seeds

# %%
A = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0]])  # (seeds, images): hit or not
B = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
show(*draw.hits_by_hand(A, B))

# %% [markdown]
# Both models retrieve image 1, and neither retrieves image 5: some images are easy and some hard, for every model. Ignore the
# seeds for a moment and take the mean per image, in percent. Five images can be drawn with replacement in
# $5^5 = 3{,}125$ ways; we take all of them, so that nothing is random in this [bootstrap](GLOSSARY.md#bootstrap).

# %%
a, b = 100 * A.mean(0), 100 * B.mean(0)  # (5,) each
draws = np.array(list(product(range(5), repeat=5)))  # (3125, 5)
means_a, means_b = a[draws].mean(1), b[draws].mean(1)
assert means_a.shape == (3125,)


def bounds(value, sample):
    """The value with the central 95 % of its bootstrap sample."""
    return Interval(float(value), *map(float, np.quantile(sample, [0.025, 0.975])))


alone = {"A": bounds(a.mean(), means_a), "B": bounds(b.mean(), means_b)}
show(*intervals(alone, x_label="R@1 in percent, all 3,125 draws of five images"))
predict(
    "ablations_paired",
    "How wide is the 95 % confidence interval of A - B when both are scored on the same draws?",
    high=150,
    unit="points",
)

# %%
own = np.subtract.outer(means_a, means_b[::5]).ravel()  # every draw for A with every fifth for B
same = means_a - means_b
gain = a.mean() - b.mean()
by_hand = {
    "separate draws": Difference(*bounds(gain, own)),
    "the same draws": Difference(*bounds(gain, same)),
}
show(*intervals(by_hand, x_label="A - B, in points", differences=True))
paired_by_hand = by_hand["the same draws"]
compare("ablations_paired", round(paired_by_hand.high - paired_by_hand.low))

# %% [markdown]
# The intervals of A and B overlap widely, and still the interval of the gain may exclude 0. A draw with many easy images
# raises the scores of both models, and in the difference this cancels. What remains is how much the *gain* varies from image
# to image. This is the [paired difference](GLOSSARY.md#paired-difference).
#
# ### Exercise 1. The paired gain (difficulty 1 of 3, about 5 minutes)
#
# `a` and `b` contain one value per image, each row of `draws` the indices of the images of one draw. Return the bounds of the
# 95 % confidence interval of the mean gain of a over b.


# %%
def paired_gain(a, b, draws):
    """a (N,), b (N,), draws (S, N) of images -> (low, high)."""
    ...


check("paired_gain", paired_gain)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Each draw gives one gain. What are the bounds of the central 95 % of the gains?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `a[draws]` has shape (S, N). Take its mean over the images, subtract the same for b, and use `np.quantile` with 0.025
# and 0.975.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: paired_gain -->
# ```python
# def paired_gain(a, b, draws):
#     gains = a[draws].mean(1) - b[draws].mean(1)
#     low, high = np.quantile(gains, [0.025, 0.975])
#     return low, high
# ```
#
# </details>
#
# ## Now the seeds
#
# A model is not one run but the population of all its possible runs; the run of one seed is a sample from these, just
# as a test image is a sample from all images. So both are resampled. Let $a_{ri}$ be the percentage of hits of run $r$
# on image $i$, with $n$ runs and $N$ images. One resample draws images $i_1 \dots i_N$, the same for all runs of both
# models, and runs $r_1 \dots r_n$ of each model:
#
# $$ m_r = \frac1N \sum_{j=1}^{N} a_{r i_j}, \qquad \bar m = \frac1n \sum_{r=1}^{n} m_r, \qquad
#    m^* = \bar m + \sqrt{\frac{n}{n-1}} \Big( \frac1n \sum_{k=1}^{n} m_{r_k} - \bar m \Big) $$
#
# The square root is needed because the variance of resamples from only $n$ runs is too small by the factor $(n-1)/n$, two
# thirds at $n = 3$. The gain of one resample is $m^*$ of A minus $m^*$ of B; 2,000 resamples give the interval.


# %%
from userlib.evaluation import Ranks, paired_bootstrap


def means_loop(a, pictures, rng):
    """a (n, N) percent of hits, images (S, N) drawn -> (S,): the mean of each resample, seeds drawn too."""
    n, S = len(a), len(pictures)
    runs = rng.integers(n, size=(n, S)) if n > 1 else np.zeros((1, S), int)
    values = []
    for s in range(S):
        m = [np.mean([a[r, i] for i in pictures[s]]) for r in range(n)]
        drawn = np.mean([m[r] for r in runs[:, s]])
        wider = math.sqrt(n / (n - 1)) if n > 1 else 1.0
        values.append(np.mean(m) + wider * (drawn - np.mean(m)))
    return np.array(values)


def paired_loop(a, b, S=2000, seed=0):
    """a (n_a, N), b (n_b, N) percent of hits -> value, low, high of the gain of a over b."""
    rng = np.random.default_rng(seed)
    N = a.shape[1]
    pictures = rng.integers(N, size=(S, N))  # once, for both
    gains = means_loop(a, pictures, rng) - means_loop(b, pictures, rng)
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(a.mean() - b.mean()), float(low), float(high)


# %%
def as_ranks(hits):
    """hits (N,) of 0 and 1, one caption per image -> ranks for the library."""
    return Ranks(i2t=2 - hits, t2i=2 - hits, caption_to_image=np.arange(len(hits)))


with_seeds = paired_loop(100 * A, 100 * B)
library = paired_bootstrap([as_ranks(run) for run in A], [as_ranks(run) for run in B])["t2i_r1"]
assert np.allclose(with_seeds, library, atol=1e-3)
print("loop and library agree: {:+.1f} [{:+.1f}, {:+.1f}]".format(*with_seeds))
print(
    f"images alone:         {paired_by_hand.value:+.1f} [{paired_by_hand.low:+.1f}, {paired_by_hand.high:+.1f}]"
)

# %% [markdown]
# If only images are resampled, A is better; with the seed variance of three seeds included, the result is inconclusive. Seed
# variance belongs in the interval.
#
# ### Exercise 2. Images and seeds, without loops (difficulty 3 of 3, importance 3 of 3, about 15 minutes)
#
# Write the formula above with arrays. The draws are given: row s of `images` contains the images drawn for both models,
# and row s of `runs_a` and of `runs_b` the runs drawn for each. Return the bounds of the 95 % confidence interval of
# the gain of a over b. With a single run the factor is 1.


# %%
def paired_seeds(a, b, images, runs_a, runs_b):
    """a (n_a, N), b (n_b, N) percent of hits; images (S, N), runs_a (S, n_a), runs_b (S, n_b) -> (low, high)."""
    ...


check("paired_seeds", paired_seeds)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `a[:, images]` has shape (n, S, N). Its mean over the last axis is $m_r$ of every run on every draw.
#
# </details>
# <details><summary>Hint 2</summary>
#
# With these means as (S, n), `np.take_along_axis(means, runs, 1)` takes the runs that are drawn, row by row. Both models go
# through the same lines: write them once.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: paired_seeds -->
# ```python
# def paired_seeds(a, b, images, runs_a, runs_b):
#     def resampled(hits, runs):
#         n = len(hits)
#         means = hits[:, images].mean(-1).T  # (S, n)
#         drawn = np.take_along_axis(means, runs, 1).mean(1)  # (S,)
#         wider = math.sqrt(n / (n - 1)) if n > 1 else 1.0
#         return means.mean(1) + wider * (drawn - means.mean(1))
#
#     gains = resampled(a, runs_a) - resampled(b, runs_b)
#     return tuple(np.quantile(gains, [0.025, 0.975]))
# ```
#
# </details>
#
# From the interval, a claim "A is better" gets one of three [verdicts](GLOSSARY.md#verdict): it is *supported* if the whole
# interval is above 0, it is *contradicted* if the whole interval is below 0, and it is *inconclusive* if the interval contains 0.
#
# ### Exercise 3. The verdict (difficulty 1 of 3, about 5 minutes)


# %%
def claim_verdict(low, high):
    """-> "supported", "contradicted" or "inconclusive"."""
    ...


check("claim_verdict", claim_verdict)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# There are three cases, and the centre of the interval plays no part in them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Check `low > 0` first, then `high < 0`; what remains is the third case.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: claim_verdict -->
# ```python
# def claim_verdict(low, high):
#     if low > 0:
#         return "supported"
#     return "contradicted" if high < 0 else "inconclusive"
# ```
#
# </details>
#
# ## The studies
#
# A *study* trains models that differ in one factor, with several seeds each, and scores every run once on the 1,000
# test images of [Scenes](GLOSSARY.md#scenes). Half of these are *novel compositions*: known words in combinations that
# training lacks. Studies take hours, so their runs are stored with the repository. The row of a run contains the rank
# of every image and caption, so that everything below can be recomputed; it also names the command that reproduces the
# run.
#
# First comes each model with its 95 % confidence interval; the small strokes are its runs. Then follows its difference
# from the reference, on the same draws. Choose a study, a subset of the images, and a metric. **Think**: on which subset do
# you expect an effect of components that bring in knowledge from outside?

# %%
results = draw.stored()
print(draw.summary(results))
explore = draw.explorer(results, resamples=1000 if profile.name == "fast" else 2000)
names = list(results) or [draw.NOTHING]
first = "world" if "world" in results else names[0]

snapshot(explore, study=first, part="all", metric="mean R@1")
snapshot(explore, study=first, part="novel compositions", metric="mean R@1")
Demo(
    explore,
    study=choice("study", names, value=first),
    part=choice("subset of the images", ["all", "in-distribution", "novel compositions"]),
    metric=choice("metric", list(draw.METRICS)),
)

# %% [markdown]
# <details><summary>One answer</summary>
#
# On the novel compositions. They do not occur in training, while CGE's guide comes from a wider world in which they do.
# A component that only helps to fit the training images better shows its effect on the half that was drawn like them.
#
# </details>
#
# Are the runs long enough to be compared? A difference between two models that are still improving may only be a
# difference in speed. Here are the curves, scored on val during training.

# %%
from userlab.ablation.studies import STUDIES


def curves_demo(study):
    """The curves of a study's runs."""
    return draw.curves(STUDIES[study], results[study]) if study in results else draw.nothing()


snapshot(curves_demo, study=first)
Demo(curves_demo, study=choice("study", names, value=first))

# %% [markdown]
# ## The control that was missing
#
# The paper multiplies the loss of the batch by 20 on Flickr30K and adds a queue. Compared with a model without a queue,
# at weight 1, that is a gain. **Think**: two factors were changed at once; which model is missing from the comparison?
# The study `queue` has it.

# %%
if "queue" in results:
    queues = draw.measure(STUDIES["queue"], results["queue"], "all", resamples=1000)
    chosen = ("2048", "2048-weight-20", "absent-weight-20", "absent-clip")
    shown = {STUDIES["queue"].variant(name).label: queues.apart[name]["r1"] for name in chosen}
    show(
        *intervals(
            shown, x_label="difference from no queue at weight 1, points of mean R@1", differences=True
        )
    )
else:
    show(*draw.nothing())

# %% [markdown]
# The weight alone, without any queue, gains as much as queue and weight together. But why should a factor before the
# loss help when Adam divides by the magnitude of the gradient anyway? Because gradients are clipped before Adam sees
# them: with a loss that is 20 times as large, the clipping acts as if its threshold were 20 times lower. The model of
# the last row leaves the weight at 1, clips at a twentieth of the threshold, and does as well. What looked like a gain
# of the queue was an effect of the optimizer. It took one more row in the table to see it.
#
# ## How many seeds?
#
# With one seed per model the interval includes only the sampling variance of the images: it is narrow because it leaves
# seed variance out. With two seeds it includes the seed variance, estimated from two runs. Only from there on do
# further seeds narrow it.

# %%
stored = results.get("world", {})
show(*draw.seed_widths(draw.ranks_of(stored, "sge"), draw.ranks_of(stored, "baseline")))
for name, rows in results.items():
    if (sigma := draw.spread(rows)) > 0:
        print(f"{name:12} standard deviation between seeds of one model: {sigma:.2f} points of mean R@1")

# %% [markdown]
# ### Exercise 4. Seeds needed (difficulty 2 of 3, about 10 minutes)
#
# R@1 has a standard deviation of $\sigma$ between seeds of one model. Two models have $n$ seeds each. The part of the 95 %
# confidence interval that is due to seeds extends 1.96 standard errors to either side of the difference. How large must $n$
# be for it to extend at most $w$?


# %%
def seeds_needed(spread, wanted):
    """spread: sigma, wanted: w, both in points -> the smallest sufficient number of seeds."""
    ...


check("seeds_needed", seeds_needed)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The variance of a mean of n is $\sigma^2 / n$. What is the variance of a difference of two such means?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Solve $1.96 \sqrt{2 \sigma^2 / n} = w$ for n, and round up.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: seeds_needed -->
# ```python
# def seeds_needed(spread, wanted):
#     return math.ceil(2 * (1.96 * spread / wanted) ** 2)
# ```
#
# </details>
#
# ## Add your own runs
#
# Two models of the study `world`, with and without one component, are trained here with a seed that no stored run has. Change
# `pair` to any two of `study.variants`. They run in separate processes, as with `python -m userlab ablate`.

# %%
predict(
    "ablations_mine",
    "One run of the plain model with UTO, one with the hinge: what will be the verdict on UTO - hinge in mean R@1?",
    options=["higher", "lower", "inconclusive"],
)

# %%
from usercourse.running import waiting
from usercourse.verdicts import describe, outcome
from userlab.ablation.jobs import Job
from userlab.ablation.studies import study_named
from userlab.ablation.study import run_jobs
from userlab.ablation.summary import load_study
from userlab.ablation.variants import variant_config

study = study_named("world")
pair = ("uto", "baseline")  # a variant, and its baseline
steps = min(profile.steps, study.steps or profile.steps)
seed = 1 + max((row.seed for of in stored.values() for row in of), default=-1)
base, out = course_config(steps=steps), tempfile.mkdtemp()
jobs = [
    Job(study=study.name, variant=name, config=variant_config(study, name, base, seed=seed), out=out)
    for name in pair
]
print(f"Two runs of {steps} steps in parallel, seed {seed}: {0.3 * steps:.0f} s or more on two cores.")
with waiting("two runs in separate processes"):
    done = run_jobs(jobs, processes=2, title="your runs", progress=False)
print(f"{done.made} rows made", *done.failed.values())

# %%
mine = load_study(study, out)
draw.expect_learned([row for of in mine.values() for row in of], steps)
yours = draw.gain(*(draw.ranks_of(mine, name) for name in pair))
gains = {f"yours: {len(mine[pair[0]])} seed, {steps} steps": yours}
both = [draw.ranks_of(stored, name) for name in pair]
if all(both):
    gains[f"stored: {min(map(len, both))} seeds, {study.steps} steps"] = draw.gain(*both)
    if draw.same_pictures(stored, mine):
        joined = [old + draw.ranks_of(mine, name) for old, name in zip(both, pair, strict=True)]
        gains["together"] = draw.gain(*joined)
show(*intervals(gains, x_label=f"{pair[0]} - {pair[1]}, points of mean R@1", differences=True))
print(describe(pair[0], pair[1], yours, what="mean R@1"))
compare("ablations_mine", outcome(yours))

# %% [markdown]
# In the full profile your run is one more seed of the same study, scored on the same images, and can be pooled with the
# others. In the fast profile it has a smaller world and a tenth of the steps, so it is only shown next to them. Compare the
# two signs. Where they differ, neither interval is wrong: they answer different questions. A short run tells which model
# learns faster at the start, a long one which ends up better. That is why each figure here states the number of steps.
#
# To keep runs, give the command a folder: `python -m userlab ablate --study world --variant uto baseline --out runs/studies`.
#
# ## The ledger
#
# Now look at all claims at once. The [ledger](GLOSSARY.md#ledger) is a list of claims as data: a statement, its source,
# a study, and the two variants whose difference decides it. The values printed below are computed from the stored rows,
# and so are the verdicts. Claims whose source is a *control* are ours: they name what a component must beat before a
# claim about it means what it says. If CGE helps, for example, the reason could be that any second model helps.

# %%
from userlab.ablation.ledger import in_metric, ledger, markdown

with waiting("the ledger, from the stored rows"):
    entries = ledger(draw.STORED)
measured = sum(entry.verdict != "not measured" for entry in entries)
predict(
    "ablations_supported",
    f"Of {measured} measured claims, how many are supported?",
    high=max(measured, 1),
    unit="claims",
)

# %%
from IPython.display import Markdown, display

show(*draw.ledger_figure(entries))
display(Markdown(markdown(entries)))
compare("ablations_supported", sum(entry.verdict == "supported" for entry in entries), unit="claims")

# %% [markdown]
# Four habits make such a table worth reading.
#
# *A claim that fails stays in.* A table that lists only what worked is an advertisement.
#
# *The metric is fixed before looking*, here mean R@1. Would another one have given the same verdicts?

# %%
other = in_metric(entries, "rsum")
changed = [
    f"{one.claim.text}: {one.verdict} in R@1, {two.verdict} in rSum"
    for one, two in zip(entries, other, strict=True)
    if one.verdict != two.verdict
]
print("\n".join([f"{len(changed)} of {measured} verdicts differ in rSum.", *changed]))

# %% [markdown]
# *A verdict that may not last is marked.* If the runs were still improving, or their settings were not tuned, the
# verdict is marked as provisional: more steps may reverse it.
#
# *Multiple comparisons are accounted for.* Among many confidence intervals, some will exclude 0 even though there is no
# effect. So the ledger takes a claim as decided only if p < 0.05 after Holm's adjustment.
#
# ### Exercise 5. Chance findings among many claims (difficulty 2 of 3, about 5 minutes)
#
# Suppose that no component has any effect. What is the probability that at least one of n independent confidence
# intervals of a given level (such as 0.95) excludes 0?


# %%
def chance_findings(n, level):
    """-> a probability between 0 and 1."""
    ...


check("chance_findings", chance_findings)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First find the probability of the complement: that none excludes 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# One interval contains 0 with probability `level`, n independent ones all do with `level ** n`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: chance_findings -->
# ```python
# def chance_findings(n, level):
#     return 1 - level**n
# ```
#
# </details>
#
# Some of the ledger's claims share a model, so they are not independent, and the true probability is smaller than the
# one you computed.
#
# ### Exercise 6. A gain out of nothing (bug hunt, difficulty 2 of 3, importance 3 of 3, about 10 minutes)
#
# One study with several variants is enough for a chance finding. This function chooses the best variant and says how
# much it gains over variant 0, the baseline. The printed line says what gain the function reports, on average, for
# 1,000 studies in which no variant has any effect. **It has two faults.** Write it without them; it may also choose the
# baseline, with a gain of 0.


# %%
def buggy_gain(val, test):
    best = int(test.mean(1).argmax())
    return best, test[best].max() - test[0].mean()


# 1,000 times val and test, 6 variants, 3 seeds, all drawn alike
studies = np.random.default_rng(0).normal(50, 1, size=(1000, 2, 6, 3))
print(f"gain where there is none: {np.mean([buggy_gain(*one)[1] for one in studies]):+.2f} points")


def study_gain(val, test):
    """val, test (V, n): R@1 of V variants with n seeds each -> (index of the choice, its gain on test)."""
    ...


check("study_gain", study_gain)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# What does `val` do in this function? And which run of the chosen variant is compared with which run of the baseline?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Val selects, test reports. A variant is the mean of its seeds, on both sides of the difference and when it is chosen.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: study_gain -->
# ```python
# def study_gain(val, test):
#     best = int(val.mean(1).argmax())
#     return best, test[best].mean() - test[0].mean()
# ```
#
# </details>
#
# **Think**: "SGE helps the plain model" and "SGE helps with queue and UTO" are two claims in the ledger. How can one of
# them hold without the other?
#
# <details><summary>One answer</summary>
#
# Two components can have overlapping effects. SGE gives relevant regions more influence on the pooled vector; GPO, which the
# second model has, learns a weighting of its own. Adding a component to a plain model shows what it can do; removing it from
# the full model shows what no other component does. Papers report one of the two, and readers take it for both.
#
# </details>
#
# ## Verdict
#
# **Shown.** On the same images a gain has a narrower confidence interval than two separate intervals suggest; seed variance
# belongs in it; a verdict follows from a rule that was fixed beforehand. What holds on Scenes, and what does not, is in the
# ledger above, with its values.
#
# **Not shown.** That what holds on drawn images holds on Flickr30K: the photos column comes closest, but with few seeds and
# other region tokens, and without CGE. That the ranking after a short run is the ranking after a long one. That embeddings
# are 60 times faster than cross-attention, which is the subject of [notebook 14](14_speed_and_scale.ipynb).
#
# ## What to try next
#
# - A confidence interval can be tested: compare the first two seeds of a stored model with its next two, with
#   `paired_bootstrap`. How often does it exclude 0, where there is no difference?
# - Set `pair = ("queue", "baseline")`. The curves say that a queue starts slowly: run it for twice the steps.
# - Write a `Claim` of your own and pass it to `ledger(draw.STORED, claims=[...])`. Fix its study, its two variants and the subset
#   that decides before you look.
# - `python -m userlab ablate --repeat assets/results/world/sge-0.json` repeats a stored run and says whether the result is
#   bit-identical.
# - Go on to what other papers put where USER has SGE, GPO and the dot product: [notebook 12](12_neighbours.ipynb).
#
# ## References
#
# - Y. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)
# - B. Efron and R. Tibshirani, *An introduction to the bootstrap*, 1993.
# - X. Bouthillier and others, *Accounting for variance in machine learning benchmarks*, MLSys 2021: seeds are one of many
#   sources of variance.

# %% [markdown]
# # 08 Ablations: does each part of USER help, and how would one know?
#
# You will be able to
#
# - put an interval on a gain that counts both kinds of luck, that of the pictures and that of the seed;
# - read a study: models that differ in one thing, their runs, their differences from a reference;
# - keep a ledger of claims, each with a verdict that follows from its interval and from nobody's hope.
#
# | needs | time on two CPU cores | memory |
# |---|---|---|
# | [01_recall](01_recall.ipynb); [03](03_self_guided_enhancement.ipynb) to [06](06_unified_objective.ipynb) say what the parts are | 2 minutes in the fast profile, 3 in the full | 1.6 GB, and in the full profile 2.4 GB for each of the two trainings |

# %%
import math
import tempfile
from itertools import product

import numpy as np

from usercourse import Demo, check, choice, compare, course_config, predict, show, snapshot, start
from usercourse import ablations as draw
from usercourse.plots import intervals
from userlib.evaluation import Difference, Interval

profile = start()

# %% [markdown]
# ## The claim
#
# The abstract says that USER stands on three legs: an [enhancement](GLOSSARY.md#enhancement) of the regions in two forms, SGE and
# CGE; [negatives](GLOSSARY.md#negative) from a [queue](GLOSSARY.md#queue) in place of the mini-batch alone; and
# [UTO](GLOSSARY.md#uto) to train on both. Together they are said to gain 5 and 2.4 points of [R@1](GLOSSARY.md#recall-at-k)
# over the best method before. The way to test a leg is to take it away, or to add it alone: an
# [ablation](GLOSSARY.md#ablation). The tables in which the paper does so were not at hand, so nothing here copies them.
#
# A table of ablations prints differences of one or two points, often from one training each. Two kinds of luck are in
# such a number: which pictures were in the test, and which [seed](GLOSSARY.md#seed) the training had. This notebook measures both.
#
# ## By hand: two models, five pictures, three seeds

# %%
A = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0]])  # (seeds, pictures): found or not
B = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
show(*draw.hits_by_hand(A, B))

# %% [markdown]
# Both find picture 1, neither finds picture 5: some pictures are easy and some hard, for everyone. Forget the seeds for a
# moment and take each picture's mean, in percent. Five pictures can be drawn with replacement in $5^5 = 3{,}125$ ways; we
# take all of them, so that nothing is random in this [bootstrap](GLOSSARY.md#bootstrap).

# %%
a, b = 100 * A.mean(0), 100 * B.mean(0)  # (5,) each
draws = np.array(list(product(range(5), repeat=5)))  # (3125, 5)
means_a, means_b = a[draws].mean(1), b[draws].mean(1)
assert means_a.shape == (3125,)


def ends(value, sample):
    """The value with the middle 95 % of its sample."""
    return Interval(float(value), *map(float, np.quantile(sample, [0.025, 0.975])))


alone = {"A": ends(a.mean(), means_a), "B": ends(b.mean(), means_b)}
show(*intervals(alone, x_label="R@1 in percent, all 3,125 draws of five pictures"))

# %%
predict(
    "ablations_paired",
    "How wide is the interval of A less B, when both are scored on the same draws?",
    high=150,
    unit="points",
)

# %%
own = np.subtract.outer(means_a, means_b[::5]).ravel()  # every draw for A with every fifth for B
same = means_a - means_b
gain = a.mean() - b.mean()
by_hand = {
    "pictures of their own": Difference(*ends(gain, own)),
    "the same pictures": Difference(*ends(gain, same)),
}
show(*intervals(by_hand, x_label="A less B, in points", differences=True))
paired_by_hand = by_hand["the same pictures"]
compare("ablations_paired", round(paired_by_hand.high - paired_by_hand.low))

# %% [markdown]
# The two intervals of A and B overlap widely, and still the gain may be clear. A draw full of easy pictures lifts both models,
# and in the difference that cancels. What is left is how much the *gain* varies from picture to picture. This is the
# [paired difference](GLOSSARY.md#paired-difference).
#
# ### Exercise 1. The paired gain (difficulty 1 of 3, about 5 minutes)
#
# `a` and `b` hold a number for each picture, each row of `draws` the numbers of the pictures of one draw. Give the two ends of
# the 95 % interval of the mean gain of a over b.


# %%
def paired_gain(a, b, draws):
    """a (N,), b (N,), draws (S, N) of pictures -> (low, high)."""
    ...


check("paired_gain", paired_gain)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Each draw gives one gain. What are the ends of the middle 95 % of the gains?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `a[draws]` has shape (S, N). Take its mean over the pictures, take off the same of b, and ask `np.quantile` for .025 and
# .975.
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
# A model is not one training but all trainings that it could have had; a seed is drawn from them as a picture is drawn from all
# pictures. So both are drawn. Let $a_{ri}$ be the percent of hits of run $r$ on picture $i$, with $n$ runs and $N$ pictures. One
# resample draws pictures $i_1 \dots i_N$, the same for all runs of both models, and runs $r_1 \dots r_n$ of each model:
#
# $$ m_r = \frac1N \sum_{j=1}^{N} a_{r i_j}, \qquad \bar m = \frac1n \sum_{r=1}^{n} m_r, \qquad
#    m^* = \bar m + \sqrt{\frac{n}{n-1}} \Big( \frac1n \sum_{k=1}^{n} m_{r_k} - \bar m \Big) $$
#
# The root is there because $n$ draws from only $n$ runs vary by $(n-1)/n$ of what they should, two thirds at $n = 3$. The
# gain of one resample is $m^*$ of A less $m^*$ of B; 2,000 resamples make the interval.


# %%
from userlib.evaluation import Ranks, paired_bootstrap


def means_loop(a, pictures, rng):
    """a (n, N) percent of hits, pictures (S, N) drawn -> (S,): the mean of each resample, seeds drawn too."""
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


def as_ranks(hits):
    """hits (N,) of 0 and 1, one caption a picture -> ranks for the library."""
    return Ranks(i2t=2 - hits, t2i=2 - hits, caption_to_image=np.arange(len(hits)))


with_seeds = paired_loop(100 * A, 100 * B)
library = paired_bootstrap([as_ranks(run) for run in A], [as_ranks(run) for run in B])["t2i_r1"]
assert np.allclose(with_seeds, library, atol=1e-3)
print("loop and library agree: {:+.1f} [{:+.1f}, {:+.1f}]".format(*with_seeds))
print(
    f"pictures alone:         {paired_by_hand.value:+.1f} [{paired_by_hand.low:+.1f}, {paired_by_hand.high:+.1f}]"
)

# %% [markdown]
# By the pictures alone A is better; with the luck of three seeds counted, these data cannot tell. Seeds belong in the interval.
#
# Read off the interval, a claim "A is better" has one of three [verdicts](GLOSSARY.md#verdict): it *holds* where all of the interval lies above
# zero, it is *contradicted* where all lies below, and it is *inconclusive* otherwise.
#
# ### Exercise 2. The verdict (difficulty 1 of 3, about 5 minutes)


# %%
def claim_verdict(low, high):
    """-> "holds", "contradicted" or "inconclusive"."""
    ...


check("claim_verdict", claim_verdict)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three cases, and the middle of the interval is in none of them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Ask for `low > 0` first, then for `high < 0`; what remains is the third.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: claim_verdict -->
# ```python
# def claim_verdict(low, high):
#     if low > 0:
#         return "holds"
#     return "contradicted" if high < 0 else "inconclusive"
# ```
#
# </details>
#
# ## The studies
#
# A *study* trains models that differ in one thing, several seeds each, and scores every run once on the 1,000 test
# pictures of [Scenes](GLOSSARY.md#scenes). Half of these show *new pairs*, known words in combinations that training never had. Studies take hours, so their
# runs are stored with the repository. Each row keeps the rank of every picture and caption, which is why all that follows can be computed
# anew; each names the command that makes it again.

# %%
results = draw.stored()
print(draw.summary(results))

# %% [markdown]
# On the left each model with its interval; the small strokes are its runs. On the right its difference from the reference, on the
# same draws. Choose a study, a part of the pictures, and a metric. **Think**: on which part do you expect parts that bring
# knowledge from outside to show?

# %%
explore = draw.explorer(results, resamples=1000 if profile.name == "fast" else 2000)
names = list(results) or [draw.NOTHING]
first = "world" if "world" in results else names[0]

Demo(
    explore,
    study=choice("study", names, value=first),
    part=choice("part of the pictures", ["all", "in-distribution", "novel compositions"]),
    metric=choice("metric", list(draw.METRICS)),
)

# %%
snapshot(explore, study=first, part="all", metric="mean R@1")
snapshot(explore, study=first, part="novel compositions", metric="mean R@1")

# %% [markdown]
# <details><summary>One answer</summary>
#
# On the new pairs. Training has not shown them, and the guide comes from a wider world in which they occur. What only helps to learn the
# training pictures better shows on the half that was drawn like them.
#
# </details>
#
# Are the runs long enough to be compared? A difference between two models that are still climbing is a difference in speed. Here
# are the curves, scored on val while training.

# %%
from userlab.ablation.studies import STUDIES


def curves_demo(study):
    """The curves of a study's runs."""
    return draw.curves(STUDIES[study], results[study]) if study in results else draw.nothing()


Demo(curves_demo, study=choice("study", names, value=first))

# %%
snapshot(curves_demo, study=first)

# %% [markdown]
# ## The control that was missing
#
# The paper multiplies the loss of the batch by 20 on Flickr30K and adds a queue. Against no queue at weight 1 that is a gain. **Think**:
# two things were changed at once; which model is missing from the comparison? The study `queue` has it.

# %%
if "queue" in results:
    queues = draw.measure(STUDIES["queue"], results["queue"], "all", resamples=1000)
    chosen = ("2048", "2048-weight-20", "absent-weight-20", "absent-clip")
    shown = {STUDIES["queue"].variant(name).label: queues.apart[name]["r1"] for name in chosen}
    show(*intervals(shown, x_label="less no queue at weight 1, points of mean R@1", differences=True))
else:
    show(*draw.nothing())

# %% [markdown]
# The weight alone, with no queue at all, brings what queue and weight bring together. And why should a factor before a loss help, when
# Adam divides by the size of the gradient anyway? Because gradients are clipped before Adam sees them, and of a loss 20 times as large
# they are clipped 20 times lower. The last line leaves the weight at 1 and clips at a 20th, and does as well. A gain that looked like the
# queue's was one of the optimizer. It took one more line in the table to see it.
#
# ## How many seeds?
#
# With one seed a side the interval knows the pictures alone: it is narrow because it leaves something out. With two it has to
# guess the spread of seeds from two of them. Only then do further seeds narrow it.

# %%
known = results.get("world", {})
show(*draw.seed_widths(draw.ranks_of(known, "sge"), draw.ranks_of(known, "baseline")))
for name, rows in results.items():
    if (sigma := draw.spread(rows)) > 0:
        print(f"{name:12} seeds of one model differ by {sigma:.2f} points of mean R@1 (standard deviation)")

# %% [markdown]
# ### Exercise 3. Seeds needed (difficulty 2 of 3, about 10 minutes)
#
# Seeds of one model differ by a standard deviation $\sigma$ in R@1. Two models have $n$ seeds each. The seeds' part of the 95 %
# interval reaches 1.96 standard errors to either side of the difference. How large must $n$ be for it to reach at most $w$?


# %%
def seeds_needed(spread, wanted):
    """spread: sigma, wanted: w, both in points -> the least whole number of seeds."""
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
# Two models of the study `world`, a part and the model without it, trained here with a seed that no stored run has. Change
# `pair` to any two of `study.variants`. They run in processes of their own, as `python -m userlab ablate` does it.

# %%
predict(
    "ablations_mine",
    "One run of the plain model with UTO, one with the hinge: what will the difference in mean R@1 say?",
    options=["higher", "lower", "these data cannot tell"],
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
seed = 1 + max((row.seed for of in known.values() for row in of), default=-1)
base, out = course_config(steps=steps), tempfile.mkdtemp()
jobs = [
    Job(study=study.name, variant=name, config=variant_config(study, name, base, seed=seed), out=out)
    for name in pair
]
print(f"Two trainings of {steps} steps side by side, seed {seed}: {0.3 * steps:.0f} s or more on two cores.")
with waiting("two trainings, each in a process of its own"):
    done = run_jobs(jobs, processes=2, title="your runs", progress=False)
print(f"{done.made} rows made", *done.failed.values())

# %%
mine = load_study(study, out)
draw.expect_learned([row for of in mine.values() for row in of], steps)
yours = draw.gain(*(draw.ranks_of(mine, name) for name in pair))
beside = {f"yours: {len(mine[pair[0]])} seed, {steps} steps": yours}
both = [draw.ranks_of(known, name) for name in pair]
if all(both):
    beside[f"stored: {min(map(len, both))} seeds, {study.steps} steps"] = draw.gain(*both)
    if draw.same_pictures(known, mine):
        joined = [old + draw.ranks_of(mine, name) for old, name in zip(both, pair, strict=True)]
        beside["together"] = draw.gain(*joined)
show(*intervals(beside, x_label=f"{pair[0]} less {pair[1]}, points of mean R@1", differences=True))
print(describe(pair[0], pair[1], yours, what="mean R@1"))
compare("ablations_mine", outcome(yours))

# %% [markdown]
# In the full profile your run is one more seed of the same study, scored on the same pictures, and may be joined to the others. In
# the fast one it had a smaller world and a tenth of the steps, so it only stands beside them. Look at the two signs. Where they differ, no
# interval is wrong: each is sure of its own question. A short run asks which model starts quicker, a long one which gets further. That
# is why each figure here says how many steps it is about.
#
# To keep runs, give the command a folder: `python -m userlab ablate --study world --variant uto baseline --out runs/studies`.
#
# ## The ledger
#
# Now all claims at once. The [ledger](GLOSSARY.md#ledger) is a list of claims as data: a sentence, its source, a study, a cell less another. What is
# printed below is computed from the stored rows, and so is the verdict. Claims whose source is a *control* are ours: what a claim must beat to
# mean what it says. That CGE helps, for one, could mean that any second opinion helps.

# %%
from userlab.ablation.ledger import in_metric, ledger, markdown

with waiting("the ledger, from the stored rows"):
    entries = ledger(draw.STORED)
measured = sum(entry.verdict != "not measured" for entry in entries)
predict(
    "ablations_holds",
    f"Of {measured} measured claims, how many hold?",
    high=max(measured, 1),
    unit="claims",
)

# %%
from IPython.display import Markdown, display

show(*draw.ledger_figure(entries))
display(Markdown(markdown(entries)))
compare("ablations_holds", sum(entry.verdict == "holds" for entry in entries), unit="claims")

# %% [markdown]
# Three habits make such a table worth reading.
#
# *A claim that fails stays in.* A table that lists what worked is an advertisement.
#
# *The measure is chosen before looking*, here mean R@1. Would another one have said the same?

# %%
other = in_metric(entries, "rsum")
changed = [
    f"{one.claim.text}: {one.verdict} in R@1, {two.verdict} in rSum"
    for one, two in zip(entries, other, strict=True)
    if one.verdict != two.verdict
]
print("\n".join([f"{len(changed)} of {measured} verdicts are others in rSum.", *changed]))

# %% [markdown]
# *Luck is counted.* Who looks at many intervals will see some that miss zero though nothing is there.
#
# ### Exercise 4. Luck among many (difficulty 2 of 3, about 5 minutes)
#
# Suppose that no part helps or harms at all. What is the probability that at least one of n independent intervals of a level (such as .95)
# misses zero?


# %%
def lucky_claims(n, level):
    """-> a probability between 0 and 1."""
    ...


check("lucky_claims", lucky_claims)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Ask for the opposite first: that none misses zero.
#
# </details>
# <details><summary>Hint 2</summary>
#
# One interval holds zero with probability `level`, n independent ones with `level ** n`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: lucky_claims -->
# ```python
# def lucky_claims(n, level):
#     return 1 - level**n
# ```
#
# </details>
#
# Some of the ledger's claims share a model, so they are not independent, and the true probability is smaller than yours.
#
# **Think**: "SGE helps the plain model" and "SGE helps beside queue and UTO" are two claims in the ledger. How can one hold without
# the other?
#
# <details><summary>One answer</summary>
#
# A part can bring what another part brings too. SGE gives the pooled vector more of the regions that matter; GPO, which the second model has, learns a
# weighting of its own. Added to a plain model, each part shows what it can do; taken from the full one, what nothing else does. Papers
# report one of the two, and readers take it for both.
#
# </details>
#
# ## Verdict
#
# **Shown.** On the same pictures a gain has a narrower interval than two intervals suggest; seeds belong in it; a verdict can be
# read off by a rule that was fixed before. What holds on Scenes, and what does not, is in the ledger above, with its numbers.
#
# **Not shown.** That what holds on drawn pictures holds on Flickr30K: the photos column is the nearest that this course comes, with few
# seeds and another tokenizer of pictures, and CGE is absent from it. That a short run's order is a long run's order. That embeddings are 60 times
# faster than cross-attention, which is the business of [notebook 10](10_speed_and_scale.ipynb).
#
# ## What to try next
#
# - An interval can be put to the test: compare the first two seeds of a stored model with its next two, through `paired_bootstrap`. How often does it miss zero, where it
#   must not?
# - Set `pair = ("queue", "baseline")`. The curves say that a queue starts slowly: run it for twice the steps.
# - Write a `Claim` of your own and pass it to `ledger(draw.STORED, claims=[...])`. Decide on its study, its cells and the part that
#   it is judged on before you look.
# - `python -m userlab ablate --repeat assets/results/world/sge-0.json` makes a stored run again and says whether it is the same bit by bit.
#
# ## References
#
# - H. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)
# - B. Efron and R. Tibshirani, *An introduction to the bootstrap*, 1993.
# - X. Bouthillier and others, *Accounting for variance in machine learning benchmarks*, MLSys 2021: seeds are one of many sources of luck.

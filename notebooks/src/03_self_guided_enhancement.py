# %% [markdown]
# # 03 Self-guided enhancement: a picture tells its regions what it is about
#
# You will be able to
#
# - write SGE from its formula, region by region and then all at once, and say what each part is for;
# - measure how much it adds, and why the paper's own strength adds next to nothing;
# - say where it looks and whether it helps, each beside a baseline and with an interval.
#
# | needs | time on two CPU cores | memory |
# |---|---|---|
# | [02_baseline](02_baseline.ipynb) | 1 minute in the fast profile, 9 in the full | 1.2 GB |

# %%
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from usercourse import Demo, check, choice, compare, predict, show, show_table, slider, snapshot, start
from usercourse import enhancement as draw
from usercourse.plots import heat_map, intervals
from usercourse.verdicts import describe, outcome

profile = start()

# %% [markdown]
# ## The claim
#
# Notebook 02 took the mean of all [regions](GLOSSARY.md#region), *as if all mattered equally*. The paper's first remedy is
# self-guided [enhancement](GLOSSARY.md#enhancement), SGE: the picture makes one vector out of all its regions, the
# [guide](GLOSSARY.md#guide), and adds it to each region, the more of it the better region and guide agree. Regions that
# show what the picture is about should come out stronger, the rest should fade beside them.
#
# Three questions, in this order: what does it compute, where does it look, and does it help?
#
# ## A hand example
#
# Three regions $V_r$ of two numbers, and a guide $g$ of length 1 that is given to us. How well they agree:
#
# $$ a = \mathrm{l2norm}\Big( \mathrm{softmax}_r\,( \lambda\; g \cdot V_r ) \Big), \qquad V'_r = V_r + s\, a_r\, g $$
#
# $\lambda$ is the sharpness; the paper has $\lambda = 1$. $s$ is the [strength](GLOSSARY.md#strength), which the paper does not
# have, that is, $s = 1$. With $g = (1, 0)$ the products $g \cdot V_r$ are 2, 1 and 0, their [softmax](GLOSSARY.md#softmax) is
# .665, .245 and .090, a vector of length .714; so $a$ = .931, .343, .126.


# %%
def enhance_loop(V, g, s, lam):
    """V (R, D) regions of one picture, g (D,) -> V' (R, D), a (R,)."""
    R = len(V)
    e = [torch.exp(lam * (g @ V[r])) for r in range(R)]
    weights = [e[r] / sum(e) for r in range(R)]  # softmax: they sum to 1
    length = sum(w * w for w in weights) ** 0.5
    a = [w / length for w in weights]  # l2norm: their squares sum to 1
    return torch.stack([V[r] + s * a[r] * g for r in range(R)]), torch.stack(a)


V, g = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), torch.tensor([1.0, 0.0])
moved, a = enhance_loop(V, g, s=1, lam=1)
assert moved.shape == V.shape and a.shape == (3,)
together = torch.cat([V, a[:, None], moved], dim=1)  # (R, 5)
columns = ["V, 1st", "V, 2nd", "a", "V', 1st", "V', 2nd"]
figure, _ = heat_map(together, rows=["r = 1", "r = 2", "r = 3"], columns=columns)
show(figure, f"Region 1 agrees most and moves most, by {a[0]:.3f}, along the guide; across it nothing moves.")
print(f"The length of all that was added: {(moved - V).norm():.3f}.")

# %% [markdown]
# Look at the last line. Since $g$ has length 1 and $a$ has length 1, all that is added to *all* regions together has
# length $s$, for every picture, every $\lambda$ and every weight that training may find. Keep that in mind.
#
# ## Where the guide comes from
#
# From the regions themselves. Each region goes through a *local* branch, their mean through a *global* one; where both
# answer alike, the region gets weight $w_r$:
#
# $$ L_r = \tanh(\mathrm{norm}(W_l V_r)), \quad G = \tanh\Big(\mathrm{norm}\Big(W_g \tfrac{1}{R} \sum_r V_r\Big)\Big), \quad
#    w = \mathrm{softmax}_r\big( w_c \cdot (L_r \odot G) \big), \quad g = \mathrm{l2norm}\Big( \sum_r w_r V_r \Big) $$
#
# So there are two attentions here: $w$ decides what the guide is made of, $a$ decides which regions receive it. (In training
# both branches also lose 40 % of their numbers at random. The release normalises $L$ over the positions of the regions, which ties a
# model to 36 of them; the course normalises each region by itself. Presets named after the paper do as the release does.)


# %%
def self_guide_loop(V, m):
    """V (R, D) regions of one picture, m: a SelfGuide of the library, for its weights -> g (D,), w (R,)."""
    R = len(V)
    G = torch.tanh(m.global_norm(m.global_linear(sum(V) / R)))  # (D,)
    scores = []
    for r in range(R):
        L = torch.tanh(m.local_norm(m.local_linear(V[r])))  # (D,)
        scores.append(m.weigh(L * G))
    w = torch.softmax(torch.cat(scores), 0)
    g = sum(w[r] * V[r] for r in range(R))
    return g / g.norm(), w


class SelfGuided(nn.Module):
    """SGE for a whole batch, without loops."""

    def __init__(self, D):
        super().__init__()
        self.local_linear, self.local_norm = nn.Linear(D, D), nn.LayerNorm(D)
        self.global_linear, self.global_norm = nn.Linear(D, D), nn.LayerNorm(D)
        self.weigh = nn.Linear(D, 1)

    def forward(self, V, s, lam=1.0):
        L = torch.tanh(self.local_norm(self.local_linear(V)))  # (B, R, D)
        G = torch.tanh(self.global_norm(self.global_linear(V.mean(1))))  # (B, D)
        w = torch.softmax(self.weigh(L * G[:, None]).squeeze(-1), dim=1)  # (B, R)
        g = F.normalize(torch.einsum("br,brd->bd", w, V), dim=1)  # (B, D)
        a = F.normalize(torch.softmax(lam * torch.einsum("bd,brd->br", g, V), dim=1), dim=1)  # (B, R)
        return V + s * torch.einsum("br,bd->brd", a, g)  # (B, R, D)


from userlib.model.enhancement import Enhancement

torch.manual_seed(0)
B, R, D = 4, 9, 6
V = torch.randn(B, R, D)
library = Enhancement("sge", D, residual_scale=2.0).eval()
mine = SelfGuided(D)
weights = library.self_guide.state_dict()
mine.load_state_dict({name.replace("norm.norm", "norm"): value for name, value in weights.items()})
assert mine(V, s=2.0).shape == (B, R, D)
assert torch.allclose(mine(V, s=2.0), library(V), atol=1e-5)
for i in range(B):
    g, w = self_guide_loop(V[i], library.self_guide)
    assert torch.allclose(enhance_loop(V[i], g, s=2.0, lam=1.0)[0], library(V)[i], atol=1e-5)
print("Loop, batch and library agree.")

# %% [markdown]
# ### Exercise 1. The agreement (difficulty 1 of 3, about 5 minutes)


# %%
def region_attention(V, g, lam):
    """V (R, D) regions, g (D,) guide, lam the sharpness -> a (R,)."""
    ...


check("region_attention", region_attention)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One product for all regions; two functions of PyTorch around it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `V @ g` are the products. `torch.softmax(x, 0)` and `F.normalize(x, dim=0)`, in which order?
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: region_attention -->
# ```python
# def region_attention(V, g, lam):
#     return F.normalize(torch.softmax(lam * (V @ g), 0), dim=0)
# ```
#
# </details>
#
# ### Exercise 2. The enhancement (difficulty 1 of 3, about 5 minutes)


# %%
def enhance(V, g, a, s):
    """V (R, D), g (D,), a (R,), s a number -> V' (R, D)."""
    ...


check("enhance", enhance)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Region r receives the vector g, times two numbers. Nothing is taken away from V.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `a[:, None] * g[None, :]` is the table of all $a_r g$, (R, D).
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: enhance -->
# ```python
# def enhance(V, g, a, s):
#     return V + s * a[:, None] * g[None, :]
# ```
#
# </details>
#
# ## How much is that?
#
# Now real regions: region-mini's, 64 a picture, scaled as in notebook 02.

# %%
predict(
    "sge_added",
    "At the paper's strength s = 1: how long is all that SGE adds, in percent of the length of all regions together?",
    low=0, high=100, step=0.5, unit="%",
)  # fmt: skip

# %%
from usercourse import course_config, expect_trained, variant
from userlib.model.user import USER
from userlib.training import fit, prepare

steps = min(3 * profile.steps, 400)  # a small model: three steps in the time of one of the full model
prepared = prepare(
    course_config(
        enhancement="sge", pooling="mean", text="bag", text_pooling="mean",
        objective="hinge-sum", queue_size=None, steps=steps, lr=3e-3,
    )
)  # fmt: skip
test = prepared.test
world, grid, N = test.split.pictures.world, test.features.grid, len(test.split)
tokens = torch.from_numpy(np.asarray(test.features.tokens, dtype=np.float32))  # (N, R, D)
sample = torch.from_numpy(np.asarray(prepared.train.features.tokens[:256], dtype=np.float32))

torch.manual_seed(0)
untrained = USER(prepared.config.model, prepared.config.objective).eval()
untrained.init_from_data(sample)  # scales the regions and sets the strength, as every training begins
V = untrained.image_encoder.to_regions(sample)  # (256, R, D)
whole = V.flatten(1).norm(dim=1)  # (256,): the length of all regions of each picture together
added = (100 / whole).median().item()  # s = 1, whatever the weights
print(
    f"A region is about {V.norm(dim=2).median():.1f} long, all {V.shape[1]} of a picture {whole.median():.0f}."
)
compare("sge_added", round(added, 2), unit="%")

# %% [markdown]
# So the paper's formula, read to the letter, barely touches the regions. (36 regions of 2,048 random numbers of spread 1
# are $\sqrt{36 \cdot 2048} = 272$ long together: .4 %.) The course therefore gives the strength a number of its own, $s = e^{\sigma}$, **learned** like a weight, and
# starts it where the addition is a tenth as long as the regions: $s / \sqrt{R}$ is 10 % of the median region's length.
# The sharpness $\lambda$ is no substitute: it moves $a$ about, the length stays $s$.
#
# ### Exercise 3. The strength that is needed (difficulty 2 of 3, about 5 minutes)
#
# Which $s$ makes all that is added `share` times as long as all regions together?


# %%
def strength_for(V, share):
    """V (R, D) the regions of a picture, share such as 0.1 -> s."""
    ...


check("strength_for", strength_for)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You know how long the addition is, for any guide: see the hand example's last line.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The length of a table is the root of the sum of all its squares, `V.norm()`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: strength_for -->
# ```python
# def strength_for(V, share):
#     return share * V.norm()
# ```
#
# </details>
#
# ## The experiment: with and without
#
# The retriever of notebook 02 (mean of regions, bag of words, summed hinge) is the baseline, *none*. Beside it stand SGE with the
# paper's fixed $s = 1$ and SGE with a learned strength; nothing else differs, and each is trained from the same seeds.

# %%
predict(
    "sge_help",
    "Is rSum higher with SGE of learned strength than without SGE?",
    options=["higher", "lower", "these data cannot tell"],
)

# %%
from userlib.evaluation import bootstrap, embed, means, paired_bootstrap, ranks

sides = {
    "none": dict(enhancement="none"),
    "SGE, s = 1": dict(residual_scale=1.0),
    "SGE, s learned": dict(residual_scale="learned"),
}
print(f"{len(sides) * profile.seeds} trainings of {steps} steps:")
ranks_of, runs = {name: [] for name in sides}, {name: [] for name in sides}
for name, changes in sides.items():
    for seed in range(profile.seeds):
        run = fit(variant(prepared, seed=seed, **changes))
        expect_trained(run)
        ranks_of[name].append(ranks(*embed(run.encoders, test), test.caption_to_image))
        runs[name].append(run)

# %%
seen = np.array([half == "in-distribution" for half in test.split.groups])
rows = {}
for name, one in ranks_of.items():
    rows[f"{name}, seen"] = bootstrap(one, images=seen)
    rows[f"{name}, new"] = bootstrap(one, images=~seen)
show_table(rows)

helps = paired_bootstrap(ranks_of["SGE, s learned"], ranks_of["none"])["rsum"]
paper = paired_bootstrap(ranks_of["SGE, s = 1"], ranks_of["none"])["rsum"]
apart = {"learned - none": helps, "s = 1 - none": paper}
apart["learned - s = 1"] = paired_bootstrap(ranks_of["SGE, s learned"], ranks_of["SGE, s = 1"])["rsum"]
show(*intervals(apart, x_label="difference in rSum on the test pictures", differences=True))

began = untrained.image_encoder.enhancement.self_scale().item()
ended = [run.encoders.image_encoder.enhancement.self_scale().item() for run in runs["SGE, s learned"]]
print(f"The learned strength began at {began:.2f} and ended at {', '.join(f'{s:.2f}' for s in ended)}.")
compare("sge_help", outcome(helps))

# %% [markdown]
# An interval over one seed speaks of other pictures, not of other seeds; the full profile trains three a side. And the same seed
# is not the same start: SGE's own weights are drawn before the others. So a difference at $s = 1$, where little is added, may be
# no more than the luck of another start. Read the learned strength's difference beside it.
#
# ## Where does it look?
#
# The table says whether SGE helps, not why. The drawn world knows which pixels belong to the things that captions name, so we
# can ask how much of the [agreement](GLOSSARY.md#agreement) $a$ lies on them. A number alone would say nothing: attention that
# knows nothing gets the share of the picture that the things cover (*uniform*). Four more yardsticks stand beside it:
#
# - *centre*: a bell curve around the middle of the picture, since things are rarely at its edge;
# - *length*: a softmax over the regions' lengths, which needs no guide at all;
# - *untrained*: SGE's $a$ with the random weights from before training;
# - *w*: SGE's other attention, of which the guide is made.

# %%
predict(
    "sge_where",
    "Named things cover about an eighth of a picture. Which share of the trained a lies on them?",
    low=0, high=100, step=1, unit="%",
)  # fmt: skip

# %%
from userlib.evaluation.attention import attention_mass, centre, mask_coverage, uniform

inside = np.stack(
    [mask_coverage(draw.named(world, i), grid) for i in range(N)]
)  # (N, R): share of each cell on named things
looks = {
    "uniform": [uniform(N, grid)],
    "centre": [centre(N, grid)],
    "length": [untrained.image_encoder.to_regions(tokens).norm(dim=2).softmax(1)],
    "a, untrained": [untrained.attention(tokens)["self"]],
}
trained = [run.encoders.attention(tokens) for run in runs["SGE, s learned"]]
looks["a, trained"] = [one["self"] for one in trained]
looks["w, trained"] = [one["self weights"] for one in trained]

on_things = {
    name: [100 * attention_mass(one, inside) for one in many] for name, many in looks.items()
}  # (N,) each
others = [("a, trained", name) for name in looks if name != "a, trained"]
shares, gaps = means(on_things, others)
show(*intervals(shares, x_label="share of the attention on named things, percent"))
wide = (trained[0]["self"].sum(1) ** 2).median()  # 1 where one region has it all, R where all have alike
print(f"The agreement of a picture is spread as if over {wide:.1f} of its {tokens.shape[1]} regions.")
compare("sge_where", shares["a, trained"], unit="%")

# %% [markdown]
# ### Exercise 4. The share on a mask (difficulty 3 of 3, about 15 minutes)
#
# What was measured just now, for one picture: attention on a grid of cells, a mask of pixels, and the share of the attention that
# lies on the mask. Within a cell attention is spread evenly.


# %%
def share_on_mask(a, mask):
    """a (h, w) attention of cells, mask (H, W) bool of pixels, H and W multiples of h and w -> 0 to 1."""
    ...


check("share_on_mask", share_on_mask)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First: which share of each cell does the mask cover? Then a weighted mean of these shares.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `mask.reshape(h, H // h, w, W // w).mean((1, 3))` is the share of each cell, (h, w). The weights are `a / a.sum()`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: share_on_mask -->
# ```python
# def share_on_mask(a, mask):
#     (h, w), (H, W) = a.shape, mask.shape
#     covered = mask.reshape(h, H // h, w, W // w).mean((1, 3))
#     return (a * covered).sum() / a.sum()
# ```
#
# </details>
#
# ## See it
#
# The agreement does not depend on the strength; what a region *has to say* in the end does. We measure it by leaving the region out
# and looking how far the picture's vector turns. Move the strength: the values are in units of the learned one, so that 0 is a
# picture without SGE. Blue outlines are the named things. On the right all 64 regions, seen along the guide and across it, and
# arrows for those that move most.

# %%
encoder, learned = runs["SGE, s learned"][0].encoders.image_encoder, ended[0]


def view(picture, residual_scale, inverse_temperature):
    """One picture at a residual scale, in units of the learned one, and an inverse temperature lambda."""
    options = {
        "picture": picture,
        "residual_scale": residual_scale * learned,
        "inverse_temperature": inverse_temperature,
    }
    return draw.attention_view(encoder, world, tokens, grid, **options)


Demo(
    view,
    picture=choice("picture", range(20)),
    residual_scale=slider("strength, learned = 1", 0.0, 16.0, value=1.0, step=0.25),
    inverse_temperature=slider("sharpness lambda", 0.0, 2.0, value=1.0, step=0.05),
)

# %%
snapshot(view, picture=0, residual_scale=1.0, inverse_temperature=1.0)

# %% [markdown]
# **Think:** at sharpness 0, which regions receive the guide, and what does that do to the differences between regions?
#
# <details><summary>An answer</summary>
#
# All alike. Every region moves by the same vector, so no difference between regions changes; to a mean that comes right after it,
# the picture has been moved as a whole.
#
# </details>
#
# The same for four pictures at once, from no enhancement to far too much.

# %%
strengths = [0.0, 1.0, learned, 8 * learned]
show(*draw.at_strengths(encoder, world, tokens, grid, pictures=[0, 3, 5, 8], strengths=strengths))

# %% [markdown]
# ## Verdict
#
# In numbers of this run and this profile. Points are percent of the attention; a sentence says "cannot tell" where the interval
# holds zero.

# %%
from IPython.display import Markdown

yardsticks = ("uniform", "centre", "length", "untrained *a*", "*w*")
told = [
    "**Does it help?** " + describe("SGE with s learned", "no SGE", helps),
    "**At s = 1?** " + describe("SGE with s = 1", "no SGE", paper),
]
told += [
    "**Where?** " + describe("Trained *a*", name, gap, what="points on named things")
    for name, gap in zip(yardsticks, gaps.values(), strict=True)
]
Markdown("\n".join(f"- {sentence}" for sentence in told))

# %% [markdown]
# **Shown.** What SGE computes, three times over with one result. All it adds has length $s$, whatever it has learned; at the
# paper's $s = 1$ that is little beside these regions. Where $a$ looks, beside five yardsticks.
#
# **Not shown.** That training taught SGE where to look: compare *trained* with *untrained* above before you say so. Regions that a
# detector was trained to make are long where there is a thing to name, and $g \cdot V_r$ is large where $V_r$ is long. Nor that
# a gain or a loss of SGE comes from its attention: it also brings weights of its own in $W_l$ and $W_g$, and only a control that
# has the weights and not the agreement could tell. Trainings here are short, the pooling is a mean and not the paper's, and no
# photo was seen; notebook 08 repeats the question in the full model.
#
# ## What to try next
#
# - Train a third side with `inverse_temperature=0.0`: the guide is added to all regions alike. What is left of the difference to none?
# - In the demo, find a picture on which $a$ lies on the background. What is there?
# - `variant(prepared, pooling="gpo")` sorts every channel before it sums. Does SGE help there? Compare as above, with an interval.
# - `variant(prepared, region_scaling="unit")` gives every region length 1. Does $a$ still find the things?
# - Go on to a guide from outside, CLIP's: notebook 04.
#
# ## References
#
# - H. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)
# - J. Chen and others, *Learning the best pooling strategy for visual semantic embedding*, CVPR 2021: the pooling beside which
#   the paper places SGE.
# - J. Zhang and others, *Top-down neural attention by excitation backprop*, ECCV 2016: the pointing game.

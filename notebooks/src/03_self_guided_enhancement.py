# %% [markdown]
# # 03 Self-guided enhancement: an image informs its own regions
#
# You will be able to
#
# - write SGE from its formula, region by region and then all at once, and say what each part is for;
# - measure how much it adds, and explain why this is next to nothing at the paper's residual scale;
# - say where it attends and whether it helps, each in comparison with a baseline and with a confidence interval.
#
# | needs | time on two CPU cores | exercises, an estimate | memory |
# |---|---|---|---|
# | [02_baseline](02_baseline.ipynb) | 1 minute in the fast profile, 9 in the full | 40 minutes | 1.2 GB |

# %%
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from usercourse import Demo, check, choice, compare, predict, show, show_table, slider, snapshot, start
from usercourse import enhancement as draw
from usercourse.diagrams import diagram
from usercourse.plots import heat_map, intervals
from usercourse.verdicts import describe, outcome

profile = start()
diagram("pipeline", here=("enhancement",))

# %% [markdown]
# ## The claim
#
# Notebook 02 took the mean of all [regions](GLOSSARY.md#region), *as if all mattered equally*. The paper's first remedy is
# self-guided [enhancement](GLOSSARY.md#enhancement), SGE: one vector, the [guide](GLOSSARY.md#guide), is computed from all
# regions of the image and added to each of them, with a weight that grows with the similarity of region and guide. Regions
# that show what the image is about should thus be emphasised over the rest.
#
# Three questions, in this order: what does it compute, does it help, and where does it attend?
#
# ## A hand example
#
# Take three regions $V_r$ of two dimensions, and a guide $g$ of unit norm; how to compute a guide comes later. The
# attention weights $a$ and the enhanced regions $V'_r$ are
#
# $$ a = \mathrm{l2norm}\Big( \mathrm{softmax}_r\,( \lambda\; g \cdot V_r ) \Big), \qquad V'_r = V_r + s\, a_r\, g $$
#
# $\lambda$ is the inverse temperature, which is 1 in the paper. $s$ is the [residual
# scale](GLOSSARY.md#residual-scale); the paper has none, that is, $s = 1$. With $g = (1, 0)$ the products $g \cdot V_r$
# are 2, 1 and 0, their [softmax](GLOSSARY.md#softmax) is 0.665, 0.245 and 0.090, a vector of norm 0.714. Divided by
# this norm it is $a$ = 0.931, 0.343, 0.126.


# %%
def enhance_loop(V, g, s, lam):
    """V (R, D) regions of one image, g (D,) -> V' (R, D), a (R,)."""
    R = len(V)
    e = [torch.exp(lam * (g @ V[r])) for r in range(R)]
    weights = [e[r] / sum(e) for r in range(R)]  # softmax: they sum to 1
    norm = sum(w * w for w in weights) ** 0.5
    a = [w / norm for w in weights]  # l2norm: their squares sum to 1
    return torch.stack([V[r] + s * a[r] * g for r in range(R)]), torch.stack(a)


V, g = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), torch.tensor([1.0, 0.0])
moved, a = enhance_loop(V, g, s=1, lam=1)
assert moved.shape == V.shape and a.shape == (3,)
together = torch.cat([V, a[:, None], moved], dim=1)  # (R, 5)
columns = ["V, 1st", "V, 2nd", "a", "V', 1st", "V', 2nd"]
figure, _ = heat_map(together, rows=["r = 1", "r = 2", "r = 3"], columns=columns)
show(
    figure,
    f"Region 1 has the largest attention weight and moves most, by {a[0]:.3f}, along the guide; nothing moves across it.",
)
print(f"The norm of all that was added: {(moved - V).norm():.3f}.")

# %% [markdown]
# Look at the last line of the output. Since both $g$ and $a$ have unit norm, what is added to *all* regions together
# has norm $s$, for every image, every $\lambda$ and whatever weights training may find. Keep that in mind.
#
# ## Where the guide comes from
#
# The guide is computed from the regions themselves. Each region goes through a *local* branch, and the mean of all
# regions through a *global* one; the better the two outputs match, the larger the region's weight $w_r$:
#
# $$ L_r = \tanh(\mathrm{norm}(W_l V_r)), \quad G = \tanh\Big(\mathrm{norm}\Big(W_g \tfrac{1}{R} \sum_r V_r\Big)\Big), \quad
#    w = \mathrm{softmax}_r\big( w_c \cdot (L_r \odot G) \big), \quad g = \mathrm{l2norm}\Big( \sum_r w_r V_r \Big) $$
#
# So there are two sets of attention weights here: $w$ determines what the guide is made of, and $a$ how much of it each
# region receives. (In training, dropout also sets 40 % of the outputs of both branches to zero. The authors' release
# normalises $L$ over the positions of the regions, which ties a model to 36 regions; the course normalises each region
# by itself. The presets named after the paper follow the release.)


# %%
def self_guide_loop(V, m):
    """V (R, D) regions of one image, m: a SelfGuide of the library, for its weights -> g (D,), w (R,)."""
    R = len(V)
    G = torch.tanh(m.global_norm(m.global_linear(sum(V) / R)))  # (D,)
    scores = []
    for r in range(R):
        L = torch.tanh(m.local_norm(m.local_linear(V[r])))  # (D,)
        scores.append(m.weigh(L * G))
    w = torch.softmax(torch.cat(scores), 0)
    g = sum(w[r] * V[r] for r in range(R))
    return g / g.norm(), w


# %%
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


# %%
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
# ### Exercise 1. The attention weights (difficulty 1 of 3, about 5 minutes)
#
# Write the formula for $a$ as code, without a loop.


# %%
def region_attention(V, g, lam):
    """V (R, D) regions, g (D,) guide, lam the inverse temperature -> a (R,)."""
    ...


check("region_attention", region_attention)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One matrix product for all regions, and two functions of PyTorch around it.
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
#
# Write the formula for $V'$ as code, without a loop.


# %%
def enhance(V, g, a, s):
    """V (R, D), g (D,), a (R,), s a scalar -> V' (R, D)."""
    ...


check("enhance", enhance)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Region r receives the vector g, times two scalars. V itself is kept.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `a[:, None] * g[None, :]` is the matrix of all $a_r g$, (R, D).
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
# ### Exercise 3. The guide that reads padding (bug hunt, difficulty 2 of 3, about 10 minutes)
#
# region-mini gives 64 regions for every image. A detector gives as many as it finds, so the images of a batch are
# padded to the largest number of regions, and after a linear layer the padding is no longer even 0. Here is the
# computation of the guide without its learned matrices, as somebody wrote it for images with equal numbers of regions.
# With padding it raises no error. **It has two faults.** Write it without them.


# %%
def buggy_guide(V, mask):
    G = V.mean(1)  # (B, D)
    w = torch.softmax(torch.einsum("brd,bd->br", V, G), dim=1)  # (B, R)
    return F.normalize(torch.einsum("br,brd->bd", w, V), dim=1)


one = torch.tensor([[[2.0, 0.0], [1.0, 1.0]]])  # an image of two regions
padded = torch.cat([one, torch.full((1, 2, 2), -1.0)], dim=1)  # the same image, padded to four
for name, regions in (("alone", one), ("in a batch", padded)):
    mask = torch.arange(regions.shape[1])[None, :] < 2
    print(f"{name + ':':12}", [round(x, 3) for x in buggy_guide(regions, mask)[0].tolist()])


def padded_guide(V, mask):
    """V (B, R, D), mask (B, R) True where there is a region -> g (B, D) of unit norm."""
    ...


check("padded_guide", padded_guide)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The two printed vectors should be equal. In which two lines do regions that do not exist take part?
#
# </details>
# <details><summary>Hint 2</summary>
#
# A mean is a sum divided by a count, and both must be those of the real regions alone; the count is
# `mask.sum(1, keepdim=True)`. Before the softmax the scores of padding must become minus infinity:
# `masked_fill(~mask, float("-inf"))`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: padded_guide -->
# ```python
# def padded_guide(V, mask):
#     G = (V * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
#     scores = torch.einsum("brd,bd->br", V, G).masked_fill(~mask, float("-inf"))
#     w = torch.softmax(scores, dim=1)
#     return F.normalize(torch.einsum("br,brd->bd", w, V), dim=1)
# ```
#
# </details>
#
# ## How much is that?
#
# Now we take real regions: those of region-mini, 64 per image, scaled as in notebook 02.

# %%
predict(
    "sge_added",
    "At the paper's residual scale s = 1: what is the norm of all that SGE adds, in percent of the norm of all regions?",
    low=0, high=100, step=0.5, unit="%",
)  # fmt: skip

# %% jupyter={"source_hidden": true} tags=["hide-input"]
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
untrained.init_from_data(sample)  # scales the regions and sets s, as at the start of every run
V = untrained.image_encoder.to_regions(sample)  # (256, R, D)
whole = V.flatten(1).norm(dim=1)  # (256,): the norm of all regions of each image together
added = (100 / whole).median().item()  # s = 1, whatever the weights
print(
    f"The median norm of a region is {V.norm(dim=2).median():.1f}, of all {V.shape[1]} of an image {whole.median():.0f}."
)
compare("sge_added", round(added, 2), unit="%")

# %% [markdown]
# So the paper's formula, taken literally, barely changes the regions. (The same holds for regions of the paper's size:
# 36 regions of 2,048 random values with standard deviation 1 together have norm $\sqrt{36 \cdot 2048} = 272$, of which
# 1 is 0.4 %.) The course therefore makes the residual scale a parameter, $s = e^{\sigma}$, which is **learned** like a
# weight and starts where the residual has a tenth of the norm of the regions: $s / \sqrt{R}$ is 10 % of the median
# region's norm. The inverse temperature $\lambda$ is no substitute: it redistributes $a$, while the norm stays $s$.
#
# ### Exercise 4. The scale that is needed (difficulty 2 of 3, about 5 minutes)
#
# For which $s$ is the norm of all that is added `share` times the norm of all regions together?


# %%
def scale_for(V, share):
    """V (R, D) the regions of an image, share such as 0.1 -> s."""
    ...


check("scale_for", scale_for)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You know the norm of the residual, for any guide: see the last line of the hand example.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The norm of a matrix is the square root of the sum of all its squares, `V.norm()`.
#
# </details>
# <details><summary>Solution</summary>
#
# <!-- solution: scale_for -->
# ```python
# def scale_for(V, share):
#     return share * V.norm()
# ```
#
# </details>
#
# ## The experiment: with and without
#
# The retriever of notebook 02 (mean of regions, bag of words, summed hinge) is the baseline, *none*. It is compared
# with two forms of SGE, one with the paper's fixed $s = 1$ and one with a learned scale; nothing else differs, and all
# three are trained with the same seeds.

# %%
predict(
    "sge_help",
    "Is rSum higher with SGE of learned scale than without SGE?",
    options=["higher", "lower", "inconclusive"],
)

# %%
from userlib.evaluation import bootstrap, embed, means, paired_bootstrap, ranks

variants = {
    "none": dict(enhancement="none"),
    "SGE, s = 1": dict(residual_scale=1.0),
    "SGE, s learned": dict(residual_scale="learned"),
}
print(f"{len(variants) * profile.seeds} runs of {steps} steps:")
ranks_of, runs = {name: [] for name in variants}, {name: [] for name in variants}
for name, changes in variants.items():
    for seed in range(profile.seeds):
        run = fit(variant(prepared, seed=seed, **changes))
        expect_trained(run)
        ranks_of[name].append(ranks(*embed(run.encoders, test), test.caption_to_image))
        runs[name].append(run)

# %%
known = np.array([half == "in-distribution" for half in test.split.groups])
rows = {}
for name, one in ranks_of.items():
    rows[f"{name}, in-distribution"] = bootstrap(one, images=known)
    rows[f"{name}, novel"] = bootstrap(one, images=~known)
show_table(rows)

helps = paired_bootstrap(ranks_of["SGE, s learned"], ranks_of["none"])["rsum"]
paper = paired_bootstrap(ranks_of["SGE, s = 1"], ranks_of["none"])["rsum"]
apart = {"learned - none": helps, "s = 1 - none": paper}
apart["learned - s = 1"] = paired_bootstrap(ranks_of["SGE, s learned"], ranks_of["SGE, s = 1"])["rsum"]
show(*intervals(apart, x_label="difference in rSum on the test images", differences=True))

began = untrained.image_encoder.enhancement.self_scale().item()
ended = [run.encoders.image_encoder.enhancement.self_scale().item() for run in runs["SGE, s learned"]]
print(f"The learned residual scale began at {began:.2f} and ended at {', '.join(f'{s:.2f}' for s in ended)}.")
compare("sge_help", outcome(helps))

# %% [markdown]
# A confidence interval from one seed accounts for the choice of test images, not for the choice of seed; the full
# profile trains three seeds per model. And the same seed does not mean the same initialisation: SGE's own weights are
# drawn first, so all others differ from those of a model without SGE. A difference at $s = 1$, where little is added,
# may therefore be no more than the effect of another initialisation. Compare the difference at the learned scale with
# the one at $s = 1$.
#
# ## Where does it attend?
#
# The table says whether SGE helps, not why. In the drawn world it is known which pixels belong to the objects that
# captions name, so we can measure how much of the [attention](GLOSSARY.md#attention) $a$ is on them. By itself such a
# share means nothing: attention that is spread evenly already gets the share of the image that the objects cover. This
# is our first baseline, *uniform*. There are four more:
#
# - *centre*: a Gaussian around the middle of the image, since objects are rarely at its edge;
# - *norm*: a softmax over the regions' norms, which needs no guide at all;
# - *untrained*: SGE's $a$ with the random weights from before training;
# - *w*: SGE's other attention, from which the guide is made.

# %%
predict(
    "sge_where",
    "Named objects cover about an eighth of an image. What share of the trained a is on them?",
    low=0, high=100, step=1, unit="%",
)  # fmt: skip

# %% jupyter={"source_hidden": true} tags=["hide-input"]
from userlib.evaluation.attention import attention_mass, centre, mask_coverage, uniform

inside = np.stack(
    [mask_coverage(draw.named(world, i), grid) for i in range(N)]
)  # (N, R): share of each cell on named objects
looks = {
    "uniform": [uniform(N, grid)],
    "centre": [centre(N, grid)],
    "norm": [untrained.image_encoder.to_regions(tokens).norm(dim=2).softmax(1)],
    "a, untrained": [untrained.attention(tokens)["self"]],
}
trained = [run.encoders.attention(tokens) for run in runs["SGE, s learned"]]
looks["a, trained"] = [one["self"] for one in trained]
looks["w, trained"] = [one["self weights"] for one in trained]

on_objects = {
    name: [100 * attention_mass(one, inside) for one in many] for name, many in looks.items()
}  # (N,) each
others = [("a, trained", name) for name in looks if name != "a, trained"]
shares, gaps = means(on_objects, others)
show(*intervals(shares, x_label="share of the attention on named objects, %"))
wide = (
    trained[0]["self"].sum(1) ** 2
).median()  # 1 where one region has all the attention, R where it is uniform
print(f"The effective number of regions that share the attention: {wide:.1f} of {tokens.shape[1]}.")
compare("sge_where", shares["a, trained"], unit="%")

# %% [markdown]
# ### Exercise 5. The share on a mask (difficulty 3 of 3, about 15 minutes)
#
# Compute for one image what was just measured. You are given the attention on a grid of cells and a mask of pixels;
# return the share of the attention that is on the mask. Within a cell, attention is spread evenly.


# %%
def share_on_mask(a, mask):
    """a (h, w) attention of cells, mask (H, W) bool of pixels, H and W multiples of h and w -> 0 to 1."""
    ...


check("share_on_mask", share_on_mask)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First: what share of each cell does the mask cover? Then a weighted mean of these shares.
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
# The attention $a$ does not depend on the residual scale; the effect of a region on the embedding does. We measure it
# as the *leave-one-out importance*: leave the region out and see how far the image's vector turns. Move the slider of
# the residual scale: it is in units of the learned one, so that 1 is the trained model and 0 is no SGE at all. First
# comes the image as it is, then the same image, dimmed twice, by attention and by importance: at full
# brightness where these are largest, a fifth as bright where they are 0. Blue outlines mark the named objects. Last,
# all 64 regions are drawn as points, with one axis along the guide and one across it, and arrows for those that
# move most.

# %%
encoder, learned = runs["SGE, s learned"][0].encoders.image_encoder, ended[0]


def view(image, residual_scale, inverse_temperature):
    """One image at a residual scale, in units of the learned one, and an inverse temperature lambda."""
    options = {
        "picture": image,
        "residual_scale": residual_scale * learned,
        "inverse_temperature": inverse_temperature,
    }
    return draw.attention_view(encoder, world, tokens, grid, **options)


Demo(
    view,
    image=choice("image", range(20)),
    residual_scale=slider("residual scale, learned = 1", 0.0, 16.0, value=1.0, step=0.25),
    inverse_temperature=slider("inverse temperature λ", 0.0, 2.0, value=1.0, step=0.05),
)

# %%
snapshot(view, image=0, residual_scale=1.0, inverse_temperature=1.0)

# %% [markdown]
# **Think:** at inverse temperature 0, which regions receive the guide, and what does that do to the differences between
# regions?
#
# <details><summary>An answer</summary>
#
# All of them equally. Every region moves by the same vector, so no difference between regions changes; if a mean
# follows, it sees an image that was shifted as a whole.
#
# </details>
#
# Here is the same for four images at once, from no enhancement to far too much.

# %%
scales = [0.0, 1.0, learned, 8 * learned]
show(*draw.at_scales(encoder, world, tokens, grid, pictures=[0, 3, 5, 8], scales=scales))

# %% [markdown]
# ## Verdict
#
# First in numbers, for this run and this profile. Points are percentage points of the attention; "inconclusive" means
# that the 95 % confidence interval contains 0.

# %%
from IPython.display import Markdown

baselines = ("uniform", "centre", "norm", "untrained *a*", "*w*")
verdicts = [
    "**Does it help?** " + describe("SGE with s learned", "no SGE", helps),
    "**At s = 1?** " + describe("SGE with s = 1", "no SGE", paper),
]
verdicts += [
    "**Where?** " + describe("Trained *a*", name, gap, what="the share on named objects")
    for name, gap in zip(baselines, gaps.values(), strict=True)
]
Markdown("\n".join(f"- {sentence}" for sentence in verdicts))

# %% [markdown]
# **Shown.** What SGE computes, implemented three times with the same result. What it adds has norm $s$, whatever it has
# learned; at the paper's $s = 1$ that is little compared with these regions. Where $a$ attends, compared with five
# baselines.
#
# **Not shown.** That training taught SGE where to attend: compare *trained* with *untrained* above before you claim it.
# The regions of a trained detector have a large norm where there is an object to name, and $g \cdot V_r$ is large where
# the norm of $V_r$ is large. Nor is it shown that a gain or a loss with SGE is due to its attention: SGE also adds
# parameters, $W_l$ and $W_g$, and only a control with these parameters but without the attention could separate the
# two. The runs here are short, the pooling is a mean and not the paper's, and no photos were used; notebook 11 repeats
# the question in the full model.
#
# ## What to try next
#
# - Train one more variant, with `inverse_temperature=0.0`, which adds the guide equally to all regions. What is left of
#   the difference from *none*?
# - In the demo, find an image where $a$ is on the background. What is there?
# - `variant(prepared, pooling="gpo")` sorts every channel before it sums. Does SGE help there? Compare as above, with a confidence interval.
# - `variant(prepared, region_scaling="unit")` gives every region unit norm. Is $a$ still on the objects?
# - Go on to a guide that comes from another network, CLIP: notebook 04.
#
# ## References
#
# - Y. Zhang and others, *USER*, IEEE TIP 33, 595-609, 2024. [doi](https://doi.org/10.1109/TIP.2023.3348297)
# - J. Chen and others, *Learning the best pooling strategy for visual semantic embedding*, CVPR 2021: the pooling with which
#   the paper combines SGE.
# - J. Zhang and others, *Top-down neural attention by excitation backprop*, ECCV 2016: the pointing game.

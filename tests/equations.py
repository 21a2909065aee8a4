"""Where each equation of the method stands in the code: the table of docs/api.md.

python -m tests.equations      writes the table
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/api.md"
BEGIN, END = "<!-- equations -->\n", "<!-- /equations -->"
EQUATIONS = [
    ("region normalisation of the tokens", "class RegionNorm", "model/layers.py"),
    ("SGE, local and global branch, weights w, guide g", "class SelfGuide", "model/enhancement.py"),
    ("a = l2norm(softmax(lambda g . V_r))", "def region_attention", "model/enhancement.py"),
    ("s = exp(log_scale)", "class ResidualScale", "model/enhancement.py"),
    ("V' = V + s a g", "class Enhancement", "model/enhancement.py"),
    ("CGE, the guide from CLIP's vector", "class ClipGuide", "model/enhancement.py"),
    ("P = Linear(V') + MLP(V')", "class Projection", "model/layers.py"),
    ("GPO, sorted channels weighed by rank", "class GPO", "model/pooling.py"),
    ("GPO, position codes", "def position_codes", "model/pooling.py"),
    ("ESA, a softmax over the set by channel", "def esa_pool", "model/neighbours/esa.py"),
    ("views, A = softmax(V c_m), and their diversity", "class ViewPool", "model/neighbours/views.py"),
    ("graph, R_ij = theta(v_i) . phi(v_j) / n", "def relate", "model/neighbours/graph.py"),
    ("route, cells and paths", "class Route", "model/neighbours/route.py"),
    ("concepts, u' = l2norm(beta u + (1 - beta) u_c)", "def with_concepts", "model/neighbours/concepts.py"),
    ("relation graph, the batch looks at itself", "class RelationGraph", "model/neighbours/relation.py"),
    ("soft targets, KL to a teacher", "def soft_target_loss", "model/neighbours/soft_targets.py"),
    ("CHAN, SCAN, NAAF", "class Scorer", "model/neighbours/cross_attention.py"),
    ("the hardest negatives by the embeddings", "def hardest", "model/neighbours/mining.py"),
    ("image encoder, unit vectors", "class ImageEncoder", "model/encoders.py"),
    ("text encoder, unit vectors", "class TextEncoder", "model/encoders.py"),
    ("caption augmentation", "def augment", "data/captions.py"),
    ("theta_k <- m theta_k + (1 - m) theta_q", "class MomentumEncoder", "model/momentum.py"),
    ("m from the run's length", "def momentum_for", "model/momentum.py"),
    ("the two queues", "class DualQueue", "model/queue.py"),
    ("keys that are no negatives", "def ignore_mask", "model/queue.py"),
    ("order of momentum, losses and enqueueing", "def step", "model/contrast.py"),
    ("UTO, -log(1 + relu(s+)) and its leaky form", "def uto_positive", "model/objective.py"),
    ("UTO, (1/mu) log(1 + sum exp(mu (s_j - gamma)))", "def uto_negative", "model/objective.py"),
    ("l(s+, {s_j}) of one query", "def query_loss", "model/objective.py"),
    ("L_b", "def batch_loss", "model/objective.py"),
    ("L_q", "def queue_loss", "model/objective.py"),
    ("L = loss_weight L_b + L_q", "class MomentumContrast", "model/contrast.py"),
]


def table() -> str:
    """A row per equation: what it is, the name in the code, file and line."""
    rows = ["| equation | name | file and line |", "|---|---|---|"]
    for equation, name, file in EQUATIONS:
        text = (ROOT / "userlib" / file).read_text(encoding="utf-8")
        match = re.search(rf"^ *{re.escape(name)}\b", text, re.M)
        if match is None:
            raise ValueError(f"{name} is not in userlib/{file}")
        line = text.count("\n", 0, match.start()) + 1
        short = name.split()[1]
        rows.append(f"| {equation} | `{short}` | [userlib/{file}:{line}](../userlib/{file}#L{line}) |")
    return "\n".join(rows) + "\n"


def write() -> None:
    """Puts the table between its markers."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.split(END, 1)[1], encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write()

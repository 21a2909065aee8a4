"""The mechanisms of related work written plainly, one image, one vector, one channel at a time, to compare with.

As in `tests.reference.model`: parameters come as a mapping of name to tensor, and nothing is taken from userlib.
"""

import math

import torch

from tests.reference.model import linear, softmax, sub, unit


def there(vectors, mask):
    """The vectors of one set that are there, as a list."""
    return [v for v, known in zip(vectors, mask, strict=True) if known]


def layer_norm(x, p, prefix, eps=1e-5):
    centered = x - x.mean()
    return centered / torch.sqrt((centered**2).mean() + eps) * p[f"{prefix}.weight"] + p[f"{prefix}.bias"]


def esa(p, V, mask):
    rows = []
    for vectors, known in zip(V, mask, strict=True):
        kept = there(vectors, known)
        scores = [linear(v, p, "score") for v in kept]
        channels = []
        for c in range(V.shape[2]):
            weights = softmax(torch.stack([s[c] for s in scores]))
            channels.append(sum(w * v[c] for w, v in zip(weights, kept, strict=True)))
        rows.append(torch.stack(channels))
    return torch.stack(rows)


def views(p, V, mask):
    rows = []
    for vectors, known in zip(V, mask, strict=True):
        kept, seen = there(vectors, known), []
        for code in p["codes"]:
            weights = softmax(torch.stack([(v * code).sum() / math.sqrt(len(code)) for v in kept]))
            seen.append(sum(w * v for w, v in zip(weights, kept, strict=True)))
        rows.append(linear(torch.cat(seen), p, "out"))
    return torch.stack(rows)


def diversity(p, V, mask):
    total = 0.0
    for vectors, known in zip(V, mask, strict=True):
        kept = there(vectors, known)
        A = [
            softmax(torch.stack([(v * code).sum() / math.sqrt(len(code)) for v in kept]))
            for code in p["codes"]
        ]
        for m, one in enumerate(A):
            for n, other in enumerate(A):
                total = total + ((one * other).sum() - float(m == n)) ** 2
    return total / len(V)


def graph_layer(p, vectors, known):
    """One layer on one set; only what is there is looked at, and everything is changed."""
    keys = [(linear(v, p, "key"), linear(v, p, "value")) for v in there(vectors, known)]
    changed = []
    for v in vectors:
        query = linear(v, p, "query")
        related = sum((query * key).sum() * value for key, value in keys) / len(keys)
        changed.append(v + layer_norm(linear(related, p, "out"), p, "norm"))
    return changed


def graph(p, V, mask):
    rows = []
    for vectors, known in zip(V, mask, strict=True):
        now, layer = list(vectors), 0
        while f"layers.{layer}.out.weight" in p:
            now = graph_layer(sub(p, f"layers.{layer}"), now, known)
            layer += 1
        rows.append(torch.stack(now))
    return torch.stack(rows)


def transformer_layer(p, xs, known, heads, extra=None):
    """xs: a list of vectors; extra[i][j] is added to the score of query i with key j."""
    width = len(xs[0])
    size = width // heads
    normed = [linear(layer_norm(x, p, "first_norm"), p, "inputs") for x in xs]
    seen = []
    for i, _ in enumerate(xs):
        parts = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            query = normed[i][:width][part]
            keys = [j for j in range(len(xs)) if known[j]]
            scores = []
            for j in keys:
                score = (query * normed[j][width : 2 * width][part]).sum() / math.sqrt(size)
                scores.append(score if extra is None else score + extra[i][j])
            weights = softmax(torch.stack(scores))
            parts.append(sum(w * normed[j][2 * width :][part] for w, j in zip(weights, keys, strict=True)))
        seen.append(xs[i] + linear(torch.cat(parts), p, "out"))
    return [x + linear(linear(layer_norm(x, p, "second_norm"), p, "hidden").relu(), p, "last") for x in seen]


def mean_of(xs, known):
    kept = there(xs, known)
    return sum(kept) / len(kept)


def gate(p, xs, known):
    whole = mean_of(xs, known)
    agreement = [linear(x, p, "linear") * whole for x in xs]
    norms = torch.sqrt(sum(a**2 for a in there(agreement, known)))
    return [(1 + (a / norms if k else 0.0)) * x for a, x, k in zip(agreement, xs, known, strict=True)]


def route(p, V, mask, heads):
    rows = []
    for vectors, known in zip(V, mask, strict=True):
        inputs = [list(vectors)] * 3
        for depth in range(3):
            outputs, paths = [], []
            for c in range(3):
                q, xs = sub(p, f"layers.{depth}.{c}"), inputs[c]
                made = (
                    [x.relu() for x in xs] if c == 0
                    else transformer_layer(sub(q, "inside.layer"), xs, known, heads) if c == 1
                    else gate(sub(q, "inside"), xs, known)
                )  # fmt: skip
                outputs.append(made)
                paths.append(linear(linear(mean_of(xs, known), q, "hidden").relu(), q, "paths").tanh().relu())
            inputs = []
            for target in range(len(paths[0])):
                total = sum(path[target] for path in paths)
                mixed = []
                for i in range(len(vectors)):
                    parts = [
                        path[target] / total * made[i] for path, made in zip(paths, outputs, strict=True)
                    ]
                    mixed.append(sum(parts))
                inputs.append(mixed)
        rows.append(torch.stack(inputs[0]))
    return torch.stack(rows)


def concepts(p, U, beta=0.75, inverse_temperature=10.0):
    count = len(p["graph"])
    known = [c for c in range(count) if p["graph"][c, c] > 0]
    mixed = [sum(p["graph"][c, d] * p["vectors"][d] for d in range(count)) for c in range(count)]
    hidden = [(p["first.weight"] @ h).relu() for h in mixed]
    H = [p["second.weight"] @ sum(p["graph"][c, d] * hidden[d] for d in range(count)) for c in range(count)]
    H = {c: unit(H[c]) for c in known}
    rows = []
    for u in U:
        u = unit(u)
        shares = softmax(torch.stack([inverse_temperature * (u * H[c]).sum() for c in known]))
        shared = sum(s * H[c] for s, c in zip(shares, known, strict=True))
        rows.append(unit(beta * u + (1 - beta) * shared))
    return torch.stack(rows)


# --- training only, and scorers ----------------------------------------------------------------------------


def relation(p, V, T, heads):
    """(2B, E): images, then captions, each after one look at all of them."""
    xs = [*V, *T]
    count = len(V)

    def log_relevance(i, j):
        kind = 0 if max(i, j) < count else 1 if min(i, j) >= count else 2
        cosine = (unit(xs[i]) * unit(xs[j])).sum()
        return torch.log(1 / (1 + torch.exp(-(p["weight"][kind] * cosine + p["bias"][kind]))))

    extra = [[log_relevance(i, j) for j in range(len(xs))] for i in range(len(xs))]
    related = transformer_layer(sub(p, "layer"), xs, [True] * len(xs), heads, extra)
    return torch.stack([unit(x) for x in related])


def kl(target, scores, temperature, skip=None):
    """KL of one row; skip: a place that is left out."""
    kept = [i for i in range(len(target)) if i != skip]
    P = softmax(torch.stack([target[i] for i in kept]) / temperature)
    Q = softmax(torch.stack([scores[i] for i in kept]) / temperature)
    return (P * (P.log() - Q.log())).sum()


def soft_targets(v, t, V, W, temperature):
    def cosines(left, right):
        return [[(unit(x) * unit(y)).sum() for y in right] for x in left]

    total = 0.0
    for like, own, other in ((cosines(V, V), v, t), (cosines(W, W), t, v)):
        across, within = cosines(own, other), cosines(own, own)
        for i in range(len(v)):
            total = total + kl(like[i], across[i], temperature) / len(v)
            total = total + kl(like[i], within[i], temperature, skip=i) / len(v)
    return total


def cross_attention(p, kind, regions, words):
    """One image and one caption, lists of what is there -> their score."""
    v, w = [unit(x) for x in regions], [unit(x) for x in words]
    s = [[(x * y).sum() for y in w] for x in v]  # s[r][j]
    if kind == "scan-i2t":
        v, w, s = w, v, [list(column) for column in zip(*s, strict=True)]
    steep, temperature = (4.0, 5.0) if kind == "scan-i2t" else (9.0, 6.0)
    found = []
    for j, word in enumerate(w):
        column = [row[j] for row in s]
        best = max(column, key=float)
        if kind == "chan":
            found.append(best)
            continue
        if kind == "naaf":
            weights = [torch.relu(x - p["threshold"]) for x in column]
            if float(best) <= float(p["threshold"]):
                found.append(best - p["threshold"])
                continue
        else:
            leaky = [[x if x > 0 else 0.1 * x for x in row] for row in s]
            norms = [torch.sqrt(sum(x**2 for x in row)) + 1e-8 for row in leaky]
            weights = [torch.exp(steep * row[j] / n) for row, n in zip(leaky, norms, strict=True)]
        context = sum(a * x for a, x in zip(weights, v, strict=True))
        found.append((unit(context) * word).sum())
    if kind in ("chan", "naaf"):
        return sum(found) / len(found)
    return torch.log(sum(torch.exp(temperature * x) for x in found)) / temperature

"""Answers as people write them: right ones in other styles, and wrong ones with words of the message they must get.

RIGHT[exercise] = answers; WRONG[exercise] = (answer, words of its message). The wrong answers that an exercise itself
knows, and those that are wrong for every exercise, are in test_odd_answers.py.
"""

import math
import re
from collections import Counter, OrderedDict
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


# --- 01 recall --------------------------------------------------------------------------------------------
def recall_loop(scores, caption_to_image, K):
    hits = 0
    for j, i in enumerate(caption_to_image):
        rank = sum(1 for other in range(len(scores)) if scores[other][j] >= scores[i][j])
        if rank <= K:
            hits += 1
    return hits / len(caption_to_image) * 100


def recall_sorted(scores, caption_to_image, K):
    """Sorted by score, the ground-truth image after those that tie with it."""
    hits = []
    for j, i in enumerate(caption_to_image):
        order = sorted(range(len(scores)), key=lambda k, j=j, i=i: (-scores[k, j], k == i))
        hits.append(i in order[:K])
    return np.mean(hits) * 100


class Recall:
    def __call__(self, scores, caption_to_image, K):
        s = torch.as_tensor(scores)
        own = s.gather(0, torch.as_tensor(caption_to_image)[None])
        return (s.ge(own).sum(0) <= K).double().mean() * 100


def recall_in_place(scores, caption_to_image, K):
    scores -= scores[caption_to_image, np.arange(scores.shape[1])]
    return 100 * np.mean((scores >= 0).sum(0) <= K)


def ranks_by_loop(scores, caption_to_image):
    ranks = []
    for i, row in enumerate(scores.tolist()):
        own = [s for s, of in zip(row, caption_to_image, strict=True) if of == i]
        ranks.append(1 + sum(s >= max(own) for s, of in zip(row, caption_to_image, strict=True) if of != i))
    return ranks


def ranks_whole(scores, caption_to_image):
    mine = caption_to_image[None, :] == np.arange(len(scores))[:, None]
    best = np.where(mine, scores, -np.inf).max(1, keepdims=True)
    return 1 + ((scores >= best) & ~mine).sum(1)


def ranks_torch(scores, caption_to_image):
    s, mine = torch.tensor(scores), torch.tensor(caption_to_image) == torch.arange(len(scores))[:, None]
    best = s.masked_fill(~mine, -math.inf).amax(1)
    s[mine] = -math.inf
    return (s >= best[:, None]).sum(1) + 1


def interval_counts(ranks, caption_to_image, draws):
    hit = np.bincount(caption_to_image, weights=ranks == 1)
    size = np.bincount(caption_to_image)
    values = 100 * hit[draws].sum(1) / size[draws].sum(1)
    return np.percentile(values, [2.5, 97.5])


def interval_torch(ranks, caption_to_image, draws):
    values = []
    for draw in draws.tolist():
        hits = [float(ranks[j] == 1) for i in draw for j in np.flatnonzero(caption_to_image == i)]
        values.append(100 * sum(hits) / len(hits))
    return list(
        torch.quantile(torch.tensor(values, dtype=torch.float64), torch.tensor([0.025, 0.975]).double())
    )


# --- 02 baseline ------------------------------------------------------------------------------------------
def ids_by_regex(text, ids):
    return np.array([3] + [ids.get(w, 1) for w in re.findall("[a-z0-9]+", text.lower())] + [4])


def ids_by_letters(text, ids):
    words, word = [], ""
    for letter in text.lower() + " ":
        if letter.isalnum():
            word += letter
        elif word:
            words.append(word)
            word = ""
    return tuple([3, *[ids.get(one, 1) for one in words], 4])


def ids_with_unknown(text, ids):
    ids |= {"<unk>": 1}
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return torch.tensor([3, *(ids.get(w, ids["<unk>"]) for w in words), 4])


def mean_einsum(x, mask):
    return torch.einsum("bwe,bw->be", x, mask.float()) / mask.sum(1, keepdim=True)


def mean_numpy(x, mask):
    weights = mask.numpy()[:, :, None].astype(float)
    return np.average(x.numpy(), axis=1, weights=np.broadcast_to(weights, x.shape))


def mean_loop(x, mask):
    return [[sum(v[m].tolist()) / int(m.sum()) for v in row.T] for row, m in zip(x, mask, strict=True)]


def mean_in_place(x, mask):
    x[~mask] = 0
    return x.sum(1) / mask.sum(1, keepdim=True)


class MaskedMean(nn.Module):
    def forward(self, x, mask):
        return torch.stack([row[m].mean(0) for row, m in zip(x, mask, strict=True)])


def hinge_loop(s, margin):
    B, total = len(s), 0.0
    for i in range(B):
        for j in range(B):
            if i != j:
                total += max(0.0, margin - float(s[i, i]) + float(s[i, j]))
                total += max(0.0, margin - float(s[i, i]) + float(s[j, i]))
    return total / B


def hinge_numpy(s, margin):
    s = np.asarray(s)
    d = np.diag(s)
    cost = np.maximum(0, margin - d[:, None] + s) + np.maximum(0, margin - d[None] + s)
    np.fill_diagonal(cost, 0)
    return cost.sum() / len(s)


def hinge_in_place(s, margin):
    d = s.diag().clone()
    s.fill_diagonal_(-math.inf)
    return (F.relu(margin + s - d[:, None]).sum() + F.relu(margin + s - d).sum()) / len(d)


# --- 03, 04 enhancement -----------------------------------------------------------------------------------
def attention_numpy(V, g, lam):
    e = np.exp(lam * (np.array(V) @ np.array(g)))
    return e / np.sqrt((e**2).sum())


def attention_loop(V, g, lam):
    e = [math.exp(lam * sum(float(a) * float(b) for a, b in zip(v, g, strict=True))) for v in V]
    return [one / math.sqrt(sum(x * x for x in e)) for one in e]


def enhance_loop(V, g, a, s):
    return [[float(V[i, j]) + s * float(a[i]) * float(g[j]) for j in range(len(g))] for i in range(len(V))]


def enhance_in_place(V, g, a, s):
    V += s * torch.outer(a, g)
    return V


def share_loop(a, mask):
    h, w = a.shape
    H, W = mask.shape
    inside = 0.0
    for y in range(H):
        for x in range(W):
            if mask[y, x]:
                inside += a[y * h // H, x * w // W] / ((H // h) * (W // w))
    return inside / a.sum()


def share_kron(a, mask):
    fine = np.kron(a, np.ones((mask.shape[0] // a.shape[0], mask.shape[1] // a.shape[1])))
    return float(fine[mask].sum() / fine.sum())


def share_square_cells(a, mask):
    """Right where a cell is as high as wide."""
    side = mask.shape[0] // a.shape[0]
    cells = mask.reshape(a.shape[0], side, -1, side).mean((1, 3))
    return (a * cells).sum() / a.sum()


def guide_numpy(G, W1, b1, W2, b2):
    def norm(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    G, W1, b1, W2, b2 = (np.asarray(one, np.float64) for one in (G, W1, b1, W2, b2))
    g = np.maximum(norm(norm(G) @ W1.T + b1), 0) @ W2.T + b2
    return g / np.linalg.norm(g, axis=1, keepdims=True)


def guide_functional(G, W1, b1, W2, b2):
    x = F.linear(F.layer_norm(G, G.shape[-1:]), W1, b1)
    return F.normalize(F.linear(torch.relu_(F.layer_norm(x, x.shape[-1:])), W2, b2), dim=1)


def weight_loop(own, guide, value, weights):
    best, chosen = -math.inf, None
    for w in weights:
        if value(own + w * guide) > best:
            best, chosen = value(own + w * guide), w
    return chosen


def weight_in_place(own, guide, value, weights):
    values = []
    for before, w in zip([0.0, *weights], weights, strict=False):
        own += (w - before) * guide
        values.append(value(own))
    return weights[int(np.argmax(values))]


def weight_from_zero(own, guide, value, weights):
    best, chosen = 0, None
    for w in weights:
        if value(own + w * guide) > best:
            best, chosen = value(own + w * guide), w
    return chosen


# --- 05 queues --------------------------------------------------------------------------------------------
def slots_numpy(pointer, n, K):
    return np.mod(np.arange(pointer + n - min(n, K), pointer + n), K), np.mod(pointer + n, K)


def slots_list(pointer, n, K):
    return [[(pointer + i) % K for i in range(n)][-K:], (pointer + n) % K]


def half_life_by_steps(m):
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if m**middle > 0.5 else (low, middle)
    return low


def mask_loop(ids, held):
    return [[int(key) == -1 or bool(key == i) for key in held] for i in ids]


# --- 06 objective -----------------------------------------------------------------------------------------
def gradient_by_autograd(s, mu, gamma):
    s = s.clone().requires_grad_()
    (torch.log(1 + torch.exp(mu * (s - gamma)).sum()) / mu).backward()
    return s.grad


def negative_float(s, mu, gamma):
    """A float, by the largest exponent taken out; in the precision of Python."""
    x = [mu * (float(one) - gamma) for one in s]
    top = max(0.0, *x)
    return (top + math.log(math.exp(-top) + sum(math.exp(one - top) for one in x))) / mu


def negative_null_class(s, mu, gamma):
    x = mu * (s.float() - gamma) if s.dtype == torch.float16 else mu * (s - gamma)
    return torch.logsumexp(torch.cat([x.new_zeros(1), x]), 0) / mu


def negative_numpy(s, mu, gamma):
    return np.logaddexp.reduce(np.append(0.0, mu * (s.numpy().astype(np.float64) - gamma))) / mu


def masked_numpy(s, ignore_mask, mu, gamma):
    x = np.where(ignore_mask.numpy(), -np.inf, mu * (s.numpy().astype(float) - gamma))
    return np.logaddexp.reduce(np.concatenate([np.zeros((len(x), 1)), x], 1), axis=1) / mu


def masked_rows(s, ignore_mask, mu, gamma):
    rows = []
    for row, out in zip(s, ignore_mask, strict=True):
        x = mu * (row[~out] - gamma)
        rows.append(torch.logsumexp(torch.cat([x, x.new_zeros(1)]), 0) / mu)
    return rows


def masked_in_place(s, ignore_mask, mu, gamma):
    s[ignore_mask] = -1e9
    return F.softplus(torch.logsumexp(mu * (s - gamma), 1)) / mu


def masked_cut_off(s, ignore_mask, mu, gamma):
    with torch.no_grad():
        return masked_in_place(s, ignore_mask, mu, gamma)


def leaky_numpy(s):
    s = s.numpy()
    return np.where(s > 0, -np.log1p(np.maximum(s, 0)), -s)


def leaky_list(s):
    return [-math.log1p(x) if x > 0 else -x for x in s.tolist()]


def leaky_rows(s):
    return torch.stack([-torch.log1p(x) if x > 0 else -x for x in s])


def leaky_masks(s):
    up = (s > 0).float()
    return -up * torch.log1p(s * up) - (1 - up) * s


# --- 07 running -------------------------------------------------------------------------------------------
def rows_by_counting(step, captions, batch, seed):
    per_epoch = captions // batch
    epoch = 0
    while step >= per_epoch:
        step, epoch = step - per_epoch, epoch + 1
    order = list(np.random.default_rng([seed, 1, epoch]).permutation(captions))
    return [int(one) for one in order[step * batch : step * batch + batch]]


def rows_by_split(step, captions, batch, seed):
    steps = captions // batch
    order = np.random.default_rng([seed, 1, step // steps]).permutation(captions)
    return torch.from_numpy(order[: steps * batch].reshape(steps, batch)[step % steps])


def report_loop(val, test):
    best, result = float("-inf"), None
    for v, t in zip(val, test, strict=True):
        if v > best:
            best, result = v, t
    return result


def folds_whole(scores, caption_to_image, size):
    N = len(scores)
    fold = np.arange(N) // size
    s = np.where(fold[:, None] == fold[caption_to_image][None], scores, -np.inf)
    hit = (s >= s[caption_to_image, np.arange(len(caption_to_image))]).sum(0) == 1
    return np.mean([hit[fold[caption_to_image] == k].mean() for k in range(N // size)]) * 100


def folds_sequential(scores, caption_to_image, size):
    """Takes the captions of the k-th fold to be the k-th block of columns."""
    each, values = scores.shape[1] // len(scores), []
    for start in range(0, len(scores), size):
        block = scores[start : start + size, start * each : (start + size) * each]
        own = np.repeat(np.arange(size), each)
        values.append(((block >= block[own, np.arange(len(own))]).sum(0) == 1).mean())
    return 100 * np.mean(values)


# --- 08 ablations -----------------------------------------------------------------------------------------
def gain_loop(a, b, draws):
    gains = sorted(sum(float(a[i] - b[i]) for i in draw) / len(draw) for draw in draws)

    def quantile(q):
        at = q * (len(gains) - 1)
        low = math.floor(at)
        return gains[low] + (at - low) * (gains[min(low + 1, len(gains) - 1)] - gains[low])

    return quantile(0.025), quantile(0.975)


# --- 09 demo ----------------------------------------------------------------------------------------------
def cosines_loop(words, regions):
    return [[float(F.cosine_similarity(w, r, dim=0)) for r in regions] for w in words]


def cosines_numpy(words, regions):
    w, r = words.numpy(), regions.numpy()
    return (w @ r.T) / np.outer(np.linalg.norm(w, axis=1), np.linalg.norm(r, axis=1))


def changes_loop(first, second):
    gains = {}
    for i in range(len(first)):
        gains[first[i]] = None
        for j in range(len(second)):
            if first[i] == second[j]:
                gains[first[i]] = j - i
    return gains


def changes_popping(first, second):
    return {name: second.index(name) - i if name in second else None for i, name in enumerate(list(first))}


def changes_editing(first, second):
    gains, i = {}, 0
    while first:
        name = first.pop(0)
        gains[name] = second.index(name) - i if name in second else None
        i += 1
    return gains


RIGHT = {
    "recall_at_k": [
        recall_loop,
        recall_sorted,
        Recall(),
        recall_in_place,
        lambda s, o, K: Fraction(sum(int((s[:, j] >= s[i, j]).sum() <= K) for j, i in enumerate(o)) * 100, len(o)),
    ],
    "image_ranks": [ranks_by_loop, ranks_whole, ranks_torch, lambda s, o: tuple(ranks_by_loop(s, o))],
    "interval": [interval_counts, interval_torch, lambda *case: list(interval_counts(*case))],
    "word_ids": [ids_by_regex, ids_by_letters, ids_with_unknown],
    "masked_mean": [
        mean_einsum,
        mean_numpy,
        mean_loop,
        mean_in_place,
        MaskedMean(),
        lambda x, mask: (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True),
        lambda x, mask: torch.where(mask[..., None], x, torch.nan).nanmean(1),
    ],
    "same_mean": [
        [["dog"], ["dog", "dog"]],
        (("ball", "dog"), ("dog", "ball", "ball", "dog")),
        np.array([["dog"] * 2, ["dog"] * 2], dtype=object).tolist()[:1] + [["dog"]],
        (np.array(["dog", "grass"]), np.array(["grass", "dog"] * 3)),
        (["dog", "ball", "ball"], ["ball", "dog", "ball", "ball", "ball", "dog"]),
    ],
    "batch_hinge": [
        hinge_loop,
        hinge_numpy,
        hinge_in_place,
        lambda s, m: sum(
            F.relu(m - s.diag().view(shape) + s).sum() - m * len(s) for shape in ((-1, 1), (1, -1))
        ) / len(s),
    ],
    "region_attention": [
        attention_numpy,
        attention_loop,
        lambda V, g, lam: F.normalize((lam * torch.mv(V, g)).softmax(-1), dim=-1),
        lambda V, g, lam: F.normalize(torch.exp(lam * torch.einsum("rd,d->r", V, g)), dim=0),
    ],
    "enhance": [
        enhance_loop,
        enhance_in_place,
        lambda V, g, a, s: torch.addr(V, a, g, alpha=float(s)),
        lambda V, g, a, s: np.array(V) + s * np.multiply.outer(np.array(a), np.array(g)),
        lambda V, g, a, s: V + torch.einsum("r,d->rd", a, s * g),
    ],
    "scale_for": [
        lambda V, share: math.sqrt(sum(float(x) ** 2 for x in V.flatten())) * share,
        lambda V, share: share * np.linalg.norm(V),
        lambda V, share: share * torch.linalg.matrix_norm(V),
        lambda V, share: [share * V.norm()][0].item(),
    ],
    "share_on_mask": [share_loop, share_kron, lambda a, mask: torch.tensor(share_kron(a, mask))],
    "guide_from_clip": [
        guide_numpy,
        guide_functional,
        lambda G, W1, b1, W2, b2: torch.cat([guide_functional(row[None], W1, b1, W2, b2) for row in G]),
    ],
    "residual_ratio": [
        lambda V, a, g, s: s * a.norm() * g.norm() / V.norm(),
        lambda V, a, g, s: float(np.linalg.norm(s * np.outer(a, g)) / np.linalg.norm(V)),
        lambda V, a, g, s: (((V + s * torch.outer(a, g)) - V).square().sum() / V.square().sum()).sqrt(),
    ],
    "choose_weight": [
        weight_loop,
        weight_in_place,
        lambda own, guide, value, weights: weights[np.argmax([value(own + w * guide) for w in weights])],
        lambda own, guide, value, weights: torch.tensor(max((value(own + w * guide), w) for w in weights)[1]),
    ],
    "slots_of": [
        slots_numpy,
        slots_list,
        lambda p, n, K: (torch.tensor(slots_list(p, n, K)[0]), torch.tensor((p + n) % K)),
    ],
    "half_life": [
        half_life_by_steps,
        lambda m: -np.log(2) / np.log(m),
        lambda m: math.log(0.5, m),
        lambda m: torch.tensor(0.5).double().log() / torch.tensor(m).double().log(),
        lambda m: Decimal("0.5").ln() / Decimal(m).ln(),
    ],
    "no_negatives": [
        mask_loop,
        lambda ids, held: torch.logical_or(held == -1, ids.unsqueeze(1) == held),
        lambda ids, held: (np.equal.outer(ids.numpy(), held.numpy()) | (held.numpy() < 0)).astype(int),
        lambda ids, held: torch.stack([(held == i) | (held == -1) for i in ids]),
    ],
    "own_keys": [
        lambda K, N, c: (c - 1) * K / (N * c),
        lambda K, N, c: Fraction(K * (c - 1), c * N),
        lambda K, N, c: np.float32(K / N - K / (c * N)),
    ],
    "negative_gradient": [
        gradient_by_autograd,
        lambda s, mu, gamma: np.exp(mu * (s.numpy() - gamma)) / (1 + np.exp(mu * (s.numpy() - gamma)).sum()),
        lambda s, mu, gamma: torch.softmax(torch.cat([s.new_zeros(1), mu * (s - gamma)]), 0)[1:],
        lambda s, mu, gamma: [
            math.exp(mu * (x - gamma)) / (1 + sum(math.exp(mu * (y - gamma)) for y in s.tolist())) for x in s.tolist()
        ],
    ],
    "stable_negative": [
        negative_float,
        negative_null_class,
        negative_numpy,
        lambda s, mu, gamma: torch.logaddexp(torch.logsumexp(mu * (s - gamma), 0), s.new_zeros(())) / mu,
        lambda s, mu, gamma: [negative_float(s, mu, gamma)][0],
    ],
    "masked_negative": [
        masked_numpy,
        masked_rows,
        masked_in_place,
        lambda s, out, mu, gamma: F.softplus((mu * (s - gamma)).masked_fill(out, -math.inf).logsumexp(1)) / mu,
        lambda s, out, mu, gamma: torch.logsumexp(
            torch.cat([s.new_zeros(len(s), 1), torch.where(out, -math.inf, mu * (s - gamma))], 1), dim=1
        ) / mu,
    ],
    "leaky_positive": [
        leaky_numpy,
        leaky_list,
        leaky_rows,
        leaky_masks,
        lambda s: torch.where(s > 0, -torch.log1p(s.clamp(min=0)), -s),
        lambda s: torch.where(s <= 0, -s, -torch.log(1 + F.relu(s))),
    ],
    "rows_of": [rows_by_counting, rows_by_split],
    "to_report": [
        report_loop,
        lambda val, test: test[val.index(max(val))],
        lambda val, test: test[max(range(len(val)), key=val.__getitem__)],
        lambda val, test: np.array(test)[np.argmax(val)],
        lambda val, test: sorted(zip(val, test, strict=True), key=lambda one: -one[0])[0][1],
    ],
    "fold_r1": [folds_whole, lambda *case: torch.tensor(folds_whole(*case)), lambda *case: float(folds_whole(*case))],
    "paired_gain": [
        gain_loop,
        lambda a, b, draws: np.percentile((a - b)[draws].mean(axis=1), [2.5, 97.5]),
        lambda a, b, draws: tuple(
            torch.quantile(torch.tensor((a - b)[draws]).mean(1), q).item() for q in (0.025, 0.975)
        ),
    ],
    "claim_verdict": [
        lambda low, high: "inconclusive" if low <= 0 <= high else "supported" if low > 0 else "contradicted",
        lambda low, high: ["contradicted", "inconclusive", "supported"][1 + (low > 0) - (high < 0)],
        lambda low, high: np.where(low > 0, "supported", np.where(high < 0, "contradicted", "inconclusive")).item(),
        lambda low, high: np.array("supported" if low > 0 else "contradicted" if high < 0 else "inconclusive"),
        lambda low, high: "supported\n" if low > 0 else "contradicted" if high < 0 else " inconclusive",
    ],
    "chance_findings": [
        lambda n, level: 1 - math.prod([level] * n),
        lambda n, level: sum(math.comb(n, k) * (1 - level) ** k * level ** (n - k) for k in range(1, n + 1)),
        lambda n, level: -np.expm1(n * np.log(level)),
    ],
    "seeds_needed": [
        lambda spread, wanted: next(n for n in range(1, 999) if 1.96 * math.sqrt(2 * spread**2 / n) <= wanted),
        lambda spread, wanted: np.ceil(2 * (1.96 * spread / wanted) ** 2),
        lambda spread, wanted: -int(-2 * 1.96**2 * spread**2 // wanted**2),
    ],
    "word_region_similarity": [
        cosines_loop,
        cosines_numpy,
        lambda w, r: F.cosine_similarity(w[:, None], r[None], dim=-1),
        lambda w, r: torch.einsum("we,re->wr", F.normalize(w), F.normalize(r)),
    ],
    "rank_changes": [
        changes_loop,
        changes_popping,
        changes_editing,
        lambda first, second: [(n, second.index(n) - i if n in second else None) for i, n in enumerate(first)],
        lambda first, second: OrderedDict(reversed(list(changes_loop(first, second).items()))),
        lambda first, second: {
            n: np.int64(g) if g is not None else None for n, g in changes_loop(first, second).items()
        },
    ],
    "true_of": [
        lambda caption, pictures: {i for i, one in enumerate(pictures) if one >= caption},
        lambda caption, pictures: np.flatnonzero([caption.issubset(one) for one in pictures]),
        lambda caption, pictures: tuple(i for i, one in enumerate(pictures) if not caption - one),
        lambda caption, pictures: [i for i in range(len(pictures)) if all(f in pictures[i] for f in caption)][::-1],
        lambda caption, pictures: torch.tensor([caption <= one for one in pictures]).nonzero().flatten(),
    ],
    "pair_cost": [
        lambda R, W, d: 2 * R * W,
        lambda R, W, d: torch.tensor(2.0 * R * W),
        lambda R, W, d: Fraction(4 * R * W * d, 2 * d),
    ],
    "context_cosine": [
        lambda s, p, G: (torch.dot(p, s) / torch.sqrt(torch.einsum("r,rq,q->", p, G, p))).item(),
        lambda s, p, G: np.dot(p, s) / np.sqrt(np.array(p) @ np.array(G) @ np.array(p)),
        lambda s, p, G: sum(a * b for a, b in zip(p, s, strict=True)) * (p @ G @ p) ** -0.5,
    ],
    "score_recall": [
        lambda scores, exact: np.mean(scores.numpy() >= exact.numpy()[:, -1:] - 1e-6),
        lambda scores, exact: (scores.double() + 1e-6 >= exact.double()[:, -1, None]).double().mean(),
        lambda scores, exact: sum(
            float(x) >= float(row[-1]) - 1e-6 for hits, row in zip(scores, exact, strict=True) for x in hits
        ) / scores.numel(),
    ],
}  # fmt: skip

WITH = "the answer is"

WRONG = {
    "recall_at_k": [
        (lambda s, o, K: [recall_loop(s, o, K)], "the answer is a number; yours is a list of 1 number"),
        (lambda s, o, K: recall_loop(s, o, K + 1), "K = 1"),
        (lambda s, o, K: 100.0, f"{WITH} "),
        (lambda s, o, K: round(recall_loop(s, o, K)), "yours is"),
        (lambda s, o, K: f"{recall_loop(s, o, K)}", "yours is a text"),
        (lambda s, o, K: s.fill(0) or recall_loop(s, o, K), "edits scores in place"),
    ],
    "image_ranks": [
        (lambda s, o: ranks_whole(s, o) - 1, "With scores = "),
        (lambda s, o: ranks_whole(s, o)[:, None], "yours is an array of shape (3, 1)"),
        (lambda s, o: np.ones(len(s)), "the answer is [1, "),
        (lambda s, o: ranks_whole(s, np.sort(o)), WITH),
        (lambda s, o: ranks_whole(s, o).mean(), "yours is a number"),
        (lambda s, o: {i: r for i, r in enumerate(ranks_by_loop(s, o))}, "yours is a dict"),
    ],
    "interval": [
        (lambda r, o, d: interval_counts(r, o, d)[::-1], "draws = an array of shape (200, 20)"),
        (lambda r, o, d: interval_counts(r, o, d) / 100, WITH),
        (lambda r, o, d: float(interval_counts(r, o, d)[0]), "yours is a number"),
        (lambda r, o, d: slice(*interval_counts(r, o, d)), "yours is a slice"),
    ],
    "word_ids": [
        (lambda t, ids: [3, *[ids.get(w, 1) for w in t.lower().split(" ")], 4], "text = "),
        (lambda t, ids: [0, *ids_by_letters(t, ids)[1:]], "the answer is [3, "),
        (lambda t, ids: [str(i) for i in ids_by_letters(t, ids)], "yours is a list of 5 texts"),
        (lambda t, ids: ids_by_letters(t, {w: i + 1 for w, i in ids.items()}), "ids = {"),
        (lambda t, ids: [3, *sorted(ids_by_letters(t, ids)[1:-1]), 4], WITH),
        (lambda t, ids: (i for i in ids_by_letters(t, ids)), "yours is a generator"),
        (lambda t, ids: ids_by_letters(t, ids) if t else [], "begins with the id 3"),
    ],
    "masked_mean": [
        (lambda x, m: mean_einsum(x, m) + 1, "With x = a tensor of shape (3, 4, 2), mask = "),
        (lambda x, m: mean_einsum(x, m).mean(0), "yours is a tensor of shape (2,)"),
        (lambda x, m: mean_einsum(x, ~m), WITH),
        (lambda x, m: F.normalize(mean_einsum(x, m), dim=1), WITH),
        (lambda x, m: x.masked_fill_(~m[..., None], 0).amax(1), "edits x in place"),
    ],
    "same_mean": [
        (["dog", "grass"], "An image is a list of regions; your first one is a text"),
        ((["dog"], ["cat"]), "'cat' is not a region; the regions are dog, ball, grass"),
        ((["dog"], []), "Your second image has no region"),
        ((["dog"], ["dog", "dog"], ["dog"]), "The answer has two images; yours has 3"),
        ({"dog"}, "a tuple of two lists of regions; yours is a set"),
        (({"dog", "ball"}, {"dog", "ball", "grass"}), "your first one is a set"),
        (3, "yours is a number"),
        (([1, 0], [2, 0]), "1 is not a region"),
        (lambda: (["dog"], ["dog", "dog"]), "yours is a function. Give check the value itself"),
    ],
    "batch_hinge": [
        (lambda s, m: hinge_loop(s, m) + 1e-3, "With s = "),
        (lambda s, m: hinge_loop(s, 0.2) * 0 + float(s.relu_().sum()), "edits s in place"),
        (lambda s, m: s, "yours is a tensor of shape (4, 4)"),
        (lambda s, m: hinge_loop(s, m) * len(s) / (len(s) - 1), WITH),
        (lambda s, m: hinge_loop(s, 0.2), "margin = 0.05"),
    ],
    "region_attention": [
        (lambda V, g, lam: torch.tensor(attention_loop(V, g, lam))[:, None], "yours is a tensor of shape (3, 1)"),
        (lambda V, g, lam: attention_numpy(V, g, -lam), "lam = 1"),
        (lambda V, g, lam: attention_numpy(V, g, 1.0), "lambda is not used"),
        (lambda V, g, lam: attention_numpy(V, g, lam)[::-1], WITH),
        (lambda V, g, lam: np.ones(len(V)) / math.sqrt(len(V)), WITH),
    ],
    "enhance": [
        (lambda V, g, a, s: V - s * torch.outer(a, g), "With V = "),
        (lambda V, g, a, s: V + s * torch.outer(g, a), "raised RuntimeError"),
        (lambda V, g, a, s: V.zero_(), "edits V in place"),
        (lambda V, g, a, s: F.normalize(V + s * torch.outer(a, g), dim=1), WITH),
        (lambda V, g, a, s: (V, s * torch.outer(a, g)), "yours is a tuple of 2"),
    ],
    "scale_for": [
        (lambda V, share: share * V.norm(dim=1), "yours is a tensor of shape (3,)"),
        (lambda V, share: share * V.abs().sum(), "share = 0.1"),
        (lambda V, share: 1.0, "yours is 1"),
        (lambda V, share: share * V.norm() * math.sqrt(V.shape[0]), WITH),
    ],
    "share_on_mask": [
        (share_square_cells, "raised"),
        (lambda a, m: 100 * share_kron(a, m), "With a = "),
        (lambda a, m: share_kron(a, ~m), WITH),
        (lambda a, m: m.mean(), WITH),
        (lambda a, m: np.kron(a, np.ones((2, 2))), "yours is an array of shape (6, 4)"),
    ],
    "guide_from_clip": [
        (lambda *case: guide_functional(*case).T, "yours is a tensor of shape (3, 3)|G = "),
        (lambda *case: -guide_functional(*case), "G = "),
        (lambda *case: guide_functional(*case)[0], "yours is a tensor of shape (3,)"),
        (lambda G, W1, b1, W2, b2: guide_functional(G, W1, 0 * b1, W2, b2), WITH),
    ],
    "residual_ratio": [
        (lambda V, a, g, s: V.norm() / (s * torch.outer(a, g)).norm(), "With V = "),
        (lambda V, a, g, s: s * torch.outer(a, g) / V.norm(), "yours is a tensor of shape (3, 4)"),
        (lambda V, a, g, s: s * a.norm() * g.norm(), WITH),
        (lambda V, a, g, s: 100 * s * a.norm() * g.norm() / V.norm(), WITH),
    ],
    "choose_weight": [
        (weight_from_zero, "Is a return missing?"),
        (lambda own, guide, value, weights: weights, "yours is a tuple of 5"),
        (lambda own, guide, value, weights: weights[-1], "weights = [0, 0.25, 0.5, 2, 3]"),
        (lambda own, guide, value, weights: value(own), "value = "),
    ],
    "slots_of": [
        (lambda p, n, K: (slots_numpy(p, n, K)[0] + 1, slots_numpy(p, n, K)[1]), "pointer = 0, n = 2, K = 5"),
        (lambda p, n, K: slots_numpy(p, n, K)[0], "yours is an array of shape (2,)"),
        (lambda p, n, K: (slots_numpy(p, n, K)[0][::-1], (p + n) % K), WITH),
        (lambda p, n, K: ((p + np.arange(n)) % K, (p + n) % K), WITH),
        (lambda p, n, K: ((p + n) % K, slots_numpy(p, n, K)[0]), WITH),
    ],
    "half_life": [
        (lambda m: round(math.log(0.5, m)), "m = 0.9"),
        (lambda m: math.log2(m), WITH),
        (lambda m: -math.log(0.5, m), "With m = 0.5, the answer is 1; yours is -1"),
        (lambda m: math.log10(0.5) / math.log(m), WITH),
    ],
    "no_negatives": [
        (lambda ids, held: torch.tensor(mask_loop(ids, held)).any(0), "yours is a tensor of shape (6,)"),
        (lambda ids, held: (held <= 0) | (ids[:, None] == held), "ids = [0, 2]"),
        (lambda ids, held: torch.zeros(len(ids), len(held)).bool(), "With ids = [7, 3, 5]"),
        (lambda ids, held: held.masked_fill(held < 0, 0), "yours is a tensor of shape (6,)"),
    ],
    "own_keys": [
        (lambda K, N, c: K * (c - 1) // (c * N), "K = 2048, N = 29000, c = 5, the answer is 0.0565"),
        (lambda K, N, c: K * c / N, WITH),
        (lambda K, N, c: (K - 1) / N, WITH),
        (lambda K, N, c: 0, "K = 2048, N = 29000, c = 5"),
    ],
    "negative_gradient": [
        (lambda s, mu, g: -gradient_by_autograd(s, mu, g), "mu = 10, gamma = 0.5"),
        (lambda s, mu, g: gradient_by_autograd(s, mu, g).sum(), "yours is a number"),
        (lambda s, mu, g: torch.ones_like(s), WITH),
        (lambda s, mu, g: gradient_by_autograd(s, mu, g) / mu, WITH),
    ],
    "stable_negative": [
        (lambda s, mu, g: (mu * (s.float() - g)).max().relu() / mu, WITH),
        (lambda s, mu, g: torch.log1p(torch.exp((mu * (s.float() - g)).clamp(max=88)).sum()) / mu, "mu = 200"),
        (lambda s, mu, g: str(negative_float(s, mu, g)), "yours is a text"),
        (lambda s, mu, g: negative_float(s, mu, 0.0), WITH),
        (lambda s, mu, g: torch.nan_to_num(torch.log(1 + torch.exp(mu * (s - g)).sum()) / mu, posinf=0.0), "mu = 200"),
        (lambda s, mu, g: F.softplus(mu * (s.float() - g)) / mu, "yours is a tensor of shape (3,)"),
    ],
    "masked_negative": [
        (masked_cut_off, "the gradient is missing"),
        (lambda s, out, mu, g: masked_in_place(s, out, mu, g).detach(), "the gradient is missing"),
        (lambda s, out, mu, g: torch.tensor(masked_numpy(s.detach(), out, mu, g)), "the gradient is missing"),
        (lambda s, out, mu, g: masked_in_place(s, out, mu, g).sum(), "the value: the answer is a tensor of shape (2,)"),
        (lambda s, out, mu, g: masked_in_place(s, out, mu, g) + 0.01, "the value: "),
        (lambda s, out, mu, g: masked_in_place(s, out, mu, g) * s.new_ones(2).requires_grad_()
         + 0 * s.sum(1) + (s.sum(1) - s.detach().sum(1)), "the gradient: "),
        (lambda s, out, mu, g: [float(x) + 1 for x in masked_in_place(s, out, mu, g)], "the value: "),
    ],
    "leaky_positive": [
        (lambda s: leaky_masks(s).detach(), "the gradient is missing"),
        (lambda s: torch.tensor(leaky_list(s)), "the gradient is missing"),
        (lambda s: leaky_masks(s).mean(), "yours is a number"),
        (lambda s: -leaky_masks(s), "the value: "),
        (lambda s: F.leaky_relu(-s), "s = [-0.9, -0.5, -0.1, 0, 0.1, 0.6]"),
        (lambda s: leaky_masks(s) + 0 * s.sum() + s.sum() - s.detach().sum(), "the gradient: "),
    ],
    "rows_of": [
        (lambda step, n, b, seed: sorted(rows_by_counting(step, n, b, seed)), "step = 0, captions = 10, batch = 3"),
        (lambda step, n, b, seed: rows_by_counting(step + 1, n, b, seed), WITH),
        (lambda step, n, b, seed: rows_by_counting(step, n, b, 0), "seed = 1"),
        (lambda step, n, b, seed: rows_by_counting(step, n, b, seed)[0], "yours is a number"),
        (lambda step, n, b, seed: set(rows_by_counting(step, n, b, seed)), "yours is a set"),
    ],
    "to_report": [
        (lambda val, test: int(np.argmax(val)), "val = [3, 5, 4], test = [2, 4, 6]"),
        (lambda val, test: test[0], WITH),
        (lambda val, test: (max(val), test[val.index(max(val))]), "yours is a tuple of 2"),
        (lambda val, test: test[sorted(range(len(val)), key=lambda i: val[i])[len(val) // 2]], WITH),
        (lambda val, test: test[val.sort() or 0], "edits val in place"),
    ],
    "fold_r1": [
        (folds_sequential, "caption_to_image = "),
        (lambda s, o, size: folds_whole(s, o, len(s)), "the gallery is still whole"),
        (lambda s, o, size: folds_whole(s, o, size) / 100, WITH),
        (lambda s, o, size: [folds_whole(s, o, size)] * (len(s) // size), "yours is a list of 3"),
    ],
    "paired_gain": [
        (lambda a, b, d: gain_loop(a, b, d)[::-1], "With a = an array of shape (40,)"),
        (lambda a, b, d: float(np.mean(a - b)), "yours is a number"),
        (lambda a, b, d: (a - b)[d].mean(1), "yours is an array of shape (301,)"),
        (lambda a, b, d: tuple((a - b).mean() + q * (a - b).std() / len(a) ** 0.5 for q in (-1.96, 1.96)), WITH),
    ],
    "claim_verdict": [
        (lambda low, high: "supported", "yours is supported"),
        (lambda low, high: low > 0, "the answer is a text; yours is True or False"),
        (lambda low, high: "Supported" if low > 0 else "contradicted" if high < 0 else "inconclusive",
         "yours is Supported"),
        (lambda low, high: "supported" if low >= 0 else "contradicted" if high < 0 else "inconclusive",
         "low = 0, high = 1.5|contains 0"),
        (lambda low, high: "supported" if low > 0 else "contradicted" if high <= 0 else "inconclusive",
         "low = -1.5, high = 0|contains 0"),
        (lambda low, high: ["supported"], "yours is a list of 1"),
    ],
    "chance_findings": [
        (lambda n, level: 100 * (1 - level**n), "n = 1, level = 0.95"),
        (lambda n, level: 1 - 0.95**n, "level = 0.9"),
        (lambda n, level: 1 - level ** (n + 1), WITH),
        (lambda n, level: round(1 - level**n, 2), "n = 8"),
    ],
    "seeds_needed": [
        (lambda spread, wanted: math.ceil(2 * (1.96 * spread / wanted) ** 2) + 1, "spread = 1, wanted = 1"),
        (lambda spread, wanted: 2 * (1.96 * spread / wanted) ** 2, "the answer is 8; yours is 7.683"),
        (lambda spread, wanted: round(2 * (1.96 * spread / wanted) ** 2) + 1, WITH),
        (lambda spread, wanted: 8, "spread = 0.8"),
    ],
    "word_region_similarity": [
        (lambda w, r: torch.tensor(cosines_loop(w, r)).abs(), "regions = "),
        (lambda w, r: torch.tensor(cosines_loop(w, r)).amax(1), "yours is a tensor of shape (2,)"),
        (lambda w, r: 1 - torch.tensor(cosines_loop(w, r)), WITH),
        (lambda w, r: torch.softmax(torch.tensor(cosines_loop(w, r)), 1), WITH),
    ],
    "rank_changes": [
        (lambda first, second: list(changes_loop(first, second).values()), "The answer is a dict, {id: ranks gained"),
        (lambda first, second: np.array(list(changes_loop(first, second).values())), "yours is an array of shape (3,)"),
        (lambda first, second: set(first), "yours is a set"),
        (lambda first, second: {n: g for n, g in changes_loop(first, second).items() if g is not None},
         "With first = (a, b, x), second = (b, a, c), the answer is {"),
        (lambda first, second: {n: str(g) for n, g in changes_loop(first, second).items()}, WITH),
        (lambda first, second: 2, "yours is a number"),
        (lambda first, second: {n: (g or 0) + 1 for n, g in changes_loop(first, second).items()}, WITH),
        (lambda first, second: Counter(first), WITH),
    ],
    "true_of": [
        (lambda caption, pictures: [caption <= one for one in pictures], "yours is a list of 5"),
        (lambda caption, pictures: [i + 1 for i, one in enumerate(pictures) if caption <= one], "the answer is [0, 2]"),
        (lambda caption, pictures: [one for one in pictures if caption <= one], "yours is a list of 2|a dog"),
        (lambda caption, pictures: sum(caption <= one for one in pictures), "yours is a number"),
        (lambda caption, pictures: next(i for i, one in enumerate(pictures) if caption <= one), "yours is a number"),
    ],
    "pair_cost": [
        (lambda R, W, d: R * W * d, "R = 36, W = 13, d = 1024"),
        (lambda R, W, d: 2 * R * W / d, WITH),
        (lambda R, W, d: R + W, WITH),
        (lambda R, W, d: 936, "R = 5"),
    ],
    "context_cosine": [
        (lambda s, p, G: (p @ s) / (s @ G @ s).sqrt(), "With s = "),
        (lambda s, p, G: p * s / (p @ G @ p).sqrt(), "yours is a tensor of shape (4,)"),
        (lambda s, p, G: 1 - (p @ s) / (p @ G @ p).sqrt(), WITH),
        (lambda s, p, G: s.max(), WITH),
    ],
    "score_recall": [
        (lambda scores, exact: 100 * (scores >= exact[:, -1:] - 1e-6).float().mean(), "scores = "),
        (lambda scores, exact: (scores >= exact[:, -1:] - 1e-6).float(), "yours is a tensor of shape (2, 3)"),
        (lambda scores, exact: (scores >= exact.min() - 1e-6).float().mean(), WITH),
        (lambda scores, exact: (scores >= exact[:, -1:] - 0.05).float().mean(), WITH),
        (lambda scores, exact: 1.0, WITH),
    ],
}  # fmt: skip

RIGHT["recall_at_k"].append(partial(recall_loop))

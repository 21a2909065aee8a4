"""Answers as people write them: right ones in other styles, and wrong ones with words of the message they must get.

RIGHT[exercise] = answers; WRONG[exercise] = (answer, words of its message). The wrong answers that an exercise itself
knows, and those that are wrong for every exercise, are in test_odd_answers.py.
"""

import copy
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


def sorted_loop(scores, caption_to_image):
    ranks = []
    for j, i in enumerate(caption_to_image):
        column = sorted((float(one) for one in scores[:, j]), reverse=True)
        ranks.append(len(column) - column[::-1].index(float(scores[i, j])))
    return ranks


def sorted_twice(scores, caption_to_image):
    """The place of a place, after the ground-truth image was put behind those that tie with it."""
    own = caption_to_image == np.arange(len(scores))[:, None]
    order = np.lexsort((own, -scores), axis=0)
    return order.argsort(0)[own.argmax(0), np.arange(scores.shape[1])] + 1


def sorted_torch(scores, caption_to_image):
    s = torch.tensor(scores).T.contiguous()
    own = s.gather(1, torch.tensor(caption_to_image)[:, None])
    return torch.searchsorted(s.sort(1).values, own)[:, 0].neg() + s.shape[1]


def sorted_scipy(scores, caption_to_image):
    from scipy.stats import rankdata

    return rankdata(-scores, method="max", axis=0)[caption_to_image, np.arange(scores.shape[1])]


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
def unit_numpy(train, test):
    train, test = train.numpy(), test.numpy()
    z = (test - train.mean(axis=(0, 1))) / train.std(axis=(0, 1))
    return z / np.linalg.norm(z, axis=2, keepdims=True)


def unit_loop(train, test):
    flat, result = train.reshape(-1, train.shape[2]), []
    for image in test:
        rows = []
        for region in image:
            z = [(x - c.mean()) / c.std() for x, c in zip(region, flat.T, strict=True)]
            norm = math.sqrt(sum(float(one) ** 2 for one in z))
            rows.append([float(one) / norm for one in z])
        result.append(rows)
    return result


def unit_in_place(train, test):
    std, mean = torch.std_mean(train.flatten(0, 1), dim=0)
    test -= mean
    test /= std
    test /= test.norm(dim=2, keepdim=True)
    return test


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


def padded_loop(V, mask):
    guides = []
    for image, there in zip(V, mask, strict=True):
        regions = image[there]
        w = (regions @ regions.mean(0)).softmax(0)
        guides.append(F.normalize(w @ regions, dim=0))
    return torch.stack(guides)


def padded_after(V, mask):
    """Masked after the softmax: the norm of the guide is brought to 1, so that no sum of weights is needed."""
    G = torch.einsum("brd,br->bd", V, mask / mask.sum(1, keepdim=True))
    w = torch.softmax((V @ G[..., None]).squeeze(-1), 1) * mask
    return F.normalize((w[..., None] * V).sum(1))


def padded_numpy(V, mask):
    V, mask = V.numpy().astype(float), mask.numpy()
    G = np.where(mask[..., None], V, 0).sum(1) / mask.sum(1)[:, None]
    e = np.where(mask, np.exp(np.einsum("brd,bd->br", V, G)), 0)
    g = np.einsum("br,brd->bd", e, V)
    return g / np.sqrt((g**2).sum(1, keepdims=True))


def padded_nan(V, mask):
    G = torch.where(mask[..., None], V, torch.nan).nanmean(1, keepdim=True)
    w = (V * G).sum(-1).sub(1e9 * ~mask).softmax(-1)
    return F.normalize(torch.bmm(w[:, None], V)[:, 0], dim=-1)


def guides_loop(clip, rows, caption_to_image):
    guides = []
    for row in rows.tolist():
        vector = clip[int(caption_to_image[row])]
        guides.append(vector / vector.square().sum().sqrt())
    return guides


def guides_numpy(clip, rows, caption_to_image):
    unit = clip.numpy() / np.linalg.norm(clip.numpy(), axis=1, keepdims=True)
    return unit[caption_to_image.numpy()[rows.numpy()]]


def guides_lists(clip, rows, caption_to_image):
    of = caption_to_image.tolist()
    return [[x / math.hypot(*clip[of[r]].tolist()) for x in clip[of[r]].tolist()] for r in rows.tolist()]


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


@torch.no_grad()
def momentum_by_words(keys, model, m):
    now, before = model.state_dict(), keys.state_dict()
    learned = {name for name, _ in model.named_parameters()}
    keys.load_state_dict({k: m * before[k] + (1 - m) * now[k] if k in learned else now[k] for k in now})
    return keys


def momentum_data(keys, model, m):
    for k, q in zip(keys.parameters(), model.parameters(), strict=True):
        k.data = k.data * m + q.data * (1 - m)
    for part, other in zip(keys.modules(), model.modules(), strict=True):
        for name, buffer in other.named_buffers(recurse=False):
            setattr(part, name, buffer.clone())
    return keys


def momentum_numpy(keys, model, m):
    with torch.inference_mode():
        for k, q in zip(keys.parameters(), model.parameters(), strict=True):
            k.data.copy_(torch.from_numpy(m * k.numpy() + (1 - m) * q.detach().numpy()))
        for k, q in zip(keys.buffers(), model.buffers(), strict=True):
            k[...] = q
    return keys


@torch.no_grad()
def momentum_many(keys, model, m):
    torch._foreach_lerp_(list(keys.parameters()), list(model.parameters()), 1 - m)
    torch._foreach_copy_(list(keys.buffers()), list(model.buffers()))
    return keys


@torch.no_grad()
def momentum_first(keys, model, m):
    """The first layer alone."""
    for k, q in zip(list(keys.parameters())[:2], model.parameters(), strict=False):
        k.lerp_(q, 1 - m)
    for k, q in zip(keys.buffers(), model.buffers(), strict=True):
        k.copy_(q)
    return keys


# --- 14 speed ---------------------------------------------------------------------------------------------
def timed_numpy(run, wait, clock, runs):
    for _ in range(3):  # of warm-up
        run()
    wait()
    ends = [clock()]
    for _ in range(runs):
        run()
        wait()
        ends.append(clock())
    return np.median(np.diff(ends))


def timed_sorted(run, wait, clock, runs):
    def one():
        wait()
        start = clock()
        run()
        wait()
        return clock() - start

    one()
    times = sorted(one() for _ in range(runs))
    return (times[runs // 2] + times[(runs - 1) // 2]) / 2


def timed_too_early(run, wait, clock, runs):
    run()
    times = []
    for _ in range(runs):
        wait()
        start = clock()
        run()
        times.append(clock() - start)
    return sum(times) / runs


def timed_once(run, wait, clock, runs):
    run()
    wait()
    start = clock()
    run()
    wait()
    return clock() - start


def parts_heap(queries, parts, k):
    best, start = [[] for _ in queries], 0
    for part in parts:
        for q, query in enumerate(queries):
            found = [(float(query @ image), start + i) for i, image in enumerate(part)]
            best[q] = sorted(best[q] + found, reverse=True)[:k]
        start += len(part)
    return [[score for score, _ in row] for row in best], [[i for _, i in row] for row in best]


def parts_numpy(queries, parts, k):
    scores, rows = np.zeros((len(queries), 0)), np.zeros((len(queries), 0), int)
    before = 0
    for part in parts:
        scores = np.hstack([scores, queries.numpy() @ part.numpy().T])
        rows = np.hstack([rows, np.tile(np.arange(before, before + len(part)), (len(queries), 1))])
        order = np.argsort(-scores, axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
        before += part.shape[0]
    return scores, rows


def parts_of_scores(queries, parts, k):
    """All scores, no part."""
    return tuple(torch.cat([queries @ part.T for part in parts], 1).topk(k))


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


def batch_loop(S, ids, mu, gamma):
    total = 0.0
    for i in range(len(S)):
        others = [j for j in range(len(S)) if ids[j] != ids[i]]
        for scores in (S[i, others], S[others, i]):
            total = total + torch.log(1 + torch.exp(mu * (scores - gamma)).sum()) / mu
        total = total - torch.log1p(F.relu(S[i, i]))
    return total / len(S)


def batch_stacked(S, ids, mu, gamma):
    """Both directions one under the other."""
    both = torch.cat([S, S.T])
    same = torch.eq(ids.unsqueeze(0), ids.unsqueeze(1)).repeat(2, 1)
    x = torch.where(same, -math.inf, mu * (both - gamma))
    negative = torch.logaddexp(x.logsumexp(1), both.new_zeros(())) / mu
    return negative.sum() / len(S) - (1 + S.diag().clamp(min=0)).log().mean()


def batch_numpy(S, ids, mu, gamma):
    S, ids = np.array(S), np.array(ids)
    e = np.where(ids[:, None] != ids, np.exp(mu * (S - gamma)), 0)
    rows, columns = (np.log1p(e.sum(axis)) / mu for axis in (1, 0))
    return np.mean(rows + columns - np.log1p(np.maximum(np.diag(S), 0)))


def batch_in_place(S, ids, mu, gamma):
    positive = S.diagonal().clone()
    S[ids[:, None] == ids] = -1e6
    terms = [F.softplus(torch.logsumexp(mu * (one - gamma), 1)) / mu for one in (S, S.T)]
    return sum(terms).mean() - torch.log1p(positive.relu()).mean()


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
def seeds_loop(a, b, images, runs_a, runs_b):
    gains = []
    for s, row in enumerate(images):
        sides = []
        for hits, drawn in ((a, runs_a[s]), (b, runs_b[s])):
            m = [float(np.mean([run[i] for i in row])) for run in hits]
            centre, n = sum(m) / len(m), len(m)
            wider = (n / (n - 1)) ** 0.5 if n > 1 else 1
            sides.append(centre + wider * (sum(m[r] for r in drawn) / n - centre))
        gains.append(sides[0] - sides[1])
    return np.quantile(gains, 0.025), np.quantile(gains, 0.975)


def seeds_torch(a, b, images, runs_a, runs_b, factor=lambda n: (n / max(n - 1, 1)) ** 0.5):
    def side(hits, runs):
        m = torch.as_tensor(hits)[:, torch.as_tensor(images.copy())].mean(2)
        drawn = m.gather(0, torch.as_tensor(runs.copy()).T).mean(0)
        return m.mean(0).lerp(drawn, factor(len(hits)))

    return torch.quantile(side(a, runs_a) - side(b, runs_b), torch.tensor([0.025, 0.975]).double())


def seeds_counted(a, b, images, runs_a, runs_b):
    """Images and runs as weights, how often each is drawn."""

    def weights(drawn, n):
        return (drawn[:, :, None] == np.arange(n)).mean(1)

    def side(hits, runs):
        n = len(hits)
        of_runs = 1 / n + math.sqrt(n / max(n - 1, 1)) * (weights(runs, n) - 1 / n)
        return np.einsum("sr,rn,sn->s", of_runs, hits, weights(images, hits.shape[1]))

    return np.percentile(side(a, runs_a) - side(b, runs_b), [2.5, 97.5]).tolist()


def gain_of_study(val, test):
    order = sorted(range(len(val)), key=lambda v: -sum(val[v]))
    return order[0], sum(test[order[0]]) / len(test[0]) - sum(test[0]) / len(test[0])


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


def shown_sorted(query, gallery, shown, k):
    scores = {row: float(gallery[row] @ query) for row in range(len(gallery)) if shown[row]}
    return sorted(scores, key=scores.get, reverse=True)[:k]


def shown_masked(query, gallery, shown, k):
    scores = np.where(shown, gallery @ query, -np.inf)
    return np.argsort(-scores)[: min(k, shown.sum())]


def shown_torch(query, gallery, shown, k):
    scores = torch.tensor(gallery) @ torch.tensor(query)
    return scores.masked_fill(~torch.tensor(shown), -9.0).topk(min(k, int(shown.sum()))).indices


def shown_partitioned(query, gallery, shown, k):
    rows = np.flatnonzero(shown)
    scores = gallery[rows] @ query
    best = np.argpartition(-scores, min(k, len(rows)) - 1)[:k]
    return rows[best[np.argsort(-scores[best])]].tolist()


def importance_list(encode, words, image):
    whole = float(encode(words) @ image)
    return [
        whole - float(encode([w for j, w in enumerate(words) if j != i]) @ image) for i in range(len(words))
    ]


def importance_popping(encode, words, image):
    falls = np.empty(len(words))
    for i in range(len(words)):
        rest = list(words)
        rest.pop(i)
        falls[i] = torch.dot(encode(tuple(words)), image) - torch.dot(encode(rest), image)
    return falls


def importance_matrix(encode, words, image):
    rows = [words] + [words[:i] + words[i + 1 :] for i in range(len(words))]
    scores = torch.stack([encode(row) for row in rows]) @ image
    return scores[0] - scores[1:]


def importance_dict(encode, words, image):
    return dict(zip(words, importance_list(encode, words, image), strict=True))


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


# --- 08 capstone ------------------------------------------------------------------------------------------
def moved_loop(V, w, s):
    images = []
    for regions, weights in zip(V, w, strict=True):
        g = sum(one * region for one, region in zip(weights, regions, strict=True))
        g = g / g.norm()
        e = torch.stack([torch.exp(region @ g) for region in regions])
        a = e / e.square().sum().sqrt()
        images.append(torch.stack([region + s * one * g for one, region in zip(a, regions, strict=True)]))
    return torch.stack(images)


def moved_in_place(V, w, s):
    g = F.normalize(torch.einsum("br,brd->bd", w, V))
    a = F.normalize(torch.softmax((V @ g[:, :, None])[..., 0], dim=1))
    V += s * torch.einsum("br,bd->brd", a, g)
    return V


def moved_bmm(V, w, s):
    g = F.normalize(torch.bmm(w[:, None], V), dim=2)  # (B, 1, D)
    a = F.normalize(torch.softmax(torch.bmm(V, g.mT), 1), dim=1)  # (B, R, 1)
    return torch.baddbmm(V, s * a, g)


def moved_numpy(V, w, s):
    V, w = np.array(V), np.array(w)
    g = np.einsum("br,brd->bd", w, V)
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    e = np.exp(np.einsum("bd,brd->br", g, V))
    a = e / np.linalg.norm(e, axis=1, keepdims=True)
    return V + s * a[:, :, None] * g[:, None, :]


def pooled_loop(vectors, scores, mask):
    rows = []
    for x, score, there in zip(vectors, scores, mask, strict=True):
        n = int(there.sum())
        rows.append(score[:n].softmax(0) @ x[there].sort(0, descending=True).values)
    return rows


def pooled_large_number(vectors, scores, mask):
    """What is missing is far below, but finite."""
    x = torch.where(mask[..., None], vectors, -1e9).topk(mask.shape[1], dim=1).values
    ranks = torch.arange(mask.shape[1]).expand_as(mask) < mask.sum(1)[:, None]
    return torch.einsum("bn,bne->be", torch.softmax(torch.where(ranks, scores, -1e9), 1), x)


def pooled_numpy(vectors, scores, mask):
    result = []
    for x, score, there in zip(vectors.numpy(), scores.numpy(), mask.numpy(), strict=True):
        e = np.exp(score[: there.sum()])
        result.append((e / e.sum()) @ -np.sort(-x[there], axis=0))
    return np.array(result)


def pooled_in_place(vectors, scores, mask):
    vectors[~mask] = -math.inf
    ordered = torch.sort(vectors, dim=1, descending=True)[0]
    ranks = mask.long().sort(1, descending=True)[0].bool()
    weights = torch.softmax(scores + torch.where(ranks, 0.0, -math.inf), 1)
    return torch.where(ranks[..., None], ordered, 0.0).mul(weights[..., None]).sum(1)


def uto_loop(positives, negatives):
    """A query of notebook 08: its positive scores and its negative scores."""
    value = sum(-torch.log1p(s) if s > 0 else -s for s in positives)
    x = torch.stack([30 * (s - 0.3) for s in negatives] + [torch.zeros(())])
    return value + torch.logsumexp(x, 0) / 30


def losses_loop(v, t, v_keys, t_keys, V, T, ids, held):
    B, L_b, L_q = len(v), 0.0, 0.0
    for i in range(B):
        others = [j for j in range(B) if ids[j] != ids[i]]
        keys = [k for k in range(len(V)) if held[k] != -1 and held[k] != ids[i]]
        L_b = L_b + uto_loop([v[i] @ t[i]], [v[i] @ t[j] for j in others]) / B
        L_b = L_b + uto_loop([], [t[i] @ v[j] for j in others]) / B
        L_q = L_q + uto_loop([v[i] @ t_keys[i]], [v[i] @ T[k] for k in keys]) / B
        L_q = L_q + uto_loop([t[i] @ v_keys[i]], [t[i] @ V[k] for k in keys]) / B
    return L_b, L_q


def losses_stacked(v, t, v_keys, t_keys, V, T, ids, held):
    """All queries one under the other."""

    def n(s, out):
        return F.softplus((30 * (s - 0.3)).masked_fill(out, -math.inf).logsumexp(1)) / 30

    def p(s):
        return torch.where(s > 0, -torch.log1p(s.clamp(min=0)), -s)

    S, same = v @ t.T, torch.eq(*torch.meshgrid(ids, ids, indexing="ij"))
    out = (held[None] == ids[:, None]) | held[None].lt(0)
    batch = n(torch.cat([S, S.T]), torch.cat([same, same])).sum() + p(S.diag()).sum()
    queue = n(torch.cat([v @ T.T, t @ V.T]), torch.cat([out, out]))
    queue = queue + p(torch.cat([(v * t_keys).sum(1), torch.einsum("be,be->b", t, v_keys)]))
    return torch.stack([batch, queue.sum()]) / len(v)


def losses_numpy(v, t, v_keys, t_keys, V, T, ids, held):
    v, t, v_keys, t_keys, V, T, ids, held = (np.array(one) for one in (v, t, v_keys, t_keys, V, T, ids, held))

    def n(s, out):
        x = np.where(out, -np.inf, 30 * (s - 0.3))
        return np.logaddexp.reduce(np.concatenate([np.zeros((len(x), 1)), x], 1), axis=1) / 30

    def p(s):
        return np.where(s > 0, -np.log1p(np.maximum(s, 0)), -s)

    S, same, out = v @ t.T, ids[:, None] == ids, (held == -1) | (held == ids[:, None])
    L_q = n(v @ T.T, out) + n(t @ V.T, out) + p((v * t_keys).sum(1)) + p((t * v_keys).sum(1))
    return np.mean(n(S, same) + n(S.T, same) + p(S.diagonal())), np.mean(L_q)


def losses_changed(**changes):
    """The losses of another objective: mu, gamma, or the transposed queue."""

    def losses(v, t, v_keys, t_keys, V, T, ids, held):
        L_b, L_q = losses_loop(v, t, v_keys, t_keys, V, T, ids, held)
        return changes.get("b", lambda x: x)(L_b), changes.get("q", lambda x: x)(L_q)

    return losses


def losses_cut_off(*case):
    with torch.no_grad():
        return losses_stacked(*case)


def step_at_once(model, optimizer, batch):
    """Gradients are cleared at the end, and the queue is filled before the backward pass, but after the loss."""
    model.follow()
    keys = model.encode_keys(batch)
    losses = model.losses(*model.encode(batch), *keys, batch[-1])
    model.enqueue(*keys, batch[-1])
    sum(losses).backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], max_norm=2.0)
    optimizer.step()
    optimizer.zero_grad()
    return losses


def step_by_hand(model, optimizer, batch):
    *_, ids = batch
    optimizer.zero_grad(set_to_none=False)
    v, t = model.encode(batch)
    with torch.no_grad():
        model.follow()
        v_keys, t_keys = model.encode_keys(batch)
    L_b, L_q = model.losses(v, t, v_keys, t_keys, ids)
    L_b.backward(retain_graph=True)
    L_q.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    norm = math.sqrt(sum(float(g.square().sum()) for g in grads))
    for g in grads:
        g.mul_(min(1.0, 2.0 / norm))
    optimizer.step()
    model.enqueue(v_keys, t_keys, ids)
    return [L_b.item(), L_q.item()]


def step_numpy(model, optimizer, batch):
    return np.array([one.item() for one in step_at_once(model, optimizer, batch)])


def step_with(*, max_norm=2.0, norm=nn.utils.clip_grad_norm_, update=True, back=None, again=False):
    """A step that is right but for what is given."""

    def step(model, optimizer, batch):
        v, t = model.encode(batch)
        model.follow()
        keys = model.encode_keys(batch)
        L_b, L_q = model.losses(v, t, *keys, batch[-1])
        optimizer.zero_grad()
        (L_b + L_q).backward()
        norm(model.parameters(), max_norm)
        if update:
            optimizer.step()
        model.enqueue(*(model.encode_keys(batch) if again else keys), batch[-1])
        return back(L_b, L_q) if back else (L_b.item(), L_q.item())

    return step


def enqueue_in_place(images, texts, held, pointer, v_keys, t_keys, ids):
    n, K = len(ids), len(held)
    slots = (pointer + torch.arange(n)) % K
    images[slots], texts[slots], held[slots] = v_keys.detach(), t_keys.detach(), ids
    return images, texts, held, (pointer + n) % K


def enqueue_loop(images, texts, held, pointer, v_keys, t_keys, ids):
    images, texts, held = images.clone(), texts.clone(), held.clone()
    with torch.no_grad():
        for v, t, i in zip(v_keys, t_keys, ids, strict=True):
            images[pointer], texts[pointer], held[pointer] = v, t, i
            pointer = pointer + 1 if pointer + 1 < len(held) else 0
    return [images, texts, held, torch.tensor(pointer)]


def enqueue_rolled(images, texts, held, pointer, v_keys, t_keys, ids):
    n, K = len(ids), len(held)
    kept = []
    for old, new in ((images, v_keys.data), (texts, t_keys.data), (held, ids)):
        turned = torch.roll(old, -pointer, 0)
        kept.append(torch.roll(torch.cat([new, turned[n:]]), pointer, 0))
    return *kept, divmod(pointer + n, K)[1]


def enqueue_numpy(images, texts, held, pointer, v_keys, t_keys, ids):
    slots = np.arange(pointer, pointer + len(ids)) % len(held)
    queues = [one.numpy().copy() for one in (images, texts, held)]
    for queue, new in zip(queues, (v_keys.detach(), t_keys.detach(), ids), strict=True):
        queue[slots] = new.numpy()
    return *queues, np.int64((pointer + len(ids)) % len(held))


def enqueue_lists(images, texts, held, pointer, v_keys, t_keys, ids):
    queues = [one.tolist() for one in (images, texts, held)]
    for i in range(len(ids)):
        for queue, new in zip(queues, (v_keys, t_keys, ids), strict=True):
            queue[(pointer + i) % len(held)] = new[i].tolist()
    return (*queues, (pointer + len(ids)) % len(held))


def enqueue_newest_first(images, texts, held, pointer, v_keys, t_keys, ids):
    """A list that is pushed along; the pointer stays at its head."""
    K = len(held)
    return (
        *(
            torch.cat([new.detach(), old])[:K]
            for new, old in ((v_keys, images), (t_keys, texts), (ids, held))
        ),
        0,
    )


def enqueue_cut_off(images, texts, held, pointer, v_keys, t_keys, ids):
    """What does not fit behind the last slot is lost."""
    n = min(len(ids), len(held) - pointer)
    images[pointer : pointer + n], texts[pointer : pointer + n] = v_keys[:n].detach(), t_keys[:n].detach()
    held[pointer : pointer + n] = ids[:n]
    return images, texts, held, (pointer + n) % len(held)


# --- 10 photos --------------------------------------------------------------------------------------------
def dim_loop(photo, a, grid):
    (h, w), (H, W) = grid, photo.shape[:2]
    dimmed = np.zeros_like(photo)
    for y in range(H):
        for x in range(W):
            dimmed[y, x] = photo[y, x] * (0.2 + 0.8 * a[(y * h // H) * w + x * w // W] / max(a))
    return dimmed


def dim_kron(photo, a, grid):
    (h, w), (H, W) = grid, photo.shape[:2]
    light = np.kron(np.reshape(a, grid) / np.max(a), np.ones((H // h, W // w)))
    return np.einsum("yxc,yx->yxc", photo, 0.2 + 0.8 * light)


def dim_torch(photo, a, grid):
    photo, a = torch.tensor(photo), torch.tensor(a).reshape(1, 1, *grid)
    light = F.interpolate(a / a.max(), size=photo.shape[:2], mode="nearest")[0, 0]
    return photo * (0.2 + 0.8 * light).unsqueeze(-1)


def dim_in_place(photo, a, grid):
    (h, w), (H, W) = grid, photo.shape[:2]
    for r, one in enumerate(a):
        y, x = r // w * H // h, r % w * W // w
        photo[y : y + H // h, x : x + W // w] *= 0.2 + 0.8 * one / a.max()
    return photo


def box_numpy(r, grid, size):
    row, column = np.unravel_index(r, grid)
    step = np.array(size) / np.array(grid)[::-1]
    first = np.array([column, row]) * step
    return np.concatenate([first, first + step])


def box_torch(r, grid, size):
    y, x = torch.linspace(0, size[1], grid[0] + 1), torch.linspace(0, size[0], grid[1] + 1)
    row, column = r // grid[1], r % grid[1]
    return torch.stack([x[column], y[row], x[column + 1], y[row + 1]])


def box_loop(r, grid, size):
    boxes = [
        [
            x * size[0] / grid[1],
            y * size[1] / grid[0],
            (x + 1) * size[0] / grid[1],
            (y + 1) * size[1] / grid[0],
        ]
        for y in range(grid[0])
        for x in range(grid[1])
    ]
    return boxes[r]


def box_fractions(r, grid, size):
    (h, w), (W, H) = grid, size
    return tuple(Fraction((r % w + i) * W, w) if k == 0 else Fraction((r // w + i) * H, h)
                 for i in (0, 1) for k in (0, 1))  # fmt: skip


def held_loop(filenames, count):
    photos = []
    for name in filenames:
        if name not in photos:
            photos.append(name)
    labels = []
    for name in filenames:
        labels.append("test" if photos.index(name) >= len(photos) - count else "train")
    return labels


def held_numpy(filenames, count):
    names, firsts = np.unique(filenames, return_index=True)
    held = names[np.argsort(firsts)][-count:]
    return np.where(np.isin(filenames, held), "test", "train")


def held_objects(filenames, count):
    return np.array(held_loop(filenames, count), dtype=object)


def held_in_place(filenames, count):
    held = set(list(Counter(filenames))[-count:])
    for i, name in enumerate(filenames):
        filenames[i] = "test" if name in held else "train"
    return tuple(filenames)


# --- 12 neighbours ----------------------------------------------------------------------------------------
def views_loop(V, codes):
    """One view after the other, in Python."""
    looks, seen = [], []
    for code in codes.tolist():
        e = [
            math.exp(sum(a * b for a, b in zip(v, code, strict=True)) / len(code) ** 0.5) for v in V.tolist()
        ]
        looks.append([one / sum(e) for one in e])
        seen += [sum(a * v[c] for a, v in zip(looks[-1], V.tolist(), strict=True)) for c in range(V.shape[1])]
    gram = np.array(looks) @ np.array(looks).T
    return seen, float(((gram - np.eye(len(codes))) ** 2).sum())


def views_numpy(V, codes):
    V, codes = V.numpy(), codes.numpy()
    e = np.exp(codes @ V.T / np.sqrt(V.shape[1]))
    A = e / e.sum(1, keepdims=True)  # (k, R)
    return (A @ V).reshape(-1), np.linalg.norm(A @ A.T - np.eye(len(A))) ** 2


def soft_numpy(teacher, scores, T):
    p, q = (np.exp(x.numpy() / T) for x in (teacher, scores))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return np.mean((p * np.log(p / q)).sum(1))


def chan_loop(V, W, there):
    rows = []
    for image in V:
        row = []
        for words, known in zip(W, there, strict=True):
            best = [max(float(F.cosine_similarity(r, w, dim=0)) for r in image) for w in words[known]]
            row.append(sum(best) / len(best))
        rows.append(row)
    return rows


def chan_numpy(V, W, there):
    V, W = (x.numpy() / np.linalg.norm(x.numpy(), axis=-1, keepdims=True) for x in (V, W))
    best = np.tensordot(V, W, axes=(2, 2)).max(1)  # (A, B, L)
    return np.array(
        [[row[known].mean() for row, known in zip(rows, there.numpy(), strict=True)] for rows in best]
    )


def chan_cosine(V, W, there):
    """By torch's cosine of everything with everything; padding is NaN."""
    s = F.cosine_similarity(V[:, :, None, None], W[None, None], dim=-1)
    return s.amax(1).masked_fill(~there, math.nan).nanmean(-1)


def rerank_loop(scores, cross, k):
    rows = []
    for s, c in zip(scores.tolist(), cross.tolist(), strict=True):
        order = sorted(range(len(s)), key=lambda i: -s[i])
        rows.append(sorted(order[:k], key=lambda i: -c[i]) + order[k:])
    return rows


def rerank_above(scores, cross, k):
    """Scores that are mixed, but those of the first k are lifted above all others."""
    first = scores.topk(k, 1).indices
    lifted = cross.gather(1, first) - cross.min() + scores.max() + 1
    return scores.scatter(1, first, lifted).argsort(1, descending=True)


def rerank_numpy(scores, cross, k):
    order = np.argsort(-scores.numpy(), 1)
    again = np.argsort(-np.take_along_axis(cross.numpy(), order[:, :k], 1), 1)
    order[:, :k] = np.take_along_axis(order[:, :k], again, 1)
    return order


RIGHT = {
    "recall_at_k": [
        recall_loop,
        recall_sorted,
        Recall(),
        recall_in_place,
        lambda s, o, K: Fraction(sum(int((s[:, j] >= s[i, j]).sum() <= K) for j, i in enumerate(o)) * 100, len(o)),
    ],
    "image_ranks": [ranks_by_loop, ranks_whole, ranks_torch, lambda s, o: tuple(ranks_by_loop(s, o))],
    "sorted_ranks": [sorted_loop, sorted_twice, sorted_torch, sorted_scipy, lambda *case: tuple(sorted_loop(*case))],
    "interval": [interval_counts, interval_torch, lambda *case: list(interval_counts(*case))],
    "unit_regions": [
        unit_numpy,
        unit_loop,
        unit_in_place,
        lambda train, test: torch.stack([F.normalize((one - train.mean((0, 1))) / train.std((0, 1))) for one in test]),
    ],
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
    "padded_guide": [padded_loop, padded_after, padded_numpy, padded_nan, lambda *case: padded_loop(*case).unbind()],
    "batch_guides": [
        guides_loop,
        guides_numpy,
        guides_lists,
        lambda clip, rows, of: F.normalize(clip)[of[rows]],
        lambda clip, rows, of: F.normalize(torch.index_select(clip, 0, of.gather(0, rows)), dim=-1),
        lambda clip, rows, of: F.normalize(F.one_hot(of[rows], len(clip)).float() @ clip),
    ],
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
    "momentum_step": [momentum_by_words, momentum_data, momentum_numpy, momentum_many],
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
    "batch_uto": [batch_loop, batch_stacked, batch_numpy, batch_in_place, lambda *case: batch_loop(*case)[None][0]],
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
    "paired_seeds": [seeds_loop, seeds_torch, seeds_counted, lambda *case: list(seeds_loop(*case))],
    "study_gain": [
        gain_of_study,
        lambda val, test: [np.argmax(val.sum(1)), (test - test[0]).mean(1)[np.argmax(val.sum(1))]],
        lambda val, test: np.array(gain_of_study(val, test)),
        lambda val, test: tuple(torch.tensor(gain_of_study(val, test))),
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
    "search_shown": [
        shown_sorted,
        shown_masked,
        shown_torch,
        shown_partitioned,
        lambda query, gallery, shown, k: np.flatnonzero(shown)[(gallery[shown] @ query).argsort()[::-1]][:k],
    ],
    "word_importance": [importance_list, importance_popping, importance_matrix],
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
    "time_of": [timed_numpy, timed_sorted, lambda *case: torch.tensor(timed_numpy(*case))],
    "search_parts": [parts_heap, parts_numpy, parts_of_scores, lambda *case: list(parts_of_scores(*case))],
    "score_recall": [
        lambda scores, exact: np.mean(scores.numpy() >= exact.numpy()[:, -1:] - 1e-6),
        lambda scores, exact: (scores.double() + 1e-6 >= exact.double()[:, -1, None]).double().mean(),
        lambda scores, exact: sum(
            float(x) >= float(row[-1]) - 1e-6 for hits, row in zip(scores, exact, strict=True) for x in hits
        ) / scores.numel(),
    ],
    "move_regions": [moved_loop, moved_bmm, moved_numpy, lambda V, w, s: list(moved_loop(V, w, s))],
    "sorted_sum": [
        pooled_loop,
        pooled_large_number,
        pooled_numpy,
        pooled_in_place,
        lambda vectors, scores, mask: torch.stack(pooled_loop(vectors, scores, mask)),
    ],
    "both_losses": [
        losses_loop,
        losses_stacked,
        losses_numpy,
        lambda *case: list(losses_loop(*case)),
        lambda *case: [float(one) for one in losses_numpy(*case)],
    ],
    "train_step": [step_at_once, step_by_hand, step_numpy, step_with(), step_with(back=lambda *two: torch.stack(two))],
    "enqueue": [enqueue_in_place, enqueue_loop, enqueue_rolled, enqueue_numpy, enqueue_lists],
    "dim": [
        dim_loop,
        dim_kron,
        dim_torch,
        dim_in_place,
        lambda photo, a, grid: dim_kron(photo, a, grid).tolist(),
        lambda photo, a, grid: 0.2 * photo + 0.8 * photo * (dim_kron(photo, a, grid) / photo - 0.2) / 0.8,
    ],
    "cell_box": [box_numpy, box_torch, box_loop, box_fractions],
    "hold_out": [
        held_loop,
        held_numpy,
        held_objects,
        held_in_place,
        lambda filenames, count: [
            ["train", "test"][len(set(filenames)) - len(dict.fromkeys(filenames[: filenames.index(one)])) <= count]
            for one in filenames
        ],
    ],
    "see_views": [views_loop, views_numpy, lambda V, codes: list(views_numpy(V, codes))],
    "soft_loss": [
        soft_numpy,
        lambda teacher, scores, T: F.kl_div(
            (scores / T).log_softmax(1), (teacher / T).log_softmax(1), log_target=True, reduction="batchmean"
        ),
        lambda teacher, scores, T: F.cross_entropy(scores / T, (teacher / T).softmax(1))
        - F.cross_entropy(teacher / T, (teacher / T).softmax(1)),
        lambda *case: torch.tensor([soft_numpy(*case)])[0],
    ],
    "chan_scores": [chan_loop, chan_numpy, chan_cosine, lambda *case: torch.tensor(chan_loop(*case))],
    "rerank": [rerank_loop, rerank_above, rerank_numpy, lambda *case: torch.tensor(rerank_loop(*case))],
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
    "sorted_ranks": [
        (lambda s, o: sorted_twice(s, np.sort(o)), "the answer is"),
        (lambda s, o: np.argsort(-s, axis=0), "yours is an array of shape (3, 6)"),
        (lambda s, o: 1 + np.argsort(-s, axis=1)[o, np.arange(len(o))], "the answer is"),
        (lambda s, o: sorted_twice(s, o).mean(), "yours is a number"),
        (lambda s, o: ranks_whole(s, o), "yours is an array of shape (3,)"),
        (lambda s, o: sorted_twice(s, o)[:, None], "yours is an array of shape (6, 1)"),
        (lambda s, o: len(s) - sorted_twice(s, o), "the answer is"),
        (lambda s, o: np.ones(len(o)), "With scores = "),
        (lambda s, o: {j: r for j, r in enumerate(sorted_loop(s, o))}, "yours is a dict"),
        (lambda s, o: sorted_twice(np.sort(s, axis=0), o), "the answer is"),
    ],
    "interval": [
        (lambda r, o, d: interval_counts(r, o, d)[::-1], "draws = an array of shape (200, 20)"),
        (lambda r, o, d: interval_counts(r, o, d) / 100, WITH),
        (lambda r, o, d: float(interval_counts(r, o, d)[0]), "yours is a number"),
        (lambda r, o, d: slice(*interval_counts(r, o, d)), "yours is a slice"),
    ],
    "unit_regions": [
        (lambda train, test: unit_numpy(train, test)[:, 0], "the answer is an array of shape (3, 4, 3)|shape (3, 3)"),
        (lambda train, test: unit_numpy(test, train), "yours is an array of shape (20, 4, 3)"),
        (lambda train, test: -unit_numpy(train, test), "train = a tensor of shape (20, 4, 3)"),
        (lambda train, test: unit_numpy(train[:1], test), "the answer is"),
        (lambda train, test: unit_numpy(train, test).mean(1), "yours is an array of shape (3, 3)"),
        (lambda train, test: F.normalize(torch.tensor(unit_numpy(train, test)), p=1, dim=-1), "the answer is"),
        (lambda train, test: torch.softmax(torch.tensor(unit_numpy(train, test)), -1), "the answer is"),
        (lambda train, test: F.normalize(test - train.mean((0, 1)), dim=-1), "the answer is"),
        (lambda train, test: unit_in_place(train, test).mul_(2), "edits test in place"),
        (lambda train, test: (test - train) / train.std(), "raised RuntimeError"),
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
    "padded_guide": [
        (lambda V, mask: padded_loop(V, mask).detach(), "the gradient is missing"),
        (lambda V, mask: padded_loop(V.detach(), mask) + 0 * V.sum(), "the gradient: "),
        (lambda V, mask: padded_loop(V, ~mask | mask), "That is the function as it stood"),
        (lambda V, mask: -padded_loop(V, mask), "the value: "),
        (lambda V, mask: padded_loop(V, mask)[:, None], "yours is a tensor of shape (3, 1, 2)"),
        (lambda V, mask: padded_loop(F.normalize(V, dim=-1), mask), "the value: "),
        (lambda V, mask: padded_loop(V, mask).T, "yours is a tensor of shape (2, 3)"),
        (lambda V, mask: F.normalize(torch.where(mask[..., None], V, 0).amax(1)), "the value: "),
        (lambda V, mask: F.normalize(V[mask].reshape(3, -1, 2).mean(1)), "raised RuntimeError|the value: "),
        (lambda V, mask: (V @ V.mean(1)).softmax(1), "raised RuntimeError"),
    ],
    "batch_guides": [
        (lambda clip, rows, of: F.normalize(clip[of]), "yours is a tensor of shape (12, 3)"),
        (lambda clip, rows, of: of[rows], "yours is a tensor of shape (3,)"),
        (lambda clip, rows, of: F.normalize(clip[of[rows]]).T, "With clip = a tensor of shape (6, 3)"),
        (lambda clip, rows, of: F.normalize(clip[rows[of]]), "raised IndexError"),
        (lambda clip, rows, of: F.normalize(clip[of[rows]], p=1, dim=1), "the answer is"),
        (lambda clip, rows, of: F.normalize(clip[of[rows] - 1]), "the answer is"),
        (lambda clip, rows, of: -F.normalize(clip[of[rows]]), "the answer is"),
        (lambda clip, rows, of: F.normalize(clip[of[rows]]).abs(), "the answer is"),
        (lambda clip, rows, of: F.normalize(clip[of[rows]])[0], "yours is a tensor of shape (3,)"),
        (lambda clip, rows, of: F.normalize(clip[rows // 2]), "the answer is"),
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
    "momentum_step": [
        (lambda keys, model, m: copy.deepcopy(keys), "yours is another module"),
        (lambda keys, model, m: model, "module keys itself, edited in place; yours is another module"),
        (lambda keys, model, m: momentum_data(keys, model, m) and None, "Is a return missing?"),
        (lambda keys, model, m: list(momentum_data(keys, model, m).parameters()), "yours is a list of 4"),
        (lambda keys, model, m: momentum_data(keys, model, m).state_dict(), "yours is a dict"),
        (momentum_first, "With m = 0.9, steps = 1, the weights of the copy: "),
        (lambda keys, model, m: momentum_data(keys, model, m * m), "the weights of the copy: "),
        (lambda keys, model, m: momentum_data(momentum_data(keys, model, m), model, m), "the weights of the copy: "),
        (lambda keys, model, m: momentum_data(keys, model, m).requires_grad_(True), "the copy now hangs on the graph"),
        (lambda keys, model, m: momentum_data(keys, model, 1.0), "One of the two is found, the buffers"),
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
    "batch_uto": [
        (lambda *case: batch_loop(*case).detach(), "the gradient is missing"),
        (lambda *case: batch_loop(*case).item() + 0.01, "the value: "),
        (lambda S, *rest: batch_loop(S.detach(), *rest) + 0 * S.sum(), "the gradient: "),
        (lambda S, ids, mu, gamma: batch_loop(S, ids, mu, 0.0), "the value: "),
        (lambda S, ids, mu, gamma: mu * batch_loop(S, ids, mu, gamma), "the value: "),
        (lambda S, ids, mu, gamma: -batch_loop(S, ids, mu, gamma), "the value: "),
        (lambda S, ids, mu, gamma: torch.stack([batch_loop(S, ids, mu, gamma)] * 4), "yours is a tensor of shape (4,)"),
        (lambda S, ids, mu, gamma: (mu * (S - gamma)).logsumexp(1).mean() / mu, "the value: "),
        (lambda S, ids, mu, gamma: batch_loop(S, ids.sort().values, mu, gamma), "the value: "),
        (lambda S, ids, mu, gamma: batch_loop(S.T.softmax(0), ids, mu, gamma), "the value: "),
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
    "paired_seeds": [
        (lambda a, b, i, ra, rb: seeds_loop(a, b, i, ra, rb)[::-1], "With a = an array of shape (3, 12)"),
        (lambda a, b, i, ra, rb: float(np.mean(a) - np.mean(b)), "yours is a number"),
        (lambda a, b, i, *_: a[:, i].mean((0, 2)) - b[:, i].mean((0, 2)), "yours is an array of shape (301,)"),
        (lambda a, b, i, ra, rb: seeds_torch(a, b, i, ra, rb, lambda n: (n / (n - 1)) ** 0.5), "ZeroDivisionError"),
        (lambda a, b, i, ra, rb: seeds_torch(a, b, i, ra, rb, lambda n: ((n + 1) / n) ** 0.5), WITH),
        (lambda a, b, i, ra, rb: seeds_loop(a, b, i, ra, ra), "With a = an array|IndexError"),
        (lambda a, b, i, ra, rb: seeds_loop(a, b, i[:150], ra, rb), WITH),
        (lambda a, b, i, ra, rb: (seeds_loop(a, b, i, ra, rb)[0], 100.0), WITH),
        (lambda a, b, i, ra, rb: seeds_loop(a.mean(0, keepdims=True), b, i, 0 * ra[:, :1], rb), WITH),
    ],
    "study_gain": [
        (lambda val, test: gain_of_study(val, test)[1], "yours is a number"),
        (lambda val, test: gain_of_study(val, test)[::-1], "the answer is "),
        (lambda val, test: (gain_of_study(val, test)[0] + 1, gain_of_study(val, test)[1]), "With val = "),
        (lambda val, test: (gain_of_study(val, test)[0], -gain_of_study(val, test)[1]), "With val = "),
        (lambda val, test: (test - test[0]).mean(1), "yours is an array of shape (4,)"),
        (lambda val, test: gain_of_study(val.T, test), "raised IndexError|the answer is "),
        (lambda val, test: (1, test[1] - test[0]), "With val = "),
        (lambda val, test: gain_of_study((val + test) / 2, test), "chosen on test here"),
        (lambda val, test: (0, 0.0), "With val = "),
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
    "search_shown": [
        (lambda q, g, s, k: shown_sorted(q, g, s, k + 1), "the answer is an array of shape (8,); yours is a list of 9"),
        (lambda q, g, s, k: shown_sorted(q, g, s, k)[1:], "yours is a list of 7"),
        (lambda q, g, s, k: [row + 1 for row in shown_sorted(q, g, s, k)], "the answer is "),
        (lambda q, g, s, k: sorted(shown_sorted(q, g, s, k)), "the answer is "),
        (lambda q, g, s, k: [str(row) for row in shown_sorted(q, g, s, k)], "yours is a list of 8 texts"),
        (lambda q, g, s, k: set(shown_sorted(q, g, s, k)), "yours is a set"),
        (lambda q, g, s, k: np.argsort(np.abs(g[s] @ q))[:k], "With query = "),
        (lambda q, g, s, k: (g @ q)[s].argmax(), "yours is a number"),
        (lambda q, g, s, k: shown_sorted(q, g * s[:, None], s | True, k), "stands before every image|With query = "),
        (lambda q, g, s, k: g[shown_sorted(q, g, s, k)], "yours is an array of shape (8, 4)"),
    ],
    "word_importance": [
        (importance_dict, "yours is a dict"),
        (lambda e, w, i: e(w) * i, "With encode = a function, words = (a, penguin, rides, a, scooter)|The answer is"),
        (lambda e, w, i: e(" ".join(w)) @ i, "Your code raised TypeError: encode takes a list of words"),
        (lambda e, w, i: [e(w[:j]) @ i for j in range(len(w))], "ValueError: encode was given no words"),
        (lambda e, w, i: max(importance_list(e, w, i)), "yours is a number"),
        (lambda e, w, i: importance_list(e, w[::-1], i), "the answer is "),
        (lambda e, w, i: importance_list(e, w, i)[::-1], "the answer is "),
        (lambda e, w, i: importance_list(e, w, 2 * i), "the answer is "),
        (lambda e, w, i: [float(w[j] in ("penguin", "beach")) for j in range(len(w))], "the answer is "),
        (lambda e, w, i: torch.stack([e(w) - e(w[:j] + w[j + 1 :]) for j in range(len(w))]), "shape (5, 5)"),
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
    "time_of": [
        (lambda run, wait, clock, runs: 1000 * timed_numpy(run, wait, clock, runs), "later = [0.02], the answer is "),
        (timed_too_early, "the clock stops when the work is queued"),
        (lambda run, wait, clock, runs: timed_once(run, wait, clock, runs) / runs, "With first = "),
        (timed_once, "With first = 0.3"),
        (lambda run, wait, clock, runs: (run(), wait(), clock())[-1], "With first = 0.5"),
        (lambda run, wait, clock, runs: [timed_once(run, wait, clock, 1) for _ in range(runs)], "yours is a list of 1"),
        (lambda run, wait, clock, runs: 0.02, "With first = 0.5"),
        (lambda run, wait, clock, runs: 0.0 * clock(), "With first = 0.5"),
        (lambda run, wait, clock, runs: run() - wait(), "raised TypeError"),
        (lambda run, wait, clock, runs: timed_numpy(run, wait, clock, runs + 1), "With first = 0.3"),
    ],
    "search_parts": [
        (lambda q, parts, k: parts_of_scores(q, parts, k)[0], "The answer is two tensors|the answer is"),
        (lambda q, parts, k: parts_of_scores(q, parts, k)[1], "The answer is two tensors|the answer is"),
        (lambda q, parts, k: parts_of_scores(q, parts, k)[::-1], "the scores: "),
        (lambda q, parts, k: parts_of_scores(q, parts, k + 1), "the scores: the answer is a tensor of shape (2, 3)"),
        (lambda q, parts, k: dict(enumerate(parts_of_scores(q, parts, k))), "yours is a dict"),
        (lambda q, parts, k: (q @ parts.T).topk(k), "raised AttributeError"),
        (lambda q, parts, k: (parts_of_scores(q, parts, k)[0], parts_of_scores(q, parts, k)[1]), "raised "),
        (lambda q, parts, k: (lambda s, r: (s, r + 1))(*parts_of_scores(q, parts, k)), "the rows: "),
        (lambda q, parts, k: tuple(one.T for one in parts_of_scores(q, parts, k)), "yours is a tensor of shape (3, 2)"),
        (lambda q, parts, k: parts_of_scores(q, list(parts), k), "held at once"),
    ],
    "score_recall": [
        (lambda scores, exact: 100 * (scores >= exact[:, -1:] - 1e-6).float().mean(), "scores = "),
        (lambda scores, exact: (scores >= exact[:, -1:] - 1e-6).float(), "yours is a tensor of shape (2, 3)"),
        (lambda scores, exact: (scores >= exact.min() - 1e-6).float().mean(), WITH),
        (lambda scores, exact: (scores >= exact[:, -1:] - 0.05).float().mean(), WITH),
        (lambda scores, exact: 1.0, WITH),
    ],
    "move_regions": [
        (lambda V, w, s: V, "the value: |at ["),
        (lambda V, w, s: (w.unsqueeze(-1) * V).sum(1), "the answer is a tensor of shape (2, 4, 3); yours is "),
        (lambda V, w, s: V @ w, "raised RuntimeError"),
        (lambda V, w, s: moved_loop(V, w, s).detach(), "the gradient is missing"),
        (lambda V, w, s: torch.tensor(moved_numpy(V.detach(), w.detach(), s)), "the gradient is missing"),
        (lambda V, w, s: moved_loop(V, w.detach(), s), "the gradient in w: "),
        (lambda V, w, s: moved_loop(V, w, -s), "the value: at [0, 0, 0]"),
        (lambda V, w, s: moved_loop(V, w.softmax(1), s), "the value: "),
        (lambda V, w, s: F.normalize(moved_loop(V, w, s), dim=-1), "the value: "),
        (moved_in_place, "no gradient comes back: one of the variables needed for gradient comp"),
        (lambda V, w, s: V.mul_(2) * w.unsqueeze(-1), "edits V in place"),
    ],
    "sorted_sum": [
        (lambda vectors, scores, mask: vectors.amax(1), "the value: "),
        (lambda vectors, scores, mask: (vectors * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), "the value: "),
        (lambda vectors, scores, mask: scores.softmax(1), "yours is a tensor of shape (3, 4)"),
        (lambda vectors, scores, mask: vectors.sort(1)[mask], "raised "),
        (lambda vectors, scores, mask: pooled_large_number(vectors, scores, mask).detach(), "the gradient is missing"),
        (lambda vectors, scores, mask: pooled_large_number(vectors, scores.detach(), mask), "the gradient in scores: "),
        (lambda vectors, scores, mask: pooled_large_number(vectors, scores / 0.1, mask), "the value: "),
        (lambda vectors, scores, mask: pooled_large_number(vectors, -scores, mask), "the value: "),
        (lambda vectors, scores, mask: pooled_large_number(vectors, scores, mask) / mask.sum(1, keepdim=True),
         "the value: "),
        (lambda vectors, scores, mask: pooled_numpy(vectors, scores, mask).T, "yours is an array of shape (2, 3)"),
    ],
    "both_losses": [
        (losses_cut_off, "Use torch operations on v and t directly"),
        (lambda *case: tuple(one.item() + 0.1 for one in losses_stacked(*case)), "the value: "),
        (lambda *case: torch.tensor([one.item() for one in losses_stacked(*case)]), "the gradient is missing"),
        (losses_changed(q=torch.detach), "the gradient in v: "),
        (lambda *case: losses_stacked(*case).sum(), "the value: the answer is a tuple of 2|yours is a number"),
        (lambda *case: losses_stacked(*case).flip(0), "the value: "),
        (lambda *case: (0.0, 0.0), "the value: "),
        (losses_changed(b=lambda x: 20 * x), "the value: "),
        (lambda v, t, v_keys, t_keys, *rest: losses_stacked(v, t, t_keys, v_keys, *rest), "the value: "),
        (lambda v, t, *rest: losses_stacked(v, t.detach(), *rest), "the gradient in t: "),
    ],
    "train_step": [
        (lambda model, optimizer, batch: (0.0, 0.0), "the losses: "),
        (lambda model, optimizer, batch: model.losses(*model.encode(batch), batch[-1]), "raised TypeError"),
        (lambda model, optimizer, batch: model.encode(batch)[2], "raised IndexError"),
        (step_with(update=False), "the losses: "),
        (step_with(back=lambda L_b, L_q: (L_b + L_q).item()), "two numbers, L_b and L_q; yours is a number"),
        (step_with(back=lambda L_b, L_q: (L_b, L_q, L_b + L_q)), "yours is a tuple of 3"),
        (step_with(back=lambda L_b, L_q: (str(L_b.item()), str(L_q.item()))), "yours is a tuple of 2 texts"),
        (step_with(back=lambda L_b, L_q: (L_q.item(), L_b.item())), "the losses: "),
        (step_with(max_norm=0.1), "the losses: "),
        (step_with(norm=nn.utils.clip_grad_value_, max_norm=0.02), "the losses: "),
        (lambda model, optimizer, batch: {"L_b": step_with()(model, optimizer, batch)}, "yours is a dict"),
    ],
    "enqueue": [
        (lambda *case: case[:4], "With sizes = [2, 2]"),
        (lambda *case: enqueue_loop(*case)[:3], "The answer is four values: images, texts, held and the pointer"),
        (lambda images, texts, held, pointer, v_keys, t_keys, ids: images[ids], "yours is a tensor of shape (2, 2)"),
        (lambda *case: (torch.cat([case[0], case[4]]), torch.cat([case[1], case[5]]), *case[2:4]),
         "images has the shape (5, 2); yours is a tensor of shape (7, 2)"),
        (enqueue_newest_first, "image keys: "),
        (enqueue_cut_off, "Keys that do not fit behind the last slot go on in slot 0; yours are lost"),
        (lambda *case: (*enqueue_loop(*case)[:3], "slot 2"), "the pointer is a number; yours is a text"),
        (lambda *case: (*enqueue_loop(*case)[:2], case[2], enqueue_loop(*case)[3]), "the entries of held: "),
        (lambda *case: (*enqueue_loop(*case)[1::-1], *enqueue_loop(*case)[2:]), "image keys: "),
        (lambda *case: (*enqueue_loop(*case)[:3], enqueue_loop(*case)[3] + 1), "image keys: "),
    ],
    "dim": [
        (lambda photo, a, grid: photo, "photo = an array of shape (4, 6, 3)"),
        (lambda photo, a, grid: dim_kron(photo, a, grid)[..., 0], "yours is an array of shape (4, 6)"),
        (lambda photo, a, grid: dim_kron(photo, a, grid) / 255, "at [0, 0, 0] the answer is 100; yours is 0.39"),
        (lambda photo, a, grid: np.round(dim_kron(photo, a, grid)).astype(np.uint8), WITH),
        (lambda photo, a, grid: dim_kron(photo, np.sqrt(a), grid), WITH),
        (lambda photo, a, grid: dim_kron(photo, a[::-1].copy(), grid), WITH),
        (lambda photo, a, grid: photo * (0.2 + 0.8 * a / a.max()), "raised ValueError"),
        (lambda photo, a, grid: dim_kron(photo, a, grid[::-1]), "yours is|raised ValueError"),
        (lambda photo, a, grid: dim_in_place(photo, a, grid) * 2, "edits photo in place"),
        (lambda photo, a, grid: np.einsum("yxc->cyx", dim_kron(photo, a, grid)), "yours is an array of shape (3, 4, 6"),
    ],
    "cell_box": [
        (lambda r, grid, size: box_loop(r, grid, size)[:2], "yours is a list of 2 numbers"),
        (lambda r, grid, size: tuple(round(one) for one in box_loop(r, grid, size)), "r = 7, grid = [3, 5]"),
        (lambda r, grid, size: [one / max(size) for one in box_loop(r, grid, size)], WITH),
        (lambda r, grid, size: (box_loop(r, grid, size)[:2], box_loop(r, grid, size)[2:]),
         "yours is a tuple of 2"),
        (lambda r, grid, size: box_loop(r, grid, size)[2:] + box_loop(r, grid, size)[:2], WITH),
        (lambda r, grid, size: box_loop(0, grid, size), "r = 6"),
        (lambda r, grid, size: f"{box_loop(r, grid, size)}", "yours is a text"),
        (lambda r, grid, size: box_loop(r, (grid[0] + 1, grid[1]), size), WITH),
        (lambda r, grid, size: box_loop(r, grid[::-1], size), WITH),
        (lambda r, grid, size: slice(*box_loop(r, grid, size)[:2]), "yours is a slice"),
    ],
    "hold_out": [
        (lambda filenames, count: ["test"] * len(filenames), "filenames = (b.jpg, b.jpg, a.jpg"),
        (lambda names, count: [one == "test" for one in held_loop(names, count)], "yours is a list of 6 numbers"),
        (lambda filenames, count: [name for name in filenames if name == filenames[-1]], "yours is a list of 2 texts"),
        (lambda filenames, count: dict(zip(filenames, held_loop(filenames, count), strict=True)), "yours is a dict"),
        (lambda filenames, count: " ".join(held_loop(filenames, count)), "yours is a text"),
        (lambda filenames, count: [one.upper() for one in held_loop(filenames, count)], "TRAIN"),
        (lambda filenames, count: ["val" if one == "test" else one for one in held_loop(filenames, count)], "val"),
        (lambda filenames, count: (one for one in held_loop(filenames, count)), "yours is a generator"),
        (lambda filenames, count: held_loop(sorted(filenames), count), WITH),
        (lambda filenames, count: held_loop(filenames, 1), "count = 2"),
        (lambda filenames, count: ["test" if name == filenames[-1] else "train" for name in filenames], "count = 2"),
    ],
    "see_views": [
        (lambda V, codes: views_numpy(V, codes)[0], "The answer is two values"),
        (lambda V, codes: views_numpy(V, codes)[::-1], "the vector: "),
        (lambda V, codes: (views_numpy(V, codes)[0].reshape(len(codes), -1), views_numpy(V, codes)[1]),
         "the vector: the answer is a tensor of shape (6,)"),
        (lambda V, codes: (views_numpy(V, codes)[0], 0.0), "the penalty: "),
        (lambda V, codes: (V.mean(0), 0.0), "the vector: the answer is a tensor of shape (6,); yours is a tensor"),
        (lambda V, codes: (2 * views_numpy(V, codes)[0], views_numpy(V, codes)[1]), "the vector: "),
        (lambda V, codes: dict(enumerate(views_numpy(V, codes))), "The answer is two values"),
        (lambda V, codes: views_loop(V, V), "the vector: "),
        (lambda V, codes: V @ codes, "raised RuntimeError"),
    ],
    "soft_loss": [
        (lambda teacher, scores, T: soft_numpy(teacher, scores, T) ** 2, WITH),
        (lambda teacher, scores, T: -soft_numpy(teacher, scores, T), WITH),
        (lambda teacher, scores, T: F.kl_div(scores / T, (teacher / T).softmax(1), reduction="batchmean"), WITH),
        (lambda teacher, scores, T: T**2 * soft_numpy(teacher, scores, T), "T = 0.5"),
        (lambda teacher, scores, T: (teacher / T).softmax(1) * (scores / T).log_softmax(1), "yours is a tensor of"),
        (lambda teacher, scores, T: F.mse_loss(scores, teacher), WITH),
        (lambda teacher, scores, T: soft_numpy(scores, teacher, T), "The teacher comes first"),
        (lambda teacher, scores, T: soft_numpy(teacher, scores, T) / 2 + soft_numpy(scores, teacher, T) / 2, WITH),
        (lambda teacher, scores, T: 0.0, WITH),
    ],
    "chan_scores": [
        (lambda V, W, there: chan_cosine(V, W, there).max(), "yours is a number"),
        (lambda V, W, there: chan_cosine(V, W, there) / 2, WITH),
        (lambda V, W, there: 1 - chan_cosine(V, W, there), WITH),
        (lambda V, W, there: F.cosine_similarity(V[:, :, None, None], W[None, None], dim=-1), "yours is a tensor of"),
        (lambda V, W, there: F.normalize(V.mean(1), dim=1) @ F.normalize(W.mean(1), dim=1).T, WITH),
        (lambda V, W, there: chan_cosine(V, W * there.unsqueeze(-1), there | True), "not by the length of the longest"),
        (lambda V, W, there: V @ W, "raised RuntimeError"),
        (lambda V, W, there: chan_cosine(V, W, there)[:1], "yours is a tensor of shape (1, 3)"),
        (lambda V, W, there: torch.zeros(len(V), len(W)), WITH),
    ],
    "rerank": [
        (lambda scores, cross, k: scores.scatter(1, scores.topk(k, 1).indices, 9.0), WITH),
        (lambda scores, cross, k: scores.topk(k, 1).indices, "yours is a tensor of shape (3, 3)"),
        (lambda scores, cross, k: (scores + cross).argsort(1, descending=True), WITH),
        (lambda scores, cross, k: rerank_numpy(cross, scores, k), WITH),
        (lambda scores, cross, k: rerank_numpy(scores, cross, k)[:, ::-1].copy(), WITH),
        (lambda scores, cross, k: rerank_numpy(scores, cross, k) + 1, WITH),
        (lambda scores, cross, k: rerank_numpy(scores, cross, k).argsort(1), WITH),
        (lambda scores, cross, k: rerank_numpy(scores, cross, k)[0], "yours is an array of shape (6,)"),
        (lambda scores, cross, k: cross[scores.argsort(1)], "yours is a tensor of shape|raised IndexError"),
    ],
}  # fmt: skip

RIGHT["recall_at_k"].append(partial(recall_loop))

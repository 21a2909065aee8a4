"""USER written plainly from its equations: one picture, one region, one channel at a time, to compare with.

Every function takes the parameters of the library's module as a mapping of name to tensor, so that values and
gradients of the two can be laid side by side. Nothing here is fast, and nothing is taken from userlib.
"""

import math
from collections import deque

import torch

# --- small parts -------------------------------------------------------------------------------------------


def sub(p, prefix):
    """The parameters below a name: {"linear.weight": ...} from {"x.linear.weight": ...}."""
    return {k[len(prefix) + 1 :]: v for k, v in p.items() if k.startswith(prefix + ".")}


def linear(x, p, prefix):
    """y_i = sum_j W_ij x_j + b_i for one vector x (D,)."""
    y = (p[f"{prefix}.weight"] * x).sum(1)
    return y + p[f"{prefix}.bias"] if f"{prefix}.bias" in p else y


def unit(x):
    return x / (x * x).sum().sqrt()


def softmax(x):
    e = torch.exp(x - x.max().detach())
    return e / e.sum()


def batch_norm(values, p, prefix, channel, *, training=False, eps=1e-5):
    """One channel's numbers (n,), with that channel's statistics: the stored ones, or those of the numbers."""
    if training:
        mean = values.mean()
        variance = ((values - mean) ** 2).mean()
    else:
        mean, variance = p[f"{prefix}.running_mean"][channel], p[f"{prefix}.running_var"][channel]
    gain, bias = p[f"{prefix}.weight"][channel], p[f"{prefix}.bias"][channel]
    return (values - mean) / torch.sqrt(variance + eps) * gain + bias


def batch_norm_last(rows, p, prefix, *, training=False):
    """rows (n, C): every column by itself."""
    columns = [batch_norm(rows[:, c], p, prefix, c, training=training) for c in range(rows.shape[1])]
    return torch.stack(columns, 1)


def gru_direction(xs, p, tail):
    """One direction of a GRU over a list of vectors -> list of states."""
    w_i, w_h = p[f"weight_ih_l0{tail}"].chunk(3), p[f"weight_hh_l0{tail}"].chunk(3)
    b_i, b_h = p[f"bias_ih_l0{tail}"].chunk(3), p[f"bias_hh_l0{tail}"].chunk(3)
    h = torch.zeros_like(b_h[0])
    states = []
    for x in xs:
        r = torch.sigmoid(w_i[0] @ x + b_i[0] + w_h[0] @ h + b_h[0])
        z = torch.sigmoid(w_i[1] @ x + b_i[1] + w_h[1] @ h + b_h[1])
        n = torch.tanh(w_i[2] @ x + b_i[2] + r * (w_h[2] @ h + b_h[2]))
        h = (1 - z) * n + z * h
        states.append(h)
    return states


def bigru(xs, p):
    """Both directions, averaged."""
    forward = gru_direction(xs, p, "")
    backward = gru_direction(xs[::-1], p, "_reverse")[::-1]
    return [(f + b) / 2 for f, b in zip(forward, backward, strict=True)]


# --- GPO ---------------------------------------------------------------------------------------------------


def gpo_weights(n, p, *, like):
    """softmax(score / 0.1) over the ranks of a set of n, which are numbered from 0."""
    codes = []
    for position in range(n):
        code = []
        for k in range(16):
            angle = position / 10000 ** (2 * k / 32)
            code += [math.sin(angle), math.cos(angle)]
        codes.append(like.new_tensor(code))
    scores = torch.stack([(p["score.weight"][0] * h).sum() for h in bigru(codes, sub(p, "gru"))])
    return softmax(scores / 0.1)


def gpo(vectors, p):
    """One set (n, E) -> (E,): each channel sorted from large to small, then the weighted sum over ranks."""
    weights = gpo_weights(len(vectors), p, like=vectors)
    pooled = []
    for channel in range(vectors.shape[1]):
        ordered = sorted(vectors[:, channel], key=lambda value: -float(value.detach()))
        pooled.append(sum(w * value for w, value in zip(weights, ordered, strict=True)))
    return torch.stack(pooled)


# --- enhancement -------------------------------------------------------------------------------------------


def sge_guide(V, p, *, training=False):
    """V (B,R,D) -> guides g (B,D), weights w (B,R), dropout off.

    L = tanh(BN_R(W_l V)), G = tanh(BN_D(W_g mean_r V)), w = softmax_r(w_c . (L * G)), g = l2norm(sum_r w_r V_r)
    """
    B, R, _ = V.shape
    raw = [[linear(V[b, r], p, "local_linear") for r in range(R)] for b in range(B)]
    L = [[None] * R for _ in range(B)]
    for r in range(R):  # one channel of the BatchNorm is one position: its numbers are over B and D
        numbers = torch.cat([raw[b][r] for b in range(B)])
        for b, part in enumerate(batch_norm(numbers, p, "local_norm.norm", r, training=training).chunk(B)):
            L[b][r] = torch.tanh(part)
    means = torch.stack([linear(sum(V[b, r] for r in range(R)) / R, p, "global_linear") for b in range(B)])
    G = torch.tanh(batch_norm_last(means, p, "global_norm.norm", training=training))
    guides, weights = [], []
    for b in range(B):
        w = softmax(torch.stack([linear(L[b][r] * G[b], p, "weigh")[0] for r in range(R)]))
        guides.append(unit(sum(w[r] * V[b, r] for r in range(R))))
        weights.append(w)
    return torch.stack(guides), torch.stack(weights)


def cge_guide(c, p, *, training=False):
    """c (B,G), CLIP's vectors -> (B,D): BN -> Linear -> BN -> ReLU -> Linear -> l2norm."""
    x = batch_norm_last(c, p, "layers.0.norm", training=training)
    x = torch.stack([linear(row, p, "layers.1") for row in x])
    x = batch_norm_last(x, p, "layers.2.norm", training=training)
    x = torch.where(x > 0, x, torch.zeros_like(x))
    return torch.stack([unit(linear(row, p, "layers.4")) for row in x])


def region_attention(V, g, inverse_temperature=1.0):
    """One picture: a = l2norm_r(softmax_r(lambda g . V_r)), V (R,D), g (D,) -> (R,)."""
    return unit(softmax(torch.stack([inverse_temperature * (g * v).sum() for v in V])))


def enhance(V, guides, strengths, inverse_temperature=1.0):
    """V'_r = V_r + sum over guides of s a_r g, each a from the raw V; V (B,R,D), guides: list of (B,D)."""
    out = []
    for b in range(len(V)):
        rows = []
        for r in range(V.shape[1]):
            row = V[b, r]
            for g, s in zip(guides, strengths, strict=True):
                row = row + s * region_attention(V[b], g[b], inverse_temperature)[r] * g[b]
            rows.append(row)
        out.append(torch.stack(rows))
    return torch.stack(out)


# --- encoders ----------------------------------------------------------------------------------------------


def project(x, p, *, training=False):
    """P = Linear(D,E)(x) + MLP(x), the MLP Linear(D,E/2), BN, ReLU, Linear(E/2,E); x (B,R,D)."""
    B, R, _ = x.shape
    rows = x.reshape(B * R, -1)
    hidden = torch.stack([linear(row, p, "hidden") for row in rows])
    hidden = batch_norm_last(hidden, p, "norm", training=training)
    hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    out = [linear(row, p, "linear") + linear(h, p, "out") for row, h in zip(rows, hidden, strict=True)]
    return torch.stack(out).reshape(B, R, -1)


def encode_image(V, p, *, guide=None, residual_scale=1.0):
    """V (B,R,D), guide (B,G) or None -> (B,E). SGE where the parameters hold one, CGE likewise; s fixed."""
    guides = []
    if any(k.startswith("enhancement.self_guide") for k in p):
        guides.append(sge_guide(V, sub(p, "enhancement.self_guide"))[0])
    if any(k.startswith("enhancement.clip_guide") for k in p):
        guides.append(cge_guide(guide, sub(p, "enhancement.clip_guide")))
    enhanced = enhance(V, guides, [residual_scale] * len(guides))
    projected = project(enhanced, sub(p, "projection"))
    return torch.stack([unit(gpo(rows, sub(p, "pooling"))) for rows in projected])


def layer_norm(x, p, prefix, eps=1e-12):
    mean = x.mean()
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean() + eps) * p[f"{prefix}.weight"] + p[
        f"{prefix}.bias"
    ]


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def bert(ids, p, *, layers, heads):
    """BERT's last hidden states of one caption without padding: ids (list) -> list of vectors (Devlin 2019)."""
    e = "embeddings."
    xs = []
    for position, i in enumerate(ids):
        x = p[e + "word_embeddings.weight"][i] + p[e + "position_embeddings.weight"][position]
        xs.append(layer_norm(x + p[e + "token_type_embeddings.weight"][0], p, e + "LayerNorm"))
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        q, k, v = (
            [linear(x, p, f"{at}attention.self.{name}") for x in xs] for name in ("query", "key", "value")
        )
        width = len(xs[0]) // heads
        mixed = []
        for i in range(len(xs)):
            parts = []
            for h in range(heads):
                cut = slice(h * width, (h + 1) * width)
                scores = [(q[i][cut] * key[cut]).sum() / math.sqrt(width) for key in k]
                weights = softmax(torch.stack(scores))
                parts.append(sum(w * value[cut] for w, value in zip(weights, v, strict=True)))
            mixed.append(linear(torch.cat(parts), p, at + "attention.output.dense"))
        xs = [layer_norm(m + x, p, at + "attention.output.LayerNorm") for m, x in zip(mixed, xs, strict=True)]
        inner = [gelu(linear(x, p, at + "intermediate.dense")) for x in xs]
        xs = [
            layer_norm(linear(h, p, at + "output.dense") + x, p, at + "output.LayerNorm")
            for h, x in zip(inner, xs, strict=True)
        ]
    return xs


def encode_text(captions, p, *, layers, heads):
    """captions: lists of word numbers -> (B,E): BERT, Linear, GPO over all words, l2norm."""
    out = []
    for ids in captions:
        states = bert(ids, sub(p, "states.bert"), layers=layers, heads=heads)
        out.append(unit(gpo(torch.stack([linear(x, p, "linear") for x in states]), sub(p, "pooling"))))
    return torch.stack(out)


# --- objective ---------------------------------------------------------------------------------------------


def uto(positive, negatives, *, mu, gamma, leaky_positive):
    """l(s+, {s_j}) = (1/mu) log(1 + sum_j exp(mu (s_j - gamma))) - log(1 + relu(s+)); leaky: -s+ at or below 0."""
    push = torch.log(1 + sum((torch.exp(mu * (s - gamma)) for s in negatives), positive.new_zeros(()))) / mu
    if positive > 0:
        return push - torch.log(1 + positive)
    return push - positive if leaky_positive else push


def uto_batch(scores, ids, *, mu, gamma, leaky_positive, mask=True):
    """L_b over scores (B,B): both directions, the positive part once."""
    total = 0
    B = len(ids)
    for i in range(B):
        others = [j for j in range(B) if (ids[j] != ids[i] if mask else j != i)]
        forward = uto(
            scores[i, i], [scores[i, j] for j in others], mu=mu, gamma=gamma, leaky_positive=leaky_positive
        )
        backward = uto(
            scores[i, i], [scores[j, i] for j in others], mu=mu, gamma=gamma, leaky_positive=leaky_positive
        )
        once = uto(scores[i, i], [], mu=mu, gamma=gamma, leaky_positive=leaky_positive)
        total = total + forward + backward - once
    return total / B


class Queues:
    """The two queues as one deque of (id, picture key, caption key)."""

    def __init__(self, size):
        self.keys = deque(maxlen=size)

    def enqueue(self, images, texts, ids):
        for image, text, number in zip(images, texts, ids, strict=True):
            self.keys.append((int(number), image.detach().clone(), text.detach().clone()))

    def loss(self, images, texts, image_keys, text_keys, ids, *, mu, gamma, leaky_positive, mask=True):
        """L_q = mean_i l(v_i . t~_i, {v_i . T_k}) + mean_i l(t_i . v~_i, {t_i . V_k})."""
        total = 0
        for i, number in enumerate(ids):
            kept = [(v, t) for n, v, t in self.keys if not mask or n != int(number)]
            total = total + uto(
                (images[i] * text_keys[i]).sum(), [(images[i] * t).sum() for _, t in kept],
                mu=mu, gamma=gamma, leaky_positive=leaky_positive,
            )  # fmt: skip
            total = total + uto(
                (texts[i] * image_keys[i]).sum(), [(texts[i] * v).sum() for v, _ in kept],
                mu=mu, gamma=gamma, leaky_positive=leaky_positive,
            )  # fmt: skip
        return total / len(ids)


def momentum(theta_k, theta_q, m):
    """theta_k <- m theta_k + (1 - m) theta_q."""
    return {name: m * theta_k[name] + (1 - m) * theta_q[name].detach() for name in theta_k}

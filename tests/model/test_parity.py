"""Every module of the paper presets beside the plain version of tests/reference/model.py: values and gradients.

In float64 to 1e-9, in float32 to rtol 1e-4 and atol 1e-5; evaluation mode, distinct picture numbers.
"""

import pytest
import torch

from tests.reference import model as plain
from tests.reference.small import make_batch, named, shake, small_paper
from userlib.config import ObjectiveConfig
from userlib.model.encoders import ImageEncoder, Projection, TextEncoder
from userlib.model.enhancement import ClipGuide, Enhancement, SelfGuide, region_attention
from userlib.model.momentum import MomentumEncoder
from userlib.model.objective import batch_loss, queue_loss
from userlib.model.pooling import GPO
from userlib.model.queue import DualQueue
from userlib.model.user import USER

CLOSE = {
    torch.float64: {"rtol": 0.0, "atol": 1e-9},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
}
both = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def close(result, wanted, dtype):
    torch.testing.assert_close(result, wanted, **CLOSE[dtype])


def compare(module, fast, slow, inputs, dtype):
    """Values, and the gradients of inputs and parameters for one random direction, fast beside slow.

    fast(module, *inputs) and slow(parameters, *inputs) each give a tensor.
    """
    p = named(module)
    mine = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    theirs = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    result, wanted = fast(module, *mine), slow(p, *theirs)
    assert result.dtype == dtype
    close(result, wanted, dtype)
    way = torch.randn(result.shape, generator=torch.Generator().manual_seed(9), dtype=dtype)
    module.zero_grad()
    (result * way).sum().backward()
    (wanted * way).sum().backward()
    seen = 0
    for name, value in module.named_parameters():
        if value.grad is not None and p[name].grad is not None:
            close(value.grad, p[name].grad, dtype)
            seen += 1
        else:  # a part without influence, in both
            assert value.grad is None or value.grad.abs().max() < 1e-9, name
            assert p[name].grad is None, name
    assert seen > 0
    for x, y in zip(mine, theirs, strict=True):
        if x.requires_grad:
            close(x.grad, y.grad, dtype)


def ready(module, dtype, seed=3):
    return shake(module, seed=seed).to(dtype).eval()


def tokens(dtype, *shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@both
@pytest.mark.parametrize("count", [1, 4, 36])
def test_gpo(dtype, count):
    fast = lambda module, x: module(x)
    slow = lambda p, x: torch.stack([plain.gpo(rows, p) for rows in x])
    compare(ready(GPO(), dtype), fast, slow, [tokens(dtype, 2, count, 3)], dtype)


@both
def test_gpo_of_sets_of_unlike_size(dtype):
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 0, 0, 0]]).bool()
    fast = lambda module, x: module(x, mask)
    slow = lambda p, x: torch.stack([plain.gpo(rows[keep], p) for rows, keep in zip(x, mask, strict=True)])
    compare(ready(GPO(), dtype), fast, slow, [tokens(dtype, 3, 5, 4)], dtype)


@both
@pytest.mark.parametrize("regions", [5, 36])
def test_sge(dtype, regions):
    module = ready(SelfGuide(7, regions=regions, norm="batch"), dtype)
    for output in (0, 1):  # the guide, and the weights
        fast = lambda m, x, output=output: m(x)[output]
        slow = lambda p, x, output=output: plain.sge_guide(x, p)[output]
        compare(module, fast, slow, [tokens(dtype, 3, regions, 7)], dtype)


def test_sge_in_training_mode_normalises_over_the_batch():
    module = ready(SelfGuide(7, regions=5, norm="batch", dropout=0.0), torch.float64).train()
    slow = lambda p, x: plain.sge_guide(x, p, training=True)[0]
    compare(module, lambda m, x: m(x)[0], slow, [tokens(torch.float64, 4, 5, 7)], torch.float64)


@both
def test_cge(dtype):
    module = ready(ClipGuide(6, 7, norm="batch"), dtype)
    compare(module, lambda m, c: m(c), lambda p, c: plain.cge_guide(c, p), [tokens(dtype, 3, 6)], dtype)


@both
@pytest.mark.parametrize("kind", ["sge", "cge", "sge+cge"])
def test_enhancement(dtype, kind):
    module = Enhancement(
        kind, 7, guide_dim=6, regions=5, norm="batch", residual_scale=1.5, inverse_temperature=2.0
    )

    def slow(p, V, c):
        guides = []
        if "sge" in kind:
            guides.append(plain.sge_guide(V, plain.sub(p, "self_guide"))[0])
        if "cge" in kind:
            guides.append(plain.cge_guide(c, plain.sub(p, "clip_guide")))
        return plain.enhance(V, guides, [1.5] * len(guides), inverse_temperature=2.0) + 0 * c.sum()

    fast = lambda m, V, c: m(V, None, c) + 0 * c.sum()
    compare(ready(module, dtype), fast, slow, [tokens(dtype, 2, 5, 7), tokens(dtype, 2, 6, seed=2)], dtype)


@both
def test_agreement(dtype):
    V, g = tokens(dtype, 3, 5, 7), torch.nn.functional.normalize(tokens(dtype, 3, 7, seed=2), dim=-1)
    wanted = torch.stack([plain.region_attention(v, one, 2.0) for v, one in zip(V, g, strict=True)])
    close(region_attention(V, g, inverse_temperature=2.0), wanted, dtype)


@both
def test_projection(dtype):
    module = ready(Projection(7, 6, norm="batch"), dtype)
    compare(module, lambda m, x: m(x), lambda p, x: plain.project(x, p), [tokens(dtype, 2, 5, 7)], dtype)


@both
@pytest.mark.parametrize("kind", ["none", "sge", "cge", "sge+cge"])
def test_image_encoder(dtype, kind):
    module = ready(ImageEncoder(small_paper(enhancement=kind)), dtype)
    fast = lambda m, V, c: m(V, None, c) + 0 * c.sum()
    slow = lambda p, V, c: plain.encode_image(V, p, guide=c) + 0 * c.sum()
    compare(module, fast, slow, [tokens(dtype, 2, 5, 8), tokens(dtype, 2, 6, seed=2)], dtype)


def test_image_encoder_with_the_papers_36_regions():
    module = ready(ImageEncoder(small_paper(regions=36, region_dim=5, embed_dim=4)), torch.float64)
    slow = lambda p, V: plain.encode_image(V, p)
    compare(module, lambda m, V: m(V), slow, [tokens(torch.float64, 2, 36, 5)], torch.float64)


@both
def test_text_encoder(dtype):
    config = small_paper()
    module, batch = ready(TextEncoder(config), dtype), make_batch(config, [0, 1, 2])
    captions = [row[keep].tolist() for row, keep in zip(batch.input_ids, batch.attention_mask, strict=True)]
    assert len({len(c) for c in captions}) > 1  # padding is seen
    fast = lambda m: m(batch.input_ids, batch.attention_mask)
    slow = lambda p: plain.encode_text(captions, p, layers=2, heads=2)
    compare(module, fast, slow, [], dtype)


@both
def test_momentum_update(dtype):
    config = small_paper()
    source = ready(ImageEncoder(config), torch.float32, seed=3)
    copied = MomentumEncoder(source)
    shake(source, seed=4)
    source, copied = source.to(dtype), copied.to(dtype)
    wanted = plain.momentum(dict(copied.encoder.named_parameters()), dict(source.named_parameters()), 0.9)
    wanted = {name: value.detach().clone() for name, value in wanted.items()}
    copied.update_momentum(source, 0.9)
    for name, value in copied.encoder.named_parameters():
        close(value, wanted[name], dtype)


@both
@pytest.mark.parametrize("live", [True, False])
def test_uto_of_the_batch(dtype, live):
    config = ObjectiveConfig(leaky_positive=live)
    scores = 0.4 * tokens(dtype, 5, 5) + 0.2
    scores[0, 0] = -0.3  # one positive pair below zero
    fast, slow = (scores.clone().requires_grad_() for _ in range(2))
    ids = [3, 1, 4, 0, 5]
    loss = batch_loss(config, fast, torch.tensor(ids))
    wanted = plain.uto_batch(slow, ids, mu=90.0, gamma=0.5, leaky_positive=live)
    close(loss, wanted, dtype)
    loss.backward(), wanted.backward()
    close(fast.grad, slow.grad, dtype)


@both
@pytest.mark.parametrize("live", [True, False])
def test_uto_of_the_queue(dtype, live):
    unit = lambda *shape, seed: torch.nn.functional.normalize(tokens(dtype, *shape, seed=seed), dim=-1)
    queue, slow_queue = DualQueue(7, 3).to(dtype), plain.Queues(7)
    for step in range(3):  # 9 keys through 7 slots
        keys = unit(3, 3, seed=10 + step), unit(3, 3, seed=20 + step), torch.arange(3) + 3 * step
        queue.enqueue(*keys)
        slow_queue.enqueue(*keys)
    ids = torch.tensor([20, 21, 22, 23])
    inputs = [unit(4, 3, seed=s) for s in range(4)]
    mine, theirs = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
    images, texts, image_keys, text_keys = mine
    loss = queue_loss(
        ObjectiveConfig(leaky_positive=live), (images * text_keys).sum(1), (texts * image_keys).sum(1),
        images @ queue.texts.t(), texts @ queue.images.t(), queue.ignore_mask(ids),
    )  # fmt: skip
    wanted = slow_queue.loss(*theirs, ids, mu=90.0, gamma=0.5, leaky_positive=live)
    close(loss, wanted, dtype)
    loss.backward(), wanted.backward()
    for x, y in zip(mine, theirs, strict=True):
        close(x.grad, y.grad, dtype)


@both
def test_three_steps_of_the_whole_model(dtype):
    """Losses, gradients, momentum weights and queues, with the query weights moved by hand after each step."""
    config = small_paper(momentum=0.8)
    objective = ObjectiveConfig(mu=20.0, gamma=0.1, leaky_positive=False, loss_weight=20.0)
    model = ready(USER(config, objective), dtype)
    model.training = True  # follow and enqueue, with dropout and batch statistics off below
    q = named(model)
    sides = ("image", "text")
    query = {side: plain.sub(q, f"{side}_encoder") for side in sides}
    key = {
        side: {k: v.detach() for k, v in plain.sub(q, f"{side}_momentum_encoder.encoder").items()}
        for side in sides
    }
    queues = plain.Queues(config.queue_size)
    rate = 0.05
    for step in range(3):
        batch = make_batch(config, [4 * step + i for i in range(4)], seed=step, dtype=dtype)
        captions = [
            row[keep].tolist() for row, keep in zip(batch.input_ids, batch.attention_mask, strict=True)
        ]
        output = model(batch)
        for side in sides:
            learnt = {k for k in key[side] if k in query[side] and query[side][k].requires_grad}
            moved = plain.momentum(
                {k: key[side][k] for k in learnt}, {k: query[side][k] for k in learnt}, 0.8
            )
            key[side] = {**{k: v.detach() for k, v in query[side].items()}, **moved}
        v, t = (
            plain.encode_image(batch.tokens, query["image"]),
            plain.encode_text(captions, query["text"], layers=2, heads=2),
        )
        with torch.no_grad():
            v_key = plain.encode_image(batch.tokens, key["image"])
            t_key = plain.encode_text(captions, key["text"], layers=2, heads=2)
        scores = torch.stack([torch.stack([(a * b).sum() for b in t]) for a in v])
        ids = batch.image_ids.tolist()
        settings = {"mu": 20.0, "gamma": 0.1, "leaky_positive": False}
        loss_b = plain.uto_batch(scores, ids, **settings)
        loss_q = queues.loss(v, t, v_key, t_key, ids, **settings)
        queues.enqueue(v_key, t_key, ids)
        close(output.batch_loss, loss_b.detach(), dtype)
        close(output.queue_loss, loss_q.detach(), dtype)
        close(output.loss, 20.0 * loss_b + loss_q, dtype)
        model.zero_grad()
        output.loss.backward()
        (20.0 * loss_b + loss_q).backward()
        for side in sides:
            for name, value in getattr(model, f"{side}_encoder").named_parameters():
                other = query[side][name].grad
                assert (value.grad is None or value.grad.abs().max() < 1e-9) if other is None else True
                if other is not None:
                    close(value.grad, other, dtype)
                with torch.no_grad():
                    if value.grad is not None:
                        value -= rate * value.grad
                    query[side][name] = value.detach().clone().requires_grad_()
        held = {int(n): slot for slot, n in enumerate(model.queue.ids) if n >= 0}
        assert list(queues.keys) and {n for n, _, _ in queues.keys} == set(held)
        for n, image, text in queues.keys:
            close(model.queue.images[held[n]], image, dtype)
            close(model.queue.texts[held[n]], text, dtype)

"""Half precision: under bf16 autocast attention, pooling results and unit lengths are those of float32 arithmetic on
the same inputs; and where full float32 is asked for, no backend rounds.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.reference import model as plain
from tests.reference.small import make_batch, named, shake, small
from userlib import MomentumContrast
from userlib.evaluation import ranks
from userlib.evaluation.ranking import exact_products
from userlib.model.encoders import TextEncoder
from userlib.model.enhancement import ClipGuide, Enhancement, SelfGuide, region_attention
from userlib.model.layers import RegionNorm
from userlib.model.pooling import make_pooling, max_pool, mean_pool
from userlib.model.scorers import scan_i2t, scan_t2i
from userlib.model.user import USER
from userlib.precision import full_float32, training_attention

SOME = torch.tensor([[True] * 36, [True] * 20 + [False] * 16])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def half():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("mask", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_agreement_is_that_of_float32(kind, mask):
    """Raw regions are large, so that a half's rounding inside the softmax would show as percents."""
    V, g = (5 * draw(2, 36, 64)).to(kind), F.normalize(draw(2, 64, seed=1), dim=-1)
    scores = 2.0 * torch.einsum("brd,bd->br", V.double(), g.double())
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    wanted = F.normalize(scores.softmax(-1), dim=-1).float()
    with half():
        result = region_attention(V, g, mask, inverse_temperature=2.0)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["sge", "cge"])
def test_guides_have_unit_length_and_attention_answers_to_them(kind):
    V, c = 5 * draw(2, 36, 64), draw(2, 16, seed=1)
    module = shake(Enhancement(kind, 64, guide_dim=16)).eval()
    with half():
        ((g, a),) = module.guides(V, SOME, c).values()
    assert g.dtype == a.dtype == torch.float32
    torch.testing.assert_close(g.norm(dim=1), torch.ones(2), rtol=0, atol=1e-6)
    torch.testing.assert_close(a, region_attention(V, g, SOME), rtol=1e-5, atol=1e-7)


def test_the_guide_is_the_weighted_sum_in_float32():
    V = 5 * draw(2, 36, 64)
    with half():
        g, w = shake(SelfGuide(64)).eval()(V, SOME)
    assert w.dtype == torch.float32
    torch.testing.assert_close(g, F.normalize((w.unsqueeze(-1) * V).sum(1), dim=-1), rtol=1e-5, atol=1e-6)


def test_words_are_enhanced_in_float32():
    config = small(text_enhancement="sge")
    encoder, batch = shake(TextEncoder(config)).eval(), make_batch(config, [0, 1, 2])
    with half():
        V = 9 * encoder.vectors_of(batch.input_ids, batch.attention_mask)
        ((g, a),) = encoder.enhancement.guides(V, batch.attention_mask).values()
    torch.testing.assert_close(g.norm(dim=1), torch.ones(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(a, region_attention(V.float(), g, batch.attention_mask), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_enhanced_regions_of_any_type(kind):
    """V + s a g is added up in float32, and V's gradient comes back in V's type."""
    V = draw(2, 36, 8).to(kind).requires_grad_()
    module = shake(Enhancement("sge", 8, residual_scale=3.0)).eval()
    with half():
        result = module(V)
        ((g, a),) = module.guides(V).values()
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, V.float() + 3 * a.unsqueeze(-1) * g.unsqueeze(1), rtol=1e-5, atol=1e-6)
    result.sum().backward()
    assert V.grad.dtype == kind and torch.isfinite(V.grad).all()


@pytest.mark.parametrize("mask", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_pooling_results_are_float32(kind, mask):
    x = draw(2, 36, 12).to(kind)
    pool = shake(make_pooling("gpo"))
    p = named(pool)
    rows = [x[i].float() if mask is None else x[i][mask[i]].float() for i in range(2)]
    wanted = torch.stack([plain.gpo(one, p) for one in rows]).detach()
    means = torch.stack([one.mean(0) for one in rows])
    with half():
        result, mean, largest = pool(x, mask), mean_pool(x, mask), max_pool(x, mask)
    assert result.dtype == mean.dtype == torch.float32
    torch.testing.assert_close(result.detach(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mean, means, rtol=1e-5, atol=1e-6)
    assert torch.equal(
        largest.float(), torch.stack([one.amax(0) for one in rows])
    )  # the largest is one of them


def test_float64_stays():
    x = draw(2, 5, 8).double()
    assert make_pooling("gpo").double()(x).dtype == mean_pool(x).dtype == torch.float64
    g, w = SelfGuide(8).double()(x)
    assert g.dtype == w.dtype == region_attention(x, g).dtype == torch.float64
    assert ClipGuide(8, 8).double()(x[:, 0]).dtype == torch.float64


def test_regions_of_unit_length_are_of_unit_length_in_halves():
    V = RegionNorm("unit", 64)(5 * draw(2, 36, 64).bfloat16())
    torch.testing.assert_close(V.norm(dim=-1), torch.ones(2, 36), rtol=0, atol=1e-6)


def test_cross_attention_scores_are_float32():
    regions, words = draw(3, 5, 16), draw(4, 6, 16, seed=1)
    mask = torch.ones(4, 6, dtype=torch.bool)
    for scan in (scan_t2i, scan_i2t):
        wanted = scan(regions, words, mask)
        with half():
            torch.testing.assert_close(scan(regions, words, mask), wanted, rtol=1e-5, atol=1e-6)


class Operators(TorchDispatchMode):
    """The names of all operators that run within it."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision, products", [("bf16", True), ("fp32", False)])
def test_attention_of_a_bf16_step_on_a_cpu_is_made_of_products(precision, products):
    q = draw(2, 2, 5, 8).requires_grad_()
    with Operators() as ran, training_attention(q.device, precision):
        result = F.scaled_dot_product_attention(q @ torch.eye(8), q, q)
    assert any("flash" in name for name in ran.names) is not products
    with Operators() as ran:
        F.scaled_dot_product_attention(q, q, q)
    assert any("flash" in name for name in ran.names)
    torch.testing.assert_close(result, F.scaled_dot_product_attention(q, q, q), rtol=0, atol=1e-6)


@pytest.mark.parametrize("queue_size", [None, 4])
def test_vectors_that_encoders_normalise_are_compared_in_float32(queue_size):
    encoders = [shake(nn.Linear(4, 3)), shake(nn.Linear(4, 3), seed=1)]
    contrast = MomentumContrast(*encoders, dim=3, queue_size=queue_size, momentum=0.5, normalize=False)
    with half():
        output = contrast.step(draw(4, 4), draw(4, 4, seed=1), torch.arange(4))
    assert output.images.dtype == output.texts.dtype == output.loss.dtype == torch.float32


def backends():
    gpu, cpu = torch.backends.cudnn, torch.backends.mkldnn
    return {
        "cuda.matmul": torch.backends.cuda.matmul, "cudnn.conv": gpu.conv, "cudnn.rnn": gpu.rnn,
        "mkldnn.matmul": cpu.matmul, "mkldnn.conv": cpu.conv, "mkldnn.rnn": cpu.rnn,
    }  # fmt: skip


@pytest.fixture
def rounding():
    """Every backend may round float32."""
    before = {name: backend.fp32_precision for name, backend in backends().items()}
    for name, backend in backends().items():
        backend.fp32_precision = "bf16" if "mkldnn" in name else "tf32"
    yield {name: backend.fp32_precision for name, backend in backends().items()}
    for name, backend in backends().items():
        backend.fp32_precision = before[name]


def states():
    return {name: backend.fp32_precision for name, backend in backends().items()}


@pytest.mark.parametrize("inside", [full_float32, lambda: exact_products(torch.device("cpu"))])
def test_no_backend_rounds_inside_and_each_is_put_back(rounding, inside):
    with inside():
        assert set(states().values()) == {"ieee"}
    assert states() == rounding
    with pytest.raises(ZeroDivisionError), inside():
        raise ZeroDivisionError
    assert states() == rounding


def seen_inside(monkeypatch, where, name):
    """Records the backends' states whenever where.name runs."""
    seen, plain_one = [], getattr(where, name)
    monkeypatch.setattr(where, name, lambda *a, **k: seen.append(states()) or plain_one(*a, **k))
    return seen


class Pairs:
    """Two batches of a split."""

    def __init__(self, batch):
        self.one = batch

    def image_batches(self, size, share):
        yield self.one.tokens, None, None

    def caption_batches(self, size, share):
        yield range(len(self.one.input_ids)), self.one.input_ids, self.one.attention_mask


@pytest.mark.parametrize("half_precision", ["fp32", "bf16"])
def test_an_embedding_rounds_nowhere_but_in_autocast(rounding, monkeypatch, half_precision):
    from userlib.evaluation import embed

    config = small()
    model, batch = USER(config), make_batch(config, [0, 1])
    seen = [seen_inside(monkeypatch, model, name) for name in ("encode_image", "encode_text")]
    images, texts = embed(model, Pairs(batch), precision=half_precision)
    assert images.shape == texts.shape == (2, config.embed_dim)
    assert all(set(one[0].values()) == {"ieee"} for one in seen) and states() == rounding


def test_a_search_model_rounds_nowhere(rounding, monkeypatch):
    from types import SimpleNamespace

    from userlib.search.encoders import CheckpointEncoder

    config = small()
    model = USER(config).eval()
    result = CheckpointEncoder.__new__(CheckpointEncoder)
    tokenizer = SimpleNamespace(encode=lambda text: [5, 6, 7], pad_id=0)
    result.loaded = SimpleNamespace(model=model, tokenizer=tokenizer, metadata={}, config=None)
    result.device, result.guide = "cpu", None
    result.tokens = lambda pictures: (make_batch(config, [0, 1]).tokens, None)
    seen = [seen_inside(monkeypatch, model, name) for name in ("encode_image", "encode_text")]
    result.encode_text(["a dog"]), result.encode_image([None, None])
    assert all(set(one[0].values()) == {"ieee"} for one in seen) and states() == rounding


def test_ranks_round_nowhere(rounding):
    images = F.normalize(draw(200, 64), dim=1)
    texts = F.normalize(images + 3 * draw(200, 64, seed=1) / 8, dim=1)
    ranked = ranks(images.numpy(), texts.numpy(), range(200))
    with full_float32():
        wanted = ranks(images.numpy(), texts.numpy(), range(200))
    assert (ranked.t2i == wanted.t2i).all() and (ranked.i2t == wanted.i2t).all()


@pytest.mark.parametrize("kind", ["timm", "open_clip"])
def test_extractors_round_nowhere(kind, rounding, tmp_path, monkeypatch):
    from tests.data.copies import picture, write_backbone, write_clip
    from userlib.data.extractors import make_extractor

    if kind == "timm":
        extractor = make_extractor("timm:test_resnet", weights=write_backbone(tmp_path))
    else:
        extractor = make_extractor(f"open_clip:local-dir:{write_clip(tmp_path / 'clip')}")
    seen, convolve = [], nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: seen.append(states()) or convolve(self, x))
    extractor([picture(0)])
    assert seen and all(set(one.values()) == {"ieee"} for one in seen) and states() == rounding

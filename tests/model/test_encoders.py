"""DualEncoder: unit length, padding, masks, mean of the BiGRU's directions, and errors that name the thing."""

import pytest
import torch

from tests.model.test_devices import tiny_clip  # noqa: F401 - a fixture
from tests.reference import model as plain
from tests.reference.small import make_batch, named, shake, small, small_paper
from userlib.errors import UserError
from userlib.model.encoders import ImageEncoder, TextEncoder
from userlib.model.layers import RegionNorm

TEXTS = {
    "bag": {"text": "bag"},
    "gru": {},
    "gru with skip": {"word_residual": True},
    "bert": {"text": "bert", "text_width": 8, "text_layers": 2, "text_heads": 2},
    "clip": {"text": "clip", "text_model": "tiny", "text_width": 16},
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_caption_alone_equals_the_caption_in_a_batch(text, tiny_clip):  # noqa: F811
    config = small(**TEXTS[text])
    encoder, batch = shake(TextEncoder(config)).eval(), make_batch(config, [0, 1, 2, 3])
    together = encoder(batch.input_ids, batch.attention_mask)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(4))
    for i in range(4):
        length = int(batch.attention_mask[i].sum())
        alone = encoder(batch.input_ids[i : i + 1, :length], batch.attention_mask[i : i + 1, :length])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("text", TEXTS)
def test_words_matter(text, tiny_clip):  # noqa: F811
    config = small(**TEXTS[text])
    encoder, batch = shake(TextEncoder(config)).eval(), make_batch(config, [0, 1])
    other = batch.input_ids.clone()
    other[0, 1] = (other[0, 1] - 4) % 20 + 5
    result, changed = encoder(batch.input_ids, batch.attention_mask), encoder(other, batch.attention_mask)
    assert not torch.allclose(result[0], changed[0], atol=1e-4)
    torch.testing.assert_close(result[1], changed[1])


def test_gru_states_are_the_mean_of_two_directions():
    config = small()
    encoder, batch = shake(TextEncoder(config)).eval(), make_batch(config, [0, 1])
    states, p = encoder.states(batch.input_ids, batch.attention_mask), named(encoder.states)
    for ids, keep, row in zip(batch.input_ids, batch.attention_mask, states, strict=True):
        vectors = [p["embedding.weight"][w] for w in ids[keep]]
        torch.testing.assert_close(row[keep], torch.stack(plain.bigru(vectors, plain.sub(p, "gru"))))


def test_a_bag_has_no_order_and_a_gru_has():
    batch = make_batch(small(), [0, 1], full=True)
    for config, same in ((small(text="bag"), True), (small(), False), (small(word_residual=True), False)):
        encoder = shake(TextEncoder(config)).eval()
        result = (
            encoder(batch.input_ids, batch.attention_mask),
            encoder(batch.input_ids.flip(1), batch.attention_mask),
        )
        assert torch.allclose(*result, atol=1e-5) is same


def test_a_skip_keeps_the_words_own_vectors():
    config, batch = small(word_residual=True), make_batch(small(), [0, 1])
    encoder = TextEncoder(config).eval()
    states = encoder.states(batch.input_ids, batch.attention_mask)
    assert states.shape[-1] == config.text_width + config.word_width == encoder.linear.in_features
    assert torch.equal(states[..., config.text_width :], encoder.states.embedding(batch.input_ids))


def test_clip_weights_load_by_name(tiny_clip):  # noqa: F811
    encoder = TextEncoder(small(**TEXTS["clip"]))
    before = encoder.states.clip.token_embedding.weight.clone()
    encoder.load_text("tiny")
    assert not torch.equal(before, encoder.states.clip.token_embedding.weight)


def test_sge_on_words_moves_them():
    config, batch = small(text_enhancement="sge"), make_batch(small(), [0, 1])
    with_sge = shake(TextEncoder(config)).eval()
    result = with_sge(batch.input_ids, batch.attention_mask)
    with_sge.enhancement.kind = "none"
    assert not torch.allclose(result, with_sge(batch.input_ids, batch.attention_mask), atol=1e-4)


@pytest.mark.parametrize("kind", ["none", "sge", "cge", "sge+cge"])
def test_a_picture_with_missing_regions_equals_the_picture_without_them(kind):
    config = small(enhancement=kind, add_guide=True)
    encoder = shake(ImageEncoder(config)).eval()
    batch = make_batch(config, [0, 1, 2], mask=True)
    together = encoder(batch.tokens, batch.token_mask, batch.guide)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    for i in range(3):
        kept = batch.tokens[i][batch.token_mask[i]].unsqueeze(0)
        alone = encoder(kept, None, batch.guide[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)


def test_regions_are_raw_unit_standard_or_principal():
    tokens = 5 + 7 * make_batch(small(), [0, 1, 2]).tokens
    raw, unit, standard = (ImageEncoder(small(region_scaling=s)) for s in ("raw", "unit", "standard"))
    assert raw.to_regions(tokens) is tokens
    torch.testing.assert_close(unit.to_regions(tokens).norm(dim=-1), torch.ones(3, 5))
    standard.region_norm.init_from_data(tokens)
    V = standard.to_regions(tokens).flatten(0, 1)
    torch.testing.assert_close(V.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(V.std(0), torch.ones(8), atol=1e-5, rtol=0)
    mask = torch.tensor([[True] * 3 + [False] * 2] * 3)
    standard.region_norm.init_from_data(tokens.masked_fill(~mask.unsqueeze(-1), 1e6), mask)
    torch.testing.assert_close(standard.region_norm.center, tokens[mask].mean(0))
    torch.testing.assert_close(standard.region_norm.spread, tokens[mask].std(0))
    principal = ImageEncoder(small(region_scaling="principal", principal_dim=3))
    principal.region_norm.init_from_data(tokens)
    V = principal.to_regions(tokens).flatten(0, 1)
    flat = tokens.flatten(0, 1)
    scores = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    expected = (scores.U * scores.S)[:, :3]
    spread = expected.square().mean(0).mean().sqrt()
    torch.testing.assert_close(V.abs(), (expected / spread).abs(), atol=1e-4, rtol=1e-3)
    assert principal(tokens).shape == (3, 10) and principal.projection.linear.in_features == 3
    root = ImageEncoder(small(region_scaling="root", principal_dim=3))
    root.region_norm.init_from_data(tokens)
    principal.region_norm.init_from_data(tokens.sign() * tokens.abs() ** 0.5)
    same = principal.to_regions(tokens.sign() * tokens.abs() ** 0.5)
    assert (tokens < 0).any() and (tokens > 1).any()
    torch.testing.assert_close(root.to_regions(tokens), same)
    narrow = ImageEncoder(small(region_scaling="principal", principal_dim=9))
    assert narrow.to_regions(tokens).shape == (3, 5, 8)  # a token has no more channels
    with pytest.raises(UserError, match="'whitened'"):
        ImageEncoder(small(region_scaling="whitened"))


def test_one_region_has_no_spread():
    norm = RegionNorm("standard", 3)
    norm.init_from_data(torch.tensor([[[1.0, 2.0, 3.0]]]))
    assert (norm(torch.tensor([[[1.0, 2.0, 3.0]]])) == 0).all() and (norm.spread > 0).all()


def test_the_guide_is_added_to_the_pooled_picture():
    config = small(add_guide=True)
    encoder, batch = shake(ImageEncoder(config)).eval(), make_batch(config, [0, 1])
    with_guide = encoder(batch.tokens, None, batch.guide)
    pooled = encoder.pooling(encoder.projection(batch.tokens)) + encoder.guide_projection(batch.guide)
    torch.testing.assert_close(with_guide, pooled / pooled.norm(dim=1, keepdim=True))


def test_embeddings_are_fp32_under_autocast():
    config = small(enhancement="sge")
    batch = make_batch(config, [0, 1], mask=True)
    with torch.autocast("cpu", torch.bfloat16):
        image = ImageEncoder(config)(batch.tokens, batch.token_mask)
        text = TextEncoder(config)(batch.input_ids, batch.attention_mask)
    assert image.dtype == text.dtype == torch.float32
    torch.testing.assert_close(image.norm(dim=1), torch.ones(2))


def test_errors_name_the_thing():
    batch = make_batch(small(), [0, 1])
    with pytest.raises(UserError, match="has 4 regions and the model normalises over 5"):
        ImageEncoder(small_paper())(batch.tokens[:, :4])
    with pytest.raises(UserError, match="uses a guide and the batch has none"):
        ImageEncoder(small(enhancement="cge"))(batch.tokens)
    for missing, changes in (
        ("region_dim", {}),
        ("regions", {"norm": "batch"}),
        ("guide_dim", {"enhancement": "cge"}),
    ):
        with pytest.raises(UserError, match=f"^{missing} is not set"):
            ImageEncoder(small(**{**changes, missing: None}))
    with pytest.raises(UserError, match="^vocab_size is not set"):
        TextEncoder(small(vocab_size=None))
    with pytest.raises(UserError, match="no-such-folder"):
        TextEncoder(small_paper()).load_text("/no-such-folder")


def test_bert_weights_load_from_a_folder(tmp_path):
    config = small_paper()
    source, target = shake(TextEncoder(config)), TextEncoder(config)
    source.states.bert.save_pretrained(tmp_path)
    target.load_text(str(tmp_path))
    for a, b in zip(source.states.parameters(), target.states.parameters(), strict=True):
        assert torch.equal(a, b)
    other = TextEncoder(small_paper(text_width=12, text_heads=2))
    with pytest.raises(UserError, match="have hidden_size 8 and the model has 12; set model.text_width to 8"):
        other.load_text(str(tmp_path))

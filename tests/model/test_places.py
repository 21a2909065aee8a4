"""What happens where: the place of each dropout, mask, scaling and copy, by the values that it leaves behind."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.model.test_devices import tiny_clip  # noqa: F401 - a fixture
from tests.reference.small import make_batch, shake, small, small_paper
from userlib.config import ObjectiveConfig
from userlib.model.encoders import ImageEncoder, Projection, TextEncoder
from userlib.model.enhancement import ClipGuide, Enhancement, Norm, ResidualScale, SelfGuide
from userlib.model.layers import RegionNorm
from userlib.model.momentum import MomentumEncoder, half_life, momentum_for, update
from userlib.model.objective import batch_loss, hinge, infonce, queue_loss, uto_negative
from userlib.model.pooling import GPO, position_codes
from userlib.model.queue import DualQueue
from userlib.model.user import USER
from userlib.training.watching import collapse_metrics


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def recorded(encoder, name):
    """The inputs of one of its modules, from now on."""
    seen = []
    getattr(encoder, name).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    return seen


# --- dropout ------------------------------------------------------------------------------------------------------


def test_channels_of_regions_drop_as_a_whole():
    """All regions of a picture lose the same channels, pictures lose different ones, the rest is scaled."""
    encoder = ImageEncoder(small(region_channel_dropout=0.5, region_dim=40)).train()
    seen, tokens = recorded(encoder, "enhancement"), draw(6, 5, 40)
    encoder(tokens)
    gone = seen[0] == 0  # (B, R, D)
    assert (gone == gone[:, :1]).all()
    assert 0.3 < float(gone.float().mean()) < 0.7 and not (gone[0, 0] == gone[1, 0]).all()
    torch.testing.assert_close(seen[0][~gone], 2 * tokens[~gone])
    encoder.eval()(tokens)
    assert torch.equal(seen[1], tokens)


@pytest.mark.parametrize("side", ["image", "text"])
def test_embeddings_drop_before_they_get_unit_length(side):
    config = small(embed_dropout=0.5, embed_dim=40)
    batch = make_batch(config, [0, 1, 2])
    encoder = (ImageEncoder if side == "image" else TextEncoder)(config).train()
    result = encoder(batch.tokens) if side == "image" else encoder(batch.input_ids, batch.attention_mask)
    torch.testing.assert_close(result.norm(dim=1), torch.ones(3))
    assert 0.3 < float((result == 0).float().mean()) < 0.7


@pytest.mark.parametrize("text", ["bag", "gru"])
def test_word_vectors_and_word_states_drop_each_at_its_place(text):
    """word_dropout before the network, text_dropout behind it; neither before the other's place."""
    batch = make_batch(small(), [0, 1, 2], full=True)
    skip = text == "gru"
    encoder = TextEncoder(small(text=text, word_dropout=0.5, word_width=40, word_residual=skip)).train()
    states = encoder.states(batch.input_ids, batch.attention_mask)
    gone = states[..., -40:] == 0  # word vectors themselves: all of a bag, the skip of a GRU
    assert 0.3 < float(gone.float().mean()) < 0.7
    encoder = TextEncoder(small(text=text, text_dropout=0.5, word_width=40)).train()
    assert not (encoder.states(batch.input_ids, batch.attention_mask) == 0).any()
    seen = recorded(encoder, "linear")
    encoder(batch.input_ids, batch.attention_mask)
    assert 0.3 < float((seen[0] == 0).float().mean()) < 0.7


def test_both_branches_of_the_self_guide_drop_behind_their_tanh():
    """With a dropout of nearly 1 - 1/n no number survives as it was: local and global, each drawn by itself."""
    guide, V = shake(SelfGuide(64, dropout=0.5)).train(), draw(2, 5, 64)
    parts = []
    guide.dropout.register_forward_hook(lambda _, inputs, output: parts.append((inputs[0], output)))
    guide(V)
    (local, dropped_local), (whole, dropped_whole) = parts
    assert local.shape == (2, 5, 64) and whole.shape == (2, 64)
    torch.testing.assert_close(local, guide.local_norm(guide.local_linear(V)).tanh())
    torch.testing.assert_close(whole, guide.global_norm(guide.global_linear(V.mean(1))).tanh())
    for before, after in parts:
        assert 0.3 < float((after == 0).float().mean()) < 0.7 and before.abs().max() <= 1
    guide.eval()
    assert torch.equal(*(guide(V)[0] for _ in range(2)))


def test_dropouts_are_those_of_the_settings():
    config = small(enhancement="sge", guide_dropout=0.1, region_channel_dropout=0.2, embed_dropout=0.3,
                   text_dropout=0.45, word_dropout=0.5, text_enhancement="sge")  # fmt: skip
    image, text = ImageEncoder(config), TextEncoder(config)
    assert image.enhancement.self_guide.dropout.p == text.enhancement.self_guide.dropout.p == 0.1
    assert (image.dropout.p, image.embed_dropout.p, text.embed_dropout.p) == (0.2, 0.3, 0.3)
    assert (text.dropout.p, text.states.dropout.p) == (0.45, 0.5)


def test_dropout_of_everything_is_zero():
    from userlib.model.layers import Dropout

    assert not Dropout(1.0)(torch.ones(3, 4)).any()


# --- masks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["gru", "bag"])
def test_words_are_enhanced_without_their_padding(text):
    config = small(text=text, text_enhancement="sge", residual_scale=5.0, text_pooling="mean")
    encoder, batch = shake(TextEncoder(config)).eval(), make_batch(config, [0, 1, 2, 3])
    together = encoder(batch.input_ids, batch.attention_mask)
    for i in range(4):
        length = int(batch.attention_mask[i].sum())
        alone = encoder(batch.input_ids[i : i + 1, :length], batch.attention_mask[i : i + 1, :length])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)


def test_both_queues_are_masked():
    """A key of the query's own picture has no gradient through either table of scores; another one has."""
    config = ObjectiveConfig(mu=10.0, gamma=0.0)
    ignore_mask = torch.tensor([[True, False, True], [False, False, True]])
    tables = [torch.full((2, 3), 0.4).requires_grad_() for _ in range(2)]
    loss = queue_loss(config, torch.full((2,), 0.5), torch.full((2,), 0.2), *tables, ignore_mask)
    loss.backward()
    for table in tables:
        assert ((table.grad == 0) == ignore_mask).all()
    rows = [sum(math.exp(4.0) for _ in range(n)) for n in (1, 2)]
    wanted = 2 * sum(math.log1p(row) / 10 for row in rows) / 2 - math.log(1.5) - math.log(1.2)
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)


def test_the_two_parts_of_the_queue_loss_take_their_own_scores():
    config = ObjectiveConfig(name="infonce", temperature=0.5)
    none = torch.zeros(1, 2, dtype=torch.bool)
    a, b = torch.tensor([[0.1, 0.7]]), torch.tensor([[-0.4, 0.3]])
    loss = queue_loss(config, torch.tensor([0.5]), torch.tensor([0.2]), a, b, none)
    wanted = sum(
        F.cross_entropy(torch.cat([torch.tensor([[s]]), t], 1) / 0.5, torch.tensor([0]))
        for s, t in ((0.5, a), (0.2, b))
    )
    torch.testing.assert_close(loss, wanted)


def test_the_first_loss_counts_no_padding_picture():
    """The queue's own picture is masked in the model, both ways: those keys change nothing."""
    config = small(guide_dropout=0.0, momentum=0.0)
    model = USER(config, ObjectiveConfig(mu=10.0, gamma=-1.0)).eval()
    batch = make_batch(config, [4, 5])
    alone = float(model(batch).queue_loss)
    images, texts = (F.normalize(draw(2, config.embed_dim, seed=s), dim=1) for s in (1, 2))
    model.queue.enqueue(images, texts, torch.tensor([4, 4]))
    one = make_batch(config, [4, 4])
    masked = float(model(one).queue_loss)
    model.queue = DualQueue(config.queue_size, config.embed_dim)
    assert masked == pytest.approx(float(model(one).queue_loss), abs=1e-6)
    assert alone == pytest.approx(float(model(batch).queue_loss), abs=1e-6)


@pytest.mark.parametrize("side", ["text_scores", "image_scores"])
def test_the_model_masks_either_queue(side):
    """Own keys in one modality alone, far ones in the other: the loss is that of the empty queue."""
    config = small(guide_dropout=0.0)
    model, batch = USER(config, ObjectiveConfig(mu=10.0, gamma=-1.0)).eval(), make_batch(config, [4])
    empty = float(model(batch).queue_loss)
    v, t = model.encode_image(batch.tokens), model.encode_text(batch.input_ids, batch.attention_mask)
    model.queue.enqueue(t.detach(), v.detach(), torch.tensor([4]))  # as near as can be
    output = model(batch)
    assert float(output.queue_loss) == pytest.approx(empty, abs=1e-6) and output.masked_keys == 1
    model.queue.ids[0] = 9
    output = model(batch)
    assert float(output.queue_loss) > empty + 1 and output.masked_keys == 0


@pytest.mark.parametrize("name", ["hinge-sum", "hinge-hardest", "infonce", "uto"])
def test_a_batch_of_equal_rows_both_ways(name):
    """The loss of a table and of its transpose, and of rows in another order, is one number."""
    config, scores = ObjectiveConfig(name=name, mu=10.0, gamma=0.1), draw(4, 4) / 3
    ids, order = torch.tensor([3, 1, 3, 2]), torch.tensor([2, 0, 3, 1])
    loss = batch_loss(config, scores, ids)
    torch.testing.assert_close(batch_loss(config, scores.t(), ids), loss)
    torch.testing.assert_close(batch_loss(config, scores[order][:, order], ids[order]), loss)


def test_other_objectives_count_each_direction_once():
    scores, ids = draw(3, 3) / 3, torch.arange(3)
    off = ~torch.eye(3, dtype=torch.bool)
    for name in ("hinge-sum", "hinge-hardest", "infonce"):
        config = ObjectiveConfig(name=name, margin=0.7, temperature=0.3)
        total = 0.0
        for table in (scores, scores.t()):
            for i in range(3):
                own, others = table[i, i], table[i][off[i]]
                cost = (0.7 - own + others).relu()
                one = {"hinge-sum": cost.sum(), "hinge-hardest": cost.max(),
                       "infonce": -(own / 0.3) + torch.logsumexp(table[i] / 0.3, 0)}[name]  # fmt: skip
                total += one / 3
        torch.testing.assert_close(batch_loss(config, scores, ids), total)


def test_parts_of_an_objective_leave_out_what_is_masked():
    positive, negatives = torch.tensor([0.3]), torch.tensor([[0.9, 0.1, 0.2]])
    mask, kept = torch.tensor([[True, False, False]]), negatives[:, 1:]
    for one in (
        lambda n, m: uto_negative(n, m, mu=7.0, gamma=0.2),
        lambda n, m: hinge(positive, n, m, margin=0.4, hardest=True),
        lambda n, m: hinge(positive, n, m, margin=0.4, hardest=False),
        lambda n, m: infonce(positive, n, m, temperature=0.2),
    ):
        torch.testing.assert_close(one(negatives, mask), one(kept, None))


# --- collapse -----------------------------------------------------------------------------------------------------


def test_the_effective_rank_is_that_of_what_differs():
    """Embeddings in a narrow cone: their mean outweighs all else, and what differs still spreads over every axis."""
    cone = F.normalize(torch.ones(400, 8) * 3 + 0.05 * draw(400, 8), dim=1)
    unpaired, rank = collapse_metrics(cone, cone)
    assert unpaired > 0.99 and rank > 6  # with the mean in it, it would be near 1
    line = torch.zeros(50, 8)
    line[:, 0] = torch.linspace(-1, 1, 50)
    assert collapse_metrics(line, line)[1] == pytest.approx(1.0, abs=1e-3)


def test_the_effective_rank_by_hand():
    """Singular values 3 and 1: shares .75 and .25, entropy .562, rank e^.562."""
    rows = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert collapse_metrics(rows, rows)[1] == pytest.approx(math.exp(entropy), rel=1e-5)


# --- shapes and places of parts -------------------------------------------------------------------------------------


def test_gpo_in_the_papers_widths():
    pool = GPO()
    assert (pool.gru.input_size, pool.gru.hidden_size, pool.gru.bidirectional) == (32, 32, True)
    assert pool.temperature == 0.1 and pool.score.bias is None
    codes = position_codes(4, 32, dtype=torch.float64)
    for position in range(4):
        for k in range(16):
            angle = position / 10000 ** (2 * k / 32)
            assert float(codes[position, 2 * k]) == pytest.approx(math.sin(angle), abs=1e-12)
            assert float(codes[position, 2 * k + 1]) == pytest.approx(math.cos(angle), abs=1e-12)


def test_defaults_are_the_methods():
    guide = SelfGuide(8)
    assert guide.dropout.p == 0.4 and isinstance(guide.local_norm.norm, nn.LayerNorm)
    module = Enhancement("sge", 8)
    assert (
        module.inverse_temperature == 1.0 and module.self_guide.dropout.p == 0.4 and module.self_scale.learned
    )
    assert isinstance(ClipGuide(6, 8).layers[0].norm, nn.LayerNorm)
    assert ResidualScale.REACH == 4.0


def test_a_norm_is_over_what_it_says():
    x = 3 + 2 * draw(6, 5, 8)
    layer = Norm("layer", 5, 8)(x)
    torch.testing.assert_close(layer.mean(-1), torch.zeros(6, 5), atol=1e-5, rtol=0)
    batch = Norm("batch", 5, 8)(x)
    torch.testing.assert_close(batch.mean((0, 2)), torch.zeros(5), atol=1e-5, rtol=0)
    assert (batch.mean(-1).abs() > 0.05).any()


def test_the_mlp_of_the_projection_is_half_as_wide_and_normalises_each_region():
    projection = shake(Projection(8, 12, norm="layer")).eval()
    assert (projection.hidden.out_features, projection.out.in_features, projection.out.out_features) == (
        6,
        6,
        12,
    )
    x = draw(2, 5, 8)
    torch.testing.assert_close(projection(x)[1, 3], projection(x[1:2, 3:4])[0, 0])
    hidden = F.layer_norm(projection.hidden(x), (6,), projection.norm.weight, projection.norm.bias).relu()
    torch.testing.assert_close(projection(x), projection.linear(x) + projection.out(hidden))
    assert isinstance(Projection(8, 12, norm="batch").norm, nn.BatchNorm1d)


def test_standard_regions_as_a_linear_map():
    regions, tokens = RegionNorm("standard", 8), 5 + 3 * draw(20, 4, 8)
    regions.init_from_data(tokens)
    weight, bias = draw(6, 8, seed=1), draw(6, seed=2)
    w, b = regions.of_tokens(weight, bias)
    torch.testing.assert_close(
        F.linear(regions(tokens), w, b), F.linear(tokens, weight, bias), atol=1e-4, rtol=1e-4
    )
    raw = RegionNorm("raw", 8)
    raw.init_from_data(tokens)
    assert all(one is other for one, other in zip(raw.of_tokens(weight, bias), (weight, bias), strict=True))
    whole = RegionNorm("principal", 8, 8)  # all components: a rotation
    whole.init_from_data(tokens)
    w, b = whole.of_tokens(weight, bias)
    torch.testing.assert_close(
        F.linear(whole(tokens), w, b), F.linear(tokens, weight, bias), atol=1e-4, rtol=1e-4
    )
    flat = torch.ones(3, 4, 8)
    regions.init_from_data(flat)
    assert torch.isfinite(regions(flat)).all()  # a channel that never changes has no spread to divide by


def test_a_component_whose_entries_sum_to_zero_is_kept():
    """The sign of a component is set by that sum; of such a one either sign will do."""
    regions = RegionNorm("principal", 4, 4)
    regions.init_from_data(torch.eye(4).repeat(10, 1)[None])  # one channel is 1, as in drawn images
    torch.testing.assert_close(regions.components @ regions.components.T, torch.eye(4))


def test_padding_of_captions_is_word_zero_and_never_learns():
    encoder, batch = TextEncoder(small(text="bag")), make_batch(small(), [0, 1, 2])
    assert not encoder.states.embedding.weight[0].any()
    encoder(batch.input_ids, batch.attention_mask).sum().backward()
    assert not encoder.states.embedding.weight.grad[0].any()


def test_layers_and_widths_of_the_gru_are_those_of_the_settings():
    gru = TextEncoder(small(text_layers=2)).states.gru
    assert (gru.num_layers, gru.hidden_size, gru.input_size, gru.bidirectional) == (2, 12, 7, True)
    encoder, batch = shake(TextEncoder(small(text_layers=2))).eval(), make_batch(small(), [0, 1])
    result = encoder.states(batch.input_ids, batch.attention_mask)
    assert result.shape == (2, 6, 12)


def test_bert_is_built_from_its_settings():
    bert = TextEncoder(small_paper()).states.bert.config
    assert (bert.hidden_size, bert.num_hidden_layers, bert.num_attention_heads) == (8, 2, 2)
    assert (bert.intermediate_size, bert.vocab_size) == (32, 30)


def test_states_of_clip_are_those_behind_its_last_norm(tiny_clip):  # noqa: F811
    encoder, batch = (
        TextEncoder(small(text="clip", text_model="tiny", text_width=16)),
        make_batch(small(), [0, 1]),
    )
    states = encoder.states(batch.input_ids, batch.attention_mask).detach()
    assert states.shape == (2, 6, 16)
    torch.testing.assert_close(states.mean(-1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(states.var(-1, unbiased=False), torch.ones(2, 6), atol=1e-2, rtol=0)


def test_pretrained_parameters_are_those_of_networks_that_came_with_weights():
    for text in ("gru", "bag", "bert"):  # a BERT without text_model begins at random
        assert TextEncoder(small(text=text)).pretrained() == []
    encoder = TextEncoder(small_paper(text_model="named"))
    assert len(encoder.pretrained()) == len(list(encoder.states.parameters())) > 10


@pytest.mark.parametrize("text", ["bag", "gru"])
def test_word_vectors_that_start_from_a_text_encoder_are_no_network_that_came_with_weights(text):
    """text_model only says where a CCA's words come from: they learn at the rate of the heads."""
    cca = {"init": "cca", "pooling": "mean", "text_pooling": "mean", "word_residual": text == "gru"}
    encoder = TextEncoder(small(text=text, text_model="some-encoder", **cca))
    assert encoder.pretrained() == [] and len(list(encoder.states.parameters())) > 0


def test_the_guide_is_asked_for_where_it_is_used():
    assert (
        ImageEncoder(small(enhancement="cge")).uses_guide and ImageEncoder(small(add_guide=True)).uses_guide
    )
    assert not ImageEncoder(small(enhancement="sge")).uses_guide


# --- momentum and the whole ---------------------------------------------------------------------------------------


def test_a_copy_shares_nothing_with_its_source():
    source = nn.Linear(2, 2)
    copied = MomentumEncoder(source)
    with torch.no_grad():
        source.weight += 1
    assert not torch.equal(copied.encoder.weight, source.weight)
    copied.copy_from(source)
    assert torch.equal(copied.encoder.weight, source.weight)
    assert copied.encoder.weight.data_ptr() != source.weight.data_ptr()


def test_buffers_are_taken_over_and_frozen_parameters_stay():
    copied, source = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    source.running_mean += 5
    source.bias.requires_grad_(False).add_(1)
    with torch.no_grad():
        source.weight += 1
    update(copied, source, 0.5)
    assert copied.running_mean.tolist() == [5, 5] and copied.bias.tolist() == [0, 0]
    assert copied.weight.tolist() == [1.5, 1.5]


def test_momentum_of_odd_runs():
    assert momentum_for(0) == momentum_for(1) == 0.0 and momentum_for(25) == pytest.approx(0.2)
    assert half_life(0.25) == pytest.approx(0.5)


def test_masks_and_guides_reach_the_key_encoders():
    """The keys of a batch with missing regions and a guide are those of the encoder with the same inputs."""
    config = small(enhancement="sge+cge", guide_dropout=0.0, momentum=0.5, add_guide=True)
    model, batch = shake(USER(config)), make_batch(config, [0, 1, 2], mask=True)
    model(batch)
    wanted = model.image_momentum_encoder.encoder(batch.tokens, batch.token_mask, batch.guide)
    torch.testing.assert_close(model.queue.images[:3], wanted)
    output = model.eval()(batch)
    torch.testing.assert_close(output.images, model.encode_image(batch.tokens, batch.token_mask, batch.guide))
    torch.testing.assert_close(output.texts, model.encode_text(batch.input_ids, batch.attention_mask))


def test_starting_measures_the_regions_that_are_there():
    config = small(enhancement="sge", region_scaling="standard")
    model, batch = USER(config), make_batch(config, [0, 1, 2, 3], mask=True)
    noise = batch.tokens.masked_fill(~batch.token_mask.unsqueeze(-1), 1000.0)
    model.init_from_data(noise, batch.token_mask)
    there = batch.tokens[batch.token_mask]
    torch.testing.assert_close(model.image_encoder.region_norm.center, there.mean(0))
    V = model.image_encoder.to_regions(batch.tokens)[batch.token_mask]
    count = batch.token_mask.sum(1).float().mean()
    wanted = 0.1 * count.sqrt() * V.norm(dim=-1).median()
    torch.testing.assert_close(model.image_encoder.enhancement.self_scale().detach(), wanted)
    torch.testing.assert_close(model.image_momentum_encoder.encoder.region_norm.center, there.mean(0))


def test_the_batch_loss_masks_by_picture_and_the_setting_turns_it_off():
    config = small(guide_dropout=0.0)
    batch = make_batch(config, [4, 4, 5])
    for masked in (True, False):
        objective = ObjectiveConfig(mu=10.0, gamma=0.0, mask_same_image=masked)
        torch.manual_seed(0)
        model = USER(config, objective).eval()
        output = model(batch)
        scores = output.images @ output.texts.t()
        torch.testing.assert_close(output.batch_loss, batch_loss(objective, scores, batch.image_ids))
        assert output.queue_loss is not None
        assert model.queue.ignore_mask(batch.image_ids, same_image=masked).shape == (3, config.queue_size)


def test_the_gradient_reaches_queries_and_no_key():
    """L_q alone: the query encoders learn from it, through their own side, and the momentum positives count."""
    config = small(guide_dropout=0.0, momentum=0.9)
    model = USER(config, ObjectiveConfig(loss_weight=0.0, mu=10.0, gamma=-1.0))
    model(make_batch(config, [0, 1, 2], seed=1))
    model(make_batch(config, [3, 4, 5], seed=2)).loss.backward()
    for encoder in (model.image_encoder, model.text_encoder):
        assert encoder.pooling.score.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.image_momentum_encoder.parameters())

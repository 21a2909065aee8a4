"""USER as a whole: what the parts of its loss are, what it looks at, and the signs of collapse."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.reference.small import make_batch, small
from userlib.config import Config, ObjectiveConfig
from userlib.data.tokenizers import WordTokenizer
from userlib.errors import UserError
from userlib.model.contrast import gather
from userlib.model.objective import batch_loss
from userlib.model.user import USER, DualEncoder, encoder_weights, save_model
from userlib.training.watching import collapse_metrics


def test_no_process_group():
    """Undistributed, gathering is the identity, gradient included."""
    rows = torch.randn(3, 2, requires_grad=True)
    assert not torch.distributed.is_initialized()
    assert gather(rows) is rows


def test_the_loss_is_weighted_batch_part_and_queue_part():
    config = small(guide_dropout=0.0)
    model, batch = USER(config, ObjectiveConfig(loss_weight=20.0)), make_batch(config, [0, 1, 2])
    output = model(batch)
    torch.testing.assert_close(output.loss.detach(), 20 * output.batch_loss + output.queue_loss)
    scores = output.images @ output.texts.t()
    torch.testing.assert_close(output.batch_loss, batch_loss(model.objective, scores, batch.image_ids))
    assert not output.images.requires_grad and output.loss.requires_grad


def test_without_a_queue_there_is_no_queue_part_and_no_copy():
    config = small(queue_size=None)
    model = USER(config)
    output = model(make_batch(config, [0, 1]))
    assert output.queue_loss is None and not hasattr(model, "image_momentum_encoder")
    torch.testing.assert_close(output.loss.detach(), output.batch_loss)


def test_momentum_positives_only():
    config = small(queue_size=0, guide_dropout=0.0, momentum=0.5)
    model, batch = USER(config), make_batch(config, [0, 1])
    output = model(batch)
    v, t = (
        model.image_momentum_encoder(batch.tokens),
        model.text_momentum_encoder(batch.input_ids, batch.attention_mask),
    )
    log = lambda s: torch.where(s > 0, s.relu().log1p(), s)
    wanted = -(log((output.images * t).sum(1)) + log((output.texts * v).sum(1))).mean()
    torch.testing.assert_close(output.queue_loss, wanted)


def test_during_warm_up_keys_are_enqueued_and_the_queue_part_is_left_out():
    config = small(guide_dropout=0.0)
    objective = ObjectiveConfig(mu=10.0, gamma=-1.0, loss_weight=2.0)
    model = USER(config, objective)
    for step in range(2):
        model(make_batch(config, [2 * step, 2 * step + 1], seed=step), count_queue=False)
    assert model.queue.filled == 4
    model.eval()
    batch = make_batch(config, [10, 11], seed=7)
    quiet, loud = (model(batch, count_queue=count) for count in (False, True))
    assert float(quiet.loss.detach()) == pytest.approx(2.0 * float(quiet.batch_loss))
    assert float(loud.loss.detach()) == pytest.approx(2.0 * float(loud.batch_loss) + float(loud.queue_loss))
    assert float(loud.queue_loss) > 0.1


def test_evaluation_changes_nothing():
    config = small()
    model, batch = USER(config), make_batch(config, [0, 1])
    model(batch)
    model.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(batch)
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value), name


def test_start_sets_strengths_and_copies():
    config = small(enhancement="sge+cge")
    model, batch = USER(config), make_batch(config, [0, 1, 2])
    model.init_from_data(batch.tokens)
    median = batch.tokens.norm(dim=-1).median()
    for strength in model.image_encoder.enhancement.residual_scales().values():
        assert float(strength().detach()) / math.sqrt(5) == pytest.approx(0.1 * float(median), rel=1e-5)
    for a, b in zip(
        model.image_encoder.parameters(), model.image_momentum_encoder.encoder.parameters(), strict=True
    ):
        assert torch.equal(a, b)
    with torch.no_grad():
        model.image_encoder.enhancement.self_scale.log_scale += 50
    model.clamp_residual_scales()
    assert model.image_encoder.enhancement.self_scale.is_clamped()


def test_attention_shows_every_guide_and_the_weights():
    config = small(enhancement="sge+cge")
    model, batch = USER(config).eval(), make_batch(config, [0, 1], mask=True)
    result = model.attention(batch.tokens, batch.token_mask, batch.guide)
    assert set(result) == {"self", "clip", "self weights"}
    torch.testing.assert_close(result["self weights"].sum(1), torch.ones(2))
    torch.testing.assert_close(result["self"].norm(dim=1), torch.ones(2))
    assert all((a[~batch.token_mask] == 0).all() for a in result.values())
    cge = USER(small(enhancement="cge")).attention(batch.tokens, None, batch.guide)
    assert set(cge) == {"clip"}


def test_momentum_must_be_set():
    config = small(momentum=None)
    with pytest.raises(UserError, match="^momentum is not set"):
        USER(config)(make_batch(config, [0, 1]))


def test_averaged_are_the_key_encoders():
    config = small(momentum=0.5)
    model, batch = USER(config), make_batch(config, [0, 1])
    model(batch)
    with torch.no_grad():
        model.image_encoder.projection.linear.weight += 1
    model.update_momentum()
    averaged = model.ema_model()
    assert isinstance(averaged, DualEncoder) and not isinstance(averaged, USER)
    assert torch.equal(averaged.encode_image(batch.tokens), model.image_momentum_encoder(batch.tokens))
    assert torch.equal(
        averaged.encode_text(batch.input_ids, batch.attention_mask),
        model.text_momentum_encoder(batch.input_ids, batch.attention_mask),
    )


def test_the_averaged_model_scores_pairs_by_the_scorer_that_learned():
    model = USER(small(scorer="naaf"))
    with torch.no_grad():
        model.scorer.threshold += 0.3
    draw = torch.Generator().manual_seed(0)
    pair = torch.randn(2, 4, 5, generator=draw), torch.randn(3, 6, 5, generator=draw)
    there = torch.ones(3, 6, dtype=torch.bool)
    assert torch.equal(model.ema_model().scorer(*pair, None, there), model.scorer(*pair, None, there))


def test_a_scorer_that_learned_is_kept_saved_and_read(tmp_path):
    """As the best of a run, and as a model to search with or to train further."""
    config = Config(model=small(scorer="naaf"))
    model, best = USER(config.model), DualEncoder(config.model)
    with torch.no_grad():
        model.scorer.threshold += 0.3
    best.load_state_dict(encoder_weights(model))
    save_model(tmp_path / "model", best, WordTokenizer(["dog"]), config, {})
    for one in (best, *(kind.from_pretrained(tmp_path / "model") for kind in (DualEncoder, USER))):
        assert torch.equal(one.scorer.threshold, model.scorer.threshold)


def test_signs_of_collapse():
    """Effective rank near 1 and cosine near 1 on a line; near the width, and near 0, when they spread."""
    draw = torch.Generator().manual_seed(0)
    line = F.normalize(torch.ones(50, 8) + torch.linspace(0, 0.1, 50).unsqueeze(1) * torch.eye(8)[0], dim=1)
    unpaired, rank = collapse_metrics(line, line)
    assert unpaired > 0.99 and rank < 1.6
    spread = F.normalize(torch.randn(400, 8, generator=draw), dim=1)
    unpaired, rank = collapse_metrics(spread, spread)
    assert abs(unpaired) < 0.02 and rank > 7.5
    pairs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert collapse_metrics(pairs, pairs)[0] == 0.0  # the pairs themselves do not count
    assert collapse_metrics(pairs, pairs.flip(0))[0] == 1.0


def test_steps_lower_the_loss():
    torch.manual_seed(0)
    config = small(enhancement="sge", guide_dropout=0.0)
    model, batch = USER(config, ObjectiveConfig(mu=10.0, gamma=0.0)), make_batch(config, [0, 1, 2, 3])
    model.init_from_data(batch.tokens)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(12):
        output = model(batch)
        losses.append(float(output.batch_loss))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.2

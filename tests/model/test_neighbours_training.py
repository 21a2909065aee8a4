"""What related work adds in training alone: relation graph and soft targets, compared with plain versions, to 1e-9."""

import numpy as np
import pytest
import torch

from tests.model.test_parity import compare
from tests.reference import neighbours as plain
from tests.reference.small import make_batch, shake, small
from userlib.config import Config, DataConfig, ModelConfig, ObjectiveConfig
from userlib.errors import UserError
from userlib.model.neighbours.relation import RelationGraph
from userlib.model.neighbours.soft_targets import soft_target_loss
from userlib.model.neighbours.training import relation_term
from userlib.model.objective import batch_loss
from userlib.model.user import USER

WIDTH, HEADS = 6, 2


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(draw(*shape, seed=seed), dim=-1)


def test_the_relation_graph_equals_its_plain_version():
    module = shake(RelationGraph(WIDTH).double())
    compare(module, lambda part, v, t: torch.cat(part(v, t)), lambda p, v, t: plain.relation(p, v, t, HEADS),
            [unit(3, WIDTH), unit(3, WIDTH, seed=1)], torch.float64)  # fmt: skip


def test_the_relation_graph_starts_as_the_identity():
    module, v, t = RelationGraph(WIDTH).double(), unit(3, WIDTH), unit(3, WIDTH, seed=1)
    torch.testing.assert_close(torch.cat(module(v, t)), torch.cat([v, t]))
    config, ids = ObjectiveConfig(name="hinge-hardest"), torch.arange(3)
    added = module.loss(lambda scores, ids: batch_loss(config, scores, ids), v, t, ids)
    torch.testing.assert_close(added, 3 * batch_loss(config, v @ t.T, ids))
    added.backward()
    assert module.layer.out.weight.grad.abs().max() > 0


def test_another_caption_of_an_image_is_no_negative_of_the_relation_graph():
    """At its start, where it is the identity, its three losses are that of the batch, with the batch's images."""
    config = ObjectiveConfig(name="infonce", relation_weight=0.5)
    v, t, ids = unit(3, WIDTH), unit(3, WIDTH, seed=1), torch.tensor([7, 7, 8])
    result = relation_term(config, RelationGraph(WIDTH).double())(v, t, ids)
    torch.testing.assert_close(result, 1.5 * batch_loss(config, v @ t.T, ids))
    assert abs(float(result - 1.5 * batch_loss(config, v @ t.T, torch.arange(3)))) > 0.01


def test_soft_targets_equal_their_plain_version():
    inputs = [draw(4, WIDTH, seed=seed) for seed in range(2)] + [draw(4, 3, seed=5), draw(4, 2, seed=6)]
    mine, theirs = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
    result = soft_target_loss(*mine, temperature=0.3)
    wanted = plain.soft_targets(*theirs, 0.3)
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-9)
    result.backward(), wanted.backward()
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-9)


def test_a_model_that_is_its_teacher_has_nothing_to_learn():
    v = unit(4, WIDTH)
    assert float(soft_target_loss(v, v, v, v, temperature=0.1)) == pytest.approx(0.0, abs=1e-9)
    assert float(soft_target_loss(v, v, v.flip(0), v, temperature=0.1)) > 0.1
    with pytest.raises(UserError, match="temperature is 0"):
        soft_target_loss(v, v, v, v, temperature=0.0)


def with_teacher(config, ids, seed=0):
    batch = make_batch(config, ids, seed=seed, mask=True)
    batch.caption_guide = draw(len(ids), 6, seed=seed + 9).float()
    return batch


@pytest.mark.parametrize("name", ["relation_weight", "soft_weight"])
def test_each_enters_the_loss_in_training_alone_with_its_weight(name):
    config, losses = small(), {}
    for weight in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        model = USER(config, ObjectiveConfig(**{name: weight}))
        torch.manual_seed(1)
        losses[weight] = float(model(with_teacher(config, [0, 1, 2, 3])).loss.detach())
    assert losses[1.0] - losses[0.0] == pytest.approx(2 * (losses[0.5] - losses[0.0]), rel=1e-3)
    assert abs(losses[1.0] - losses[0.0]) > 1e-3
    model.eval()
    output = model(with_teacher(config, [0, 1, 2, 3]))
    assert float(output.loss) == pytest.approx(float(output.batch_loss + output.queue_loss), rel=1e-5)


def test_both_learn_with_momentum_copies_and_a_queue():
    config = small()
    torch.manual_seed(0)
    model = USER(config, ObjectiveConfig(relation_weight=1.0, soft_weight=0.1))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for step in range(3):
        output = model(with_teacher(config, [4 * step + i for i in range(4)], seed=step))
        output.loss.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        optimizer.step(), optimizer.zero_grad()
    assert model.queue.filled == 6
    assert not any("relation" in name for name in model.image_momentum_encoder.state_dict())


def test_soft_targets_without_a_teacher_are_refused():
    with pytest.raises(UserError, match="soft_weight is 0.1.*--guide"):
        Config(objective=ObjectiveConfig(soft_weight=0.1))
    for guide in ("efficientnet-lite2", "timm:resnet18", "vectors:here"):
        with pytest.raises(
            UserError, match=rf"soft_weight is 0.1 and guide '{guide}', which reads no captions"
        ):
            Config(objective=ObjectiveConfig(soft_weight=0.1), data=DataConfig(guide=guide))
    for guide in ("clip-mini", "open_clip:ViT-B-32/laion2b_s34b_b79k"):
        Config(objective=ObjectiveConfig(soft_weight=0.1), data=DataConfig(guide=guide))
    model = USER(small(), ObjectiveConfig(soft_weight=0.1))
    with pytest.raises(UserError, match="no teacher"):
        model(make_batch(small(), [0, 1]))


def test_a_run_reads_its_teacher_from_the_guide(cache):
    from userlib.config import TrainingConfig
    from userlib.training import fit, prepare

    data = DataConfig(
        data="scenes", sizes={"train": 24, "val": 12, "test": 12}, guide="clip-mini", test_split=None
    )
    config = Config(
        data=data, model=ModelConfig(embed_dim=16, text_width=8, word_width=8, queue_size=None),
        objective=ObjectiveConfig(soft_weight=0.1, relation_weight=0.5),
        training=TrainingConfig(steps=2, batch_size=12, precision="fp32"),
    )  # fmt: skip
    prepared = prepare(config, progress=False)
    rows = np.array([0, 7])
    batch = prepared.train.batch(rows)
    assert batch.caption_guide.shape == batch.guide.shape
    from userlib.search import OpenClipEncoder

    wanted = OpenClipEncoder("clip-mini").encode_text([prepared.train.split.captions[i] for i in rows])
    np.testing.assert_allclose(batch.caption_guide.numpy(), wanted, atol=1e-5)
    run = fit(prepared, progress=False)
    assert run.finished and np.isfinite(run.rows[-1]["loss"])

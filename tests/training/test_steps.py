"""A run step by step against a plain loop: what is drawn, what is clipped, what moves, which encoders come back."""

import copy
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.data.copies import write_clip
from tests.reference.runs import run_config, write_learnable
from userlib.checkpoints import checkpoint_path, read_checkpoint
from userlib.config import TrainingConfig
from userlib.data.captions import CaptionDataset
from userlib.data.tokens import Features
from userlib.errors import UserError
from userlib.model.user import USER, load_model
from userlib.training import fit, loop, prepare, preparing, stopping
from userlib.training.cca_init import cca_init
from userlib.training.preparing import metadata_of
from userlib.training.schedule import batches, make_optimizer, step_seed

CLIP = 0.05  # below the first gradients' norm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def prepared(folder):
    """Everything that may differ from step to step is on: three rates, dropout, both augmentations, a queue."""
    model = {"region_scaling": "standard", "region_channel_dropout": 0.2}
    config = run_config(
        folder, model=model, max_grad_norm=CLIP, caption_augment_prob=0.3, schedule="cosine", seed=3
    )
    return prepare(config, progress=False)


def padded(pairs, count):
    """The same pairs with further regions in each image, which its mask leaves out."""
    tokens = np.asarray(pairs.features.tokens, np.float32)
    n, regions, width = tokens.shape
    mask = np.tile(np.arange(regions + count) < regions, (n, 1))
    there = np.concatenate([tokens, np.full((n, count, width), 1000.0, np.float32)], axis=1)
    return CaptionDataset(pairs.split, Features(tokens=there, mask=mask), pairs.tokenizer)


def test_padded_regions_are_no_part_of_what_is_measured(prepared):
    """Neither of the start that train images give, nor of how far a new image may lie from them."""
    with_padding = replace(
        prepared, **{name: padded(getattr(prepared, name), 3) for name in ("train", "val", "test")}
    )
    wanted, start = (fit(one, stop_at=0, progress=False).model for one in (prepared, with_padding))
    assert "image_encoder.region_norm.center" in wanted.state_dict()
    for key, value in wanted.state_dict().items():
        assert torch.equal(start.state_dict()[key], value), key
    means = [preparing._token_means(one.train) for one in (prepared, with_padding)]
    np.testing.assert_allclose(means[1], means[0], rtol=1e-6)
    pairs = [copy.copy(one.train) for one in (prepared, with_padding)]
    for one in pairs:
        one.features = replace(one.features, hflip=one.features.tokens)
    made = [cca_init(one, 4) for one in pairs]
    np.testing.assert_allclose(made[1].token_map, made[0].token_map, atol=1e-4)


def plain_run(prepared, steps):
    """The same training, written out: model and one row a step."""
    training, train = prepared.config.training, prepared.train
    torch.manual_seed(training.seed)
    model = USER(prepared.config.model, prepared.config.objective)
    model.init_from_data(torch.from_numpy(np.array(train.features.tokens[:256], dtype=np.float32)))
    scales = [p for name, p in model.named_parameters() if name.endswith("log_scale") and p.requires_grad]
    rest = [p for p in model.parameters() if p.requires_grad and all(p is not one for one in scales)]
    groups = [{"params": rest}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=training.lr, weight_decay=training.weight_decay)
    rows = []
    for step in range(steps):
        epoch, place = divmod(step, len(train) // training.batch_size)
        order = np.random.default_rng([training.seed, 1, epoch]).permutation(len(train))
        batch = train.batch(
            order[place * training.batch_size : (place + 1) * training.batch_size],
            rng=np.random.default_rng([training.seed, 2, step, 0]),
            caption_augment_prob=training.caption_augment_prob,
            region_mask_prob=training.region_mask_prob,
        )
        warm = training.warmup * prepared.config.training.steps
        total = prepared.config.training.steps
        factor = (
            (step + 1) / (warm + 1)
            if step < warm
            else 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
        )
        for group, times in zip(optimizer.param_groups, (1.0, 10.0), strict=True):
            group["lr"] = training.lr * factor * times
        torch.manual_seed(step_seed(training.seed, step, 0))
        model.train()
        output = model(batch, count_queue=step >= warm)
        optimizer.zero_grad()
        output.loss.backward()
        gradients = [p.grad for p in [*rest, *scales] if p.grad is not None]
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
        for gradient in gradients:
            gradient.mul_(min(1.0, training.max_grad_norm / norm))
        optimizer.step()
        rows.append(
            {
                "step": step + 1,
                "epoch": (step + 1) / (len(train) // training.batch_size),
                "loss": float(output.loss.detach()),
                "batch_loss": float(output.batch_loss),
                "queue_loss": float(output.queue_loss),
                "lr": training.lr * factor,
                "masked_keys": int(output.masked_keys),
                "grad_norm": norm,
            }
        )
    return model, rows


def test_a_run_is_the_plain_loop(prepared):
    """Weights, momentum weights, queues and the rows, to rounding: order, draws, rates, clipping, updates."""
    run = fit(prepared, stop_at=6, progress=False)
    model, rows = plain_run(prepared, 6)
    result = run.model.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(result[name], value, atol=2e-5, rtol=1e-4, msg=name)
    for row, expected in zip(run.rows, (rows[2], rows[5]), strict=True):
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    assert rows[0]["grad_norm"] > 2 * CLIP  # or clipping would not be tried


def test_gradients_are_clipped_together(prepared, monkeypatch):
    """The largest norm holds for both encoders at once, and no one of them is left out."""
    plain, norms = torch.optim.AdamW.step, []

    def step(self, *arguments, **named):
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in grads)))
        return plain(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    fit(prepared, stop_at=3, progress=False)
    assert norms == pytest.approx([CLIP] * 3, rel=1e-3)
    monkeypatch.undo()
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    norms.clear()
    wide = replace(prepared.config, training=replace(prepared.config.training, max_grad_norm=1e6))
    fit(replace(prepared, config=wide), stop_at=1, progress=False)
    assert norms[0] > 2 * CLIP  # and what is below the limit stays as it is


def test_every_step_trains_in_training_mode(prepared, monkeypatch):
    """Also after an evaluation, which is in evaluation mode and changes no weight."""
    plain, modes = USER.forward, []

    def forward(self, batch, **named):
        modes.append((self.training, self.image_encoder.training, self.text_encoder.training))
        return plain(self, batch, **named)

    monkeypatch.setattr(USER, "forward", forward)
    often = replace(prepared.config, training=replace(prepared.config.training, evaluate_every=0.01))
    run = fit(replace(prepared, config=often), stop_at=3, progress=False)
    assert modes == [(True, True, True)] * 3 and [row["step"] for row in run.rows] == [1, 2, 3]
    assert not run.model.training and not run.encoders.training


RSUMS = {"rises and falls": ([100.0, 300.0, 200.0, 150.0], 1), "ties": ([100.0, 300.0, 300.0, 20.0], 1)}


@pytest.mark.parametrize(
    "shape, averaged, on_disk",
    [("rises and falls", False, False), ("rises and falls", True, True), ("ties", False, True)],
)
def test_the_encoders_of_the_best_evaluation_come_back(
    shape, averaged, on_disk, prepared, tmp_path, monkeypatch
):
    """Where rSum rises and falls: neither the first, nor the last, nor the last of two that are equal."""
    rsums, best = RSUMS[shape]
    seen, real = [], loop.evaluate_now

    def evaluate(encoders, *others):
        seen.append({name: value.clone() for name, value in encoders.state_dict().items()})
        return real(encoders, *others) | {"rsum": rsums[len(seen) - 1]}

    monkeypatch.setattr(loop, "evaluate_now", evaluate)
    config = replace(prepared.config, training=replace(prepared.config.training, use_ema=averaged))
    out = tmp_path / "run" if on_disk else None
    run = fit(replace(prepared, config=config), out=out, progress=False)
    assert [row["rsum"] for row in run.rows] == rsums
    returned = [run.encoders.state_dict()]
    if out is not None:
        returned.append(load_model(out).model.state_dict())
        assert checkpoint_path(out, "best").name == f"best-{int(run.rows[best]['step']):08d}"
        metadata = load_model(out).metadata
        assert (
            metadata["selected"]["rsum"] == rsums[best]
            and metadata["selected"]["step"] == run.rows[best]["step"]
        )
    for state in returned:
        assert len(state) > 20
        for name, value in state.items():
            assert torch.equal(value, seen[best][name]), name
        for other in set(range(4)) - {best}:
            assert any(not torch.equal(value, seen[other][name]) for name, value in state.items())
    assert run.encoders.loaded.metadata["selected"] == run.rows[best]
    # of the encoders that are trained, the last row; where their averages are evaluated, no row is theirs
    assert run.model.loaded.metadata["selected"] == ({} if averaged else run.rows[-1])
    last = run.model.ema_model() if averaged else run.model
    for name, value in last.state_dict().items():
        assert torch.equal(value, seen[-1][name]), name  # the model itself is where it ended


def test_a_resumed_run_knows_its_best_evaluation(prepared, tmp_path, monkeypatch):
    """The best lies before the stop: a later, worse evaluation does not replace it."""
    rsums, real = iter([300.0, 100.0, 200.0, 150.0]), loop.evaluate_now
    monkeypatch.setattr(loop, "evaluate_now", lambda *given: real(*given) | {"rsum": next(rsums)})
    out = tmp_path / "run"
    fit(prepared, out=out, stop_at=6, progress=False)
    before = {k: v.clone() for k, v in read_checkpoint(checkpoint_path(out, "best"))[0].items()}
    run = fit(prepared, out=out, resume=True, progress=False)
    assert checkpoint_path(out, "best").name == "best-00000003"
    for name, value in run.encoders.state_dict().items():
        assert torch.equal(value, before[name])


def test_seconds_add_up_over_sittings(prepared, tmp_path, monkeypatch):
    ticks = iter(range(0, 10_000, 10))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(ticks)))
    first = fit(prepared, out=tmp_path / "run", stop_at=3, progress=False)
    kept = stored_seconds(tmp_path / "run")
    second = fit(prepared, out=tmp_path / "run", resume=True, stop_at=4, progress=False)
    assert 0 < kept <= first.seconds and second.seconds > kept + 5
    assert kept + 5 < stored_seconds(tmp_path / "run") <= second.seconds  # a third sitting begins with these


def stored_seconds(out):
    """What the last checkpoint says of the time that was spent up to it."""
    return read_checkpoint(checkpoint_path(out, "last"))[1]["state"]["seconds"]


def test_a_learnt_strength_stays_in_its_range(folder):
    model = {"region_scaling": "standard"}
    run = fit(prepare(run_config(folder, model=model, lr=5.0, steps=2), progress=False), progress=False)
    strength = run.model.image_encoder.enhancement.self_scale
    assert (strength.log_scale - strength.init_log_scale).abs().item() <= strength.REACH + 1e-6


def test_a_run_begins_with_the_scale_of_its_first_pictures(prepared):
    run = fit(prepared, stop_at=0, progress=False)
    tokens = torch.from_numpy(np.asarray(prepared.train.features.tokens)).float().flatten(0, 1)
    for encoder in (run.model.image_encoder, run.model.image_momentum_encoder.encoder):
        torch.testing.assert_close(encoder.region_norm.center, tokens.mean(0))
        torch.testing.assert_close(encoder.region_norm.spread, tokens.std(0))
    strength = run.model.image_encoder.enhancement.self_scale
    assert strength.log_scale == strength.init_log_scale != 0


GROUNDED = {
    "text": "bag",
    "pooling": "mean",
    "text_pooling": "mean",
    "init": "cca",
    "word_width": 8,
}


def test_a_run_from_a_cca_begins_there(folder):
    prepared = prepare(run_config(folder, model=GROUNDED), progress=False)
    run = fit(prepared, stop_at=0, progress=False)
    words = cca_init(prepared.train, 8).words
    for encoder in (run.model.text_encoder, run.model.text_momentum_encoder.encoder):
        np.testing.assert_allclose(encoder.states.embedding.weight.detach().numpy(), words, atol=1e-6)


def drawn(prepared, steps, *, rank=0, ranks=1, seed=None, **training):
    """The batches of these steps, all of the same captions, so that what is drawn for them alone can differ."""
    settings = replace(prepared.config.training, region_mask_prob=0.3, **training)
    settings = replace(settings, seed=settings.seed if seed is None else seed)
    config = replace(prepared.config, training=settings)
    given = replace(prepared, config=config)
    return [next(iter(batches(given, step, step + 1, rank, ranks))) for step in steps]


@pytest.fixture
def one_order(monkeypatch):
    rows = np.tile(np.arange(16), 2)
    monkeypatch.setattr("userlib.training.schedule.batch_indices", lambda step, count, training: rows)


@pytest.mark.parametrize("by", ["step", "epoch", "rank", "seed"])
def test_augmentation_is_drawn_anew(by, prepared, one_order):
    """By step, by epoch, by process and by seed: captions and regions both."""
    settings = {"caption_augment_prob": 0.5, "batch_size": 32}
    first, other = {
        "step": lambda: drawn(prepared, [0, 1], **settings),
        "epoch": lambda: drawn(prepared, [1, 1 + len(prepared.train) // 32], **settings),
        "rank": lambda: [drawn(prepared, [2], rank=r, ranks=2, **settings)[0] for r in (0, 1)],
        "seed": lambda: [drawn(prepared, [2], seed=s, **settings)[0] for s in (0, 1)],
    }[by]()
    assert torch.equal(first.image_ids, other.image_ids)
    assert first.input_ids.shape != other.input_ids.shape or not torch.equal(first.input_ids, other.input_ids)
    assert not torch.equal(first.token_mask, other.token_mask)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_the_shares_of_the_settings_reach_the_batch(share, prepared, one_order):
    whole = drawn(prepared, [0], caption_augment_prob=0.0, batch_size=32)[0]
    result = drawn(prepared, range(8), caption_augment_prob=share, batch_size=32)
    masked = sum(int((batch.input_ids == 2).sum()) for batch in result)
    words = 8 * int(whole.attention_mask.sum() - 2 * 32)  # less both ends
    assert masked / words == pytest.approx(share / 2, abs=0.04)
    left_out = 1 - torch.cat([batch.token_mask for batch in result]).float().mean()
    assert float(left_out) == pytest.approx(0.3, abs=0.05)


def test_a_thread_that_reads_ahead_leaves_no_step_out(prepared):
    """Every step's batch once, in order, whatever the consumer does meanwhile."""
    result = list(batches(prepared, 2, 9, 0, 1))
    assert len(result) == 7
    for step, batch in zip(range(2, 9), result, strict=True):
        (alone,) = list(batches(prepared, step, step + 1, 0, 1))
        assert torch.equal(batch.input_ids, alone.input_ids) and torch.equal(batch.image_ids, alone.image_ids)


def test_decay_is_decoupled_from_the_gradient(prepared):
    """AdamW: a weight without gradient shrinks by lr * decay a step; Adam with L2 would move it by lr."""
    model = USER(prepared.config.model)
    optimizer = make_optimizer(model, TrainingConfig(lr=0.1, weight_decay=0.5))
    weight = model.image_encoder.projection.linear.weight
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before * (1 - 0.1 * 0.5))
    assert optimizer.defaults["betas"] == (0.9, 0.999) and optimizer.defaults["eps"] == 1e-8


def test_what_extraction_is_asked_for(folder, monkeypatch):
    """Mirrored tokens for training alone; weights, guide and device as the configuration says."""
    asked = []

    def extract(split, **named):
        asked.append((split.name, named))
        raise_after(asked)
        return real(split, tokens=named["tokens"], progress=False)

    def raise_after(calls):
        assert len(calls) <= 3

    real = preparing.extract
    monkeypatch.setattr(preparing, "extract", extract)
    data = {"hflip": True, "token_weights": "w.safetensors", "guide": "clip-mini", "test_split": "test"}
    config = run_config(folder, data=data)
    prepare(config, progress=False)
    assert [name for name, _ in asked] == ["train", "val", "test"]
    assert [named["hflip"] for _, named in asked] == [True, False, False]
    for _, named in asked:
        assert named["tokens"] == "precomputed" and str(named["token_weights"]) == "w.safetensors"
        assert named["guide"] == "clip-mini" and named["progress"] is False


def test_the_splits_of_a_run_are_told_apart(folder):
    prepared = prepare(run_config(folder, data={"test_split": "test"}), progress=False)
    assert [p.split.name for p in (prepared.train, prepared.val, prepared.test)] == [
        "train",
        "val",
        "test",
    ]
    assert prepare(run_config(folder, data={"test_split": None}), progress=False).test is None
    rare = prepare(run_config(folder, data={"min_count": 31}), progress=False).tokenizer
    assert prepared.tokenizer.unknown("kite") == [] and rare.unknown("kite") == ["kite"]


def test_the_held_out_pictures_are_drawn_with_seed_0(folder):
    from userlib.data.sources import load_data
    from userlib.training import splits_of

    config = run_config(folder, data={"val_split": "train:10", "test_split": "val"}, seed=5)
    expected = load_data(str(folder)).hold_out("train", 10, seed=0)
    for name in ("train", "select"):
        assert splits_of(config).split(name).ids == expected.split(name).ids


def test_metadata_holds_the_guides_reach(prepared):
    draw = np.random.default_rng(0)
    guide = (draw.standard_normal((48, 5)) * 3 + 1).astype(np.float32)
    train = prepared.train
    other = replace(train.features, guide=guide)
    given = copy.copy(train)
    given.features = other
    metadata = metadata_of(replace(prepared, train=given), {"rsum": 1.0})
    unit = guide / np.linalg.norm(guide, axis=1)[:, None]
    far = np.sort(np.linalg.norm(unit - unit.mean(0), axis=1))
    assert metadata["guide_mean"] == pytest.approx(unit.mean(0).tolist(), abs=1e-5)
    assert far[-2] <= metadata["guide_limit"] <= far[-1]
    assert metadata["fingerprint"] == prepared.fingerprint and metadata["selected"] == {"rsum": 1.0}
    assert not {"guide_mean", "token_mean"} & set(
        metadata_of(prepared, {})
    )  # precomputed: a new image has no tokens


def test_without_a_guide_metadata_holds_the_tokens_reach(prepared):
    data = replace(prepared.config.data, tokens="region-mini")
    metadata = metadata_of(replace(prepared, config=replace(prepared.config, data=data)), {})
    tokens = np.asarray(prepared.train.features.tokens, np.float32).mean(1)
    unit = tokens / np.linalg.norm(tokens, axis=1)[:, None]
    far = np.sort(np.linalg.norm(unit - unit.mean(0), axis=1))
    assert metadata["token_mean"] == pytest.approx(unit.mean(0).tolist(), abs=1e-5)
    assert far[-2] <= metadata["token_limit"] <= far[-1] and "guide_mean" not in metadata


def test_the_first_interrupt_asks_and_a_later_second_one_ends(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    before = signal.getsignal(signal.SIGINT)
    with stopping.GracefulInterrupt() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        now[0] += 0.9  # the same Ctrl-C, delivered twice
        signal.raise_signal(signal.SIGINT)
        now[0] += 0.2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_ends_after_its_step(number, prepared, tmp_path, monkeypatch):
    real, before = loop.Trainer.step, signal.signal(signal.SIGTERM, lambda *_: None)  # or pytest would end

    def step(self, batch):
        if self.state.step == 3:
            signal.raise_signal(number)
        return real(self, batch)

    monkeypatch.setattr(loop.Trainer, "step", step)
    try:
        run = fit(prepared, out=tmp_path / "run", progress=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not run.finished and checkpoint_path(tmp_path / "run", "last").name == "step-00000004"


def test_another_number_of_processes_is_refused_on_resuming(prepared, tmp_path, monkeypatch):
    out = tmp_path / "run"
    fit(prepared, out=out, stop_at=1, progress=False)
    real = loop.read_checkpoint

    def two(path):
        tensors, documents = real(path)
        assert documents["data"]["processes"] == 1
        return tensors, {**documents, "data": {**documents["data"], "processes": 2}}

    monkeypatch.setattr(loop, "read_checkpoint", two)
    with pytest.raises(UserError, match="has 2 processes and this command 1.*Resume with 2"):
        fit(prepared, out=out, resume=True, progress=False)

    def older(path):
        tensors, documents = real(path)
        return tensors, {**documents, "data": {"fingerprint": documents["data"]["fingerprint"]}}

    monkeypatch.setattr(loop, "read_checkpoint", older)  # a checkpoint that does not say
    fit(prepared, out=out, resume=True, stop_at=2, progress=False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_at_that_step(value, prepared, tmp_path, monkeypatch):
    """Not at the next evaluation, an epoch later."""
    real = loop.Trainer.step

    def step(self, batch):
        output = real(self, batch)
        return replace(output, loss=output.loss * 0 + value) if self.state.step == 5 else output

    monkeypatch.setattr(loop.Trainer, "step", step)
    with pytest.raises(UserError, match=f"the loss is {value} at step 5"):
        fit(prepared, out=tmp_path / "run", progress=False)
    assert checkpoint_path(tmp_path / "run", "last").name == "step-00000003"


EXACT = {"leaky_positive": False}


def shifted(sign):
    """Forward passes whose captions lie on one side of all images."""

    def forward(self, batch, **named):
        output = PLAIN(self, batch, **named)
        images = torch.nn.functional.normalize(torch.rand(len(batch.input_ids), 16) + 0.1, dim=1)
        return replace(output, images=images, texts=sign * images)

    return forward


PLAIN = USER.forward


@pytest.mark.parametrize("objective, sign, refused", [
    ({"leaky_positive": False}, -1, True),
    ({"leaky_positive": False}, 1, False),
    ({"leaky_positive": True}, -1, False),
    ({"leaky_positive": False, "name": "infonce"}, -1, False),
])  # fmt: skip
def test_a_start_without_a_gradient_is_told(objective, sign, refused, folder, tmp_path, monkeypatch):
    """All positives of the first batch below zero, under the original positive term."""
    monkeypatch.setattr(USER, "forward", shifted(sign))
    prepared = prepare(run_config(folder, objective=objective, seed=4), progress=False)
    if not refused:
        assert fit(prepared, stop_at=1, progress=False)
        return
    with pytest.raises(
        UserError,
        match=r"objective.leaky_positive is false and training.seed 4.*objective.leaky_positive=true",
    ):
        fit(prepared, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "run.json").exists()
    monkeypatch.setattr(USER, "forward", PLAIN)
    fit(prepared, out=tmp_path / "run", stop_at=1, progress=False)  # the folder is free


def test_one_positive_above_zero_is_a_start(folder, monkeypatch):
    def forward(self, batch, **named):
        output = shifted(-1)(self, batch, **named)
        texts = output.texts.clone()
        texts[0] = output.images[0]
        return replace(output, texts=texts)

    monkeypatch.setattr(USER, "forward", forward)
    prepared = prepare(run_config(folder, objective={"leaky_positive": False}), progress=False)
    assert fit(prepared, stop_at=2, progress=False)


def test_a_text_tower_of_another_width_is_refused_before_a_token_is_made(folder, tmp_path, monkeypatch):
    clip = f"local-dir:{write_clip(tmp_path / 'clip')}"
    monkeypatch.setattr("userlib.training.preparing.extract", None)
    config = run_config(folder, model={"text": "clip", "text_model": clip, "text_width": 7})
    with pytest.raises(
        UserError, match=r"text_width is 7; the text tower .* has \d+\. Set model\.text_width \d+"
    ):
        prepare(config, progress=False)


def test_a_run_begins_with_the_scale_of_its_first_captions_and_logs_it(folder):
    prepared = prepare(run_config(folder, model={"text_enhancement": "sge"}), progress=False)
    run = fit(prepared, stop_at=0, progress=False)
    for encoder in (run.model.text_encoder, run.model.text_momentum_encoder.encoder):
        strength = encoder.enhancement.self_scale
        assert strength.log_scale == strength.init_log_scale != 0
    row = fit(prepared, stop_at=3, progress=False).rows[-1]
    assert {"scale_words", "residual_words", "scale_words_is_clamped", "scale_self"} <= set(row)

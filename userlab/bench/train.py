"""Training: GPO compared with its sort, a step with the plain step and with its GEMMs, and the cost of a queue."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from userlab.bench import roofline
from userlab.bench.case import Case, Goal
from userlab.bench.gemms import alone, flops, gemms_of
from userlab.bench.op_profile import op_profile
from userlab.bench.reference import PlainGPO, PlainStep
from userlab.bench.timing import clock_of, interleaved
from userlib.config import ModelConfig, ObjectiveConfig, TrainingConfig
from userlib.data.captions import Batch
from userlib.model.objective import queue_loss
from userlib.model.pooling import GPO
from userlib.model.queue import DualQueue
from userlib.model.sorting import descending
from userlib.model.user import USER
from userlib.presets import preset
from userlib.training.memory import keep_freed_memory
from userlib.training.schedule import make_optimizer

FIRST_KEY = 10**6  # the first image id in the queues, above those of the batch


def paper_model(*, tiny: bool = False, queue_size: int = 2048, guide_dropout: float = 0.4) -> ModelConfig:
    """The paper's model: bottom-up attention's 36 regions of 2,048 dimensions, SGE with BatchNorm, a BiGRU for text."""
    small = {
        "regions": 4,
        "region_dim": 12,
        "embed_dim": 8,
        "text_width": 8,
        "word_width": 6,
        "vocab_size": 40,
    }
    paper = {"regions": 36, "region_dim": 2048, "embed_dim": 1024, "text_width": 1024, "word_width": 300}
    sizes: dict[str, int] = small if tiny else {**paper, "vocab_size": 8000}
    return ModelConfig(
        enhancement="sge",
        norm="batch",
        residual_scale=1.0,
        text="gru",
        queue_size=queue_size,
        momentum=0.999,
        guide_dropout=guide_dropout,
        **sizes,  # type: ignore[arg-type]
    )


def random_batch(config: ModelConfig, count: int, *, device: str = "cpu") -> Batch:
    """Non-negative regions, as a detector gives them, and captions of 8 to 24 tokens."""
    draw = torch.Generator().manual_seed(1)
    longest = 24
    lengths = torch.randint(8, longest + 1, (count,), generator=draw)
    lengths[0] = longest
    mask = torch.arange(longest) < lengths.unsqueeze(1)
    input_ids = torch.randint(5, config.vocab_size or 0, (count, longest), generator=draw).masked_fill(
        ~mask, 0
    )
    tokens = torch.rand(count, config.regions or 0, config.region_dim or 0, generator=draw)
    batch = Batch(tokens, None, None, input_ids, mask, torch.arange(count))
    return batch.to(device)


def filled_model(config: ModelConfig, objective: ObjectiveConfig, *, device: str = "cpu") -> USER:
    """A model whose queues are filled with random unit keys of other images."""
    torch.manual_seed(0)
    model = USER(config, objective)
    if model.queue is not None and model.queue.size:
        keys = [
            nn.functional.normalize(torch.randn(model.queue.size, config.embed_dim), dim=1) for _ in range(2)
        ]
        model.queue.enqueue(keys[0], keys[1], torch.arange(model.queue.size) + FIRST_KEY)
    return model.to(device)


class Step:
    """Forward pass, backward pass and update of a library model on one batch, as in `fit`."""

    def __init__(self, model: USER, batch: Batch, *, half: bool = False) -> None:
        self.model, self.batch, self.half = model, batch, half
        self.training = TrainingConfig()
        self.optimizer = make_optimizer(model, self.training)

    def __call__(self) -> float:
        self.model.train()
        with torch.autocast(self.batch.tokens.device.type, torch.bfloat16, enabled=self.half):
            output = self.model(self.batch)
        output.loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.clamp_residual_scales()
        return float(output.loss.detach())


def plain_step(model: USER, batch: Batch) -> Callable[[], float]:
    """The reference step, which starts from the model's weights."""
    t = TrainingConfig()
    plain = PlainStep(model, lr=t.lr, weight_decay=t.weight_decay, max_grad_norm=t.max_grad_norm)
    return lambda: plain.step(batch)


def largest_difference(*, tiny: bool) -> float:
    """The largest difference between the losses of the library and of the reference over three steps from the same
    weights, without dropout.
    """
    config = paper_model(tiny=tiny, guide_dropout=0.0, queue_size=32 if tiny else 2048)
    batch = random_batch(config, 8 if tiny else 32)
    model = filled_model(config, PAPER)
    theirs = plain_step(model, batch)
    ours = Step(model, batch)
    return max(abs(ours() - theirs()) for _ in range(3))


PAPER = ObjectiveConfig(leaky_positive=False, loss_weight=1.0)


def cases(*, tiny: bool, device: str) -> Iterator[Case | dict[str, Any]]:
    """GPO, the step in fp32 and bf16, and the queue's cost in the preset scenes and at the paper's shapes."""
    if device == "cpu":
        keep_freed_memory()
    yield _gpo(tiny)
    config = paper_model(tiny=tiny, queue_size=32 if tiny else 2048)
    batch = random_batch(config, 8 if tiny else 128)
    shapes = (
        f"batch {len(batch.tokens)}, {config.regions} x {config.region_dim}, BiGRU {config.text_width}, "
        f"K {config.queue_size:,}"
    )
    ours = Step(filled_model(config, PAPER), batch)
    noted = gemms_of(ours)
    shared: dict[str, Any] = {
        "group": "train",
        "shapes": shapes,
        "reference": plain_step(ours.model, batch),
        "reference_is": "the plain step, fp32",
        "flops": flops(noted),
    }
    yield Case(
        name="training step, fp32",
        ours=ours,
        limit=alone(noted),
        limit_is="its matrix products alone",
        goals=(Goal("limit", 1.25), Goal("reference", 1.0)),
        differs=lambda: largest_difference(tiny=tiny),
        notes=lambda: {f"{name}, %": share for name, share in op_profile(ours).items()},
        **shared,
    )
    if roofline.has_bf16():
        half = Step(ours.model, batch, half=True)
        yield Case(
            name="training step, bf16",
            ours=half,
            limit=alone(gemms_of(half)),
            limit_is="its matrix products alone",
            half=True,
            goals=(Goal("reference", 1 / 1.5),),
            **shared,
        )
    else:
        yield {"group": "train", "case": "training step, bf16", "skipped": "this processor has no bf16"}
    yield from _queue(tiny)


def _gpo(tiny: bool) -> Case:
    count, regions, width = (4, 5, 6) if tiny else (128, 36, 1024)
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(count, regions, width, generator=draw).requires_grad_()
    torch.manual_seed(0)
    pool, plain = GPO(), PlainGPO()
    plain.load_state_dict(pool.state_dict())
    there = torch.ones(count, regions, dtype=torch.bool)

    def sort() -> torch.Tensor:
        return descending(vectors)

    def notes() -> dict[str, Any]:
        times = interleaved(
            {"torch": lambda: vectors.detach().transpose(1, 2).contiguous().sort(-1, descending=True), "ours": sort},
            runs=2 if tiny else 10,
        )  # fmt: skip
        ms = {name: 1e3 * statistics.median(readings.of(clock_of("cpu"))) for name, readings in times.items()}
        return {"torch.sort_ms": ms["torch"], "sort_ms": ms["ours"]}

    return Case(
        group="train",
        name="GPO forward",
        shapes=f"{count} x {regions} x {width}",
        ours=lambda: pool(vectors),
        reference=lambda: plain(vectors, there),
        reference_is="weights computed per set, torch.sort",
        limit=sort,
        limit_is="its sort alone",
        moved=8 * vectors.numel(),
        goals=(Goal("limit", 1.3),),
        differs=lambda: float((pool(vectors) - plain(vectors, there)).detach().abs().max()),
        notes=notes,
    )


def _queue(tiny: bool) -> Iterator[Case]:
    base = preset("scenes")
    sizes = {"regions": 4, "region_dim": 8, "embed_dim": 8, "text_width": 8, "word_width": 8} if tiny else {}
    known = {"regions": 64, "region_dim": 192, "vocab_size": 433, "momentum": 0.99}
    config = replace(base.model, **{**known, **sizes})  # type: ignore[arg-type]
    batch = random_batch(config, 8 if tiny else base.training.batch_size)
    long = 16 if tiny else 4096
    steps = {
        size: Step(filled_model(replace(config, queue_size=size), base.objective), batch)
        for size in (None, 0, long)
    }

    def notes() -> dict[str, Any]:
        times = interleaved({"none": steps[None], "zero": steps[0]}, runs=2 if tiny else 10)
        none, zero = (statistics.median(times[name].of(clock_of("cpu"))) for name in ("none", "zero"))
        return {"no_queue_ms": 1e3 * none, "momentum_encoders_over_no_queue": zero / none}

    yield Case(
        group="train",
        name=f"a queue of {long:,}",
        shapes=f"scenes preset, batch {len(batch.tokens)}",
        ours=steps[long],
        reference=steps[0],
        reference_is="K = 0, momentum positives only",
        goals=(Goal("reference", 1.3),),
        notes=notes,
    )
    count, embed_dim = (4, 8) if tiny else (128, 1024)
    sizes_of_queue = (8, 16) if tiny else (4096, 16_384, 65_536)
    yield Case(
        group="train",
        name=f"queue part, {sizes_of_queue[-1]:,} keys",
        shapes=f"batch {count}, E {embed_dim}, L_q with gradient and enqueueing",
        ours=_queue_part(sizes_of_queue[-1], count, embed_dim),
        reference=_queue_part(sizes_of_queue[0], count, embed_dim),
        reference_is=f"{sizes_of_queue[0]:,} keys",
        moved=2 * 2 * 4 * embed_dim * sizes_of_queue[-1],
        notes=lambda: _linear(sizes_of_queue, count, embed_dim, runs=2 if tiny else 10),
    )


def _queue_part(size: int, count: int, embed_dim: int) -> Callable[[], object]:
    torch.manual_seed(0)
    queue = DualQueue(size, embed_dim)
    unit = [nn.functional.normalize(torch.randn(max(size, count), embed_dim), dim=1) for _ in range(2)]
    queue.enqueue(unit[0], unit[1], torch.arange(len(unit[0])) + FIRST_KEY)
    v, t = (x[:count].clone().requires_grad_() for x in unit)
    ids = torch.arange(count)

    def step() -> None:
        ignore_mask = queue.ignore_mask(ids)
        positive = (v * t).sum(1)
        loss = queue_loss(
            ObjectiveConfig(), positive, positive, v @ queue.texts.t(), t @ queue.images.t(), ignore_mask
        )
        loss.backward()
        queue.enqueue(v.detach(), t.detach(), ids + FIRST_KEY)

    return step


def _linear(sizes: tuple[int, ...], count: int, embed_dim: int, *, runs: int) -> dict[str, Any]:
    """Microseconds per key at each size; equal values mean that the cost is proportional to K."""
    times = interleaved({str(size): _queue_part(size, count, embed_dim) for size in sizes}, runs=runs)
    clock = clock_of("cpu")
    return {
        f"us_a_key_at_{size}": 1e6 * statistics.median(times[str(size)].of(clock)) / size for size in sizes
    }

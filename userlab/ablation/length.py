"""The long studies: 16,000 images, 2,000 steps (4,000 with a batch of 32), each variant with tuned settings.

Short runs order models by how fast they learn at first. Here a run lasts until it hardly improves
(`userlab.ablation.rules`); the same variants at 200 and 600 steps, `NAME@200` and `NAME@600`, show how the order
changes. Each length is a run of its own with its own schedule, with the settings tuned at full length.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from userlab.ablation.variants import HEADLINE, Knob, Study, Variant

STEPS, SHORT, FEW = 2000, (200, 600), 3  # FEW: seeds of variants that are not headline ones
SMALL_STEPS = (
    4000  # with a batch of 32, where rSum on val still grew by 1.4 to 2.0 % per quarter after 2,000 steps
)
KNOBS = (
    Knob(setting="training.lr", start=2e-3),
    Knob(setting="training.max_grad_norm", start=0.5, factor=4.0),
)
TRAIN = 16_000


def _base(train: int = TRAIN) -> dict[str, Any]:
    return {"data": {"sizes": {"train": train, "val": 500, "test": 1000}}, "training": _evaluated(train)}


def _evaluated(train: int, batch: int = 128, steps: int = STEPS) -> dict[str, Any]:
    """Sixteen evaluations per run, whatever the length of an epoch."""
    return {"evaluate_every": round(steps / 16 / (train * 5 / batch), 4)}


def _study(
    name: str, question: str, variants: dict[str, Variant], reference: str, *, pairs: Any = ()
) -> Study:
    return Study(
        name=name, question=question, variants=variants, reference=reference, pairs=tuple(pairs), base=_base(),
        steps=STEPS, knobs=KNOBS,
    )  # fmt: skip


def _at_lengths(variants: dict[str, Variant], names: Iterable[str]) -> dict[str, Variant]:
    """The variants, and those of `names` also at the lengths in SHORT, with the settings of the long runs."""
    made = dict(variants)
    for name in names:
        for steps in SHORT:
            own = variants[name]
            training = {**own.changes.get("training", {}), "steps": steps}
            made[f"{name}@{steps}"] = replace(
                own, label=f"{own.label}, {steps} steps", changes={**own.changes, "training": training},
                seeds=FEW, tuned_as=own.tuned_as or name, scores=None,
            )  # fmt: skip
    return made


def objective() -> Study:
    """Objectives, each with its own learning rate, clipping and further settings."""
    choice: dict[str, tuple[str, dict[str, Any], tuple[Knob, ...]]] = {
        "uto": (
            "UTO, leaky", {"name": "uto"},
            (
                Knob(setting="objective.mu", start=30.0),
                Knob(setting="objective.gamma", start=0.3, factor=1.5, high=0.95),
            ),
        ),
        "hinge-sum": ("hinge, sum", {"name": "hinge-sum"}, (Knob(setting="objective.margin", start=0.2),)),
        "hinge-hardest": (
            "hinge, hardest", {"name": "hinge-hardest"}, (Knob(setting="objective.margin", start=0.2),),
        ),
        "infonce": ("InfoNCE", {"name": "infonce"}, (Knob(setting="objective.temperature", start=0.05),)),
    }  # fmt: skip
    variants = {
        name: Variant(label=label, changes={"objective": settings}, seeds=HEADLINE, knobs=knobs)
        for name, (label, settings, knobs) in choice.items()
    }
    variants["uto-original"] = Variant(
        label="UTO, original", changes={"objective": {"name": "uto", "leaky_positive": False}}, seeds=FEW,
        tuned_as="uto",
    )  # fmt: skip
    return _study(
        "long-objective",
        "Is UTO the better objective, each tuned and trained to its end?",
        _at_lengths(variants, ("uto", "hinge-sum", "hinge-hardest", "infonce")),
        "hinge-sum",
        pairs=[("uto", "infonce"), ("uto", "hinge-hardest"), ("uto", "uto-original")],
    )


def queue() -> Study:
    """Queue sizes at two batch sizes, with controls for the weight of the batch loss."""
    variants: dict[str, Variant] = {}
    for batch in (128, 32):
        mark = "" if batch == 128 else f"{batch}-"
        steps = STEPS if batch == 128 else SMALL_STEPS
        training = {"batch_size": batch, "steps": steps, **_evaluated(TRAIN, batch, steps)}
        for size in (None, 256, 2048, 8192):
            name = f"{mark}{'absent' if size is None else size}"
            words = "no queue" if size is None else f"queue of {size:,}"
            variants[name] = Variant(
                label=f"batch {batch}, {words}", changes={"model": {"queue_size": size}, "training": training},
                seeds=HEADLINE if size in (None, 2048) else FEW,
                tuned_as=None if size in (None, 2048) else f"{mark}2048",
            )  # fmt: skip
        for name in ("absent", "2048"):
            own = variants[f"{mark}{name}"]
            variants[f"{mark}{name}-weight-20"] = replace(
                own, label=f"{own.label}, batch loss times 20", seeds=FEW,
                changes={**own.changes, "objective": {"loss_weight": 20.0}},
            )  # fmt: skip
    long = ("absent", "2048", "32-absent", "32-2048")
    pairs = [(f"32-{size}", "32-absent") for size in (256, 2048, 8192)]
    pairs += [(f"{m}2048-weight-20", f"{m}absent-weight-20") for m in ("", "32-")] + [("8192", "256")]
    pairs += [(f"32-2048@{steps}", f"32-absent@{steps}") for steps in SHORT]
    return _study(
        "long-queue",
        "Do more negatives help, at which batch size, and after how many steps?",
        _at_lengths(variants, long),
        "absent",
        pairs=pairs,
    )


def enhancement() -> Study:
    """SGE and CGE with two poolings."""
    variants: dict[str, Variant] = {}
    for pooling, words in (("gpo", "GPO"), ("mean", "mean pooling")):
        for kind in ("none", "sge", "cge", "sge+cge"):
            guide = "cge" in kind
            name = kind if pooling == "gpo" else f"{kind}-{pooling}"
            label = "no enhancement" if kind == "none" else kind.upper().replace("+", " + ")
            variants[name] = Variant(
                label=f"{label}, {words}", changes={"model": {"enhancement": kind, "pooling": pooling}},
                seeds=HEADLINE if pooling == "gpo" else FEW, needs_guide=guide,
                scores="none+scores" if name == "none" else None,
            )  # fmt: skip
    pairs = [(f"{kind}-mean", "none-mean") for kind in ("sge", "cge", "sge+cge")] + [("cge", "none+scores")]
    pairs += [("none", "none-mean")]
    return _study(
        "long-enhancement",
        "Do SGE and CGE help at length, and does pooling matter to that?",
        _at_lengths(variants, ("none", "sge", "cge")),
        "none",
        pairs=pairs,
    )


def guide() -> Study:
    """CGE with the image's own vector, with random weights, and with another image's vector."""
    labels = {
        "informed": "CGE, the image's own vector",
        "random": "CGE, random weights",
        "mismatched": "CGE, another image's vector",
    }
    variants = {
        f"cge-{name}": Variant(
            label=label, changes={"model": {"enhancement": "cge"}}, guide=name, needs_guide=True, seeds=FEW,
            tuned_as=None if name == "informed" else "cge-informed",
        )
        for name, label in labels.items()
    }  # fmt: skip
    return _study(
        "long-guide",
        "Is CGE's gain its guide's knowledge, at length?",
        variants,
        "cge-mismatched",
        pairs=[("cge-informed", "cge-random")],
    )


def momentum() -> Study:
    """How slowly the key encoders follow, and whether the query's own image is masked in the queue."""
    variants = {
        f"{m:g}": Variant(
            label=f"m = {m:g}, half-life {half} steps", changes={"model": {"momentum": m}}, seeds=FEW,
            tuned_as=None if m == 0.99 else "0.99",
        )
        for m, half in ((0.99, "69"), (0.0, "0"), (0.9, "7"), (0.999, "693"))
    }  # fmt: skip
    variants["unmasked"] = replace(
        variants["0.99"], label="keys of the query's own image count as negatives", tuned_as="0.99",
        changes={"model": {"momentum": 0.99}, "objective": {"mask_same_image": False}},
    )  # fmt: skip
    return _study(
        "long-momentum", "How slowly should the key encoders follow, and is masking needed?", variants, "0.99"
    )


def images() -> Study:
    """How many training images there are, with and without a queue."""
    variants: dict[str, Variant] = {}
    for count in (1_000, 4_000, TRAIN):
        for size, words in ((None, "no queue"), (2048, "queue of 2,048")):
            name = f"{count}-{'absent' if size is None else 'queue'}"
            variants[name] = Variant(
                label=f"{count:,} training images, {words}", changes={**_base(count), "model": {"queue_size": size}},
                seeds=FEW, tuned_as=None if count == TRAIN else f"{TRAIN}-{'absent' if size is None else 'queue'}",
            )  # fmt: skip
    return _study(
        "long-images",
        "How many training images does each part need?",
        variants,
        f"{TRAIN}-absent",
        pairs=[(f"{count}-queue", f"{count}-absent") for count in (1_000, 4_000, TRAIN)],
    )


LONG = (objective, queue, enhancement, guide, momentum, images)

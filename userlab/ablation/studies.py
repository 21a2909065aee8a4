"""The studies, and the variants that each compares. The base of those on drawn scenes is the preset `scenes`: SGE, GPO,
a queue of 2,048 and UTO; each study varies one part of it.
"""

import types
from collections.abc import Mapping
from typing import Any

from userlab.ablation.length import LONG
from userlab.ablation.variants import EXPLORATORY, HEADLINE, Knob, Study, Variant
from userlib.config import to_json
from userlib.errors import UserError
from userlib.presets import preset


def _model(label: str, *, seeds: int = EXPLORATORY, **settings: Any) -> Variant:
    """A variant that changes settings of the model."""
    guide = "cge" in str(settings.get("enhancement", ""))
    return Variant(label=label, changes={"model": settings}, seeds=seeds, needs_guide=guide)


def _guided(label: str, guide: str) -> Variant:
    return Variant(
        label=label,
        changes={"model": {"enhancement": "cge"}},
        guide=guide,
        seeds=HEADLINE,
        needs_guide=True,
    )


NONE = Variant(
    label="no enhancement",
    changes={"model": {"enhancement": "none"}},
    seeds=HEADLINE,
    scores="none+scores",
)
SGE = _model("SGE", enhancement="sge", seeds=HEADLINE)
CGE = _model("CGE", enhancement="cge", seeds=HEADLINE)


def _enhancement() -> Study:
    variants = {"none": NONE, "sge": SGE, "cge": CGE}
    variants["sge+cge"] = _model("SGE + CGE", enhancement="sge+cge", seeds=HEADLINE)
    for name in ("sge", "cge", "sge+cge"):
        variants[f"{name}-fixed"] = _model(
            f"{variants[name].label}, residual scale 1", enhancement=name, residual_scale=1.0
        )
    for scaling, words in (("raw", "raw regions"), ("unit", "unit regions")):
        for name in ("none", "sge", "cge"):
            label = f"{variants[name].label}, {words}"
            variants[f"{name}-{scaling}"] = _model(label, enhancement=name, region_scaling=scaling)
    for name in ("sge", "cge"):  # as in the paper
        label = f"{variants[name].label}, residual scale 1, raw regions"
        variants[f"{name}-fixed-raw"] = _model(
            label, enhancement=name, region_scaling="raw", residual_scale=1.0
        )
    pairs = [("cge", "none+scores")]
    for scaling, names in (("raw", ("sge", "cge", "sge-fixed", "cge-fixed")), ("unit", ("sge", "cge"))):
        pairs += [(f"{name}-{scaling}", f"none-{scaling}") for name in names]
    return Study(
        name="enhancement",
        question="Do SGE and CGE help, and at which residual scale?",
        variants=variants,
        reference="none",
        pairs=tuple(pairs),
    )


def _guide() -> Study:
    return Study(
        name="guide",
        question="Is CGE's gain knowledge of CLIP's, or capacity?",
        variants={
            "none": NONE,
            "cge": _guided("CGE, the image's own vector", "informed"),
            "cge-random": _guided("CGE, random weights", "random"),
            "cge-mismatched": _guided("CGE, another image's vector", "mismatched"),
            "vector-added": Variant(
                label="CLIP's vector added to the pooled embedding",
                changes={"model": {"enhancement": "none", "add_guide": True}},
                needs_guide=True,
            ),
        },
        reference="none",
        pairs=(
            ("cge", "cge-random"),
            ("cge", "cge-mismatched"),
            ("cge", "none+scores"),
            ("cge", "vector-added"),
        ),
    )


def _queue() -> Study:
    variants = {"absent": _model("no queue", queue_size=None, seeds=HEADLINE)}
    variants["0"] = _model("momentum positives only", queue_size=0)
    for size in (256, 2048, 4096):
        variants[str(size)] = _model(f"queue of {size:,}", queue_size=size, seeds=HEADLINE)
    variants["24000"] = _model("queue of 24,000, beyond an epoch", queue_size=24_000)
    for name in ("absent", "256", "2048", "4096"):
        variants[f"{name}-weight-20"] = Variant(
            label=f"{variants[name].label}, batch loss times 20",
            changes={**variants[name].changes, "objective": {"loss_weight": 20.0}},
        )
    # A weight of 20 with clipped gradients acts like clipping at a 20th: does this explain its gain?
    variants["absent-clip"] = Variant(
        label="no queue, gradients clipped at a 20th",
        changes={"model": {"queue_size": None}, "training": {"max_grad_norm": 0.1}},
    )
    return Study(
        name="queue",
        question="Do more negatives help?",
        variants=variants,
        reference="absent",
        pairs=(
            ("2048", "0"),
            ("4096", "256"),
            ("256-weight-20", "absent-weight-20"),
            ("2048-weight-20", "absent-weight-20"),
            ("4096-weight-20", "256-weight-20"),
            ("absent-weight-20", "absent-clip"),
        ),
    )


def _masking() -> Study:
    return Study(
        name="masking",
        question="Does it matter that other captions of the query's own image are no negatives?",
        variants={
            f"{name}-2048": Variant(
                label=f"same-image keys {name}, queue of 2,048",
                changes={"model": {"queue_size": 2048}, "objective": {"mask_same_image": name == "masked"}},
            )
            for name in ("masked", "unmasked")
        },
        reference="masked-2048",
    )


def _momentum() -> Study:
    variants = {"rule": _model("m from the run's length", queue_size=2048)}
    for m, half in ((0.0, "0"), (0.9, "7"), (0.97, "23"), (0.99, "69"), (0.999, "693")):
        variants[f"{m:g}"] = _model(f"m = {m:g}, half-life {half} steps", momentum=m)
    return Study(
        name="momentum",
        question="How slowly should the key encoders follow?",
        variants=variants,
        reference="rule",
    )


def _objective() -> Study:
    choice: dict[str, tuple[str, dict[str, Any]]] = {
        "uto": ("UTO, leaky", {"name": "uto", "leaky_positive": True}),
        "uto-exact": ("UTO, original", {"name": "uto", "leaky_positive": False}),
        "hinge-sum": ("hinge, sum", {"name": "hinge-sum"}),
        "hinge-hardest": ("hinge, hardest", {"name": "hinge-hardest"}),
        "infonce": ("InfoNCE", {"name": "infonce"}),
    }
    return Study(
        name="objective",
        question="Is UTO the better objective, each at its own learning rate?",
        variants={
            name: Variant(label=label, changes={"objective": settings}, seeds=HEADLINE)
            for name, (label, settings) in choice.items()
        },
        reference="hinge-sum",
        pairs=(("uto", "infonce"), ("uto", "uto-exact")),
        knobs=(Knob(setting="training.lr", start=1e-3),),
    )


def _batch() -> Study:
    variants = {}
    queues = (("absent", None, "no queue"), ("queue", 2048, "queue of 2,048"))
    for name, size, words in queues:
        for batch in (32, 128, 256):
            variants[f"{batch}-{name}"] = Variant(
                label=f"batch {batch}, {words}",
                changes={"model": {"queue_size": size}, "training": {"batch_size": batch}},
            )
        for count in (1_000, 16_000):
            variants[f"train-{count}-{name}"] = Variant(
                label=f"{count:,} training images, {words}",
                changes={
                    "model": {"queue_size": size},
                    "data": {"sizes": {"train": count, "val": 500, "test": 1_000}},
                },
            )
    pairs = [(f"{batch}-queue", f"{batch}-absent") for batch in (32, 128, 256)]
    pairs += [(f"train-{count}-queue", f"train-{count}-absent") for count in (1_000, 16_000)]
    return Study(
        name="batch",
        question="Do more negatives help where batches are small, or data plenty?",
        variants=variants,
        reference="128-absent",
        pairs=tuple(pairs),
    )


def _pooling() -> Study:
    variants = {name: _model(f"{words} pooling", pooling=name) for name, words in
             (("mean", "mean"), ("max", "max"), ("gpo", "GPO"))}  # fmt: skip
    return Study(
        name="pooling", question="How should regions be pooled?", variants=variants, reference="mean"
    )


def _world() -> Study:
    plain = {"name": "hinge-sum"}
    simple: dict[str, Any] = {
        "enhancement": "none", "queue_size": None, "pooling": "mean", "text_pooling": "mean",
    }  # fmt: skip

    def variant(label: str, model: dict[str, Any], objective: dict[str, Any] = plain, **more: Any) -> Variant:
        guide = "cge" in str(model.get("enhancement"))
        changes = {"model": {**simple, **model}, "objective": objective}
        return Variant(label=label, changes=changes, seeds=HEADLINE, needs_guide=guide, **more)

    full = {"enhancement": "sge+cge", "queue_size": 2048, "pooling": "gpo", "text_pooling": "gpo"}
    return Study(
        name="world",
        question="What does each part bring to the plain model, and what all of them?",
        variants={
            "baseline": variant("baseline: mean pooling, summed hinge", {}, scores="baseline+scores"),
            "sge": variant("+ SGE", {"enhancement": "sge"}),
            "cge": variant("+ CGE", {"enhancement": "cge"}),
            "queue": variant("+ queue of 2,048", {"queue_size": 2048}),
            "uto": variant("+ UTO", {}, {"name": "uto"}),
            "full": variant("full: SGE + CGE, GPO, queue, UTO", full, {"name": "uto"}),
            "clip": Variant(label="clip-mini, zero-shot", kind="zero-shot", seeds=1),
        },
        reference="baseline",
        pairs=(("cge", "baseline+scores"), ("full", "clip")),
        steps=600,
    )


def _photos() -> Study:
    def variant(label: str, **changes: dict[str, Any]) -> Variant:
        return Variant(label=label, changes=changes, seeds=3)

    return Study(
        name="photos",
        question="On photos: what does leaving one part out cost?",
        variants={
            "full": variant("SGE + queue of 2,048 + UTO", model={"queue_size": 2048}),
            "none": variant("no enhancement", model={"queue_size": 2048, "enhancement": "none"}),
            # without a queue there are no momentum encoders, whose EMA weights could be evaluated
            "absent": variant("no queue", model={"queue_size": None}, training={"use_ema": False}),
            "hinge": variant("hinge, sum", model={"queue_size": 2048}, objective={"name": "hinge-sum"}),
            "infonce": variant("InfoNCE", model={"queue_size": 2048}, objective={"name": "infonce"}),
        },
        reference="full",
        base={  # the preset as it was when the stored runs were made
            "data": {"hflip": True},
            "model": {
                "region_scaling": "standard",
                "principal_dim": None,
                "text_width": 256,
                "word_width": 256,
            },
            "training": {"region_mask_prob": 0.2, "region_sample": None},
        },
        preset="photos",
        steps=300,  # a third of the preset's: less than ten minutes with two runs at a time
    )


def _photo_guide() -> Study:
    """The controls of the study `guide` on photos, with a guide that has no text encoder."""

    def variant(label: str, guide: str = "informed", scores: str | None = None, **model: Any) -> Variant:
        needs_guide = "cge" in model["enhancement"] or "add_guide" in model
        return Variant(
            label=label,
            changes={"model": model},
            guide=guide,
            scores=scores,
            needs_guide=needs_guide,
            seeds=3,
        )

    return Study(
        name="photo-guide",
        question="Can CGE be guided by a network without any text: MobileNet tokens guided by EfficientNet's pooled "
        "vector?",
        variants={
            "none": variant("no enhancement", scores="none+scores", enhancement="none"),
            "sge": variant("SGE", enhancement="sge"),
            "cge": variant("CGE, the image's own vector", enhancement="cge"),
            "cge-random": variant("CGE, random weights", guide="random", enhancement="cge"),
            "cge-mismatched": variant("CGE, another image's vector", guide="mismatched", enhancement="cge"),
            "vector-added": variant(
                "EfficientNet's vector added to the pooled embedding", enhancement="none", add_guide=True
            ),
        },
        reference="none",
        pairs=tuple(
            ("cge", name) for name in ("sge", "cge-random", "cge-mismatched", "vector-added", "none+scores")
        ),
        preset="photos",
        steps=None,
        guide="efficientnet-lite2",
        fused="EfficientNet",
    )


def _neighbours() -> Study:
    """Every variant is the plain model with one thing changed, under one loss: InfoNCE over the batch."""

    def variant(label: str, *, guide: bool = False, **changes: dict[str, Any]) -> Variant:
        return Variant(label=label, changes=changes, seeds=3, needs_guide=guide)

    def scorer(label: str, kind: str, **objective: Any) -> Variant:
        return variant(label, model={"scorer": kind}, objective=objective)

    variants = {"mean": variant("mean pooling")}
    for name, label in (("gpo", "GPO"), ("esa", "ESA"), ("views", "multi-view")):
        variants[name] = variant(f"{label} pooling", model={"pooling": name, "text_pooling": name})
    for name, label in (("sge", "SGE"), ("graph", "region graph (VSRN)"), ("route", "routed cells (DIME)")):
        variants[name] = variant(label, model={"enhancement": name})
    variants["concepts"] = variant(
        "concepts (CVSE)", model={"enhancement": "concepts", "text_enhancement": "concepts"}
    )
    variants["relation"] = variant("relation graph in training (HREM)", objective={"relation_weight": 1.0})
    variants["soft"] = variant("soft targets of clip-mini (CUSA)", guide=True, objective={"soft_weight": 0.1})
    for name, label in (
        ("chan", "CHAN"),
        ("scan-t2i", "SCAN t2i"),
        ("scan-i2t", "SCAN i2t"),
        ("naaf", "NAAF"),
    ):
        variants[name] = scorer(f"{label}, all pairs", name)
    variants["chan-mined"] = scorer("CHAN, trained on mined negatives", "chan", scorer_negatives=8)
    return Study(
        name="neighbours",
        question="What else could stand where SGE, GPO and the dot product stand, and at which cost?",
        variants=variants,
        reference="mean",
        pairs=(("gpo", "esa"), ("sge", "graph"), ("chan", "gpo"), ("chan-mined", "chan")),
        base={
            "model": {
                "enhancement": "none", "pooling": "mean", "text_pooling": "mean", "queue_size": None, "init": "random",
            },
            "objective": {"name": "infonce", "scorer_loss": "infonce"},
            "training": {"use_ema": False},
        },
        steps=1500,
        knobs=(
            Knob(setting="training.lr", start=1e-3),
            Knob(setting="training.max_grad_norm", start=2.0, factor=4.0),
        ),
        costs=True,
    )  # fmt: skip


def _photo_recipes() -> Study:
    """Both presets for photos, the contribution of each part, and baselines without training."""
    text, words = to_json(preset("photos-text")), to_json(preset("photos"))
    apart = {
        part: {key: value for key, value in words[part].items() if value != text[part][key]}
        for part in ("model", "objective", "training")
    }

    def of_words(label: str, **changes: Any) -> Variant:
        changed = {part: {**settings, **changes.get(part, {})} for part, settings in apart.items()}
        return Variant(label=label, changes=changed, seeds=3)

    def baseline(label: str, kind: str) -> Variant:
        return Variant(label=label, kind=kind, seeds=1)

    return Study(
        name="photo-recipes",
        question="On photos: what do both presets reach, what does each part bring, and what does CCA reach without "
        "any training?",
        variants={
            "cca-words": baseline("CCA of TF-IDF", "cca-words"),
            "cca-sentences": baseline("CCA of sentence vectors", "cca-sentences"),
            "cca-both": baseline("CCA of both", "cca-both"),
            "words": of_words("photos: BiGRU"),
            "words-no-sge": of_words("photos, no enhancement", model={"enhancement": "none"}),
            "words-no-queue": of_words(
                "photos, no queue", model={"queue_size": None}, training={"use_ema": False}
            ),
            "words-prior": Variant(
                label="photos, words start from a text encoder's vectors",
                changes=apart | {"model": {k: v for k, v in apart["model"].items() if k != "text_model"}},
                seeds=3,
            ),
            "text": Variant(label="photos-text: pretrained text encoder, frozen", seeds=3),
            "text-lora": Variant(
                label="photos-text, trained by LoRA",
                changes={"model": {"train_text": "lora"}},
                seeds=1,
            ),
            "text-trained": Variant(
                label="photos-text, its last two layers trained",
                changes={"model": {"train_text": "last:2"}, "training": {"text_lr_scale": 0.3}},
                seeds=3,
            ),
        },
        reference="cca-words",
        pairs=(
            ("text", "cca-both"),
            ("words", "cca-both"),
            ("text", "words"),
            ("words-prior", "words"),
            ("words-no-sge", "words"),
            ("words-no-queue", "words"),
            ("text-lora", "text"),
            ("text-trained", "text"),
        ),
        preset="photos-text",
        steps=None,
    )


def _towers() -> Study:
    """The image tower trained from pixels with USER, compared with USER on frozen tokens and with the tower alone."""
    own = {"text": "clip", "text_model": "clip-mini", "text_width": 128}
    user = {"enhancement": "sge+cge", **own}
    alone = {
        "enhancement": "none",
        "pooling": "tower",
        "text_pooling": "tower",
        "embed_dim": 128,
        "queue_size": None,
    }
    pixels = {"train_image": "all"}
    return Study(
        name="towers",
        question="Does USER on frozen tokens, or on a trained tower, beat the tower fine-tuned without regions?",
        variants={
            "zero-shot": Variant(label="clip-mini, zero-shot", kind="zero-shot", seeds=1),
            "fine-tuned": Variant(
                label="clip-mini fine-tuned, without regions",
                changes={
                    "model": {**own, **alone, **pixels},
                    "objective": {"name": "infonce", "temperature": 0.05},
                    "training": {"region_mask_prob": 0.0},
                },
                seeds=3,
            ),
            "frozen": Variant(
                label="frozen tokens + USER", changes={"model": user}, seeds=3, needs_guide=True
            ),
            "trained": Variant(
                label="trained tower + USER", changes={"model": {**user, **pixels}}, seeds=3, needs_guide=True
            ),
        },
        reference="zero-shot",
        pairs=(("frozen", "fine-tuned"), ("trained", "fine-tuned"), ("trained", "frozen")),
        base={
            "data": {
                "tokens": "clip-mini",
                "keep_pixels": True,
                "workers": 1,
                "sizes": {"train": 16_000, "val": 500, "test": 1000},
            },
            "training": {
                "text_lr_scale": 0.1,
                "image_lr_scale": 0.1,
                "caption_augment_prob": 0.1,
                "evaluate_every": 0.25,
            },
        },
        steps=900,
        knobs=(Knob(setting="training.lr", start=4e-3),),
    )


def _all() -> dict[str, Study]:
    makers = (
        _enhancement, _guide, _queue, _masking, _momentum, _objective, _batch, _pooling, _world, _photos,
        _photo_recipes, _photo_guide, _neighbours, _towers, *LONG,
    )  # fmt: skip
    return {study.name: study for study in (make() for make in makers)}


STUDIES: Mapping[str, Study] = types.MappingProxyType(_all())
LEDGER = ("enhancement", "guide", "queue", "masking", "momentum", "objective", "batch", "pooling")


def study_named(name: str) -> Study:
    """The study of that name. Raises UserError, which lists the names, for an unknown one."""
    if name not in STUDIES:
        raise UserError(f"There is no study {name!r}; choose one of {', '.join(STUDIES)}.")
    return STUDIES[name]

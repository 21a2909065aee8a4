"""Which settings are valid, and which fit each other: what is allowed for each name, and the errors for all else.

The parts of a configuration are those of userlib.config, which applies these rules whenever one is made.
"""

import json
import math
import os
import typing
from functools import cache
from typing import Any

from userlib.arguments import at_least, between, fits, in_words, not_negative, one_of, plain, positive
from userlib.errors import UserError

ENHANCEMENTS = ("none", "sge", "cge", "sge+cge", "graph", "route", "concepts")
TEXT_ENHANCEMENTS = ("none", "sge", "graph", "route", "concepts")
POOLINGS = ("mean", "max", "gpo", "esa", "views", "tower")
OBJECTIVES = ("uto", "hinge-sum", "hinge-hardest", "infonce")
TEXTS = ("bag", "gru", "bert", "hf", "clip")
NORMS = ("layer", "batch")
SCALINGS = ("raw", "unit", "standard", "principal", "root")
WEIGHT_INITS = ("torch", "xavier")
INITS = ("random", "cca")
SCORERS = ("dot", "chan", "scan-t2i", "scan-i2t", "naaf")
SCORER_LOSSES = ("hinge-hardest", "infonce", "hinge-hardest+infonce")


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """The type of each setting of a dataclass."""
    return typing.get_type_hints(kind)


def check_trained(name: str, how: str) -> None:
    """Raises UserError for anything but none, last:N, lora or all."""
    kind, _, count = how.partition(":")
    if how not in ("none", "lora", "all") and not (kind == "last" and count.isdecimal() and int(count) > 0):
        raise UserError(f"{name} is {how!r}; it must be none, last:N (such as last:2), lora or all.")


def check_types(part: Any) -> None:
    """Raises UserError for a value whose type is not that of its setting: it could not be restored from JSON."""
    kind: type = type(part)
    for name, hint in hints_of(kind).items():
        value = plain(getattr(part, name))
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not fits(value, hint):
            said = f"of the type {type(value).__name__}" if hasattr(value, "__array__") else repr(value)
            raise UserError(f"{name} is {said}; it must be {in_words(hint)}.")
        object.__setattr__(part, name, value)  # a number of numpy's has become Python's, a path its name


def _is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def check_model(model: Any) -> None:
    """Raises UserError for an invalid setting of the model, and for settings that do not fit each other."""
    check_types(model)
    one_of("enhancement", model.enhancement, ENHANCEMENTS)
    one_of("norm", model.norm, NORMS)
    one_of("weight_init", model.weight_init, WEIGHT_INITS)
    one_of("pooling", model.pooling, POOLINGS)
    one_of("text_pooling", model.text_pooling, POOLINGS)
    one_of("text", model.text, TEXTS)
    one_of("region_scaling", model.region_scaling, SCALINGS)
    one_of("init", model.init, INITS)
    one_of("scorer", model.scorer, SCORERS)
    one_of("text_enhancement", model.text_enhancement, TEXT_ENHANCEMENTS)
    if isinstance(model.residual_scale, str):
        one_of("residual_scale", model.residual_scale, ("learned",))
    else:
        not_negative("residual_scale", model.residual_scale)
    if model.queue_size is not None and model.queue_size < 0:
        raise UserError(
            f"queue_size is {model.queue_size}; it must be none (no queue) or a whole number from 0 up."
        )
    for name in ("guide_dropout", "region_channel_dropout", "word_dropout", "text_dropout", "embed_dropout"):
        between(name, getattr(model, name), 0.0, 0.95)
    if model.momentum is not None:
        between("momentum", model.momentum, 0.0, 1.0)
    for name in ("embed_dim", "text_width", "word_width"):
        at_least(name, getattr(model, name), 2)
    check_trained("train_text", model.train_text)
    check_trained("train_image", model.train_image)
    if model.pooling == "tower" and (
        model.train_image == "none" or model.enhancement != "none" or model.add_guide
    ):
        raise UserError(
            f"pooling is 'tower', train_image {model.train_image!r}, enhancement {model.enhancement!r} and add_guide "
            f"{str(model.add_guide).lower()}; a tower's own vector needs a trained tower, without regions to enhance. "
            "Set model.train_image all, enhancement none and add_guide false, or pooling gpo."
        )
    if model.text_pooling == "tower" and (model.text != "clip" or model.text_enhancement != "none"):
        raise UserError(
            f"text_pooling is 'tower', text {model.text!r} and text_enhancement {model.text_enhancement!r}; only a "
            "text tower of CLIP has a vector of its own, which has no words to enhance. Set model.text clip and "
            "text_enhancement none, or text_pooling gpo."
        )
    if model.train_image != "none" and model.init == "cca":
        raise UserError(
            f"init is 'cca' and train_image {model.train_image!r}; a CCA needs tokens that do not change. Use init "
            "random, or train_image none."
        )
    for name in ("text_layers", "text_heads", "num_concepts", "lora_rank"):
        at_least(name, getattr(model, name), 1)
    for name in ("image_tower", "text_config"):
        if (given := getattr(model, name)) is not None and not _is_object(given):
            raise UserError(
                f"{name} is {given[:80]!r}; it must be a JSON object. Leave it null: a run fills it in."
            )
    for name in ("regions", "region_dim", "principal_dim", "guide_dim", "vocab_size"):
        if getattr(model, name) is not None:
            at_least(name, getattr(model, name), 1)
    not_negative("inverse_temperature", model.inverse_temperature)
    if model.text == "bert" and model.text_width % model.text_heads:
        raise UserError(
            f"text_width is {model.text_width} and text_heads {model.text_heads}; for text 'bert' text_width must be a "
            "multiple of text_heads."
        )
    if (model.principal_dim is None) == (model.region_scaling in ("principal", "root")):
        raise UserError(
            f"region_scaling is {model.region_scaling!r} and principal_dim {model.principal_dim}; only principal and "
            "root have a principal_dim, and they need one."
        )
    if model.region_scaling == "root" and model.train_image != "none":
        raise UserError(
            f"region_scaling is 'root' and train_image {model.train_image!r}; a root has no finite gradient at zero, "
            "so no tower can be trained through it. Set model.region_scaling principal, or train_image none."
        )
    if model.init == "cca" and model.text != "bag" and not model.word_residual:
        raise UserError(
            f"init is 'cca' and word_residual false; text {model.text!r} uses the word vectors of the CCA only by "
            "word_residual. Set model.word_residual true."
        )
    if model.text_model is not None and model.text in ("bag", "gru") and model.init != "cca":
        raise UserError(
            f"text_model is {model.text_model!r}, text {model.text!r} and init {model.init!r}; word vectors can start "
            "from a text encoder only by a CCA. Set model.init cca, or leave text_model out."
        )
    if model.init == "cca" and model.region_scaling == "unit":
        raise UserError(
            "init is 'cca' and region_scaling 'unit'; the CCA is linear in the tokens. Use raw or standard."
        )
    if model.init == "cca" and model.word_width > model.embed_dim:
        raise UserError(
            f"init is 'cca', word_width {model.word_width} and embed_dim {model.embed_dim}; word vectors are the first "
            "dimensions of the embedding. Use a word_width of at most embed_dim."
        )
    for name in ("pooling", "text_pooling"):
        if model.init == "cca" and getattr(model, name) != "mean":
            raise UserError(
                f"init is 'cca' and {name} {getattr(model, name)!r}; the CCA reads mean tokens and mean words. Set "
                f"model.{name} mean."
            )
    if model.word_dropout > 0 and model.text not in ("bag", "gru") and not model.word_residual:
        raise UserError(
            f"word_dropout is {model.word_dropout} and text {model.text!r}, which has no word vectors. Use "
            "text_dropout, or set model.word_residual true."
        )
    if model.word_residual and model.text == "bag":
        raise UserError(
            "word_residual is true and text 'bag', which has only word vectors. Set model.word_residual false."
        )
    if model.text == "clip" and model.text_model is None:
        raise UserError(
            "text is 'clip' and text_model is not set; name an open_clip model, such as clip-mini."
        )
    if model.text == "hf" and model.text_model is None and model.text_config is None:
        raise UserError(
            "text is 'hf' and text_model is not set; name an encoder of transformers, such as bert-base-uncased, or a "
            "folder that holds one."
        )


def check_objective(objective: Any) -> None:
    """Raises UserError for an invalid setting of the objective."""
    check_types(objective)
    one_of("objective", objective.name, OBJECTIVES)
    for name in ("mu", "temperature"):
        positive(name, getattr(objective, name))
    one_of("scorer_loss", objective.scorer_loss, SCORER_LOSSES)
    at_least("scorer_negatives", objective.scorer_negatives, 0)
    weights = ("loss_weight", "diversity_weight", "relation_weight", "soft_weight", "scorer_weight")
    for name in ("margin", *weights):
        not_negative(name, getattr(objective, name))
    if not math.isfinite(objective.gamma):
        raise UserError(f"gamma is {objective.gamma}; it must be a finite number.")


def check_training(training: Any) -> None:
    """Raises UserError for an invalid setting of the training."""
    check_types(training)
    one_of("schedule", training.schedule, ("cosine", "step", "constant"))
    one_of("precision", training.precision, ("auto", "fp32", "bf16"))
    for name in ("caption_augment_prob", "region_mask_prob"):
        between(name, getattr(training, name), 0.0, 0.95)
    between("random_crop", training.random_crop, 0.01, 1.0)
    for name in ("warmup", "step_at"):
        between(name, getattr(training, name), 0.0, 1.0)
    if not 0 <= training.seed < 2**63:
        raise UserError(f"seed is {training.seed}; it must be a whole number from 0 up, below 2**63.")
    if training.batch_size < 2:
        raise UserError(
            f"batch_size is {training.batch_size}; it must be at least 2, since a single pair has no negatives."
        )
    at_least("steps", 1 if training.steps is None else training.steps, 1)
    at_least("region_sample", 1 if training.region_sample is None else training.region_sample, 1)
    at_least("epochs", training.epochs, 1)
    for name in ("lr", "max_grad_norm", "evaluate_every"):
        positive(name, getattr(training, name))
    if training.micro_batch is not None and (
        training.micro_batch < 1 or training.batch_size % training.micro_batch
    ):
        raise UserError(
            f"micro_batch is {training.micro_batch} and batch_size {training.batch_size}; micro_batch must divide "
            f"batch_size, such as {max(d for d in range(1, training.batch_size) if training.batch_size % d == 0)}."
        )
    for name in ("weight_decay", "text_lr_scale", "image_lr_scale"):
        not_negative(name, getattr(training, name))


def check(config: Any) -> None:
    """Raises UserError for settings of different parts that do not fit each other."""
    model, objective, training = config.model, config.objective, config.training
    not_negative("gamma", objective.gamma)  # below 0 every key counts, which is allowed for a loss by itself
    if training.use_ema and model.queue_size is None:
        raise UserError(
            "use_ema is true and queue_size none, without which there are no momentum encoders to evaluate; use "
            "queue_size 0 or more, or use_ema false."
        )
    if model.queue_size == 0 and objective.name != "uto" and not training.use_ema:
        raise UserError(
            f"queue_size is 0 and objective {objective.name!r}, whose queue loss is always 0 without negatives. Use "
            "queue_size none or from 1 up, or objective uto."
        )
    if model.norm == "batch" and training.region_sample is not None:
        raise UserError(
            f"norm is 'batch' and region_sample {training.region_sample}; BatchNorm over the positions needs all of "
            "them. Use region_sample none, or norm layer."
        )
    if model.norm == "batch" and training.region_mask_prob > 0:
        raise UserError(
            f"norm is 'batch' and region_mask_prob {training.region_mask_prob}; masked regions would enter BatchNorm's "
            "statistics. Use region_mask_prob 0, or norm layer."
        )
    if objective.scorer_negatives and model.scorer == "dot":
        raise UserError(
            f"scorer_negatives is {objective.scorer_negatives} and scorer 'dot', which has no negatives to choose. Use "
            "--scorer chan, or scorer_negatives 0."
        )
    if objective.soft_weight > 0 and config.data.guide is None:
        raise UserError(
            f"soft_weight is {objective.soft_weight} and there is no guide, whose network gives the soft targets; give "
            "--guide, such as clip-mini."
        )
    guide = config.data.guide or ""
    if objective.soft_weight > 0 and guide != "clip-mini" and not guide.startswith("open_clip:"):
        raise UserError(
            f"soft_weight is {objective.soft_weight} and guide {guide!r}, which reads no captions; soft targets need a "
            "network for images and captions. Use --guide clip-mini or open_clip:NAME, or soft_weight 0."
        )
    if config.data.vocabulary is not None and (model.text_model is None or model.text not in ("bag", "gru")):
        raise UserError(
            f"vocabulary is {config.data.vocabulary}, text {model.text!r} and text_model {model.text_model!r}; further "
            "words are only for a bag or a gru, and come from a text encoder. Name it by --set model.text_model=NAME, "
            "or leave vocabulary out."
        )
    if model.norm == "batch" and training.micro_batch is not None:
        raise UserError(
            f"norm is 'batch' and micro_batch {training.micro_batch}; BatchNorm would compute its statistics from each "
            "part of a batch, which changes the model. Use norm layer, or no micro_batch."
        )
    if model.scorer != "dot" and training.micro_batch is not None:
        raise UserError(
            f"scorer is {model.scorer!r} and micro_batch {training.micro_batch}; cross-attention needs regions and "
            "words, which gradient caching does not keep. Use scorer dot, or no micro_batch."
        )
    if model.scorer != "dot" and "tower" in (model.pooling, model.text_pooling):
        raise UserError(
            f"scorer is {model.scorer!r} and a pooling 'tower'; a tower's own vector has no regions or words for "
            "cross-attention. Use scorer dot, or another pooling."
        )
    if "views" in (model.pooling, model.text_pooling) and training.micro_batch is not None:
        raise UserError(
            f"pooling is 'views' and micro_batch {training.micro_batch}; the diversity of views, a part of the loss, "
            "cannot be computed from vectors. Use another pooling, or no micro_batch."
        )
    if model.train_image != "none" and training.region_sample is not None:
        raise UserError(
            f"region_sample is {training.region_sample} and train_image {model.train_image!r}; a trained tower makes "
            "all its regions. Use region_mask_prob."
        )
    if model.train_image != "none" and config.data.tokens == "precomputed":
        raise UserError(
            f"train_image is {model.train_image!r} and tokens 'precomputed'; a tower is trained from pixels. Name its "
            "network by --tokens, such as timm:mobilenetv1_100, or use --train-image none."
        )
    needs_guide = "cge" in model.enhancement or model.add_guide
    if needs_guide and config.data.guide is None:
        raise UserError(
            f"enhancement {model.enhancement!r} needs a guide vector; give --guide, such as clip-mini."
        )


def check_used(config: Any) -> None:
    """Raises UserError for a setting without effect on a tower's own vector. It is called only before a training, so
    that stored runs with such a setting can still be loaded.
    """
    model = config.model
    image, text = model.pooling == "tower", model.text_pooling == "tower"
    for name, value, unused, where in (
        ("model.region_channel_dropout", model.region_channel_dropout, image, "pooling"),
        ("training.region_mask_prob", config.training.region_mask_prob, image, "pooling"),
        ("model.text_dropout", model.text_dropout, text, "text_pooling"),
        ("model.word_residual", model.word_residual, text, "text_pooling"),
        ("model.embed_dropout", model.embed_dropout, image and text, "pooling and text_pooling"),
    ):
        if unused and value > 0:
            given, without = ("true", "false") if value is True else (value, 0)
            raise UserError(
                f"{name} is {given} and {where} 'tower'; it has no effect on a tower's own vector. Set {name} "
                f"{without}, or {where} gpo."
            )


def check_data(data: Any) -> None:
    """Raises UserError for an invalid setting of the data, and where selection and report use the same split."""
    check_types(data)
    at_least("min_count", data.min_count, 1)
    at_least("vocabulary", 1 if data.vocabulary is None else data.vocabulary, 1)
    at_least("workers", data.workers or 0, 0)
    name, colon, count = data.val_split.partition(":")
    if not name or (colon and not (count.isdecimal() and int(count) > 0)):
        raise UserError(
            f"val_split is {data.val_split!r}; it must be a split's name, or SPLIT:COUNT such as train:500."
        )
    if data.test_split == ("select" if colon else name):
        raise UserError(
            f"test_split is {data.test_split!r}, on which the epoch is also selected, so its scores would be too high. "
            "Use another split, or --val-split train:500."
        )

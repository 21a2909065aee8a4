"""The settings of a run: four frozen dataclasses, their JSON, and the presets.

Everything that changes a result is here and is stored with every checkpoint and every result. Where a comment says so,
`None` in `ModelConfig` means "derived from the data when the run starts"; the stored configuration has it filled in.
"""

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from userlib import legacy
from userlib.arguments import fits, in_words, plain
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


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data, tokens and splits."""

    data: str = "scenes"  # scenes | pretrain | a folder | a hub name such as owner/name
    pictures: str | None = None  # the folder of the images, where data has only features or annotations
    sizes: Mapping[str, int] | None = None  # use the first n images of a split, such as {"train": 1000}
    # region-mini | clip-mini | efficientnet-lite2[-wide] | timm:NAME | open_clip:NAME[/WEIGHTS] | precomputed
    tokens: str = "region-mini"
    token_weights: str | None = None  # a .safetensors file with a JSON file of the same stem next to it
    hflip: bool = False  # also make tokens of the flipped images; training draws one of the two at random
    # for a trained tower: store the images at its input size on disk; else they are decoded at each step
    keep_pixels: bool = False
    workers: int | None = None  # processes that decode for a trained tower; none: one per core, at most 8
    # the vector for CGE: clip-mini | efficientnet-lite2 | open_clip:NAME[/WEIGHTS] | timm:NAME | timm:FILE |
    # vectors:FOLDER
    guide: str | None = None
    min_count: int = 1  # rarer words of the train captions are unknown
    # bag and gru: total number of words; those that train lacks are from text_model's vocabulary
    vocabulary: int | None = None
    val_split: str = "val"  # the split that selects the epoch; train:500 holds 500 images of train out for it
    test_split: str | None = None  # the split that is scored once, at the end; none: no report

    def __post_init__(self) -> None:
        check_data(self)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model. Symbols as in the paper: R regions of D dimensions, a guide of G, embeddings of E dimensions."""

    regions: int | None = None  # R, derived from the data; fixed only where norm is "batch"
    region_dim: int | None = None  # D, derived from the data
    guide_dim: int | None = None  # G, derived from the data
    embed_dim: int = 1024  # E
    enhancement: str = "none"  # none | sge | cge | sge+cge | graph | route | concepts
    num_concepts: int = 128  # words of the train captions, for enhancement concepts
    norm: str = "layer"  # layer | batch (the paper's: over the R positions, so that R is fixed)
    # torch (its defaults) | xavier (the paper's: uniform, zero biases; the linear maps of SGE and of the projection)
    weight_init: str = "torch"
    region_scaling: str = "raw"  # raw | unit | standard | principal | root; see RegionNorm in model/layers.py
    principal_dim: int | None = None  # components, for region_scaling principal and root; at most D
    residual_scale: float | str = "learned"  # s in V' = V + s a g; the paper: 1
    inverse_temperature: float = 1.0  # lambda inside the softmax
    guide_dropout: float = 0.4  # in the two branches of SGE
    region_channel_dropout: float = 0.0  # drops the same channels of V in all regions of an image
    add_guide: bool = False  # adds a projection of the guide to the pooled image (a control for CGE)
    # of regions: mean | max | gpo | esa | views; tower: the trained tower's own vector, without regions
    pooling: str = "gpo"
    # none (tokens are made once) | last:N | lora | all: which part of the tokens' network is trained, from pixels
    train_image: str = "none"
    # settings of that network as JSON, derived from data.tokens
    image_tower: str | None = None
    text: str = "gru"  # bag | gru | bert | hf (any encoder of transformers) | clip
    # pretrained weights: a transformers or open_clip name, or a folder; for bag and gru with init cca, an encoder whose
    # vectors of single words the CCA also reads
    text_model: str | None = None
    # hf: the encoder's configuration as JSON, derived from text_model
    text_config: str | None = None
    text_width: int = 1024  # hidden width of the text network; hf: derived, as are the two below
    text_layers: int = 1
    text_heads: int = 12  # bert and hf
    # all | last:N | lora | none: which part of the text network is trained; projection and pooling always are
    train_text: str = "all"
    lora_rank: int = 8  # rank of the adapters, for train_text or train_image lora
    word_width: int = 300  # dimensions of a word vector, bag and gru
    word_residual: bool = False  # concatenates each word's own vector to its state
    # random | cca: word vectors and both projections start in closed form (training/cca_init.py)
    init: str = "random"
    word_dropout: float = 0.0  # of dimensions of the word vectors, bag and gru
    text_dropout: float = 0.0  # of dimensions of the word states, before their projection
    text_enhancement: str = "none"  # of words: none | sge | graph | route | concepts
    text_pooling: str = "gpo"  # of words, as pooling; tower: CLIP's own vector of the text
    embed_dropout: float = 0.0  # of dimensions of the pooled vectors, before normalisation
    # dot | chan | scan-t2i | scan-i2t | naaf: cross-attention that is trained in addition to the embeddings
    scorer: str = "dot"
    vocab_size: int | None = None  # derived from the data
    queue_size: int | None = 2048  # K; 0: momentum positives only; None: no queue, L_q absent
    momentum: float | None = None  # m; None: from the run's length, max(0, min(0.999, 1 - 20 / steps))

    def __post_init__(self) -> None:
        check_model(self)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The objective: loss_weight * L_b + L_q."""

    name: str = "uto"  # uto | hinge-sum | hinge-hardest | infonce
    mu: float = 90.0  # uto: steepness
    gamma: float = 0.5  # uto: the similarity from which on a negative counts
    # uto: the positive term has a gradient at and below zero similarity; False: the paper's exact term
    leaky_positive: bool = True
    margin: float = 0.2  # hinge
    temperature: float = 0.05  # infonce, and soft targets
    loss_weight: float = 1.0  # of the batch loss; the paper: 20 (Flickr30K), 1 (COCO)
    mask_same_image: bool = True  # other captions of the matching image are no negatives
    diversity_weight: float = 0.1  # of the penalty that keeps the views of pooling "views" apart
    relation_weight: float = 0.0  # of the relation graph's losses, in training only; 0: no relation graph
    soft_weight: float = 0.0  # of soft targets from the guide's network, at `temperature`; 0: none
    scorer_weight: float = 1.0  # of the scorer's loss, where there is a scorer
    scorer_loss: str = "hinge-hardest+infonce"  # hinge-hardest | infonce | hinge-hardest+infonce
    scorer_negatives: int = 0  # negatives of each query, the hardest by the embeddings; 0: all of the batch

    def __post_init__(self) -> None:
        check_objective(self)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The training loop."""

    steps: int | None = None  # overrides epochs
    epochs: int = 10
    batch_size: int = 128  # over all processes
    lr: float = 5e-4
    text_lr_scale: float = 1.0  # factor on lr for a pretrained text network (the paper: 0.1)
    image_lr_scale: float = 1.0  # factor on lr for a trained image tower
    weight_decay: float = 1e-4
    max_grad_norm: float = 2.0  # gradients of a larger norm are clipped
    schedule: str = "cosine"  # cosine | step (x 0.1 after the share step_at of the run) | constant
    step_at: float = 0.5
    warmup: float = 0.05  # share of the run with a rising learning rate, in which L_q is left out of the loss
    caption_augment_prob: float = 0.2  # share of tokens masked, replaced or deleted
    region_mask_prob: float = 0.0  # share of regions masked
    region_sample: int | None = None  # regions of an image that a step reads, drawn at each step; None: all
    random_crop: float = 0.5  # of pixels: the least share of the area that a random crop keeps; 1: no crop
    # at the end, interpolate pretrained weights between start and end; the share is chosen on val_split
    interpolate: bool = False
    micro_batch: int | None = None  # pairs encoded at a time (gradient caching): less memory, the same loss
    use_ema: bool = False  # evaluate and keep the momentum encoders, not the query encoders
    evaluate_every: float = 1.0  # in epochs
    precision: str = "auto"  # auto (bf16 where the hardware supports it) | fp32 | bf16
    seed: int = 0

    def __post_init__(self) -> None:
        check_training(self)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        _check_types(self)
        check(self)


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises UserError, which lists the allowed values, for any other value."""
    if value not in allowed:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raises UserError for a number below `low` or above `high`."""
    if not low <= value <= high:
        raise UserError(f"{name} is {value}; it must lie between {low} and {high}.")


def at_least(name: str, value: int, low: int) -> None:
    """Raises UserError for a number below `low`."""
    if value < low:
        raise UserError(f"{name} is {value}; it must be a whole number from {low} up.")


def positive(name: str, value: float) -> None:
    """Raises UserError for a number that is not above 0, infinite or nan."""
    if not 0 < value < math.inf:
        raise UserError(f"{name} is {value}; it must be above 0.")


def not_negative(name: str, value: float) -> None:
    """Raises UserError for a number that is below 0, infinite or nan."""
    if not 0 <= value < math.inf:
        raise UserError(f"{name} is {value}; it must be a number from 0 up.")


def check_trained(name: str, how: str) -> None:
    """Raises UserError for anything but none, last:N, lora or all."""
    kind, _, count = how.partition(":")
    if how not in ("none", "lora", "all") and not (kind == "last" and count.isdecimal() and int(count) > 0):
        raise UserError(f"{name} is {how!r}; it must be none, last:N (such as last:2), lora or all.")


def _check_types(part: Any) -> None:
    """Raises UserError for a value whose type is not that of its setting: it could not be restored from JSON."""
    kind: type = type(part)
    for name, hint in _hints(kind).items():
        value = plain(getattr(part, name))
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not fits(value, hint):
            raise UserError(f"{name} is {value!r}; it must be {in_words(hint)}.")
        object.__setattr__(part, name, value)  # a number of numpy's has become Python's, a path its name


def _is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def check_model(model: ModelConfig) -> None:
    """Raises UserError for an invalid setting of the model, and for settings that do not fit each other."""
    _check_types(model)
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


def check_objective(objective: ObjectiveConfig) -> None:
    """Raises UserError for an invalid setting of the objective."""
    _check_types(objective)
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


def check_training(training: TrainingConfig) -> None:
    """Raises UserError for an invalid setting of the training."""
    _check_types(training)
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


def check(config: Config) -> None:
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


def check_used(config: Config) -> None:
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


def check_data(data: DataConfig) -> None:
    """Raises UserError for an invalid setting of the data, and where selection and report use the same split."""
    _check_types(data)
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


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values."""
    return dataclasses.asdict(config)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def from_json(kind: type, values: Any, *, where: str = "configuration") -> Any:
    """The dataclass `kind` from JSON values. Raises UserError for an unknown key, a wrong type and an invalid value."""
    if not isinstance(values, dict):
        raise UserError(f"the {where} is a {type(values).__name__}; it must be a JSON object.")
    hints = _hints(kind)
    for key in sorted(set(values) - set(hints)):
        if key in legacy.SETTINGS.get(where, {}):
            raise UserError(
                f"the {where} has the key {key!r}, which is now {legacy.SETTINGS[where][key]!r}; use that name."
            )
        raise UserError(f"the {where} has the unknown key {key!r}; known are {', '.join(hints)}.")
    given: dict[str, Any] = {}
    for key, value in values.items():
        if dataclasses.is_dataclass(hints[key]):
            given[key] = from_json(typing.cast(type, hints[key]), value, where=key)
        elif fits(value, hints[key]):
            given[key] = value
        else:
            raise UserError(f"{key!r} in the {where} is {value!r}; it must be {in_words(hints[key])}.")
    return kind(**given)


def _presets() -> dict[str, Config]:
    clip = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    patches = Config(
        data=DataConfig(
            data="umaru97/flickr30k_train_val_test",
            tokens=clip,
            guide=clip,
            val_split="val",
            test_split="test",
        ),
        model=ModelConfig(
            enhancement="sge+cge",
            text="clip",
            text_model=clip.removeprefix("open_clip:"),
            text_width=512,
            embed_dim=1024,
        ),
        training=TrainingConfig(epochs=10, lr=2e-4, text_lr_scale=0.05),
    )
    paper_model = ModelConfig(
        regions=36,
        region_dim=2048,
        embed_dim=1024,
        enhancement="sge",
        norm="batch",
        weight_init="xavier",
        residual_scale=1.0,
        text="bert",
        text_model="bert-base-uncased",
        text_width=768,
        text_layers=12,
        queue_size=2048,
        momentum=0.999,
    )
    paper = Config(
        data=DataConfig(data="path/to/features", tokens="precomputed", val_split="val", test_split="test"),
        model=paper_model,
        objective=ObjectiveConfig(leaky_positive=False, loss_weight=20.0),
        training=TrainingConfig(
            epochs=20, lr=5e-4, text_lr_scale=0.1, schedule="step", step_at=0.5, warmup=0.0, precision="fp32"
        ),
    )
    photos = Config(
        data=DataConfig(
            data="path/to/photos",
            tokens="efficientnet-lite2-wide",
            val_split="train:500",
            min_count=2,
        ),
        model=ModelConfig(
            enhancement="sge",
            embed_dim=512,
            region_scaling="root",
            principal_dim=512,
            region_channel_dropout=0.3,
            pooling="mean",
            text_width=192,
            word_width=256,
            init="cca",
            word_residual=True,
            word_dropout=0.1,
            text_dropout=0.3,
            text_pooling="mean",
            embed_dropout=0.1,
        ),
        objective=ObjectiveConfig(mu=30.0, gamma=0.4, loss_weight=4.0),
        training=TrainingConfig(
            epochs=2, lr=1e-4, warmup=0.1, caption_augment_prob=0.15, region_sample=27, use_ema=True
        ),
    )
    return {
        "paper-flickr30k": paper,
        "paper-coco": replace(
            paper,
            model=replace(paper_model, queue_size=4096),
            objective=replace(paper.objective, loss_weight=1.0),
            training=replace(paper.training, epochs=25, step_at=0.6),
        ),
        "clip-patches": patches,
        "clip-finetune": Config(
            data=replace(patches.data, guide=None, hflip=True),
            model=replace(
                patches.model,
                enhancement="none",
                train_image="all",
                pooling="tower",
                text_pooling="tower",
                embed_dim=512,
                queue_size=None,
            ),
            objective=ObjectiveConfig(name="infonce", temperature=0.01),
            training=TrainingConfig(epochs=10, lr=1e-5, warmup=0.1, caption_augment_prob=0.0),
        ),
        "user-clip": replace(
            patches,
            data=replace(patches.data, hflip=True),
            model=replace(patches.model, train_image="all"),
            training=replace(patches.training, image_lr_scale=0.05, warmup=0.1),
        ),
        "photos": photos,
        "photos-text": replace(
            photos,
            model=replace(
                photos.model,
                text="bert",
                text_model="sentence-transformers/all-MiniLM-L6-v2",
                text_width=384,
                text_layers=6,
                text_heads=12,
                train_text="none",
                text_dropout=0.1,
            ),
        ),
        "scenes": Config(
            data=DataConfig(data="scenes", val_split="val", test_split="test"),
            model=ModelConfig(
                enhancement="sge", embed_dim=256, text_width=256, word_width=128, region_scaling="standard"
            ),
            objective=ObjectiveConfig(mu=30.0, gamma=0.3),
            training=TrainingConfig(epochs=20, lr=1e-3, region_mask_prob=0.1),
        ),
    }


PRESETS: Mapping[str, Config] = types.MappingProxyType(_presets())


def preset(name: str) -> Config:
    """The preset of that name. Raises UserError, which lists the names, for any other."""
    one_of("preset", name, tuple(PRESETS))
    return PRESETS[name]

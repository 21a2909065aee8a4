"""The settings of a run: four frozen dataclasses and their JSON.

Everything that changes a result is here and is stored with every checkpoint and every result. Where a comment says so,
`None` in `ModelConfig` means "derived from the data when the run starts"; the stored configuration has it filled in.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from userlib import legacy
from userlib.arguments import fits, in_words
from userlib.errors import UserError
from userlib.rules import (
    check,
    check_data,
    check_model,
    check_objective,
    check_training,
    check_types,
    hints_of,
)


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
        check_types(self)
        check(self)


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values."""
    return dataclasses.asdict(config)


def from_json(kind: type, values: Any, *, where: str = "configuration") -> Any:
    """The dataclass `kind` from JSON values. Raises UserError for an unknown key, a wrong type and an invalid value."""
    if not isinstance(values, dict):
        raise UserError(f"the {where} is a {type(values).__name__}; it must be a JSON object.")
    hints = hints_of(kind)
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

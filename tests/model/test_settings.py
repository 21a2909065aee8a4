"""Settings in Python: a misspelt one is an error that names its value and the choices, in every class and function; a
setting that would do nothing is refused; and weights that were made for other arithmetic do not load.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.model.test_devices import TINY_CLIP, tiny_clip  # noqa: F401 - a fixture
from tests.reference.small import make_batch, small, small_paper
from userlib.config import Config, DataConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from userlib.data import clip
from userlib.errors import UserError
from userlib.model.encoders import ImageEncoder, Projection, TextEncoder
from userlib.model.enhancement import ClipGuide, Enhancement, Norm, ResidualScale, SelfGuide
from userlib.model.layers import RegionNorm
from userlib.model.momentum import MomentumEncoder, update
from userlib.model.objective import batch_loss, query_loss, queue_loss
from userlib.model.pooling import GPO, make_pooling, position_codes
from userlib.model.queue import DualQueue
from userlib.model.scorers import scan_i2t, scan_t2i
from userlib.model.user import USER
from userlib.presets import preset

D, W = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
CHOICES = {
    "enhancement": "none, sge, cge, sge\\+cge", "norm": "layer, batch", "residual_scale": "learned",
    "pooling": "(mean, max, gpo|logsumexp, mean)",
    "text": "bag, gru, bert, hf, clip", "region_scaling": "raw, unit, standard", "weight_init": "torch, xavier",
    "text_pooling": "mean, max, gpo", "text_enhancement": "none, sge", "init": "random, cca",
    "objective": "uto, hinge-sum, hinge-hardest, infonce",
}  # fmt: skip
MISSPELT = [
    *(("enhancement", kind, lambda kind: Enhancement(kind, 4, guide_dim=3)) for kind in
      ("SGE", "sge ", "", "cge+sge", "self", None)),
    *(("norm", norm, make) for norm in ("batchnorm", "Layer", "batch ", "") for make in (
        lambda norm: Enhancement("sge", 4, regions=3, norm=norm), lambda norm: Enhancement("none", 4, norm=norm),
        lambda norm: SelfGuide(4, regions=3, norm=norm), lambda norm: ClipGuide(3, 4, norm=norm),
        lambda norm: Norm(norm, 3, 4), lambda norm: Projection(4, 4, norm=norm))),
    *(("residual_scale", s, make) for s in ("auto", "Learned", "1.0", "") for make in
      (ResidualScale, lambda s: Enhancement("none", 4, residual_scale=s), lambda s: ModelConfig(residual_scale=s))),
    *(("weight_init", how, make) for how in ("Xavier", "kaiming", "default") for make in (
        lambda how: SelfGuide(4, weight_init=how), lambda how: Enhancement("none", 4, weight_init=how),
        lambda how: Projection(4, 4, norm="layer", weight_init=how))),
    *(("pooling", name, make_pooling) for name in ("gpo ", "GPO", "avg", "")),
    *(("pooling", name, lambda name, scan=scan: scan(D, D, W, pooling=name))
      for name in ("lse", "Mean", "max") for scan in (scan_t2i, scan_i2t)),
    *(("region_scaling", name, lambda name: RegionNorm(name, 4)) for name in ("Raw", "whitened", "none")),
    *((field, value, lambda value, field=field: ModelConfig(**{field: value})) for field, value in (
        ("enhancement", "SGE"), ("norm", "batchnorm"), ("pooling", "gpo "), ("text_pooling", "Mean"), ("text", "lstm"),
        ("text", "GRU"), ("region_scaling", "std"), ("weight_init", "zeros"), ("text_enhancement", "cge"),
        ("init", "glove"))),
    *(("objective", name, lambda name: ObjectiveConfig(name=name)) for name in
      ("UTO", "hinge", "triplet", "info-nce", "hinge_sum")),
]  # fmt: skip


@pytest.mark.parametrize("setting, value, make", MISSPELT)
def test_a_misspelt_setting_names_its_value_and_the_choices(setting, value, make):
    with pytest.raises(UserError, match=f"{re.escape(repr(value))}.*one of {CHOICES[setting]}"):
        make(value)


def test_an_objective_that_came_by_another_way_is_still_known():
    odd = ObjectiveConfig()
    object.__setattr__(odd, "name", "triplet")
    one, none = torch.zeros(2), torch.zeros(2, 2)
    for call in (
        lambda: query_loss(odd, one, none, None),
        lambda: batch_loss(odd, none, torch.arange(2)),
        lambda: queue_loss(odd, one, one, none, none, none.bool()),
    ):
        with pytest.raises(UserError, match="'triplet'.*uto, hinge-sum"):
            call()


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: ModelConfig(embed_dim="64"), "embed_dim is '64'; it must be a whole number"),
        (lambda: ModelConfig(embed_dim=64.0), "embed_dim is 64.0; it must be a whole number"),
        (lambda: ModelConfig(queue_size=True), "queue_size is True; it must be a whole number or none"),
        (lambda: ModelConfig(image_tower="x"), "image_tower is 'x'; it must be a JSON object. Leave it null"),
        (lambda: ModelConfig(norm=None), "norm is None; it must be a text"),
        (lambda: ModelConfig(residual_scale=None), "residual_scale is None; it must be a number or a text"),
        (lambda: ModelConfig(train_text="some"), "train_text is 'some'; it must be none, last:N"),
        (lambda: ModelConfig(guide_dropout="0.4"), "guide_dropout is '0.4'; it must be a number"),
        (lambda: ObjectiveConfig(leaky_positive="False"), "leaky_positive is 'False'; it must be true or false"),
        (lambda: ObjectiveConfig(mu=None), "mu is None; it must be a number"),
        (lambda: ObjectiveConfig(temperature=0), "temperature is 0; it must be above 0"),
        (lambda: ObjectiveConfig(mu=float("inf")), "mu is inf; it must be above 0 and finite"),
        (lambda: ObjectiveConfig(margin=float("inf")), "margin is inf; it must be a finite number from 0 up"),
        (lambda: ObjectiveConfig(gamma=float("nan")), "gamma is nan"),
        (lambda: TrainingConfig(lr="1e-3"), "lr is '1e-3'; it must be a number"),
        (lambda: TrainingConfig(schedule="Cosine"), "schedule is 'Cosine'; it must be one of cosine, step"),
        (lambda: TrainingConfig(precision="fp16"), "precision is 'fp16'; it must be one of auto, fp32, bf16"),
        (lambda: TrainingConfig(use_ema=1), "use_ema is 1; it must be true or false"),
        (lambda: TrainingConfig(seed=0.5), "seed is 0.5; it must be a whole number"),
        (lambda: DataConfig(val_split=None), "val_split is None; it must be a text"),
        (lambda: DataConfig(sizes={"train": 0}), "sizes is .'train': 0.; it must be a mapping"),
        (lambda: Config(model={"embed_dim": 8}), "model is .*; it must be a ModelConfig"),
        (lambda: ResidualScale(-1.0), "residual_scale is -1.0; it must be a finite number from 0 up"),
        (lambda: ResidualScale(float("nan")), "residual_scale is nan"),
        (lambda: Enhancement("sge", 4, inverse_temperature=-1.0), "inverse_temperature is -1.0"),
        (lambda: Enhancement("cge", 4), "guide_dim is not set"),
        (lambda: Enhancement("sge", 4, norm="batch"), "number of regions is not set"),
        (lambda: position_codes(3, 5), "width of position codes is 5; it must be even"),
        (lambda: GPO(temperature=0.0), "temperature is 0.0; it must be above 0"),
        (lambda: scan_t2i(D, D, W, temperature=0.0), "temperature is 0.0; it must be above 0"),
        (lambda: DualQueue(2.5, 4), "size is 2.5; it must be a whole number"),
        (lambda: DualQueue(-1, 4), "queue size is -1"),
        (lambda: TrainingConfig(seed=2**63), "seed is 9223372036854775808; it must be a whole number from 0 up"),
        (lambda: DataConfig(sizes={"train": True}), "sizes is .'train': True.; it must be a mapping"),
        (lambda: update(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), 1.5), "momentum is 1.5; it must lie between"),
        (
            lambda: MomentumEncoder(torch.nn.Linear(1, 1)).update_momentum(torch.nn.Linear(1, 1), -0.1),
            "momentum is -0.1",
        ),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_an_error_that_names_it(make, said):
    with pytest.raises(UserError, match=said):
        make()


def test_numbers_of_numpy_are_those_of_python():
    given = TrainingConfig(lr=np.float32(0.5), seed=np.int64(3), use_ema=np.bool_(True), steps=np.uint8(2))
    assert given == TrainingConfig(lr=0.5, seed=3, use_ema=True, steps=2)
    assert type(given.seed) is int and type(given.use_ema) is bool
    assert DataConfig(sizes={"train": np.int64(3)}) == DataConfig(sizes={"train": 3})
    assert DataConfig(data=Path("photos")) == DataConfig(data="photos")


def test_a_part_by_itself_is_checked_as_it_is_changed():
    with pytest.raises(UserError, match="pooling is 'gpo '"):
        dataclasses.replace(small(), pooling="gpo ")


@pytest.mark.parametrize("objective", ["hinge-sum", "hinge-hardest", "infonce"])
def test_an_empty_queue_beside_an_objective_without_it_is_refused(objective):
    with pytest.raises(
        UserError, match=f"queue_size is 0 and objective '{objective}'.*queue_size none or from 1"
    ):
        Config(model=ModelConfig(queue_size=0), objective=ObjectiveConfig(name=objective))
    ema = TrainingConfig(use_ema=True)  # the momentum encoders are evaluated: they do something
    Config(model=ModelConfig(queue_size=0), objective=ObjectiveConfig(name=objective), training=ema)
    Config(model=ModelConfig(queue_size=None), objective=ObjectiveConfig(name=objective))
    Config(model=ModelConfig(queue_size=0))


# --- BatchNorm over regions that are not there -----------------------------------------------------------------


def test_batch_norm_and_region_drop_do_not_go_together():
    with pytest.raises(
        UserError, match="norm is 'batch' and region_mask_prob 0.1.*Use region_mask_prob 0, or norm layer"
    ):
        Config(model=ModelConfig(norm="batch"), training=TrainingConfig(region_mask_prob=0.1))
    with pytest.raises(UserError, match="norm is 'batch' and region_sample 9.*Use region_sample none"):
        Config(model=ModelConfig(norm="batch"), training=TrainingConfig(region_sample=9))
    Config(model=ModelConfig(norm="batch"))


@pytest.mark.parametrize("enhancement", ["none", "sge"])
def test_masked_regions_never_enter_the_statistics(enhancement):
    config = small_paper(enhancement=enhancement)
    encoder, batch = ImageEncoder(config), make_batch(config, [0, 1, 2], mask=True)
    missing = int((~batch.token_mask).sum())
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    with pytest.raises(UserError, match=f"{missing} of 15 regions are masked.*Use norm layer"):
        encoder(batch.tokens, batch.token_mask)
    with pytest.raises(UserError, match="regions are masked"):
        USER(small_paper(enhancement=enhancement))(batch)
    if enhancement == "sge":
        with pytest.raises(UserError, match="regions are masked"):
            encoder.enhancement(batch.tokens, batch.token_mask)
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    encoder(batch.tokens, torch.ones(3, 5, dtype=torch.bool))  # all are there
    encoder.eval()(batch.tokens, batch.token_mask)  # stored statistics: nothing enters
    assert ImageEncoder(small(enhancement=enhancement))(batch.tokens, batch.token_mask).shape == (3, 10)


# --- the start ------------------------------------------------------------------------------------------------


def test_paper_presets_start_as_the_release_does():
    """Xavier uniform, zero biases: a 2048 x 2048 map has a standard deviation of sqrt(2 / 4096) = .0221."""
    for name in ("paper-flickr30k", "paper-coco"):
        assert preset(name).model.weight_init == "xavier"
    model = preset("paper-flickr30k").model
    encoder = ImageEncoder(dataclasses.replace(model, region_dim=512, embed_dim=128))
    guide = encoder.enhancement.self_guide
    for layer in (guide.local_linear, guide.global_linear, guide.weigh, encoder.projection.linear):
        rows, columns = layer.weight.shape
        assert float(layer.weight.detach().std()) == pytest.approx((2 / (rows + columns)) ** 0.5, rel=0.08)
        assert float(layer.weight.detach().abs().max()) <= (6 / (rows + columns)) ** 0.5
        assert not layer.bias.any()
    assert encoder.projection.hidden.bias.any()  # the MLP keeps torch's start, as VSE-infinity's does


def test_other_presets_start_as_torch_does():
    assert {name: preset(name).model.weight_init for name in ("scenes", "photos", "clip-patches")} == {
        "scenes": "torch", "photos": "torch", "clip-patches": "torch"
    }  # fmt: skip
    guide = SelfGuide(512)
    bound = 512**-0.5
    assert float(guide.local_linear.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert guide.local_linear.bias.any()
    projection = Projection(512, 64, norm="layer")
    assert float(projection.linear.weight.detach().abs().max()) <= bound


# --- weights of text networks -----------------------------------------------------------------------------------


def test_heads_of_bert_weights_are_compared(tmp_path):
    """The same shapes, other arithmetic: no weight tells how many heads it was made for."""
    TextEncoder(small_paper(text_heads=2)).states.bert.save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match="num_attention_heads 2 and the model has 4; set model.text_heads to 2"
    ):
        TextEncoder(small_paper(text_heads=4)).load_text(str(tmp_path))
    TextEncoder(small_paper(text_heads=2)).load_text(str(tmp_path))


@pytest.mark.parametrize("key, value", [("hidden_act", "relu"), ("layer_norm_eps", 1e-5)])
def test_what_no_weight_of_bert_tells_is_compared(tmp_path, key, value):
    source = TextEncoder(small_paper()).states.bert
    setattr(source.config, key, value)
    source.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"{key} {value}"):
        TextEncoder(small_paper()).load_text(str(tmp_path))


def test_heads_and_shapes_of_clip_weights_are_compared(tiny_clip, monkeypatch):  # noqa: F811
    from open_clip.model import CLIP

    encoder = TextEncoder(small(text="clip", text_model="tiny", text_width=16))
    for change, said in (({"heads": 4}, "attention heads"), ({"vocab_size": 31}, "do not fit")):
        other = CLIP(**{**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], **change}})
        monkeypatch.setattr(clip, "load_clip", lambda name, other=other: (other, None))
        with pytest.raises(UserError, match=f"'other'.*{said}.*set model.text_model to other"):
            encoder.load_text("other")


# --- SGE on words -------------------------------------------------------------------------------------------------


def test_the_strength_on_words_starts_as_that_on_regions_does():
    config = small(text_enhancement="sge", word_dropout=0.5, text_dropout=0.5)
    model, batch = USER(config), make_batch(config, [0, 1, 2, 3])
    model.init_from_data(batch.tokens)
    strength = model.text_encoder.enhancement.self_scale
    assert float(strength().detach()) == 1.0
    model.init_from_captions(batch.input_ids, batch.attention_mask)
    assert model.text_encoder.training
    model.eval()
    V = model.text_encoder.vectors_of(batch.input_ids, batch.attention_mask)[batch.attention_mask]
    mean_count = batch.attention_mask.sum(1).float().mean()
    wanted = 0.1 * mean_count.sqrt() * V.norm(dim=-1).median()
    torch.testing.assert_close(strength().detach(), wanted.detach())
    torch.testing.assert_close(model.text_momentum_encoder.encoder.enhancement.self_scale(), wanted.detach())


def test_without_sge_on_words_nothing_starts():
    config = small(enhancement="sge")
    model, batch = USER(config), make_batch(config, [0, 1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_from_captions(batch.input_ids, batch.attention_mask)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_strength_and_sharpness_reach_the_words():
    config = small(text_enhancement="sge", residual_scale=2.0, inverse_temperature=3.0)
    enhancement = TextEncoder(config).enhancement
    assert enhancement.inverse_temperature == 3.0 and float(enhancement.self_scale()) == 2.0
